"""What a file may claim: a small file that declares a huge image is damaged or hostile, and is not allocated for."""

from pathlib import Path

import psutil

from caseunet.errors import InvalidInputError, NotEnoughMemoryError
from caseunet.io import scratch

MAX_COMPRESSION = 1400
"""No deflate stream expands further than 1,032 times, no JPEG or LZW stream further than 1,370."""

SLACK = 4096
"""Bytes of headers and padding that compression cannot save."""


def check_declared_size(path: Path, declared: int, compressed: bool) -> None:
    """Make sure that the file can hold, and this machine can take, what the header declares.

    Args:
        path: the file.
        declared: bytes of pixels.
        compressed: whether they are compressed in the file.

    Raises:
        CaseUNetError: the file is too small for them, or they are more than the free memory.
    """
    check_file_size(path, declared, compressed)
    check_free_memory(path, declared)


def check_file_size(path: Path, declared: int, compressed: bool) -> None:
    """Make sure that the file can hold what the header declares; as :func:`check_declared_size`, whatever is free.

    Raises:
        CaseUNetError: it is too small.
    """
    size = path.stat().st_size
    most = (size + SLACK) * MAX_COMPRESSION if compressed else size
    if declared > most:
        raise InvalidInputError(
            f"{path}: its header declares {declared:,} bytes of pixels, but the file has {size:,} bytes"
            f"{', compressed' if compressed else ''}: it is truncated, or its header is damaged."
        )


def check_free_memory(path: Path, needed: int) -> None:
    """Make sure that this machine can take so many bytes, unless they go to the disk, which has its own check.

    Raises:
        CaseUNetError: they are more than the free memory.
    """
    if scratch.is_on_disk():
        return
    free = psutil.virtual_memory().available
    if needed > free:
        raise NotEnoughMemoryError(
            f"{path}: its pixels need {needed / 2**30:.1f} GiB of memory; {free / 2**30:.1f} GiB are free here."
        )
