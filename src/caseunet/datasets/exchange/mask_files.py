"""Masks as files beside their images: indexed PNG, NIfTI, 3D Slicer's .seg.nrrd, DICOM segmentation objects."""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.datasets.exchange.source import IGNORE_COLOR, IGNORE_NAME, ExchangeCase, ExchangeSource
from caseunet.errors import InvalidInputError
from caseunet.files import write_json
from caseunet.io import images, nifti, raster_file
from caseunet.io.dicom_file import is_dicom
from caseunet.io.dicom_seg import Algorithm, SegmentContent, segments_of, write_segmentation
from caseunet.io.seg_nrrd import write_seg_nrrd
from caseunet.types import IGNORE, Color, Geometry, LabelMap


def convert_to_png(source: ExchangeSource, folder: Path) -> None:
    """Write images/, masks/ with a palette, and labels.json; the slices of volumes one by one.

    Raises:
        CaseUNetError: a case cannot be read.
    """
    source.tell_losses("png")
    colors = index_colors(source.label_map)
    for frame in source.frames():
        place = folder / frame.part
        if frame.picture is not None:
            frame.write_picture(place / "images")
        raster_file.write_ids(place / "masks" / f"{frame.name}.png", frame.labels, colors)
    write_label_names(source, folder)


def convert_to_nifti(source: ExchangeSource, folder: Path) -> None:
    """Write images/ and masks/ as .nii.gz, and labels.json.

    Raises:
        CaseUNetError: an image has no position in space, or a case cannot be read.
    """
    for case in source.each(source.labelled):
        labels, geometry = source.read_case(case)
        _require_place(case, geometry.affine, "nifti")
        image = _write_nifti_image(source, case, folder / case.part / "images") if source.has_image(case) else None
        nifti.write_nifti_labels(folder / case.part / "masks" / f"{case.name}.nii.gz", labels, geometry, image)
    source.tell_without_mask()
    source.tell_partial("nifti")
    write_label_names(source, folder)


def convert_to_seg_nrrd(source: ExchangeSource, folder: Path) -> None:
    """Write images/ as .nii.gz and masks/ as .seg.nrrd of 3D Slicer, where regions that overlap are segments too.

    Raises:
        CaseUNetError: an image has no position in space, or a case cannot be read.
    """
    for case in source.each(source.labelled):
        labels, geometry = source.read_case(case)
        _require_place(case, geometry.affine, "seg.nrrd")
        if source.has_image(case):
            _write_nifti_image(source, case, folder / case.part / "images")
        segments = segments_of(source.label_map)
        if case.case.id in source.ignored:
            segments.append(SegmentContent(len(segments) + 1, IGNORE_NAME, IGNORE_COLOR, (IGNORE,)))
        write_seg_nrrd(folder / case.part / "masks" / f"{case.name}.seg.nrrd", labels, geometry, segments)
    source.tell_without_mask()
    source.tell_partial("seg.nrrd")


def convert_to_dicom_seg(source: ExchangeSource, folder: Path) -> None:
    """Write a DICOM segmentation object for each series, NAME.dcm.

    Raises:
        CaseUNetError: the images are no DICOM series, or pixels are there that nobody judged.
    """
    made_by = Algorithm("caseunet convert", version("caseunet"), "none", by_hand=True)
    for case in source.each(source.labelled):
        labels, geometry = require_series(source, case, "dicom-seg")
        path = folder / f"{case.name}.dcm"
        write_segmentation(path, labels, geometry, case.case.image, source.label_map, made_by)
    source.tell_without_mask()
    source.tell_partial("dicom-seg")


def require_series(source: ExchangeSource, case: ExchangeCase, format: str) -> tuple[np.ndarray, Geometry]:
    """The labels of a case whose image is a DICOM series, and its geometry.

    Raises:
        CaseUNetError: it is none, or pixels are there that nobody judged.
    """
    if source.dataset.format == "predictions":
        raise InvalidInputError(
            f"{case.case.label[0]}: is a prediction, and {format} written here would name no model. predict writes "
            "DICOM segmentation objects itself (dicom_seg)."
        )
    if not is_dicom(case.case.image[0]):
        raise InvalidInputError(
            f"{case.case.image[0]}: is no DICOM file, and {format} names the series that it is of. Convert the DICOM "
            "data set itself."
        )
    labels, geometry = source.read_case(case)
    _require_place(case, geometry.affine, format)
    if case.case.id in source.ignored:
        raise InvalidInputError(
            f"{case.case.label[0]}: {source.ignored[case.case.id]:,} of its pixels were judged by nobody, and "
            f"{format} has no word for them. Write seg.nrrd or nifti."
        )
    return labels, geometry


def index_colors(label_map: LabelMap) -> list[Color]:
    """A colour for each of 256 values: of classes their own, of the ignored ones white."""
    own = list(label_map.colors)
    return [*own, *[(0, 0, 0)] * (IGNORE - len(own)), IGNORE_COLOR]


def write_label_names(source: ExchangeSource, folder: Path) -> None:
    """Write labels.json, which says what the values of masks mean, and which regions there are."""
    names: dict[str, Any] = {label.name: label.id for label in source.label_map.labels}
    if source.ignored:
        names[IGNORE_NAME] = IGNORE
    content: dict[str, Any] = {"labels": names}
    if source.label_map.region_ids:
        content["regions"] = {name: list(members) for name, members in source.label_map.structures.items()}
    write_json(folder / "labels.json", content)


def _write_nifti_image(source: ExchangeSource, case: ExchangeCase, folder: Path) -> Path | None:
    """Write the image; gives a file whose header the mask's may follow."""
    files = case.case.image
    folder.mkdir(parents=True, exist_ok=True)
    copied = case.case.id not in source.dataset.repairs and all(path.name.lower().endswith(".nii.gz") for path in files)
    if copied:
        targets = [folder / name for name in _file_names(case, len(files))]
        for path, target in zip(files, targets, strict=True):
            shutil.copyfile(path, target)
        return targets[0]
    geometry, pixels = source.layout.read_geometry(case.case), source.read_pixels(case)
    targets = [folder / name for name in _file_names(case, pixels.shape[1])]
    like = files[0] if images.is_volume(files[0]) else None
    for channel, target in enumerate(targets):
        nifti.write_nifti_image(target, pixels[:, channel], geometry, like)
    return targets[0]


def _file_names(case: ExchangeCase, channels: int) -> list[str]:
    if channels == 1:
        return [f"{case.name}.nii.gz"]
    return [f"{case.name}_{channel:04d}.nii.gz" for channel in range(channels)]


def _require_place(case: ExchangeCase, affine: np.ndarray | None, format: str) -> None:
    if affine is None:
        raise InvalidInputError(
            f"{case.case.image[0]}: is a picture without a position in space, which {format} needs. Write png."
        )
