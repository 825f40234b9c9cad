"""Which structures are labelled in which cases, where a data set tells it: ``labelled.csv`` in its folder.

Columns ``case``, a case's name or a pattern such as ``amos_*``, and ``labelled``, the names of structures between
semicolons. The first line that fits counts. A case that no line fits, or whose line names all structures, is labelled
wholly. What a case does not label
is no background there: it is left out of the loss and of all scores.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from caseunet.datasets.layout import Finding, SourceCase, SourceDataset
from caseunet.datasets.union_file import is_union
from caseunet.errors import InvalidInputError, did_you_mean
from caseunet.progress import count_text
from caseunet.types import LabelMap, name_key

FILE = "labelled.csv"


def with_labelled(dataset: SourceDataset, root: Path) -> SourceDataset:
    """The data set, each case with the structures that are labelled in it.

    Raises:
        CaseUNetError: the file is damaged, or a line of it fits no case.
    """
    path = find_labelled_table(root)
    if path is None:
        return dataset
    rules = _read_rules(path)
    used = set()
    cases: list[SourceCase] = []
    for case in dataset.cases:
        fitting = next((n for n, (pattern, _) in enumerate(rules) if fnmatchcase(case.id, pattern)), None)
        used.add(fitting)
        cases.append(case if fitting is None else replace(case, labelled=rules[fitting][1]))
    for n, (pattern, _) in enumerate(rules):
        if n not in used and not any(fnmatchcase(case.id, pattern) for case in dataset.cases):
            names = [case.id for case in dataset.cases]
            if "*" in pattern:
                names = [re.sub(r"\d+$", "", name) + "*" for name in names]
            raise InvalidInputError(f'{path}: "{pattern}" is no case. {did_you_mean(pattern, set(names))}')
    shadowed = [
        Finding(level="warning", kind="partial", text=f'line "{pattern}" counts for no case: others fit before it')
        for n, (pattern, _) in enumerate(rules)
        if n not in used
    ]
    return replace(dataset, cases=tuple(cases), findings=(*dataset.findings, *shadowed))


def find_labelled_table(root: Path) -> Path | None:
    """The table of a raw folder, or of the one folder in it that has one, as DatasetNNN_NAME of nnU-Net.

    Raises:
        CaseUNetError: there are several.
    """
    inside = [path for path in root.iterdir() if path.name.lower() == FILE] if root.is_dir() else []
    looks_below = root.is_dir() and not is_union(root)  # those of its data sets have been read
    below = [path for path in root.glob("*/*") if path.name.lower() == FILE] if looks_below else []
    found = inside or below
    if len(found) > 1:
        raise InvalidInputError(
            f"{root}: has several tables of what is labelled, {found[0]} and {found[1]}. Keep one, in {root}."
        )
    return found[0] if found else None


def settle_labelled(dataset: SourceDataset, label_map: LabelMap, root: Path) -> SourceDataset:
    """The data set, where a case whose line names all structures is labelled wholly, with a note on the others.

    Raises:
        CaseUNetError: a name is no structure or class.
    """
    _check_names(dataset.cases, label_map, root)
    whole = tuple(range(len(label_map)))
    cases = tuple(
        replace(case, labelled=()) if case.labelled and label_map.merged_ids(case.labelled) == whole else case
        for case in dataset.cases
    )
    partial = [case for case in cases if case.labelled]
    if not partial:
        return replace(dataset, cases=cases)
    text = f"{count_text(len(partial), 'case')} labelled in part, {partial[0].id} among them"
    table = find_labelled_table(root)
    note = Finding(
        level="note",
        kind="partial",
        text=f"{text} ({', '.join(partial[0].labelled)})",
        file=None if table is None else table.name,
    )
    return replace(dataset, cases=cases, findings=(*dataset.findings, note))


def _check_names(cases: Sequence[SourceCase], label_map: LabelMap, root: Path) -> None:
    """Raises CaseUNetError where a name is none of a structure or class."""
    known = {name_key(name): name for name in (*label_map.structures, *label_map.names[1:])}
    for case in cases:
        for name in case.labelled:
            if name_key(name) not in known:
                near = did_you_mean(name, known.values())
                raise InvalidInputError(
                    f'{find_labelled_table(root)}: {case.id} has "{name}", which is no structure. {near}'
                )


def _read_rules(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    expected = 'expected the columns "case" and "labelled", such as amos_*,liver;spleen'
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{path}: cannot be read as CSV: {error}; {expected}.") from error
    rules = []
    for number, row in enumerate(rows, start=2):
        pattern, labelled = row.get("case"), row.get("labelled")
        names = tuple(name.strip() for name in (labelled or "").split(";") if name.strip())
        if not pattern or not names or None in row:
            raise InvalidInputError(f"{path}: line {number}: {expected}.")
        rules.append((pattern.strip(), names))
    if not rules:
        raise InvalidInputError(f"{path}: is empty; {expected}.")
    return rules
