"""The files of a study: tables that lose nothing, LaTeX that compiles, and a page that calls a tie a tie."""

import csv
import json
import math
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from PIL import Image

from caseunet.evaluation.summary import Measure
from caseunet.reporting.study_figures import Point, accuracy_latency, pareto
from caseunet.reporting.study_page import cautions, format_signed, outcome_in_words, write_study
from caseunet.reporting.study_tables import escape_latex, latex, order_structures, ranking, scores_table, standings
from caseunet.studies.summary import ALL, ModelCost, ModelScore, StudyDifference, StudySummary

DICE = Measure(label="Dice", definition="overlap of R & P", empty="Both empty: no value.", better="higher")


def score(
    model: str,
    structure: str,
    mean: float | None,
    sd: float | None = 0.004,
    interval: tuple[float, float] | None = (0.1, 0.9),
    seeds: int = 3,
) -> ModelScore:
    per_seed = (None,) * seeds if mean is None else tuple(mean + 0.001 * n for n in range(seeds))
    return ModelScore(model=model, structure=structure, mean=mean, interval=interval, sd=sd, per_seed=per_seed, cases=7)


def difference(first: str, second: str, structure: str, outcome: str, **more: object) -> StudyDifference:
    of = {
        "metric": "dice",
        "groups": 7,
        "only_first": 0,
        "only_second": 0,
        "mean_first": 0.8,
        "mean_second": 0.7,
        "difference": 0.1,
        "interval": (0.05, 0.15),
        "p": 0.0156,
        "p_holm": 0.0312,
        "verdict": outcome,
        "seed_error": 0.0033,
    }
    given = {"first": first, "second": second, "structure": structure, "outcome": outcome}
    return StudyDifference.model_validate({**of, **given, **more})


def cost(model: str, milliseconds: float = 12.0, parameters: int = 1_500_000) -> ModelCost:
    return ModelCost(
        model=model,
        parameters=parameters,
        gmac=2.5,
        milliseconds=milliseconds,
        peak_mib=100.4,
        training_minutes=30.5,
        steps=1000.0,
    )


MEANS = {"best": 0.8, "near": 0.79, "far": 0.6}
"""Of "liver"; 0.2 less of "tumour", 0.1 less of both together."""


def summary_of(
    means: dict[str, float | None] | None = None,
    structures: Sequence[str] = ("liver", "tumour"),
    seeds: int = 3,
    outcomes: Sequence[str] = ("tie", "first better", "first better"),
    **more: object,
) -> StudySummary:
    """By default three models of which the first ties with the second; the third is told apart."""
    means = means or dict(MEANS)
    sd = 0.004 if seeds > 1 else None
    names = [*structures, ALL]
    less = dict(zip(names, (0.0, 0.2, 0.1) if len(structures) == 2 else (0.0, 0.0), strict=True))
    scores = [
        score(model, name, None if mean is None else mean - less[name], sd, seeds=seeds)
        for model, mean in means.items()
        for name in names
    ]
    tested = list(structures) if len(structures) == 1 else names
    pairs = list(combinations(means, 2))
    told = [*outcomes, *["tie"] * len(pairs)]
    given = {
        "code_version": "1.2.3",
        "title": "Three networks",
        "protocol": "volumes",
        "metric": "dice",
        "measure": DICE,
        "budget": "1,000 steps",
        "size": (64, 96),
        "seeds": tuple(range(seeds)),
        "folds": (0,),
        "models": {name: f"model.name: {name}" for name in means},
        "scores": tuple(scores),
        "differences": tuple(
            difference(*pair, name, outcome, **({} if seeds > 1 else {"seed_error": None}))
            for pair, outcome in zip(pairs, told, strict=False)
            for name in tested
        ),
        "costs": tuple(cost(name, 10.0 + n) for n, name in enumerate(means)),
        "settings": (("batch", "8"),),
        **more,
    }
    return StudySummary.model_validate(given)


def cases_of(models: Sequence[str] = tuple(MEANS), groups: int = 7) -> pd.DataFrame:
    rows = [
        {"model": m, "seed": s, "case": f"c{g}", "slice": math.nan, "group": f"p{g}", "structure": "liver"}
        for m in models
        for s in range(2)
        for g in range(groups)
    ]
    return pd.DataFrame(rows).assign(dice=[1 / (3 + n) for n in range(len(rows))])


class Page(HTMLParser):
    """What stands in a page: its text, its addresses, ids, and the rows of each table."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self._in_cell = False
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.addresses += [given[name] or "" for name in ("href", "src", "action", "data") if name in given]
        self.ids += [given["id"] or ""] if "id" in given else []
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self.lasttag == "style":
            return
        self.text += data
        if self._in_cell:
            self.tables[-1][-1][-1] += data.replace("\N{NO-BREAK SPACE}", " ")

    def row(self, table: int, beginning: str) -> list[str]:
        return next(row for row in self.tables[table] if row[0].startswith(beginning))


def page_of(folder: Path, summary: StudySummary, cases: pd.DataFrame | None = None) -> Page:
    found = write_study(folder, summary, cases_of(list(summary.models)) if cases is None else cases)
    assert found == folder / "study.html"
    return Page(found.read_text(encoding="utf-8"))


# --- files


def test_files_keep_every_bit_and_there_are_no_others(tmp_path: Path) -> None:
    summary, cases = summary_of(), cases_of()
    cases.loc[[0, 1, 2], "dice"] = [0.1 + 0.2, math.nextafter(1, 2), 5e-324]
    write_study(tmp_path, summary, cases)
    names = ["accuracy_latency.png", "accuracy_latency.svg", "cases.csv", "scores.csv", "scores.tex"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*names, "study.html", "study.json"]
    assert StudySummary.model_validate(json.loads((tmp_path / "study.json").read_text("utf-8"))) == summary
    with (tmp_path / "cases.csv").open(encoding="utf-8", newline="") as stream:
        read = list(csv.DictReader(stream))
    assert [float(row["dice"]) for row in read] == cases["dice"].tolist()
    assert list(read[0]) == list(cases.columns)
    assert (tmp_path / "accuracy_latency.svg").read_text(encoding="utf-8").startswith("<svg")
    with Image.open(tmp_path / "accuracy_latency.png") as image:
        assert image.width == 7.2 * 300  # three hundred dots for each inch of a page's width


def test_scores_csv_holds_what_the_summary_does(tmp_path: Path) -> None:
    scores = (score("net", "liver", 1 / 3, sd=0.1 + 0.2, interval=(0.1, 2 / 3)), score("net", ALL, 0.5))
    known = score("other", "liver", 0.25, sd=None, interval=None, seeds=1)
    none = score("other", ALL, None, sd=None, interval=None, seeds=2)
    summary = summary_of({"net": 0.5, "other": 0.4}, scores=(*scores, known, none), costs=(cost("net"),))
    page_of(tmp_path, summary)
    lines = (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == (
        "model,structure,mean,interval_low,interval_high,sd_over_seeds,seeds,cases,"
        "parameters,gmac,milliseconds,peak_mib,training_minutes,steps"
    )
    assert lines[1] == (
        "net,liver,0.3333333333333333,0.1,0.6666666666666666,0.30000000000000004,3,7,1500000,2.5,12.0,100.4,30.5,1000.0"
    )
    assert lines[3] == "other,liver,0.25,,,,1,7,,,,,,"
    assert lines[4] == "other,all structures,,,,,0,7,,,,,,"
    assert len(lines) == 5


def test_equal_studies_make_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_study(tmp_path / name, summary_of(), cases_of())
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    assert b"<dc:date>" not in (tmp_path / "a" / "accuracy_latency.svg").read_bytes()


# --- who is best, who ties


def test_ranking_is_by_the_mean_and_without_one_comes_last() -> None:
    summary = summary_of({"low": 0.5, "none": None, "high": 0.9, "also low": 0.5})
    assert ranking(summary) == ["high", "low", "also low", "none"]


def test_standing_is_told_by_the_outcome_whichever_stands_first() -> None:
    scores = [score(name, structure, mean) for name, mean in zip("abcde", (0.5, 0.9, 0.4, 0.3, 0.2), strict=True)
              for structure in ("liver", "tumour", ALL)]  # fmt: skip
    differences = [
        difference("a", "b", ALL, "second better"),  # b has the highest mean
        difference("b", "c", ALL, "tie"),
        difference("b", "d", ALL, "second better"),
        difference("b", "e", ALL, "too few pairs"),
        difference("a", "c", ALL, "tie"),
        difference("a", "b", "liver", "tie"),  # of another structure
    ]
    names = dict.fromkeys("abcde", "")
    summary = summary_of(dict.fromkeys("abcde", 0.0), models=names, scores=scores, differences=differences)
    assert standings(summary) == {"a": "below", "b": "best", "c": "tie", "d": "above", "e": "too few pairs"}
    assert standings(summary, "liver")["a"] == "tie"


def test_one_structure_is_tested_under_own_name() -> None:
    summary = summary_of(structures=("liver",))
    assert order_structures(summary) == ["liver"]
    assert standings(summary) == {"best": "best", "near": "tie", "far": "below"}
    assert order_structures(summary_of()) == ["liver", "tumour", ALL]


def test_outcomes_name_winner_and_what_made_a_tie() -> None:
    assert outcome_in_words(difference("a", "b", ALL, "first better")) == "a better"
    assert outcome_in_words(difference("a", "b", ALL, "second better")) == "b better"
    assert outcome_in_words(difference("a", "b", ALL, "tie")) == "tie"
    assert outcome_in_words(difference("a", "b", ALL, "tie", verdict="first better")) == "tie, by seed noise"
    assert outcome_in_words(difference("a", "b", ALL, "too few pairs")) == "too few pairs"


# --- LaTeX


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("case_unet & 50 % #1", r"case\_unet \& 50 \% \#1"),
        ("$x$ {y}", r"\$x\$ \{y\}"),
        ("a~b^c", r"a\textasciitilde{}b\textasciicircum{}c"),
        ("a\\b", r"a\textbackslash{}b"),
        ("[5mm]*", "{[}5mm]{*}"),
        ("two\nlines\t end ", "two lines end"),
        ("a<b>|", r"a\textless{}b\textgreater{}\textbar{}"),
    ],
)
def test_names_are_escaped(text: str, told: str) -> None:
    assert escape_latex(text) == told


@given(st.text())
def test_no_name_can_break_the_table(name: str) -> None:
    """Every special character has a backslash before it, braces are paired, and the text stays on its line."""
    text = escape_latex(name)
    bare = re.sub(r"\\text[a-z]+\{\}|\{[\[*]\}|\\[&%#_${}]", "", text)
    assert not re.search(r"[&%#_${}~^\\*\[]", bare)
    assert len(text.splitlines()) <= 1


def test_latex_by_hand() -> None:
    summary = summary_of({"best_net": 0.8, "near": 0.79, "none": None}, outcomes=("tie", "first better", "tie"))
    lines = latex(summary).splitlines()
    body = [line for line in lines if not line.startswith("%")]
    assert body == [
        r"\begin{tabular}{lrrrrrr}",
        r"\toprule",
        r"model & liver & tumour & all structures & parameters (M) & GMAC & time (ms) \\",
        r"\midrule",
        r"best\_net & \textbf{0.800} $\pm$ 0.004 & \textbf{0.600} $\pm$ 0.004 & \textbf{0.700} $\pm$ 0.004"
        r" & 1.50 & 2.50 & 10 \\",
        r"near & \underline{0.790} $\pm$ 0.004 & \underline{0.590} $\pm$ 0.004 & \underline{0.690} $\pm$ 0.004"
        r" & 1.50 & 2.50 & 11 \\",
        r"none & -- & -- & -- & 1.50 & 2.50 & 12 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    comments = " ".join(line for line in lines if line.startswith("%"))
    assert r"\usepackage{booktabs}" in comments
    assert "Underlined: a tie" in comments
    assert "Bold: the highest" in comments


def test_latex_leaves_alone_what_is_told_apart_or_not_tested() -> None:
    text = latex(summary_of(outcomes=("first better", "too few pairs", "tie")))
    assert r"\underline" not in text


def test_latex_of_one_seed_has_no_deviation_and_negative_numbers_a_minus() -> None:
    text = latex(summary_of({"a": 0.05, "b": -0.25}, structures=("liver",), seeds=1))
    assert r"\pm" not in text
    assert "mean of one seed" in text
    assert r"b & \underline{$-$0.250} & 1.50" in text


def test_every_row_of_the_latex_has_as_many_cells_as_the_table_has_columns() -> None:
    text = latex(summary_of({"a & b": 0.5, "100 %": 0.4, "[x]\\": 0.3}, title="50 %\nof \\input{x}"))
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [6] * 4
    assert not any(re.search(r"(?<!\\)%", row) for row in rows)
    assert all(line.startswith(("%", "\\", "model", *"a1{")) for line in text.splitlines())


# --- the page


def test_main_table_is_ranked_and_calls_ties(tmp_path: Path) -> None:
    page = page_of(
        tmp_path, summary_of({"far": 0.6, "best": 0.8, "near": 0.79}, outcomes=("second better", "tie", "tie"))
    )
    table = page.tables[0]
    assert table[0][:6] == ["model", "standing", "all structures", "95 % interval", "liver", "tumour"]
    # far–near is "tie" too, yet near's own tie is that with the best
    standing = [("best", "highest"), ("near", "tie"), ("far", "lower")]
    assert [tuple(row[:2]) for row in table[1:]] == standing
    assert table[2][2:] == [
        *("0.690± 0.004", "0.100–0.900", "0.790± 0.004", "0.590± 0.004"),
        *("1.50", "2.50", "12", "100", "30.5", "1,000"),
    ]


def test_differences_name_winners(tmp_path: Path) -> None:
    pairs = page_of(tmp_path, summary_of()).tables[1]
    assert [row for row in pairs if len(row) == 1] == [["all structures"], ["liver"], ["tumour"]]
    assert pairs[2] == ["best", "near", "+0.1000", "0.0500–0.1500", ".016", ".031", "0.0033", "tie", "7"]
    assert pairs[3][7] == "best better"


def test_one_structure_is_ranked_alone(tmp_path: Path) -> None:
    page = page_of(tmp_path, summary_of({"a": 0.6, "b": 0.8}, structures=("liver",), outcomes=("second better",)))
    assert page.tables[0][0][2:5] == ["liver", "95 % interval", "parameters (M)"]
    assert page.tables[1][1:] == [["liver"], ["a", "b", *page.tables[1][2][2:7], "b better", "7"]]


def test_what_is_not_known_is_a_dash(tmp_path: Path) -> None:
    scores = [
        score(model, structure, mean, sd=None, interval=None, seeds=2)
        for model, mean in (("a", 0.5), ("b", None))
        for structure in ("liver", ALL)
    ]
    unknown = ("mean_first", "mean_second", "difference", "interval", "p", "p_holm", "seed_error")
    none = difference("a", "b", "liver", "too few pairs", **dict.fromkeys(unknown), groups=0)
    summary = summary_of({"a": 0.5, "b": None}, scores=scores, costs=(cost("a"),), differences=(none,))
    page = page_of(tmp_path, summary)
    assert page.row(0, "b") == ["b", "no score", "–", "–", *["–"] * 6]
    assert page.row(1, "a") == ["a", "b", "–", "–", "–", "–", "–", "too few pairs", "0"]
    assert "Not drawn, without score or cost: b." in page.text
    assert "None" not in page.text
    assert "nan" not in page.text.lower()


def test_a_study_without_any_score_is_written(tmp_path: Path) -> None:
    page = page_of(tmp_path, summary_of({"a": None, "b": None}, differences=()))
    assert "no score" in page.text
    assert "Differences between models" not in page.text


def test_paragraph_says_what_was_compared(tmp_path: Path) -> None:
    text = page_of(tmp_path, summary_of()).text
    for said in (
        "3 models were trained alike, each with 3 seeds (0, 1, 2) on 1 fold (0)",
        "64 × 96 pixels",
        "1,000 steps",
        "“volumes” on the same 7 cases of 7 patients or sequences",
        "Dice: overlap of R & P.",
        "Empty masks: Both empty: no value.",
        "√(sd₁²/n₁ + sd₂²/n₂)",
    ):
        assert said in text


def test_one_seed_is_cautioned(tmp_path: Path) -> None:
    one = page_of(tmp_path / "one", summary_of(seeds=1))
    assert "With one seed nothing is known of seed noise" in one.text
    assert "±" not in "".join(one.tables[0][1])
    three = page_of(tmp_path / "three", summary_of())
    assert "With one seed" not in three.text
    assert "Before you read the scores" not in three.text


def test_cautions() -> None:
    few = summary_of({"a": 0.5, "b": 0.4}, outcomes=("too few pairs",), caution="Slices leak.")
    said = cautions(few, cases_of(groups=4))
    assert said[0] == "Slices leak."
    assert said[1].startswith("Tests are impossible with fewer than 6 patients or sequences")
    assert "No interval is given" in said[1]
    assert "No interval" not in cautions(few, cases_of(groups=5))[1]
    some = [difference("a", "b", "liver", "tie"), difference("a", "b", "tumour", "too few pairs", groups=3)]
    partly = summary_of({"a": 0.5, "b": 0.4}, differences=some)
    assert [text.split(": ")[-1] for text in cautions(partly, cases_of())] == ["tumour."]
    assert cautions(summary_of(), cases_of()) == []


def test_text_is_escaped_and_nothing_is_fetched(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>"
    names = {f"{evil} & $x^2$": 0.8, "smp:Unet/resnet 34": 0.7, "c": 0.6}
    summary = summary_of(names, title=evil, budget=evil, caution=evil, settings=((evil, evil),), protocol=evil)
    page = page_of(tmp_path, summary.model_copy(update={"models": dict.fromkeys(names, evil)}))
    assert "script" not in page.tags
    assert page.text.count("alert('x')") > 10
    assert all(re.match(r"#|data:image/svg\+xml;base64,|runs/|(scores|cases|accuracy)", a) for a in page.addresses)
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(page.ids)
    html = (tmp_path / "study.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(", html)


def test_every_run_is_linked(tmp_path: Path) -> None:
    names = {"loss CE + Dice": 0.8, "smp:Unet/a": 0.7}
    page = page_of(tmp_path, summary_of(names, folds=(0, 2), seeds=2))
    links = [address for address in page.addresses if address.startswith("runs/")]
    assert len(links) == 2 * 2 * 2
    assert links[1] == "runs/loss%20CE%20%2B%20Dice/seed-0-fold-2/report/report.html"
    assert links[-1] == "runs/smp%3AUnet/a/seed-1-fold-2/report/report.html"


@pytest.mark.parametrize(("value", "text"), [(0.02, "+0.020"), (-0.02, "−0.020"), (0.0001, "0.000"), (None, "–")])
def test_differences_have_a_sign(value: float | None, text: str) -> None:
    assert format_signed(value, 3) == text


# --- figures


def point(name: str, milliseconds: float, mean: float) -> Point:
    return Point(name, milliseconds, 1000, mean)


def test_pareto_front_by_hand() -> None:
    points = [point("slow and best", 9, 0.9), point("beaten", 5, 0.6), point("fast", 2, 0.7), point("twin", 2, 0.7)]
    points += [point("equal, yet slower", 3, 0.7), point("as fast, yet worse", 2, 0.5)]
    assert [p.name for p in pareto(points)] == ["fast", "twin", "slow and best"]


def test_figure_says_what_is_measured() -> None:
    figure = accuracy_latency(summary_of())
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "time for one image of 64 × 96 pixels (ms, logarithmic)"
    assert axes.get_ylabel() == "Dice, mean over all structures"
    assert [text.get_text().strip() for text in figure.legends[0].get_texts()] == list(MEANS)


def test_marks_have_areas_in_proportion_to_the_parameters() -> None:
    costs = [cost("best", 10, 4_000_000), cost("near", 20, 1_000_000), cost("far", 30, 2_000_000)]
    axes = accuracy_latency(summary_of(seeds=1, costs=costs)).axes[0]
    sizes = [float(c.get_sizes()[0]) for c in axes.collections if isinstance(c, PathCollection)]
    assert sizes == pytest.approx([300, 75, 150])


def test_scores_table_keeps_whole_numbers_whole() -> None:
    table = scores_table(summary_of(costs=(cost("best"),)))
    assert table["parameters"].tolist() == [1_500_000] * 3 + [None] * 6
