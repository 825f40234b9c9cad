"""REPORT: cases.csv, lesions.csv, summary.json and a self-contained report.html."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import escape

from caseunet.evaluation.rows import BACKGROUND
from caseunet.evaluation.summary import EvaluationSummary
from caseunet.files import write_json, write_text
from caseunet.reporting.page.cases import absent_columns, case_table, heading_of, selects_of
from caseunet.reporting.page.comparison import comparison_table
from caseunet.reporting.page.confusion import confusions_of
from caseunet.reporting.page.curves import curves_of
from caseunet.reporting.page.distributions import distribution_plots
from caseunet.reporting.page.images import picture
from caseunet.reporting.page.lesions import (
    find_wrong,
    lesion_sizes,
    lesion_totals,
    sizes_table,
    totals_table,
    worst_lesions,
)
from caseunet.reporting.page.notes import facts_of, find_shared_caution, key_of, notes_of
from caseunet.reporting.page.scores import (
    chief_blocks,
    chief_cards,
    decimals_of,
    groups_of,
)
from caseunet.reporting.page.structures import made_of, structure_colors
from caseunet.reporting.page.tables import link_note, write_csv
from caseunet.reporting.page.templates import open_templates
from caseunet.reporting.page.volumes import agreement_table, volumes_of
from caseunet.reporting.plots import darken


@dataclass(frozen=True)
class ShownCase:
    """A case to look at.

    Attributes:
        rank: which it is among all: "worst", "2nd worst", "median", "best".
        caption: what is seen.
        png: the picture: the image, the reference, and a panel for each model.
    """

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
    write_text(folder / "report.html", _page(title, cases, lesions, summary, shown, metrics_csv))
    return folder / "report.html"


def _page(
    title: str,
    cases: pd.DataFrame,
    lesions: pd.DataFrame | None,
    summary: EvaluationSummary,
    shown: Sequence[ShownCase],
    metrics_csv: Path | None,
) -> str:
    notes, decimals = notes_of(summary), decimals_of(summary)
    scored = cases[cases["structure"] != BACKGROUND].reset_index(drop=True)
    colors = structure_colors(summary)
    plotted = {name: darken(color) for name, color in colors.items()}
    table, volumes = case_table(scored, summary), volumes_of(scored, summary, plotted)
    several, totals = len(summary.models) > 1, [] if lesions is None else lesion_totals(scored)
    lesions = None if lesions is None or lesions.empty else lesions
    cards = chief_cards(summary)
    with_value = {number.structure for number in summary.numbers if number.value is not None}
    template = open_templates().get_template("report.html.j2")
    return template.render(
        title=title,
        summary=summary,
        several=several,
        colors=colors,
        notes=list(notes.values()),
        digits=lambda number: decimals[number.metric, number.structure],
        note_of=lambda measure: notes[key_of(measure)].number,
        cards=cards,
        blocks=chief_blocks(cards),
        shared_caution=find_shared_caution(summary),
        without=[name for name in summary.structures if name not in with_value] if cards else [],
        made_of=made_of(summary),
        groups=groups_of(summary),
        comparison=comparison_table(summary, lambda m: escape(heading_of(m)) + link_note(notes[key_of(m)].number)),
        distributions=distribution_plots(scored, summary, plotted),
        volumes=volumes,
        agreement=agreement_table(volumes, several),
        pictures=[(case.rank, case.caption, picture(case.png)) for case in shown],
        confusions=confusions_of(cases, summary),
        lesions=totals_table(totals, several) if totals else None,
        sizes=sizes_table([] if lesions is None else lesion_sizes(lesions, summary), several),
        worst_lesions=None if lesions is None else worst_lesions(lesions, scored, summary),
        num_wrong=0 if lesions is None else len(find_wrong(lesions)),
        curves=None if metrics_csv is None else curves_of(metrics_csv, summary),
        table=table,
        num_rows=len(scored),
        absent=list(absent_columns(scored, summary).values()),
        selects=selects_of(table, summary),
        by_slice=bool(scored["slice"].notna().any()),
        facts=facts_of(summary),
    )
