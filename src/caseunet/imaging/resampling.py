"""Bilinear resampling as torch does it, by numpy alone."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

SAME_SPACING = 0.01
"""Relative difference of spacings below which resampling would only blur."""


def compute_size(
    height: int,
    width: int,
    spacing: Sequence[float] | None,
    *,
    size: Sequence[int] | None = None,
    target: Sequence[float] | None = None,
    scale: float | None = None,
) -> tuple[int, int]:
    """Height and width that so many rows and columns get; at most one of ``size``, ``target`` and ``scale`` is given.

    Args:
        height, width: pixels of the source.
        spacing: millimetres between its slices, rows and columns; None where it is not known.
        size: that every slice gets.
        target: millimetres between rows and columns that every slice gets; not used where ``spacing`` is None.
        scale: factor on height and width.
    """
    if size is not None:
        return size[0], size[1]
    rows = columns = scale or 1.0
    if target is not None and spacing is not None:
        ratios = (own / wanted for own, wanted in zip(spacing[1:], target, strict=True))
        rows, columns = (1.0 if abs(ratio - 1) < SAME_SPACING else ratio for ratio in ratios)
    return max(1, round(height * rows)), max(1, round(width * columns))


def resample_slices(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Slices (S, C, H, W) at ``size``: bilinear, anti-aliased when shrinking, rounded back to their own type."""
    if pixels.shape[-2:] == size:
        return pixels
    resized = np.empty((*pixels.shape[:2], *size), pixels.dtype)
    for n, image in enumerate(pixels):
        values = interpolate(image.astype(np.float32), size, antialias=True)
        resized[n] = np.rint(values) if pixels.dtype.kind in "iu" else values
    return resized


def upsample_argmax(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Class ids at ``size``, uint8, of one slice's logits (classes, h, w), interpolated before the maximum."""
    labels, highest = np.zeros(size, np.uint8), interpolate(logits[0], size)
    for c in range(1, len(logits)):  # one at a time: all at the image's size would be large
        values = interpolate(logits[c], size)
        labels[values > highest] = c
        highest = np.maximum(highest, values)
    return labels


def interpolate(values: np.ndarray, size: tuple[int, int], antialias: bool = False) -> np.ndarray:
    """Values (…, H, W) at ``size``, bilinear between centres of pixels; with ``antialias`` averaged when shrinking."""
    for axis, wanted in ((-1, size[1]), (-2, size[0])):
        if values.shape[axis] != wanted:
            positions, weights = _weights(values.shape[axis], wanted, antialias)
            weights = weights if axis == -1 else weights[..., None]
            values = np.asarray(sum(np.take(values, p, axis) * w for p, w in zip(positions, weights, strict=True)))
    return values


@lru_cache(maxsize=64)
def _weights(length: int, wanted: int, antialias: bool) -> tuple[np.ndarray, np.ndarray]:
    """Which of ``length`` pixels make each of ``wanted``, and with what weights, float32, both (pixels, wanted)."""
    scale = np.float32(length / wanted)
    reach = max(scale, np.float32(1)) if antialias else np.float32(1)
    centres = (scale * (np.arange(wanted) + 0.5)).astype(np.float32)
    first = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    stop = np.minimum((centres + reach + 0.5).astype(np.int64), length)
    positions = first + np.arange(int((stop - first).max()))[:, None]
    weights = np.maximum(1 - np.abs(positions - centres + 0.5) / reach, 0) * (positions < length)
    return np.minimum(positions, length - 1), (weights / weights.sum(axis=0)).astype(np.float32)
