"""Figures of a study: accuracy against time, and the scores of single seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from caseunet.reporting.study_tables import cost_of, order_structures, ranking
from caseunet.reporting.style import INK, PAGE_WIDTH, PALETTE, SOFT, figure_style, shorten
from caseunet.studies.summary import ModelScore, StudySummary

FRONT, OTHER = PALETTE[0], PALETTE[5]
MAX_AREA, MIN_AREA = 300.0, 9.0
"""Square points of the largest network's mark, and of the smallest mark that can be seen."""
MAX_LABEL = 32
FAR = 3.0
"""A model that lies so many times the others' own height below them is told in words: it would flatten them."""


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
    return [
        p
        for p in sorted(points, key=lambda p: (p.milliseconds, -p.mean))
        if not any(
            (q.milliseconds < p.milliseconds and q.mean >= p.mean)
            or (q.milliseconds <= p.milliseconds and q.mean > p.mean)
            for q in points
        )
    ]


def near_and_far(points: Sequence[Point]) -> tuple[list[Point], list[Point]]:
    """Those that are drawn, and those so far below the better half that they are told in words; both in their order."""
    upper = sorted(points, key=lambda point: -point.mean)[: max(3, (len(points) + 1) // 2)]
    values = [v for p in upper for v in (p.mean, *p.known, *(p.score.interval or ()))]
    reach = FAR * (max(values) - min(values)) or np.inf
    far = [p for p in points if upper[-1].mean - p.mean > reach]
    return [p for p in points if p not in far], far


@figure_style()
def accuracy_latency(summary: StudySummary) -> Figure:
    """The mean over all structures against the milliseconds of one image; the area of a mark tells the parameters.

    The names stand beside the plot from the highest mean to the lowest, each joined to its mark."""
    points = points_of(summary)
    figure = Figure(figsize=(PAGE_WIDTH, max(4.2, 0.2 * len(points))))
    axes = figure.subplots()
    structures, unit = order_structures(summary), summary.measure.unit
    over = "mean over all structures" if len(structures) > 1 else structures[0]
    axes.set_xlabel(f"time for one image of {summary.size[0]} × {summary.size[1]} pixels (ms, logarithmic)")
    axes.set_ylabel(f"{summary.measure.label}{f' ({unit})' if unit else ''}, {over}")
    if not points:
        axes.text(0.5, 0.5, "No model has a score.", ha="center", color=SOFT, transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
        return figure
    points, far = near_and_far(points)
    front = pareto(points)
    if len(front) > 1:
        axes.plot([p.milliseconds for p in front], [p.mean for p in front], color=FRONT, linewidth=0.9, alpha=0.7)
    for p in points:
        if p.score.interval is not None:
            axes.vlines(p.milliseconds, *p.score.interval, color=SOFT, linewidth=1.1, alpha=0.55, zorder=2)
        if len(p.known) > 1:
            axes.scatter([p.milliseconds] * len(p.known), p.known, s=7, color=INK, alpha=0.45, linewidth=0, zorder=4)
    largest = max(1, *(p.parameters for p in points))
    marks = axes.scatter(
        [p.milliseconds for p in points],
        [p.mean for p in points],
        s=[max(MIN_AREA, MAX_AREA * p.parameters / largest) for p in points],
        c=[FRONT if p in front else OTHER for p in points],
        alpha=0.55,
        zorder=3,
    )
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.07)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:,.4g}")
    millions = largest / MAX_AREA / 1e6
    sizes, names = marks.legend_elements("sizes", 3, "{x:g} M", lambda area: np.asarray(area) * millions, color=OTHER)
    dot, line = Line2D([], [], color=INK, alpha=0.45, marker=".", linestyle=""), Line2D([], [], color=SOFT, marker="|")
    line.set(linestyle="", markersize=12)
    if any(len(p.known) > 1 for p in points):
        sizes, names = [*sizes, dot], [*names, "one seed"]
    if any(p.score.interval for p in points):
        sizes, names = [*sizes, line], [*names, "95 % interval"]
    if len(front) > 1:
        sizes, names = [*sizes, Line2D([], [], color=FRONT, linewidth=0.9)], [*names, "Pareto front"]
    figure.legend(sizes, names, title="parameters:", alignment="left", loc="outside upper left", ncols=len(names))
    if far:
        told = "\n".join(f"far below: {_short(p.name)} {p.mean:.3g} ({p.milliseconds:.3g} ms)" for p in far)
        axes.text(0.012, 0.02, told, color=SOFT, transform=axes.transAxes)
    name_beside(axes, points)
    return figure


def name_beside(axes: Axes, points: Sequence[Point]) -> None:
    """Write the names in a column to the right of the plot, as near to the height of their marks as there is room."""
    points = sorted(points, key=lambda point: point.mean)
    bottom, top = axes.get_ylim()
    heights = np.array([(p.mean - bottom) / (top - bottom) for p in points])
    gap = min(0.045, 1 / len(points))
    steps = np.arange(len(points)) * gap
    heights = np.maximum.accumulate(heights - steps) + steps
    heights = np.minimum(heights, 1 - steps[::-1])  # what was pushed out above comes down again
    for p, height in zip(points, heights, strict=True):
        axes.annotate(
            _short(p.name),
            (p.milliseconds, p.mean),
            (1.02, height),
            textcoords="axes fraction",
            va="center",
            arrowprops={"arrowstyle": "-", "color": SOFT, "linewidth": 0.5, "alpha": 0.6, "relpos": (0, 0.5)},
        )


@figure_style()
def seed_strips(summary: StudySummary) -> Figure:
    """A panel for each structure, in it a row for each model, best first, with a dot for each seed and a line for
    their mean."""
    structures, models = order_structures(summary), ranking(summary)
    columns = min(3, len(structures))
    rows = -(-len(structures) // columns)
    figure = Figure(figsize=(PAGE_WIDTH, rows * (0.21 * len(models) + 0.6) + 0.25))
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(structures) :]:
        axes.set_visible(False)
    for axes, structure in zip(grid.flat, structures, strict=False):
        for y, name in enumerate(models):
            known = [value for value in summary.score(name, structure).per_seed if value is not None]
            axes.plot(known, [y] * len(known), "o", color=PALETTE[0], markersize=4.5, markeredgewidth=0, alpha=0.6)
            if known:
                axes.vlines(sum(known) / len(known), y - 0.32, y + 0.32, color=INK, linewidth=1.4)
        axes.set_title(_short(structure), loc="left", weight="bold")
        axes.set_ylim(len(models) - 0.5, -0.5)
        axes.set_yticks(range(len(models)), [_short(name) for name in models])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.margins(x=0.08)
        axes.tick_params(axis="y", length=0)
    unit = f" ({summary.measure.unit})" if summary.measure.unit else ""
    figure.supxlabel(f"{summary.measure.label}{unit}, mean over cases", fontsize=8)
    return figure


def _short(name: str) -> str:
    return shorten(name, MAX_LABEL)
