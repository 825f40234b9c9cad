"""The slices of a case at the network's size, made when they are asked for: a whole scan of them would be large."""

from collections.abc import Sequence

import numpy as np

from caseunet.data.grid import Placement
from caseunet.data.transforms import resize_image
from caseunet.imaging.slices import Stack, neighbour_positions


class Slices:
    """Slices (C, h, w), cut and resized as the placement says; the last few are kept for those beside them.

    Args:
        pixels: (S, C, H, W), canonical order, as stored.
        placement: where the network's slices lie in them.
        kept: how many are kept.
    """

    def __init__(self, pixels: np.ndarray, placement: Placement, kept: int) -> None:
        self._pixels, self._placement, self._most = pixels, placement, kept
        self._last: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int) -> np.ndarray:
        if index not in self._last:
            cut = self._placement.cut(self._pixels[index : index + 1])
            self._last[index] = np.ascontiguousarray(resize_image(cut, self._placement.size)[0])
            while len(self._last) > self._most:
                del self._last[next(iter(self._last))]
        return self._last[index]


def gather_context(slices: Stack, indices: Sequence[int], context_slices: int) -> np.ndarray:
    """2.5-D input (len(indices), (2·context_slices + 1)·C, h, w), as ``imaging.slices.gather_slices`` makes it."""
    positions = neighbour_positions(indices, context_slices, len(slices))
    return np.stack([np.concatenate([slices[int(s)] for s in window]) for window in positions])
