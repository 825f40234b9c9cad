"""MONAI Label's folder of images.

Layout: ``datastore_v2.json`` lists the images of its folder; ``labels/final/NAME.nii.gz`` are the masks that a person
submitted. Those of ``labels/original`` are a model's, and are left out. The names of the classes are those with which
the masks were submitted; a case whose mask was submitted without one of them is labelled in part. Diaz-Pinto et al.,
"MONAI Label", Medical Image Analysis 2024.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from caseunet.datasets.class_names import find_description, unite_names
from caseunet.datasets.coding import coding_of
from caseunet.datasets.folder import find_modality, read_folder_classes
from caseunet.datasets.layout import (
    Finding,
    Listing,
    SourceCase,
    SourceDataset,
    fault,
    files_below,
    left_out,
    natural,
    no_cases,
)
from caseunet.datasets.names import describe_groups, find_groups
from caseunet.datasets.reading import FileLayout
from caseunet.errors import CaseUNetError, InvalidInputError
from caseunet.files import read_json
from caseunet.io import images
from caseunet.types import IGNORE, LabelCoding

DATASTORE = "datastore_v2.json"
FINAL = "final"


def _read(root: Path) -> dict[str, dict[str, Any]]:
    """The images that the description lists.

    Raises:
        CaseUNetError: it is damaged.
    """
    content = read_json(root / DATASTORE, "MONAI Label's list of images")
    objects = content.get("objects") if isinstance(content, dict) else None
    if not isinstance(objects, dict) or not all(isinstance(entry, dict) for entry in objects.values()):
        raise InvalidInputError(f'{root / DATASTORE}: "objects" is missing; expected {{name: {{image, labels}}}}.')
    for name, entry in objects.items():
        endings = (str(_inside(entry, *keys).get("ext", "")) for keys in (("image",), ("labels", FINAL)))
        if any(sign in text for sign in "/\\" for text in (name, *endings)):
            raise InvalidInputError(f"{root / DATASTORE}: {name!r} lies outside the data set.")
    return objects


def _inside(entry: Any, *keys: str) -> Mapping[str, Any]:
    """What stands under keys in keys; {} where nothing of that form does."""
    for key in keys:
        entry = entry.get(key) if isinstance(entry, Mapping) else None
    return entry if isinstance(entry, Mapping) else {}


class MonaiLabelLayout(FileLayout):
    """MONAI Label's folder, told by its list."""

    name = "monai-label"
    looks_like = "datastore_v2.json, the images that it lists and labels/final/ with files of the same names"
    rank = 1

    def matches(self, root: Path) -> bool:
        return (root / DATASTORE).is_file()

    def cases(self, root: Path) -> Listing:
        """List the images that the description lists.

        Raises:
            CaseUNetError: there are none, or it is damaged.
        """
        listed: list[SourceCase] = []
        findings: list[Finding] = []
        objects = _read(root)
        groups = find_groups(list(objects))
        for name, entry in sorted(objects.items(), key=lambda item: natural(item[0])):
            image = root / f"{name}{_inside(entry, 'image').get('ext', '')}"
            final = _inside(entry, "labels", FINAL)
            mask = root / "labels" / FINAL / f"{name}{final.get('ext', '')}"
            absent = [path for path in (image, *([mask] if final else [])) if not path.is_file()]
            text = f"is listed in {DATASTORE}, but is not there"
            findings += [fault("missing-file", path, root, text, "Add it, or take the entry out.") for path in absent]
            if image in absent:
                continue
            label = (mask,) if final and mask not in absent else ()
            listed.append(SourceCase(name, (image,), label, groups[name]))
        if not listed and not findings:
            raise no_cases(root, f"an image that {DATASTORE} lists")
        used = {path for case in listed for path in (*case.image, *case.label)}
        others = [path for path in files_below(root) if images.is_image(path) and path not in used]
        findings += left_out(others, root, f"no image and no final mask of {DATASTORE}, and left out")
        return Listing(tuple(listed), tuple(findings))

    def discover(self, root: Path) -> SourceDataset:
        """The cases, and the classes with which their masks were submitted; a ``labels.json`` names them otherwise.

        Raises:
            CaseUNetError: see :meth:`cases`; or masks were submitted with names that contradict each other.
        """
        listed, findings = self.cases(root)
        modality, told = find_modality(root, listed)
        own, tables = find_description(root), _name_tables(root, listed)
        coding = read_folder_classes(own, listed) if own is not None else _find_names(root, tables)
        return SourceDataset(
            format=self.name,
            root=root,
            cases=tuple(_with_labelled(case, tables, coding) for case in listed),
            coding=coding,
            modality=modality,
            group_name="patient",
            licence="",
            findings=(*findings, *told, *describe_groups(listed)),
        )


def _name_tables(root: Path, listed: Sequence[SourceCase]) -> dict[str, list[tuple[int, str]]]:
    """The values and names with which final masks were submitted, of the cases that tell them."""
    objects = _read(root)
    tables = {}
    for case in (case for case in listed if case.label):
        names = _inside(objects[case.id], "labels", FINAL, "info", "params", "label_names")
        table = [(value, str(name)) for name, value in names.items() if type(value) is int and value]
        if table and all(type(value) is int for value in names.values()):
            tables[case.id] = table
    return tables


def _find_names(root: Path, tables: Mapping[str, Sequence[tuple[int, str]]]) -> LabelCoding | None:
    """The classes with which final masks were submitted; None if none tells them.

    Raises:
        CaseUNetError: two contradict each other.
    """
    advice = 'Mend "label_names" and the mask of one; or, if both mean the same, name the classes in a labels.json.'
    names = unite_names(tables, str(root / DATASTORE), advice)
    if not names:
        return None
    try:
        return coding_of({0: "background", **dict(sorted(names.items()))})
    except (ValueError, CaseUNetError):
        return None


def _with_labelled(
    case: SourceCase, tables: Mapping[str, Sequence[tuple[int, str]]], coding: LabelCoding | None
) -> SourceCase:
    """The case with the classes that are labelled in it, where its mask was submitted without some of the others'."""
    if coding is None or case.id not in tables:
        return case
    here = {value for value, _ in tables[case.id]}
    if all(value in here for table in tables.values() for value, _ in table):
        return case
    ids = sorted(coding.codes[value] for value in here if coding.codes.get(value, IGNORE) not in (0, IGNORE))
    return replace(case, labelled=tuple(coding.label_map.names[i] for i in ids))


MONAI_LABEL = MonaiLabelLayout()
