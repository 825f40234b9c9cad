"""Summaries over cases that say how sure they are."""

from collections.abc import Hashable, Sequence

import numpy as np

from caseunet.types import Stored

RESAMPLES = 2000
FEWEST_GROUPS = 5


class Summary(Stored):
    """Of one metric of one structure over cases.

    ``mean``, ``sd`` (n − 1) and ``median`` are over the n cases where the metric is defined; ``undefined`` counts the
    others. ``interval`` is the 95 % percentile bootstrap interval of the mean, drawn over groups (patients, sequences),
    because the frames of one sequence are near copies; null with fewer than five groups, where it would say little.
    """

    n: int
    undefined: int
    mean: float | None
    sd: float | None
    median: float | None
    interval: tuple[float, float] | None


def summarize(values: Sequence[float], groups: Sequence[Hashable], seed: int = 0) -> Summary:
    """Summarise values, of which some may be NaN, of cases that belong to ``groups``."""
    array = np.asarray(values, dtype=np.float64)
    defined = ~np.isnan(array)
    known = array[defined]
    return Summary(
        n=len(known),
        undefined=len(array) - len(known),
        mean=float(known.mean()) if len(known) else None,
        sd=float(known.std(ddof=1)) if len(known) > 1 else None,
        median=float(np.median(known)) if len(known) else None,
        interval=_interval(known, [group for group, kept in zip(groups, defined, strict=True) if kept], seed),
    )


def _interval(values: np.ndarray, groups: Sequence[Hashable], seed: int) -> tuple[float, float] | None:
    order = {group: n for n, group in enumerate(dict.fromkeys(groups))}
    if len(order) < FEWEST_GROUPS:
        return None
    numbers = [order[group] for group in groups]
    sums, counts = np.bincount(numbers, values), np.bincount(numbers)
    draws = np.random.default_rng(seed).integers(len(order), size=(RESAMPLES, len(order)))
    low, high = np.percentile(sums[draws].sum(1) / counts[draws].sum(1), [2.5, 97.5])
    return float(low), float(high)
