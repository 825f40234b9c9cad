"""DICOM files one by one: what is one, its elements, and its frames decoded, through pydicom."""

import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.errors import CaseUNetError, InvalidInputError, NotEnoughMemoryError
from caseunet.io.limits import check_declared_size
from caseunet.io.silence import silence_stderr

SUFFIXES = (".dcm", ".ima", ".dicom")

MAX_DEFLATED = 100
"""Times the size of a deflated file that it may be when it is unpacked, which is done at once."""

HARMLESS = 2**24
"""Bytes up to which that does not matter: air compresses well."""

PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
"""Its pixels have no rescale, but a real-world value map."""

VIDEO = "1.2.840.10008.1.2.4.10"
"""How the UIDs of MPEG-2, MPEG-4 and HEVC begin."""

HTJ2K = tuple(f"1.2.840.10008.1.2.4.20{n}" for n in (1, 2, 3))
"""High-throughput JPEG 2000."""

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_GROUPS = (b"\x02\0", b"\x08\0", b"\0\x08")
"""In which the first element of a file without preamble is: as little endian, and as big endian."""


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its name, or without a suffix by its first bytes."""
    if path.name.upper() == "DICOMDIR":  # the table of contents of an exported disc
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    if path.suffix and not path.suffix[1:].isdigit():  # names such as 1.2.840.113 have a number behind the last dot
        return False
    if not path.is_file():  # to open a pipe would wait for whoever fills it
        return False
    try:
        with path.open("rb") as stream:
            start = stream.read(132)
    except OSError:
        return False
    return start[128:] == b"DICM" or _begins_with_element(start)


def read_dataset(path: Path, pixels: bool = True, tags: list[Any] | None = None) -> Any:
    """What a file holds, with or without its pixels, all or some elements; a missing preamble is survived.

    Raises:
        ValueError: it is no DICOM file, or deflated and a bomb.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_file_meta_info

    if path.exists() and not path.is_file():  # to open a pipe would wait for whoever fills it
        raise ValueError("it is no file")
    try:
        meta = read_file_meta_info(path)
    except InvalidDicomError as error:
        with path.open("rb") as stream:
            if not _begins_with_element(stream.read(132)):
                raise ValueError("it does not begin as DICOM files do") from error
    else:
        if meta.get("TransferSyntaxUID") == pydicom.uid.DeflatedExplicitVRLittleEndian:
            if "FileMetaInformationGroupLength" not in meta:
                raise ValueError("it is deflated, and does not say from where on")
            _check_deflated(path, 144 + int(meta.FileMetaInformationGroupLength))
    dataset = pydicom.dcmread(path, stop_before_pixels=not pixels, specific_tags=tags, force=True)
    if not dataset.file_meta.get("TransferSyntaxUID"):
        dataset.file_meta.TransferSyntaxUID = _native_syntax(dataset)
    return dataset


@contextmanager
def explain_errors(path: Path, problem: str) -> Iterator[None]:
    """Turn what the DICOM libraries raise for bad bytes, of many kinds, into one message."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on values that no step here uses
            yield
    except CaseUNetError:
        raise
    except MemoryError as error:
        raise NotEnoughMemoryError(f"{path}: {problem}: its pixels do not fit into memory.") from error
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, AttributeError) and (error.name or "")[:1].isupper():  # an element, by its keyword
            text = f"it has no {error.name}"
        raise InvalidInputError(f"{path}: {problem}: {text.removesuffix('.')}.") from error


def check_pixels(path: Path, dataset: Any) -> None:
    """Look whether the pixels are there and can be decoded, before memory is taken for what the header claims.

    Raises:
        ValueError: they are not.
        CaseUNetError: coded pixels are far fewer bytes than the pixels that are declared.
    """
    stored = next((dataset[keyword].value for keyword in _PIXELS if keyword in dataset), None)
    if stored is None:
        raise ValueError("it holds no pixels")
    if ("RescaleSlope" in dataset) != ("RescaleIntercept" in dataset):
        raise ValueError("of its rescale, only the slope or the intercept is there")
    stored_bits = int(dataset.get("BitsStored", 16))
    if int(dataset.get("HighBit", stored_bits - 1)) >= stored_bits:
        raise ValueError(
            f"its pixels lie in the upper bits (HighBit {dataset.HighBit}, BitsStored {stored_bits}), where programs "
            "read them differently. Save it with HighBit one below BitsStored"
        )
    samples = int(dataset.get("SamplesPerPixel", 1))
    pixels = frame_count(dataset) * samples * int(dataset.Rows) * int(dataset.Columns)
    declared = pixels * int(dataset.BitsAllocated) // 8
    if dataset.get("PhotometricInterpretation") in ("YBR_FULL_422", "YBR_PARTIAL_422"):  # colours of every second pixel
        declared = declared * 2 // 3
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise ValueError(f"its TransferSyntaxUID is {syntax}, which is none that is known")
    if not syntax.is_compressed:
        if len(stored) < declared:
            raise ValueError(f"{declared:,} bytes of pixels are declared, {len(stored):,} are there")
        return
    if syntax.startswith(VIDEO):
        raise ValueError(f"it holds a film ({syntax.name}), not frames; save the film as .mp4 and give that")
    if not can_decode(syntax):
        raise ValueError(f"its pixels are coded as {syntax.name} ({syntax}), which needs a decoder: {advice(syntax)}")
    check_declared_size(path, declared, compressed=True)


def can_decode(syntax: str) -> bool:
    """Whether the pixels of a transfer syntax can be read here."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    try:
        return not UID(syntax).is_compressed or get_decoder(syntax).is_available
    except (NotImplementedError, ValueError):
        return False


def advice(syntax: str) -> str:
    """What to install for a transfer syntax."""
    from pydicom.pixels.decoders import gdcm

    if syntax in gdcm.DECODER_DEPENDENCIES:
        return "pip install 'caseunet[dicom]'"
    if syntax in HTJ2K:
        return "pip install pylibjpeg-openjpeg"
    return "save them uncompressed with a tool that knows them"


def frame_count(dataset: Any) -> int:
    return int(dataset.get("NumberOfFrames", 1) or 1)


def decode_frames(dataset: Any, frames: Sequence[int], raw: bool = True) -> Iterator[np.ndarray]:
    """The stored values of some frames, each (rows, columns) or (rows, columns, samples); colours as RGB unless raw.

    Raises:
        Exception: of many kinds, where the pixels are damaged.
    """
    from pydicom.pixels.utils import iter_pixels

    if int(dataset.BitsAllocated) == 1 and not dataset.file_meta.TransferSyntaxUID.is_compressed:
        yield from _unpack_frames(dataset, frames)
        return
    try:
        with silence_stderr():  # the decoders in C tell standard error what they think of a stream
            yield from iter_pixels(dataset, indices=list(frames), raw=raw)
    except RuntimeError as error:  # a line of each decoder
        name = dataset.file_meta.TransferSyntaxUID.name
        if "12-bit" in str(error):
            raise ValueError(f"its pixels are {name} of 12 bits: {advice('')}") from error
        raise ValueError(f"its pixels are damaged, or are no {name}") from error


def _unpack_frames(dataset: Any, frames: Sequence[int]) -> Iterator[np.ndarray]:
    """Frames of one bit a pixel, which follow each other without a gap and may begin within a byte."""
    stored = np.frombuffer(dataset.PixelData, np.uint8)
    if not dataset.file_meta.TransferSyntaxUID.is_little_endian and dataset["PixelData"].VR == "OW":
        stored = stored[: len(stored) // 2 * 2].reshape(-1, 2)[:, ::-1].ravel()
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    size = rows * columns
    for frame in frames:
        first, last = frame * size // 8, -(-(frame + 1) * size // 8)
        bits = np.unpackbits(stored[first:last], bitorder="little")[frame * size - 8 * first :][:size]
        yield bits.reshape(rows, columns)


def _begins_with_element(start: bytes) -> bool:
    """Whether the first bytes are an element of the groups that a data set without preamble begins with."""
    if start[:2] not in _GROUPS or len(start) < 8:
        return False
    length = int.from_bytes(start[4:8], "little")
    return (start[4:6].isalpha() and start[4:6].isupper()) or length < 256


def _native_syntax(dataset: Any) -> Any:
    """The transfer syntax of a data set that does not name it, as it was read."""
    import pydicom

    implicit, little = dataset.original_encoding
    if not little:
        return pydicom.uid.ExplicitVRBigEndian
    return pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian


def _check_deflated(path: Path, start: int) -> None:
    """Unpack in pieces what pydicom unpacks at once.

    Raises:
        ValueError: it is far larger than the file.
    """
    most = HARMLESS + MAX_DEFLATED * path.stat().st_size
    unpacker, length = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as stream:
        stream.seek(start)
        while block := unpacker.unconsumed_tail or stream.read(2**20):
            length += len(unpacker.decompress(block, 2**20))
            if length > most:
                raise ValueError(f"it unpacks to more than {most:,} bytes, {MAX_DEFLATED} times its own size")
