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
from caseunet.io.images import is_image

KINDS = ("brushlabels", "polygonlabels")
PLAIN = ("brush", "polygon")
"""Regions that have their labels in a result of their own, of type "labels" and with the same id."""

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
        CaseUNetError: a task names no image, or several, or two name the same.
    """
    found: dict[str, Any] = {}
    for task in content:
        if not any(True for _ in _annotations(task)):
            continue
        data = task["data"]
        keys = _check_one_image(path, task)
        first = next((data[key] for key in keys if isinstance(data[key], str)), None)
        told = data.get("image") or first or next((value for value in data.values() if isinstance(value, str)), None)
        if told is None:
            raise InvalidInputError(f"{path}: task {task.get('id')} names no image.")
        name = _file_name(str(told))
        if name in found:
            raise InvalidInputError(f"{path}: has two tasks of the image {name}.")
        found[name] = task
    return found


def _check_one_image(path: Path, task: Any) -> list[str]:
    """The keys of a task's data that name images, at most one.

    Raises:
        CaseUNetError: the task shows several images, of which a region does not tell which file it is of.
    """
    shown = {str(key): _count_images(value) for key, value in task["data"].items()}
    keys = [key for key, number in shown.items() if number]
    if sum(shown.values()) > 1:
        raise InvalidInputError(
            f"{path}: task {task.get('id')} shows {sum(shown.values())} images ({', '.join(keys)}); expected one, "
            "since its regions do not tell which file each is of. Make a task of each image."
        )
    drawn = [region for each in _annotations(task) for region in each.get("result", ()) if isinstance(region, dict)]
    tags = sorted({str(region["to_name"]) for region in drawn if _has_area(region) and "to_name" in region})
    if len(tags) > 1:
        raise InvalidInputError(
            f"{path}: task {task.get('id')} has regions of {len(tags)} images (to_name {', '.join(tags)}); expected "
            "those of one. Make a task of each image."
        )
    return keys


def _count_images(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_count_images, value))
    return int(isinstance(value, str) and is_image(Path(_file_name(value).partition("?")[0])))


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
    for number, region in _regions(path, task):
        size = (region.get("original_height"), region.get("original_width"))
        try:
            if None not in size and size != shape:
                raise ValueError(f"it is of an image of {size[0]}×{size[1]} pixels; this one has {shape[0]}×{shape[1]}")
            if region["type"] == "brushlabels" or (region["type"] == "labels" and "rle" in region["value"]):
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
            if not _has_area(region) and kind.endswith("labels"):
                name = kind.removesuffix("labels") or "region"
                left[name] = left.get(name, 0) + 1
    return shapes, left


def _has_area(region: Any) -> bool:
    """Whether a region is a mask or a polygon, with its labels."""
    if not isinstance(region, dict):
        return False
    return region.get("type") in KINDS or (region.get("type") == "labels" and _has_outline(region))


def _has_outline(region: Any) -> bool:
    value = region.get("value")
    return isinstance(value, dict) and bool({"rle", "points"} & value.keys())


def _check_plain(path: Path, task: Any, results: list[Any]) -> None:
    """Make sure that each mask or polygon has its labels.

    Raises:
        CaseUNetError: one has none.
    """
    regions = [each for each in results if isinstance(each, dict)]
    labelled = {str(each.get("id")) for each in regions if _has_area(each)}
    for number, each in enumerate(results, start=1):
        if isinstance(each, dict) and each.get("type") in PLAIN and str(each.get("id")) not in labelled:
            own = (other for other in regions if other is not each and other.get("id") == each.get("id"))
            beside = ", ".join(sorted({str(other.get("type")) for other in own})) or "nothing"
            raise InvalidInputError(
                f"{path}: region {number} of task {task.get('id')}, {each.get('id')}, is a {each['type']} without a "
                f'label: beside it is {beside}; expected "labels" with the same id and its points or rle. Label it, or '
                "draw with PolygonLabels or BrushLabels."
            )


def _regions(path: Path, task: Any) -> Iterator[tuple[int, Any]]:
    """Masks and polygons with their numbers.

    Raises:
        CaseUNetError: several people drew, or a mask or polygon has no label.
    """
    done = list(_annotations(task))
    if len(done) > 1:
        raise SeveralMasksError(
            f"{path}: task {task.get('id')} has {len(done)} annotations, which are not merged unasked. Keep one."
        )
    for annotation in done:
        _check_plain(path, task, list(annotation.get("result", ())))
        for number, region in enumerate(annotation.get("result", ()), start=1):
            if _has_area(region):
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
