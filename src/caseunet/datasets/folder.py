"""Any folder of images and masks, paired by name.

Layout: folders of images and of masks whose names tell it (``images/`` and ``masks/``, ``ISIC_Training_Input/`` and
``ISIC_Training_GroundTruth/``), also below ``train/`` and ``val/``; images and masks together, the masks named like
their images with an ending such as ``_mask``; or a folder for each case, with ``imaging.nii.gz`` and
``segmentation.nii.gz``, with a file for each channel, or with a file for each class. What names do not tell, a person
says with patterns. Images are PNG, JPEG, TIFF, BMP, GIF, NIfTI, NRRD or MetaImage. Masks hold ids, 0 and 255, or
colours. A ``labels.json`` in the folder names the classes; without it they are found in the masks. A split that the
folders name is kept.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from caseunet.datasets.channels import Item, channel_name, find_channels, group_channels, join_channels
from caseunet.datasets.class_files import class_of
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
    relative,
    twice,
)
from caseunet.datasets.names import (
    describe_groups,
    find_groups,
    folder_role,
    is_rater,
    normal,
    part_of,
    part_of_name,
    part_of_outlines,
    warn_of_folders,
    warn_of_parts,
)
from caseunet.datasets.outlines import find_outlines
from caseunet.datasets.pairing import Pairs, pair
from caseunet.datasets.polygons import class_names
from caseunet.datasets.reading import FileLayout
from caseunet.datasets.roles import Choice, Roles, sort_files
from caseunet.datasets.split_tables import with_table
from caseunet.errors import CaseUNetError, InvalidInputError
from caseunet.io import dicom_file, images, raster
from caseunet.progress import count_text
from caseunet.types import IGNORE, LabelCoding, Modality, name_key

BESIDE = (".xml", ".json", ".txt", ".csv")
"""What may be annotations, or anything else."""

AIR = -500
"""Value down to which volumes of CT reach and those of MR do not."""

MAX_SAMPLED = 12
"""Volumes that are read to tell CT from MR."""

MAX_SIBLINGS, MAX_SHOWN = 4, 12
"""Folders of one kind, and kinds of files, that are named one by one."""


@dataclass(frozen=True)
class Survey:
    """What the names of a folder's files tell.

    Attributes:
        listing: cases and findings.
        class_names: where each class has a file of its own, the classes.
        channels: how the names of the channels' files end.
        question: what has to be asked before masks can be used; "" for nothing.
        outlines: whether the masks are outlines of COCO, CVAT, Label Studio, LabelMe or YOLO.
        masks: the files that are masks by their names, or as chosen.
    """

    listing: Listing
    class_names: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    question: str = ""
    outlines: bool = False
    masks: tuple[Path, ...] = ()


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
    findings = []
    for name, number in classes.items():
        without = [case for case, numbers in found.items() if number not in numbers]
        if without:
            text = f"{count_text(len(without), 'case')} without a file of {name}, which counts as empty: {without[0]}"
            more = f" and {len(without) - 1} more" if len(without) > 1 else ""
            findings.append(Finding(level="warning", kind="class-missing", text=text + more))
    return findings


def survey_files(root: Path, choice: Choice = Choice()) -> Survey:  # noqa: B008
    """What the names of all files below a folder tell; no file is opened."""
    files = files_below(root)
    readable = [path for path in files if images.is_image(path)]
    roles = sort_files(root, [path for path in readable if choice or not _is_superpixels(path)], choice)
    pictures, findings = _without_twice(roles.images or _of_unknown(roles), root)
    channels = tuple(channel_name(pattern) for pattern in choice.channels) or find_channels(pictures, roles.masks)
    broken: set[Path] = set()
    if channels:
        pictures, broken, faults = _join(pictures, channels, root)
        findings += faults
    by_set: dict[str, list[Item]] = {}
    for mask in roles.masks:
        by_set.setdefault("" if choice.masks else _set_of(mask), []).append(mask)
    pairs = {name: pair(pictures, masks) for name, masks in by_set.items()}
    if not roles.images and not choice.images:
        pictures, pairs = _only_paired(pictures, pairs)
    question = _question(root, pictures, by_set, pairs)
    labels: dict[int, list[tuple[Item, str]]] = {}
    for name, found in pairs.items():
        for picture, told in found.masks.items():
            labels.setdefault(picture, []).extend((by_set[name][n], rest) for n, rest in told)
    by_file = _class_names(labels)
    outlines = not labels and not roles.masks and not choice.masks
    if outlines:
        pictures = pictures or _without_twice(_of_unknown(roles), root)[0]
        labels, said, asked = find_outlines(root, files, pictures)
        findings += said
        question = question or asked
    fields = pair(pictures, roles.fields)
    field_of = {n: roles.fields[told[0][0]].paths[0] for n, told in fields.masks.items()}
    alone = {picture for found in pairs.values() for picture in found.alone}
    listed = [case for case in _cases(root, pictures, labels, alone, field_of) if case.image[0] not in broken]
    listed, lists = _parts_of_lists(root, files, listed)
    listed, table = with_table(root, listed)
    findings += [*lists, *table, *warn_of_parts(listed), *warn_of_folders(listed)]
    for name, masks in by_set.items():
        paired = pairs[name].pairs
        unpaired = [mask for n, mask in enumerate(masks) if n not in paired]
        findings += [extra_mask(m.paths[0], root, f"an image of the name {m.key}") for m in unpaired]
    paired = fields.pairs
    if choice.fields and not roles.fields:
        raise InvalidInputError(
            f"{root}: no file fits prepare.field_of_view = {', '.join(choice.fields)}. {describe_files(root)}"
        )
    without = [listed_case for listed_case in listed if choice.fields and listed_case.field is None]
    findings += [
        Finding(
            level="warning",
            kind="no-field",
            text="has no field of view, though others have: all of it counts as judged",
            case=listed_case.id,
        )
        for listed_case in without
    ]
    alone_fields = [field for n, field in enumerate(roles.fields) if n not in paired]
    findings += [extra_mask(f.paths[0], root, f"an image of the name {f.key}") for f in alone_fields]
    findings += _left_out(root, files, readable, roles, listed, findings)
    if outlines and not labels and not roles.images:
        listed = []
    masks_found = tuple(path for mask in roles.masks for path in mask.paths)
    drawn = outlines and bool(labels)
    return Survey(Listing(tuple(listed), tuple(findings)), by_file, channels, question, drawn, masks_found)


def _is_superpixels(path: Path) -> bool:
    """Whether a file is what ISIC adds to its photographs: "ISIC_0000000_superpixels.png"."""
    return images.stem(path).lower().endswith("_superpixels")


def _of_unknown(roles: Roles) -> tuple[Item, ...]:
    """Images in folders whose names tell nothing, where no other files are images."""
    return tuple(item if item.place else replace(item, place=item.folder) for item in roles.unknown)


def _without_twice(pictures: Sequence[Item], root: Path) -> tuple[list[Item], list[Finding]]:
    """The images without those whose name another has already."""
    first: dict[str, Item] = {}
    findings = []
    for item in sorted(pictures, key=lambda item: natural(item.paths[0].as_posix())):
        if first.setdefault(item.key, item) is not item:
            findings.append(twice(item.paths[0], root, first[item.key].paths[0]))
    return list(first.values()), findings


def _join(pictures: Sequence[Item], channels: Sequence[str], root: Path) -> tuple[list[Item], set[Path], list[Finding]]:
    """Images of all channels; of those that lack one, the first file, and what is said of them."""
    found, _ = join_channels(pictures, channels)
    names = ", ".join(channels)
    text = f"an image has {len(channels)} channels, each in a file of its own, by the ends of names: {names}"
    advice = f"Other channels, or another order: prepare.channels: [{names}]"
    findings = [Finding(level="note", kind="found-channels", text=text, advice=advice)]
    broken: set[Path] = set()
    for key, files in found.items():
        missing = ", ".join(name for n, name in enumerate(channels) if n not in files)
        if missing:
            paths = [item.paths[0] for item in files.values()]
            broken.add(group_channels(key, files).paths[0])
            name = PurePosixPath(key).name
            text = f"case {name}: channel {missing} is missing; each image has {names}"
            told = fault("channels", paths[0], root, text, "Add the channel, or leave the case out.")
            findings.append(told.model_copy(update={"files": tuple(relative(path, root) for path in paths)}))
    return [group_channels(key, files) for key, files in found.items()], broken, findings


def _set_of(mask: Item) -> str:
    """The name of the folder that says that its files are masks; "" for masks beside their images."""
    name = PurePosixPath(mask.place).name
    return normal(name) if folder_role(name) == "mask" else ""


def _only_paired(pictures: list[Item], pairs: dict[str, Pairs]) -> tuple[list[Item], dict[str, Pairs]]:
    """Of files whose names do not tell what they are, those beside images with masks, or called alike."""
    paired = {n for found in pairs.values() for n in found.masks}
    places = {pictures[n].paths[0].parent for n in paired}
    alike = {(pictures[n].paths[0].parent.parent, pictures[n].name) for n in paired}
    kept = [
        n
        for n, item in enumerate(pictures)
        if item.paths[0].parent in places or (item.paths[0].parent.parent, item.name) in alike
    ]
    new = {old: n for n, old in enumerate(kept)}
    return [pictures[n] for n in kept], {
        name: Pairs({new[n]: masks for n, masks in found.masks.items()}, {new[n] for n in found.alone})
        for name, found in pairs.items()
    }


def _question(root: Path, pictures: Sequence[Item], by_set: dict[str, list[Item]], pairs: dict[str, Pairs]) -> str:
    """What to ask where images have masks of several kinds."""
    for n, picture in enumerate(pictures):
        kinds = [name for name, found in pairs.items() if n in found.masks]
        if len(kinds) > 1:
            shown = []
            for name in kinds:
                mask = by_set[name][pairs[name].masks[n][0][0]]
                shown.append(
                    f"{relative(mask.paths[0], root)} ({count_text(len(pairs[name].pairs), 'mask')} of this kind)"
                )
            names = [PurePosixPath(by_set[name][0].place).name if name else "'*_mask*'" for name in kinds]
            return (
                f"{root}: {relative(picture.paths[0], root)} has masks in more than one place: {', '.join(shown)}. "
                f"Say which are meant, with prepare.masks: {' or '.join(names)}"
            )
    return ""


def _class_names(labels: dict[int, list[tuple[Item, str]]]) -> tuple[str, ...]:
    """The classes, where each has a file of its own, called alike for all cases; () for masks of other kinds."""
    rests = [[rest for _, rest in masks] for masks in labels.values()]
    counts = Counter(name_key(rest) for of_case in rests for rest in of_case)
    spelled = tuple(dict.fromkeys(rest for of_case in rests for rest in of_case))
    if all(len(of_case) < 2 for of_case in rests) or any(not rest or is_rater(rest) for rest in spelled):
        return ()
    recurring = len(rests) == 1 or 2 * sum(number > 1 for number in counts.values()) >= len(counts)
    first = unify_spellings(spelled)
    return tuple(sorted(spelled, key=lambda name: (natural(first[name]), name != first[name]))) if recurring else ()


def _cases(
    root: Path,
    pictures: Sequence[Item],
    labels: dict[int, list[tuple[Item, str]]],
    alone: set[int],
    fields: dict[int, Path],
) -> tuple[SourceCase, ...]:
    of_case = {pictures[n].name for n in alone} | {""}
    folders = Counter(item.folder for item in pictures)
    ids = [
        item.folder
        if folders[item.folder] == 1 and (item.name in of_case or item.name == PurePosixPath(item.folder).name)
        else item.key
        for item in pictures
    ]
    groups = find_groups(ids)
    parts = [part_of(PurePosixPath(item.paths[0].relative_to(root).as_posix())) for item in pictures]
    for n, masks in labels.items():  # COCO has a file for each part
        path = masks[0][0].paths[0]
        parts[n] = parts[n] or part_of_outlines(path, pictures[n].paths[0])
    listed = [
        SourceCase(
            id=ids[n],
            image=item.paths,
            label=tuple(mask.paths[0] for mask, _ in sorted(labels.get(n, ()), key=lambda m: natural(m[1]))),
            group=groups[ids[n]],
            part=parts[n],
            field=fields.get(n),
        )
        for n, item in enumerate(pictures)
    ]
    return tuple(sorted(listed, key=lambda case: natural(case.id)))


def _parts_of_lists(
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


def _left_out(
    root: Path,
    files: Iterable[Path],
    readable: Sequence[Path],
    roles: Roles,
    listed: Iterable[SourceCase],
    findings: Iterable[Finding],
) -> tuple[Finding, ...]:
    """Notes on all files that may be images or masks and are no part of a case."""
    used = {path for case in listed for path in (*case.image, *case.label, *((case.field,) if case.field else ()))}
    named = {root / file for finding in findings for file in (finding.file, *(finding.files or ())) if file}
    refused = roles.refused
    used |= named | set(refused) | {path for mask in roles.masks for path in mask.paths}
    others = [path for path in readable if path not in used]
    unread = [p for p in files if images.is_unread(p) or p.suffix.lower() in dicom_file.SUFFIXES]
    beside = [p for p in files if p.suffix.lower() in BESIDE and p.parent != root and p not in used]
    return (
        *left_out(others, root, "neither images nor masks by their names, and left out", "warning"),
        *left_out(refused, root, "left out, for the patterns do not select them"),
        *left_out(unread, root, "of a kind that is not read here, and left out", "warning"),
        *left_out(beside, root, "not used"),
    )


def _nothing_chosen(root: Path, choice: Choice) -> str:
    names = ", ".join(f"{key}={'+'.join(value)}" for key, value in vars(choice).items() if value)
    return f"the patterns {names} leave no image. {describe_files(root)}"


def describe_files(root: Path) -> str:
    """What files there are, by kind and folder: "Found 6 JPEG in A/, 6 PNG in B/."."""
    counts: Counter[tuple[str, str]] = Counter()
    for path in files_below(root):
        folder = relative(path.parent, root) if path.parent != root else ""
        counts[folder, _kind(path)] += 1
    merged: dict[tuple[str, str], list[int]] = {}
    siblings = Counter((PurePosixPath(folder).parent, kind) for folder, kind in counts)
    for (folder, kind), number in counts.items():
        many = folder and siblings[PurePosixPath(folder).parent, kind] > MAX_SIBLINGS
        place = (PurePosixPath(folder).parent / "*").as_posix() if many else folder
        merged.setdefault((place, kind), []).append(number)
    shown = [
        f"{sum(numbers):,} {kind} in "
        + (f"{place}/" if place else "it")
        + (f" ({len(numbers):,} folders)" if len(numbers) > 1 else "")
        for (place, kind), numbers in sorted(merged.items(), key=lambda entry: -sum(entry[1]))
    ]
    if not shown:
        return "Found no files."
    if any(kind in ("XML", "TXT") for _, kind in merged):
        hint = (
            " (XML files of Pascal VOC hold boxes, which are not read. TXT files of YOLO are read below a data.yaml "
            "that names their classes.)"
        )
    else:
        hint = ""
    more = f", and more in {len(shown) - MAX_SHOWN} others" if len(shown) > MAX_SHOWN else ""
    return f"Found {', '.join(shown[:MAX_SHOWN])}{more}.{hint}"


def _kind(path: Path) -> str:
    if images.is_image(path):
        ending = next(suffix for suffix in (".nii.gz", path.suffix) if path.name.lower().endswith(suffix.lower()))
    else:
        ending = path.suffix
    name = ending.lower().lstrip(".")
    known = {
        **dict.fromkeys(("jpg", "jpe", "jfif"), "JPEG"),
        **dict.fromkeys(("nii", "nii.gz"), "NIfTI"),
        **dict.fromkeys(("mha", "mhd"), "MetaImage"),
        **{"tif": "TIFF", "nhdr": "NRRD"},
    }
    return known.get(name, name.upper() or "files without suffix")


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
            raise InvalidInputError(f"{root}: {_nothing_chosen(root, choice)}")
        modality, notes = find_modality(root, listed)
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
        )


FOLDER = FolderLayout()
