"""Overlapping windows in which slices too large for a network are seen, and the weights by which they are blended."""

import numpy as np

MAX_WHOLE = 2**22
"""Pixels of a slice at the network's size up to which it is seen whole: networks take up to about 400 bytes for each in
float32, so that is under 2 GB. All but few CT, MR and endoscopic images are smaller."""
WINDOW, OVERLAP, EDGE = 1024, 256, 64
"""Height and width of the windows in which larger ones are seen, more where training's patches were larger; rows and
columns that neighbours share at least; those along their sides that count for nothing, since the network sees no
further."""
Span = tuple[slice, np.ndarray]
"""Rows, or columns, of windows, and a weight for each, float32."""


def fits_whole(size: tuple[int, int]) -> bool:
    """Whether a network sees slices of this height and width whole, not in windows."""
    return size[0] * size[1] <= MAX_WHOLE


def place_windows(length: int, least: int) -> list[Span]:
    """Windows that cover so many rows, or columns, evenly spread.

    Their weights rise and fall linearly where they overlap, and are 1 in sum at each place.
    """
    window = min(length, max(WINDOW, -(-least // 32) * 32))
    count = -(-(length - OVERLAP) // (window - OVERLAP)) if length > window else 1
    starts = [(length - window) * n // max(1, count - 1) for n in range(count)]
    rising = np.clip((np.arange(window) + 0.5 - EDGE) / (OVERLAP - 2 * EDGE), 0, 1)
    spans, total = [], np.zeros(length)
    for start in starts:
        weights = rising.copy() if start > 0 else np.ones(window)
        if start + window < length:
            weights = np.minimum(weights, rising[::-1])
        total[start : start + window] += weights
        spans.append((slice(start, start + window), weights))
    return [(places, (weights / total[places]).astype(np.float32)) for places, weights in spans]
