"""A figure for a paper: cases in rows; the image, the reference and each model's mask with its scores in columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from caseunet.reporting.figures import Panel, Region, draw_panels
from caseunet.reporting.style import PAGE_WIDTH
from caseunet.types import IGNORE, Label

MAX_COLUMNS = 5
"""Columns that share the width of a page; with more the figure grows, so that pictures and text keep their size."""


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


def draw_case_study(
    rows: Sequence[StudyRow], models: Sequence[str], labels: Sequence[Label], fill: bool = True
) -> Figure:
    """Draw the figure, 7.2 inches wide with up to three models and wider with more.

    Args:
        rows: from top to bottom; their images may have different shapes.
        models: names, in the order of each row's predictions and scores.
        labels: id 0 is the background; ids that are not among them are not drawn. A legend names those that are seen.
        fill: whether masks are filled, translucently, or only outlined.
    """
    columns = 2 + len(models)
    panels = []
    for n, row in enumerate(rows):
        titles = ("image", "reference", *models) if n == 0 else ("",) * columns
        region = find_region(row, labels)
        caption = row.caption
        if region is not None:
            height, width = (part.stop - part.start for part in region)
            caption += f"\ndetail, {width} × {height} px"
        unjudged = row.reference == IGNORE  # hatched over the predictions too, for nothing is scored there
        for title, ids, text in zip(titles, (None, *row.masks), (caption, "", *row.scores), strict=True):
            panels.append(Panel(row.image, ids, title, text, region, row.aspect, None if ids is None else unjudged))
    width = PAGE_WIDTH * max(1, columns / MAX_COLUMNS)
    return draw_panels(panels, columns, labels, headings=[row.heading for row in rows], width=width, fill=fill)


def find_region(row: StudyRow, labels: Sequence[Label]) -> Region | None:
    """The square around the structures of all masks of a row, where it is less than half of the image; else None.

    It is twice as large as the structures, and at least a third of the image's shorter side.
    """
    H, W = row.reference.shape
    ids = [label.id for label in labels if label.id]
    rows, columns = np.nonzero(np.isin(np.stack(row.masks), ids).any(axis=0))
    if not len(rows):
        return None
    box = (rows.max() + 1 - rows.min()) * row.aspect, columns.max() + 1 - columns.min()
    side = max(2 * max(box), min(H * row.aspect, W) / 3)  # in widths of a pixel
    region = _window(rows, side / row.aspect, H), _window(columns, side, W)
    return region if 2 * np.prod([part.stop - part.start for part in region]) < H * W else None


def _window(positions: np.ndarray, length: float, whole: int) -> slice:
    """``length`` pixels with the positions in their middle, moved to lie within 0 … ``whole``."""
    size = min(int(np.ceil(length)), whole)
    first = (int(positions.min()) + int(positions.max()) + 1 - size) // 2
    first = min(max(first, 0), whole - size)
    return slice(first, first + size)
