"""Lesion-wise agreement, by hand and against a slow count over sets of voxels."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseunet.metrics.lesions import Connectivity, Detection, Lesion, detect

Voxel = tuple[int, ...]


def drawn(*rows: str) -> np.ndarray:
    """One slice, (1, H, W): # is lesion."""
    return np.array([[[pixel == "#" for pixel in row] for row in rows]])


def voxels_at(*places: Voxel) -> np.ndarray:
    mask = np.zeros((3, 3, 3), bool)
    for place in places:
        mask[place] = True
    return mask


def figures(found: Detection) -> tuple[int, int, int]:
    return found.num_detected, found.num_missed, found.false


NOTHING = drawn("...")


def test_neither_has_a_lesion() -> None:
    found = detect(NOTHING, NOTHING)
    assert found == Detection((), ())
    assert math.isnan(found.sensitivity)
    assert math.isnan(found.precision)
    assert math.isnan(found.f1)


def test_only_the_reference_has_lesions() -> None:
    found = detect(drawn("#.#"), NOTHING)
    assert figures(found) == (0, 2, 0)
    assert found.sensitivity == 0
    assert math.isnan(found.precision)
    assert found.f1 == 0


def test_only_the_prediction_has_lesions() -> None:
    found = detect(NOTHING, drawn("#.#"))
    assert figures(found) == (0, 0, 2)
    assert math.isnan(found.sensitivity)
    assert found.precision == 0
    assert found.f1 == 0


def test_one_voxel_each_in_the_same_place() -> None:
    mask = voxels_at((1, 2, 0))
    lesion = Lesion(voxels=1, center=(1, 2, 0), overlap=1, partners=1)
    assert detect(mask, mask) == Detection((lesion,), (lesion,))


def test_neighbours_share_no_voxel() -> None:
    found = detect(voxels_at((1, 1, 1)), voxels_at((2, 2, 2)))
    assert found.reference == (Lesion(voxels=1, center=(1, 1, 1), overlap=0, partners=0),)
    assert found.predicted == (Lesion(voxels=1, center=(2, 2, 2), overlap=0, partners=0),)
    assert figures(found) == (0, 1, 1)


@pytest.mark.parametrize(
    ("second", "lesions"),
    [
        ((1, 1, 2), {6: 1, 18: 1, 26: 1}),  # by a face
        ((1, 2, 2), {6: 2, 18: 1, 26: 1}),  # by an edge
        ((2, 2, 2), {6: 2, 18: 2, 26: 1}),  # by a corner
        ((0, 2, 0), {6: 2, 18: 2, 26: 1}),  # by a corner, the other way
    ],
)
def test_which_neighbours_are_one_lesion(second: Voxel, lesions: dict[Connectivity, int]) -> None:
    mask = voxels_at((1, 1, 1), second)
    for connectivity, expected in lesions.items():
        assert len(detect(mask, mask, connectivity).reference) == expected


def test_an_image_has_eight_neighbours_or_four() -> None:
    """
    #..
    .#.     one lesion by corners, three by edges of pixels
    ..#
    """
    mask = drawn("#..", ".#.", "..#")
    assert len(detect(mask, mask).reference) == 1
    assert len(detect(mask, mask, 6).reference) == 3


def test_a_lesion_in_two_pieces_is_detected_once() -> None:
    """A large piece and a small one."""
    found = detect(
        drawn("##########"),
        drawn("#######.##"),
    )
    assert found.reference == (Lesion(voxels=10, center=(0, 0, 4.5), overlap=9, partners=2),)
    assert found.predicted == (
        Lesion(voxels=7, center=(0, 0, 3), overlap=7, partners=1),
        Lesion(voxels=2, center=(0, 0, 8.5), overlap=2, partners=1),
    )
    assert figures(found) == (1, 0, 0)
    assert (found.sensitivity, found.precision, found.f1) == (1, 1, 1)


def test_a_piece_that_joins_two_lesions_detects_both() -> None:
    found = detect(
        drawn("##.##"),
        drawn(".###."),
    )
    assert [(lesion.overlap, lesion.partners) for lesion in found.reference] == [(1, 1), (1, 1)]
    assert found.predicted == (Lesion(voxels=3, center=(0, 0, 2), overlap=2, partners=2),)
    assert figures(found) == (2, 0, 0)


def test_a_chain() -> None:
    """The first piece touches lesions 1 and 2, the second 2 and 3."""
    found = detect(
        drawn("###.#####.###"),
        drawn("######.######"),
    )
    assert [(lesion.overlap, lesion.partners) for lesion in found.reference] == [(3, 1), (4, 2), (3, 1)]
    assert [(lesion.overlap, lesion.partners) for lesion in found.predicted] == [(5, 2), (5, 2)]


def test_ratios() -> None:
    """Three lesions, of which the first two are touched; four pieces, of which the last two touch nothing."""
    found = detect(
        drawn("###...##...##...."),
        drawn("..##...#.#.....##"),
    )
    assert figures(found) == (2, 1, 2)
    assert found.sensitivity == pytest.approx(2 / 3)
    assert found.precision == pytest.approx(1 / 2)
    assert found.f1 == pytest.approx(4 / 7)  # 2·2 / (2·2 + 2 + 1)


def test_centers_are_in_the_whole_image() -> None:
    """
    Slice 4, from row 10 and column 20 on, of a larger image:
    ##.     rows (0, 0, 1) mean 1/3, columns (0, 1, 1) mean 2/3
    .#.
    """
    mask = np.zeros((6, 30, 40), bool)
    mask[4, 10:12, 20:23] = [[1, 1, 0], [0, 1, 0]]
    (lesion,) = detect(mask, mask).reference
    assert lesion.center == pytest.approx((4, 10 + 1 / 3, 20 + 2 / 3))


def test_many_single_pixels() -> None:
    """Every other pixel of every other row: 50 × 50."""
    mask = np.zeros((1, 100, 100), bool)
    mask[0, ::2, ::2] = True
    found = detect(mask, mask)
    assert len(found.reference) == found.num_detected == 2500


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 1, 3\) and \(1, 1, 2\)"):
        detect(drawn("#.."), drawn("#."))
    with pytest.raises(ValueError, match="not \\(S, H, W\\)"):
        detect(drawn("#..")[0], drawn("#..")[0])


def components(mask: np.ndarray, connectivity: int) -> list[set[Voxel]]:
    """By walking from voxel to voxel, each component when its first voxel is met."""
    axes_apart = {6: 1, 18: 2, 26: 3}[connectivity]
    steps = [step for step in product((-1, 0, 1), repeat=3) if 0 < sum(map(abs, step)) <= axes_apart]
    left = {tuple(map(int, place)) for place in np.argwhere(mask)}
    found = []
    for start in sorted(left):
        if start not in left:
            continue
        left.remove(start)
        component, to_visit = {start}, [start]
        while to_visit:
            place = to_visit.pop()
            for step in steps:
                neighbour = tuple(a + b for a, b in zip(place, step, strict=True))
                if neighbour in left:
                    left.remove(neighbour)
                    component.add(neighbour)
                    to_visit.append(neighbour)
        found.append(component)
    return found


@st.composite
def two_masks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """From empty to full, alike or not, small enough that every meeting of components occurs."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 8)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    share, other = draw(st.sampled_from([0, 0.1, 0.25, 0.4, 0.6, 1])), draw(st.sampled_from([0, 0.1, 0.25, 0.5]))
    reference = rng.random(shape) < share
    return reference, reference ^ (rng.random(shape) < other)


@given(two_masks(), st.sampled_from([6, 18, 26]))
def test_against_sets_of_voxels(masks: tuple[np.ndarray, np.ndarray], connectivity: Connectivity) -> None:
    found = detect(*masks, connectivity)
    sides = [components(mask, connectivity) for mask in masks]
    for lesions, mine, others in ((found.reference, *sides), (found.predicted, *sides[::-1])):
        assert len(lesions) == len(mine)
        for lesion, component in zip(lesions, mine, strict=True):
            assert lesion.voxels == len(component)
            assert lesion.center == pytest.approx(np.mean(sorted(component), axis=0))
            assert lesion.overlap == sum(len(component & other) for other in others)
            assert lesion.partners == sum(bool(component & other) for other in others)


@given(two_masks())
def test_swapping_the_masks_swaps_the_sides(masks: tuple[np.ndarray, np.ndarray]) -> None:
    reference, prediction = masks
    there, back = detect(reference, prediction), detect(prediction, reference)
    assert (there.reference, there.predicted) == (back.predicted, back.reference)
    np.testing.assert_equal((there.sensitivity, there.precision), (back.precision, back.sensitivity))


@given(two_masks(), st.sampled_from([(0,), (1,), (2,), (0, 1, 2)]))
def test_flipping_changes_no_count(masks: tuple[np.ndarray, np.ndarray], axes: tuple[int, ...]) -> None:
    before, after = detect(*masks), detect(*(np.flip(mask, axes) for mask in masks))
    assert figures(before) == figures(after)
    np.testing.assert_equal(before.f1, after.f1)
    np.testing.assert_equal(before.precision, after.precision)


@given(two_masks(), st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 3))
def test_padding_only_moves_centers(masks: tuple[np.ndarray, np.ndarray], margins: tuple[tuple[int, int], ...]) -> None:
    before, after = detect(*masks), detect(*(np.pad(mask, margins) for mask in masks))
    assert figures(before) == figures(after)
    for lesion, moved in zip(before.reference + before.predicted, after.reference + after.predicted, strict=True):
        expected = [place + margin for place, (margin, _) in zip(lesion.center, margins, strict=True)]
        assert moved.center == pytest.approx(expected)
        assert (moved.voxels, moved.overlap, moved.partners) == (lesion.voxels, lesion.overlap, lesion.partners)


@given(two_masks())
def test_the_order_in_memory_does_not_matter(masks: tuple[np.ndarray, np.ndarray]) -> None:
    reference, prediction = masks
    assert detect(np.asfortranarray(reference), np.repeat(prediction, 2, axis=2)[:, :, ::2]) == detect(*masks)
