"""Outlines instead of masks: COCO's (one JSON file for many images) and LabelMe's (one beside each image).

A pixel belongs to an outline if its centre lies inside, where the pixel in the corner reaches from 0 to 1. Where
outlines of different classes overlap, the smaller lies on top, and a remark of the mask counts the pixels.
"""

import base64
import binascii
import io
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from caseunet.datasets.class_names import is_background, is_ignored, unify_spellings
from caseunet.errors import CaseUNetError, InvalidInputError, SeveralMasksError
from caseunet.files import read_json
from caseunet.progress import count_text
from caseunet.types import IGNORE, Geometry, Mask, name_key


class Shape(NamedTuple):
    """One thing in an image: its class, and where it is."""

    name: str
    inside: np.ndarray


def is_coco(path: Path) -> bool:
    content = _content(path)
    return isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys()


def is_labelme(path: Path) -> bool:
    content = _content(path)
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def coco_images(path: Path) -> dict[str, Any]:
    """{file name: image} of a COCO file.

    Raises:
        CaseUNetError: an image has no name or id, or two have the same name.
    """
    try:
        listed = [(str(image["file_name"]), image) for image in _content(path)["images"]]
        found = dict(listed)
        if len(found) < len(listed):
            again = next(name for n, (name, _) in enumerate(listed) if name in {other for other, _ in listed[:n]})
            raise InvalidInputError(f"{path}: has two images called {again}.")
        return found
    except (TypeError, KeyError) as error:
        raise InvalidInputError(f"{path}: each of its images needs id, file_name, height and width.") from error


def class_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """The classes that COCO or LabelMe files have outlines of, in order of their COCO ids or of the alphabet.

    Raises:
        CaseUNetError: a category has no id or name.
    """
    if any(is_coco(path) for path in paths):
        names: dict[str, None] = {}
        for path in paths:
            names |= dict.fromkeys(_coco_classes(path).values())
        return _once(names)
    return _once(sorted({str(shape.get("label")) for path in paths for shape in _content(path)["shapes"]}))


def _once(names: Iterable[str]) -> tuple[str, ...]:
    """Names without spaces around them, the first spelling of each."""
    return tuple(dict.fromkeys(unify_spellings(name.strip() for name in names).values()))


def read_outlines(paths: Sequence[Path], picture: Path, image: Geometry, classes: Mapping[str, int]) -> Mask:
    """The outlines of one image as a mask of class ids.

    Args:
        paths: COCO or LabelMe; several if each has classes of its own.
        picture: the image's file.
        image: its geometry, which tells the size.
        classes: {name: class id}.

    Raises:
        CaseUNetError: a file is damaged, or of an image of another size.
        SeveralMasksError: two files have the same class.
    """
    shape = (image.shape[-2], image.shape[-1])
    shapes: list[Shape] = []
    left: dict[str, int] = {}
    file_of: dict[str, Path] = {}
    for path in paths:
        for name in class_names([path]):
            no_class = is_background(name) or is_ignored(name)
            if not no_class and file_of.setdefault(name_key(name), path) != path:
                raise SeveralMasksError(
                    f"{path}: has outlines of {name} in {picture.name}, as has {file_of[name_key(name)]}, and "
                    "they are not merged unasked. Leave one of the files out with the ignore of a plan."
                )
        own, without = _coco_shapes(path, picture, shape) if is_coco(path) else _labelme_shapes(path, shape)
        shapes += own
        left |= {what: left.get(what, 0) + number for what, number in without.items()}
    codes = np.zeros(shape, np.uint8)
    overlaps: dict[tuple[str, str], int] = {}
    names = {number: name for name, number in classes.items()}
    known = {name_key(name): number for name, number in classes.items()}
    for each in sorted(shapes, key=lambda each: -int(each.inside.sum())):
        if is_background(each.name) or is_ignored(each.name):
            continue
        number = known.get(name_key(each.name))
        if number is None:
            raise InvalidInputError(f'{paths[0]}: has the class "{each.name}"; the others have {", ".join(classes)}.')
        covered = np.bincount(codes[each.inside], minlength=1)
        for below in np.flatnonzero(covered):
            if below not in (0, number):
                key = (names[number], names[int(below)])
                overlaps[key] = overlaps.get(key, 0) + int(covered[below])
        codes[each.inside] = number
    for each in shapes:
        if is_ignored(each.name):
            codes[each.inside] = IGNORE
    remarks = [
        f"an outline of {a} lies on {b} in {count_text(n, 'pixel')}; {a} is kept" for (a, b), n in overlaps.items()
    ]
    remarks += [f"{count_text(n, what)} without an area, left out" for what, n in left.items()]
    return Mask(codes[None], Geometry(shape=shape, remarks=tuple(remarks)))


def fill(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels (H, W) whose centres lie inside an outline of (x, y)."""
    from matplotlib.path import Path as Outline  # few need it, and it is slow to import

    inside = np.zeros(shape, bool)
    left, top = np.maximum(np.floor(points.min(axis=0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(points.max(axis=0)).astype(int), (shape[1], shape[0]))
    if right <= left or bottom <= top:
        return inside
    x, y = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
    within = Outline(points, closed=False).contains_points(np.stack([x.ravel(), y.ravel()], axis=1))
    inside[top:bottom, left:right] = within.reshape(x.shape)
    return inside


def decode_runs(segmentation: Mapping[str, Any]) -> np.ndarray:
    """The pixels of COCO's run lengths: of a list, or packed into text; columns first.

    Raises:
        ValueError: the runs do not fill the image.
    """
    height, width = (int(length) for length in segmentation["size"])
    counts = segmentation["counts"]
    runs = _decode_counts(counts) if isinstance(counts, str) else [int(count) for count in counts]
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise ValueError(f"its runs fill {sum(runs)} of {height * width} pixels")
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return values.reshape(width, height).T


def _decode_counts(text: str) -> list[int]:
    """Run lengths out of COCO's text: six bits in a character, five of number and one that says whether more follow;
    from the third on each is told as the difference to the one before the last."""
    runs: list[int] = []
    number, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number, shift = 0, 0
    return runs


def _coco_shapes(path: Path, picture: Path, shape: tuple[int, int]) -> tuple[list[Shape], dict[str, int]]:
    known = coco_images(path)
    name = name_of(known, picture)
    if name is None:
        raise InvalidInputError(f"{path}: has no image {picture.name}.")
    image = known[name]
    _check_size(path, picture, (image.get("height"), image.get("width")), shape)
    names = _coco_classes(path)
    shapes, boxes = [], 0
    for annotation in _annotations(path).get(image["id"], ()):
        segmentation = annotation.get("segmentation")
        if not segmentation:
            boxes += 1
            continue
        try:
            if isinstance(segmentation, dict):
                inside = decode_runs(segmentation)
                if inside.shape != shape:
                    raise ValueError(f"its run lengths are of {inside.shape} pixels")
            else:
                rings = [np.asarray(ring, float).reshape(-1, 2) for ring in segmentation]
                inside = np.logical_or.reduce([fill(ring, shape) for ring in rings])
            shapes.append(Shape(names[annotation["category_id"]], inside))
        except (TypeError, KeyError, ValueError, IndexError) as error:
            raise InvalidInputError(f"{path}: annotation {annotation.get('id')} cannot be read: {error}.") from error
    return shapes, {"box": boxes} if boxes else {}


def name_of(known: Mapping[str, Any], picture: Path) -> str | None:
    """The name in a COCO file that a file has: the longest that its path ends with, or the only one called like it."""
    parts = picture.parts
    for length in range(min(len(parts), 8), 0, -1):
        if (name := "/".join(parts[-length:])) in known:
            return name
    alike = [name for name in known if name.rpartition("/")[2] == picture.name]
    return alike[0] if len(alike) == 1 else None


def _labelme_shapes(path: Path, shape: tuple[int, int]) -> tuple[list[Shape], dict[str, int]]:
    content = _content(path)
    _check_size(path, path, (content.get("imageHeight"), content.get("imageWidth")), shape)
    shapes: list[Shape] = []
    left: dict[str, int] = {}
    for own in content["shapes"]:
        kind = own.get("shape_type") or "polygon"
        try:
            points = np.asarray(own["points"], float).reshape(-1, 2)
            if kind in ("polygon", "rectangle", "circle", "mask"):
                shapes.append(Shape(str(own["label"]), _labelme_area(kind, points, own, shape)))
            else:
                left[kind] = left.get(kind, 0) + 1
        except (TypeError, KeyError, ValueError, IndexError, binascii.Error, OSError) as error:
            raise InvalidInputError(f"{path}: a {kind} cannot be read: {error}.") from error
    return shapes, left


def _labelme_area(kind: str, points: np.ndarray, own: Mapping[str, Any], shape: tuple[int, int]) -> np.ndarray:
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    elif kind == "circle":
        radius = float(np.linalg.norm(points[1] - points[0]))
        y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
        return np.asarray((x - points[0][0]) ** 2 + (y - points[0][1]) ** 2 < radius**2)
    elif kind == "mask":
        with Image.open(io.BytesIO(base64.b64decode(own["mask"])), formats=("PNG",)) as image:
            cut = np.asarray(image) > 0
        left, top = np.rint(points[0]).astype(int)
        inside = np.zeros(shape, bool)
        inside[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
        return inside
    return fill(points, shape)


def _check_size(path: Path, picture: Path, told: tuple[Any, Any], shape: tuple[int, int]) -> None:
    if None not in told and tuple(told) != shape:
        raise InvalidInputError(
            f"{path}: was drawn on {picture.stem} with {told[0]}×{told[1]} pixels (height × width); the image has "
            f"{shape[0]}×{shape[1]}."
        )


def _coco_classes(path: Path) -> dict[Any, str]:
    """{category id: name} of the categories that annotations have."""
    content = _content(path)
    try:
        used = {annotation["category_id"] for annotation in content["annotations"]}
        found = {category["id"]: str(category["name"]) for category in content["categories"]}
        return {number: found[number] for number in sorted(used)}
    except (TypeError, KeyError) as error:
        raise InvalidInputError(f"{path}: an annotation or a category lacks what COCO gives it: {error}.") from error


def _annotations(path: Path) -> dict[Any, list[Any]]:
    return _annotations_of(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _annotations_of(path: Path, written: int) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = {}
    for annotation in _content(path)["annotations"]:
        found.setdefault(annotation.get("image_id"), []).append(annotation)
    return found


def _content(path: Path) -> Any:
    return _content_of(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _content_of(path: Path, written: int) -> Any:
    """Parsed once for all images of a file."""
    try:
        return read_json(path, "outlines of COCO or LabelMe")
    except CaseUNetError:
        return None
