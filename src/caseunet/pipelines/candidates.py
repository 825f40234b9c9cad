"""Predictions to be scored: folders that ``predict`` wrote, and folders of masks that any other tool wrote."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from caseunet.errors import UserError
from caseunet.evaluation.evaluator import Predicted
from caseunet.files import content_hash
from caseunet.io import images
from caseunet.io.geometry import orientation_of
from caseunet.pipelines.predictions import DESCRIPTION, PredictionsInfo, is_unfinished, read_predictions
from caseunet.sources import SourceCase, SourceDataset
from caseunet.sources.coding import decode, translate
from caseunet.sources.reading import known_coding, placement, unknown_text
from caseunet.types import Geometry, LabelCoding, Mask

MOST_EXAMPLES = 3


@dataclass(frozen=True)
class Candidate:
    """The predictions of one model.

    Attributes:
        name: of the model in the report: the folder's.
        folder: that holds them.
        info: what ``predict`` noted; None for masks of another tool.
        files: {case: file of its mask}.
        failed: {case: why it has none}.
        extra: cases or files that belong to no labelled case of the references.
        asked: the cases that were to be predicted; None where nothing tells.
    """

    name: str
    folder: Path
    info: PredictionsInfo | None
    files: Mapping[str, Path]
    failed: Mapping[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    asked: frozenset[str] | None = None

    def why_missing(self, case: str) -> str:
        return self.failed.get(case, "there is no prediction of it.")


def model_names(folders: list[Path]) -> list[str]:
    """The folders' names; where two are alike, as much of their paths as tells them apart.

    Raises:
        UserError: a folder is given twice.
    """
    times = Counter(folder.resolve() for folder in folders)
    twice = [folder for folder in folders if times[folder.resolve()] > 1]
    if twice:
        raise UserError(f"{twice[0]}: is given twice; a model cannot be compared with itself.")
    whole = [Path(os.path.abspath(folder)) for folder in folders]  # a link keeps the name that it was given
    for length in range(1, max(len(folder.parts) for folder in whole) + 1):
        names = ["/".join(folder.parts[-length:]) for folder in whole]
        if len(set(names)) == len(names):
            break
    return names


def check_folders(folders: list[Path]) -> None:
    """Raises UserError for predictions that are not there or not finished; nothing else is read for it."""
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; expected predictions: one mask for each case.")
        if is_unfinished(folder):
            raise UserError(f"{folder}: is not finished. Give the same caseunet predict again with --resume.")


def open_candidate(folder: Path, name: str, dataset: SourceDataset) -> Candidate:
    """Find which file of a folder is the prediction of which case.

    Raises:
        UserError: the folder is missing, unfinished, of other classes or images, or no file of it belongs to a case.
    """
    check_folders([folder])
    labelled = {case.id: case for case in dataset.labelled}
    if (folder / DESCRIPTION).is_file():
        return _open_own(folder, name, dataset, labelled)
    return _open_foreign(folder, name, dataset, labelled)


def _open_own(folder: Path, name: str, dataset: SourceDataset, labelled: Mapping[str, SourceCase]) -> Candidate:
    info = read_predictions(folder)
    own = known_coding(dataset).label_map
    for what, here, there in (
        ("classes", own.names, info.label_map.names),
        ("structures", own.structures, info.label_map.structures),
    ):
        if here != there:
            raise UserError(
                f"{dataset.root}: its {what} {here} are not the predictions' {there}. Where masks alone tell the "
                "classes, a labels.json or the plan of the training data says what they are."
            )
    files, failed = {}, {case.id: f"it could not be predicted: {case.error}" for case in info.failed}
    for item in info.cases:
        if item.id not in labelled:
            continue
        case = labelled[item.id]
        if content_hash(*case.image) != item.image_hash:
            raise UserError(
                f"{folder / item.file}: was predicted from another image than {case.image[0]}. Score predictions "
                "against the masks of the very images that they were made from."
            )
        if (folder / item.file).exists():
            files[item.id] = folder / item.file
        else:
            failed[item.id] = f"its file {item.file} is gone."
    asked = {case.id for case in info.cases} | {case.id for case in info.failed}
    if not asked & set(labelled):
        raise UserError(f"{folder}: holds no prediction of a case that {dataset.root} has a mask of.")
    extra = sorted(asked - set(labelled) - dataset.dropped)
    return Candidate(name, folder, info, files, failed, tuple(extra), frozenset(asked & set(labelled)))


def _open_foreign(folder: Path, name: str, dataset: SourceDataset, labelled: Mapping[str, SourceCase]) -> Candidate:
    """Match by name: the case's, its mask's, its image's, or the path of its mask; whatever names one case alone."""
    names: dict[str, set[str]] = {}
    for case in labelled.values():
        for key in _names(case, dataset):
            names.setdefault(key, set()).add(case.id)
    files: dict[str, Path] = {}
    extra = []
    for path in _mask_files(folder):
        found = {case for key in _keys(path, folder) for case in names.get(key, ()) if len(names[key]) == 1}
        if len(found) != 1:
            extra.append(path.relative_to(folder).as_posix())
            continue
        (of_case,) = found
        if of_case in files:
            raise UserError(f"{files[of_case]} and {path}: both are named as predictions of {of_case}. Keep one.")
        files[of_case] = path
    if not files:
        some = ", ".join(extra[:MOST_EXAMPLES]) or "no image files"
        raise UserError(
            f"{folder}: no file in it is named as a case of {dataset.root}. Found {some}; expected names such as "
            f"{', '.join(list(labelled)[:MOST_EXAMPLES])}."
        )
    return Candidate(name, folder, None, files, extra=tuple(extra))


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


def _keys(path: Path, folder: Path) -> tuple[str, str]:
    relative = path.relative_to(folder)
    return images.stem(path), (relative.parent / images.stem(relative)).as_posix()


def _mask_files(folder: Path) -> list[Path]:
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        found += [Path(parent) / name for name in sorted(names) if not name.startswith(".")]
    return [path for path in found if images.is_image(path)]


def reader(candidate: Candidate, case: str, dataset: SourceDataset) -> "partial[Predicted] | None":
    """What reads the prediction of a case, given the geometry of its image; None where there is none."""
    if case not in candidate.files:
        return None
    coding = None if candidate.info is not None else known_coding(dataset)
    return partial(_read, candidate.files[case], coding)


def _read(path: Path, coding: LabelCoding | None, image: Geometry) -> Predicted:
    """Class ids in canonical order, turned as the image is.

    Args:
        path: the mask.
        coding: what its values mean; None if they are class ids.
        image: the geometry of the image.

    Raises:
        UserError: it cannot be read, lies elsewhere than its image, or holds values that are no class.
    """
    mask = images.read_mask(path, image, None if coding is not None and coding.colored else False)
    misplaced, problem = placement(mask, image)
    if misplaced:
        raise UserError(f"{path}: {problem}.")
    if mask.fractional:
        raise UserError(f"{path}: holds {mask.fractional:,} values that are no whole numbers; labels are.")
    ids, remarks = _ids(path, mask, coding)
    remarks += [f"{remark}." for remark in mask.geometry.remarks]
    axes = orientation_of(mask.geometry), orientation_of(image)
    if axes[0] and axes[1] and axes[0] != axes[1]:
        remarks.append(f"the prediction's axes run {axes[0]}, its image's {axes[1]}; compared in the patient's space.")
    elif mask.laid:
        remarks.append("the prediction's file states no position; it was laid on its image, index on index.")
    return Predicted(ids, " ".join(remarks))


def _ids(path: Path, mask: Mask, coding: LabelCoding | None) -> tuple[np.ndarray, list[str]]:
    """Class ids, and what should be known of them. Another tool may write the references' values or class ids.

    Raises:
        UserError: the values are neither.
    """
    codes = mask.codes
    low, high = (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
    if coding is None:
        if not 0 <= low <= high < 256:
            raise UserError(f"{path}: holds {low} to {high}, which are no labels.")
        return codes.astype(np.uint8), []
    could_be_ids = not mask.colored and 0 <= low <= high < len(coding.label_map)
    if coding.colored and not mask.colored and not mask.palette and could_be_ids:
        return codes.astype(np.uint8), ["its grey values were taken for class ids."] if high else []
    translation = translate(mask, coding)
    if translation.problem:
        raise UserError(f"{path}: {translation.problem}.")
    codes = translation.apply(codes)
    ids, unknown = decode(codes, coding, {})
    if not unknown.any():
        return ids, [f"{translation.remark}."] if translation.remark else []
    if not could_be_ids:
        raise UserError(f"{path}: {unknown_text(codes[unknown], coding)}.")
    return mask.codes.astype(np.uint8), [f"its values up to {high} were taken for class ids."]
