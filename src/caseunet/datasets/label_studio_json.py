"""Brush masks and polygons of Label Studio: its JSON export, one file for many images."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from caseunet.datasets.brush import decode_brush
from caseunet.datasets.shapes import Shape, fill_outline
from caseunet.errors import InvalidInputError, SeveralMasksError

KINDS = ("brushlabels", "polygonlabels")

_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
"""What Label Studio puts before the name of a file that was uploaded."""


def is_label_studio(content: Any) -> bool:
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(task, dict) and isinstance(task.get("data"), dict) for task in content)
        and any("annotations" in task for task in content)
    )


def label_studio_images(path: Path, content: Any) -> dict[str, Any]:
    """{name of the image's file: its task} of the tasks that are done.

    Raises:
        CaseUNetError: a task names no image, or two name the same.
    """
    found: dict[str, Any] = {}
    for task in content:
        if not any(True for _ in _annotations(task)):
            continue
        data = task["data"]
        told = data.get("image") or next((value for value in data.values() if isinstance(value, str)), None)
        if told is None:
            raise InvalidInputError(f"{path}: task {task.get('id')} names no image.")
        name = _file_name(str(told))
        if name in found:
            raise InvalidInputError(f"{path}: has two tasks of the image {name}.")
        found[name] = task
    return found


def _file_name(told: str) -> str:
    """The path in an address of Label Studio's storage."""
    name = unquote(told.partition("?d=")[2] or re.sub(r"^\w+://[^/]*", "", told))
    folder, _, own = name.lstrip("/").rpartition("/")
    if folder.startswith("data/upload/"):
        return _UPLOADED.sub("", own)
    return f"{folder}/{own}".lstrip("/")


def label_studio_classes(path: Path, content: Any) -> list[str]:
    """The labels that are drawn.

    Raises:
        CaseUNetError: a region has no label.
    """
    drawn: dict[str, None] = {}
    for task in content:
        for number, region in _regions(path, task):
            drawn[_label_of(path, task, number, region)] = None
    return sorted(drawn)


def label_studio_shapes(path: Path, task: Any, shape: tuple[int, int]) -> tuple[list[Shape], dict[str, int]]:
    """What is drawn on the image of a task, and what has no area.

    Raises:
        CaseUNetError: a region cannot be read, or is of an image of another size.
    """
    shapes, left = [], dict[str, int]()
    for number, region in _regions(path, task, KINDS):
        size = (region.get("original_height"), region.get("original_width"))
        try:
            if None not in size and size != shape:
                raise ValueError(f"it is of an image of {size[0]}×{size[1]} pixels; this one has {shape[0]}×{shape[1]}")
            if region["type"] == "brushlabels":
                inside = decode_brush(region["value"]["rle"], shape)
            else:
                points = np.asarray(region["value"]["points"], float).reshape(-1, 2)
                inside = fill_outline(points / 100 * (shape[1], shape[0]), shape)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInputError(
                f"{path}: region {number} of task {task.get('id')} cannot be read: {error}."
            ) from error
        shapes.append(Shape(_label_of(path, task, number, region), inside))
    for annotation in _annotations(task):
        for region in annotation.get("result", ()):
            kind = str(region.get("type", ""))
            if kind not in KINDS and kind.endswith("labels"):
                name = kind.removesuffix("labels")
                left[name] = left.get(name, 0) + 1
    return shapes, left


def _regions(path: Path, task: Any, kinds: tuple[str, ...] = KINDS) -> Iterator[tuple[int, Any]]:
    """Masks and polygons with their numbers.

    Raises:
        CaseUNetError: several people drew, or something is no region.
    """
    done = list(_annotations(task))
    if len(done) > 1:
        raise SeveralMasksError(
            f"{path}: task {task.get('id')} has {len(done)} annotations, which are not merged unasked. Keep one."
        )
    for annotation in done:
        for number, region in enumerate(annotation.get("result", ()), start=1):
            if isinstance(region, dict) and region.get("type") in kinds:
                yield number, region


def _annotations(task: Any) -> Iterator[Any]:
    return (each for each in task.get("annotations") or () if not each.get("was_cancelled"))


def _label_of(path: Path, task: Any, number: int, region: Any) -> str:
    names = list((region.get("value") or {}).get(region["type"]) or [])
    if len(names) != 1:
        raise InvalidInputError(
            f"{path}: region {number} of task {task.get('id')} has {len(names)} labels; expected one."
        )
    return str(names[0])
