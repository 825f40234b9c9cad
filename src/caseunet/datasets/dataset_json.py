"""What nnU-Net's format and the Decathlon's share: a folder described by its dataset.json."""

from collections import Counter
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


def is_first_nnunet(folder: Path) -> bool:
    """Whether a folder is of nnU-Net's first version: described as the Decathlon's, a file for each channel."""
    if not has_keys(folder, {"modality", "labels", "training"}) or has_keys(folder, {"file_ending"}):
        return False
    entries = read_json(folder / DESCRIPTION, "the description of a data set")["training"]
    listed = [entry.get("image") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    names = {path.name for path in (folder / "imagesTr").glob("*_0000.nii.gz")}
    there = [str(name).rpartition("/")[2].removesuffix(".nii.gz") for name in listed]
    return bool(names) and any(f"{name}_0000.nii.gz" in names for name in there)


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


def read_channel_names(channels: Mapping[str, Any]) -> tuple[str, ...]:
    """What a description calls the channels, in order; names that several have get numbers.

    Example:
        >>> read_channel_names({"1": "T2", "0": "T1"})
        ('T1', 'T2')
        >>> read_channel_names({"0": "CT", "1": "CT"})
        ('CT 0', 'CT 1')
    """
    keys = sorted(channels, key=lambda key: (not key.isdecimal(), int(key) if key.isdecimal() else key))
    names = [str(channels[key]).strip() for key in keys]
    times = Counter(name.lower() for name in names)
    return tuple(f"{name} {n}" if times[name.lower()] > 1 else name for n, name in enumerate(names))


def licence_of(description: Mapping[str, Any]) -> str:
    return str(description.get("licence", description.get("license", "")))


def listing(
    cases: Sequence[SourceCase], findings: list[Finding], description: Mapping[str, Any], folder: Path, root: Path
) -> Listing:
    """The cases under the groups that their names show, and whether they are as many as described."""
    training = sum(bool(case.label) and case.part != "val" for case in cases)
    if description.get("numTraining", training) != training:
        text = f"says numTraining {description['numTraining']}; {training} images with masks are there"
        advice, file = "Look whether files are missing.", relative(folder / DESCRIPTION, root)
        findings.append(Finding(level="warning", kind="count", text=text, advice=advice, file=file))
    groups = find_groups([case.id for case in cases])
    return Listing(tuple(replace(case, group=groups[case.id]) for case in cases), tuple(findings))
