"""Lesion detection as the scorer of the LiTS challenge counts it: components are merged, matched, and kept or not.

The rules are those of the challenge's scorer. Lesions are components that hang together by faces (6-connected). Let I
be the matrix of voxels that predicted component p shares with reference component g, for those p that touch the
reference.

1. Joined: every g that is touched belongs to the p with which it shares most (the first such p), and all g of one p
   become one reference object. Their number is its merge count.
2. Each p is given to the reference object with which it shares most (the first such).
3. Split: all p that were given to one reference object become one predicted object. These two objects are a pair.
4. A pair is kept if |P ∩ R| / |P ∪ R| > ``min_overlap`` for its objects P and R.

Counts: TP = pairs − Σ over the pairs that are not kept of their price, FP = predicted components − TP, FN = reference
components − TP, with the components as they were before any merging.

Slips of the scorer, mended if asked for:

- The price of a pair that is not kept is the merge count of its reference object: one pair that joined m lesions and
  fails is taken off m times, so that TP can fall below 0. Mended, the price is 1 and TP is the number of kept pairs.
- Predicted objects are marked with the number of their reference object. The union in rule 4 is yet looked up by the
  number that the pair's first p has among the predicted components. So it is that of R and of the predicted object of
  whatever reference object has this number, or of R alone where there is none, or none any more because its pair was
  not kept: pairs are gone through in the order of their first p. Mended, the union is that of the pair.

Components are numbered in the order of their first voxels, and "first" means the lowest number. So the scorer's figures
depend on the axis order of the file: give it the arrays as the file holds them.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from caseunet.metrics.lesions import Components, crop_to_union, find_components, overlap_pairs

BY_FACES: Literal[6] = 6
MAX_ENTRIES = 25_000_000  # of the matrix I: 200 MB


@dataclass(frozen=True)
class LitsDetection:
    """How many lesions were detected, and the objects that were.

    Attributes:
        predicted, reference: components before merging.
        true_positives: TP; the scorer's can be below 0.
        pairs: the kept ones, each its reference object and its predicted object, bool, both in the bounding box of the
            two together; in the order in which the reference objects begin. By the scorer's way there may be some
            though TP is 0 or less.
    """

    predicted: int
    reference: int
    true_positives: int
    pairs: tuple[tuple[np.ndarray, np.ndarray], ...]

    @property
    def false_positives(self) -> int:
        """predicted − TP"""
        return self.predicted - self.true_positives

    @property
    def false_negatives(self) -> int:
        """reference − TP"""
        return self.reference - self.true_positives


def lits_detection(reference: np.ndarray, prediction: np.ndarray, min_overlap: float, mended: bool) -> LitsDetection:
    """Count detected lesions by the rules above.

    A reference without lesions gives TP 0 and no pairs, where the scorer itself fails.

    Args:
        reference, prediction: (S, H, W), bool: the lesions, label 2; for the scorer's way as the file holds them.
        min_overlap: intersection over union that a pair must exceed; the challenge's are 0 and 0.5.
        mended: without the scorer's slips.

    Raises:
        ValueError: the shapes differ or are not three-dimensional, or there are too many components to compare.
    """
    reference, prediction, _ = crop_to_union(reference, prediction)
    found, predicted = find_components(reference, BY_FACES), find_components(prediction, BY_FACES)
    touching, shared = _intersections(predicted, found)
    if not len(touching):
        return LitsDetection(len(predicted.voxels), len(found.voxels), true_positives=0, pairs=())

    joined = _join(shared)
    _merge_columns(shared, joined)
    given = shared.argmax(axis=1)

    objects, first = np.unique(given, return_index=True)
    size = np.bincount(joined, weights=found.voxels)
    predicted_size = np.bincount(given, weights=predicted.voxels[touching], minlength=len(size))
    kept = np.ones(len(objects), bool)
    for n in np.argsort(first):
        one = objects[n]
        partner = one if mended else touching[first[n]]  # the predicted object that enters the union
        union = size[one]
        if partner in objects[kept]:
            union += predicted_size[partner] - shared[given == partner, one].sum()
        kept[n] = shared[given == one, one].sum() / union > min_overlap
    price = np.ones(len(objects), np.int64) if mended else np.bincount(joined)[objects]

    given_to = np.full(len(predicted.voxels), -1)
    given_to[touching] = given
    return LitsDetection(
        predicted=len(predicted.voxels),
        reference=len(found.voxels),
        true_positives=int(len(objects) - price[~kept].sum()),
        pairs=_cut_out(found, joined, predicted, given_to, objects[kept]),
    )


def _intersections(predicted: Components, reference: Components) -> tuple[np.ndarray, np.ndarray]:
    """Predicted components (P) that touch the reference, and the voxels that they share with its G components (P, G).

    Raises:
        ValueError: the matrix would be too large.
    """
    row, column, voxels = overlap_pairs(predicted, reference)
    touching, row = np.unique(row, return_inverse=True)
    shape = len(touching), len(reference.voxels)
    if shape[0] * shape[1] > MAX_ENTRIES:
        raise ValueError(
            f"The masks hold too many components to match lesions: {shape[0]} predicted ones that touch the reference, "
            f"and {shape[1]} in the reference; their product must not exceed {MAX_ENTRIES}."
        )
    matrix = np.zeros(shape, np.int64)
    matrix[row, column] = voxels
    return touching, matrix


def _join(shared: np.ndarray) -> np.ndarray:
    """For each of the G reference components the first of those with which it becomes one object, maybe itself.

    The scorer takes one p after the other and adds up the columns that it merges before it looks at the next p. That
    changes nothing for the next one: where row p is the first largest of every column, it is that of their sum too. So
    the components can be dealt out to their owners at once.

    Args:
        shared: (P, G), P at least 1.
    """
    first = np.arange(shared.shape[1])
    touched = np.flatnonzero(shared.any(axis=0))
    _, begins, group = np.unique(shared[:, touched].argmax(axis=0), return_index=True, return_inverse=True)
    first[touched] = touched[begins[group]]
    return first


def _merge_columns(shared: np.ndarray, joined: np.ndarray) -> None:
    """Add each column to that of its object's first component, in place; the others become 0."""
    row, column = shared.nonzero()
    voxels = shared[row, column]
    shared[row, column] = 0
    np.add.at(shared, (row, joined[column]), voxels)


def _cut_out(
    reference: Components, joined: np.ndarray, predicted: Components, given_to: np.ndarray, objects: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Masks of pairs, each in its bounding box.

    Args:
        joined, given_to: for each component of the reference and the prediction the object that it is part of, −1 if of
            none.
        objects: those asked for.
    """
    sides = (reference, joined), (predicted, given_to)
    lower = np.full((len(joined), 3), np.iinfo(np.int64).max)
    upper = np.zeros((len(joined), 3), np.int64)
    for components, part_of in sides:
        parts = part_of >= 0
        np.minimum.at(lower, part_of[parts], components.lower[parts])
        np.maximum.at(upper, part_of[parts], components.upper[parts])
    tables = [(components.numbers, np.append(-1, part_of)) for components, part_of in sides]  # number 0 is outside

    pairs = []
    for one in objects:
        box = tuple(slice(start, stop) for start, stop in zip(lower[one], upper[one], strict=True))
        mask, predicted_mask = (table[numbers[box]] == one for numbers, table in tables)
        pairs.append((mask, predicted_mask))
    return tuple(pairs)
