"""What is kept of a source's slices, and at what size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseunet.config import PrepareConfig
from caseunet.data.grid import MARGIN, MOST_PIXELS, Placement, body_box, place, plan_grid, widened
from caseunet.errors import UserError
from caseunet.types import Grid

MEDIAN = PrepareConfig(spacing="median", crop_air=True)


def ct(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (100, 120)) -> np.ndarray:
    """Three slices of air with boxes (top, left, bottom, right) of soft tissue in the middle one."""
    pixels = np.full((3, 1, *size), -1000, np.int16)
    for top, left, bottom, right in boxes:
        pixels[1, 0, top:bottom, left:right] = 40
    return pixels


def test_the_body_is_found_with_a_margin() -> None:
    box = body_box(ct((40, 48, 72, 96)))
    assert box == (40 - MARGIN, 48 - MARGIN, 68 + 1 + MARGIN, 92 + 1 + MARGIN)
    assert body_box(ct((0, 0, 100, 120))) == (0, 0, 100, 120)


def test_thin_things_are_no_body_and_without_one_all_is_kept() -> None:
    body = (40, 48, 72, 96)
    assert body_box(ct(body, (90, 0, 93, 120), (5, 5, 8, 8))) == body_box(ct(body))
    assert body_box(ct((90, 0, 93, 120))) == (0, 0, 100, 120)


@given(top=st.integers(0, 60), left=st.integers(0, 80), height=st.integers(16, 40), width=st.integers(16, 40))
def test_no_part_of_a_thick_body_is_cut_off(top: int, left: int, height: int, width: int) -> None:
    bottom, right = min(100, top + height), min(120, left + width)
    box = body_box(ct((top, left, bottom, right)))
    assert box[0] <= top
    assert box[1] <= left
    assert box[2] >= bottom
    assert box[3] >= right


def test_labels_outside_of_the_body_widen_the_box() -> None:
    pixels, labels = ct((40, 48, 72, 96)), np.zeros((3, 100, 120), np.uint8)
    grid = Grid(crop_air=True)
    placement = place(pixels, None, grid)
    assert widened(placement, labels, None, grid) == placement
    labels[2, 99, 3] = 1
    assert widened(placement, labels, None, grid).box == (placement.box[0], 3, 100, placement.box[3])
    assert widened(placement, labels, None, grid).size == (100 - placement.box[0], placement.box[3] - 3)


def test_sizes_follow_from_the_rule() -> None:
    pixels = ct(size=(100, 120))
    assert place(pixels, (5, 0.8, 0.6), Grid()).size == (100, 120)
    assert place(pixels, (5, 0.8, 0.6), Grid(size=(64, 96))).size == (64, 96)
    assert place(pixels, (5, 0.8, 0.6), Grid(spacing=(0.4, 1.2))).size == (200, 60)
    assert place(pixels, None, Grid(spacing=(0.4, 1.2))).size == (100, 120), "an array is taken to be at the spacing"
    assert place(pixels, None, Grid(scale=0.5)).size == (50, 60)
    with pytest.raises(ValueError, match="only one can be given"):
        Grid(size=(64, 64), scale=0.5)


def test_what_is_cut_is_where_the_box_says() -> None:
    slices = np.arange(30).reshape(1, 5, 6)
    assert Placement((1, 2, 3, 4), (2, 2)).cut(slices).tolist() == [[[8, 9], [14, 15]]]


def test_the_plan_takes_the_median_spacing() -> None:
    spacings = [(0.7, 0.7), (0.8, 0.8), (0.9, 1.0)]
    assert plan_grid(MEDIAN, "ct", [(512, 512)] * 3, spacings) == Grid(crop_air=True, spacing=(0.8, 0.8))
    assert plan_grid(MEDIAN, "mr", [(512, 512)] * 3, [(1, 1.0)] * 3) == Grid(), "equal ones need no resampling"
    config = PrepareConfig(spacing=(0.5, 0.5))
    assert plan_grid(config, "mr", [(512, 512)] * 3, spacings) == Grid(spacing=(0.5, 0.5))
    assert plan_grid(PrepareConfig(size=(64, 64), spacing="median"), "mr", [(9, 9)], [(1, 1)]) == Grid(size=(64, 64))
    assert plan_grid(PrepareConfig(), "ct", [(9, 9)], [(1, 1)]) == Grid()


def test_the_plan_shrinks_what_has_too_many_pixels() -> None:
    assert plan_grid(MEDIAN, "rgb", [(1024, 1280)] * 3, [None] * 3) == Grid()
    large = plan_grid(MEDIAN, "rgb", [(4000, 6000)] * 3, [None] * 3)
    assert large.scale == pytest.approx((MOST_PIXELS / 24e6) ** 0.5)
    xray = plan_grid(MEDIAN, "mr", [(3072, 2048)] * 3, [(0.1, 0.1)] * 3)
    assert xray.spacing == pytest.approx((0.2, 0.2))


def test_millimetres_need_a_spacing() -> None:
    with pytest.raises(UserError, match="prepare.spacing is in millimetres, but images without a spacing"):
        plan_grid(PrepareConfig(spacing=(1, 1)), "mr", [(64, 64)] * 2, [(1, 1), None])
