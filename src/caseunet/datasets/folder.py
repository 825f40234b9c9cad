"""Any folder of images and masks, paired by name.

Layout: folders of images and of masks whose names tell it (``images/`` and ``masks/``, ``ISIC_Training_Input/`` and
``ISIC_Training_GroundTruth/``), also below ``train/`` and ``val/``; images and masks together, the masks named like
their images with an ending such as ``_mask``; or a folder for each case, with ``imaging.nii.gz`` and
``segmentation.nii.gz``, with a file for each channel, or with a file for each class. What names do not tell, a person
says with patterns. Images are PNG, JPEG, TIFF, BMP, GIF, NIfTI, NRRD or MetaImage. Masks hold ids, 0 and 255, or
colours. A ``labels.json`` in the folder names the classes; without it they are found in the masks. A split that the
folders name is kept.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from caseunet.datasets.class_files import class_of, tell_absent
from caseunet.datasets.class_names import (
    ClassEntry,
    class_entries,
    find_description,
    is_ignored,
    read_class_description,
    real_classes,
    spelling_notes,
    unify_spellings,
)
from caseunet.datasets.coding import coding_of, pack_color, read_labels_json
from caseunet.datasets.known_values import find_known_values
from caseunet.datasets.layout import (
    Finding,
    Listing,
    SourceCase,
    SourceDataset,
    files_below,
    relative,
)
from caseunet.datasets.names import (
    describe_groups,
)
from caseunet.datasets.polygons import class_names
from caseunet.datasets.reading import FileLayout
from caseunet.datasets.roles import Choice, sort_files
from caseunet.datasets.survey import Survey, describe_choice, describe_files, survey_files
from caseunet.errors import CaseUNetError, InvalidInputError
from caseunet.io import images, raster
from caseunet.io.raster_file import find_pages
from caseunet.types import IGNORE, LabelCoding, Modality

AIR = -500
"""Value down to which volumes of CT reach and those of MR do not."""

MAX_SAMPLED = 12
"""Volumes that are read to tell CT from MR."""

MAX_SIBLINGS, MAX_SHOWN = 4, 12
"""Folders of one kind, and kinds of files, that are named one by one."""


def coding_of_names(root: Path, names: Sequence[str]) -> tuple[LabelCoding, list[Finding]]:
    """The coding of named files or outlines, and what is said of names that are no class.

    Raises:
        CaseUNetError: no class is left.
    """
    spellings = [Finding(level="note", kind="spellings", text=text) for text in spelling_notes(names)]
    names = list(dict.fromkeys(unify_spellings(names).values()))
    classes = real_classes(names)
    if not classes:
        raise InvalidInputError(f"{root}: there is no class beside {', '.join(names)}, so there is nothing to learn.")
    notes = [
        Finding(
            level="note",
            kind="no-class",
            text=f"{name} is no class; "
            + ("its pixels count as not judged" if is_ignored(name) else "what no class covers is the background"),
        )
        for name in names
        if name not in classes
    ]
    ignore = [IGNORE] if any(is_ignored(name) for name in names) else []
    return coding_of({0: "background", **dict(enumerate(classes, start=1))}, ignore=ignore), [*spellings, *notes]


def _lacking(listed: Sequence[SourceCase], coding: LabelCoding) -> list[Finding]:
    """Warnings on classes of which some cases have no file."""
    classes = {name: number for number, name in enumerate(coding.label_map.names) if number}
    found = {case.id: {class_of(path, classes) for path in case.label} for case in listed if case.label}
    return tell_absent(found, classes, "file")


def _in_color(path: Path) -> bool:
    try:
        return raster.is_colored(path)
    except CaseUNetError:
        return False


def read_folder_classes(path: Path, listed: tuple[SourceCase, ...]) -> LabelCoding:
    """The classes of labels.json: by colour if it names colours and the masks hold them, else by id."""
    entries = class_entries(read_class_description(path), path)
    named = any(entry.color is not None for entry in entries)
    colored = named and (_masks_in_color(listed) or _masks_in_grey_colors(listed, entries))
    return read_labels_json(path, colored=colored)


def _masks_in_grey_colors(listed: Sequence[SourceCase], entries: Sequence[ClassEntry]) -> bool:
    """Whether the first mask whose values are not all ids holds the classes' colours, which are shades of grey."""
    ids = {entry.value for entry in entries}
    colors = {pack_color(entry.color) for entry in entries if entry.color is not None and len(entry.color) == 3}
    for case in listed:
        if not case.label or not raster.is_raster(case.label[0]):
            continue
        try:
            values = set(np.unique(raster.read_raster_mask(case.label[0], colored=True).label_values).tolist())
        except CaseUNetError:
            continue
        if not {value & 255 for value in values} <= ids:
            return values <= colors
    return False


def _masks_in_color(listed: tuple[SourceCase, ...]) -> bool:
    """Whether any mask holds colours; grey saved as colour does not."""
    for case in listed:
        if case.label and raster.is_raster(case.label[0]):
            try:
                if raster.is_colored(case.label[0]) and raster.read_raster_mask(case.label[0]).colored:
                    return True
            except CaseUNetError:
                continue
    return False


def find_modality(root: Path, listed: tuple[SourceCase, ...]) -> tuple[Modality, list[Finding]]:
    """Colour or grey by the files' headers; for volumes CT or MR by the values of most of those with a mask."""
    paths = [case.image[0] for case in listed if case.label] or [case.image[0] for case in listed]
    if not images.is_volume(paths[0]):
        return ("rgb" if any(_in_color(path) for path in paths if raster.is_raster(path)) else "gray"), []
    reaches: dict[Path, float] = {}
    for path in paths[:: -(-len(paths) // MAX_SAMPLED)]:
        try:
            reaches[path] = float(images.read_image_file(path, rgb=False).pixels.min())
        except CaseUNetError:
            continue
    if not reaches:
        return "mr", []
    is_air = {path: lowest <= AIR for path, lowest in reaches.items()}
    modality: Modality = "ct" if 2 * sum(is_air.values()) >= len(is_air) else "mr"
    other = "mr" if modality == "ct" else "ct"
    unlike = [path for path, has_air in is_air.items() if has_air != (modality == "ct")]
    typical = next(path for path in reaches if path not in unlike)
    verb = "reaches" if modality == "ct" else "does not go below"
    text = f"taken for {modality.upper()}, since {relative(typical, root)} {verb} {reaches[typical]:g}"
    advice = f"otherwise set prepare.modality: {other}"
    if not unlike:
        return modality, [Finding(level="note", kind="modality", text=f"{text}; {advice}")]
    shown = ", ".join(f"{relative(path, root)} ({reaches[path]:g})" for path in unlike[:MAX_SIBLINGS])
    more = f" and {len(unlike) - MAX_SIBLINGS} more" if len(unlike) > MAX_SIBLINGS else ""
    text += (
        f"; the lowest values of {len(unlike)} of {len(reaches)} images that were looked at are as those of "
        f"{other.upper()}: {shown}{more}"
    )
    advice = f"Look whether they are in other units or of another kind; {advice}."
    files = tuple(relative(path, root) for path in unlike)
    return modality, [Finding(level="warning", kind="modality", text=text, advice=advice, files=files)]


def _tell_pages(root: Path, listed: Sequence[SourceCase]) -> list[Finding]:
    """A note on TIFF files of several pages, as the first image is one."""
    first = listed[0].image[0]
    try:
        pages = len(find_pages(first))
    except CaseUNetError:
        return []
    text = f"pages of a TIFF file are slices of one case: {relative(first, root)} has {pages}"
    return [Finding(level="note", kind="pages", text=text)] if pages > 1 else []


def _name_classes(root: Path, survey: Survey) -> tuple[LabelCoding | None, list[Finding]]:
    """The classes that labels.json, outlines or the names of files tell, None if none does; and what is said of them.

    Raises:
        CaseUNetError: outlines are empty, or no class is left.
    """
    listed, notes = survey.listing.cases, list[Finding]()
    own = find_description(root)
    coding = read_folder_classes(own, listed) if own is not None else None
    if survey.outlines:
        names = class_names(sorted({path for case in listed for path in case.label}))
        if not names:
            raise InvalidInputError(f"{root}: its files of outlines are empty, so there is nothing to learn.")
        text = f"masks are outlines; the classes are {', '.join(real_classes(names))}"
        notes.append(Finding(level="note", kind="outlines", text=text))
        coding, told = coding_of_names(root, names)
        notes += told
    if survey.class_names:
        classes = dict.fromkeys(unify_spellings(survey.class_names).values())
        text = f"each class has a file of its own; the classes are {', '.join(real_classes(classes))}"
        notes.append(Finding(level="note", kind="class-files", text=text))
        coding, told = coding_of_names(root, survey.class_names)
        notes += [*told, *_lacking(listed, coding)]
    return coding, notes


class FolderLayout(FileLayout):
    """Images and masks in folders, matched by their names."""

    name = "folder"
    looks_like = (
        "images/ and masks/ (or labels/, imagesTr/ and labelsTr/ …) with files of the same names, or both in a "
        "folder for each case"
    )
    rank = 2

    def matches(self, root: Path) -> bool:
        survey = survey_files(root)
        return bool(survey.question) or any(case.label for case in survey.listing.cases)

    def count_roles(self, root: Path) -> tuple[int, int]:
        """How many files are images by their names, and how many masks."""
        roles = sort_files(root, [path for path in files_below(root) if images.is_image(path)], Choice())
        return len(roles.images), len(roles.masks)

    def cases(self, root: Path) -> Listing:
        """List the images; ``id`` is the path without suffix and without "images/", or that of a case's folder.

        Names that end in a number are taken for the slices or frames of the group that stands before it.

        Raises:
            CaseUNetError: there are no images.
        """
        listing = survey_files(root).listing
        if not listing.cases and not any(finding.level == "error" for finding in listing.findings):
            raise InvalidInputError(f"{root}: no images beside masks were found in it. {describe_files(root)}")
        return listing

    def discover(self, root: Path, choice: Choice = Choice()) -> SourceDataset:  # noqa: B008
        """The cases, and what their masks mean.

        Raises:
            CaseUNetError: names leave open which files are the masks; the message asks.
        """
        survey = survey_files(root, choice)
        if survey.question:
            raise InvalidInputError(survey.question, options=("prepare.masks",))
        listed, findings = survey.listing
        if not listed:
            raise InvalidInputError(f"{root}: {describe_choice(root, choice)}")
        modality, notes = find_modality(root, listed)
        notes += _tell_pages(root, listed)
        coding, told = _name_classes(root, survey)
        notes += told
        return SourceDataset(
            format="folder",
            root=root,
            cases=listed,
            coding=coding,
            modality=modality,
            group_name="group",
            licence="",
            findings=(*findings, *notes, *describe_groups(listed)),
            channel_names=survey.channels,
            class_files=bool(survey.class_names),
            known_values=find_known_values(listed, modality),
        )


FOLDER = FolderLayout()
