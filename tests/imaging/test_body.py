"""Where the body of a CT lies, and where it cannot be told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseunet.imaging.body import LABEL_MARGIN, MARGIN, find_body_box, mark_edge


def ct(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (100, 120)) -> np.ndarray:
    """Three slices of air with boxes (top, left, bottom, right) of soft tissue in the middle one."""
    pixels = np.full((3, 1, *size), -1000, np.int16)
    for top, left, bottom, right in boxes:
        pixels[1, 0, top:bottom, left:right] = 40
    return pixels


def test_the_body_is_found_with_a_margin() -> None:
    box = find_body_box(ct((40, 48, 72, 96)))
    assert box == (40 - MARGIN, 48 - MARGIN, 72 + MARGIN, 96 + MARGIN)
    assert find_body_box(ct((0, 0, 100, 120))) == (0, 0, 100, 120)


def test_thin_things_are_no_body() -> None:
    body = (40, 48, 72, 96)
    assert find_body_box(ct(body, (90, 0, 93, 120), (5, 5, 8, 8))) == find_body_box(ct(body))
    assert find_body_box(ct((90, 0, 93, 120))) is None


@pytest.mark.parametrize(("width", "kept"), [(5, False), (6, True), (8, True), (12, True)])
@pytest.mark.parametrize("corner", [(1, 1), (2, 107), (87, 3), (80, 100)])
def test_a_thin_limb_is_kept_a_tube_is_not(width: int, kept: bool, corner: tuple[int, int]) -> None:
    body, (top, left) = (40, 48, 72, 96), corner
    limb = top, left, top + width, left + width
    alone, found = find_body_box(ct(body)), find_body_box(ct(body, limb))
    assert alone is not None
    assert found == (
        alone
        if not kept
        else (
            max(0, min(alone[0], limb[0] - MARGIN)),
            max(0, min(alone[1], limb[1] - MARGIN)),
            min(100, max(alone[2], limb[2] + MARGIN)),
            min(120, max(alone[3], limb[3] + MARGIN)),
        )
    )


@pytest.mark.parametrize("radius", [5, 6, 8])
def test_the_thinner_of_two_legs_is_kept(radius: int) -> None:
    rows, columns = np.mgrid[:96, :60]
    legs = ((rows - 20) ** 2 + (columns - 30) ** 2 < 16**2) | ((rows - 78) ** 2 + (columns - 30) ** 2 < radius**2)
    pixels = np.where(legs, 50, -1000) + np.random.default_rng(0).normal(0, 8, (10, 1, 96, 60))
    box = find_body_box(pixels)
    assert box is not None
    assert min(96, 78 + radius + MARGIN) - 2 <= box[2] <= 78 + radius + MARGIN  # its cap holds no square


@pytest.mark.parametrize("slope", [0, 0.3, 1])
def test_a_couchs_shell_and_noise_are_no_limb(slope: float) -> None:
    """Five pixels thick, flat and bent, under a body in noise of a low dose with streaks."""
    pixels = ct((20, 48, 52, 96)).astype(np.float32)
    alone = find_body_box(pixels)
    columns = np.arange(120)
    shell = 78 + np.rint(slope * np.abs(columns - 60) / 4).astype(int)
    for n in range(5):
        pixels[:, 0, shell + n, columns] = 200
    pixels += np.random.default_rng(0).normal(0, 30, pixels.shape)
    pixels[0, 0, 8:70:20] = 300
    assert find_body_box(pixels) == alone


@given(top=st.integers(0, 60), left=st.integers(0, 80), height=st.integers(16, 40), width=st.integers(16, 40))
def test_no_part_of_a_thick_body_is_cut_off(top: int, left: int, height: int, width: int) -> None:
    bottom, right = min(100, top + height), min(120, left + width)
    box = find_body_box(ct((top, left, bottom, right)))
    assert box is not None
    assert box[0] <= top
    assert box[1] <= left
    assert box[2] >= bottom
    assert box[3] >= right


@pytest.mark.parametrize(
    ("around", "found"),
    [(-1000, True), (-2048, True), (-850, False), (-700, False)],
    ids=["air", "padding", "lung", "dense lung"],
)
def test_lung_is_never_cut_off(around: int, found: bool) -> None:
    """A scan cut to a lung has a wall at one side, or vessels in its middle, and no air to be cut off."""
    pixels = ct((40, 0, 72, 20))
    pixels[pixels == -1000] = around
    assert (find_body_box(pixels) is not None) == found


@pytest.mark.parametrize(("share", "found"), [(0.2, True), (0.5, False)])
def test_a_couch_does_not_hide_a_body(share: float, found: bool) -> None:
    """Foam of -850 HU under the patient, a fifth of what is cut off in a real scan."""
    pixels = ct((0, 48, 32, 96))
    rows = round(100 * share)
    pixels[:, :, 100 - rows :] = -850
    assert (find_body_box(pixels) is not None) == found


@given(st.tuples(*[st.integers(0, 20)] * 2), st.tuples(*[st.integers(30, 50)] * 2))
def test_edges_keep_a_label_its_context(corner: tuple[int, int], end: tuple[int, int]) -> None:
    """Pixel by pixel: near the box's edge, unless that is the image's own, or out of it."""
    (top, left), (bottom, right) = corner, end
    for row, column in np.ndindex(50, 50):
        rows = top + LABEL_MARGIN * (top > 0) <= row < bottom - LABEL_MARGIN * (bottom < 50)
        columns = left + LABEL_MARGIN * (left > 0) <= column < right - LABEL_MARGIN * (right < 50)
        assert mark_edge((top, left, bottom, right), (50, 50))[row, column] == (not (rows and columns))
