"""The documentation: it builds without a warning, and what it says to type works.

Blocks of ``sh`` and ``python`` in the tutorial and the how-tos are run in the order in which they stand, in one folder
for each page, on made-up data. Only budgets are cut: trainings are of two steps, of small networks. Blocks called
``console`` are not run: they need a cluster, an installation or a download.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from caseunet.commands.predict import predict
from caseunet.commands.prepare import prepare
from caseunet.commands.train import train
from caseunet.config import load_config, parse_settings
from caseunet.datasets import generate
from caseunet.models import MODELS
from tests.support.labels import write_drive, write_rated
from tests.support.public_layouts import write_brats

ROOT = Path(__file__).parents[1]
PAGES = ["tutorial", *sorted(f"how-to/{page.stem}" for page in (ROOT / "docs" / "how-to").glob("*.md"))]
BUDGET = re.compile(r"--(minutes|steps) \S+")
SHORT = ["--steps=2", "--training.num_validations=1", "--data.batch_size=2", "--data.patch_size=[32,32]"]
SMALL = [*SHORT, "--model.kwargs.widths=[4,6]", "--model.kwargs.patch_size=null"]

PREPARED, TRAINED = ("prepared",), ("prepared", "run")
START_WITH = {
    **dict.fromkeys(("train", "learning-rate", "resume", "cross-validate", "compare", "add-network"), PREPARED),
    **dict.fromkeys(("fine-tune", "predict", "predict-in-python", "notebook"), TRAINED),
    **dict.fromkeys(("view-masks", "post-process", "measure"), TRAINED),
    "convert": ("prepared", "masks"),
    "evaluate": (*TRAINED, "masks", "other-masks", "references"),
}

Run = Callable[..., tuple[int, str, str]]


def blocks(page: str) -> Iterator[tuple[str, str]]:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    for match in re.finditer(r"^```(sh|python)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield match[1], match[2]


def lay_out(page: str, trained: Path) -> None:
    """Put what a page speaks of into the current folder."""
    if page == "how-to/lits":
        generate.write_lits(Path("LITS"), patients=5, shape=(6, 40, 48))
    elif page == "how-to/endovis2018":
        generate.write_endovis2018_types(Path("TYPES"))
        generate.write_endovis2018(Path("SCENES"), sequences=5, frames=2, shape=(40, 48))
    elif page == "how-to/own-images":
        generate.write_folder(Path("MINE"))
    elif page == "how-to/labels":
        write_drive(Path("DRIVE"))
        write_rated(Path("RATED"))
        generate.write_lits(Path("LITS"), patients=5, shape=(6, 40, 48))
    elif page == "how-to/channels":
        write_brats(Path("BRATS"))
        write_brats(Path("INCOMPLETE"), cases=2)
        for path in Path("INCOMPLETE").rglob("*"):
            if path.name.endswith(("-t1n.nii.gz", "-seg.nii.gz")):
                path.unlink()
    elif page == "how-to/convert":
        generate.write_folder(Path("FRAMES"))
        shutil.copytree(trained / "RAW", "RAW")
    elif page == "how-to/dicom":
        generate.write_dicom(Path("WARD"))
    else:
        shutil.copytree(trained / "RAW", "RAW")
    for folder in START_WITH.get(page.removeprefix("how-to/"), ()):
        shutil.copytree(trained / folder, folder)
    shutil.copytree(ROOT / "configs", "configs")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pages start with that do not prepare or train: raw data, prepared data, a run, masks of two tools."""
    folder = tmp_path_factory.mktemp("docs")
    generate.write_lits(folder / "RAW", patients=5, shape=(6, 40, 48))
    settings = ["training.steps=2", *(option.removeprefix("--") for option in SMALL if option.count("."))]
    config = load_config(overrides=parse_settings(settings))
    prepare(folder / "RAW", out=folder / "prepared", config=config.prepare)
    train(folder / "prepared", out=folder / "run", config=config)
    predict(folder / "run" / "bundle", folder / "RAW", out=folder / "masks")
    shutil.copytree(folder / "masks", folder / "other-masks")
    (folder / "references").mkdir()
    for file in folder.glob("RAW/**/segmentation-*.nii"):
        shutil.copy(file, folder / "references")
    return folder


def shorten(line: str) -> list[str]:
    """The words of a command, with a budget of a few steps and a small network where it begins to train."""
    words = shlex.split(line, comments=True)
    if words[1] == "train" and words[2].startswith("--"):  # goes on with a run
        return shlex.split(BUDGET.sub("--steps 4", line), comments=True)
    if words[1] in ("train", "compare"):
        other_network = words[1] == "compare" or "--model.name" in words
        return shlex.split(BUDGET.sub("", line), comments=True) + (SHORT if other_network else SMALL)
    return words


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_says_to_type_works(
    page: str, cli: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))  # a page adds a network
    lay_out(page, trained)
    found = list(blocks(page))
    assert found, f"{page} has nothing to run"
    for language, text in found:
        if language == "python":
            exec(compile(text, page, "exec"), {})
            continue
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            if not words or words[0] == "python":  # the data lie there already
                continue
            assert words[0] == "caseunet", f"{page}: {line}: only caseunet can be run here; call the block console"
            status, out, err = cli(*shorten(line)[1:])
            assert status == 0, f"{page}: {line}\n{out}\n{err}"


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads((ROOT / "examples" / "first_model.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    exec(compile(code.replace('"training.steps": 60', '"training.steps": 2'), "first_model.ipynb", "exec"), {})
    assert (tmp_path / "volume-0-mask.nii.gz").is_file()


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    assert not re.findall("^WARNING.*", built.stderr, re.MULTILINE)
    for page in (*PAGES, "reference/cli", "reference/configuration", "reference/python", "reference/building-blocks"):
        assert (tmp_path / "site" / page / "index.html").is_file(), page
    python = (tmp_path / "site" / "reference" / "python" / "index.html").read_text(encoding="utf-8")
    assert "caseunet.create_model" in python
    assert "training.patience" not in python
    assert "patience" in (tmp_path / "site" / "reference" / "configuration" / "index.html").read_text(encoding="utf-8")
