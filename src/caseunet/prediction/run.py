"""Many images → one folder of masks, which may be gone on with."""

import shutil
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from caseunet.data.folds import fold_of, read_split
from caseunet.errors import CaseUNetError
from caseunet.files import PARTIAL, is_output, output_folder, resume_folder
from caseunet.io import scratch
from caseunet.options import Mode, PredictionOutputs
from caseunet.prediction.case import predict_case
from caseunet.prediction.context import PredictionContext
from caseunet.prediction.image_kind import MaskGivenError
from caseunet.prediction.inputs import Input
from caseunet.prediction.resources import Budget
from caseunet.prediction.store import KIND, FailedCase, Journal, PredictedCase, PredictionProvenance, earlier_cases
from caseunet.progress import Display, count_text


def select_fold(cases: list[Input], bundle: Path, split: Path, fold: int | None) -> list[Input]:
    """The cases that a fold validates on.

    Raises:
        CaseUNetError: no fold is told, or one of its cases is not among them.
    """
    if fold is None:
        raise CaseUNetError(
            f"{bundle}: is an ensemble over all folds, none of which a split tells.", options=("out_of_fold",)
        )
    chosen = fold_of(read_split(split), fold, split).val
    missing = sorted(set(chosen) - {case.id for case in cases})
    if missing:
        raise CaseUNetError(f"{split}: fold {fold} validates on {missing[0]}, which is not among the images given.")
    return [case for case in cases if case.id in chosen]


def check_names(cases: Sequence[Input], outputs: PredictionOutputs) -> None:
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


@contextmanager
def open_folder(out: Path, inputs: Sequence[Path], mode: Mode) -> Iterator[Path]:
    """The folder of the predictions: empty, or to go on with as it is."""
    opened = resume_folder(out, KIND) if mode == "resume" and is_output(out, KIND) else None
    with opened or output_folder(out, KIND, inputs, mode == "overwrite") as folder:
        for path in folder.rglob(PARTIAL + "*"):  # what a killed run was about to write
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield folder


def keep_earlier(folder: Path, made: PredictionProvenance, cases: Sequence[Input]) -> list[PredictedCase]:
    """What an earlier run has done of the same images; the files of images that have changed since are removed."""
    before = earlier_cases(folder, made, lambda file: (folder / file).exists())
    now = {item.id: item for item in cases}
    kept = [case for case in before if case.id not in now or now[case.id].hash() == case.image_hash]
    for case in (case for case in before if case not in kept):
        _remove(folder, case)  # even if the image is damaged now: its old mask would be taken for the new one's
    return kept


def _remove(folder: Path, case: PredictedCase) -> None:
    for name in (case.file, *case.others.values()):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def predict_cases(
    work: PredictionContext,
    cases: Sequence[Input],
    before: Sequence[PredictedCase],
    journal: Journal,
    budget: Budget,
    display: Display,
) -> tuple[list[PredictedCase], list[FailedCase], list[FailedCase]]:
    """Those that are done, in the order of ``cases``, those that failed, and what looks like a mask.

    A defect of caseunet fails its own image alone, and is told with its traceback. The only image raises it.
    """
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
                with scratch.on_disk(work.folder, budget.admit(item, work.outputs)):
                    case = predict_case(work, item, lambda share: stage.advance(share, item.id))  # noqa: B023
            except MaskGivenError as error:
                left_out.append(FailedCase(id=item.id, image=str(item.path), error=str(error)))
                if len(cases) > 1:
                    display.caution(f"left out: {error}")
            except CaseUNetError as error:
                failed.append(FailedCase(id=item.id, image=str(item.path), error=str(error)))
                if len(cases) > 1:
                    display.caution(str(error), "red")
            except OSError:  # a full disk or a lost mount stops all
                raise
            except Exception as error:  # a defect, which may be one of this image alone
                if len(cases) == 1:
                    raise
                told = f"{item.path}: a defect of caseunet: {type(error).__name__}: {error}"
                trace = traceback.format_exc()
                failed.append(FailedCase(id=item.id, image=str(item.path), error=told, traceback=trace))
                display.caution(told, "red")
            else:
                journal.add(case)
                for remark in case.remarks:
                    display.caution(f"{item.path}: {remark}")
                done.append(case)
    if skipped:
        display.say(f"  {count_text(skipped, 'image')} had been segmented before")
    _warn_of_training_images(done, display)
    return done, failed, left_out


def _warn_of_training_images(done: Sequence[PredictedCase], display: Display) -> None:
    seen = [case.id for case in done if case.in_training]
    if seen:
        display.caution(f"the model was trained on {len(seen)} of these images, {seen[0]} among them")
    alike = [case for case in done if case.looks_like]
    if alike:
        known = f"{alike[0].id} {alike[0].seen}"
        display.caution(f"{count_text(len(alike), 'image')} may be known from training: {known}")


def look_first(cases: Sequence[PredictedCase]) -> tuple[str, ...]:
    """Ids of the cases in the order in which a person should look at them; () where nothing is known of them."""
    known = [(case.quality.urgency, case.id) for case in cases if case.quality is not None]
    return tuple(case for _, case in sorted(known, key=lambda pair: pair[0], reverse=True))
