"""Plots of the cases' scores: how they are distributed, and how measured volumes agree with true ones."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from caseunet.evaluation.rows import SCORED
from caseunet.evaluation.summary import EvaluationSummary
from caseunet.reporting.page.images import embed_svg
from caseunet.reporting.page.notes import heading_of
from caseunet.reporting.page.numbers import digits_of, format_interval, format_number
from caseunet.reporting.page.tables import Table, columns_of, iterate_samples, name_columns
from caseunet.reporting.style import ALERT, INK, PALETTE, SOFT, figure_style, shorten

WIDTH = 4.8
"""Inches. Two plots stand side by side on a screen, one on a telephone; their text can be read on both."""

MAX_PLOTS = 12
"""Plots of the agreement of volumes; their numbers are given for all."""

Plot = tuple[str, str]
"""A data URI, and what is seen."""


def distribution_plots(scored: pd.DataFrame, summary: EvaluationSummary) -> list[Plot]:
    """Box plots of the measure by which cases are ranked, and of the first one that is a length."""
    lengths = [name for name, measure in summary.columns.items() if measure.unit in ("mm", "px")]
    plots = []
    for column in dict.fromkeys([summary.ranked, *lengths]):
        if column in scored and np.isfinite(scored[column].astype(float)).any():
            label = heading_of(summary.columns[column])
            rows = scored[np.isfinite(scored[column].astype(float))]
            plots.append((embed_svg(draw_boxes(rows, summary, column)), f"Box plots of {label}."))
    return plots[:2]


@figure_style()
def draw_boxes(scored: pd.DataFrame, summary: EvaluationSummary, column: str) -> Figure:
    """A box plot of each structure and model, on the points that it is made of, from top to bottom."""
    samples = list(iterate_samples(scored, summary))
    models, label = [model.name for model in summary.models], heading_of(summary.columns[column])
    figure = Figure(figsize=(WIDTH, 0.34 * len(samples) + 0.9))
    axes = figure.subplots()
    values = [sample[column].to_numpy(float) for _, sample in samples]
    positions = range(len(samples))
    axes.boxplot(
        values,
        positions=positions,
        orientation="horizontal",
        showfliers=False,
        widths=0.56,
        medianprops={"color": INK},
    )
    random = np.random.default_rng(0)
    for y, (_, sample) in enumerate(samples):
        heights = y + random.uniform(-0.25, 0.25, len(sample))
        usable = (sample["status"] == SCORED).to_numpy()
        color = PALETTE[models.index(sample["model"].iloc[0]) % len(PALETTE)]
        axes.scatter(values[y][usable], heights[usable], s=9, color=color, alpha=0.6, linewidth=0, zorder=2)
        axes.scatter(values[y][~usable], heights[~usable], s=18, color=ALERT, marker="x", zorder=4)
    axes.set_yticks(positions, [shorten(", ".join(names), 32) for names, _ in samples])
    axes.set(xlabel=label, ylim=(len(samples) - 0.5, -0.5))
    together = np.concatenate(values)
    if together.min() >= 0 and together.max() > 20 * np.median(together) > 0:
        axes.set_xscale("symlog", linthresh=max(1.0, float(np.percentile(together, 25))))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlim=(0, 1.4 * together.max()), xlabel=f"{label}, logarithmic for the large ones")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", visible=False)
    return figure


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


def compare_volumes(scored: pd.DataFrame, summary: EvaluationSummary) -> tuple[list[Plot], Table | None]:
    """Plots of the agreement of volumes, and the numbers of all; of cases with a usable prediction and the structure.

    The table is None where no structure has three such cases.
    """
    if not {"reference_ml", "prediction_ml"} <= set(scored.columns):
        return [], None
    plots: list[Plot] = []
    rows = []
    for names, own in iterate_samples(scored, summary):
        reference, prediction = own["reference_ml"].to_numpy(float), own["prediction_ml"].to_numpy(float)
        used = (reference + prediction > 0) & (own["status"] == SCORED).to_numpy()
        limits = agreement(reference[used], prediction[used])
        if limits is None:
            continue
        title = ", ".join(names)
        digits = digits_of((limits.bias, limits.low, limits.high), "mL")
        bias, ends = format_number(limits.bias, digits), format_interval((limits.low, limits.high), digits)
        counts = f"{limits.n:,}", f"{len(own) - limits.n:,}"
        rows.append([*names, *counts, bias, ends, format_number(limits.sd, digits)])
        if len(plots) < MAX_PLOTS:
            image = embed_svg(bland_altman(reference[used], prediction[used], limits, title))
            seen = f"Bland–Altman plot of the volume of {title}: bias {bias} mL, limits of agreement {ends} mL."
            plots.append((image, seen))
    headings = *name_columns(summary), "n", "left out", "bias", "limits of agreement", "sd"
    caption = "Volumes in mL, prediction − reference."
    return plots, Table(caption, columns_of(*headings, text=("model",)), [("", rows)], "short") if rows else None


@figure_style()
def bland_altman(reference: np.ndarray, prediction: np.ndarray, limits: Agreement, title: str) -> Figure:
    """Differences of volumes in millilitres (n,) against their means, with bias and limits of agreement."""
    figure = Figure(figsize=(WIDTH, 3.0))
    axes = figure.subplots()
    axes.axhline(0, color=SOFT, linewidth=0.8, linestyle=":")
    axes.axhline(limits.bias, color=INK, linewidth=1.1, label="bias")
    for end in (limits.low, limits.high):
        axes.axhline(end, color=INK, linewidth=1.1, linestyle="--", label="± 1.96 sd" if end == limits.low else None)
    axes.scatter((reference + prediction) / 2, prediction - reference, s=12, color=PALETTE[0], alpha=0.7, linewidth=0)
    axes.set_title(shorten(title), loc="left", weight="bold")
    axes.set(xlabel="mean of reference and prediction (mL)", ylabel="prediction − reference (mL)")
    figure.legend(loc="outside lower center", ncols=2)
    return figure
