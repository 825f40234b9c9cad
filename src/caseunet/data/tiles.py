"""Slices larger than training's patches go through a network in overlapping windows, whose logits are blended.

MONAI's ``sliding_window_inference`` blends the same way but holds all classes of the whole slice as floats. Here they
are held for the rows of one line of windows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from caseunet.data.transforms import VALUES_AT_ONCE, run_network
from caseunet.imaging.slices import Stack
from caseunet.imaging.windows import Span, place_windows
from caseunet.types import Preprocessing


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
        """Height and width of the last, the largest."""
        return len(self.lines[-1][1]), len(self.columns[-1][1])

    @property
    def count(self) -> int:
        return len(self.lines) * len(self.columns)


def plan_windows(size: tuple[int, int], preprocessing: Preprocessing) -> Windows | None:
    """Windows of slices of this height and width at the network's size; None if they are seen whole."""
    spans = place_windows(size, preprocessing.window, preprocessing.min_size)
    return None if spans is None else Windows(size, *spans)


def run_in_windows(
    network: Callable[[Tensor], Tensor], gathered: Tensor, preprocessing: Preprocessing, statistics: np.ndarray
) -> Tensor:
    """As :func:`caseunet.data.transforms.run_network`, in windows where prediction takes them."""
    windows = plan_windows((gathered.shape[2], gathered.shape[3]), preprocessing)
    if windows is None:
        return run_network(network, gathered, preprocessing, statistics)

    def run_window(rows: slice, columns: slice) -> Tensor:
        return run_network(network, gathered[..., rows, columns], preprocessing, statistics).float()

    return torch.cat([rows for _, rows in blend(run_window, windows)], dim=2)


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
                line = logits.new_zeros((*logits.shape[:2], windows.window[0], width))
            line[:, :, : len(down), columns].addcmul_(
                logits, torch.from_numpy(down[:, None] * across).to(logits.device)
            )
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
