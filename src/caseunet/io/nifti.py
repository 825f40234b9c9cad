"""NIfTI volumes: read into canonical order, written back into the source's."""

import gzip
import re
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import orientations
from nibabel.filebasedimages import ImageFileError

from caseunet.errors import UserError
from caseunet.files import written_whole
from caseunet.types import Geometry, Picture

SUFFIXES = (".nii", ".nii.gz")

_CANONICAL = orientations.axcodes2ornt(("L", "P", "S"))


def is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def case_name(path: Path) -> str:
    """File name without .nii or .nii.gz."""
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def read_geometry(path: Path) -> Geometry:
    """Shape, affine and spacing, from the header alone.

    Raises:
        UserError: no such file, no NIfTI, or no 3-D volume.
    """
    image = _open(path)
    shape = tuple(int(n) for n in image.shape)
    if len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    if len(shape) != 3 or 0 in shape:
        raise UserError(f"{path}: expected one 3-D volume, found shape {tuple(image.shape)}.")
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.all(np.isfinite(affine)) or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise UserError(
            f"{path}: its affine is not finite or is singular, so its position is unknown: {affine.tolist()}."
        )
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    axes = np.argsort(_to_canonical(affine)[:, 0])  # source axes in the order Left, Posterior, Superior
    columns, rows, slices = (float(zooms[a]) for a in axes)
    return Geometry(shape=shape, affine=affine, spacing=(slices, rows, columns))


def read_volume(path: Path) -> Picture:
    """A volume in canonical order, (S, 1, H, W); integers stay integers, scaled values (scl_slope) are applied.

    Raises:
        UserError: the file is missing, truncated or no 3-D NIfTI, or holds NaN or infinity.
    """
    geometry = read_geometry(path)
    array = _read_array(path, geometry)
    if array.dtype.kind == "f":
        array = _as_integers(array)
        if not np.all(np.isfinite(array)):
            raise UserError(f"{path}: holds {int(np.sum(~np.isfinite(array)))} voxels that are NaN or infinite.")
    elif array.dtype.kind not in "iu":
        raise UserError(f"{path}: expected numbers, found voxels of type {array.dtype}.")
    return Picture(to_canonical(array, geometry)[:, None], geometry)


def check_labels(path: Path, geometry: Geometry) -> str:
    """Compare a label file's header with its image's geometry.

    Returns:
        "" or, where the label file claims another position or spacing, a remark that says so: the image's counts,
        because label files are known to have lost theirs (LiTS case 53 has a unit affine).

    Raises:
        UserError: its shape is not the image's, or its axes run otherwise (unless its affine is the identity, which
            says nothing).
    """
    own = read_geometry(path)
    if own.shape != geometry.shape:
        raise UserError(
            f"{path}: the mask's shape {own.shape} is not its image's {geometry.shape}. Each voxel of the image needs "
            "one label; export the mask on the image's grid."
        )
    if own.affine is None or geometry.affine is None:
        raise ValueError("volumes have affines")
    if np.allclose(own.affine, geometry.affine, rtol=1e-3, atol=1e-2):
        return ""
    identity = np.allclose(own.affine, np.eye(4), atol=1e-3)
    if not identity and not np.array_equal(_to_canonical(own.affine), _to_canonical(geometry.affine)):
        codes = ["".join(nib.aff2axcodes(g.affine)) for g in (own, geometry)]
        raise UserError(
            f"{path}: the mask's axes run {codes[0]} and its image's {codes[1]}. Export the mask on the image's grid."
        )
    return f"{path.name} claims another position or spacing than its image; the image's is used"


def read_labels(path: Path, geometry: Geometry) -> np.ndarray:
    """A label volume in canonical order, (S, H, W), integer, oriented as its image.

    Args:
        path: the label file.
        geometry: of the image that it belongs to.

    Raises:
        UserError: see :func:`check_labels`; or it holds values that are no whole numbers.
    """
    check_labels(path, geometry)
    array = _read_array(path, geometry)
    if array.dtype.kind == "f":
        rounded = np.rint(array)
        if not np.array_equal(array, rounded):
            raise UserError(f"{path}: holds values such as {array[array != rounded][0]:g}; labels are whole numbers.")
        array = rounded.astype(np.int64)
    elif array.dtype.kind not in "iu":
        raise UserError(f"{path}: expected whole numbers, found voxels of type {array.dtype}.")
    return to_canonical(array, geometry)


def write_labels(path: Path, labels: np.ndarray, geometry: Geometry, like: Path | None = None) -> None:
    """Write canonical labels (S, H, W) as a NIfTI file with the source's shape, axes and affine.

    Args:
        path: ends in .nii or .nii.gz.
        labels: canonical order.
        geometry: of the source image.
        like: the source file; its header's codes and units are kept.
    """
    array = to_source(labels, geometry).astype(np.uint8)
    image = nib.Nifti1Image(array, geometry.affine)
    if like is not None:
        source = _open(like).header
        if isinstance(source, nib.Nifti1Header):
            image.header.set_xyzt_units(*source.get_xyzt_units())
            image.set_sform(geometry.affine, int(source["sform_code"]) or 1)
            image.set_qform(geometry.affine, int(source["qform_code"]))
    with written_whole(path) as temporary:
        nib.save(image, temporary)


def to_canonical(array: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Source axes (three) → (Superior, Posterior, Left)."""
    return np.ascontiguousarray(
        orientations.apply_orientation(array, _to_canonical(geometry.affine)).transpose(2, 1, 0)
    )


def to_source(array: np.ndarray, geometry: Geometry) -> np.ndarray:
    """(Superior, Posterior, Left) → source axes; the inverse of :func:`to_canonical`."""
    source = orientations.io_orientation(geometry.affine)
    back = orientations.ornt_transform(_CANONICAL, source)
    return np.ascontiguousarray(orientations.apply_orientation(array.transpose(2, 1, 0), back))


def _to_canonical(affine: np.ndarray | None) -> np.ndarray:
    return orientations.ornt_transform(orientations.io_orientation(affine), _CANONICAL)


def _open(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    try:
        return nib.load(path, mmap=False)  # a mapped file that changes underneath would end the process
    except Exception as error:  # nibabel raises many kinds for bytes that are no image
        raise UserError(f"{path}: cannot be read as NIfTI: {error}") from error


def _read_array(path: Path, geometry: Geometry) -> np.ndarray:
    """The voxels, with scl_slope and scl_inter applied; compressed files are read to their end, which checks them."""
    image = _open(path)
    try:
        if path.name.lower().endswith(".gz"):
            image = type(image).from_bytes(gzip.decompress(path.read_bytes()))
        array = np.asanyarray(image.dataobj).reshape(geometry.shape)
        return array.astype(array.dtype.newbyteorder("="), copy=False)  # torch knows only this machine's byte order
    except (OSError, EOFError, ValueError, MemoryError, zlib.error, ImageFileError) as error:
        raise UserError(f"{path}: its voxels cannot be read; the file is truncated or damaged: {error}") from error


def _as_integers(array: np.ndarray) -> np.ndarray:
    """Floating-point voxels that are whole 16-bit numbers as int16; others as float32."""
    if np.array_equal(array, np.rint(array)) and array.min() >= -32768 and array.max() <= 32767:
        return array.astype(np.int16)
    with np.errstate(over="ignore"):  # the caller refuses what becomes infinite
        return array.astype(np.float32)
