"""A figure for a paper: cases in rows; the image, the reference and each model's mask with its scores in columns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill as wrap_line

import numpy as np
from matplotlib.figure import Figure

from caseunet.reporting.figures import Region, draw_slice, name_classes
from caseunet.reporting.style import PAGE_WIDTH, figure_style
from caseunet.types import Label

PAGE_HEIGHT = 9.2
MARGIN = 0.1
"""Inches beside each picture."""
MAX_COLUMNS = 5
"""Columns that share the width of a page; with more the figure grows, so that pictures and text keep their size."""
MIN_COLUMN = 1.1
LETTER = 0.062
"""Inches that a letter takes of the width, on average."""
LINE = 0.135
"""Inches from line to line."""
MAX_CROP = 0.7
"""Share of an image above which a part of it is not worth showing instead."""


@dataclass(frozen=True)
class StudyRow:
    """One case, or slice of a case, with what each model made of it.

    Attributes:
        heading: why it is shown: "worst", "median", "best", "chosen".
        caption: name of the case, and the slice where there are several.
        image: (H, W) or (H, W, 3), values 0 to 1.
        reference: class ids (H, W).
        predictions: class ids (H, W), one per model.
        scores: a text per model, of one or more lines.
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


@figure_style()
def draw_case_study(
    rows: Sequence[StudyRow], models: Sequence[str], labels: Sequence[Label], fill: bool = True
) -> Figure:
    """Draw the figure, at most 7.2 inches wide with up to three models and wider with more.

    Args:
        rows: from top to bottom; their images may have different shapes.
        models: names, in the order of each row's predictions and scores.
        labels: id 0 is the background; ids that are not among them are not drawn. A legend names those that are seen.
        fill: whether masks are filled, translucently, or only outlined.

    Raises:
        ValueError: there are no rows or no models, or a row's parts do not fit together.
    """
    _check_rows(rows, models)
    regions = [find_region(row, labels) for row in rows]
    sizes = np.array([[part.stop - part.start for part in region] for region in regions])
    shapes = sizes * [[row.aspect, 1] for row in rows]
    columns = 2 + len(models)
    room = PAGE_WIDTH / min(columns, MAX_COLUMNS)
    most = max(1.3, min(2.2 * room, PAGE_HEIGHT / len(rows) - 0.5)), room - MARGIN
    heights, widths = (shapes * (np.array(most) / shapes).min(axis=1, keepdims=True)).T
    column = max(widths.max() + MARGIN, MIN_COLUMN)
    if column > 0.9 * room:
        column = room

    titles = [_wrap(name, column * 7 / 8, 3) for name in ("image", "reference", *models)]
    texts = [[_wrap(text, column) for text in _texts(row, region)] for row, region in zip(rows, regions, strict=True)]
    lines = [1 + max(text.count("\n") for text in group) for group in (titles, *texts)]
    figure = Figure(figsize=(columns * column, heights.sum() + sum(lines) * LINE + len(rows) * 0.12 + 0.3))
    grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for axes, row, region, below in zip(grid, rows, regions, texts, strict=True):
        axes[0].set_ylabel(row.heading)
        for ax, ids, text in zip(axes, (None, *row.masks), below, strict=True):
            draw_slice(ax, row.image, ids, labels, region=region, aspect=row.aspect, fill=fill)
            ax.set_xlabel(text, fontsize=7)
    for ax, title in zip(grid[0], titles, strict=True):
        ax.set_title(title, fontsize=8)
    name_classes(figure, labels, [mask for row in rows for mask in row.masks], fill=fill, on_page=True)
    return figure


def _check_rows(rows: Sequence[StudyRow], models: Sequence[str]) -> None:
    if not rows or not models:
        raise ValueError(f"a case study needs rows and models, not {len(rows)} rows and {len(models)} models")
    for row in rows:
        if not len(row.predictions) == len(row.scores) == len(models):
            raise ValueError(f'"{row.caption}": each of {len(models)} models needs one prediction and one score')
        shape = row.reference.shape
        if any(mask.shape != shape for mask in row.masks) or row.image.shape not in (shape, (*shape, 3)):
            raise ValueError(f'"{row.caption}": image and masks must have one shape (H, W)')


def _texts(row: StudyRow, region: Region) -> tuple[str, ...]:
    """What stands below each picture of a row: its caption, nothing below the reference, the scores."""
    height, width = (part.stop - part.start for part in region)
    is_part = (height, width) != row.reference.shape
    return row.caption + (f"\ndetail, {width} × {height} px" if is_part else ""), "", *row.scores


def _wrap(text: str, inches: float, most: int | None = None) -> str:
    """Break the lines of a text to fit a column; a given number of lines ends in an ellipsis."""
    letters = max(8, int((inches - MARGIN) / LETTER))
    return "\n".join(wrap_line(line, letters, max_lines=most, placeholder="…") for line in text.split("\n"))


def find_region(row: StudyRow, labels: Sequence[Label]) -> Region:
    """What all pictures of a row show: the whole image, or where its structures are small the part around them.

    They are small if the box around them, in the reference and all predictions together, covers less than a quarter of
    the image. The margin is a quarter of the box's longer side and at least a tenth of the image's shorter one; then
    the part is made larger until its shape is that of the image, but not slimmer than 1 : 2. A part that is most of
    the image is not worth it.
    """
    H, W = row.reference.shape
    whole = slice(0, H), slice(0, W)
    ids = [label.id for label in labels if label.id]
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
    is_most = (part[0].stop - part[0].start) * (part[1].stop - part[1].start) > MAX_CROP * H * W
    return whole if is_most else part


def _window(start: int, length: int, wanted: float, whole: int) -> slice:
    """``wanted`` pixels with ``length`` pixels from ``start`` in their middle, moved to lie within 0 … ``whole``."""
    size = min(math.ceil(wanted - 1e-9), whole)
    first = min(max(start - (size - length) // 2, 0), whole - size)
    return slice(first, first + size)
