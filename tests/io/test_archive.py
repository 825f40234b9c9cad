"""Zips that are what they claim, and zips that are not: their bytes are put together here, by hand where they lie."""

import io
import os
import shutil
import stat
import struct
import tempfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caseunet.errors import CaseUNetError
from caseunet.io import archive
from caseunet.io.archive import is_zip, unpack_zip

STORED, DEFLATED, BZIP2 = 0, 8, 12
UNIX = 3


@dataclass(frozen=True)
class Part:
    """An entry as it stands in a zip; what is None follows from the content."""

    name: str
    content: bytes = b"text"
    method: int = STORED
    packed: bytes | None = None
    size: int | None = None
    crc: int | None = None
    flags: int = 0
    mode: int = stat.S_IFREG | 0o644
    offset: int | None = None


def deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def zip_of(*parts: Part) -> bytes:
    """A zip as APPNOTE.TXT describes it: the entries, the table, the end."""
    body, table = b"", b""
    for part in parts:
        name = part.name.encode()
        packed = part.packed
        if packed is None:
            packed = deflated(part.content) if part.method == DEFLATED else part.content
        size = len(part.content) if part.size is None else part.size
        crc = zlib.crc32(part.content) if part.crc is None else part.crc
        offset = len(body) if part.offset is None else part.offset
        common = struct.pack(
            "<HHHHHLLLHH", 20, part.flags | 0x800, part.method, 0, 33, crc, len(packed), size, len(name), 0
        )
        body += b"PK\x03\x04" + common + name + packed
        table += b"PK\x01\x02" + struct.pack("<BB", 20, UNIX) + common
        table += struct.pack("<HHHLL", 0, 0, 0, part.mode << 16, offset) + name
    end = struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, len(parts), len(parts), len(table), len(body), 0)
    return body + table + end


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files, which must be empty after each test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def write(*parts: Part) -> Path:
        path = tmp_path / "a.zip"
        path.write_bytes(zip_of(*parts))
        return path

    return write


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(path: Path, match: str) -> None:
    """Make sure that a zip is refused by name, before anything of it is seen."""
    with pytest.raises(CaseUNetError, match=match) as caught, unpack_zip(path):
        pytest.fail("it was unpacked")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"), [("a.zip", True), ("A.ZIP", True), ("a.zip.txt", False), ("zip", False), ("a.gz", False)]
)
def test_zip_by_name(name: str, expected: bool) -> None:
    assert is_zip(Path(name)) == expected


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_come_out_as_they_went_in(method: int, tmp_path: Path, temporary: Path) -> None:
    """As the standard library packs them; large ones in several blocks."""
    noise = bytes(range(256)) * 10_000  # 2.56 MB
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as writer:
        writer.mkdir("empty")
        writer.writestr("series/1.dcm", noise)
        writer.writestr("series/2.dcm", b"")
        writer.writestr("./series/Größe 肝.dcm", b"x")
    with unpack_zip(tmp_path / "a.zip") as folder:
        assert content_of(folder) == {"series/1.dcm": noise, "series/2.dcm": b"", "series/Größe 肝.dcm": b"x"}
        assert folder.parent == temporary
        if os.name == "posix":
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_a_zip_that_was_written_as_a_stream(tmp_path: Path) -> None:
    """Sizes stand behind each entry then, not before it."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.all = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.all += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as writer:
        writer.writestr("a", b"first" * 1000)
        writer.writestr("b", b"second" * 1000)
    (tmp_path / "a.zip").write_bytes(pipe.all)
    with unpack_zip(tmp_path / "a.zip") as folder:
        assert content_of(folder) == {"a": b"first" * 1000, "b": b"second" * 1000}


def test_a_large_zip_s_format(tmp_path: Path) -> None:
    """Zip64, and a comment at the end."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as writer:
        with writer.open("a", "w", force_zip64=True) as file:
            file.write(b"text")
        writer.comment = b"a comment"
    with unpack_zip(tmp_path / "a.zip") as folder:
        assert content_of(folder) == {"a": b"text"}


def test_hidden_entries_are_left_out(save: Callable[..., Path]) -> None:
    hidden = ["__MACOSX/._a", "x/__MACOSX/b", ".DS_Store", "x/.DS_Store", ".git/config", "x/.hidden/c"]
    link = Part(".venv/python", b"/usr/bin/python", mode=stat.S_IFLNK | 0o777)
    with unpack_zip(save(Part("x/a"), *(Part(name) for name in hidden), link)) as folder:
        assert content_of(folder) == {"x/a": b"text"}


def test_a_zip_of_hidden_entries_is_empty(save: Callable[..., Path]) -> None:
    refused(save(Part(".DS_Store"), Part("folder/", b"")), "holds no files")


def test_an_empty_zip_is_refused(save: Callable[..., Path]) -> None:
    refused(save(), "holds no files")


def test_zips_within_stay_zips(save: Callable[..., Path]) -> None:
    inner = zip_of(Part("../../escape"))
    with unpack_zip(save(Part("inner.zip", inner, DEFLATED))) as folder:
        assert content_of(folder) == {"inner.zip": inner}


def test_permissions_are_not_taken_over(save: Callable[..., Path]) -> None:
    with unpack_zip(save(Part("a", mode=stat.S_IFREG | 0o6777))) as folder:
        assert stat.S_IMODE((folder / "a").stat().st_mode) & 0o6111 == 0


def test_an_error_of_the_one_who_reads_passes_and_the_folder_goes(save: Callable[..., Path]) -> None:
    with pytest.raises(ZeroDivisionError), unpack_zip(save(Part("a"))) as folder:
        _ = 1 / 0
    assert not folder.exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("/etc/passwd", "outside"),
        ("//server/share", "outside"),
        ("../escape", "outside"),
        ("a/../../escape", "outside"),
        ("a/..", "outside"),
        (".hidden/../../escape", "outside"),
        ("..", "outside"),
        (".", "outside"),
        ("", "outside"),
        ("C:/Windows/x", "drive letter"),
        ("a/c:x", "drive letter"),
        ("..\\escape", "backslash"),
        ("a\\b", "backslash"),
        ("a\0b", "zero byte"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(name: str, why: str, save: Callable[..., Path]) -> None:
    refused(save(Part("good"), Part(name)), rf"its entry \".*\" .*{why}")


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (stat.S_IFLNK, "is a symbolic link"),
        (stat.S_IFIFO, "is no plain file"),
        (stat.S_IFCHR, "is no plain file"),
        (stat.S_IFBLK, "is no plain file"),
        (stat.S_IFSOCK, "is no plain file"),
        (stat.S_IFDIR, "is no plain file"),
    ],
)
def test_links_and_special_files_are_refused(kind: int, why: str, save: Callable[..., Path]) -> None:
    refused(save(Part("good"), Part("bad", b"/etc/passwd", mode=kind | 0o777)), rf'its entry "bad" {why}')


@pytest.mark.parametrize("names", [("a", "a"), ("a", "./a"), ("x/a", "x//a"), ("a", "a/b"), ("a/b", "a")])
def test_two_entries_for_one_place_are_refused(names: tuple[str, str], save: Callable[..., Path]) -> None:
    refused(save(*(Part(name) for name in names)), "has the path of another entry")


def test_two_names_that_are_one_for_the_disk_are_refused(
    save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on disks that know no case."""
    plain = Path.joinpath
    monkeypatch.setattr(Path, "joinpath", lambda self, *parts: plain(self, *(part.lower() for part in parts)))
    refused(save(Part("a"), Part("A")), r'its entry "A" cannot be unpacked to .*: File exists')


@pytest.mark.parametrize("flag", [0x1, 0x41, 0x2000])
def test_encrypted_entries_are_refused(flag: int, save: Callable[..., Path]) -> None:
    refused(save(Part("good"), Part("secret", flags=flag)), r'its entry "secret" is encrypted')


def test_other_compressions_are_refused(save: Callable[..., Path]) -> None:
    """Their unpackers do not promise how far a block expands."""
    refused(save(Part("a", method=BZIP2)), r'its entry "a" is compressed by method 12, not by deflate')


@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_a_wrong_checksum_is_found(method: int, save: Callable[..., Path]) -> None:
    refused(save(Part("good"), Part("bad", method=method, crc=1)), r'its entry "bad" is damaged: its checksum differs')


@pytest.mark.parametrize("method", [STORED, DEFLATED])
@pytest.mark.parametrize("size", [0, 3])
def test_more_than_declared_is_found(size: int, method: int, save: Callable[..., Path]) -> None:
    """With the checksum of as much as is declared, so that one who stops there would see nothing wrong."""
    bad = Part("bad", b"text", method, size=size, crc=zlib.crc32(b"text"[:size]))
    refused(save(Part("good"), bad), rf'its entry "bad" has more than the {size} bytes that it declares')


@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_less_than_declared_is_found(method: int, save: Callable[..., Path]) -> None:
    refused(save(Part("bad", method=method, size=5)), r'its entry "bad" has 4 bytes, not the 5 that it declares')


def test_a_stream_that_stops_early_is_found(save: Callable[..., Path]) -> None:
    packed = deflated(bytes(range(256)) * 4)
    refused(save(Part("bad", method=DEFLATED, packed=packed[:-10], size=1024)), r'its entry "bad" has \d+ bytes')


def test_bytes_that_are_not_deflated_are_found(save: Callable[..., Path]) -> None:
    refused(save(Part("bad", method=DEFLATED, packed=b"\xff" * 20)), r'its entry "bad" is damaged: .*block type')


def test_entries_that_share_bytes_are_refused(save: Callable[..., Path]) -> None:
    """The same bytes in the table many times: a bomb that no ratio of an entry shows."""
    zeros = Part("a", bytes(1000), DEFLATED)
    refused(save(zeros, replace(zeros, name="b", offset=0)), r'its entry ".*" shares its bytes with another entry')


def test_entries_one_within_another_are_refused(save: Callable[..., Path]) -> None:
    """The first entry's bytes are the whole second entry."""
    inner = zip_of(Part("b"))[: 30 + 1 + 4]
    outer = Part("a", inner)
    inside = 30 + 1
    refused(save(outer, Part("b", offset=inside)), r'its entry "b" shares its bytes with another entry')


def test_entries_that_reach_into_the_table_are_refused(save: Callable[..., Path]) -> None:
    path = save(Part("a"))
    raw = bytearray(path.read_bytes())
    table = raw.index(b"PK\x01\x02")
    struct.pack_into("<LL", raw, table + 20, 5, 5)  # packed and unpacked size, in the table
    path.write_bytes(raw)
    refused(path, r'its entry "a" reaches beyond the end of the zip')


@pytest.mark.parametrize("offset", [1, 2**31])
def test_entries_that_are_elsewhere_are_refused(offset: int, save: Callable[..., Path]) -> None:
    refused(save(Part("a"), Part("b", offset=offset)), r'its entry "b" is not where the table of contents says')


def huge(name: str, mebibytes: int) -> Part:
    """So much of zeros, deflated as far as it goes: a thousand times smaller."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block, packed, crc = bytes(2**20), [], 0
    repeated = b""
    for n in range(mebibytes):
        crc = zlib.crc32(block, crc)
        if n == 0:
            packed.append(packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH))
            repeated = packed[0]  # after a full flush the next block is packed as the first was
        else:
            packed.append(repeated)
    return Part(name, b"", DEFLATED, packed=b"".join(packed) + packer.flush(), size=mebibytes * 2**20, crc=crc)


@contextmanager
def little_memory() -> Iterator[None]:
    """Make sure that the body needs less than 16 MB at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 16e6
    finally:
        tracemalloc.stop()


def test_a_bomb_is_refused_without_being_written(save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """1 GiB of zeros in 1 MB."""
    path = save(Part("good"), huge("bomb", 1024))
    assert path.stat().st_size < 1_200_000
    monkeypatch.setattr(tempfile, "TemporaryDirectory", lambda **_: pytest.fail("a folder was made"))
    with little_memory():
        refused(path, r'holds 1,073,741,828 bytes, most of them in its entry "bomb", .* more than 500 times')


def test_a_bomb_that_declares_little_is_stopped_at_that(save: Callable[..., Path]) -> None:
    """1 GiB of zeros said to be 2 MiB: no more than a block beyond is unpacked."""
    path = save(replace(huge("bomb", 1024), size=2**21, crc=zlib.crc32(bytes(2**21))))
    with little_memory():
        refused(path, r'its entry "bomb" has more than the 2,097,152 bytes that it declares')


def test_many_entries_are_a_bomb_too(save: Callable[..., Path]) -> None:
    """300 MiB that compress a thousandfold; none of the three would be much by itself."""
    refused(save(*(huge(name, 100) for name in "abc")), r"holds 314,572,800 bytes.* more than 500 times")


def test_much_that_compresses_well_is_no_bomb(save: Callable[..., Path]) -> None:
    """64 MiB of zeros, as a mask in which little was found."""
    with little_memory(), unpack_zip(save(huge("mask.nii", 64))) as folder:
        assert (folder / "mask.nii").stat().st_size == 2**26


def test_what_does_not_fit_on_the_disk_is_refused(save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=5000))
    with unpack_zip(save(Part("a", bytes(900)))) as folder:
        assert content_of(folder) == {"a": bytes(900)}
    refused(save(Part("a", bytes(905))), r'holds 905 bytes, .* "a"; on the disk of .* 5,000 bytes are free')


def test_a_disk_that_fills_up_meanwhile_is_named(save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, mode: str) -> None:
        raise OSError(28, "No space left on device")

    path = save(Part("a"))
    plain = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode: full(self, mode) if mode == "xb" else plain(self, mode))
    refused(path, r'its entry "a" cannot be unpacked to .*: No space left on device')


def test_too_many_entries_are_refused(save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_ENTRIES", 3)
    parts = [Part(str(n)) for n in range(4)]
    with unpack_zip(save(*parts[:3])) as folder:
        assert len(content_of(folder)) == 3
    refused(save(*parts), "holds more than 3 entries")


def with_table_size(raw: bytes, size: int, large: int | None) -> bytes:
    """A zip whose end tells this size of the table, and whose zip64 end, if it has one, tells that."""
    body, end = raw[:-22], raw[-22:-10] + struct.pack("<L", size) + raw[-6:]
    table = body.index(b"PK\x01\x02")
    if large is None:
        return body + end
    end_64 = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, large, table)
    return body + end_64 + struct.pack("<4sLQL", b"PK\x06\x07", 0, len(body), 1) + end


@pytest.mark.parametrize(
    ("size", "large"),
    [
        (archive.MAX_TABLE + 1, None),
        (2**32 - 1, None),
        (archive.MAX_TABLE + 1, 47),
        (2**32 - 1, archive.MAX_TABLE + 1),
        (47, archive.MAX_TABLE + 1),
    ],
)
def test_a_table_that_is_too_long_is_not_read(size: int, large: int | None, save: Callable[..., Path]) -> None:
    """Whatever number of entries the end tells: the table is what would fill the memory."""
    path = save(Part("a"))
    path.write_bytes(with_table_size(path.read_bytes(), size, large))
    refused(path, "holds more than 100,000 entries")


def test_the_end_of_a_large_zip_counts(save: Callable[..., Path]) -> None:
    """Where the usual end says no more than that: the table of one entry with a name of one letter has 47 bytes."""
    path = save(Part("a"))
    path.write_bytes(with_table_size(path.read_bytes(), 2**32 - 1, 47))
    with unpack_zip(path) as folder:
        assert content_of(folder) == {"a": b"text"}


def test_a_file_that_is_absent_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "absent.zip", "No such file")
    (tmp_path / "folder.zip").mkdir()
    refused(tmp_path / "folder.zip", "cannot be read")


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"text " * 100, b"\x1f\x8b" + bytes(100), b"MZ" + zip_of(Part("a"))], ids=range(5)
)
def test_what_does_not_begin_as_a_zip_is_refused(content: bytes, tmp_path: Path) -> None:
    """A program that unpacks itself is a zip by its end only."""
    (tmp_path / "a.zip").write_bytes(content)
    refused(tmp_path / "a.zip", "expected a zip")


def test_every_truncation_is_found(save: Callable[..., Path]) -> None:
    path = save(Part("a", bytes(40), DEFLATED), Part("b"))
    whole = path.read_bytes()
    for length in range(4, len(whole)):
        path.write_bytes(whole[:length])
        refused(path, "cannot be read as a zip: its end is missing")


def test_a_zip_with_a_hole_is_refused(save: Callable[..., Path]) -> None:
    path = save(Part("a", bytes(range(200))), Part("b"))
    whole = path.read_bytes()
    path.write_bytes(whole[:50] + whole[100:])
    refused(path, "a.zip: ")


def test_names_in_messages_are_printable_and_short(save: Callable[..., Path]) -> None:
    refused(save(Part("../\x1b[31m\n" + "x" * 1000)), r'its entry "\.\./\?\[31m\?x{88}…" would lie outside')


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, 10_000), value=st.binary(min_size=1, max_size=4))
def test_any_damage_is_found_or_harmless(position: int, value: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever bytes are overwritten: one error that users are meant to see, or files whose content is right."""
    raw = bytearray(zip_of(Part("x/a", bytes(range(99)), DEFLATED), Part("x/b", b"more"), Part("c/", b"")))
    position %= len(raw)
    raw[position : position + len(value)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    path.write_bytes(raw)
    with suppress(CaseUNetError), unpack_zip(path) as folder:
        assert set(content_of(folder).values()) <= {bytes(range(99)), b"more", b""}
