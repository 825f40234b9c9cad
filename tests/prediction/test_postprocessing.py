"""Mending masks, on label maps small enough to be worked out by hand."""

import numpy as np
import pytest

from caseunet.bundle import PostprocessingRule
from caseunet.prediction.postprocessing import apply_postprocessing
from caseunet.types import Label, LabelMap

LIVER = LabelMap(
    labels=tuple(
        Label(id=n, name=name, color=(n, 0, 0)) for n, name in enumerate(("background", "liver", "tumour", "spleen"))
    ),
    structures={"liver": (1, 2), "tumour": (2,), "spleen": (3,)},
)
SPACING = (10.0, 10.0, 10.0)
"""A voxel is 1 mL."""


def rule(structure: str, do: str, least: float = 0.0) -> PostprocessingRule:
    return PostprocessingRule.model_validate({"structure": structure, "do": do, "least": least, "gain": 0.1})


def labels_of(*rows: str) -> np.ndarray:
    """One slice of digits."""
    return np.array([[int(digit) for digit in row] for row in rows], np.uint8)[None]


def test_the_largest_component_stays_and_the_tumour_in_it_counts_as_liver() -> None:
    labels = labels_of("1100003", "1200013", "0000003")
    expected = labels_of("1100003", "1200003", "0000003")
    np.testing.assert_array_equal(apply_postprocessing(labels, [rule("liver", "largest")], LIVER, SPACING), expected)


def test_corners_join() -> None:
    labels = labels_of("1000", "0100", "0010")
    np.testing.assert_array_equal(
        apply_postprocessing(labels.copy(), [rule("liver", "largest")], LIVER, SPACING), labels
    )


def test_a_small_tumour_becomes_liver_and_a_small_spleen_background() -> None:
    labels = labels_of("11111", "12121", "11211", "33003")
    expected = labels_of("11111", "12121", "11211", "33000")  # the tumours' corners join: 3 mL
    rules = [rule("tumour", "small", 2.0), rule("spleen", "small", 2.0)]
    np.testing.assert_array_equal(apply_postprocessing(labels.copy(), rules, LIVER, SPACING), expected)
    without = labels_of("11111", "11111", "11111", "33000")
    rules[0] = rule("tumour", "small", 3.5)
    np.testing.assert_array_equal(apply_postprocessing(labels, rules, LIVER, SPACING), without)


def test_without_a_spacing_sizes_are_shares_of_the_image() -> None:
    labels = labels_of("3300", "0003", "0000", "0000")  # 2/16 and 1/16
    expected = labels_of("3300", "0000", "0000", "0000")
    np.testing.assert_array_equal(apply_postprocessing(labels, [rule("spleen", "small", 0.07)], LIVER, None), expected)


@pytest.mark.parametrize("filled", ["liver", "spleen"])
def test_holes_of_background_are_filled_and_other_classes_stay(filled: str) -> None:
    labels = labels_of("1111133333", "1010130303", "1131130003", "1111133333")
    first, second = ("111111", "113111") if filled == "liver" else ("101011", "113111")
    apply_postprocessing(labels, [rule(filled, "fill")], LIVER, SPACING)
    assert "".join(map(str, labels[0, 1, :5])) == first[:5]
    assert "".join(map(str, labels[0, 2, :5])) == second[:5]
    assert np.all(labels[0, :, 5:] == 3) == (filled == "spleen")


def test_nothing_there_is_nothing_done() -> None:
    labels = np.zeros((2, 4, 4), np.uint8)
    rules = [rule("liver", "largest"), rule("liver", "fill"), rule("tumour", "small", 5)]
    assert not apply_postprocessing(labels, rules, LIVER, SPACING).any()
