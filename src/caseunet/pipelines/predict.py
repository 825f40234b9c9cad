"""BUNDLE + images → PREDICTIONS."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from caseunet.bundle import load_bundle
from caseunet.data.store import fold_of, read_split
from caseunet.errors import UserError
from caseunet.files import content_hash, output_folder, read_model, write_json
from caseunet.inference.predictor import Predictor, Segmentation, read_picture
from caseunet.io import dicom, images, raster
from caseunet.progress import Display, Stage
from caseunet.sources import Layout, SourceCase, files_below, matching
from caseunet.types import LabelMap, Picture, Preprocessing, Stored

KIND = "predictions"
DESCRIPTION = "predictions.json"


class PredictedCase(Stored):
    """One entry of predictions.json.

    ``file`` is relative to the folder, ``image`` as it was given. ``in_training`` tells whether the model was trained
    on this very file.
    """

    id: str
    image: str
    image_hash: str
    in_training: bool
    file: str
    slices: int
    seconds: float


class FailedCase(Stored):
    """An image that could not be segmented."""

    id: str
    image: str
    error: str


class PredictionsInfo(Stored):
    """Content of predictions.json."""

    format_version: Literal[1] = 1
    bundle: str
    bundle_hash: str
    label_map: LabelMap
    window: tuple[float, float] | None
    device: str
    engine: str
    code_version: str
    fold: int | None
    """Fold whose validation part was asked for."""
    selected_on_fold: int | None
    """Fold on which these weights scored best, if they were chosen so."""
    out_of_fold: bool = False
    """Whether each image was segmented by those networks of an ensemble alone that were not trained on it."""
    cases: tuple[PredictedCase, ...]
    failed: tuple[FailedCase, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "PredictionsInfo":
        ids = [case.id for case in self.cases]
        twice = [case for case, times in Counter(ids).items() if times > 1]
        if twice:
            raise ValueError(f"case {twice[0]} is there twice")
        for case in self.cases:
            if Path(case.file).is_absolute() or ".." in Path(case.file).parts:
                raise ValueError(f"{case.file} lies outside the folder")
        return self


@dataclass(frozen=True)
class Input:
    """An image to segment and the name of its result.

    Attributes:
        id: name of the result.
        files: of the image.
        case: where a raw layout tells how to read it, that and the case.
    """

    id: str
    files: tuple[Path, ...]
    case: tuple[Layout, SourceCase] | None = None

    @property
    def path(self) -> Path:
        return self.files[0]


def predict(
    bundle: Path,
    inputs: Sequence[Path],
    out: Path,
    split: Path | None = None,
    fold: int | None = None,
    device: str = "auto",
    engine: str = "torch",
    overwrite: bool = False,
    display: Display | None = None,
    out_of_fold: bool = False,
) -> PredictionsInfo:
    """Segment images and write one file per case in the source's geometry, and predictions.json.

    An image that cannot be segmented is named in the result's ``failed``, and the others go on.

    Args:
        bundle: folder of the model.
        inputs: image files, folders of them, or raw data sets in a known layout (only their images are read).
        out: folder to write.
        split, fold: a splits.json; only cases with a validation part in that fold are segmented. Without a number it is
            the fold that the bundle was validated on.
        device, engine: as for :class:`caseunet.Predictor`.
        overwrite: replace earlier predictions at ``out``.
        display: what a person sees.
        out_of_fold: of an ensemble only those networks segment an image that were not trained on it.

    Raises:
        UserError: the bundle cannot be read, or there is nothing to segment.
    """
    display = display or Display()
    predictor = Predictor(load_bundle(bundle), device, engine)
    if out_of_fold and not predictor.bundle.info.members:
        raise UserError(f"{bundle}: is no ensemble of folds; --split predicts what a single network did not see.")
    cases = find_inputs(inputs, leave_out=out, display=display)
    info = predictor.bundle.info
    if split is not None:
        fold = info.training_data.fold if fold is None else fold
        if fold is None:
            raise UserError(f"{bundle}: is an ensemble over all folds. Give --out-of-fold in place of --split.")
        chosen = fold_of(read_split(split), fold, split).val
        missing = sorted(set(chosen) - {case.id for case in cases})
        if missing:
            raise UserError(f"{split}: fold {fold} validates on {missing[0]}, which is not among the images given.")
        cases = [case for case in cases if case.id in chosen]
    predictions = PredictionsInfo(
        bundle=str(bundle),
        bundle_hash=info.weights_hash,
        label_map=info.label_map,
        window=info.preprocessing.clip,
        device=str(predictor.device),
        engine=engine,
        code_version=version("caseunet"),
        fold=fold if split is not None else None,
        selected_on_fold=info.training_data.fold if info.validation.selected == "best" else None,
        out_of_fold=out_of_fold,
        cases=(),
    )
    done: list[PredictedCase] = []
    failed: list[FailedCase] = []
    with (
        output_folder(out, KIND, [bundle, *(path for case in cases for path in case.files)], overwrite) as folder,
        display.stage("predicting", len(cases), "case") as stage,
    ):
        try:
            for case in cases:
                try:
                    done.append(_predict_one(predictor, case, folder, stage, out_of_fold))
                except UserError as error:
                    failed.append(FailedCase(id=case.id, image=str(case.path), error=str(error)))
                    display.say(f"  {error}", "red")
        finally:  # an interrupted run lists what it has done
            predictions = predictions.model_copy(update={"cases": tuple(done), "failed": tuple(failed)})
            write_json(folder / DESCRIPTION, predictions.model_dump(mode="json"))
    seen = [case.id for case in done if case.in_training]
    if seen:
        display.say(f"  the model was trained on {len(seen)} of these images, {seen[0]} among them", "yellow")
    return predictions


def _predict_one(predictor: Predictor, case: Input, folder: Path, stage: Stage, out_of_fold: bool) -> PredictedCase:
    """Segment one image and write its mask.

    Raises:
        UserError: it cannot be read or segmented; names the file.
    """
    info = predictor.bundle.info
    began = time.monotonic()
    picture = _read(case, info.preprocessing)
    image_hash = content_hash(*case.files)
    knowing = [image_hash in network.training_data.image_hashes for network in predictor.bundle.networks]
    voting = [n for n, knows in enumerate(knowing) if not (out_of_fold and knows)]
    if not voting:
        raise UserError(f"{case.path}: every network of {predictor.bundle.folder} was trained on it.")
    slices = len(picture.pixels)
    try:
        labels = predictor.predict_slices(
            picture.pixels, picture.geometry.spacing, lambda n: stage.advance(n / slices, case.id), voting
        )
    except UserError as error:
        raise UserError(f"{case.path}: {error}") from error
    target = folder / (case.id + _suffix(case.path))
    if not target.resolve().is_relative_to(folder):
        raise UserError(f'{case.path}: its name "{case.id}" would be written outside the output folder.')
    Segmentation(labels, info.label_map, picture.geometry, case.path).save(target)
    return PredictedCase(
        id=case.id,
        image=str(case.path),
        image_hash=image_hash,
        in_training=any(knowing[n] for n in voting),
        file=target.relative_to(folder).as_posix(),
        slices=slices,
        seconds=round(time.monotonic() - began, 3),
    )


def _read(case: Input, preprocessing: Preprocessing) -> Picture:
    if case.case is None:
        return read_picture(case.path, preprocessing)
    layout, source = case.case
    return layout.read_image(source, preprocessing.modality == "rgb")


def read_predictions(folder: Path) -> PredictionsInfo:
    """Read predictions.json.

    Raises:
        UserError: it is missing or of another form.
    """
    return read_model(folder / DESCRIPTION, PredictionsInfo, "predictions made by caseunet predict")


def find_inputs(inputs: Sequence[Path], leave_out: Path | None = None, display: Display | None = None) -> list[Input]:
    """The images that files, folders and raw data sets hold.

    A folder in a known raw layout gives its images under their case ids; any other gives every readable file below it,
    under its path without suffix; a file is called by its name. Files below ``leave_out``, where earlier results may
    lie, are no inputs. What a raw data set cannot give, such as an image that lacks a channel, is said on ``display``.

    Raises:
        UserError: an input is missing or holds no image, or two would be written to the same name.
    """
    found: list[Input] = []
    for path in inputs:
        if path.is_dir():
            inside = _in_folder(path, leave_out, display or Display())
            if not inside:
                raise UserError(f"{path}: holds no image ({', '.join((*images.SUFFIXES, *dicom.SUFFIXES))}).")
            found += inside
        elif path.exists():
            found.append(Input(images.stem(path), (path,)))
        else:
            raise UserError(f"{path}: no such file or folder.")
    seen: dict[str, Path] = {}
    for item in found:
        if item.id in seen:
            raise UserError(
                f'{item.path} and {seen[item.id]} would both be written as "{item.id}". Predict them apart.'
            )
        seen[item.id] = item.path
    return found


def _in_folder(folder: Path, leave_out: Path | None, display: Display) -> list[Input]:
    fitting = matching(folder)
    if len(fitting) == 1:
        layout = fitting[0]
        cases, findings = layout.cases(folder)
        for finding in findings:
            if finding.level == "error" and finding.kind != "extra-mask":
                display.say(f"  left out: {folder / (finding.file or '')}: {finding.text}", "red")
        return [Input(case.id, case.image, (layout, case)) for case in cases]
    out = None if leave_out is None else leave_out.resolve()
    return [
        Input(path.relative_to(folder).with_name(images.stem(path)).as_posix(), (path,))
        for path in files_below(folder)
        if images.is_image(path) and not (out and path.resolve().is_relative_to(out))
    ]


def _suffix(path: Path) -> str:
    """Masks of volumes are NIfTI, compressed unless the image is plain NIfTI; those of images are lossless PNG."""
    if path.name.lower().endswith(".nii"):
        return ".nii"
    return ".png" if raster.is_raster(path) else ".nii.gz"
