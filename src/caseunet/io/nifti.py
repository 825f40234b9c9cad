"""NIfTI volumes: read into canonical order, written back into the source's."""

import gzip
import html
import math
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, SpatialImage

from caseunet.errors import CaseUNetError, InputNotFoundError, InvalidInputError
from caseunet.files import replace_when_whole
from caseunet.io import scratch
from caseunet.io.geometry import (
    distance_in_mm,
    distance_in_voxels,
    orientation_of,
    to_canonical,
    to_source,
    volume_geometry,
)
from caseunet.io.limits import check_declared_size
from caseunet.io.silence import silence_stderr
from caseunet.io.values import rescale, whole_numbers
from caseunet.types import Geometry, ImageVolume, Mask

WRITTEN = (".nii", ".nii.gz")
"""Kinds whose files hold header and voxels."""

DETACHED = (".hdr",)
"""Of a header beside the file of its voxels, which ends in .img."""

SUFFIXES = (*WRITTEN, *DETACHED)

LABEL = re.compile(r'<Label\s[^>]*?Key="(\d+)"[^>]*>\s*(?:<!\[CDATA\[(.*?)\]\]>|([^<]*))\s*</Label>', re.DOTALL)
"""A name in the label table of a header."""

GZIP = b"\x1f\x8b"
"""First bytes of what is compressed by gzip."""

PADDING = 16
"""Bytes after the voxels that some writers leave."""

PLACE = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)
"""What a header tells of the place of its voxels."""

MILLIMETRES = {1: 1000.0, 3: 0.001}
"""In a unit of length, by its code in the header: metre and micrometre. All other codes are taken for millimetres."""

NO_THICKNESS = "its header tells no distance between slices, so that its volumes in millilitres are not known"

SAME_PLACE = 0.1
"""Voxels by which the two places of a header may lie apart: what writers round."""

SAME_SIZE = 0.01
"""Share by which the two sizes of a header's voxels may differ."""

MAX_CHANNELS = 32
"""Volumes in the fourth axis beyond which they are no channels."""

TIME_SERIES = 2001
"""The intent of a header that says so."""

FARTHEST = 2**24
"""Bytes before the voxels: the header, and what programs add to it."""

WHOLE = 65535
"""What stands for 1 in files of probabilities."""


def is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def case_name(path: Path) -> str:
    """File name without .nii, .nii.gz or .hdr."""
    return re.sub(r"\.(nii(\.gz)?|hdr)$", "", path.name, flags=re.IGNORECASE)


def find_nifti_pixels(path: Path) -> Path | None:
    """The file beside a detached header that holds its voxels; None where the header's own file does.

    Raises:
        CaseUNetError: it is not there.
    """
    if path.suffix.lower() not in DETACHED:
        return None
    data = path.with_suffix(".img" if path.suffix.islower() else ".IMG")
    if not data.is_file():
        raise InvalidInputError(f"{path}: its voxels lie in {data.name}, which is not beside it. Copy it there.")
    return data


def read_nifti_geometry(path: Path) -> Geometry:
    """Shape (three axes), affine and spacing, from the header alone.

    Raises:
        CaseUNetError: no such file, no NIfTI, or no volume.
    """
    return _geometry(path, _open(path))


def read_nifti_pixel_bytes(path: Path) -> int:
    """Bytes of a voxel in the file."""
    return int(_open(path).header.get_data_dtype().itemsize)


def read_names(path: Path) -> dict[int, str]:
    """{value: name} of the label table in a header, as TotalSegmentator writes it; {} without one.

    Raises:
        CaseUNetError: no such file, or no NIfTI.
    """
    for extension in getattr(_open(path).header, "extensions", ()):
        content = extension.get_content()
        if isinstance(content, bytes) and b"<LabelTable" in content:
            text = content.decode("utf-8", "replace")
            return {int(value): html.unescape(own or plain).strip() for value, own, plain in LABEL.findall(text)}
    return {}


def read_nifti(path: Path, nan: float | None = None) -> ImageVolume:
    """A volume in canonical order, (S, C, H, W); integers stay integers, scaled values (scl_slope) are applied.

    A fourth axis of the file holds the channels. ``nan`` replaces NaN; without it they are an error.

    Raises:
        CaseUNetError: the file is missing, truncated or no NIfTI volume.
        BadValuesError: it holds NaN or infinity.
    """
    image = _open(path)
    geometry = _geometry(path, image)
    _check_no_time(path, image)
    array = _read_array(path, image)
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    with np.errstate(all="ignore"):  # a damaged slope overflows, which is found
        array = rescale(array.reshape(*geometry.shape, -1, order="F"), slope, intercept, path, nan)
    channels = [to_canonical(array[..., channel], geometry)[:, None] for channel in range(array.shape[3])]
    return ImageVolume(scratch.concatenate_channels(channels), geometry)


def read_nifti_mask(path: Path, place: Geometry | None = None) -> Mask:
    """A label volume in canonical order.

    Args:
        path: the file.
        place: the geometry to read it in, whatever its own affine says; the shapes must be equal.

    Raises:
        CaseUNetError: the file is missing, truncated, no single volume or holds no numbers.
    """
    image = _open(path)
    own = _geometry(path, image)
    if math.prod(image.shape[3:]) != 1:
        raise InvalidInputError(f"{path}: expected one volume of labels, found shape {tuple(image.shape)}.")
    if place is not None and place.shape != own.shape:
        raise InvalidInputError(f"{path}: the mask's shape {own.shape} is not its image's {place.shape}.")
    array = _read_array(path, image).reshape(own.shape)
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    if (slope, intercept) != (1, 0):
        with np.errstate(all="ignore"):
            array = array * slope + intercept
    step = abs(slope) if (slope, intercept) != (1, 0) else 0
    codes, fractional, rounding, remarks = whole_numbers(array, path, step)
    own = replace(own, remarks=(*own.remarks, *remarks))
    values = to_canonical(codes, place or own)
    return Mask(values, own, stored=str(array.dtype), fractional=fractional, rounding=rounding)


def write_nifti_labels(path: Path, labels: np.ndarray, geometry: Geometry, like: Path | None = None) -> None:
    """Write canonical labels (S, H, W), uint8, as a NIfTI file with the source's shape, axes and affine.

    Args:
        path: ends in .nii or .nii.gz.
        labels: canonical order.
        geometry: of the source image.
        like: the source file; if it is NIfTI, all that its header tells of the place is kept, and a fourth axis of one
            volume.
    """
    array = to_source(labels, geometry)
    if like is not None and is_nifti(like):
        header = _open(like).header
        of_one_volume = math.prod(header.get_data_shape()[3:]) == 1
        image = _place(array.reshape(header.get_data_shape()) if of_one_volume else array, geometry, header)
    else:
        image = _place(array, geometry, None)
    with replace_when_whole(path) as temporary:
        nib.save(image, temporary)


def write_nifti_image(path: Path, pixels: np.ndarray, geometry: Geometry, like: Path | None = None) -> None:
    """Write canonical intensities (S, H, W) as a NIfTI file in the source's shape, axes and place.

    Args:
        path: ends in .nii or .nii.gz.
        pixels: canonical order; numbers of 64 bits are written with 32.
        geometry: of the source image.
        like: the source file; if it is NIfTI, all that its header tells of the place is kept.
    """
    array = to_source(pixels, geometry)
    array = (
        array.astype({"i": np.int32, "u": np.uint32, "f": np.float32}[array.dtype.kind], copy=False)
        if (array.dtype.itemsize == 8)
        else array
    )
    header = _open(like).header if like is not None and is_nifti(like) else None
    with replace_when_whole(path) as temporary:
        nib.save(_place(array, geometry, header), temporary)


def read_nifti_axes(path: Path) -> int:
    """How many axes the array of a file has, from the header alone."""
    return len(_open(path).shape)


def write_nifti_probabilities(path: Path, probabilities: np.ndarray, geometry: Geometry) -> None:
    """Write probabilities, parts of :data:`WHOLE`, canonical (S, H, W), uint16, as a NIfTI file of 0 to 1."""
    image = _place(to_source(probabilities, geometry), geometry, None)
    image.header.set_slope_inter(1 / WHOLE, 0)
    with (
        replace_when_whole(path) as temporary,
        temporary.open("wb") as plain,
    ):  # nibabel would choose a slope of its own
        _stream(plain, image, path.name.lower().endswith(".gz"))


def _stream(stream: BinaryIO, image: Any, compressed: bool) -> None:
    """Write header and voxels as they are."""
    # without a name and a time in it, so that the same voxels are the same bytes
    out: Any = gzip.GzipFile("", "wb", compresslevel=1, fileobj=stream, mtime=0) if compressed else stream
    header = image.header
    header["magic"], header["vox_offset"] = b"n+1", 352
    out.write(header.binaryblock + bytes(4))
    for plane in np.asarray(image.dataobj).T:
        out.write(plane.tobytes())
    if compressed:
        out.close()


def _place(array: np.ndarray, geometry: Geometry, like: Any) -> Any:
    """An image at the geometry's place, told as a header of the same place tells it.

    A header holds two places, and codes of which one counts. Programs choose differently, so both are copied: what a
    program takes for the image's place it then takes for the mask's. Those of another place nibabel replaces.
    """
    kind = nib.Nifti2Image if isinstance(like, nib.Nifti2Header) else nib.Nifti1Image  # large ones fit only into that
    affine = np.array(geometry.affine, np.float64)
    if isinstance(like, nib.Nifti1Header):
        affine[:3] /= _millimetres(like)  # nibabel compares it with the header's
    image = kind(array, affine)
    if isinstance(like, nib.Nifti1Header):
        for field in PLACE:
            image.header[field] = like[field]
    return image


def _open(path: Path) -> Any:
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such file.")
    find_nifti_pixels(path)
    try:
        offset = _offset(path)
        if not offset <= FARTHEST:  # NaN is not
            raise InvalidInputError(f"{path}: its voxels begin at byte {offset:,.0f}; its header is damaged.")
        with silence_stderr():
            image: Any = nib.load(path, mmap=False)  # a mapped file that changes underneath would end the process
            spatial = isinstance(image, SpatialImage)
    except CaseUNetError:
        raise
    except Exception as error:  # nibabel raises many kinds for bytes that are no image
        raise InvalidInputError(f"{path}: cannot be read as NIfTI: {_reason(error)}") from error
    if spatial and not isinstance(image, nib.Nifti1Pair):  # of which all kinds of NIfTI are
        raise InvalidInputError(
            f"{path}: an ANALYZE file, which does not tell left from right. Open it in a viewer that knows, and save "
            "it as .nii.gz."
        )
    if not spatial:
        raise InvalidInputError(f"{path}: expected a volume, found {type(image).__name__}.")
    return image


def _offset(path: Path) -> float:
    """Byte at which the voxels begin: all before it is read with the header, however far a compressed file expands.

    Raises:
        ValueError: the file does not begin with the header of NIfTI-1 or NIfTI-2.
    """
    return _unpack_header(path, ("f", 108), ("q", 168))[0]


def _voxel_sizes(path: Path) -> tuple[float, ...]:
    """Of a voxel along three axes, as the file has them: nibabel turns 0 into 1 and −1 into 1."""
    return _unpack_header(path, ("3f", 80), ("3d", 112))


def _unpack_header(path: Path, first: tuple[str, int], second: tuple[str, int]) -> tuple[float, ...]:
    """Numbers in the header of NIfTI-1 or NIfTI-2, of a format at a byte in each.

    Raises:
        ValueError: the file begins with neither.
    """
    opener: Any = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as stream:
        head = stream.read(184)
    for order in "<>":
        for size, least, (kind, place) in ((348, 116, first), (540, 184, second)):
            if head[:4] == struct.pack(f"{order}i", size) and len(head) >= least:
                return struct.unpack_from(f"{order}{kind}", head, place)
    if head[:2] == GZIP and opener is open:
        raise ValueError(f"it is compressed by gzip. Rename it to {path.stem}.nii.gz")
    raise ValueError("it does not begin as NIfTI files do")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _geometry(path: Path, image: Any) -> Geometry:
    shape = tuple(int(n) for n in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 2:  # one slice
        shape = (*shape, 1)
    if len(shape) not in (3, 4) or min(shape) < 1:
        kind = "vectors, such as displacements, of " if len(shape) > 4 else ""
        raise InvalidInputError(
            f"{path}: expected a 3-D volume, or one with its channels last, found {kind}shape {tuple(image.shape)}."
        )
    affine = np.array(image.affine, np.float64)
    affine[:3] *= _millimetres(image.header)
    geometry = volume_geometry(shape[:3], affine, str(path))
    has_thickness = _has_thickness(path, image)
    remarks = (*geometry.remarks, *_remarks(path, image.header, geometry), *([] if has_thickness else [NO_THICKNESS]))
    return replace(geometry, remarks=remarks, has_thickness=has_thickness)


def _has_thickness(path: Path, image: Any) -> bool:
    """Whether a header tells the distance between slices.

    Writers of 2-D images put 1 there. nibabel takes 1 for the 0 of a header that tells no other place of its voxels.
    """
    is_one = bool(np.isclose(np.linalg.norm(image.affine[:3, 2]), 1))
    has_sform = image.header.get_sform(coded=True)[1] > 0
    return not (is_one and (len(image.shape) == 2 or (_voxel_sizes(path)[2] == 0 and not has_sform)))


def _millimetres(header: Any) -> float:
    """In the header's unit of length."""
    return MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0) if "xyzt_units" in header else 1.0


def _remarks(path: Path, header: Any, geometry: Geometry) -> Iterator[str]:
    """What is doubtful in a header's place."""
    sform, qform = header.get_sform(coded=True)[0], _qform(header)
    if sform is None and qform is None:
        yield "its header states no position (qform and sform code 0), so left and right are not known"
    elif sform is not None and qform is not None:
        places = [Geometry(geometry.shape, place) for place in (sform, qform)]
        distance = distance_in_voxels(*places)
        axes = [orientation_of(place) for place in places]
        if axes[0] != axes[1]:
            yield f"its sform says that its axes run {axes[0]}, its qform {axes[1]}; the sform is used"
        elif distance > SAME_PLACE:
            yield f"its sform and its qform lie {distance_in_mm(*places):.3g} mm apart; the sform is used"
    if math.isinf(_unpack_header(path, ("f", 112), ("d", 176))[0]):
        yield "its header states an infinite slope (scl_slope); its values are read as they are stored"
    sizes = _voxel_sizes(path)
    lengths = np.linalg.norm(np.asarray(geometry.affine)[:3, :3], axis=0)
    own = np.array(sizes) * _millimetres(header)
    if not np.allclose(own, lengths, rtol=SAME_SIZE, atol=0):
        stated, used = (" × ".join(f"{length:g}" for length in np.round(sizes, 4)) for sizes in (own, lengths))
        yield f"its header states voxels of {stated} mm (pixdim); those of its affine are used, {used} mm"


def _qform(header: Any) -> np.ndarray | None:
    """The place that the header's quaternion tells, if its code says that it does."""
    try:
        place: np.ndarray | None = header.get_qform(coded=True)[0]
    except (ValueError, HeaderDataError):  # it is no rotation; nothing reads it where there is an sform
        return None
    return place


def _check_no_time(path: Path, image: Any) -> None:
    """Make sure that a fourth axis can be one of channels.

    Raises:
        CaseUNetError: it is one of time.
    """
    header, number = image.header, math.prod(image.shape[3:])
    if number == 1 or "xyzt_units" not in header:
        return
    step, in_time = float(header["pixdim"][4]), (int(header["xyzt_units"]) & 0x38) in (8, 16, 24)
    told = int(header["intent_code"]) == TIME_SERIES or (in_time and step not in (0, 1))
    if told or number > MAX_CHANNELS:
        raise InvalidInputError(
            f"{path}: holds {number} volumes in its fourth axis, as a series in time does; expected one volume, or a "
            "channel in each. Save the volume to segment as a file of its own."
        )


def _read_array(path: Path, image: Any) -> np.ndarray:
    """The voxels as stored; compressed files are read to their end, which checks them."""
    compressed = path.name.lower().endswith(".gz")
    try:
        dtype, offset = image.header.get_data_dtype(), int(image.dataobj.offset)
        if dtype.names:
            raise InvalidInputError(
                f"{path}: holds colours ({''.join(dtype.names)}); expected one number in each voxel."
            )
        if dtype.kind not in "iuf":
            raise InvalidInputError(f"{path}: expected real numbers, found voxels of type {dtype}.")
        needed = offset + math.prod(image.shape) * dtype.itemsize
        data = find_nifti_pixels(path) or path
        check_declared_size(data, needed, compressed)
        stored = scratch.zeros(image.shape[::-1], dtype)  # its first axis runs fastest in the file
        with gzip.open(data) if compressed else data.open("rb") as stream:
            length = len(stream.read(offset)) + scratch.read_into(stream, stored) + len(stream.read(PADDING + 1))
        if not needed <= length <= needed + PADDING:
            raise InvalidInputError(
                f"{path}: its header declares {needed:,} bytes, but it holds "
                f"{'more' if length > needed else f'{length:,}'}: it is truncated, or its header is damaged."
            )
        array = stored if dtype.isnative else stored.byteswap(inplace=True).view(dtype.newbyteorder("="))
        return array.T  # torch knows only this machine's byte order
    except (
        *(OSError, EOFError, ValueError, OverflowError, TypeError, AttributeError, MemoryError),
        *(zlib.error, ImageFileError, HeaderDataError),
    ) as error:
        raise InvalidInputError(
            f"{path}: its voxels cannot be read; the file is truncated or damaged: {_reason(error)}"
        ) from error
