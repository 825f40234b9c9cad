"""Label volumes as DICOM segmentation objects of the series that they were predicted from, through highdicom."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.errors import CaseUNetError
from caseunet.files import replace_when_whole
from caseunet.io.dicom_masks import TO_LPS, read_dicom_segmentation, read_overlapping
from caseunet.io.dicom_sources import error_text, read_source_headers
from caseunet.io.geometry import canonical_shape, to_source
from caseunet.types import Color, Geometry, LabelMap

MANUFACTURER = "caseunet"

MAX_TEXT = 64
"""Characters that a label or a name can have in DICOM (LO)."""

SERIES_OFFSET = 1000
"""From the SeriesNumber of the source to that of its segmentation, so that viewers list it behind what was scanned."""

NOT_FOUND = "Looked for and not found in this series."
"""SegmentDescription of a segment without a voxel."""

UTF_8 = "ISO_IR 192"

REVERSED = [2, 1, 0, 3]
"""Columns of an affine whose array has its axes the other way round: highdicom's are (slices, rows, columns)."""


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
        raise seg_error(path, "its series has no files")
    _check(path, labels, geometry, label_map, algorithm)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on how a source spells dates and names
            _write(path, labels, geometry, sources, label_map, algorithm)
    except (OSError, MemoryError) as error:
        raise seg_error(path, error_text(error)) from error


def _write(
    path: Path,
    labels: np.ndarray,
    geometry: Geometry,
    sources: Sequence[Path],
    label_map: LabelMap,
    algorithm: Algorithm,
) -> None:
    grid = TO_LPS @ np.asarray(geometry.affine)[:, REVERSED]
    headers = read_source_headers(sources, geometry.shape[::-1], grid)
    with replace_when_whole(path) as temporary:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID"):
            if not headers[0].get(keyword):
                raise seg_error(path, f"{sources[0]} does not tell what it needs: it has no {keyword}")
        try:
            pixels = np.ascontiguousarray(to_source(labels, geometry).T)
            made = _segmentation(pixels, grid, headers, label_map, algorithm)
            made.save_as(temporary, enforce_file_format=True)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # of many kinds, for a source that lacks what a segmentation must tell of it
            raise seg_error(path, f"{sources[0]} does not tell what it needs: {error_text(error)}") from error
        try:
            wrong = _count_wrong(temporary, labels, geometry, label_map)
        except CaseUNetError as error:
            raise seg_error(path, str(error).removeprefix(f"{temporary}: ")) from error
        if wrong:
            raise seg_error(path, f"{wrong:,} of {labels.size:,} voxels would read back with another class")


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
        raise seg_error(path, "its image has no position in a patient; only labels of a DICOM series can be written")
    if labels.dtype != np.uint8 or labels.shape != canonical_shape(geometry):
        raise seg_error(
            path,
            f"expected class ids (uint8) of shape {canonical_shape(geometry)}, found {labels.dtype} of {labels.shape}",
        )
    if labels.size and int(labels.max()) >= len(label_map):
        raise seg_error(path, f"found class id {int(labels.max())}, but the last class is {len(label_map) - 1}")
    for text in (
        *(segment.name for segment in segments_of(label_map)),
        algorithm.name,
        algorithm.version,
        algorithm.hash,
    ):
        if not fits_dicom(text):
            raise seg_error(
                path,
                f'the name "{text}" does not fit into DICOM: at most {MAX_TEXT} characters, no backslash, no space '
                "at the ends. Write another format, or rename it",
            )


def fits_dicom(text: str) -> bool:
    """Whether a name can stand in a DICOM file (LO)."""
    return text.isprintable() and 0 < len(text) <= MAX_TEXT and "\\" not in text and text == text.strip()


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
    identification = None if algorithm.by_hand else identify_algorithm(algorithm)
    described = [
        describe_segment(segment, not present.isdisjoint(segment.members), identification) for segment in segments
    ]
    kind = highdicom.seg.SegmentationTypeValues.BINARY
    return build_object(
        array,
        grid,
        headers,
        described,
        algorithm,
        channels=channels,
        segmentation_type=kind,
        omit_empty_frames=bool(present),
    )


def build_object(
    array: np.ndarray,
    grid: np.ndarray,
    headers: Sequence[Any],
    described: Sequence[Any],
    algorithm: Algorithm,
    **kind: Any,
) -> Any:
    """A segmentation object of the series.

    Args:
        array: (slices, rows, columns), with channels (…, segments); ``grid``: index → LPS millimetres.
        headers: of the sources.
        described: the segments, and ``algorithm`` what made them.
        kind: ``channels`` of the array, and what else highdicom is told of the kind of object.
    """
    import highdicom

    frame = headers[0].FrameOfReferenceUID
    volume = highdicom.Volume(
        array, grid, coordinate_system="PATIENT", frame_of_reference_uid=frame, channels=kind.pop("channels", None)
    )
    return highdicom.seg.Segmentation(
        source_images=headers,
        pixel_array=volume,
        segment_descriptions=list(described),
        series_instance_uid=highdicom.UID(),
        series_number=SERIES_OFFSET + max(0, int(headers[0].get("SeriesNumber") or 0)),
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=algorithm.name,
        software_versions=algorithm.version,
        device_serial_number=algorithm.hash,
        content_label="SEGMENTATION",
        content_description="Manual segmentation" if algorithm.by_hand else "Automatic segmentation",
        content_creator_name="",  # no person did
        series_description=f"Segmentation by {algorithm.name}"[:MAX_TEXT].rstrip(),
        specific_character_set=UTF_8,
        **kind,
    )


def identify_algorithm(algorithm: Algorithm) -> Any:
    """What made a segmentation, as DICOM says it."""
    import highdicom

    return highdicom.AlgorithmIdentificationSequence(
        name=algorithm.name,
        family=_algorithm_family(),
        version=algorithm.version,
        source=MANUFACTURER,
        parameters={"weights": algorithm.hash},
    )


def describe_segment(wanted: SegmentContent, found: bool, identification: Any) -> Any:
    """A segment as DICOM says it; ``found`` is whether it has a voxel."""
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


def seg_error(path: Path, why: str) -> CaseUNetError:
    """The error that says why a segmentation object cannot be written."""
    return CaseUNetError(f"{path}: cannot be written as a DICOM segmentation: {why.removesuffix('.')}.")
