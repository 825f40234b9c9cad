"""What a verb prints as the next command works, with the options that the data need."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from caseunet.bundle import load_bundle
from caseunet.cli.parameters import resolve_config, spell_options
from caseunet.config import ReadingConfig
from tests.support.labels import write_drive

Run = Callable[..., tuple[int, str, str]]
FOV = "The model's data were read with prepare.field_of_view: mask, and these references without it."
SAME_FOLD = "The weights are those that did best on this very fold"
TINY = ["--steps=2", "--training.num_validations=1", "--data.batch_size=2", "--data.patch_size=[32,32]"]


def next_command(out: str) -> list[str]:
    """What is printed last as the next command, without the program's name."""
    line = re.findall(r"^next +(.*)$", out, re.MULTILINE)[-1]
    words = shlex.split(line)
    return words[next(n for n, word in enumerate(words) if word in ("train", "predict", "evaluate")) :]


@pytest.fixture
def drive(cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """DRIVE, prepared, trained and predicted; what predict prints."""
    monkeypatch.chdir(tmp_path)
    write_drive(tmp_path / "DRIVE")
    options = ("--masks", "1st_manual", "--field-of-view", "mask", "--folds", "2")
    assert cli("prepare", "DRIVE", "--out", "prepared", *options)[0] == 0
    small = ("--model.kwargs.widths=[4,6]", "--model.kwargs.patch_size=null")
    assert cli("train", "prepared", "--out", "run", *TINY, *small)[0] == 0
    status, out, err = cli("predict", "run", "DRIVE/images", "--out", "masks", "--split", "prepared/splits.json")
    assert status == 0, err
    return out


def test_predict_s_next_command_scores_in_the_fov(cli: Run, drive: str) -> None:
    command = next_command(drive)
    assert command[command.index("--field-of-view") + 1] == "mask"
    status, out, err = cli(*command)
    assert status == 0, err
    assert FOV not in out
    assert "nobody judged them" in out
    assert cli("report", "report", "--case-study", "--out", "cases.png")[0] == 0


def test_scores_outside_the_fov_are_told(cli: Run, drive: str) -> None:
    assert load_bundle(Path("run/bundle")).info.training_data.read_with == {
        "masks": ["1st_manual"],
        "field_of_view": ["mask"],
    }
    for out, split in (("a", ()), ("b", ("--split", "prepared/splits.json"))):
        status, said, err = cli("evaluate", "masks", "DRIVE", "--out", out, "--masks", "1st_manual", *split)
        assert status == 0, err
        assert said.count(FOV) == said.count(SAME_FOLD) == 1
        assert FOV in json.loads(Path(out, "summary.json").read_text())["models"][0]["caution"]
        assert "prepare.field_of_view: mask" in Path(out, "report.html").read_text()


def test_options_are_spelled_as_they_are_read() -> None:
    given = {"regions": {"whole tumour": [1, 2], "core": ["core"]}, "raters": "staple", "channels": ["t1c", "t2f"]}
    options = ReadingConfig.model_validate(given)
    words = spell_options(options)
    assert words[words.index("--regions") + 1] == '{"whole tumour": [1, 2], "core": ["core"]}'
    settings = (f"prepare.regions={words[words.index('--regions') + 1]}",)
    assert resolve_config(None, None, settings, {}).prepare.regions == options.regions
