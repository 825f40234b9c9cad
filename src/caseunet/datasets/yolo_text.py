"""Outlines of YOLO: a text file for each image, and a data.yaml that names the classes."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.datasets.shapes import Shape, fill_outline
from caseunet.errors import InvalidInputError
from caseunet.yaml_text import parse_yaml

DESCRIPTIONS = ("data.yaml", "data.yml", "dataset.yaml")
MAX_LEVELS = 4
"""Folders above a text file in which the description is looked for."""

BOX = 5
"""Numbers of a line that is a box: class, centre and size."""

MARGIN = 0.25
"""How far outside of its image a corner may lie, in widths and heights of the image; others are no such shares."""


def is_yolo(path: Path) -> bool:
    """Whether a text file lies below a description, and begins with the number of a class, or is empty in labels/."""
    if path.suffix.lower() != ".txt" or find_yolo_description(path) is None:
        return False
    try:
        with path.open(encoding="utf-8") as stream:
            words = stream.readline().split()
    except (OSError, UnicodeError):
        return False
    return (len(words) >= BOX and words[0].isdecimal()) if words else "labels" in map(str.lower, path.parts)


def find_yolo_description(path: Path) -> Path | None:
    """The file above a text file that names its classes."""
    files = (folder / name for folder in list(path.parents)[:MAX_LEVELS] for name in DESCRIPTIONS)
    return next((file for file in files if file.is_file()), None)


def yolo_classes(path: Path) -> list[str]:
    """The classes, in order.

    Raises:
        CaseUNetError: the description does not name them, or says that the labels are poses.
    """
    return list(_names(path).values())


def yolo_shapes(path: Path, shape: tuple[int, int]) -> tuple[list[Shape], dict[str, int]]:
    """What is drawn on an image, and how many boxes there are.

    Raises:
        CaseUNetError: a line cannot be read, lies far outside, or has a class that is not named.
    """
    names, shapes, boxes = _names(path), [], 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if len(words) == BOX:
            boxes += 1
            continue
        if not words:
            continue
        try:
            if len(words) < BOX + 2 or len(words) % 2 == 0:
                raise ValueError(f"it has {len(words)} numbers; expected a class and three or more corners")
            if int(words[0]) not in names:
                raise ValueError(f"it has the class {words[0]}, which {find_yolo_description(path)} does not name")
            corners = np.array([float(word) for word in words[1:]]).reshape(-1, 2)
            inside = (corners >= -MARGIN) & (corners <= 1 + MARGIN)
            if not inside.all():
                raise ValueError(
                    f"it has the coordinate {corners[~inside][0]:g}; expected shares of the width and height, 0 to 1, "
                    "so divide pixels by the size of the image"
                )
            shapes.append(Shape(names[int(words[0])], fill_outline(corners * (shape[1], shape[0]), shape)))
        except ValueError as error:
            raise InvalidInputError(f"{path}: line {number} cannot be read: {error}.") from error
    return shapes, {"box": boxes} if boxes else {}


def _names(path: Path) -> dict[int, str]:
    description = find_yolo_description(path)
    if description is None:
        raise InvalidInputError(f"{path}: there is no {DESCRIPTIONS[0]} above it that names its classes.")
    return _names_of(description, description.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _names_of(path: Path, written: int) -> dict[int, str]:
    try:
        content: Any = parse_yaml(path.read_text(encoding="utf-8"))
        names, points = content["names"], content.get("kpt_shape")
        found = {int(n): str(name) for n, name in (names.items() if isinstance(names, dict) else enumerate(names))}
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(f'{path}: expected "names", the classes of YOLO in order: {error}.') from error
    if points is not None:
        raise InvalidInputError(
            f'{path}: has "kpt_shape" {points}, so its labels are boxes with key points (pose), without outlines; '
            'expected labels of YOLO for segmentation. Export these, and take "kpt_shape" out.'
        )
    return found
