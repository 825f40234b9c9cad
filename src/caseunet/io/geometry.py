"""Orientation and position of volumes: into canonical order (Superior, Posterior, Left), back, and compared."""

import itertools

import numpy as np
from nibabel import orientations

from caseunet.errors import UserError
from caseunet.types import Geometry, Steps

_CANONICAL = orientations.axcodes2ornt(("L", "P", "S"))
MAX_SKEW = 0.05
"""Degrees off the right angle that are rounding; lengths and volumes are the same to 0.1 %."""
MIN_TOLD_SKEW = 0.5
"""Degrees off the right angle from which on a person is told."""


def volume_geometry(shape: tuple[int, ...], affine: np.ndarray, origin: str) -> Geometry:
    """The geometry of a volume.

    Args:
        shape: of the source array, three axes.
        affine: 4×4, voxel index → RAS millimetres.
        origin: the file, for messages.

    Raises:
        UserError: the affine places no volume.
    """
    affine = np.asarray(affine, dtype=np.float64)
    scale = np.abs(affine[:3, :3]).max() if np.all(np.isfinite(affine)) else 0
    if scale == 0 or scale > 1e6 or abs(np.linalg.det(affine[:3, :3] / scale)) < 1e-9:
        raise UserError(
            f"{origin}: its affine is not finite or is singular, so its position is unknown: {affine.tolist()}."
        )
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    order = orientations.ornt_transform(orientations.io_orientation(affine), _CANONICAL)
    columns, rows, slices = (float(zooms[axis]) for axis in np.argsort(order[:, 0]))  # axes L, P, S
    remarks = (f"its axes are not orthogonal ({_angles_text(affine)})",) if _skew(affine) >= MIN_TOLD_SKEW else ()
    return Geometry(shape=shape, affine=affine, spacing=(slices, rows, columns), remarks=remarks)


def voxel_steps(geometry: Geometry) -> Steps | None:
    """By what lengths and volumes are measured in canonical order: the spacing, or where the axes of the file are not
    orthogonal the vectors between neighbouring voxels; None without a spacing."""
    if geometry.affine is None or _skew(geometry.affine) <= MAX_SKEW:
        return geometry.spacing
    return np.ascontiguousarray(_canonical_grid(geometry)[1][:3, 2::-1].T)


def to_canonical(array: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Source axes (three) → (Superior, Posterior, Left)."""
    turned = orientations.apply_orientation(array, _turn(geometry))
    return np.ascontiguousarray(turned.transpose(2, 1, 0))


def to_source(array: np.ndarray, geometry: Geometry) -> np.ndarray:
    """(Superior, Posterior, Left) → source axes; the inverse of :func:`to_canonical`."""
    back = orientations.ornt_transform(_CANONICAL, orientations.io_orientation(geometry.affine))
    return np.ascontiguousarray(orientations.apply_orientation(array.transpose(2, 1, 0), back))


def resample_nearest(array: np.ndarray, own: Geometry, onto: Geometry) -> np.ndarray:
    """Labels in canonical order on the grid of another volume, each voxel taking the nearest in space, 0 outside."""
    from scipy.ndimage import affine_transform

    matrix = np.linalg.inv(np.asarray(own.affine)) @ np.asarray(onto.affine)
    laid = affine_transform(to_source(array, own), matrix, output_shape=onto.shape, order=0, mode="constant")
    return to_canonical(laid, onto)


def orientation_of(geometry: Geometry) -> str:
    """Where the axes of the file run, "LPS"; "" for an image without a position."""
    if geometry.affine is None:
        return ""
    return "".join(orientations.ornt2axcodes(orientations.io_orientation(geometry.affine)))


def distance_in_voxels(a: Geometry, b: Geometry) -> float:
    """Largest distance of corresponding corners, in voxels of ``a``; infinite where the shapes differ.

    Both are put into canonical order first: a file with the axes turned, but the same voxels, is at distance 0.
    """
    if a.affine is None or b.affine is None:
        return 0.0
    (shape, first), (other, second) = _canonical_grid(a), _canonical_grid(b)
    if shape != other:
        return float("inf")
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, n - 1) for n in shape))])
    shifts = np.linalg.norm((corners @ first.T - corners @ second.T)[:, :3], axis=1)
    return float(shifts.max() / np.linalg.norm(first[:3, :3], axis=0).min())


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
    """Shape and affine of the array with its axes turned to Left, Posterior, Superior."""
    turn = _turn(geometry)
    shape = tuple(geometry.shape[axis] for axis in np.argsort(turn[:, 0]))
    return shape, np.asarray(geometry.affine) @ orientations.inv_ornt_aff(turn, geometry.shape)


def _turn(geometry: Geometry) -> np.ndarray:
    return np.asarray(orientations.ornt_transform(orientations.io_orientation(geometry.affine), _CANONICAL))
