"""The slices of a DICOM series, as their headers tell them: where each lies, and what tells it from others."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.io.dicom_file import PARAMETRIC_MAP, frame_count

POSITION_STEP = 0.01
"""Millimetres to which positions are rounded: slices with the same result lie at one place."""

VALUES = {
    "ImageType": "type",
    "FrameType": "type",
    "ComplexImageComponent": "type",
    "EchoNumbers": "echo",
    "EchoTime": "echo-time",
    "EffectiveEchoTime": "echo-time",
    "DiffusionBValue": "b",
    "SiemensBValue": "b",
    "GEBValue": "b",
    "PhilipsBValue": "b",
    "InversionTime": "inversion",
    "TemporalPositionIdentifier": "phase",
    "TemporalPositionIndex": "phase",
    "NominalPercentageOfCardiacPhase": "phase",
    "AcquisitionNumber": "acquisition",
    "FrameAcquisitionNumber": "acquisition",
    "StackID": "stack",
    "ConvolutionKernel": "kernel",
    "FlipAngle": "flip-angle",
    "DiffusionGradientOrientation": "direction",
}
"""Elements that tell the volumes of a series apart by their values, first those that tell what differs, and names."""

SCANS = {
    "ContrastBolusAgent": "agent",
    "ContrastBolusAgentAdministered": "agent",
    "ContrastBolusStartTime": "bolus",
    "KVP": "kvp",
    "AcquisitionDate": "date",
    "ProtocolName": "protocol",
    "SeriesDescription": "description",
}
"""Elements that tell one scan from another, and names."""

TIMES = (
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
    "FrameReferenceTime",
    "AcquisitionDateTime",
    "FrameAcquisitionDateTime",
    "AcquisitionTime",
    "ContentTime",
)
"""Elements that differ from slice to slice too: at each position the first makes one volume, the second another."""

_MEANINGS = ("RescaleType", "Units", "PhotometricInterpretation")
"""Elements that say what pixels mean, and are alike in all slices of one volume that have them."""

_PRIVATE = {"SiemensBValue": 0x0019100C, "GEBValue": 0x00431039, "PhilipsBValue": 0x20011003}

_MARKS = (*VALUES, *SCANS, *TIMES, "Modality", "VolumeBasedCalculationTechnique")
"""Elements that tell what a slice is of."""

TAGS: list[Any] = [
    *("NumberOfFrames", "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence", "SOPInstanceUID"),
    *("InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing"),
    *("Rows", "Columns", "SpacingBetweenSlices", "SliceThickness", "ImagesInAcquisition"),
    *(keyword for keyword in _MARKS if keyword not in _PRIVATE),
    *("SOPClassUID", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", *_MEANINGS),
    *_PRIVATE.values(),
]
"""What is read of each file."""


@dataclass(frozen=True)
class Plane:
    """One slice.

    Attributes:
        path: its file.
        frame: its number there, from 0.
        frames: how many the file has.
        number: InstanceNumber; None where that is missing.
        position: of its first pixel's centre, LPS millimetres.
        directions: cosines in which the columns follow each other, then the rows.
        spacing: of rows and of columns.
        size: rows and columns.
        thickness: distance to the next slice as the header has it, or its own thickness; None where it has neither.
        expected: how many slices the header says that there are; 0 where it does not.
        marks: {element: value} of those that tell what it is of.
        is_rescaled: whether its header says how stored values become others.
        is_at_detector: whether the spacing is that at the detector, which is larger than in the patient.
        meanings: {element: value} of those that say what its values mean.
    """

    path: Path
    frame: int
    frames: int
    number: int | None
    position: tuple[float, ...]
    directions: tuple[float, ...]
    spacing: tuple[float, float]
    size: tuple[int, int]
    thickness: float | None
    expected: int
    marks: Mapping[str, str]
    is_rescaled: bool = False
    is_at_detector: bool = False
    meanings: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.frames > 1:
            return f"frame {self.frame + 1}"
        return self.path.name if self.number is None else f"{self.path.name} (InstanceNumber {self.number})"

    @property
    def place(self) -> tuple[int, ...]:
        """The position, alike for slices that lie at one place."""
        return tuple(round(n / POSITION_STEP) for n in self.position)


def read_planes(path: Path, dataset: Any) -> list[Plane]:
    """The slices of a file, one or for each frame one.

    Raises:
        ValueError: an element is missing or no number; it and the slice are named.
    """
    frames = frame_count(dataset)
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        if frames > 1:
            raise ValueError(
                f"{path.name} has no PerFrameFunctionalGroupsSequence, so nobody knows where its {frames} frames lie"
            )
        return [_plane(path, 0, 1, [dataset])]
    if len(groups) != frames:
        raise ValueError(f"{path.name} has {frames} frames by NumberOfFrames, {len(groups)} with functional groups")
    shared = [item for group in dataset.get("SharedFunctionalGroupsSequence") or () for item in group_items(group)]
    return [_plane(path, n, frames, [*group_items(groups[n]), *shared, dataset]) for n in range(frames)]


def group_items(group: Any) -> list[Any]:
    """The data sets of a functional group, those within them too."""
    found = []
    for element in group:
        if element.VR == "SQ" and element.value:
            found += [element.value[0], *group_items(element.value[0])]
    return found


def find_value(sources: Iterable[Any], keyword: str) -> Any:
    """The first value of an element that is not empty; None without any."""
    tag = _PRIVATE.get(keyword, keyword)
    for source in sources:
        if tag in source and (value := source[tag].value) not in (None, "", b""):
            return value
    return None


def find_rescale(sources: Sequence[Any]) -> tuple[float, float] | None:
    """Slope and intercept of a frame; None without both.

    Raises:
        ValueError: one of them is no number.
    """
    is_map = find_value(sources, "SOPClassUID") == PARAMETRIC_MAP
    names = [f"{'RealWorldValue' if is_map else 'Rescale'}{part}" for part in ("Slope", "Intercept")]
    slope, intercept = (find_value(sources, name) for name in names)
    if slope is None or intercept is None:
        return None
    try:
        return float(slope), float(intercept)
    except ValueError as error:
        raise ValueError(f"its {names[0]} {slope} or {names[1]} {intercept} is no number") from error


def check_scale(planes: Sequence[Plane]) -> None:
    """Make sure that the values of all slices mean the same: either all are rescaled or none, in one unit.

    Raises:
        ValueError: they do not; names the first slice that is unlike the others.
    """
    rescaled = sum(plane.is_rescaled for plane in planes)
    if 0 < rescaled < len(planes):
        first = next(plane for plane in planes if not plane.is_rescaled)
        raise ValueError(
            f"{first} has no RescaleSlope and RescaleIntercept, and {rescaled} of {len(planes)} slices have them, so "
            "their values are on two scales. Export the series again"
        )
    for element in _MEANINGS:
        told = [plane for plane in planes if element in plane.meanings]
        counts = Counter(plane.meanings[element] for plane in told)
        if len(counts) > 1:
            usual = counts.most_common(1)[0][0]
            first = next(plane for plane in told if plane.meanings[element] != usual)
            raise ValueError(
                f"the {element} of {first} is {first.meanings[element]}, that of {counts[usual]} of {len(planes)} "
                f"slices {usual}, so their values do not mean the same. Export the series again"
            )


def _plane(path: Path, frame: int, frames: int, sources: list[Any]) -> Plane:
    name = path.name if frames == 1 else f"frame {frame + 1} of {path.name}"

    def numbers(keyword: str, count: int, *others: str) -> tuple[float, ...]:
        value = next((v for k in (keyword, *others) if (v := find_value(sources, k)) is not None), None)
        if value is None:
            raise ValueError(f"{name} has no {keyword}")
        try:
            found = tuple(float(n) for n in value)
        except (TypeError, ValueError):
            found = ()
        if len(found) != count or not np.all(np.isfinite(found)):
            raise ValueError(f"the {keyword} of {name} is {value}, not {count} numbers")
        return found

    marks = {}
    for keyword in _MARKS:
        if (value := find_value(sources, keyword)) is not None:
            marks[keyword] = _mark(keyword, value)
    spacing, size = (
        numbers("PixelSpacing", 2, "ImagerPixelSpacing"),
        [find_value(sources, k) for k in ("Rows", "Columns")],
    )
    if not all(size):
        raise ValueError(f"{name} has no {'Columns' if size[0] else 'Rows'}")
    number = find_value(sources, "InstanceNumber")
    thickness = find_value(sources, "SpacingBetweenSlices") or find_value(sources, "SliceThickness")
    try:
        thickness = None if thickness is None else float(thickness)
    except ValueError as error:
        raise ValueError(f"the SliceThickness of {name} is {thickness}, no number") from error
    return Plane(
        path=path,
        frame=frame,
        frames=frames,
        number=None if number is None else int(number),
        position=numbers("ImagePositionPatient", 3),
        directions=numbers("ImageOrientationPatient", 6),
        spacing=(spacing[0], spacing[1]),
        size=(int(size[0]), int(size[1])),
        thickness=thickness,
        expected=0 if frames > 1 else int(find_value(sources, "ImagesInAcquisition") or 0),
        marks=marks,
        is_rescaled=find_value(sources, "ModalityLUTSequence") is not None or find_rescale(sources) is not None,
        is_at_detector=find_value(sources, "PixelSpacing") is None,
        meanings={k: _mark(k, value) for k in _MEANINGS if (value := find_value(sources, k)) is not None},
    )


def _mark(keyword: str, value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if keyword == "GEBValue":  # the first of several numbers, with a flag on the billions
        first = value.split("\\")[0] if isinstance(value, str) else value[0]
        return str(int(float(first)) % 100_000)
    if isinstance(value, str) or not isinstance(value, Iterable):
        return str(value).strip()
    return "\\".join(str(part).strip() for part in value)
