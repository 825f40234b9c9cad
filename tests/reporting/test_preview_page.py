"""The page of predictions: what it says, and that no name can break it."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from caseunet.quality.judgement import CaseQuality, MaskLevel
from caseunet.reporting.preview_page import PreviewCase, write_preview

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


def test_cases_stand_in_their_order_with_badges(tmp_path: Path) -> None:
    odd = quality({"liver": 0.956, "tumour": None}, reasons=("too dark; in training lighter", "too small"))
    cases = [
        PreviewCase("broken", None, error="scan.nii: cannot be read."),
        PreviewCase("odd", "a.png", odd),
        PreviewCase("plain", "b.png", quality({"liver": 0.9}), remarks=["slices are uneven"]),
        PreviewCase("unknown", "c.MP4"),
        PreviewCase("bare", None),
    ]
    path = write_preview(tmp_path, "Livers", cases, [("device", "cpu")])
    assert path == tmp_path / "preview.html"
    page = Page(path)
    assert page.of("title", "h1") == ["Livers"] * 2
    assert page.of("h3") == ["odd", "plain", "unknown", "bare", "broken"]
    assert page.of("li") == ["too dark; in training lighter", "too small", "slices are uneven"]
    badges = [t for t in page.of("span") if t.startswith(("look", "image", "mask"))]
    assert badges == ["look at this first", "image unusual", "mask good", "image usual", "mask good"]
    assert page.values("img", "src") == page.values("a", "href") == ["a.png", "b.png"]
    assert page.values("video", "src") == ["c.MP4"]
    assert ("video", "controls", "") in page.attributes
    assert page.of("b") == ["4", "1", "1", "0.96", "–", "0.90"]  # segmented, to look at, failed; then Dice
    assert page.values("i", "style") == ["width: 96%", "width: 0%", "width: 90%"]
    assert page.of("dt", "dd") == ["device", "cpu"]
    assert page.of("p")[0].startswith("Look at the cases from top to bottom")
    assert page.of("p")[1:] == ["no picture", "scan.nii: cannot be read."]
    assert page.texts[-1] == ("p", "scan.nii: cannot be read.")
    assert page.values("article", "class") == ["first", "usual"]


@pytest.mark.parametrize(
    ("of_case", "limits", "card", "count"),
    [
        (quality({"a": 0.9}), [], ["usual"], "count usual"),
        (quality({"a": 0.28}, "poor", (), ("low",)), [], ["first"], "count first"),
        (quality({"a": 0.9}, "good", ("odd",)), [], ["first"], "count first"),
        (quality({"a": 0.6}, "fair", (), ("so so",)), [], [], "count"),
        (quality({"a": 0.9}, "unknown"), [], [], "count"),
        (quality({"a": 0.9}), ["It knows little."], ["usual"], "count"),
    ],
)
def test_the_worse_statement_colours_a_case(
    of_case: CaseQuality, limits: list[str], card: list[str], count: str, tmp_path: Path
) -> None:
    page = Page(write_preview(tmp_path, "t", [PreviewCase("one", None, of_case)], [], limits))
    assert page.values("article", "class") == card
    counts = [value for value in page.values("div", "class") if value.startswith("count") and value != "counts"]
    assert counts == ["count", count]  # of all, and of those to look at first
    assert page.of("b")[1] == str(int(card == ["first"]))
    assert page.of("li") == [*limits, *of_case.reasons, *of_case.mask_reasons]


def test_a_bundle_that_does_not_know_says_so(tmp_path: Path) -> None:
    page = Page(write_preview(tmp_path, "t", [PreviewCase("one", "x.png"), PreviewCase("two", "x.png")], []))
    assert page.of("p") == ["The model cannot say which cases to look at first; they stand in the order given."]
    assert page.of("b") == ["2"]
    assert page.of("span") == []
    assert not page.values("article", "class")


def test_every_name_is_escaped(tmp_path: Path) -> None:
    of_case = quality({NASTY: 0.5}, reasons=(NASTY,))
    cases = [PreviewCase(NASTY, "x.png", of_case, measurements=[{NASTY: NASTY}]), PreviewCase(NASTY, None, error=NASTY)]
    page = Page(write_preview(tmp_path, NASTY, cases, [(NASTY, NASTY)]))
    for tag, times in {"title": 1, "h1": 1, "dt": 1, "dd": 1, "h3": 2, "li": 1, "th": 1, "td": 1}.items():
        assert page.of(tag) == [NASTY] * times, tag
    assert page.of("p")[-1] == NASTY
    assert page.of("b") == ["1", "1", "1", "0.50"]  # none is a name's
    assert page.values("img", "alt") == [f"prediction of {NASTY}"]


@pytest.mark.parametrize("ending", [".png", ".mp4"])
@pytest.mark.parametrize("name", ["""sub dir/a<b>&"'#?%41é肝:x""", "javascript:alert(1)", "a\udcff"])
def test_links_are_quoted(tmp_path: Path, name: str, ending: str) -> None:
    page = Page(write_preview(tmp_path, "t", [PreviewCase("one", name + ending)], []))
    (link,) = page.values("img" if ending == ".png" else "video", "src")
    assert set(link) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%/._-~")
    assert unquote(link, errors="surrogateescape") == name + ending


def test_names_that_are_no_text_are_written(tmp_path: Path) -> None:
    page = Page(write_preview(tmp_path, "t", [PreviewCase("a\udcff", None)], []))
    assert page.of("h3") == ["a?"]


def test_measurements_are_a_table(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"case": "one", "structure": "liver", "voxels": 1342595, "volume_ml": 1417.4, "burden": None, "px": None},
        {"case": "one", "structure": "tumour", "voxels": np.int64(7), "volume_ml": 0.0044949, "burden": 999.96},
        {"case": "one", "structure": "one", "voxels": 0, "volume_ml": float("nan"), "burden": np.float32(0.25)},
    ]
    page = Page(write_preview(tmp_path, "t", [PreviewCase("one", "x.png", measurements=rows)], []))
    assert "".join(page.of("th")) == "structurevoxelsvolume_mlburden"  # neither the case nor what nobody has
    cells = page.of("td")
    assert [cells[n : n + 4] for n in (0, 4, 8)] == [
        ["liver", "1,342,595", "1,417", "–"],
        ["tumour", "7", "0.00449", "1,000"],
        ["one", "0", "–", "0.25"],
    ]
    assert page.values("td", "class") == ["number"] * 9


def test_nothing_comes_from_elsewhere(tmp_path: Path) -> None:
    page = Page(
        write_preview(
            tmp_path, "t", [PreviewCase("one", "x.png", quality({"a": 0.5})), PreviewCase("two", None, error="e")], []
        )
    )
    assert "<script" not in page.source
    assert "//" not in page.source
    assert "@import" not in page.source
    assert "url(" not in page.source


def test_an_empty_page(tmp_path: Path) -> None:
    page = Page(write_preview(tmp_path / "new", "none", [], []))
    assert page.of("b") == ["0"]
    assert page.of("h3") == []
