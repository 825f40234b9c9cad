"""The Medical Segmentation Decathlon.

Layout: ``TaskNN_Name/dataset.json`` lists ``training`` ({image, label} of each case) and ``test`` images; ``labels``
maps ids, as text, to names; several channels are the fourth axis of one file. Names that begin with "." or "_" are
shadows and are skipped. A case is a patient of its own, unless the names tell of several images of one. Antonelli et
al., "The Medical Segmentation Decathlon", Nature Communications 2022.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from caseunet.errors import UserError
from caseunet.files import read_json
from caseunet.io import images
from caseunet.sources import reading
from caseunet.sources.coding import coding_of
from caseunet.sources.layout import Finding, Layout, Listing, SourceCase, SourceDataset, left_out, no_cases, relative
from caseunet.sources.names import find_groups, told_groups
from caseunet.types import LabelCoding, Modality

DESCRIPTION = "dataset.json"


def matches(root: Path) -> bool:
    try:
        content = read_json(_folder(root) / DESCRIPTION, "the Decathlon's dataset.json")
    except UserError:
        return False
    return isinstance(content, dict) and {"modality", "labels", "training"} <= content.keys()


def cases(root: Path) -> Listing:
    """List the cases that dataset.json lists, under their names.

    Raises:
        UserError: there are none, or dataset.json is not of this form.
    """
    folder = _folder(root)
    description = _read(folder)
    found: dict[str, SourceCase] = {}
    findings: list[Finding] = []
    for part in ("training", "test"):
        for entry in description.get(part) or []:
            image, label = _paths(folder, entry)
            if image.name.startswith((".", "_")):
                continue
            name = images.stem(image)
            absent = [path for path in (image, label) if path is not None and not path.is_file()]
            findings += [_absent(path, root, name) for path in absent]
            if name in found:
                findings.append(_listed_twice(root, name))
            elif image not in absent:
                labels = (label,) if label is not None and label not in absent else ()
                found[name] = SourceCase(id=name, image=(image,), label=labels, group=name, test=part == "test")
    if not found and not findings:
        raise no_cases(root, "a training image that dataset.json lists")
    listed = {path for case in found.values() for path in (*case.image, *case.label)}
    others = [
        path
        for place in sorted({path.parent for path in listed})
        for path in sorted(place.iterdir())
        if images.is_image(path) and path not in listed and path.name[0] not in "._"
    ]
    findings += left_out(others, root, f"files that {DESCRIPTION} does not list")
    training = sum(bool(case.label) for case in found.values())
    if description.get("numTraining", training) != training:
        text = f"says numTraining {description['numTraining']}; {training} images with masks are there"
        findings.append(Finding(level="warning", kind="count", text=text, file=DESCRIPTION,
                                advice="Look whether files are missing."))  # fmt: skip
    groups = find_groups(list(found))
    return Listing(tuple(replace(case, group=groups[name]) for name, case in found.items()), tuple(findings))


def discover(root: Path) -> SourceDataset:
    folder = _folder(root)
    description = _read(folder)
    listed, findings = cases(root)
    return SourceDataset(
        format="msd",
        root=root,
        cases=listed,
        coding=_coding(description["labels"], folder / DESCRIPTION),
        modality=_modality(description["modality"]),
        group_name="patient",
        licence=str(description.get("licence", description.get("license", ""))),
        findings=(*findings, *told_groups(listed)),
    )


def _folder(root: Path) -> Path:
    """The task's folder: ``root``, or the only one in it that is described."""
    if (root / DESCRIPTION).is_file():
        return root
    inside = sorted(root.glob(f"Task*/{DESCRIPTION}"))
    return inside[0].parent if len(inside) == 1 else root


def _read(root: Path) -> dict[str, Any]:
    path = root / DESCRIPTION
    content = read_json(path, "the Decathlon's dataset.json")
    for key, kind in (("modality", dict), ("labels", dict), ("training", list)):
        if not isinstance(content, dict) or not isinstance(content.get(key), kind):
            raise UserError(f'{path}: "{key}" is missing or no {kind.__name__}; expected modality, labels, training.')
    if not isinstance(content.get("test"), list | None):
        raise UserError(f'{path}: "test" is no list of images.')
    return content


def _paths(root: Path, entry: Any) -> tuple[Path, Path | None]:
    """Image and label of an entry, which must lie below the folder.

    Raises:
        UserError: the entry is of another form, or points elsewhere.
    """
    names = (entry.get("image"), entry.get("label")) if isinstance(entry, dict) else (entry, None)
    if not isinstance(names[0], str) or not isinstance(names[1], str | None):
        raise UserError(f"{root / DESCRIPTION}: expected entries {{image, label}}, found {entry!r}.")
    paths = [root / name for name in names if name is not None]
    for path in paths:
        if ".." in path.relative_to(root).parts if path.is_relative_to(root) else True:
            raise UserError(f"{root / DESCRIPTION}: {path} lies outside the data set.")
    return paths[0], paths[1] if len(paths) > 1 else None


def _coding(labels: dict[str, Any], path: Path) -> LabelCoding:
    try:
        names = {0: "background"} | {int(code): str(name) for code, name in labels.items()}
        return coding_of(dict(sorted(names.items())))
    except ValueError as error:
        raise UserError(
            f'{path}: "labels" maps ids to names, such as {{"0": "background", "1": "liver"}}; found {labels}: {error}.'
        ) from error


def _modality(channels: dict[str, Any]) -> Modality:
    return "ct" if [str(name).lower() for name in channels.values()] == ["ct"] else "mr"


def _absent(path: Path, root: Path, case: str) -> Finding:
    return Finding(
        level="error",
        kind="missing-file",
        text=f"is listed in {DESCRIPTION} for {case}, but is not there",
        advice="Download it again, or take the entry out.",
        file=relative(path, root),
        ignore=True,
    )


def _listed_twice(root: Path, case: str) -> Finding:
    return Finding(level="error", kind="twice", text=f"lists {case} twice", file=DESCRIPTION,
                   advice="Take one entry out.", ignore=True)  # fmt: skip


MSD = Layout(
    name="msd",
    looks_like="dataset.json with modality, labels, training and test, as in the Medical Segmentation Decathlon",
    rank=1,
    matches=matches,
    cases=cases,
    discover=discover,
    read_geometry=reading.read_geometry,
    read_image=reading.read_image,
    read_mask=reading.read_mask,
)
