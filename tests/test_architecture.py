"""Imports go down only. This table is the design; a wrong import anywhere, lazy or not, fails here."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "caseunet"

BASE = {"config", "options", "errors", "files", "former_names", "progress", "registry", "types", "workers", "yaml_text"}
READING = BASE | {"io", "imaging", "metrics"}
STORED = READING | {"bundle", "data", "datasets", "models", "losses"}
ALLOWED: dict[str, set[str]] = {
    # level 0
    "errors": set(),
    "types": set(),
    "progress": set(),
    "registry": {"errors"},
    "files": {"errors"},
    "former_names": set(),
    "yaml_text": set(),
    "options": {"config", "errors", "former_names", "types"},
    "config": {"errors", "former_names", "types", "yaml_text"},
    "workers": {"errors"},
    # level 1
    "imaging": set(),  # arrays alone: it is shipped with exported models
    "io": BASE | {"imaging"},
    "metrics": BASE | {"imaging"},
    # level 2: what is on disk, and what is computed; each by itself
    "datasets": READING,
    "data": READING,
    "bundle": BASE,
    "models": BASE,
    "losses": BASE,
    "quality": READING | {"bundle", "data.transforms"},
    # level 3
    "training": STORED,
    "prediction": STORED | {"quality"},
    "evaluation": READING | {"datasets", "prediction.store"},
    # level 4
    "validation": STORED | {"quality", "prediction", "evaluation.statistics"},
    "preparation": STORED | {"prediction"},
    "export": STORED | {"prediction"},
    "studies": STORED | {"evaluation", "training", "prediction.resources"},
    # level 5: reads the results of all below
    "reporting": STORED | {"quality", "training", "prediction", "evaluation", "studies"},
    # level 6
    "commands": STORED
    | {"quality", "training", "prediction", "evaluation", "validation", "preparation"}
    | {"export", "studies", "reporting"},
    # level 7
    "cli": BASE | {"commands", "prediction", "studies", "reporting", "training.devices"},
    "__main__": {"cli"},
}
THIRD_PARTY_BANNED = {"torchvision": "cannot be imported where this is tested", "pickle": "weights are safetensors"}


def imported_modules(text: str) -> list[str]:
    """Every absolute module that a source text imports, at any depth of nesting."""
    modules = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer"
            modules += [f"{node.module}.{alias.name}" for alias in node.names]
    return modules


def violations(room: str, text: str) -> list[str]:
    found = []
    for module in imported_modules(text):
        top = module.split(".")[0]
        if top in THIRD_PARTY_BANNED:
            found.append(f"{module}: {THIRD_PARTY_BANNED[top]}")
        if top != "caseunet" or module == "caseunet.__version__":
            continue
        inside = module.removeprefix("caseunet.")
        permitted = ALLOWED[room] | {room}
        if not any(inside == name or inside.startswith(name + ".") for name in permitted):
            found.append(f"{room} must not import {module}")
    return found


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_imports_go_down_only(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert room in ALLOWED, f"{room} is no room of the design"
    assert violations(room, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("room", "text"),
    [
        ("models", "from caseunet.training.trainer import Trainer"),
        ("losses", "from caseunet.models import create_model"),
        ("evaluation", "def late():\n    from caseunet.prediction.predictor import Predictor"),
        ("prediction", "from caseunet.training.trainer import Trainer"),
        ("io", "import caseunet.commands.predict"),
        ("data", "from caseunet import training"),
        ("cli", "from caseunet.training.trainer import Trainer"),
        ("models", "import torchvision"),
    ],
)
def test_a_wrong_import_is_found(room: str, text: str) -> None:
    assert len(violations(room, text)) == 1


def test_public_names_resolve_and_are_few() -> None:
    import caseunet

    assert set(caseunet.__all__) == {*caseunet._HOMES, "losses", "metrics", "models"}
    for name in caseunet.__all__:
        assert getattr(caseunet, name) is not None


NAMES_FLAGS = {
    "cli",
    "commands/demo.py",  # a whole command of pip
    "former_names.py",  # the table of former flags
    "bundle/card.py",  # these write shell commands into what a bundle or an export says of itself
    "export/text.py",
    "export/segment.py",  # a program of its own
}
"""Where strings may name a flag of the command line. Elsewhere they say what to do in the words of configuration and
Python, and an error names its options; the command line adds what to type."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_library_strings_name_no_flag(path: Path) -> None:
    place = path.relative_to(SOURCE)
    if {place.as_posix(), place.parts[0].removesuffix(".py")} & NAMES_FLAGS:
        return
    strings = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
    assert [s for s in strings if isinstance(s, str) and re.search(r"(?<![\w-])--[a-z]", s)] == []


def test_importing_the_package_is_cheap() -> None:
    """The command line must answer at once: no torch before it is needed."""
    import subprocess
    import sys

    code = "import sys, caseunet.cli; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_package_reads_no_environment_variables() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert "os.environ" not in text, path
        assert "getenv" not in text, path
