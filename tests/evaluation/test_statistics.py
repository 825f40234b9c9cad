"""Estimates and their intervals, by hand and against a plain bootstrap."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caseunet.evaluation import statistics
from caseunet.evaluation.statistics import MIN_GROUPS, RESAMPLES, Estimate, estimate, mean_of_parts


def mean_part(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators of the mean of values, of which some may be NaN."""
    return np.nan_to_num(values), (~np.isnan(values)).astype(float)


def plain_interval(values: np.ndarray, groups: list[str]) -> tuple[float, float]:
    """Resample by resample: put the values of the drawn groups together and take their mean."""
    names = list(dict.fromkeys(groups))
    members = [values[[group == name for group in groups]] for name in names]
    draws = np.random.default_rng(0).integers(len(names), size=(RESAMPLES, len(names)))
    means = [np.concatenate([members[n] for n in draw]).mean() for draw in draws]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def test_a_mean_leaves_out_what_is_undefined() -> None:
    assert estimate([mean_part(np.array([1, np.nan, 3]))], "abc") == Estimate(2, None)
    assert estimate([mean_part(np.array([np.nan, np.nan]))], "ab") == Estimate(None, None)
    assert estimate([(np.array([]), np.array([]))], []) == Estimate(None, None)
    assert estimate([], ["a"]) == Estimate(None, None)


def test_a_pooled_ratio_is_of_sums() -> None:
    """Dice 2·4/10 and 2·0/2: pooled 8/12, though the mean of the two is 0.4."""
    both, sizes = np.array([4, 0]), np.array([10, 2])
    assert estimate([(2 * both, sizes)], "ab").value == pytest.approx(2 / 3)


def test_a_mean_of_ratios_leaves_out_parts_without_denominators() -> None:
    """Class 1: (1 + 0) / 2 frames; class 2: 0.8 in its one frame; class 3 is nowhere: (0.5 + 0.8) / 2."""
    parts = [([1, 0, 0], [1, 1, 0]), ([0, 0.8, 0], [0, 1, 0]), ([0, 0, 0], [0, 0, 0])]
    assert estimate([(np.array(a), np.array(b)) for a, b in parts], "abc").value == pytest.approx(0.65)
    np.testing.assert_equal(mean_of_parts(np.array([[1, np.nan, 3], [np.nan] * 3])), [2, np.nan])


def test_a_root_mean_square() -> None:
    errors = np.array([3.0, -4.0, 0, 0, 0, 0])
    found = estimate([(errors**2, np.ones(6))], range(6), lambda values: np.sqrt(values[..., 0]))
    assert found.value == pytest.approx(math.sqrt(25 / 6))
    mean = estimate([(errors**2, np.ones(6))], range(6))
    np.testing.assert_allclose(found.interval, np.sqrt(mean.interval), rtol=0.01)


def test_the_interval_is_that_of_a_plain_bootstrap_over_groups() -> None:
    values = np.random.default_rng(1).normal(5, 1, 40)
    groups = [f"sequence {n % 7}" for n in range(0, 120, 3)]
    np.testing.assert_allclose(estimate([mean_part(values)], groups).interval, plain_interval(values, groups))
    values[[0, 1, 8]] = np.nan
    known = ~np.isnan(values)
    expected = plain_interval(values[known], [g for g, k in zip(groups, known, strict=True) if k])
    np.testing.assert_allclose(estimate([mean_part(values)], groups).interval, expected)


def test_the_interval_of_several_parts_draws_them_together() -> None:
    """Two classes that are each other's complement: their mean is 0.5 in each resample."""
    shares = np.random.default_rng(2).random(20)
    ones = np.ones(20)
    found = estimate([(shares, ones), (1 - shares, ones)], range(20))
    np.testing.assert_allclose(found.interval, (0.5, 0.5))
    low, high = estimate([(shares, ones)], range(20)).interval
    assert high - low > 0.1


def test_many_groups_are_drawn_in_blocks_and_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).normal(0, 1, 50)
    at_once = estimate([mean_part(values)], range(50))
    for limit in (1, 12345):
        monkeypatch.setattr(statistics, "AT_ONCE", limit)
        assert estimate([mean_part(values)], range(50)) == at_once


def test_groups_without_a_part_do_not_count() -> None:
    values = np.array([1.0, 2, 3, 4, np.nan, np.nan])
    assert estimate([mean_part(values)], range(6)).interval is None
    values[4] = 5
    assert estimate([mean_part(values)], range(6)).interval is not None
    assert estimate([mean_part(values)], [0, 0, 1, 2, 3, 4]).interval is None
    second = mean_part(np.array([np.nan] * 5 + [9.0]))
    assert estimate([mean_part(values), second], [0, 0, 1, 2, 3, 4]).interval is not None
    assert MIN_GROUPS == 5


def test_numerators_alone_count_in_the_value_and_the_draws() -> None:
    """Predicted volume over reference volume: a case without reference adds to the first only."""
    found = estimate([(np.array([2, 2, 2, 2, 2, 5]), np.array([1, 1, 1, 1, 1, 0]))], range(6))
    assert found.value == 3
    assert found.interval is not None
    assert found.interval[0] == 2
    assert found.interval[1] > 3
    assert estimate([(np.array([2, 2, 2, 2, 5]), np.array([1, 1, 1, 1, 0]))], range(5)).interval is None


def test_resamples_without_a_value_are_left_out() -> None:
    """Resamples whose mean is below 3 have none, so the interval lies above."""
    values = np.arange(1.0, 7)
    found = estimate([mean_part(values)], range(6), lambda v: np.where(v[..., 0] < 3, np.nan, v[..., 0]))
    assert found.interval is not None
    assert 3 <= found.interval[0] < 3.5 < found.interval[1]
    one_value = estimate([mean_part(values)], range(6), lambda v: v[..., 0] if v.ndim == 1 else v[..., 0] * np.nan)
    assert one_value == Estimate(3.5, None)


def test_copies_of_a_group_have_no_spread() -> None:
    group = np.array([0.2, 0.9, 0.4])
    found = estimate([mean_part(np.tile(group, 8))], np.repeat(range(8), 3).tolist())
    np.testing.assert_allclose(found.interval, (0.5, 0.5))
    assert found.value == pytest.approx(0.5)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="there are 2 units, but the groups of 3"):
        estimate([(np.ones(2), np.ones(2))], "abc")
    with pytest.raises(ValueError, match="is NaN"):
        estimate([(np.array([1, np.nan]), np.ones(2))], "ab")


@given(st.integers(0, 2**32 - 1), st.floats(-100, 100).filter(lambda factor: abs(factor) > 1e-3))
@settings(max_examples=30, deadline=None)
def test_properties(seed: int, factor: float) -> None:
    """The order of units does not matter to the value, a factor on the numerators is one on value and interval, and the
    mean over parts lies between the parts."""
    rng = np.random.default_rng(seed)
    parts = [(rng.random(30), rng.integers(0, 3, 30).astype(float)) for _ in range(2)]
    groups = rng.integers(0, 8, 30).tolist()
    found = estimate(parts, groups)
    order = rng.permutation(30)
    shuffled = estimate([(a[order], b[order]) for a, b in parts], [groups[n] for n in order])
    assert shuffled.value == pytest.approx(found.value)
    scaled = estimate([(factor * a, b) for a, b in parts], groups)
    assert scaled.value == pytest.approx(factor * found.value)
    assert (scaled.interval is None) == (found.interval is None)
    if found.interval is not None:
        np.testing.assert_allclose(sorted(scaled.interval), sorted(factor * end for end in found.interval))
        assert found.interval[0] <= found.interval[1]
    each = [estimate([part], groups).value for part in parts]
    assert min(each) - 1e-12 <= found.value <= max(each) + 1e-12


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of 200 samples of 30 normal values, about 95 % (a percentile bootstrap somewhat less) must hold the mean, 5."""
    rng = np.random.default_rng(4)
    intervals = [estimate([(rng.normal(5, 2, 30), np.ones(30))], range(30), seed=n).interval for n in range(200)]
    held = np.mean([low <= 5 <= high for low, high in intervals])
    assert 0.88 <= held <= 0.99
