"""Lesions: how many were found, by size too, and which were missed or false."""

import math
from itertools import pairwise

import pandas as pd
from markupsafe import Markup

from caseunet.evaluation.rows import SCORED
from caseunet.evaluation.summary import EvaluationSummary
from caseunet.reporting.page.numbers import format_column, format_number
from caseunet.reporting.page.tables import Table, columns_of, iterate_samples, name_columns

MAX_LESIONS = 50
"""Missed and false ones that the page lists."""

DIAMETERS = (0.0, 5.0, 10.0, 20.0, 40.0, math.inf)
"""Millimetres that part small lesions from large ones: of a ball of the lesion's volume."""


def totals_table(scored: pd.DataFrame, summary: EvaluationSummary) -> Table | None:
    """Lesions of all cases together; None where cases.csv counts none.

    Sensitivity is detected / reference, precision (predicted − false) / predicted, and
    F1 2 detected / (2 detected + false + missed).
    """
    columns = [f"lesions_{name}" for name in ("reference", "detected", "predicted", "false")]
    if not set(columns) <= set(scored.columns):
        return None
    rows = []
    for names, own in iterate_samples(scored.dropna(subset=columns), summary):  # some structures are no lesions
        reference, detected, predicted, false = (int(own[column].sum()) for column in columns)
        missed = reference - detected
        shares = detected / (reference or math.nan), (predicted - false) / (predicted or math.nan)
        f1 = 2 * detected / ((2 * detected + false + missed) or math.nan)
        counts = (f"{n:,}" for n in (reference, detected, missed, predicted, false))
        rows.append([*names, *counts, *(format_number(share, 3) for share in (*shares, f1))])
    headings = *name_columns(summary), "reference", "detected", "missed", "predicted", "false"
    columns_ = columns_of(*headings, "sensitivity", "precision", "F1", text=("model",))
    return Table("Lesions of all cases together.", columns_, [("", rows)], "short") if rows else None


def sizes_table(lesions: pd.DataFrame, summary: EvaluationSummary) -> Table | None:
    """Sensitivity by size; None where volumes are unknown."""
    meter = Markup('{0:.3f}<span class="meter" aria-hidden="true"><i style="width: {0:.1%}"></i></span>')
    rows = []
    for names, own in iterate_samples(lesions[lesions["mask"] == "reference"], summary):
        for low, high in pairwise(DIAMETERS):
            volumes = math.pi / 6 * low**3 / 1000, math.pi / 6 * high**3 / 1000
            inside = own[own["ml"].between(*volumes, inclusive="left")]
            if len(inside):
                found = int((inside["outcome"] == "detected").sum())
                cells = [*names, _format_span(low, high), _format_span(*volumes), f"{len(inside):,}", f"{found:,}"]
                rows.append([*cells, meter.format(found / len(inside))])
    headings = *name_columns(summary), "diameter (mm)", "volume (mL)", "reference", "detected", "sensitivity"
    columns = columns_of(*headings, text=("model", "sensitivity"))
    caption = "Lesions of the reference by their volume, and by the diameter of a ball of that volume."
    return Table(caption, columns, [("", rows)], "short") if rows else None


def _format_span(low: float, high: float) -> str:
    """ "under 5", "5 to 10", "from 40"."""
    if low == 0:
        return f"under {high:.2g}"
    return f"from {low:.2g}" if math.isinf(high) else f"{low:.2g} to {high:.2g}"


def wrong_table(lesions: pd.DataFrame, scored: pd.DataFrame, summary: EvaluationSummary) -> Table | None:
    """Missed and false ones, the largest first; those of cases without a usable prediction are marked."""
    wrong = find_wrong(lesions)
    if wrong.empty:
        return None
    rows = wrong.sort_values("voxels" if wrong["ml"].isna().any() else "ml", ascending=False, kind="stable")
    rows = rows.head(MAX_LESIONS)
    columns = {name: rows[name].astype(str) for name in ("case", "model", "structure", "outcome")}
    if len(summary.models) == 1:
        del columns["model"]
    if rows["slice"].notna().any():
        columns["scored slice"] = [format_number(number, 0) for number in rows["slice"]]
    if rows["ml"].notna().any():
        columns["mL"] = format_column(rows["ml"], "mL")
    for name, column in {"voxels": "voxels", "slice": "at_slice", "row": "at_row", "column": "at_column"}.items():
        columns[name] = [format_number(float(at), 0) for at in rows[column]]
    unusable = scored[scored["status"] != SCORED]
    without = set(zip(unusable["model"], unusable["case"], strict=True))
    return Table(
        caption="Lesions that were missed, or predicted where there is none.",
        columns=columns_of(*columns, text=("model", "structure", "outcome")),
        groups=[("", list(zip(*columns.values(), strict=True)))],
        classes="sortable cases",
        marked={n for n, pair in enumerate(zip(rows["model"], rows["case"], strict=True)) if pair in without},
    )


def find_wrong(lesions: pd.DataFrame) -> pd.DataFrame:
    """The lesions that were missed or false."""
    return lesions[lesions["outcome"].isin(["missed", "false"])]
