"""The small interface that every raw layout fills, and what it tells of a data set."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from caseunet.datasets.repair import CaseRepair
from caseunet.errors import CaseUNetError, InvalidInputError
from caseunet.io.ome_zarr import is_ome_zarr
from caseunet.progress import count_text
from caseunet.types import FrozenModel, Geometry, ImageVolume, LabelCoding, Mask, Modality

Level = Literal["error", "warning", "note"]

MAX_FOLDERS = 10
"""Folders whose files that are left out have a finding of their own."""

LEVELS: tuple[Level, ...] = ("error", "warning", "note")


class Finding(FrozenModel):
    """Something that a person should know of a data set.

    An ``error`` must be mended before the data can be used; a ``warning`` may spoil a model or its scores; a ``note``
    is good to know.

    Attributes:
        kind: a short name that findings of one cause share, "missing-mask".
        text: what was found and what was expected.
        advice: what to do.
        case: the case that it is about, if it is about one.
        file: relative to the raw folder, if it is about one.
        other: a second case that it is about, such as the one that it is a copy of.
        repairs: what a plan can do about it; of several, a person must choose one.
        files: all files that it is about, where it is about several; relative to the raw folder.
        ignore: whether a plan may leave ``file`` out.
        harmless: whether no case loses anything by that, so that nobody needs to be asked.
        rivals: files of which only one can be meant, ``file`` among them; relative to the raw folder.
        options: that would change it, in words of the configuration.
    """

    level: Level
    kind: str
    text: str
    advice: str = ""
    case: str | None = None
    file: str | None = None
    other: str | None = None
    repairs: tuple[CaseRepair, ...] = ()
    files: tuple[str, ...] | None = None
    ignore: bool = False
    harmless: bool = False
    rivals: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceCase:
    """One image of a raw data set, its mask if it has one, and the patient or sequence it belongs to.

    Attributes:
        id: its name; may hold slashes.
        image: the files of the image: one, or one for each channel, or one for each slice.
        label: the files of the mask; empty without one.
        group: the patient or sequence.
        part: of the split that the data set brings: "train", "val", "test", or "fold 2"; "" where it brings none.
        volume: of several images in its files, which one is meant; "" where they are one.
        labelled: the structures that are labelled in it; () for all.
        field: the file that is 0 where nobody judged it; None where all was.
        origin: of a case of a union, the data set that it is from.
    """

    id: str
    image: tuple[Path, ...]
    label: tuple[Path, ...]
    group: str
    part: str = ""
    volume: str = ""
    labelled: tuple[str, ...] = ()
    field: Path | None = None
    origin: "Origin | None" = dataclass_field(default=None, compare=False, repr=False)

    @property
    def test(self) -> bool:
        """Whether it is of a test set, on which nothing is learnt."""
        return self.part == "test"


class Listing(NamedTuple):
    """The cases of a raw folder, and what their names alone show: files without a partner, files left out."""

    cases: tuple[SourceCase, ...]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class SourceDataset:
    """What a raw folder holds and what its masks mean.

    Attributes:
        format: name of the layout.
        root: the folder.
        cases: labelled or not.
        coding: what the values in the masks mean; None if no file tells, so that the masks themselves must be asked.
        modality: "rgb" is read as three channels.
        group_name: what a group is, for people.
        licence: terms of the data.
        findings: what names and descriptions alone show.
        channel_names: how the names of the channels' files end, in order, or what a description calls the channels;
            () where nothing names them.
        channels_by_number: whether numbers tell a channel of an image, in names of files or in a file of all.
        class_files: whether each class of a mask has a file of its own, called like the class.
        hint: what to think of where masks hold values that are no class.
        repairs: {case: what to do with it when it is read}.
        dropped: cases that a plan leaves out.
        raters: how masks that several people drew of one image become one; None where they are not merged.
        known_values: without a coding, what values mean where masks hold most of these and no others.
        class_regions: structures that overlap, and the names of the classes of the tables that make them up.
        class_tables: without a coding, what values may mean: the first table that has all that are found counts.
        objects: whether all values but 0, of all files of a mask, are its one class.
    """

    format: str
    root: Path
    cases: tuple[SourceCase, ...]
    coding: LabelCoding | None
    modality: Modality
    group_name: str
    licence: str
    findings: tuple[Finding, ...] = ()
    channel_names: tuple[str, ...] = ()
    channels_by_number: bool = False
    class_files: bool = False
    hint: str = ""
    repairs: Mapping[str, CaseRepair] = dataclass_field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    raters: Literal["majority", "staple"] | None = None
    class_tables: tuple[Mapping[int, str], ...] = ()
    known_values: Mapping[int, str] = dataclass_field(default_factory=dict)
    class_regions: Mapping[str, tuple[str, ...]] = dataclass_field(default_factory=dict)
    objects: bool = False

    @property
    def labelled(self) -> tuple[SourceCase, ...]:
        return tuple(case for case in self.cases if case.label)

    def relative(self, path: Path) -> str:
        """A file's name as findings and plans give it."""
        return relative(path, self.root)


class Layout(Protocol):
    """One raw layout: how its cases are found in a folder, and how their files are read.

    Attributes:
        name: for prepare.layout.
        looks_like: the layout in one line, for people.
        rank: where several layouts match a folder, the one of the lowest rank is meant: 0 has names that nothing else
            has, 1 a description file of a known form, 2 is general.
    """

    @property
    def name(self) -> str: ...
    @property
    def looks_like(self) -> str: ...
    @property
    def rank(self) -> int: ...

    def matches(self, root: Path) -> bool:
        """Whether a folder has this layout; looks at names only (and into description files)."""

    def cases(self, root: Path) -> Listing:
        """List the cases of a folder, with or without masks. Raises CaseUNetError if there are none."""

    def discover(self, root: Path) -> SourceDataset:
        """The cases and what their masks mean."""

    def read_geometry(self, case: SourceCase) -> Geometry:
        """Of a case's image, from headers alone."""

    def read_image(self, case: SourceCase, rgb: bool, nan: float | None = None) -> ImageVolume:
        """The pixels of a case; ``rgb``: raster files are in colour; ``nan`` replaces NaN (None: an error)."""

    def read_mask(self, case: SourceCase, dataset: SourceDataset, image: Geometry) -> Mask:
        """The values of a case's mask, beside an image of the given geometry; the case has one."""


@dataclass(frozen=True)
class Origin:
    """The data set of a union that a case is from.

    Attributes:
        layout: that reads it.
        dataset: without its cases.
        case: the case's name there.
        ids: {class id there: class id of the union}.
    """

    layout: Layout
    dataset: SourceDataset
    case: str
    ids: Mapping[int, int]


def files_below(root: Path) -> list[Path]:
    """All files at any depth, links followed, without hidden ones and the shadows that macOS puts into archives; the
    folder of an OME-Zarr image counts as a file."""
    found, seen = [], set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        subfolders[:] = [] if real in seen else [n for n in subfolders if not n.startswith((".", "__MACOSX"))]
        whole = [name for name in subfolders if is_ome_zarr(Path(name))]
        subfolders[:] = [name for name in subfolders if name not in whole]
        names = [*names, *whole]
        if real not in seen:
            found += [Path(folder) / name for name in names if not name.startswith(".")]
        seen.add(real)
    return sorted(found)


def relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key under which seq_2 comes before seq_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def by_key(paths: Iterable[Path], key: Callable[[Path], str | None]) -> tuple[dict[str, Path], list[Path]]:
    """Files by what ``key`` makes of their names, in natural order, and those whose key another file has already.

    Files with the key None are left out.
    """
    found: dict[str, Path] = {}
    twice = []
    for path in sorted(paths, key=lambda path: natural(path.as_posix())):
        name = key(path)
        if name is None:
            continue
        if name in found:
            twice.append(path)
        else:
            found[name] = path
    return found, twice


def fault(kind: str, path: Path, root: Path, text: str, advice: str, case: str | None = None) -> Finding:
    """An error about a file, which a plan may leave out if a person says so."""
    return Finding(
        level="error", kind=kind, text=text, advice=advice, case=case, file=relative(path, root), ignore=True
    )


def extra_mask(path: Path, root: Path, expected: str) -> Finding:
    """A mask whose image is not there."""
    text = f"a mask without its image; {expected} was expected"
    told = fault("extra-mask", path, root, text, "Add the image, or move the mask away.")
    return told.model_copy(update={"harmless": True})


def twice(path: Path, root: Path, other: Path) -> Finding:
    """A file that claims the name of another, and may be meant in its place."""
    told = twice_apart(path, root, other)
    return told.model_copy(update={"rivals": (relative(other, root), relative(path, root))})


def twice_apart(path: Path, root: Path, other: Path) -> Finding:
    """A file that claims the name of another, but is of another part of a split."""
    advice = (
        "Keep one of them: name the other under ignore in a plan. If another layout is meant, name it: prepare.layout."
    )
    return fault("twice", path, root, f"is there twice, also as {relative(other, root)}", advice)


def left_out(paths: Iterable[Path], root: Path, why: str, level: Level = "note") -> tuple[Finding, ...]:
    """A note on the files of each folder that a layout leaves out; none if there are none."""
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path)
    findings = []
    for folder in sorted(folders)[:MAX_FOLDERS]:
        found = folders[folder]
        names = ", ".join(path.name for path in found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        where = "" if folder == root else f" in {relative(folder, root)}"
        files = tuple(relative(path, root) for path in found)
        text = f"{why}: {count_text(len(found), 'file')}{where}: {names}"
        findings.append(Finding(level=level, kind="left-out", text=text, file=files[0], files=files))
    rest = tuple(relative(path, root) for folder in sorted(folders)[MAX_FOLDERS:] for path in folders[folder])
    if rest:
        text = (
            f"{why}: {count_text(len(rest), 'file')} in {len(folders) - MAX_FOLDERS} more folders, {rest[0]} among them"
        )
        findings.append(Finding(level=level, kind="left-out", text=text, file=rest[0], files=rest))
    return tuple(findings)


def no_cases(root: Path, expected: str) -> CaseUNetError:
    return InvalidInputError(f"{root}: {expected} was expected in it or below, and not found.")
