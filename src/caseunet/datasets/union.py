"""Several raw data sets as one.

Layout: ``datasets.json`` lists data sets of any other layout: ``{"datasets": [{"path": "Task09_Spleen", "name": "msd"},
{"path": "../mine", "name": "mine", "classes": {"foreground": "liver"}}]}``. A case is called ``NAME/CASE``. Classes are
the same where they have one name. What a data set has no class for is not labelled there, see
:mod:`caseunet.datasets.partial`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np

from caseunet.config import PrepareConfig
from caseunet.datasets.class_names import is_background, is_ignored
from caseunet.datasets.coding import classes_of, coding_of
from caseunet.datasets.layout import Finding, Layout, Listing, Origin, SourceCase, SourceDataset, no_cases, relative
from caseunet.datasets.meanings import alone, with_coding
from caseunet.datasets.reading import require_coding, to_ids
from caseunet.datasets.repair import CaseRepair
from caseunet.datasets.union_file import UNION_FILE, UnionEntry, is_union, read_union
from caseunet.errors import CaseUNetError, InvalidInputError, did_you_mean
from caseunet.progress import count_text
from caseunet.types import IGNORE, Geometry, ImageVolume, LabelCoding, LabelMap, Mask, name_key


class Open(Protocol):
    """Opens a raw data set as configured, without masks that a plan of the union ignores."""

    def __call__(
        self, root: Path, config: PrepareConfig, *, ignored: Collection[str]
    ) -> tuple[Layout, SourceDataset]: ...


@dataclass(frozen=True)
class UnionMember:
    """A data set of a union, with the meaning of its masks if it has some.

    Attributes:
        names: {class there, or structure, as names are compared: its name in the union; None for the background}.
    """

    entry: UnionEntry
    layout: Layout
    dataset: SourceDataset
    names: Mapping[str, str | None]

    @property
    def label_map(self) -> LabelMap | None:
        return None if self.dataset.coding is None else self.dataset.coding.label_map

    def rename(self, name: str) -> str | None:
        """What a class or structure is called in the union."""
        return self.names.get(name_key(name), name)


class UnionLayout:
    """Data sets that a file lists, each read by its own layout.

    Args:
        open_member: opens a raw data set as configured.
    """

    name = "union"
    looks_like = f"{UNION_FILE}, which lists several raw data sets"
    rank = -1  # its data sets may lie below it

    def __init__(self, open_member: Open) -> None:
        self._open_member = open_member

    def matches(self, root: Path) -> bool:
        return is_union(root)

    def cases(self, root: Path) -> Listing:
        """List the cases of all data sets, called ``NAME/CASE``.

        Raises:
            CaseUNetError: one cannot be opened, or the list is damaged.
        """
        if not (root / UNION_FILE).is_file():
            raise no_cases(root, UNION_FILE)
        members = self._open_all(root, with_masks=False)
        cases = tuple(case for member in members for case in _cases_of(member, {}))
        return Listing(cases, tuple(_findings(members, root)))

    def discover(self, root: Path, ignored: Collection[str] = ()) -> SourceDataset:
        """The cases of all data sets and their common classes; masks are read where no file names their classes.

        Args:
            root: the folder.
            ignored: files that a plan leaves out, relative to it; they name no class.

        Raises:
            CaseUNetError: see :meth:`cases`; or the data sets cannot be joined.
        """
        members = self._open_all(root, with_masks=True, ignored=ignored)
        _require_alike(members, root)
        label_map = _unite_classes(members)
        tables = [_find_ids(member, label_map) for member in members]
        unjudged = [IGNORE in (*table.values(), *_codes(member)) for member, table in zip(members, tables, strict=True)]
        cases: list[SourceCase] = []
        told: list[str] = []
        for member, table in zip(members, tables, strict=True):
            own = _with_labelled(member, _cases_of(member, table), label_map)
            told.append(_describe(member, own))
            cases += own
        codes = {i: i for i in range(len(label_map or ()))} | ({IGNORE: IGNORE} if any(unjudged) else {})
        note = Finding(level="note", kind="union", text=". ".join(told), file=UNION_FILE)
        first = members[0].dataset
        groups = {member.dataset.group_name for member in members}
        licences = dict.fromkeys(member.dataset.licence for member in members if member.dataset.licence)
        return SourceDataset(
            format=self.name,
            root=root,
            cases=tuple(cases),
            coding=None if label_map is None else LabelCoding(label_map=label_map, codes=codes),
            modality=first.modality,
            group_name=groups.pop() if len(groups) == 1 else "group",
            licence="; ".join(licences),
            findings=(note, *_findings(members, root)),
            channel_names=first.channel_names,
            repairs=dict(chain.from_iterable(_repairs_of(member) for member in members)),
        )

    def read_geometry(self, case: SourceCase) -> Geometry:
        origin, own = _own(case)
        return origin.layout.read_geometry(own)

    def read_image(self, case: SourceCase, rgb: bool, nan: float | None = None) -> ImageVolume:
        origin, own = _own(case)
        return origin.layout.read_image(own, rgb, nan)

    def read_mask(self, case: SourceCase, dataset: SourceDataset, image: Geometry) -> Mask:
        """The values of a case's mask as class ids of the union.

        Raises:
            CaseUNetError: it cannot be read, or holds values that are no class of its own data set.
        """
        origin, own = _own(case)
        told = dataset.repairs.get(case.id, CaseRepair())
        repair = origin.dataset.repairs.get(own.id, CaseRepair()).also(CaseRepair(union=told.union))
        member = replace(
            origin.dataset, repairs={own.id: repair}, raters=dataset.raters or origin.dataset.raters, cases=(own,)
        )
        mask = origin.layout.read_mask(own, member, image)
        table = np.arange(IGNORE + 1, dtype=np.uint8)
        table[list(origin.ids)] = list(origin.ids.values())
        ids = table[to_ids(mask, own, member, require_coding(member))]
        return replace(mask, label_values=ids, colored=False, palette={}, names={})

    def _open_all(self, root: Path, with_masks: bool, ignored: Collection[str] = ()) -> list[UnionMember]:
        return [self._open_entry(root, entry, with_masks=with_masks, ignored=ignored) for entry in read_union(root)]

    def _open_entry(self, root: Path, entry: UnionEntry, *, with_masks: bool, ignored: Collection[str]) -> UnionMember:
        """Open a data set; with masks, find their meaning.

        Raises:
            CaseUNetError: it cannot be opened, or ``classes`` names what it does not have.
        """
        config, base = entry.as_config(root), root / entry.path
        own = [relative(root / name, base) for name in ignored if (root / name).is_relative_to(base)]
        try:
            layout, dataset = self._open_member(base, config, ignored=own)
            if with_masks and dataset.labelled:
                dataset = with_coding(layout, dataset, config.workers)
        except CaseUNetError as error:
            hint = " Options of how it is read, such as masks, stand in its entry." if error.options else ""
            raise InvalidInputError(f"{root / UNION_FILE}: {entry.name}: {error}{hint}") from error
        names = {} if dataset.coding is None else _read_names(entry, dataset.coding, root)
        return UnionMember(entry, layout, dataset, names)


def _read_names(entry: UnionEntry, coding: LabelCoding, root: Path) -> dict[str, str | None]:
    """``classes`` of an entry, by the names of its data set's classes; values in the masks stand for their classes.

    Raises:
        CaseUNetError: it names what is no class.
    """
    known = {name_key(name): name for name in (*coding.label_map.names[1:], *coding.label_map.structures)}
    by_value = {str(value): name_key(coding.label_map.names[i]) for value, i in classes_of(coding).items() if i}
    names: dict[str, str | None] = {}
    for told, name in entry.classes.items():
        key = name_key(told) if name_key(told) in known else by_value.get(told)
        if key is None:
            near = did_you_mean(told, known.values())
            raise InvalidInputError(
                f'{root / UNION_FILE}: {entry.name}: classes has "{told}", which is no class. {near}'
            )
        names[key] = None if name is None or is_background(name) else name
    return names


def _require_alike(members: Sequence[UnionMember], root: Path) -> None:
    """Make sure that a network can read all data sets.

    Raises:
        CaseUNetError: they differ in modality, or in channels.
    """
    first = members[0]
    for other in members[1:]:
        one, two = first.dataset, other.dataset
        names = f"{root / UNION_FILE}: {first.entry.name} and {other.entry.name}"
        if one.modality != two.modality:
            raise InvalidInputError(
                f"{names} cannot be joined: the images of one are {one.modality}, of the other {two.modality}. If one "
                'was taken for the wrong kind, write "modality" into its entry.'
            )
        if _channel_keys(one) != _channel_keys(two):
            channels = (", ".join(dataset.channel_names) or "no names" for dataset in (one, two))
            raise InvalidInputError(
                f'{names} cannot be joined: their channels are {" and ".join(channels)}. "channels" in an entry '
                "chooses them and their order."
            )


def _channel_keys(dataset: SourceDataset) -> list[str]:
    """What the channels are called; a single one is the same whatever its name."""
    names = dataset.channel_names
    return [name_key(name) for name in names] if len(names) > 1 else []


def _unite_classes(members: Sequence[UnionMember]) -> LabelMap | None:
    """The classes of all data sets in order of appearance, and their structures; None where no data set has masks.

    Raises:
        CaseUNetError: there is no class.
    """
    maps = [(member, member.label_map) for member in members if member.label_map is not None]
    if not maps:
        return None
    names: dict[str, str] = {}
    for member, label_map in maps:
        for label in label_map.labels[1:]:
            name = member.rename(label.name)
            if name is not None and not is_ignored(name):
                names.setdefault(name_key(name), name)
    if not 0 < len(names) < IGNORE:
        raise InvalidInputError(f"{members[0].entry.name}: a union needs 1 to 254 classes; found {len(names)}.")
    id_of = {key: i for i, key in enumerate(names, start=1)}
    structures: dict[str, set[int]] = {}
    spelled: dict[str, str] = {}
    for member, label_map in maps:
        for structure, ids in label_map.structures.items():
            name = member.rename(structure)
            found = {id_of.get(name_key(member.rename(label_map.names[i]) or "")) for i in ids} - {None}
            if name is not None and found:
                key = name_key(spelled.setdefault(name_key(name), names.get(name_key(name), name)))
                structures.setdefault(key, set()).update(i for i in found if i is not None)
    coding = coding_of(
        {0: "background", **dict(enumerate(names.values(), start=1))},
        structures={spelled[key]: sorted(ids) for key, ids in structures.items()},
    )
    has_regions = any(label_map.region_ids for _, label_map in maps)
    return coding.label_map.with_regions() if has_regions else coding.label_map


def _find_ids(member: UnionMember, label_map: LabelMap | None) -> dict[int, int]:
    """{class id in a data set: class id in the union}."""
    if member.label_map is None or label_map is None:
        return {}
    id_of = {name_key(name): i for i, name in enumerate(label_map.names)}
    ids = {0: 0}
    for label in member.label_map.labels[1:]:
        name = member.rename(label.name)
        ids[label.id] = 0 if name is None else IGNORE if is_ignored(name) else id_of[name_key(name)]
    return ids


def _codes(member: UnionMember) -> tuple[int, ...]:
    """What the values of a data set's masks stand for."""
    judged = any(case.field is not None for case in member.dataset.cases)
    coding = member.dataset.coding
    return (*(() if coding is None else coding.codes.values()), *([IGNORE] if judged else []))


def _cases_of(member: UnionMember, ids: Mapping[int, int]) -> tuple[SourceCase, ...]:
    """The cases of a data set under their names in the union."""
    name = member.entry.name
    return tuple(
        replace(
            case,
            id=f"{name}/{case.id}",
            group=f"{name}/{case.group}",
            origin=Origin(member.layout, replace(alone(member.dataset, (case,)), cases=()), case.id, ids),
        )
        for case in member.dataset.cases
    )


def _with_labelled(
    member: UnionMember, cases: Sequence[SourceCase], label_map: LabelMap | None
) -> tuple[SourceCase, ...]:
    """The cases of a data set with the structures that are labelled in them, by their names in the union.

    Raises:
        CaseUNetError: ``labelled`` names what is no structure.
    """
    own = member.label_map
    if own is None or label_map is None:
        return tuple(cases)
    known = {name_key(name): name for name in (*label_map.structures, *label_map.names[1:])}
    unknown = [name for name in member.entry.labelled if name_key(name) not in known]
    if unknown:
        near = did_you_mean(unknown[0], known.values())
        raise InvalidInputError(f'{UNION_FILE}: {member.entry.name}: labelled has "{unknown[0]}", no structure. {near}')
    every = member.entry.labelled or (*own.names[1:], *own.structures)

    def find_labelled(case: SourceCase) -> tuple[str, ...]:
        told = case.labelled or every
        names = (member.rename(name) if case.labelled or not member.entry.labelled else name for name in told)
        labelled = tuple(dict.fromkeys(known[name_key(name)] for name in names if name and name_key(name) in known))
        return () if label_map.merged_ids(labelled) == tuple(range(len(label_map))) else labelled

    return tuple(replace(case, labelled=find_labelled(case) if case.label else ()) for case in cases)


def _describe(member: UnionMember, cases: Sequence[SourceCase]) -> str:
    """What a data set is, and what it labels."""
    layout = f"{member.entry.name}: {count_text(len(cases), 'case')}, layout {member.layout.name}"
    labelled = {case.labelled for case in cases if case.label}
    told = "; ".join(", ".join(names) for names in sorted(labelled) if names)
    return f"{layout}, only {told} labelled in it" if told else layout


def _findings(members: Sequence[UnionMember], root: Path) -> list[Finding]:
    """What the data sets tell, with files and cases as they are called in the union."""
    findings = []
    for member in members:
        base, name = member.dataset.root, member.entry.name
        for finding in member.dataset.findings:
            place = partial(_place, base=base, root=root)
            about = finding.file or finding.case
            findings.append(
                finding.model_copy(
                    update={
                        "text": finding.text if about else f"{name}: {finding.text}",
                        "case": finding.case and f"{name}/{finding.case}",
                        "other": finding.other and f"{name}/{finding.other}",
                        "file": finding.file and place(finding.file),
                        "files": finding.files and tuple(map(place, finding.files)),
                        "rivals": tuple(map(place, finding.rivals)),
                    }
                )
            )
    return findings


def _place(file: str, base: Path, root: Path) -> str:
    return relative(base / file, root)


def _repairs_of(member: UnionMember) -> list[tuple[str, CaseRepair]]:
    """The repairs of a data set's own plan; those of values are done where these become class ids."""
    plain = {"map": {}, "snap": False, "union": False}
    return [
        (f"{member.entry.name}/{case}", repair.model_copy(update=plain))
        for case, repair in member.dataset.repairs.items()
    ]


def _own(case: SourceCase) -> tuple[Origin, SourceCase]:
    """The data set that a case is from, and the case as it is called there."""
    if case.origin is None:
        raise ValueError(f"{case.id} is of no data set of a union")
    return case.origin, replace(case, id=case.origin.case, origin=None)
