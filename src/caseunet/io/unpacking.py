"""Folders that may be given as zips."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from caseunet.errors import CaseUNetError
from caseunet.io import archive


@contextmanager
def unpack_all(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """The paths, each zip as a temporary folder of its content; messages name the zip.

    Raises:
        CaseUNetError: a zip cannot be unpacked.
    """
    with ExitStack() as stack:
        opened = []
        for path in paths:
            is_zip = archive.is_zip(path) and path.is_file()
            opened.append(_inner(stack.enter_context(archive.unpack_zip(path))) if is_zip else path)
        try:
            yield opened
        except CaseUNetError as error:
            text = str(error)
            for folder, path in zip(opened, paths, strict=True):
                text = in_archive(text, folder, path)
            raise error.with_message(text) from error


def in_archive(text: str, folder: Path, path: Path) -> str:
    """A text that names files of an unpacked zip, with the zip's name instead of the folder's."""
    return text if folder == path else text.replace(f"{folder}{os.sep}", f"{path}: ").replace(str(folder), str(path))


def _inner(folder: Path) -> Path:
    """The folder, or the only one in it, as most zips have one."""
    inside = list(folder.iterdir())
    return _inner(inside[0]) if len(inside) == 1 and inside[0].is_dir() else folder
