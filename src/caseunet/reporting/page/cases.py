"""The table of cases."""

from collections.abc import Iterable

import pandas as pd

from caseunet.evaluation.rows import SCORED
from caseunet.evaluation.summary import EvaluationSummary
from caseunet.reporting.page.notes import link_measure
from caseunet.reporting.page.numbers import format_column, format_number
from caseunet.reporting.page.tables import Column, Table, columns_of

MAX_TABLE_ROWS = 2000
"""Of cases.csv that the page shows."""


def case_table(scored: pd.DataFrame, summary: EvaluationSummary) -> Table:
    """All rows as they stand, or the worst ones first if they are too many; columns without any value are left out."""
    rows = scored if len(scored) <= MAX_TABLE_ROWS else _worst_first(scored, summary).head(MAX_TABLE_ROWS)
    named: dict[str, Iterable[object]] = {"case": rows["case"]}
    if len(summary.models) > 1:
        named["model"] = rows["model"]
    by_slice = rows["slice"].notna().any()
    if by_slice:
        named["slice"] = rows["slice"].map(lambda number: format_number(number, 0))
    if (scored["group"].astype(str) != scored["case"].astype(str)).any():
        named["group"] = rows["group"]
    named |= {"structure": rows["structure"], "status": rows["status"]}
    columns, cells = columns_of(*named, text=set(named) - {"slice"}), list(named.values())
    absent = find_absent(scored, summary)
    for name, measure in summary.columns.items():
        if measure.label not in absent:
            columns.append(Column(link_measure(summary, measure)))
            cells.append(format_column(rows[name], measure.unit))
    if "reference_ml" not in scored or scored["reference_ml"].isna().all():
        for name, heading in (("reference_pixels", "reference pixels"), ("prediction_pixels", "predicted pixels")):
            columns.append(Column(heading))
            cells.append([format_number(float(number), 0) for number in rows[name]])
    return Table(
        caption=f"Scores of each {'slice' if by_slice else 'case'} and structure.",
        columns=columns,
        groups=[("", [tuple(map(str, row)) for row in zip(*cells, strict=True)])],
        classes="sortable cases",
        id="cases-table",
        marked={n for n, status in enumerate(rows["status"]) if status != SCORED},
    )


def find_absent(scored: pd.DataFrame, summary: EvaluationSummary) -> list[str]:
    """The labels of measures that no row has a value of."""
    columns = summary.columns.items()
    return [measure.label for name, measure in columns if name not in scored or scored[name].isna().all()]


def _worst_first(scored: pd.DataFrame, summary: EvaluationSummary) -> pd.DataFrame:
    """From the worst to the best; rows without a value come last."""
    values = scored[summary.ranked].astype(float)
    better = summary.columns[summary.ranked].better
    badness = {"higher": -values, "lower": values, "nearer to 0": values.abs()}[better]
    return scored.loc[badness.sort_values(ascending=False, kind="stable", na_position="last").index]


def find_choices(table: Table) -> list[tuple[int, str, list[str]]]:
    """(column, heading, choices) by which the rows can be filtered."""
    found = []
    for n, heading in enumerate(column.heading for column in table.columns):
        choices = list(dict.fromkeys(str(row[n]) for row in table.rows))
        if heading in ("model", "structure", "status") and len(choices) > 1:
            found.append((n, heading, choices))
    return found
