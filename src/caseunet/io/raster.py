"""PNG, JPEG, TIFF, BMP and GIF images: colour or grey in, masks with a palette out."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from caseunet.errors import UserError
from caseunet.files import written_whole
from caseunet.io.limits import check_declared_size
from caseunet.io.quiet import quiet
from caseunet.io.values import as_integers, whole_numbers
from caseunet.types import Color, Geometry, Mask, Picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")

LOSSLESS = (".png", ".tif", ".tiff", ".bmp")
"""Those that can hold class ids."""

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
"""What Pillow may take a file for. It knows many more, whatever the suffix; one of them, PostScript, is a program."""

EXIF_ORIENTATION = 274
BITS_PER_SAMPLE = 258

_FAR = ("group3", "group4", "tiff_ccitt", "zstd", "lzma", "webp", "lerc")
"""Compressions of TIFF that can make an empty image as small as they like."""

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
        if image.mode not in known or image.mode == "1":  # a mask or a fax
            raise UserError(f"{path}: found an image of Pillow's mode {image.mode}; expected {wanted}.")
        loaded = _load(path, image)
        pixels = np.asarray(loaded.convert("RGB")).transpose(2, 0, 1) if channels == 3 else np.asarray(loaded)[None]
    if pixels.dtype.kind == "f":
        pixels = as_integers(pixels, path)
    return Picture(pixels[None].copy(), Geometry(shape=pixels.shape[-2:]))


def read_mask(path: Path, colored: bool | None = None) -> Mask:
    """The values of a mask: grey values, a palette image's indices, or colours as 0xRRGGBB.

    Args:
        path: the file.
        colored: whether the values are colours; None takes colours where any pixel has one.

    Raises:
        UserError: the file is missing or damaged, or is in colour where ids are expected.
    """
    with _open(path) as image:
        loaded = _load(path, image)
        if colored is not True and image.mode in ("L", "P", "I", "I;16", "I;16B", "1", "F"):
            codes, fractional = whole_numbers(np.asarray(loaded), path)
            return Mask(codes[None], Geometry(shape=codes.shape), stored=image.mode, fractional=fractional)
        if image.mode not in _COLOR:
            raise UserError(f"{path}: found an image of Pillow's mode {image.mode}; expected ids or 8-bit colours.")
        colors = np.asarray(loaded.convert("RGB"))
    red, green, blue = (colors[..., channel] for channel in range(3))
    geometry = Geometry(shape=red.shape)
    if colored is not True and np.array_equal(red, green) and np.array_equal(red, blue):
        return Mask(red[None].copy(), geometry, stored=image.mode)
    if colored is False:
        raise UserError(f"{path}: expected class ids (grey or palette), found a {image.mode} image in colour.")
    codes = red.astype(np.int32) << 16 | green.astype(np.int32) << 8 | blue
    return Mask(codes[None], geometry, colored=True, stored=image.mode)


def is_colored(path: Path) -> bool:
    """Whether the header tells of anything but grey: colours, a palette, transparency."""
    with _open(path) as image:
        return image.mode not in _GREY


def write_ids(path: Path, ids: np.ndarray, colors: Sequence[Color]) -> None:
    """Write class ids (H, W) with a palette: viewers show the colours, programs read the ids.

    Args:
        path: one of the suffixes of :data:`LOSSLESS`.
        ids: (H, W), uint8.
        colors: of the ids.
    """
    image = Image.fromarray(ids.astype(np.uint8), mode=None).convert("L")
    image.putpalette([value for color in colors for value in color])
    with written_whole(path) as temporary:
        image.save(temporary)


def write_shares(path: Path, shares: np.ndarray) -> None:
    """Write (H, W), uint16, as a grey image."""
    with written_whole(path) as temporary:
        Image.fromarray(shares).save(temporary)


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W, 3) uint8 as the format that the suffix names."""
    with written_whole(path) as temporary:
        Image.fromarray(pixels).save(temporary)


def _open(path: Path) -> Image.Image:
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    formats = ("GIF",) if path.suffix.lower() == ".gif" else FORMATS
    with _explained(path, "cannot be read as an image"):
        try:
            return Image.open(path, formats=formats)
        except UnidentifiedImageError as error:
            raise ValueError(f"it is none of {', '.join(formats)}, or its header is damaged") from error


def _load(path: Path, image: Image.Image) -> Image.Image:
    """Decode.

    Raises:
        UserError: several pages, more than 8 bits in a colour, or damaged.
    """
    if image.info.get("compression") not in _FAR:
        check_declared_size(path, _least_bytes(image), compressed=True)
    with _explained(path, "its pixels cannot be read; the file is truncated or damaged"):
        pages: int = getattr(image, "n_frames", 1)
        if pages > 1:
            raise UserError(f"{path}: holds {pages} pages; expected one image in a file.")
        if image.mode in _COLOR and _bits(image) > 8:
            raise UserError(f"{path}: has {_bits(image)} bits in each colour; expected 8. Save it with 8.")
        if image.format == "PNG":
            with Image.open(path) as again:
                again.verify()  # the checksums, which decoding does not look at
        image.load()
        turned = image.getexif().get(EXIF_ORIENTATION, 1)
        if turned not in (0, 1):
            raise UserError(
                f"{path}: its EXIF orientation is {turned}: some programs turn it and some do not, so nobody knows "
                "whether its mask fits. Save it upright, without that tag."
            )
    return image


def _least_bytes(image: Image.Image) -> int:
    """Of the pixels before they were compressed; grey values and palette indices may have had a bit each."""
    pixels = image.width * image.height
    return pixels * len(image.getbands()) if image.mode not in ("1", "L", "P") else pixels // 8


def _bits(image: Image.Image) -> int:
    """In each sample of a colour image."""
    if image.format == "TIFF":
        return int(max(image.tag_v2.get(BITS_PER_SAMPLE, (1,))))  # type: ignore[attr-defined]
    return 16 if any(";16" in str(tile.args) for tile in getattr(image, "tile", ())) else 8


@contextmanager
def _explained(path: Path, problem: str) -> Iterator[None]:
    """Turn what Pillow raises for bad bytes, of many kinds, into one message; its remarks on metadata are not shown."""
    try:
        with warnings.catch_warnings(), quiet():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: {problem}: {text}") from error
