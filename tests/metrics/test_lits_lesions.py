"""Lesions as the LiTS scorer matches them, by hand and against a slow count over sets of voxels."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caseunet.metrics.lits_lesions import LitsDetection, lits_detection

Voxel = tuple[int, ...]
Pair = tuple[frozenset[Voxel], frozenset[Voxel]]


def drawn(*rows: str) -> np.ndarray:
    """One slice, (1, H, W): # is lesion."""
    return np.array([[[pixel == "#" for pixel in row] for row in rows]])


def figures(found: LitsDetection) -> tuple[int, int, int]:
    return found.true_positives, found.false_positives, found.false_negatives


def both_ways(reference: np.ndarray, prediction: np.ndarray, min_overlap: float) -> tuple[int, int, int]:
    """TP, FP, FN where the scorer's way and the mended one must agree."""
    scorer, mended = (figures(lits_detection(reference, prediction, min_overlap, way)) for way in (False, True))
    assert scorer == mended
    return scorer


NOTHING = drawn("...")


@pytest.mark.parametrize(
    ("reference", "prediction", "expected"),
    [
        (NOTHING, NOTHING, (0, 0, 0)),
        (drawn("#.#"), NOTHING, (0, 0, 2)),
        (NOTHING, drawn("#.#"), (0, 2, 0)),
        (drawn("#.."), drawn("#.."), (1, 0, 0)),
        (drawn("#..", "..."), drawn("...", ".#."), (0, 1, 1)),  # diagonal neighbours
        (drawn("#.."), drawn(".#."), (0, 1, 1)),
    ],
)
def test_empty_masks_and_single_voxels(
    reference: np.ndarray, prediction: np.ndarray, expected: tuple[int, int, int]
) -> None:
    assert both_ways(reference, prediction, 0) == expected
    assert len(lits_detection(reference, prediction, 0, mended=False).pairs) == expected[0]


@pytest.mark.parametrize(("second", "lesions"), [((1, 1, 2), 1), ((1, 2, 2), 2), ((2, 2, 2), 2)])
def test_only_faces_make_one_lesion(second: Voxel, lesions: int) -> None:
    """By a face, an edge, a corner."""
    mask = np.zeros((3, 3, 3), bool)
    mask[1, 1, 1] = mask[second] = True
    found = lits_detection(mask, mask, 0.5, mended=False)
    assert (found.reference, found.predicted, found.true_positives) == (lesions, lesions, lesions)


def test_a_split_lesion() -> None:
    """The two pieces are one predicted object, and 4/5 of the union is shared: 1 of 2 pieces counts."""
    reference = drawn("#####")
    prediction = drawn("##.##")
    assert both_ways(reference, prediction, 0.5) == (1, 1, 0)
    ((whole, pieces),) = lits_detection(reference, prediction, 0.5, mended=True).pairs
    assert whole.tolist() == reference.tolist()
    assert pieces.tolist() == prediction.tolist()


def test_joined_lesions() -> None:
    """The two lesions are one reference object, 4/5 again: 1 of 2 lesions counts."""
    reference = drawn("##.##")
    prediction = drawn("#####")
    assert both_ways(reference, prediction, 0.5) == (1, 0, 1)
    ((lesions, whole),) = lits_detection(reference, prediction, 0.5, mended=True).pairs
    assert lesions.tolist() == reference.tolist()
    assert whole.tolist() == prediction.tolist()


def test_a_large_and_a_small_piece() -> None:
    """9/10 shared by both pieces together, 7/10 by the large one alone."""
    assert both_ways(drawn("##########"), drawn("#######.##"), 0.8) == (1, 1, 0)


def test_a_chain() -> None:
    """
    p1 shares 3 with g1 and 2 with g2; p2 shares 2 with g2 and 3 with g3. g2 goes to p1, the first of the two.
    (g1 + g2, p1): 5 / (8 + 6 − 5) = 5/9. (g3, p2): 3 / (3 + 6 − 3) = 1/2.
    The scorer looks for a predicted object of number 2, that of p2, finds none, and takes the union of g3 alone: 3/3.
    """
    reference = drawn("###.#####.###")
    prediction = drawn("######.######")
    assert both_ways(reference, prediction, 0) == (2, 0, 1)
    assert both_ways(reference, prediction, 0.4) == (2, 0, 1)
    assert figures(lits_detection(reference, prediction, 0.5, mended=False)) == (2, 0, 1)
    assert figures(lits_detection(reference, prediction, 0.5, mended=True)) == (1, 1, 2)
    ((lesions, piece),) = lits_detection(reference, prediction, 0.5, mended=True).pairs
    assert lesions.tolist() == drawn("###.#####").tolist()
    assert piece.tolist() == drawn("######...").tolist()
    assert lits_detection(reference, prediction, 5 / 9, mended=True).true_positives == 0


def test_a_chain_that_fails() -> None:
    """The same above 5/9: the joined pair is taken off twice by the scorer, and the other is kept, 3/3: 2 − 2.

    So there is a pair though nothing counts as detected.
    """
    reference = drawn("###.#####.###")
    prediction = drawn("######.######")
    scorer = lits_detection(reference, prediction, 0.6, mended=False)
    assert (figures(scorer), len(scorer.pairs)) == ((0, 2, 3), 1)
    assert figures(lits_detection(reference, prediction, 0.6, mended=True)) == (0, 2, 3)


def test_a_union_with_another_prediction() -> None:
    """
    g1 is missed, so that p1 is the prediction of g2, number 1 of number 2, and p2 that of g3, number 2 of number 3.
    (g2, p1): 3/4, but with no prediction of number 1 the scorer says 3/4 of g2 alone. (g3, p2): 2/3, but prediction
    number 2 is p1, of 3 voxels elsewhere: 2 / (3 + 3).
    """
    reference = drawn("#.####.###")
    prediction = drawn("..###..##.")
    assert figures(lits_detection(reference, prediction, 0.5, mended=False)) == (1, 1, 2)
    assert figures(lits_detection(reference, prediction, 0.5, mended=True)) == (2, 0, 1)


def test_a_prediction_is_gone_once_its_pair_is() -> None:
    """As above, but p1 holds 1 of 4: not kept. Then number 2 is none, and (g3, p2) is 2/3, not 2 / (3 + 1)."""
    reference = drawn("#.####.###")
    prediction = drawn("..#....##.")
    assert figures(lits_detection(reference, prediction, 0.5, mended=False)) == (1, 1, 2)
    assert figures(lits_detection(reference, prediction, 0.5, mended=True)) == (1, 1, 2)


def test_numbers_follow_the_axes() -> None:
    """
    Row by row the missed lesion is the second. So number 1 is the prediction of number 1, 3/4, and a prediction of
    number 2 there is none, 2/3. Column by column the missed lesion is the first, as above: 3/4 and 2 / (3 + 3).
    """
    reference = drawn("...####", "#......", "...###.")
    prediction = drawn("...###.", ".......", "...##..")
    by_rows = lits_detection(reference, prediction, 0.5, mended=False)
    by_columns = lits_detection(reference.transpose(0, 2, 1), prediction.transpose(0, 2, 1), 0.5, mended=False)
    assert figures(by_rows) == (2, 0, 1)
    assert figures(by_columns) == (1, 1, 2)


def test_an_object_that_is_left_alone() -> None:
    """
    p1 shares 2 with g1 and 5 with g2; p2 shares 6 with g2. g1 belongs to p1 and g2 to p2, yet p1 is given to g2, where
    it shares more. So both pieces are matched with g2, 11 / (12 + 14 − 11) = 11/15, and g1 is missed.
    """
    reference = drawn("##.############")
    prediction = drawn("########.######")
    assert both_ways(reference, prediction, 0.7) == (1, 1, 1)
    ((lesion, pieces),) = lits_detection(reference, prediction, 0.7, mended=False).pairs
    assert lesion.tolist() == drawn("...############").tolist()
    assert pieces.tolist() == prediction.tolist()


def test_joining_comes_before_matching() -> None:
    """
    p1 shares 3 with g1, 3 with g2 and 4 with g3; p2 shares 5 with g3. g1 and g2 belong to p1, and it shares 6 with both
    together: more than with g3, its largest single one.
    (g1 + g2, p1): 6 / (6 + 12 − 6) = 1/2. (g3, p2): 5 / (10 + 5 − 5) = 1/2.
    """
    reference = drawn("###.###.##########")
    prediction = drawn("############.#####")
    assert both_ways(reference, prediction, 0.4) == (2, 0, 1)
    assert figures(lits_detection(reference, prediction, 0.5, mended=False)) == (-1, 3, 4)


def test_exactly_the_least_overlap_is_not_enough() -> None:
    assert both_ways(drawn("##"), drawn("#."), 0.5) == (0, 1, 1)
    assert both_ways(drawn("##"), drawn("#."), 0.49) == (1, 0, 0)


def test_a_joined_pair_that_fails() -> None:
    """2/7 shared. The scorer takes two lesions off its one pair."""
    reference = drawn("..#.#..")
    prediction = drawn("#######")
    assert figures(lits_detection(reference, prediction, 0.5, mended=False)) == (-1, 2, 3)
    assert figures(lits_detection(reference, prediction, 0.5, mended=True)) == (0, 1, 2)
    assert lits_detection(reference, prediction, 0.5, mended=False).pairs == ()


def test_what_touches_nothing_counts_only_as_false_or_missed() -> None:
    """One pair that agrees, one lesion missed, two false."""
    reference = drawn("##..#.....")
    prediction = drawn("##....#.##")
    assert both_ways(reference, prediction, 0.5) == (1, 2, 1)


def test_pairs_are_cut_out_of_the_image() -> None:
    """
    In slice 2, from row 3 and column 4 on:
    reference  ##.  prediction  .##    A lesion of its own lies in the box; it is not part of the pair.
               ##.              .#.
               ..#              ...
    """
    reference, prediction = np.zeros((2, 5, 9, 9), bool)
    reference[2, 3:6, 4:7] = [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    prediction[2, 3:6, 4:7] = [[0, 1, 1], [0, 1, 0], [0, 0, 0]]
    ((lesion, piece),) = lits_detection(reference, prediction, 0, mended=True).pairs
    assert lesion.dtype == piece.dtype == bool
    assert lesion.tolist() == drawn("##.", "##.").tolist()
    assert piece.tolist() == drawn(".##", ".#.").tolist()


def test_too_many_components() -> None:
    """A chessboard of 142 × 142 has 10082 black squares; 10082² is more than 25 million."""
    board = (np.indices((1, 142, 142)).sum(axis=0) % 2) == 0
    with pytest.raises(ValueError, match="too many components.* 10082 predicted.* 10082 in the reference"):
        lits_detection(board, board, 0, mended=True)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="Shapes differ"):
        lits_detection(drawn("#.."), drawn("#."), 0, mended=True)


def components(mask: np.ndarray) -> list[set[Voxel]]:
    """By growing each component over faces from its first voxel."""
    left = {tuple(map(int, place)) for place in np.argwhere(mask)}
    found = []
    while left:
        component, fresh = set(), {min(left)}
        while fresh:
            component |= fresh
            left -= fresh
            fresh = {place for place in left if any(_share_a_face(place, known) for known in fresh)}
        found.append(component)
    return found


def _share_a_face(one: Voxel, other: Voxel) -> bool:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) == 1


def slowly(
    reference: np.ndarray, prediction: np.ndarray, min_overlap: float, mended: bool
) -> tuple[int, int, int, list[Pair]]:
    """The rules one after the other, as the scorer goes: components, TP, and the kept pairs as voxels of the image."""
    lesions, pieces = components(reference), components(prediction)
    everything = set().union(*lesions)
    touching = [piece for piece in pieces if piece & everything]

    objects = [set(lesion) for lesion in lesions]  # merged as we go
    merge_count = {min(lesion): 1 for lesion in lesions}  # by first voxel
    for piece in touching:
        mine = [one for one in objects if one & piece and _first_best(touching, one) == piece]
        if mine:
            merged = set().union(*mine)
            merge_count[min(merged)] = len(mine)
            objects[objects.index(mine[0])] = merged
            objects = [one for one in objects if one not in mine[1:]]

    number_of = {min(lesion): number for number, lesion in enumerate(lesions)}
    given: dict[int, set[Voxel]] = {}  # by the number of the reference object
    first_piece: dict[int, int] = {}  # the number of its first piece
    by_number = {number_of[min(one)]: one for one in objects}
    for piece in touching:
        number = number_of[min(_first_best(objects, piece))]
        given.setdefault(number, set()).update(piece)
        first_piece.setdefault(number, pieces.index(piece))

    true_positives = len(given)
    marked = dict(given)
    for number in list(given):  # in the order of their first pieces
        one = by_number[number]
        partner = given[number] if mended else marked.get(first_piece[number], set())
        if len(one & given[number]) / len(one | partner) <= min_overlap:
            del marked[number]
            true_positives -= 1 if mended else merge_count[min(one)]
    kept = [(frozenset(by_number[number]), frozenset(marked[number])) for number in sorted(marked)]
    return len(pieces), len(lesions), true_positives, kept


def _first_best(candidates: list[set[Voxel]], one: set[Voxel]) -> set[Voxel]:
    return max(candidates, key=lambda candidate: len(candidate & one))  # the first of the largest


def pasted(pair: Pair) -> tuple[list, list]:
    """A pair of sets as arrays in their common bounding box."""
    places = np.array(sorted(pair[0] | pair[1]))
    start, stop = places.min(axis=0), places.max(axis=0) + 1
    masks = []
    for voxels in pair:
        mask = np.zeros(stop - start, bool)
        for place in voxels:
            mask[tuple(np.array(place) - start)] = True
        masks.append(mask.tolist())
    return masks[0], masks[1]


@st.composite
def two_masks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Rows, slices and volumes so full that components are split and joined in every way."""
    shape = draw(st.sampled_from([(1, 1, 24), (1, 5, 9), (3, 4, 5)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    share, other = draw(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.85])), draw(st.sampled_from([0, 0.05, 0.15, 0.3, 0.5]))
    reference = rng.random(shape) < share
    return reference, reference ^ (rng.random(shape) < other)


@settings(max_examples=300)
@given(two_masks(), st.sampled_from([0, 0.25, 0.5, 0.75, 0.9]), st.booleans())
def test_against_sets_of_voxels(masks: tuple[np.ndarray, np.ndarray], min_overlap: float, mended: bool) -> None:
    found = lits_detection(*masks, min_overlap, mended)
    predicted, reference, true_positives, kept = slowly(*masks, min_overlap, mended)
    assert (found.predicted, found.reference) == (predicted, reference)
    assert found.true_positives == true_positives
    assert [(lesion.tolist(), piece.tolist()) for lesion, piece in found.pairs] == [pasted(pair) for pair in kept]


@given(two_masks(), st.sampled_from([0, 0.5, 0.9]))
def test_mended_counts_the_kept_pairs(masks: tuple[np.ndarray, np.ndarray], min_overlap: float) -> None:
    scorer, mended = (lits_detection(*masks, min_overlap, way) for way in (False, True))
    assert len(scorer.pairs) >= scorer.true_positives
    assert mended.true_positives == len(mended.pairs)
    for lesion, piece in mended.pairs:
        assert (lesion & piece).sum() / (lesion | piece).sum() > min_overlap


@given(two_masks(), st.sampled_from([0, 0.5]), st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 3))
def test_padding_changes_nothing(
    masks: tuple[np.ndarray, np.ndarray], min_overlap: float, margins: tuple[tuple[int, int], ...]
) -> None:
    before = lits_detection(*masks, min_overlap, mended=False)
    after = lits_detection(*(np.pad(mask, margins) for mask in masks), min_overlap, mended=False)
    assert figures(before) == figures(after)
    for one, other in product(range(len(before.pairs)), range(2)):
        np.testing.assert_array_equal(before.pairs[one][other], after.pairs[one][other])


def test_masks_that_agree_are_all_detected() -> None:
    mask = np.random.default_rng(0).random((6, 12, 12)) < 0.2
    found = lits_detection(mask, mask, 0.99, mended=False)
    assert found.true_positives == found.reference == found.predicted > 50
