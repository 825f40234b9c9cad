"""The table of cases."""

import pandas as pd

from caseunet.evaluation.rows import MISSING, SCORED, UNUSABLE
from caseunet.evaluation.summary import EvaluationSummary
from caseunet.reporting.page.notes import key_of, notes_of
from caseunet.reporting.page.numbers import format_column, format_number
from caseunet.reporting.page.tables import Table

MAX_TABLE_ROWS = 2000
"""Of cases.csv that the page shows."""


def case_table(scored: pd.DataFrame, summary: EvaluationSummary) -> Table:
    """All rows as they stand, or the lowest ones first if they are too many; columns without any value are left out."""
    rows = scored if len(scored) <= MAX_TABLE_ROWS else _lowest_first(scored, summary).head(MAX_TABLE_ROWS)
    columns: list[tuple[str, int | None, bool, list[str]]]
    columns = [("case", None, False, [str(case) for case in rows["case"]])]
    if len(summary.models) > 1:
        columns.append(("model", None, False, [str(name) for name in rows["model"]]))
    if rows["slice"].notna().any():
        columns.append(("slice", None, True, [format_number(number, 0) for number in rows["slice"]]))
    if (scored["group"].astype(str) != scored["case"].astype(str)).any():
        columns.append(("group", None, False, [str(group) for group in rows["group"]]))
    columns.append(("structure", None, False, [str(name) for name in rows["structure"]]))
    columns.append(("status", None, False, [str(status) for status in rows["status"]]))
    notes = notes_of(summary)
    absent = []
    for name, measure in summary.columns.items():
        if name not in scored or scored[name].isna().all():
            absent.append(measure.label)
            continue
        heading = f"{measure.label} ({measure.unit})" if measure.unit else measure.label
        columns.append((heading, notes[key_of(measure)].number, True, format_column(rows[name], measure.unit)))
    if "reference_ml" not in scored or scored["reference_ml"].isna().all():
        for name, heading in (("reference_pixels", "reference pixels"), ("prediction_pixels", "predicted pixels")):
            columns.append((heading, None, True, [format_number(float(number), 0) for number in rows[name]]))
    return Table(
        columns=tuple(column[:3] for column in columns),
        rows=tuple(zip(*(column[3] for column in columns), strict=True)),
        total=len(scored),
        marked=tuple(status != SCORED for status in rows["status"]),
        absent=tuple(absent),
    )


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
    for n, (heading, _, _) in enumerate(table.columns):
        there = {row[n] for row in table.rows} if heading in orders else set()
        if len(there) > 1:
            found.append((n, heading, [choice for choice in orders[heading] if choice in there]))
    return found
