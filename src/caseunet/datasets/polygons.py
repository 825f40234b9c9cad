"""Outlines instead of masks: of COCO, CVAT and Label Studio, a file for many images, of LabelMe and YOLO one for each.

Where outlines of different classes overlap, the smaller lies on top, and a remark of the mask counts the pixels.
"""

import base64
import binascii
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from caseunet.datasets.class_names import is_background, is_ignored, unify_spellings
from caseunet.datasets.cvat_xml import cvat_classes, cvat_images, cvat_shapes, cvat_size, is_cvat
from caseunet.datasets.label_studio_json import (
    is_label_studio,
    label_studio_classes,
    label_studio_images,
    label_studio_shapes,
)
from caseunet.datasets.shapes import Shape, decode_runs, fill_outline
from caseunet.datasets.yolo_text import is_yolo, yolo_classes, yolo_shapes
from caseunet.errors import CaseUNetError, InvalidInputError, SeveralMasksError
from caseunet.files import read_json
from caseunet.progress import count_text
from caseunet.types import IGNORE, Geometry, Mask, name_key


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


class OutlineFormat(NamedTuple):
    """How the files of one tool are read.

    Attributes:
        matches: whether a file is one.
        images: {file name: image} of a file of many images; None where each image has a file.
        classes: the names of the classes that are drawn in a file.
        size: height and width that a file tells of an image, each None if it does not.
        shapes: what is drawn on an image of a given size, and what is left out, counted by kind.
        is_ordered: whether the order of the classes means something.
    """

    matches: Callable[[Path], bool]
    images: Callable[[Path], dict[str, Any]] | None
    classes: Callable[[Path], Iterable[str]]
    size: Callable[[Path, Any], tuple[Any, Any]]
    shapes: Callable[[Path, str, Any, tuple[int, int]], tuple[list[Shape], dict[str, int]]]
    is_ordered: bool


def is_outline_file(path: Path) -> bool:
    """Whether a file that belongs to a case holds outlines rather than a mask; by its name alone."""
    return path.suffix.lower() in OUTLINE_SUFFIXES


def find_outline_format(path: Path) -> OutlineFormat | None:
    """The format of a file; None where it holds no outlines."""
    known = _FORMATS.get(path.suffix.lower(), ())
    return next((format for format in known if format.matches(path)), None)


def outline_images(path: Path) -> dict[str, Any] | None:
    """{file name: image} of a file of many images; None of others."""
    format = find_outline_format(path)
    return None if format is None or format.images is None else format.images(path)


def class_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """The classes that files have outlines of, in the order that they tell, else in that of the alphabet.

    Raises:
        CaseUNetError: a category has no id or name.
    """
    found = [(format, path) for path in paths if (format := find_outline_format(path)) is not None]
    names = dict.fromkeys(name for format, path in found for name in format.classes(path))
    return _once(names if any(format.is_ordered for format, _ in found) else sorted(names))


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
                    "they are not merged unasked. Leave one of the files out with the ignore of a plan.",
                    files=(file_of[name_key(name)], path),
                )
        own, without = _shapes_of(path, picture, shape)
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


def _shapes_of(path: Path, picture: Path, shape: tuple[int, int]) -> tuple[list[Shape], dict[str, int]]:
    format = find_outline_format(path)
    if format is None:
        raise InvalidInputError(f"{path}: holds no outlines of COCO, CVAT, Label Studio, LabelMe or YOLO.")
    name, image = picture.name, None
    if format.images is not None:
        known = format.images(path)
        found = name_of(known, picture)
        if found is None:
            raise InvalidInputError(f"{path}: has no image {picture.name}.")
        name, image = found, known[found]
    _check_size(path, picture, format.size(path, image), shape)
    return format.shapes(path, name, image, shape)


def _coco_shapes(path: Path, name: str, image: Any, shape: tuple[int, int]) -> tuple[list[Shape], dict[str, int]]:
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
                    raise ValueError(
                        f"its run lengths are of {inside.shape[0]}×{inside.shape[1]} pixels; the image has "
                        f"{shape[0]}×{shape[1]}"
                    )
            else:
                rings = [np.asarray(ring, float).reshape(-1, 2) for ring in segmentation]
                inside = np.logical_or.reduce([fill_outline(ring, shape) for ring in rings])
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


def _labelme_shapes(path: Path, name: str, image: Any, shape: tuple[int, int]) -> tuple[list[Shape], dict[str, int]]:
    shapes: list[Shape] = []
    left: dict[str, int] = {}
    for number, own in enumerate(_content(path)["shapes"], start=1):
        kind = own.get("shape_type") or "polygon"
        try:
            points = np.asarray(own["points"], float).reshape(-1, 2)
            if kind in ("polygon", "rectangle", "circle", "mask"):
                shapes.append(Shape(str(own["label"]), _labelme_area(kind, points, own, shape)))
            else:
                left[kind] = left.get(kind, 0) + 1
        except (TypeError, KeyError, ValueError, IndexError, binascii.Error, OSError) as error:
            raise InvalidInputError(f"{path}: shape {number}, a {kind}, cannot be read: {error}.") from error
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
    return fill_outline(points, shape)


def _check_size(path: Path, picture: Path, told: tuple[Any, Any], shape: tuple[int, int]) -> None:
    if None not in told and tuple(told) != shape:
        raise InvalidInputError(
            f"{path}: was drawn on {picture.stem} with {told[0]}×{told[1]} pixels (height × width); the image has "
            f"{shape[0]}×{shape[1]}."
        )


def _labelme_classes(path: Path) -> list[str]:
    unnamed = [n for n, shape in enumerate(_content(path)["shapes"], start=1) if not shape.get("label")]
    if unnamed:
        raise InvalidInputError(f"{path}: shape {unnamed[0]} has no label.")
    return [str(shape["label"]) for shape in _content(path)["shapes"]]


def _coco_classes(path: Path) -> dict[Any, str]:
    """{category id: name} of the categories that annotations have.

    Raises:
        CaseUNetError: a category has no name, or an annotation none of the categories or images.
    """
    content = _content(path)
    try:
        unnamed = [category["id"] for category in content["categories"] if not category.get("name")]
        if unnamed:
            raise InvalidInputError(f"{path}: the category {unnamed[0]} has no name.")
        found = {category["id"]: str(category["name"]) for category in content["categories"]}
        lost = [own for own in content["annotations"] if own["category_id"] not in found]
        if lost:
            told = f"the category {lost[0]['category_id']}, which is not there"
            raise InvalidInputError(f"{path}: annotation {lost[0].get('id')} has {told}.")
        _check_image_ids(path, content)
        used = {annotation["category_id"] for annotation in content["annotations"]}
        return {number: found[number] for number in sorted(used)}
    except (TypeError, KeyError, AttributeError) as error:
        raise InvalidInputError(f"{path}: an annotation or a category lacks what COCO gives it: {error}.") from error


def _check_image_ids(path: Path, content: Mapping[str, Any]) -> None:
    """Make sure that each annotation is of an image, and each image has an id of its own.

    Raises:
        CaseUNetError: one is not, or has none.
    """
    names: dict[Any, Any] = {}
    for image in content["images"]:
        if names.setdefault(image["id"], image.get("file_name")) != image.get("file_name"):
            first, second = names[image["id"]], image.get("file_name")
            raise InvalidInputError(
                f"{path}: {first} and {second} have the same id, {image['id']!r}. Number them anew."
            )
    lost = [own for own in content["annotations"] if own.get("image_id") not in names]
    if lost:
        known = ", ".join(repr(number) for number in list(names)[:3])
        raise InvalidInputError(
            f"{path}: annotation {lost[0].get('id')} has the image_id {lost[0].get('image_id')!r}, which is no image's "
            f"({count_text(len(lost), 'annotation')} in all); expected an id of its images, such as {known}. Mend "
            "image_id, or take out what is of no image."
        )


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
        return read_json(path, "outlines of COCO, Label Studio or LabelMe")
    except CaseUNetError:
        return None


def _no_size(path: Path, image: Any) -> tuple[None, None]:
    return None, None


_COCO = OutlineFormat(
    is_coco,
    coco_images,
    lambda path: _coco_classes(path).values(),
    lambda path, image: (image.get("height"), image.get("width")),
    _coco_shapes,
    is_ordered=True,
)
_LABEL_STUDIO = OutlineFormat(
    lambda path: is_label_studio(_content(path)),
    lambda path: label_studio_images(path, _content(path)),
    lambda path: label_studio_classes(path, _content(path)),
    _no_size,
    lambda path, name, image, shape: label_studio_shapes(path, image, shape),
    is_ordered=False,
)
_LABELME = OutlineFormat(
    is_labelme,
    None,
    _labelme_classes,
    lambda path, image: (_content(path).get("imageHeight"), _content(path).get("imageWidth")),
    _labelme_shapes,
    is_ordered=False,
)
_CVAT = OutlineFormat(
    is_cvat, cvat_images, cvat_classes, lambda path, image: cvat_size(image), cvat_shapes, is_ordered=True
)
_YOLO = OutlineFormat(
    is_yolo,
    None,
    yolo_classes,
    _no_size,
    lambda path, name, image, shape: yolo_shapes(path, shape),
    is_ordered=True,
)
_FORMATS: dict[str, tuple[OutlineFormat, ...]] = {
    ".json": (_COCO, _LABEL_STUDIO, _LABELME),
    ".xml": (_CVAT,),
    ".txt": (_YOLO,),
}
OUTLINE_SUFFIXES = tuple(_FORMATS)
