"""Files that are either whole or absent, and the hash by which a source is known again."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from caseunet.errors import UserError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it is renamed into place, on failure it is removed.

    The temporary name keeps the suffixes of the real one, because image writers choose the format by them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, what: str) -> Any:
    """Parse a JSON file.

    Raises:
        UserError: it is missing or is no JSON; ``what`` says what it should have been.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; expected {what}.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as {what}: {error}.") from error


def content_hash(path: Path) -> str:
    """BLAKE2b of the file's bytes, 32 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def check_output_folder(folder: Path, marker: str, overwrite: bool) -> None:
    """Make sure that an output folder can be written, or replaced, without destroying anything unasked.

    Args:
        folder: where the output will go; need not exist.
        marker: the file that every output of this kind holds. Only a folder that holds it is ever removed.
        overwrite: whether an earlier output may be removed.

    Raises:
        UserError: the folder holds something that is not ours to remove, or ``overwrite`` was not given.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file; the output needs a folder. Choose another --out.")
    if not any(folder.iterdir()):
        return
    if not (folder / marker).exists():
        raise UserError(f"{folder}: holds other files (no {marker} among them). Choose another --out.")
    if not overwrite:
        raise UserError(f"{folder}: holds an earlier result. Choose another --out, or give --overwrite to replace it.")


def free_output_folder(folder: Path, marker: str, overwrite: bool) -> None:
    """Do :func:`check_output_folder`, and remove an earlier result that may be replaced."""
    check_output_folder(folder, marker, overwrite)
    if folder.exists():
        shutil.rmtree(folder)
