"""Which classes were taken for which."""

from dataclasses import dataclass

import pandas as pd

from caseunet.evaluation.rows import BACKGROUND, rows_of
from caseunet.evaluation.summary import EvaluationSummary

MAX_COLUMNS = 13
"""Classes beyond which the commonest mistakes are listed instead of a matrix."""

MAX_MISTAKES = 3


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

    @property
    def is_large(self) -> bool:
        """Whether it is more than a page can show as a matrix."""
        return len(self.classes) > MAX_COLUMNS

    def mistakes(self) -> list[tuple[str, int, float, list[tuple[str, int, float]]]]:
        """Of each row: name, pixels, the share that is right, and what it was most often taken for wrongly."""
        found = []
        for name, pixels, cells in self.rows:
            wrong = [(self.classes[n], *cell[:2]) for n, cell in enumerate(cells) if cell[0] and not cell[2]]
            right = sum(share for _, share, is_right in cells if is_right)
            found.append((name, pixels, right, sorted(wrong, key=lambda cell: -cell[1])[:MAX_MISTAKES]))
        return found


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
