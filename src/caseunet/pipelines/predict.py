"""BUNDLE + images → PREDICTIONS."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pydantic import ValidationError

from caseunet.bundle import load_bundle
from caseunet.data.store import fold_of, read_split
from caseunet.errors import UserError
from caseunet.files import free_output_folder, read_json, write_json
from caseunet.inference.predictor import Predictor, Segmentation, read_picture
from caseunet.io import nifti, raster
from caseunet.progress import Display, Stage
from caseunet.sources import SOURCES
from caseunet.types import LabelMap, Stored

MARKER = "predictions.json"


class PredictedCase(Stored):
    """One entry of predictions.json; ``file`` is relative to the folder, ``image`` as it was given."""

    id: str
    image: str
    file: str
    slices: int
    seconds: float


class PredictionsInfo(Stored):
    """Content of predictions.json."""

    format_version: int = 1
    bundle: str
    bundle_hash: str
    label_map: LabelMap
    window: tuple[float, float] | None
    device: str
    engine: str
    code_version: str
    cases: tuple[PredictedCase, ...]


@dataclass(frozen=True)
class Input:
    """An image to segment and the name of its result."""

    id: str
    path: Path


def predict(
    bundle: Path,
    inputs: Sequence[Path],
    out: Path,
    split: Path | None = None,
    fold: int = 0,
    device: str = "auto",
    engine: str = "torch",
    overwrite: bool = False,
    display: Display | None = None,
) -> PredictionsInfo:
    """Segment images and write one file per case in the source's geometry, and predictions.json.

    Args:
        bundle: folder of the model.
        inputs: image files, folders of them, or raw data sets in a known layout (only their images are read).
        out: folder to write.
        split, fold: a splits.json; only cases with a validation part in that fold are segmented.
        device, engine: as for :class:`caseunet.Predictor`.
        overwrite: replace earlier predictions at ``out``.
        display: what a person sees.

    Raises:
        UserError: the bundle or an image cannot be read, or there is nothing to segment.
    """
    display = display or Display()
    predictor = Predictor(load_bundle(bundle), device, engine)
    cases = find_inputs(inputs)
    if split is not None:
        chosen = fold_of(read_split(split), fold, split).val
        missing = sorted(set(chosen) - {case.id for case in cases})
        if missing:
            raise UserError(f"{split}: fold {fold} validates on {missing[0]}, which is not among the images given.")
        cases = [case for case in cases if case.id in chosen]
    free_output_folder(out, MARKER, overwrite)
    info = predictor.bundle.info
    predictions = PredictionsInfo(
        bundle=str(bundle),
        bundle_hash=info.weights_hash,
        label_map=info.label_map,
        window=info.preprocessing.clip,
        device=str(predictor.device),
        engine=engine,
        code_version=version("caseunet"),
        cases=(),
    )
    write_json(out / MARKER, predictions.model_dump(mode="json"))  # now, so that what is interrupted can be replaced
    done = []
    with display.stage("predicting", len(cases), "case") as stage:
        for case in cases:
            began = time.monotonic()
            picture = read_picture(case.path, info.preprocessing.channels)
            labels = predictor.predict_slices(picture.pixels, _progress(stage, case, len(picture.pixels)))
            target = out / (case.id + _suffix(case.path))
            Segmentation(labels, info.label_map, picture.geometry, case.path).save(target)
            done.append(
                PredictedCase(
                    id=case.id,
                    image=str(case.path),
                    file=target.relative_to(out).as_posix(),
                    slices=len(labels),
                    seconds=round(time.monotonic() - began, 3),
                )
            )
    predictions = predictions.model_copy(update={"cases": tuple(done)})
    write_json(out / MARKER, predictions.model_dump(mode="json"))
    return predictions


def read_predictions(folder: Path) -> PredictionsInfo:
    """Read predictions.json.

    Raises:
        UserError: it is missing or of another form.
    """
    path = folder / MARKER
    try:
        return PredictionsInfo.model_validate(read_json(path, "predictions made by caseunet predict"))
    except ValidationError as error:
        raise UserError(f"{path}: is no list of predictions of this version: {error.errors()[0]['msg']}.") from error


def find_inputs(inputs: Sequence[Path]) -> list[Input]:
    """The images that files, folders and raw data sets hold.

    A folder in a known raw layout gives its images under their case ids; any other gives every readable file below it,
    under its path without suffix; a file is called by its name.

    Raises:
        UserError: an input is missing or holds no image, or two would be written to the same name.
    """
    found: list[Input] = []
    for path in inputs:
        if path.is_dir():
            inside = _in_folder(path)
            if not inside:
                raise UserError(f"{path}: holds no image ({', '.join((*nifti.SUFFIXES, *raster.SUFFIXES))}).")
            found += inside
        elif path.exists():
            found.append(Input(_name(path), path))
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


def _in_folder(folder: Path) -> list[Input]:
    for name in SOURCES:
        layout = SOURCES.get(name)
        if layout.matches(folder):
            return [Input(case.id, case.image) for case in layout.discover(folder).cases]
    files = (path for path in folder.rglob("*") if nifti.is_nifti(path) or raster.is_raster(path))
    return [
        Input(path.relative_to(folder).with_name(_name(path)).as_posix(), path)
        for path in sorted(files)
        if not path.name.startswith(".")
    ]


def _progress(stage: Stage, case: Input, slices: int) -> Callable[[int], None]:
    """Reports parts of a case: n slices done are n / slices of it."""
    return lambda n: stage.advance(n / slices, case.id)


def _name(path: Path) -> str:
    return nifti.case_name(path) if nifti.is_nifti(path) else path.stem


def _suffix(path: Path) -> str:
    """Volumes keep their kind of file; masks of images are always lossless PNG."""
    if nifti.is_nifti(path):
        return ".nii.gz" if path.name.endswith(".gz") else ".nii"
    return ".png"
