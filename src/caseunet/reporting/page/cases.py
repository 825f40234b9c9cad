"""The table of cases."""

from collections.abc import Iterable

import pandas as pd

from caseunet.evaluation.rows import MISSING, SCORED, UNUSABLE
from caseunet.evaluation.summary import EvaluationSummary, Measure
from caseunet.reporting.page.notes import key_of, notes_of
from caseunet.reporting.page.numbers import format_column, format_number
from caseunet.reporting.page.tables import Column, Table, columns_of

MAX_TABLE_ROWS = 2000
"""Of cases.csv that the page shows."""


def case_table(scored: pd.DataFrame, summary: EvaluationSummary) -> Table:
    """All rows as they stand, or the lowest ones first if they are too many; columns without any value are left out."""
    rows = scored if len(scored) <= MAX_TABLE_ROWS else _lowest_first(scored, summary).head(MAX_TABLE_ROWS)
    named = {"case": rows["case"], "model": rows["model"], "slice": rows["slice"], "group": rows["group"]}
    named |= {"structure": rows["structure"], "status": rows["status"]}
    needed = {
        "model": len(summary.models) > 1,
        "slice": rows["slice"].notna().any(),
        "group": (scored["group"].astype(str) != scored["case"].astype(str)).any(),
    }
    columns = columns_of(*(name for name in named if needed.get(name, True)), text=set(named) - {"slice"})
    named["slice"] = rows["slice"].map(lambda number: format_number(number, 0))
    cells: list[Iterable[object]] = [named[column.heading] for column in columns]
    notes = notes_of(summary)
    for name, measure in summary.columns.items():
        if name not in absent_columns(scored, summary):
            columns.append(Column(heading_of(measure), note=notes[key_of(measure)].number))
            cells.append(format_column(rows[name], measure.unit))
    if "reference_ml" not in scored or scored["reference_ml"].isna().all():
        for name, heading in (("reference_pixels", "reference pixels"), ("prediction_pixels", "predicted pixels")):
            columns.append(Column(heading))
            cells.append([format_number(float(number), 0) for number in rows[name]])
    return Table(
        caption=f"Scores of each {'slice' if needed['slice'] else 'case'} and structure.",
        columns=columns,
        groups=[("", [tuple(map(str, row)) for row in zip(*cells, strict=True)])],
        classes="sortable cases",
        id="cases-table",
        marked={n for n, status in enumerate(rows["status"]) if status != SCORED},
    )


def heading_of(measure: Measure) -> str:
    return f"{measure.label} ({measure.unit})" if measure.unit else measure.label


def absent_columns(scored: pd.DataFrame, summary: EvaluationSummary) -> dict[str, str]:
    """The measures that no row has a value of: column and label."""
    return {
        name: measure.label
        for name, measure in summary.columns.items()
        if name not in scored or scored[name].isna().all()
    }


def _lowest_first(scored: pd.DataFrame, summary: EvaluationSummary) -> pd.DataFrame:
    """From the worst to the best; rows without a value come last."""
    if summary.ranked not in scored:
        return scored
    values = scored[summary.ranked].astype(float)
    better = summary.columns[summary.ranked].better
    badness = {"higher": -values, "lower": values, "nearer to 0": values.abs()}[better]
    return scored.loc[badness.sort_values(ascending=False, kind="stable", na_position="last").index]


def selects_of(table: Table, summary: EvaluationSummary) -> list[tuple[int, str, list[str]]]:
    """(column, heading, choices) by which the rows can be filtered."""
    orders = {
        "model": [model.name for model in summary.models],
        "structure": list(summary.structures),
        "status": [SCORED, MISSING, UNUSABLE],
    }
    found = []
    for n, heading in enumerate(column.heading for column in table.columns):
        there = {str(row[n]) for row in table.rows} if heading in orders else set()
        if len(there) > 1:
            found.append((n, heading, [choice for choice in orders[heading] if choice in there]))
    return found
