"""Label volumes as DICOM segmentation objects of the series that they were predicted from, through highdicom."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.errors import CaseUNetError, InvalidInputError
from caseunet.files import replace_when_whole
from caseunet.io.dicom import modality_of
from caseunet.io.dicom_file import explain_errors, read_dataset
from caseunet.io.dicom_masks import read_dicom_segmentation, read_overlapping
from caseunet.io.dicom_planes import MAX_SHIFT
from caseunet.io.geometry import canonical_shape, to_source
from caseunet.types import Color, Geometry, LabelMap

MANUFACTURER = "caseunet"

MAX_TEXT = 64
"""Characters that a label or a name can have in DICOM (LO)."""

SERIES_OFFSET = 1000
"""From the SeriesNumber of the source to that of its segmentation, so that viewers list it behind what was scanned."""

DIRECTION_TOLERANCE = 0.01
"""By which the direction cosines of a slice may differ from those of the grid."""

NOT_FOUND = "Looked for and not found in this series."
"""SegmentDescription of a segment without a voxel."""

UTF_8 = "ISO_IR 192"

REVERSED = [2, 1, 0, 3]
"""Columns of an affine whose array has its axes the other way round: highdicom's are (slices, rows, columns)."""

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
"""SOP classes of slices, by their modality."""

_UNKNOWN = ("AnatomicalStructure", "Tissue")
_CODES = (
    # Findings come first, for "liver tumour" is a tumour; then tools and vessels, for "liver vessel" is a vessel.
    (("metastasis", "metastases"), ("MorphologicallyAbnormalStructure", "NeoplasmSecondary")),
    (("tumor", "tumour", "neoplasm", "cancer", "carcinoma"), ("MorphologicallyAbnormalStructure", "Neoplasm")),
    (("cyst",), ("MorphologicallyAbnormalStructure", "Cyst")),
    (("nodule",), ("MorphologicallyAbnormalStructure", "Nodule")),
    (("lesion",), ("MorphologicallyAbnormalStructure", "Lesion")),
    (("edema", "oedema"), ("MorphologicallyAbnormalStructure", "Edema")),
    (("needle driver", "needle holder", "clip applier", "instrument"), ("PhysicalObject", "InstrumentDevice")),
    (("forceps", "scissors", "clamp", "probe", "tool"), ("PhysicalObject", "InstrumentDevice")),
    (("needle",), ("PhysicalObject", "Needle")),
    (("suture", "thread"), ("PhysicalObject", "Suture")),
    (("clip",), ("PhysicalObject", "Clip")),
    (("catheter",), ("PhysicalObject", "Catheter")),
    (("aorta",), ("AnatomicalStructure", "Aorta")),
    (("inferior vena cava",), ("AnatomicalStructure", "InferiorVenaCava")),
    (("portal vein",), ("AnatomicalStructure", "PortalVein")),
    (("artery",), ("Tissue", "Artery")),
    (("vein",), ("Tissue", "Vein")),
    (("vessel",), ("Tissue", "BloodVessel")),
    (("bone",), ("Tissue", "BoneTissue")),
    (("muscle",), ("Tissue", "MuscleTissue")),
    (("fat",), ("Tissue", "AdiposeTissue")),
    (("liver",), ("AnatomicalStructure", "Liver")),
    (("kidney",), ("AnatomicalStructure", "Kidney")),
    (("spleen",), ("AnatomicalStructure", "Spleen")),
    (("pancreas",), ("AnatomicalStructure", "Pancreas")),
    (("lung",), ("AnatomicalStructure", "Lung")),
    (("heart",), ("AnatomicalStructure", "Heart")),
    (("prostate",), ("AnatomicalStructure", "Prostate")),
    (("gallbladder", "gall bladder"), ("AnatomicalStructure", "Gallbladder")),
    (("bladder",), ("AnatomicalStructure", "Bladder")),
    (("hippocampus", "hippocampi"), ("AnatomicalStructure", "Hippocampus")),
    (("stomach",), ("AnatomicalStructure", "Stomach")),
    (("esophagus", "oesophagus"), ("AnatomicalStructure", "Esophagus")),
    (("duodenum",), ("AnatomicalStructure", "Duodenum")),
    (("small intestine", "small bowel"), ("AnatomicalStructure", "SmallIntestine")),
    (("colon",), ("AnatomicalStructure", "Colon")),
    (("rectum",), ("AnatomicalStructure", "Rectum")),
    (("adrenal", "adrenal gland"), ("AnatomicalStructure", "AdrenalGland")),
    (("trachea",), ("AnatomicalStructure", "Trachea")),
    (("uterus",), ("AnatomicalStructure", "Uterus")),
    (("vertebra", "vertebrae"), ("AnatomicalStructure", "Vertebra")),
    (("rib",), ("AnatomicalStructure", "Rib")),
)
"""Words of a class name → category and type, as pydicom calls these SNOMED CT codes. The first row that fits counts."""


@dataclass(frozen=True)
class Algorithm:
    """What made a segmentation.

    Attributes:
        name: of the model.
        version: of the software.
        hash: of the weights.
        by_hand: whether people drew it; name and version are those of the software that wrote it then.
    """

    name: str
    version: str
    hash: str
    by_hand: bool = False


def write_segmentation(
    path: Path,
    labels: np.ndarray,
    geometry: Geometry,
    sources: Sequence[Path],
    label_map: LabelMap,
    algorithm: Algorithm,
) -> None:
    """Write class ids as a BINARY segmentation object, and read it back to see that each voxel came through.

    Each class but the background is a segment, its number the class's id; where the label map has regions, each of
    these is one, and they overlap. One without a voxel has a description, which
    says that it was not found, and no frame, as other slices without a class have none. A file must have a frame,
    though: if nothing at all was found, every segment has one, empty, at the first slice.

    Patient and study are the source's; what a source lacks of them, or has in no valid form, is left empty. A series
    without FrameOfReferenceUID gets one that follows from its own identifier. Text is written as UTF-8.

    Args:
        path: the file to write.
        labels: class ids in canonical order, (S, H, W), uint8.
        geometry: of the series, as :func:`caseunet.io.dicom.read_series` gives it.
        sources: the series: one file for each slice, in any order, or one with all frames.
        label_map: the classes.
        algorithm: what made the labels.

    Raises:
        CaseUNetError: labels, geometry and sources do not belong together; a name does not fit into DICOM; a source
            cannot be read; or the file cannot be written, or would read back otherwise. Nothing is left then.
    """
    if not sources:
        raise _unwritable(path, "its series has no files")
    _check(path, labels, geometry, label_map, algorithm)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on how a source spells dates and names
            _write(path, labels, geometry, sources, label_map, algorithm)
    except (OSError, MemoryError) as error:
        raise _unwritable(path, _reason(error)) from error


def _write(
    path: Path,
    labels: np.ndarray,
    geometry: Geometry,
    sources: Sequence[Path],
    label_map: LabelMap,
    algorithm: Algorithm,
) -> None:
    grid = _TO_LPS @ np.asarray(geometry.affine)[:, REVERSED]
    headers = _headers(sources, geometry.shape[::-1], grid)
    with replace_when_whole(path) as temporary:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID"):
            if not headers[0].get(keyword):
                raise _unwritable(path, f"{sources[0]} does not tell what it needs: it has no {keyword}")
        try:
            pixels = np.ascontiguousarray(to_source(labels, geometry).T)
            made = _segmentation(pixels, grid, headers, label_map, algorithm)
            made.save_as(temporary, enforce_file_format=True)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # of many kinds, for a source that lacks what a segmentation must tell of it
            raise _unwritable(path, f"{sources[0]} does not tell what it needs: {_reason(error)}") from error
        try:
            wrong = _count_wrong(temporary, labels, geometry, label_map)
        except CaseUNetError as error:
            raise _unwritable(path, str(error).removeprefix(f"{temporary}: ")) from error
        if wrong:
            raise _unwritable(path, f"{wrong:,} of {labels.size:,} voxels would read back with another class")


def _count_wrong(path: Path, labels: np.ndarray, geometry: Geometry, label_map: LabelMap) -> int:
    """Voxels that read back otherwise from a file that was just written."""
    if not label_map.region_ids:
        ids = {label.name: label.id for label in label_map.labels[1:]}
        return int(np.count_nonzero(read_dicom_segmentation([path], ids, geometry).label_values != labels))
    mask, members = read_overlapping([path], geometry)
    wrong = np.zeros(labels.shape, bool)
    for segment in segments_of(label_map):
        numbers = [number for number, names in enumerate(members) if segment.name in names]
        wrong |= np.isin(mask.label_values, numbers) != np.isin(labels, segment.members)
    return int(np.count_nonzero(wrong))


@dataclass(frozen=True)
class SegmentContent:
    """What one segment of a segmentation object stands for: its name, its colour and the class ids that it holds."""

    number: int
    name: str
    color: Color
    members: tuple[int, ...]


def segments_of(label_map: LabelMap) -> list[SegmentContent]:
    """A segment of each class but the background; where there are regions, of each region, in its own class's colour or
    that of its first one."""
    if not label_map.region_ids:
        return [SegmentContent(label.id, label.name, label.color, (label.id,)) for label in label_map.labels[1:]]
    by_name = {label.name: label.color for label in label_map.labels}
    return [
        SegmentContent(number, name, by_name.get(name, label_map.colors[members[0]]), members)
        for number, (name, members) in enumerate(label_map.structures.items(), start=1)
    ]


def _check(path: Path, labels: np.ndarray, geometry: Geometry, label_map: LabelMap, algorithm: Algorithm) -> None:
    """Make sure that the labels fit their geometry and map, and the texts into DICOM."""
    if geometry.affine is None:
        raise _unwritable(path, "its image has no position in a patient; only labels of a DICOM series can be written")
    if labels.dtype != np.uint8 or labels.shape != canonical_shape(geometry):
        raise _unwritable(
            path,
            f"expected class ids (uint8) of shape {canonical_shape(geometry)}, found {labels.dtype} of {labels.shape}",
        )
    if labels.size and int(labels.max()) >= len(label_map):
        raise _unwritable(path, f"found class id {int(labels.max())}, but the last class is {len(label_map) - 1}")
    for text in (
        *(segment.name for segment in segments_of(label_map)),
        algorithm.name,
        algorithm.version,
        algorithm.hash,
    ):
        if not text.isprintable() or not 0 < len(text) <= MAX_TEXT or "\\" in text or text != text.strip():
            raise _unwritable(
                path,
                f'the name "{text}" does not fit into DICOM: at most {MAX_TEXT} characters, no backslash, no space '
                "at the ends. Write another format, or rename it",
            )


def _headers(sources: Sequence[Path], shape: tuple[int, ...], grid: np.ndarray) -> list[Any]:
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
            f"each other: {_reason(error)}. Give the files that were read."
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
    for header, (plane, orientation, measures) in ((h, plane) for h in headers for plane in _planes(h)):
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
        plane.ImagePositionPatient = _decimals((grid @ (number, 0, 0, 1))[:3])
        orientation.ImageOrientationPatient = _decimals(directions)
        measures.PixelSpacing = _decimals(spacing[1:])
        measures.SpacingBetweenSlices = _decimals(spacing[:1])[0]
        if not measures.get("SliceThickness"):
            measures.SliceThickness = measures.SpacingBetweenSlices
    if len(taken) != shape[0]:
        raise ValueError(f"it has {len(taken)} slices, the labels have {shape[0]}")
    return list({id(header): header for header in taken.values()}.values())


def _planes(header: Any) -> list[tuple[Any, Any, Any]]:
    """For each frame the data sets that hold its position, its orientation, and its spacing."""
    if not _is_multi_frame(header):
        return [(header, header, header)]
    shared = header.SharedFunctionalGroupsSequence[0]
    orientation, measures = shared.PlaneOrientationSequence[0], shared.PixelMeasuresSequence[0]
    return [
        (frame.PlanePositionSequence[0], orientation, measures) for frame in header.PerFrameFunctionalGroupsSequence
    ]


def _decimals(values: np.ndarray) -> list[str]:
    """Numbers as DICOM's decimal strings, which have 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return [str(format_number_as_ds(float(value))) for value in values]


def _is_multi_frame(header: Any) -> bool:
    return int(header.get("NumberOfFrames", 1) or 1) > 1


def _segmentation(
    array: np.ndarray, grid: np.ndarray, headers: Sequence[Any], label_map: LabelMap, algorithm: Algorithm
) -> Any:
    """The data set.

    Args:
        array: class ids, (slices, rows, columns).
        grid: index → LPS millimetres.
        headers: of the sources.
        label_map: the classes.
        algorithm: what made the labels.
    """
    import highdicom

    present = set(np.unique(array).tolist()) - {0}
    if not present:
        array = array[:1]  # one slice is enough to say that there is nothing
    segments = segments_of(label_map)
    channels = None
    if label_map.region_ids:
        array = np.stack([np.isin(array, segment.members) for segment in segments], axis=-1).astype(np.uint8)
        channels = {"SegmentNumber": [segment.number for segment in segments]}
    identification = None if algorithm.by_hand else _identify(algorithm)
    return highdicom.seg.Segmentation(
        source_images=headers,
        pixel_array=highdicom.Volume(
            array,
            grid,
            coordinate_system="PATIENT",
            frame_of_reference_uid=headers[0].FrameOfReferenceUID,
            channels=channels,
        ),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _describe_segment(segment, not present.isdisjoint(segment.members), identification) for segment in segments
        ],
        series_instance_uid=highdicom.UID(),
        series_number=SERIES_OFFSET + max(0, int(headers[0].get("SeriesNumber") or 0)),
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        omit_empty_frames=bool(present),
        manufacturer=MANUFACTURER,
        manufacturer_model_name=algorithm.name,
        software_versions=algorithm.version,
        device_serial_number=algorithm.hash,
        content_label="SEGMENTATION",
        content_description="Manual segmentation" if algorithm.by_hand else "Automatic segmentation",
        content_creator_name="",  # no person did
        series_description=f"Segmentation by {algorithm.name}"[:MAX_TEXT].rstrip(),
        specific_character_set=UTF_8,
    )


def _identify(algorithm: Algorithm) -> Any:
    import highdicom

    return highdicom.AlgorithmIdentificationSequence(
        name=algorithm.name,
        family=_algorithm_family(),
        version=algorithm.version,
        source=MANUFACTURER,
        parameters={"weights": algorithm.hash},
    )


def _describe_segment(wanted: SegmentContent, found: bool, identification: Any) -> Any:
    import highdicom

    category, kind = code_class(wanted.name)
    kinds = highdicom.seg.SegmentAlgorithmTypeValues
    segment = highdicom.seg.SegmentDescription(
        segment_number=wanted.number,
        segment_label=wanted.name,
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type=(kinds.MANUAL if identification is None else kinds.AUTOMATIC),
        algorithm_identification=identification,
        display_color=highdicom.color.CIELabColor.from_rgb(*wanted.color),
    )
    if not found:
        segment.SegmentDescription = NOT_FOUND
    return segment


def code_class(name: str) -> tuple[Any, Any]:
    """Category and type of a class, as codes of SNOMED CT, by the words of its name; a tissue if none is known."""
    from pydicom.sr.codedict import codes

    words = _words(name)
    known = [row for terms, row in _CODES if any(_words(term) in words for term in terms)]
    category, kind = known[0] if known else _UNKNOWN
    return getattr(codes.SCT, category), getattr(codes.SCT, kind)


def _words(name: str) -> str:
    """Words in lower case and in the singular, each between spaces."""
    words = re.findall(r"[^\W\d_]+", name.casefold())
    return f" {' '.join(_singular(word) for word in words)} "


def _singular(word: str) -> str:
    """Without the ending of a plural; "pancreas" loses its own, in the table as in the name."""
    return word.removesuffix("ies") + "y" if word.endswith("ies") else word.removesuffix("s")


def _algorithm_family() -> Any:
    from pydicom.sr.codedict import codes

    return codes.DCM.ArtificialIntelligence


def _unwritable(path: Path, why: str) -> CaseUNetError:
    return CaseUNetError(f"{path}: cannot be written as a DICOM segmentation: {why.removesuffix('.')}.")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).removesuffix(".") or type(error).__name__
