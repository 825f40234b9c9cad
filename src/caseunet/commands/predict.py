"""BUNDLE + images → PREDICTIONS."""

from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from caseunet.bundle import load_bundle
from caseunet.config import ReadingConfig
from caseunet.data.store import read_source
from caseunet.errors import CaseUNetError
from caseunet.options import PredictOptions, check_mode
from caseunet.prediction.channels import channels_of
from caseunet.prediction.context import PredictionContext
from caseunet.prediction.inputs import Input, find_inputs
from caseunet.prediction.operating_points import describe_operating_point, list_doubts
from caseunet.prediction.predictor import SlicePredictor
from caseunet.prediction.resources import Budget, CaseCost
from caseunet.prediction.run import check_names, keep_earlier, look_first, open_folder, predict_cases, select_fold
from caseunet.prediction.store import (
    FailedCase,
    Journal,
    PredictionProvenance,
    PredictionsInfo,
    summarize_defects,
)
from caseunet.progress import Display, Notices, count_text
from caseunet.quality.judgement import list_limits
from caseunet.reporting.predictions import write_tables


def predict(
    bundle: str | Path,
    inputs: str | Path | Sequence[str | Path],
    *,
    out: str | Path = "predictions",
    mode: Literal["new", "overwrite", "resume"] = "new",
    options: PredictOptions = PredictOptions(),
    display: Display | None = None,
) -> PredictionsInfo:
    """Segment images and write one file per case in the source's geometry, and predictions.json.

    An image that cannot be segmented is named in the result's ``failed``, and the others go on.

    Args:
        bundle: folder of the model, or a training run.
        inputs: one or several of: images, videos, archives, folders of them, raw data sets in a known layout (of which
            only images are read).
        out: folder to write.
        mode: "overwrite" replaces earlier predictions at ``out``; "resume" goes on with them: images that are done are
            not segmented again.
        options: everything else.
        display: shows progress.

    Raises:
        CaseUNetError: the bundle cannot be read, there is nothing to segment, or nothing could be; then nothing is
            written.
        RuntimeError: a defect of caseunet stopped all images. One that stops some is told in ``failed`` with its
            traceback.
    """
    check_mode(mode, "resume")
    bundle, out, notices = find_bundle(bundle), Path(out), Notices(display)
    images = [Path(path) for path in ([inputs] if isinstance(inputs, str | Path) else inputs)]
    predictor = _open_predictor(bundle, options)
    _check_options(bundle, predictor, options, notices)
    with ExitStack() as unpacked:
        info = predictor.info
        left_out: list[FailedCase] = []
        cases = find_inputs(images, out, notices, unpacked, channels_of(info), info.preprocessing.modality, left_out)
        fold = info.training_data.fold if options.fold is None else options.fold
        if options.split is not None:
            cases = select_fold(cases, bundle, options.split, fold)
        _check_cases(cases, options)
        budget = Budget(predictor, options.max_ram)
        made = _describe_provenance(bundle, predictor, options, fold)
        with open_folder(out, [bundle, *(path for case in cases for path in case.files)], mode) as folder:
            kept = keep_earlier(folder, made, cases)
            journal = Journal(folder, made, kept)
            work = PredictionContext(predictor, folder, options.outputs, options.out_of_fold, options.max_ram)
            done, failed, masks = predict_cases(work, cases, kept, journal, budget, notices)
            if not done and (defect := summarize_defects(failed)):
                raise defect
            if not done:
                several = f"None of {count_text(len(cases), 'image')} could be segmented: " if len(cases) > 1 else ""
                raise CaseUNetError(several + (*failed, *masks)[0].error)
            result = PredictionsInfo(
                **{name: getattr(made, name) for name in PredictionProvenance.model_fields},
                cases=tuple(done),
                failed=tuple(failed),
                left_out=(*left_out, *masks),
                look_first=look_first(done),
                warnings=notices.warnings,
                read_with=info.training_data.read_with,
                gate_limits=list_limits(info),
            )
            write_tables(folder, result)
            notices.write_log(folder)
            journal.close(result)
    return result


def _check_options(bundle: Path, predictor: SlicePredictor, options: PredictOptions, display: Display) -> None:
    """Raises CaseUNetError where the bundle cannot do what is asked for; cautions of what it does otherwise."""
    info = predictor.info
    if info.caution:
        display.caution(f"{bundle}: {info.caution}")
    if options.out_of_fold and not info.members:
        raise CaseUNetError(
            f"{bundle}: is no ensemble of folds. A split tells which cases a single network did not see.",
            options=("split",),
        )
    if options.out_of_fold and not predictor.models:
        raise CaseUNetError(
            f"{options.exported}: an export computes all networks together, so none can be left out.",
            options=("out_of_fold", "exported"),
        )
    for name, point in predictor.operating_points.items():
        display.say(f"  {describe_operating_point(name, point)}")
    if predictor.operating_points:
        display.say("  these structures are not post-processed, and predicted Dice is of masks without thresholds")
    for doubt in list_doubts(predictor.operating_points):
        display.caution(doubt)
    if predictor.settings.tta_flip and predictor.has_sides:
        names = ", ".join(info.label_map.sided_names[:4])
        display.caution(f"mirrored top to bottom alone, for {names} have sides")


def _check_cases(cases: Sequence[Input], options: PredictOptions) -> None:
    """Raises CaseUNetError where the outputs that are asked for cannot be written of these images."""
    if options.outputs.dicom_seg and not any(case.is_dicom for case in cases):
        raise CaseUNetError(
            "A DICOM segmentation object must refer to a DICOM series, and none of the images is one.",
            options=("dicom_seg",),
        )
    check_names(cases, options.outputs)


def _describe_provenance(
    bundle: Path, predictor: SlicePredictor, options: PredictOptions, fold: int | None
) -> PredictionProvenance:
    info = predictor.info
    return PredictionProvenance(
        bundle=str(bundle),
        bundle_hash=info.weights_hash,
        label_map=info.label_map,
        window=info.preprocessing.intensity_window[0],
        plane=info.preprocessing.plane,
        device=str(predictor.device),
        backend=predictor.backend,
        settings=predictor.settings,
        outputs=options.outputs,
        code_version=version("caseunet"),
        fold=fold if options.split is not None else None,
        selected_on_fold=info.training_data.fold if info.validation.selected == "best" else None,
        out_of_fold=options.out_of_fold,
        operating_points=predictor.operating_points,
    )


def dry_run(
    bundle: str | Path,
    inputs: Sequence[Path],
    *,
    options: PredictOptions = PredictOptions(),
    display: Display | None = None,
) -> tuple[list[CaseCost], list[FailedCase]]:
    """What :func:`predict` would take, from the images' headers and a trial of the network; nothing is written.

    Returns:
        The costs of each case, and the images whose headers cannot be read or that would need more than ``max_ram``.
    """
    display, predictor = display or Display(), _open_predictor(find_bundle(bundle), options)
    budget = Budget(predictor, options.max_ram)
    costs, failed = [], []
    with ExitStack() as unpacked:
        info = predictor.info
        for case in find_inputs(inputs, None, display, unpacked, channels_of(info), info.preprocessing.modality):
            try:
                costs.append(budget.cost(case, options.outputs))
                budget.check(costs[-1], case, options.outputs)
            except CaseUNetError as error:
                failed.append(FailedCase(id=case.id, image=str(case.path), error=str(error)))
    return costs, failed


def find_bundle(folder: str | Path) -> Path:
    """The bundle at a path: itself, or the one in a training run."""
    folder = Path(folder)
    within = folder / "bundle"
    return within if not (folder / "model.json").exists() and (within / "model.json").is_file() else folder


def find_raw_data(info: PredictionsInfo, split: Path | None = None) -> tuple[Path | None, ReadingConfig]:
    """Where the true masks are, as far as it is known, and the options to read them with as in training."""
    source = None if split is None else read_source(split.parent)
    if source is None:
        return None, ReadingConfig(**info.read_with)
    return Path(source.folder) if Path(source.folder).is_dir() else None, source.reading


def _open_predictor(bundle: Path, options: PredictOptions) -> SlicePredictor:
    return SlicePredictor(
        load_bundle(bundle),
        options.device,
        backend=options.backend,
        exported=options.exported,
        settings=options.settings,
    )
