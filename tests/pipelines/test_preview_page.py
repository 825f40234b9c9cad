"""The page of predictions: what it says, and that no name can break it."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from caseunet.pipelines.preview_page import PreviewCase, write_preview

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


def case(
    id: str,
    picture: str | None = "x.png",
    dice: dict[str, float | None] | None = None,
    unusual: tuple[str, ...] | None = None,
    rows: list[dict[str, object]] | None = None,
    error: str = "",
) -> PreviewCase:
    return PreviewCase(id, picture, dice, unusual, rows or [], error)


def test_cases_stand_in_their_order_with_badges(tmp_path: Path) -> None:
    cases = [
        case("broken", None, error="scan.nii: cannot be read."),
        case("odd", "a.png", {"liver": 0.956, "tumour": None}, ("too dark; in training lighter", "too small")),
        case("plain", "b.png", {"liver": 0.9}, ()),
        case("unknown", "c.MP4"),
        case("bare", None),
    ]
    path = write_preview(tmp_path, "Livers", cases, [("device", "cpu")])
    assert path == tmp_path / "preview.html"
    page = Page(path)
    assert page.of("title", "h1") == ["Livers"] * 2
    assert page.of("h3") == ["odd", "plain", "unknown", "bare", "broken"]
    assert page.of("li") == ["too dark; in training lighter", "too small"]
    assert [t for t in page.of("span") if t in ("look at this first", "usual")] == ["look at this first", "usual"]
    assert page.values("img", "src") == page.values("a", "href") == ["a.png", "b.png"]
    assert page.values("video", "src") == ["c.MP4"]
    assert ("video", "controls", "") in page.attributes
    assert page.of("b") == ["4", "1", "1", "0.96", "–", "0.90"]  # segmented, unusual, failed; then Dice
    assert page.values("i", "style") == ["width: 96%", "width: 0%", "width: 90%"]
    assert page.of("dt", "dd") == ["device", "cpu"]
    assert page.of("p")[0].startswith("Look at the cases from top to bottom")
    assert page.of("p")[1:] == ["no picture", "scan.nii: cannot be read."]
    assert page.texts[-1] == ("p", "scan.nii: cannot be read.")
    assert page.values("article", "class") == ["first", "usual"]


def test_a_bundle_that_does_not_know_says_so(tmp_path: Path) -> None:
    page = Page(write_preview(tmp_path, "t", [case("one"), case("two", dice={})], []))
    assert page.of("p") == ["The model cannot say which cases to look at first; they stand in the order given."]
    assert page.of("b") == ["2"]
    assert not {"look at this first", "usual", "predicted Dice"} & set(page.of("span"))
    assert not page.values("article", "class")


def test_every_name_is_escaped(tmp_path: Path) -> None:
    dice, rows = {NASTY: 0.5}, [{NASTY: NASTY}]
    cases = [case(NASTY, "x.png", dice, (NASTY,), rows), case(NASTY, error=NASTY)]
    page = Page(write_preview(tmp_path, NASTY, cases, [(NASTY, NASTY)]))
    for tag, times in {"title": 1, "h1": 1, "dt": 1, "dd": 1, "h3": 2, "li": 1, "th": 1, "td": 1}.items():
        assert page.of(tag) == [NASTY] * times, tag
    assert page.of("p")[-1] == NASTY
    assert page.of("b") == ["1", "1", "1", "0.50"]  # none is a name's
    assert page.values("img", "alt") == [f"prediction of {NASTY}"]


@pytest.mark.parametrize("ending", [".png", ".mp4"])
@pytest.mark.parametrize("name", ["""sub dir/a<b>&"'#?%41é肝:x""", "javascript:alert(1)", "a\udcff"])
def test_links_are_quoted(tmp_path: Path, name: str, ending: str) -> None:
    page = Page(write_preview(tmp_path, "t", [case("one", name + ending)], []))
    (link,) = page.values("img" if ending == ".png" else "video", "src")
    assert set(link) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%/._-~")
    assert unquote(link, errors="surrogateescape") == name + ending


def test_names_that_are_no_text_are_written(tmp_path: Path) -> None:
    page = Page(write_preview(tmp_path, "t", [case("a\udcff", None)], []))
    assert page.of("h3") == ["a?"]


def test_measurements_are_a_table(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"case": "one", "structure": "liver", "voxels": 1342595, "volume_ml": 1417.4, "burden": None, "px": None},
        {"case": "one", "structure": "tumour", "voxels": np.int64(7), "volume_ml": 0.0044949, "burden": 999.96},
        {"case": "one", "structure": "one", "voxels": 0, "volume_ml": float("nan"), "burden": np.float32(0.25)},
    ]
    page = Page(write_preview(tmp_path, "t", [case("one", rows=rows)], []))
    assert "".join(page.of("th")) == "structurevoxelsvolume_mlburden"  # neither the case nor what nobody has
    cells = page.of("td")
    assert [cells[n : n + 4] for n in (0, 4, 8)] == [
        ["liver", "1,342,595", "1,417", "–"],
        ["tumour", "7", "0.00449", "1,000"],
        ["one", "0", "–", "0.25"],
    ]
    assert page.values("td", "class") == ["number"] * 9


def test_nothing_comes_from_elsewhere(tmp_path: Path) -> None:
    page = Page(write_preview(tmp_path, "t", [case("one", dice={"a": 0.5}), case("two", error="e")], []))
    assert "<script" not in page.source
    assert "//" not in page.source
    assert "@import" not in page.source
    assert "url(" not in page.source


def test_an_empty_page(tmp_path: Path) -> None:
    page = Page(write_preview(tmp_path / "new", "none", [], []))
    assert page.of("b") == ["0"]
    assert page.of("h3") == []
