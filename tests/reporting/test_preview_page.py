"""The page of predictions: what it says, and that no name can break it."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from caseunet.options import PredictionSettings
from caseunet.prediction.store import FailedCase, PredictedCase, PredictionsInfo
from caseunet.quality.judgement import CaseQuality, MaskLevel
from caseunet.reporting.predictions import write_preview

NASTY = """<b>&amp; "q" 'a' {{ 7 * 7 }} 肝 é</b>"""
VOID = {"meta", "img", "wbr"}


class Page(HTMLParser):
    """Texts by tag, and attributes, of a page; every tag must be closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.texts: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self._open: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self._open[-1], data.strip()))

    def of(self, *tags: str) -> list[str]:
        return [text for tag, text in self.texts if tag in tags]

    def values(self, tag: str, name: str) -> list[str]:
        return [value for t, n, value in self.attributes if (t, n) == (tag, name)]


def quality(
    dice: dict[str, float | None] | None = None,
    mask: MaskLevel = "good",
    reasons: tuple[str, ...] = (),
    mask_reasons: tuple[str, ...] = (),
) -> CaseQuality:
    return CaseQuality(
        predicted_dice=dice or {},
        unusual=0.0,
        flagged=bool(reasons),
        reasons=reasons,
        mask=mask,
        mask_reasons=mask_reasons,
    )


def case(name: str, picture: str = "", of_case: CaseQuality | None = None, **more: object) -> PredictedCase:
    others = {"overlay": picture} if picture else {}
    return PredictedCase.model_construct(id=name, in_training=False, others=others, quality=of_case, **more)


def page_of(folder: Path, *cases: PredictedCase, failed: str = "", **more: object) -> Page:
    failures = (FailedCase(id=failed, image="", error=failed),) if failed else ()
    known = {"bundle": "b", "bundle_hash": "0", "backend": "torch", "device": "cpu", "settings": PredictionSettings()}
    info = PredictionsInfo.model_construct(cases=cases, failed=failures, code_version="1", **known | more)
    return Page(write_preview(folder, info))


def test_cases_stand_in_their_order_with_badges(tmp_path: Path) -> None:
    odd = quality({"liver": 0.956, "tumour": None}, reasons=("too dark; in training lighter", "too small"))
    plain = case("plain", "b.png", quality({"liver": 0.9}), remarks=("slices are uneven",))
    cases = plain, case("odd", "a.png", odd), case("unknown", "c.MP4"), case("bare")
    page = page_of(tmp_path, *cases, failed="broken", look_first=("odd", "plain"))
    assert page.of("title", "h1") == ["Predictions"] * 2
    assert page.of("h3") == ["odd", "plain", "unknown", "bare", "broken"]
    assert page.of("li") == ["too dark; in training lighter", "too small", "slices are uneven"]
    badges = [t for t in page.of("span") if t.startswith(("look", "image", "mask"))]
    assert badges == ["look at this first", "image unusual", "mask good", "image usual", "mask good"]
    assert page.values("img", "src") == page.values("a", "href") == ["a.png", "b.png"]
    assert page.values("video", "src") == ["c.MP4"]
    assert ("video", "controls", "") in page.attributes
    assert page.of("b") == ["4", "1", "1", "0.96", "–", "0.90"]  # segmented, to look at, failed; then Dice
    assert page.of("p")[0].startswith("Look at the cases from top to bottom")
    assert page.texts[-1] == ("p", "broken")
    assert page.values("article", "class") == ["first", "usual"]


@pytest.mark.parametrize(
    ("of_case", "limits", "card", "count"),
    [
        (quality({"a": 0.9}), (), ["usual"], "count usual"),
        (quality({"a": 0.28}, "poor", (), ("low",)), (), ["first"], "count first"),
        (quality({"a": 0.9}, "good", ("odd",)), (), ["first"], "count first"),
        (quality({"a": 0.6}, "fair", (), ("so so",)), (), [], "count"),
        (quality({"a": 0.9}, "unknown"), (), [], "count"),
        (quality({"a": 0.9}), ("It knows little.",), ["usual"], "count"),
    ],
)
def test_the_worse_statement_colours_a_case(
    of_case: CaseQuality, limits: tuple[str, ...], card: list[str], count: str, tmp_path: Path
) -> None:
    page = page_of(tmp_path, case("one", "", of_case), gate_limits=limits)
    assert page.values("article", "class") == card
    counts = [value for value in page.values("div", "class") if value.startswith("count") and value != "counts"]
    assert counts == ["count", count]  # of all, and of those to look at first
    assert page.of("b")[1] == str(int(card == ["first"]))
    assert page.of("li") == [*limits, *of_case.reasons, *of_case.mask_reasons]


def test_a_bundle_that_does_not_know_says_so(tmp_path: Path) -> None:
    page = page_of(tmp_path, case("one", "x.png"), case("two", "x.png"))
    assert page.of("p") == ["The model cannot say which cases to look at first. They stand in the order given."]
    assert page.of("b") == ["2"]
    assert page.of("span") == []
    assert not page.values("article", "class")


def test_every_name_is_escaped(tmp_path: Path) -> None:
    nasty = case(NASTY, "x.png", quality({NASTY: 0.5}, reasons=(NASTY,)), measurements=({NASTY: NASTY},))
    page = page_of(tmp_path, nasty, failed=NASTY, bundle=NASTY)
    assert "<b>&amp; " not in page.source
    for tag, times in {"h3": 2, "li": 1, "th": 2}.items():  # heading and cell of the measurements
        assert page.of(tag) == [NASTY] * times, tag
    assert page.of("p")[-1] == NASTY
    assert page.values("img", "alt") == [f"prediction of {NASTY}"]


@pytest.mark.parametrize("ending", [".png", ".mp4"])
@pytest.mark.parametrize("name", ["""sub dir/a<b>&"'#?%41é肝:x""", "javascript:alert(1)", "a\udcff"])
def test_links_are_quoted(tmp_path: Path, name: str, ending: str) -> None:
    page = page_of(tmp_path, case("one", name + ending))
    (link,) = page.values("img" if ending == ".png" else "video", "src")
    assert set(link) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%/._-~")
    assert unquote(link, errors="surrogateescape") == name + ending


def test_names_that_are_no_text_are_written(tmp_path: Path) -> None:
    assert page_of(tmp_path, case("a\udcff")).of("h3") == ["a?"]


def test_measurements_are_a_table(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"case": "one", "structure": "liver", "voxels": 1342595, "volume_ml": 1417.4, "burden": None, "px": None},
        {"case": "one", "structure": "tumour", "voxels": np.int64(7), "volume_ml": 0.0044949, "burden": 999.96},
        {"case": "one", "structure": "one", "voxels": 0, "volume_ml": float("nan"), "burden": np.float32(0.25)},
    ]
    page = page_of(tmp_path, case("one", "x.png", measurements=rows))
    cells = page.of("th", "td")
    assert [cells[n : n + 4] for n in (0, 4, 8, 12)] == [
        ["structure", "voxels", "volume ml", "burden"],  # neither the case nor what nobody has
        ["liver", "1,342,595", "1,417", "–"],
        ["tumour", "7", "0.00449", "1,000"],
        ["one", "0", "–", "0.25"],
    ]
    assert page.values("td", "class") == ["number"] * 9


def test_nothing_comes_from_elsewhere(tmp_path: Path) -> None:
    page = page_of(tmp_path, case("one", "x.png", quality({"a": 0.5})), failed="two")
    assert "<script" not in page.source
    assert "//" not in page.source
    assert "@import" not in page.source
    assert "url(" not in page.source


def test_an_empty_page(tmp_path: Path) -> None:
    page = page_of(tmp_path / "new")
    assert page.of("b") == ["0"]
    assert page.of("h3") == []
