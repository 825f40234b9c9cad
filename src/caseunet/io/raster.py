"""PNG, JPEG, TIFF and BMP images: colour or grey in, masks with a palette out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from caseunet.errors import UserError
from caseunet.files import written_whole
from caseunet.types import Color, Geometry, Picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def is_raster(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def read_shape(path: Path) -> tuple[int, int]:
    """(H, W), from the header alone."""
    with _open(path) as image:
        return image.height, image.width


def read_image(path: Path, channels: int) -> Picture:
    """An image as (1, channels, H, W).

    Args:
        path: the file.
        channels: 3 reads any image as 8-bit RGB (transparency is dropped); 1 reads 8- or 16-bit grey.

    Raises:
        UserError: the file is missing or damaged, or a colour image was found where grey was expected.
    """
    with _open(path) as image:
        pixels = _decode(path, image, channels)
    return Picture(pixels, Geometry(shape=pixels.shape[-2:]))


def read_colors(path: Path) -> np.ndarray:
    """A colour-coded mask as (H, W, 3) uint8."""
    with _open(path) as image:
        return np.asarray(_load(path, image.convert("RGB")))


def read_ids(path: Path) -> np.ndarray:
    """A mask of class ids, (H, W): a grey image, or a palette image's indices.

    Raises:
        UserError: the image is in colour.
    """
    with _open(path) as image:
        if image.mode not in ("L", "P", "I", "I;16", "1"):
            raise UserError(f"{path}: expected class ids (grey or palette), found a {image.mode} image.")
        return np.asarray(_load(path, image)).astype(np.int64)


def write_ids(path: Path, ids: np.ndarray, colors: Sequence[Color]) -> None:
    """Write class ids (H, W) as a palette PNG: viewers show the colours, programs read the ids."""
    image = Image.fromarray(ids.astype(np.uint8), mode=None).convert("L")
    image.putpalette([value for color in colors for value in color])
    with written_whole(path) as temporary:
        image.save(temporary, format="PNG")


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W, 3) uint8 as the format that the suffix names."""
    with written_whole(path) as temporary:
        Image.fromarray(pixels).save(temporary)


def _open(path: Path) -> Image.Image:
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    try:
        return Image.open(path)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read as an image: {error}") from error


def _load(path: Path, image: Image.Image) -> Image.Image:
    try:
        image.load()
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path}: its pixels cannot be read; the file is truncated or damaged: {error}") from error
    return image


def _decode(path: Path, image: Image.Image, channels: int) -> np.ndarray:
    """(1, channels, H, W)"""
    _load(path, image)
    if channels == 3:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)[None].copy()
    if image.mode in ("RGB", "RGBA", "P", "CMYK"):
        raise UserError(f"{path}: found a colour image ({image.mode}); expected a grey one.")
    return np.asarray(image)[None, None].copy()
