"""How wide the structures of a mask are, in pixels: vessels of three pixels do not survive what livers do."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

LOOKED_AT = 1024
"""Height and width, at most, of what is measured of a mask: the middle of the structure's box."""


def measure_widths(values: np.ndarray, structures: Sequence[int]) -> dict[int, float]:
    """{value: its median width in pixels} in the slice of (S, H, W) that holds most of it.

    Along the middle line of a structure, whose pixels are further from its boundary than their neighbours, twice the
    distance to what is outside, less half a pixel: 1.5 for a line of one pixel or two, 3.5 for three or four.
    """
    widths = {}
    for value in structures:
        inside = values == value
        fullest = inside[int(inside.sum(axis=(1, 2)).argmax())]
        if not fullest.any():
            continue
        rows, columns = (_middle(np.flatnonzero(fullest.any(axis=axis))) for axis in (1, 0))
        part = np.pad(fullest, 1, mode="edge")[rows[0] : rows[1] + 2, columns[0] : columns[1] + 2]
        distances = ndimage.distance_transform_edt(part)
        middle = (part & (distances == ndimage.maximum_filter(distances, size=3)))[1:-1, 1:-1]
        if middle.any():
            widths[value] = float(2 * np.median(distances[1:-1, 1:-1][middle]) - 0.5)
    return widths


def _middle(places: np.ndarray) -> tuple[int, int]:
    """Start and stop of at most :data:`LOOKED_AT` rows, or columns, in the middle of those given."""
    first, last = int(places[0]), int(places[-1]) + 1
    spare = max(0, last - first - LOOKED_AT) // 2
    return first + spare, min(last, first + spare + LOOKED_AT)
