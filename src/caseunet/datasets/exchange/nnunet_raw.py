"""nnU-Net's raw format: ``DatasetNNN_NAME`` with imagesTr, labelsTr, imagesTs, dataset.json and splits_final.json."""

import gzip
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.datasets.exchange.source import ExchangeCase, ExchangeSource, is_plain_picture
from caseunet.errors import InvalidInputError
from caseunet.files import write_json
from caseunet.io import images, nifti, raster
from caseunet.io.geometry import canonical_shape
from caseunet.types import IGNORE, Geometry, LabelMap

IGNORE_KEY = "ignore"
VOLUMES = (".nrrd", ".mha")
"""Kinds of volumes beside NIfTI that are kept where all images are of one kind."""


def convert_to_nnunet(source: ExchangeSource, folder: Path) -> None:
    """Write a data set that nnU-Net takes as it is.

    Images are copied where nnU-Net reads their files, else written anew with the same values and place. Cases of a test
    set, and those without a mask, go to imagesTs; masks of the test set to labelsTs.

    Raises:
        CaseUNetError: no case has a mask to train on, volumes and pictures are mixed, the regions cannot be told in
            nnU-Net's words, or a case cannot be read.
    """
    source.require_images("nnunet")
    training = [case for case in source.labelled if case.part != "test"]
    if not training:
        raise InvalidInputError(f"{source.dataset.root}: has no masks outside the test set, so there is no training.")
    labels = name_labels(source.label_map)
    root = folder / f"Dataset{source.options.dataset_id:03d}_{_clean_name(source)}"
    ending = _choose_ending(source)
    channels = 0
    for case in source.each(source.cases):
        is_training = bool(case.case.label) and case.part != "test"
        found = _write_case(source, case, root, is_training, ending)
        if channels not in (0, found):
            raise InvalidInputError(
                f"{case.case.image[0]}: has {found} channels, others have {channels}; nnU-Net needs as many in each."
            )
        channels = found
    source.tell_partial("nnU-Net")
    if source.ignored:
        labels[IGNORE_KEY] = len(source.label_map)
    content: dict[str, Any] = {
        "name": _clean_name(source),
        "channel_names": _name_channels(source, channels),
        "labels": labels,
        "numTraining": len(training),
        "file_ending": ending,
    }
    if source.label_map.region_ids:
        content["regions_class_order"] = order_regions(source.label_map)
    if source.dataset.licence:
        content["licence"] = source.dataset.licence
    write_json(root / "dataset.json", content)
    _write_splits(source, root)


def name_labels(label_map: LabelMap) -> dict[str, Any]:
    """The "labels" of dataset.json: {class: id}, or where there are regions {region: ids}, outer ones first."""
    background = label_map.names[0]
    if not label_map.region_ids:
        return {"background": 0} | {label.name: label.id for label in label_map.labels[1:]}
    if "background" in label_map.structures:
        raise InvalidInputError(f'A region is called "background", as nnU-Net calls what is around; here {background}.')
    return {"background": 0} | {name: list(label_map.structures[name]) for name in _outer_first(label_map)}


def order_regions(label_map: LabelMap) -> list[int]:
    """The class that nnU-Net writes for each region, in the order in which it paints them.

    Raises:
        CaseUNetError: a region has no class of its own, so that nnU-Net could not write it.
    """
    names = _outer_first(label_map)
    order = []
    for number, name in enumerate(names):
        later = {i for other in names[number + 1 :] for i in label_map.structures[other]}
        own = [i for i in label_map.structures[name] if i not in later]
        if not own:
            raise InvalidInputError(
                f'The region "{name}" consists of smaller ones alone. nnU-Net paints one region over another, and '
                "needs a class of its own for each."
            )
        order.append(next((i for i in own if i in label_map.region_ids), own[0]))
    return order


def _outer_first(label_map: LabelMap) -> list[str]:
    known = {i for members in label_map.structures.values() for i in members}
    left = [label.name for label in label_map.labels[1:] if label.id not in known]
    if left:
        raise InvalidInputError(
            f'The class "{left[0]}" is in no region. nnU-Net takes every value of a mask for part of one: name a '
            "region that holds it."
        )
    return sorted(label_map.structures, key=lambda name: -len(label_map.structures[name]))


def _clean_name(source: ExchangeSource) -> str:
    return re.sub(r"\W+", "", source.options.dataset_name or source.name) or "Data"


def _choose_ending(source: ExchangeSource) -> str:
    """One for all files: of volumes their own kind if it is one, else .nii.gz; of pictures .png.

    Raises:
        CaseUNetError: there are both.
    """
    flat = {source.layout.read_geometry(case.case).affine is None for case in source.cases}
    stack = next((case for case in source.cases if has_slices(source.layout.read_geometry(case.case))), None)
    if stack is not None:
        pages = source.layout.read_geometry(stack.case).shape[0]
        raise InvalidInputError(
            f"{stack.case.image[0]}: is a stack of {pages} pages without a position in space, which nnU-Net cannot "
            "hold. Convert to png first, then its slices."
        )
    if len(flat) > 1:
        raise InvalidInputError(
            f"{source.dataset.root}: holds volumes and pictures, and nnU-Net's data sets are of one kind. Convert "
            "each by itself."
        )
    if flat == {True}:
        return ".png"
    files = [path for case in source.cases for path in case.case.image]
    endings = {path.suffix.lower() for path in files}
    kept = len(endings) == 1 and endings <= set(VOLUMES) and not source.dataset.repairs
    return files[0].suffix.lower() if kept and all(map(_is_one_volume, files)) else ".nii.gz"


def has_slices(geometry: Geometry) -> bool:
    """Whether an image without a position in space has several slices."""
    return geometry.affine is None and len(geometry.shape) == 3


def _write_case(source: ExchangeSource, case: ExchangeCase, root: Path, is_training: bool, ending: str) -> int:
    """Write image and mask of one case; gives the number of channels."""
    folder = root / ("imagesTr" if is_training else "imagesTs")
    folder.mkdir(parents=True, exist_ok=True)
    write = _write_picture if ending == ".png" else _write_volume
    channels = write(source, case, folder, ending)
    if case.case.label:
        labels, geometry = source.read_case(case)
        values = np.where(labels == IGNORE, len(source.label_map), labels).astype(np.uint8)
        path = root / ("labelsTr" if is_training else "labelsTs") / f"{case.name}{ending}"
        if ending == ".png":
            path.parent.mkdir(parents=True, exist_ok=True)
            raster.write_image(path, values[0])  # grey, since nnU-Net would read a palette as colours
        else:
            like = folder / f"{case.name}_0000{ending}"
            images.write_mask_file(path, values, geometry, (), like if ending == ".nii.gz" else None)
    return channels


def _write_picture(source: ExchangeSource, case: ExchangeCase, folder: Path, ending: str) -> int:
    files, shape = case.case.image, canonical_shape(source.layout.read_geometry(case.case))[-2:]
    kept = case.case.id not in source.dataset.repairs and not case.case.volume
    if kept and all(path.suffix.lower() == ".png" and is_plain_picture(path, shape) for path in files):
        for channel, path in enumerate(files):
            shutil.copyfile(path, folder / f"{case.name}_{channel:04d}{ending}")
        return 3 if len(files) == 1 and raster.is_colored(files[0]) else len(files)
    pixels = source.read_pixels(case)[0]
    if pixels.dtype not in (np.uint8, np.uint16):
        raise InvalidInputError(
            f"{files[0]}: its values are {pixels.dtype}; a PNG of nnU-Net holds whole numbers from 0 to 65535."
        )
    if len(pixels) == 3 and len(files) == 1:
        raster.write_image(folder / f"{case.name}_0000{ending}", pixels.transpose(1, 2, 0))
    else:
        for channel, own in enumerate(pixels):
            raster.write_image(folder / f"{case.name}_{channel:04d}.png", own)
    return len(pixels)


def _write_volume(source: ExchangeSource, case: ExchangeCase, folder: Path, ending: str) -> int:
    files = case.case.image
    kept = case.case.id not in source.dataset.repairs and all(_is_one_volume(path) for path in files)
    if kept and all(path.name.lower().endswith((ending, ".nii" if ending == ".nii.gz" else ending)) for path in files):
        for channel, path in enumerate(files):
            _copy(path, folder / f"{case.name}_{channel:04d}{ending}")
        return len(files)
    geometry, pixels = source.layout.read_geometry(case.case), source.read_pixels(case)
    for channel in range(pixels.shape[1]):
        nifti.write_nifti_image(folder / f"{case.name}_{channel:04d}{ending}", pixels[:, channel], geometry, files[0])
    return int(pixels.shape[1])


def _is_one_volume(path: Path) -> bool:
    """Whether a file holds one channel, and all of it."""
    return images.is_volume(path) and images.find_pixel_file(path) is None and images.read_axes(path) == 3


def _copy(path: Path, target: Path) -> None:
    """The same bytes; an unpacked NIfTI file is packed."""
    if target.name.lower().endswith(".gz") and not path.name.lower().endswith(".gz"):
        with path.open("rb") as plain, gzip.open(target, "wb", compresslevel=1) as packed:
            shutil.copyfileobj(plain, packed)
    else:
        shutil.copyfile(path, target)


def _name_channels(source: ExchangeSource, channels: int) -> dict[str, str]:
    """By them nnU-Net chooses how to normalise: "CT" by the window of the data set, others by each image."""
    modality, names = source.dataset.modality, source.dataset.channel_names
    if modality == "rgb" and channels == 3:
        names = ("red", "green", "blue")
    elif modality == "ct":
        names = ("CT",) * channels
    elif len(names) != channels:
        names = tuple(f"{modality.upper()}{n or ''}" for n in range(channels))
    return {str(number): name for number, name in enumerate(names)}


def _write_splits(source: ExchangeSource, root: Path) -> None:
    if source.split is None:
        source.display.caution(
            "there is no split, so no splits_final.json is written. nnU-Net draws folds by itself, and may part the "
            "cases of one patient. Name a split to avoid it"
        )
        return
    names = {case.case.id: case.name for case in source.cases}
    folds = [
        {"train": [names[case] for case in fold.train], "val": [names[case] for case in fold.val]}
        for fold in source.split.folds
    ]
    write_json(root / "splits_final.json", folds)
