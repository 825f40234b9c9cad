"""Pictures: training curves, and masks outlined on their slices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from caseunet.reporting.style import INK, LINESTYLES, PALETTE, SOFT, add_legend, figure_style
from caseunet.reporting.style import hex_color as hex_color
from caseunet.reporting.style import to_pixels as to_pixels
from caseunet.reporting.style import to_png as to_png
from caseunet.types import Label

Ids = NDArray[np.integer]
Region = tuple[slice, slice]
"""Rows and columns of an image."""

FILL = 0.32
"""Opacity of a filled mask."""

MAX_PIXELS = 1500
"""Of a picture's longer side; more than print can show."""


@figure_style()
def training_curves(metrics: Path, structures: Sequence[str], colors: Sequence[str]) -> Figure:
    """Loss with its parts, and validation Dice, against the step.

    Args:
        metrics: metrics.csv of a run.
        structures: in the order of ``colors``.
        colors: of the structures' lines.
    """
    table = pd.read_csv(metrics)
    figure = Figure(figsize=(9, 3.2))
    left, right = figure.subplots(1, 2)
    parts = {"loss": "total", "cross_entropy": "cross entropy", "ssim": "1 − SSIM", "dice": "1 − Dice"}
    for (column, label), color, line in zip(parts.items(), (INK, *PALETTE), LINESTYLES, strict=False):
        part = table.dropna(subset=[column])
        if len(part):
            left.plot(part["step"], part[column], line, label=label, color=color)
    left.set(title="Training loss", xlabel="step", ylim=(0, None))
    left.legend()
    validation = table.dropna(subset=["val_dice"])
    for n, (name, color) in enumerate(zip(structures, colors, strict=True)):
        scores = validation[f"val_dice_{name}"]
        if scores.notna().any():
            line = LINESTYLES[n % len(LINESTYLES)]
            right.plot(validation["step"], scores, line, label=name, color=color, marker=".")
    right.set(title="Validation Dice", xlabel="step", ylim=(0, 1.01))
    add_legend(figure, right.lines)
    return figure


@dataclass(frozen=True)
class Outcome:
    """A slice with the truth and what a network says: image (H, W) or (H, W, 3), 0 to 1; class ids (H, W)."""

    image: np.ndarray
    reference: np.ndarray
    prediction: np.ndarray
    caption: str


@figure_style()
def outcome_sheet(outcomes: Sequence[Outcome], labels: Sequence[Label], title: str) -> Figure:
    """Slices side by side: above with the reference's outlines, below with the prediction's.

    Args:
        labels: with the background first; a legend names the others that are seen.
    """
    H, W = outcomes[0].reference.shape
    figure = Figure(figsize=(max(6.0, len(outcomes) * 2.4), 4.8 * H / W + 1.2))
    grid = figure.subplots(2, len(outcomes), squeeze=False)
    for (above, below), outcome in zip(grid.T, outcomes, strict=True):
        draw_slice(above, outcome.image, outcome.reference, labels)
        draw_slice(below, outcome.image, outcome.prediction, labels)
        above.set_title(f"{outcome.caption}\nreference", fontsize=8)
        below.set_title("prediction", fontsize=8)
    name_classes(figure, labels, [ids for o in outcomes for ids in (o.reference, o.prediction)])
    figure.suptitle(title)
    return figure


@dataclass(frozen=True)
class OutcomeCell:
    """One slice of a contact sheet, twice: image (H, W) or (H, W, 3), 0 to 1, with class ids (H, W) and a caption."""

    loaded: tuple[np.ndarray, np.ndarray]
    augmented: tuple[np.ndarray, np.ndarray]
    caption: str
    change: str


@figure_style()
def contact_sheet(cells: Sequence[OutcomeCell], columns: int, labels: Sequence[Label], title: str) -> Figure:
    """Slices in rows of ``columns``, each as loaded and, to its right, as augmented.

    Args:
        cells: from left to right, then down.
        columns: slices in a row.
        labels: with the background first; a legend names the others that are seen.
        title: above all.
    """
    rows = -(-len(cells) // columns)
    H, W = cells[0].loaded[1].shape
    width = min(2.4, 20 / (2 * columns))
    figure = Figure(figsize=(max(9, 2 * columns * width), rows * (width * H / W + 0.5) + 0.8))
    grid = figure.subplots(rows, 2 * columns, squeeze=False).reshape(-1, 2)
    for (left, right), cell in zip(grid, cells, strict=False):
        draw_slice(left, *cell.loaded, labels)
        draw_slice(right, *cell.augmented, labels)
        left.set_title(cell.caption, fontsize=7, wrap=True)
        right.set_title(cell.change, fontsize=7, wrap=True, color=SOFT)
    for axes in grid[len(cells) :].flat:
        axes.set_axis_off()
    name_classes(figure, labels, [cell.loaded[1] for cell in cells])
    figure.suptitle(title)
    return figure


def draw_slice(
    axes: Axes,
    image: np.ndarray,
    ids: Ids | None,
    labels: Sequence[Label],
    *,
    region: Region | None = None,
    aspect: float = 1.0,
    fill: bool = False,
) -> None:
    """Draw an image with the outlines of its classes. The axes count the pixels of the whole image.

    Args:
        axes: that get no ticks and no frame.
        image: (H, W) or (H, W, 3); what is not within 0 to 1 is drawn black or white.
        ids: class ids (H, W); None for the image alone.
        labels: id 0 is the background, which is not drawn.
        region: the part that is shown.
        aspect: height of a pixel divided by its width.
        fill: whether masks are filled, translucently.
    """
    rows, columns = region or tuple(slice(0, length) for length in image.shape[:2])
    step = math.ceil(max(rows.stop - rows.start, columns.stop - columns.start) / MAX_PIXELS)
    part = slice(rows.start, rows.stop, step), slice(columns.start, columns.stop, step)
    edges = columns.start - 0.5, columns.stop - 0.5, rows.stop - 0.5, rows.start - 0.5
    shown = np.clip(np.nan_to_num(image[part].astype(np.float32, copy=False)), 0, 1)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, extent=edges, aspect=aspect)
    axes.set(xlim=edges[:2], ylim=edges[2:], xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if ids is None:
        return
    # The middle of each sample, which stands for `step` pixels; one more on each side.
    ys, xs = (s.start + (step - 1) / 2 + step * np.arange(-1, len(range(s.start, s.stop, step)) + 1) for s in part)
    for label in labels:
        mask = np.pad(ids[part] == label.id, 1).astype(float)  # the frame closes outlines at the image's edge
        if label.id and mask.any():
            given = {"colors": [hex_color(label.color)]}
            if fill:
                axes.contourf(xs, ys, mask, [0.5, 2], alpha=FILL, **given)
            axes.contour(xs, ys, mask, [0.5], linewidths=1.1, linestyles=_linestyle(label), **given)


def _linestyle(label: Label) -> str:
    return LINESTYLES[(label.id - 1) % len(LINESTYLES)]


def name_classes(
    figure: Figure, labels: Sequence[Label], masks: Sequence[Ids], *, fill: bool = False, on_page: bool = False
) -> None:
    """Add a legend of the classes that are seen in some masks; on a page, which cannot grow wider, below."""
    seen = set(np.concatenate([np.unique(mask) for mask in masks]).tolist()) - {0}
    marks: list[Line2D | Patch] = []
    for label in labels:
        color, line = hex_color(label.color), _linestyle(label)
        if label.id in seen and fill:
            marks.append(Patch(facecolor=(color, FILL), edgecolor=color, linestyle=line, label=label.name))
        elif label.id in seen:
            marks.append(Line2D([], [], color=color, linestyle=line, label=label.name))
    add_legend(figure, marks, beside=not on_page)


def display_range(image: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    """A slice (C, H, W) as (H, W) or (H, W, 3) in 0 … 1, through the intensity window or the image's own range."""
    low, high = window or (float(image.min()), float(image.max()))
    shown = np.clip((image.astype(np.float64) - low) / max(high - low, 1e-9), 0, 1)
    return shown.transpose(1, 2, 0) if len(shown) == 3 else shown[0]
