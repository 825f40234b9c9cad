"""The one form of all tables on the pages."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from caseunet.evaluation.rows import rows_of
from caseunet.evaluation.summary import EvaluationSummary
from caseunet.files import replace_when_whole

Row = Sequence[object]
"""Cells; the first one names the row. Markup is written as it is, all else is escaped."""


@dataclass(frozen=True)
class Column:
    heading: str
    kind: Literal["number", "text", "text wrap"] = "number"


@dataclass(frozen=True)
class Table:
    """Rows in groups, each with a heading or "".

    ``marked`` are rows that stand out, counted over all groups.
    """

    caption: str
    columns: Sequence[Column]
    groups: Sequence[tuple[str, Sequence[Row]]]
    classes: str = ""
    id: str = ""
    marked: Collection[int] = ()

    @property
    def rows(self) -> list[Row]:
        return [row for _, rows in self.groups for row in rows]


def columns_of(*headings: str, text: Collection[str] = ()) -> list[Column]:
    """Columns of numbers, but for the first one and those that hold ``text``."""
    return [Column(name, "text" if n == 0 or name in text else "number") for n, name in enumerate(headings)]


def iterate_samples(table: pd.DataFrame, summary: EvaluationSummary) -> Iterator[tuple[list[str], pd.DataFrame]]:
    """The rows of each structure and model, with their names: the model's only where there are several."""
    for structure in summary.structures:
        for model in summary.models:
            rows = rows_of(table, model.name, structure)
            if len(rows):
                yield [structure, *([model.name] if len(summary.models) > 1 else [])], rows


def name_columns(summary: EvaluationSummary) -> list[str]:
    """Headings of the names that :func:`iterate_samples` gives."""
    return ["structure", "model"] if len(summary.models) > 1 else ["structure"]


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write numbers with all their digits, so that every score can be computed again, bit for bit."""
    with replace_when_whole(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
