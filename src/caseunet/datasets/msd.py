"""The Medical Segmentation Decathlon.

Layout: ``TaskNN_Name/dataset.json`` lists ``training`` ({image, label} of each case) and ``test`` images; ``labels``
maps ids, as text, to names; several channels are the fourth axis of one file. AMOS lists ``validation`` too, which is
kept as its split. Names that begin with "." or "_" are shadows and are skipped. A case is a patient of its own, unless
the names tell of several images of one. Antonelli et al., "The Medical Segmentation Decathlon", Nature Communications
2022.
"""

from pathlib import Path
from typing import Any

from caseunet.datasets.class_names import check_background
from caseunet.datasets.coding import coding_of
from caseunet.datasets.dataset_json import (
    DESCRIPTION,
    find_described_folder,
    has_keys,
    is_first_nnunet,
    licence_of,
    listing,
    read_channel_names,
    read_dataset_json,
)
from caseunet.datasets.layout import (
    Finding,
    Listing,
    SourceCase,
    SourceDataset,
    fault,
    files_below,
    left_out,
    no_cases,
)
from caseunet.datasets.names import describe_groups
from caseunet.datasets.reading import FileLayout
from caseunet.errors import CaseUNetError, InvalidInputError
from caseunet.io import images
from caseunet.types import LabelCoding, Modality

PATTERN = "Task*"
KEYS = {"modality": dict, "labels": dict, "training": list}
ABSENT = "Download it again, or take the entry out."


def _read(folder: Path) -> dict[str, Any]:
    description = read_dataset_json(folder, KEYS)
    for part in ("validation", "test"):
        if not isinstance(description.get(part), list | None):
            raise InvalidInputError(f'{folder / DESCRIPTION}: "{part}" is no list of images.')
    return description


def _paths(root: Path, entry: Any) -> tuple[Path, Path | None]:
    """Image and label of an entry, which must lie below the folder.

    Raises:
        CaseUNetError: the entry is of another form, or points elsewhere.
    """
    names = (entry.get("image"), entry.get("label")) if isinstance(entry, dict) else (entry, None)
    if not isinstance(names[0], str) or not isinstance(names[1], str | None):
        raise InvalidInputError(f"{root / DESCRIPTION}: expected entries {{image, label}}, found {entry!r}.")
    paths = [root / name for name in names if name is not None]
    for path in paths:
        if ".." in path.relative_to(root).parts if path.is_relative_to(root) else True:
            raise InvalidInputError(f"{root / DESCRIPTION}: {path} lies outside the data set.")
    return paths[0], paths[1] if len(paths) > 1 else None


def _coding(labels: dict[str, Any], path: Path) -> LabelCoding:
    try:
        names = {0: "background"} | {int(code): str(name) for code, name in labels.items()}
        check_background(names.items(), path)
        return coding_of(dict(sorted(names.items())))
    except CaseUNetError:
        raise
    except ValueError as error:
        raise InvalidInputError(
            f'{path}: "labels" maps ids to names, such as {{"0": "background", "1": "liver"}}; found {labels}: {error}.'
        ) from error


def _modality(channels: dict[str, Any]) -> Modality:
    return "ct" if [str(name).lower() for name in channels.values()] == ["ct"] else "mr"


class MsdLayout(FileLayout):
    """The Medical Segmentation Decathlon, told by its dataset.json."""

    name = "msd"
    looks_like = "dataset.json with modality, labels, training and test, as in the Medical Segmentation Decathlon"
    rank = 1

    def matches(self, root: Path) -> bool:
        folder = find_described_folder(root, PATTERN)
        return has_keys(folder, set(KEYS)) and not is_first_nnunet(folder)

    def cases(self, root: Path) -> Listing:
        """List the cases that dataset.json lists, under their names.

        Raises:
            CaseUNetError: there are none, or dataset.json is not of this form.
        """
        folder = find_described_folder(root, PATTERN)
        description = _read(folder)
        found: dict[str, SourceCase] = {}
        findings: list[Finding] = []
        held_out = [entry for entry in description.get("validation") or [] if _paths(folder, entry)[1] is not None]
        parts = {"training": "train" if held_out else "", "validation": "val", "test": "test"}
        for part in parts:
            for entry in (held_out if part == "validation" else description.get(part)) or []:
                image, label = _paths(folder, entry)
                if image.name.startswith((".", "_")):
                    continue
                name = images.stem(image)
                absent = [path for path in (image, label) if path is not None and not path.is_file()]
                findings += [
                    fault(
                        "missing-file", path, root, f"is listed in {DESCRIPTION} for {name}, but is not there", ABSENT
                    )
                    for path in absent
                ]
                if name in found:
                    text = f"lists {name} twice"
                    told = fault("twice", folder / DESCRIPTION, root, text, "Take one entry out.")
                    findings.append(told.model_copy(update={"ignore": False}))
                elif image not in absent:
                    labels = (label,) if label is not None and label not in absent else ()
                    found[name] = SourceCase(id=name, image=(image,), label=labels, group=name, part=parts[part])
        if not found and not findings:
            raise no_cases(root, "a training image that dataset.json lists")
        listed = {path for case in found.values() for path in (*case.image, *case.label)}
        others = [
            path
            for path in files_below(folder)
            if images.is_image(path) and path not in listed and not path.name.startswith("_")
        ]
        findings += left_out(others, root, f"files that {DESCRIPTION} does not list")
        return listing(list(found.values()), findings, description, folder, root)

    def discover(self, root: Path) -> SourceDataset:
        folder = find_described_folder(root, PATTERN)
        description = _read(folder)
        listed, findings = self.cases(root)
        return SourceDataset(
            format="msd",
            root=root,
            cases=listed,
            coding=_coding(description["labels"], folder / DESCRIPTION),
            modality=_modality(description["modality"]),
            group_name="patient",
            licence=licence_of(description),
            channel_names=read_channel_names(description["modality"]),
            channels_by_number=True,
            findings=(*findings, *describe_groups(listed)),
        )


MSD = MsdLayout()
