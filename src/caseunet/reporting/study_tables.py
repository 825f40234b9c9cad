"""The scores of a study as tables: scores.csv for programs, scores.tex for papers, and who ties with the best."""

from typing import Literal

import pandas as pd

from caseunet.evaluation.comparison import MIN_PAIRS
from caseunet.reporting.page.notes import heading_of
from caseunet.reporting.page.numbers import digits_of, format_number
from caseunet.studies.summary import ALL, ModelCost, StudySummary

Standing = Literal["best", "tie", "below", "above", "too few pairs", "no score"]
"""How a model stands to the one with the highest mean. "above" is where the paired test contradicts the means."""

COSTS = {
    "parameters (M)": "parameters",
    "GMAC": "gmac",
    "time (ms)": "milliseconds",
    "memory (MiB)": "peak_mib",
    "training (min)": "training_minutes",
    "steps": "steps",
}

SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        # At the beginning of a row these would be read as an argument of the row before.
        "[": "{[}",
        "*": "{*}",
        **{character: f"\\{character}" for character in "&%#_${}"},
    }
)


def order_structures(summary: StudySummary) -> list[str]:
    """The structures in their order, then all together; a single one alone, for it is all there is."""
    names = [name for name in dict.fromkeys(score.structure for score in summary.scores) if name != ALL]
    return names if len(names) == 1 else [*names, ALL]


def ranking(summary: StudySummary, structure: str = ALL) -> list[str]:
    """The models from the highest mean to the lowest; those without one come last, equal ones in their order."""
    means = {name: summary.score(name, structure).mean for name in summary.models}
    return sorted(means, key=lambda name: float("inf") if (mean := means[name]) is None else -mean)


def standings(summary: StudySummary, structure: str = ALL) -> dict[str, Standing]:
    """How each model stands to the one with the highest mean, by the paired differences."""
    names = order_structures(summary)
    tested = structure if len(names) > 1 else names[0]
    best = ranking(summary, structure)[0]
    found: dict[str, Standing] = {best: "best"}
    words: dict[str, Standing] = {"tie": "tie", "too few pairs": "too few pairs"}
    for difference in summary.differences:
        if difference.structure == tested and best in (difference.first, difference.second):
            is_first = difference.first == best
            won: Standing = (
                "below" if difference.outcome == ("first better" if is_first else "second better") else "above"
            )
            found[difference.second if is_first else difference.first] = words.get(difference.outcome, won)
    scored = {name for name in summary.models if summary.score(name, structure).mean is not None}
    return {name: found.get(name, "no score") if name in scored else "no score" for name in summary.models}


def scores_table(summary: StudySummary) -> pd.DataFrame:
    """A row for each model and structure; what is not known is None."""
    rows = []
    for score in summary.scores:
        low, high = score.interval or (None, None)
        seeds = sum(value is not None for value in score.per_seed)
        row = {"model": score.model, "structure": score.structure, "mean": score.mean, "interval_low": low}
        row |= {"interval_high": high, "sd_over_seeds": score.sd, "seeds": seeds, "cases": score.cases}
        cost = cost_of(summary, score.model)
        rows.append(row | {name: getattr(cost, name, None) for name in ModelCost.model_fields if name != "model"})
    return pd.DataFrame(rows, dtype=object)  # objects keep whole numbers whole beside empty cells


def cost_of(summary: StudySummary, model: str) -> ModelCost | None:
    return next((cost for cost in summary.costs if cost.model == model), None)


def format_costs(summary: StudySummary) -> dict[str, dict[str, str]]:
    """{heading: {model: text}}, those of a heading with the same decimals."""
    found = {}
    for heading, field in COSTS.items():
        values = {name: getattr(cost_of(summary, name), field, None) for name in summary.models}
        if field == "parameters":
            values = {name: None if value is None else value / 1e6 for name, value in values.items()}
        digits = 0 if field in ("peak_mib", "steps") else digits_of(values.values(), heading)
        found[heading] = {name: format_number(value, digits) for name, value in values.items()}
    return found


def latex(summary: StudySummary) -> str:
    """A ``tabular`` with the models in rows: mean ± sd over seeds of each structure, and what each model costs.

    Characters that mean something to LaTeX are escaped. Names in Greek or Chinese letters need XeLaTeX or LuaLaTeX.
    """
    digits, names = score_digits(summary), list(summary.models)
    columns = {"model": [escape_latex(name) for name in names]}
    for structure in order_structures(summary):
        standing = standings(summary, structure)
        highest = max((m for name in names if (m := summary.score(name, structure).mean) is not None), default=None)
        cells = []
        for name in names:
            score = summary.score(name, structure)
            mean = _number(score.mean, digits)
            if score.mean is not None and score.mean == highest:
                mean = rf"\textbf{{{mean}}}"
            elif standing[name] == "tie":
                mean = rf"\underline{{{mean}}}"
            cells.append(
                mean if score.mean is None or score.sd is None else rf"{mean} $\pm$ {_number(score.sd, digits)}"
            )
        columns[escape_latex(structure)] = cells
    for heading, texts in list(format_costs(summary).items())[:3]:
        columns[heading] = [texts[name].replace("–", "--") for name in names]
    remarks = "".join(f"% {' '.join(line.split())}\n" for line in _remarks(summary))
    form = "l" + "r" * (len(columns) - 1)
    return remarks + str(pd.DataFrame(columns).to_latex(index=False, column_format=form, escape=False))


def escape_latex(text: str) -> str:
    """A text as LaTeX prints it, on one line."""
    return " ".join(text.split()).translate(SPECIAL)


def score_digits(summary: StudySummary) -> int:
    """Decimals of all scores, alike so that they can be compared."""
    return digits_of([score.mean for score in summary.scores], summary.measure.unit)


def _number(value: float | None, digits: int) -> str:
    return "--" if value is None else format_number(value, digits).replace("−", "$-$")


def _remarks(summary: StudySummary) -> list[str]:
    seeds = len(summary.seeds)
    over = f"± standard deviation over {seeds} seeds" if seeds > 1 else "of one seed"
    return [
        f"{summary.title}. Written by caseunet {summary.code_version}.",
        r"Needs \usepackage{booktabs}.",
        f"{heading_of(summary.measure)} by protocol {summary.protocol}, mean {over}. Bold: the highest of a column.",
        "Underlined: a tie, not told apart from the highest by the paired test over patients or sequences (Holm) and "
        f"the noise of the seeds. Not tested, and so never underlined: what has fewer than {MIN_PAIRS} of them.",
        f"GMAC and time: of one forward of one image, {summary.size[0]} x {summary.size[1]}.",
    ]
