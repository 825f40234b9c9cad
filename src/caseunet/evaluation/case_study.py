"""A figure for a paper: cases in rows; the image, the reference and each model's mask with its scores in columns."""

import math
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path
from PIL import Image

from caseunet.errors import UserError
from caseunet.evaluation.figures import INK
from caseunet.files import written_whole
from caseunet.types import Label

# Inches, as a page of a journal has them.
WIDTH, PAGE = 7.2, 9.2
EDGE, LEFT, COLUMN_GAP, ROW_GAP, TEXT_GAP = 0.04, 0.22, 0.07, 0.12, 0.04
NARROWEST, LONGEST_HEADING, LONGEST_CLASS = 0.9, 0.8, 2.4
SWATCH, SWATCH_GAP, CLASS_GAP, LEGEND_LINE = (0.15, 0.085), 0.05, 0.2, 0.17

FULL_COLUMNS = 5
"""Columns that share WIDTH; with more the figure grows wider, so that pictures and text keep their size."""
TALLEST = 2.2
"""The most height of a picture, in widths of a column."""
MOST_OF_IMAGE = 0.7
"""Share of an image above which a part of it is not worth showing instead."""
TITLE_LINES, CAPTION_LINES, SCORE_LINES = 3, 2, 30

# Points.
TITLE, TEXT, OUTLINE = 8.0, 7.0, 0.9
INCH = 72
LINE_HEIGHT, ASCENT = 1.25, 0.95
"""From line to line, and from the top of a line to the feet of its letters; in sizes of the font."""
FONT = "DejaVu Sans"  # matplotlib brings it along, so every machine draws the same letters
QUIET = "#5f6e7b"

DPI = 300
MOST_PIXELS = 1500
"""Of a picture's longer side; more than print can show."""
FILL = 0.32

Region = tuple[slice, slice]
"""Rows and columns of an image."""


@dataclass(frozen=True)
class StudyRow:
    """One case, or slice of a case, with what each model made of it.

    Attributes:
        heading: why it is shown: "worst", "median", "best", "chosen".
        caption: name of the case, and the slice where there are several.
        image: (H, W) or (H, W, 3), values 0 to 1.
        reference: class ids (H, W).
        predictions: class ids (H, W), one per model.
        scores: a text per model, of one or more lines; parts that " · " separates stay together where they can.
        aspect: height of a pixel divided by its width.
    """

    heading: str
    caption: str
    image: np.ndarray
    reference: np.ndarray
    predictions: tuple[np.ndarray, ...]
    scores: tuple[str, ...]
    aspect: float = 1.0

    @property
    def masks(self) -> tuple[np.ndarray, ...]:
        return self.reference, *self.predictions


def draw_case_study(
    rows: Sequence[StudyRow], models: Sequence[str], labels: Sequence[Label], fill: bool = True
) -> Figure:
    """Draw the figure, 7.2 inches wide with up to three models and wider with more.

    Pictures are as large as their column and a fair share of a page's height allow. Names that are too long are
    wrapped, then shortened in the middle.

    Args:
        rows: from top to bottom; their images may have different shapes.
        models: names, in the order of each row's predictions and scores.
        labels: id 0 is the background; ids that are not among them are not drawn. A legend names those that are seen.
        fill: whether masks are filled, translucently, or only outlined.

    Raises:
        ValueError: there are no rows or no models, or a row's parts do not fit together.
    """
    _check(rows, models)
    classes = [label for label in labels if label.id != 0]
    columns = _columns(rows, models, classes)
    titles, bands = columns.titles, columns.bands
    used = LEFT + len(titles) * columns.pitch - COLUMN_GAP
    width = WIDTH if len(titles) <= FULL_COLUMNS else max(WIDTH, used + 2 * EDGE)
    seen = set().union(*(np.unique(ids).tolist() for row in rows for ids in row.masks))
    legend = _legend_lines([label for label in classes if label.id in seen], width - 2 * EDGE)
    top = EDGE + _text_height(titles, TITLE) + TEXT_GAP
    legend_top = top + sum(band.height + ROW_GAP for band in bands)
    sheet = _Sheet(width, legend_top + len(legend) * LEGEND_LINE + EDGE)

    left = (width - used) / 2
    middles = [left + LEFT + n * columns.pitch + (columns.pitch - COLUMN_GAP) / 2 for n in range(len(titles))]
    for middle, title in zip(middles, titles, strict=True):
        sheet.write(middle, top - TEXT_GAP - _text_height([title], TITLE), title, TITLE)
    for row, band in zip(rows, bands, strict=True):
        sheet.write_upwards(left + TITLE * LINE_HEIGHT / INCH / 2, top + band.heading_middle, band.heading, TITLE)
        picture = _picture(row, band.region)
        for middle, ids, text in zip(middles, (None, *row.masks), band.texts, strict=True):
            axes = sheet.axes((middle, top + band.slot / 2), band.picture)
            _draw(axes, picture, band.region, ids, classes, fill)
            sheet.write(middle, top + band.slot + TEXT_GAP, text, TEXT, color=QUIET if ids is None else INK)
        top += band.height + ROW_GAP
    _write_legend(sheet, legend, legend_top, fill)
    return sheet.figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as its name's ending says; the same figure gives the same bytes.

    Pictures are embedded, at 300 dots per inch, also in SVG and PDF. Letters are paths in SVG and TrueType in PDF.

    Raises:
        UserError: the name ends in none of .png, .svg and .pdf.
    """
    metadata: dict[str, dict[str, None]] = {
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": None},
        ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    ending = path.suffix.lower()
    if ending not in metadata:
        raise UserError(f'{path}: ends in "{path.suffix}"; a figure needs a name that ends in .png, .svg or .pdf.')
    settings: dict[str, Any] = {
        "svg.fonttype": "path",
        "svg.hashsalt": "caseunet",
        "svg.image_inline": True,
        "pdf.fonttype": 42,
        "savefig.bbox": None,
        "savefig.transparent": False,
    }
    with written_whole(path) as temporary, matplotlib.rc_context(settings):
        figure.savefig(temporary, format=ending[1:], dpi=DPI, facecolor="white", metadata=metadata[ending])


def shown_region(row: StudyRow, classes: Sequence[Label]) -> Region:
    """What all pictures of a row show: the whole image, or where its structures are small the part around them.

    They are small if the box around them, in the reference and all predictions together, covers less than a quarter of
    the image. The margin is a quarter of the box's longer side and at least a tenth of the image's shorter one; then
    the part is made larger until its shape is that of the image, but not slimmer than 1 : 2. A part that is most of
    the image is not worth it.
    """
    H, W = row.reference.shape
    whole = slice(0, H), slice(0, W)
    ids = [label.id for label in classes]
    found = np.any([np.isin(mask, ids) for mask in row.masks], axis=0)
    if not found.any():
        return whole
    ys, xs = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    height, width = int(ys[-1] - ys[0] + 1), int(xs[-1] - xs[0] + 1)
    if 4 * height * width >= H * W:
        return whole
    # Lengths from here are in widths of a pixel.
    margin = max(max(height * row.aspect, width) / 4, min(H * row.aspect, W) / 10)
    tall, wide = height * row.aspect + 2 * margin, width + 2 * margin
    shape = min(max(H * row.aspect / W, 0.5), 2.0)
    tall, wide = max(tall, wide * shape), max(wide, tall / shape)
    part = _window(int(ys[0]), height, tall / row.aspect, H), _window(int(xs[0]), width, wide, W)
    is_most = (part[0].stop - part[0].start) * (part[1].stop - part[1].start) > MOST_OF_IMAGE * H * W
    return whole if is_most else part


def _window(start: int, length: int, wanted: float, whole: int) -> slice:
    """``wanted`` pixels with ``length`` pixels from ``start`` in their middle, moved to lie within 0 … ``whole``."""
    size = min(math.ceil(wanted - 1e-9), whole)
    first = min(max(start - (size - length) // 2, 0), whole - size)
    return slice(first, first + size)


def fitted(text: str, width: float, size: float, most: int) -> str:
    """A text wrapped to ``width`` inches at ``size`` points; what needs more than ``most`` lines loses its middle.

    A text of several lines keeps them, and they share ``most``.
    """
    given = text.split("\n")
    each = max(1, most // len(given))
    return "\n".join(line for words in given for line in _shortened(" ".join(words.split()), width, size, each))


def _shortened(text: str, width: float, size: float, most: int) -> list[str]:
    """At most ``most`` lines; as many letters as fit."""
    lines = _wrapped(text, width, size)
    if len(lines) <= most:
        return lines
    attempts = range(len(text))
    too_long = bisect_left(attempts, True, key=lambda n: len(_wrapped(_without_middle(text, n), width, size)) > most)
    return _wrapped(_without_middle(text, too_long - 1), width, size)


def _wrapped(text: str, width: float, size: float) -> list[str]:
    """Lines no wider than ``width`` inches, broken at " · ", else at spaces, else within words where they may be."""
    if _width(text, size) <= width:
        return [text]
    joint = next((joint for joint in (" · ", " ") if joint in text), "")
    pieces = text.split(joint) if joint else re.split(r"(?<=\w[_\-/])(?=\w)", text)
    if not joint and any(_width(piece, size) > width for piece in pieces):
        n = max(1, bisect_left(range(len(text)), True, key=lambda n: _width(text[:n], size) > width) - 1)
        return [text[:n], *_wrapped(text[n:], width, size)]
    lines: list[str] = []
    for piece in pieces:
        if lines and _width(lines[-1] + joint + piece, size) <= width:
            lines[-1] += joint + piece
        else:
            lines += _wrapped(piece, width, size)
    return lines


def _without_middle(text: str, kept: int) -> str:
    """The first and last letters, ``kept`` together, about an ellipsis."""
    tail = kept // 2
    return text[: kept - tail].rstrip() + "…" + text[len(text) - tail :].lstrip()


def _width(line: str, size: float) -> float:
    """Inches that a line takes."""
    return sum(map(_advance, line)) * size / INCH


@cache
def _advance(letter: str) -> float:
    """Width of a letter, in sizes of the font; kept, for laying out a line of text takes its time."""
    between, beside = (
        text_to_path.get_text_width_height_descent(text, _font(INCH), ismath=False)[0] for text in (f"|{letter}|", "||")
    )
    return float(between - beside) / INCH


def _text_height(texts: Sequence[str], size: float) -> float:
    """Inches that the longest of some texts takes."""
    return max((text.count("\n") + 1 for text in texts if text), default=0) * size * LINE_HEIGHT / INCH


def _font(size: float) -> FontProperties:
    return FontProperties(family=FONT, size=size)


@dataclass(frozen=True)
class _Band:
    """Where a row's things lie, in inches from its top.

    Attributes:
        region: of the image, that is shown.
        picture: width and height of each picture.
        slot: height in whose middle the pictures lie.
        texts: below the pictures, one per column, wrapped.
        heading: at the left, shortened.
        heading_middle: where its middle is.
        height: of pictures and texts.
    """

    region: Region
    picture: tuple[float, float]
    slot: float
    texts: tuple[str, ...]
    heading: str
    heading_middle: float
    height: float


@dataclass(frozen=True)
class _Columns:
    """Titles, wrapped; rows; and inches from one column to the next."""

    titles: tuple[str, ...]
    bands: tuple[_Band, ...]
    pitch: float


def _columns(rows: Sequence[StudyRow], models: Sequence[str], classes: Sequence[Label]) -> _Columns:
    """Lay out the columns: as wide as there is room, or where pictures are narrower as they and their texts need."""
    regions = [shown_region(row, classes) for row in rows]
    room = _room(min(2 + len(models), FULL_COLUMNS))
    widest = room
    for _ in range(2):  # texts first get the room of a full column, then that of the pictures
        titles = tuple(fitted(title, widest, TITLE, TITLE_LINES) for title in ("image", "reference", *models))
        texts = [_row_texts(row, region, widest) for row, region in zip(rows, regions, strict=True)]
        below = sum(TEXT_GAP + _text_height(each, TEXT) + ROW_GAP for each in texts)
        share = (PAGE - _text_height(titles, TITLE) - below - 2 * LEGEND_LINE) / len(rows)
        most = room, min(TALLEST * room, max(_room(FULL_COLUMNS), share))
        bands = tuple(_band(*parts, most) for parts in zip(rows, regions, texts, strict=True))
        pictures = max(band.picture[0] for band in bands)
        widest = max(pictures, _room(FULL_COLUMNS))
    in_columns = [(titles, TITLE), *((band.texts, TEXT) for band in bands)]
    longest = max(_width(line, size) for texts, size in in_columns for text in texts for line in text.split("\n"))
    return _Columns(titles, bands, max(pictures, longest, NARROWEST) + COLUMN_GAP)


def _room(columns: int) -> float:
    """Inches that a picture may be wide where some columns share WIDTH."""
    return (WIDTH - 2 * EDGE - LEFT + COLUMN_GAP) / columns - COLUMN_GAP


def _band(row: StudyRow, region: Region, texts: tuple[str, ...], most: tuple[float, float]) -> _Band:
    """Lay out a row with pictures no wider and no higher than ``most`` inches."""
    height, width = (part.stop - part.start for part in region)
    scale = min(most[0] / width, most[1] / (height * row.aspect))
    below = TEXT_GAP + _text_height(texts, TEXT)
    heading = " ".join(row.heading.split())
    length = _width(heading, TITLE)
    slot = max(height * row.aspect * scale, min(length, LONGEST_HEADING) - below)
    room = slot if length <= slot else slot + below
    return _Band(
        region=region,
        picture=(width * scale, height * row.aspect * scale),
        slot=slot,
        texts=texts,
        heading=fitted(heading, room, TITLE, 1),
        heading_middle=room / 2,
        height=slot + below,
    )


def _row_texts(row: StudyRow, region: Region, across: float) -> tuple[str, ...]:
    """What stands below each picture of a row: its caption, nothing below the reference, the scores."""
    caption = fitted(row.caption, across, TEXT, CAPTION_LINES)
    height, width = (part.stop - part.start for part in region)
    if (height, width) != row.reference.shape:
        caption += f"\ndetail, {width} × {height} px"
    return caption.lstrip("\n"), "", *(fitted(score, across, TEXT, SCORE_LINES) for score in row.scores)


@dataclass(frozen=True)
class _Entry:
    """A class in the legend: its name as it is written, and inches of both name and sample."""

    label: Label
    name: str
    width: float


def _legend_lines(labels: Sequence[Label], width: float) -> list[list[_Entry]]:
    """Classes in lines no wider than ``width`` inches."""
    lines: list[list[_Entry]] = []
    used = width
    for label in labels:
        name = fitted(label.name, LONGEST_CLASS, TITLE, 1)
        entry = _Entry(label, name, SWATCH[0] + SWATCH_GAP + _width(name, TITLE))
        if used + CLASS_GAP + entry.width > width:
            lines.append([])
            used = -CLASS_GAP
        lines[-1].append(entry)
        used += CLASS_GAP + entry.width
    return lines


class _Sheet:
    """A figure on which things are placed in inches from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), facecolor="white")
        self.figure.set_layout_engine("none")  # whatever the settings of matplotlib say

    def write(self, x: float, top: float, text: str, size: float, color: str = INK, ha: str = "center") -> None:
        """Write the lines of a text below ``top``; line by line, so that those of neighbours lie on one height."""
        for n, line in enumerate(text.split("\n")):
            self._write(
                x, top + (n * LINE_HEIGHT + ASCENT) * size / INCH, line, size, color=color, ha=ha, va="baseline"
            )

    def write_upwards(self, x: float, middle: float, text: str, size: float) -> None:
        """Write one line from below to above."""
        self._write(x, middle, text, size, rotation=90, color=INK, ha="center", va="center")

    def _write(
        self, x: float, y: float, line: str, size: float, color: str, ha: str, va: str, rotation: float = 0
    ) -> None:
        if line:
            place = x / self.width, 1 - y / self.height
            text = self.figure.text(
                *place, line, color=color, ha=ha, va=va, rotation=rotation, fontproperties=_font(size)
            )
            text.set_parse_math(False)  # a name such as a$b$ is no formula
            text.set_usetex(False)

    def axes(self, middle: tuple[float, float], size: tuple[float, float]) -> Axes:
        """Bare axes of some width and height."""
        left, bottom = middle[0] - size[0] / 2, self.height - middle[1] - size[1] / 2
        axes = self.figure.add_axes(
            (left / self.width, bottom / self.height, size[0] / self.width, size[1] / self.height)
        )
        axes.set_axis_off()
        return axes

    def box(self, middle: tuple[float, float], size: tuple[float, float], label: Label, fill: bool) -> None:
        """A sample of how a class is drawn."""
        red, green, blue = (channel / 255 for channel in label.color)
        self.figure.add_artist(
            Rectangle(
                ((middle[0] - size[0] / 2) / self.width, 1 - (middle[1] + size[1] / 2) / self.height),
                size[0] / self.width,
                size[1] / self.height,
                facecolor=(red, green, blue, FILL if fill else 0),
                edgecolor=(red, green, blue, 1),
                linewidth=OUTLINE,
                transform=self.figure.transFigure,
            )
        )


def _write_legend(sheet: _Sheet, lines: Sequence[Sequence[_Entry]], top: float, fill: bool) -> None:
    """Write the names of the classes, each line in the middle of the sheet."""
    for n, line in enumerate(lines):
        y = top + (n + 0.5) * LEGEND_LINE
        x = (sheet.width - sum(entry.width for entry in line) - (len(line) - 1) * CLASS_GAP) / 2
        for entry in line:
            sheet.box((x + SWATCH[0] / 2, y), SWATCH, entry.label, fill)
            sheet.write(x + SWATCH[0] + SWATCH_GAP, y - TITLE / 2 / INCH * LINE_HEIGHT, entry.name, TITLE, ha="left")
            x += entry.width + CLASS_GAP


def _picture(row: StudyRow, region: Region) -> np.ndarray:
    """The part of a row's image that is shown, (h, w, 3) uint8, no larger than print can use."""
    values = np.nan_to_num(row.image[region].astype(np.float32, copy=False), nan=0.0)
    scaled = np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)
    colored = scaled if scaled.ndim == 3 else np.repeat(scaled[..., None], 3, axis=2)
    height, width = (len(_samples(part)) for part in region)
    if (height, width) == colored.shape[:2]:
        return colored
    return np.asarray(Image.fromarray(colored).resize((width, height), Image.Resampling.BOX))


def _samples(part: slice, frame: int = 0) -> np.ndarray:
    """Rows or columns that are looked at: all, or evenly spaced ones where they are more than print can show.

    They need not be whole numbers: each is the middle of the pixels that it stands for. ``frame`` more go on outside
    at either end.
    """
    length = part.stop - part.start
    count = min(length, MOST_PIXELS)
    return part.start + (np.arange(-frame, count + frame) + 0.5) * length / count - 0.5


def _draw(
    axes: Axes, picture: np.ndarray, region: Region, ids: np.ndarray | None, classes: Sequence[Label], fill: bool
) -> None:
    """A picture, with the masks of its classes if they are given. The axes count the pixels of the whole image."""
    rows, columns = region
    edges = columns.start - 0.5, columns.stop - 0.5, rows.stop - 0.5, rows.start - 0.5
    axes.imshow(picture, extent=edges, origin="upper", aspect="auto", interpolation="auto")
    if ids is not None:
        ys, xs = (_samples(part) for part in region)
        sampled = ids[np.ix_(np.floor(ys + 0.5).astype(int), np.floor(xs + 0.5).astype(int))]
        # A frame of background closes the outlines of structures that touch the edge.
        grid = [_samples(part, frame=1) for part in (columns, rows)]
        for label in classes:
            mask = np.pad(sampled == label.id, 1).astype(np.float32)
            if mask.any():
                color = [tuple(channel / 255 for channel in label.color)]
                if fill:
                    axes.contourf(*grid, mask, [0.5, 2], colors=color, alpha=FILL, antialiased=True)
                axes.contour(*grid, mask, [0.5], colors=color, linewidths=OUTLINE)
    axes.set(xlim=edges[:2], ylim=edges[2:])


def _check(rows: Sequence[StudyRow], models: Sequence[str]) -> None:
    """Make sure that all parts are there and fit together.

    Raises:
        ValueError: they do not.
    """
    if not rows or not models:
        raise ValueError(f"a case study needs rows and models, not {len(rows)} rows and {len(models)} models")
    for row in rows:
        if not len(row.predictions) == len(row.scores) == len(models):
            raise ValueError(
                f'"{row.caption}" has {len(row.predictions)} predictions and {len(row.scores)} scores for '
                f"{len(models)} models; each model needs one of each"
            )
        shape = row.reference.shape
        if len(shape) != 2 or 0 in shape or any(mask.shape != shape for mask in row.predictions):
            raise ValueError(f'"{row.caption}": masks must be (H, W), all alike, not {[m.shape for m in row.masks]}')
        if row.image.shape not in (shape, (*shape, 3)):
            raise ValueError(f'"{row.caption}": an image of {row.image.shape} does not fit masks of {shape}')
        if not (math.isfinite(row.aspect) and row.aspect > 0):
            raise ValueError(f'"{row.caption}": aspect must be a positive number, not {row.aspect}')
