"""The report: files that lose nothing, and a page that says what every number is."""

import base64
import json
import math
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from caseunet.errors import CaseUNetError
from caseunet.evaluation.comparison import Difference
from caseunet.evaluation.summary import EvaluationSummary, Measure, Number, Remark, ScoredModel, Source
from caseunet.reporting.page.lesions import sizes_table, totals_table
from caseunet.reporting.page.numbers import (
    digits_of,
    format_interval,
    format_number,
    format_percent,
    format_probability,
)
from caseunet.reporting.page.plots import Agreement, agreement
from caseunet.reporting.report import ShownCase, write_report
from caseunet.types import Label, LabelMap

LABELS = LabelMap(
    labels=(
        Label(id=0, name="background", color=(0, 0, 0)),
        Label(id=1, name="liver", color=(200, 120, 70)),
        Label(id=2, name="tumour", color=(60, 120, 200)),
    ),
    structures={"liver": (1, 2), "tumour": (2,)},
)
DICE = Measure(label="Dice", definition="overlap of R & P", empty="Both empty: no value.", better="higher")
HD95 = Measure(label="HD95", definition="far quantile", empty="One empty: the diagonal.", better="lower", unit="mm")
REFERENCE_ML = Measure(label="true volume", definition="|R|", empty="Nothing: 0.", better="nearer to 0", unit="mL")
PREDICTION_ML = Measure(label="found volume", definition="|P|", empty="Nothing: 0.", better="nearer to 0", unit="mL")
COLUMNS = {"dice": DICE, "hd95": HD95, "reference_ml": REFERENCE_ML, "prediction_ml": PREDICTION_ML}
LESION_COLUMNS = ("lesions_reference", "lesions_detected", "lesions_predicted", "lesions_false")


def row(case: str, structure: str = "liver", **more: object) -> dict[str, object]:
    """One of cases.csv; what is not given has no value, and every pixel was found."""
    return {
        "model": "net",
        "case": case,
        "slice": math.nan,
        "group": case,
        "structure": structure,
        "status": "scored",
        "reference_pixels": 10,
        "prediction_pixels": 10,
        "both_pixels": 10,
        "predicted_as_background": 0,
        "predicted_as_liver": 10,
        "predicted_as_tumour": 0,
        **dict.fromkeys(COLUMNS, math.nan),
        **more,
    }


def number(metric: str, value: float | None, structure: str | None = "liver", **more: object) -> Number:
    of = {
        "model": "net",
        "n": 7,
        "averaging": "mean over cases",
        "measure": COLUMNS.get(metric, DICE),
        "interval": None,
    }
    return Number.model_validate({"metric": metric, "structure": structure, "value": value, **of, **more})


def summary_of(numbers: Sequence[Number] = (), **more: object) -> EvaluationSummary:
    given = {
        "code_version": "1.2.3",
        "protocol": "volumes",
        "text": "Each case is scored whole.",
        "structures": LABELS.structures,
        "label_map": LABELS,
        "columns": COLUMNS,
        "scope": "7 cases, whole",
        "cases": 7,
        "ranked": "dice",
        "chief": ("dice", "hd95"),
        "models": (ScoredModel(name="net", folder="predictions/net"),),
        "numbers": tuple(numbers) or (number("dice", 0.9),),
        "source": Source(references="raw/lits", layout="lits", modality="ct"),
        **more,
    }
    return EvaluationSummary.model_validate(given)


class Page(HTMLParser):
    """What stands in a page: ids, and of each table its caption and the texts of its cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._caption = ""
        self._into: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"]] if given.get("id") else []
        self.links += [given[name] or "" for name in ("href", "src") if name in given]
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        self._into = {"td": "cell", "th": "cell", "caption": "caption", "sup": None}.get(tag, self._into)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "caption", "sup"):
            self._into = None
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        if self._into == "cell":
            self._rows[-1][-1] += data
        elif self._into == "caption":
            self._caption += data

    def table(self, beginning: str) -> list[list[str]]:
        """The rows of the table whose caption begins so, with the headings first."""
        return next(rows for caption, rows in self.tables.items() if caption.startswith(beginning))


def page_of(
    folder: Path,
    rows: Sequence[dict[str, object]],
    summary: EvaluationSummary,
    lesions: pd.DataFrame | None = None,
    shown: Sequence[ShownCase] = (),
    title: str = "Report",
    metrics_csv: Path | None = None,
) -> Page:
    path = write_report(folder, title, pd.DataFrame(list(rows)), lesions, summary, shown, metrics_csv)
    return Page(path.read_text(encoding="utf-8"))


def png(width: int, height: int, noise: bool) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8) * noise
    buffer = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "png")
    return buffer.getvalue()


# --- the files


def test_tables_keep_every_bit(tmp_path: Path) -> None:
    values = [0.1 + 0.2, math.nextafter(1, 2), 5e-324, 1.7976931348623157e308, -0.0, 1 / 3, 2 / 3, 1e-300]
    cases = pd.DataFrame([row(f"case {n}", reference_ml=value) for n, value in enumerate(values)])
    lesions = pd.DataFrame([lesion("a", 0.1 + 0.2), lesion("a", 1e-7 / 3)])
    write_report(tmp_path, "t", cases, lesions, summary_of(), ())
    read = pd.read_csv(tmp_path / "cases.csv", dtype=str)
    assert list(read.columns) == list(cases.columns)
    for column in ("reference_ml", "dice"):  # as Python reads numbers: the nearest ones there are
        assert read[column].astype(object).map(float).to_numpy(float).tobytes() == cases[column].to_numpy().tobytes()
    assert read[["case", "structure", "status", "reference_pixels"]].equals(
        cases[["case", "structure", "status", "reference_pixels"]].astype(str)
    )
    read = pd.read_csv(tmp_path / "lesions.csv", dtype=str)
    assert [float(text) for text in read["ml"]] == [0.1 + 0.2, 1e-7 / 3]


def test_summary_is_stored(tmp_path: Path) -> None:
    summary = summary_of([number("dice", 1 / 3, interval=(0.1, 2 / 3))])
    page_of(tmp_path, [row("a", dice=1 / 3)], summary)
    assert EvaluationSummary.model_validate(json.loads((tmp_path / "summary.json").read_text("utf-8"))) == summary
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases.csv", "report.html", "summary.json"]


# --- how numbers are written


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 3, "–"),
        (math.nan, 3, "–"),
        (0.12345, 3, "0.123"),
        (-0.0004, 3, "0.000"),
        (-1234.5, 1, "−1,234.5"),
        (math.inf, 2, "∞"),
        (3.0, 0, "3"),
    ],
)
def test_numbers_are_written(value: float | None, digits: int, text: str) -> None:
    assert format_number(value, digits) == text


def test_intervals_probabilities_and_shares_are_written() -> None:
    assert format_interval((0.8123, 0.9), 3) == "0.812–0.900"
    assert format_interval((-0.5, 0.25), 2) == "−0.50 – 0.25"
    assert format_interval(None) == "–"
    assert [format_probability(p) for p in (0.0004, 0.0344, 1.0, None)] == ["<.001", ".034", "1.000", "–"]
    assert [format_percent(s) for s in (0, 0.0001, 0.5, 0.9999, 1)] == ["0", "<0.1 %", "50.0 %", ">99.9 %", "100.0 %"]


def test_decimals_follow_size_and_unit() -> None:
    assert digits_of([0.5, 1.0, None]) == 3
    assert digits_of([1.0, 1.0]) == 3  # a share of one, not a count
    assert digits_of([0, 2, 5]) == 0
    assert digits_of([math.nan, math.inf]) == 3
    assert digits_of([480.0], "mm") == 2
    assert [digits_of([value], "mL") for value in (0.025, 3.5, 1500.5, 150.5)] == [3, 2, 0, 1]
    assert digits_of([0.0, 0.0], "mL") == 2


@given(st.floats(-1e9, 1e9), st.integers(0, 4))
def test_written_numbers_can_be_read_back(value: float, digits: int) -> None:
    text = format_number(value, digits)
    assert float(text.replace("−", "-").replace(",", "")) == pytest.approx(value, abs=0.51 * 10**-digits)
    assert not re.fullmatch(r"[−-][0.,]*", text)


# --- numbers and what they mean


def test_every_number_stands_in_the_table_of_all_numbers(tmp_path: Path) -> None:
    numbers = [
        number("dice", 0.91234, interval=(0.8891, 0.9349), sd=0.1695, median=0.95, undefined=3),
        number("hd95", 15.911, interval=(6.5784, 27.85), sd=74.55, median=3.5, n=1200),
        number("dice", None, structure="tumour", n=0, undefined=10),
        number("hd95", 4.0, structure="tumour", averaging="mean over lesions"),
    ]
    rows = page_of(tmp_path, [row("a", dice=0.9)], summary_of(numbers)).table("The small figures")
    assert rows[1:] == [
        ["liver"],
        ["Dice", "0.912", "", "0.889–0.935", "0.170", "0.950", "7", "3", "mean over cases"],
        ["HD95", "15.91", "mm", "6.58–27.85", "74.55", "3.50", "1,200", "0", "mean over cases"],
        ["tumour"],
        ["Dice", "–", "", "–", "–", "–", "0", "10", "mean over cases"],
        ["HD95", "4.00", "mm", "–", "–", "–", "7", "0", "mean over lesions"],
    ]


def test_every_measure_is_explained_where_its_numbers_lead(tmp_path: Path) -> None:
    other = Measure(label="Dice", definition="another count.", empty="Skipped.", better="higher")
    numbers = [
        number("dice", 0.9),
        number("dice", 0.8, None, averaging="mean over structures"),
        number("hd95", 3.0),
        number("global", 0.7, averaging="ratio of sums", measure=other),
    ]
    page = page_of(tmp_path, [row("a", dice=0.9, hd95=1.0)], summary_of(numbers))
    notes = dict(re.findall(r'<li id="count-(\d+)">(.*?)</li>', page.html, re.DOTALL))
    assert list(notes) == ["1", "2", "3", "4", "5"]
    for name, parts in {
        "1": ("Dice", "overlap of R &amp; P. Higher is better", DICE.empty, "mean over cases; mean over structures."),
        "2": ("HD95", "(mm)", "far quantile. Lower is better", HD95.empty, "mean over cases."),
        "3": ("another count. Higher", "Skipped.", "ratio of sums."),
        "4": ("true volume", "|R|", "Nothing: 0."),
        "5": ("found volume", "|P|"),
    }.items():
        assert all(part in notes[name] for part in parts)
    targets = {link.removeprefix("#") for link in page.links if link.startswith("#")}
    assert targets <= set(page.ids)
    assert {"count-1", "count-2", "count-3"} <= targets
    assert "Each case is scored whole." in page.html


def test_the_chief_numbers_stand_first(tmp_path: Path) -> None:
    numbers = [number("dice", 0.912, interval=(0.88, 0.93), median=0.95), number("hd95", 15.9), number("other", 0.111)]
    page = page_of(tmp_path, [row("a", dice=0.9)], summary_of(numbers))
    assert page.table("The chief numbers") == [
        ["structure", "Dice", "HD95 (mm)"],
        ["liver (liver or tumour)", "0.9120.880–0.930", "15.90"],
    ]
    assert "Without any value, because" in page.html  # the tumour has no number


def test_nothing_defined(tmp_path: Path) -> None:
    numbers = [number("dice", None, structure, n=0, undefined=2) for structure in ("liver", "tumour")]
    page = page_of(tmp_path, [row(c, s) for c in "ab" for s in LABELS.structures], summary_of(numbers))
    assert "None of the chief measures has a value" in page.html
    assert "Without any value: Dice, HD95, true volume, found volume." in page.html
    assert {"distributions", "volumes"}.isdisjoint(page.ids)


# --- what belongs to the page only at times


def test_sections_that_do_not_apply_are_absent(tmp_path: Path) -> None:
    bare = {name: value for name, value in row("a").items() if not name.startswith("predicted_as")}
    page = page_of(tmp_path, [bare], summary_of())
    assert {"scores", "cases", "counted", "origin"} <= set(page.ids)
    absent = {"cautions", "comparison", "distributions", "volumes", "pictures", "confusion", "lesions", "training"}
    assert absent.isdisjoint(page.ids)


def test_sections_that_apply_are_there(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.csv"
    columns = "step,loss,cross_entropy,ssim,dice,val_dice,val_dice_liver"
    metrics.write_text(f"{columns}\n1,2,1,.5,.5,.3,.3\n2,1,.5,.2,.3,.6,.6\n")  # training knew no tumour
    rows = [
        row(c, dice=0.5 + n / 10, reference_ml=1.0, prediction_ml=1.0 + n, **dict.fromkeys(LESION_COLUMNS, 2))
        for n, c in enumerate("abc")
    ]
    summary = summary_of(models=(ScoredModel(name="net", folder="p", caution="Few cases."),))
    page = page_of(
        tmp_path,
        rows,
        summary,
        lesions=pd.DataFrame([lesion("a", 0.01), lesion("a", 1.0)]),
        shown=[ShownCase("worst", "case a", png(20, 10, noise=False))],
        metrics_csv=metrics,
    )
    expected = ["cautions", "scores", "distributions", "volumes", "pictures", "confusion", "lesions", "training"]
    assert [name for name in page.ids if name in (*expected, "cases", "counted", "origin")] == [
        *expected,
        "cases",
        "counted",
        "origin",
    ]
    assert all(alt for alt in re.findall(r'<img[^>]* alt="([^"]*)"', page.html))
    assert page.html.count("<img") == len(re.findall(r'<img[^>]* alt="[^"]', page.html)) == 4


@pytest.mark.parametrize("content", [b"", b"epoch,value\n1,2\n", b"\xff\xfe\x00"])
def test_a_file_that_is_no_training_log_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(CaseUNetError, match="metrics.csv"):
        page_of(tmp_path, [row("a", dice=0.5)], summary_of(), metrics_csv=tmp_path / "metrics.csv")


# --- cautions


def test_cautions_name_every_case(tmp_path: Path) -> None:
    model = ScoredModel(
        name="net",
        folder="p",
        missing=tuple(Remark(case=f"gone{n:02}", text="") for n in range(12)),
        unusable=(Remark(case="odd", text="has 3 slices, its image 4"),),
        extra=tuple(f"more{n:02}" for n in range(14)),
        remarks=(Remark(case="turned", text="its axes run otherwise"),),
        caution="Training saw these patients.",
    )
    page = page_of(tmp_path, [row("a", dice=0.5)], summary_of(models=(model,), not_asked=("idle",)))
    box = page.html.split('<section class="caution"')[1].split("</section>")[0]
    folded = "".join(re.findall(r"<details>(.*?)</details>", box, re.DOTALL))
    for text in ("Training saw these patients.", "has 3 slices, its image 4", "its axes run otherwise", "odd", "idle"):
        assert text in box
        assert text not in folded
    for n in range(12):
        assert f"gone{n:02}" in box
        assert (f"gone{n:02}" in folded) == (n >= 10)
    for n in range(14):
        assert f"more{n:02}" in box
        assert (f"more{n:02}" in folded) == (n >= 10)
    assert "and 2 more" in folded
    assert "and 4 more" in folded


def test_a_caution_of_all_models_is_given_once(tmp_path: Path) -> None:
    models = tuple(ScoredModel(name=name, folder="p", caution="Seen in training.") for name in ("net", "other"))
    assert page_of(tmp_path, [row("a")], summary_of(models=models)).html.count("Seen in training.") == 1


# --- safety, size, self-containment


def test_names_are_escaped(tmp_path: Path) -> None:
    nasty = '<script>alert("1")</script>'
    structures = {f"{nasty} $x": (1, 2), "tumour": (2,)}
    rows = [row(f"{nasty}{n}", f"{nasty} $x", dice=n / 10, reference_ml=n, prediction_ml=1) for n in range(7)]
    model = ScoredModel(name="net", folder=nasty, missing=(Remark(case=nasty, text=nasty),), caution=nasty)
    summary = summary_of(
        [number("dice", 0.5, f"{nasty} $x", averaging=nasty)],
        structures=structures,
        models=(model,),
        text=nasty,
        facts=((nasty, nasty),),
    )
    page = page_of(
        tmp_path, rows, summary, shown=[ShownCase(nasty, nasty, png(9, 9, noise=False))], title=f"{nasty} & more"
    )
    assert "<script>alert" not in page.html
    assert '"1"' not in page.html
    assert "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt; &amp; more</h1>" in page.html


def test_page_refers_to_nothing_outside(tmp_path: Path) -> None:
    rows = [row(c, dice=0.5 + n / 10, reference_ml=1.0, prediction_ml=1.0 + n) for n, c in enumerate("abcdef")]
    page = page_of(tmp_path, rows, summary_of(), shown=[ShownCase("worst", "a", png(9, 9, noise=False))])
    assert all(link.startswith(("#", "data:image/")) for link in page.links)
    assert not re.search(r"https?:|//\w+\.|@import|url\(|<link|<iframe", re.sub(r"data:[^\"]*", "", page.html))
    vectors = [base64.b64decode(link.split(",")[1]) for link in page.links if "svg" in link]
    assert len(vectors) == 2
    for vector in vectors:
        assert vector.startswith(b"<svg")
        assert all(link.startswith(b"#") for link in re.findall(rb'href="([^"]*)"', vector))
        assert b"DOCTYPE" not in vector


def test_equal_evaluations_make_equal_pages(tmp_path: Path) -> None:
    rows = [row(c, dice=0.5 + n / 10, reference_ml=1.0, prediction_ml=1.0 + n) for n, c in enumerate("abcdef")]
    pages = [page_of(tmp_path / str(n), rows, summary_of()).html for n in range(2)]
    assert pages[0] == pages[1]


def test_large_evaluations_make_small_pages(tmp_path: Path) -> None:
    structures = {"liver": (1, 2), "tumour": (2,), "both": (1, 2)}
    random = np.random.default_rng(0)
    rows = [
        row(
            f"patient {n}",
            name,
            dice=random.random(),
            hd95=random.random() * 99,
            reference_ml=random.random(),
            prediction_ml=random.random(),
        )
        for n in range(200)
        for name in structures
    ]
    large = png(1100, 400, noise=True)  # nothing is harder to compress
    assert len(large) > 1_000_000
    numbers = [number("dice", 0.5, name) for name in structures]
    page = page_of(
        tmp_path,
        rows,
        summary_of(numbers, structures=structures),
        shown=[ShownCase(f"{n}th", "", large) for n in range(8)],
    )
    assert (tmp_path / "report.html").stat().st_size < 5_000_000
    pictures = [base64.b64decode(link.split(",")[1]) for link in page.links if link.startswith("data:image/webp")]
    assert len(pictures) == 8
    assert max(map(len, pictures)) < len(large) / 4
    assert len(page.table("Scores of each case")) == 601


# --- the table of cases


def test_cases_stand_in_a_plain_table(tmp_path: Path) -> None:
    rows = [
        row("a", dice=0.91236, hd95=3.0, reference_ml=1.5, prediction_ml=2.0),
        row("b", dice=0.0, hd95=99.5, reference_ml=1500.25, prediction_ml=0.0, status="missing"),
        row("b", "background", predicted_as_liver=3),
    ]
    page = page_of(tmp_path, rows, summary_of())
    assert page.table("Scores of each case") == [
        ["case", "structure", "status", "Dice", "HD95 (mm)", "true volume (mL)", "found volume (mL)"],
        ["a", "liver", "scored", "0.912", "3.00", "1.5", "2"],
        ["b", "liver", "missing", "0.000", "99.50", "1,500.2", "0"],
    ]
    assert '<tr class="marked"><th scope="row">b</th>' in page.html
    table = page.html.split('id="cases-table"')[1].split("</table>")[0]
    assert "<button" not in table  # they come with the script that makes them work
    assert '<form class="controls" id="controls" hidden' in page.html


def test_slices_groups_models_and_pixels_have_columns_where_needed(tmp_path: Path) -> None:
    rows = [row("a", slice=n, group="p", model=model, dice=0.5) for model in ("net", "other") for n in (0, 1)]
    models = tuple(ScoredModel(name=name, folder=name) for name in ("net", "other"))
    table = page_of(tmp_path, rows, summary_of(models=models)).table("Scores of each slice")
    heads = ["case", "model", "slice", "group", "structure", "status", "Dice", "reference pixels", "predicted pixels"]
    assert table[0] == heads
    assert table[4] == ["a", "other", "1", "p", "liver", "scored", "0.500", "10", "10"]


def test_of_too_many_rows_the_lowest_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caseunet.reporting.page.cases.MAX_TABLE_ROWS", 3)
    values = {"a": 0.9, "b": 0.1, "c": math.nan, "d": 0.5, "e": 0.3}
    page = page_of(tmp_path, [row(case, dice=dice) for case, dice in values.items()], summary_of())
    assert [cells[0] for cells in page.table("Scores of each case")[1:]] == ["b", "e", "d"]
    assert "The 3 lowest of 5 rows by Dice, the lowest first; all rows: cases.csv." in page.html
    assert len(pd.read_csv(tmp_path / "cases.csv")) == 5


# --- models compared


def difference(**more: object) -> Difference:
    values = {"metric": "dice", "structure": "liver", "first": "net", "second": "other", "groups": 20}
    means = {"mean_first": 0.9, "mean_second": 0.85, "difference": 0.05, "interval": (0.01, 0.09)}
    test = {"only_first": 0, "only_second": 0, "p": 0.0002, "p_holm": 0.0004, "verdict": "first better"}
    return Difference.model_validate({**values, **means, **test, **more})


def test_comparison_says_who_is_better(tmp_path: Path) -> None:
    names = ("net", "other", "third")
    numbers = [number("dice", 0.9 - n / 10, interval=(0.1, 0.95), model=name) for n, name in enumerate(names)]
    comparison = (
        difference(),
        difference(structure="tumour", only_second=4, p=0.2, p_holm=0.4, verdict="tie", interval=(-0.02, 0.1)),
        difference(second="third", metric="hd95", verdict="second better", mean_first=5, difference=4, p_holm=0.0344),
        difference(second="third", groups=3, p=None, p_holm=None, interval=None, verdict="too few pairs"),
    )
    models = tuple(ScoredModel(name=name, folder=name) for name in names)
    rows = [row(c, dice=0.5, model=name) for c in "abcdef" for name in names]
    page = page_of(tmp_path, rows, summary_of(numbers, models=models, comparison=comparison))
    assert page.table("Paired differences")[1:] == [
        ["first: net · second: other"],
        ["liver", "Dice", "0.900", "0.850", "0.050", "0.010–0.090", "<.001", "<.001", "net better", "20", "0", "0"],
        ["tumour", "Dice", "0.900", "0.850", "0.050", "−0.020 – 0.100", ".200", ".400", "tie", "20", "0", "4"],
        ["first: net · second: third"],
        ["liver", "HD95 (mm)", "5.00", "0.85", "4.00", "0.01–0.09", "<.001", ".034", "third better", "20", "0", "0"],
        ["liver", "Dice", "0.900", "0.850", "0.050", "–", "–", "–", "too few pairs", "3", "0", "0"],
    ]
    assert page.table("The chief numbers") == [
        ["structure", "model", "Dice"],
        ["liver (liver or tumour)", "net", "0.9000.100–0.950"],
        ["liver (liver or tumour)", "other", "0.8000.100–0.950"],
        ["liver (liver or tumour)", "third", "0.7000.100–0.950"],
    ]


# --- plots and their figures


def test_agreement_by_hand() -> None:
    # Differences 1, −1, 3: mean 1, variance (0 + 4 + 4) / 2 = 4.
    found = agreement(np.array([10.0, 20, 30]), np.array([11.0, 19, 33]))
    assert found is not None
    assert (found.n, found.bias, found.sd) == (3, 1.0, 2.0)
    assert (found.low, found.high) == pytest.approx((1 - 3.92, 1 + 3.92))
    assert agreement(np.array([1.0, 2]), np.array([1.0, 2])) is None


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e4)), min_size=3, max_size=30), st.floats(-1e3, 1e3))
def test_agreement_follows_a_shift(pairs: list[tuple[float, float]], shift: float) -> None:
    reference, prediction = np.array(pairs).T
    before, after = agreement(reference, prediction), agreement(reference, prediction + shift)
    assert isinstance(before, Agreement)
    assert isinstance(after, Agreement)
    assert after.bias == pytest.approx(before.bias + shift, abs=1e-6)
    assert after.high - after.low == pytest.approx(before.high - before.low, abs=1e-6)
    assert before.low <= before.bias <= before.high


def test_volumes_of_cases_without_prediction_are_left_out(tmp_path: Path) -> None:
    volumes = [("a", 10, 11), ("b", 20, 19), ("c", 30, 33), ("d", 0, 0)]
    rows = [row(case, reference_ml=r, prediction_ml=p) for case, r, p in volumes]
    rows.append(row("e", reference_ml=3, prediction_ml=0, status="missing"))
    table = page_of(tmp_path, rows, summary_of()).table("Volumes in mL")
    assert table[1:] == [["liver", "3", "2", "1.00", "−2.92 – 4.92", "2.00"]]


# --- confusion


def test_confusion_by_hand(tmp_path: Path) -> None:
    rows = [
        row("a", predicted_as_background=1, predicted_as_liver=2, predicted_as_tumour=1),
        row("b", predicted_as_background=0, predicted_as_liver=3, predicted_as_tumour=1),
        row("b", "background", predicted_as_background=999, predicted_as_liver=1),
        row("b", "tumour", predicted_as_background=0, predicted_as_liver=0, predicted_as_tumour=0),
    ]
    page = page_of(tmp_path, rows, summary_of())
    assert page.table("Rows: the reference") == [
        ["reference", "background", "liver", "tumour", "pixels"],
        ["background", "99.9 %999", "0.1 %1", "00", "1,000"],
        ["liver", "12.5 %1", "62.5 %5", "25.0 %2", "8"],
    ]
    matrix = page.html.split('class="confusion"')[1].split("</table>")[0]
    assert matrix.count('<span class="right') == 3  # background, and the two classes that make up the liver


# --- lesions


def lesion(case: str, ml: float, outcome: str = "missed", structure: str = "tumour") -> dict[str, object]:
    mask = "reference" if outcome in ("missed", "detected") else "prediction"
    where = {"at_slice": 1, "at_row": 2, "at_column": 3}
    of = {"model": "net", "case": case, "slice": math.nan, "structure": structure, "mask": mask, "lesion": 1}
    return {**of, "voxels": round(ml * 1000), "ml": ml, **where, "overlap": 0, "partners": 0, "outcome": outcome}


def counts(reference: int, detected: int, predicted: int, false: int) -> dict[str, int]:
    return dict(zip(LESION_COLUMNS, (reference, detected, predicted, false), strict=True))


def test_pooled_lesions_by_hand() -> None:
    rows = [row("a", "tumour", **counts(3, 2, 4, 1)), row("b", "tumour", **counts(1, 0, 0, 0))]
    table = totals_table(pd.DataFrame(rows), summary_of())
    assert table is not None
    # Sensitivity 2 / 4, precision 3 / 4, F1 2 · 2 / (2 · 2 + 1 false + 2 missed).
    assert table.rows == [["tumour", "4", "2", "2", "4", "1", "0.500", "0.750", "0.571"]]
    nothing = totals_table(pd.DataFrame([row("a", "tumour", **counts(0, 0, 0, 0))]), summary_of())
    assert nothing is not None
    assert nothing.rows == [["tumour", "0", "0", "0", "0", "0", "–", "–", "–"]]


def test_sensitivity_by_size_by_hand() -> None:
    # A ball of 5 mm has 0.065 mL, of 10 mm 0.524, of 20 mm 4.19, of 40 mm 33.5.
    found = [(0.06, "missed"), (0.07, "detected"), (0.5, "missed"), (0.53, "detected"), (40.0, "detected")]
    lesions = pd.DataFrame([*(lesion("a", ml, outcome) for ml, outcome in found), lesion("a", 9.0, "false")])
    table = sizes_table(lesions, summary_of())
    assert table is not None
    assert [tuple(cells)[:5] for cells in table.rows] == [
        ("tumour", "under 5", "under 0.065", "1", "0"),
        ("tumour", "5 to 10", "0.065 to 0.52", "2", "1"),
        ("tumour", "10 to 20", "0.52 to 4.2", "1", "1"),
        ("tumour", "from 40", "from 34", "1", "1"),
    ]
    assert sizes_table(lesions.assign(ml=math.nan), summary_of()) is None


def test_missed_and_false_lesions_are_listed_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caseunet.reporting.page.lesions.MAX_LESIONS", 3)
    lesions = pd.DataFrame(
        [
            lesion("a", 0.5),
            lesion("b", 2.0, "false"),
            lesion("c", 0.2),
            lesion("a", 1.0, "detected"),
            lesion("c", 3.0, "matched"),
            lesion("d", 0.3),
        ]
    )
    rows = [row(case, "tumour", **counts(2, 1, 2, 1)) for case in "abc"]
    rows.append(row("d", "tumour", status="missing", **counts(1, 0, 0, 0)))
    page = page_of(tmp_path, rows, summary_of(), lesions=lesions)
    assert page.table("Lesions that were missed") == [
        ["case", "structure", "outcome", "mL", "voxels", "slice", "row", "column"],
        ["b", "tumour", "false", "2.00", "2,000", "1", "2", "3"],
        ["a", "tumour", "missed", "0.50", "500", "1", "2", "3"],
        ["d", "tumour", "missed", "0.30", "300", "1", "2", "3"],
    ]
    assert (
        "The 3 largest of 4; all are in lesions.csv. Tinted rows are of cases without a usable prediction." in page.html
    )
    assert page.table("Lesions of all cases")[1] == ["tumour", *"7", "3", "4", "6", "3", "0.429", "0.500", "0.462"]


# --- origin


def test_origin_names_each_source_once(tmp_path: Path) -> None:
    facts = (("references", "raw/lits (layout lits)"), ("licence of the data", "CC BY"))
    html = page_of(tmp_path, [row("a")], summary_of(facts=facts)).html.split('id="origin"')[1]
    assert re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", html) == [
        *facts,
        ("layout", "lits"),
        ("predictions", "predictions/net"),
        ("caseunet", "1.2.3"),
    ]
