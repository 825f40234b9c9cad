"""The help tells every option, in present words, and imports little."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from caseunet.bundle import Bundle
from caseunet.cli.entry import VERBS
from caseunet.config import PrepareConfig, ReadingConfig, Section
from caseunet.former_names import FLAGS
from caseunet.options import ConvertOptions, EvaluateOptions, ImportOptions, PredictOptions, StudyOptions

Run = Callable[..., tuple[int, str, str]]
MODELS: dict[str, tuple[type[Section], ...]] = {
    "audit": (PrepareConfig,),
    "prepare": (PrepareConfig,),
    "predict": (PredictOptions,),
    "evaluate": (EvaluateOptions, ReadingConfig),
    "convert": (ConvertOptions, ReadingConfig),
    "compare": (StudyOptions,),
    "ablate": (StudyOptions,),
    "import-weights": (ImportOptions,),
}
OLD_WORDS = ("mend", "engine", "crop_air", "--flips", "--scales", "author's form")


@pytest.mark.parametrize("verb", MODELS)
def test_help_tells_every_field_of_its_model(verb: str, cli: Run) -> None:
    status, out, _ = cli(verb, "--help")
    assert status == 0
    said = " ".join(re.sub("[│╭╰─╮╯]", " ", out).split())
    for model in MODELS[verb]:
        for name, field in model.model_fields.items():
            assert f"--{name.replace('_', '-')}" in out
            assert field.description is not None, f"{model.__name__}.{name} has no help"
            assert " ".join(field.description.split()[:3]) in said


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_no_old_word(verb: str, cli: Run) -> None:
    status, out, _ = cli(verb, "--help")
    assert status == 0
    flags = set(FLAGS) - ({"--format"} if verb == "export" else set())
    assert "[default: False]" not in out, "a recipe may turn it on"
    assert not flags & set(re.findall(r"--[\w-]+", out))
    assert not [word for word in OLD_WORDS if word in out.lower()]


@pytest.mark.parametrize("arguments", [(), ("predict",), ("prepare",), ("train",), ("compare",)])
def test_help_imports_little(arguments: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom caseunet.cli import main\n"
        f"try: main([*{arguments}, '--help'])\n"
        "except SystemExit: pass\n"
        "print('imported', *({'torch', 'pandas', 'zarr', 'matplotlib', 'numpy', 'fsspec', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported"


def test_former_verbs_work_and_are_hidden(cli: Run) -> None:
    _, out, _ = cli("--help")
    assert "import-author" not in out
    assert not re.search(r"│ show ", out)
    assert cli("show", "--help")[1] == cli("preview", "--help")[1]
    assert cli("import-author", "--help")[1] == cli("import-weights", "--help")[1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("predict", "b", "i", "--engine", "onnx"), "--engine is now called --backend."),
        (("predict", "b", "i", "--flips"), "--flips is now called --tta-flip."),
        (("prepare", "r", "--out", "p", "--format", "lits"), "--format is now called --layout."),
        (("evaluate", "p", "r", "--plan", "x"), "--plan is now called --repair-plan."),
        (("train", "p", "--from", "b"), "--from is now called --pretrained."),
        (("train", "p", "--lr", "0.1"), "Did you mean --optimizer.lr?"),
        (("predict", "b", "i", "--precision", "32"), '"32" is now called "fp32"'),
        (("predict", "b", "i", "--max-ram", "much"), '--max-ram "much": is no amount of memory'),
        (("prepare", "r"), "prepare: --out is missing: folder to write, on this machine"),
        (("prepare", "r", "p", "q"), "prepare: --out is missing. Did you mean --out p?"),
        (("prepare", "--out", "p"), "prepare: RAW is missing: raw data set as it was downloaded."),
        (("prepare", "r", "p", "--out", "q"), 'prepare: "p" is one argument too many. Did you mean --out p?'),
        (("doctor", "x"), 'doctor: "x" is one argument too many. See caseunet doctor --help.'),
        (("predict", "b", "i", "--presision", "fp32"), "Did you mean --precision?"),
        (("predict", "b", "i", "--backend", "onnx", "--exported", "x"), "an export computes by itself"),
        (("train", "p", "--resume", "--overwrite"), "On the command line: --overwrite, --resume, --extend"),
        (("compare", "p", "--models", "unet", "--resume", "--overwrite"), "On the command line: --overwrite, --resume"),
    ],
)
def test_an_error_says_what_to_type(arguments: tuple[str, ...], told: str, cli: Run) -> None:
    status, _, err = cli(*arguments)
    assert status == 2
    assert told in " ".join(err.split())


def test_predict_finds_the_bundle_of_a_run(cli: Run, lits_bundle: Bundle, lits_raw: Path, tmp_path: Path) -> None:
    status, _, err = cli(
        "predict", lits_bundle.folder.parent, next(lits_raw.glob("volume-*")), "--out", tmp_path / "masks"
    )
    assert (status, err) == (0, "")


def test_models_tells_the_arguments_of_one(cli: Run) -> None:
    for name, first in (("unet", 64), ("case_unet", 32)):
        status, out, _ = cli("models", name, "--size", "64", "64")
        assert status == 0
        assert re.search(rf"widths +\({first}, {2 * first}", out)


def test_next_line_can_be_typed_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from caseunet.cli.terminal import say_next

    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(sys, "argv", [".venv/bin/caseunet", "prepare"])
    say_next("train", "my data")
    assert capsys.readouterr().out == "next    .venv/bin/caseunet train 'my data'\n"


def test_two_numbers_are_a_spacing(cli: Run, tmp_path: Path) -> None:
    """As the help shows it; of a choice of numbers and a word the parser would take one."""
    for typed in (["1.3", "1.3"], ["1.3,1.3"], ["median"]):
        status, _, err = cli("prepare", str(tmp_path / "none"), "--spacing", *typed, "--out", str(tmp_path / "out"))
        assert status != 0
        assert "no such folder" in err
