"""NRRD and MetaImage volumes, through SimpleITK: read into canonical order, written back into the source's."""

import itertools
import json
import math
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from nibabel import orientations

from caseunet.errors import CaseUNetError, InputNotFoundError, InvalidInputError, NotEnoughMemoryError
from caseunet.files import replace_when_whole
from caseunet.io import scratch
from caseunet.io.geometry import to_canonical, to_source, volume_geometry
from caseunet.io.limits import check_declared_size
from caseunet.io.silence import silence_stderr
from caseunet.io.values import as_integers, whole_numbers
from caseunet.types import Geometry, ImageVolume, Mask

WRITTEN = (".nrrd", ".mha")
"""Kinds whose files hold header and pixels."""

DETACHED = {".nhdr": ".nrrd", ".mhd": ".mha"}
"""Kinds of a header beside the file of its pixels, and which holds both."""

SUFFIXES = (*WRITTEN, *DETACHED)

MAX_HEADER = 2**20
"""Bytes of text before the voxels."""

PACKING = 2
"""Level of compression of masks."""

SAME_GRID = 0.1
"""Voxels by which a segmentation may lie off its image's grid: what writers round."""

_SEGMENT = re.compile(r"Segment(\d+)_(\w+)")
MITK_GROUPS = "org.mitk.multilabel.segmentation.labelgroups"
"""Key under which MITK lists, as JSON, the labels of each layer."""

MAX_CHANNELS = 1000

_NEEDED = ("NDims", "DimSize", "ElementType", "ElementDataFile")
_DIRECTIONS = ("TransformMatrix", "Rotation", "Orientation")
"""Names of the field of a MetaImage that tells whereto its axes run."""

_NUMBERS = {
    **dict.fromkeys(("ElementSpacing", "Offset", "Origin", "Position"), 3),
    **dict.fromkeys(_DIRECTIONS, 9),
}
_NRRD_SPACE = r"^space: *((right|left)-anterior-superior|left-posterior-superior|[RL]AS|LPS)"
"""Spaces of a patient; scanner-xyz and 3D-right-handed tell no left and right."""

MAX_KEY = 20
"""Characters of a line that a message shows: what is no MetaImage may have no other line."""

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def is_itk(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def is_segmentation(path: Path) -> bool:
    """Whether a file is a segmentation of 3D Slicer or MITK, whose header names segments; reads the header alone."""
    if not is_nrrd(path) or not path.is_file():
        return False
    header = _nrrd_header(path)
    keys = rf"^(Segment(\d+|ation)_\w+|{re.escape(MITK_GROUPS)}):="
    return header.startswith("NRRD") and re.search(keys, header, re.MULTILINE) is not None


def _nrrd_header(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(MAX_HEADER).replace(b"\r\n", b"\n").partition(b"\n\n")[0].decode("latin-1")


def find_itk_pixels(path: Path) -> Path | None:
    """The file beside a detached header that holds its pixels; None where the header's own file does.

    Raises:
        CaseUNetError: it is not there, or the header names several, or one in another folder.
    """
    if path.suffix.lower() not in DETACHED:
        return None
    if is_nrrd(path):
        stated = re.search(r"^data ?file:(.*)$", _nrrd_header(path), re.MULTILINE | re.IGNORECASE)
        name = stated[1].strip() if stated else "LOCAL"
    else:
        with path.open("rb") as stream:
            lines = stream.read(MAX_HEADER).decode("latin-1").split("\n")
        name = dict(_fields(lines)).get("ElementDataFile", "LOCAL")
    if name.upper() == "LOCAL":
        return None
    shown = "".join(character if character.isprintable() else "?" for character in name[:200])
    if name in ("", ".", "..") or name.split()[0].upper() == "LIST" or not {"%", "/", "\\"}.isdisjoint(name):
        raise InvalidInputError(
            f'{path}: names "{shown}" as the file of its pixels; expected one file in the same folder. Save it as '
            f"{DETACHED[path.suffix.lower()]}."
        )
    data = path.with_name(name)
    if not data.is_file():
        raise InvalidInputError(f"{path}: its pixels lie in {shown}, which is not beside it. Copy that file there too.")
    return data


def read_itk_geometry(path: Path) -> Geometry:
    """Shape (x, y, z), affine and spacing, from the header alone.

    Raises:
        CaseUNetError: no such file, or no volume.
    """
    return _open(path)[1]


def read_itk_pixel_bytes(path: Path) -> int:
    """Bytes of a component of a voxel in the file."""
    return _component_type(path, _open(path)[0]).itemsize


def read_itk_axes(path: Path) -> int:
    """3, or 4 where voxels have several components; from the header alone."""
    return 3 if _open(path)[0].GetNumberOfComponents() == 1 else 4


def read_itk(path: Path, nan: float | None = None) -> ImageVolume:
    """A volume in canonical order, (S, C, H, W); the components of vectors are channels.

    ``nan`` replaces NaN; without it they are an error.

    Raises:
        CaseUNetError: the file is missing, damaged or no volume.
        BadValuesError: it holds NaN or infinity.
    """
    if is_segmentation(path):
        raise InvalidInputError(f"{path}: a segmentation of 3D Slicer or MITK, which holds labels; expected an image.")
    reader, geometry = _open(path)
    array = as_integers(_read(path, reader), path, nan)
    by_channel = array.transpose(3, 2, 1, 0)
    channels = [to_canonical(one, geometry)[:, None] for one in by_channel]
    return ImageVolume(scratch.concatenate_channels(channels), geometry)


def read_itk_mask(path: Path, place: Geometry | None = None) -> Mask:
    """A label volume in canonical order; ``place`` is the geometry to read it in, if it is not its own.

    Raises:
        CaseUNetError: the file is missing, damaged, of vectors, or of another shape than ``place``.
    """
    reader, own = _open(path)
    if place is not None and place.shape != own.shape:
        raise InvalidInputError(f"{path}: the mask's shape {own.shape} is not its image's {place.shape}.")
    array = _read(path, reader)
    if array.shape[3] != 1:
        raise InvalidInputError(f"{path}: expected one volume of labels, found {array.shape[3]} components.")
    codes, fractional, rounding, remarks = whole_numbers(array[..., 0].transpose(2, 1, 0), path)
    own = replace(own, remarks=(*own.remarks, *remarks))
    values = to_canonical(codes, place or own)
    return Mask(values, own, stored=str(array.dtype), fractional=fractional, rounding=rounding)


@dataclass(frozen=True)
class _Segment:
    """A segment of a segmentation: the value that it has in its layer."""

    name: str
    layer: int
    value: int
    color: int | None


def read_itk_segmentation(path: Path, image: Geometry) -> Mask:
    """The labels of a segmentation of 3D Slicer or MITK, which may be cropped to them, on the grid of its image.

    Where its own voxels are not those of the image's grid, it is given on its own, for others to judge.

    Raises:
        CaseUNetError: it is damaged, reaches beyond its image, or two segments overlap without one holding the other.
    """
    reader, own = _open(path)
    array = _read(path, reader)
    if array.dtype.kind not in "iu":
        raise InvalidInputError(f"{path}: expected the whole numbers of segments, found pixels of type {array.dtype}.")
    segments = _segments(path, reader, array)
    several = array.shape[3] > 1
    codes, remarks = _combine(path, array, segments) if several else (array[..., 0], [])
    numbers = [number if several else segment.value for number, segment in enumerate(segments, 1)]
    placed, geometry = _place(path, codes.transpose(2, 1, 0), own, image)
    return Mask(
        to_canonical(placed, geometry),
        replace(geometry, remarks=(*own.remarks, *remarks)),
        stored=str(array.dtype),
        names={number: segment.name for number, segment in zip(numbers, segments, strict=True)},
        palette={n: segment.color for n, segment in zip(numbers, segments, strict=True) if segment.color is not None},
    )


def _segments(path: Path, reader: Any, array: np.ndarray) -> list[_Segment]:
    """Those that the header describes, then values in the array (z, y, x, layers) that it does not.

    Raises:
        CaseUNetError: the header tells of a layer or value that cannot be.
    """
    fields: dict[int, dict[str, str]] = {}
    if reader.HasMetaDataKey(MITK_GROUPS):
        fields = _mitk_fields(path, reader.GetMetaData(MITK_GROUPS))
    for key in reader.GetMetaDataKeys():
        if match := _SEGMENT.fullmatch(key):
            fields.setdefault(int(match[1]), {})[match[2]] = reader.GetMetaData(key).strip()
    segments = []
    for place, (_, field) in enumerate(sorted(fields.items())):
        old = "LabelValue" not in field  # each segment has a layer of its own then
        name = field.get("Name") or field.get("ID") or f"segment {place + 1}"
        layer, value = field.get("Layer", str(place if old else 0)), field.get("LabelValue", "1")
        if not (layer.isdecimal() and int(layer) < array.shape[3] and value.isdecimal() and 0 < int(value) < 2**16):
            raise InvalidInputError(
                f'{path}: its segment "{name}" is value {value} of layer {layer}; expected a value from 1 in one of '
                f"{array.shape[3]} layers."
            )
        segments.append(_Segment(name, int(layer), int(value), _color(field.get("Color", ""))))
    for number in range(array.shape[3]):
        known = {segment.value for segment in segments if segment.layer == number}
        for other in np.unique(array[..., number]).tolist():
            if other != 0 and other not in known:
                name = f"layer {number} value {other}" if array.shape[3] > 1 else f"value {other}"
                segments.append(_Segment(name, number, other, None))
    return segments


def _mitk_fields(path: Path, text: str) -> dict[int, dict[str, str]]:
    """What MITK tells of its labels, as Slicer would: a layer for each group, and 0 is no label.

    Raises:
        CaseUNetError: it is no list of groups of labels with a name and a value.
    """
    fields = []
    try:
        for layer, group in enumerate(json.loads(text)):
            for label in group.get("labels") or []:
                color = label.get("color", ())
                numbers = [float(n) for n in (color["value"] if isinstance(color, dict) else color)]
                scale = 255 if max(numbers, default=0) > 1 else 1
                told = {"Name": label["name"], "Layer": str(layer), "LabelValue": str(label["value"])}
                fields.append({**told, "Color": " ".join(str(n / scale) for n in numbers)})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInputError(
            f"{path}: the names of its labels ({MITK_GROUPS}) cannot be read: {error!r}."
        ) from error
    return dict(enumerate(field for field in fields if field["LabelValue"] != "0"))


def _color(text: str) -> int | None:
    """Three numbers from 0 to 1 as 0xRRGGBB; None where the text holds none."""
    numbers = _numbers(text)
    if len(numbers) != 3:
        return None
    red, green, blue = (round(255 * min(max(number, 0), 1)) for number in numbers)
    return red << 16 | green << 8 | blue


def _combine(path: Path, array: np.ndarray, segments: Sequence[_Segment]) -> tuple[np.ndarray, list[str]]:
    """Layers (z, y, x, layers) as one: 1 for the first segment's voxels and so on; of nested segments the inner counts.

    Raises:
        CaseUNetError: two segments overlap otherwise.
    """
    codes = np.zeros(array.shape[:3], np.uint16)
    where = [array[..., segment.layer] == segment.value for segment in segments]
    sizes = [int(np.count_nonzero(voxels)) for voxels in where]
    remarks = []
    for place in sorted(range(len(segments)), key=lambda place: -sizes[place]):  # what may hold others goes first
        for outer in np.unique(codes[where[place]]).tolist():
            if outer == 0:
                continue
            shared = int(np.count_nonzero(where[place] & where[outer - 1]))
            names = f'"{segments[place].name}"', f'"{segments[outer - 1].name}"'
            if shared != sizes[place] or shared == sizes[outer - 1]:
                raise InvalidInputError(
                    f"{path}: the segments {names[0]} and {names[1]} overlap in {shared:,} voxels, and neither lies "
                    "within the other; a voxel has one class. Subtract one from the other."
                )
            remarks.append(f"the segment {names[0]} lies within {names[1]}; its voxels have its class alone")
        codes[where[place]] = place + 1
    return codes, remarks


def _place(path: Path, codes: np.ndarray, own: Geometry, image: Geometry) -> tuple[np.ndarray, Geometry]:
    """Labels (x, y, z) laid into the image's grid, and their geometry; as they are where the grids differ.

    Raises:
        CaseUNetError: labels lie outside the image.
    """
    if image.affine is None or own.affine is None:
        return codes, own
    between = np.linalg.inv(image.affine) @ own.affine  # voxels to the image's voxels
    turn = orientations.io_orientation(between)
    turned = orientations.apply_orientation(codes, turn)
    between = between @ orientations.inv_ornt_aff(turn, codes.shape)
    start = np.rint(between[:3, 3]).astype(int)
    corners = np.array(list(itertools.product(*((0, n - 1) for n in turned.shape))))
    off = corners @ between[:3, :3].T + between[:3, 3] - corners - start
    if np.abs(off).max() > SAME_GRID:
        return codes, own
    laid = np.zeros(image.shape, codes.dtype)
    ends = start + turned.shape
    kept = [
        slice(max(first, 0), max(first, 0, min(end, n))) for first, end, n in zip(start, ends, image.shape, strict=True)
    ]
    inside = turned[tuple(slice(k.start - first, k.stop - first) for k, first in zip(kept, start, strict=True))]
    outside = int(np.count_nonzero(turned) - np.count_nonzero(inside))
    if outside:
        raise InvalidInputError(f"{path}: {outside:,} voxels of its segments lie outside its image.")
    laid[tuple(kept)] = inside
    return laid, replace(image, remarks=())


def write_itk_labels(path: Path, labels: np.ndarray, geometry: Geometry) -> None:
    """Write canonical labels (S, H, W), uint8, compressed, with the source's shape, axes and position.

    Args:
        path: ends in one of :data:`WRITTEN`.
        labels: canonical order.
        geometry: of the source image.
    """
    import SimpleITK

    voxels = to_source(labels, geometry).T
    packer = zlib.compressobj(PACKING, wbits=zlib.MAX_WBITS + (16 if is_nrrd(path) else 0))  # as gzip or zlib
    pixels = b"".join([*(packer.compress(voxels[rows].data) for rows in scratch.blocks(voxels)), packer.flush()])
    with replace_when_whole(path) as temporary:
        try:  # the header of a single voxel there, but for its numbers
            SimpleITK.WriteImage(_lay(SimpleITK.Image(1, 1, 1, SimpleITK.sitkUInt8), geometry), temporary, True)
        except RuntimeError as error:
            raise CaseUNetError(f"{path}: cannot be written: {_reason(error)}") from error
        header, end, _ = temporary.read_bytes().partition(b"\n\n" if is_nrrd(path) else b"ElementDataFile = LOCAL\n")
        size = " ".join(map(str, voxels.shape[::-1])).encode()
        header = re.sub(rb"^(sizes: |DimSize = ).*$", rb"\g<1>" + size, header, flags=re.MULTILINE)
        header = re.sub(rb"^(CompressedDataSize = ).*$", rb"\g<1>%d" % len(pixels), header, flags=re.MULTILINE)
        temporary.write_bytes(header + end + pixels)


def labels_image(labels: np.ndarray, geometry: Geometry) -> Any:
    """Canonical labels (S, H, W) as an image of SimpleITK in the source's place."""
    import SimpleITK

    return _lay(SimpleITK.GetImageFromArray(to_source(labels, geometry).transpose(2, 1, 0)), geometry)


def _lay(image: Any, geometry: Geometry) -> Any:
    """The image, in a volume's place."""
    affine = _TO_RAS @ np.asarray(geometry.affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def _open(path: Path) -> tuple[Any, Geometry]:
    import SimpleITK

    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such file.")
    if is_nrrd(path):
        kind = "NrrdImageIO"  # without it ITK would take the file for whatever it looks like
    else:
        _check_metaimage(path)
        kind = "MetaImageIO"
    find_itk_pixels(path)
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(kind)
    try:
        with silence_stderr():
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
    except (RuntimeError, UnicodeError) as error:
        raise InvalidInputError(f"{path}: cannot be read as NRRD or MetaImage: {_reason(error)}") from error
    shape = tuple(reader.GetSize())
    if len(shape) != 3 or min(shape) < 1:
        raise InvalidInputError(f"{path}: expected a 3-D volume, found shape {shape}.")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(reader.GetDirection(), (3, 3)) * reader.GetSpacing()
    affine[:3, 3] = reader.GetOrigin()
    geometry = volume_geometry(shape, _TO_RAS @ affine, str(path))
    remarks = _nrrd_remarks(path) if is_nrrd(path) else _metaimage_remarks(path)
    return reader, replace(geometry, remarks=(*geometry.remarks, *remarks))


def _nrrd_remarks(path: Path) -> Iterator[str]:
    """What is doubtful in the place that a header tells: ITK takes what is missing for LPS and millimetres."""
    header = _nrrd_header(path)
    needed = (_NRRD_SPACE, r"^space directions:")
    if not all(re.search(field, header, re.MULTILINE | re.IGNORECASE) for field in needed):
        yield "its header states no position (space, space directions), so left and right are not known"
    stated = re.search(r"^space units:(.*)$", header, re.MULTILINE)
    units = set(re.findall(r'"([^"]*)"', stated[1])) - {"mm", ""} if stated else set()
    if units:
        yield f"its header states lengths in {', '.join(sorted(units))[:40]}; read as mm, as ITK does"


def _metaimage_remarks(path: Path) -> Iterator[str]:
    """What is doubtful in the place that a header tells: without directions ITK takes it for LPS."""
    with path.open("rb") as stream:
        fields = dict(_fields(stream.read(MAX_HEADER).decode("latin-1").split("\n")))
    if not any(field in fields for field in _DIRECTIONS):
        yield f"its header states no directions ({_DIRECTIONS[0]}), so left and right are not known"


def _read(path: Path, reader: Any) -> np.ndarray:
    """(z, y, x, components)."""
    import SimpleITK

    shape, kind = (*reader.GetSize()[::-1], reader.GetNumberOfComponents()), _component_type(path, reader)
    declared = math.prod(shape) * kind.itemsize
    check_declared_size(find_itk_pixels(path) or path, declared, compressed=True)
    order = _plain_byte_order(path, shape, kind)
    if order is not None:
        pixels = scratch.zeros(shape, kind)
        _check_stream(path, declared, pixels.reshape(-1).view(np.uint8))
        return pixels.byteswap(inplace=True) if order != sys.byteorder and kind.itemsize > 1 else pixels
    if scratch.is_on_disk():
        raise NotEnoughMemoryError(
            f"{path}: is too large for the memory that is allowed, and of a form that is only read as a whole. Save it "
            "as NIfTI, or as NRRD that is raw or compressed by gzip.",
            options=("max_ram",),
        )
    checksum = _check_stream(path, declared)
    try:
        with silence_stderr():
            array = np.ascontiguousarray(SimpleITK.GetArrayFromImage(reader.Execute()))
    except (RuntimeError, MemoryError) as error:
        raise InvalidInputError(
            f"{path}: its pixels cannot be read; the file is truncated or damaged: {_reason(error)}"
        ) from error
    # MetaIO gives what memory holds where it cannot unpack the pixels; those of the other byte order come turned
    may_differ = checksum is None or is_nrrd(path)
    if not may_differ and checksum not in (zlib.crc32(array.data), zlib.crc32(array.byteswap().data)):
        raise InvalidInputError(f"{path}: its pixels cannot be unpacked; its CompressedDataSize is missing or wrong.")
    return array.reshape(shape)


def _plain_byte_order(path: Path, shape: tuple[int, ...], kind: np.dtype[Any]) -> str | None:
    """Byte order of the pixels of an NRRD file that lie in it as an array (z, y, x, components) does, raw or as gzip.

    None for all other files, whose pixels are text, say, or of which some are left out.
    """
    if not is_nrrd(path):
        return None
    found = re.findall(r"^([\w ]+):(?!=)[ \t]*(.*?)[ \t]*$", _nrrd_header(path), re.MULTILINE)
    fields = {key.lower().replace(" ", ""): value.lower() for key, value in found}
    axes = shape if shape[3] > 1 else shape[:3]
    is_first = shape[3] == 1 or fields.get("kinds", "domain").split()[0] not in ("domain", "space", "time", "none")
    skipped = {fields.get("lineskip", "0"), fields.get("byteskip", "0")} - {"0"}
    if skipped or not is_first or fields.get("encoding") not in ("raw", "gzip", "gz"):
        return None
    if fields.get("sizes", "").split() != [str(length) for length in axes[::-1]]:
        return None
    return fields.get("endian", sys.byteorder if kind.itemsize == 1 else None)


def _component_type(path: Path, reader: Any) -> np.dtype[Any]:
    """Of a number in the file.

    Raises:
        CaseUNetError: it is none.
    """
    import SimpleITK

    kind = SimpleITK.GetPixelIDValueAsString(reader.GetPixelIDValue())
    bits = next((n for n in (8, 16, 32, 64) if f"{n}-bit" in kind), None)
    if bits is None or "complex" in kind:
        raise InvalidInputError(f"{path}: expected numbers, found pixels of type {kind}.")
    return np.dtype(f"{'f' if 'float' in kind else 'u' if 'unsigned' in kind else 'i'}{bits // 8}")


def is_nrrd(path: Path) -> bool:
    """Whether a file is called like an NRRD volume, or its header."""
    return path.suffix.lower() in (".nrrd", ".nhdr")


def _check_metaimage(path: Path) -> None:
    """Look whether the header is one of a volume: for others, MetaIO writes past its memory.

    Raises:
        CaseUNetError: it is not.
    """
    with path.open("rb") as stream:
        lines = stream.read(MAX_HEADER).decode("latin-1").split("\n")
    problem = _misfit(_fields(lines), (find_itk_pixels(path) or path).stat().st_size)
    if problem:
        text = "".join(character if character.isprintable() else "?" for character in problem[:200])
        raise InvalidInputError(f"{path}: cannot be read as NRRD or MetaImage: {text}.")


def _fields(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Keys and values of a MetaImage's header, up to the name of the data file, with which it ends."""
    found: list[tuple[str, str]] = []
    for line in lines:
        key, equals, value = line.partition("=")
        if not equals:
            break
        found.append((key.strip(), value.strip()))
        if key.strip() == "ElementDataFile":
            break
    return found


def _misfit(listed: Sequence[tuple[str, str]], size: int) -> str:
    """Why a MetaImage's header is none of a volume in a file of so many bytes; "" where it is."""
    fields = dict(listed)
    for key, number in Counter(key for key, _ in listed).items():
        if ":" in key or number > 1:  # MetaIO might take another line than is looked at here
            shown = "".join(character for character in key if character.isascii() and character.isprintable())
            return f'its line "{shown[:MAX_KEY]}" is there twice, or is none'
    for key in _NEEDED:
        if key not in fields:
            return f"it names no {key}"
    if fields["NDims"] != "3":
        return f"expected a volume of NDims = 3, found {fields['NDims']}"
    sizes = _numbers(fields["DimSize"])
    if len(sizes) != 3 or not all(1 <= length < 2**31 for length in sizes):
        return f"expected three sizes, found DimSize = {fields['DimSize']}"
    for key, count in _NUMBERS.items():
        if key in fields and len(_numbers(fields[key])) != count:
            return f"expected {count} numbers, found {key} = {fields[key]}"
    for key, least, most in (
        ("HeaderSize", 0, 0),  # of files that are no text
        ("ElementNumberOfChannels", 1, MAX_CHANNELS),
        ("CompressedDataSize", 0, size),
    ):
        value = fields.get(key, str(least))
        if not (value.isdecimal() and len(value) < 16 and least <= int(value) <= most):
            return f"expected {key} from {least} to {most}, found {value}"
    return ""


def _numbers(text: str) -> list[float]:
    """Those in a line; none if one of them is infinite or no number."""
    try:
        values = [float(part) for part in text.split()]
    except ValueError:
        return []
    return values if np.all(np.isfinite(values)) else []


def _check_stream(path: Path, declared: int, pixels: np.ndarray | None = None) -> int | None:
    """Unpack compressed pixels to their end, which compares their checksum: SimpleITK does not.

    Args:
        path: the file.
        declared: how many bytes its pixels are.
        pixels: so many bytes, which are filled with them where they are given, be they compressed or not.

    Returns:
        CRC-32 of the unpacked pixels; None where they are not compressed.

    Raises:
        CaseUNetError: they are damaged, more or fewer than declared, or lie in another file.
    """
    begin, compressed = _find_pixels(path)
    data = find_itk_pixels(path)
    with (data or path).open("rb") as stream:
        stream.seek(0 if data else begin)
        if not compressed:
            left = (data or path).stat().st_size - stream.tell()
            if left < declared and (pixels is not None or not is_nrrd(path)):  # whose pixels may be text
                raise InvalidInputError(
                    f"{path}: has {left:,} bytes of pixels, not {declared:,} as declared: it is truncated."
                )
            if pixels is not None:
                scratch.read_into(stream, pixels)
            return None
        unpacker, length, checksum = zlib.decompressobj(wbits=47), 0, 0  # zlib or gzip
        try:
            while not unpacker.eof:
                block = unpacker.unconsumed_tail or stream.read(2**20)
                if not block:
                    raise InvalidInputError(f"{path}: its pixels end too early; the file is truncated.")
                piece = unpacker.decompress(block, 2**24)  # in pieces, however far a block expands
                if length + len(piece) > declared:
                    raise InvalidInputError(f"{path}: holds more than the {declared:,} bytes that its header declares.")
                if pixels is not None:
                    pixels[length : length + len(piece)] = np.frombuffer(piece, np.uint8)
                length, checksum = length + len(piece), zlib.crc32(piece, checksum)
            if length < declared:
                raise InvalidInputError(
                    f"{path}: holds {length:,} bytes, not the {declared:,} that its header declares."
                )
            return checksum
        except zlib.error as error:
            raise InvalidInputError(f"{path}: its pixels cannot be read; the file is damaged: {error}") from error


def _find_pixels(path: Path) -> tuple[int, bool]:
    """Byte after the header, and whether the pixels are compressed.

    Raises:
        CaseUNetError: they lie in another file, and the header is not one of such.
    """
    with path.open("rb") as stream:
        compressed, elsewhere = False, False
        for line in stream:  # the header: NRRD ends it with an empty line, MetaImage with the name of the data file
            text = line.strip().lower().replace(b" ", b"")
            compressed |= text in (b"encoding:gzip", b"encoding:gz", b"compresseddata=true")
            elsewhere |= text.startswith((b"datafile:", b"elementdatafile=")) and not text.endswith(b"=local")
            if not text or text.startswith(b"elementdatafile="):
                break
        if elsewhere and path.suffix.lower() not in DETACHED:
            raise InvalidInputError(f"{path}: its pixels lie in another file; save it as one file.")
        return stream.tell(), compressed


def _reason(error: Exception) -> str:
    """The last line of SimpleITK's message, which says why; the others say where in its code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
