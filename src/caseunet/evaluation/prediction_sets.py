"""Predictions to be scored: folders that ``predict`` wrote, and masks of any other tool."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from caseunet.datasets import SourceCase, SourceDataset, masks
from caseunet.datasets.coding import classes_of, decode, translate
from caseunet.datasets.masks import MASKS, missing_structures, names_by_value, names_segments, settle_structures
from caseunet.datasets.meanings import with_coding
from caseunet.datasets.reading import placement, require_coding, to_ids, unknown_text
from caseunet.errors import InputNotFoundError, InvalidInputError, InvalidOptionError
from caseunet.evaluation.evaluator import Predicted
from caseunet.evaluation.matching import match_names
from caseunet.evaluation.shared_classes import Table, is_unnamed
from caseunet.io import images
from caseunet.io.geometry import orientation_of, reslice
from caseunet.prediction.store import DESCRIPTION, UNFINISHED, PredictionsInfo, is_unfinished, read_predictions
from caseunet.types import IGNORE, Geometry, LabelCoding, Mask

TWO_FILES = " If the two files belong together, name them instead of their folders."
MAX_EXAMPLES = 3

FULL = 255
"""White, which stands for the one class of a mask in many pictures."""

MAX_ID = 128
"""Values from which on masks hold grey levels rather than class ids."""


@dataclass(frozen=True)
class PredictionSet:
    """The predictions of one model.

    Attributes:
        name: of the model in the report: the folder's.
        folder: that holds them, or the only file.
        info: what ``predict`` noted; None for masks of another tool.
        masks: {case of the references: its files}.
        dataset: how the masks of another tool are read where they name their classes.
        coding: the classes that they name; None where their values are the references'.
        failed: {case: why it has none}.
        extra: cases or files that belong to no labelled case of the references.
        asked: the cases that were to be predicted; None where nothing tells.
    """

    name: str
    folder: Path
    info: PredictionsInfo | None
    masks: Mapping[str, SourceCase]
    dataset: SourceDataset | None = None
    coding: LabelCoding | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    asked: frozenset[str] | None = None

    @property
    def by_value(self) -> bool:
        """Whether numbers in its files stand for the classes."""
        return self.dataset is None or names_by_value(self.dataset)

    def why_missing(self, case: str) -> str:
        return self.failed.get(case, "there is no prediction of it.")


def model_names(folders: list[Path]) -> list[str]:
    """The folders' names; where two are alike, as much of their paths as tells them apart.

    Raises:
        CaseUNetError: a folder is given twice.
    """
    times = Counter(folder.resolve() for folder in folders)
    twice = [folder for folder in folders if times[folder.resolve()] > 1]
    if twice:
        raise InvalidOptionError(f"{twice[0]}: is given twice; a model cannot be compared with itself.")
    whole = [Path(os.path.abspath(folder)) for folder in folders]  # a link keeps the name that it was given
    for length in range(1, max(len(folder.parts) for folder in whole) + 1):
        names = ["/".join(folder.parts[-length:]) for folder in whole]
        if len(set(names)) == len(names):
            break
    return names


def check_folders(folders: Sequence[Path]) -> None:
    """Raises CaseUNetError for predictions that are not there or not finished; nothing else is read for it."""
    for folder in folders:
        if not folder.exists():
            raise InputNotFoundError(f"{folder}: no such folder; expected predictions: one mask for each case.")
        if folder.is_dir() and is_unfinished(folder):
            raise InvalidInputError(UNFINISHED.format(folder=folder))


def open_masks(root: Path, workers: int | None) -> SourceDataset:
    """Masks alone, with the meaning of those that are named.

    Raises:
        CaseUNetError: there are none.
    """
    found = settle_structures(MASKS.discover(root), workers)
    return with_coding(MASKS, found, workers) if names_segments(found) else found


def open_prediction_set(
    folder: Path, name: str, dataset: SourceDataset, labels: Path | None = None, workers: int | None = None
) -> PredictionSet:
    """Find which file of a folder is the prediction of which case.

    Args:
        folder: of predictions, or the only mask.
        name: of the model.
        dataset: the references.
        labels: a labels.json that says what the values of masks mean, where the references do not.
        workers: processes that read masks of single structures.

    Raises:
        CaseUNetError: the folder is missing, unfinished, of other images, or no file of it belongs to a case.
    """
    check_folders([folder])
    labelled = {case.id: case for case in dataset.labelled}
    if (folder / DESCRIPTION).is_file():
        return _open_own(folder, name, dataset, labelled)
    return _open_foreign(folder, name, dataset, labelled, labels, workers)


def _open_own(folder: Path, name: str, dataset: SourceDataset, labelled: Mapping[str, SourceCase]) -> PredictionSet:
    info = read_predictions(folder)
    coding = LabelCoding(label_map=info.label_map, codes={label.id: label.id for label in info.label_map.labels})
    of_case = _own_cases(info, dataset, labelled)
    found, failed = {}, {}
    for error in info.failed:
        failed[of_case.get(error.id, error.id)] = f"it could not be predicted: {error.error}"
    for item in info.cases:
        if item.id not in of_case:
            continue
        case, file = labelled[of_case[item.id]], folder / item.file
        if dataset.format != masks.NAME and images.hash_images(*case.image) != item.image_hash:
            raise InvalidInputError(
                f"{file}: was predicted from another image than {case.image[0]}. Score predictions "
                "against the masks of the very images that they were made from."
            )
        if file.exists():
            found[case.id] = SourceCase(case.id, (file,), (file,), case.group)
        else:
            failed[case.id] = f"its file {item.file} is gone."
    asked = {of_case.get(item, item) for item in _list_cases(info)}
    if not asked & set(labelled):
        raise InvalidInputError(f"{folder}: holds no prediction of a case that {dataset.root} has a mask of.")
    extra = sorted(asked - set(labelled) - dataset.dropped)
    scored = frozenset(asked & set(labelled))
    return PredictionSet(name, folder, info, found, None, coding, failed, tuple(extra), scored)


def _list_cases(info: PredictionsInfo) -> list[str]:
    return [case.id for case in info.cases] + [case.id for case in info.failed]


def _own_cases(info: PredictionsInfo, dataset: SourceDataset, labelled: Mapping[str, SourceCase]) -> dict[str, str]:
    """{predicted case: case of the references}: of the same name, and for masks alone also of a similar one."""
    ids = _list_cases(info)
    if dataset.format != masks.NAME:
        return {item: item for item in ids if item in labelled}
    items = {Path(item): (item, item.rpartition("/")[2]) for item in ids}
    found, _ = match_names(items, {case.id: _names(case, dataset) for case in labelled.values()})
    return {item.as_posix(): case for case, item in found.items()}


def _open_foreign(
    folder: Path,
    name: str,
    dataset: SourceDataset,
    labelled: Mapping[str, SourceCase],
    labels: Path | None,
    workers: int | None,
) -> PredictionSet:
    """Match by name: the case's, its mask's, its image's, or the path of its mask; whatever names one case alone."""
    own = open_masks(folder, workers)
    if labels is not None and names_by_value(own) and not names_by_value(dataset):
        own = replace(own, coding=masks.read_coding(labels, own.cases))
    by_file = {case.label[0]: case for case in own.cases}
    if folder.is_file() and len(labelled) == 1 and dataset.root.is_file():
        found, left = {next(iter(labelled)): folder}, list[Path]()
    else:
        items = {path: _keys(case, folder) for path, case in by_file.items()}
        found, left = match_names(items, {case.id: _names(case, dataset) for case in labelled.values()})
    base = folder.parent if folder.is_file() else folder
    extra = [path.relative_to(base).as_posix() for path in left]
    if not found:
        some = ", ".join(extra[:MAX_EXAMPLES])
        raise InvalidInputError(
            f"{folder}: no file in it is named as a case of {dataset.root}. Found {some}; expected names such as "
            f"{_expected_names(labelled, extra)}." + (TWO_FILES if len(by_file) == len(labelled) == 1 else "")
        )
    if own.coding is None and not names_by_value(dataset) and len(require_coding(dataset).label_map) > 2:
        raise InvalidInputError(
            f"{folder}: holds numbers, and the references name their structures in words: "
            f"{', '.join(require_coding(dataset).label_map.structures)}. Say which number is which in a "
            "labels.json.",
            options=("labels",),
        )
    matched = {case: by_file[path] for case, path in found.items()}
    return PredictionSet(name, folder, None, matched, own, own.coding, extra=tuple(extra))


def _expected_names(labelled: Mapping[str, SourceCase], found: Sequence[str]) -> str:
    """Names of cases, as files where folders of their names hold masks of another name."""
    cases = list(labelled)[:MAX_EXAMPLES]
    inside = next((name for name in found if any(name.startswith(f"{case}/") for case in cases)), None)
    if inside is None:
        return ", ".join(cases)
    ending = inside.removeprefix(str(Path(inside).parent / images.stem(Path(inside))))
    names = ", ".join(f"{case}{ending}" for case in cases)
    return f"{names}. A folder named as a case holds a file for each of several structures"


def _names(case: SourceCase, dataset: SourceDataset) -> set[str]:
    label = case.label[0]
    path = Path(dataset.relative(label))
    return {
        case.id,
        case.id.replace("/", "_"),
        images.stem(label),
        images.stem(case.image[0]),
        (path.parent / images.stem(path)).as_posix(),
    }


def _keys(case: SourceCase, folder: Path) -> tuple[str, ...]:
    """The names of a predicted case, the one that tells most first."""
    path = case.label[0]
    if len(case.label) > 1:
        return case.id, case.id.rpartition("/")[2]
    relative = path.relative_to(folder if folder.is_dir() else folder.parent)
    stem = images.stem(path)
    return (relative.parent / stem).as_posix(), case.id, stem


def reader(
    prediction_set: PredictionSet, case: str, dataset: SourceDataset, table: Table
) -> "partial[Predicted] | None":
    """What reads the prediction of a case as shared classes, given its grid; None where there is none."""
    if case not in prediction_set.masks:
        return None
    mask = prediction_set.masks[case]
    if prediction_set.info is not None:
        return partial(_read, mask, None, None, table, len(prediction_set.info.label_map))
    if prediction_set.dataset is not None and prediction_set.coding is not None:
        own = replace(prediction_set.dataset, cases=(mask,), findings=())
        return partial(_read, mask, own, None, table, len(prediction_set.coding.label_map))
    coding = require_coding(dataset)
    return partial(_read, mask, None, coding, table, len(coding.label_map))


def _read(
    case: SourceCase,
    named: SourceDataset | None,
    coding: LabelCoding | None,
    table: Table,
    classes: int,
    image: Geometry,
) -> Predicted:
    """Shared class ids in canonical order, turned as the image is.

    Args:
        case: the mask.
        named: how it is read where it names its classes.
        coding: what its values mean, where they are the references'; without both they are class ids.
        table: from its class ids to the shared ones.
        classes: how many class ids it may hold.
        image: the grid of the image, or of the reference.

    Raises:
        CaseUNetError: it cannot be read, lies elsewhere than its image, or holds values that are no class.
    """
    path, remarks = case.label[0], []
    if named is not None:
        mask = reslice(MASKS.read_mask(case, named, reslice(image, "axial")), image.plane)
        absent = missing_structures(case, named)
        remarks += [f"there is no file of {', '.join(absent)}, which counts as empty."] if absent else []
    else:
        mask = images.read_mask_file(path, image, None if coding is not None and coding.colored else False)
    misplaced, problem = placement(mask, image)
    if misplaced:
        raise InvalidInputError(f"{path}: {problem}.")
    if mask.fractional:
        raise InvalidInputError(f"{path}: holds {mask.fractional:,} values that are no whole numbers; labels are.")
    if named is not None:
        ids = to_ids(mask, case, named, require_coding(named))
    else:
        ids, told = _ids(path, mask, coding)
        remarks += told
    highest = int(ids[ids != IGNORE].max(initial=0))
    if highest >= classes:
        raise InvalidInputError(f"the prediction holds label {highest}; there are 0 to {classes - 1}.")
    remarks += [f"{remark}." for remark in mask.geometry.remarks]
    axes = orientation_of(mask.geometry), orientation_of(image)
    if mask.assumed_aligned:
        remarks.append("the prediction's file states no position; it was laid on its image, index on index.")
    elif axes[0] and axes[1] and axes[0] != axes[1]:
        remarks.append(f"the prediction's axes run {axes[0]}, its image's {axes[1]}; compared in the patient's space.")
    return Predicted(table[ids], " ".join(remarks))


def _ids(path: Path, mask: Mask, coding: LabelCoding | None) -> tuple[np.ndarray, list[str]]:
    """Class ids, and what should be known of them. Another tool may write the references' values or class ids.

    Raises:
        CaseUNetError: the values are neither.
    """
    codes = mask.label_values
    low, high = (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
    if coding is None:
        if not 0 <= low <= high < 256:
            raise InvalidInputError(f"{path}: holds {low} to {high}, which are no labels.")
        return codes.astype(np.uint8), []
    could_be_ids = not mask.colored and 0 <= low <= high < len(coding.label_map)
    if coding.colored and not mask.colored and not mask.palette and could_be_ids:
        if len(coding.label_map) > 2 and is_unnamed(coding.label_map):
            raise InvalidInputError(
                f"{path}: holds class ids, and the references show colours: {', '.join(coding.label_map.names[1:])}. "
                "Say which id has which colour in a labels.json, which may lie beside the references: a list of name, "
                "color and classid of each class.",
                options=("labels",),
            )
        return codes.astype(np.uint8), ["its grey values were taken for class ids."] if high else []
    translation = translate(mask, coding)
    if translation.problem:
        raise InvalidInputError(f"{path}: {translation.problem}.")
    codes = translation.apply(codes)
    ids, unknown = decode(codes, coding, {})
    if not unknown.any():
        return ids, [f"{translation.remark}."] if translation.remark else []
    values = np.unique(codes[unknown])
    are_ids = not coding.colored and low >= 0 and max(*classes_of(coding), high) < MAX_ID
    if could_be_ids and not (are_ids and is_unnamed(coding.label_map)):
        return mask.label_values.astype(np.uint8), [f"its values up to {high} were taken for class ids."]
    if len(coding.label_map) == 2 and not coding.colored and set(np.unique(codes).tolist()) <= {0, FULL}:
        return (codes == FULL).astype(np.uint8), [f"its value {FULL} was taken for the one class of the references."]
    if not are_ids or not ids.any():
        raise InvalidInputError(f"{path}: {unknown_text(codes[unknown], coding)}.")
    told = ", ".join(map(str, values[:MAX_EXAMPLES].tolist()))
    return ids, [f"{int(unknown.sum()):,} pixels of values that the references have not ({told}) count as background."]
