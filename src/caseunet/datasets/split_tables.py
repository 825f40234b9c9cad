"""Splits that a data set brings in files: TotalSegmentator's ``meta.csv``, lists such as ``train.txt``."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from caseunet.datasets.layout import Finding, SourceCase, relative
from caseunet.datasets.names import PART_WORDS, normal, part_of_name
from caseunet.io import images
from caseunet.progress import count_text

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


def with_lists(
    root: Path, files: Sequence[Path], listed: Sequence[SourceCase]
) -> tuple[list[SourceCase], list[Finding]]:
    """The cases with the parts that lists such as train.txt and val.txt give them, where folders give none."""
    lists = [path for path in files if path.suffix.lower() in (".txt", ".lst") and part_of_name(path.stem)]
    folders = sorted({path.parent for path in lists})
    chosen = [folder for folder in folders if folder.name.lower() == "segmentation"] if len(folders) > 1 else folders
    if not chosen or len(lists) < 2 or any(case.part for case in listed):
        return list(listed), []
    known: dict[str, set[str]] = {}
    for case in listed:
        for name in (case.id, case.id.rpartition("/")[2], images.stem(case.image[0])):
            known.setdefault(normal(name), set()).add(case.id)
    parts: dict[str, set[str]] = {}
    absent: list[str] = []
    for path in (path for path in lists if path.parent == chosen[0]):
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            name = line.split()[0] if line.split() else ""
            keys = [normal(name), normal(images.stem(Path(name)))] if name else []
            found = next((known[key] for key in keys if len(known.get(key, ())) == 1), None)
            if found is not None:
                parts.setdefault(next(iter(found)), set()).add(part_of_name(path.stem))
            elif name:
                absent.append(f"{relative(path, root)}: {name}")
    both = [case for case, own in parts.items() if len(own) > 1]
    findings = []
    where = relative(chosen[0], root) if chosen[0] != root else "the folder"
    if both or not parts:
        why = f"{both[0]} is in two of them" if both else "no name in them is that of an image"
        text = f"the lists of a split in {where} are not used: {why}"
        return list(listed), [Finding(level="warning", kind="own-split", text=text)]
    if absent:
        text = f"{count_text(len(absent), 'name')} in the lists of the split have no image, {absent[0]} among them"
        findings.append(Finding(level="warning", kind="own-split", text=text))
    used = [path for path in lists if path.parent == chosen[0]]
    text = f"the split is that of the lists {', '.join(path.name for path in used)} in {where}"
    files_used = tuple(relative(path, root) for path in used)
    findings.append(Finding(level="note", kind="own-split", text=text, files=files_used))
    return [replace(case, part=next(iter(parts.get(case.id, {""})))) for case in listed], findings
