"""TIFF files of several pages, as microscopes and Fiji write them: each page is a slice, or a channel of one.

A stack has slices and no position in space: no spacing, no plane. ImageJ and OME say in the description of a file which
pages are channels. The colours of a page are channels too, but of that page alone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from caseunet.errors import InvalidInputError
from caseunet.files import replace_when_whole
from caseunet.io.limits import check_free_memory
from caseunet.io.raster import finish_image, read_mask_page, read_page
from caseunet.io.raster_file import PIXEL_BYTES, TIFF, find_pages, open_image, turn_to_page
from caseunet.types import Color, Geometry, ImageVolume, Mask

DESCRIPTION = 270
"""Tag of TIFF in which ImageJ and OME say what pages are."""

SOFTWARE = "ImageJ=1.54\nimages={pages}\nslices={pages}\n"
"""By which Fiji shows pages as slices."""


@dataclass(frozen=True)
class StackAxes:
    """What the pages of a file are.

    Attributes:
        slices, channels: how many.
        channels_first: whether the channels of a slice follow each other.
        in_time: whether the slices are one at several times.
    """

    slices: int
    channels: int = 1
    channels_first: bool = True
    in_time: bool = False

    def arrange(self, pages: np.ndarray) -> np.ndarray:
        """(pages, C, H, W) → (slices, channels · C, H, W)."""
        _, colors, H, W = pages.shape
        if self.channels_first:
            return pages.reshape(self.slices, self.channels * colors, H, W)
        by_channel = pages.reshape(self.channels, self.slices, colors, H, W).swapaxes(0, 1)
        return by_channel.reshape(self.slices, self.channels * colors, H, W)


def has_pages(path: Path) -> bool:
    """Whether a file has several pages that are images of their own.

    Raises:
        CaseUNetError: it is missing or damaged.
    """
    return path.suffix.lower() in TIFF and (len(find_pages(path)) > 1 or _tells_more(path))


def _tells_more(path: Path) -> bool:
    """Whether ImageJ put more images behind the only page, as it does beyond 4 GB."""
    with open_image(path) as image:
        numbers = _read_imagej(_description_of(image))
    return numbers.get("images", 1) > 1


def read_stack_geometry(path: Path) -> Geometry:
    """Slices, rows and columns, from the headers of the pages alone.

    Raises:
        CaseUNetError: it is damaged, its pages differ in size, or they are slices at several times.
    """
    pages = find_pages(path)
    with open_image(path) as image:
        axes = _find_axes(path, _description_of(image), len(pages))
        sizes = []
        for page in pages:
            turn_to_page(path, image, page)
            sizes.append(image.size)
    width, height = _check_sizes(path, sizes)
    return Geometry(shape=(axes.slices, height, width) if axes.slices > 1 else (height, width))


def read_stack(path: Path, rgb: bool, nan: float | None = None) -> ImageVolume:
    """A stack as (S, C, H, W).

    Args:
        path: the file.
        rgb: whether pages are read in colour.
        nan: what replaces NaN; without it they are an error.

    Raises:
        CaseUNetError: as of :func:`read_stack_geometry`; or pages are of another kind than asked for.
    """
    pages = find_pages(path)
    values, remarks, sizes = [], list[str](), []
    with open_image(path) as image:
        axes = _find_axes(path, _description_of(image), len(pages))
        if rgb and axes.channels > 1:
            raise InvalidInputError(
                f"{path}: its {axes.channels} channels are pages of their own and no colours; expected colour images."
            )
        check_free_memory(path, len(pages) * image.width * image.height * (PIXEL_BYTES + 3 * rgb))
        for page in pages:
            turn_to_page(path, image, page)
            sizes.append(image.size)
            _check_sizes(path, sizes)
            pixels, told = read_page(path, image, 3 if rgb else 1, page)
            values.append(pixels)
            remarks += told
    kinds = sorted({str(pixels.dtype) for pixels in values})
    if len(kinds) > 1:
        raise InvalidInputError(f"{path}: its pages hold numbers of several kinds, {' and '.join(kinds)}.")
    if axes.channels > 1:
        remarks.append(f"its pages are {axes.slices} slices of {axes.channels} channels, as it says itself")
    if axes.in_time:
        remarks.append(f"it says that its pages are {axes.slices} times; they are read as slices")
    return finish_image(path, axes.arrange(np.stack(values)), remarks, nan)


def read_stack_mask(path: Path, colored: bool | None = None) -> Mask:
    """The values of a mask of several pages, (S, H, W).

    Args:
        path: the file.
        colored: whether the values are colours; None takes colours where any page has one.

    Raises:
        CaseUNetError: it is damaged, its pages differ in size, or are channels; or a palette means another colour on
            another page.
    """
    pages = find_pages(path)
    with open_image(path) as image:
        axes = _find_axes(path, _description_of(image), len(pages))
        if axes.channels > 1:
            raise InvalidInputError(f"{path}: a mask of {axes.channels} channels; expected a page for each slice.")
        check_free_memory(path, len(pages) * image.width * image.height * PIXEL_BYTES)
        masks = []
        for page in pages:
            turn_to_page(path, image, page)
            masks.append(read_mask_page(path, image, colored, page))
    _check_sizes(path, [mask.label_values.shape[:0:-1] for mask in masks])
    if colored is None and len({mask.colored for mask in masks}) > 1:
        return read_stack_mask(path, colored=True)
    palette: dict[int, int] = {}
    for mask in masks:
        if any(palette.get(value, color) != color for value, color in mask.palette.items()):
            raise InvalidInputError(f"{path}: its pages show a value in several colours. Save it as grey ids.")
        palette |= mask.palette
    values = np.concatenate([mask.label_values for mask in masks])
    remarks = tuple(dict.fromkeys(remark for mask in masks for remark in mask.geometry.remarks))
    return Mask(
        values,
        Geometry(values.shape, remarks=remarks),
        colored=masks[0].colored,
        stored=masks[0].stored,
        fractional=sum(mask.fractional for mask in masks),
        rounding=max(mask.rounding for mask in masks),
        palette=palette,
    )


def write_stack_ids(path: Path, ids: np.ndarray, colors: Sequence[Color]) -> None:
    """Write class ids (S, H, W), uint8, a page for each slice, with a palette."""
    images = [Image.fromarray(np.ascontiguousarray(plane)) for plane in ids]
    for image in images:
        image.putpalette([value for color in colors for value in color])
    _save(path, images)


def write_stack_probabilities(path: Path, probabilities: np.ndarray) -> None:
    """Write (S, H, W), uint16, a grey page for each slice."""
    _save(path, [Image.fromarray(np.ascontiguousarray(plane)) for plane in probabilities])


def _save(path: Path, images: list[Image.Image]) -> None:
    tags = {DESCRIPTION: SOFTWARE.format(pages=len(images))}
    with replace_when_whole(path) as temporary:
        images[0].save(temporary, format="TIFF", save_all=True, append_images=images[1:], tiffinfo=tags)


def _check_sizes(path: Path, sizes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The size of all pages.

    Raises:
        CaseUNetError: they differ.
    """
    other = next((n for n, size in enumerate(sizes) if size != sizes[0]), None)
    if other is not None:
        first, second = (f"{height}×{width}" for width, height in (sizes[0], sizes[other]))
        raise InvalidInputError(
            f"{path}: holds {len(sizes)} pages or more; page 1 has {first} pixels, page {other + 1} {second}. Pages of "
            "one size are slices; save other images as files of their own."
        )
    return sizes[0]


def _find_axes(path: Path, description: str, pages: int) -> StackAxes:
    """What the pages are, as ImageJ or OME says; slices where nobody does.

    Raises:
        CaseUNetError: they are slices at several times, or ImageJ says that there are more.
    """
    found = _read_imagej(description)
    order = "CZT"
    if not found:
        found, order = _read_ome(description)
    if found.get("images", pages) > pages:
        raise InvalidInputError(
            f"{path}: ImageJ put {found['images']} images behind {pages} page, as it does beyond 4 GB. Save it as "
            "OME-TIFF or NIfTI."
        )
    channels, slices, times = (found.get(name, 1) for name in ("channels", "slices", "frames"))
    if channels * slices * times != pages:
        return StackAxes(pages)
    if slices > 1 and times > 1:
        raise InvalidInputError(
            f"{path}: holds {slices} slices at {times} times; expected one volume. Save each time as a file."
        )
    beside = "Z" if slices > 1 else "T"
    return StackAxes(slices * times, channels, order.index("C") < order.index(beside), times > 1)


def _read_imagej(description: str) -> dict[str, int]:
    """images, channels, slices and frames, as ImageJ says; {} where it does not."""
    if not description.startswith("ImageJ="):
        return {}
    return {
        key: int(number) for key, number in re.findall(r"^(images|channels|slices|frames)=(\d+)", description, re.M)
    }


def _read_ome(description: str) -> tuple[dict[str, int], str]:
    """channels, slices and frames as OME says, and in which order pages run through them, the fastest first."""
    order = re.search(r'DimensionOrder="XY([CZT]{3})"', description)
    if order is None:
        return {}, "CZT"
    names = {"C": "channels", "Z": "slices", "T": "frames"}
    sizes = re.findall(r'\bSize([CZT])="(\d+)"', description)
    return {names[axis]: int(number) for axis, number in sizes[:3]}, order[1]


def _description_of(image: Image.Image) -> str:
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    text = tags.get(DESCRIPTION, "")
    return text if isinstance(text, str) else ""
