"""Plots of the cases' scores: how they are distributed, and how measured volumes agree with true ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from caseunet.reporting.figures import INK, quiet_axes, to_pixels, without_missing_glyphs

SOFT = "#5c6b78"

PALETTE = ("#2f6fa8", "#c4701c", "#3d8b5f", "#7a5aa6", "#a8434f", "#6b7780")
"""Colours of models: told apart by the colour-blind too, and dark enough on white."""

WIDTH = 4.8
"""Inches. Two plots stand side by side on a screen, one on a telephone; their text can be read on both."""

MAX_NAMED = 3
"""Outliers of a row that are named in the plot; more would hide one another."""

TITLE_LINES = 0.9
"""Height of a structure's name, in rows."""

MAX_VECTORS = 600
"""Points up to which a drawing is smaller as vectors than as pixels."""


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
class Box:
    """Of Tukey's box plot: quartiles, and the outermost values within 1.5 interquartile ranges of them."""

    low: float
    first: float
    median: float
    third: float
    high: float


def tukey(values: np.ndarray) -> Box:
    """The box plot of some values (n,), n ≥ 1, none NaN; quartiles are interpolated linearly."""
    first, median, third = (float(q) for q in np.percentile(values, [25, 50, 75]))
    reach = 1.5 * (third - first)
    within = values[(values >= first - reach) & (values <= third + reach)]
    return Box(float(within.min()), first, median, third, float(within.max()))


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
        if len(self.values) < 5:
            return []
        box = tukey(self.values)
        beyond = np.where(self.empty, 0, np.maximum(box.low - self.values, self.values - box.high))
        order = np.argsort(-beyond, kind="stable")
        return [(self.cases[n], float(self.values[n])) for n in order if beyond[n] > 0]


def distributions(samples: Sequence[PlottedSample], label: str, share: bool) -> Figure:
    """A box plot of each sample on the points that it is made of, from top to bottom.

    Args:
        samples: each with a value at least; those of one structure follow one another.
        label: of the axis.
        share: whether the values are shares, of which 1 is the most.
    """
    titled = [bool(s.model) and (n == 0 or samples[n - 1].structure != s.structure) for n, s in enumerate(samples)]
    lines = len(samples) + sum(titled) * TITLE_LINES
    figure = Figure(figsize=(WIDTH, 0.34 * lines + 0.75), layout="constrained")
    axes = figure.subplots()
    y, ticks = -0.5, []
    for sample, is_titled in zip(samples, titled, strict=True):
        if is_titled:
            y += TITLE_LINES
            place = axes.get_yaxis_transform()
            axes.text(
                0, y - 0.02, sample.structure, transform=place, fontsize=8, weight="bold", color=INK, parse_math=False
            )
        ticks.append(y + 0.5)
        _strip(axes, sample, y + 0.5)
        y += 1
    axes.set_yticks(ticks, [_shorten(sample.model or sample.structure) for sample in samples], parse_math=False)
    axes.set(xlabel=label, ylim=(y, -0.5))
    _limit(axes, np.concatenate([sample.values for sample in samples]), share)
    for sample, tick in zip(samples, ticks, strict=True):
        _name_outliers(axes, sample, tick)
    _quiet(axes)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    if any(sample.empty.any() for sample in samples):
        _explain_crosses(figure)
    return figure


def bland_altman(reference: np.ndarray, prediction: np.ndarray, limits: Agreement, color: str, title: str) -> Figure:
    """Differences of volumes against their means, with bias and limits of agreement.

    Args:
        reference, prediction: millilitres (n,).
        limits: of these volumes.
        color: of the points.
        title: above the plot.
    """
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color=SOFT, linewidth=0.8, linestyle=":")
    largest = max(abs(limits.low), abs(limits.high), 0.01)
    decimals = max(0, 2 - int(np.floor(np.log10(largest))))
    lines = [(limits.high, "+1.96 sd", "--", "bottom"), (limits.low, "−1.96 sd", "--", "top")] if limits.sd else []
    for value, name, style, side in (*lines, (limits.bias, "bias", "-", "center")):
        axes.axhline(value, color=INK, linewidth=1.1, linestyle=style)
        axes.annotate(
            f"{name}\n{value:+.{decimals}f}".replace("-", "−"),
            (1, value),
            (3, 0),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            va=side,
            fontsize=7.5,
            color=INK,
            annotation_clip=False,
        )
    _points(axes, (reference + prediction) / 2, prediction - reference, np.zeros(len(reference), bool), color)
    axes.set_title(title, fontsize=9, color=INK, loc="left", weight="bold", parse_math=False)
    axes.set(xlabel="mean of reference and prediction (mL)", ylabel="prediction − reference (mL)")
    _quiet(axes)
    return figure


def to_image(figure: Figure, points: int) -> tuple[str, bytes]:
    """Render as vectors, or where they would be heavy as pixels at 144 dpi: the media type, and the file."""
    if points <= MAX_VECTORS:
        return "image/svg+xml", _svg(figure)
    buffer = BytesIO()
    # A plot has few colours: a palette makes the file a third of the size.
    pixels = Image.fromarray(to_pixels(figure, 144)).quantize(128, dither=Image.Dither.NONE)
    pixels.save(buffer, "png", optimize=True)
    return "image/png", buffer.getvalue()


def _svg(figure: Figure) -> bytes:
    """Letters become outlines, so that no font is needed; equal figures make equal files."""
    buffer = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "caseunet"}), without_missing_glyphs():
        FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    return text[text.index(b"<svg") :]


def _strip(axes: Axes, sample: PlottedSample, y: float) -> None:
    """The points, and the box over them if they are five or more."""
    values = sample.values
    _points(axes, values, y + _jitter(values), sample.empty, sample.color)
    if len(values) < 5:
        return
    box = tukey(values)
    axes.hlines([y, y], [box.low, box.third], [box.first, box.high], color=INK, linewidth=0.9, zorder=3)
    axes.barh(
        y, box.third - box.first, height=0.56, left=box.first, facecolor="none", edgecolor=INK, linewidth=0.9, zorder=3
    )
    axes.vlines(box.median, y - 0.28, y + 0.28, color=INK, linewidth=2, zorder=3)


def _name_outliers(axes: Axes, sample: PlottedSample, y: float) -> None:
    """Write names beside the outliers of a row where they are few and the place is free."""
    found = sample.outliers()
    if len(found) > MAX_NAMED:
        return
    points = np.stack([sample.values, np.full(len(sample.values), y)], axis=1)
    across = (axes.transScale + axes.transLimits).transform(points)[:, 0]  # as shares of the width of the plot
    taken = across.tolist()
    for name, value in found:
        n = list(sample.cases).index(name)
        text = _shorten(name)
        gap, length = 0.015, 0.016 * len(text)
        begin = across[n] + gap
        if begin + length > 1 or any(begin < other < begin + length for other in taken):
            continue
        taken += np.linspace(begin, begin + length, 8).tolist()
        place = (value, y + _jitter(sample.values)[n])
        axes.annotate(
            text, place, (4, 0), textcoords="offset points", va="center", fontsize=6.5, color=SOFT, parse_math=False
        )


def _jitter(values: np.ndarray) -> np.ndarray:
    """How far each point is pushed up or down so that equal ones can be told apart: −0.25 to 0.25 rows.

    Multiples of the golden ratio fall evenly over the height, however many there are, and without randomness.
    """
    spread = np.zeros(len(values))
    spread[np.argsort(values, kind="stable")] = (np.arange(len(values)) * 0.6180339887 % 1 - 0.5) * 0.5
    return spread


def _points(axes: Axes, x: np.ndarray, y: np.ndarray, empty: np.ndarray, color: str) -> None:
    """Dots, paler the more there are; crosses for cases that count as empty masks."""
    alpha = float(np.clip(8 / np.sqrt(len(x)), 0.25, 0.8)) if len(x) else 1
    axes.plot(x[~empty], y[~empty], "o", color=color, markersize=3.6, markeredgewidth=0, alpha=alpha, zorder=2)
    axes.plot(x[empty], y[empty], "x", color="#b3261e", markersize=4.5, markeredgewidth=1.2, zorder=4)


def _limit(axes: Axes, values: np.ndarray, share: bool) -> None:
    """Show all values; shares up to 1; lengths logarithmically where a few are far larger than the usual one."""
    low, high = float(values.min()), float(values.max())
    if share:
        low = max(0.0, np.floor((low - 0.05) * 10) / 10)
        margin = 0.02 * (1 - low)
        axes.set_xlim(low - margin, 1 + margin)
        return
    usual = float(np.median(values))
    if low >= 0 and usual > 0 and high > 20 * usual:
        axes.set_xscale("symlog", linthresh=max(1.0, float(np.percentile(values, 25))))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlim(0, high * 1.4)
        axes.set_xlabel(f"{axes.get_xlabel()}, logarithmic for the large ones")
        return
    margin = 0.04 * ((high - low) or abs(high) or 1)
    axes.set_xlim(low - margin, high + margin)


def _explain_crosses(figure: Figure) -> None:
    mark = Line2D([], [], color="#b3261e", marker="x", linestyle="", markersize=4.5, markeredgewidth=1.2)
    figure.legend(
        [mark], ["no usable prediction: an empty mask"], loc="outside lower left", frameon=False, fontsize=7.5
    )


def _shorten(name: str, most: int = 26) -> str:
    """Long names lose their middle: beginning and end tell most."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def _quiet(axes: Axes) -> None:
    """Quiet axes whose writing is small, for two plots stand side by side."""
    quiet_axes(axes)
    axes.spines[["left", "bottom"]].set_color(SOFT)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK)
    axes.xaxis.label.set(fontsize=8, color=INK)
    axes.yaxis.label.set(fontsize=8, color=INK)
