"""Plots of how the scores of the cases are distributed."""

import numpy as np
import pandas as pd

from caseunet.evaluation.rows import SCORED, rows_of
from caseunet.evaluation.summary import EvaluationSummary
from caseunet.progress import count_text
from caseunet.reporting.page.images import Plot, embed_svg
from caseunet.reporting.page.numbers import digits_of, format_interval, format_number
from caseunet.reporting.plots import PlottedSample, distributions
from caseunet.reporting.style import PALETTE


def distribution_plots(scored: pd.DataFrame, summary: EvaluationSummary, colors: dict[str, str]) -> list[Plot]:
    """Of the measure by which cases are ranked, and of the first one that is a length."""
    lengths = [name for name, measure in summary.columns.items() if measure.unit in ("mm", "px")]
    plots = []
    for column in dict.fromkeys([summary.ranked, *lengths]):
        samples = _samples(scored, summary, colors, column) if column in scored else []
        if not samples:
            continue
        measure = summary.columns[column]
        label = f"{measure.label} ({measure.unit})" if measure.unit else measure.label
        values = scored[column].dropna()
        share = not measure.unit and bool(values.between(0, 1).all())
        plots.append(
            Plot(
                source=embed_svg(distributions(samples, label, share)),
                alt=f"Box plots of {label}. " + " ".join(_describe(sample, measure.unit) for sample in samples),
                notes=tuple(_outliers(sample, measure.unit) for sample in samples if sample.outliers()),
            )
        )
        if len(plots) == 2:
            break
    return plots


def _samples(
    scored: pd.DataFrame, summary: EvaluationSummary, colors: dict[str, str], column: str
) -> list[PlottedSample]:
    several = len(summary.models) > 1
    samples = []
    for structure, color in colors.items():
        for n, model in enumerate(summary.models):
            rows = rows_of(scored, model.name, structure)
            rows = rows[np.isfinite(rows[column].to_numpy(float))]
            if len(rows):
                samples.append(
                    PlottedSample(
                        structure=structure,
                        model=model.name if several else "",
                        color=PALETTE[n % len(PALETTE)] if several else color,
                        values=rows[column].to_numpy(float),
                        cases=_names(rows),
                        empty=(rows["status"] != SCORED).to_numpy(),
                    )
                )
    return samples


def _names(rows: pd.DataFrame) -> list[str]:
    """ "case", or "case, slice 3" where slices are scored."""
    return [
        str(case) if pd.isna(number) else f"{case}, slice {int(number)}"
        for case, number in zip(rows["case"], rows["slice"], strict=True)
    ]


def _describe(sample: PlottedSample, unit: str) -> str:
    digits = digits_of(sample.values, unit)
    first, median, third = np.percentile(sample.values, [25, 50, 75])
    return (
        f"{sample.title}: median {format_number(median, digits)}, quartiles {format_interval((first, third), digits)}, "
        f"{count_text(len(sample.values), 'value')}."
    )


def _outliers(sample: PlottedSample, unit: str) -> str:
    """All by name where they are few, else how many there are and the two farthest."""
    found = sample.outliers()
    digits = digits_of([value for _, value in found], unit)
    named = [f"{name} ({format_number(value, digits)})" for name, value in found]
    if len(found) <= 5:
        return f"{sample.title}: {', '.join(named)}"
    return f"{sample.title}: {len(found):,}, of them {named[0]} and {named[1]}"
