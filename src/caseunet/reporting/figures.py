"""Pictures: training curves, and masks outlined on their slices."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from PIL import Image

from caseunet.types import Label

INK, FAINT = "#22303c", "#d5dbe1"

FEW_CLASSES = 6
"""Classes that a legend below or within a plot has room for; that of more stands beside it."""

MAX_NAME = 40
"""Characters of a class in a legend."""


def training_curves(metrics: Path, structures: Sequence[str], colors: Sequence[str]) -> Figure:
    """Loss with its parts, and validation Dice, against the step.

    Args:
        metrics: metrics.csv of a run.
        structures: in the order of ``colors``.
        colors: of the structures' lines.
    """
    table = pd.read_csv(metrics)
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for column, label, style in (
        ("loss", "total", {"color": INK, "linewidth": 1.8}),
        ("cross_entropy", "cross entropy", {"color": "#7a8b99", "linewidth": 1}),
        ("ssim", "1 − SSIM", {"color": "#c98a2b", "linewidth": 1}),
        ("dice", "1 − Dice", {"color": "#5b7fb8", "linewidth": 1}),
    ):
        part = table.dropna(subset=[column])
        if len(part):
            left.plot(part["step"], part[column], label=label, **style)
    left.set(title="Training loss", xlabel="step", ylim=(0, None))
    validation = table.dropna(subset=["val_dice"])
    for name, color in zip(structures, colors, strict=True):
        scores = validation[f"val_dice_{name}"]
        if scores.notna().any():
            right.plot(validation["step"], scores, label=_legend_name(name), color=color, marker=".")
    right.set(title="Validation Dice", xlabel="step", ylim=(0, 1.01))
    for axes in (left, right):
        quiet_axes(axes)
    left.legend(frameon=False, fontsize=8)
    if len(right.lines) > FEW_CLASSES:
        _legend_beside(figure, right.lines, 8)
    elif right.lines:
        _without_formulas(right.legend(frameon=False, fontsize=8))
    return figure


@dataclass(frozen=True)
class Outcome:
    """A slice with the truth and what a network says: image (H, W) or (H, W, 3), 0 to 1; class ids (H, W)."""

    image: np.ndarray
    reference: np.ndarray
    prediction: np.ndarray
    caption: str


def outcome_sheet(outcomes: Sequence[Outcome], labels: Sequence[Label], title: str) -> Figure:
    """Slices side by side: above with the reference's outlines, below with the prediction's.

    Args:
        labels: with the background first; a legend names the others that are seen.
    """
    H, W = outcomes[0].reference.shape
    width = 2.4
    size = max(6.0, len(outcomes) * width), 2 * width * H / W + 1.2
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(2, len(outcomes), squeeze=False)
    for column, outcome in enumerate(outcomes):
        for row, (ids, name) in enumerate(((outcome.reference, "reference"), (outcome.prediction, "prediction"))):
            _outline(grid[row, column], outcome.image, ids, labels)
            grid[row, column].set_title(f"{outcome.caption}\n{name}" if row == 0 else name, fontsize=8, color=INK)
    _name_classes(figure, labels, [ids for o in outcomes for ids in (o.reference, o.prediction)])
    figure.suptitle(title, fontsize=10, color=INK)
    return figure


@dataclass(frozen=True)
class OutcomeCell:
    """One slice of a contact sheet, twice: image (H, W) or (H, W, 3), 0 to 1, with class ids (H, W) and a caption."""

    loaded: tuple[np.ndarray, np.ndarray]
    augmented: tuple[np.ndarray, np.ndarray]
    caption: str
    change: str


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
    size = max(9, 2 * columns * width), rows * (width * H / W + 0.5) + 0.8  # the title needs 9 inches
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, 2 * columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for n, cell in enumerate(cells):
        row, column = divmod(n, columns)
        for side, (image, ids), text in ((0, cell.loaded, cell.caption), (1, cell.augmented, cell.change)):
            axes = grid[row, 2 * column + side]
            _outline(axes, image, ids, labels)
            axes.set_title(text, fontsize=7, color=INK if side == 0 else "#7a8b99", wrap=True)
    _name_classes(figure, labels, [cell.loaded[1] for cell in cells])
    figure.suptitle(title, fontsize=10, color=INK)
    return figure


def _name_classes(figure: Figure, labels: Sequence[Label], masks: Sequence[np.ndarray]) -> None:
    """A legend of the classes that are seen in some masks."""
    seen = set(np.concatenate([np.unique(mask) for mask in masks]).tolist())
    marks = [Line2D([], [], color=hex_color(c.color), label=_legend_name(c.name)) for c in labels[1:] if c.id in seen]
    if len(marks) > FEW_CLASSES:
        _legend_beside(figure, marks, 9)
    elif marks:
        given = {"ncols": len(marks), "frameon": False, "fontsize": 9}
        _without_formulas(figure.legend(handles=marks, loc="outside lower center", **given))


def _legend_beside(figure: Figure, marks: Sequence[Line2D], size: float) -> None:
    """A legend of many classes to the right, in as many columns as the height asks for; the figure grows by it."""
    width, height = figure.get_size_inches()
    line = size * 1.7 / 72  # inches
    columns = math.ceil(len(marks) / max(1, int((height - 0.3) / line)))
    longest = max(len(str(mark.get_label())) for mark in marks)
    figure.set_size_inches(width + columns * (0.55 + longest * size * 0.62 / 72), height)
    _without_formulas(
        figure.legend(handles=list(marks), loc="outside right upper", ncols=columns, frameon=False, fontsize=size)
    )


def _legend_name(name: str) -> str:
    """A name that matplotlib shows: it leaves out those that begin with an underscore."""
    shown = name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
    return f" {shown}" if shown.startswith("_") else shown


def _without_formulas(legend: Legend) -> None:
    """Names such as a$b$ as they are."""
    for text in legend.get_texts():
        text.set_parse_math(False)


def _outline(axes: Axes, image: np.ndarray, ids: np.ndarray, labels: Sequence[Label]) -> None:
    """An image, with the outlines of its classes."""
    H, W = image.shape[:2]
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for label in labels[1:]:
        if np.any(ids == label.id):
            outline = [tuple(c / 255 for c in label.color)]
            # A frame of background closes the outlines of structures that touch the edge.
            mask = np.pad(ids == label.id, 1).astype(float)
            axes.contour(np.arange(-1, W + 1), np.arange(-1, H + 1), mask, [0.5], colors=outline, linewidths=1.3)
    axes.set(xlim=(-0.5, W - 0.5), ylim=(H - 0.5, -0.5))
    axes.set_axis_off()


def to_pixels(figure: Figure, dpi: int = 110) -> np.ndarray:
    """Render as (H, W, 3), uint8, without any global state of matplotlib's."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    with without_missing_glyphs():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@contextmanager
def without_missing_glyphs() -> Iterator[None]:
    """Let letters that the font lacks be boxes without a warning for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def to_png(figure: Figure, dpi: int = 110) -> bytes:
    """Render as PNG; drawn once, where matplotlib's own way to a file draws it twice."""
    buffer = BytesIO()
    Image.fromarray(to_pixels(figure, dpi)).save(buffer, "png")
    return buffer.getvalue()


def display_range(image: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    """A slice (C, H, W) as (H, W) or (H, W, 3) in 0 … 1, through the intensity window or the image's own range."""
    low, high = window or (float(image.min()), float(image.max()))
    shown = np.clip((image.astype(np.float64) - low) / max(high - low, 1e-9), 0, 1)
    return shown.transpose(1, 2, 0) if len(shown) == 3 else shown[0]


def hex_color(color: tuple[int, int, int]) -> str:
    return matplotlib.colors.to_hex([c / 255 for c in color])


def quiet_axes(axes: Axes) -> None:
    """No frame above and to the right, a faint grid, small figures."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=FAINT, linewidth=0.5)
    axes.tick_params(labelsize=8)
