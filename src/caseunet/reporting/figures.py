"""Pictures: training curves, and masks outlined on their slices."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import fill as wrap_text

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from caseunet.reporting.style import INK, LINESTYLES, PAGE_WIDTH, PALETTE, add_legend, figure_style, hex_color
from caseunet.types import IGNORE, Label

Ids = NDArray[np.integer]
Region = tuple[slice, slice]
"""Rows and columns of an image."""

FILL = 0.32
"""Opacity of a filled mask."""

UNJUDGED, DIM, HATCH = (0.4, 0.4, 0.4), 0.5, "////"
"""Colour, opacity and pattern over what nobody judged."""

LETTERS = 14
"""That an inch holds."""


@figure_style()
def training_curves(metrics: Path, structures: Sequence[str], colors: Sequence[str]) -> Figure:
    """Loss with its parts, and validation Dice, against the step.

    Args:
        metrics: metrics.csv of a run.
        structures: in the order of ``colors``.
        colors: of the structures' lines.
    """
    table = pd.read_csv(metrics)
    figure = Figure(figsize=(9, 3))
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
class Panel:
    """A picture with the outlines of its classes.

    Attributes:
        image: (H, W) or (H, W, 3); what is not within 0 to 1 is drawn black or white.
        ids: class ids (H, W), :data:`IGNORE` where nobody judged; None for the image alone.
        unjudged: where nobody judged (H, W); None leaves it to ``ids``.
        title: above it.
        text: below it.
        region: the part that is shown; None for all.
        aspect: height of a pixel divided by its width.
    """

    image: np.ndarray
    ids: Ids | None = None
    title: str = ""
    text: str = ""
    region: Region | None = None
    aspect: float = 1.0
    unjudged: NDArray[np.bool_] | None = None

    @property
    def hatched(self) -> NDArray[np.bool_]:
        """Where nobody judged."""
        if self.unjudged is not None:
            return self.unjudged
        return np.zeros(self.image.shape[:2], bool) if self.ids is None else np.asarray(self.ids == IGNORE)

    @property
    def shown(self) -> Region:
        return self.region or (slice(0, self.image.shape[0]), slice(0, self.image.shape[1]))

    @property
    def ratio(self) -> float:
        """Height divided by width."""
        rows, columns = self.shown
        return (rows.stop - rows.start) * self.aspect / (columns.stop - columns.start)


@figure_style()
def draw_panels(
    panels: Sequence[Panel],
    columns: int,
    labels: Sequence[Label],
    *,
    title: str = "",
    headings: Sequence[str] = (),
    width: float = PAGE_WIDTH,
    fill: bool = False,
) -> Figure:
    """Pictures in rows of ``columns``, with a legend of the classes that are seen. What nobody judged is hatched.

    Args:
        panels: from left to right, then down.
        columns: pictures in a row.
        labels: id 0 is the background; ids that are not among them are not drawn.
        title: above all.
        headings: beside the rows.
        width: inches.
        fill: whether masks are filled, translucently, or only outlined.
    """
    room = width / columns
    panels = [replace(p, title=_wrap(p.title, room), text=_wrap(p.text, room)) for p in panels]
    rows = [panels[n : n + columns] for n in range(0, len(panels), columns)]
    heights = [room * min(2.0, max(p.ratio for p in row)) for row in rows]
    lines = [max(f"{p.title}\n{p.text}".count("\n") + 1 for p in row) for row in rows]
    figure = Figure(figsize=(width, sum(heights) + 0.15 * sum(lines) + 0.2 + (0.3 if title else 0)))
    grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, panel, labels, fill)
        axes.set_title(panel.title, fontsize=8)
        axes.set_xlabel(panel.text, fontsize=7)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, heading in zip(grid[:, 0], headings, strict=False):
        axes.set_ylabel(heading)
    if title:
        figure.suptitle(title)
    seen = set(np.concatenate([np.unique(p.ids) for p in panels if p.ids is not None]).tolist()) - {0}
    marks = [
        Patch(
            facecolor=(hex_color(label.color), FILL) if fill else "none",
            edgecolor=hex_color(label.color),
            linestyle=_linestyle(label),
            label=label.name,
        )
        for label in labels
        if label.id in seen
    ]
    if any(panel.hatched.any() for panel in panels):
        marks.append(Patch(facecolor=(*UNJUDGED, DIM), edgecolor="white", hatch=HATCH, label="not judged"))
    add_legend(figure, marks)
    return figure


def _wrap(text: str, inches: float) -> str:
    """Break lines to fit a column; each ends in an ellipsis after three."""
    letters = max(8, int(inches * LETTERS))
    return "\n".join(wrap_text(line, letters, max_lines=3, placeholder="…") for line in text.split("\n"))


def _draw_panel(axes: Axes, panel: Panel, labels: Sequence[Label], fill: bool) -> None:
    """The axes count the pixels of the whole image."""
    rows, columns = panel.shown
    shown = np.clip(np.nan_to_num(panel.image.astype(np.float32, copy=False)), 0, 1)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, aspect=panel.aspect)
    for label in labels if panel.ids is not None else ():
        mask = np.pad(panel.ids == label.id, 1).astype(float)  # the frame closes outlines at the image's edge
        if label.id and mask.any():
            xs, ys = np.arange(mask.shape[1]) - 1, np.arange(mask.shape[0]) - 1
            color = hex_color(label.color)
            if fill:
                axes.contourf(xs, ys, mask, [0.5, 2], alpha=FILL, colors=[color])
            axes.contour(xs, ys, mask, [0.5], linewidths=1.1, linestyles=_linestyle(label), colors=[color])
    _hatch(axes, panel.hatched)
    axes.set(xlim=(columns.start - 0.5, columns.stop - 0.5), ylim=(rows.stop - 0.5, rows.start - 0.5))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _hatch(axes: Axes, unjudged: NDArray[np.bool_]) -> None:
    """Dim and hatch what nobody judged, whatever is drawn there."""
    if not unjudged.any():
        return
    mask = np.pad(unjudged, 1).astype(float)
    xs, ys = np.arange(mask.shape[1]) - 1, np.arange(mask.shape[0]) - 1
    axes.contourf(xs, ys, mask, [0.5, 2], alpha=DIM, colors=[UNJUDGED])
    axes.contourf(xs, ys, mask, [0.5, 2], colors="none", hatches=[HATCH]).set_edgecolor("white")


def _linestyle(label: Label) -> str:
    return LINESTYLES[(label.id - 1) % len(LINESTYLES)]


def display_range(image: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    """A slice (C, H, W) as (H, W) or (H, W, 3) in 0 … 1, through the intensity window or the image's own range."""
    low, high = window or (float(image.min()), float(image.max()))
    shown = np.clip((image.astype(np.float64) - low) / max(high - low, 1e-9), 0, 1)
    return shown.transpose(1, 2, 0) if len(shown) == 3 else shown[0]
