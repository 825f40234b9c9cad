"""Overlap measures, by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseunet.metrics.overlap import Counts, confusion_matrix, counts_of

R = np.array([[0, 1, 1], [2, 2, 0]])
P = np.array([[0, 1, 2], [2, 0, 0]])


def test_confusion_rows_are_the_reference() -> None:
    assert confusion_matrix(R, P, 3).tolist() == [[2, 0, 0], [0, 1, 1], [1, 0, 1]]


def test_counts_dice_and_iou() -> None:
    """Class 1: R 2, P 1, both 1. Classes 1 and 2 together: R 4, P 3, both 3."""
    confusion = confusion_matrix(R, P, 3)
    one = counts_of(confusion, [1])
    assert (one.reference, one.prediction, one.both) == (2, 1, 1)
    assert one.dice == pytest.approx(2 / 3)
    assert one.iou == pytest.approx(1 / 2)
    union = counts_of(confusion, [1, 2])
    assert (union.reference, union.prediction, union.both) == (4, 3, 3)
    assert union.dice == pytest.approx(6 / 7)


def test_empty_masks() -> None:
    assert math.isnan(Counts(0, 0, 0).dice)
    assert math.isnan(Counts(0, 0, 0).iou)
    assert Counts(5, 0, 0).dice == 0
    assert Counts(0, 1, 0).iou == 0


def test_sensitivity_precision_and_specificity() -> None:
    """R 2, P 1, both 1 of 6 pixels; R 2, P 3, both 1: two of four others are found."""
    assert (Counts(2, 1, 1).sensitivity, Counts(2, 1, 1).precision, Counts(2, 1, 1).specificity(6)) == (0.5, 1, 1)
    assert (Counts(2, 3, 1).sensitivity, Counts(2, 3, 1).precision) == (0.5, pytest.approx(1 / 3))
    assert Counts(2, 3, 1).specificity(6) == 0.5
    assert math.isnan(Counts(0, 3, 0).sensitivity)
    assert (Counts(0, 3, 0).precision, Counts(0, 3, 0).specificity(6)) == (0, 0.5)
    assert math.isnan(Counts(3, 0, 0).precision)
    assert math.isnan(Counts(6, 3, 3).specificity(6))


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        confusion_matrix(R, P[:1], 3)
    with pytest.raises(ValueError, match="not in 0 to 1"):
        confusion_matrix(R, P, 2)


@given(st.integers(0, 2**32 - 1))
def test_properties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference, prediction = rng.integers(0, 3, (2, 4, 5))
    forward, backward = (
        counts_of(confusion_matrix(a, b, 3), [1]) for a, b in ((reference, prediction), (prediction, reference))
    )
    np.testing.assert_equal((forward.dice, forward.iou), (backward.dice, backward.iou))
    if not math.isnan(forward.dice):
        assert 0 <= forward.iou <= forward.dice <= 1
        assert forward.dice == pytest.approx(2 * forward.iou / (1 + forward.iou))
