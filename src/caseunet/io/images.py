"""One way to read any image file, whatever its kind."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

from caseunet.errors import UserError
from caseunet.io import itk, nifti, raster
from caseunet.io.geometry import is_identity
from caseunet.types import Geometry, Mask, Picture

SUFFIXES = (*nifti.SUFFIXES, *itk.SUFFIXES, *raster.SUFFIXES)


def is_volume(path: Path) -> bool:
    return nifti.is_nifti(path) or itk.is_itk(path)


def is_image(path: Path) -> bool:
    return is_volume(path) or raster.is_raster(path)


def stem(path: Path) -> str:
    """File name without the suffix, .nii.gz counting as one."""
    return nifti.case_name(path) if nifti.is_nifti(path) else path.stem


def read_geometry(path: Path) -> Geometry:
    """Shape, and for volumes affine and spacing, from the header alone.

    Raises:
        UserError: the file is missing, damaged or of no known kind.
    """
    if is_volume(path):
        return _kind(path).read_geometry(path)
    _known(path)
    return Geometry(shape=raster.read_shape(path))


def read_picture(path: Path, rgb: bool) -> Picture:
    """Pixels in canonical order, (S, C, H, W); ``rgb`` tells whether a raster file is read in colour.

    Raises:
        UserError: the file is missing, damaged or of no known kind.
    """
    if is_volume(path):
        return _kind(path).read_volume(path)
    _known(path)
    return raster.read_image(path, 3 if rgb else 1)


def read_mask(path: Path, image: Geometry, colored: bool | None = None, same_axes: bool = True) -> Mask:
    """The values of a mask file.

    A volume whose affine is the identity, as in LiTS case 53, has lost its place and is taken to lie where its image
    does.

    Args:
        path: the file.
        image: the geometry of its image.
        colored: for raster files, whether the values are colours; None finds out.
        same_axes: whether the image's array runs as arrays of this kind of file do; if not, a lost place stays lost.

    Raises:
        UserError: the file is missing, damaged or of no known kind.
    """
    if is_volume(path):
        kind = _kind(path)
        own = kind.read_geometry(path)
        lost = image.affine is not None and is_identity(own) and not is_identity(image)
        laid = lost and same_axes and own.shape == image.shape
        return replace(kind.read_mask(path, image if laid else None), laid=laid)
    _known(path)
    return raster.read_mask(path, colored)


def _kind(path: Path) -> ModuleType:
    """The module that reads a volume."""
    return nifti if nifti.is_nifti(path) else itk


def _known(path: Path) -> None:
    if not raster.is_raster(path):
        raise UserError(f"{path}: cannot be read; expected a file that ends in {', '.join(SUFFIXES)}.")
