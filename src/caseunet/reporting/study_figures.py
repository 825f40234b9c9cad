"""Figures of a study: accuracy against time, and the scores of single seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from caseunet.reporting.page.notes import heading_of
from caseunet.reporting.study_tables import cost_of, order_structures, ranking
from caseunet.reporting.style import INK, PAGE_WIDTH, PALETTE, SOFT, add_legend, figure_style
from caseunet.studies.summary import StudySummary

MAX_AREA, MIN_AREA = 300.0, 9.0
"""Square points of the largest network's mark, and of the smallest mark that can be seen."""
MARKERS = "osD^vPX"


@dataclass(frozen=True)
class Point:
    """A model that has a score and a cost."""

    name: str
    milliseconds: float
    parameters: int
    mean: float


def points_of(summary: StudySummary) -> list[Point]:
    """The models that have both a score over all structures and a cost, from the highest mean to the lowest."""
    points = []
    for name in ranking(summary):
        mean, cost = summary.score(name).mean, cost_of(summary, name)
        if mean is not None and cost is not None:
            points.append(Point(name, cost.milliseconds, cost.parameters, mean))
    return points


def pareto(points: Sequence[Point]) -> list[Point]:
    """Those that no other one beats by being faster and no worse, or better and no slower; from fast to slow."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.milliseconds, -p.mean)):
        if not front or point.mean > front[-1].mean or _place(point) == _place(front[-1]):
            front.append(point)
    return front


def _place(point: Point) -> tuple[float, float]:
    return point.milliseconds, point.mean


@figure_style()
def accuracy_latency(summary: StudySummary) -> Figure:
    """The mean over all structures against the milliseconds of one image; the area of a mark tells the parameters."""
    points, structures = points_of(summary), order_structures(summary)
    figure = Figure(figsize=(PAGE_WIDTH, 4.2))
    axes = figure.subplots()
    over = "mean over all structures" if len(structures) > 1 else structures[0]
    axes.set_xlabel(f"time for one image of {summary.size[0]} × {summary.size[1]} pixels (ms, logarithmic)")
    axes.set_ylabel(f"{heading_of(summary.measure)}, {over}")
    front = pareto(points)
    axes.plot([p.milliseconds for p in front], [p.mean for p in front], color=SOFT, linewidth=0.9)
    largest = max((p.parameters for p in points), default=1)
    marks = []
    for n, p in enumerate(points):
        score, color = summary.score(p.name), PALETTE[n % len(PALETTE)]
        seeds = [value for value in score.per_seed if value is not None]
        if score.interval is not None:
            axes.vlines(p.milliseconds, *score.interval, color=color, linewidth=1.1, alpha=0.5)
        if len(seeds) > 1:
            axes.scatter([p.milliseconds] * len(seeds), seeds, s=7, color=INK, alpha=0.45, linewidth=0, zorder=4)
        area, marker = max(MIN_AREA, MAX_AREA * p.parameters / largest), MARKERS[n % len(MARKERS)]
        axes.scatter(p.milliseconds, p.mean, s=area, color=color, marker=marker, alpha=0.6, linewidth=0, zorder=3)
        marks += axes.plot([], [], marker, color=color, label=p.name)  # one size in the legend
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.07)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:,.4g}")
    add_legend(figure, marks)
    return figure
