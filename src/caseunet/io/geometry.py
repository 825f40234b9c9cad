"""Orientation and position of volumes: into canonical order, back, and compared; and in which plane they are cut.

Canonical order is (slices, rows, columns), seen as radiologists look at each plane:

========  =========  =========  =========
plane     slices to  rows to    columns to
========  =========  =========  =========
axial     Superior   Posterior  Left
coronal   Posterior  Inferior   Left
sagittal  Left       Inferior   Posterior
========  =========  =========  =========
"""

import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar, get_args, overload

import numpy as np
from nibabel import orientations

from caseunet.errors import InvalidInputError
from caseunet.io import scratch
from caseunet.types import DIRECTIONS, Geometry, ImageVolume, Mask, Plane, PlaneRule, Steps

MAX_SKEW = 0.05
"""Degrees off the right angle that are rounding; lengths and volumes are the same to 0.1 %."""

MIN_TOLD_SKEW = 0.5
"""Degrees off the right angle from which on a person is told."""

MIN_LENGTH, MAX_LENGTH = 0.01, 100.0
"""Millimetres between voxels beyond which no scanner goes, but a microscope, or a header in a wrong unit."""

PLANES: tuple[Plane, ...] = get_args(Plane)

OPPOSITES = dict(zip("SIAPLR", "ISPARL", strict=True))

MIN_ANISOTROPY = 1.2
"""Times that the largest spacing of a volume is the next one, from which its slices were taken across it."""

MIN_LENGTHS = 3
"""Times as many pixels each way as slices, from which a volume without a spacing shows which its slices are."""

Turnable = TypeVar("Turnable", Geometry, ImageVolume, Mask)

_CODES = {plane: orientations.axcodes2ornt(tuple(reversed(DIRECTIONS[plane]))) for plane in PLANES}


def volume_geometry(shape: tuple[int, ...], affine: np.ndarray, origin: str) -> Geometry:
    """The geometry of a volume.

    Args:
        shape: of the source array, three axes.
        affine: 4×4, voxel index → RAS millimetres.
        origin: the file, for messages.

    Raises:
        CaseUNetError: the affine places no volume.
    """
    affine = np.asarray(affine, dtype=np.float64)
    scale = np.abs(affine[:3, :3]).max() if np.all(np.isfinite(affine)) else 0
    if scale == 0 or scale > 1e6 or abs(np.linalg.det(affine[:3, :3] / scale)) < 1e-9:
        raise InvalidInputError(
            f"{origin}: its affine is not finite or is singular, so its position is unknown: {affine.tolist()}."
        )
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    order = orientations.ornt_transform(orientations.io_orientation(affine), _CODES["axial"])
    columns, rows, slices = (float(zooms[axis]) for axis in np.argsort(order[:, 0]))  # axes L, P, S
    skewed = (f"its axes are not orthogonal ({_angles_text(affine)})",) if _skew(affine) >= MIN_TOLD_SKEW else ()
    remarks = (*skewed, *length_remarks(zooms))
    return Geometry(shape=shape, affine=affine, spacing=(slices, rows, columns), remarks=remarks)


def length_remarks(lengths: Iterable[float]) -> tuple[str, ...]:
    """What is doubtful in the millimetres from a voxel to the next, in the order of the source's axes."""
    lengths = [float(length) for length in lengths]
    if all(MIN_LENGTH <= length <= MAX_LENGTH for length in lengths):
        return ()
    text = " × ".join(f"{length:.4g}" for length in lengths)
    return (f"its voxels are {text} mm large, as in no scan of a patient; if their unit is wrong, so is every volume",)


def voxel_steps(geometry: Geometry) -> Steps | None:
    """By what lengths and volumes are measured in canonical order: the spacing, or where the axes of the file are not
    orthogonal the vectors between neighbouring voxels; None without a spacing."""
    if geometry.affine is None or _skew(geometry.affine) <= MAX_SKEW:
        return geometry.spacing
    return np.ascontiguousarray(_canonical_grid(geometry)[1][:3, 2::-1].T)


def to_canonical(array: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Source axes (three) → (slices, rows, columns) of the geometry's plane."""
    turned = orientations.apply_orientation(array, _turn(geometry))
    return scratch.contiguous(turned.transpose(2, 1, 0))


def to_source(array: np.ndarray, geometry: Geometry) -> np.ndarray:
    """(slices, rows, columns) of the geometry's plane → source axes; the inverse of :func:`to_canonical`.

    The first axis runs fastest, as in files of volumes. Where that is so already, the result is a view of the array.
    """
    back = orientations.ornt_transform(_CODES[geometry.plane], orientations.io_orientation(geometry.affine))
    turned = orientations.apply_orientation(array.transpose(2, 1, 0), back)
    return scratch.contiguous(turned.transpose(2, 1, 0)).transpose(2, 1, 0)


def resample_nearest(array: np.ndarray, own: Geometry, onto: Geometry) -> np.ndarray:
    """Labels in canonical order on the grid of another volume, each voxel taking the nearest in space, 0 outside."""
    from scipy.ndimage import affine_transform

    matrix = np.linalg.inv(np.asarray(own.affine)) @ np.asarray(onto.affine)
    laid = affine_transform(to_source(array, own), matrix, output_shape=onto.shape, order=0, mode="constant")
    return to_canonical(laid, onto)


@overload
def reslice(item: Geometry, plane: Plane) -> Geometry: ...
@overload
def reslice(item: ImageVolume, plane: Plane) -> ImageVolume: ...
@overload
def reslice(item: Mask, plane: Plane) -> Mask: ...
def reslice(item: Geometry | ImageVolume | Mask, plane: Plane) -> Geometry | ImageVolume | Mask:
    """A geometry, or a picture or mask with its pixels, cut into the slices of a plane.

    What has no position in a patient has no planes either and stays as it is.
    """
    if isinstance(item, Geometry):
        return _geometry_in_plane(item, plane)
    before, geometry = item.geometry.plane, _geometry_in_plane(item.geometry, plane)
    if geometry.plane == before:
        return item
    if isinstance(item, Mask):
        codes = _turn_axes(item.label_values.transpose(2, 1, 0), before, plane).transpose(2, 1, 0)
        return replace(item, label_values=scratch.contiguous(codes), geometry=geometry)
    by_channel = item.pixels.transpose(3, 2, 0, 1)  # columns, rows, slices, channels
    pixels = _turn_axes(by_channel, before, plane).transpose(2, 3, 1, 0)
    return replace(item, pixels=scratch.contiguous(pixels), geometry=geometry)


def cut(item: Turnable, rule: PlaneRule) -> Turnable:
    """A geometry, picture or mask cut into the slices that a data set's rule asks for."""
    geometry = item if isinstance(item, Geometry) else item.geometry
    return reslice(item, plane_of(geometry, rule))


def plane_of(geometry: Geometry, rule: PlaneRule) -> Plane:
    """In which plane a volume is cut: that of the rule, unless it is a single slice, which stays one."""
    if is_single_slice(geometry) or rule == "acquired":
        return find_acquired_plane(geometry) or "axial"
    return rule


def find_acquired_plane(geometry: Geometry) -> Plane | None:
    """In which plane the slices of a volume were taken: across its only slice, or its clearly largest spacing.

    Where all voxels are cubes of 1 mm, as writers put who know no spacing, few slices of many pixels tell. None where
    nothing tells, as for isotropic volumes.
    """
    if geometry.affine is None or geometry.spacing is None:
        return None
    axial = reslice(geometry, "axial")
    across = {plane: _axes("axial", plane)[0] for plane in PLANES}
    lengths = {plane: canonical_shape(axial)[axis] for plane, axis in across.items()}
    if is_single_slice(geometry):
        return min(lengths, key=lambda plane: lengths[plane])
    spacing = np.asarray(axial.spacing)
    if np.allclose(spacing, 1, atol=1e-3):
        fewest, second, _ = sorted(lengths, key=lambda plane: lengths[plane])
        return fewest if MIN_LENGTHS * lengths[fewest] <= lengths[second] else None
    thickest = max(across, key=lambda plane: spacing[across[plane]])
    _, second, largest = np.sort(spacing)
    return thickest if largest > MIN_ANISOTROPY * second else None


def is_single_slice(geometry: Geometry) -> bool:
    """Whether a volume has one slice, in any plane."""
    return geometry.affine is not None and geometry.shape.count(1) == 1


def left_right_axis(plane: Plane) -> int:
    """Which axis of (slices, rows, columns) runs from the patient's one side to the other: 2, 2, 0."""
    return DIRECTIONS[plane].index("L")


def edge_letters(plane: Plane) -> tuple[str, str, str, str]:
    """Where the left, upper, right and lower edges of a slice's picture lie in the patient: "R", "A", "L", "P"."""
    below, right = DIRECTIONS[plane][1], DIRECTIONS[plane][2]
    return OPPOSITES[right], OPPOSITES[below], right, below


def orientation_of(geometry: Geometry) -> str:
    """Where the axes of the file run, "LPS"; "" for an image without a position."""
    if geometry.affine is None:
        return ""
    return "".join(orientations.ornt2axcodes(orientations.io_orientation(geometry.affine)))


def distance_in_voxels(a: Geometry, b: Geometry) -> float:
    """As :func:`distance_in_mm`, in shortest sides of a voxel of ``a``, so that no axis is more than that away."""
    if a.affine is None or b.affine is None:
        return 0.0
    return distance_in_mm(a, b) / float(np.linalg.norm(a.affine[:3, :3], axis=0).min())


def distance_in_mm(a: Geometry, b: Geometry) -> float:
    """Largest distance of corresponding corners in millimetres; infinite where the shapes differ.

    Both are put into one order first: a file with the axes turned, but the same voxels, is at distance 0.
    """
    if a.affine is None or b.affine is None:
        return 0.0
    (shape, first), (other, second) = (_canonical_grid(reslice(one, "axial")) for one in (a, b))
    if shape != other:
        return float("inf")
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, n - 1) for n in shape))])
    shifts = np.linalg.norm((corners @ first.T - corners @ second.T)[:, :3], axis=1)
    return float(shifts.max())


def canonical_shape(geometry: Geometry) -> tuple[int, ...]:
    """Of the array in canonical order: (slices, rows, columns)."""
    return geometry.shape if geometry.affine is None else _canonical_grid(geometry)[0][::-1]


def is_identity(geometry: Geometry) -> bool:
    """Whether the affine is the one that writers put when they know no position."""
    return geometry.affine is not None and np.allclose(np.abs(geometry.affine), np.eye(4), atol=1e-3)


def _angles(affine: np.ndarray) -> np.ndarray:
    """(3,), degrees: between the axes of a file, first and second, first and third, second and third."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = (directions.T @ directions)[np.triu_indices(3, 1)]
    return np.asarray(np.degrees(np.arccos(np.clip(cosines, -1, 1))))


def _skew(affine: np.ndarray) -> float:
    """Degrees by which the worst angle between two axes is off the right angle."""
    return float(np.abs(_angles(affine) - 90).max())


def _angles_text(affine: np.ndarray) -> str:
    """ "79.7, 90 and 90 degrees"."""
    first, second, third = (f"{angle:.1f}".removesuffix(".0") for angle in _angles(affine))
    return f"{first}, {second} and {third} degrees between them"


def _canonical_grid(geometry: Geometry) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of the array in canonical order, but its axes the other way round: columns, rows, slices."""
    turn = _turn(geometry)
    shape = tuple(geometry.shape[axis] for axis in np.argsort(turn[:, 0]))
    return shape, np.asarray(geometry.affine) @ orientations.inv_ornt_aff(turn, geometry.shape)


def _turn(geometry: Geometry) -> np.ndarray:
    """From the axes of the file to columns, rows and slices."""
    return np.asarray(orientations.ornt_transform(orientations.io_orientation(geometry.affine), _CODES[geometry.plane]))


def _geometry_in_plane(geometry: Geometry, plane: Plane) -> Geometry:
    if geometry.affine is None or geometry.spacing is None or geometry.plane == plane:
        return geometry
    slices, rows, columns = (geometry.spacing[axis] for axis in _axes(geometry.plane, plane))
    return replace(geometry, plane=plane, spacing=(slices, rows, columns))


def _turn_axes(array: np.ndarray, before: Plane, after: Plane) -> np.ndarray:
    """A view of an array (columns, rows, slices, …) of one plane as that of another."""
    return orientations.apply_orientation(array, orientations.ornt_transform(_CODES[before], _CODES[after]))


def _axes(before: Plane, after: Plane) -> tuple[int, ...]:
    """Which of (slices, rows, columns) of one plane are those of another."""
    own = [{letter, OPPOSITES[letter]} for letter in DIRECTIONS[before]]
    return tuple(next(axis for axis in range(3) if letter in own[axis]) for letter in DIRECTIONS[after])
