"""Splits that a data set brings in a table of its cases, such as TotalSegmentator's ``meta.csv``."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from caseunet.datasets.layout import Finding, SourceCase
from caseunet.datasets.names import PART_WORDS, normal

TABLE = "meta.csv"


def with_table(root: Path, listed: Sequence[SourceCase]) -> tuple[list[SourceCase], list[Finding]]:
    """The cases with the parts that the column "split" of ``meta.csv`` gives them, where folders give none.

    The first column names the cases; columns stand between semicolons or commas.
    """
    path = root / TABLE
    if not path.is_file() or any(case.part for case in listed):
        return list(listed), []
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    rows = list(csv.reader(lines, delimiter=";" if lines and ";" in lines[0] else ","))
    if len(rows) < 2 or "split" not in rows[0]:
        return list(listed), []
    column = rows[0].index("split")
    told = {row[0]: row[column] for row in rows[1:] if len(row) > column}
    parts = {normal(case.strip()): PART_WORDS.get(part.strip().lower(), "") for case, part in told.items()}
    known = [case for case in listed if parts.get(normal(case.id))]
    if not known:
        text = f"the split in {TABLE} is not used: no name in it is that of an image"
        return list(listed), [Finding(level="warning", kind="own-split", text=text, file=TABLE)]
    note = Finding(level="note", kind="own-split", text=f"the split is that of {TABLE}", file=TABLE)
    return [replace(case, part=parts.get(normal(case.id), "")) for case in listed], [note]
