"""Which classes were taken for which."""

from dataclasses import dataclass

import pandas as pd

from caseunet.evaluation.rows import BACKGROUND, rows_of
from caseunet.evaluation.summary import EvaluationSummary


@dataclass(frozen=True)
class Confusion:
    """Pixels of one model by what they are and what they were taken for.

    Attributes:
        model: its name.
        classes: that can be predicted; the columns.
        rows: of each structure and the background: name, pixels, and for each class (pixels, share, whether right).
    """

    model: str
    classes: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[tuple[int, float, bool], ...]], ...]


def confusions_of(cases: pd.DataFrame, summary: EvaluationSummary) -> list[Confusion]:
    classes = summary.label_map.names
    columns = [f"predicted_as_{name}" for name in classes]
    if not set(columns) <= set(cases.columns):
        return []
    members = {BACKGROUND: (0,), **summary.structures}
    found = []
    for model in summary.models:
        rows = []
        for name, ids in members.items():
            table = rows_of(cases, model.name, name)
            pixels = [int(table[column].sum()) for column in columns]
            total = sum(pixels)
            if total:
                cells = tuple((count, count / total, n in ids) for n, count in enumerate(pixels))
                rows.append((name, total, cells))
        if rows:
            found.append(Confusion(model.name, classes, tuple(rows)))
    return found
