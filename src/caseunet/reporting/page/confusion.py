"""Which classes were taken for which."""

import pandas as pd
from markupsafe import Markup

from caseunet.evaluation.rows import BACKGROUND, rows_of
from caseunet.evaluation.summary import EvaluationSummary
from caseunet.reporting.page.numbers import format_percent
from caseunet.reporting.page.tables import Table, columns_of

RIGHT, WRONG = "36 95 148", "190 91 40"
FRAME = Markup(' class="right"')
CELL = Markup('<span{} style="background: rgb({} / {:.3f})">{}<small>{:,}</small></span>')


def confusion_tables(cases: pd.DataFrame, summary: EvaluationSummary) -> list[Table]:
    """For each model a matrix: the reference's structures in rows, in columns what was predicted there."""
    names = summary.label_map.names
    columns = [f"predicted_as_{name}" for name in names]
    if not set(columns) <= set(cases.columns):
        return []
    tables = []
    for model in summary.models:
        rows = []
        for structure, ids in {BACKGROUND: (0,), **summary.structures}.items():
            pixels = rows_of(cases, model.name, structure)[columns].sum().astype(int).tolist()
            if total := sum(pixels):
                cells = []
                for n, count in enumerate(pixels):
                    look = (FRAME, RIGHT) if n in ids else ("", WRONG)
                    cells.append(CELL.format(*look, 0.55 * count / total, format_percent(count / total), count))
                rows.append([structure, *cells, f"{total:,}"])
        of = f"{model.name}. " if len(summary.models) > 1 else ""
        caption = f"{of}Rows: the reference; columns: what was predicted there. Pixels of all cases."
        tables += [Table(caption, columns_of("reference", *names, "pixels"), [("", rows)], "confusion")] if rows else []
    return tables
