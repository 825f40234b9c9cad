"""Masks alone, without images and without a description: what a person has to score predictions against, or predicts.

Layout: any folder of masks (NIfTI, NRRD, MetaImage, PNG, TIFF …), a case each; a folder per case with a file per
structure (``case_1/liver.nii.gz``, ``case_1/tumour.nii.gz``); DICOM segmentation objects; or a single file. Images that
lie beside masks in the folder of a case are left out. A ``labels.json`` names the values of masks, else the ``labels``
of a ``dataset.json``, which nnU-Net writes beside its predictions, else the headers of NIfTI files, as TotalSegmentator
writes them. Names of files or segments say what these hold, and a voxel may be of several.

A case has no image: ``image`` holds the files whose grid it is scored on, its mask's own at first.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from caseunet.datasets import nnunet
from caseunet.datasets.class_files import SAME_PLACE
from caseunet.datasets.class_names import find_description, is_background, parse_number, unify_spellings
from caseunet.datasets.coding import palette, read_header_names, read_labels_json
from caseunet.datasets.dataset_json import DESCRIPTION
from caseunet.datasets.folder import read_folder_classes
from caseunet.datasets.layout import (
    Listing,
    SourceCase,
    SourceDataset,
    files_below,
    left_out,
    natural,
    no_cases,
)
from caseunet.datasets.names import CLASSES, IMAGE_NAMES, MASK_FOLDER_WORDS, OBJECTS, find_groups
from caseunet.datasets.reading import require_coding
from caseunet.errors import CaseUNetError, InvalidInputError
from caseunet.files import read_json
from caseunet.io import dicom, images, itk, raster
from caseunet.io.geometry import distance_in_voxels
from caseunet.types import Geometry, ImageVolume, Label, LabelCoding, LabelMap, Mask, name_key
from caseunet.workers import run_all

NAME = "masks"
LABELS = "labels.json"
MAX_CLASSES = 254
_CASE_NAME = re.compile(
    r"(case|patient|pat|subject|subj|sub|visit|scan|session|ses|exam|study|series|time|timepoint|day|week|month|year|image"
    r"|img|volume|vol)? ?\d+"
)
"""Names, as :func:`name_key` spells them, that are those of cases rather than of structures."""

Combination = frozenset[str]
"""Structures that share a voxel, as :func:`name_key` spells them."""


def read_lesions(path: Path) -> tuple[str, ...] | None:
    """The structures that a labels.json calls lesions; None if it does not tell.

    Raises:
        CaseUNetError: "lesions" is no list of names.
    """
    content = read_json(path, "labels.json")
    names = content.get("lesions") if isinstance(content, dict) else None
    if parse_number(names) is not None:  # a class of that name
        return None
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise InvalidInputError(f'{path}: "lesions" must be a list of names of structures, not {names!r}.')
    return None if names is None else tuple(names)


def is_per_structure(dataset: SourceDataset) -> bool:
    """Whether each file of a case is a structure."""
    return dataset.hint == PER_STRUCTURE


def names_by_value(dataset: SourceDataset) -> bool:
    """Whether numbers in the files stand for the classes: not in segmentation objects and files of structures."""
    files = [path for case in dataset.labelled for path in case.label]
    return not (is_per_structure(dataset) or names_segments(dataset) or any(map(dicom.is_dicom, files)))


def names_segments(dataset: SourceDataset) -> bool:
    """Whether the headers of some masks tell of segments, as those of 3D Slicer do."""
    if is_per_structure(dataset):
        return False
    return any(itk.is_segmentation(path) for case in dataset.labelled for path in case.label)


def settle_structures(dataset: SourceDataset, workers: int | None) -> SourceDataset:
    """The data set with a class for each set of structures that share a voxel in a case: a tumour may lie in a liver.

    Raises:
        CaseUNetError: more sets are found than can be numbered.
    """
    files = [path for case in dataset.cases for path in case.label]
    are_objects = any(map(dicom.is_dicom, files))
    if not (is_per_structure(dataset) or are_objects) or dataset.coding is not None:
        return dataset
    shown = _segments(files) if are_objects else _structures(files)
    spelled = {name_key(name): name for name in shown}
    names = list(spelled)
    found: dict[Combination, None] = {}
    for _, result in run_all(_combinations_of, list(dataset.cases), workers):
        found |= dict.fromkeys(result if isinstance(result, tuple) else ())
    shared = frozenset[str]().union(*found)  # a structure that is nowhere without another has no class of its own
    ordered = [frozenset({name}) for name in names if name not in shared or frozenset({name}) in found]
    ordered += sorted(set(found) - set(ordered) - {frozenset()}, key=lambda c: [names.index(n) for n in sorted(c)])
    if len(ordered) > MAX_CLASSES:
        raise InvalidInputError(
            f"{dataset.root}: its {len(names)} structures overlap in {sum(len(c) > 1 for c in ordered)} ways; together "
            f"at most {MAX_CLASSES} classes can be told apart."
        )
    colors = palette(len(ordered) + 1)
    labels = [Label(id=0, name="background", color=colors[0])]
    labels += [
        Label(id=i, name=" + ".join(spelled[n] for n in names if n in members), color=colors[i])
        for i, members in enumerate(ordered, 1)
    ]
    structures = {spelled[name]: tuple(i for i, members in enumerate(ordered, 1) if name in members) for name in names}
    label_map = LabelMap(labels=tuple(labels), structures=structures)
    return replace(dataset, coding=LabelCoding(label_map=label_map, codes={label.id: label.id for label in labels}))


def missing_structures(case: SourceCase, dataset: SourceDataset) -> tuple[str, ...]:
    """Structures that other cases have a file of, and this one has not."""
    if not is_per_structure(dataset):
        return ()
    there = {name_key(_structure(path)) for path in case.label}
    return tuple(name for name in require_coding(dataset).label_map.structures if name_key(name) not in there)


PER_STRUCTURE = "each file is a mask of one structure"


def _survey(root: Path) -> tuple[dict[str, tuple[Path, ...]], tuple[Path, ...], bool]:
    """{case: files}, the files that are left out, and whether the files of a case are its structures."""
    files = [root] if root.is_file() else files_below(root)
    base = root.parent if root.is_file() else root
    objects = [path for path in files if dicom.is_dicom(path) and dicom.read_header(path).modality == "SEG"]
    if objects:
        rest = tuple(path for path in files if images.is_image(path))
        return _by_series(objects, base), rest, False
    masks = [path for path in files if images.is_image(path)]
    objects_of_cvat = {p for p in masks if p.parent.name == OBJECTS and (p.parent.parent / CLASSES / p.name).exists()}
    masks = [path for path in masks if path not in objects_of_cvat]
    in_folders = {path for path in masks if path.parent != base}
    beside = {path for path in in_folders if IMAGE_NAMES.fullmatch(images.stem(path)) and _others(path, masks)}
    masks = [path for path in masks if path not in beside]
    if not masks:
        raise no_cases(root, f"masks ({', '.join(images.SUFFIXES)} or DICOM segmentations)")
    folders: dict[Path, list[Path]] = {}
    for path in masks:
        folders.setdefault(path.parent, []).append(path)
    if _are_structures(folders, base):
        for members in folders.values():
            _refuse_twice({path: _structure(path) for path in members})
        names = _names({folder: _without_role(folder.relative_to(base).parts) for folder in folders})
        return (
            {names[folder]: tuple(members) for folder, members in folders.items()},
            tuple(sorted(beside | objects_of_cvat)),
            True,
        )
    names = _names({path: (*path.relative_to(base).parts[:-1], images.stem(path)) for path in masks})
    _refuse_twice({path: names[path] for path in masks})
    return {names[path]: (path,) for path in masks}, tuple(sorted(beside | objects_of_cvat)), False


def _dataset(
    root: Path, found: Mapping[str, tuple[Path, ...]], left: tuple[Path, ...], per_structure: bool
) -> SourceDataset:
    groups = find_groups(list(found))
    listed = [SourceCase(id=n, image=files, label=files, group=groups[n]) for n, files in found.items()]
    listed.sort(key=lambda case: natural(case.id))
    coding: LabelCoding | None = None
    if not per_structure and not any(dicom.is_dicom(path) for case in listed for path in case.label):
        coding = _read_description(root if root.is_dir() else root.parent, listed)
    volumes = all(images.is_volume(path) or dicom.is_dicom(path) for case in listed for path in case.label)
    return SourceDataset(
        format=NAME,
        root=root,
        cases=tuple(listed),
        coding=coding,
        modality="mr" if volumes else "gray",
        group_name="case",
        licence="",
        findings=(
            *left_out(left, root, "no masks"),
            *left_out(filter(images.is_unread, files_below(root)), root, "of a kind that is not read", "warning"),
        ),
        hint=PER_STRUCTURE if per_structure else "",
    )


def names_values(path: Path) -> bool:
    """Whether a file is there and is a dataset.json that says what the values of masks mean."""
    content = read_json(path, "dataset.json") if path.is_file() else None
    return isinstance(content, dict) and isinstance(content.get("labels"), dict) and bool(content["labels"])


def _read_description(folder: Path, listed: Sequence[SourceCase]) -> LabelCoding | None:
    """The classes that a file beside the masks names, or their headers; None if none does."""
    if (own := find_description(folder)) is not None:
        return read_coding(own, listed)
    path = folder / DESCRIPTION
    if not names_values(path):
        return read_header_names(path for case in listed for path in case.label)
    content = read_json(path, "dataset.json")
    if any(isinstance(value, list) for value in content["labels"].values()):
        return nnunet.read_classes(content, path)
    return read_labels_json(path, colored=False)


def read_coding(path: Path, listed: Sequence[SourceCase]) -> LabelCoding:
    """The classes that a labels.json names: by colour if the masks hold colours or their shades of grey, else by value.

    Raises:
        CaseUNetError: it is of another form.
    """
    by_value = read_folder_classes(path, tuple(listed))
    pictures = (case.label[0] for case in listed if raster.is_raster(case.label[0]))
    return read_labels_json(path) if any(raster.read_raster_mask(file).colored for file in pictures) else by_value


def _segments(paths: Iterable[Path]) -> list[str]:
    """The labels of segments, the first spelling of each.

    Raises:
        CaseUNetError: they are too many, or one is called as the background is.
    """
    labels = (label for path in paths for label in dicom.read_header(path).segments.values())
    names = list(dict.fromkeys(unify_spellings(labels).values()))
    if any(map(is_background, names)) or not 0 < len(names) <= MAX_CLASSES:
        raise InvalidInputError(
            f"{len(names)} segments, such as {', '.join(names[:5])}, make no classes: from 1 to {MAX_CLASSES} can, and "
            'none of them is called "background".'
        )
    return names


def _by_series(objects: Sequence[Path], base: Path) -> dict[str, tuple[Path, ...]]:
    """{case: segmentation objects}: those in one folder that refer to one series hold different segments of it."""
    grouped: dict[tuple[Path, tuple[str, ...]], list[Path]] = {}
    for path in objects:
        references = dicom.read_header(path).references
        grouped.setdefault((path.parent, references or (str(path),)), []).append(path)
    names = _names(
        {
            members[0]: (*members[0].relative_to(base).parts[:-1], members[0].stem)
            if len(members) == 1
            else members[0].relative_to(base).parts[:-1] or (members[0].stem,)
            for members in grouped.values()
        }
    )
    return {names[members[0]]: tuple(members) for members in grouped.values()}


def _others(path: Path, masks: Iterable[Path]) -> bool:
    """Whether a folder holds more than this file and others like it."""
    return any(p.parent == path.parent and not IMAGE_NAMES.fullmatch(images.stem(p)) for p in masks)


def _are_structures(folders: Mapping[Path, Sequence[Path]], base: Path) -> bool:
    """Whether the files of a folder are structures of one case: the same names in each folder, and several of them.

    Names such as "case 1" and "visit 2" are those of cases, as in a folder for each patient or hospital.

    Frames of videos have the same names in each folder too, but numbers, and lie in files of pictures.
    """
    if base in folders or max(map(len, folders.values())) < 2:
        return False
    names = [{name_key(_structure(path)) for path in members} for members in folders.values()]
    volumes = all(images.is_volume(path) for members in folders.values() for path in members)
    if all(_CASE_NAME.fullmatch(name) for here in names for name in here):
        return False
    numbered = any(re.search(r"\d", name) for here in names for name in here)
    if len(folders) == 1:
        (folder,) = folders
        return volumes and not numbered and folder.name.lower() not in MASK_FOLDER_WORDS
    if not volumes and numbered:
        return False
    return all(any(here & there for there in names if there is not here) for here in names)


def _without_role(parts: Sequence[str]) -> tuple[str, ...]:
    """The folders of a case without one called "segmentations"."""
    kept = tuple(part for part in parts if part.lower() not in MASK_FOLDER_WORDS)
    return kept or tuple(parts)


def _refuse_twice(names: Mapping[Path, str]) -> None:
    """Make sure that no two files are called alike: one may be left of an earlier export.

    Raises:
        CaseUNetError: two are.
    """
    first: dict[str, Path] = {}
    for path, name in names.items():
        if (other := first.setdefault(name, path)) != path:
            raise InvalidInputError(f"{other} and {path}: are two masks of one name. Keep one.")


def _names(paths: Mapping[Path, Sequence[str]]) -> dict[Path, str]:
    """What tells paths apart: without the folders that all share, and without a last part that all share."""
    whole = list(paths.values())
    first = 0
    while len(whole) > 1 and all(len(p) > first + 1 and p[first] == whole[0][first] for p in whole):
        first += 1
    if len(whole) == 1:
        first = len(whole[0]) - 1
    last = 0
    while len(whole) > 1 and all(len(p) > first + last + 1 and p[-1 - last] == whole[0][-1 - last] for p in whole):
        last += 1
    return {key: "/".join(parts[first : len(parts) - last]) for key, parts in paths.items()}


def _structure(path: Path) -> str:
    return images.stem(path).removesuffix(".seg")


def _structures(paths: Iterable[Path]) -> list[str]:
    """The names of files of structures, the first spelling of each."""
    return sorted(set(unify_spellings(map(_structure, paths)).values()), key=natural)


def _combinations_of(case: SourceCase) -> tuple[Combination, ...]:
    """Those of a case; none where it cannot be read, which is told when it is scored."""
    try:
        image = MASKS.read_geometry(case)
        mask, combinations = _read_combinations(case, image)
        return tuple(combinations[number] for number in np.unique(mask.label_values))
    except CaseUNetError:
        return ()


def _read_combinations(case: SourceCase, image: Geometry) -> tuple[Mask, tuple[Combination, ...]]:
    """A mask of numbers, and the structures that each number stands for, from segments or files."""
    is_object = dicom.is_dicom(case.label[0])
    mask, members = dicom.read_overlapping(case.label, image) if is_object else _read_structures(case, image)
    return mask, tuple(frozenset(map(name_key, names)) for names in members)


def _read_structures(case: SourceCase, image: Geometry) -> tuple[Mask, tuple[frozenset[str], ...]]:
    """A mask of numbers, and the names of the files that each number stands for.

    Raises:
        CaseUNetError: a file is unreadable, holds several values, or lies on another grid than the first.
    """
    first: Mask | None = None
    codes = np.zeros(0, np.int32)
    combinations: list[frozenset[str]] = [frozenset()]
    remarks: list[str] = []
    for path in case.label:
        mask = images.read_mask_file(path, image, False)
        values = np.unique(mask.label_values)
        if mask.fractional or len(values[values != 0]) > 1:
            raise InvalidInputError(
                f"{path}: expected a mask of one structure, 0 and one other value, as each file in the folder of a "
                f"case; found {len(values)} values."
            )
        if first is None:
            first, codes = mask, np.zeros(mask.label_values.shape, np.int32)
        elif codes.shape != mask.label_values.shape or distance_in_voxels(first.geometry, mask.geometry) > SAME_PLACE:
            raise InvalidInputError(
                f"{path}: is not on the grid of {case.label[0]}, another structure of the same case."
            )
        inside = mask.label_values != 0
        before = codes[inside]
        table = np.zeros(len(combinations), np.int32)
        for number in np.unique(before).tolist():
            table[number] = len(combinations)
            combinations.append(combinations[number] | {_structure(path)})
        codes[inside] = table[before]
        remarks += mask.geometry.remarks
    assert first is not None
    geometry = replace(first.geometry, remarks=tuple(dict.fromkeys(remarks)))
    return replace(first, label_values=codes, geometry=geometry), tuple(combinations)


class MasksLayout:
    """Masks alone, for a comparison with others."""

    name = NAME
    looks_like = "masks alone"
    rank = 3

    def matches(self, root: Path) -> bool:
        return any(images.is_image(path) for path in files_below(root))

    def cases(self, root: Path) -> Listing:
        """The masks of a folder.

        Raises:
            CaseUNetError: there are none.
        """
        dataset = self.discover(root)
        return Listing(dataset.cases, dataset.findings)

    def discover(self, root: Path) -> SourceDataset:
        """The masks of a folder, or a single file; the meaning of their values is None where nothing names it.

        Raises:
            CaseUNetError: there are none.
        """
        return _dataset(root, *_survey(root))

    def read_geometry(self, case: SourceCase) -> Geometry:
        """The grid that a case is scored on."""
        if dicom.is_dicom(case.image[0]):
            return dicom.read_segmentation_geometry(case.image)
        return images.read_file_geometry(case.image[0])

    def read_image(self, case: SourceCase, rgb: bool, nan: float | None = None) -> ImageVolume:
        raise InvalidInputError(f"{case.label[0]}: there are masks alone, no images.")

    def read_mask(self, case: SourceCase, dataset: SourceDataset, image: Geometry) -> Mask:
        """The values of a mask, or the numbers of its segments or structures.

        Raises:
            CaseUNetError: a file is unreadable, or those of a case lie on different grids.
        """
        is_object = dicom.is_dicom(case.label[0])
        if not is_object and not is_per_structure(dataset):
            return images.read_mask_file(
                case.label[0], image, None if dataset.coding is None else dataset.coding.colored
            )
        mask, combinations = _read_combinations(case, image)
        structures = require_coding(dataset).label_map.structures
        id_of = {
            frozenset(name_key(name) for name, members in structures.items() if i in members): i
            for i in range(len(require_coding(dataset).label_map))
        }
        if any(combinations[number] not in id_of for number in np.unique(mask.label_values)):
            raise InvalidInputError(f"{case.label[0]}: the files of this case have changed since they were looked at.")
        table = np.array([id_of.get(members, 0) for members in combinations], np.uint8)
        return replace(mask, label_values=table[mask.label_values])


MASKS = MasksLayout()
