"""Which pixels of a source are prepared, and at what size: planned from the data, found for a case, and undone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from caseunet.config import PrepareConfig
from caseunet.errors import UserError
from caseunet.types import Grid, Modality

BODY = -500
"""HU above which there is no air; lung is below, but surrounded by what is above."""

STRIDE = 4
"""Every which row and column is looked at for the body."""

MARGIN = 12
"""Rows and columns of air that are kept around the body, so that skin has a context and nothing thin is lost."""

MOST_PIXELS = 1536 * 1024
"""Pixels that the median slice has at most after planning; photographs of many megapixels are shrunk to it."""

SAME_SPACING = 0.01
"""Relative difference of spacings below which resampling would only blur."""


@dataclass(frozen=True)
class Placement:
    """Where one case's prepared slices lie in its source's.

    Attributes:
        box: (top, left, bottom, right) of what is kept, in the source's canonical rows and columns.
        size: height and width that it gets.
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]

    @property
    def box_size(self) -> tuple[int, int]:
        return self.box[2] - self.box[0], self.box[3] - self.box[1]

    def cut(self, slices: np.ndarray) -> np.ndarray:
        """The box of (…, H, W)."""
        top, left, bottom, right = self.box
        return slices[..., top:bottom, left:right]


def place(pixels: np.ndarray, spacing: tuple[float, float, float] | None, grid: Grid) -> Placement:
    """Where the prepared slices of a case lie.

    Args:
        pixels: (S, C, H, W), as read.
        spacing: millimetres between slices, rows, columns; None where it is not known, then it is taken to be the
            grid's already.
        grid: the data set's.
    """
    box = body_box(pixels) if grid.crop_air else (0, 0, *pixels.shape[-2:])
    return Placement(box, prepared_size(box[2] - box[0], box[3] - box[1], spacing, grid))


def widened(
    placement: Placement, labels: np.ndarray, spacing: tuple[float, float, float] | None, grid: Grid
) -> Placement:
    """The placement with a box that holds all labels too (S, H, W): none may be lost to training."""
    found = np.any(labels > 0, axis=0)
    rows, columns = (np.flatnonzero(np.any(found, axis=axis)) for axis in (1, 0))
    if not len(rows):
        return placement
    top, left, bottom, right = placement.box
    top, left = min(top, int(rows[0])), min(left, int(columns[0]))
    box = (top, left, max(bottom, int(rows[-1]) + 1), max(right, int(columns[-1]) + 1))
    return Placement(box, prepared_size(box[2] - box[0], box[3] - box[1], spacing, grid))


def body_box(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of the body in a CT (S, C, H, W) in HU, with a margin; all where there is none."""
    H, W = pixels.shape[-2:]
    body = _body(pixels).any(axis=0)
    rows, columns = (np.flatnonzero(np.any(body, axis=axis)) * STRIDE for axis in (1, 0))
    if not len(rows):
        return 0, 0, H, W
    top, left = max(0, int(rows[0]) - MARGIN), max(0, int(columns[0]) - MARGIN)
    return top, left, min(H, int(rows[-1]) + 1 + MARGIN), min(W, int(columns[-1]) + 1 + MARGIN)


def slices_with_body(pixels: np.ndarray) -> np.ndarray:
    """Which slices of a CT (S, C, H, W) in HU hold some of the body, (S,), bool; all where none does."""
    found = _body(pixels).any(axis=(1, 2))
    return np.asarray(found if found.any() else np.ones_like(found))


def _body(pixels: np.ndarray) -> np.ndarray:
    """Where a CT (S, C, H, W) in HU is body, looked at every few rows and columns, (S, H', W'), bool.

    What is thinner than three strides, as noise, tubes and the shell of a table are, is none.
    """
    dense = torch.from_numpy(pixels[:, :1, ::STRIDE, ::STRIDE] > BODY).float()
    opened = F.max_pool2d(-F.max_pool2d(-dense, 3, 1, padding=1), 3, 1, padding=1)  # erosion, then dilation
    return np.asarray(opened[:, 0].numpy() > 0)


def plan_grid(
    config: PrepareConfig,
    modality: Modality,
    sizes: Sequence[tuple[int, int]],
    spacings: Sequence[tuple[float, float] | None],
) -> Grid:
    """The grid of a data set.

    Args:
        config: a given ``size`` or ``spacing`` is taken; "median" is planned.
        modality: air is cropped of CT alone.
        sizes: height and width of each case's slices.
        spacings: of each case's rows and columns, millimetres; None where it is not known.

    Raises:
        UserError: a spacing in millimetres is asked for, but not all images have one.
    """
    crop_air = config.crop_air and modality == "ct"
    if config.size is not None:
        return Grid(crop_air=crop_air, size=config.size)
    if config.spacing is None:
        return Grid(crop_air=crop_air)
    known = np.array([spacing for spacing in spacings if spacing is not None])
    if len(known) < len(sizes):
        if config.spacing != "median":
            raise UserError("prepare.spacing is in millimetres, but images without a spacing are among the data.")
        shrink = _shrink(np.array(sizes, float))
        return Grid(crop_air=crop_air, scale=None if shrink == 1 else shrink)
    if config.spacing != "median":
        return Grid(crop_air=crop_air, spacing=config.spacing)
    target = np.median(known, axis=0)
    target = target / _shrink(np.array(sizes) * known / target)
    if np.all(np.abs(known / target - 1) < SAME_SPACING):
        return Grid(crop_air=crop_air)
    return Grid(crop_air=crop_air, spacing=(round(float(target[0]), 6), round(float(target[1]), 6)))


def _shrink(sizes: np.ndarray) -> float:
    """Factor by which the slices (N, 2) become so small that the median has :data:`MOST_PIXELS`; 1 if it has less."""
    return min(1.0, float(np.sqrt(MOST_PIXELS / np.median(sizes[:, 0] * sizes[:, 1]))))


def prepared_size(height: int, width: int, spacing: tuple[float, float, float] | None, grid: Grid) -> tuple[int, int]:
    """Height and width that so many rows and columns get."""
    if grid.size is not None:
        return grid.size
    rows = columns = grid.scale or 1.0
    if grid.spacing is not None and spacing is not None:
        rows, columns = (own / wanted for own, wanted in zip(spacing[1:], grid.spacing, strict=True))
    return max(1, round(height * rows)), max(1, round(width * columns))
