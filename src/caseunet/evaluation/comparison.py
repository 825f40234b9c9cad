"""Paired comparison of models that were scored on the same cases.

What is tested. For every two models, metric and structure, the units (cases, slices or frames) where both have a value
are paired, and their differences first − second are averaged over the units of each group (patient or sequence). The
two-sided Wilcoxon signed-rank test asks whether these differences of groups lie symmetrically around zero: rank them by
magnitude, sum the ranks of the positive ones, R⁺, and find how probable a sum as far out as this one is if each
difference could as well have had the other sign.

Why the group is the unit. The test takes its differences as independent. Frames of one sequence and slices of one
patient are near copies of each other; as units of their own, a hundred of them would count as a hundred findings.

Zero differences, where both models score alike (both missed a lesion, say), follow Pratt: they are ranked with the
others and add to no sum. Dropped before ranking, as Wilcoxon did, they can make p larger than small losses in their
place would, so that a model would win by scoring worse.

How p is found. With up to :data:`EXACT` differences that are not zero, by the exact distribution of R⁺ over all signs,
given the ranks as they are, with their ties and zeros. ``scipy.stats.wilcoxon`` gives the same p without ties and
zeros. With them it tries all signs one by one up to 13 groups, which takes a second for each test, and beyond takes the
normal approximation, which gives six wins among forty groups p = 0.014 where no p below 2/2⁶ = 0.031 is possible. Above
that number p is that of ``scipy.stats.wilcoxon`` with ``zero_method="pratt"``: the normal approximation, its variance
corrected for ties and zeros, without continuity correction, which would change p by a hundredth of itself.

Holm's correction. Of m tests, some give a small p by chance. With the p-values in rising order p₁ ≤ … ≤ pₘ, the
corrected ones are p̃ᵢ = max over j ≤ i of min(1, (m − j + 1) pⱼ). Calling a difference real where p̃ < α keeps the
probability of one or more false calls in the whole table below α, whatever the tests have to do with each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import rankdata, wilcoxon

from caseunet.evaluation.rows import BACKGROUND
from caseunet.evaluation.statistics import estimate
from caseunet.types import FrozenModel

Verdict = Literal["first better", "second better", "tie", "too few pairs"]
MIN_PAIRS = 6
"""With five pairs the smallest possible two-sided p is 2/2⁵ = 0.0625: nothing could ever be found."""
EXACT = 50
"""Differences other than zero up to which p is exact; the normal approximation is good beyond."""
RESOLUTION = 1e-10
"""Of the largest value: differences that are nearer to each other differ by rounding only."""


class Difference(FrozenModel):
    """How two models differ in one metric of one structure.

    Attributes:
        metric: column of the cases.
        structure: that was scored.
        first: a model.
        second: the model that is subtracted.
        groups: pairs that were tested: groups (patients, sequences) with units where both have a value.
        only_first: units where only the first has a value; they are in no pair.
        only_second: units where only the second has a value.
        mean_first: mean over these groups of the mean over their paired units.
        mean_second: likewise.
        difference: mean over these groups of first − second.
        interval: of the difference, 95 % percentile bootstrap over groups; None with fewer than five groups.
        p: two-sided Wilcoxon signed-rank test; None with fewer than six groups.
        p_holm: p by Holm's correction over all tests of the table.
        verdict: "tie" says that no difference was found, not that there is none.
    """

    metric: str
    structure: str
    first: str
    second: str
    groups: int
    only_first: int
    only_second: int
    mean_first: float | None
    mean_second: float | None
    difference: float | None
    interval: tuple[float, float] | None
    p: float | None
    p_holm: float | None
    verdict: Verdict


def compare_scores(
    cases: pd.DataFrame, metrics: Mapping[str, Literal["higher", "lower"]], alpha: float = 0.05
) -> tuple[Difference, ...]:
    """Compare every two models in every metric and structure.

    Args:
        cases: a row for each model and scored unit, with the columns model, case, slice (a number or empty), group,
            structure and those of the metrics, NaN where undefined. Rows of two models are paired by case, slice and
            structure; the structure "background" is left out.
        metrics: column → which values are better.
        alpha: the probability, for the whole table, of calling a difference real where there is none.

    Returns:
        Two models after the other, in order of appearance, then metrics in the given order, then structures; without
        those of which neither model has any value.

    Raises:
        ValueError: a model has two rows of the same case, slice and structure.
    """
    samples = []
    for first, second in combinations(dict.fromkeys(cases["model"]), 2):
        rows = _side_by_side(cases, first, second, list(metrics))
        for metric in metrics:
            for structure in dict.fromkeys(cases["structure"]):
                sample = _sample(rows[rows["structure"] == structure], metric, structure, first, second)
                if len(sample.first_values) or sample.only_first or sample.only_second:
                    samples.append(sample)
    p = [compute_signed_rank(s.steps) if len(s.steps) >= MIN_PAIRS else None for s in samples]
    return tuple(
        _difference(sample, raw, corrected, metrics[sample.metric], alpha)
        for sample, raw, corrected in zip(samples, p, holm(p), strict=True)
    )


def compute_signed_rank(differences: np.ndarray) -> float:
    """Two-sided p of the Wilcoxon signed-rank test with Pratt's zeros; 1 where all differences are zero.

    Args:
        differences: (n,), equal where they are meant to be equal.
    """
    taken = differences != 0
    if np.count_nonzero(taken) > EXACT:
        return float(wilcoxon(differences, zero_method="pratt").pvalue)
    doubled = np.rint(2 * rankdata(np.abs(differences))).astype(np.int64)  # ties have halves of ranks
    probability = np.ones(1)  # of each sum of the ranks so far
    for rank in doubled[taken]:
        minus, plus = np.pad(probability, (0, rank)), np.pad(probability, (rank, 0))
        probability = (minus + plus) / 2
    found = doubled[differences > 0].sum()
    tail = min(probability[: found + 1].sum(), probability[found:].sum())
    return min(1.0, 2 * float(tail))


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's correction of p-values, in their order; None is no test, stays None and does not count."""
    order = sorted((value, n) for n, value in enumerate(p) if value is not None)
    corrected: list[float | None] = [None] * len(p)
    largest = 0.0
    for passed, (value, n) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - passed) * value))
        corrected[n] = largest
    return corrected


@dataclass(frozen=True)
class _Sample:
    """What is tested: the means of groups, (groups,) each."""

    metric: str
    structure: str
    first: str
    second: str
    only_first: int
    only_second: int
    first_values: np.ndarray
    second_values: np.ndarray

    @property
    def differences(self) -> np.ndarray:
        return self.first_values - self.second_values

    @property
    def steps(self) -> np.ndarray:
        """The differences in whole multiples of :data:`RESOLUTION`, so that 0.8 − 0.7 and 0.7 − 0.6 are a tie."""
        largest = max(np.abs(self.first_values).max(initial=0), np.abs(self.second_values).max(initial=0))
        return np.rint(self.differences / (RESOLUTION * largest)) if largest else self.differences


def _side_by_side(cases: pd.DataFrame, first: str, second: str, metrics: list[str]) -> pd.DataFrame:
    """A row for each unit that either model has, with the columns case, slice, structure, and of each model, as a
    suffix .first or .second, group and metrics."""
    keys = ["case", "slice", "structure"]
    scored = cases.loc[cases["structure"] != BACKGROUND, ["model", *keys, "group", *metrics]]
    # None, NaN and NA all say that there is nothing; as NaN they are alike.
    numbers = {name: scored[name].to_numpy(np.float64, na_value=np.nan) for name in ("slice", *metrics)}
    scored = scored.assign(**numbers)
    sides = [scored[scored["model"] == model].drop(columns="model") for model in (first, second)]
    # An outer merge sorts by the keys: what comes of it does not depend on the order of the cases' rows.
    return sides[0].merge(sides[1], how="outer", on=keys, suffixes=(".first", ".second"), validate="one_to_one")


def _sample(rows: pd.DataFrame, metric: str, structure: str, first: str, second: str) -> _Sample:
    has_first, has_second = rows[f"{metric}.first"].notna(), rows[f"{metric}.second"].notna()
    paired = rows.loc[has_first & has_second, ["group.first", f"{metric}.first", f"{metric}.second"]]
    paired.columns = ["group", "first", "second"]
    means = paired.groupby("group", sort=False, dropna=False).mean()
    return _Sample(
        metric=metric,
        structure=structure,
        first=first,
        second=second,
        only_first=int((has_first & ~has_second).sum()),
        only_second=int((has_second & ~has_first).sum()),
        first_values=means["first"].to_numpy(),
        second_values=means["second"].to_numpy(),
    )


def _difference(
    sample: _Sample, p: float | None, p_holm: float | None, better: Literal["higher", "lower"], alpha: float
) -> Difference:
    groups = len(sample.differences)
    mean = estimate([(sample.differences, np.ones(groups))], range(groups))
    return Difference(
        metric=sample.metric,
        structure=sample.structure,
        first=sample.first,
        second=sample.second,
        groups=groups,
        only_first=sample.only_first,
        only_second=sample.only_second,
        mean_first=float(sample.first_values.mean()) if groups else None,
        mean_second=float(sample.second_values.mean()) if groups else None,
        difference=mean.value,
        interval=mean.interval,
        p=p,
        p_holm=p_holm,
        verdict=_verdict(sample.steps, p_holm, better, alpha),
    )


def _verdict(steps: np.ndarray, p_holm: float | None, better: Literal["higher", "lower"], alpha: float) -> Verdict:
    if p_holm is None:
        return "too few pairs"
    # The test ranks, the mean adds up: one group with a huge difference can turn the mean against all others. Then the
    # two disagree on who is better, and neither is called so.
    side = np.sign(np.sum(np.sign(steps) * rankdata(np.abs(steps))))
    if p_holm >= alpha or side != np.sign(steps.sum()):
        return "tie"
    return "first better" if (side > 0) == (better == "higher") else "second better"
