"""Masks whose classes are folders: masks/polyp/a.png and masks/instrument/a.png of images/a.png."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from caseunet.datasets.channels import Item
from caseunet.datasets.layout import Finding
from caseunet.datasets.names import is_rater, part_of_name

MAX_FOLDERS = 64
"""Folders that may be classes."""


def name_by_folders(
    pictures: Sequence[Item], labels: Mapping[int, list[tuple[Item, str]]]
) -> tuple[dict[int, list[tuple[Item, str]]], tuple[str, ...], list[Finding]]:
    """The masks of each image with the folders that name their classes, the classes, and what is said of them.

    Folders that the images have too, as those of patients and of benign and malignant ones, name no class. Where
    folders differ in numbers alone there are no classes, and a warning says that all masks count alike.
    """
    unchanged = {picture: list(masks) for picture, masks in labels.items()}
    folders = [
        PurePosixPath(mask.folder).name
        for picture, masks in labels.items()
        for mask, _ in masks
        if mask.folder and mask.folder != pictures[picture].folder
    ]
    names = tuple(dict.fromkeys(sorted(folders)))
    masks_in_all = sum(len(masks) for masks in labels.values())
    if len(names) < 2 or len(folders) < masks_in_all or any(part_of_name(n) or is_rater(n) for n in names):
        return unchanged, (), []
    shown = ", ".join(names[:6]) + (" …" if len(names) > 6 else "")
    if len({re.sub(r"\d+", "", name) for name in names}) < len(names) or len(names) > MAX_FOLDERS:
        text = f"masks lie in the folders {shown}, in which images do not; they count alike, whatever the folder"
        advice = "If the folders name classes, call them like these."
        return unchanged, (), [Finding(level="warning", kind="mask-folders", text=text, advice=advice)]
    text = f"the folders of the masks name the classes: {shown}"
    advice = "If they do not, put the masks into folders like those of the images."
    named = {
        picture: [(mask, PurePosixPath(mask.folder).name) for mask, _ in masks] for picture, masks in labels.items()
    }
    return named, names, [Finding(level="note", kind="class-folders", text=text, advice=advice)]
