"""Where the slices of a DICOM series lie: read from their headers, told apart into volumes, fitted to an even grid."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.io.dicom_file import PARAMETRIC_MAP, frame_count

DIRECTION_TOLERANCE = 1e-3
"""By which the direction cosines of slices may differ: what writers round."""

MAX_UNEVEN = 0.1
"""Of the distance of slices, by which one may lie off its place in an even stack."""

MIN_REMARK = 0.01
"""Of that distance, from which on it is told."""

MAX_SHIFT = 0.5
"""Pixels by which a slice may lie beside the others; more is a tilted gantry."""

MIN_JUMP = 5
"""Times that a shift from one slice to the next is as large as usual, from which on it is no tilt, which shifts all."""

GAP = 1.5
"""Times the usual distance from which on slices are missing."""

POSITION_STEP = 0.01
"""Millimetres to which positions are rounded: slices with the same result lie at one place."""

_VALUES = (
    (("ImageType", "FrameType"), "type"),
    (("EchoNumbers",), "echo"),
    (("EchoTime", "EffectiveEchoTime"), "echo-time"),
    (("DiffusionBValue", "SiemensBValue", "GEBValue", "PhilipsBValue"), "b"),
    (("InversionTime",), "inversion"),
    (("TemporalPositionIdentifier",), "phase"),
    (("TemporalPositionIndex",), "phase"),
    (("NominalPercentageOfCardiacPhase",), "phase"),
    (("AcquisitionNumber",), "acquisition"),
    (("FrameAcquisitionNumber",), "acquisition"),
    (("StackID",), "stack"),
    (("ConvolutionKernel",), "kernel"),
    (("FlipAngle",), "flip-angle"),
    (("DiffusionGradientOrientation",), "direction"),
)
"""Elements that tell the volumes of a series apart by their values, first those that tell what differs, and names."""

_CONTRASTS = ("echo-time", "b", "inversion", "phase", "kernel", "flip-angle")
"""Names of those that are alike in all slices of one volume."""

_TIMES = (
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

TAGS: list[Any] = [
    *("NumberOfFrames", "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence", "SOPInstanceUID"),
    *("InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing"),
    *("Rows", "Columns", "SpacingBetweenSlices", "SliceThickness", "ImagesInAcquisition", "ImageType"),
    *(keyword for keywords, _ in _VALUES for keyword in keywords if keyword not in _PRIVATE),
    *("SOPClassUID", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", *_MEANINGS),
    *_TIMES,
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
        marks: {element: value} of those that tell volumes apart.
        is_rescaled: whether its header says how stored values become others.
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
    meanings: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.frames > 1:
            return f"frame {self.frame + 1}"
        return self.path.name if self.number is None else f"{self.path.name} (InstanceNumber {self.number})"

    @property
    def place(self) -> tuple[int, ...]:
        """The position, alike for slices that lie at one place."""
        return tuple(round(n / POSITION_STEP) for n in self.position)


@dataclass(frozen=True)
class SliceStack:
    """Slices as a volume.

    Attributes:
        planes: in the order in which they follow each other.
        affine: (column, row, slice) → LPS millimetres; the three axes are square to each other and right-handed.
        remarks: as of :class:`caseunet.types.Geometry`.
    """

    planes: tuple[Plane, ...]
    affine: np.ndarray
    remarks: tuple[str, ...]


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


def split_volumes(planes: Sequence[Plane]) -> tuple[dict[str, list[Plane]], list[str]]:
    """{name: slices} of the volumes that share a series, and the elements that tell them apart.

    A series with one slice at each position of an even stack is one volume, called "". Slices at one position that no
    element tells apart stay together.
    """
    parts: dict[str, list[Plane]] = {"": list(planes)}
    used: list[str] = []
    splits: list[Callable[[Sequence[Plane]], tuple[str, dict[str, list[Plane]]]]] = [
        _by_folder,
        *(_by_value(keywords, name) for keywords, name in _VALUES),
        *(_by_time(keyword) for keyword in _TIMES),
    ]
    for split in splits:
        for name, members in list(parts.items()):
            element, found = split(members)
            if _helps(members, list(found.values())):
                del parts[name]
                parts |= {f"{name}/{own}".lstrip("/"): part for own, part in found.items()}
                used += [element] if element not in used else []
    return parts, used


def fit_stack(planes: Sequence[Plane]) -> SliceStack:
    """Lay slices, one at each position, on an even grid by least squares.

    Raises:
        ValueError: they are no stack; says which slice is not where it should be, and why.
    """
    _check_alike(planes)
    across, down, normal = _axes(planes)
    rows, columns = np.median([plane.spacing for plane in planes], axis=0)
    if not (0 < rows < np.inf and 0 < columns < np.inf):
        raise ValueError(f"the PixelSpacing of {planes[0]} is {rows:g} × {columns:g} mm")
    ordered = sorted(planes, key=lambda plane: float(np.dot(plane.position, normal)))
    positions = np.array([plane.position for plane in ordered])
    remarks: list[str] = []
    if len(ordered) == 1:
        distance, origin = _thickness(ordered[0]), positions[0]
    else:
        heights = positions @ normal
        distance, first = _fit_heights(ordered, heights, remarks)
        beside = positions - heights[:, None] * normal
        middle = np.median(beside, axis=0)
        _check_shift(ordered, beside - middle, heights, min(rows, columns), remarks)
        origin = middle + first * normal
        _check_numbers(ordered)
        remarks += [*_missing_at_ends(ordered), *_describe_mixture(ordered)]
    affine = np.eye(4)
    affine[:3] = np.column_stack([across * columns, down * rows, normal * distance, origin])
    return SliceStack(tuple(ordered), affine, tuple(remarks))


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
    for keyword in (*(keyword for keywords, _ in _VALUES for keyword in keywords), *_TIMES):
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


def _most_at_one_place(planes: Sequence[Plane]) -> int:
    return max(Counter(plane.place for plane in planes).values())


def is_stack(planes: Sequence[Plane]) -> bool:
    """Whether slices lie at even distances, one at each."""
    try:
        fit_stack(planes)
    except ValueError:
        return False
    return True


def _helps(before: Sequence[Plane], after: Sequence[Sequence[Plane]]) -> bool:
    """Whether a split puts slices at one position apart; where there are none, whether it makes even stacks."""
    if len(after) < 2:
        return False
    most = _most_at_one_place(before)
    if most > 1:
        return len(after) <= most and max(map(_most_at_one_place, after)) < most
    return not is_stack(before) and all(len(part) > 1 and is_stack(part) for part in after)


def _by_folder(planes: Sequence[Plane]) -> tuple[str, dict[str, list[Plane]]]:
    groups = _group((str(plane.path.parent), plane) for plane in planes)
    names = [Path(folder).name for folder in groups]
    if len(set(names)) < len(names):
        names = [f"folder-{n + 1}" for n in range(len(names))]
    return "folder", dict(zip(names, groups.values(), strict=True))


def _by_value(keywords: Sequence[str], name: str) -> Callable[[Sequence[Plane]], tuple[str, dict[str, list[Plane]]]]:
    def split(planes: Sequence[Plane]) -> tuple[str, dict[str, list[Plane]]]:
        keyword = next((k for k in keywords if any(k in plane.marks for plane in planes)), keywords[0])
        groups = _group((plane.marks.get(keyword, ""), plane) for plane in planes)
        named = dict(zip(_value_names(name, list(groups)), groups.values(), strict=True))
        return keyword, named

    return split


def _by_time(keyword: str) -> Callable[[Sequence[Plane]], tuple[str, dict[str, list[Plane]]]]:
    """The first slice at each position, the second …; none where a position has fewer than others, or equal times."""

    def split(planes: Sequence[Plane]) -> tuple[str, dict[str, list[Plane]]]:
        places: dict[tuple[int, ...], list[Plane]] = {}
        for plane in planes:
            places.setdefault(plane.place, []).append(plane)
        times = [{plane.marks.get(keyword, "") for plane in members} for members in places.values()]
        if len({len(members) for members in places.values()}) > 1 or any(
            len(own) < len(members) or "" in own for own, members in zip(times, places.values(), strict=True)
        ):
            return keyword, {}
        return keyword, _group(
            (f"phase-{n + 1}", plane)
            for members in places.values()
            for n, plane in enumerate(sorted(members, key=lambda plane: _number_or_text(plane.marks[keyword])))
        )

    return split


def _group(pairs: Iterable[tuple[str, Plane]]) -> dict[str, list[Plane]]:
    groups: dict[str, list[Plane]] = {}
    for key, plane in pairs:
        groups.setdefault(key, []).append(plane)
    return dict(sorted(groups.items(), key=lambda item: _number_or_text(item[0])))


def _number_or_text(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return np.inf, text


def _value_names(name: str, values: list[str]) -> list[str]:
    """What volumes are called by the values of an element: "echo-2", "b-1000", "type-p"; else by their order."""
    if name == "type":
        parts = [value.split("\\") for value in values]
        own = ["-".join(part for part in mine if not all(part in other for other in parts)) for mine in parts]
    else:
        own = [f"{number:g}" if np.isfinite(number := _number_or_text(value)[0]) else value for value in values]
    plain = ["".join(c if c.isalnum() or c in "-." else "_" for c in text.lower())[:20] for text in own]
    if len(set(plain)) < len(values) or not all(plain):
        plain = [str(n + 1) for n in range(len(values))]
    return [f"{name}-{text}" for text in plain]


def _check_alike(planes: Sequence[Plane]) -> None:
    """Make sure that slices have one size, one spacing and one direction.

    Raises:
        ValueError: one has another; names it.
    """
    for what, values in (
        ("ImageOrientationPatient", [tuple(round(n, 2) for n in plane.directions) for plane in planes]),
        ("Rows × Columns", [plane.size for plane in planes]),
        ("PixelSpacing", [tuple(round(n, 3) for n in plane.spacing) for plane in planes]),
    ):
        usual = Counter(values).most_common(1)[0][0]
        tolerance = {"PixelSpacing": 0.01 * max(usual), "ImageOrientationPatient": 0.02}.get(what, 0)
        for plane, value in zip(planes, values, strict=True):
            if np.abs(np.subtract(value, usual)).max() > tolerance:
                raise ValueError(
                    f"{plane} has another {what} ({_show(value)}) than most slices ({_show(usual)}). Move it away"
                )


def _show(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _axes(planes: Sequence[Plane]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors along the columns' and the rows' succession, and square to both."""
    all_directions = np.array([plane.directions for plane in planes])
    directions = np.median(all_directions, axis=0)
    worst = int(np.abs(all_directions - directions).max(axis=1).argmax())
    if np.abs(all_directions[worst] - directions).max() > DIRECTION_TOLERANCE:
        raise ValueError(
            f"{planes[worst]} has another ImageOrientationPatient ({_show(all_directions[worst])}) than most slices "
            f"({_show(directions)}). Move it away"
        )
    across, down = directions[:3], directions[3:]
    lengths = np.linalg.norm(across), np.linalg.norm(down)
    if not np.allclose(lengths, 1, atol=0.01) or abs(float(across @ down)) > 0.01:
        raise ValueError(f"the ImageOrientationPatient of {planes[0]} ({_show(directions)}) is no pair of directions")
    across = across / lengths[0]
    down = down - (down @ across) * across
    down /= np.linalg.norm(down)
    return across, down, np.cross(across, down)


def _thickness(plane: Plane) -> float:
    thickness = 1.0 if plane.thickness is None else plane.thickness
    if not 0 < thickness < np.inf:  # NaN is not
        raise ValueError(f"the slice {plane} is {thickness:g} mm thick")
    return thickness


def _fit_heights(planes: Sequence[Plane], heights: np.ndarray, remarks: list[str]) -> tuple[float, float]:
    """Distance and first height of the even stack nearest to slices in order.

    Raises:
        ValueError: slices are missing, at one position, or at uneven distances.
    """
    gaps = np.diff(heights)
    for n in np.flatnonzero(gaps < POSITION_STEP).tolist():
        raise ValueError(
            f"{planes[n]} and {planes[n + 1]} lie at one position ({_show(planes[n].position)}) with different "
            "pixels, and no element such as AcquisitionNumber or TemporalPositionIdentifier tells them apart. Move "
            "one of them away"
        )
    usual = float(np.quantile(gaps, 0.5, method="lower"))
    wide = np.flatnonzero(gaps > GAP * usual).tolist()
    if len(wide):
        n = wide[0]
        lost = round(gaps[n] / usual) - 1
        more = f", and at {len(wide) - 1} more places" if len(wide) > 1 else ""
        raise ValueError(
            f"between {planes[n]} and {planes[n + 1]} {'a slice is' if lost == 1 else f'{lost} slices are'} missing"
            f"{more}: they lie {gaps[n]:.4g} mm apart, others {usual:.4g} mm. Export the series again"
        )
    distance, first = (float(n) for n in np.polyfit(np.arange(len(heights)), heights, 1))
    off = np.abs(heights - first - distance * np.arange(len(heights)))
    worst = int(off.argmax())
    found = f"{planes[worst]} lies {off[worst]:.3g} mm off an even stack of slices {distance:.4g} mm apart"
    if off[worst] > MAX_UNEVEN * distance:
        raise ValueError(f"they lie at uneven distances ({gaps.min():.4g} to {gaps.max():.4g} mm): {found}")
    if off[worst] > MIN_REMARK * distance:
        remarks.append(f"the distance of its slices varies ({gaps.min():.4g} to {gaps.max():.4g} mm): {found}")
    return distance, first


def _check_shift(
    planes: Sequence[Plane], beside: np.ndarray, heights: np.ndarray, pixel: float, remarks: list[str]
) -> None:
    """Make sure that slices lie one above the other.

    Raises:
        ValueError: they do not.
    """
    far = np.linalg.norm(beside, axis=1)
    worst = int(far.argmax())
    if far[worst] > MAX_SHIFT * pixel:
        steps = np.linalg.norm(np.diff(beside, axis=0), axis=1)
        jumps = np.flatnonzero(steps > max(MAX_UNEVEN * pixel, MIN_JUMP * float(np.median(steps)))).tolist()
        if len(jumps) == 1:
            before, after = planes[jumps[0]], planes[jumps[0] + 1]
            raise ValueError(
                f"by ImagePositionPatient the slices from {after} on lie {steps[jumps[0]]:.3g} mm beside those up to "
                f"{before}: they may be of two series, or the patient moved. Put each part into a folder of its own"
            )
        drift = np.linalg.norm(np.polyfit(heights, beside, 1)[0])
        tilt = float(np.degrees(np.arctan(drift)))
        if tilt > 0.5 and not jumps:
            raise ValueError(
                f"the gantry was tilted by {tilt:.1f} degrees: by ImagePositionPatient each slice is shifted against "
                f"the one before. Resample the series first, for example with dcm2niix"
            )
        raise ValueError(f"by ImagePositionPatient {planes[worst]} lies {far[worst]:.3g} mm beside the others")
    if far[worst] > MAX_UNEVEN * pixel:
        remarks.append(f"{planes[worst]} lies {far[worst]:.3g} mm beside the others, less than half a pixel")


def _check_numbers(planes: Sequence[Plane]) -> None:
    """Make sure that slices are not those of two series whose heights happen to fit one stack.

    Raises:
        ValueError: several of their InstanceNumbers occur more than once; one that all share tells nothing.
    """
    if planes[0].frames > 1:
        return
    counts = Counter(plane.number for plane in planes if plane.number is not None)
    several = [number for number, count in counts.items() if count > 1]
    if len(several) > 1:
        first, second = [plane for plane in planes if plane.number == several[0]][:2]
        raise ValueError(
            f"{len(several)} InstanceNumbers occur more than once, {several[0]} in {first.path} and in {second.path}: "
            "they seem to be several series with one SeriesInstanceUID, or with none. Put each into a folder of its own"
        )


def _describe_mixture(planes: Sequence[Plane]) -> list[str]:
    """Remarks on elements that differ from slice to slice although they make the contrast of an image."""
    remarks = []
    for keywords, name in _VALUES:
        keyword = next((k for k in keywords if any(k in plane.marks for plane in planes)), None)
        if keyword is None or name not in _CONTRASTS:
            continue
        values = [plane.marks.get(keyword, "") for plane in planes]
        rounded = [f"{number:.3g}" if np.isfinite(number := _number_or_text(v)[0]) else v or "none" for v in values]
        counts = Counter(rounded)
        if len(counts) > 1:
            told = ", ".join(f"{value} in {count}" for value, count in counts.most_common(3))
            remarks.append(f"{keyword} differs between its slices ({told}): they may be several volumes")
    return remarks


def _missing_at_ends(planes: Sequence[Plane]) -> list[str]:
    """A remark where headers count more slices than there are: an even stack does not show that its ends are cut."""
    expected = {plane.expected for plane in planes}
    if len(expected) == 1 and (count := expected.pop()) > len(planes):
        return [f"ImagesInAcquisition is {count}, {len(planes)} slices are here: some may be missing at its ends"]
    numbers = sorted(plane.number for plane in planes if plane.number is not None)
    told = planes[0].frames == 1 and numbers == list(range(numbers[0], numbers[0] + len(planes))) if numbers else False
    if told and 1 < numbers[0] <= len(planes) // 2:
        return [f"its InstanceNumbers begin at {numbers[0]}: slices before may be missing"]
    return []
