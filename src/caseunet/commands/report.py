"""REPORT → a figure of chosen cases, for a paper; its scores are those of the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from caseunet.errors import CaseUNetError
from caseunet.evaluation.inputs import open_inputs
from caseunet.evaluation.rows import read_cases
from caseunet.evaluation.summary import EvaluationSummary
from caseunet.files import read_model
from caseunet.io.unpacking import unpack_all
from caseunet.options import is_overwrite
from caseunet.progress import Display
from caseunet.reporting.case_study import draw_case_study
from caseunet.reporting.cases_to_show import choose_cases, find_named_cases, study_rows
from caseunet.reporting.style import check_figure, save_figure


@dataclass(frozen=True)
class Report:
    """What ``evaluate`` wrote."""

    summary: EvaluationSummary
    cases: pd.DataFrame


def read_report(folder: str | Path) -> Report:
    """Read summary.json and cases.csv.

    Raises:
        CaseUNetError: they are missing or of another form.
    """
    folder = Path(folder)
    summary = read_model(folder / "summary.json", EvaluationSummary, "a report made by caseunet evaluate")
    try:
        cases = read_cases(folder / "cases.csv")
    except (OSError, ValueError) as error:
        path = folder / "cases.csv"
        raise CaseUNetError(f"{path}: cannot be read ({error}). Evaluate again.") from error
    return Report(summary, cases)


def case_study(
    folder: str | Path,
    *,
    out: str | Path = "case-study.png",
    cases: Sequence[str] = (),
    fill: bool = True,
    mode: Literal["new", "overwrite"] = "new",
    display: Display | None = None,
) -> int:
    """Draw cases in rows: image, reference, and each model's prediction with its scores.

    Args:
        folder: REPORT; the predictions and references that it names must still be where they were.
        out: picture to write; .png, .svg or .pdf.
        cases: CASE or CASE:SLICE; without any the worst, the median and the best.
        fill: whether masks are tinted too, not only outlined.
        mode: "overwrite" replaces the picture if it is there.
        display: shows progress.

    Returns:
        How many cases were drawn.

    Raises:
        CaseUNetError: the report, its predictions or references are not there, or there is no such case.
    """
    folder, out = Path(folder), Path(out)
    check_figure(out)
    if not is_overwrite(mode) and out.exists():
        raise CaseUNetError(f"{out}: is there already.", options=("mode", "out"))
    report = read_report(folder)
    summary, source = report.summary, report.summary.source
    chosen = (
        find_named_cases(report.cases, cases, summary.ranked)
        if cases
        else choose_cases(report.cases, summary.ranked, 1)
    )
    if not chosen:
        raise CaseUNetError(f"{folder}: no case of it has a score.")
    models = [model.name for model in summary.models]
    folders = [Path(model.folder) for model in summary.models]
    with unpack_all((Path(source.references), *folders)) as (opened, *opened_folders):
        labels = None if source.labels is None else Path(source.labels)
        candidates = dict(zip(models, opened_folders, strict=True))
        inputs = open_inputs(opened, candidates, config=source.config, labels=labels, origin=Path(source.references))
        shown = [case for case in inputs.truth.labelled if case in {item.case for item in chosen}]
        gone = [item.case for item in chosen if item.case not in shown]
        if gone:
            raise CaseUNetError(f"{source.references}: the case {gone[0]} of the report is there no more.")
        pairs = inputs.pairs(shown, source.ranges)
        rows = study_rows(inputs.truth, pairs, chosen, summary, report.cases, display or Display())
    figure = draw_case_study(rows, models, summary.label_map.labels, fill)
    save_figure(figure, out)
    return len(rows)
