"""Outlines and masks of CVAT, "CVAT for images 1.1": one XML file for many images."""

from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from caseunet.datasets.shapes import Shape, fill_outline
from caseunet.errors import InvalidInputError

KINDS = ("polygon", "mask")


def is_cvat(path: Path) -> bool:
    root = _root(path)
    return root is not None and root.tag == "annotations" and root.find("image") is not None


def is_cvat_video(path: Path) -> bool:
    """Whether a file is "CVAT for video", which draws on numbers of frames and names no images."""
    root = _root(path) if path.suffix.lower() == ".xml" else None
    return root is not None and root.tag == "annotations" and root.find("track") is not None


def cvat_images(path: Path) -> dict[str, ElementTree.Element]:
    """{file name: image} of a file.

    Raises:
        CaseUNetError: an image has no name, or two have the same.
    """
    found: dict[str, ElementTree.Element] = {}
    for image in _images(path):
        name = image.get("name")
        if name is None:
            raise InvalidInputError(f"{path}: image {image.get('id')} has no name.")
        if name in found:
            raise InvalidInputError(f"{path}: has two images called {name}.")
        found[name] = image
    return found


def cvat_classes(path: Path) -> list[str]:
    """The labels that are drawn, in the order in which the task lists them.

    Raises:
        CaseUNetError: a shape has no label.
    """
    root = _root(path)
    listed = [] if root is None else [label.findtext("name") or "" for label in root.iter("label")]
    drawn: dict[str, None] = {}
    for image in _images(path):
        for shape in (each for each in image if each.tag in KINDS):
            if not shape.get("label"):
                raise InvalidInputError(f"{path}: a {shape.tag} in {image.get('name')} has no label.")
            drawn[str(shape.get("label"))] = None
    return [name for name in dict.fromkeys(listed) if name in drawn] + sorted(drawn.keys() - set(listed))


def cvat_size(image: ElementTree.Element) -> tuple[int | None, int | None]:
    """Height and width, as the file tells them."""
    height, width = image.get("height", ""), image.get("width", "")
    return (int(height) if height.isdecimal() else None), (int(width) if width.isdecimal() else None)


def cvat_shapes(
    path: Path, name: str, image: ElementTree.Element, shape: tuple[int, int]
) -> tuple[list[Shape], dict[str, int]]:
    """What is drawn on an image, in the order of its layers, and what has no area.

    Raises:
        CaseUNetError: a shape cannot be read.
    """
    shapes, left = [], dict[str, int]()
    for number, own in enumerate(sorted(image, key=lambda each: int(each.get("z_order") or 0)), start=1):
        if own.tag not in KINDS:
            left[own.tag] = left.get(own.tag, 0) + 1
            continue
        try:
            inside = _read_runs(own, shape) if own.tag == "mask" else _read_polygon(own, shape)
        except (KeyError, ValueError) as error:
            raise InvalidInputError(f"{path}: {own.tag} {number} in {name} cannot be read: {error}.") from error
        shapes.append(Shape(str(own.get("label")), inside))
    return shapes, left


def _read_polygon(own: ElementTree.Element, shape: tuple[int, int]) -> np.ndarray:
    points = [[float(number) for number in point.split(",")] for point in own.attrib["points"].split(";")]
    return fill_outline(np.array(points).reshape(-1, 2), shape)


def _read_runs(own: ElementTree.Element, shape: tuple[int, int]) -> np.ndarray:
    """Runs of outside and inside in turn, rows first, in a box."""
    left, top, width, height = (int(float(own.attrib[key])) for key in ("left", "top", "width", "height"))
    runs = [int(run) for run in own.attrib["rle"].split(",")]
    if sum(runs) != width * height or min(runs) < 0:
        raise ValueError(f"its runs fill {sum(runs)} pixels; its box has {height}×{width}")
    if left < 0 or top < 0 or left + width > shape[1] or top + height > shape[0]:
        raise ValueError(f"its box reaches beyond the image of {shape[0]}×{shape[1]} pixels")
    inside = np.zeros(shape, bool)
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    inside[top : top + height, left : left + width] = values.reshape(height, width)
    return inside


def _images(path: Path) -> list[ElementTree.Element]:
    root = _root(path)
    return [] if root is None else root.findall("image")


def _root(path: Path) -> ElementTree.Element | None:
    return _root_of(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _root_of(path: Path, written: int) -> ElementTree.Element | None:
    """Parsed once for all images of a file; None where it is no XML."""
    try:
        return ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, UnicodeError):
        return None
