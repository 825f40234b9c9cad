"""Lesion-wise agreement of two masks: which connected components of one are touched by the other.

A lesion is a connected component. It is detected when at least one voxel of it is predicted, however little that is: a
predicted component that joins two lesions detects both, and a lesion that was predicted in two pieces is detected once
and neither piece is false.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from caseunet.imaging.boxes import find_box

Connectivity = Literal[6, 18, 26]
"""Which voxels are neighbours: 6 by a face, 18 also by an edge, 26 also by a corner.

In a single image (S = 1) they are 4, 8 and 8 neighbours.
"""


@dataclass(frozen=True)
class Lesion:
    """A connected component of one mask, and how the other mask meets it.

    Attributes:
        voxels: its size.
        center: mean index (slice, row, column) of its voxels in the whole image.
        overlap: how many of its voxels are in the other mask too.
        partners: how many components of the other mask share a voxel with it.
    """

    voxels: int
    center: tuple[float, float, float]
    overlap: int
    partners: int


@dataclass(frozen=True)
class Detection:
    """The lesions of the reference and those of the prediction, each in the order of its first voxel.

    Empty masks: a ratio whose denominator is 0 is NaN.
    """

    reference: tuple[Lesion, ...]
    predicted: tuple[Lesion, ...]

    @property
    def num_detected(self) -> int:
        """Lesions of the reference that the prediction touches."""
        return sum(lesion.partners > 0 for lesion in self.reference)

    @property
    def num_missed(self) -> int:
        """Lesions of the reference that the prediction does not touch."""
        return len(self.reference) - self.num_detected

    @property
    def false(self) -> int:
        """Predicted lesions that touch none of the reference."""
        return sum(lesion.partners == 0 for lesion in self.predicted)

    @property
    def sensitivity(self) -> float:
        """detected / lesions of the reference; NaN where it has none."""
        return self.num_detected / len(self.reference) if self.reference else float("nan")

    @property
    def precision(self) -> float:
        """(predicted − false) / predicted; NaN where none is predicted."""
        return (len(self.predicted) - self.false) / len(self.predicted) if self.predicted else float("nan")

    @property
    def f1(self) -> float:
        """2 detected / (2 detected + false + missed); NaN where neither has a lesion, 0 where only one has."""
        total = 2 * self.num_detected + self.false + self.num_missed
        return 2 * self.num_detected / total if total else float("nan")


def detect(reference: np.ndarray, prediction: np.ndarray, connectivity: Connectivity = 26) -> Detection:
    """Compare the connected components of two masks.

    Args:
        reference: (S, H, W), bool.
        prediction: the same.
        connectivity: which voxels are neighbours, see Connectivity.

    Raises:
        ValueError: the shapes differ or are not three-dimensional.
    """
    reference, prediction, origin = crop_to_union(reference, prediction)
    in_reference, in_prediction = find_components(reference, connectivity), find_components(prediction, connectivity)
    row, column, voxels = overlap_pairs(in_reference, in_prediction)
    return Detection(
        reference=_lesions(in_reference, origin, row, voxels),
        predicted=_lesions(in_prediction, origin, column, voxels),
    )


@dataclass(frozen=True)
class Components:
    """The N connected components of a mask, in the order of their first voxels.

    Attributes:
        numbers: (S, H, W), unsigned integers: 0 outside, component i of the arrays below is i + 1.
        voxels: (N), sizes.
        centers: (N, 3), mean indices.
        lower: (N, 3), first corner of the bounding boxes.
        upper: (N, 3), last corner, exclusive.
    """

    numbers: np.ndarray
    voxels: np.ndarray
    centers: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def crop_to_union(reference: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int]]:
    """Both masks in the smallest box that holds them, and where in the image that box begins.

    Returns:
        Two bool arrays in C order, (0, 0, 0) large if both masks are empty, and the index of their first voxel.

    Raises:
        ValueError: the shapes differ or are not three-dimensional.
    """
    if reference.shape != prediction.shape or reference.ndim != 3:
        raise ValueError(f"Shapes differ or are not (S, H, W): {reference.shape} and {prediction.shape}.")
    box = find_box(np.logical_or(reference, prediction))
    if box is None:
        return np.zeros((0, 0, 0), bool), np.zeros((0, 0, 0), bool), (0, 0, 0)
    return (
        np.ascontiguousarray(reference[box], dtype=bool),
        np.ascontiguousarray(prediction[box], dtype=bool),
        (box[0].start, box[1].start, box[2].start),
    )


def find_components(mask: np.ndarray, connectivity: Connectivity) -> Components:
    """Connected components of a mask (S, H, W), bool in C order."""
    import cc3d

    if not mask.size:  # has no statistics
        none = np.zeros((0, 3), np.int64)
        return Components(mask.astype(np.uint16), np.zeros(0, np.int64), none.astype(float), none, none)
    # as bytes: for bool cc3d (4.1.1) reckons with too few components, and fails on a slice of many single pixels
    numbers = cc3d.connected_components(mask.view(np.uint8), connectivity=connectivity)
    statistics = cc3d.statistics(numbers, no_slice_conversion=True)  # row 0 is the background
    boxes = statistics["bounding_boxes"][1:].astype(np.int64)  # first and last index of each axis in turn
    return Components(
        numbers=numbers,
        voxels=statistics["voxel_counts"][1:].astype(np.int64),
        centers=statistics["centroids"][1:],
        lower=boxes[:, 0::2],
        upper=boxes[:, 1::2] + 1,
    )


def overlap_pairs(first: Components, second: Components) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The K pairs of components of two masks of one shape that share voxels.

    Returns:
        The component of the first (K), that of the second (K), both counted from 0, and how many voxels they share (K);
        sorted by the first, then by the second.
    """
    both = (first.numbers != 0) & (second.numbers != 0)
    width = len(second.voxels)
    pairs = first.numbers[both].astype(np.int64)
    pairs -= 1
    pairs *= width
    pairs += second.numbers[both].astype(np.int64)
    pairs -= 1
    found, voxels = np.unique(pairs, return_counts=True)
    return found // max(width, 1), found % max(width, 1), voxels


def _lesions(
    components: Components, origin: tuple[int, int, int], touched: np.ndarray, voxels: np.ndarray
) -> tuple[Lesion, ...]:
    """Args: touched, voxels: (K), a component that is touched, once for each partner, and what they share."""
    overlap = np.zeros(len(components.voxels), np.int64)
    np.add.at(overlap, touched, voxels)
    partners = np.bincount(touched, minlength=len(components.voxels))
    return tuple(
        Lesion(voxels=size, center=(s, r, c), overlap=shared, partners=touching)
        for size, (s, r, c), shared, touching in zip(
            components.voxels.tolist(),
            (components.centers + origin).tolist(),
            overlap.tolist(),
            partners.tolist(),
            strict=True,
        )
    )
