"""The contours of structure sets (RTSTRUCT), laid on the grid of their image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.io.dicom_file import explain_errors, read_dataset
from caseunet.io.dicom_masks import OFF_GRID, TO_LPS, MaskRegion, match_segments, merge_regions
from caseunet.io.geometry import to_canonical
from caseunet.types import Geometry, Mask

PLANAR = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR")


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
    regions: list[MaskRegion] = []
    remarks: list[str] = []
    for path in paths:
        with explain_errors(path, "its contours cannot be laid on its image"):
            dataset = read_dataset(path)
            names = contour_names(dataset)
            known = match_segments(path, names.values(), ids)
            for item in dataset.get("ROIContourSequence", None) or ():
                name = names.get(int(item.ReferencedROINumber))
                if name is not None:
                    voxels, told = _contour_voxels(item.ContourSequence, name, image)
                    regions.append(MaskRegion(name, known[name], path, voxels))
                    remarks += told
    return merge_regions(regions, remarks, image)


def read_structures(path: Path, image: Geometry) -> dict[str, np.ndarray]:
    """{structure of a set: its voxels in canonical order, bool}; they may overlap.

    Raises:
        CaseUNetError: as :func:`read_contours`.
    """
    found = {}
    with explain_errors(path, "its contours cannot be laid on its image"):
        dataset = read_dataset(path)
        names = contour_names(dataset)
        for item in dataset.ROIContourSequence:
            if (name := names.get(int(item.ReferencedROINumber))) is not None:
                voxels = np.zeros(int(np.prod(image.shape)), bool)
                voxels[_contour_voxels(item.ContourSequence, name, image)[0]] = True
                found[name] = to_canonical(voxels.reshape(image.shape), image)
    return found


def _contour_voxels(contours: Any, name: str, image: Geometry) -> tuple[np.ndarray, list[str]]:
    """The voxels whose centres a structure covers, and remarks."""
    to_index = np.linalg.inv(TO_LPS @ np.asarray(image.affine))
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
