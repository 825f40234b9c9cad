"""Boxes of whole pixels around what an array holds, and indices spread evenly along one of its axes."""

import numpy as np

Slices = tuple[slice, ...]


def find_box(mask: np.ndarray) -> Slices | None:
    """The smallest box that holds everything that is not 0 in an array of any number of axes; None if all is 0.

    Example:
        >>> find_box(np.array([[0, 0, 0], [0, 1, 1]]))
        (slice(1, 2, None), slice(1, 3, None))
    """
    seen = mask.astype(bool, copy=False)
    box: list[slice] = []
    for axis in range(mask.ndim):  # one axis after another, each in the box so far: large scans are mostly empty
        others = tuple(other for other in range(mask.ndim) if other != axis)
        found = np.flatnonzero(seen[tuple(box)].any(axis=others))
        if not len(found):
            return None
        box.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(box)


def space_evenly(length: int, count: int) -> np.ndarray:
    """At most ``count`` indices below ``length``, rising, evenly spread, the first and the last among them.

    Example:
        >>> space_evenly(9, 3).tolist(), space_evenly(2, 5).tolist()
        ([0, 4, 8], [0, 1])
    """
    return np.unique(np.linspace(0, length - 1, min(length, count)).round().astype(int))


def spread_order(length: int) -> list[int]:
    """All indices below ``length``, in an order of which every beginning is evenly spread.

    Example:
        >>> spread_order(5)
        [0, 4, 2, 1, 3]
    """
    bits = max(1, (length - 1).bit_length())
    reversed_bits = (int(f"{n:0{bits}b}"[::-1], 2) for n in range(2**bits))
    return [n for n in reversed_bits if n < length]
