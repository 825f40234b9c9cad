"""Which file of COCO, CVAT, Label Studio, LabelMe or YOLO holds the outlines of which image."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from caseunet.datasets.channels import Item
from caseunet.datasets.cvat_xml import is_cvat_video
from caseunet.datasets.layout import Finding, extra_mask, relative
from caseunet.datasets.names import PART_WORDS, folder_role, normal, part_of, part_of_name
from caseunet.datasets.pairing import pair
from caseunet.datasets.polygons import find_outline_format, is_outline_file, name_of, outline_images
from caseunet.progress import count_text

Labels = dict[int, list[tuple[Item, str]]]


def find_outlines(root: Path, files: Sequence[Path], pictures: Sequence[Item]) -> tuple[Labels, list[Finding], str]:
    """The files of outlines of images, of many or of one each; findings; and what has to be asked, or "".

    A file of many images is of those in the nearest folder above it that has any, of the part of a split that its name
    or its folders tell. Of the images there that a name fits, there must be one.
    """
    found = [path for path in files if is_outline_file(path) and path.name != "labels.json"]
    if (video := next(filter(is_cvat_video, found), None)) is not None:
        question = (
            f"{video}: holds tracks of CVAT's format for video, which names no images. Export the task in the format "
            '"CVAT for images 1.1".'
        )
        return {}, [], question
    formats = {path: format for path in found if (format := find_outline_format(path)) is not None}
    labels: Labels = {}
    findings: list[Finding] = []
    shared = [path for path, format in formats.items() if format.images is not None]
    for path in shared:
        named = _images_of(path, root, pictures)
        for name, numbers in named.items():
            if len(numbers) > 1:
                shown = " and ".join(relative(pictures[n].paths[0], root) for n in numbers[:2])
                question = (
                    f"{path}: names {name}, which may be {shown}. Put each file into the folder of its images, "
                    "or write the folder into each file_name."
                )
                return {}, [], question
            labels.setdefault(numbers[0], []).append((Item((path,), "", ""), ""))
        absent = [name for name in outline_images(path) or () if name not in named]
        if absent:
            text = f"names {count_text(len(absent), 'image')} that are not there, {absent[0]} among them"
            findings.append(Finding(level="warning", kind="missing-file", text=text, file=relative(path, root)))
    if not shared:
        beside = list(formats)
        items = [Item((path,), _folder_below(path, root, pictures), path.stem) for path in beside]
        pairs = pair(pictures, items)
        labels = {n: [(items[mask], "") for mask, _ in masks] for n, masks in pairs.masks.items()}
        left = [path for n, path in enumerate(beside) if n not in pairs.pairs]
        findings += [extra_mask(path, root, f"an image of the name {path.stem}") for path in left]
    return labels, findings, ""


def _images_of(path: Path, root: Path, pictures: Sequence[Item]) -> dict[str, list[int]]:
    """{file name in a file of many images: indices of the images that it may mean}."""
    known = outline_images(path) or {}
    paths = [picture.paths[0] for picture in pictures]
    folder = next((p for p in path.parents if p == root or any(each.is_relative_to(p) for each in paths)), root)
    own = _part(path, root) or part_of_name(path.stem)
    called: dict[str, int] = {}
    for each in paths:
        called[each.name] = called.get(each.name, 0) + 1
    named: dict[str, list[int]] = {}
    for n, each in enumerate(paths):
        if not each.is_relative_to(folder) or (own and _part(each, root) not in ("", own)):
            continue
        name = name_of(known, each)
        if name is None:
            continue
        told = not each.as_posix().endswith(f"/{name}")
        if told and (called[each.name] > 1 or _differ(name, relative(each, root))):
            continue
        named.setdefault(name, []).append(n)
    return named


def _part(path: Path, root: Path) -> str:
    return part_of(PurePosixPath(relative(path, root)))


def _differ(name: str, path: str) -> bool:
    """Whether two paths have folders, other than "images" and "train", and share none of them."""
    first, second = (
        {normal(part) for part in PurePosixPath(each).parts[:-1] if not _is_common(part)} for each in (name, path)
    )
    return bool(first and second) and not first & second


def _is_common(folder: str) -> bool:
    return bool(folder_role(folder) or part_of_name(folder)) or folder.lower() in (*PART_WORDS, ".", "..", "/")


def _folder_below(path: Path, root: Path, pictures: Sequence[Item]) -> str:
    """The folder of an item for a file: that of an image beside it, else its own."""
    beside = (item.folder for item in pictures if item.paths[0].parent == path.parent)
    parts = path.parent.relative_to(root).parts if path.parent != root else ()
    return next(beside, "/".join(part for part in parts if folder_role(part) != "mask"))
