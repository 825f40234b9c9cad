"""Data and small trained models that many tests share; everything is generated, nothing is downloaded."""

import os
from collections.abc import Callable
from pathlib import Path

# The tests run in one process for each core: two threads in each would wait for one another. Before torch is loaded.
os.environ["OMP_NUM_THREADS"] = "1"

import hypothesis
import pytest

from caseunet.bundle import Bundle
from caseunet.cli import main
from caseunet.commands.prepare import prepare
from caseunet.commands.train import train
from caseunet.config import Config, load_config
from caseunet.data.store import Prepared
from caseunet.datasets.generate import write_endovis2018, write_lits

TINY = {
    "model.kwargs.widths": [4, 6, 8],
    "data.batch_size": 2,
    "training.steps": 4,
    "training.num_validations": 2,
    "training.log_every": 2,
    "prepare.folds": 2,
    "prepare.spacing": None,  # so that pixels are the source's
    "prepare.crop_to_body": False,
    "loss.kwargs.ssim": 1.0,  # all terms of the loss
}

SLOW = (
    *(
        "commands",
        "contracts",
        "datasets",
        "end_to_end",
        "evaluation",
        "export",
        "io",
        "models",
        "prediction",
        "reporting",
    ),
    *("training", "validation", "test_bundle.py", "test_docs.py"),
)
"""Folders and files below tests/ whose tests train, predict, draw, or try many files: each is marked ``slow``."""
SLOW_FIXTURES = {"lits_prepared", "lits_bundle"}
"""Fixtures that prepare or train: a test anywhere that uses one is marked ``slow`` too."""

hypothesis.settings.register_profile("suite", deadline=None)  # a busy machine is no fault of the code
hypothesis.settings.load_profile("suite")


def is_slow(path: Path) -> bool:
    return path.relative_to(Path(__file__).parent).parts[:1] in [(name,) for name in SLOW]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files of which no test would run are not even imported; None leaves it to pytest."""
    return True if config.getoption("markexpr") == "not slow" and is_slow(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_slow(item.path) or SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


def pytest_addoption(parser: pytest.Parser) -> None:
    default = Path(__file__).parents[2] / "shared" / "data"
    parser.addoption(
        "--real-data", type=Path, default=default, help="folder with real scans; tests skip what is absent"
    )


@pytest.fixture
def real_data(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """A file of the real data; skips the test where it is absent."""

    def find(relative: str) -> Path:
        path: Path = request.config.getoption("--real-data") / relative
        if not path.exists():
            pytest.skip(f"real data absent: {relative}")
        return path

    return find


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    return load_config(overrides=TINY)


@pytest.fixture(scope="session")
def lits_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four made-up patients; their files are turned to RAS, LPS, LAS and PIR."""
    folder = tmp_path_factory.mktemp("lits") / "raw"
    write_lits(folder, patients=4, shape=(10, 48, 40))
    return folder


@pytest.fixture(scope="session")
def endovis_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three made-up operations of three frames."""
    folder = tmp_path_factory.mktemp("endovis") / "raw"
    write_endovis2018(folder, sequences=3, frames=3, shape=(48, 64))
    return folder


@pytest.fixture(scope="session")
def lits_prepared(lits_raw: Path, tiny_config: Config) -> Prepared:
    return prepare(lits_raw, out=lits_raw.parent / "prepared", config=tiny_config.prepare)


@pytest.fixture(scope="session")
def lits_bundle(lits_prepared: Prepared, tiny_config: Config) -> Bundle:
    """Trained for four steps: its masks mean nothing, its way is the whole one."""
    return train(lits_prepared.folder, out=lits_prepared.folder.parent / "run", config=tiny_config)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: (exit status, standard output, standard error)."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        status = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
