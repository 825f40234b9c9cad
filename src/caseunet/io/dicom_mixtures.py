"""Slices of a DICOM series that do not belong into one volume: other scans, projections."""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from caseunet.io.dicom_planes import SCANS, VALUES, Plane

MIN_SLICES = 3
"""Slices of a scan from which on it can be told from another whose slices lie between its own."""

MAX_INTERLEAVED = 8
"""Scans that are looked for whose slices lie between each other's."""

MIN_PAUSE = 10
"""Seconds between two scans of CT, which takes its slices in order and without a pause."""

_CONTRASTS = ("echo-time", "b", "inversion", "phase", "kernel", "flip-angle")
"""Names of elements that are alike in all slices of one volume."""

_PACKAGES = ("AcquisitionNumber", "FrameAcquisitionNumber", "StackID")
"""Elements that number scans, or the packages of slices of one scan."""

_SCAN_TIMES = ("AcquisitionDateTime", "FrameAcquisitionDateTime", "AcquisitionTime")

_PROJECTION = re.compile(
    r"(?<![A-Z])(MIP|MINIP|MAXIP|M(AX|IN)_IP|PROJECTION|VRT|SSD|(VOLUME|SURFACE)_RENDER(ING)?)(?![A-Z])"
)
"""What types of projections and views in three dimensions hold."""


@dataclass(frozen=True)
class Interleaving:
    """Slices that alternate between several volumes.

    Attributes:
        parts: the slices of each, in the order of position.
        elements: those that are alike in each and different between them.
        is_proven: whether these tell that the volumes are scans of their own, not packages of one.
    """

    parts: tuple[list[Plane], ...]
    elements: tuple[str, ...]
    is_proven: bool


def find_interleaving(planes: Sequence[Plane]) -> Interleaving | None:
    """The volumes between which the slices of an even stack, in order, alternate; None where no element tells any."""
    proofs = [*(keyword for keyword, name in VALUES.items() if name in _CONTRASTS), *SCANS]
    for count in range(2, min(len(planes) // MIN_SLICES, MAX_INTERLEAVED) + 1):
        parts = tuple(list(planes[n::count]) for n in range(count))
        hints = [element for element in _PACKAGES if _tells_apart(element, parts)]
        proven = [element for element in proofs if _tells_apart(element, parts)]
        proven += [element for element in _SCAN_TIMES if _are_apart(element, parts)][:1]
        runs = ["InstanceNumber"] if _number_in_runs(parts) else []
        folders = ["folder"] if _tells_apart("folder", parts) else []
        if elements := [*folders, *hints, *proven] or runs:
            return Interleaving(parts, tuple(elements), bool(proven or folders))
    return None


def describe_mixture(planes: Sequence[Plane]) -> list[str]:
    """Remarks on slices, in order, that seem to be of several volumes."""
    remarks: dict[str, str] = {}
    for keyword, name in VALUES.items():
        counts = Counter(mark_of(keyword, plane) or "none" for plane in planes)
        if name in (*_CONTRASTS, "type") and len(counts) > 1:
            told = ", ".join(f"{value} in {count}" for value, count in counts.most_common(3))
            doubt = "some may be no slices of it" if name == "type" else "they may be several volumes"
            remarks.setdefault(name, f"{keyword} differs between its slices ({told}): {doubt}")
    found = find_interleaving(planes)
    if found is not None and not found.is_proven:
        told = ", ".join(mark_of(found.elements[0], plane) for plane in planes[: 2 * len(found.parts)])
        remarks["interleaving"] = (
            f"{found.elements[0]} alternates along its slices ({told} …): they may be {len(found.parts)} scans whose "
            "slices lie between each other's. If they are, put each into a folder of its own"
        )
    return list(remarks.values())


def part_projections(planes: Sequence[Plane]) -> tuple[list[Plane], list[Plane]]:
    """Slices, and the projections and views in three dimensions among them; where these are most, all are slices."""
    elements = ("ImageType", "FrameType", "VolumeBasedCalculationTechnique")
    kept: list[Plane] = []
    left: list[Plane] = []
    for plane in planes:
        text = " ".join(plane.marks.get(element, "") for element in elements).upper()
        (left if _PROJECTION.search(text) else kept).append(plane)
    return (kept, left) if len(left) < len(kept) else (list(planes), [])


def mark_of(element: str, plane: Plane) -> str:
    """What an element is in a slice, contrasts to three digits; "folder" and "InstanceNumber", or the frame's, too."""
    if element == "folder":
        return str(plane.path.parent)
    if element == "InstanceNumber":
        own = plane.number if plane.frames == 1 else plane.frame + 1
        return "" if own is None else str(own)
    text = plane.marks.get(element, "")
    if VALUES.get(element) in _CONTRASTS and np.isfinite(number := number_or_text(text)[0]):
        return f"{number:.3g}"
    return text


def number_or_text(text: str) -> tuple[float, str]:
    """What values are sorted by."""
    try:
        return float(text), text
    except ValueError:
        return np.inf, text


def _tells_apart(element: str, parts: Sequence[Sequence[Plane]]) -> bool:
    """Whether an element is alike in each part and different between them."""
    values = [{mark_of(element, plane) for plane in part} for part in parts]
    return all(len(own) == 1 for own in values) and len(set.union(*values)) == len(parts)


def _are_apart(element: str, parts: Sequence[Sequence[Plane]]) -> bool:
    """Whether parts are scans of CT, each begun after another's end; MR scans packages of slices one after another."""
    if any(plane.marks.get("Modality") != "CT" for part in parts for plane in part):
        return False
    times = [[_seconds(plane.marks.get(element, "")) for plane in part] for part in parts]
    spans = sorted((np.min(part), np.max(part)) for part in times)  # NaN where one is missing
    return all(after[0] - before[1] >= MIN_PAUSE for before, after in itertools.pairwise(spans))


def _seconds(text: str) -> float:
    """Of a time, or of a date and time, as DICOM writes them; NaN where it is neither."""
    if not (found := re.match(r"(\d{8})?(\d\d):?(\d\d):?(\d\d)", text)):
        return np.nan
    day, hours, minutes, seconds = found.groups()
    return 86400 * int(day or 0) + 3600 * int(hours) + 60 * int(minutes) + int(seconds)


def _number_in_runs(parts: Sequence[Sequence[Plane]]) -> bool:
    """Whether each part is numbered by itself, without a gap: 1, 101, 2, 102 …"""
    numbers = [[float(mark_of("InstanceNumber", plane) or "nan") for plane in part] for part in parts]
    steps = {step for part in numbers for step in np.diff(part).tolist()}
    return steps in ({1.0}, {-1.0})
