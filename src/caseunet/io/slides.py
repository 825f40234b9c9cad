"""Images too large to be held in memory, such as whole slides: one way to read parts of each kind, and to write masks.

====================================  ==========================  =====================
kind                                  read by                     mask
====================================  ==========================  =====================
large TIFF, OME-TIFF, SVS, NDPI       tifffile                    tiled TIFF, pyramidal
MIRAX, Leica SCN, Ventana BIF …       OpenSlide, if installed     tiled TIFF, pyramidal
OME-Zarr                              zarr                        OME-Zarr
large PNG and JPEG                    libvips, to a scratch file  PNG
====================================  ==========================  =====================
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from caseunet.errors import CaseUNetError
from caseunet.io import ome_zarr, raster_file, slide_openslide, slide_tiff, slide_vips
from caseunet.io.limits import check_free_memory
from caseunet.io.slide import Slide
from caseunet.types import Color, Geometry, ImageVolume

SUFFIXES = (*slide_tiff.SUFFIXES, *slide_openslide.SUFFIXES, *ome_zarr.SUFFIXES)
"""Of kinds that are always read as slides, whatever their size."""

MIN_PIXELS = 2**26
"""Of an image of another kind, from which on it is not held: 8,192 × 8,192."""

MAX_PIXELS = 2**37
"""Of an image that is read in parts, whatever a file may claim."""


def has_slide_suffix(path: Path) -> bool:
    """Whether a file, or the folder of an OME-Zarr image, is always read as a slide."""
    return path.suffix.lower() in SUFFIXES


def is_slide(path: Path) -> bool:
    """Whether an image can be read in parts here, and is of a slide's kind, or of at least :data:`MIN_PIXELS`."""
    if ome_zarr.is_ome_zarr(path):
        return _has_8_bits(path)
    if has_slide_suffix(path):
        return True
    if path.suffix.lower() not in raster_file.TIFF:
        return slide_vips.streams_by_vips(path, MIN_PIXELS)
    try:
        with raster_file.open_image(path, MAX_PIXELS) as image:  # which gives up on damaged headers
            height, width = image.height, image.width
        if height * width < MIN_PIXELS:
            return False
        with slide_tiff.TiffSlide(path) as slide:
            return slide.shape[2:] == (height, width)
    except Exception:  # no tifffile; or another reader says what is wrong with the file
        return False


def advise_parts(path: Path) -> str:
    """What to install so that a picture as large as a slide is read in parts; "" where that would change nothing."""
    suffix = path.suffix.lower()
    reader = "tifffile" if suffix in raster_file.TIFF else "pyvips" if suffix in slide_vips.SUFFIXES else None
    if reader is None or find_spec(reader) is not None or int(np.prod(read_slide_shape(path))) < MIN_PIXELS:
        return ""
    return " To read it in parts: pip install 'caseunet[slides]'."


def _has_8_bits(path: Path) -> bool:
    try:
        return ome_zarr.ZarrSlide(path).dtype == np.uint8
    except CaseUNetError:  # said where it is opened
        return True


def open_slide(path: Path) -> Slide:
    """The image, for a ``with`` block.

    Raises:
        CaseUNetError: it is damaged, of another form, or what reads it is not installed.
    """
    suffix = path.suffix.lower()
    if suffix in ome_zarr.SUFFIXES:
        return ome_zarr.ZarrSlide(path)
    if suffix in slide_openslide.SUFFIXES:
        return slide_openslide.OpenSlideSlide(path)
    if suffix in slide_vips.SUFFIXES:
        return slide_vips.VipsSlide(path)
    return slide_tiff.TiffSlide(path)


def read_slide_shape(path: Path) -> tuple[int, int]:
    """(H, W), from headers alone.

    Raises:
        CaseUNetError: as of :func:`open_slide`.
    """
    if path.suffix.lower() in (*slide_vips.SUFFIXES, *raster_file.TIFF):  # opening PNG and JPEG would decode them
        with raster_file.open_image(path, MAX_PIXELS) as image:
            return image.height, image.width
    with open_slide(path) as slide:
        return slide.shape[2:]


def is_slide_colored(path: Path) -> bool:
    """Whether a slide has three colours.

    Raises:
        CaseUNetError: as of :func:`open_slide`.
    """
    with open_slide(path) as slide:
        return slide.shape[1] == 3


def read_slide(path: Path) -> ImageVolume:
    """A slide that fits in memory, (1, C, H, W).

    Raises:
        CaseUNetError: as of :func:`open_slide`; or it does not fit.
    """
    with open_slide(path) as slide:
        check_free_memory(path, int(np.prod(slide.shape)) * slide.dtype.itemsize)
        return ImageVolume(slide.read_whole()[None], Geometry(slide.shape[2:], remarks=slide.remarks))


def find_mask_suffix(path: Path) -> str | None:
    """How a mask of a slide ends; None where an image is of another kind."""
    if not has_slide_suffix(path):
        return None
    return ome_zarr.MASK_SUFFIX if ome_zarr.is_ome_zarr(path) else ".tif"


def write_slide_mask(
    path: Path, labels: np.ndarray, colors: Sequence[Color], names: Sequence[str], like: Slide
) -> None:
    """Write class ids (H, W), uint8, as the suffix says, with the smaller sizes and the resolution of their image."""
    if isinstance(like, ome_zarr.ZarrSlide):
        ome_zarr.write_zarr_mask(path, labels, colors, names, like)
    elif path.suffix.lower() in raster_file.TIFF:
        slide_tiff.write_tiff_mask(path, labels, colors, like)
    else:
        raster_file.write_ids(path, labels, colors)
