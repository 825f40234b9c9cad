"""STUDY: study.json, cases.csv, scores.csv, scores.tex, the figure, and a self-contained study.html."""

from pathlib import Path
from urllib.parse import quote

import pandas as pd
from markupsafe import Markup

from caseunet.evaluation.comparison import MIN_PAIRS
from caseunet.evaluation.statistics import MIN_GROUPS
from caseunet.files import write_json, write_text
from caseunet.reporting.page.images import embed
from caseunet.reporting.page.notes import heading_of
from caseunet.reporting.page.numbers import format_interval, format_number, format_probability
from caseunet.reporting.page.tables import Table, columns_of, write_csv
from caseunet.reporting.page.templates import open_templates
from caseunet.reporting.study_figures import accuracy_latency, points_of
from caseunet.reporting.study_tables import (
    Standing,
    format_costs,
    latex,
    order_structures,
    ranking,
    score_digits,
    scores_table,
    standings,
)
from caseunet.reporting.style import save_figure, to_svg
from caseunet.studies.summary import SEED_ERRORS, StudyDifference, StudySummary


def write_study(folder: Path, summary: StudySummary, cases: pd.DataFrame) -> Path:
    """Write study.json, cases.csv (full precision), scores.csv, scores.tex, accuracy_latency.png and .svg, study.html.

    Args:
        folder: of the files; the page links to runs/NAME/seed-S-fold-F/report/report.html in it.
        summary: the numbers.
        cases: rows of all runs' cases.csv with the columns model and seed.

    Returns:
        The path of study.html.
    """
    write_json(folder / "study.json", summary.model_dump(mode="json"))
    write_csv(folder / "cases.csv", cases)
    write_csv(folder / "scores.csv", scores_table(summary))
    write_text(folder / "scores.tex", latex(summary))
    figure, structures = accuracy_latency(summary), order_structures(summary)
    drawing = to_svg(figure)
    save_figure(figure, folder / "accuracy_latency.png")
    write_text(folder / "accuracy_latency.svg", drawing.decode())
    drawn = {point.name for point in points_of(summary)}
    template = open_templates().get_template("study.html.j2")
    page = template.render(
        title=summary.title,
        summary=summary,
        score_name=heading_of(summary.measure),
        structures=structures,
        cautions=cautions(summary, cases),
        groups=cases["group"].nunique(),
        scored=cases["case"].nunique(),
        scores=_rank_scores(summary),
        drawing=embed("image/svg+xml", drawing),
        undrawn=[name for name in summary.models if name not in drawn],
        pairs=_pairs(summary),
        models=_models(summary),
        fewest_pairs=MIN_PAIRS,
        fewest_groups=MIN_GROUPS,
        seed_errors=f"{SEED_ERRORS:g}",
        settings=_settings(summary),
    )
    write_text(folder / "study.html", page)
    return folder / "study.html"


def format_signed(value: float | None, digits: int) -> str:
    """A difference: with its sign, zero without one."""
    text = format_number(value, digits)
    return f"+{text}" if value is not None and value > 0 and text.strip("0.") else text


# --- what is to be said


def cautions(summary: StudySummary, cases: pd.DataFrame) -> list[str]:
    """What a reader must know before the numbers: of the split, of a single seed, of too few patients or sequences."""
    found = [summary.caution] if summary.caution else []
    if len(summary.seeds) == 1:
        found.append(
            "With one seed nothing is known of seed noise: the same training, begun again, may turn the order of the "
            "models. What is called better here is so for these patients and this one seed."
        )
    paired = [d for d in summary.differences if d.groups]  # a model without any score is told of elsewhere
    untested = {d.structure for d in paired if d.outcome == "too few pairs"}
    fewest = f"fewer than {MIN_PAIRS} patients or sequences"
    if paired and all(d.outcome == "too few pairs" for d in paired):
        without = " No interval is given." if cases["group"].nunique() < MIN_GROUPS else ""
        found.append(f"Tests are impossible with {fewest}. No model can be called better.{without}")
    elif untested:
        names = ", ".join(name for name in order_structures(summary) if name in untested)
        found.append(f"Tests are impossible where {fewest} have a score under both models: {names}.")
    return found


def outcome_in_words(difference: StudyDifference) -> str:
    """The winner by name; a tie that only the seeds make is told as such."""
    if difference.outcome == "first better":
        return f"{difference.first} better"
    if difference.outcome == "second better":
        return f"{difference.second} better"
    return "tie, by seed noise" if difference.outcome == "tie" != difference.verdict else difference.outcome


# --- tables

STANDINGS: dict[Standing, str] = {
    "best": "highest",
    "above": "better in the test",
    "tie": "tie",
    "below": "lower",
    "too few pairs": "too few pairs",
    "no score": "no score",
}
"""How a model stands to the one with the highest mean, in words."""


def _rank_scores(summary: StudySummary) -> Table:
    """The models from the highest mean to the lowest; the score over all structures comes first."""
    standing, digits, costs = standings(summary), score_digits(summary), format_costs(summary)
    whole, *single = _whole_first(order_structures(summary))
    cell, mark = Markup("<{0}>{1}</{0}><small>{2}</small>"), Markup('<span class="mark {}">{}</span>')
    rows = []
    for name in ranking(summary):
        cells: list[object] = [name, mark.format(standing[name].split()[0], STANDINGS[standing[name]])]
        for structure in (whole, *single):
            score = summary.score(name, structure)
            deviation = "" if score.sd is None else f"± {format_number(score.sd, digits)}"
            tag = "strong" if structure == whole else "span"
            cells.append(cell.format(tag, format_number(score.mean, digits), deviation))
        cells.insert(3, format_interval(summary.score(name, whole).interval, digits))
        rows.append([*cells, *(texts[name] for texts in costs.values())])
    over = f"± standard deviation over {len(summary.seeds)} seeds" if len(summary.seeds) > 1 else "of one seed"
    caption = f"{heading_of(summary.measure)}: mean {over}. Ranked by the mean over {whole}."
    columns = columns_of("model", "standing", whole, "95 % interval", *single, *costs, text=("standing",))
    return Table(caption, columns, [("", rows)], "close")


def _pairs(summary: StudySummary) -> Table:
    fine = score_digits(summary) + 1
    groups = []
    for structure in _whole_first(order_structures(summary)):
        rows = [
            [
                d.first,
                d.second,
                format_signed(d.difference, fine),
                format_interval(d.interval, fine),
                format_probability(d.p),
                format_probability(d.p_holm),
                format_number(d.seed_error, fine),
                outcome_in_words(d),
                f"{d.groups:,}",
            ]
            for d in summary.differences
            if d.structure == structure
        ]
        groups += [(structure, rows)] if rows else []
    names = ("first", "second", "difference", "95 % interval", "p", "p (Holm)", "seed error", "outcome", "pairs")
    caption = f"First − second, in {heading_of(summary.measure)}, over the patients or sequences that both have."
    return Table(caption, columns_of(*names, text=("second", "outcome")), groups, "close")


def _whole_first(structures: list[str]) -> list[str]:
    """All structures together, which come last, before the single ones."""
    return [*structures[-1:], *structures[:-1]]


def _models(summary: StudySummary) -> Table:
    """What each model was told, and the reports of its runs, with their addresses relative to the page."""
    link = Markup('<a href="runs/{0}/seed-{1}-fold-{2}/report/report.html">seed {1}, fold {2}</a> ')
    rows = []
    for name, told in summary.models.items():
        links = Markup().join(link.format(quote(name), s, f) for s in summary.seeds for f in summary.folds)
        rows.append([name, Markup("<code>{}</code>").format(told), links])
    caption = "What is laid over the settings that all have in common, and the report of each run."
    columns = columns_of("model", "settings", "reports", text=("settings", "reports"))
    return Table(caption, columns, [("", rows)], "differ")


def _settings(summary: StudySummary) -> list[tuple[str, str]]:
    """What the models had in common, each once."""
    own = {
        "budget of each training": summary.budget,
        "network input": f"{summary.size[0]} × {summary.size[1]} pixels",
        "seeds": ", ".join(map(str, summary.seeds)),
        "folds": ", ".join(map(str, summary.folds)),
        "protocol": summary.protocol,
        "caseunet": summary.code_version,
    }
    return list((own | dict(summary.settings)).items())
