"""Figures of a study: accuracy against time, and the scores of single seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log10, sqrt
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from caseunet.reporting.figures import FAINT, INK
from caseunet.reporting.plots import PALETTE, SOFT
from caseunet.reporting.study_tables import cost_of, order_structures, ranking
from caseunet.studies.summary import ModelScore, StudySummary

WIDTH = 7.2
"""Inches: the text width of a printed page, on which eight points can be read."""
FRONT, OTHER = PALETTE[0], PALETTE[5]
LARGEST, SMALLEST = 300.0, 9.0
"""Square points of the largest network's mark, and of the smallest mark that can be seen."""
MAX_LABEL = 32
FAR = 3.0
"""A model that lies so many times the others' own height below them is told in words: it would flatten them."""

ANGLES = np.deg2rad([0, 30, -30, 60, -60, 90, -90, 180, 150, -150, 120, -120, 12, -12, 168, -168])
"""Where a name may stand, seen from its mark, the best place first."""
GAPS = (3.0, 7.0, 12.0, 18.0, 26.0, 36.0, 48.0, 62.0, 78.0, 96.0, 116.0, 140.0)
"""Points between a mark and its name."""
LED = 10.0
"""Points from which on a line leads from the mark to the name."""
ON_NAME, ON_MARK, BY_MARK, ON_LINE, CROSSING, OUTSIDE = 1000.0, 300.0, 20.0, 4.0, 100.0, 5000.0
"""How many points farther off a name would rather be than cover another one or a mark, stand by a mark that is not its
own, cover a piece of a bar, have a line to a name run through it or through a mark, or leave the plot."""
NEAR = 4.0
"""Points within which a name stands by a mark."""


@dataclass(frozen=True)
class Point:
    """A model that has a score: milliseconds, the mean with its interval and seeds, parameters."""

    name: str
    milliseconds: float
    parameters: int
    mean: float
    score: ModelScore

    @property
    def known(self) -> list[float]:
        """The scores of the seeds."""
        return [value for value in self.score.per_seed if value is not None]


def points_of(summary: StudySummary) -> list[Point]:
    """The models that have both a score over all structures and a cost."""
    points = []
    for name in summary.models:
        score, cost = summary.score(name), cost_of(summary, name)
        if score.mean is not None and cost is not None:
            points.append(Point(name, cost.milliseconds, cost.parameters, score.mean, score))
    return points


def pareto(points: Sequence[Point]) -> list[Point]:
    """Those that no other one beats by being faster and no worse, or better and no slower; from fast to slow."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.milliseconds, -point.mean)):
        if (
            not front
            or point.mean > front[-1].mean
            or (point.milliseconds, point.mean) == (front[-1].milliseconds, front[-1].mean)
        ):
            front.append(point)
    return front


def near_and_far(points: Sequence[Point]) -> tuple[list[Point], list[Point]]:
    """Those that are drawn, and the lowest ones if they are told in words; both in their order.

    Three and half of all are drawn at least."""
    ranked = sorted(points, key=lambda point: -point.mean)
    for n in range(max(3, (len(ranked) + 1) // 2), len(ranked)):
        values = [value for p in ranked[:n] for value in _values(p)]
        if ranked[n - 1].mean - ranked[n].mean > FAR * (max(values) - min(values)) > 0:
            near = ranked[:n]
            return [p for p in points if p in near], [p for p in points if p not in near]
    return list(points), []


def _values(point: Point) -> list[float]:
    return [point.mean, *point.known, *(point.score.interval or ())]


def accuracy_latency(summary: StudySummary) -> Figure:
    """The mean over all structures against the milliseconds of one image; the area of a mark tells the parameters."""
    # At 72 dpi a pixel is a point, in which marks and letters are measured.
    figure = Figure(figsize=(WIDTH, 4.5), dpi=72)
    axes = figure.add_axes((0.1, 0.115, 0.88, 0.785))
    points, unit = points_of(summary), summary.measure.unit
    structures = order_structures(summary)
    over = "mean over all structures" if len(structures) > 1 else structures[0]
    _label(
        axes,
        f"time for one image of {summary.size[0]} × {summary.size[1]} pixels (ms, logarithmic)",
        f"{summary.measure.label}{f' ({unit})' if unit else ''}, {over}",
    )
    if not points:
        axes.text(0.5, 0.5, "No model has a score.", ha="center", color=SOFT, transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
        return figure
    points, far = near_and_far(points)
    _limit(axes, points)
    front = pareto(points)
    if len(front) > 1:
        line: dict[str, Any] = {"color": FRONT, "linewidth": 0.9, "alpha": 0.7, "zorder": 1}
        axes.plot([p.milliseconds for p in front], [p.mean for p in front], **line)
    for point in points:
        _mark(axes, point, _area(point, points), FRONT if point in front else OTHER)
    _explain(figure, points, len(front) > 1)
    if far:
        told = ", ".join(f"{_shorten(p.name)} {p.mean:.3g} ({p.milliseconds:.3g} ms)" for p in far)
        text: dict[str, Any] = {"fontsize": 8, "color": SOFT, "parse_math": False, "transform": axes.transAxes}
        axes.text(0.012, 0.02, f"far below: {told}", **text)
    for placed in place_names(figure, axes, points):
        placed.draw(axes)
    return figure


def seed_strips(summary: StudySummary) -> Figure:
    """A panel for each structure, in it a row for each model, best first, with a dot for each seed and a line for
    their mean."""
    structures, models = order_structures(summary), ranking(summary)
    columns = min(3, len(structures))
    rows = -(-len(structures) // columns)
    figure = Figure(figsize=(WIDTH, rows * (0.21 * len(models) + 0.6) + 0.25), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in list(grid.flat)[len(structures) :]:
        axes.set_visible(False)
    for axes, structure in zip(grid.flat, structures, strict=False):
        for y, name in enumerate(models):
            known = [value for value in summary.score(name, structure).per_seed if value is not None]
            axes.plot(known, [y] * len(known), "o", color=FRONT, markersize=4.5, markeredgewidth=0, alpha=0.6)
            if known:
                axes.vlines(sum(known) / len(known), y - 0.32, y + 0.32, color=INK, linewidth=1.4)
        axes.set_title(_shorten(structure), fontsize=8.5, color=INK, loc="left", weight="bold", parse_math=False)
        axes.set_ylim(len(models) - 0.5, -0.5)
        axes.set_yticks(range(len(models)), [_shorten(name) for name in models], parse_math=False)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.margins(x=0.08)
        _quiet(axes)
        axes.tick_params(axis="y", length=0)
    unit = f" ({summary.measure.unit})" if summary.measure.unit else ""
    figure.supxlabel(f"{summary.measure.label}{unit}, mean over cases", fontsize=8, color=INK, parse_math=False)
    return figure


# --- what is drawn of a model


def _mark(axes: Axes, point: Point, area: float, color: str) -> None:
    x = point.milliseconds
    if point.score.interval is not None:
        axes.vlines(x, *point.score.interval, color=color, linewidth=1.1, alpha=0.55, zorder=2)
    face: dict[str, Any] = {"facecolor": color, "edgecolor": color, "linewidth": 0.8}
    axes.scatter([x], [point.mean], s=area, alpha=0.55, zorder=3, **face)
    if len(point.known) > 1:
        axes.scatter([x] * len(point.known), point.known, s=7, color=INK, alpha=0.45, linewidth=0, zorder=4)


def _area(point: Point, points: Sequence[Point]) -> float:
    """Square points, in proportion to the parameters."""
    return max(SMALLEST, LARGEST * point.parameters / max(1, max(p.parameters for p in points)))


def _limit(axes: Axes, points: Sequence[Point]) -> None:
    """Some room on all sides, the most on the right, where most names stand; ticks at round numbers."""
    times = [point.milliseconds for point in points]
    low, high = log10(min(times)), log10(max(times))
    span = max(high - low, 0.3)
    left, right = 10 ** (low - 0.12 * span), 10 ** (high + 0.3 * span)
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.xaxis.set_major_locator(FixedLocator(_round_numbers(left, right)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:,.4g}")
    values = [value for p in points for value in _values(p)]
    bottom, top = min(values), max(values)
    margin = 0.07 * ((top - bottom) or abs(top) or 1)
    axes.set_ylim(bottom - margin, top + margin)


def _round_numbers(low: float, high: float) -> list[float]:
    """At least four numbers of few digits between two positive ones, spread evenly on a log axis if they can."""
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        steps = range(int(np.floor(log10(low))), int(np.ceil(log10(high))) + 1)
        found = [digit * 10.0**step for step in steps for digit in digits if low <= digit * 10.0**step <= high]
        if len(found) >= 4:
            return found
    return [float(tick) for tick in MaxNLocator(6).tick_values(low, high) if low <= tick <= high]


def _explain(figure: Figure, points: Sequence[Point], has_front: bool) -> None:
    """A row above the plot: what the marks mean."""
    largest = max(point.parameters for point in points)
    smallest = min(point.parameters for point in points)
    sizes = dict.fromkeys(_one_digit(size) for size in (smallest, sqrt(smallest * largest), largest))
    dot: dict[str, Any] = {"linestyle": "", "marker": "o", "markeredgewidth": 0}
    marks = []
    for size in sizes:
        width = sqrt(max(SMALLEST, LARGEST * size / max(1, largest)))
        text = f"{_millions(size)} parameters" if size == max(sizes) else _millions(size)
        marks.append(Line2D([], [], color=OTHER, alpha=0.55, markersize=width, label=text, **dot))
    if any(len(point.known) > 1 for point in points):
        marks.append(Line2D([], [], color=INK, alpha=0.45, markersize=sqrt(7), label="one seed", **dot))
    if any(point.score.interval for point in points):
        bar: dict[str, Any] = {"linestyle": "", "marker": "|", "markersize": 12}
        marks.append(Line2D([], [], color=OTHER, label="95 % interval", **bar))
    if has_front:
        marks.append(Line2D([], [], color=FRONT, linewidth=0.9, label="Pareto front"))
    figure.legend(
        handles=marks,
        loc="upper left",
        bbox_to_anchor=(0.09, 0.99),
        ncols=len(marks),
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        handletextpad=0.5,
        columnspacing=1.3,
    )


def _one_digit(value: float) -> float:
    step = 10.0 ** np.floor(log10(max(1.0, value)))
    return float(round(value / step) * step)


def _millions(parameters: float) -> str:
    return f"{parameters / 1e6:g} M" if parameters >= 1e4 else f"{parameters:,.0f}"


# --- names beside marks


@dataclass(frozen=True)
class Placed:
    """A name and where it stands, all in points from the lower left corner of the figure.

    Attributes:
        at: the centre of the mark.
        box: of the text: left, bottom, right, top.
        line: from the mark's edge to the text; None where it stands close by.
    """

    text: str
    point: Point
    at: tuple[float, float]
    box: tuple[float, float, float, float]
    line: tuple[tuple[float, float], tuple[float, float]] | None

    def draw(self, axes: Axes) -> None:
        where: dict[str, Any] = {
            "xy": (self.point.milliseconds, self.point.mean),
            "textcoords": "offset points",
            "zorder": 5,
        }
        middle = (self.box[0] + self.box[2]) / 2 - self.at[0], (self.box[1] + self.box[3]) / 2 - self.at[1]
        text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "color": INK, "parse_math": False}
        halo = [withStroke(linewidth=2, foreground="white")]
        axes.annotate(self.text, xytext=middle, path_effects=halo, **where, **text)
        if self.line is not None:
            ends = axes.transData.inverted().transform(self.line)
            axes.plot(ends[:, 0], ends[:, 1], color=SOFT, linewidth=0.6, zorder=2.5)


def place_names(figure: Figure, axes: Axes, points: Sequence[Point]) -> list[Placed]:
    """Find a place for each name where it covers little; one after the other, the most crowded marks first.

    Args:
        figure: of 72 dpi.
        axes: with their final limits.
        points: marks that have been drawn.
    """
    centres = axes.transData.transform([(p.milliseconds, p.mean) for p in points])
    radii = np.array([sqrt(_area(p, points)) / 2 for p in points])
    marks = np.concatenate([centres - radii[:, None], centres + radii[:, None]], axis=1)
    lines = _thin_boxes(axes, points)
    frame = axes.bbox.extents + np.array((2, 2, -2, -2))
    far = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    crowded = np.argsort(np.sort(far, axis=1)[:, : min(4, len(points))].sum(1), kind="stable")
    placed: dict[int, Placed] = {}
    for n in crowded:
        text = _shorten(points[n].name)
        boxes, gaps = _places(centres[n], radii[n], _extent(figure, text))
        starts, ends = _leaders(centres[n], radii[n], boxes)
        names = np.array([p.box for p in placed.values()]).reshape(-1, 4)
        other = np.delete(marks, n, axis=0)
        led = [_dots(*p.line) for p in placed.values() if p.line is not None]
        cost = gaps + np.arange(len(boxes)) % len(ANGLES) * 0.1
        cost += ON_NAME * _overlaps(boxes, names).sum(1) + ON_MARK * _overlaps(boxes, marks).sum(1)
        cost += BY_MARK * _overlaps(boxes, other + np.array((-NEAR, -NEAR, NEAR, NEAR))).sum(1)
        cost += ON_LINE * _overlaps(boxes, lines).sum(1)
        cost += OUTSIDE * ((boxes[:, :2] < frame[:2]).any(1) | (boxes[:, 2:] > frame[2:]).any(1))
        if led:
            cost += CROSSING * _overlaps(boxes, np.concatenate(led)).any(1)
        best, least = 0, np.inf
        for k in np.argsort(cost, kind="stable"):
            if cost[k] >= least:
                break  # a line to the name can only make it worse
            total = cost[k]
            if gaps[k] >= LED:
                way = _dots(starts[k], ends[k])
                total += CROSSING * _overlaps(way, np.concatenate([names, other])).any()
                total += ON_LINE * _overlaps(way, lines).any(1).sum()  # along its own bar it could not be seen
            if total < least:
                best, least = int(k), total
        line = (tuple(starts[best]), tuple(ends[best])) if gaps[best] >= LED else None
        placed[n] = Placed(text, points[n], tuple(centres[n]), tuple(boxes[best]), line)
    return [placed[n] for n in range(len(points))]


def _extent(figure: Figure, text: str) -> tuple[float, float]:
    """Width and height of a name in points."""
    artist = figure.text(0, 0, text, fontsize=8, parse_math=False)
    box = artist.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    artist.remove()
    return float(box.width) + 5, float(box.height) + 1


def _places(centre: np.ndarray, radius: float, extent: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes where a name of some width and height may stand, (n, 4), and their distances from the mark, (n,)."""
    directions = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
    half = np.array(extent) / 2
    boxes = []
    for gap in GAPS:
        middles = centre + directions * (radius + gap + half)
        boxes.append(np.concatenate([middles - half, middles + half], axis=1))
    return np.concatenate(boxes), np.repeat(GAPS, len(ANGLES))


def _leaders(centre: np.ndarray, radius: float, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From the edge of the mark to the nearest point of each box, (n, 2) each."""
    ends = np.clip(centre, boxes[:, :2], boxes[:, 2:])
    ways = ends - centre
    lengths = np.maximum(np.linalg.norm(ways, axis=1, keepdims=True), 1e-9)
    return centre + ways * np.minimum(1, radius / lengths), ends


def _thin_boxes(axes: Axes, points: Sequence[Point]) -> np.ndarray:
    """What names had better not cover: the dots of the seeds, and in pieces the bars and the Pareto front, (n, 4)."""
    dots = [(p.milliseconds, value) for p in points for value in p.known]
    bars = [
        ((p.milliseconds, low), (p.milliseconds, high))
        for p in points
        if p.score.interval
        for low, high in [p.score.interval]
    ]
    steps = [((a.milliseconds, a.mean), (b.milliseconds, b.mean)) for a, b in pairwise(pareto(points))]
    at = axes.transData.transform(dots)
    drawn = [axes.transData.transform(ends) for ends in bars + steps]
    ways = [np.linspace(start, end, 40) for start, end in drawn]
    at = np.concatenate([at, *ways])
    return np.concatenate([at - 1.5, at + 1.5], axis=1)


def _dots(start: Sequence[float] | np.ndarray, end: Sequence[float] | np.ndarray) -> np.ndarray:
    """A line as small boxes, (n, 4)."""
    at = np.linspace(np.asarray(start), np.asarray(end), 20)
    return np.concatenate([at - 0.5, at + 0.5], axis=1)


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether boxes (n, 4) and others (m, 4) overlap, (n, m)."""
    apart = (boxes[:, None, :2] >= others[None, :, 2:]) | (boxes[:, None, 2:] <= others[None, :, :2])
    return np.asarray(~apart.any(2))


def _shorten(name: str) -> str:
    """Long names lose their middle: beginning and end tell most."""
    name = " ".join(name.split())
    half = MAX_LABEL // 2
    return name if len(name) <= MAX_LABEL else f"{name[: half - 1]}…{name[-half:]}"


def _label(axes: Axes, x: str, y: str) -> None:
    _quiet(axes)
    axes.set_xlabel(x, fontsize=8.5, color=INK, parse_math=False)
    axes.set_ylabel(y, fontsize=8.5, color=INK, parse_math=False)


def _quiet(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SOFT)
    axes.grid(color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=INK)
