"""What the names of a folder's files tell: cases, masks, channels, a split, and what has to be asked."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from caseunet.datasets.channels import Item, channel_name, find_channels, group_channels, join_channels
from caseunet.datasets.class_folders import name_by_folders
from caseunet.datasets.class_names import (
    unify_spellings,
)
from caseunet.datasets.file_patterns import has_stem, match_part, pair_by_stem, tell_missing
from caseunet.datasets.layout import (
    Finding,
    Listing,
    SourceCase,
    extra_mask,
    fault,
    files_below,
    left_out,
    natural,
    relative,
    twice,
)
from caseunet.datasets.names import (
    CLASSES,
    IMAGE_NAMES,
    OBJECTS,
    find_groups,
    folder_role,
    is_rater,
    mask_key,
    normal,
    part_of,
    part_of_outlines,
    warn_of_folders,
    warn_of_parts,
)
from caseunet.datasets.outlines import find_outlines
from caseunet.datasets.pairing import Pairs, pair
from caseunet.datasets.roles import Choice, Roles, sort_files
from caseunet.datasets.split_tables import with_lists, with_table
from caseunet.errors import InvalidInputError
from caseunet.io import dicom_file, images
from caseunet.progress import count_text
from caseunet.types import name_key

BESIDE = (".xml", ".json", ".txt", ".csv")
"""What may be annotations, or anything else."""

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


def survey_files(root: Path, choice: Choice = Choice()) -> Survey:  # noqa: B008
    """What the names of all files below a folder tell; no file is opened."""
    files = files_below(root)
    readable, told_objects, of_objects = _without_objects(root, [p for p in files if images.is_image(p)], choice)
    roles = sort_files(root, [path for path in readable if choice or not _is_superpixels(path)], choice)
    pictures, findings = _without_twice(roles.images or _of_unknown(roles), root)
    findings += told_objects
    channels = tuple(channel_name(pattern) for pattern in choice.channels) or find_channels(pictures, roles.masks)
    broken: set[Path] = set()
    if channels:
        pictures, broken, faults = _join(pictures, channels, root)
        findings += faults
    pictures, labels, alone, question, told = _pair_masks(root, roles, choice, pictures)
    question = _ask_for_masks(root, files, choice) or of_objects or question
    labels = _without_ignored(labels, choice.ignored, root)
    labels, by_folder, of_folders = name_by_folders(pictures, labels)
    findings += of_folders
    by_file = by_folder or _class_names(labels)
    outlines = not labels and not roles.masks and not choice.masks
    if outlines:
        pictures = pictures or _without_twice(_of_unknown(roles), root)[0]
        labels, said, asked = find_outlines(root, files, pictures)
        labels = _without_ignored(labels, choice.ignored, root)
        findings += said
        question = question or asked
    fields = pair(pictures, roles.fields)
    field_of = {n: roles.fields[told[0][0]].paths[0] for n, told in fields.masks.items()}
    listed = [case for case in _cases(root, pictures, labels, alone, field_of) if case.image[0] not in broken]
    listed, lists = with_lists(root, files, listed)
    listed, table = with_table(root, listed)
    findings += [*lists, *table, *warn_of_parts(listed), *warn_of_folders(listed), *told]
    findings += _tell_fields(root, choice, roles, listed, fields)
    findings += _left_out(root, files, readable, roles, listed, findings)
    if outlines and not labels and not roles.images:
        listed = []
    masks_found = tuple(path for mask in roles.masks for path in mask.paths)
    drawn = outlines and bool(labels)
    return Survey(Listing(tuple(listed), tuple(findings)), by_file, channels, question, drawn, masks_found)


Labels = dict[int, list[tuple[Item, str]]]
"""{image: its masks, each with what its name says beside the image's}."""


def _pair_masks(
    root: Path, roles: Roles, choice: Choice, pictures: list[Item]
) -> tuple[list[Item], Labels, set[int], str, list[Finding]]:
    """The images, their masks, images that are the only ones of their folder, what to ask, and what is said."""
    by_set: dict[str, list[Item]] = {}
    for mask in roles.masks:
        by_set.setdefault("" if choice.masks else _set_of(mask), []).append(mask)
    question, told = "", list[Finding]()
    if has_stem(choice.masks):
        found, question = pair_by_stem(pictures, roles.masks, choice.masks, root)
        pairs = {"": found}
        told = tell_missing(pictures, found, choice.masks, root)
    else:
        pairs = {name: pair(pictures, masks) for name, masks in by_set.items()}
    if not roles.images and not choice.images:
        pictures, pairs = _only_paired(pictures, pairs)
    question = question or _question(root, pictures, by_set, pairs)
    labels: Labels = {}
    for name, own in pairs.items():
        for picture, masks in own.masks.items():
            labels.setdefault(picture, []).extend((by_set[name][n], rest) for n, rest in masks)
    for name, items in by_set.items():
        unpaired = [mask for n, mask in enumerate(items) if n not in pairs[name].pairs]
        told += [extra_mask(m.paths[0], root, f"an image of the name {m.key}") for m in unpaired]
    return pictures, labels, {picture for own in pairs.values() for picture in own.alone}, question, told


def _without_ignored(labels: Labels, ignored: Collection[str], root: Path) -> Labels:
    """The masks without files that a plan leaves out, so that these name no class; what is paired stays paired."""
    left = {
        n: [(mask, rest) for mask, rest in masks if relative(mask.paths[0], root) not in ignored]
        for n, masks in labels.items()
    }
    return {n: masks for n, masks in left.items() if masks}


def _tell_fields(
    root: Path, choice: Choice, roles: Roles, listed: Sequence[SourceCase], fields: Pairs
) -> list[Finding]:
    """What is said of fields of view: images without one, and those without an image.

    Raises:
        CaseUNetError: none fits.
    """
    if choice.fields and not roles.fields:
        raise InvalidInputError(
            f"{root}: no file fits prepare.field_of_view = {', '.join(choice.fields)}. {describe_files(root)}"
        )
    text = "has no field of view, though others have: all of it counts as judged"
    without = [case for case in listed if choice.fields and case.field is None]
    alone = [field for n, field in enumerate(roles.fields) if n not in fields.pairs]
    return [
        *(Finding(level="warning", kind="no-field", text=text, case=case.id) for case in without),
        *(extra_mask(field.paths[0], root, f"an image of the name {field.key}") for field in alone),
    ]


def _without_objects(root: Path, readable: list[Path], choice: Choice) -> tuple[list[Path], tuple[Finding, ...], str]:
    """Images and masks without the numbers of objects that VOC and CVAT write beside the classes; what is said of
    them, and what to ask where they are alone."""
    objects = [] if choice.masks else [path for path in readable if path.parent.name == OBJECTS]
    if not objects:
        return readable, (), ""
    if not any(path.parent.name == CLASSES for path in readable):
        question = (
            f"{root}: its masks, {relative(objects[0], root)} among them, number objects and tell no classes. Add the "
            f"folder {CLASSES} of the same export. If its values are classes all the same, name the folder: "
            f"prepare.masks: {OBJECTS}"
        )
        return readable, (), question
    told = left_out(objects, root, f"numbers of objects, no classes, which {CLASSES} holds")
    return [path for path in readable if path not in set(objects)], told, ""


def _ask_for_masks(root: Path, files: Sequence[Path], choice: Choice) -> str:
    """What to ask where a pattern of masks fits no file."""
    names = [PurePosixPath(relative(path, root)) for path in files]
    for pattern in choice.masks:
        if "{stem}" not in pattern and all(match_part(name, (pattern,)) is None for name in names):
            return f"{root}: prepare.masks: {pattern} fits no file. Give each pattern by itself. {describe_files(root)}"
    return ""


def describe_alike(root: Path) -> str:
    """Folders whose files have the same names, as those of images and of masks of a structure each; "" for none."""
    names: dict[Path, set[str]] = {}
    for path in files_below(root):
        if images.is_image(path) and path.parent != root:
            names.setdefault(path.parent, set()).add(images.stem(path))
    alike = [
        folder
        for folder, own in names.items()
        if not any(character.isdigit() for character in folder.name)  # those of cases have the same names too
        and any(own & other for there, other in names.items() if there != folder)
    ]
    if len(alike) < 2:
        return ""
    pictures = [folder for folder in alike if folder_role(folder.name) == "image" or IMAGE_NAMES.fullmatch(folder.name)]
    image = relative((pictures or alike)[0], root)
    shown = [relative(folder, root) for folder in alike]
    masks = ", ".join(name for name in shown if name != image)
    return (
        f"The folders {', '.join(shown)} hold files of the same names. If {image} holds the images and each other "
        f"folder the masks of a structure, say so: prepare.images: {image}, prepare.masks: [{masks}]."
    )


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


def _class_names(labels: Labels) -> tuple[str, ...]:
    """The classes, where each has a file of its own, called alike for all cases; () for masks of other kinds."""
    rests = [[rest for _, rest in masks] for masks in labels.values()]
    counts = Counter(name_key(rest) for of_case in rests for rest in of_case)
    spelled = tuple(dict.fromkeys(rest for of_case in rests for rest in of_case))
    names_none = any(not rest or is_rater(rest) or mask_key(rest) == "" for rest in spelled)  # "seg" is no class
    if names_none or all(len(of_case) < 2 for of_case in rests):
        return ()
    recurring = len(rests) == 1 or 2 * sum(number > 1 for number in counts.values()) >= len(counts)
    first = unify_spellings(spelled)
    return tuple(sorted(spelled, key=lambda name: (natural(first[name]), name != first[name]))) if recurring else ()


def _cases(
    root: Path,
    pictures: Sequence[Item],
    labels: Labels,
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


def describe_choice(root: Path, choice: Choice) -> str:
    chosen = {key: value for key, value in vars(choice).items() if value and key != "ignored"}
    names = ", ".join(f"{key}={'+'.join(value)}" for key, value in chosen.items())
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
    hint = ""
    if any(kind in ("XML", "TXT") for _, kind in merged):
        hint = (
            " (XML files of Pascal VOC hold boxes, which are not read. TXT files of YOLO are read below a data.yaml "
            "that names their classes.)"
        )
    if any(kind.endswith("GZ") for _, kind in merged):
        hint += f" Of files that gzip compressed only .nii.gz is read. Unpack the others: gunzip -r {root}"
    more = f", and more in {len(shown) - MAX_SHOWN} others" if len(shown) > MAX_SHOWN else ""
    return f"Found {', '.join(shown[:MAX_SHOWN])}{more}.{hint}"


def _kind(path: Path) -> str:
    if images.is_image(path):
        ending = next(suffix for suffix in (".nii.gz", path.suffix) if path.name.lower().endswith(suffix.lower()))
    else:
        ending = path.suffix
    name = (Path(path.stem).suffix + ending if ending.lower() == ".gz" else ending).lower().lstrip(".")
    known = {
        **dict.fromkeys(("jpg", "jpe", "jfif"), "JPEG"),
        **dict.fromkeys(("nii", "nii.gz"), "NIfTI"),
        **dict.fromkeys(("mha", "mhd"), "MetaImage"),
        **{"tif": "TIFF", "nhdr": "NRRD"},
    }
    return known.get(name, name.upper() or "files without suffix")
