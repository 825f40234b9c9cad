"""BUNDLE + images → PREDICTIONS."""

import csv
import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from caseunet.bundle import load_bundle
from caseunet.config import Mode, PredictionOutputs, PredictionSettings, PredictOptions
from caseunet.data.folds import fold_of, read_split
from caseunet.errors import CaseUNetError
from caseunet.files import PARTIAL, is_output, output_folder, resume_folder, write_json, write_text
from caseunet.prediction.case import PredictionContext, predict_case
from caseunet.prediction.image_kind import MaskGivenError
from caseunet.prediction.inputs import Input, channels_of, find_inputs
from caseunet.prediction.predictor import SlicePredictor
from caseunet.prediction.resources import Budget, CaseCost
from caseunet.prediction.store import (
    DESCRIPTION,
    KIND,
    FailedCase,
    Journal,
    PredictedCase,
    PredictionProvenance,
    PredictionsInfo,
    earlier_cases,
)
from caseunet.progress import Display, Notices, count_text
from caseunet.quality.judgement import list_limits
from caseunet.reporting.preview_page import PreviewCase, write_preview


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
    """
    bundle, out, notices = find_bundle(bundle), Path(out), Notices(display)
    images = [Path(path) for path in ([inputs] if isinstance(inputs, str | Path) else inputs)]
    split, fold, outputs = options.split, options.fold, options.outputs
    predictor = _open_predictor(bundle, options)
    info = predictor.info
    if info.validation.caution:
        notices.caution(f"{bundle}: {info.validation.caution}")
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
    if predictor.settings.tta_flip and predictor.has_sides:
        names = ", ".join(info.label_map.sided_names[:4])
        notices.caution(f"mirrored top to bottom alone, for {names} have sides")
    with ExitStack() as unpacked:
        cases = find_inputs(images, out, notices, unpacked, channels_of(info), info.preprocessing.modality)
        if split is not None:
            fold = info.training_data.fold if fold is None else fold
            cases = _of_fold(cases, bundle, split, fold)
        if outputs.dicom_seg and not any(case.is_dicom for case in cases):
            raise CaseUNetError(
                "A DICOM segmentation object must refer to a DICOM series, and none of the images is one.",
                options=("dicom_seg",),
            )
        _check_names(cases, outputs)
        budget = Budget(predictor, options.max_ram)
        made = PredictionProvenance(
            bundle=str(bundle),
            bundle_hash=info.weights_hash,
            label_map=info.label_map,
            window=info.preprocessing.intensity_window,
            plane=info.preprocessing.plane,
            device=str(predictor.device),
            backend=predictor.backend,
            settings=predictor.settings,
            outputs=outputs,
            code_version=version("caseunet"),
            fold=fold if split is not None else None,
            selected_on_fold=info.training_data.fold if info.validation.selected == "best" else None,
            out_of_fold=options.out_of_fold,
        )
        files = [bundle, *(path for case in cases for path in case.files)]
        with _folder(out, files, mode) as folder:
            before = earlier_cases(folder, made, lambda file: (folder / file).exists())
            work = PredictionContext(predictor, folder, outputs, options.out_of_fold)
            now = {item.id: item for item in cases}
            kept = [case for case in before if case.id not in now or now[case.id].hash() == case.image_hash]
            for case in (case for case in before if case not in kept):
                _remove(folder, case)  # even if the image is damaged now: its old mask would be taken for the new one's
            journal = Journal(folder, made, kept)
            done, failed, left_out = _predict_all(work, cases, kept, journal, budget, notices)
            if not done:
                several = f"None of {count_text(len(cases), 'image')} could be segmented: " if len(cases) > 1 else ""
                raise CaseUNetError(several + (*failed, *left_out)[0].error)
            result = PredictionsInfo(
                **{name: getattr(made, name) for name in PredictionProvenance.model_fields},
                cases=tuple(done),
                failed=tuple(failed),
                left_out=tuple(left_out),
                look_first=look_first(done),
                warnings=notices.warnings,
                gate_limits=list_limits(info),
            )
            _write_tables(folder, result)
            notices.write_log(folder)
            journal.close(result)
    return result


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
                budget.check(costs[-1], case)
            except CaseUNetError as error:
                failed.append(FailedCase(id=case.id, image=str(case.path), error=str(error)))
    return costs, failed


def find_bundle(folder: str | Path) -> Path:
    """The bundle at a path: itself, or the one in a training run."""
    folder = Path(folder)
    within = folder / "bundle"
    return within if not (folder / "model.json").exists() and (within / "model.json").is_file() else folder


def _open_predictor(bundle: Path, options: PredictOptions) -> SlicePredictor:
    return SlicePredictor(
        load_bundle(bundle),
        options.device,
        backend=options.backend,
        exported=options.exported,
        settings=options.settings,
    )


def look_first(cases: Sequence[PredictedCase]) -> tuple[str, ...]:
    """Ids of the cases in the order in which a person should look at them; () where nothing is known of them."""
    known = [(case.quality.urgency, case.id) for case in cases if case.quality is not None]
    return tuple(case for _, case in sorted(known, key=lambda pair: pair[0], reverse=True))


def _of_fold(cases: list[Input], bundle: Path, split: Path, fold: int | None) -> list[Input]:
    if fold is None:
        raise CaseUNetError(
            f"{bundle}: is an ensemble over all folds, none of which a split tells.", options=("out_of_fold",)
        )
    chosen = fold_of(read_split(split), fold, split).val
    missing = sorted(set(chosen) - {case.id for case in cases})
    if missing:
        raise CaseUNetError(f"{split}: fold {fold} validates on {missing[0]}, which is not among the images given.")
    return [case for case in cases if case.id in chosen]


@contextmanager
def _folder(out: Path, inputs: Sequence[Path], mode: Mode) -> Iterator[Path]:
    """The folder of the predictions: empty, or to go on with as it is."""
    opened = resume_folder(out, KIND) if mode == "resume" and is_output(out, KIND) else None
    with opened or output_folder(out, KIND, inputs, mode == "overwrite") as folder:
        for path in folder.rglob(PARTIAL + "*"):  # what a killed run was about to write
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield folder


def _remove(folder: Path, case: PredictedCase) -> None:
    for name in (case.file, *case.others.values()):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _check_names(cases: Sequence[Input], outputs: PredictionOutputs) -> None:
    """Make sure that nothing that is written beside one mask is called like another.

    Raises:
        CaseUNetError: something would be.
    """
    beside = [*(["-overlay"] if outputs.overlay else []), *(["-probability-"] if outputs.probabilities else [])]
    ids = {case.id: case for case in cases}
    for case in cases:
        for other in (case.id[: case.id.index(ending)] for ending in beside if ending in case.id):
            if other in ids:
                raise CaseUNetError(
                    f"{case.path}: its mask would be called like what is written beside that of {ids[other].path}. "
                    "Predict them apart, or rename one."
                )


def _predict_all(
    work: PredictionContext,
    cases: Sequence[Input],
    before: Sequence[PredictedCase],
    journal: Journal,
    budget: Budget,
    display: Display,
) -> tuple[list[PredictedCase], list[FailedCase], list[FailedCase]]:
    """Those that are done, in the order of ``cases``, those that failed, and what looks like a mask."""
    earlier = {case.id: case for case in before}
    done: list[PredictedCase] = []
    failed: list[FailedCase] = []
    left_out: list[FailedCase] = []
    skipped = 0
    with display.stage("predicting", len(cases), "case") as stage:
        for item in cases:
            if item.id in earlier:
                done.append(earlier[item.id])
                for remark in earlier[item.id].remarks:
                    display.caution(f"{item.path}: {remark}", shown=False)
                skipped += 1
                stage.advance(1, item.id)
                continue
            try:
                if budget.max_ram is not None:
                    budget.check(budget.cost(item, work.outputs), item)
                case = predict_case(work, item, lambda share: stage.advance(share, item.id))  # noqa: B023
                journal.add(case)
                for remark in case.remarks:
                    display.caution(f"{item.path}: {remark}")
                done.append(case)
            except MaskGivenError as error:
                left_out.append(FailedCase(id=item.id, image=str(item.path), error=str(error)))
                if len(cases) > 1:
                    display.caution(f"left out: {error}")
            except CaseUNetError as error:
                failed.append(FailedCase(id=item.id, image=str(item.path), error=str(error)))
                if len(cases) > 1:
                    display.caution(str(error), "red")
    if skipped:
        display.say(f"  {count_text(skipped, 'image')} had been segmented before")
    seen = [case.id for case in done if case.in_training]
    if seen:
        display.caution(f"the model was trained on {len(seen)} of these images, {seen[0]} among them")
    alike = [case for case in done if case.looks_like]
    if alike:
        known = f"{alike[0].id} {alike[0].seen}"
        display.caution(f"{count_text(len(alike), 'image')} may be known from training: {known}")
    return done, failed, left_out


def _write_tables(folder: Path, result: PredictionsInfo) -> None:
    """measurements.csv and .json, and preview.html, where they were asked for."""
    if result.outputs.measurements or any(case.measurements for case in result.cases):
        for name, is_video in (("measurements", False), ("timeline", True)):
            rows = [row for case in result.cases for row in case.measurements if ("start_frame" in row) == is_video]
            if rows:
                write_json(folder / f"{name}.json", rows)
                write_text(folder / f"{name}.csv", _as_csv(rows))
    if result.outputs.overlay:
        write_preview(folder, "Predictions", _preview(result), _facts(result), result.gate_limits)


def _as_csv(rows: Sequence[dict[str, Any]]) -> str:
    stream = io.StringIO()
    table = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    return stream.getvalue()


def _preview(result: PredictionsInfo) -> list[PreviewCase]:
    order = {case: n for n, case in enumerate(result.look_first)}
    cases = sorted(result.cases, key=lambda case: order.get(case.id, len(order)))
    shown = [
        PreviewCase(
            id=case.id,
            picture=case.others.get("overlay"),
            quality=case.quality,
            remarks=(*([case.seen] if case.seen else []), *case.remarks),
            measurements=case.measurements,
        )
        for case in cases
    ]
    return shown + [PreviewCase(id=case.id, picture=None, error=case.error) for case in result.failed]


def _settings_text(settings: PredictionSettings) -> str:
    names = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16 weights", "int8": "8-bit integers"}
    parts = [names[settings.precision]]
    parts += ["mirrored images too"] if settings.tta_flip else []
    parts += [f"sizes ×{', ×'.join(f'{s:g}' for s in settings.tta_scales)}"] if settings.tta_scales != (1.0,) else []
    return ", ".join([*parts, "masks post-processed" if settings.postprocess else "masks not post-processed"])


def _facts(result: PredictionsInfo) -> list[tuple[str, str]]:
    return [
        ("bundle", f"{result.bundle} (weights {result.bundle_hash})"),
        ("computed by", f"{result.backend} on {result.device}"),
        ("settings", _settings_text(result.settings)),
        ("masks", f"one file for each image, listed in {DESCRIPTION}"),
        ("caseunet", result.code_version),
    ]
