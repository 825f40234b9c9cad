"""The verb "report": a report's numbers again, and figures of its cases."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caseunet.commands.evaluate import evaluate
from caseunet.commands.report import case_study, read_report
from caseunet.errors import CaseUNetError
from caseunet.options import EvaluateOptions
from caseunet.reporting.cases_to_show import choose_cases, slice_to_show

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def report(endovis_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models on nine frames: one right everywhere, one wrong in one frame of the second operation."""
    folder = tmp_path_factory.mktemp("report")
    for name in ("right", "wrong"):
        for path in endovis_raw.glob("seq_*/labels/*.png"):
            target = folder / name / path.relative_to(endovis_raw)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    spoiled = folder / "wrong" / "seq_2" / "labels" / "frame001.png"
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(spoiled)
    evaluate(
        folder / "right",
        endovis_raw,
        out=folder / "report",
        options=EvaluateOptions(protocol="endovis-2018", compare=[folder / "wrong"]),
    )
    return folder / "report"


def test_numbers_are_printed_again(cli: Run, report: Path) -> None:
    status, out, err = cli("report", report)
    assert (status, err) == (0, "")
    for text in ("right", "wrong", "1.000", "0.889", "protocol endovis-2018", "too few pairs"):
        assert text in out, text


def test_a_case_study_shows_worst_median_and_best(cli: Run, report: Path, tmp_path: Path) -> None:
    out = tmp_path / "study.png"
    status, text, err = cli("report", report, "--case-study", "--out", out)
    assert (status, err) == (0, "")
    assert "3 cases in" in text
    width, height = Image.open(out).size
    assert width == 2160, "7.2 inches at 300 dots"
    assert height > 500
    status, _, err = cli("report", report, "--case-study", "--out", out)
    assert status == 2
    assert "--overwrite" in err
    assert cli("report", report, "--case-study", "--out", tmp_path / "study.svg", "--cases", "seq_2/frame001")[0] == 0
    assert (tmp_path / "study.svg").read_text().startswith("<?xml")


def test_the_worst_come_first_and_from_different_operations(report: Path) -> None:
    cases = read_report(report).cases
    chosen = choose_cases(cases, "iou")
    assert (chosen[0].heading, chosen[0].case) == ("worst", "seq_2/frame001")
    worst = [item.case.split("/")[0] for item in chosen if "worst" in item.heading]
    assert set(worst) == {"seq_1", "seq_2", "seq_3"}
    assert [item.heading for item in chosen] == ["worst", "2nd worst", "3rd worst", "4th worst", "median", "best"]
    assert len({item.case for item in chosen}) == 6
    assert [item.heading for item in choose_cases(cases, "iou", 1)] == ["worst", "median", "best"]
    one = cases[cases["case"] == "seq_1/frame000"]
    assert [item.heading for item in choose_cases(one, "iou")] == ["only case"]
    two = cases[cases["case"].isin(["seq_1/frame000", "seq_2/frame001"])]
    assert [(item.heading, item.case) for item in choose_cases(two, "iou")] == [
        ("worst", "seq_2/frame001"),
        ("best", "seq_1/frame000"),
    ]


def test_of_a_volume_the_slice_with_most_wrong_pixels_is_shown() -> None:
    reference = np.zeros((4, 6, 6), np.uint8)
    reference[1, :2], reference[2, :4] = 1, 1
    wrong = reference.copy()
    wrong[1, 0, :3] = 0
    assert slice_to_show(reference, [wrong, reference]) == 1
    assert slice_to_show(reference, [wrong], ((0, 1), (2, 4))) == 2, "of those that are scored"
    assert slice_to_show(reference, [reference]) == 2, "where nothing is wrong, that with most of a structure"


def test_what_cannot_be_drawn_is_one_clear_error(report: Path, tmp_path: Path) -> None:
    out = tmp_path / "study.png"
    with pytest.raises(CaseUNetError, match='no scored case "seq_2/frame00"'):
        case_study(report, out=out, cases=["seq_2/frame00"], fill=True)
    with pytest.raises(CaseUNetError, match="seq_2/frame001: has slices 0 to 0; there is no 7"):
        case_study(report, out=out, cases=["seq_2/frame001:7"], fill=True)
    with pytest.raises(CaseUNetError, match=r"study.bmp: .*\.png"):
        case_study(report, out=tmp_path / "study.bmp", cases=[], fill=True)
    assert not list(tmp_path.iterdir())
    with pytest.raises(CaseUNetError, match=r"summary.json: no such file; expected a report"):
        case_study(tmp_path, out=out, cases=[], fill=True)
    moved = tmp_path / "moved"
    shutil.copytree(report, moved)
    text = (moved / "summary.json").read_text().replace("/wrong", "/gone")
    (moved / "summary.json").write_text(text)
    with pytest.raises(CaseUNetError, match="gone: no such folder; expected predictions"):
        case_study(moved, out=out, cases=[], fill=True)
    (moved / "cases.csv").write_text("")
    with pytest.raises(CaseUNetError, match=r"cases.csv: cannot be read"):
        case_study(moved, out=out, cases=[], fill=True)
    assert not out.exists()
