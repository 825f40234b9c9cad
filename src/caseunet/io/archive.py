"""Zip archives, unpacked without trust: they come from the network, and a name or a size in them may be a trap.

The table of contents is read by the standard library's zipfile; the entries themselves are unpacked here, for zipfile
cuts an entry that is longer than it declares, and older ones do not look for entries that share their bytes.
"""

import re
import shutil
import stat
import struct
import tempfile
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from caseunet.errors import CaseUNetError, InvalidInputError

SUFFIX = ".zip"

MAX_ENTRIES = 100_000

MAX_TABLE = 200 * MAX_ENTRIES
"""Bytes of the table of contents, which is read whole."""

MAX_EXPANSION = 500
"""Times the size of the zip that its content may have: masks that are nearly empty come to 400, a bomb to 1,032."""

MAX_NAME = 255
"""Bytes of a name that disks take."""

MAX_FOLDERS = 50
"""In which a file of the zip may lie, one within the other."""

HARMLESS = 2**28
"""Bytes of content up to which the expansion does not matter."""

DISK_BLOCK = 4096
"""Bytes by which a file can be larger on the disk than in itself."""

BLOCK = 2**20
"""Bytes unpacked at once."""

_FIRST = (b"PK\x03\x04", b"PK\x05\x06")  # an entry, or the end of a zip that holds none
_HEADER = struct.Struct("<4s22xHH")  # of an entry: signature, length of the name, length of the extra field
_END = struct.Struct("<4s8xL6x")  # of the zip: signature, size of the table
_END_64 = struct.Struct("<4s36xQ8x")  # of a large zip; before the other
_IN_END_64 = 2**32 - 1
"""Stands for a size that only the end of a large zip tells."""
_LOCATOR_64 = 20
"""Bytes between the two ends."""
_MAX_COMMENT = 2**16 - 1
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # the entry, strongly, and the table


@dataclass(frozen=True)
class _Entry:
    """A file to unpack.

    Attributes:
        info: what the table says of it.
        parts: its path.
        start: offset of its bytes in the zip.
    """

    info: ZipInfo
    parts: tuple[str, ...]
    start: int


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive, by its name."""
    return path.suffix.lower() == SUFFIX


@contextmanager
def unpack_zip(path: Path) -> Iterator[Path]:
    """Give a private temporary folder that holds what a zip does, and remove it at the end.

    Hidden entries and the shadow folders of macOS are left out, and zips within the zip stay zips. Files get the
    permissions of new files, whatever the zip says.

    Args:
        path: at most :data:`MOST_ENTRIES` entries, stored or deflated, that come to at most :data:`MOST_EXPANSION`
            times the size of the zip (or :data:`HARMLESS`) and fit on the disk of temporary files.

    Raises:
        CaseUNetError: it is no whole zip, holds more than that, or an entry is damaged, encrypted, no plain file, there
            twice, or would lie outside the folder. Nothing is left on the disk.
    """
    size = _check_file(path)
    try:
        with ZipFile(path) as archive:
            infos, end = archive.infolist(), archive.start_dir
    except Exception as error:  # zipfile raises many kinds for a table that is damaged
        raise InvalidInputError(f"{path}: cannot be read as a zip: {error}. It is damaged; get it again.") from error
    with path.open("rb") as stream:
        entries = _entries(path, stream, infos, end)
    _check_total(path, entries, size)
    with tempfile.TemporaryDirectory(prefix="caseunet-") as name:
        folder = Path(name)
        with path.open("rb") as stream:
            for entry in entries:
                _unpack(path, stream, entry, folder)
        yield folder


def _check_file(path: Path) -> int:
    """Look at both ends of the file, and give its size.

    Raises:
        CaseUNetError: it is no zip, is cut short, or its table of contents is too long to be read.
    """
    if path.exists() and not path.is_file():  # to open a pipe would wait for whoever fills it
        raise InvalidInputError(f"{path}: cannot be read: it is no file.")
    try:
        with path.open("rb") as stream:
            first = stream.read(4)
            size = stream.seek(0, 2)
            stream.seek(-min(size, _END.size + _MAX_COMMENT + _LOCATOR_64 + _END_64.size), 2)
            tail = stream.read()
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}.") from error
    if first not in _FIRST:
        raise InvalidInputError(
            f"{path}: expected a zip, which begins with {_FIRST[0]!r}; this file begins with {first!r}."
        )
    at = tail.rfind(b"PK\x05\x06")
    if not 0 <= at <= len(tail) - _END.size:
        raise InvalidInputError(f"{path}: cannot be read as a zip: its end is missing. It is cut short; get it again.")
    table = _END.unpack_from(tail, at)[1]
    at -= _LOCATOR_64 + _END_64.size
    if at >= 0 and tail.startswith(b"PK\x06\x06", at):
        table = max(_END_64.unpack_from(tail, at)[1], 0 if table == _IN_END_64 else table)
    if table > MAX_TABLE:
        raise _too_many(path)
    return size


def _entries(path: Path, stream: BinaryIO, infos: Sequence[ZipInfo], end: int) -> list[_Entry]:
    """What is to be unpacked, each entry checked.

    Args:
        path: the zip, for messages.
        stream: the same, open.
        infos: its table of contents.
        end: offset at which the entries end.

    Raises:
        CaseUNetError: see :func:`unpacked`.
    """
    if len(infos) > MAX_ENTRIES:
        raise _too_many(path)
    entries: list[_Entry] = []
    free = 0  # offset behind the entries that were looked at
    for info in sorted(infos, key=lambda info: info.header_offset):
        parts = _parts(path, info)
        start = _start(path, stream, info)
        if info.header_offset < free:
            raise _bad(path, info, "shares its bytes with another entry")
        free = start + info.compress_size
        if free > end:
            raise _bad(path, info, "reaches beyond the end of the zip")
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
            continue
        if not info.is_dir():
            _check_kind(path, info)
            entries.append(_Entry(info, parts, start))
    _check_names(path, entries)
    return entries


def _parts(path: Path, info: ZipInfo) -> tuple[str, ...]:
    """The path of an entry within the folder.

    Raises:
        CaseUNetError: it would lead out of it, or mean another one on another system.
    """
    name = info.orig_filename
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if not name or name.startswith("/") or ".." in parts or not (parts or info.is_dir()):
        raise _bad(path, info, "would lie outside the folder that it is unpacked to")
    if "\\" in name or "\0" in name or any(re.match("[A-Za-z]:", part) for part in parts):
        raise _bad(path, info, "has a backslash, a drive letter or a zero byte in its name")
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in name):
        raise _bad(path, info, "has a line break or another control character in its name")
    if any(len(part.encode()) > MAX_NAME for part in parts):
        raise _bad(path, info, f"has a name of more than {MAX_NAME} bytes")
    if len(parts) > MAX_FOLDERS + 1:
        raise _bad(path, info, f"lies in more than {MAX_FOLDERS} folders, one within the other")
    return parts


def _start(path: Path, stream: BinaryIO, info: ZipInfo) -> int:
    """Offset of the bytes of an entry, which follow its own header."""
    header = b""
    if info.header_offset >= 0:
        stream.seek(info.header_offset)
        header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size or header[:4] != _FIRST[0]:
        raise _bad(path, info, "is not where the table of contents says")
    _, name, extra = _HEADER.unpack(header)
    return info.header_offset + _HEADER.size + int(name) + int(extra)


def _check_kind(path: Path, info: ZipInfo) -> None:
    """Make sure that an entry is a plain file, and packed in a way that is known here."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):  # 0 where the zip was made on Windows
        raise _bad(path, info, f"is {'a symbolic link' if kind == stat.S_IFLNK else 'no plain file'}")
    if info.flag_bits & _ENCRYPTED:
        raise _bad(path, info, "is encrypted")
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise _bad(path, info, f"is compressed by method {info.compress_type}, not by deflate")


def _check_names(path: Path, entries: Sequence[_Entry]) -> None:
    """Make sure that there are files, and that no two need the same place."""
    if not entries:
        raise InvalidInputError(f"{path}: holds no files.")
    folders = {entry.parts[:n] for entry in entries for n in range(1, len(entry.parts))}
    files: set[tuple[str, ...]] = set()
    for entry in entries:
        if entry.parts in files or entry.parts in folders:
            raise _bad(path, entry.info, "has the path of another entry")
        files.add(entry.parts)


def _check_total(path: Path, entries: Sequence[_Entry], size: int) -> None:
    """Make sure that the content is no bomb, and fits on the disk.

    Args:
        path: the zip, for messages.
        entries: the files.
        size: of the zip, bytes.
    """
    total = sum(entry.info.file_size for entry in entries)
    largest = max(entries, key=lambda entry: entry.info.file_size).info
    what = f"holds {total:,} bytes, most of them in its entry {_show_name(largest)}"
    if total > max(HARMLESS, MAX_EXPANSION * size):
        raise InvalidInputError(
            f"{path}: {what}, which is more than {MAX_EXPANSION} times its own size: it may be made to fill the disk. "
            "If you trust it, unpack it yourself and give the folder."
        )
    place = tempfile.gettempdir()
    free = shutil.disk_usage(place).free
    if total + DISK_BLOCK * len(entries) > free:
        raise InvalidInputError(
            f"{path}: {what}; on the disk of {place}, where it is unpacked, {free:,} bytes are free."
        )


def _unpack(path: Path, stream: BinaryIO, entry: _Entry, folder: Path) -> None:
    """Write one file, and compare its length and checksum with what the zip declares."""
    target = folder.joinpath(*entry.parts)
    length, checksum = 0, 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:  # a file that is there already has, for this disk, the same name
            for block in _content(stream, entry):
                length += len(block)
                if length > entry.info.file_size:
                    raise _bad(path, entry.info, f"has more than the {entry.info.file_size:,} bytes that it declares")
                checksum = zlib.crc32(block, checksum)
                file.write(block)
    except OSError as error:
        raise CaseUNetError(
            f"{path}: its entry {_show_name(entry.info)} cannot be unpacked to {folder}: {error.strerror}."
        ) from error
    except zlib.error as error:
        raise _bad(path, entry.info, f"is damaged: {error}") from error
    if length < entry.info.file_size:
        raise _bad(path, entry.info, f"has {length:,} bytes, not the {entry.info.file_size:,} that it declares")
    if checksum != entry.info.CRC:
        raise _bad(path, entry.info, "is damaged: its checksum differs")


def _content(stream: BinaryIO, entry: _Entry) -> Iterator[bytes]:
    """The bytes of a file, in blocks of at most :data:`BLOCK`, however far the zip expands."""
    stream.seek(entry.start)
    left = entry.info.compress_size
    if entry.info.compress_type == ZIP_STORED:
        while block := stream.read(min(left, BLOCK)):
            left -= len(block)
            yield block
        return
    unpacker, packed = zlib.decompressobj(-zlib.MAX_WBITS), b""
    while not unpacker.eof:
        if not packed:
            packed = stream.read(min(left, BLOCK))
            left -= len(packed)
        exhausted = not packed  # there may be blocks yet, for a byte can expand into many
        block = unpacker.decompress(packed, BLOCK)
        packed = unpacker.unconsumed_tail
        if block:
            yield block
        elif exhausted:
            return


def _too_many(path: Path) -> CaseUNetError:
    return InvalidInputError(
        f"{path}: holds more than {MAX_ENTRIES:,} entries. Unpack it yourself and give the folder."
    )


def _bad(path: Path, info: ZipInfo, what: str) -> CaseUNetError:
    return InvalidInputError(
        f"{path}: its entry {_show_name(info)} {what}. Nothing was unpacked; get or make the zip again."
    )


def _show_name(info: ZipInfo) -> str:
    """The name of an entry for messages: it may hold anything."""
    name = "".join(c if c.isprintable() else "?" for c in info.orig_filename)
    return f'"{name if len(name) <= 100 else name[:97] + "…"}"'
