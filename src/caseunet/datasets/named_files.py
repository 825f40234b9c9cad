"""Public data sets that the names of their files tell: what their layouts have in common."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Protocol

from caseunet.datasets.class_names import class_entries, find_description, read_class_description
from caseunet.datasets.coding import coding_of
from caseunet.datasets.file_patterns import match_part
from caseunet.datasets.folder import find_modality, read_folder_classes
from caseunet.datasets.layout import (
    Finding,
    Listing,
    SourceCase,
    SourceDataset,
    extra_mask,
    fault,
    files_below,
    left_out,
    natural,
    no_cases,
    relative,
    twice,
)
from caseunet.datasets.names import normal, part_of
from caseunet.datasets.reading import FileLayout
from caseunet.datasets.roles import Choice
from caseunet.io import images
from caseunet.progress import count_text
from caseunet.types import LabelCoding, Modality

ALL = Choice()
"""Nothing is chosen, and nothing left out."""


def compile_path(pattern: str) -> re.Pattern[str]:
    """A pattern for a path below the raw folder, the first of its folders at any depth, capitals or not."""
    return re.compile(rf"(?:^|.*/){pattern}$", re.IGNORECASE)


class NamedLayout(FileLayout):
    """A public data set whose images and masks are told by their paths.

    Attributes:
        image: of a path below the raw folder; its group "case" names the case, "channel" the channel of the file.
        mask: the same for masks; several of a case are of several people, or of its objects.
        mask_of: what a mask is called, for people.
        class_tables: what values mean if no labels.json tells: the first with all values that are found.
        class_regions: structures that overlap, and the names of the tables' classes that make them up.
        objects: the one class of all values but 0, where they number objects; "" where values are classes.
        fixed_modality: of all its images; None where their files tell.
        group_name: what a group is, for people.
        several: whether an image may have several masks.
    """

    name = ""
    looks_like = ""
    rank = 0
    image: re.Pattern[str]
    mask: re.Pattern[str]
    mask_of = ""
    class_tables: tuple[Mapping[int, str], ...] = ()
    class_regions: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    objects = ""
    fixed_modality: Modality | None = None
    group_name = "patient"
    several = False

    def find_group(self, case: str, root: Path) -> str:
        """The patient that a case is of."""
        return case

    def find_part(self, path: PurePosixPath) -> str:
        """The part of a split that a case's first image is in, by its path below the raw folder."""
        return part_of(path)

    def find_tables(self, cases: Sequence[SourceCase]) -> tuple[Mapping[int, str], ...]:
        """What values may mean in these cases."""
        return self.class_tables

    def matches(self, root: Path) -> bool:
        """Whether an image and its mask are there."""
        pictures, masks, _ = self._sort(root, ALL)
        return not pictures.keys().isdisjoint(masks)

    def selects(self, root: Path, choice: Choice) -> bool:
        """Whether a choice leaves images and masks of this layout."""
        pictures, masks, _ = self._sort(root, choice)
        names = {self._channel(path, root) for paths in pictures.values() for path in paths}
        return not pictures.keys().isdisjoint(masks) and {normal(name) for name in choice.channels} <= names

    def count_roles(self, root: Path) -> tuple[int, int]:
        """How many files are named as its images, and as its masks."""
        pictures, masks, _ = self._sort(root, ALL)
        return sum(map(len, pictures.values())), sum(map(len, masks.values()))

    def cases(self, root: Path, choice: Choice = ALL) -> Listing:
        """List the cases.

        Raises:
            CaseUNetError: there are none.
        """
        return self._list(root, choice)[0]

    def discover(self, root: Path, choice: Choice = ALL) -> SourceDataset:
        """The cases, and what their masks mean; ``choice`` leaves out files, or says the order of channels."""
        (listed, findings), channels = self._list(root, choice)
        modality, told = (self.fixed_modality, []) if self.fixed_modality else find_modality(root, listed)
        coding, objects = self._name_classes(root, listed)
        return SourceDataset(
            format=self.name,
            root=root,
            cases=listed,
            coding=coding,
            modality=modality,
            group_name=self.group_name,
            licence="",
            findings=(*findings, *told),
            channel_names=channels,
            class_tables=self.find_tables(listed),
            class_regions=dict(self.class_regions),
            objects=objects,
        )

    def _name_classes(self, root: Path, listed: tuple[SourceCase, ...]) -> tuple[LabelCoding | None, bool]:
        """The classes as far as files tell, and whether all values but 0 are one of them."""
        own = find_description(root)
        if not self.objects:
            return (None if own is None else read_folder_classes(own, listed)), False
        entries = [] if own is None else class_entries(read_class_description(own), own)
        if own is not None and len(entries) > 2:
            return read_folder_classes(own, listed), False
        return coding_of({0: "background", 1: entries[1].name if len(entries) == 2 else self.objects}), True

    def _sort(self, root: Path, choice: Choice) -> tuple[dict[str, list[Path]], dict[str, list[Path]], list[Path]]:
        """The images and masks of each case, and all other files."""
        pictures: dict[str, list[Path]] = {}
        masks: dict[str, list[Path]] = {}
        others = []
        base = f"{root.as_posix()}/"
        for path in files_below(root):
            below = path.as_posix().removeprefix(base)  # there may be 100,000 files
            if (found := self.mask.match(below)) and is_chosen(PurePosixPath(below), choice.masks):
                masks.setdefault(found["case"], []).append(path)
            elif (found := self.image.match(below)) and is_chosen(PurePosixPath(below), choice.images):
                pictures.setdefault(found["case"], []).append(path)
            else:
                others.append(path)
        return pictures, masks, others

    def _list(self, root: Path, choice: Choice) -> tuple[Listing, tuple[str, ...]]:
        """The cases and findings, and the names of channels."""
        pictures, masks, others = self._sort(root, choice)
        if not pictures:
            raise no_cases(root, self.looks_like)
        channels = tuple(map(normal, choice.channels)) or self._find_channels(pictures, root)
        cases: list[SourceCase] = []
        findings: list[Finding] = []
        for case, paths in pictures.items():
            image, faults, unused = self._join(case, paths, root, channels)
            findings += faults
            others += unused
            label = sorted(masks.pop(case, []), key=lambda path: natural(path.name))
            if not self.several and len(label) > 1:
                findings += [twice(path, root, label[0]) for path in label[1:]]
                label = label[:1]
            if image:
                part = self.find_part(PurePosixPath(relative(image[0], root)))
                part = "test" if part == "val" and not label else part
                found = SourceCase(case, image, tuple(label), self.find_group(case, root), part)
                cases.append(found)
        findings += [extra_mask(path, root, f"the image of {case}") for case in masks for path in masks[case]]
        places = {path.parent for case in cases for path in (*case.image, *case.label)}
        left = [path for path in others if images.is_image(path) or images.is_unread(path)]
        beside = [path for path in left if path.parent in places or places & set(path.parents) - {root}]
        why = f"no image or mask of the layout {self.name}, and left out"
        findings += left_out([path for path in left if path not in beside], root, why, "warning")
        findings += left_out(beside, root, why)
        cases.sort(key=lambda case: natural(case.id))
        return Listing(tuple(cases), tuple(findings)), channels

    def _channel(self, path: Path, root: Path) -> str:
        found = self.image.match(relative(path, root))
        return normal(found.groupdict().get("channel") or "") if found else ""

    def _find_channels(self, pictures: Mapping[str, Sequence[Path]], root: Path) -> tuple[str, ...]:
        """The channels that most cases have."""
        counts = Counter(name for paths in pictures.values() for name in {self._channel(path, root) for path in paths})
        return tuple(sorted(name for name, number in counts.items() if name and 2 * number > len(pictures)))

    def _join(
        self, case: str, paths: Sequence[Path], root: Path, channels: Sequence[str]
    ) -> tuple[tuple[Path, ...], list[Finding], list[Path]]:
        """The files of an image, what is wrong with them, and those of other channels."""
        if not channels:
            return (paths[0],), [twice(path, root, paths[0]) for path in paths[1:]], []
        found: dict[str, Path] = {}
        findings = []
        for path in paths:
            if found.setdefault(self._channel(path, root), path) is not path:
                findings.append(twice(path, root, found[self._channel(path, root)]))
        unused = [path for name, path in found.items() if name not in channels]
        missing = [name for name in channels if name not in found]
        if missing:
            text = f"case {case}: channel {', '.join(missing)} is missing; each image has {', '.join(channels)}"
            told = fault("channels", paths[0], root, text, "Add the channel, or leave the case out.")
            return (), [*findings, told.model_copy(update={"files": tuple(relative(p, root) for p in paths)})], []
        return tuple(found[name] for name in channels), findings, unused


def is_chosen(path: PurePosixPath, patterns: Sequence[str]) -> bool:
    """Whether a path below the raw folder is one of those that patterns select; without patterns all are."""
    return not patterns or match_part(path, patterns) is not None


class CountingLayout(Protocol):
    """A layout that counts the files that are named as its own."""

    @property
    def name(self) -> str: ...
    @property
    def looks_like(self) -> str: ...

    def count_roles(self, root: Path) -> tuple[int, int]:
        """How many files are named as its images, and as its masks."""


def describe_nearest(layouts: Sequence[CountingLayout], root: Path) -> str:
    """What the layout that a folder is nearest to lacks; "" where nothing is named as one of them names it."""
    counts = [(layout, *layout.count_roles(root)) for layout in layouts]
    layout, pictures, masks = max(counts, key=lambda entry: (min(entry[1:]), max(entry[1:])))
    if not pictures and not masks:
        return ""
    if pictures and masks:
        told = f"{count_text(pictures, 'image')} and {count_text(masks, 'mask')}, but no two of one case"
    else:
        told = (
            f"{count_text(pictures, 'image')}, but no mask"
            if pictures
            else f"{count_text(masks, 'mask')}, but no image"
        )
    return f"The nearest layout is {layout.name} ({layout.looks_like}): there are {told}."
