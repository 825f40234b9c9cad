"""Files that are either whole or absent, and the hash by which a source is known again."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from upath import UPath

from caseunet.errors import (
    CaseUNetError,
    InputNotFoundError,
    Interrupted,
    InvalidInputError,
    InvalidOptionError,
    OutputExistsError,
)

Model = TypeVar("Model", bound=BaseModel)

Location = Path | UPath
"""A path of this machine, or an fsspec URL."""

PARTIAL = ".partial-"
"""How the name of a file begins that is being written."""

MARKER = ".caseunet"
"""In every output folder; holds its kind."""


def location(text: str | Location) -> Location:
    """A path, or for a URL such as s3://bucket/folder or memory://folder the like of a path there.

    What is one already stays as it is.

    Raises:
        CaseUNetError: there is no such protocol, or what it needs is not installed.
    """
    if not isinstance(text, str):
        return text
    if "://" not in text:
        return Path(text)
    try:
        return UPath(text)
    except (ValueError, ImportError) as error:
        extra = " Install caseunet[s3] for it." if text.startswith("s3://") else ""
        raise CaseUNetError(f"{text}: cannot be reached: {error}.{extra}") from error


@contextmanager
def remote_errors(place: Location) -> Iterator[None]:
    """Tell in words what goes wrong behind a URL: each protocol has errors of its own.

    Raises:
        CaseUNetError: it cannot be reached.
    """
    try:
        yield
    except Exception as error:
        if isinstance(place, Path) or isinstance(error, CaseUNetError):
            raise
        raise CaseUNetError(f"{place}: cannot be reached: {type(error).__name__}: {error}") from error


@contextmanager
def replace_when_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it is renamed into place, on failure it is removed.

    The temporary name keeps the suffixes of the real one, because image writers choose the format by them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def write_text(path: Location, text: str) -> None:
    if not isinstance(path, Path):  # behind a URL a file appears when it is whole
        path.write_text(text, encoding="utf-8")
        return
    with replace_when_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Location, content: Any) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Location, what: str) -> Any:
    """Parse a JSON file.

    Raises:
        CaseUNetError: it is missing or is no JSON, or a key stands twice; ``what`` says what it should have been.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
        return json.loads(text, object_pairs_hook=_refuse_twice)
    except FileNotFoundError as error:
        raise InputNotFoundError(f"{path}: no such file; expected {what}.") from error
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path}: cannot be read as {what}: {error}.") from error


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):  # the last one would win without a word
        keys = [key for key, _ in pairs]
        raise ValueError(f'"{next(key for key in keys if keys.count(key) > 1)}" stands twice')
    return content


def content_hash(*paths: Path) -> str:
    """BLAKE2b of a file's bytes, or of the hashes of several, 32 hexadecimal digits."""
    digests = []
    for path in paths:
        with path.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)))
    if len(digests) == 1:
        return digests[0].hexdigest()
    return hashlib.blake2b(b"".join(digest.digest() for digest in digests), digest_size=16).hexdigest()


def read_model(path: Location, model: type[Model], what: str) -> Model:
    """Parse a JSON file into a pydantic model.

    Raises:
        CaseUNetError: it is missing, is no JSON, or does not fit; the first misfit is named.
    """
    return as_model(read_json(path, what), model, path, what)


def as_model(content: Any, model: type[Model], path: Location, what: str) -> Model:
    """Parsed JSON as a pydantic model; ``path`` is where it is from.

    Raises:
        CaseUNetError: it does not fit; the first misfit is named.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"]) or "content"
        raise InvalidInputError(
            f"{path}: cannot be read as {what} of this version: {key}: {problem['msg']}."
        ) from error


def check_output_folder(folder: Location, kind: str, inputs: Iterable[Location], overwrite: bool) -> None:
    """Make sure that an output folder can be written, or replaced, without destroying anything unasked.

    Args:
        folder: where the output will go; need not exist.
        kind: what it will hold. Every output has a file that says its kind; only a folder of the same kind is replaced.
        inputs: what will be read; none of it may lie in the folder.
        overwrite: whether an earlier output may be replaced.

    Raises:
        CaseUNetError: the folder cannot be written, holds an input or something that is not ours, or ``overwrite`` was
            not given.
    """
    if not isinstance(folder, Path):
        with remote_errors(folder):
            _check_replaceable(folder, folder, kind, overwrite)
        return
    target = folder.resolve()
    if target == Path.cwd().resolve():
        raise InvalidOptionError(
            "The output needs a folder of its own, not the current one. Choose another.", options=("out",)
        )
    for path in inputs:
        if isinstance(path, Path) and path.resolve().is_relative_to(target):
            raise InvalidOptionError(
                f"{folder}: holds {path}, which is read. Choose a folder that holds no input.", options=("out",)
            )
    try:
        _check_replaceable(folder, target, kind, overwrite)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writable-", dir=target.parent):
            pass
    except CaseUNetError:
        raise
    except OSError as error:
        raise CaseUNetError(
            f"{folder}: cannot be written: {error}. Choose another folder.", options=("out",)
        ) from error


def _check_replaceable(folder: Location, target: Location, kind: str, overwrite: bool) -> None:
    """Make sure that ``target``, which is called ``folder``, is absent, empty, or a result that may be replaced."""
    if target.is_dir() and any(target.iterdir()):
        marker = target / MARKER
        found = marker.read_text(encoding="utf-8").strip() if marker.is_file() else None
        if found != kind:
            what = f"{found}" if found else "files that caseunet did not write"
            raise OutputExistsError(f"{folder}: holds {what}, not {kind}. Choose another folder.", options=("out",))
        if not overwrite:
            raise OutputExistsError(
                f'{folder}: holds an earlier result. Choose another folder, or replace it with mode="overwrite".',
                options=("out", "mode"),
            )
    elif target.exists() and not target.is_dir():
        raise OutputExistsError(
            f"{folder}: is a file; the output needs a folder. Choose another name.", options=("out",)
        )


@contextmanager
def output_folder(folder: Path, kind: str, inputs: Iterable[Location], overwrite: bool) -> Iterator[Path]:
    """Give an empty folder to write to. An earlier result there is removed only when the new one is whole.

    Until then it waits beside, under a hidden name that nobody else gives. If the work fails, it is put back and what
    the new work left, if anything, is kept as NAME.unfinished, NAME.unfinished-2 …; without an earlier result it stays
    where it is.
    Work that was interrupted in good order stays too, for :func:`unfinished_folder` to go on with.

    Raises:
        CaseUNetError: see :func:`check_output_folder`.
    """
    check_output_folder(folder, kind, inputs, overwrite)
    target = folder.resolve()
    before = _waiting(target)
    if target.exists() and any(target.iterdir()):
        if before.exists():  # an earlier replacement was killed: that one, not its half-done successor, is the result
            shutil.rmtree(target)
        else:
            target.rename(before)
    try:
        target.mkdir(parents=True, exist_ok=True)
        mark_output(target, kind)
        yield target
    except Interrupted:
        raise
    except BaseException:
        is_bare = [path.name for path in target.iterdir()] == [MARKER]
        if is_bare:
            shutil.rmtree(target)
        if before.exists():
            if not is_bare:
                target.rename(_free_name(target.with_name(f"{target.name}.unfinished")))
            before.rename(target)
        raise
    shutil.rmtree(before, ignore_errors=True)


@contextmanager
def resume_folder(folder: Path, kind: str) -> Iterator[Path]:
    """Give a folder whose work was interrupted, as it is. When the work is whole, what it replaces is removed.

    Raises:
        CaseUNetError: it holds no work of this kind.
    """
    target = folder.resolve()
    if not is_output(target, kind):
        raise InvalidInputError(f"{folder}: holds no {kind.partition(' ')[2]} to go on with.")
    yield target
    shutil.rmtree(_waiting(target), ignore_errors=True)


def is_output(folder: Path, kind: str) -> bool:
    """Whether a folder is an output of this kind."""
    marker = folder / MARKER
    return marker.is_file() and marker.read_text(encoding="utf-8").strip() == kind


def _waiting(target: Path) -> Path:
    """Where an earlier result waits until the one that replaces it is whole."""
    return target.with_name(f".caseunet-before-{target.name}")


def _free_name(path: Path) -> Path:
    """``path``, or with the first number that no file has yet."""
    names = (path, *(path.with_name(f"{path.name}-{n}") for n in range(2, 10_000)))
    return next(name for name in names if not name.exists())


def mark_output(folder: Location, kind: str) -> None:
    """Write the file by which an output of this kind is known."""
    (folder / MARKER).write_text(kind + "\n", encoding="utf-8")
