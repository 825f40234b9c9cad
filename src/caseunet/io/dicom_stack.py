"""Slices of a DICOM series fitted to an even grid."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from caseunet.io.dicom_mixtures import describe_mixture
from caseunet.io.dicom_planes import POSITION_STEP, Plane

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
    if any(plane.is_at_detector for plane in ordered):
        remarks.append(
            "it has no PixelSpacing, and its ImagerPixelSpacing is taken, which is measured at the detector: lengths "
            "in the patient are smaller, so do not rely on them"
        )
    if len(ordered) == 1:
        distance, origin = _thickness(ordered[0], remarks), positions[0]
    else:
        heights = positions @ normal
        distance, first = _fit_heights(ordered, heights, remarks)
        beside = positions - heights[:, None] * normal
        middle = np.median(beside, axis=0)
        _check_shift(ordered, beside - middle, heights, min(rows, columns), remarks)
        origin = middle + first * normal
        _check_numbers(ordered)
        remarks += [*_missing_at_ends(ordered), *describe_mixture(ordered)]
    affine = np.eye(4)
    affine[:3] = np.column_stack([across * columns, down * rows, normal * distance, origin])
    return SliceStack(tuple(ordered), affine, tuple(remarks))


def is_stack(planes: Sequence[Plane]) -> bool:
    """Whether slices lie at even distances, one at each."""
    try:
        fit_stack(planes)
    except ValueError:
        return False
    return True


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


def _thickness(plane: Plane, remarks: list[str]) -> float:
    thickness = plane.thickness
    if thickness is None:
        thickness = 1.0
        remarks.append(
            "the thickness of its only slice is not known (it has no SliceThickness or SpacingBetweenSlices), nor are "
            "its volumes in millilitres"
        )
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
