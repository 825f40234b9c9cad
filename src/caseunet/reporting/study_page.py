"""STUDY: study.json, cases.csv, scores.csv, scores.tex, the figure, and a self-contained study.html."""

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from markupsafe import Markup, escape

from caseunet.evaluation.comparison import MIN_PAIRS
from caseunet.evaluation.statistics import MIN_GROUPS
from caseunet.files import replace_when_whole, write_json, write_text
from caseunet.reporting.figures import to_png
from caseunet.reporting.page.numbers import digits_of, format_number
from caseunet.reporting.page.templates import open_templates
from caseunet.reporting.plots import to_image
from caseunet.reporting.study_figures import accuracy_latency, points_of, seed_strips
from caseunet.reporting.study_tables import (
    Standing,
    cost_of,
    latex,
    order_structures,
    ranking,
    score_digits,
    scores_table,
    standings,
)
from caseunet.studies.summary import SEED_ERRORS, ModelCost, ModelScore, StudyDifference, StudySummary

DPI = 300
FIGURE = "accuracy_latency"


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
    _write_table(folder / "cases.csv", cases)
    _write_table(folder / "scores.csv", scores_table(summary))
    write_text(folder / "scores.tex", latex(summary))
    figure = accuracy_latency(summary)
    _write_bytes(folder / f"{FIGURE}.png", to_png(figure, DPI))
    drawing = to_image(figure, points=0)[1]
    _write_bytes(folder / f"{FIGURE}.svg", drawing)
    write_text(folder / "study.html", _page(summary, cases, drawing))
    return folder / "study.html"


def _write_table(path: Path, table: pd.DataFrame) -> None:
    with replace_when_whole(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def _write_bytes(path: Path, content: bytes) -> None:
    with replace_when_whole(path) as temporary:
        temporary.write_bytes(content)


def _page(summary: StudySummary, cases: pd.DataFrame, drawing: bytes) -> str:
    environment = open_templates()
    environment.globals["signed"] = format_signed
    environment.globals["breakable"] = breakable
    structures = order_structures(summary)
    digits = score_digits(summary)
    return environment.get_template("study.html.j2").render(
        summary=summary,
        score_name=f"{summary.measure.label} ({summary.measure.unit})"
        if summary.measure.unit
        else summary.measure.label,
        structures=structures,
        cautions=cautions(summary, cases),
        groups=cases["group"].nunique(),
        scored=cases["case"].nunique(),
        finding=finding(summary),
        rows=_rows(summary),
        has_intervals=any(score.interval for score in summary.scores),
        digits=digits,
        fine=digits + 1,
        cost_digits=_cost_digits(summary),
        drawing=_embed(drawing),
        undrawn=[name for name in summary.models if name not in {point.name for point in points_of(summary)}],
        strips=_embed(to_image(seed_strips(summary), points=0)[1]) if len(summary.seeds) > 1 else None,
        matrix=_matrix(summary),
        pairs=[(name, [d for d in summary.differences if d.structure == name]) for name in _whole_first(structures)],
        outcome=outcome_in_words,
        fewest_pairs=MIN_PAIRS,
        fewest_groups=MIN_GROUPS,
        seed_errors=f"{SEED_ERRORS:g}",
        links=_links(summary),
        settings=_settings(summary),
    )


def _embed(drawing: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(drawing).decode('ascii')}"


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


@dataclass(frozen=True)
class Row:
    """One of the main table: rank ("–" without a score), how it stands to the best, scores, cost."""

    rank: str
    name: str
    standing: Standing
    scores: tuple[ModelScore, ...]
    cost: ModelCost | None


def _rows(summary: StudySummary) -> list[Row]:
    """The models from the highest mean to the lowest; the score over all structures comes first."""
    standing = standings(summary)
    order = _whole_first(order_structures(summary))
    return [
        Row(
            rank="–" if standing[name] == "no score" else str(n),
            name=name,
            standing=standing[name],
            scores=tuple(summary.score(name, structure) for structure in order),
            cost=cost_of(summary, name),
        )
        for n, name in enumerate(ranking(summary), 1)
    ]


def _whole_first(structures: list[str]) -> list[str]:
    """All structures together, which come last, before the single ones."""
    return [*structures[-1:], *structures[:-1]]


def _cost_digits(summary: StudySummary) -> dict[str, int]:
    costs = summary.costs
    return {
        "parameters": digits_of([cost.parameters / 1e6 for cost in costs], "M"),
        "gmac": digits_of([cost.gmac for cost in costs], "GMAC"),
        "milliseconds": digits_of([cost.milliseconds for cost in costs], "ms"),
        "peak_mib": 0,
        "training_minutes": digits_of([cost.training_minutes for cost in costs], "min"),
        "steps": 0,
    }


@dataclass(frozen=True)
class Against:
    """A model less another one: the difference of scores, what it says ("" of a model less itself), in words."""

    difference: float | None
    kind: str
    word: str


def _matrix(summary: StudySummary) -> list[tuple[str, list[Against]]]:
    """Every model, by rank, less every other one, over all structures; nothing for two models, who have one row."""
    order = ranking(summary)
    if len(order) < 3:
        return []
    tested = order_structures(summary)[-1]
    found: dict[tuple[str, str], Against] = {}
    for d in summary.differences:
        if d.structure == tested:
            better = {"first better": ("better", "worse"), "second better": ("worse", "better")}
            ahead, behind = better.get(d.outcome, (d.outcome, d.outcome))
            found[d.first, d.second] = Against(d.difference, ahead.partition(" ")[0], ahead)
            less = None if d.difference is None else -d.difference
            found[d.second, d.first] = Against(less, behind.partition(" ")[0], behind)
    nothing = Against(None, "none", "")
    return [(name, [found.get((name, other), nothing) for other in order]) for name in order]


def _links(summary: StudySummary) -> list[tuple[str, list[tuple[str, str]]]]:
    """The reports of each model's runs: what stands there, and where they are, relative to the page."""
    return [
        (
            name,
            [
                (f"seed {seed}, fold {fold}", f"runs/{quote(name)}/seed-{seed}-fold-{fold}/report/report.html")
                for seed in summary.seeds
                for fold in summary.folds
            ],
        )
        for name in summary.models
    ]


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
