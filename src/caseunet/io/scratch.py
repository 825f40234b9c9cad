"""Arrays too large for memory: within :func:`on_disk` they are mapped files, elsewhere they lie in memory.

What works on the arrays does not see a difference. The files have no names, so that they are gone with their arrays,
however the process ends.
"""

import math
import mmap
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.errors import CaseUNetError

MIN_BYTES = 2**24
"""Of an array that is put on disk: smaller ones stay in memory."""

BLOCK = 2**25
"""Bytes of an array that are copied together."""

READ_BLOCK = 2**23
"""Bytes that are read, and unpacked, together."""

INTERVAL = 0.02
"""Seconds after which mapped pages are given back, again and again: not all work on them is done in blocks."""


class _Scratch:
    """The mapped files of one :func:`on_disk`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._maps, self._lock = folder, weakref.WeakSet[mmap.mmap](), threading.Lock()

    def allocate(self, size: int) -> mmap.mmap:
        """So many zeros in a file without a name.

        Raises:
            CaseUNetError: the disk has no room for them.
        """
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                if hasattr(os, "posix_fallocate"):  # to write to a map without room behind it would end the process
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
                found = mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise _no_room(self.folder, size) from error
        with self._lock:
            self._maps.add(found)
        return found

    def release_pages(self) -> None:
        """Let the system take pages back, which it would count as this process's: they stay in their files."""
        with self._lock:
            maps = list(self._maps)
        for one in maps:
            if hasattr(mmap, "MADV_DONTNEED"):
                one.madvise(mmap.MADV_DONTNEED)


_current: ContextVar[_Scratch | None] = ContextVar("scratch", default=None)


@contextmanager
def on_disk(folder: Path, needed: int) -> Iterator[None]:
    """Within, large arrays are files in a folder.

    Args:
        folder: on a disk, not in memory.
        needed: bytes of all files together; with 0 arrays stay in memory.

    Raises:
        CaseUNetError: the disk has no room for them.
    """
    if not needed:
        yield
        return
    if needed > shutil.disk_usage(folder).free:
        raise _no_room(folder, needed)
    scratch, ended = _Scratch(folder), threading.Event()

    def release_again_and_again() -> None:
        while not ended.wait(INTERVAL):
            scratch.release_pages()

    thread = threading.Thread(target=release_again_and_again, daemon=True)
    token = _current.set(scratch)
    thread.start()
    try:
        yield
    finally:
        _current.reset(token)
        ended.set()
        thread.join()


def is_on_disk() -> bool:
    """Whether large arrays are files now."""
    return _current.get() is not None


def open_file() -> Any:
    """A file without a name, to be read and written, among those of :func:`on_disk` or where the system has such."""
    scratch = _current.get()
    return tempfile.TemporaryFile(dir=None if scratch is None else scratch.folder)


def zeros(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """An array of zeros, on disk where it is large and :func:`on_disk` says so."""
    scratch, size = _current.get(), math.prod(shape) * np.dtype(dtype).itemsize
    if scratch is None or size < MIN_BYTES:
        return np.zeros(shape, dtype)
    return np.ndarray(shape, dtype, buffer=scratch.allocate(size))


def zeros_like(array: np.ndarray, dtype: Any) -> np.ndarray:
    """Zeros of an array's shape whose axes lie in memory in the same order."""
    order = np.argsort([-abs(stride) for stride in array.strides], kind="stable")
    return zeros([array.shape[axis] for axis in order], dtype).transpose(np.argsort(order))


def contiguous(array: np.ndarray) -> np.ndarray:
    """The array, or a copy of it, whose last axis runs fastest."""
    if not is_on_disk() or array.flags.c_contiguous:
        return np.ascontiguousarray(array)
    copy = zeros(array.shape, array.dtype)
    for rows in blocks(array):
        copy[rows] = array[rows]
    return copy


def concatenate_channels(images: Sequence[np.ndarray]) -> np.ndarray:
    """Images (S, C, H, W) as one that has all their channels."""
    if len(images) == 1:
        return images[0]
    slices, _, *size = images[0].shape
    joined = zeros((slices, sum(image.shape[1] for image in images), *size), np.result_type(*images))
    first = 0
    for image in images:
        for rows in blocks(image):
            joined[rows, first : first + image.shape[1]] = image[rows]
        first += image.shape[1]
    return joined


def blocks(array: np.ndarray, most: int | None = None) -> Iterator[slice]:
    """Along the first axis of an array, in blocks of at most so many bytes, or of one index."""
    step, scratch = max(1, (most or BLOCK) * len(array) // max(1, array.nbytes)), _current.get()
    for start in range(0, len(array), step):
        yield slice(start, min(start + step, len(array)))
        if scratch is not None:
            scratch.release_pages()


def find_range(array: np.ndarray) -> tuple[float, float]:
    """The lowest and the highest value of an array that is not empty; both NaN where there is one."""
    ends = np.array([(array[rows].min(), array[rows].max()) for rows in blocks(array)])
    return float(ends.min()), float(ends.max())


def read_into(stream: Any, array: np.ndarray) -> int:
    """Fill a contiguous array with the bytes of a binary stream.

    Returns:
        How many bytes there were; fewer than the array has where the stream ends before.
    """
    flat, done = array.reshape(-1).view(np.uint8), 0
    while done < flat.size:
        read = stream.readinto(flat[done : done + READ_BLOCK])
        if not read:
            break
        done += read
    return done


def _no_room(folder: Path, size: int) -> CaseUNetError:
    free = shutil.disk_usage(folder).free
    return CaseUNetError(
        f"{folder}: {size / 2**30:.1f} GiB are needed for what is too large for memory; the disk has "
        f"{free / 2**30:.1f} GiB free. Make room, choose a folder on another disk, or allow more memory.",
        options=("out", "max_ram"),
    )
