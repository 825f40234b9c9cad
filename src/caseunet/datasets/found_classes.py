"""The classes of a data set that no file names, as its masks show them, and what is said of them."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from caseunet.datasets.case_statistics import CaseFacts, MaskFacts
from caseunet.datasets.checks import class_values, exclusive_values, values_of_mask
from caseunet.datasets.coding import classes_of, find_coding, find_table
from caseunet.datasets.known_values import name_known
from caseunet.datasets.layout import Finding, Level, SourceDataset
from caseunet.datasets.partial import FILE as LABELLED
from caseunet.datasets.repair import code_text
from caseunet.types import LabelCoding

CLASS_FILE = re.compile(r"class|label|categor|colou?r|palette|legend|lut$|^names$", re.IGNORECASE)
"""What files are called that name the classes of masks, such as CamVid's class_dict.csv and ITK-SNAP's labels.txt."""

TEXTS = (".txt", ".csv", ".tsv", ".json", ".yaml", ".yml", ".xml", ".ctbl", ".lut", ".label", ".xlsx")

OWN_TABLES = (LABELLED, "labels.json", "labelmap.txt")
"""Files that are read, or say something else."""

MAX_NAMED = 3


def settle_coding(dataset: SourceDataset, facts: Sequence[CaseFacts]) -> SourceDataset:
    """The data set with the meaning of its masks and a finding on it, where no file told it and the masks show it."""
    masks = [case.mask for case in facts if case.mask is not None]
    if dataset.coding is not None or not masks:
        return dataset
    if dataset.class_tables:
        known = find_table(dataset.class_tables, map(values_of_mask, masks), dataset.class_regions)
        text = f"the classes are those of {dataset.format}: {describe_classes(known)}"
        told = Finding(level="note", kind="known-classes", text=text, advice="Otherwise name them in a labels.json.")
        return replace(dataset, coding=known, findings=(*dataset.findings, told))
    coding = find_coding(values_of_mask(mask) for mask in masks)
    known_names = name_known(coding, dataset.known_values)
    if known_names is not None and known_names is not coding:
        text = f"names and values are those of BTCV; the classes are {describe_classes(known_names)}"
        told = Finding(level="note", kind="known-classes", text=text, advice="Otherwise name them in a labels.json.")
        return replace(dataset, coding=known_names, findings=(*dataset.findings, told))
    return replace(dataset, coding=coding, findings=(*dataset.findings, _judge_coding(coding, masks, dataset.root)))


def describe_classes(coding: LabelCoding) -> str:
    """Values and names: "0 = background, 1 = liver"."""
    return ", ".join(
        f"{code_text(code, coding.colored)} = {coding.label_map.names[i]}" for code, i in classes_of(coding).items()
    )


def find_unread_names(root: Path) -> list[str]:
    """Files of a folder that may name classes, of kinds that are not read."""
    if not root.is_dir():
        return []
    kinds = (path for path in root.iterdir() if path.suffix.lower() in TEXTS and path.name not in OWN_TABLES)
    return sorted(path.name for path in kinds if CLASS_FILE.search(path.stem) and path.is_file())


def _judge_coding(coding: LabelCoding | None, masks: Sequence[MaskFacts], root: Path) -> Finding:
    if coding is None:
        values = sorted({count.code for mask in masks for count in mask.counts[:3]})[:5]
        return Finding(
            level="error",
            kind="no-classes",
            text=f"the {len(masks)} masks show no classes; their commonest values are {values}",
            advice="Look whether images and masks are swapped; else name the classes in a labels.json: a list of name, "
            "classid and, for colour masks, color.",
        )
    classes = classes_of(coding)
    shown = describe_classes(coding)
    gap = not coding.colored and set(classes) not in ({0, 255}, set(range(len(classes))))
    if any(mask.names for mask in masks):
        return Finding(level="note", kind="found-classes", text=f"the masks name the classes: {shown}")
    unread = find_unread_names(root)
    which = f"that is read here names the classes ({', '.join(unread[:MAX_NAMED])} may, and is left out)"
    text = f"no file {which if unread else 'names the classes'}; the masks show {shown}"
    text += " (the values have gaps)" if gap else ""
    advice = "Name them in a labels.json, or in the labels of a repair plan."
    level: Level = "note"
    if len(classes) < len(coding.codes):
        text += "; 255 is taken for pixels that nobody judged, and left out of training and scores"
        level = "warning"
    elif (
        not coding.colored
        and len(classes) > 2
        and 255 in classes
        and exclusive_values(class_values(mask, coding) for mask in masks) is None  # else told mask by mask
    ):
        level, text = (
            "warning",
            text + "; 255 often marks pixels that nobody judged: name it ignore in a labels.json then",
        )
    if not coding.colored and 0 not in coding.codes:
        level, text = "warning", text + "; no mask holds 0, so the lowest value is taken for the background"
    return Finding(level=level, kind="found-classes", text=text, advice=advice)
