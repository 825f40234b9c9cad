"""PREDICTIONS + references → REPORT."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from caseunet.config import PrepareConfig
from caseunet.data.folds import fold_of, read_split
from caseunet.data.store import read_source
from caseunet.errors import CaseUNetError
from caseunet.evaluation.evaluator import score_all
from caseunet.evaluation.inputs import EvaluationInputs, Scope, check_usable, open_inputs, select_cases, select_lesions
from caseunet.evaluation.prediction_sets import check_folders, model_names
from caseunet.evaluation.protocols import PROTOCOLS
from caseunet.evaluation.protocols.base import Options, Protocol
from caseunet.evaluation.summarize import list_cautions, summarize
from caseunet.evaluation.summary import EvaluationSummary
from caseunet.files import check_output_folder, output_folder
from caseunet.io.unpacking import unpack_all
from caseunet.options import EvaluateOptions, is_overwrite
from caseunet.progress import Display, Notices
from caseunet.reporting.cases_to_show import choose_cases, draw_cases
from caseunet.reporting.report import write_report

KIND = "a report"


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What :func:`evaluate` wrote.

    Attributes:
        report: the path of its report.html.
        warnings: what a reader of the scores must know of references, predictions and model.
    """

    summary: EvaluationSummary
    cases: pd.DataFrame
    report: Path
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """One line; the numbers are in ``summary`` and ``cases``."""
        return f"<Evaluation of {self.summary.scope} by {self.summary.protocol}: {self.report}>"


def evaluate(
    predictions: str | Path,
    references: str | Path,
    *,
    out: str | Path = "report",
    mode: Literal["new", "overwrite"] = "new",
    options: EvaluateOptions = EvaluateOptions(),
    config: PrepareConfig = PrepareConfig(),
    display: Display | None = None,
) -> Evaluation:
    """Score predictions against references in source geometry and write cases.csv, summary.json and report.html.

    Args:
        predictions: folder written by ``predict``, or masks of another tool, named as the references' cases: a folder,
            a zip, or a single file. A folder per case may hold a file per structure.
        references: the raw data set with the masks, or masks alone in the same forms.
        out: folder to write.
        mode: "overwrite" replaces an earlier report at ``out``.
        options: protocol, split and everything else. Without a split the cases are those that ``predict`` was asked
            for, or else all with a mask.
        config: layout, groups and repair plan of ``references``, as they were prepared.
        display: shows progress.

    Raises:
        CaseUNetError: a reference is missing or unreadable, no prediction can be used, or no class is shared.
    """
    references, out, folders = Path(references), Path(out), [Path(predictions), *options.compare]
    notices, overwrite = Notices(display), is_overwrite(mode)
    Options(options.tolerance)  # says at once what is wrong with it
    told = (options.split, options.run, options.labels, config.repair_plan)
    sources = [*folders, references, *filter(None, told)]
    check_output_folder(out, KIND, sources, overwrite)
    _check_options(options, folders)
    with unpack_all((references, *folders)) as (opened, *opened_folders):
        prediction_sets = dict(zip(model_names(folders), opened_folders, strict=True))
        inputs = open_inputs(opened, prediction_sets, config=config, labels=options.labels, origin=references)
        scope = _read_scope(inputs, options)
        protocol = _make_protocol(inputs, scope, options)
        pairs = inputs.pairs(scope.cases, scope.ranges)
        scored = score_all(
            pairs,
            protocol=protocol,
            label_map=inputs.shared.label_map,
            in_mm=scope.in_mm,
            workers=config.workers,
            display=notices,
        )
        check_usable(inputs.prediction_sets, scored)
        cases = pd.DataFrame([row for item in scored for row in item.rows])
        protocol.check(cases)
        lesions = pd.DataFrame([row for item in scored for row in item.lesions])
        summary = summarize(inputs, scope, protocol=protocol, scored=scored, cases=cases, folders=folders)
        pictures = draw_cases(inputs.truth, pairs, choose_cases(cases, protocol.ranked), summary, cases, notices)
    with output_folder(out, KIND, sources, overwrite) as folder, notices.stage("writing the report", 1) as stage:
        for text in list_cautions(summary):
            notices.caution(text, shown=False)
        curves = None if options.run is None else options.run / "metrics.csv"
        write_report(folder, options.title, cases, lesions if len(lesions) else None, summary, pictures, curves)
        notices.write_log(folder)
        stage.advance(1)
    return Evaluation(summary, cases, out / "report.html", notices.warnings)


def _check_options(options: EvaluateOptions, folders: Sequence[Path]) -> None:
    """Raises CaseUNetError for what is wrong with the options and folders, before the masks are read."""
    if options.fold is not None and options.split is None:
        raise CaseUNetError("A fold is one of a split: name its splits.json too.", options=("split",))
    if options.run is not None and not (options.run / "metrics.csv").is_file():
        raise CaseUNetError(f"{options.run}: is no training run (metrics.csv is missing).")
    check_folders(folders)
    if options.protocol is not None:
        PROTOCOLS.get(options.protocol)


def _read_scope(inputs: EvaluationInputs, options: EvaluateOptions) -> Scope:
    """The cases to score; of a split those of the fold that is told, or else of the one that was predicted."""
    fold = inputs.predicted_fold if options.fold is None else options.fold
    split = None if options.split is None else read_split(options.split)
    if split is None or options.split is None:
        return select_cases(inputs, split=None, fold=fold, ranges=None)
    scope = select_cases(inputs, split=split, fold=fold, ranges=fold_of(split, fold, options.split).val)
    source = read_source(options.split.parent)
    return scope if source is None else replace(scope, read_with=source.reading.model_dump(exclude_unset=True))


def _make_protocol(inputs: EvaluationInputs, scope: Scope, options: EvaluateOptions) -> Protocol:
    """The protocol that is told, or else the usual one for what the images are."""
    usual = "volumes" if inputs.truth.dataset.modality in ("ct", "mr") else "slices"
    create = PROTOCOLS.get(options.protocol or usual)
    lesions = select_lesions(inputs, options.lesions)
    return create(Options(options.tolerance, "mm" if scope.in_mm else "px", lesions))
