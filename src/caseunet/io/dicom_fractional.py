"""Probabilities as DICOM segmentation objects: FRACTIONAL segments, in steps of 1/255."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.errors import CaseUNetError
from caseunet.files import replace_when_whole
from caseunet.io.dicom_file import check_pixels, decode_frames, explain_errors, frame_count, read_dataset
from caseunet.io.dicom_masks import TO_LPS, find_frame_sources, locate_pixels
from caseunet.io.dicom_seg import (
    REVERSED,
    Algorithm,
    SegmentContent,
    build_object,
    describe_segment,
    identify_algorithm,
    seg_error,
)
from caseunet.io.dicom_sources import error_text, read_source_headers
from caseunet.io.geometry import to_canonical, to_source
from caseunet.types import Color, Geometry

MAX_FRACTION = 255
"""MaximumFractionalValue: what stands for a probability of 1."""


def write_fractional(
    path: Path,
    probabilities: np.ndarray,
    geometry: Geometry,
    sources: Sequence[Path],
    segment: tuple[str, Color],
    algorithm: Algorithm,
) -> None:
    """Write the probabilities of one class as a segmentation object, and read it back.

    SegmentationFractionalType is PROBABILITY. Slices on which no voxel reaches 1/510 have no frame.

    Args:
        path: the file to write.
        probabilities: 0 to 1, in canonical order, (S, H, W).
        geometry: of the series.
        sources: its files.
        segment: name and colour of the class.
        algorithm: what made them.

    Raises:
        CaseUNetError: a source cannot be read or lacks what the object must tell, or the file cannot be written or
            reads back otherwise.
    """
    grid = TO_LPS @ np.asarray(geometry.affine)[:, REVERSED]
    headers = read_source_headers(sources, geometry.shape[::-1], grid)
    with replace_when_whole(path) as temporary:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # remarks on how a source spells dates and names
                pixels = np.ascontiguousarray(to_source(probabilities.astype(np.float32), geometry).T)
                _build(pixels, grid, headers, segment, algorithm).save_as(temporary, enforce_file_format=True)
            off = float(np.abs(read_fractional(temporary, geometry) - probabilities).max(initial=0))
        except CaseUNetError as error:
            raise seg_error(path, str(error).removeprefix(f"{temporary}: ")) from error
        except Exception as error:  # of many kinds, for a source that lacks what a segmentation must tell of it
            why = f"{sources[0]} does not tell what it needs: {error_text(error)}"
            raise seg_error(path, why) from error
        if off > 1 / MAX_FRACTION:
            raise seg_error(path, f"probabilities would read back {off:.3f} off")


def _build(
    pixels: np.ndarray, grid: np.ndarray, headers: Sequence[Any], segment: tuple[str, Color], algorithm: Algorithm
) -> Any:
    """The object of probabilities (slices, rows, columns)."""
    import highdicom

    found = bool((pixels >= 0.5 / MAX_FRACTION).any())
    described = describe_segment(SegmentContent(1, *segment, (1,)), found, identify_algorithm(algorithm))
    return build_object(
        pixels if found else pixels[:1],
        grid,
        headers,
        [described],
        algorithm,
        segmentation_type=highdicom.seg.SegmentationTypeValues.FRACTIONAL,
        fractional_type=highdicom.seg.SegmentationFractionalTypeValues.PROBABILITY,
        max_fractional_value=MAX_FRACTION,
        omit_empty_frames=found,
    )


def read_fractional(path: Path, image: Geometry) -> np.ndarray:
    """The fractions of a FRACTIONAL object of one segment, (S, H, W) in canonical order, float32.

    Raises:
        CaseUNetError: it is damaged, of another kind, or lies on another grid than its image.
    """
    found = np.zeros(int(np.prod(image.shape)), np.float32)
    with explain_errors(path, "its fractions cannot be laid on its image"):
        dataset = read_dataset(path)
        check_pixels(path, dataset)
        if dataset.SegmentationType != "FRACTIONAL" or len(dataset.SegmentSequence) != 1:
            raise ValueError("expected a FRACTIONAL object of one segment")
        for frame, values in enumerate(decode_frames(dataset, range(frame_count(dataset)))):
            rows, columns = np.nonzero(values)
            sources = find_frame_sources(dataset, frame)
            where = locate_pixels(rows, columns, values.shape, sources, image, frame)
            found[where] = values[rows, columns] / float(dataset.MaximumFractionalValue)
    return to_canonical(found.reshape(image.shape), image)
