"""What a label map measures: volumes, components, longest diameters, burden, and when a structure is seen in a video.

How it is counted:

- A voxel counts whole. Millilitres need a spacing; without one, what can be said is in pixels.
- Where the axes of a file are not orthogonal, volumes and lengths are those of its slanting voxels.
- Components are joined by faces, edges and corners: 26 neighbours in a volume, 8 in a single slice. Every one counts,
  down to a single voxel.
- The longest diameter of a component is the longest distance within one slice between two outer corners of its pixels,
  so that a single pixel of 1 × 1 mm has √2 mm. Where a slice cuts a component into several parts, they are measured as
  one. Slices are those that are given: of a prediction, in the plane that the model cuts.
- Nothing there: counts and volumes are 0; lengths, and shares of nothing, are None. There is never a NaN.
"""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from fractions import Fraction

import numpy as np

from caseunet.errors import InvalidInputError, InvalidOptionError
from caseunet.io import scratch
from caseunet.prediction.components import crop_structure, number_components
from caseunet.types import LabelMap, Steps, step_vectors, voxel_volume

MAX_COMPONENTS = 100
"""Components that are listed one by one; of more, the largest."""
MIN_PIXELS = 64
"""Pixels from which a structure counts as seen in a frame: a patch of 8 × 8."""
MAX_GAP = 5
"""Frames in which a structure may be missed without its interval ending."""


@dataclass(frozen=True)
class Component:
    """One connected part of a structure.

    Attributes:
        volume_ml: None without spacing or thickness.
        longest_diameter_mm: None without spacing.
        longest_diameter_px: None with spacing.
        diameter_slice: index of the slice with that diameter; the first of several.
        centroid: mean (slice, row, column) index of its voxels, in canonical order; whole numbers are voxel centres.
    """

    voxels: int
    volume_ml: float | None
    longest_diameter_mm: float | None
    longest_diameter_px: float | None
    diameter_slice: int
    centroid: tuple[float, float, float]


@dataclass(frozen=True)
class StructureMeasurement:
    """What one structure of one case measures.

    Attributes:
        volume_ml: None without spacing or thickness.
        area_share: share of the image's pixels, 0 to 1; of a single image without a volume, else None.
        components: how many there are, not only of those listed.
        longest_diameter_mm: the longest of all components; None without spacing or voxels.
        longest_diameter_px: the same in pixels; None with spacing or without voxels.
        largest_component_ml: None without spacing, thickness or voxels.
        burden: the volume as a share, 0 to 1, of the structure ``burden_of``; None without one, or if that is empty.
        burden_of: the smallest structure whose labels hold all of this one's and more, as the liver those of its
            tumours; None if there is none.
        largest: the components, at most :data:`MOST_COMPONENTS`, from the largest on.
    """

    structure: str
    voxels: int
    volume_ml: float | None
    area_share: float | None
    components: int
    longest_diameter_mm: float | None
    longest_diameter_px: float | None
    largest_component_ml: float | None
    burden: float | None
    burden_of: str | None
    largest: tuple[Component, ...]


def measure_volume(
    labels: np.ndarray, spacing: Steps | None, label_map: LabelMap, *, has_thickness: bool = True
) -> list[StructureMeasurement]:
    """Measure every structure of the label map, in its order.

    One structure at a time is held, in the bounding box of its voxels: about five bytes a voxel beside the labels, and
    up to twice that where it falls apart into as many components as a box can hold.

    Args:
        labels: class ids (S, H, W) in canonical order; uint8, as predictions are.
        spacing: millimetres between slices, rows and columns, or vectors (3, 3) where these are not orthogonal; None
            for images without.
        label_map: with the structures.
        has_thickness: whether the millimetres between slices are known; without them there are no volumes.

    Raises:
        CaseUNetError: another shape, an id that the label map lacks, a spacing that is not positive.
    """
    _check_labels(labels, 3, label_map)
    lengths = spacing if spacing is not None and np.ndim(spacing) == 1 else (1.0, 1.0, 1.0)
    if not (len(lengths) == 3 and all(0 < length < math.inf for length in lengths)):
        raise InvalidOptionError(
            f"The spacing is {spacing}; expected three lengths above 0 in mm: between slices, rows and columns."
        )
    measured = {
        name: _measure_structure(name, labels, members, spacing, has_thickness)
        for name, members in label_map.structures.items()
    }
    return [_with_burden(measurement, measured, label_map) for measurement in measured.values()]


def to_rows(case: str, measurements: Iterable[StructureMeasurement]) -> list[dict[str, object]]:
    """Flat rows, one a structure, with the units in the names of the columns; the listed components are left out."""
    columns = [field.name for field in fields(StructureMeasurement) if field.name != "largest"]
    return [{"case": case} | {column: getattr(m, column) for column in columns} for m in measurements]


class Timeline:
    """When each structure is seen in a video or sequence, gathered frame by frame; no frame is held.

    Args:
        rate: frames a second, where it is known and constant.
        least_pixels: from how many pixels on a structure counts as seen in a frame.
        longest_gap: how many frames in a row may miss a structure without its interval ending.

    Raises:
        CaseUNetError: a rate or number of pixels that is not positive, or a negative gap.
    """

    def __init__(
        self,
        label_map: LabelMap,
        rate: Fraction | None,
        least_pixels: int = MIN_PIXELS,
        longest_gap: int = MAX_GAP,
    ) -> None:
        if rate is not None and rate <= 0:
            raise InvalidOptionError(f"The rate is {rate} frames a second; expected a number above 0, or none.")
        if least_pixels < 1 or longest_gap < 0:
            raise InvalidOptionError(
                f"A structure cannot be seen from {least_pixels} pixels on with gaps of {longest_gap} frames; expected "
                "at least 1 pixel and 0 frames."
            )
        self._label_map = label_map
        self._rate = rate
        self._least_pixels = least_pixels
        self._longest_gap = longest_gap
        self._frames = 0
        self._intervals: dict[str, list[_Interval]] = {name: [] for name in label_map.structures}

    def add(self, labels: np.ndarray) -> None:
        """Count the next frame.

        Args:
            labels: class ids (H, W).

        Raises:
            CaseUNetError: another shape, or an id that the label map lacks.
        """
        _check_labels(labels, 2, self._label_map)
        pixels = np.bincount(labels.ravel().astype(np.int64), minlength=len(self._label_map))
        for name, members in self._label_map.structures.items():
            count = int(pixels[list(set(members))].sum())
            share = count / labels.size
            intervals = self._intervals[name]
            if count < self._least_pixels:
                if intervals:
                    intervals[-1].share_since_end += share
            elif intervals and self._frames - intervals[-1].end <= self._longest_gap:
                intervals[-1].go_on(self._frames, share)
            else:
                intervals.append(_Interval(self._frames, self._frames + 1, share))
        self._frames += 1

    def rows(self) -> list[dict[str, object]]:
        """Flat rows, one an interval: by structure in the label map's order, then by time.

        Columns: structure; start_frame and end_frame, counted from 0; start_seconds and end_seconds, None without a
        rate; mean_area_share, 0 to 1, over all frames of the interval, bridged ones too. The end frame and second are
        the first that are no longer part of the interval.
        """
        return [
            {
                "structure": name,
                "start_frame": interval.start,
                "end_frame": interval.end,
                "start_seconds": self._seconds(interval.start),
                "end_seconds": self._seconds(interval.end),
                "mean_area_share": interval.share / (interval.end - interval.start),
            }
            for name, intervals in self._intervals.items()
            for interval in intervals
        ]

    def _seconds(self, frame: int) -> float | None:
        return None if self._rate is None else float(frame / self._rate)


def timeline(frames: Iterable[np.ndarray], label_map: LabelMap, rate: Fraction | None) -> list[dict[str, object]]:
    """The rows of a :class:`Timeline` over all frames, each (H, W), one at a time.

    Raises:
        CaseUNetError: as there.
    """
    gathered = Timeline(label_map, rate)
    for labels in frames:
        gathered.add(labels)
    return gathered.rows()


@dataclass
class _Interval:
    """Frames from ``start`` to before ``end``.

    Attributes:
        share: sum of the frames' area shares.
        share_since_end: the same of the frames from ``end`` on, which join the interval if it goes on.
    """

    start: int
    end: int
    share: float
    share_since_end: float = 0.0

    def go_on(self, frame: int, share: float) -> None:
        self.share += self.share_since_end + share
        self.share_since_end = 0.0
        self.end = frame + 1


def _check_labels(labels: np.ndarray, dimensions: int, label_map: LabelMap) -> None:
    axes = "(slices, rows, columns)" if dimensions == 3 else "(rows, columns)"
    if labels.ndim != dimensions or not labels.size or not np.issubdtype(labels.dtype, np.integer):
        raise InvalidInputError(
            f"Labels of shape {labels.shape} and type {labels.dtype}: expected class ids of shape {axes}."
        )
    lowest, highest = map(int, scratch.find_range(labels))
    if lowest < 0 or highest >= len(label_map):
        raise InvalidInputError(
            f"The labels hold the id {lowest if lowest < 0 else highest}; the label map has ids 0 to "
            f"{len(label_map) - 1}. Measure with the label map that they were predicted with."
        )


def _measure_structure(
    name: str, labels: np.ndarray, members: tuple[int, ...], spacing: Steps | None, has_thickness: bool
) -> StructureMeasurement:
    """All but the burden."""
    boxed, box = crop_structure(labels, members)
    corner = [axis.start for axis in box]
    vectors = np.eye(3) if spacing is None else step_vectors(spacing)
    sizes, centroids, diameters, slices = _components(boxed, vectors[1], vectors[2])
    voxel_ml = None if spacing is None or not has_thickness else voxel_volume(spacing) / 1000

    def milliliters(voxels: int) -> float | None:
        return None if voxel_ml is None else voxels * voxel_ml

    def lengths(longest: float) -> tuple[float | None, float | None]:
        """In millimetres and in pixels."""
        return (None, longest) if spacing is None else (longest, None)

    listed = []
    for k in np.argsort(-sizes, kind="stable")[:MAX_COMPONENTS].tolist():
        s, r, c = (centroids[k] + corner).tolist()
        component = Component(
            int(sizes[k]),
            milliliters(int(sizes[k])),
            *lengths(float(diameters[k])),
            diameter_slice=int(slices[k]) + corner[0],
            centroid=(s, r, c),
        )
        listed.append(component)
    voxels = int(sizes.sum())
    longest_mm, longest_px = lengths(float(diameters.max())) if voxels else (None, None)
    return StructureMeasurement(
        structure=name,
        voxels=voxels,
        volume_ml=milliliters(voxels),
        area_share=voxels / labels.size if voxel_ml is None and len(labels) == 1 else None,
        components=len(sizes),
        longest_diameter_mm=longest_mm,
        longest_diameter_px=longest_px,
        largest_component_ml=listed[0].volume_ml if listed else None,
        burden=None,
        burden_of=None,
        largest=tuple(listed),
    )


def _with_burden(
    measurement: StructureMeasurement, measured: dict[str, StructureMeasurement], label_map: LabelMap
) -> StructureMeasurement:
    own = set(label_map.structures[measurement.structure])
    around = {name: set(ids) for name, ids in label_map.structures.items() if own < set(ids)}
    if not around:
        return measurement
    name = min(around, key=lambda one: len(around[one]))  # of several of one size, the label map's first
    whole = measured[name].voxels
    return replace(measurement, burden=measurement.voxels / whole if whole else None, burden_of=name)


def _components(
    mask: np.ndarray, down: np.ndarray, across: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Voxels (N), centroid (N, 3), longest diameter (N), and the slice of that (N), of the N components of a mask.

    Args:
        mask: (S, H, W), bool.
        down, across: (3,), from a row and from a column to the next.
    """
    if not mask.size:
        return np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.int64)
    numbers, count = number_components(mask)
    sizes, centroids = _find_centroids(numbers, count)
    diameters, slices = np.zeros(len(sizes)), np.zeros(len(sizes), np.int64)
    for s, in_slice in enumerate(numbers):
        found, lengths = _longest_in_slice(in_slice, down, across)
        longer = lengths > diameters[found]
        diameters[found[longer]] = lengths[longer]
        slices[found[longer]] = s
    return sizes[1:], centroids[1:], diameters[1:], slices[1:]


def _find_centroids(numbers: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (count + 1) and centroids (count + 1, 3) of numbered components (S, H, W); first the background's."""
    import cc3d

    sizes, sums = np.zeros(count + 1, np.int64), np.zeros((count + 1, 3))
    for rows in scratch.blocks(numbers):
        statistics = cc3d.statistics(numbers[rows], no_slice_conversion=True)
        found = np.flatnonzero(statistics["voxel_counts"])
        voxels = statistics["voxel_counts"][found].astype(np.int64)
        sizes[found] += voxels
        sums[found] += (statistics["centroids"][found] + (rows.start, 0, 0)) * voxels[:, None]
    return sizes, sums / np.maximum(sizes, 1)[:, None]


def _longest_in_slice(numbers: np.ndarray, down: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which components one slice holds, and the longest distance in it between two outer pixel corners of each.

    Args:
        numbers: (H, W), of the components from 1 on; 0 is none.
        down, across: (3,), from a row and from a column to the next.
    """
    rows, columns, slant = float(down @ down), float(across @ across), 2 * float(down @ across)
    number, row, first, last = _row_extents(numbers)
    # the farthest points of a set are corners of its convex hull, and few rows have one
    hull = _on_hull(number, row, first) | _on_hull(number, row, -last)
    number, row, first, last = number[hull], row[hull], first[hull], last[hull]
    stop = np.searchsorted(number, number, side="right")
    squared = np.zeros(len(number))
    one = np.arange(len(number))
    step = 0
    while len(one):  # each row with the one that is ``step`` rows on in the same component
        other = one + step
        apart = row[other] - row[one]
        # from any edge of the one to any edge of the other: with a slant the longest may not be between the outer ones
        for height, width in itertools.product(
            (apart + 1, apart - 1), (last[other] - first[one] + 1, first[other] - last[one] - 1)
        ):
            length = height**2 * rows + width**2 * columns + height * width * slant
            squared[one] = np.maximum(squared[one], length)
        step += 1
        one = one[one + step < stop[one]]
    start = np.flatnonzero(np.diff(number, prepend=0))
    longest = np.maximum.reduceat(squared, start) if len(start) else squared
    return number[start], np.sqrt(longest)


def _row_extents(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Component, row, first and last column of every row of every component in a slice, sorted by component and row."""
    changes = numbers[:, 1:] != numbers[:, :-1]
    begins, ends = numbers > 0, numbers > 0
    begins[:, 1:] &= changes
    ends[:, :-1] &= changes
    row, first = np.nonzero(begins)
    last = np.nonzero(ends)[1]
    number = numbers[row, first].astype(np.int64)
    order = np.argsort(number, kind="stable")  # the runs of a component stay sorted by row and column
    number, row, first, last = number[order], row[order], first[order], last[order]
    new = np.ones(len(number), bool)
    new[1:] = (number[1:] != number[:-1]) | (row[1:] != row[:-1])
    return number[new], row[new], first[new], last[np.roll(new, -1)]  # last where the next run is new


def _on_hull(number: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Which points are corners of their component's convex hull, on the side of small columns.

    Args:
        number, row, column: of each point: its component and where it lies; sorted by component and row, with no row of
            a component twice.
    """
    kept = np.arange(len(number))
    while True:
        n, r, c = number[kept], row[kept], column[kept]
        inward = (c[1:-1] - c[:-2]) * (r[2:] - r[1:-1]) >= (c[2:] - c[1:-1]) * (r[1:-1] - r[:-2])
        inward &= n[2:] == n[:-2]
        if not inward.any():
            break
        stays = np.ones(len(kept), bool)
        stays[1:-1] = ~inward  # a point between two others is no corner, even where those fall too
        kept = kept[stays]
    on_hull = np.zeros(len(number), bool)
    on_hull[kept] = True
    return on_hull
