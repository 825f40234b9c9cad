"""Numbers over cases that say how sure they are.

Confidence intervals are percentile bootstrap intervals over groups (patients, sequences): whole groups are drawn with
replacement, because the units of one group (slices, frames) are near copies of each other, and drawing them one by one
would make every interval too narrow.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
MIN_GROUPS = 5
AT_ONCE = 2**22
"""How many drawn sums are held in memory at a time (32 MiB)."""
Combine = Callable[[np.ndarray], np.ndarray]
"""From the values of parts, (…, parts), to a number made of them, (…,)."""


@dataclass(frozen=True)
class Estimate:
    """A number made of many units.

    ``value`` is None where nothing is defined. ``interval`` is its 95 % percentile bootstrap interval over groups; None
    with fewer than :data:`FEWEST_GROUPS` groups that have a part in the number, where it would say little.
    """

    value: float | None
    interval: tuple[float, float] | None


def mean_of_parts(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN, (…, n) → (…,); NaN where nothing is left."""
    defined = ~np.isnan(values)
    return _ratios(np.where(defined, values, 0).sum(-1), defined.sum(-1))


def estimate(
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    groups: Sequence[Hashable],
    combine: Combine = mean_of_parts,
    seed: int = 0,
) -> Estimate:
    """Estimate a number that is made of ratios of sums over units (cases, slices, frames).

    Each part is worth v = Σ numerators / Σ denominators over the units, NaN where the denominators sum to 0, and the
    number is ``combine`` of the parts. So many kinds of average are one formula:

    ==========================  ====================================================================
    mean of x                   one part (x, 1); (0, 0) for units where x is undefined
    pooled Dice                 one part (2 |R ∩ P|, |R| + |P|)
    root mean square error      one part (e², 1) and the square root as ``combine``
    mean over classes of means  a part (x, 1) for each class; classes without any value are left out
    ==========================  ====================================================================

    Args:
        parts: pairs of numerators and denominators, (units,) each, without NaN; denominators ≥ 0. Without any part
            there is no number.
        groups: the group of each unit. Groups are drawn :data:`RESAMPLES` times, as many as there are, and all units
            of a drawn group come along as often as it was drawn.
        combine: what is made of the parts. Resamples for which it gives NaN are left out of the percentiles.
        seed: of the draws; the same groups in the same order are drawn alike for every number.

    Raises:
        ValueError: the parts and the groups have unlike lengths, or there is a NaN.
    """
    if not parts:
        return Estimate(None, None)
    sums = np.array(parts, dtype=np.float64).swapaxes(0, 1)  # (numerators and denominators, parts, units)
    if sums.shape[-1] != len(groups):
        raise ValueError(f"there are {sums.shape[-1]} units, but the groups of {len(groups)}")
    if np.isnan(sums).any():
        raise ValueError("a numerator or denominator is NaN; units without a value have 0 as both")
    value = float(combine(_ratios(*sums.sum(-1))))
    if np.isnan(value):
        return Estimate(None, None)
    # Units that add nothing are no part of the sample: drawing them would only make the resamples smaller.
    taken = np.flatnonzero(sums.any(axis=(0, 1))).tolist()
    of_groups = _by_group(sums[..., taken], [groups[n] for n in taken])
    if np.count_nonzero(of_groups[1].any(axis=0)) < MIN_GROUPS:
        return Estimate(value, None)
    values = _bootstrap(of_groups, combine, seed)
    values = values[~np.isnan(values)]
    if not len(values):
        return Estimate(value, None)
    low, high = np.percentile(values, [2.5, 97.5])
    return Estimate(value, (float(low), float(high)))


def _ratios(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Quotients, NaN where the denominator is 0."""
    nothing = denominators == 0
    return np.where(nothing, np.nan, numerators / np.where(nothing, 1, denominators))


def _by_group(sums: np.ndarray, groups: Sequence[Hashable]) -> np.ndarray:
    """Sums over the units of each group, (…, units) → (…, groups), groups in order of appearance."""
    order = {group: n for n, group in enumerate(dict.fromkeys(groups))}
    numbers = np.array([order[group] for group in groups], dtype=np.intp)
    return np.apply_along_axis(lambda row: np.bincount(numbers, row, len(order)), -1, sums)


def _bootstrap(of_groups: np.ndarray, combine: Combine, seed: int) -> np.ndarray:
    """The number of each resample, (RESAMPLES,), from the sums of groups (2, parts, groups)."""
    random = np.random.default_rng(seed)
    groups = of_groups.shape[-1]
    # Many resamples at once, yet not all: thousands of groups and a dozen parts would need gigabytes.
    block = max(1, AT_ONCE // of_groups.size)
    found = []
    for start in range(0, RESAMPLES, block):
        draws = random.integers(groups, size=(min(block, RESAMPLES - start), groups))
        drawn = np.take(of_groups, draws, axis=-1).sum(-1)  # (2, parts, resamples)
        found.append(combine(_ratios(*drawn).T))
    return np.concatenate(found)
