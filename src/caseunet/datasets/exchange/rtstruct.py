"""Masks of DICOM series as structure sets (RTSTRUCT): contours along the edges of voxels."""

from importlib.metadata import version
from pathlib import Path

import numpy as np

from caseunet.datasets.exchange.mask_files import require_series
from caseunet.datasets.exchange.source import ExchangeSource
from caseunet.datasets.shapes import find_things
from caseunet.errors import InvalidInputError
from caseunet.io.dicom_contours import read_structures
from caseunet.io.dicom_seg import Algorithm, SegmentContent, segments_of
from caseunet.io.geometry import to_source
from caseunet.io.rtstruct import StructureContours, write_structure_set
from caseunet.types import Geometry


def convert_to_rtstruct(source: ExchangeSource, folder: Path) -> None:
    """Write a structure set for each series, NAME.dcm, and read it back to see that each voxel came through.

    A structure is a contour around each of its connected parts on a slice. To a hole leads a cut without a width, the
    keyhole technique, which every reader fills alike.

    Raises:
        CaseUNetError: the images are no DICOM series, pixels are there that nobody judged, or a voxel is lost.
    """
    made_by = Algorithm("caseunet convert", version("caseunet"), "none", by_hand=True)
    segments = segments_of(source.label_map)
    for case in source.each(source.labelled):
        labels, geometry = require_series(source, case, "rtstruct")
        path = folder / f"{case.name}.dcm"
        structures = [trace_structure(labels, geometry, segment) for segment in segments if has_voxel(labels, segment)]
        if not structures:  # many readers fail on a structure without a contour, and a set needs one
            source.display.caution(f"{case.case.id} holds no structure, and has no file")
            continue
        write_structure_set(path, structures, geometry, case.case.image, made_by)
        _check_voxels(path, labels, geometry, segments)
    source.tell_without_mask()
    source.tell_partial("rtstruct")


def has_voxel(labels: np.ndarray, segment: SegmentContent) -> bool:
    """Whether a structure is anywhere in class ids."""
    return bool(np.isin(labels, segment.members).any())


def trace_structure(labels: np.ndarray, geometry: Geometry, segment: SegmentContent) -> StructureContours:
    """The contours of a structure.

    Args:
        labels: class ids in canonical order, (S, H, W).
        geometry: of their image.
        segment: the classes that make it up.
    """
    inside = to_source(np.isin(labels, segment.members).astype(np.uint8), geometry)
    contours = {}
    for number in np.flatnonzero(inside.any(axis=(0, 1))).tolist():
        contours[number] = [thing.polygon() - 0.5 for thing in find_things(inside[:, :, number].T)]
    return StructureContours(segment.number, segment.name, segment.color, contours)


def _check_voxels(path: Path, labels: np.ndarray, geometry: Geometry, segments: list[SegmentContent]) -> None:
    """Make sure that a file reads back as it was meant; it is removed otherwise."""
    found = read_structures(path, geometry)
    for segment in segments:
        wanted = np.isin(labels, segment.members)
        wrong = np.count_nonzero(found.get(segment.name, np.zeros(labels.shape, bool)) != wanted)
        if wrong:
            path.unlink()
            raise InvalidInputError(
                f"{path}: {wrong:,} voxels of {segment.name} would read back otherwise. Write dicom-seg."
            )
