"""Raster files as Pillow opens and decodes them, with one message for whatever is wrong with them."""

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from caseunet.errors import CaseUNetError, InputNotFoundError, InvalidInputError
from caseunet.files import replace_when_whole
from caseunet.io.limits import check_declared_size, check_free_memory
from caseunet.io.silence import silence_stderr
from caseunet.types import Color

TIFF = (".tif", ".tiff")

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
"""What Pillow may take a file for. It knows many more, whatever the suffix; one of them, PostScript, is a program."""

EXIF_ORIENTATION = 274

UPRIGHT = (0, 1)
"""Orientations of an image whose first row is its top."""

BITS_PER_SAMPLE = 258

PHOTOMETRIC, MIN_IS_WHITE = 262, 0

SUBFILE_TYPE, REDUCED, TRANSPARENCY = 254, 1, 4

TILE_WIDTH = 322

MAX_PIXELS = 2**29
"""Of an image: 23,000×23,000, whatever a file may claim."""

PIXEL_BYTES = 4
"""That Pillow takes for a pixel, at most."""

_LIMIT = threading.Lock()

_FAR = ("group3", "group4", "tiff_ccitt", "zstd", "lzma", "webp", "lerc")
"""Compressions of TIFF that can make an empty image as small as they like."""

COLOR_MODES = ("RGB", "RGBA", "P", "L", "LA", "1", "CMYK", "YCbCr")


def open_image(path: Path, max_pixels: int | None = None) -> Image.Image:
    """The file, of which Pillow has read the header alone.

    Raises:
        CaseUNetError: it is missing, no image, or too large.
    """
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such file.")
    formats = ("GIF",) if path.suffix.lower() == ".gif" else FORMATS
    with _explain_errors(path, "cannot be read as an image"):
        try:
            with _lift_limit():
                image = Image.open(path, formats=formats)
        except UnidentifiedImageError as error:
            raise ValueError(f"it is none of {', '.join(formats)}, or its header is damaged") from error
        if image.width * image.height > (max_pixels := max_pixels or MAX_PIXELS):
            raise ValueError(
                f"it has {image.height}×{image.width} pixels; at most {max_pixels / 1e6:,.0f} million are read whole. "
                "To read it in parts: pip install 'caseunet[slides]'"
            )
    return image


@contextmanager
def _lift_limit() -> Iterator[None]:
    """Pillow's own limit, which can only be changed for the whole process, is below what scanners of slides make."""
    with _LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def load_image(path: Path, image: Image.Image, page: int | None = None) -> list[str]:
    """Decode a page, without one the only one; what should be known of it.

    Raises:
        CaseUNetError: several pages of which none is named, more than 8 bits in a colour, or damaged.
    """
    remark = choose_page(path, image) if page is None else ""
    if image.info.get("compression") not in _FAR:
        check_declared_size(path, _least_bytes(image), compressed=True)
    check_free_memory(path, image.width * image.height * (PIXEL_BYTES + len(image.getbands())))
    with _explain_errors(path, "its pixels cannot be read; the file is truncated or damaged"):
        if image.mode in COLOR_MODES and count_bits(image) > 8:
            raise InvalidInputError(f"{path}: has {count_bits(image)} bits in each colour; expected 8. Save it with 8.")
        if image.format == "PNG":
            with _lift_limit(), Image.open(path, formats=FORMATS) as again:
                again.verify()  # the checksums, which decoding does not look at
        with _lift_limit():
            turned = find_orientation(image)
            image.load()
        if turned not in UPRIGHT:
            tag = "Orientation tag" if image.format == "TIFF" else "EXIF orientation"
            raise InvalidInputError(
                f"{path}: its {tag} is {turned}: some programs turn it and some do not, so nobody knows whether image "
                "and mask fit. Save both upright, without that tag."
            )
    return [remark] if remark else []


def find_orientation(image: Image.Image) -> int:
    """How an image, or the page that is open, is to be turned when it is shown; 1 where nothing says so.

    Ask before its pixels are read: Pillow turns those of a TIFF itself, and drops the tag.
    """
    return int(image.getexif().get(EXIF_ORIENTATION, 1))


def turn_to_page(path: Path, image: Image.Image, page: int) -> None:
    """Turn to a page of a stack.

    Raises:
        CaseUNetError: it is damaged.
    """
    with _explain_errors(path, "its pages cannot be read; the file is truncated or damaged"):
        image.seek(page)


def find_pages(path: Path) -> tuple[int, ...]:
    """The pages of a TIFF that are images of their own, and no smaller copies or transparency; () of other files.

    Raises:
        CaseUNetError: it is missing or damaged.
    """
    if path.suffix.lower() not in TIFF:
        return ()
    with open_image(path) as image, _explain_errors(path, "its pages cannot be read; the file is truncated or damaged"):
        return tuple(_whole_pages(image)) if image.format == "TIFF" else ()


def _whole_pages(image: Image.Image) -> list[int]:
    pages = list(range(getattr(image, "n_frames", 1)))
    if len(pages) > 1 and image.format == "TIFF":
        return [page for page in pages if not _subfile_type(image, page) & (REDUCED | TRANSPARENCY)]
    return pages


def choose_page(path: Path, image: Image.Image) -> str:
    """Turn to the page that is the image, and say what is left out, such as the second picture of a camera.

    Raises:
        CaseUNetError: there are several images.
    """
    with _explain_errors(path, "its pages cannot be read; the file is truncated or damaged"):
        pages: int = getattr(image, "n_frames", 1)
        if pages == 1:
            return ""
        whole = [0] if image.format == "MPO" else _whole_pages(image)
        if len(whole) != 1:
            raise InvalidInputError(
                f"{path}: holds {pages} pages; expected one image in a file. Save a stack of slices as NIfTI, or each "
                "slice as a file, such as stack1_001.tif, of which those of a stack are a group."
            )
        image.seek(whole[0])
        if whole == [0] and TILE_WIDTH in getattr(image, "tag_v2", {}):  # a pyramid: the rest is the image, smaller
            return ""
        return f"its file holds {pages} pictures; the {'first' if whole == [0] else 'largest'} is used"


def _subfile_type(image: Image.Image, page: int) -> int:
    image.seek(page)
    return int(image.tag_v2.get(SUBFILE_TYPE, 0))  # type: ignore[attr-defined]


def is_inverted(image: Image.Image) -> bool:
    """Whether the file stores white as 0."""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    return tags.get(PHOTOMETRIC) == MIN_IS_WHITE


def _least_bytes(image: Image.Image) -> int:
    """Of the pixels before they were compressed; grey values and palette indices may have had a bit each."""
    pixels = image.width * image.height
    return pixels * len(image.getbands()) if image.mode not in ("1", "L", "P") else pixels // 8


def count_bits(image: Image.Image) -> int:
    """In each sample of a colour image."""
    if image.format == "TIFF":
        return int(max(image.tag_v2.get(BITS_PER_SAMPLE, (1,))))  # type: ignore[attr-defined]
    return 16 if any(";16" in str(tile.args) for tile in getattr(image, "tile", ())) else 8


@contextmanager
def _explain_errors(path: Path, problem: str) -> Iterator[None]:
    """Turn what Pillow raises for bad bytes, of many kinds, into one message; its remarks on metadata are not shown."""
    try:
        with warnings.catch_warnings(), silence_stderr():
            warnings.simplefilter("ignore")
            yield
    except CaseUNetError:
        raise
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise InvalidInputError(f"{path}: {problem}: {text}") from error


def write_ids(path: Path, ids: np.ndarray, colors: Sequence[Color]) -> None:
    """Write class ids (H, W) with a palette: viewers show the colours, programs read the ids.

    Args:
        path: its suffix tells the kind of file.
        ids: (H, W), uint8.
        colors: of the ids.
    """
    height, width = ids.shape
    image = Image.frombuffer("L", (width, height), np.ascontiguousarray(ids, np.uint8), "raw", "L", 0, 1)
    image.putpalette([value for color in colors for value in color])
    with replace_when_whole(path) as temporary:
        image.save(temporary)
