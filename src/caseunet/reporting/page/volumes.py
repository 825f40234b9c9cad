"""How measured volumes agree with true ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from caseunet.evaluation.rows import SCORED, rows_of
from caseunet.evaluation.summary import EvaluationSummary
from caseunet.progress import count_text
from caseunet.reporting.page.images import Plot, embed_svg
from caseunet.reporting.page.numbers import digits_of, format_interval, format_number
from caseunet.reporting.page.tables import Table, columns_of
from caseunet.reporting.plots import Agreement, agreement, bland_altman
from caseunet.reporting.style import PALETTE

MAX_PLOTS = 12
"""Plots of the agreement of volumes; their numbers are given for all."""


@dataclass(frozen=True)
class Volumes:
    """How the volumes of a structure agree, for one model.

    Attributes:
        model, structure: whose volumes.
        usable: of the cases with a usable prediction; None with fewer than three.
        all: with the other cases too, as empty masks; None where there are no others.
        absent: cases that have the structure in neither mask, and are left out.
        plot: of the first; None beyond the first plots.
    """

    model: str
    structure: str
    usable: Agreement | None
    all: Agreement | None
    absent: int
    plot: Plot | None


def volumes_of(scored: pd.DataFrame, summary: EvaluationSummary, colors: dict[str, str]) -> list[Volumes]:
    if not {"reference_ml", "prediction_ml"} <= set(scored.columns):
        return []
    found: list[Volumes] = []
    several = len(summary.models) > 1
    for structure, color in colors.items():
        for n, model in enumerate(summary.models):
            rows = rows_of(scored, model.name, structure).dropna(subset=["reference_ml", "prediction_ml"])
            there = rows[(rows["reference_ml"] > 0) | (rows["prediction_ml"] > 0)]
            predicted = there[there["status"] == SCORED]
            of_all, of_predicted = (_agreement(table) for table in (there, predicted))
            if of_all is None:
                continue
            plot = None
            if of_predicted is not None and len(found) < MAX_PLOTS:
                title = f"{structure}, {model.name}" if several else structure
                plot = _agreement_plot(predicted, of_predicted, PALETTE[n % len(PALETTE)] if several else color, title)
            others = of_all if len(there) > len(predicted) else None
            found.append(Volumes(model.name, structure, of_predicted, others, len(rows) - len(there), plot))
    return found


def _agreement(rows: pd.DataFrame) -> Agreement | None:
    return agreement(rows["reference_ml"].to_numpy(float), rows["prediction_ml"].to_numpy(float))


def _agreement_plot(rows: pd.DataFrame, limits: Agreement, color: str, title: str) -> Plot:
    reference, prediction = rows["reference_ml"].to_numpy(float), rows["prediction_ml"].to_numpy(float)
    digits = digits_of((limits.bias, limits.low, limits.high), "mL")
    return Plot(
        source=embed_svg(bland_altman(reference, prediction, limits, color, title)),
        alt=f"Bland–Altman plot of the volume of {title}: bias {format_number(limits.bias, digits)} mL, limits of "
        f"agreement {format_interval((limits.low, limits.high), digits)} mL, {count_text(limits.n, 'case')}.",
    )


def agreement_table(volumes: Sequence[Volumes], several: bool) -> Table:
    rows = []
    for row in volumes:
        usable = "with a usable prediction" if row.all else "all"
        for cases, limits in ((usable, row.usable), ("all, the others as empty masks", row.all)):
            if limits is not None:
                ends = limits.low, limits.high
                digits = digits_of((limits.bias, *ends), "mL")
                cells = [row.structure, *([row.model] if several else []), cases, f"{limits.n:,}"]
                cells += [format_number(limits.bias, digits), format_interval(ends, digits)]
                rows.append([*cells, format_number(limits.sd, digits), f"{row.absent:,}"])
    names = ["structure", *(["model"] if several else []), "cases", "n", "bias", "limits of agreement", "sd"]
    columns = columns_of(*names, "absent, left out", text=("model", "cases"))
    return Table("Volumes in mL, prediction − reference.", columns, [("", rows)], "short")
