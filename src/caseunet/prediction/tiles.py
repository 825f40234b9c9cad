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

from caseunet.data.transforms import VALUES_AT_ONCE
from caseunet.imaging.slices import Stack
from caseunet.imaging.windows import Span, fits_whole, place_windows


@dataclass(frozen=True)
class Windows:
    """Where the windows of a slice lie.

    Attributes:
        size: height and width of the slice.
        lines: rows of each line of windows, with their weights.
        columns: columns of each window in a line, with their weights.
    """

    size: tuple[int, int]
    lines: list[Span]
    columns: list[Span]

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of each."""
        return len(self.lines[0][1]), len(self.columns[0][1])

    @property
    def count(self) -> int:
        return len(self.lines) * len(self.columns)

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
    if fits_whole(size):
        return None
    return Windows(size, *(place_windows(*lengths) for lengths in zip(size, least, strict=True)))


def blend(segment: Callable[[slice, slice], Tensor], windows: Windows) -> Iterator[tuple[int, Tensor]]:
    """Logits of slices, some rows after another: the first row, and (B, C, rows, w).

    Args:
        segment: rows and columns of a window → its logits (B, C, rows, columns).
        windows: where they lie.
    """
    height, width = windows.size
    stops = [*(rows.start for rows, _ in windows.lines[1:]), height]  # from there on later windows count too
    line: Tensor | None = None  # (B, C, rows, w): sums over the windows so far
    for (rows, down), stop in zip(windows.lines, stops, strict=True):
        for columns, across in windows.columns:
            logits = segment(rows, columns)
            if line is None:
                line = logits.new_zeros((*logits.shape[:2], len(down), width))
            line[..., columns].addcmul_(logits, torch.from_numpy(down[:, None] * across).to(logits.device))
        assert line is not None
        step = max(1, VALUES_AT_ONCE // (line.shape[0] * line.shape[1] * width))
        for first in range(rows.start, stop, step):
            yield first, line[:, :, first - rows.start : min(first + step, stop) - rows.start].clone()
        over = line[:, :, stop - rows.start :].clone()
        line.zero_()[:, :, : over.shape[2]] = over


class Cropped:
    """The same rows and columns of each slice (C, h, w) of a case."""

    def __init__(self, slices: Stack, rows: slice, columns: slice) -> None:
        self._slices, self._rows, self._columns = slices, rows, columns

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._slices[index][:, self._rows, self._columns]
