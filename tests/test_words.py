"""The package's words: what a name was called before comes back nowhere, and a public name stands in one module."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from caseunet.config import Config
from caseunet.former_names import KEYS

SOURCE = Path(__file__).parents[1] / "src" / "caseunet"
TREES = {
    path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(SOURCE.rglob("*.py"))
}

GENERAL = {"block", "clip", "format", "gap", "plan", "arguments", "normalize", "balance"}
"""Former keys that are good words elsewhere; as keys of their section they do not come back."""

FORMER = {key.partition(".")[2] for key in KEYS} - GENERAL | {
    *("Raised", "UnbuiltConvNormAct", "wants_few_launches", "is_written_down", "Picture", "laid", "subtract", "divide"),
    *("per_case", "standard", "mend", "Cleaning", "cleaning", "Shares", "shares", "fingerprint", "Candidate"),
    *("candidates", "References", "look", "views", "Job", "Made", "Work", "Stored", "Cell", "Whole", "UserError"),
    *("read_picture", "read_volume", "in_plane", "pixel_bytes", "write_shares"),
}
"""What stands on the left in the table of words, but for what libraries call so and words of many meanings."""

IN_TWO_MODULES = {"main"}
"""Public names that may stand in two modules: ``main`` is also that of segment.py, a program of its own."""


def identifiers(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The names that a module gives: of functions, classes, parameters, attributes and fields."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node.lineno


NAMES = {path: list(identifiers(tree)) for path, tree in TREES.items()}


def test_no_former_word_is_a_name() -> None:
    assert [
        f"{path}:{line}: {name}"
        for path, names in NAMES.items()
        if path != "former_names.py"
        for name, line in names
        if name in FORMER
    ] == []


@pytest.mark.parametrize("section", sorted({key.partition(".")[0] for key in KEYS}))
def test_no_former_key_is_a_field(section: str) -> None:
    field = Config.model_fields.get(section)
    former = {key.partition(".")[2] for key in KEYS if key.startswith(f"{section}.")}
    assert not former & set(getattr(field and field.annotation, "model_fields", ()))


def test_a_public_name_stands_in_one_module() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for path, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                places[node.name].add(path)
    assert {name: found for name, found in places.items() if len(found) > 1 and name not in IN_TWO_MODULES} == {}


def test_names_are_short() -> None:
    assert [name for names in NAMES.values() for name, _ in names if len(name) > 45] == []
