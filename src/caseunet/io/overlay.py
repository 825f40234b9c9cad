"""Pictures of predictions: classes laid over the image, and a sheet that shows a whole case at a glance.

numpy and Pillow alone, for every frame of a video goes through here.
"""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from caseunet.errors import InvalidInputError
from caseunet.imaging.boxes import space_evenly
from caseunet.io.geometry import edge_letters
from caseunet.types import Color, LabelMap, Plane

FILL = 89
"""Opacity of the fill, of 255: about 35 %."""
LARGE = 700
"""Pixels of the longer side above which outlines are two pixels wide."""
MAX_TILES = 12
"""Slices of a volume that are shown."""
TILE = 240
"""Width of a volume's tiles in pixels; of slices more than twice as high, half their height."""
PANEL = 600
"""Longer side of a single slice's two pictures in pixels, at most."""
MIN_PANEL = 360
"""The same, at least: small slices are enlarged."""
MIN_WIDTH = 480
"""Of a sheet, so that there is room for words."""
IN_A_ROW = 4
PERCENTILES = (0.5, 99.5)
SAMPLE = 100_000
"""Pixels of a slice that are looked at for its percentiles."""
AT_ONCE = 2**22
"""Pixels that are counted or placed together, which takes up to sixteen bytes for each."""
MAX_TEXT = 300
"""Characters of a name or caption that are looked at; far more than fit."""

PAPER: Color = (17, 20, 24)
INK: Color = (232, 236, 240)
SOFT: Color = (150, 160, 170)
MARGIN, GAP, LINE, SWATCH = 12, 8, 20, 12

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
IN_ASCII = str.maketrans({"–": "-", "—": "-", "−": "-", "×": "x", "ß": "ss"})
"""Pillow's own font has little more than ASCII."""


def to_display(image: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    """Stored pixels as a viewer shows them, (H, W, 3) uint8.

    Three channels are colours: of 8 bit they stay as they are, others go through the window together. Of any other
    number of channels the first is shown in grey.

    Args:
        image: (C, H, W), as stored.
        window: values that become black and white; without one the image's own percentiles. NaN is black.
    """
    if len(image) == 3 and image.dtype == np.uint8:
        return np.ascontiguousarray(image.transpose(1, 2, 0))
    planes = image if len(image) == 3 else image[:1]
    low, high = window or _own_window([planes])
    levels = planes.astype(np.result_type(image.dtype, np.float32))  # float32 is exact for 16 bit, not for 32
    levels -= low
    levels *= 255 / max(high - low, 1e-9)
    np.nan_to_num(levels, copy=False)  # of NaN, a cast to whole numbers makes anything
    grey = np.clip(np.rint(levels, out=levels), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(grey.transpose(1, 2, 0), (*image.shape[1:], 3)))


def overlaid(image: np.ndarray, labels: np.ndarray, colors: Sequence[Color]) -> np.ndarray:
    """An image with its classes: a translucent fill and a solid outline in the colour of each, (H, W, 3) uint8.

    Outlines lie inside their class, are closed at the image's edge, and are two pixels wide in images above
    :data:`LARGE` pixels, else one. The background stays as it is, bit for bit.

    Args:
        image: (H, W, 3) uint8.
        labels: class ids (H, W).
        colors: by class id, the background's first.

    Raises:
        CaseUNetError: image and labels do not fit, or there is an id without a colour.
    """
    _check_labels(labels, image.shape[:2], len(colors))
    ids = labels.astype(np.uint8, copy=False)
    inside = _inner(ids)
    if max(ids.shape) > LARGE:
        inside &= _inner(inside)
    opacity = np.where(inside, np.uint8(FILL), np.uint8(255))
    opacity[ids == 0] = 0
    paint = Image.fromarray(ids)
    paint.putpalette(np.array(colors, np.uint8).tobytes())
    return np.array(Image.composite(paint.convert("RGB"), Image.fromarray(image), Image.fromarray(opacity)))


def case_sheet(
    pixels: np.ndarray,
    labels: np.ndarray,
    label_map: LabelMap,
    window: tuple[float, float] | None,
    spacing: tuple[float, float, float] | None,
    caption: str,
    plane: Plane = "axial",
) -> np.ndarray:
    """A case on one sheet, (rows, columns, 3) uint8: caption, slices with their classes, legend of the classes found.

    A single slice is shown plain and, beside it, with its classes. Of a volume up to :data:`MOST_TILES` slices are
    shown, evenly spread over those in which something is found; where these would miss a class, the slice with most of
    it takes the place of the nearest. Slices are whole, at their true aspect, numbered from 0 in canonical order, and
    seen as radiologists do: axial ones from the feet, coronal ones from the front, both with the patient's left on the
    right, sagittal ones from the patient's left, with the back on the right. Where several pixels become one, the class
    that is rarer in the slice wins, so that nothing found is lost. Only one slice at a time is held as floats.

    Args:
        pixels: (S, C, H, W), as stored, in canonical order.
        labels: class ids (S, H, W).
        window: as for :func:`shown`; without one, a single window for all slices shown.
        spacing: millimetres between slices, rows, columns; None for images without.
        caption: one line; what does not fit is cut.
        plane: of the slices.

    Raises:
        CaseUNetError: pixels and labels do not fit, or there is an id that the label map lacks.
    """
    _check_labels(labels, (len(pixels), *pixels.shape[2:]), len(label_map))
    counts = np.stack([_count_pixels(labels_of_slice, len(label_map)) for labels_of_slice in labels])  # (S, classes)
    volume = len(labels) > 1
    chosen = _telling_slices(counts)
    size = _tile_size(labels.shape[1], labels.shape[2], spacing, volume)
    window = window or _own_window([pixels[s] for s in chosen])
    left, _, right, _ = edge_letters(plane)
    sides = (left, right) if spacing is not None else ("", "")  # without a spacing there is no patient's side
    tiles = []
    for s in chosen:
        plain = _resize(to_display(pixels[s], window), size)
        with_classes = overlaid(plain, _resize_labels(labels[s], counts[s], size), label_map.colors)
        if volume:
            tiles.append(_Tile(with_classes, f"slice {s}" if plane == "axial" else f"{plane} slice {s}", sides))
        else:
            tiles += [_Tile(plain, "image", sides), _Tile(with_classes, "prediction", sides)]
    found = [label for label in label_map.labels[1:] if counts[:, label.id].any()]
    legend: list[tuple[str, Color | None]] = [(label.name, label.color) for label in found]
    legend = legend or [("nothing found", None)]
    return _compose(tiles, caption, legend)


def _count_pixels(labels: np.ndarray, classes: int) -> np.ndarray:
    """Of each class in (H, W)."""
    parts = np.array_split(labels.ravel(), -(-labels.size // AT_ONCE))
    return np.sum([np.bincount(part, minlength=classes) for part in parts], axis=0)


def _check_labels(labels: np.ndarray, shape: tuple[int, ...], classes: int) -> None:
    if labels.shape != shape or not labels.size:
        raise InvalidInputError(f"Labels of shape {labels.shape} cannot be laid over an image of shape {shape}.")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= classes:
        raise InvalidInputError(
            f"The labels hold {labels.dtype} values from {labels.min()} to {labels.max()}; expected class ids from 0 "
            f"to {classes - 1}. Draw them with the label map that they were predicted with."
        )


def _own_window(images: Sequence[np.ndarray]) -> tuple[float, float]:
    """Robust range of slices (C, H, W); the full one where most pixels are alike."""
    sampled = []
    for image in images:
        step = math.ceil(math.sqrt(image[0].size / SAMPLE))
        sampled.append(image[:, ::step, ::step].ravel())
    values = np.concatenate(sampled)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, PERCENTILES)
    if low == high:
        low, high = values.min(), values.max()
    return float(low), float(high)


def _inner(plane: np.ndarray) -> np.ndarray:
    """Where the four neighbours are like the pixel (H, W); beyond the edge all is 0."""
    framed = np.pad(plane, 1)
    inner = plane == framed[:-2, 1:-1]
    inner &= plane == framed[2:, 1:-1]
    inner &= plane == framed[1:-1, :-2]
    inner &= plane == framed[1:-1, 2:]
    return np.asarray(inner)


def _telling_slices(counts: np.ndarray) -> list[int]:
    """Slices to show, rising.

    Args:
        counts: pixels of each class in each slice (S, classes).
    """
    seen = counts[:, 1:] > 0
    candidates = np.flatnonzero(seen.any(axis=1)) if seen.any() else np.arange(len(counts))
    chosen = candidates[space_evenly(len(candidates), MAX_TILES)]
    fixed = np.zeros(len(chosen), bool)
    while not fixed.all():
        missed = np.flatnonzero(seen.any(axis=0) & ~seen[chosen].any(axis=0))
        if not len(missed):
            break
        best = int(counts[:, 1 + missed[0]].argmax())
        nearest = int(np.where(fixed, np.inf, np.abs(chosen - best)).argmin())
        chosen[nearest], fixed[nearest] = best, True
    return sorted(chosen.tolist())


def _tile_size(H: int, W: int, spacing: tuple[float, float, float] | None, volume: bool) -> tuple[int, int]:
    """(rows, columns) of a slice's picture, in proportion to its millimetres."""
    rows, columns = (H, W) if spacing is None else (H * spacing[1], W * spacing[2])
    if volume:
        factor = min(TILE / columns, 2 * TILE / rows)
    else:
        longer = min(max(H, W, MIN_PANEL), PANEL)
        factor = longer / max(rows, columns)
    return max(1, round(rows * factor)), max(1, round(columns * factor))


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))


def _resize_labels(labels: np.ndarray, counts: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Class ids (H, W) at another size; where they fall together, the class with the lowest of the counts wins."""
    ids = Image.fromarray(labels.astype(np.uint8, copy=False))
    enlarged = max(size[1], ids.width), max(size[0], ids.height)
    plane = np.asarray(ids.resize(enlarged, Image.Resampling.NEAREST))
    H, W = plane.shape
    step = max(1, AT_ONCE // W)
    resized = np.zeros(size, np.uint8)
    for label in np.argsort(-counts, kind="stable"):
        if label and counts[label]:
            for first in range(0, H, step):
                rows, columns = np.nonzero(plane[first : first + step] == label)
                resized[(first + rows) * size[0] // H, columns * size[1] // W] = label
    return resized


@dataclass(frozen=True)
class _Tile:
    """A picture (rows, columns, 3) with its words above, and what lies to its left and right."""

    picture: np.ndarray
    words: str
    sides: tuple[str, str] = ("", "")


def _compose(tiles: Sequence[_Tile], caption: str, legend: Sequence[tuple[str, Color | None]]) -> np.ndarray:
    """Caption, tiles of one size in rows, and legend, (rows, columns, 3) uint8."""
    height, width = tiles[0].picture.shape[:2]
    rows = math.ceil(len(tiles) / IN_A_ROW)
    in_a_row = math.ceil(len(tiles) / rows)
    sheet_width = max(MIN_WIDTH, in_a_row * (width + GAP) - GAP + 2 * MARGIN)
    font, small = ImageFont.load_default(15), ImageFont.load_default(13)
    lines = _legend_lines(legend, small, sheet_width - 2 * MARGIN)
    top = MARGIN + LINE + GAP
    bottom = top + rows * (LINE + height + GAP)
    sheet = Image.new("RGB", (sheet_width, bottom + len(lines) * LINE + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), _fit_text(caption, font, sheet_width - 2 * MARGIN), INK, font)
    for n, tile in enumerate(tiles):
        row, column = divmod(n, in_a_row)
        x, y = MARGIN + column * (width + GAP), top + row * (LINE + height + GAP)
        draw.text((x + width / 2, y), tile.words, SOFT, small, anchor="ma")
        draw.text((x, y), tile.sides[0], SOFT, small, anchor="la")
        draw.text((x + width, y), tile.sides[1], SOFT, small, anchor="ra")
        sheet.paste(Image.fromarray(tile.picture), (x, y + LINE))
    for n, line in enumerate(lines):
        y = bottom + n * LINE
        for x, name, color in line:
            if color is not None:
                draw.rectangle((MARGIN + x, y + 2, MARGIN + x + SWATCH - 1, y + 2 + SWATCH - 1), color, SOFT)
                x += SWATCH + 6
            draw.text((MARGIN + x, y), name, INK, small)
    return np.array(sheet)


def _legend_lines(
    legend: Sequence[tuple[str, Color | None]], font: Font, width: int
) -> list[list[tuple[float, str, Color | None]]]:
    """Names with their colours in lines of at most so many pixels, each with its x."""
    lines: list[list[tuple[float, str, Color | None]]] = [[]]
    x = 0.0
    for text, color in legend:
        name = _fit_text(text, font, width - SWATCH - 6)
        needed = SWATCH + 6 + font.getlength(name)
        if lines[-1] and x + needed > width:
            lines.append([])
            x = 0.0
        lines[-1].append((x, name, color))
        x += needed + 18
    return lines


def _fit_text(text: str, font: Font, width: float) -> str:
    """A text as one line of at most so many pixels, in letters that the font has as far as they have a like.

    Accents are dropped; what cannot be printed becomes a space.
    """
    letters = unicodedata.normalize("NFKD", text[:MAX_TEXT].translate(IN_ASCII))
    line = "".join(c if c.isprintable() else " " for c in letters if not unicodedata.combining(c))
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"
