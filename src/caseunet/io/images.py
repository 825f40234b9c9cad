"""One way to read any image file, whatever its kind, and to write its mask."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from caseunet.errors import InvalidInputError
from caseunet.files import content_hash
from caseunet.io import itk, nifti, ome_zarr, raster, raster_file, slides, tiff_stack
from caseunet.io.geometry import is_identity, reslice
from caseunet.types import Color, Geometry, ImageVolume, Mask

SUFFIXES = (*nifti.SUFFIXES, *itk.SUFFIXES, *raster.SUFFIXES)
WRITTEN = (*nifti.WRITTEN, *itk.WRITTEN, *raster.LOSSLESS)
"""Kinds of files that masks are written to."""

UNREAD = (
    *(".webp", ".heic", ".heif", ".avif", ".jp2", ".j2k", ".jpx", ".jxl", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
    *(".psd", ".xcf", ".svg", ".dng", ".exr", ".webm", ".wmv", ".mpg", ".mpeg"),
    *(".czi", ".lif", ".nd2", ".lsm", ".vsi"),
    *(".mgz", ".mgh", ".mnc", ".gipl", ".vtk", ".vti", ".hdr.gz", ".img.gz", ".dcm.gz"),
    *(".npy", ".npz", ".mat", ".h5", ".hdf5"),
)
"""Kinds of images that are not read; where they lie among others they are named."""

PIXELS = (".img", ".raw", ".zraw")
"""Kinds of files that hold the pixels of a header beside them, and without one are not read."""


def is_volume(path: Path) -> bool:
    return nifti.is_nifti(path) or itk.is_itk(path)


def is_image(path: Path) -> bool:
    return is_volume(path) or raster.is_raster(path)


def is_unread(path: Path) -> bool:
    """Whether a file is an image of a kind that is not read."""
    if path.suffix.lower() in PIXELS:
        headers = (*itk.DETACHED, *nifti.DETACHED)
        return not any(path.with_suffix(case(ending)).exists() for ending in headers for case in (str, str.upper))
    return path.name.lower().endswith(UNREAD)


def hash_images(*paths: Path) -> str:
    """The hash of images by all of their files: of those that are a header, the file of the pixels too.

    Raises:
        CaseUNetError: a header does not tell its other file.
        OSError: a file cannot be read.
    """
    files = (file for path in paths for file in (path, find_pixel_file(path)) if file is not None)
    return content_hash(*(part for file in files for part in _parts_of(file)))


def _parts_of(path: Path) -> list[Path]:
    """The files of an image: of OME-Zarr those of its folder."""
    return sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]


def is_readable(path: Path) -> bool:
    """Whether a path is a file, and no pipe or folder; or the folder of an OME-Zarr image."""
    return path.is_file() or (ome_zarr.is_ome_zarr(path) and path.is_dir())


def find_pixel_file(path: Path) -> Path | None:
    """The file that holds the pixels of an image whose file is a header; None where that holds them.

    Raises:
        CaseUNetError: it is not there.
    """
    return nifti.find_nifti_pixels(path) if nifti.is_nifti(path) else itk.find_itk_pixels(path)


def stem(path: Path) -> str:
    """File name without the suffix, .nii.gz and .ome.zarr counting as one."""
    if path.name.lower().endswith(ome_zarr.MASK_SUFFIX):
        return path.name[: -len(ome_zarr.MASK_SUFFIX)]
    return nifti.case_name(path) if nifti.is_nifti(path) else path.stem


def read_file_geometry(path: Path) -> Geometry:
    """Shape, and for volumes affine and spacing, from the header alone.

    Raises:
        CaseUNetError: the file is missing, damaged or of no known kind.
    """
    if is_volume(path):
        return _read_volume_geometry(path)
    _find_reader(path)
    if slides.is_slide(path):
        return Geometry(shape=slides.read_slide_shape(path))
    if tiff_stack.has_pages(path):
        return tiff_stack.read_stack_geometry(path)
    return Geometry(shape=raster.read_shape(path))


def read_pixel_bytes(path: Path) -> int:
    """Bytes that a number of a volume has in its file, from the header alone.

    Raises:
        CaseUNetError: the file is missing, damaged or no volume.
    """
    return nifti.read_nifti_pixel_bytes(path) if nifti.is_nifti(path) else itk.read_itk_pixel_bytes(path)


def read_axes(path: Path) -> int:
    """How many axes the array of a volume has, channels among them, from the header alone.

    Raises:
        CaseUNetError: the file is missing, damaged or no volume.
    """
    return nifti.read_nifti_axes(path) if nifti.is_nifti(path) else itk.read_itk_axes(path)


def read_image_file(path: Path, rgb: bool, nan: float | None = None) -> ImageVolume:
    """Pixels in canonical order, (S, C, H, W).

    Args:
        path: the file.
        rgb: whether a raster file is read in colour.
        nan: what replaces NaN; None makes NaN an error.

    Raises:
        CaseUNetError: the file is missing, damaged or of no known kind.
    """
    if is_volume(path):
        return nifti.read_nifti(path, nan) if nifti.is_nifti(path) else itk.read_itk(path, nan)
    _find_reader(path)
    if tiff_stack.has_pages(path):
        return tiff_stack.read_stack(path, rgb, nan)
    return raster.read_raster(path, 3 if rgb else 1, nan)


def read_mask_file(path: Path, image: Geometry, colored: bool | None = None, same_axes: bool = True) -> Mask:
    """The values of a mask file, cut in its image's plane.

    A volume whose affine is the identity, as in LiTS case 53, has lost its place and is taken to lie where its image
    does.

    Args:
        path: the file.
        image: the geometry of its image.
        colored: for raster files, whether the values are colours; None finds out.
        same_axes: whether the image's array runs as arrays of this kind of file do; if not, a lost place stays lost.

    Raises:
        CaseUNetError: the file is missing, damaged or of no known kind.
    """
    if itk.is_segmentation(path):
        return itk.read_itk_segmentation(path, image)
    if is_volume(path):
        read = nifti.read_nifti_mask if nifti.is_nifti(path) else itk.read_itk_mask
        axial, own = reslice(image, "axial"), _read_volume_geometry(path)
        lost = image.affine is not None and is_identity(own) and not is_identity(image)
        laid = lost and same_axes and own.shape == image.shape
        return reslice(replace(read(path, axial if laid else None), assumed_aligned=laid), image.plane)
    _find_reader(path)
    return (tiff_stack.read_stack_mask if tiff_stack.has_pages(path) else raster.read_raster_mask)(path, colored)


def write_mask_file(
    path: Path,
    labels: np.ndarray,
    geometry: Geometry,
    colors: Sequence[Color],
    like: Path | None = None,
    names: Sequence[str] = (),
) -> None:
    """Write class ids, canonical (S, H, W), uint8, in the source's shape, axes and place.

    Args:
        path: its suffix tells the kind of file.
        labels: canonical order.
        geometry: of the source.
        colors: of the ids, for kinds with a palette.
        like: the source file.
        names: of the ids, for kinds that hold them.

    Raises:
        CaseUNetError: that kind of file cannot hold them.
    """
    suffix = None if like is None else slides.find_mask_suffix(like)
    if like is not None and suffix is not None and path.name.lower().endswith(suffix):
        with slides.open_slide(like) as slide:
            slides.write_slide_mask(path, labels[0], colors, names, slide)
        return
    if path.name.lower().endswith((*nifti.WRITTEN, *itk.WRITTEN)):
        if geometry.affine is None:
            raise InvalidInputError(
                f"{path}: an image without a position cannot be saved as a volume. Take its "
                "labels as an array, or give the image with an affine."
            )
        if nifti.is_nifti(path):
            nifti.write_nifti_labels(path, labels, geometry, like)
        else:
            itk.write_itk_labels(path, labels, geometry)
    elif path.suffix.lower() in raster.LOSSLESS and len(labels) == 1:
        raster_file.write_ids(path, labels[0], colors)
    elif path.suffix.lower() in raster_file.TIFF and geometry.affine is None:
        tiff_stack.write_stack_ids(path, labels, colors)
    else:
        one = f"{', '.join(raster.LOSSLESS)} for a single image"
        raise InvalidInputError(f"{path}: expected {', '.join((*nifti.WRITTEN, *itk.WRITTEN))} for a volume, {one}.")


def _read_volume_geometry(path: Path) -> Geometry:
    return nifti.read_nifti_geometry(path) if nifti.is_nifti(path) else itk.read_itk_geometry(path)


def _find_reader(path: Path) -> None:
    if path.suffix.lower() in PIXELS:
        raise InvalidInputError(
            f"{path}: holds pixels alone. Give the header that belongs to it, which ends in "
            f"{', '.join((*nifti.DETACHED, *itk.DETACHED))}."
        )
    if path.suffix.lower() == ".gz":
        raise InvalidInputError(f"{path}: is compressed by gzip. Of such files only .nii.gz is read: unpack it first.")
    if not raster.is_raster(path):
        raise InvalidInputError(f"{path}: cannot be read; expected a file that ends in {', '.join(SUFFIXES)}.")
