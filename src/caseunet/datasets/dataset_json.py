"""What nnU-Net's format and the Decathlon's share: a folder described by its dataset.json."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from caseunet.datasets.layout import Finding, Listing, SourceCase, relative
from caseunet.datasets.names import find_groups
from caseunet.errors import CaseUNetError, InvalidInputError
from caseunet.files import read_json

DESCRIPTION = "dataset.json"


def find_described_folder(root: Path, pattern: str) -> Path:
    """``root``, or the only folder in it of a name like ``pattern`` that has a description."""
    if (root / DESCRIPTION).is_file():
        return root
    inside = sorted(root.glob(f"{pattern}/{DESCRIPTION}"))
    return inside[0].parent if len(inside) == 1 else root


def has_keys(folder: Path, keys: set[str]) -> bool:
    """Whether a folder has a description with these keys."""
    try:
        content = read_json(folder / DESCRIPTION, "the description of a data set")
    except CaseUNetError:
        return False
    return isinstance(content, dict) and keys <= content.keys()


def read_dataset_json(folder: Path, kinds: Mapping[str, type]) -> dict[str, Any]:
    """The description, with the keys that count.

    Raises:
        CaseUNetError: it is missing or no JSON, or a key is missing or of another kind.
    """
    path = folder / DESCRIPTION
    content = read_json(path, "the description of a data set")
    for key, kind in kinds.items():
        if not isinstance(content, dict) or not isinstance(content.get(key), kind):
            raise InvalidInputError(f'{path}: "{key}" is missing or no {kind.__name__}; expected {", ".join(kinds)}.')
    return dict(content)


def licence_of(description: Mapping[str, Any]) -> str:
    return str(description.get("licence", description.get("license", "")))


def listing(
    cases: Sequence[SourceCase], findings: list[Finding], description: Mapping[str, Any], folder: Path, root: Path
) -> Listing:
    """The cases under the groups that their names show, and whether they are as many as described."""
    training = sum(bool(case.label) for case in cases)
    if description.get("numTraining", training) != training:
        text = f"says numTraining {description['numTraining']}; {training} images with masks are there"
        advice, file = "Look whether files are missing.", relative(folder / DESCRIPTION, root)
        findings.append(Finding(level="warning", kind="count", text=text, advice=advice, file=file))
    groups = find_groups([case.id for case in cases])
    return Listing(tuple(replace(case, group=groups[case.id]) for case in cases), tuple(findings))
