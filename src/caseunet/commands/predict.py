"""BUNDLE + images → PREDICTIONS."""

import csv
import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from caseunet.bundle import load_bundle
from caseunet.config import PredictionOutputs, PredictionSettings
from caseunet.data.folds import fold_of, read_split
from caseunet.errors import CaseUNetError
from caseunet.files import PARTIAL, is_output, output_folder, resume_folder, write_json, write_text
from caseunet.prediction.case import PredictionContext, predict_case
from caseunet.prediction.image_kind import MaskGivenError
from caseunet.prediction.inputs import Input, channels_of, find_inputs
from caseunet.prediction.predictor import Predictor
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
    out: str | Path,
    split: str | Path | None = None,
    fold: int | None = None,
    device: str = "auto",
    engine: str = "torch",
    overwrite: bool = False,
    display: Display | None = None,
    out_of_fold: bool = False,
    settings: PredictionSettings | None = None,
    outputs: PredictionOutputs | None = None,
    max_ram: int | None = None,
    resume: bool = False,
) -> PredictionsInfo:
    """Segment images and write one file per case in the source's geometry, and predictions.json.

    An image that cannot be segmented is named in the result's ``failed``, and the others go on.

    Args:
        bundle: folder of the model.
        inputs: one or several of: images, videos, archives, folders of them, raw data sets in a known layout (of which
            only images are read).
        out: folder to write.
        split: a splits.json; only cases with a validation part in ``fold`` are segmented.
        fold: if not given, the one that the bundle was validated on.
        device: as for :class:`caseunet.Predictor`.
        engine: as there.
        settings: as there.
        overwrite: replace earlier predictions at ``out``.
        display: what a person sees.
        out_of_fold: of an ensemble only those networks segment an image that were not trained on it.
        outputs: what is written beside the masks.
        max_ram: bytes of memory that this process may have; a case that needs more is not begun.
        resume: go on with what is at ``out``: images that are done are not segmented again.

    Raises:
        CaseUNetError: the bundle cannot be read, there is nothing to segment, or nothing could be; then nothing is
            written.
    """
    bundle, out, split = Path(bundle), Path(out), None if split is None else Path(split)
    images = [Path(path) for path in ([inputs] if isinstance(inputs, str | Path) else inputs)]
    notices, outputs = Notices(display), outputs or PredictionOutputs()
    if resume and overwrite:
        raise CaseUNetError("Predictions are either replaced (--overwrite) or gone on with (--resume): choose one.")
    predictor = Predictor(load_bundle(bundle), device, engine, settings)
    info = predictor.info
    if info.validation.caution:
        notices.caution(f"{bundle}: {info.validation.caution}")
    if out_of_fold and not info.members:
        raise CaseUNetError(f"{bundle}: is no ensemble of folds; --split predicts what a single network did not see.")
    if out_of_fold and not predictor.models:
        raise CaseUNetError(f"{engine}: an export computes all networks together: --out-of-fold needs --engine torch.")
    if predictor.settings.flips and predictor.has_sides:
        names = ", ".join(info.label_map.sided_names[:4])
        notices.caution(f"mirrored top to bottom alone, for {names} have sides")
    with ExitStack() as unpacked:
        cases = find_inputs(images, out, notices, unpacked, channels_of(info), info.preprocessing.modality)
        if split is not None:
            fold = info.training_data.fold if fold is None else fold
            cases = _of_fold(cases, bundle, split, fold)
        if outputs.dicom_seg and not any(case.is_dicom for case in cases):
            raise CaseUNetError("--dicom-seg: none of the images is DICOM, which a segmentation object must refer to.")
        _check_names(cases, outputs)
        budget = Budget(predictor, max_ram)
        made = PredictionProvenance(
            bundle=str(bundle),
            bundle_hash=info.weights_hash,
            label_map=info.label_map,
            window=info.preprocessing.intensity_window,
            plane=info.preprocessing.plane,
            device=str(predictor.device),
            engine=predictor.engine,
            settings=predictor.settings,
            outputs=outputs,
            code_version=version("caseunet"),
            fold=fold if split is not None else None,
            selected_on_fold=info.training_data.fold if info.validation.selected == "best" else None,
            out_of_fold=out_of_fold,
        )
        files = [bundle, *(path for case in cases for path in case.files)]
        with _folder(out, files, overwrite, resume) as folder:
            before = earlier_cases(folder, made, lambda file: (folder / file).exists())
            work = PredictionContext(predictor, folder, outputs, out_of_fold)
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
    bundle: Path,
    inputs: Sequence[Path],
    device: str = "auto",
    engine: str = "torch",
    settings: PredictionSettings | None = None,
    outputs: PredictionOutputs | None = None,
    max_ram: int | None = None,
    display: Display | None = None,
) -> tuple[list[CaseCost], list[FailedCase]]:
    """What :func:`predict` would take, from the images' headers and a trial of the network; nothing is written.

    Returns:
        The costs of each case, and the images whose headers cannot be read or that would need more than ``max_ram``.
    """
    display, outputs = display or Display(), outputs or PredictionOutputs()
    predictor = Predictor(load_bundle(bundle), device, engine, settings)
    budget = Budget(predictor, max_ram)
    costs, failed = [], []
    with ExitStack() as unpacked:
        info = predictor.info
        for case in find_inputs(inputs, None, display, unpacked, channels_of(info), info.preprocessing.modality):
            try:
                costs.append(budget.cost(case, outputs))
                budget.check(costs[-1], case)
            except CaseUNetError as error:
                failed.append(FailedCase(id=case.id, image=str(case.path), error=str(error)))
    return costs, failed


def look_first(cases: Sequence[PredictedCase]) -> tuple[str, ...]:
    """Ids of the cases in the order in which a person should look at them; () where nothing is known of them."""
    known = [(case.quality.urgency, case.id) for case in cases if case.quality is not None]
    return tuple(case for _, case in sorted(known, key=lambda pair: pair[0], reverse=True))


def _of_fold(cases: list[Input], bundle: Path, split: Path, fold: int | None) -> list[Input]:
    if fold is None:
        raise CaseUNetError(f"{bundle}: is an ensemble over all folds. Give --out-of-fold in place of --split.")
    chosen = fold_of(read_split(split), fold, split).val
    missing = sorted(set(chosen) - {case.id for case in cases})
    if missing:
        raise CaseUNetError(f"{split}: fold {fold} validates on {missing[0]}, which is not among the images given.")
    return [case for case in cases if case.id in chosen]


@contextmanager
def _folder(out: Path, inputs: Sequence[Path], overwrite: bool, resume: bool) -> Iterator[Path]:
    """The folder of the predictions: empty, or to go on with as it is."""
    opened = resume_folder(out, KIND) if resume and is_output(out, KIND) else None
    with opened or output_folder(out, KIND, inputs, overwrite) as folder:
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
    names = {"32": "float32", "bf16": "bfloat16", "fp16": "float16 weights", "int8": "8-bit integers"}
    parts = [names[settings.precision]]
    parts += ["mirrored images too"] if settings.flips else []
    parts += [f"sizes ×{', ×'.join(f'{s:g}' for s in settings.scales)}"] if settings.scales != (1.0,) else []
    return ", ".join([*parts, "masks mended as learned" if settings.clean else "masks not mended"])


def _facts(result: PredictionsInfo) -> list[tuple[str, str]]:
    return [
        ("bundle", f"{result.bundle} (weights {result.bundle_hash})"),
        ("computed by", f"{result.engine} on {result.device}"),
        ("settings", _settings_text(result.settings)),
        ("masks", f"one file for each image, listed in {DESCRIPTION}"),
        ("caseunet", result.code_version),
    ]
