"""PNG, JPEG, TIFF, BMP and GIF images, and slides read whole: colour or grey in, values of masks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from caseunet.errors import CaseUNetError, InvalidInputError
from caseunet.files import replace_when_whole
from caseunet.io import slides
from caseunet.io.raster_file import COLOR_MODES, choose_page, is_inverted, load_image, open_image
from caseunet.io.values import as_integers, whole_numbers
from caseunet.types import Geometry, ImageVolume, Mask

JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")

SUFFIXES = (".png", *JPEG, ".tif", ".tiff", ".bmp", ".gif", *slides.SUFFIXES)

LOSSLESS = (".png", ".tif", ".tiff", ".bmp")
"""Those that can hold class ids."""


AT_ONCE = 2**22
"""Pixels that are turned from Pillow's order into ours together."""


WIDENING = 257
"""By which programs multiply 8-bit values to fill 16 bits."""

WIDENED = "its 16-bit values are 257 times 8-bit ones; read as those"

WHITE_AS_0 = "it stores white as 0 (MinIsWhite), so its values were turned: look whether the foreground is right"

NEARLY_GREY = 8
"""By which the three colours of a grey pixel may differ: what JPEG does to them."""


_GREY = ("L", "I;16", "I;16B", "I", "F")
_IDS = (*_GREY, "P", "1")


def is_raster(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def read_shape(path: Path) -> tuple[int, int]:
    """(H, W), from the header alone."""
    if slides.has_slide_suffix(path):
        return slides.read_slide_shape(path)
    with open_image(path) as image:
        choose_page(path, image)
        return image.height, image.width


def read_raster(path: Path, channels: int, nan: float | None = None) -> ImageVolume:
    """An image as (1, channels, H, W).

    Args:
        path: the file.
        channels: 3 reads any 8-bit image as RGB (transparency is dropped); 1 reads 8- or 16-bit or float grey, also
            grey that is stored in three colours or with a palette.
        nan: what replaces NaN; without it they are an error.

    Raises:
        CaseUNetError: the file is missing, damaged, of several pages, or of another kind than ``channels`` asks for.
    """
    if slides.has_slide_suffix(path):
        image = slides.read_slide(path)
        pixels, remark = match_channels(path, image.pixels[0], channels)
        return finish_image(path, pixels[None], [*image.geometry.remarks, *([remark] if remark else [])], nan)
    with open_image(path) as opened:
        pixels, remarks = read_page(path, opened, channels)
    return finish_image(path, pixels[None], remarks, nan)


def read_page(path: Path, image: Image.Image, channels: int, page: int | None = None) -> tuple[np.ndarray, list[str]]:
    """The pixels of a page of an open file as they are stored, (channels, H, W), and what should be known of them."""
    known = COLOR_MODES if channels == 3 else (*COLOR_MODES, *_GREY)
    wanted = "an 8-bit colour or grey image" if channels == 3 else "a grey image"
    if image.mode not in known or image.mode == "1":  # a mask or a fax
        raise InvalidInputError(f"{path}: found an image of Pillow's mode {image.mode}; expected {wanted}.")
    remarks = load_image(path, image, page)
    if image.mode == "CMYK":
        remarks.append("its CMYK colours were turned into RGB without a colour profile")
    if image.has_transparency_data and np.asarray(image.convert("RGBA").getchannel("A")).min() < 255:
        remarks.append("its transparency is left out, so that hidden pixels count")
    if channels == 3:
        pixels = _as_array(image if image.mode == "RGB" else image.convert("RGB"))
    elif image.mode in _GREY:
        pixels = _as_array(image)
    else:
        pixels, remark = match_channels(path, _as_array(image.convert("RGB")), 1)
        remarks += [remark] if remark else []
    if is_inverted(image) and image.mode != "L":  # which Pillow turns
        if pixels.dtype.kind != "u":
            raise InvalidInputError(
                f"{path}: is stored with white as 0 (MinIsWhite), and its numbers ({pixels.dtype}) do not tell which "
                "is black. Save it with black as 0."
            )
        pixels, remarks = np.iinfo(pixels.dtype).max - pixels, [*remarks, "it is stored with white as 0; turned"]
    return pixels, remarks


def finish_image(path: Path, pixels: np.ndarray, remarks: Sequence[str], nan: float | None) -> ImageVolume:
    """Stored pixels (S, C, H, W) as an image: whole numbers where they are some, 8 bits where they were spread over 16.

    Raises:
        CaseUNetError: they are NaN or infinite.
    """
    pixels = as_integers(pixels, path, nan)
    if _is_widened(pixels):
        pixels, remarks = (pixels // WIDENING).astype(np.uint8), [*remarks, WIDENED]
    S, _, H, W = pixels.shape
    geometry = Geometry(shape=(H, W) if S == 1 else (S, H, W), remarks=tuple(dict.fromkeys(remarks)))
    return ImageVolume(np.require(pixels, requirements=["C", "W"]), geometry)


def match_channels(path: Path, pixels: np.ndarray, channels: int) -> tuple[np.ndarray, str]:
    """Stored pixels (C, H, W) of grey or colour as so many channels, and what should be known of them.

    Raises:
        CaseUNetError: they have colours, and grey is asked for.
    """
    if len(pixels) == channels:
        return pixels, ""
    if channels == 3:
        return np.repeat(pixels, 3, axis=0), ""
    apart = int((pixels.max(axis=0) - pixels.min(axis=0)).max(initial=0))
    if apart > NEARLY_GREY:
        raise InvalidInputError(
            f"{path}: an image in colour (red, green and blue differ by up to {apart}); expected a grey image. Save it "
            "as grey if its colours mean nothing."
        )
    if apart == 0:
        return pixels[:1], ""
    grey = np.full(pixels.shape[1:], 2**15, np.uint32)
    for weight, color in zip((19595, 38470, 7471), pixels, strict=True):  # as Pillow has it
        grey += np.multiply(color, weight, dtype=np.uint32)
    return (grey >> 16).astype(np.uint8)[None], f"its colours differ by up to {apart}; read as grey"


def read_raster_mask(path: Path, colored: bool | None = None) -> Mask:
    """The values of a mask: grey values, a palette image's indices, or colours as 0xRRGGBB; transparent is black.

    Args:
        path: the file.
        colored: whether the values are colours; None takes colours where any pixel has one.

    Raises:
        CaseUNetError: the file is missing or damaged, or is in colour where ids are expected.
    """
    if slides.has_slide_suffix(path):
        return _read_slide_mask(path, colored)
    with open_image(path) as image:
        return read_mask_page(path, image, colored)


def _read_slide_mask(path: Path, colored: bool | None) -> Mask:
    """The values of a mask that is a slide, such as a label image of OME-Zarr; see :func:`read_raster_mask`."""
    image = slides.read_slide(path)
    pixels, geometry = image.pixels[0], image.geometry
    if len(pixels) == 1 or (colored is not True and not np.ptp(pixels, axis=0).any()):
        values, fractional, rounding, remarks = whole_numbers(pixels[:1], path)
        geometry = replace(geometry, remarks=(*geometry.remarks, *remarks))
        return Mask(values, geometry, fractional=fractional, rounding=rounding)
    if colored is False:
        raise InvalidInputError(f"{path}: expected class ids (grey or palette), found an image in colour.")
    red, green, blue = (pixels[n].astype(np.int32) for n in range(3))
    return Mask((red << 16 | green << 8 | blue)[None], geometry, colored=True)


def read_mask_page(path: Path, image: Image.Image, colored: bool | None, page: int | None = None) -> Mask:
    """The values of a page of an open file; see :func:`read_raster_mask`."""
    remarks = load_image(path, image, page)
    if colored is not True and image.mode in _IDS:
        codes, fractional, rounding, more = whole_numbers(np.asarray(image), path)
        if is_inverted(image):
            if image.mode != "1" and (image.mode != "L" or not set(np.unique(codes).tolist()) <= {0, 255}):
                raise InvalidInputError(
                    f"{path}: is stored with white as 0 (MinIsWhite), so its values are no ids. Turn it."
                )
            more = (*more, WHITE_AS_0)  # Pillow has turned them
        if _is_widened(codes):
            codes, more = (codes // WIDENING).astype(np.uint8), (*more, WIDENED)
        geometry = Geometry(codes.shape, remarks=(*remarks, *more))
        palette = _palette(image, codes)
        return Mask(codes[None], geometry, stored=image.mode, fractional=fractional, rounding=rounding, palette=palette)
    if image.mode not in COLOR_MODES:
        raise InvalidInputError(f"{path}: found an image of Pillow's mode {image.mode}; expected ids or 8-bit colours.")
    colors = _opaque(path, image) if image.has_transparency_data else np.asarray(image.convert("RGB"))
    red, green, blue = (colors[..., channel] for channel in range(3))
    geometry = Geometry(shape=red.shape, remarks=tuple(remarks))
    if colored is not True and np.array_equal(red, green) and np.array_equal(red, blue):
        return Mask(red[None].copy(), geometry, stored=image.mode)
    if colored is False:
        raise InvalidInputError(f"{path}: expected class ids (grey or palette), found a {image.mode} image in colour.")
    codes = red.astype(np.int32) << 16 | green.astype(np.int32) << 8 | blue
    return Mask(codes[None], geometry, colored=True, stored=image.mode)


def _palette(image: Image.Image, codes: np.ndarray) -> dict[int, int]:
    """{value: colour as 0xRRGGBB} of the values that occur; none of an image without a palette."""
    used = np.unique(codes).tolist() if image.mode in ("P", "1") else []
    if image.mode == "1":
        return {code: 0xFFFFFF * code for code in used}
    table = Image.frombytes("P", (256, 1), bytes(range(256)))
    table.putpalette(image.getpalette("RGB") or [])
    if "transparency" in image.info:
        table.info["transparency"] = image.info["transparency"]
    rgba = np.asarray(table.convert("RGBA"))[0].astype(int)
    return {code: int(r << 16 | g << 8 | b) if a else 0 for code in used for r, g, b, a in (rgba[code],)}


def _opaque(path: Path, image: Image.Image) -> np.ndarray:
    """The colours (H, W, 3) of a mask with transparency, on black: where nothing is drawn is the background.

    Raises:
        CaseUNetError: black is drawn as well.
    """
    rgba = np.asarray(image.convert("RGBA"))
    colors, alpha = rgba[..., :3], rgba[..., 3]
    if alpha.min(initial=255) == 255:
        return colors
    drawn = alpha > 0
    if not drawn.all() and not colors[drawn].any(axis=-1).all():
        raise InvalidInputError(
            f"{path}: has transparent pixels and black ones; which of them are the background is not known. Save it "
            "without transparency."
        )
    if np.unique(alpha[drawn]).size <= 1:  # drawn alike everywhere
        return np.where(drawn[..., None], colors, 0).astype(np.uint8)
    return (colors * (alpha[..., None] / 255)).round().astype(np.uint8)


def is_colored(path: Path) -> bool:
    """Whether the header tells of anything but grey: colours, a palette, transparency."""
    if slides.has_slide_suffix(path):
        return slides.is_slide_colored(path)
    with open_image(path) as image:
        return image.mode not in _GREY


def has_palette(path: Path) -> bool:
    """Whether the header tells of a palette; a file that cannot be read has none."""
    if slides.has_slide_suffix(path):
        return False
    try:
        with open_image(path) as image:
            return image.mode == "P"
    except CaseUNetError:
        return False


def write_raster_probabilities(path: Path, probabilities: np.ndarray) -> None:
    """Write (H, W), uint16, as a grey image."""
    with replace_when_whole(path) as temporary:
        Image.fromarray(probabilities).save(temporary)


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W, 3) uint8 as the format that the suffix names."""
    with replace_when_whole(path) as temporary:
        Image.fromarray(pixels).save(temporary)


def _as_array(image: Image.Image) -> np.ndarray:
    """(C, H, W) of an image, some rows after another: to turn all at once would take its memory three times."""
    step = max(1, AT_ONCE // image.width)
    bands = (image.crop((0, row, image.width, min(row + step, image.height))) for row in range(0, image.height, step))
    pixels, row = None, 0
    for band in bands:
        part = np.asarray(band)
        part = part[None] if part.ndim == 2 else part.transpose(2, 0, 1)
        if pixels is None:
            native = part.dtype.newbyteorder("=")
            pixels = np.empty((len(part), image.height, image.width), native)
        pixels[:, row : row + part.shape[1]] = part
        row += part.shape[1]
    assert pixels is not None
    return pixels


def _is_widened(values: np.ndarray) -> bool:
    """Whether 16-bit numbers are 8-bit ones, spread over all 16 bits."""
    return bool(values.dtype.itemsize > 1 and values.max(initial=0) > 255 and not np.any(values % WIDENING))
