"""Structure sets (RTSTRUCT): structures as closed contours on the slices of a DICOM series."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.errors import CaseUNetError
from caseunet.files import replace_when_whole
from caseunet.io.dicom_masks import TO_LPS
from caseunet.io.dicom_seg import MANUFACTURER, MAX_TEXT, REVERSED, SERIES_OFFSET, UTF_8, Algorithm, fits_dicom
from caseunet.io.dicom_sources import error_text, frame_planes, read_source_headers
from caseunet.types import Color, Geometry

MAX_LABEL = 16
"""Characters that StructureSetLabel can have (SH)."""


@dataclass(frozen=True)
class StructureContours:
    """One structure: its number, name and colour, and its contours.

    Attributes:
        contours: {slice of the file's array: (N, 2) columns and rows of the corners, 0 at the centre of the first}.
    """

    number: int
    name: str
    color: Color
    contours: Mapping[int, Sequence[np.ndarray]]


def write_structure_set(
    path: Path,
    structures: Sequence[StructureContours],
    geometry: Geometry,
    sources: Sequence[Path],
    algorithm: Algorithm,
) -> None:
    """Write structures as a structure set of the series that they are of.

    Patient and study are the source's. Each contour names its slice.

    Args:
        path: the file to write.
        structures: each with a contour.
        geometry: of the series.
        sources: its files.
        algorithm: what made the structures.

    Raises:
        CaseUNetError: a name does not fit into DICOM, a source cannot be read or lacks what the set must tell, or the
            file cannot be written.
    """
    long = next((structure.name for structure in structures if not fits_dicom(structure.name)), None)
    if long is not None:
        raise _unwritable(path, f'the name "{long}" does not fit into DICOM: at most {MAX_TEXT} plain characters')
    grid = TO_LPS @ np.asarray(geometry.affine)[:, REVERSED]
    headers = read_source_headers(sources, geometry.shape[::-1], grid)
    try:
        dataset = _describe_set(headers[0], algorithm)
        places = _find_places(headers, grid)
        _refer_to_series(dataset, headers[0], places)
        _add_structures(dataset, structures, places, geometry, algorithm)
        with replace_when_whole(path) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)
    except CaseUNetError:
        raise
    except Exception as error:  # of many kinds, for a source that lacks what a structure set must tell of it
        raise _unwritable(path, f"{sources[0]} does not tell what it needs: {error_text(error)}") from error


def _describe_set(source: Any, algorithm: Algorithm) -> Any:
    """The set with its patient, study, series and equipment, without structures."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

    now = datetime.datetime.now()
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = UTF_8
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate"):
        setattr(dataset, keyword, source.get(keyword))
    for keyword in ("StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName"):
        setattr(dataset, keyword, source.get(keyword))
    dataset.SOPClassUID, dataset.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    dataset.Modality, dataset.SeriesInstanceUID = "RTSTRUCT", generate_uid()
    dataset.SeriesNumber = SERIES_OFFSET + max(0, int(source.get("SeriesNumber") or 0))
    dataset.SeriesDescription = f"Structures by {algorithm.name}"[:MAX_TEXT].rstrip()
    dataset.OperatorsName, dataset.Manufacturer = "", MANUFACTURER
    dataset.ManufacturerModelName, dataset.SoftwareVersions = algorithm.name, algorithm.version
    dataset.StructureSetLabel = algorithm.name[:MAX_LABEL].rstrip()
    dataset.StructureSetDate, dataset.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = dataset.StructureSetDate, dataset.StructureSetTime
    dataset.ApprovalStatus = "UNAPPROVED"
    return dataset


def _find_places(headers: Sequence[Any], grid: np.ndarray) -> dict[int, Any]:
    """{slice: reference to its file, or to its frame}."""
    from pydicom.dataset import Dataset

    to_index = np.linalg.inv(grid)
    places = {}
    for header in headers:
        planes = frame_planes(header)
        for frame, (plane, _, _) in enumerate(planes, start=1):
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
            if len(planes) > 1:
                item.ReferencedFrameNumber = frame
            position = [float(n) for n in plane.ImagePositionPatient]
            places[round(float((to_index @ (*position, 1))[0]))] = item
    return places


def _refer_to_series(dataset: Any, source: Any, places: Mapping[int, Any]) -> None:
    from pydicom.dataset import Dataset

    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = source.SeriesInstanceUID
    series.ContourImageSequence = [places[number] for number in sorted(places)]
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, retired but asked for
    study.ReferencedSOPInstanceUID, study.RTReferencedSeriesSequence = source.StudyInstanceUID, [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = source.FrameOfReferenceUID, [study]
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = source.FrameOfReferenceUID, ""
    dataset.ReferencedFrameOfReferenceSequence = [frame]


def _add_structures(
    dataset: Any,
    structures: Sequence[StructureContours],
    places: Mapping[int, Any],
    geometry: Geometry,
    algorithm: Algorithm,
) -> None:
    from pydicom.dataset import Dataset

    dataset.StructureSetROISequence, dataset.ROIContourSequence, dataset.RTROIObservationsSequence = [], [], []
    for structure in structures:
        roi, contours, observation = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = structure.number, structure.name
        roi.ReferencedFrameOfReferenceUID = dataset.FrameOfReferenceUID
        roi.ROIGenerationAlgorithm = "MANUAL" if algorithm.by_hand else "AUTOMATIC"
        contours.ROIDisplayColor, contours.ReferencedROINumber = list(structure.color), structure.number
        contours.ContourSequence = [
            _describe_contour(corners, number, places[number], geometry)
            for number in sorted(structure.contours)
            for corners in structure.contours[number]
        ]
        observation.ObservationNumber = observation.ReferencedROINumber = structure.number
        observation.RTROIInterpretedType, observation.ROIInterpreter = "", ""
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(contours)
        dataset.RTROIObservationsSequence.append(observation)


def _describe_contour(corners: np.ndarray, number: int, place: Any, geometry: Geometry) -> Any:
    """A contour in the patient's millimetres."""
    from pydicom.dataset import Dataset

    index = np.column_stack([corners, np.full(len(corners), number), np.ones(len(corners))])
    points = (index @ (TO_LPS @ np.asarray(geometry.affine)).T)[:, :3]
    contour = Dataset()
    contour.ContourImageSequence = [place]
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(corners)
    contour.ContourData = [f"{value:.4f}" for value in points.ravel()]
    return contour


def _unwritable(path: Path, why: str) -> CaseUNetError:
    return CaseUNetError(f"{path}: cannot be written as a structure set: {why.removesuffix('.')}.")
