"""Overlapping windows in which slices larger than training's patches are seen, and the weights that blend them.

A network sees a window as it saw its patches: with as many pixels for its attention, and for the statistics of its
norms. Of two windows that see a place, the one in whose middle it lies counts more: weights are Gaussian, as in nnU-Net
(Isensee et al. 2021).
"""

from collections.abc import Sequence

import numpy as np

SPARE = 1.25
"""Times its window that a slice may be high and wide to be seen whole: a little more than training's patches, instead
of two windows of which each pixel is computed twice."""
OVERLAP = 0.25
"""Share of a window that its neighbour sees too, at least."""
SIGMA = 0.125
"""Standard deviation of a window's weights, in windows."""
MAX_WHOLE, WINDOW = 2**22, 1024
"""Of models that name no window: pixels of a slice that is seen whole, and height and width of windows, more where
training's patches were larger."""
GRID = 32
"""What windows of 128 and more begin at multiples of: the stride of the deepest networks. Pools and strided
convolutions then see the grid that they see in the whole slice."""
BLANK = 24
"""Difference of 8-bit values within which a window is glass or padding: what scanners and JPEG do to an even area."""
Span = tuple[slice, np.ndarray]
"""Rows, or columns, of a window, and a weight for each, float32."""


def place_windows(
    size: Sequence[int], window: Sequence[int] | None, min_size: Sequence[int]
) -> tuple[list[Span], list[Span]] | None:
    """The rows of each line of windows, and the columns of each window in a line; None if slices are seen whole.

    Args:
        size: height and width of slices as the network sees them.
        window: height and width of windows; None where the model names none.
        min_size: height and width that training saw.
    """
    if window is None:
        if size[0] * size[1] <= MAX_WHOLE:
            return None
        window = [max(WINDOW, -(-least // 32) * 32) for least in min_size]
    rows, columns = (place_spans(length, side) for length, side in zip(size, window, strict=True))
    return None if len(rows) == len(columns) == 1 else (rows, columns)


def place_spans(length: int, window: int) -> list[Span]:
    """Windows that cover so many rows, or columns, evenly spread; their weights are 1 in sum at each place.

    They begin at multiples of a power of two: at most :data:`GRID` and a quarter of the window, to which planned
    networks keep. The last is up to so many pixels longer.
    """
    if length <= SPARE * window:
        return [(slice(0, length), np.ones(length, np.float32))]
    grid = min(GRID, 1 << max(0, (window // 4).bit_length() - 1))
    step = (window - int(OVERLAP * window)) // grid * grid
    count = 1 - (window - length) // step
    starts = [(length - window) * n // (count - 1) // grid * grid for n in range(count)]
    spans = [slice(start, start + window) for start in starts[:-1]] + [slice(starts[-1], length)]
    weights = [gaussian(places.stop - places.start) for places in spans]
    total = np.zeros(length)
    for places, counts in zip(spans, weights, strict=True):
        total[places] += counts
    return [
        (places, (counts / total[places]).astype(np.float32)) for places, counts in zip(spans, weights, strict=True)
    ]


def gaussian(length: int) -> np.ndarray:
    """How much each place of a window counts beside those of others."""
    distances = (np.arange(length) + 0.5) / length - 0.5
    return np.exp(-0.5 * (distances / SIGMA) ** 2)


def is_blank(pixels: np.ndarray) -> bool:
    """Whether a window (C, h, w) of 8-bit values shows nothing; of grey, where an even area may mean something, only
    padding of one value does."""
    flat = pixels.reshape(len(pixels), -1)
    return bool((flat.max(axis=1).astype(int) - flat.min(axis=1) <= (BLANK if len(pixels) == 3 else 0)).all())
