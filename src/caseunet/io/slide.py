"""A large 2-D image, of whatever kind of file, of which parts are read: the protocol of whole slides."""

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from caseunet.errors import CaseUNetError, InvalidInputError

OVERVIEW = 2**20
"""Pixels of an overview, about."""

BAND = 64
"""Rows that are read together, at least."""

Resolution = tuple[Any, Any, Any]
"""Pixels per unit across and down, and the unit as TIFF counts them; None where it is not known."""

CENTIMETER, MICROMETERS = 3, 10_000
"""The unit as TIFF counts it, and how many micrometres it has."""


class Slide(ABC):
    """One 2-D image, of which parts are read. Use it in a ``with`` block, which closes the file.

    Args:
        path: its file.
        shape: channels, height and width.
        segment: rows that the file holds together, in a row of tiles.

    Attributes:
        shape: (1, C, H, W).
        dtype: of its pixels.
        levels: heights and widths of all sizes of it that the file holds, the largest first.
        resolution: see :data:`Resolution`.
        remarks: what should be known of how it is read.
    """

    dtype = np.dtype(np.uint8)
    resolution: Resolution = (None, None, None)
    remarks: tuple[str, ...] = ()

    def __init__(self, path: Path, shape: tuple[int, int, int], segment: int) -> None:
        self.path, self.shape = path, (1, *shape)
        self.levels: tuple[tuple[int, int], ...] = (shape[1:],)
        self._band = segment * max(1, -(-BAND // segment))
        self._held: dict[int, np.ndarray] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    @abstractmethod
    def _read_rows(self, start: int, stop: int) -> np.ndarray:
        """Decode whole rows, (C, stop - start, W)."""

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Pixels (C, rows, columns). The rows that were read last are held, since windows overlap.

        Raises:
            CaseUNetError: they are damaged.
        """
        top, bottom, _ = rows.indices(self.shape[2])
        left, right, _ = columns.indices(self.shape[3])
        numbers = range(top // self._band, -(-bottom // self._band))
        self._held = {number: self._held[number] for number in numbers if number in self._held}
        pixels = np.empty((self.shape[1], bottom - top, right - left), self.dtype)
        for number in numbers:
            if number not in self._held:
                self._held[number] = self._read_band(number)
            start = number * self._band
            first, last = max(top, start), min(bottom, start + self._band)
            pixels[:, first - top : last - top] = self._held[number][:, first - start : last - start, left:right]
        return pixels

    def _read_band(self, number: int) -> np.ndarray:
        start, stop = number * self._band, min((number + 1) * self._band, self.shape[2])
        try:
            return self._read_rows(start, stop)
        except CaseUNetError:
            raise
        except Exception as error:  # decoders raise what they like
            raise InvalidInputError(
                f"{self.path}: rows {start} to {stop} cannot be read; the file is damaged: {error}"
            ) from error

    def overview(self) -> tuple[np.ndarray, int]:
        """Every ``step``-th row and column, (1, C, h, w), about :data:`OVERVIEW` pixels; and the step."""
        _, channels, height, width = self.shape
        step = max(1, round((height * width / OVERVIEW) ** 0.5))
        sampled = np.empty((1, channels, -(-height // step), -(-width // step)), self.dtype)
        for row in range(0, height, step):
            sampled[0, :, row // step] = self.read(slice(row, row + 1), slice(None))[:, 0, ::step]
        return sampled, step

    def read_whole(self) -> np.ndarray:
        """All pixels, (C, H, W)."""
        pixels = np.empty(self.shape[1:], self.dtype)
        for start in range(0, self.shape[2], self._band):
            rows = slice(start, min(start + self._band, self.shape[2]))
            pixels[:, rows] = self.read(rows, slice(None))
        return pixels


def sample(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Every so many-th class id (H, W) as one of these sizes: ids are never averaged."""
    if labels.shape == size:
        return labels
    return labels[np.ix_(*(_places(to, of) for to, of in zip(size, labels.shape, strict=True)))]


def _places(to: int, of: int) -> np.ndarray:
    """Rows, or columns, of the smaller size: every n-th, unless the last one would lie beyond the end."""
    step = max(1, round(of / to))
    return np.arange(to) * step if (to - 1) * step < of else np.arange(to) * of // to
