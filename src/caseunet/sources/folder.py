"""Any folder of images and masks, paired by name.

Layout: a folder of images beside one of masks (``images/`` and ``masks/``, ``imagesTr/`` and ``labelsTr/`` …), also
deeper, as in ``train/images``; or both together, the masks named like their images with an ending such as ``_mask``.
Images are PNG, JPEG, TIFF, BMP, NIfTI, NRRD or MetaImage. Masks hold ids, 0 and 255, or colours. A ``labels.json`` in
the folder ([{name, classid, color}, …]) names the classes; without it they are found in the masks.
"""

import json
import re
from pathlib import Path

from caseunet.errors import UserError
from caseunet.files import read_json
from caseunet.io import images, raster
from caseunet.sources.coding import read_labels_json
from caseunet.sources.layout import (
    Finding,
    Listing,
    SourceCase,
    SourceDataset,
    by_key,
    extra_mask,
    files_below,
    no_cases,
    twice,
)
from caseunet.sources.names import MASK_WORDS, bare_name, find_groups, told_groups
from caseunet.sources.reading import file_layout
from caseunet.types import LabelCoding, Modality

IMAGE_FOLDERS = {"images", "image", "imgs", "img", "imagestr", "imagests", "frames", "scans", "volumes", "jpegimages"}
MASK_FOLDERS = {
    *("masks", "mask", "labels", "label", "labelstr", "annotations", "segmentations", "segmentationclass"),
    *("gt", "groundtruth", "ground_truth", "truth"),
}

_MASK_ENDING = re.compile(rf"(?P<key>.+)[-_. ]{MASK_WORDS}(?:[-_ ]?\d+)?$", re.IGNORECASE)


def matches(root: Path) -> bool:
    pictures, masks = _by_role(root)
    return bool(pictures and masks)


def cases(root: Path) -> Listing:
    """List the images; ``id`` is the path without suffix and without the folder "images".

    Names that end in a number are taken for the slices or frames of the group that stands before it.

    Raises:
        UserError: there are no images.
    """
    pictures, masks = _by_role(root)
    if not pictures:
        raise no_cases(root, "a folder of images beside one of masks, such as images/ and masks/,")
    found, found_twice = by_key(pictures, lambda path: pictures[path])
    labels, labels_twice = by_key(masks, lambda path: masks[path])
    findings = [twice(path, root, found[pictures[path]]) for path in found_twice]
    findings += [twice(path, root, labels[masks[path]]) for path in labels_twice]
    pairs = {name: labels.pop(name) for name in found if name in labels}
    by_bare_name: dict[str, list[str]] = {}
    for name in found:
        if name not in pairs:
            by_bare_name.setdefault(bare_name(name), []).append(name)
    for name in list(labels):  # volume_7 and segmentation_7, 7 and 7_mask
        same = by_bare_name.get(bare_name(name), [])
        if len(same) == 1 and same[0] not in pairs:
            pairs[same[0]] = labels.pop(name)
    findings += [extra_mask(path, root, f"an image of the name {name}") for name, path in labels.items()]
    groups = find_groups(list(found))
    listed = tuple(
        SourceCase(id=name, image=(path,), label=(pairs[name],) if name in pairs else (), group=groups[name])
        for name, path in found.items()
    )
    return Listing(listed, tuple(findings))


def discover(root: Path) -> SourceDataset:
    listed, findings = cases(root)
    modality, remark = _modality(listed)
    own = root / "labels.json"
    notes = [Finding(level="note", kind="modality", text=remark)] if remark else []
    return SourceDataset(
        format="folder",
        root=root,
        cases=listed,
        coding=_named(own, listed) if own.is_file() else None,
        modality=modality,
        group_name="group",
        licence="",
        findings=(*findings, *notes, *told_groups(listed)),
    )


def _by_role(root: Path) -> tuple[dict[Path, str], dict[Path, str]]:
    """{path: key} of images and of masks; an image and its mask have the same key, or nearly."""
    files = [path for path in files_below(root) if images.is_image(path)]
    roles = {path: _folder_role(path.relative_to(root)) for path in files}
    pictures = {path: _key(path, root, place) for path, (role, place) in roles.items() if role == "image"}
    masks = {path: _key(path, root, place) for path, (role, place) in roles.items() if role == "mask"}
    if not masks:  # side by side
        for path in files:
            key = pictures.pop(path, None) or _key(path, root, None)
            if match := _MASK_ENDING.match(key):
                masks[path] = match["key"]
            else:
                pictures[path] = key
    return pictures, masks


def _folder_role(path: Path) -> tuple[str, int | None]:
    """What the folders of a path tell of the file, and which of them does; the innermost counts."""
    for place, part in reversed(list(enumerate(path.parts[:-1]))):
        if part.lower() in IMAGE_FOLDERS:
            return "image", place
        if part.lower() in MASK_FOLDERS:
            return "mask", place
    return "", None


def _key(path: Path, root: Path, place: int | None) -> str:
    """The path below ``root`` without suffix and without the folder that tells the role."""
    parts = path.relative_to(root).parts
    folders = [part for number, part in enumerate(parts[:-1]) if number != place]
    return "/".join([*folders, images.stem(path)])


def _in_color(path: Path) -> bool:
    try:
        return raster.is_colored(path)
    except UserError:
        return False


def _named(path: Path, listed: tuple[SourceCase, ...]) -> LabelCoding:
    """The classes of labels.json: by colour if it names colours and the masks hold them, else by id."""
    content = read_json(path, "labels.json with name and classid of each class")
    return read_labels_json(path, colored='"color"' in json.dumps(content) and _masks_in_color(listed))


def _masks_in_color(listed: tuple[SourceCase, ...]) -> bool:
    """Whether any mask holds colours; grey saved as colour does not."""
    for case in listed:
        if case.label and raster.is_raster(case.label[0]):
            try:
                if raster.is_colored(case.label[0]) and raster.read_mask(case.label[0]).colored:
                    return True
            except UserError:
                continue
    return False


def _modality(listed: tuple[SourceCase, ...]) -> tuple[Modality, str]:
    """Colour or grey by the files' headers; for volumes CT or MR by the values of the first that can be read."""
    paths = [case.image[0] for case in listed]
    if not images.is_volume(paths[0]):
        return ("rgb" if any(_in_color(path) for path in paths if raster.is_raster(path)) else "gray"), ""
    for path in paths[:3]:
        try:
            lowest = images.read_picture(path, rgb=False).pixels.min()
        except UserError:
            continue
        if lowest <= -500:
            return "ct", f"taken for CT, since {path.name} reaches {lowest:g}; otherwise give --prepare.modality mr"
        return "mr", f"taken for MR, since {path.name} does not go below {lowest:g}; for CT give --prepare.modality ct"
    return "mr", ""


FOLDER = file_layout(
    name="folder",
    looks_like="images/ and masks/ (or labels/, imagesTr/ and labelsTr/ …) with files of the same names",
    rank=2,
    matches=matches,
    cases=cases,
    discover=discover,
)
