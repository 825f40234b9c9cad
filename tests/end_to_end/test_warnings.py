"""What a person must know reaches a Python caller: in the result, in logging and in the output's log."""

from collections.abc import Callable
from pathlib import Path

import pytest

import caseunet
from caseunet.bundle import Bundle
from caseunet.config import PrepareConfig
from caseunet.datasets.generate import write_lits
from caseunet.options import PredictOptions
from caseunet.prediction.store import read_predictions

Run = Callable[..., tuple[int, str, str]]

SEEN = "the model was trained on 2 of these images, volume-0 among them"


def logged(folder: Path) -> list[str]:
    """The cautions in the log of an output."""
    lines = (folder / "log.txt").read_text(encoding="utf-8").splitlines()
    assert (lines[0][-6:], lines[-1][-4:]) == ("begins", "ends")
    return [line.partition("caution: ")[2] for line in lines[1:-1]]


def test_cautions_of_predictions_are_returned(
    lits_bundle: Bundle, lits_raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = caseunet.predict(lits_bundle.folder, lits_raw, out=tmp_path / "masks", options=PredictOptions(device="cpu"))
    assert SEEN in done.warnings
    assert [record.getMessage() for record in caplog.records] == list(done.warnings)
    assert read_predictions(tmp_path / "masks").warnings == done.warnings
    assert logged(tmp_path / "masks") == list(done.warnings)

    caplog.clear()
    scored = caseunet.evaluate(tmp_path / "masks", lits_raw, out=tmp_path / "report")
    assert any("The model was trained on 2 of the 4 scored cases" in text for text in scored.warnings)
    assert [record.getMessage() for record in caplog.records] == list(scored.warnings)
    assert logged(tmp_path / "report") == list(scored.warnings)


def test_command_says_a_caution_once(cli: Run, lits_bundle: Bundle, lits_raw: Path, tmp_path: Path) -> None:
    status, out, err = cli("predict", lits_bundle.folder, lits_raw, "--out", tmp_path / "masks")
    assert (status, out.count(SEEN), err) == (0, 1, "")
    status, out, err = cli("predict", lits_bundle.folder, lits_raw, "--out", tmp_path / "masks", "--overwrite")
    assert (status, out.count(SEEN), len(logged(tmp_path / "masks"))) == (0, 1, 1)


def test_cautions_of_raw_data_are_returned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw = tmp_path / "raw"
    write_lits(raw, patients=3, shape=(6, 48, 40))
    next(raw.glob("segmentation-2.nii*")).unlink()
    config = PrepareConfig(folds=2, workers=0)
    found = caseunet.audit(raw, out=tmp_path / "audit", config=config)
    assert [text for text in found.warnings if text.startswith("volume-2: ")] != []
    assert [record.getMessage() for record in caplog.records] == list(found.warnings)
    assert logged(tmp_path / "audit") == list(found.warnings)
    prepared = caseunet.prepare(raw, out=tmp_path / "prepared", config=config)
    assert [text for text in prepared.warnings if "volume-2" in text] != []
    assert logged(tmp_path / "prepared") == list(prepared.warnings)


def test_run_has_a_log(lits_bundle: Bundle) -> None:
    assert "begins" in (lits_bundle.folder.parent / "log.txt").read_text(encoding="utf-8")
