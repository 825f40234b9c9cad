"""Masks whose classes lie in files of their own, such as TotalSegmentator's liver.nii.gz and spleen.nii.gz."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from caseunet.datasets.class_names import IGNORE_NAMES
from caseunet.datasets.layout import Finding
from caseunet.datasets.names import mask_key
from caseunet.errors import InvalidInputError, SeveralMasksError
from caseunet.io import images
from caseunet.io.geometry import distance_in_mm, distance_in_voxels
from caseunet.progress import count_text
from caseunet.types import IGNORE, Geometry, Mask, name_key

Key = TypeVar("Key")

SAME_PLACE = 0.1
"""Voxels by which image and mask, or two masks, may lie apart: what writers round."""

MAX_LIKENESS = 0.5
"""IoU of two files beyond which they are two masks of one thing rather than two things."""


def read_class_files(paths: Sequence[Path], classes: Mapping[str, int], image: Geometry) -> Mask:
    """One mask of class ids from a file for each class, which holds 0 and one other value.

    Where files overlap, the smaller thing lies on top, as a tumour does on a liver; a remark of the mask's geometry
    counts the pixels. A file called "background" is not used, and where one called "ignore" is set nobody judged.

    Args:
        paths: of one case, each called like its class.
        classes: {name: class id}.
        image: the geometry of the case's image.

    Raises:
        CaseUNetError: a file cannot be read, holds several values, lies elsewhere than the first, or is no class.
        SeveralMasksError: two files show the same.
    """
    masks = [images.read_mask_file(path, image, colored=False) for path in paths]
    inside = [_inside(path, mask) for path, mask in zip(paths, masks, strict=True)]
    for path, mask in zip(paths, masks, strict=True):
        if mask.label_values.shape != masks[0].label_values.shape:
            raise InvalidInputError(
                f"{path}: its shape {mask.label_values.shape} is not that of {paths[0]}, {masks[0].label_values.shape}."
            )
        if distance_in_voxels(masks[0].geometry, mask.geometry) > SAME_PLACE:
            distance = distance_in_mm(masks[0].geometry, mask.geometry)
            raise InvalidInputError(f"{path}: lies {distance:.3g} mm away from {paths[0]}, a file of the same case.")
    numbers = [class_of(path, classes) for path in paths]
    ignored = [n for n, number in enumerate(numbers) if number == IGNORE]
    order = sorted((n for n, m in enumerate(numbers) if m not in (0, IGNORE)), key=lambda n: -int(inside[n].sum()))
    codes = np.zeros(masks[0].label_values.shape, np.uint8)
    remarks: list[str] = []
    for n in order:
        covered = np.bincount(codes[inside[n]], minlength=1)
        for below in np.flatnonzero(covered[1:]) + 1:
            name = next(name for name, number in classes.items() if number == below)
            other = next(m for m in order if numbers[m] == below)
            union = int((inside[n] | inside[other]).sum())
            if covered[below] > MAX_LIKENESS * union:
                raise SeveralMasksError(
                    f"{paths[n]}: shows the same as {paths[other]} ({covered[below]:,} of {union:,} pixels), so they "
                    "are two masks of one thing. Say which is meant: name its file in prepare.masks.",
                    options=("prepare.masks",),
                    files=(paths[other], paths[n]),
                )
            remarks.append(f"{paths[n].name} covers {count_text(int(covered[below]), 'pixel')} of {name}, and is kept")
        codes[inside[n]] = numbers[n]
    for n in ignored:
        codes[inside[n]] = IGNORE
    told = dict.fromkeys([*(remark for mask in masks for remark in mask.geometry.remarks), *remarks])
    geometry = replace(masks[0].geometry, remarks=tuple(told))
    fractional, rounding = sum(mask.fractional for mask in masks), max(mask.rounding for mask in masks)
    united = replace(masks[0], label_values=codes, geometry=geometry, palette={}, names={})
    return replace(united, fractional=fractional, rounding=rounding)


def tell_absent(found: Mapping[str, Collection[Key]], classes: Mapping[str, Key], what: str) -> list[Finding]:
    """Warnings on classes that some cases have nothing of: perhaps nobody looked for them.

    Args:
        found: {case: keys of the classes that it has}.
        classes: {name: its key}.
        what: they lack, "file".
    """
    findings = []
    for name, key in classes.items():
        without = [case for case, keys in found.items() if key not in keys]
        if without:
            more = f" and {len(without) - 1} more" if len(without) > 1 else ""
            text = f"{count_text(len(without), 'case')} without a {what} of {name}, which counts as empty: "
            advice = "Where nobody looked for it, say so in a labelled.csv."
            findings.append(
                Finding(level="warning", kind="class-missing", text=text + without[0] + more, advice=advice)
            )
    return findings


def class_of(path: Path, classes: Mapping[str, int]) -> int:
    """The class that a file is called like, or ends like; 0 for "background", IGNORE for "ignore".

    Raises:
        CaseUNetError: there is none.
    """
    stem = images.stem(path)
    known = {"background": 0, **dict.fromkeys(IGNORE_NAMES, IGNORE)}
    known |= {name_key(name): number for name, number in classes.items()}
    folder = path.parent.name
    for name in (stem, mask_key(stem) or "", folder, mask_key(folder) or ""):
        if (number := known.get(name_key(name))) is not None:
            return number
    texts = [name_key(text) for text in (stem, mask_key(stem)) if text]
    endings = [name for name in known if any(text.endswith(name) for text in texts)]
    if not endings:
        raise InvalidInputError(f"{path}: is called like none of the classes {', '.join(classes)}.")
    return known[max(endings, key=len)]


def _inside(path: Path, mask: Mask) -> np.ndarray:
    """Where a mask is not 0, or not what its palette shows as black.

    Raises:
        CaseUNetError: it holds more than one other value.
    """
    black = [code for code, color in mask.palette.items() if color == 0]
    outside = black[0] if len(black) == 1 else 0
    values = np.unique(mask.label_values)
    if len(values[values != outside]) > 1:
        shown = ", ".join(str(value) for value in values[:6].tolist())
        raise InvalidInputError(f"{path}: holds the values {shown}; a file of one class holds 0 and one other.")
    return np.asarray(mask.label_values != outside)
