"""PNG, JPEG, TIFF and BMP images: colour or grey in, masks with a palette out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from caseunet.errors import UserError
from caseunet.files import written_whole
from caseunet.types import Color, Geometry, Picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


_COLOR = ("RGB", "RGBA", "P", "L", "LA", "1", "CMYK", "YCbCr")
_GREY = ("L", "I;16", "I;16B", "I", "F")


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
        channels: 3 reads any 8-bit image as RGB (transparency is dropped); 1 reads 8- or 16-bit or float grey.

    Raises:
        UserError: the file is missing, damaged, of several pages, or of another kind than ``channels`` asks for.
    """
    with _open(path) as image:
        known, wanted = (_COLOR, "an 8-bit colour or grey image") if channels == 3 else (_GREY, "a grey image")
        if image.mode not in known:
            raise UserError(f"{path}: found an image of Pillow's mode {image.mode}; expected {wanted}.")
        loaded = _load(path, image)
        pixels = np.asarray(loaded.convert("RGB")).transpose(2, 0, 1) if channels == 3 else np.asarray(loaded)[None]
    if pixels.dtype.kind == "f" and not np.all(np.isfinite(pixels)):
        raise UserError(f"{path}: holds pixels that are NaN or infinite.")
    return Picture(pixels[None].copy(), Geometry(shape=pixels.shape[-2:]))


def read_colors(path: Path) -> np.ndarray:
    """A colour-coded mask as (H, W, 3) uint8."""
    with _open(path) as image:
        return np.asarray(_load(path, image).convert("RGB"))


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
    pages: int = getattr(image, "n_frames", 1)
    if pages > 1:
        raise UserError(f"{path}: holds {pages} pages; expected one image in a file.")
    try:
        image.load()
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path}: its pixels cannot be read; the file is truncated or damaged: {error}") from error
    return image
