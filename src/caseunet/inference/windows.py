"""Slices too large for a network to see at once go through it in overlapping windows, whose logits are blended.

A network that normalises each image by its own statistics (instance norm) sees a window otherwise than a whole slice.
It was trained on patches of 512×512 at most, so a window is nearer to what it knows than a slice of many megapixels.

MONAI's ``sliding_window_inference`` blends the same way but holds all classes of the whole slice as floats. Here they
are held for the rows of one line of windows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from caseunet.data.transforms import VALUES_AT_ONCE, Stack
from caseunet.types import SMALLEST

MAX_WHOLE = 2**22
"""Pixels of a slice at the network's size up to which it is seen whole: networks take up to about 400 bytes for each in
float32, so that is under 2 GB. All CT, MR and endoscopic images are smaller."""

WINDOW = 1024
"""Height and width of a window, more where training's patches were larger."""

OVERLAP = 256
"""Rows, or columns, that neighbouring windows share at least."""

EDGE = 64
"""Rows, or columns, along the inner sides of a window that count for nothing, since the network sees no more beyond."""


@dataclass(frozen=True)
class Windows:
    """Where the windows of a slice lie.

    Attributes:
        size: height and width of the slice.
        window: height and width of each window.
        tops, lefts: first row of each line of windows, and first column of each window in a line.
    """

    size: tuple[int, int]
    window: tuple[int, int]
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @property
    def count(self) -> int:
        return len(self.tops) * len(self.lefts)

    @property
    def remark(self) -> str:
        """A sentence without a full stop."""
        (h, w), (rows, columns) = self.size, self.window
        return (
            f"segmented in {self.count} windows of {rows}×{columns}, since {h}×{w} pixels are more than the network "
            "should see at once"
        )


def plan_windows(size: tuple[int, int], least: tuple[int, int]) -> Windows | None:
    """Windows of slices of this height and width; None if they are seen whole.

    Args:
        size: at the network's size.
        least: that training's patches had.
    """
    if size[0] * size[1] <= MAX_WHOLE:
        return None
    window = [min(length, max(WINDOW, _multiple(enough))) for length, enough in zip(size, least, strict=True)]
    tops, lefts = (_starts(length, own) for length, own in zip(size, window, strict=True))
    return Windows(size, (window[0], window[1]), tops, lefts)


def blend(segment: Callable[[slice, slice], Tensor], windows: Windows) -> Iterator[tuple[int, Tensor]]:
    """Logits of slices, some rows after another: the first row, and (B, C, rows, w).

    Args:
        segment: rows and columns of a window → its logits (B, C, rows, columns).
        windows: where they lie.
    """
    rows, width = windows.window[0], windows.size[1]
    down = _weights(windows.tops, rows, windows.size[0])
    across = _weights(windows.lefts, windows.window[1], width)
    line: Tensor | None = None  # (B, C, rows, w): sums over the windows so far
    for top, stop, by_row in zip(windows.tops, (*windows.tops[1:], windows.size[0]), down, strict=True):
        for left, by_column in zip(windows.lefts, across, strict=True):
            columns = slice(left, left + windows.window[1])
            logits = segment(slice(top, top + rows), columns)
            if line is None:
                line = logits.new_zeros((*logits.shape[:2], rows, width))
            weights = (by_row[:, None] * by_column).to(logits.device)
            line[..., columns] += logits * weights
        assert line is not None
        step = max(1, VALUES_AT_ONCE // (line.shape[0] * line.shape[1] * width))
        for first in range(top, stop, step):
            yield first, line[:, :, first - top : min(first + step, stop) - top].clone()
        over = line[:, :, stop - top :].clone()  # what later windows share
        line.zero_()[:, :, : over.shape[2]] = over


class Cropped:
    """The same rows and columns of each slice (C, h, w) of a case."""

    def __init__(self, slices: Stack, rows: slice, columns: slice) -> None:
        self._slices, self._rows, self._columns = slices, rows, columns

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._slices[index][:, self._rows, self._columns]


def _multiple(length: int) -> int:
    return -(-length // SMALLEST) * SMALLEST


def _starts(length: int, window: int) -> tuple[int, ...]:
    """First rows, or columns, of windows that cover the length, evenly spread."""
    count = -(-(length - OVERLAP) // (window - OVERLAP)) if length > window else 1
    return tuple((length - window) * n // max(1, count - 1) for n in range(count))


def _weights(starts: tuple[int, ...], window: int, length: int) -> list[Tensor]:
    """Of the rows, or columns, of each window, float32: they rise and fall linearly, and are 1 in sum at each place."""
    places = np.arange(window) + 0.5
    rising = np.clip((places - EDGE) / (OVERLAP - 2 * EDGE), 0, 1)
    weights, total = [], np.zeros(length)
    for start in starts:
        own = np.ones(window)
        if start > 0:
            own = rising
        if start + window < length:
            own = np.minimum(own, rising[::-1])
        weights.append(own)
        total[start : start + window] += own
    return [
        torch.from_numpy((own / total[start : start + window]).astype(np.float32))
        for start, own in zip(starts, weights, strict=True)
    ]
