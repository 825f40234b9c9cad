"""What is kept of a source's slices, and at what size."""

import numpy as np
import pytest

from caseunet.config import PrepareConfig
from caseunet.data.grid import MAX_PREPARED_PIXELS, Placement, place_slices, plan_grid
from caseunet.errors import CaseUNetError
from caseunet.types import Grid

MEDIAN = PrepareConfig(spacing="median", crop_to_body=True)


def ct(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (100, 120)) -> np.ndarray:
    """Three slices of air with boxes (top, left, bottom, right) of soft tissue in the middle one."""
    pixels = np.full((3, 1, *size), -1000, np.int16)
    for top, left, bottom, right in boxes:
        pixels[1, 0, top:bottom, left:right] = 40
    return pixels


BODY, WHOLE = ct((40, 48, 72, 96)), (0, 0, 100, 120)
CROPPED = (28, 36, 84, 108)
"""The body and 12 rows and columns of air around it: 56 rows and 72 columns."""


def test_the_air_is_cut_off_where_asked() -> None:
    assert place_slices(BODY, None, Grid()) == Placement(WHOLE, (100, 120))
    assert place_slices(BODY, None, Grid(crop_to_body=True)) == Placement(CROPPED, (56, 72))
    assert place_slices(BODY, (5, 1, 1), Grid(crop_to_body=True, spacing=(2, 0.5))) == Placement(CROPPED, (28, 144))


@pytest.mark.parametrize(
    ("spacing", "least", "cropped"),
    [
        ((5, 1, 1), (112, 144), True),  # half as large as the smallest of training
        ((5, 1, 1), (113, 144), False),
        ((5, 1, 1), (112, 145), False),
        ((5, 2, 2), (224, 288), True),
        ((5, 2, 0.5), (56, 73), False),
        (None, (300, 300), True),  # its millimetres are not known
        ((5, 1, 1), None, True),
    ],
)
def test_a_part_of_a_body_is_no_body(
    spacing: tuple[float, float, float] | None, least: tuple[float, float] | None, cropped: bool
) -> None:
    placement = place_slices(BODY, spacing, Grid(crop_to_body=True, least_box=least))
    assert placement.box == (CROPPED if cropped else WHOLE)
    assert ("in training at least" in placement.remark) == (not cropped)


def test_nothing_dense_keeps_the_whole_slice() -> None:
    placement = place_slices(ct(), (5, 1, 1), Grid(crop_to_body=True))
    assert placement.box == WHOLE
    assert placement.remark == "no body with air around it is found, so nothing is cut off"


def test_sizes_follow_from_the_rule() -> None:
    pixels = ct(size=(100, 120))
    assert place_slices(pixels, (5, 0.8, 0.6), Grid()).size == (100, 120)
    assert place_slices(pixels, (5, 0.8, 0.6), Grid(size=(64, 96))).size == (64, 96)
    assert place_slices(pixels, (5, 0.8, 0.6), Grid(spacing=(0.4, 1.2))).size == (200, 60)
    assert place_slices(pixels, None, Grid(spacing=(0.4, 1.2))).size == (100, 120), (
        "an array is taken to be at the spacing"
    )
    assert place_slices(pixels, (5, 0.803, 0.9), Grid(spacing=(0.8, 0.8))).size == (100, 135), "0.4 % would only blur"
    assert place_slices(pixels, None, Grid(scale=0.5)).size == (50, 60)
    with pytest.raises(ValueError, match="only one can be given"):
        Grid(size=(64, 64), scale=0.5)


def test_what_is_cut_is_where_the_box_says() -> None:
    slices = np.arange(30).reshape(1, 5, 6)
    assert Placement((1, 2, 3, 4), (2, 2)).cut(slices).tolist() == [[[8, 9], [14, 15]]]


def test_the_plan_takes_the_median_spacing() -> None:
    spacings = [(0.7, 0.7), (0.8, 0.8), (0.9, 1.0)]
    assert plan_grid(MEDIAN, "ct", [(512, 512)] * 3, spacings) == Grid(crop_to_body=True, spacing=(0.8, 0.8))
    same = plan_grid(MEDIAN, "mr", [(512, 512)] * 3, [(1, 1.0)] * 3)
    assert same == Grid(spacing=(1, 1)), "of equal ones too: what is predicted later may have another"
    config = PrepareConfig(spacing=(0.5, 0.5))
    assert plan_grid(config, "mr", [(512, 512)] * 3, spacings) == Grid(spacing=(0.5, 0.5))
    assert plan_grid(PrepareConfig(size=(64, 64), spacing="median"), "mr", [(9, 9)], [(1, 1)]) == Grid(size=(64, 64))
    assert plan_grid(PrepareConfig(), "ct", [(9, 9)], [(1, 1)]) == Grid()


def test_an_unknown_pixel_size_is_told() -> None:
    pixels, millimetres = ct(size=(100, 120)), Grid(spacing=(0.4, 1.2))
    told = place_slices(pixels, None, millimetres).remark
    assert told.startswith("the size of its pixels is not known. They are taken to be 0.4 × 1.2 mm large")
    assert place_slices(pixels, (5, 0.8, 0.6), millimetres).remark == place_slices(pixels, None, Grid()).remark == ""


def test_plan_shrinks_what_has_too_many_pixels() -> None:
    assert plan_grid(MEDIAN, "rgb", [(1024, 1280)] * 3, [None] * 3) == Grid()
    large = plan_grid(MEDIAN, "rgb", [(4000, 6000)] * 3, [None] * 3)
    assert large.scale == pytest.approx((MAX_PREPARED_PIXELS / 24e6) ** 0.5)
    xray = plan_grid(MEDIAN, "mr", [(3072, 2048)] * 3, [(0.1, 0.1)] * 3)
    assert xray.spacing == pytest.approx((0.2, 0.2))
    assert plan_grid(MEDIAN, "rgb", [(4000, 6000)] * 3, [None] * 3, shrink=False) == Grid()
    assert plan_grid(MEDIAN, "mr", [(3072, 2048)] * 3, [(0.1, 0.1)] * 3, shrink=False) == Grid(spacing=(0.1, 0.1))


def test_millimetres_need_a_spacing() -> None:
    with pytest.raises(CaseUNetError, match="prepare.spacing is in millimetres, but images without a spacing"):
        plan_grid(PrepareConfig(spacing=(1, 1)), "mr", [(64, 64)] * 2, [(1, 1), None])
