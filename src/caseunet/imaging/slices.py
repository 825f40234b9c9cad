"""Slices as a network sees them: beside their neighbours, standardised, and with their edges repeated."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

MAX_VALUES = 2**22
"""Numbers of a slice that are held in floating point together."""


class Stack(Protocol):
    """Slices (C, H, W) of one case: an array, a list, or what makes or reads each when it is asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> np.ndarray: ...


def neighbour_positions(indices: Sequence[int] | np.ndarray, context_slices: int, slices: int) -> np.ndarray:
    """(len(indices), 2·n + 1): each slice with n neighbours on each side, lowest first, kept inside 0 … slices − 1."""
    window = np.arange(-context_slices, context_slices + 1)
    return np.clip(np.asarray(indices)[:, None] + window, 0, slices - 1)


def gather_slices(pixels: np.ndarray, indices: Sequence[int] | np.ndarray, context_slices: int) -> np.ndarray:
    """2.5-D input: each slice with its neighbours as channels, (len(indices), (2·n + 1)·C, H, W).

    Channels run from the lowest slice to the highest. Beyond the ends the edge slice is repeated.

    Args:
        pixels: (S, C, H, W).
        indices: of the middle slices.
        context_slices: n, slices on each side.
    """
    gathered = pixels[neighbour_positions(indices, context_slices, len(pixels))]  # (N, 2n + 1, C, H, W)
    return gathered.reshape(len(indices), -1, *pixels.shape[2:])


def case_statistics(pixels: Stack) -> np.ndarray:
    """Mean and standard deviation of each channel of a case over all its pixels, (2, C), float32."""
    positions = range(len(pixels))  # slice by slice: a scan is large
    mean = sum(pixels[s].mean(axis=(1, 2), dtype=np.float64) for s in positions) / len(pixels)
    squares = sum(
        np.square(rows - mean[:, None, None]).sum(axis=(1, 2)) for s in positions for rows in _split_rows(pixels[s])
    )
    count = len(pixels) * pixels[0][0].size
    return np.stack([mean, np.sqrt(squares / count)]).astype(np.float32)


def _split_rows(image: np.ndarray) -> list[np.ndarray]:
    """(C, H, W) in as few parts of its rows as can be held in floating point."""
    return np.array_split(image, max(1, -(-image.size // MAX_VALUES)), axis=1)


def standardize(x: np.ndarray, statistics: np.ndarray, preprocessing: Mapping[str, Any]) -> np.ndarray:
    """Gathered pixels (B, slices · C, h, w), float32: channels that are normalized per case are clipped, then less the
    mean and over the standard deviation of the case; others stay as they are."""
    channels, standardized = statistics.shape[1], x.copy()
    rules = zip(preprocessing["intensity_window"], preprocessing["per_case_zscore"], strict=True)
    for channel, (window, per_case) in enumerate(rules):
        if per_case:
            values = x[:, channel::channels] if window is None else np.clip(x[:, channel::channels], *window)
            mean, deviation = statistics[:, channel]
            # all pixels of a case may be equal
            standardized[:, channel::channels] = (values - mean) / np.maximum(deviation, np.float32(1e-8))
    return standardized


def pad(x: np.ndarray, min_size: Sequence[int], graph: Mapping[str, Any]) -> tuple[np.ndarray, tuple[int, int]]:
    """Slices (B, C, h, w) with their edges repeated as in training, and as the graph needs; and where they begin.

    Args:
        x: slices.
        min_size: height and width that training saw; slices lie in the middle of these.
        graph: "multiple" and "smallest" of its height and width.
    """
    before, after = [], []
    for length, enough in zip(x.shape[-2:], min_size, strict=True):
        first, last = split_padding(length, enough)
        whole = max(first + length + last, graph["smallest"])
        before.append(first)
        after.append(-(-whole // graph["multiple"]) * graph["multiple"] - length - first)
    widths = [(0, 0), (0, 0), *zip(before, after, strict=True)]
    return np.pad(x, widths, mode="edge"), (before[0], before[1])


def split_padding(length: int, min_length: int) -> tuple[int, int]:
    """Rows, or columns, to repeat before and after so many, to have ``min_length`` with them in the middle."""
    missing = max(0, min_length - length)
    return missing // 2, missing - missing // 2
