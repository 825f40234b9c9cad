"""Partitions into training and validation: by group, by published lists, from files, or by blocks of slices."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.config import PrepareConfig
from caseunet.datasets.layout import Finding
from caseunet.errors import CaseUNetError, InputNotFoundError, InvalidInputError, InvalidOptionError, did_you_mean
from caseunet.files import read_json
from caseunet.progress import count_text
from caseunet.types import BY_BLOCKS, Fold, Ranges, Split

BLOCKS_CAUTION = (
    "The validation slices are blocks taken from the same volumes as the training slices. The scores show that the "
    "software works, not how well the model does on other patients."
)

PUBLISHED = {
    "lits": ({"lits"}, range(28)),
    "isinet": ({"endovis2018", "endovis2018-types"}, (2, 5, 9, 15)),
}
"""{name: (layouts, numbers of the groups that validate)}: LiTS 28–130 and 0–27 as in reruns of UNet 3+; the
sequences of ISINet."""

GIVEN = "the data set's own parts"
"""What a split is by that the data set brings."""

_TRAIN, _VAL, _TEST = {"train", "training"}, {"val", "valid", "validation"}, {"test", "testing"}


@dataclass(frozen=True)
class SplitCase:
    """What a split must know of a case.

    Attributes:
        group: the patient or sequence.
        slices: how many it has.
        classes: foreground classes that it shows.
        part: of the split that the data set brings, as of :class:`SourceCase`.
    """

    group: str
    slices: int
    classes: frozenset[int] = frozenset()
    part: str = ""


def make_split(config: PrepareConfig, cases: Mapping[str, SplitCase], group_name: str, layout: str) -> Split:
    """The split that a configuration asks for.

    Args:
        config: its ``split`` is "auto", "group", "slice-blocks", a published one, or a file.
        cases: by name.
        group_name: what a group is, for people.
        layout: name of the raw layout; published splits are of one.

    Raises:
        CaseUNetError: it cannot be made of these cases, or parts a group.
    """
    if config.split == "auto" and (split := split_as_given(cases, group_name)) is not None:
        return split
    if config.split in ("auto", "group"):
        return by_group(without_test(cases), config.folds, config.seed, group_name)
    if config.split == BY_BLOCKS:
        return by_slice_blocks(without_test(cases), config.split_block_size, config.test_every, config.split_gap)
    if config.split in PUBLISHED:
        return find_published_split(config.split, cases, group_name, layout)
    return from_file(Path(config.split), cases, group_name)


def without_test(cases: Mapping[str, SplitCase]) -> dict[str, SplitCase]:
    """The cases that may be learnt from: not those of a test set, unless there are no others."""
    return {name: case for name, case in cases.items() if case.part != "test"} or dict(cases)


def split_as_given(cases: Mapping[str, SplitCase], group_name: str) -> Split | None:
    """The split that the data set brings: training and validation, or folds; None where it brings none.

    Raises:
        CaseUNetError: it parts a group.
    """
    parts: dict[str, list[str]] = {}
    for name, case in cases.items():
        parts.setdefault(case.part, []).append(name)
    folds = sorted((part for part in parts if part.startswith("fold ")), key=lambda part: int(part.split()[1]))
    advice = "Or set prepare.split: group, which makes folds anew."
    try:
        if "train" in parts and "val" in parts:
            fold = _check_fold(parts["train"], parts["val"], cases, group_name, "the data set's own split")
            return Split(by=GIVEN, folds=(fold,))
        if len(folds) > 1:
            pairs = [([n for other in folds if other != fold for n in parts[other]], parts[fold]) for fold in folds]
            checked = [
                _check_fold(t, v, cases, group_name, f"the data set's own {f}")
                for f, (t, v) in zip(folds, pairs, strict=True)
            ]
            return Split(by=GIVEN, folds=tuple(checked))
    except CaseUNetError as error:
        raise error.with_message(f"{error} {advice}") from error
    return None


def describe_parts(cases: Mapping[str, SplitCase], split: Split | None, group_name: str) -> list[Finding]:
    """What a person should know of the parts that the data set brings."""
    parts = Counter(case.part for case in cases.values() if case.part)
    if not parts.keys() - {"train"}:
        return []
    shown = ", ".join(f"{name} {number:,}" for name, number in parts.items())
    unplaced = len(cases) - parts.total()
    text = f"the data set brings a split of its own: {shown}" + (f", none {unplaced:,}" if unplaced else "")
    findings = []
    if split is not None and split.by == GIVEN:
        text += "; it is kept"
    elif parts["test"] == len(cases):
        text += "; as there is nothing but the test set, it is trained on"
    elif parts.keys() - {"train", "test"}:
        text += "; folds are made anew"
    if 0 < parts["test"] < len(cases):
        text += "; the test set is prepared, but in no part of a fold"
        groups = {case.group for case in cases.values() if case.part == "test"}
        both = groups & {case.group for case in cases.values() if case.part != "test"}
        if both:
            told = f"{count_text(len(both), group_name)} of the test set are in training too, {min(both)} among them"
            findings.append(Finding(level="warning", kind="split", text=told, advice="Scores of them would flatter."))
    advice = "Make folds of all but the test set: prepare.split: group. Name cases yourself: prepare.split: FILE.csv"
    return [*findings, Finding(level="note", kind="own-split", text=text, advice=advice)]


def by_group(cases: Mapping[str, SplitCase], folds: int, seed: int, group_name: str) -> Split:
    """k-fold cross-validation that keeps every group (patient, sequence) whole and spreads the classes.

    Groups are given out by iterative stratification (Sechidis et al., "On the Stratification of Multi-Label Data", ECML
    2011): those of the rarest class first, each to the fold that lacks that class most, then to the smallest.

    Args:
        cases: by name.
        folds: how many; fewer if there are fewer groups.
        seed: draws the order of the groups.
        group_name: what a group is, for people.

    Raises:
        CaseUNetError: there is only one group.
    """
    groups: dict[str, list[str]] = {}
    for name, case in cases.items():
        groups.setdefault(case.group, []).append(name)
    if len(groups) < 2:
        several = ", or tell them apart by a pattern, prepare.group, if these are several" if len(cases) > 1 else ""
        raise InvalidInputError(
            f"{count_text(len(cases), 'labelled case')}, all of one {group_name}: none can be held out honestly. Add a "
            f'second {group_name}{several}. For one volume, prepare.split "slice-blocks" holds out slices of it, which '
            "measures only that the software works.",
            options=("prepare.group", "prepare.split") if several else ("prepare.split",),
        )
    order = [sorted(groups)[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    folds = min(folds, len(order))
    place = _stratify(order, {g: [cases[name] for name in members] for g, members in groups.items()}, folds)
    return Split(
        by=group_name,
        folds=tuple(
            _fold(
                [name for name, case in cases.items() if place[case.group] != k],
                [name for name, case in cases.items() if place[case.group] == k],
                cases,
            )
            for k in range(folds)
        ),
    )


def find_published_split(name: str, cases: Mapping[str, SplitCase], group_name: str, layout: str) -> Split:
    """A split that papers use, by the numbers of patients or sequences.

    Sequences below a folder named after the test set have numbers of their own and are in no part.

    Raises:
        CaseUNetError: the data set is another one, or lacks a part.
    """
    layouts, numbers = PUBLISHED[name]
    if layout not in layouts:
        raise InvalidInputError(
            f'The split "{name}" is for the layout {" or ".join(sorted(layouts))}; these data are {layout}.',
            options=("prepare.split",),
        )
    released = {n: case for n, case in cases.items() if not _TEST & set(case.group.lower().split("/")[:-1])}
    val = [name for name, case in released.items() if _last_number(case.group) in numbers]
    train = [name for name, case in released.items() if _last_number(case.group) not in numbers]
    return Split(by=group_name, folds=(_check_fold(train, val, cases, group_name, f'the split "{name}"'),))


def from_file(path: Path, cases: Mapping[str, SplitCase], group_name: str) -> Split:
    """Read a split: nnU-Net's ``splits_final.json``, a ``splits.json`` of a prepared data set, or a CSV.

    The CSV has the columns "case" and either "fold" (where the case validates, from 0) or "part" (train, val or test).
    Cases that it does not name are in no part.

    Raises:
        CaseUNetError: the file cannot be read, names unknown cases, leaves a part empty, or parts a group.
    """
    parts = _read_csv(path) if path.suffix.lower() == ".csv" else _read_json(path)
    for number, (train, val) in enumerate(parts):
        for case in (*train, *val):
            if case not in cases:
                raise InvalidInputError(
                    f'{path}: fold {number}: there is no labelled case "{case}". {did_you_mean(case, cases)}'
                )
    folds = tuple(
        _check_fold(train, val, cases, group_name, f"{path}: fold {number}")
        for number, (train, val) in enumerate(parts)
    )
    return Split(by=group_name, folds=folds)


def by_slice_blocks(cases: Mapping[str, SplitCase], block: int, every: int, gap: int) -> Split:
    """Hold out every ``every``-th block of ``block`` slices of each case, with ``gap`` unused slices on each side.

    Fold k holds out blocks k, k + every, … . Where scores of neighbouring slices are alike this measures no
    generalisation; :data:`BLOCKS_CAUTION` says so.

    Raises:
        CaseUNetError: no case has a block for every fold, or nothing would be left for training.
    """
    folds = []
    for k in range(every):
        train: dict[str, Ranges] = {}
        val: dict[str, Ranges] = {}
        for name, case in cases.items():
            slices = case.slices
            held = [(start, min(start + block, slices)) for start in range(k * block, slices, every * block)]
            unused = {s for start, stop in held for s in range(start - gap, stop + gap)}
            kept = _ranges([s for s in range(slices) if s not in unused])
            if held:
                val[name] = tuple(held)
            if kept:
                train[name] = kept
        if not train or not val:
            most = max(case.slices for case in cases.values())
            fitting = {"split_block_size": max(1, most // (2 * every)), "split_gap": 0, "test_every": min(every, most)}
            told = ", ".join(f"prepare.{key}: {value}" for key, value in fitting.items())
            advice = f"Set {told}." if most > 1 else "One slice cannot be split."
            raise InvalidOptionError(
                f"Blocks of {block} slices, every {every}th held out, with gaps of {gap}, leave no training or no "
                f"validation slices: the largest case has {most}. {advice}",
                options=tuple(f"prepare.{key}" for key in fitting),
            )
        folds.append(Fold(train=train, val=val))
    return Split(by=BY_BLOCKS, caution=BLOCKS_CAUTION, folds=tuple(folds))


def _stratify(order: list[str], groups: Mapping[str, list[SplitCase]], folds: int) -> dict[str, int]:
    """{group: fold}."""
    classes = {group: frozenset[int]().union(*(case.classes for case in groups[group])) for group in order}
    sizes = {group: sum(case.slices for case in groups[group]) for group in order}
    every_class = frozenset[int]().union(*classes.values())
    lacking = {c: np.full(folds, sum(c in classes[group] for group in order) / folds) for c in every_class}
    members, slices = np.zeros(folds), np.zeros(folds)
    place: dict[str, int] = {}

    def put(group: str, wish: np.ndarray) -> None:
        empty = [k for k in range(folds) if members[k] == 0]
        last_chance = len(order) - len(place) <= len(empty)  # no fold may stay empty
        k = min(empty if last_chance else range(folds), key=lambda k: (-wish[k], members[k], slices[k], k))
        place[group] = k
        members[k] += 1
        slices[k] += sizes[group]
        for c in classes[group]:
            lacking[c][k] -= 1

    while True:
        left = {c: [g for g in order if g not in place and c in classes[g]] for c in sorted(every_class)}
        rarest = min((c for c in left if left[c]), key=lambda c: len(left[c]), default=None)
        if rarest is None:
            break
        for group in left[rarest]:
            put(group, lacking[rarest])
    for group in order:
        if group not in place:
            put(group, -members)
    return place


def _fold(train: Iterable[str], val: Iterable[str], cases: Mapping[str, SplitCase]) -> Fold:
    """Whole cases."""

    def whole(names: Iterable[str]) -> dict[str, Ranges]:
        return {name: ((0, cases[name].slices),) for name in names}

    return Fold(train=whole(train), val=whole(val))


def _check_fold(train: list[str], val: list[str], cases: Mapping[str, SplitCase], group_name: str, origin: str) -> Fold:
    """A fold of named cases.

    Raises:
        CaseUNetError: a part is empty, or a group is in both.
    """
    for part, names in (("training", train), ("validation", val)):
        if not names:
            raise InvalidInputError(f"{origin}: no case is there for {part}.")
    both = {cases[name].group for name in train} & {cases[name].group for name in val}
    if both:
        group = min(both)
        examples = [next(name for name in names if cases[name].group == group) for names in (train, val)]
        raise InvalidInputError(
            f"{origin}: the {group_name} {group} is in training ({examples[0]}) and in validation ({examples[1]}), so "
            f"scores would flatter ({len(both)} such). Keep each {group_name} on one side."
        )
    return _fold(train, val, cases)


def _read_json(path: Path) -> list[tuple[list[str], list[str]]]:
    """[(train, val)] of nnU-Net's list, or of our own file."""
    content: Any = read_json(path, "a split: a list of {train: [cases], val: [cases]}")
    folds: Any = content.get("folds") if isinstance(content, dict) else content
    try:
        parts = [(list(fold["train"]), list(fold["val"])) for fold in folds]
        if parts and all(isinstance(name, str) for part in parts for names in part for name in names):
            return parts
    except (TypeError, KeyError):
        pass
    raise InvalidInputError(f"{path}: expected a list of folds, each {{train: [cases], val: [cases]}}.")


def _read_csv(path: Path) -> list[tuple[list[str], list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [{str(key): value or "" for key, value in row.items()} for row in csv.DictReader(stream)]
    except FileNotFoundError as error:
        raise InputNotFoundError(f"{path}: no such file; expected a split as CSV.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{path}: cannot be read as CSV: {error}.") from error
    columns = set(rows[0]) if rows else set()
    if "case" not in columns or not columns & {"fold", "part"}:
        raise InvalidInputError(
            f"{path}: expected the columns case and fold (or part), found {', '.join(sorted(columns))}."
        )
    names = [row["case"] for row in rows]
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None:
        raise InvalidInputError(f'{path}: names the case "{twice}" twice.')
    if "fold" in columns:
        numbers = sorted({row["fold"] for row in rows}, key=lambda text: (len(text), text))
        if numbers != [str(number) for number in range(len(numbers))]:
            raise InvalidInputError(f"{path}: folds are numbered 0, 1, 2 …, found {', '.join(numbers)}.")
        return [
            ([r["case"] for r in rows if r["fold"] != number], [r["case"] for r in rows if r["fold"] == number])
            for number in numbers
        ]
    for row in rows:
        if row["part"].lower() not in _TRAIN | _VAL | _TEST:
            raise InvalidInputError(f'{path}: case {row["case"]}: the part is train, val or test, not "{row["part"]}".')
    return [
        (
            [row["case"] for row in rows if row["part"].lower() in _TRAIN],
            [row["case"] for row in rows if row["part"].lower() in _VAL],
        )
    ]


def _last_number(name: str) -> int | None:
    numbers = re.findall(r"\d+", name.rsplit("/", 1)[-1])
    return int(numbers[-1]) if numbers else None


def _ranges(numbers: list[int]) -> Ranges:
    """Ascending numbers as [start, stop) ranges."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number:
            ranges[-1] = (ranges[-1][0], number + 1)
        else:
            ranges.append((number, number + 1))
    return tuple(ranges)
