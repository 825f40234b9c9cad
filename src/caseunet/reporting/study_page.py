"""STUDY: study.json, cases.csv, scores.csv, scores.tex, the figure, and a self-contained study.html."""

import re
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from markupsafe import Markup, escape

from caseunet.evaluation.comparison import MIN_PAIRS
from caseunet.evaluation.statistics import MIN_GROUPS
from caseunet.files import write_json, write_text
from caseunet.reporting.page.images import embed, embed_svg
from caseunet.reporting.page.numbers import digits_of, format_interval, format_number, format_probability
from caseunet.reporting.page.tables import Table, columns_of, write_csv
from caseunet.reporting.page.templates import open_templates
from caseunet.reporting.study_figures import accuracy_latency, points_of, seed_strips
from caseunet.reporting.study_tables import (
    Standing,
    latex,
    order_structures,
    ranking,
    score_digits,
    scores_table,
    standings,
)
from caseunet.reporting.style import save_figure, to_svg
from caseunet.studies.summary import SEED_ERRORS, ModelCost, StudyDifference, StudySummary


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
    figure = accuracy_latency(summary)
    drawing = to_svg(figure)
    save_figure(figure, folder / "accuracy_latency.png")
    write_text(folder / "accuracy_latency.svg", drawing.decode())
    write_text(folder / "study.html", _page(summary, cases, embed("image/svg+xml", drawing)))
    return folder / "study.html"


def _page(summary: StudySummary, cases: pd.DataFrame, drawing: str) -> str:
    structures, unit = order_structures(summary), summary.measure.unit
    score_name = f"{summary.measure.label} ({unit})" if unit else summary.measure.label
    return (
        open_templates()
        .get_template("study.html.j2")
        .render(
            title=summary.title,
            summary=summary,
            score_name=score_name,
            structures=structures,
            cautions=cautions(summary, cases),
            groups=cases["group"].nunique(),
            scored=cases["case"].nunique(),
            finding=finding(summary),
            scores=_rank_scores(summary, score_name),
            has_intervals=any(score.interval for score in summary.scores),
            drawing=drawing,
            undrawn=[name for name in summary.models if name not in {point.name for point in points_of(summary)}],
            strips=embed_svg(seed_strips(summary)) if len(summary.seeds) > 1 else None,
            matrix=_matrix(summary, score_name),
            pairs=_pairs(summary, score_name),
            models=_differences_of_settings(summary),
            fewest_pairs=MIN_PAIRS,
            fewest_groups=MIN_GROUPS,
            seed_errors=f"{SEED_ERRORS:g}",
            runs=_runs(summary),
            settings=_settings(summary),
        )
    )


def format_signed(value: float | None, digits: int) -> str:
    """A difference: with its sign, zero without one."""
    text = format_number(value, digits)
    return f"+{text}" if value is not None and value > 0 and text.strip("0.") else text


def breakable(name: str) -> Markup:
    """A name that may go on in the next line after a slash, a colon or an underscore."""
    return Markup(re.sub("([/:_])", r"\1<wbr>", str(escape(name))))


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
    if paired and all(d.outcome == "too few pairs" for d in paired):
        groups = cases["group"].nunique()
        without = ", and no interval is given," if groups < MIN_GROUPS else ""
        found.append(
            f"Tests are impossible{without} with {groups} patient{'' if groups == 1 else 's'} or "
            f"sequence{'' if groups == 1 else 's'}: they need at least {MIN_PAIRS}. No model can be called better."
        )
    elif untested:
        names = ", ".join(name for name in order_structures(summary) if name in untested)
        found.append(
            f"Tests are impossible where fewer than {MIN_PAIRS} patients or sequences have a score under both "
            f"models: {names}."
        )
    return found


def finding(summary: StudySummary) -> list[tuple[str, list[str]]]:
    """How the models stand to the one with the highest mean over all structures: words, and the names they are of."""
    standing = standings(summary)
    said: list[tuple[Standing, str]] = [
        ("best", "Highest mean"),
        ("above", "Better than it by the paired test, which weighs patients otherwise than the mean"),
        ("tie", "Tie with it, not told apart"),
        ("below", "Told apart from it, as lower"),
        ("too few pairs", "Not tested against it"),
        ("no score", "Without a score"),
    ]
    names = {key: [name for name in ranking(summary) if standing[name] == key] for key, _ in said}
    return [(words, names[key]) for key, words in said if names[key]]


def outcome_in_words(difference: StudyDifference) -> str:
    """The winner by name; a tie that only the seeds make is told as such."""
    if difference.outcome == "first better":
        return f"{difference.first} better"
    if difference.outcome == "second better":
        return f"{difference.second} better"
    return "tie, by seed noise" if difference.outcome == "tie" != difference.verdict else difference.outcome


# --- tables

MARKS = {"best": "highest", "tie": "tie", "above": "better in the test", "too few pairs": "too few pairs"}
COSTS = ("parameters (M)", "GMAC", "time (ms)", "memory (MiB)", "training (min)", "steps")
WHOLE = ("memory (MiB)", "steps")


def _format_rank(rank: object, name: str, mark: str = "") -> Markup:
    return Markup('<span class="rank">{}</span>&nbsp;{}{}').format(rank, breakable(name), Markup(mark))


def _rank_scores(summary: StudySummary, score_name: str) -> Table:
    """The models from the highest mean to the lowest; the score over all structures comes first."""
    standing, digits = standings(summary), score_digits(summary)
    whole, *single = _whole_first(order_structures(summary))
    costs = {cost.model: _cost_values(cost) for cost in summary.costs}
    values = list(zip(*costs.values(), strict=True)) or [()] * len(COSTS)
    cost_digits = [0 if name in WHOLE else digits_of(of, name) for name, of in zip(COSTS, values, strict=True)]
    rows = []
    for n, name in enumerate(ranking(summary), 1):
        told = standing[name]
        mark = f' <span class="mark {told.split()[0]}">{MARKS[told]}</span>' if told in MARKS else ""
        first = summary.score(name, whole)
        mean, deviation = Markup("<strong>{}</strong>"), Markup("<small>± {}</small>")
        scores = [(mean.format(format_number(first.mean, digits)), first.sd)]
        scores += [(escape(format_number(s.mean, digits)), s.sd) for s in (summary.score(name, of) for of in single)]
        cells = [text if sd is None else text + deviation.format(format_number(sd, digits)) for text, sd in scores]
        cells.insert(1, escape(format_interval(first.interval, digits)))
        cost = costs.get(name, [None] * len(COSTS))
        cells += [escape(format_number(v, d)) for v, d in zip(cost, cost_digits, strict=True)]
        rows.append([_format_rank("–" if told == "no score" else n, name, mark), *cells])
    over = f"± standard deviation over {len(summary.seeds)} seeds" if len(summary.seeds) > 1 else "of one seed"
    interval = ", and 95 % interval over patients or sequences" if any(s.interval for s in summary.scores) else ""
    caption = (
        f"{score_name}: mean {over}{interval}. Ranked by the mean over {whole}. tie: not told apart from the highest."
    )
    return Table(caption, columns_of("model", whole, "95 % interval", *single, *COSTS), [("", rows)], "study close")


def _cost_values(cost: ModelCost) -> list[float | None]:
    """What stands in the columns of COSTS."""
    return [
        cost.parameters / 1e6,
        cost.gmac,
        cost.milliseconds,
        cost.peak_mib,
        cost.training_minutes,
        cost.steps,
    ]


def _matrix(summary: StudySummary, score_name: str) -> Table | None:
    """Every model, by rank, less every other one, over all structures; nothing for two models, who have one row."""
    order, digits = ranking(summary), score_digits(summary)
    if len(order) < 3:
        return None
    tested = order_structures(summary)[-1]
    found: dict[tuple[str, str], Markup] = {}
    cell = Markup('<span class="{}">{}<small>{}</small></span>')
    for d in (d for d in summary.differences if d.structure == tested):
        words = {"first better": ("better", "worse"), "second better": ("worse", "better")}
        pairs = ((d.first, d.second), (d.second, d.first))
        for pair, word, sign in zip(pairs, words.get(d.outcome, [d.outcome] * 2), (1, -1), strict=True):
            less = None if d.difference is None else sign * d.difference
            found[pair] = cell.format(word.split()[0], format_signed(less, digits), word)
    rows = [[_format_rank(n, a), *(found.get((a, b), "") for b in order)] for n, a in enumerate(order, 1)]
    caption = (
        f"{tested}: the model of the row less that of the column, in {score_name}. Columns are numbered as the rows."
    )
    return Table(caption, columns_of("model", *(str(n) for n in range(1, len(order) + 1))), [("", rows)], "matrix")


def _pairs(summary: StudySummary, score_name: str) -> Table:
    fine = score_digits(summary) + 1
    groups = []
    for structure in _whole_first(order_structures(summary)):
        rows = [
            [
                breakable(d.first),
                breakable(d.second),
                format_signed(d.difference, fine),
                format_interval(d.interval, fine),
                format_probability(d.p),
                format_probability(d.p_holm),
                format_number(d.seed_error, fine),
                breakable(outcome_in_words(d)),
                f"{d.groups:,}",
            ]
            for d in summary.differences
            if d.structure == structure
        ]
        groups += [(structure, rows)] if rows else []
    names = ("first", "second", "difference", "95 % interval", "p", "p (Holm)", "seed error", "outcome", "pairs")
    caption = f"First − second, in {score_name}, over the patients or sequences that both have."
    return Table(caption, columns_of(*names, text=("second", "outcome")), groups, "pairs close")


def _whole_first(structures: list[str]) -> list[str]:
    """All structures together, which come last, before the single ones."""
    return [*structures[-1:], *structures[:-1]]


def _runs(summary: StudySummary) -> Table:
    """The reports of each model's runs, with their addresses relative to the page."""
    link = Markup('<a href="runs/{0}/seed-{1}-fold-{2}/report/report.html">seed {1}, fold {2}</a> ')
    rows = [
        [breakable(name), Markup().join(link.format(quote(name), s, f) for s in summary.seeds for f in summary.folds)]
        for name in summary.models
    ]
    return Table("The report of each run.", columns_of("model", "reports", text=("reports",)), [("", rows)], "differ")


def _differences_of_settings(summary: StudySummary) -> Table:
    told = Markup("<code>{}</code>")
    rows = [[breakable(name), told.format(text)] for name, text in summary.models.items()]
    caption = "What is laid over the settings that all have in common."
    return Table(caption, columns_of("model", "settings", text=("settings",)), [("", rows)], "differ")


def _settings(summary: StudySummary) -> list[tuple[str, str]]:
    """What the models had in common, each once."""
    own = [
        ("budget of each training", summary.budget),
        ("network input", f"{summary.size[0]} × {summary.size[1]} pixels"),
        ("seeds", ", ".join(map(str, summary.seeds))),
        ("folds", ", ".join(map(str, summary.folds))),
        ("protocol", summary.protocol),
        ("caseunet", summary.code_version),
    ]
    given = {name for name, _ in summary.settings}
    return [*summary.settings, *(row for row in own if row[0] not in given)]
