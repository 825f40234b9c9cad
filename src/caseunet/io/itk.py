"""NRRD and MetaImage volumes, through SimpleITK: read into canonical order, written back into the source's."""

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.errors import UserError
from caseunet.files import written_whole
from caseunet.io.geometry import to_canonical, to_source, volume_geometry
from caseunet.io.limits import check_declared_size
from caseunet.io.values import as_integers, whole_numbers
from caseunet.types import Geometry, Mask, Picture

SUFFIXES = (".nrrd", ".mha")

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def is_itk(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def read_geometry(path: Path) -> Geometry:
    """Shape (x, y, z), affine and spacing, from the header alone.

    Raises:
        UserError: no such file, or no volume.
    """
    return _open(path)[1]


def pixel_bytes(path: Path) -> int:
    """Bytes of a component of a voxel in the file."""
    return _component_bits(path, _open(path)[0]) // 8


def read_volume(path: Path) -> Picture:
    """A volume in canonical order, (S, C, H, W); the components of vectors are channels.

    Raises:
        UserError: the file is missing, damaged or no volume.
        BadValuesError: it holds NaN or infinity.
    """
    reader, geometry = _open(path)
    array = as_integers(_read(path, reader), path)
    channels = [to_canonical(array[..., channel].transpose(2, 1, 0), geometry) for channel in range(array.shape[3])]
    return Picture(channels[0][:, None] if len(channels) == 1 else np.stack(channels, axis=1), geometry)


def read_mask(path: Path, place: Geometry | None = None) -> Mask:
    """A label volume in canonical order; ``place`` is the geometry to read it in, if it is not its own.

    Raises:
        UserError: the file is missing, damaged, of vectors, or of another shape than ``place``.
    """
    reader, own = _open(path)
    if place is not None and place.shape != own.shape:
        raise UserError(f"{path}: the mask's shape {own.shape} is not its image's {place.shape}.")
    array = _read(path, reader)
    if array.shape[3] != 1:
        raise UserError(f"{path}: expected one volume of labels, found {array.shape[3]} components.")
    codes, fractional = whole_numbers(array[..., 0].transpose(2, 1, 0), path)
    return Mask(to_canonical(codes, place or own), own, stored=str(array.dtype), fractional=fractional)


def write_labels(path: Path, labels: np.ndarray, geometry: Geometry) -> None:
    """Write canonical labels (S, H, W), uint8, compressed, with the source's shape, axes and position.

    Args:
        path: ends in .nrrd or .mha.
        labels: canonical order.
        geometry: of the source image.
    """
    import SimpleITK

    image = SimpleITK.GetImageFromArray(to_source(labels, geometry).transpose(2, 1, 0))
    affine = _TO_RAS @ np.asarray(geometry.affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    with written_whole(path) as temporary:
        try:
            SimpleITK.WriteImage(image, temporary, useCompression=True)
        except RuntimeError as error:
            raise UserError(f"{path}: cannot be written: {_reason(error)}") from error


def _open(path: Path) -> tuple[Any, Geometry]:
    import SimpleITK

    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise UserError(f"{path}: cannot be read as NRRD or MetaImage: {_reason(error)}") from error
    shape = tuple(reader.GetSize())
    if len(shape) != 3 or min(shape) < 1:
        raise UserError(f"{path}: expected a 3-D volume, found shape {shape}.")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(reader.GetDirection(), (3, 3)) * reader.GetSpacing()
    affine[:3, 3] = reader.GetOrigin()
    return reader, volume_geometry(shape, _TO_RAS @ affine, str(path))


def _read(path: Path, reader: Any) -> np.ndarray:
    """(z, y, x, components)."""
    import SimpleITK

    bits = _component_bits(path, reader)
    components = reader.GetNumberOfComponents()
    declared = math.prod(reader.GetSize()) * components * bits // 8
    check_declared_size(path, declared, compressed=True)
    _check_stream(path, declared)
    try:
        array = SimpleITK.GetArrayFromImage(reader.Execute())
    except (RuntimeError, MemoryError) as error:
        raise UserError(
            f"{path}: its pixels cannot be read; the file is truncated or damaged: {_reason(error)}"
        ) from error
    return np.asarray(array).reshape(*reader.GetSize()[::-1], components)


def _component_bits(path: Path, reader: Any) -> int:
    """Of a number in the file.

    Raises:
        UserError: it is none.
    """
    import SimpleITK

    kind = SimpleITK.GetPixelIDValueAsString(reader.GetPixelIDValue())
    bits = next((n for n in (8, 16, 32, 64) if f"{n}-bit" in kind), None)
    if bits is None or "complex" in kind:
        raise UserError(f"{path}: expected numbers, found pixels of type {kind}.")
    return bits


def _check_stream(path: Path, declared: int) -> None:
    """Unpack compressed pixels to their end, which compares their checksum: SimpleITK does not.

    Raises:
        UserError: they are damaged, or lie in another file.
    """
    with path.open("rb") as stream:
        compressed, elsewhere = False, False
        for line in stream:  # the header: NRRD ends it with an empty line, MetaImage with the name of the data file
            text = line.strip().lower().replace(b" ", b"")
            compressed |= text in (b"encoding:gzip", b"encoding:gz", b"compresseddata=true")
            elsewhere |= text.startswith((b"datafile:", b"elementdatafile=")) and not text.endswith(b"=local")
            if not text or text.startswith(b"elementdatafile="):
                break
        if elsewhere:
            raise UserError(f"{path}: its pixels lie in another file; save it as one file.")
        if not compressed:
            return
        unpacker, length = zlib.decompressobj(wbits=47), 0  # zlib or gzip
        try:
            while not unpacker.eof:
                block = unpacker.unconsumed_tail or stream.read(2**20)
                if not block:
                    raise UserError(f"{path}: its pixels end too early; the file is truncated.")
                length += len(unpacker.decompress(block, 2**24))  # in pieces, however far a block expands
                if length > declared:
                    raise UserError(f"{path}: holds more than the {declared:,} bytes that its header declares.")
        except zlib.error as error:
            raise UserError(f"{path}: its pixels cannot be read; the file is damaged: {error}") from error


def _reason(error: Exception) -> str:
    """The last line of SimpleITK's message, which says why; the others say where in its code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
