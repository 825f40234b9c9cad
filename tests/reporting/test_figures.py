"""Figures of many classes: legends that hide nothing, and no warnings."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from caseunet.datasets.coding import palette
from caseunet.reporting.figures import Panel, draw_panels, training_curves
from caseunet.reporting.style import figure_style
from caseunet.types import Label

NAMES = ("background", *(f"structure {n}" for n in range(58)), "_hidden", "a$b$ 肝")
LABELS = [Label(id=n, name=name, color=color) for n, (name, color) in enumerate(zip(NAMES, palette(61), strict=True))]
IDS = np.kron(np.arange(64).reshape(8, 8) % 61, np.ones((8, 8))).astype(np.uint8)
IMAGE = np.zeros((64, 64))


def curves(folder: Path) -> Figure:
    columns = ["step", "loss", "cross_entropy", "ssim", "dice", "val_dice", *(f"val_dice_{name}" for name in NAMES[1:])]
    pd.DataFrame(np.ones((2, len(columns))), columns=columns).to_csv(folder / "metrics.csv", index=False)
    return training_curves(folder / "metrics.csv", NAMES[1:], ["#123456"] * 60)


@pytest.mark.parametrize(
    "draw",
    [
        curves,
        lambda _: draw_panels([Panel(IMAGE, IDS, "case")] * 3, 2, LABELS, title="title"),
    ],
)
def test_sixty_classes_are_named_below(draw: Callable[[Path], Figure], tmp_path: Path) -> None:
    figure = draw(tmp_path)
    with warnings.catch_warnings(), figure_style():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.draw_without_rendering()
    (legend,) = figure.legends
    assert [text.get_text().strip() for text in legend.get_texts()] == list(NAMES[1:])
    box = legend.get_window_extent()
    assert all(axes.get_window_extent().y0 >= box.y1 for axes in figure.axes), "it covers no plot"
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
