"""Paired tests by hand: few enough differences that all signs can be counted."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, wilcoxon

from caseunet.evaluation import comparison
from caseunet.evaluation.comparison import compare_scores, compute_signed_rank, holm
from caseunet.evaluation.statistics import estimate

NAN = float("nan")


def scores(**models: list[float]) -> pd.DataFrame:
    """A case of its own group for each value."""
    rows = [
        {"model": model, "case": f"c{n}", "slice": None, "group": f"g{n}", "structure": "liver", "dice": value}
        for model, values in models.items()
        for n, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def by_counting(differences: list[float]) -> float:
    """Two-sided p over all signs, one by one."""
    ranks = rankdata(np.abs(differences)) * (np.array(differences) != 0)
    found = ranks[np.array(differences) > 0].sum()
    sums = np.array([ranks @ np.array(signs) for signs in product((0, 1), repeat=len(ranks))])
    return min(1.0, 2 * min(np.mean(sums <= found), np.mean(sums >= found)))


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1, 2, 3, 4, 5, 6], 2 / 64),  # no other signs are as far out, but for all negative
        ([-1, 2, 3, 4, 5, 6], 4 / 64),  # negative ranks sum to 1: {} and {1}
        ([-1, -2, 3, 4, 5, 6], 10 / 64),  # to 3: {}, {1}, {2}, {3}, {1, 2}
        ([1, 1, 1, 1, 1, -1], 14 / 64),  # all ranks 3.5: none or one of six is negative
        ([0, -1, -2, 3, 4, 5, 6], 12 / 64),  # Pratt's ranks 2 to 7, sum 5: {}, {2}, {3}, {4}, {5}, {2, 3}
        ([0, 0, 0, 0, 1, 2, 3], 2 / 8),
        ([0, 0, 0, 0, 0, 0], 1),
        ([-1, 1, -2, 2, -3, 3], 1),
    ],
)
def test_signed_rank_by_hand(differences: list[float], p: float) -> None:
    assert compute_signed_rank(np.array(differences, float)) == p
    assert compute_signed_rank(-np.array(differences, float)) == p


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
@settings(max_examples=50, deadline=None)
def test_signed_rank_with_ties_and_zeros_counts_all_signs(differences: list[float]) -> None:
    assert compute_signed_rank(np.array(differences, float)) == pytest.approx(by_counting(differences))


@given(st.integers(6, 50), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_signed_rank_without_ties_is_scipy_s_exact_test(n: int, seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0.3, 1, n)
    assert compute_signed_rank(differences) == pytest.approx(wilcoxon(differences, method="exact").pvalue)


def test_many_differences_are_approximated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with as many zeros, which count for something."""
    differences = np.random.default_rng(1).normal(0.25, 1, 60)
    with_zeros = np.append(differences, np.zeros(60))
    approximate = [compute_signed_rank(differences), compute_signed_rank(with_zeros)]
    monkeypatch.setattr(comparison, "EXACT", 60)
    exact = [compute_signed_rank(differences), compute_signed_rank(with_zeros)]
    assert exact[0] == pytest.approx(wilcoxon(differences, method="exact").pvalue)
    assert approximate != exact
    assert approximate == pytest.approx(exact, rel=0.05)
    assert abs(exact[0] - exact[1]) > 0.2 * exact[1]


def test_few_differences_among_many_zeros_are_never_sure() -> None:
    """Six wins, else alike: a sixty-fourth on each side, whatever the number of groups."""
    assert compute_signed_rank(np.array([0.0] * 500 + [1, 2, 3, 4, 5, 6])) == 2 / 64


def test_scoring_worse_makes_no_model_more_sure() -> None:
    """Pratt's example: without the zero it is less sure than with a loss of 0.5 in each."""
    wins = np.array([0, 2, 3, 4, 6, 7, 8, 9, 11, 14, 15, 17, -18.0])
    assert compute_signed_rank(wins[1:]) > compute_signed_rank(wins - 0.5) > compute_signed_rank(wins)


def test_holm_by_hand() -> None:
    """3 × .01; 2 × .03; 1 × .04, but not below the one before."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []


def test_no_test_passes_through_holm_and_does_not_count() -> None:
    corrected = holm([None, 0.01, None, 0.04, 0.03])
    assert corrected[0] is None
    assert corrected[2] is None
    assert [corrected[n] for n in (1, 3, 4)] == pytest.approx([0.03, 0.06, 0.06])
    assert holm([None]) == [None]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_s_properties(p: list[float]) -> None:
    corrected = holm(p)
    assert all(raw <= c <= 1 for raw, c in zip(p, corrected, strict=True))
    assert min(corrected) == min(1, len(p) * min(p))
    rising = [c for _, c in sorted(zip(p, corrected, strict=True))]
    assert rising == sorted(rising)


def test_one_model_is_better() -> None:
    first = [0.9, 0.8, 0.7, 0.95, 0.85, 0.6]
    second = [value - step for value, step in zip(first, [0.01, 0.02, 0.03, 0.04, 0.05, 0.06], strict=True)]
    (found,) = compare_scores(scores(a=first, b=second), {"dice": "higher"})
    assert (found.first, found.second, found.metric, found.structure) == ("a", "b", "dice", "liver")
    assert (found.groups, found.only_first, found.only_second) == (6, 0, 0)
    assert (found.mean_first, found.mean_second) == pytest.approx((0.8, 0.765))
    assert found.difference == pytest.approx(0.035)
    assert found.interval == pytest.approx(
        estimate([(np.subtract(first, second), np.ones(6))], range(6)).interval, abs=1e-3
    )
    assert 0.01 < found.interval[0] < 0.035 < found.interval[1] < 0.06
    assert found.p == found.p_holm == 2 / 64
    assert found.verdict == "first better"
    assert compare_scores(scores(b=second, a=first), {"dice": "higher"})[0].verdict == "second better"
    assert compare_scores(scores(a=first, b=second), {"dice": "lower"})[0].verdict == "second better"
    assert compare_scores(scores(b=second, a=first), {"dice": "lower"})[0].verdict == "first better"
    assert compare_scores(scores(a=first, b=second), {"dice": "higher"}, alpha=2 / 64)[0].verdict == "tie"


def test_equal_models_tie() -> None:
    (found,) = compare_scores(scores(a=[0.5] * 6, b=[0.5] * 6), {"dice": "higher"})
    assert (found.difference, found.interval, found.p, found.verdict) == (0, (0, 0), 1, "tie")
    assert compare_scores(scores(a=[0] * 6, b=[0] * 6), {"dice": "higher"})[0].verdict == "tie"


def test_rounding_makes_no_differences() -> None:
    """0.1 + 0.2 is not 0.3 to the last bit, and 0.8 − 0.7 is not 0.7 − 0.6; they are meant to be."""
    (found,) = compare_scores(scores(a=[0.1 + 0.2] * 6, b=[0.3] * 6), {"dice": "higher"})
    assert found.p == 1
    (found,) = compare_scores(
        scores(a=[0.8, 0.7, 0.6, 0.5, 0.4, 0.3], b=[0.7, 0.6, 0.5, 0.4, 0.3, 0.4]), {"dice": "higher"}
    )
    assert found.p == 14 / 64


def test_five_pairs_are_too_few() -> None:
    (found,) = compare_scores(scores(a=[2, 3, 4, 5, 6], b=[1] * 5), {"dice": "higher"})
    assert (found.groups, found.difference, found.p, found.p_holm) == (5, 3, None, None)
    assert found.verdict == "too few pairs"
    assert found.interval is not None
    assert compare_scores(scores(a=[2, 3, 4, 5], b=[1] * 4), {"dice": "higher"})[0].interval is None


def test_units_of_one_model_only_are_counted() -> None:
    """Case 0 is undefined for a, cases 1 and 2 for b, case 3 for both, and case 4 has no row of b."""
    cases = scores(a=[NAN, 1, 1, NAN, 1, 3, 3, 3, 3, 3, 3], b=[1, NAN, NAN, NAN, 0, 1, 1, 1, 1, 1, 1])
    cases = cases[(cases["model"] == "a") | (cases["case"] != "c4")]
    (found,) = compare_scores(cases, {"dice": "higher"})
    assert (found.groups, found.only_first, found.only_second) == (6, 3, 1)
    assert (found.mean_first, found.mean_second, found.difference) == (3, 1, 2)
    assert found.p == 2 / 64


def test_without_common_units_there_is_nothing_to_test() -> None:
    (found,) = compare_scores(scores(a=[1, NAN], b=[NAN, 1]), {"dice": "higher"})
    assert (found.groups, found.only_first, found.only_second) == (0, 1, 1)
    assert (found.mean_first, found.difference, found.interval, found.p) == (None, None, None, None)
    assert found.verdict == "too few pairs"


def test_frames_of_a_sequence_count_once() -> None:
    """Seven sequences. In the first, a is better by 1, 2 and 6 in its three frames: by 3 on the mean."""
    steps = {"s0": [1, 2, 6], "s1": [1], "s2": [2], "s3": [4], "s4": [5], "s5": [6], "s6": [-7, -7]}
    rows = [
        {"model": model, "case": "video", "slice": n + 10 * k, "group": group, "structure": "shaft", "iou": 10 + up}
        for model in ("a", "b")
        for n, (group, differences) in enumerate(steps.items())
        for k, difference in enumerate(differences)
        for up in [difference if model == "a" else 0]
    ]
    (found,) = compare_scores(pd.DataFrame(rows), {"iou": "higher"})
    assert found.groups == 7
    assert found.difference == 14 / 7
    assert (found.mean_first, found.mean_second) == (12, 10)
    assert found.p == by_counting([3, 1, 2, 4, 5, 6, -7])


def test_slices_pair_whatever_an_empty_number_is() -> None:
    for empty in ([None, NAN], [NAN, None], [pd.NA, None]):
        cases = scores(a=[2, 3, 4, 5, 6, 7], b=[1] * 6)
        cases["slice"] = pd.Series([empty[0]] * 6 + [empty[1]] * 6, dtype=object)
        (found,) = compare_scores(cases, {"dice": "higher"})
        assert (found.groups, found.only_first, found.only_second) == (6, 0, 0), empty


def test_every_two_models_are_compared_and_all_tests_are_corrected_for() -> None:
    low, high = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], [0.2, 0.31, 0.42, 0.53, 0.64, 0.75, 0.86]
    found = compare_scores(scores(z=low, a=high, m=low), {"dice": "higher"})
    assert [(f.first, f.second) for f in found] == [("z", "a"), ("z", "m"), ("a", "m")]
    assert [f.p for f in found] == [2 / 128, 1, 2 / 128]
    assert [f.p_holm for f in found] == [6 / 128, 1, 6 / 128]
    assert [f.verdict for f in found] == ["second better", "tie", "first better"]
    assert compare_scores(scores(a=low), {"dice": "higher"}) == ()


def test_metrics_and_structures_have_their_tests() -> None:
    """Also where a structure has no value of a metric, and of the background."""
    liver = scores(a=[2, 3, 4, 5, 6, 7], b=[1] * 6).assign(hd95=scores(a=[1] * 6, b=[5] * 6)["dice"])
    tumour = liver.assign(structure="a tumour", hd95=None)
    cases = pd.concat([liver, tumour, liver.assign(structure="background")])
    found = compare_scores(cases, {"hd95": "lower", "dice": "higher"}, alpha=0.1)
    assert [(f.metric, f.structure) for f in found] == [("hd95", "liver"), ("dice", "liver"), ("dice", "a tumour")]
    assert {f.p_holm for f in found} == {6 / 64}
    assert {f.verdict for f in found} == {"first better"}


def test_no_model_is_better_where_ranks_and_mean_disagree() -> None:
    """b is better in fifteen of sixteen groups, but a by far in the other."""
    wins = list(range(1, 16))
    (found,) = compare_scores(scores(a=[1000] + [0] * 15, b=[0, *wins]), {"dice": "higher"})
    assert found.difference > 0
    assert found.p_holm < 0.05
    assert found.verdict == "tie"


def test_a_unit_that_is_there_twice_is_refused() -> None:
    cases = scores(a=[1, 2], b=[1, 2])
    with pytest.raises(ValueError, match="one-to-one"):
        compare_scores(pd.concat([cases, cases.iloc[:1]]), {"dice": "higher"})


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    """To the last bit, with values that have ties and frames whose sums depend on their order."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 9, 40)
    rows = [
        {"model": model, "case": f"c{n}", "slice": n % 3, "group": f"g{group}", "structure": "s", "dice": value}
        for model in "ab"
        for n, group in enumerate(groups)
        for value in [rng.choice([NAN, 0.1, 0.3, 0.7, 1 / 3])]
    ]
    cases = pd.DataFrame(rows)
    shuffled = cases.sample(frac=1, random_state=seed).sort_values("model", kind="stable")
    assert compare_scores(shuffled, {"dice": "higher"}) == compare_scores(cases, {"dice": "higher"})
