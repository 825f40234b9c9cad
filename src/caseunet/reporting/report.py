"""REPORT: cases.csv, lesions.csv, summary.json and a self-contained report.html."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from caseunet.errors import InvalidInputError
from caseunet.evaluation.rows import BACKGROUND
from caseunet.evaluation.summary import EvaluationSummary
from caseunet.files import write_json, write_text
from caseunet.reporting.figures import training_curves
from caseunet.reporting.page.cases import case_table, find_absent, find_choices
from caseunet.reporting.page.comparison import comparison_table
from caseunet.reporting.page.confusion import confusion_tables
from caseunet.reporting.page.images import embed, embed_picture
from caseunet.reporting.page.lesions import find_wrong, sizes_table, totals_table, wrong_table
from caseunet.reporting.page.notes import facts_of, find_shared_caution, notes_of
from caseunet.reporting.page.plots import compare_volumes, distribution_plots
from caseunet.reporting.page.scores import chief_table, numbers_table
from caseunet.reporting.page.tables import write_csv
from caseunet.reporting.page.templates import open_templates
from caseunet.reporting.style import hex_color, to_png


class ShownCase(NamedTuple):
    """A case to look at: which it is among all ("2nd worst"), what is seen, and the picture."""

    rank: str
    caption: str
    png: bytes


def write_report(
    folder: Path,
    title: str,
    cases: pd.DataFrame,
    lesions: pd.DataFrame | None,
    summary: EvaluationSummary,
    shown: Sequence[ShownCase],
    metrics_csv: Path | None = None,
) -> Path:
    """Write summary.json, cases.csv, lesions.csv (if there are lesions) and report.html; returns the path of the last.

    Args:
        folder: of the four files.
        title: of the page.
        cases: a row for each model, case (and slice) and structure, and one for the background.
        lesions: a row for each connected component.
        summary: what the columns mean, and the numbers that were made of them.
        shown: pictures of cases.
        metrics_csv: of the training run.

    Raises:
        CaseUNetError: ``metrics_csv`` is no log of a training run.
    """
    write_json(folder / "summary.json", summary.model_dump(mode="json"))
    write_csv(folder / "cases.csv", cases)
    if lesions is not None:
        write_csv(folder / "lesions.csv", lesions)
    scored = cases[cases["structure"] != BACKGROUND].reset_index(drop=True)
    table = case_table(scored, summary)
    volume_plots, agreement = compare_volumes(scored, summary)
    with_value = {number.structure for number in summary.numbers if number.value is not None}
    template = open_templates().get_template("report.html.j2")
    page = template.render(
        title=title,
        summary=summary,
        several=len(summary.models) > 1,
        notes=list(notes_of(summary).values()),
        chief=chief_table(summary),
        without=[name for name in summary.structures if name not in with_value],
        numbers=numbers_table(summary),
        shared_caution=find_shared_caution(summary),
        comparison=comparison_table(summary),
        distributions=distribution_plots(scored, summary),
        volume_plots=volume_plots,
        agreement=agreement,
        pictures=[(rank, caption, embed_picture(png)) for rank, caption, png in shown],
        confusions=confusion_tables(cases, summary),
        lesions=totals_table(scored, summary),
        sizes=None if lesions is None else sizes_table(lesions, summary),
        wrong=None if lesions is None else wrong_table(lesions, scored, summary),
        num_wrong=0 if lesions is None else len(find_wrong(lesions)),
        curves=None if metrics_csv is None else _curves(metrics_csv, summary),
        table=table,
        num_rows=len(scored),
        absent=find_absent(scored, summary),
        choices=find_choices(table),
        by_slice=bool(scored["slice"].notna().any()),
        facts=facts_of(summary),
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def _curves(metrics_csv: Path, summary: EvaluationSummary) -> str:
    """The training curves, with the structures that training knew; those of a protocol may be others."""
    try:
        columns = set(pd.read_csv(metrics_csv, nrows=0).columns)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{metrics_csv}: cannot be read as the log of a training run: {error}.") from error
    if missing := {"step", "loss", "cross_entropy", "ssim", "dice", "val_dice"} - columns:
        raise InvalidInputError(f'{metrics_csv}: is no log of a training run: the column "{min(missing)}" is missing.')
    known = {
        name: hex_color(summary.label_map.labels[members[0]].color)
        for name, members in summary.label_map.structures.items()
        if f"val_dice_{name}" in columns
    }
    return embed("image/png", to_png(training_curves(metrics_csv, list(known), list(known.values())), 144))
