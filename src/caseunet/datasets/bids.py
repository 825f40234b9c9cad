"""BIDS: images below ``sub-01/``, and masks that are its derivatives.

Layout: ``sub-01/anat/sub-01_T1w.nii.gz`` and ``derivatives/PIPELINE/sub-01/anat/sub-01_…_dseg.nii.gz``, or
``sub-01_…_label-lesion_mask.nii.gz`` with a file for each class. A mask belongs to the image whose subject, session and
other entities it names; which contrast is meant is asked where its name leaves it open. ``*_dseg.tsv`` names the
classes of the masks of its pipeline. Gorgolewski et al., "The Brain Imaging Data Structure", Scientific Data 2016.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from caseunet.datasets.class_names import find_description, unite_names
from caseunet.datasets.coding import coding_of
from caseunet.datasets.folder import coding_of_names, find_modality, read_folder_classes
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
)
from caseunet.datasets.named_files import ALL, is_chosen
from caseunet.datasets.reading import FileLayout
from caseunet.datasets.roles import Choice
from caseunet.errors import InvalidInputError
from caseunet.io import images
from caseunet.types import LabelCoding

MASKS = ("dseg", "mask")
OF_MASKS = frozenset({"space", "desc", "label", "res", "den", "atlas", "seg", "hemi"})
"""Entities that derivatives add to those of their image."""


UNNAMED = "derivatives"
"""Stands for the pipeline of derivatives that lie in no folder of one."""


@dataclass(frozen=True)
class BidsFile:
    """A file as its name tells.

    Attributes:
        entities: {"sub": "01", "ses": "1"}.
        words: what is no entity: the suffix, and what stands before it.
        pipeline: the folder of the derivatives that it lies in; "" for raw data.
    """

    path: Path
    entities: Mapping[str, str]
    words: tuple[str, ...]
    pipeline: str

    @property
    def suffix(self) -> str:
        return self.words[-1]

    @property
    def kind(self) -> tuple[str, str, str]:
        """What masks of one kind share."""
        return self.pipeline, self.entities.get("desc", ""), self.suffix

    @property
    def subject(self) -> str:
        return f"sub-{self.entities['sub']}"

    def belongs(self, image: "BidsFile") -> bool:
        """Whether this mask may be one of an image."""
        own = {key: value for key, value in self.entities.items() if key not in OF_MASKS}
        return (
            self.entities.get("ses") == image.entities.get("ses")
            and all(image.entities.get(key) == value for key, value in own.items())
            and (not self._contrasts or image.suffix.lower() in self._contrasts)
        )

    @property
    def _contrasts(self) -> set[str]:
        """The contrasts that the name tells; "space-T1w" tells one, "space-orig" and templates none."""
        space = self.entities.get("space", "")
        told = {word.lower() for word in self.words[:-1]}
        return told | ({space.lower()} if space.lower().startswith(("t1", "t2", "flair", "pd")) else set())


def _parse(path: Path, root: Path) -> BidsFile | None:
    tokens = images.stem(path).split("_")
    below = PurePosixPath(relative(path, root)).parts[:-1]
    entities = dict(token.split("-", 1) for token in tokens if "-" in token)
    words = tuple(token for token in tokens if "-" not in token)
    if not (images.is_volume(path) and tokens[0].startswith("sub-") and words and "-" not in tokens[-1]):
        return None
    if "derivatives" not in below and tokens[0] not in below:
        return None
    return BidsFile(path, entities, words, _pipeline(below))


def _pipeline(folders: Sequence[str]) -> str:
    """The folder of the derivatives among a file's folders; "" where it is no derivative."""
    if "derivatives" not in folders:
        return ""
    place = folders.index("derivatives")
    return "".join(folders[place + 1 : place + 2]) or UNNAMED


def _sort(root: Path, choice: Choice) -> tuple[list[BidsFile], list[BidsFile], list[Path]]:
    """Images, masks and all other image files."""
    found: tuple[list[BidsFile], list[BidsFile], list[Path]] = ([], [], [])
    for path in files_below(root):
        file, below = _parse(path, root), PurePosixPath(relative(path, root))
        if file is not None and not file.pipeline and file.suffix not in MASKS and is_chosen(below, choice.images):
            found[0].append(file)
        elif file is not None and file.pipeline and file.suffix in MASKS and is_chosen(below, choice.masks):
            found[1].append(file)
        elif images.is_image(path) or images.is_unread(path):
            found[2].append(path)
    return found


class BidsLayout(FileLayout):
    """BIDS with masks among its derivatives."""

    name = "bids"
    looks_like = "sub-NN/anat/sub-NN_T1w.nii.gz and derivatives/NAME/sub-NN/anat/sub-NN_…_dseg.nii.gz (or _mask.nii.gz)"
    rank = 1

    def matches(self, root: Path) -> bool:
        return self.selects(root, ALL)

    def selects(self, root: Path, choice: Choice) -> bool:
        """Whether a choice leaves images and masks."""
        pictures, masks, _ = _sort(root, choice)
        subjects = {file.subject for file in pictures}
        return any(mask.subject in subjects for mask in masks)

    def count_roles(self, root: Path) -> tuple[int, int]:
        """How many files are named as its images, and as its masks."""
        pictures, masks, _ = _sort(root, ALL)
        return len(pictures), len(masks)

    def cases(self, root: Path, choice: Choice = ALL) -> Listing:
        """List the images of the contrasts that have masks, under their names.

        Raises:
            CaseUNetError: there are none, or it is open which image or mask is meant.
        """
        return _list(root, choice)

    def discover(self, root: Path, choice: Choice = ALL) -> SourceDataset:
        """The cases, and what their masks mean; ``choice`` leaves out files, or names the contrasts that are channels.

        Raises:
            CaseUNetError: see :meth:`cases`; or tables of classes contradict each other.
        """
        listed, findings = _list(root, choice)
        modality, told = find_modality(root, listed)
        coding, classes = _name_classes(root, listed)
        table = _read_table(root, listed) if coding is None else {}
        return SourceDataset(
            format=self.name,
            root=root,
            cases=listed,
            coding=coding,
            modality=modality,
            group_name="subject",
            licence="",
            findings=(*findings, *told),
            channel_names=choice.channels,
            class_tables=(table,) if table else (),
            objects=classes == 1,
            class_files=classes > 1,
        )


def _list(root: Path, choice: Choice) -> Listing:
    pictures, masks, others = _sort(root, choice)
    if not pictures:
        raise no_cases(root, BidsLayout.looks_like)
    _ask_for_kind(root, masks)
    labels: dict[Path, list[Path]] = {}
    findings: list[Finding] = []
    for mask in masks:
        fitting = [image for image in pictures if image.subject == mask.subject and mask.belongs(image)]
        if choice.channels:
            fitting = [image for image in fitting if image.suffix == choice.channels[0]]
        if len(fitting) > 1:
            raise _open_question(root, mask, fitting)
        if fitting:
            labels.setdefault(fitting[0].path, []).append(mask.path)
        else:
            findings.append(extra_mask(mask.path, root, f"an image of {mask.subject}"))
    kinds = {(image.suffix, *image.path.parts[-2:-1]) for image in pictures if image.path in labels}
    listed = []
    for image in pictures:
        if labels and (image.suffix, *image.path.parts[-2:-1]) not in kinds:
            others.append(image.path)
            continue
        files, missing = _join(image, pictures, choice.channels)
        if missing:
            text = f"case {images.stem(image.path)}: channel {', '.join(missing)} is missing"
            findings.append(fault("channels", image.path, root, text, "Add the channel, or leave the case out."))
            continue
        label = tuple(labels.get(image.path, ()))
        listed.append(SourceCase(images.stem(image.path), files, label, image.subject))
    listed.sort(key=lambda case: natural(case.id))
    used = {path for case in listed for path in case.image}
    findings += left_out([p for p in others if p not in used], root, "no image with a mask and no mask, and left out")
    return Listing(tuple(listed), tuple(findings))


def _join(image: BidsFile, pictures: Iterable[BidsFile], channels: Sequence[str]) -> tuple[tuple[Path, ...], list[str]]:
    """The files of the channels of an image, and the channels that are not there."""
    if not channels:
        return (image.path,), []
    here = {file.suffix: file.path for file in pictures if file.entities == image.entities}
    missing = [name for name in channels if name not in here]
    return tuple(here[name] for name in channels if name in here), missing


def _ask_for_kind(root: Path, masks: Sequence[BidsFile]) -> None:
    """Make sure that masks are of one kind.

    Raises:
        CaseUNetError: they are of several.
    """
    kinds = {mask.kind: mask for mask in masks}
    if len(kinds) > 1:
        pipelines = Counter(pipeline for pipeline, _, _ in kinds)
        shown = [
            f"derivatives/{mask.pipeline}" if pipelines[mask.pipeline] == 1 else f"'*{_ending(mask)}.*'"
            for mask in kinds.values()
        ]
        raise InvalidInputError(
            f"{root}: has masks of {len(kinds)} kinds. Say which are meant, with prepare.masks: {' or '.join(shown)}",
            options=("prepare.masks",),
        )


def _ending(mask: BidsFile) -> str:
    return f"_desc-{mask.entities['desc']}_{mask.suffix}" if "desc" in mask.entities else f"_{mask.suffix}"


def _open_question(root: Path, mask: BidsFile, fitting: Sequence[BidsFile]) -> InvalidInputError:
    names = ", ".join(relative(image.path, root) for image in fitting)
    ways = " or ".join(dict.fromkeys(f"'*_{image.suffix}.*'" for image in fitting))
    channels = ", ".join(dict.fromkeys(image.suffix for image in fitting))
    return InvalidInputError(
        f"{root}: {relative(mask.path, root)} may be the mask of {names}. Say which is meant, with prepare.images: "
        f"{ways}; or take all as channels, with prepare.channels: [{channels}]",
        options=("prepare.images", "prepare.channels"),
    )


def _name_classes(root: Path, listed: tuple[SourceCase, ...]) -> tuple[LabelCoding | None, int]:
    """The classes that files name, and how many of them have files of their own."""
    paths = [path for case in listed for path in case.label]
    files = [file for path in paths if (file := _parse(path, root)) is not None]
    own = find_description(root)
    if any(file.suffix == "dseg" for file in files):
        return (None if own is None else read_folder_classes(own, listed)), 0
    names = sorted({file.entities.get("label", "") for file in files})
    if len(names) > 1 and all(names):
        return coding_of_names(root, names)[0], len(names)
    if own is not None:
        return read_folder_classes(own, listed), 0
    return coding_of({0: "background", 1: (names[0] if names else "") or "foreground"}), 1


def _read_table(root: Path, listed: Iterable[SourceCase]) -> dict[int, str]:
    """{value: name} of the tables of the masks' own derivatives; {} where there is none.

    A table is of the masks that have all entities of its name, and of those below ``derivatives/PIPELINE/`` if it lies
    there itself.

    Raises:
        CaseUNetError: two of them contradict each other.
    """
    parsed = (_parse(path, root) for case in listed for path in case.label)
    masks = {(file.pipeline, *sorted(file.entities.items())) for file in parsed if file is not None}
    tables = {}
    for path in files_below(root):
        if not path.name.endswith("dseg.tsv"):
            continue
        pipeline = _pipeline(PurePosixPath(relative(path, root)).parts[:-1])
        entities = {tuple(token.split("-", 1)) for token in path.stem.split("_") if "-" in token}
        if not any(pipeline in ("", UNNAMED, own) and entities <= set(told) for own, *told in masks):
            continue
        rows = csv.DictReader(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), delimiter="\t")
        known = [(row.get("index") or "", row.get("name") or "") for row in rows]
        tables[relative(path, root)] = [
            (int(index), name) for index, name in known if index.isdecimal() and int(index) and name
        ]
    return unite_names(tables, str(root), "Mend or take out one of the tables, or name the classes in a labels.json.")


BIDS = BidsLayout()
