"""Pictures for reports: training curves, and masks outlined on their slices."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from caseunet.types import Label

INK, FAINT = "#22303c", "#d5dbe1"


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
            right.plot(validation["step"], scores, label=name, color=color, marker=".")
    right.set(title="Validation Dice", xlabel="step", ylim=(0, 1.01))
    for axes in (left, right):
        _quiet(axes)
        axes.legend(frameon=False, fontsize=8)
    return figure


def outlined_slice(
    image: np.ndarray, reference: np.ndarray, prediction: np.ndarray, labels: Sequence[Label], title: str
) -> Figure:
    """One slice three times: alone, with the reference's outlines, with the prediction's.

    Args:
        image: (H, W) or (H, W, 3), values 0 to 1.
        reference, prediction: class ids (H, W).
        labels: with the background first; its outline is not drawn.
    """
    H, W = reference.shape
    figure = Figure(figsize=(9, 3.0 * H / W + 0.5), layout="constrained")
    for axes, heading, ids in zip(
        figure.subplots(1, 3), ("image", "reference", "prediction"), (None, reference, prediction), strict=True
    ):
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        for label in labels[1:]:
            if ids is not None and np.any(ids == label.id):
                outline = [tuple(c / 255 for c in label.color)]
                # A frame of background closes the outlines of structures that touch the edge.
                mask = np.pad(ids == label.id, 1).astype(float)
                axes.contour(np.arange(-1, W + 1), np.arange(-1, H + 1), mask, [0.5], colors=outline, linewidths=1.3)
        axes.set_title(heading, fontsize=9, color=INK)
        axes.set(xlim=(-0.5, W - 0.5), ylim=(H - 0.5, -0.5))
        axes.set_axis_off()
    figure.suptitle(title, fontsize=10, color=INK)
    return figure


def to_png(figure: Figure, dpi: int = 110) -> bytes:
    """Render without any global state of matplotlib's."""
    FigureCanvasAgg(figure)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def display_range(image: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    """A slice (C, H, W) as (H, W) or (H, W, 3) in 0 … 1, through the intensity window or the image's own range."""
    low, high = window or (float(image.min()), float(image.max()))
    shown = np.clip((image.astype(np.float64) - low) / max(high - low, 1e-9), 0, 1)
    return shown.transpose(1, 2, 0) if len(shown) == 3 else shown[0]


def hex_color(color: tuple[int, int, int]) -> str:
    return matplotlib.colors.to_hex([c / 255 for c in color])


def _quiet(axes: matplotlib.axes.Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=FAINT, linewidth=0.5)
    axes.tick_params(labelsize=8)
