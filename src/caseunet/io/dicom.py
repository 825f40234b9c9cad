"""DICOM: headers, series of slices as volumes, and single images, through pydicom."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from caseunet.io import dicom_planes, scratch
from caseunet.io.dicom_contours import contour_names, read_contours
from caseunet.io.dicom_file import (
    SUFFIXES,
    check_pixels,
    decode_frames,
    explain_errors,
    frame_count,
    is_dicom,
    read_dataset,
)
from caseunet.io.dicom_masks import (
    read_dicom_segmentation,
    read_overlapping,
    read_segmentation_geometry,
    segment_labels,
)
from caseunet.io.dicom_mixtures import part_projections
from caseunet.io.dicom_planes import (
    Plane,
    check_scale,
    find_rescale,
    group_items,
    read_planes,
)
from caseunet.io.dicom_stack import SliceStack, fit_stack
from caseunet.io.dicom_volumes import split_volumes
from caseunet.io.geometry import to_canonical, volume_geometry
from caseunet.io.values import as_integers
from caseunet.types import Geometry, ImageVolume

__all__ = [
    "SUFFIXES",
    "Header",
    "is_dicom",
    "read_contours",
    "read_dicom_segmentation",
    "read_header",
    "read_overlapping",
    "read_segmentation_geometry",
    "read_series",
    "read_series_geometry",
    "read_still",
    "read_still_geometry",
]

Kind = Literal["volume", "still", "segmentation", "contours", "other"]

VOLUMES = ("CT", "MR", "PT", "NM", "")
"""Modalities whose images are slices where they have a position."""

MASKS = {"SEG": "segmentation", "RTSTRUCT": "contours"}

_SOP_MODALITIES = (
    ("CT Image", "CT"),
    ("MR Image", "MR"),
    ("MR Color Image", "MR"),
    ("Positron", "PT"),
    ("PET Image", "PT"),
    ("Nuclear Medicine", "NM"),
    ("Segmentation Storage", "SEG"),
    ("RT Structure Set", "RTSTRUCT"),
    ("RT Dose", "RTDOSE"),
    ("Computed Radiography", "CR"),
    ("Digital X-Ray", "DX"),
    ("Digital Mammography", "MG"),
    ("Ultrasound", "US"),
    ("X-Ray Angiographic", "XA"),
    ("X-Ray Radiofluoroscopic", "RF"),
    ("Endoscopic", "ES"),
    ("Ophthalmic Photography", "OP"),
    ("Photographic", "XC"),
    ("Secondary Capture", "OT"),
)
"""Words in the name of a SOP class → the modality of its objects."""

_NO_IMAGES = (
    "Dose",
    "SR",
    "Presentation State",
    "Plan",
    "Waveform",
    "Encapsulated",
    "Raw Data",
    "Registration",
    "Directory",
)
"""Words in the names of SOP classes that hold no image, or one that is no scan."""

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_TAGS: list[Any] = [
    *("SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID", "Modality", "PatientID", "PatientName", "SeriesNumber"),
    "KVP",
    *("SeriesDescription", "ReferencedSeriesSequence", "SegmentSequence", "MagneticFieldStrength", "SamplesPerPixel"),
    *("PhotometricInterpretation", "ConcatenationUID", "StructureSetROISequence", "ROIContourSequence"),
    *("ReferencedFrameOfReferenceSequence", "FrameOfReferenceUID", "RescaleType"),
    *dicom_planes.TAGS,
]


@dataclass(frozen=True)
class Header:
    """What tells how a DICOM file belongs to others.

    Attributes:
        path: the file.
        kind: a slice or several of a volume; a still image or several; a mask; or something else.
        what: the name of its SOP class, or its modality.
        series: SeriesInstanceUID; may be empty.
        study: StudyInstanceUID; may be empty.
        space: FrameOfReferenceUID; may be empty.
        instance: SOPInstanceUID; may be empty.
        modality: "CT", "MR", "SEG" …, by its SOP class where the element is missing; "" where nothing tells.
        patient: PatientID; may be empty.
        patient_name: PatientName; may be empty.
        number: SeriesNumber; may be empty.
        description: SeriesDescription; may be empty.
        localizer: whether it is a scout view.
        references: for a mask, the SeriesInstanceUIDs of the images that it is of.
        segments: for a mask, {number: label}; contours without any point are none.
        frames: how many it has.
        colored: whether its pixels are colours.
        planes: of a volume, where its slices lie; () where its headers do not tell.
        problem: why they do not.
    """

    path: Path
    kind: Kind
    what: str
    series: str
    instance: str
    modality: str
    patient: str
    number: str
    description: str
    localizer: bool
    references: tuple[str, ...]
    segments: Mapping[int, str]
    frames: int = 1
    colored: bool = False
    planes: tuple[Plane, ...] = ()
    problem: str = ""
    study: str = ""
    space: str = ""
    patient_name: str = ""


def read_header(path: Path) -> Header:
    """Read what :class:`Header` lists.

    Raises:
        CaseUNetError: the file is no DICOM, or an image that is cut short.
    """
    with explain_errors(path, "cannot be read as DICOM"):
        d = read_dataset(path, pixels=False, tags=_TAGS)
        what, modality = _sop_name(d), modality_of(d)[0]
        kind = _kind(d, what, modality)
        if kind == "other" and "Rows" not in d and not _is_no_image(what, modality):
            raise ValueError("it has no Rows, so it is no image, or is cut short")
        planes: tuple[Plane, ...] = ()
        problem = ""
        if kind == "volume":
            try:
                planes = tuple(read_planes(path, d))
            except ValueError as error:
                problem = str(error)
        return Header(
            path=path,
            kind=kind,
            what=what or modality or "unknown",
            series=str(d.get("SeriesInstanceUID", "") or ""),
            instance=str(d.get("SOPInstanceUID", "") or ""),
            modality=modality,
            patient=str(d.get("PatientID", "") or "").strip(),
            patient_name=str(d.get("PatientName", "") or "").strip(),
            number=str(d.get("SeriesNumber", "") or ""),
            description=str(d.get("SeriesDescription", "") or ""),
            localizer="LOCALIZER" in [str(value).upper() for value in d.get("ImageType", None) or ()],
            references=_references(d, kind),
            segments=_segments(d, kind),
            frames=frame_count(d) if kind in ("volume", "still") else 1,
            colored=int(d.get("SamplesPerPixel", 1) or 1) > 1 or d.get("PhotometricInterpretation") == "PALETTE COLOR",
            planes=planes,
            problem=problem,
            study=str(d.get("StudyInstanceUID", "") or ""),
            space=str(d.get("FrameOfReferenceUID", "") or ""),
        )


def modality_of(dataset: Any) -> tuple[str, str]:
    """The modality, and a remark where its element is missing: by the SOP class, or by what only such images have."""
    told = str(dataset.get("Modality", "") or "").strip().upper()
    if told:
        return told, ""
    name = _sop_name(dataset)
    by_class = next((modality for words, modality in _SOP_MODALITIES if words in name), "")
    if by_class:
        return by_class, f"it has no Modality; by its SOPClassUID ({name}) it is {by_class}"
    if dataset.get("RescaleType") == "HU" or dataset.get("KVP"):
        return "CT", "it has no Modality and SOPClassUID; by its KVP or RescaleType it is CT"
    if dataset.get("MagneticFieldStrength") or dataset.get("EchoTime"):
        return "MR", "it has no Modality and SOPClassUID; by its EchoTime or MagneticFieldStrength it is MR"
    return "", "it has no Modality and no SOPClassUID that tells one; it is taken for what is expected"


def read_series_geometry(paths: Sequence[Path], part: str = "") -> Geometry:
    """Of a series, from its headers: shape (columns, rows, slices), as NIfTI and NRRD files of it have.

    Args:
        paths: as for :func:`read_series`.
        part: as there.

    Raises:
        CaseUNetError: a file is damaged, or the slices are no stack.
    """
    return _stack(paths, part)[1]


def read_series(paths: Sequence[Path], part: str = "", nan: float | None = None) -> ImageVolume:
    """A series as a volume in canonical order, (S, 1, H, W), sorted by position, rescaled (HU for CT).

    Slices lie on the even grid that is nearest to their positions. One that is there twice is used once.

    Args:
        paths: one file for each slice, or one with all frames.
        part: of several volumes in the files, the one that is meant, as :func:`split_volumes` calls it.
        nan: what replaces NaN; None makes NaN an error.

    Raises:
        CaseUNetError: a file is damaged or compressed in an unknown way, or the slices are no stack.
    """
    stack, geometry = _stack(paths, part)
    rows, columns = stack.planes[0].size
    order = {(plane.path, plane.frame): n for n, plane in enumerate(stack.planes)}
    with explain_errors(paths[0], "the slices of its series make no volume"), np.errstate(over="ignore"):
        volume = scratch.zeros((len(stack.planes), rows, columns), np.float32)
        for path in dict.fromkeys(plane.path for plane in stack.planes):
            frames = sorted(frame for own, frame in order if own == path)
            for frame, values in zip(frames, _read_values(path, frames), strict=True):
                volume[order[path, frame]] = values  # what is beyond single precision becomes infinite, and is told
    return ImageVolume(to_canonical(as_integers(volume.T, paths[0], nan), geometry)[:, None], geometry)


def read_still_geometry(path: Path) -> Geometry:
    """Of a still image, from its header: (rows, columns), without a position.

    Raises:
        CaseUNetError: the file is damaged.
    """
    with explain_errors(path, "cannot be read as DICOM"):
        d = read_dataset(path, pixels=False)
        return Geometry(shape=(int(d.Rows), int(d.Columns)), remarks=_still_remarks(d))


def read_still(path: Path, frame: int, rgb: bool, nan: float | None = None) -> ImageVolume:
    """A frame of a still image, (1, 1 or 3, H, W).

    Grey values are the stored ones with the modality transform, whatever window a screen would use, and rise with
    brightness: MONOCHROME1 is turned. Palettes and YBR become RGB.

    Args:
        path: the file.
        frame: its number, from 0.
        rgb: whether colours are wanted, of 8 bits; grey becomes R = G = B.
        nan: what replaces NaN; None makes NaN an error.

    Raises:
        CaseUNetError: the file is damaged, or no image of that kind.
    """
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

    with explain_errors(path, "cannot be read as DICOM"):
        d = read_dataset(path)
        check_pixels(path, d)
        if not 0 <= frame < frame_count(d):
            raise ValueError(f"it has {frame_count(d)} frames, none with the number {frame + 1}")
        values = next(iter(decode_frames(d, [frame], raw=False)))
        if d.PhotometricInterpretation == "PALETTE COLOR":
            values = apply_color_lut(values, d)
            bits = int(d.RedPaletteColorLookupTableDescriptor[2])
            values = (values >> (bits - 8)).astype(np.uint8) if bits > 8 else values.astype(np.uint8)
        if values.ndim == 3 and values.shape[2] == 3 and np.ptp(values, axis=2).max(initial=0) == 0:
            values = values[..., 0]  # grey that was saved as colours
        if values.ndim == 2:
            if _is_inverted(d):
                values = _darkest_last(values.astype(np.int64), int(d.BitsStored))
            values = as_integers(apply_modality_lut(values, d).astype(np.float32), path, nan)
        elif not rgb:
            raise ValueError(f"it is in colour ({d.PhotometricInterpretation}); grey values were expected")
        if rgb:
            if values.min(initial=0) < 0 or values.max(initial=0) > 255:
                raise ValueError(f"its pixels have {d.BitsStored} bits (BitsStored); 8 in each colour were expected")
            values = np.repeat(values[..., None], 3, axis=2) if values.ndim == 2 else values
            pixels = values.astype(np.uint8).transpose(2, 0, 1)
        else:
            pixels = values[None]
        shape = (int(d.Rows), int(d.Columns))
        return ImageVolume(pixels[None].copy(), Geometry(shape=shape, remarks=_still_remarks(d)))


def _darkest_last(values: np.ndarray, bits: int) -> np.ndarray:
    """Stored values turned in their range; those of 8 bits stay such, however many bits there would be room for."""
    if values.min(initial=0) < 0:
        return -1 - values
    return 2 ** (8 if values.max(initial=0) < 256 else bits) - 1 - values


def _still_remarks(dataset: Any) -> tuple[str, ...]:
    if _is_inverted(dataset):
        return (f"its values were turned, for {dataset.PhotometricInterpretation} shows low ones bright",)
    return ()


def _is_inverted(dataset: Any) -> bool:
    return bool(dataset.get("PhotometricInterpretation") == "MONOCHROME1")


def _stack(paths: Sequence[Path], part: str) -> tuple[SliceStack, Geometry]:
    """Where the slices of a series lie, in order, each position once."""
    with explain_errors(paths[0], "the slices of its series make no volume"):
        planes: list[Plane] = []
        modality = ""
        for path in paths:
            with explain_errors(path, "cannot be read as DICOM"):
                d = read_dataset(path, pixels=False)
            check_slice(path, d)
            planes += read_planes(path, d)
            modality = modality or modality_of(d)[1]
        planes, projections = part_projections(planes)
        parts, elements = split_volumes(planes)
        if part and part not in parts:
            raise ValueError(f"it has no volume {part}, but {', '.join(parts)}")
        if not part and len(parts) > 1:
            raise ValueError(
                f"they are {len(parts)} volumes, told apart by {' and '.join(elements)}: {', '.join(parts)}. Give the "
                "folder to caseunet predict, which segments each"
            )
        planes = parts[part] if part else next(iter(parts.values()))
        planes, copies = _without_copies(planes)
        stack = fit_stack(planes)
        check_scale(stack.planes)
        affine = _TO_RAS @ stack.affine
        rows, columns = stack.planes[0].size
        found = volume_geometry((columns, rows, len(stack.planes)), affine, str(paths[0]))
        remarks = (*([modality] if modality else []), *_tell_projections(projections), *copies, *stack.remarks)
    has_thickness = len(stack.planes) > 1 or stack.planes[0].thickness is not None
    return stack, replace(found, remarks=remarks, has_thickness=has_thickness)


def check_slice(path: Path, dataset: Any) -> None:
    """Make sure that an image is what slices are.

    Raises:
        ValueError: it holds many slices as one picture, or only a part of its frames, or colours.
    """
    if "MOSAIC" in [str(value).upper() for value in dataset.get("ImageType", None) or ()]:
        raise ValueError(
            f"{path.name} is a Siemens mosaic (ImageType): all slices as the tiles of one picture. Convert it with "
            "dcm2niix"
        )
    if "ConcatenationUID" in dataset:
        raise ValueError(f"{path.name} is one of several parts of an image (ConcatenationUID). Join them first")
    samples, meaning = int(dataset.get("SamplesPerPixel", 1) or 1), dataset.get("PhotometricInterpretation", "")
    if samples != 1 or str(meaning).startswith("PALETTE"):
        raise ValueError(f"expected grey images, found {meaning} of {samples} samples in each pixel of {path.name}")


def _without_copies(planes: Sequence[Plane]) -> tuple[list[Plane], list[str]]:
    """Slices at one position with equal pixels once, and a remark on each that is left out."""
    places: dict[tuple[int, ...], list[Plane]] = {}
    for plane in planes:
        places.setdefault(plane.place, []).append(plane)
    kept: list[Plane] = []
    left: list[str] = []
    for members in places.values():
        kept.append(members[0])
        if len(members) > 1:
            first = next(_read_values(members[0].path, [members[0].frame]))
            for plane in members[1:]:
                if np.array_equal(first, next(_read_values(plane.path, [plane.frame]))):
                    left.append(f"{plane} is the same slice as {members[0]}")
                else:
                    kept.append(plane)
    if len(left) > 3:
        left = [*left[:3], f"{len(left) - 3} more slices are there twice"]
    return kept, [*left[:-1], f"{left[-1]}: one is used"] if left else []


def _tell_projections(planes: Sequence[Plane]) -> list[str]:
    if not planes:
        return []
    more = f" and {len(planes) - 1} more are projections" if len(planes) > 1 else " is a projection"
    return [f"{planes[0]}{more} by ImageType, no slice of the volume: left out"]


def _read_values(path: Path, frames: Sequence[int]) -> Iterator[np.ndarray]:
    """The rescaled pixels of some frames, in their order, each (rows, columns), float64 or as stored."""
    from pydicom.pixels.processing import apply_modality_lut

    with explain_errors(path, "cannot be read as DICOM"):
        d = read_dataset(path)
        check_pixels(path, d)
        if "ModalityLUTSequence" in d:
            yield from (apply_modality_lut(values, d) for values in decode_frames(d, frames))
            return
        own = d.get("PerFrameFunctionalGroupsSequence") or ()
        shared = [item for group in d.get("SharedFunctionalGroupsSequence") or () for item in group_items(group)]
        for frame, values in zip(frames, decode_frames(d, frames), strict=True):
            if values.shape != (int(d.Rows), int(d.Columns)):
                raise ValueError(f"expected grey images, found pixels of shape {values.shape}")
            sources = [*(group_items(own[frame]) if frame < len(own) else []), *shared, d]
            if (rescale := find_rescale(sources)) is not None:
                values = values * rescale[0] + rescale[1]
            yield values


def _sop_name(dataset: Any) -> str:
    """The name of the SOP class, "CT Image Storage"; "" where it is missing, its UID where it is unknown."""
    from pydicom.uid import UID

    meta = getattr(dataset, "file_meta", None) or {}
    uid = str(dataset.get("SOPClassUID", "") or meta.get("MediaStorageSOPClassUID", "") or "")
    return str(UID(uid).name) if uid else ""


def _kind(dataset: Any, what: str, modality: str) -> Kind:
    if modality == "SEG" or "Segmentation Storage" in what:
        return "segmentation"
    if modality == "RTSTRUCT" or what == "RT Structure Set Storage":
        return "contours"
    if "Rows" not in dataset or _is_no_image(what, modality):
        return "other"
    placed = "ImagePositionPatient" in dataset or "PerFrameFunctionalGroupsSequence" in dataset
    if "Secondary Capture" in what and not placed:
        return "still"
    colored = int(dataset.get("SamplesPerPixel", 1) or 1) > 1
    if modality in VOLUMES and not (modality in ("NM", "", "PT") and not placed) and not (colored and not placed):
        return "volume"
    return "still"


def _is_no_image(what: str, modality: str) -> bool:
    return any(word in what for word in _NO_IMAGES) or modality in ("SR", "PR", "KO", "DOC", "RTDOSE", "RTPLAN", "ECG")


def _references(dataset: Any, kind: Kind) -> tuple[str, ...]:
    if kind != "contours":
        found = [item.get("SeriesInstanceUID", "") for item in dataset.get("ReferencedSeriesSequence", None) or ()]
    else:
        found = [
            series.get("SeriesInstanceUID", "")
            for frame in dataset.get("ReferencedFrameOfReferenceSequence", None) or ()
            for study in frame.get("RTReferencedStudySequence", None) or ()
            for series in study.get("RTReferencedSeriesSequence", None) or ()
        ]
    return tuple(dict.fromkeys(str(uid) for uid in found if uid))


def _segments(dataset: Any, kind: Kind) -> dict[int, str]:
    if kind == "segmentation":
        return segment_labels(dataset)
    return contour_names(dataset) if kind == "contours" else {}
