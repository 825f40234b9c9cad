"""Summaries over cases that say how sure they are."""

from collections.abc import Sequence

import numpy as np

from caseunet.types import Stored

RESAMPLES = 2000


class Summary(Stored):
    """Of one metric of one structure over cases.

    ``mean``, ``sd`` (n − 1) and ``median`` are over the cases where the metric is defined; ``undefined`` counts the
    others. ``interval`` is the 95 % percentile bootstrap interval of the mean, null with fewer than two cases.
    """

    n: int
    undefined: int
    mean: float | None
    sd: float | None
    median: float | None
    interval: tuple[float, float] | None


def summarize(values: Sequence[float], seed: int = 0) -> Summary:
    """Summarise values of which some may be NaN."""
    array = np.asarray(values, dtype=np.float64)
    known = array[~np.isnan(array)]
    interval = None
    if len(known) > 1:
        draws = np.random.default_rng(seed).integers(len(known), size=(RESAMPLES, len(known)))
        low, high = np.percentile(known[draws].mean(1), [2.5, 97.5])
        interval = (float(low), float(high))
    return Summary(
        n=len(known),
        undefined=len(array) - len(known),
        mean=float(known.mean()) if len(known) else None,
        sd=float(known.std(ddof=1)) if len(known) > 1 else None,
        median=float(np.median(known)) if len(known) else None,
        interval=interval,
    )
