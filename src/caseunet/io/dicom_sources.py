"""What the files of a series tell that its masks must repeat: patient, study and the place of each slice."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.errors import InvalidInputError
from caseunet.io.dicom import modality_of
from caseunet.io.dicom_file import explain_errors, read_dataset
from caseunet.io.dicom_stack import MAX_SHIFT

DIRECTION_TOLERANCE = 0.01
"""By which the direction cosines of a slice may differ from those of the grid."""

_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
"""SOP classes of slices, by their modality."""


def read_source_headers(sources: Sequence[Path], shape: tuple[int, ...], grid: np.ndarray) -> list[Any]:
    """What the files say besides pixels, mended where highdicom believes it blindly.

    Args:
        sources: the series.
        shape: its (slices, rows, columns).
        grid: index → LPS millimetres.

    Raises:
        CaseUNetError: a file cannot be read, or is no slice of this grid.
    """
    headers = []
    for source in sources:
        with explain_errors(source, "cannot be read as DICOM"):
            headers.append(read_dataset(source, pixels=False))
    frames = sum(len(header.get("PerFrameFunctionalGroupsSequence", None) or ()) for header in headers)
    if len(headers) == 1 and frames > shape[0]:
        raise InvalidInputError(
            f"{sources[0]}: it holds {frames} frames, of which {shape[0]} are the volume of this mask. A "
            "segmentation of one volume among others in a file would name frames of them all. Save each volume to a "
            "file of its own."
        )
    try:
        for header in headers:
            _mend_patient(header)
            _mend_identifiers(header)
            if _is_multi_frame(header):
                _share_groups(header)
        headers = _lay_on_grid(headers, shape, grid)
    except (AttributeError, LookupError, ValueError, TypeError) as error:
        raise InvalidInputError(
            f"{sources[0]}: its series is not the one that the labels belong to, or its slices are shifted against "
            f"each other: {error_text(error)}. Give the files that were read."
        ) from error
    return headers


def _mend_patient(header: Any) -> None:
    """Leave empty what a segmentation must tell of patient and study, if the source does not tell it or not validly."""
    from pydicom.valuerep import DA, TM

    for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyID", "ReferringPhysicianName"):
        if header.get(keyword) is None:
            setattr(header, keyword, "")
    for keyword, kind, old in (("PatientBirthDate", DA, "."), ("StudyDate", DA, "."), ("StudyTime", TM, ":")):
        value = str(header.get(keyword) or "").replace(old, "")  # what stood between the numbers before DICOM 3.0
        try:
            kind(value)
        except ValueError:
            value = ""
        setattr(header, keyword, value)
    if header.get("PatientSex") not in ("M", "F", "O"):
        header.PatientSex = ""


def _mend_identifiers(header: Any) -> None:
    """Make up what only places a series among others, and find what its file says elsewhere."""
    from pydicom.uid import generate_uid

    for keyword, other in (
        ("SOPClassUID", "MediaStorageSOPClassUID"),
        ("SOPInstanceUID", "MediaStorageSOPInstanceUID"),
    ):
        if not header.get(keyword) and (found := header.file_meta.get(other)):
            setattr(header, keyword, found)
    if not header.get("SOPClassUID") and (found := _CLASSES.get(modality_of(header)[0])):
        header.SOPClassUID = found
    if not header.get("FrameOfReferenceUID") and header.get("SeriesInstanceUID"):
        header.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame of reference", str(header.SeriesInstanceUID)])
    if "PositionReferenceIndicator" not in header:
        header.PositionReferenceIndicator = ""


def _share_groups(header: Any) -> None:
    """Move to the groups of all frames what each frame of a multi-frame image has for itself, but alike."""
    shared, first = header.SharedFunctionalGroupsSequence[0], header.PerFrameFunctionalGroupsSequence[0]
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        if keyword not in shared and keyword in first:
            setattr(shared, keyword, first[keyword].value)


def _lay_on_grid(headers: Sequence[Any], shape: tuple[int, ...], grid: np.ndarray) -> list[Any]:
    """Give the slices the positions, directions and distance that their grid has, and leave out copies of them.

    Scanners round the position and the direction of each slice for itself, and some tell another distance than that of
    the positions. highdicom finds the source of a frame only at the very same place, and copies the distance.

    Raises:
        ValueError: the slices are not those of the grid.
    """
    sizes = {(int(header.Rows), int(header.Columns)) for header in headers}
    if sizes != {tuple(shape[1:])}:
        raise ValueError(f"its slices have {sorted(sizes)} rows and columns, those of the labels {tuple(shape[1:])}")
    to_index, spacing = np.linalg.inv(grid), np.linalg.norm(grid[:3, :3], axis=0)
    directions = (grid[:3, [2, 1]] / spacing[[2, 1]]).T.ravel()  # in which the columns follow each other, then the rows
    taken: dict[int, Any] = {}
    for header, (plane, orientation, measures) in ((h, plane) for h in headers for plane in frame_planes(h)):
        position = [float(n) for n in plane.ImagePositionPatient]
        place = to_index @ (*position, 1)
        number = round(place[0])
        if number in taken and taken[number] is not header:  # there twice
            continue
        if np.abs(place[:3] - (number, 0, 0)).max() > MAX_SHIFT or not 0 <= number < shape[0] or number in taken:
            raise ValueError(f"its slice at {position} is none of those of the labels")
        if not np.allclose(
            np.asarray(orientation.ImageOrientationPatient, float), directions, atol=DIRECTION_TOLERANCE
        ):
            raise ValueError(f"its slice at {position} has another orientation")
        taken[number] = header
        plane.ImagePositionPatient = decimals((grid @ (number, 0, 0, 1))[:3])
        orientation.ImageOrientationPatient = decimals(directions)
        measures.PixelSpacing = decimals(spacing[1:])
        measures.SpacingBetweenSlices = decimals(spacing[:1])[0]
        if not measures.get("SliceThickness"):
            measures.SliceThickness = measures.SpacingBetweenSlices
    if len(taken) != shape[0]:
        raise ValueError(f"it has {len(taken)} slices, the labels have {shape[0]}")
    return list({id(header): header for header in taken.values()}.values())


def frame_planes(header: Any) -> list[tuple[Any, Any, Any]]:
    """For each frame the data sets that hold its position, its orientation, and its spacing."""
    if not _is_multi_frame(header):
        return [(header, header, header)]
    shared = header.SharedFunctionalGroupsSequence[0]
    orientation, measures = shared.PlaneOrientationSequence[0], shared.PixelMeasuresSequence[0]
    return [
        (frame.PlanePositionSequence[0], orientation, measures) for frame in header.PerFrameFunctionalGroupsSequence
    ]


def decimals(values: np.ndarray) -> list[str]:
    """Numbers as DICOM's decimal strings, which have 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return [str(format_number_as_ds(float(value))) for value in values]


def _is_multi_frame(header: Any) -> bool:
    return int(header.get("NumberOfFrames", 1) or 1) > 1


def error_text(error: Exception) -> str:
    return " ".join(str(error).split()).removesuffix(".") or type(error).__name__
