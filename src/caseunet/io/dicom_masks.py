"""Masks in DICOM, laid on the grid of their image: segmentation objects and the contours of structure sets."""

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

PLANAR = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR")

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class _Region:
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


def contour_names(dataset: Any) -> dict[int, str]:
    """{number: name} of the structures of a structure set that have contours."""
    drawn = {
        int(item.ReferencedROINumber)
        for item in dataset.get("ROIContourSequence", None) or ()
        if any(contour.get("ContourData") for contour in item.get("ContourSequence", None) or ())
    }
    return {
        int(item.ROINumber): str(item.get("ROIName", "") or f"structure {item.ROINumber}").strip()
        for item in dataset.get("StructureSetROISequence", None) or ()
        if int(item.ROINumber) in drawn
    }


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
    return _merge(*_regions(paths, ids, image), image)


def read_overlapping(paths: Sequence[Path], image: Geometry) -> tuple[Mask, tuple[frozenset[str], ...]]:
    """Segmentation objects as a mask of numbers, and the labels of the segments that each number stands for.

    Args:
        paths: one object, or several that each hold some of the segments.
        image: the geometry of the image.

    Raises:
        CaseUNetError: an object is damaged, or its segments lie outside the image or on another grid.
    """
    regions, remarks = _regions(paths, None, image)
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


def _regions(paths: Sequence[Path], ids: Mapping[str, int] | None, image: Geometry) -> tuple[list[_Region], list[str]]:
    """What each segment covers, and remarks; without ids, segments of any label."""
    regions: list[_Region] = []
    remarks: list[str] = []
    for path in paths:
        with explain_errors(path, "its segments cannot be laid on its image"):
            dataset = read_dataset(path)
            labels = segment_labels(dataset)
            known = None if ids is None else _ids_of(path, labels.values(), ids)
            check_pixels(path, dataset)
            if dataset.get("SegmentationType") == "FRACTIONAL":
                kind = dataset.get("SegmentationFractionalType", "")
                remarks.append(f"its segments are FRACTIONAL ({kind}): voxels of {SURE:.0%} or more count")
            for number, voxels in _segment_voxels(dataset, image).items():
                if number not in labels:
                    raise ValueError(f"it has no segment of the number {number}, which its pixels name")
                regions.append(_Region(labels[number], 0 if known is None else known[labels[number]], path, voxels))
    return regions, remarks


def read_contours(paths: Sequence[Path], ids: Mapping[str, int], image: Geometry) -> Mask:
    """The closed contours of structure sets on the grid of their image, in canonical order.

    A voxel belongs to a structure where its centre lies within a contour of it. A contour wholly within another is a
    hole, and contours that overlap otherwise add up. Structures within others as in :func:`read_dicom_segmentation`.

    Args:
        paths: of structure sets.
        ids: {name of a structure: value to give it}.
        image: the geometry of the image.

    Raises:
        CaseUNetError: a set is damaged, its contours lie between or beyond the slices, or structures overlap otherwise.
    """
    regions: list[_Region] = []
    remarks: list[str] = []
    for path in paths:
        with explain_errors(path, "its contours cannot be laid on its image"):
            dataset = read_dataset(path)
            names = contour_names(dataset)
            known = _ids_of(path, names.values(), ids)
            for item in dataset.get("ROIContourSequence", None) or ():
                name = names.get(int(item.ReferencedROINumber))
                if name is not None:
                    voxels, told = _contour_voxels(item.ContourSequence, name, image)
                    regions.append(_Region(name, known[name], path, voxels))
                    remarks += told
    return _merge(regions, remarks, image)


def _ids_of(path: Path, names: Iterable[str], ids: Mapping[str, int]) -> dict[str, int]:
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
    shared = [item for group in dataset.get("SharedFunctionalGroupsSequence") or () for item in group_items(group)]
    if len(own) != frames:
        raise ValueError(f"it has {frames} frames by NumberOfFrames, {len(own)} with functional groups")
    is_label_map = dataset.get("SegmentationType") == "LABELMAP" or dataset.get("SOPClassUID") == LABEL_MAP
    least = 1
    if dataset.get("SegmentationType") == "FRACTIONAL":
        least = max(1, int(np.ceil(SURE * int(dataset.MaximumFractionalValue))))
    found: dict[int, list[np.ndarray]] = {}
    for frame, values in enumerate(decode_frames(dataset, range(frames))):
        sources = [*group_items(own[frame]), *shared, dataset]
        if is_label_map:
            numbers = [int(n) for n in np.unique(values) if n]
        else:
            numbers = [int(find_value(sources, "ReferencedSegmentNumber") or 0)]
        for number in numbers:
            rows, columns = np.nonzero(values == number if is_label_map else values >= least)
            found.setdefault(number, []).append(_laid(rows, columns, values.shape, sources, image, frame))
    return {number: np.unique(np.concatenate(parts)) for number, parts in found.items()}


def _laid(
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
    to_index = np.linalg.inv(_TO_LPS @ np.asarray(image.affine))
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


def _contour_voxels(contours: Any, name: str, image: Geometry) -> tuple[np.ndarray, list[str]]:
    """The voxels whose centres a structure covers, and remarks."""
    to_index = np.linalg.inv(_TO_LPS @ np.asarray(image.affine))
    columns, rows, slices = image.shape
    outlines: dict[int, list[list[np.ndarray]]] = {}
    left: list[str] = []
    clipped = 0
    for contour in contours:
        kind = str(contour.get("ContourGeometricType", "CLOSED_PLANAR"))
        points = np.array(contour.get("ContourData") or (), float).reshape(-1, 3)
        if kind not in PLANAR or len(points) < 3:
            left.append(kind if kind not in PLANAR else f"{len(points)} points")
            continue
        places = points @ to_index[:3, :3].T + to_index[:3, 3]
        height = places[:, 2]
        k = round(float(np.median(height)))
        off = float(np.abs(height - k).max())
        if off > OFF_GRID:
            where = np.round(points[int(np.abs(height - k).argmax())], 2).tolist()
            raise ValueError(
                f'a contour of "{name}" at {where} lies {off:.2f} slices off the nearest one: it was drawn on other '
                "slices than these"
            )
        if not 0 <= k < slices:
            raise ValueError(f'a contour of "{name}" at {np.round(points[0], 2).tolist()} lies beyond the slices')
        low, high = places[:, :2].min(axis=0), places[:, :2].max(axis=0)
        clipped += bool(np.any(low < -0.5) or np.any(high > (columns - 0.5, rows - 0.5)))
        own = outlines.setdefault(k, [[]])  # first those that count by XOR whatever lies within what
        if kind == "CLOSED_PLANAR":
            own.append([places[:, :2]])
        else:
            own[0].append(places[:, :2])
    voxels = []
    for k, polygons in outlines.items():
        y, x = np.divmod(_fill([_inside(own, columns, rows) for own in polygons], columns * rows), columns)
        voxels.append(np.ravel_multi_index((x, y, np.full(len(x), k)), image.shape))
    remarks = [f'{clipped} contours of "{name}" reach beyond the image and are cut there'] if clipped else []
    if left:
        remarks.append(
            f'{len(left)} contours of "{name}" enclose nothing ({", ".join(sorted(set(left)))}) and are left out'
        )
    if outlines and (gaps := max(outlines) - min(outlines) + 1 - len(outlines)):
        remarks.append(
            f'"{name}" has no contour on {gaps} slices between the first and the last with one: it is empty there'
        )
    return np.concatenate(voxels) if voxels else np.empty(0, np.int64), remarks


def _fill(parts: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Flat indices of the pixels of a slice that contours cover together.

    A contour within another is a hole, one within the hole an island. Equal ones count once, others add up.

    Args:
        parts: flat indices of the pixels in each contour.
        size: how many pixels the slice has.
    """
    covered = np.zeros(size, bool)
    outer: list[tuple[np.ndarray, int]] = []
    for part in sorted((part for part in parts if len(part)), key=len, reverse=True):
        around = [(own, depth) for own, depth in outer if np.isin(part, own, assume_unique=True).all()]
        if any(len(own) == len(part) for own, _ in around):
            continue
        depth = max((depth + 1 for _, depth in around), default=0)
        outer.append((part, depth))
    for part, depth in sorted(outer, key=lambda item: item[1]):
        covered[part] = depth % 2 == 0
    return np.flatnonzero(covered)


def _inside(polygons: Sequence[np.ndarray], columns: int, rows: int) -> np.ndarray:
    """Flat indices (row · columns + column) of the pixels whose centres lie in an odd number of polygons."""
    if not polygons:
        return np.empty(0, np.int64)
    corners = np.concatenate(polygons)
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, (columns, rows))
    if right <= left or bottom <= top:
        return np.empty(0, np.int64)
    plane = np.zeros((bottom - top, right - left + 1), np.int32)
    for polygon in polygons:
        _count_crossings(plane, polygon, left, top)
    odd = np.cumsum(plane[:, ::-1], axis=1)[:, ::-1][:, 1:] % 2  # how often a ray to the right meets a contour
    y, x = np.nonzero(odd)
    return np.asarray((y + top) * columns + x + left)


def _count_crossings(plane: np.ndarray, polygon: np.ndarray, left: int, top: int) -> None:
    """Add one at (row, c) for each edge of a polygon that meets that row between the columns c − 1 and c.

    The lower end of an edge belongs to it, the upper end to the next one.

    Args:
        plane: (rows, columns + 1) of a part of the slice, counted in place.
        polygon: (N, 2): column and row of each corner.
        left: the first column of that part.
        top: its first row.
    """
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        rows = np.arange(max(top, int(np.ceil(y0))), min(top + len(plane), int(np.ceil(y1))))
        if len(rows):
            x = x0 + (rows - y0) * (x1 - x0) / (y1 - y0)
            np.add.at(plane, (rows - top, np.clip(np.ceil(x) - left, 0, plane.shape[1] - 1).astype(int)), 1)


def _merge(regions: Sequence[_Region], remarks: list[str], image: Geometry) -> Mask:
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
    return volume_geometry(tuple(volume.spatial_shape)[::-1], _TO_LPS @ affine[:, [2, 1, 0, 3]], str(path))
