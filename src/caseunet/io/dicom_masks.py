"""Segmentation objects in DICOM, laid on the grid of their image."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.errors import InvalidInputError
from caseunet.io.dicom_file import check_pixels, decode_frames, explain_errors, frame_count, read_dataset
from caseunet.io.dicom_planes import find_value, group_items
from caseunet.io.geometry import to_canonical, volume_geometry
from caseunet.types import Geometry, Mask, name_key

OFF_GRID = 0.15
"""Voxels by which a mask may lie beside the grid of its image: that may be fitted to rounded positions."""

GRID_TOLERANCE = 0.01
"""Voxels, and millimetres of their sizes, by which segmentation objects on one grid may differ."""

SURE = 0.5
"""Share of a FRACTIONAL segment from which on a voxel belongs to it."""


LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class MaskRegion:
    """What one segment covers.

    Attributes:
        name: of the segment.
        code: of its class.
        path: its file.
        voxels: flat indices into (columns, rows, slices), each once.
    """

    name: str
    code: int
    path: Path
    voxels: np.ndarray


def segment_labels(dataset: Any) -> dict[int, str]:
    """{number: label} of the segments of a segmentation object, without the background that a label map may list."""
    labels = {int(s.SegmentNumber): _label(s) for s in dataset.get("SegmentSequence", None) or ()}
    labels.pop(0, None)
    return labels


def read_dicom_segmentation(paths: Sequence[Path], ids: Mapping[str, int], image: Geometry) -> Mask:
    """Segmentation objects on the grid of their image, in canonical order.

    Of a FRACTIONAL segment those voxels count that belong to it by half or more. Where one segment lies wholly within
    another, as a tumour in a liver, its voxels are of the inner one.

    Args:
        paths: one object, or several that each hold some of the segments.
        ids: {label of a segment: value to give it}.
        image: the geometry of the image.

    Raises:
        CaseUNetError: an object is damaged, its segments overlap otherwise, or they lie outside the image or on another
            grid.
    """
    return merge_regions(*_read_regions(paths, ids, image), image)


def read_overlapping(paths: Sequence[Path], image: Geometry) -> tuple[Mask, tuple[frozenset[str], ...]]:
    """Segmentation objects as a mask of numbers, and the labels of the segments that each number stands for.

    Args:
        paths: one object, or several that each hold some of the segments.
        image: the geometry of the image.

    Raises:
        CaseUNetError: an object is damaged, or its segments lie outside the image or on another grid.
    """
    regions, remarks = _read_regions(paths, None, image)
    codes = np.zeros(int(np.prod(image.shape)), np.int32)
    members: list[frozenset[str]] = [frozenset()]
    for region in regions:
        before = codes[region.voxels]
        table = np.zeros(len(members), np.int32)
        for number in np.unique(before).tolist():
            table[number] = len(members)
            members.append(members[number] | {region.name})
        codes[region.voxels] = table[before]
    grid = replace(image, remarks=tuple(dict.fromkeys(remarks)))
    return Mask(to_canonical(codes.reshape(image.shape), image), grid, stored="segmentation"), tuple(members)


def _read_regions(
    paths: Sequence[Path], ids: Mapping[str, int] | None, image: Geometry
) -> tuple[list[MaskRegion], list[str]]:
    """What each segment covers, and remarks; without ids, segments of any label."""
    regions: list[MaskRegion] = []
    remarks: list[str] = []
    for path in paths:
        with explain_errors(path, "its segments cannot be laid on its image"):
            dataset = read_dataset(path)
            labels = segment_labels(dataset)
            known = None if ids is None else match_segments(path, labels.values(), ids)
            check_pixels(path, dataset)
            if dataset.get("SegmentationType") == "FRACTIONAL":
                kind = dataset.get("SegmentationFractionalType", "")
                remarks.append(f"its segments are FRACTIONAL ({kind}): voxels of {SURE:.0%} or more count")
            for number, voxels in _segment_voxels(dataset, image).items():
                if number not in labels:
                    raise ValueError(f"it has no segment of the number {number}, which its pixels name")
                regions.append(MaskRegion(labels[number], 0 if known is None else known[labels[number]], path, voxels))
    return regions, remarks


def match_segments(path: Path, names: Iterable[str], ids: Mapping[str, int]) -> dict[str, int]:
    """{name: its id}, however it is spelt.

    Raises:
        CaseUNetError: one is no class.
    """
    by_key = {name_key(name): number for name, number in ids.items()}
    for name in names:
        if name_key(name) not in by_key:
            raise InvalidInputError(f'{path}: its segment "{name}" is no class; the classes are {", ".join(ids)}.')
    return {name: by_key[name_key(name)] for name in names}


def _segment_voxels(dataset: Any, image: Geometry) -> dict[int, np.ndarray]:
    """{number of a segment: the voxels of the image that it covers}."""
    frames = frame_count(dataset)
    own = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    if len(own) != frames:
        raise ValueError(f"it has {frames} frames by NumberOfFrames, {len(own)} with functional groups")
    is_label_map = dataset.get("SegmentationType") == "LABELMAP" or dataset.get("SOPClassUID") == LABEL_MAP
    least = 1
    if dataset.get("SegmentationType") == "FRACTIONAL":
        least = max(1, int(np.ceil(SURE * int(dataset.MaximumFractionalValue))))
    found: dict[int, list[np.ndarray]] = {}
    for frame, values in enumerate(decode_frames(dataset, range(frames))):
        sources = find_frame_sources(dataset, frame)
        if is_label_map:
            numbers = [int(n) for n in np.unique(values) if n]
        else:
            numbers = [int(find_value(sources, "ReferencedSegmentNumber") or 0)]
        for number in numbers:
            rows, columns = np.nonzero(values == number if is_label_map else values >= least)
            found.setdefault(number, []).append(locate_pixels(rows, columns, values.shape, sources, image, frame))
    return {number: np.unique(np.concatenate(parts)) for number, parts in found.items()}


def find_frame_sources(dataset: Any, frame: int) -> list[Any]:
    """Where elements of a frame may stand: its own groups, those of all frames, the data set."""
    shared = [item for group in dataset.get("SharedFunctionalGroupsSequence") or () for item in group_items(group)]
    return [*group_items(dataset.PerFrameFunctionalGroupsSequence[frame]), *shared, dataset]


def locate_pixels(
    rows: np.ndarray, columns: np.ndarray, size: tuple[int, ...], sources: list[Any], image: Geometry, frame: int
) -> np.ndarray:
    """Flat indices in the image of some pixels of a frame.

    Raises:
        ValueError: the frame lies on another grid, or the pixels outside the image.
    """
    if not len(rows):
        return np.empty(0, np.int64)
    values = []
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        value = find_value(sources, keyword)
        if value is None:
            raise ValueError(f"its frame {frame + 1} has no {keyword}")
        values.append(np.array(value, float))
    position, directions, spacing = values
    step = np.column_stack([directions[:3] * spacing[1], directions[3:] * spacing[0]])  # of a column, of a row
    to_index = np.linalg.inv(TO_LPS @ np.asarray(image.affine))
    steps, start = to_index[:3, :3] @ step, to_index[:3] @ (*position, 1)
    whole = np.rint(steps)
    drift = np.abs(steps - whole) * (size[1] - 1, size[0] - 1)
    if np.abs(whole).sum(axis=0).tolist() != [1, 1] or drift.max() > OFF_GRID:
        raise ValueError(
            f"its frame {frame + 1} lies on another grid: its pixels are {spacing[0]:.4g} × {spacing[1]:.4g} mm large "
            f"and run along {np.round(directions, 3).tolist()}"
        )
    off = float(np.abs(start - np.rint(start)).max())
    if off > OFF_GRID:
        raise ValueError(
            f"its frame {frame + 1} at {np.round(position, 3).tolist()} lies {off:.2f} voxels beside the grid of its "
            "image"
        )
    index = np.rint(start)[:, None] + whole @ np.stack([columns, rows])
    return _flat(index.astype(np.int64), image.shape, f"of its frame {frame + 1} at {np.round(position, 3).tolist()} ")


def _flat(index: np.ndarray, shape: tuple[int, ...], of: str) -> np.ndarray:
    outside = np.any((index < 0) | (index >= np.array(shape)[:, None]), axis=0)
    if outside.any():
        raise ValueError(f"some of their pixels lie outside it: {np.count_nonzero(outside):,} {of}".strip())
    return np.asarray(np.ravel_multi_index(tuple(index), shape))


def merge_regions(regions: Sequence[MaskRegion], remarks: list[str], image: Geometry) -> Mask:
    """Classes of voxels: the larger regions first, and those within them over them.

    Raises:
        CaseUNetError: two of different classes overlap, and none lies within the other.
    """
    codes = np.zeros(int(np.prod(image.shape)), np.uint8)
    owner = np.zeros(len(codes), np.int32)
    ordered = sorted(regions, key=lambda region: -len(region.voxels))
    nested: dict[tuple[str, str], None] = {}
    for n, region in enumerate(ordered, start=1):
        below = [int(o) for o in np.unique(owner[region.voxels])]
        others = [o for o in below if o and ordered[o - 1].code != region.code]
        if others:
            outer = ordered[others[0] - 1]
            shared = int(np.count_nonzero(owner[region.voxels] == others[0]))
            if len(below) > 1 or len(outer.voxels) == len(region.voxels):
                pair = f'its segments "{region.name}" and "{outer.name}" overlap'
                if outer.path != region.path:
                    pair = f'its segment "{region.name}" overlaps "{outer.name}" of {outer.path}'
                raise InvalidInputError(
                    f"{region.path}: {pair} on {shared:,} voxels, and neither lies within the other. Each voxel can "
                    "have one class."
                )
            nested[region.name, outer.name] = None
        codes[region.voxels], owner[region.voxels] = region.code, n
    told = [f'"{inner}" lies within "{outer}": there the inner one counts' for inner, outer in nested]
    grid = replace(image, remarks=tuple(dict.fromkeys([*remarks, *told])))
    return Mask(to_canonical(codes.reshape(image.shape), image), grid, stored="segmentation")


def _label(segment: Any) -> str:
    label = str(segment.get("SegmentLabel", "") or "").strip()
    coded = segment.get("SegmentedPropertyTypeCodeSequence", None)
    return label or (str(coded[0].CodeMeaning) if coded else f"segment {segment.SegmentNumber}")


def read_segmentation_geometry(paths: Sequence[Path]) -> Geometry:
    """The smallest grid that holds the frames of segmentation objects; slices without a segment may lie beyond it.

    Raises:
        CaseUNetError: an object is damaged, or they lie on different grids.
    """
    import highdicom

    grids = []
    for path in paths:
        with explain_errors(path, "its segments make no volume"):
            grid = highdicom.seg.Segmentation.from_dataset(read_dataset(path), copy=False).get_volume_geometry(
                allow_missing_positions=True
            )
            if grid is None:
                raise ValueError("its frames are no regular stack")
            grids.append(grid)
    first = grids[0]
    lower, upper = np.zeros(3), np.array(first.spatial_shape)
    for path, grid in zip(paths[1:], grids[1:], strict=True):
        start = (np.linalg.inv(first.affine) @ grid.affine[:, 3])[:3]
        if (
            np.abs(start - np.rint(start)).max() > GRID_TOLERANCE
            or not np.allclose(first.affine[:3, :3], grid.affine[:3, :3], rtol=0, atol=GRID_TOLERANCE)
            or grid.spatial_shape[1:] != first.spatial_shape[1:]
        ):
            raise InvalidInputError(f"{path}: is not on the grid of {paths[0]}.")
        lower = np.minimum(lower, np.rint(start))
        upper = np.maximum(upper, np.rint(start) + grid.spatial_shape)
    affine = np.array(first.affine)
    affine[:, 3] = affine @ (*lower, 1)
    shape = tuple(int(n) for n in upper - lower)
    return _place_volume(highdicom.VolumeGeometry(affine, shape, coordinate_system="PATIENT"), paths[0])


def _place_volume(volume: Any, path: Path) -> Geometry:
    """Of a volume geometry of highdicom, (slices, rows, columns), as ITK and converters to NIfTI have it: the axes the
    other way round, and the slices too, so that the three are right-handed again."""
    affine = np.array(volume.affine)
    affine[:3, 3] += (volume.spatial_shape[0] - 1) * affine[:3, 0]
    affine[:3, 0] *= -1
    return volume_geometry(tuple(volume.spatial_shape)[::-1], TO_LPS @ affine[:, [2, 1, 0, 3]], str(path))
