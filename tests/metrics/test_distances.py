"""Distances between boundaries: by hand, by brute force, as MONAI has them, and what must always hold."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from scipy.ndimage import gaussian_filter

from caseunet.metrics.distances import SurfaceDistances, diagonal, surface_distances

ONES = (1.0, 1.0, 1.0)
Spacing = tuple[float, float, float]


def mask(shape: tuple[int, ...], *where: slice | int) -> np.ndarray:
    filled = np.zeros(shape, bool)
    filled[where] = True
    return filled


def test_pixel_against_pixel() -> None:
    """2, 3 and 1 pixels apart in steps of 2, 0.5 and 3: √(4² + 1.5² + 3²) = √27.25 = 5.2202."""
    found = surface_distances(mask((4, 7, 9), 1, 2, 3), mask((4, 7, 9), 3, 5, 4), (2, 0.5, 3))
    expected = pytest.approx(math.sqrt(27.25), rel=1e-6)
    assert found.of_reference.tolist() == [expected]
    assert found.of_prediction.tolist() == [expected]
    assert found.of_reference.dtype == found.of_prediction.dtype == np.float64
    assert found.percentile(95) == found.average == found.root_mean_square == found.maximum == expected
    assert found.within(5.221) == 1
    assert found.within(5.219) == 0


def test_square_against_moved_square() -> None:
    """3×3, moved by 2 columns; 8 boundary pixels each: 3 are 2 away, 2 are 1 away, 3 are shared."""
    reference, prediction = (mask((1, 7, 8), 0, slice(2, 5), slice(c, c + 3)) for c in (2, 4))
    found = surface_distances(reference, prediction, ONES)
    assert sorted(found.of_reference) == sorted(found.of_prediction) == [0, 0, 0, 1, 1, 2, 2, 2]
    assert found.average == 16 / 16
    assert found.root_mean_square == pytest.approx(math.sqrt(28 / 16))
    assert found.percentile(95) == found.maximum == 2
    assert found.percentile(50) == 1
    assert (found.within(0), found.within(0.5), found.within(1), found.within(2)) == (6 / 16, 6 / 16, 10 / 16, 1)


def test_square_within_a_larger_one() -> None:
    """3×3 in the middle of 7×7, columns 2 mm and rows 1 mm wide.

    From the inner boundary, 2 pixels from the outer, the nearest way is along rows or columns. Its top and bottom row
    are 2 rows = 2 mm away. The middle of its left and right column is 3 rows = 3 mm away, or 2 columns = 4 mm: 3.
    """
    inner, outer = mask((1, 9, 9), 0, slice(3, 6), slice(3, 6)), mask((1, 9, 9), 0, slice(1, 8), slice(1, 8))
    found = surface_distances(inner, outer, (9, 1, 2))
    assert sorted(found.of_reference) == pytest.approx([2] * 6 + [3] * 2)
    # From a corner of the outer: 2 rows and 2 columns, √(2² + 4²).
    assert len(found.of_prediction) == 24
    assert found.maximum == pytest.approx(math.sqrt(20))
    assert np.isclose(found.of_prediction, math.sqrt(20)).sum() == 4


def test_cube_against_moved_cube() -> None:
    """3×3×3, moved by a slice of 2.5 mm; 26 boundary pixels each.

    The 9 of the face left behind are 2.5 away. Of the others all are shared but the middle of the opposite face, which
    lies in the middle of the other cube, 0.8 from its next boundary pixel in the slice.
    """
    reference, prediction = (mask((6, 5, 5), slice(s, s + 3), slice(1, 4), slice(1, 4)) for s in (1, 2))
    found = surface_distances(reference, prediction, (2.5, 0.8, 0.8))
    for way in (found.of_reference, found.of_prediction):
        assert sorted(way) == pytest.approx([0] * 16 + [0.8] + [2.5] * 9)
    assert found.average == pytest.approx((0.8 + 9 * 2.5) / 26)
    assert found.root_mean_square == pytest.approx(math.sqrt((0.64 + 9 * 6.25) / 26))
    assert found.percentile(95) == found.maximum == pytest.approx(2.5)
    assert (found.within(0.7), found.within(0.8), found.within(2.4)) == (16 / 26, 17 / 26, 17 / 26)


def test_percentile_is_interpolated_in_each_direction() -> None:
    """A row of 11 pixels against its first: 0, 2, … 20 mm. 95 % lies between the 10th and 11th: rank 0.95 · 10 = 9.5.

    Both directions pooled would have 12 values and rank 10.45: 18.9 mm.
    """
    row, pixel = mask((1, 3, 12), 0, 1, slice(0, 11)), mask((1, 3, 12), 0, 1, 0)
    for found in (surface_distances(row, pixel, (1, 1, 2)), surface_distances(pixel, row, (1, 1, 2))):
        assert found.percentile(95) == pytest.approx(19)
        assert found.percentile(100) == found.maximum == 20
        assert found.average == pytest.approx(110 / 12)


def test_outside_the_image_is_outside_the_mask() -> None:
    """A full 4×4×4 image has a shell of 64 − 8 pixels. Its corner is √(1 + 1 + 1) pixels from an inner one."""
    full = np.ones((4, 4, 4), bool)
    found = surface_distances(full, mask((4, 4, 4), 1, 1, 1), ONES)
    assert found.of_reference.size == 56
    assert found.of_reference.min() == 1
    assert found.maximum == math.sqrt(12)
    assert found.of_prediction.tolist() == [1]


def test_axis_of_length_one_is_not_looked_along() -> None:
    """A full image of 4×5 pixels has an outline of 20 − 6, wherever the third axis is."""
    for axis in range(3):
        full = np.expand_dims(np.ones((4, 5), bool), axis)
        assert surface_distances(full, full, ONES).of_reference.size == 14


def test_one_slice_of_many_is_all_boundary() -> None:
    """The whole image decides which axes count, not the box around the masks."""
    square = mask((3, 5, 5), 1, slice(1, 4), slice(1, 4))
    assert surface_distances(square, square, ONES).of_reference.size == 9
    assert surface_distances(square[1:2], square[1:2], ONES).of_reference.size == 8


def test_image_of_one_pixel() -> None:
    one = np.ones((1, 1, 1), bool)
    assert surface_distances(one, one, ONES).of_reference.tolist() == [0]


def test_a_distance_of_the_tolerance_is_within_it() -> None:
    """3 · 0.1 is above 0.3 in double precision."""
    assert 3 * 0.1 > 0.3
    found = surface_distances(mask((2, 2, 9), 0, 0, 2), mask((2, 2, 9), 0, 0, 5), (0.1, 0.1, 0.1))
    assert found.within(0.3) == 1
    assert found.within(0.29999) == 0


@pytest.mark.parametrize("thickness", [1, 2])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_steps_along_a_long_row_do_not_add_up_errors(axis: int, thickness: int) -> None:
    """2999 steps of 0.7 beside steps of 5; added up in single precision they would come to 3e-5 too much."""
    shape, first, last, spacing = [thickness] * 3, [0] * 3, [0] * 3, [5.0] * 3
    shape[axis], last[axis], spacing[axis] = 3000, 2999, 0.7
    masks = [mask(tuple(shape), *pixel) for pixel in (first, last)]
    found = surface_distances(masks[0], masks[1], (spacing[0], spacing[1], spacing[2]))
    assert found.maximum == pytest.approx(2999 * 0.7, rel=1e-6)


def test_whole_pixels_are_exact() -> None:
    """1023² + 1279² needs 22 bits, and its root is rounded once."""
    shape = (1, 1024, 1280)
    assert surface_distances(mask(shape, 0, 0, 0), mask(shape, 0, -1, -1), ONES).maximum == math.hypot(1023, 1279)


def test_diagonal() -> None:
    assert diagonal((2, 3, 6), ONES) == 7
    assert diagonal((1, 3, 2), (2, 1, 3)) == 7


SLANTING = np.array([(0.3, 0.2, 2.5), (0.4, 0.8, 0.0), (1.0, -0.2, 0.1)])


def test_the_longest_diagonal_of_a_slanting_image() -> None:
    """Two rows and one column of 1 mm at 60 and at 120 degrees: √(4 + 1 + 2), the way of the long one."""
    for way in (0.5, -0.5):
        steps = np.array([(0, 0, 0), (1, 0, 0), (way, math.sqrt(0.75), 0)])
        assert diagonal((1, 2, 1), steps) == pytest.approx(math.sqrt(7))
    corners = np.array(list(itertools.product((0, 1), repeat=3))) * (4, 9, 7) @ SLANTING
    longest = max(np.linalg.norm(one - other) for one in corners for other in corners)
    assert diagonal((4, 9, 7), SLANTING) == pytest.approx(longest)


@pytest.mark.parametrize("shape", [(6, 9, 8), (1, 9, 8)])
def test_slanting_axes_by_brute_force(shape: tuple[int, int, int]) -> None:
    reference, prediction = blobs(2, shape)
    found = surface_distances(reference, prediction, SLANTING)
    first, second = (np.array(outline(filled)) @ SLANTING for filled in (reference, prediction))
    apart = np.sqrt(((first[:, None] - second) ** 2).sum(axis=2))
    np.testing.assert_allclose(found.of_reference, apart.min(axis=1))
    np.testing.assert_allclose(found.of_prediction, apart.min(axis=0))


def test_vectors_at_right_angles_are_lengths() -> None:
    """A rotation changes no distance."""
    pair = blobs(3, (5, 12, 11))
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    spacing = (2.5, 0.8, 0.7)
    assert_same(surface_distances(*pair, np.diag(spacing) @ turn), surface_distances(*pair, spacing))


def test_what_cannot_be_measured_is_refused() -> None:
    filled, empty = np.ones((2, 3, 4), bool), np.zeros((2, 3, 4), bool)
    with pytest.raises(ValueError, match="shapes differ"):
        surface_distances(filled, filled[:1], ONES)
    with pytest.raises(ValueError, match="the prediction is empty"):
        surface_distances(filled, empty, ONES)
    with pytest.raises(ValueError, match="the reference is empty"):
        surface_distances(empty, filled, ONES)
    with pytest.raises(ValueError, match="the reference must be boolean, not uint8"):
        surface_distances(filled.view(np.uint8), filled, ONES)


def blobs(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Two masks of a few smooth blobs, alike but not the same; some touch the edges."""
    rng = np.random.default_rng(seed)
    common, *own = (gaussian_filter(rng.normal(size=shape), 2) for _ in range(3))
    first, second = (common + 0.5 * noise > 0.03 for noise in own)
    return first, second


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("spacing", [ONES, (2.5, 0.8, 0.8), (0.7, 0.7, 5.0), (0.031, 0.27, 0.04)])
@pytest.mark.parametrize("shape", [(14, 21, 18), (1, 40, 50)])
def test_agrees_with_monai(shape: tuple[int, int, int], spacing: Spacing) -> None:
    reference, prediction = blobs(0, shape)
    found = surface_distances(reference, prediction, spacing)
    if shape[0] == 1:
        reference, prediction = reference[0], prediction[0]
    pair = torch.from_numpy(prediction)[None, None], torch.from_numpy(reference)[None, None]
    steps = spacing[-reference.ndim :]
    common = {"include_background": True, "spacing": steps}
    tolerance = 1.3 * min(steps)  # no distance is just that
    expected = (
        compute_hausdorff_distance(*pair, percentile=95, **common),
        compute_hausdorff_distance(*pair, **common),
        compute_average_surface_distance(*pair, symmetric=True, **common),
        compute_surface_dice(*pair, class_thresholds=[tolerance], **common),
    )
    assert 0 < expected[3].item() < 1
    assert (found.percentile(95), found.maximum, found.average, found.within(tolerance)) == pytest.approx(
        tuple(value.item() for value in expected), rel=1e-5
    )


def outline(filled: np.ndarray) -> list[tuple[int, ...]]:
    """The boundary pixels, asked one by one."""
    shape = filled.shape
    axes = [axis for axis in range(3) if shape[axis] > 1] or [0]

    def outside(pixel: tuple[int, ...], axis: int, step: int) -> bool:
        at = list(pixel)
        at[axis] += step
        return not 0 <= at[axis] < shape[axis] or not filled[tuple(at)]

    pixels = itertools.product(*map(range, shape))
    return [p for p in pixels if filled[p] and any(outside(p, axis, step) for axis in axes for step in (-1, 1))]


def by_brute_force(reference: np.ndarray, prediction: np.ndarray, spacing: Spacing) -> SurfaceDistances:
    first, second = (np.array(outline(filled)) * spacing for filled in (reference, prediction))
    all_pairs = np.sqrt(((first[:, None] - second) ** 2).sum(axis=2))
    return SurfaceDistances(all_pairs.min(axis=1), all_pairs.min(axis=0))


def assert_same(found: SurfaceDistances, expected: SurfaceDistances, rtol: float = 1e-6) -> None:
    """The same distances, in whatever order of the pixels."""
    np.testing.assert_allclose(np.sort(found.of_reference), np.sort(expected.of_reference), rtol=rtol)
    np.testing.assert_allclose(np.sort(found.of_prediction), np.sort(expected.of_prediction), rtol=rtol)


@pytest.mark.parametrize("spacing", [ONES, (0.7, 0.7, 5.0), (5.0, 0.7, 0.7), (0.013, 0.29, 0.0071)])
def test_agrees_with_brute_force_pixel_by_pixel(spacing: Spacing) -> None:
    reference, prediction = blobs(1, (9, 12, 15))
    found, expected = (way(reference, prediction, spacing) for way in (surface_distances, by_brute_force))
    np.testing.assert_allclose(found.of_reference, expected.of_reference, rtol=1e-6)
    np.testing.assert_allclose(found.of_prediction, expected.of_prediction, rtol=1e-6)


@st.composite
def pairs(draw: st.DrawFn, shortest: int = 1) -> tuple[np.ndarray, np.ndarray, Spacing]:
    """Two masks of one shape, neither of them empty, sparse or dense, and a spacing."""
    length = st.integers(shortest, 7)
    shape = draw(st.tuples(length, length, length))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    masks = []
    for share in draw(st.tuples(*[st.sampled_from((0.0, 0.1, 0.5, 0.9))] * 2)):
        filled = rng.random(shape) < share
        filled[tuple(rng.integers(0, shape))] = True
        masks.append(filled)
    step = st.floats(0.01, 10)
    return masks[0], masks[1], draw(st.tuples(step, step, step))


quick = settings(deadline=None, max_examples=50)


@quick
@given(pairs())
def test_brute_force(pair: tuple[np.ndarray, np.ndarray, Spacing]) -> None:
    assert_same(surface_distances(*pair), by_brute_force(*pair))


@quick
@given(pairs())
def test_swapping_swaps(pair: tuple[np.ndarray, np.ndarray, Spacing]) -> None:
    reference, prediction, spacing = pair
    forward = surface_distances(reference, prediction, spacing)
    backward = surface_distances(prediction, reference, spacing)
    np.testing.assert_array_equal(forward.of_reference, backward.of_prediction)
    np.testing.assert_array_equal(forward.of_prediction, backward.of_reference)
    assert forward.percentile(95) == backward.percentile(95)
    assert forward.average == backward.average
    assert forward.within(1) == backward.within(1)


@quick
@given(pairs(), st.permutations(range(3)), st.sets(st.integers(0, 2)))
def test_turned_and_mirrored_images(
    pair: tuple[np.ndarray, np.ndarray, Spacing], order: list[int], mirrored: set[int]
) -> None:
    reference, prediction, spacing = pair
    turned = [np.flip(filled, tuple(mirrored)).transpose(order) for filled in (reference, prediction)]
    steps = (spacing[order[0]], spacing[order[1]], spacing[order[2]])
    assert_same(surface_distances(turned[0], turned[1], steps), surface_distances(reference, prediction, spacing))


@quick
@given(pairs(), st.floats(1e-3, 1e3))
def test_scale(pair: tuple[np.ndarray, np.ndarray, Spacing], scale: float) -> None:
    reference, prediction, spacing = pair
    found = surface_distances(reference, prediction, spacing)
    scaled = surface_distances(reference, prediction, (scale * spacing[0], scale * spacing[1], scale * spacing[2]))
    assert_same(scaled, SurfaceDistances(scale * found.of_reference, scale * found.of_prediction))


@quick
@given(pairs())
def test_range(pair: tuple[np.ndarray, np.ndarray, Spacing]) -> None:
    reference, prediction, spacing = pair
    found = surface_distances(reference, prediction, spacing)
    farthest = diagonal(reference.shape, spacing)
    assert min(found.of_reference.min(), found.of_prediction.min()) >= 0
    assert 0 <= found.average <= found.root_mean_square * (1 + 1e-12) <= found.maximum * (1 + 1e-11)
    assert found.percentile(50) <= found.percentile(95) <= found.maximum < farthest
    assert found.within(0) <= found.within(1) <= found.within(farthest) == 1
    same = surface_distances(reference, reference, spacing)
    assert same.maximum == 0
    assert same.within(0) == 1


@quick
@given(pairs(shortest=2), st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 3))
def test_empty_surroundings_change_nothing(
    pair: tuple[np.ndarray, np.ndarray, Spacing], padding: tuple[tuple[int, int], ...]
) -> None:
    reference, prediction, spacing = pair
    found = surface_distances(np.pad(reference, padding), np.pad(prediction, padding), spacing)
    expected = surface_distances(reference, prediction, spacing)
    np.testing.assert_array_equal(found.of_reference, expected.of_reference)
    np.testing.assert_array_equal(found.of_prediction, expected.of_prediction)
