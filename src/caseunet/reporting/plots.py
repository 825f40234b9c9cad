"""Plots of the cases' scores: how they are distributed, and how measured volumes agree with true ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from caseunet.reporting.style import ALERT, INK, SOFT, figure_style, shorten

WIDTH = 4.8
"""Inches. Two plots stand side by side on a screen, one on a telephone; their text can be read on both."""

MIN_BOX = 5
"""Cases from which on a box is drawn and outliers are named."""

MAX_VECTORS = 600
"""Points of a row beyond which they are drawn as pixels, which is smaller than vectors."""


def darken(color: str) -> str:
    """A colour (#rrggbb) that can be seen on white: pale ones lose brightness and keep their hue."""
    rgb = np.array(matplotlib.colors.to_rgb(color))
    brightness = float(rgb @ (0.2126, 0.7152, 0.0722))
    return str(matplotlib.colors.to_hex(rgb * min(1.0, 0.62 / max(brightness, 1e-9))))


@dataclass(frozen=True)
class Agreement:
    """How a measured quantity agrees with the true one, as of Bland and Altman (1986).

    ``bias`` is the mean of measured − true, ``sd`` its standard deviation (n − 1); 95 % of such differences lie between
    ``low`` and ``high``, bias ± 1.96 sd, if they are normally distributed.
    """

    n: int
    bias: float
    sd: float
    low: float
    high: float


def agreement(reference: np.ndarray, prediction: np.ndarray) -> Agreement | None:
    """Bias and limits of agreement of pairs (n,), in their unit; None with fewer than three pairs."""
    difference = np.asarray(prediction, np.float64) - np.asarray(reference, np.float64)
    if len(difference) < 3:
        return None
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    return Agreement(len(difference), bias, sd, bias - 1.96 * sd, bias + 1.96 * sd)


@dataclass(frozen=True)
class PlottedSample:
    """One row of a plot: the values of a measure.

    Attributes:
        structure: that was scored.
        model: that predicted; "" where there is only one.
        color: of the points.
        values: (n,), none NaN.
        cases: their names, n.
        empty: (n,), whether there was no usable prediction, so that the case counts as an empty mask.
    """

    structure: str
    model: str
    color: str
    values: np.ndarray
    cases: Sequence[str]
    empty: np.ndarray

    @property
    def title(self) -> str:
        return f"{self.structure}, {self.model}" if self.model else self.structure

    def outliers(self) -> list[tuple[str, float]]:
        """Cases beyond the whiskers of the box plot, the farthest first; none of fewer than five cases.

        Those without a usable prediction are not among them: what they score says nothing of the model.
        """
        if len(self.values) < MIN_BOX:
            return []
        (box,) = boxplot_stats(self.values)
        beyond = np.where(self.empty, 0, np.maximum(box["whislo"] - self.values, self.values - box["whishi"]))
        order = np.argsort(-beyond, kind="stable")
        return [(self.cases[n], float(self.values[n])) for n in order if beyond[n] > 0]


@figure_style()
def distributions(samples: Sequence[PlottedSample], label: str, share: bool) -> Figure:
    """A box plot of each sample on the points that it is made of, from top to bottom.

    Args:
        samples: each with a value at least; those of one structure follow one another.
        label: of the axis.
        share: whether the values are shares, of which 1 is the most.
    """
    figure = Figure(figsize=(WIDTH, 0.34 * len(samples) + 0.75))
    axes = figure.subplots()
    for y, sample in enumerate(samples):
        # Multiples of the golden ratio push equal points apart, evenly and without randomness.
        jitter = np.argsort(np.argsort(sample.values, kind="stable")) * 0.618 % 1 / 2 - 0.25
        _points(axes, sample.values, y + jitter, sample.empty, sample.color)
        if len(sample.values) >= MIN_BOX:
            (box,) = boxplot_stats(sample.values)
            line: dict[str, Any] = {"color": INK, "linewidth": 0.9, "zorder": 3}
            axes.hlines([y, y], [box["whislo"], box["q3"]], [box["q1"], box["whishi"]], **line)
            axes.barh(y, box["iqr"], 0.56, box["q1"], **line | {"color": "none", "edgecolor": INK})
            axes.vlines(box["med"], y - 0.28, y + 0.28, **line | {"linewidth": 2})
    axes.set_yticks(range(len(samples)), [shorten(sample.title, 32) for sample in samples])
    axes.set(xlabel=label, ylim=(len(samples) - 0.5, -0.5))
    values = np.concatenate([sample.values for sample in samples])
    if share:
        axes.set_xlim(right=1.01)
    elif values.min() >= 0 and values.max() > 20 * np.median(values) > 0:
        axes.set_xscale("symlog", linthresh=max(1.0, float(np.percentile(values, 25))))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlim(0, 1.4 * values.max())
        axes.set_xlabel(f"{label}, logarithmic for the large ones")
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    if any(sample.empty.any() for sample in samples):
        cross = Line2D([], [], color=ALERT, marker="x", linestyle="", markersize=4.5)
        figure.legend([cross], ["no usable prediction: an empty mask"], loc="outside lower left")
    return figure


@figure_style()
def bland_altman(reference: np.ndarray, prediction: np.ndarray, limits: Agreement, color: str, title: str) -> Figure:
    """Differences of volumes against their means, with bias and limits of agreement.

    Args:
        reference, prediction: millilitres (n,).
        limits: of these volumes.
        color: of the points.
        title: above the plot.
    """
    figure = Figure(figsize=(WIDTH, 3.0))
    axes = figure.subplots()
    axes.axhline(0, color=SOFT, linewidth=0.8, linestyle=":")
    lines = [(limits.high, "+1.96 sd", "--", "bottom"), (limits.low, "−1.96 sd", "--", "top")] if limits.sd else []
    for value, name, style, side in (*lines, (limits.bias, "bias", "-", "center")):
        axes.axhline(value, color=INK, linewidth=1.1, linestyle=style)
        text = f"{name}\n{value:+.3g}".replace("-", "−")
        axes.text(1.01, value, text, va=side, fontsize=7.5, transform=axes.get_yaxis_transform())
    _points(axes, (reference + prediction) / 2, prediction - reference, np.zeros(len(reference), bool), color)
    axes.set_title(shorten(title), loc="left", weight="bold")
    axes.set(xlabel="mean of reference and prediction (mL)", ylabel="prediction − reference (mL)")
    return figure


def _points(axes: Axes, x: np.ndarray, y: np.ndarray, empty: np.ndarray, color: str) -> None:
    """Dots, paler the more there are; crosses for cases that count as empty masks."""
    alpha = float(np.clip(8 / np.sqrt(len(x)), 0.25, 0.8)) if len(x) else 1
    dot: dict[str, Any] = {"markersize": 3.6, "markeredgewidth": 0, "alpha": alpha, "rasterized": len(x) > MAX_VECTORS}
    axes.plot(x[~empty], y[~empty], "o", color=color, zorder=2, **dot)
    axes.plot(x[empty], y[empty], "x", color=ALERT, markersize=4.5, markeredgewidth=1.2, zorder=4)
