"""A row of a case study: what it holds, and which part of its images is worth showing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from caseunet.types import Label

MAX_CROP = 0.7
"""Share of an image above which a part of it is not worth showing instead."""

Region = tuple[slice, slice]
"""Rows and columns of an image."""


@dataclass(frozen=True)
class StudyRow:
    """One case, or slice of a case, with what each model made of it.

    Attributes:
        heading: why it is shown: "worst", "median", "best", "chosen".
        caption: name of the case, and the slice where there are several.
        image: (H, W) or (H, W, 3), values 0 to 1.
        reference: class ids (H, W).
        predictions: class ids (H, W), one per model.
        scores: a text per model, of one or more lines; parts that " · " separates stay together where they can.
        aspect: height of a pixel divided by its width.
    """

    heading: str
    caption: str
    image: np.ndarray
    reference: np.ndarray
    predictions: tuple[np.ndarray, ...]
    scores: tuple[str, ...]
    aspect: float = 1.0

    @property
    def masks(self) -> tuple[np.ndarray, ...]:
        return self.reference, *self.predictions


def check_rows(rows: Sequence[StudyRow], models: Sequence[str]) -> None:
    """Make sure that all parts are there and fit together.

    Raises:
        ValueError: they do not.
    """
    if not rows or not models:
        raise ValueError(f"a case study needs rows and models, not {len(rows)} rows and {len(models)} models")
    for row in rows:
        if not len(row.predictions) == len(row.scores) == len(models):
            raise ValueError(
                f'"{row.caption}" has {len(row.predictions)} predictions and {len(row.scores)} scores for '
                f"{len(models)} models; each model needs one of each"
            )
        shape = row.reference.shape
        if len(shape) != 2 or 0 in shape or any(mask.shape != shape for mask in row.predictions):
            raise ValueError(f'"{row.caption}": masks must be (H, W), all alike, not {[m.shape for m in row.masks]}')
        if row.image.shape not in (shape, (*shape, 3)):
            raise ValueError(f'"{row.caption}": an image of {row.image.shape} does not fit masks of {shape}')
        if not (math.isfinite(row.aspect) and row.aspect > 0):
            raise ValueError(f'"{row.caption}": aspect must be a positive number, not {row.aspect}')


def find_region(row: StudyRow, classes: Sequence[Label]) -> Region:
    """What all pictures of a row show: the whole image, or where its structures are small the part around them.

    They are small if the box around them, in the reference and all predictions together, covers less than a quarter of
    the image. The margin is a quarter of the box's longer side and at least a tenth of the image's shorter one; then
    the part is made larger until its shape is that of the image, but not slimmer than 1 : 2. A part that is most of
    the image is not worth it.
    """
    H, W = row.reference.shape
    whole = slice(0, H), slice(0, W)
    ids = [label.id for label in classes]
    found = np.any([np.isin(mask, ids) for mask in row.masks], axis=0)
    if not found.any():
        return whole
    ys, xs = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    height, width = int(ys[-1] - ys[0] + 1), int(xs[-1] - xs[0] + 1)
    if 4 * height * width >= H * W:
        return whole
    # Lengths from here are in widths of a pixel.
    margin = max(max(height * row.aspect, width) / 4, min(H * row.aspect, W) / 10)
    tall, wide = height * row.aspect + 2 * margin, width + 2 * margin
    shape = min(max(H * row.aspect / W, 0.5), 2.0)
    tall, wide = max(tall, wide * shape), max(wide, tall / shape)
    part = _window(int(ys[0]), height, tall / row.aspect, H), _window(int(xs[0]), width, wide, W)
    is_most = (part[0].stop - part[0].start) * (part[1].stop - part[1].start) > MAX_CROP * H * W
    return whole if is_most else part


def _window(start: int, length: int, wanted: float, whole: int) -> slice:
    """``wanted`` pixels with ``length`` pixels from ``start`` in their middle, moved to lie within 0 … ``whole``."""
    size = min(math.ceil(wanted - 1e-9), whole)
    first = min(max(start - (size - length) // 2, 0), whole - size)
    return slice(first, first + size)
