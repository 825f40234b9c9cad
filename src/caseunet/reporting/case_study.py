"""A figure for a paper: cases in rows; the image, the reference and each model's mask with its scores in columns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from caseunet.errors import InvalidInputError
from caseunet.files import replace_when_whole
from caseunet.reporting.case_study_layout import (
    CLASS_GAP,
    COLUMN_GAP,
    EDGE,
    FULL_COLUMNS,
    LEFT,
    LEGEND_LINE,
    ROW_GAP,
    SWATCH,
    SWATCH_GAP,
    TEXT,
    TEXT_GAP,
    TITLE,
    WIDTH,
    Entry,
    columns_of,
    legend_lines,
)
from caseunet.reporting.case_study_row import Region, StudyRow, check_rows
from caseunet.reporting.case_study_text import INCH, LINE_HEIGHT, font_of, text_height
from caseunet.reporting.figures import INK, without_missing_glyphs
from caseunet.types import Label

ASCENT = 0.95
"""From the top of a line to the feet of its letters, in sizes of the font."""
QUIET = "#5f6e7b"
OUTLINE = 0.9
"""Points."""
FILL = 0.32

DPI = 300
MAX_PIXELS = 1500
"""Of a picture's longer side; more than print can show."""


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
    check_rows(rows, models)
    classes = [label for label in labels if label.id != 0]
    columns = columns_of(rows, models, classes)
    titles, bands = columns.titles, columns.bands
    used = LEFT + len(titles) * columns.pitch - COLUMN_GAP
    width = WIDTH if len(titles) <= FULL_COLUMNS else max(WIDTH, used + 2 * EDGE)
    seen = set().union(*(np.unique(ids).tolist() for row in rows for ids in row.masks))
    legend = legend_lines([label for label in classes if label.id in seen], width - 2 * EDGE)
    top = EDGE + text_height(titles, TITLE) + TEXT_GAP
    legend_top = top + sum(band.height + ROW_GAP for band in bands)
    sheet = _Sheet(width, legend_top + len(legend) * LEGEND_LINE + EDGE)

    left = (width - used) / 2
    middles = [left + LEFT + n * columns.pitch + (columns.pitch - COLUMN_GAP) / 2 for n in range(len(titles))]
    for middle, title in zip(middles, titles, strict=True):
        sheet.write(middle, top - TEXT_GAP - text_height([title], TITLE), title, TITLE)
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


METADATA: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""{ending: what is left out of the file, because it changes from run to run}."""


def check_figure(path: Path) -> None:
    """Raises CaseUNetError if the name ends in none of .png, .svg and .pdf."""
    if path.suffix.lower() not in METADATA:
        raise InvalidInputError(
            f'{path}: ends in "{path.suffix}"; a figure needs a name that ends in .png, .svg or .pdf.'
        )


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as its name's ending says; the same figure gives the same bytes.

    Pictures are embedded, at 300 dots per inch, also in SVG and PDF. Letters are paths in SVG and TrueType in PDF.

    Raises:
        CaseUNetError: the name ends in none of .png, .svg and .pdf.
    """
    check_figure(path)
    ending = path.suffix.lower()
    settings: dict[str, Any] = {
        "svg.fonttype": "path",
        "svg.hashsalt": "caseunet",
        "svg.image_inline": True,
        "pdf.fonttype": 42,
        "savefig.bbox": None,
        "savefig.transparent": False,
    }
    with replace_when_whole(path) as temporary, matplotlib.rc_context(settings), without_missing_glyphs():
        figure.savefig(temporary, format=ending[1:], dpi=DPI, facecolor="white", metadata=METADATA[ending])


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
                *place, line, color=color, ha=ha, va=va, rotation=rotation, fontproperties=font_of(size)
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


def _write_legend(sheet: _Sheet, lines: Sequence[Sequence[Entry]], top: float, fill: bool) -> None:
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
    count = min(length, MAX_PIXELS)
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
