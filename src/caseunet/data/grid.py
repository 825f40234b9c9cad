"""Which pixels of a source are prepared, and at what size: planned from the data, found for a case, and undone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from caseunet.config import PrepareConfig
from caseunet.errors import InvalidOptionError
from caseunet.imaging.body import Box, box_in_mm, find_body_box, is_whole_body
from caseunet.imaging.resampling import compute_size
from caseunet.types import Grid, Modality

MAX_PREPARED_PIXELS = 1536 * 1024
"""Pixels that the median slice has at most after planning; photographs of many megapixels are shrunk to it, unless a
structure would become too narrow."""


@dataclass(frozen=True)
class Placement:
    """Where one case's prepared slices lie in its source's.

    Attributes:
        box: (top, left, bottom, right) of what is kept, in the source's canonical rows and columns.
        size: height and width that it gets.
        remark: why nothing is cut off where the data set's air is, or that the size of pixels is not known, in
            sentences without a last full stop; else "".
    """

    box: Box
    size: tuple[int, int]
    remark: str = ""

    @property
    def box_size(self) -> tuple[int, int]:
        return self.box[2] - self.box[0], self.box[3] - self.box[1]

    def cut(self, slices: np.ndarray) -> np.ndarray:
        """The box of (…, H, W)."""
        top, left, bottom, right = self.box
        return slices[..., top:bottom, left:right]


def place_slices(pixels: np.ndarray, spacing: tuple[float, float, float] | None, grid: Grid) -> Placement:
    """Where the prepared slices of a case lie: of its image and the data set's grid alone, in training as later.

    Args:
        pixels: (S, C, H, W), as read.
        spacing: millimetres between slices, rows, columns; None where it is not known, then it is taken to be the
            grid's already.
        grid: the data set's.
    """
    box, remark = _crop(pixels, spacing, grid) if grid.crop_to_body else (None, "")
    box = box or (0, 0, *pixels.shape[-2:])
    size = compute_grid_size(box[2] - box[0], box[3] - box[1], spacing, grid)
    return Placement(box, size, ". ".join(filter(None, [remark, _describe_unknown(spacing, grid)])))


def _describe_unknown(spacing: tuple[float, float, float] | None, grid: Grid) -> str:
    """What is assumed of pixels whose size is not known, where the grid is in millimetres; else ""."""
    if spacing is not None or grid.spacing is None:
        return ""
    rows, columns = grid.spacing
    return (
        f"the size of its pixels is not known. They are taken to be {rows:.3g} × {columns:.3g} mm large, as in "
        "training; of others the mask may be wrong"
    )


def _crop(pixels: np.ndarray, spacing: tuple[float, float, float] | None, grid: Grid) -> tuple[Box | None, str]:
    """The box of the body; or None, and why nothing is cut off."""
    box = find_body_box(pixels)
    if box is None:
        return None, "no body with air around it is found, so nothing is cut off"
    if spacing is None or grid.least_box is None or is_whole_body(box, spacing, grid.least_box):
        return box, ""
    lengths = (box_in_mm(box, spacing), grid.least_box)
    own, least = (" × ".join(f"{length:.0f}" for length in one) for one in lengths)
    return None, f"the body found in it has {own} mm, in training at least {least} mm, so nothing is cut off"


def plan_grid(
    config: PrepareConfig,
    modality: Modality,
    sizes: Sequence[tuple[int, int]],
    spacings: Sequence[tuple[float, float] | None],
    *,
    shrink: bool = True,
) -> Grid:
    """The grid of a data set.

    Args:
        config: a given ``size`` or ``spacing`` is taken; "median" is planned.
        modality: air is cropped of CT alone.
        sizes: height and width of each case's slices.
        spacings: of each case's rows and columns, millimetres; None where it is not known.
        shrink: whether slices of more than :data:`MAX_PREPARED_PIXELS` become smaller where "median" is planned.

    Raises:
        CaseUNetError: a spacing in millimetres is asked for, but not all images have one.
    """
    crop = config.crop_to_body and modality == "ct"
    if config.size is not None:
        return Grid(crop_to_body=crop, size=config.size)
    if config.spacing is None:
        return Grid(crop_to_body=crop)
    known = np.array([spacing for spacing in spacings if spacing is not None])
    if len(known) < len(sizes):
        if config.spacing != "median":
            raise InvalidOptionError(
                "prepare.spacing is in millimetres, but images without a spacing are among the data.",
                options=("prepare.spacing",),
            )
        factor = _shrink_factor(np.array(sizes, float)) if shrink else 1
        return Grid(crop_to_body=crop, scale=None if factor == 1 else factor)
    if config.spacing != "median":
        return Grid(crop_to_body=crop, spacing=config.spacing)
    target = np.median(known, axis=0)
    if shrink:
        target = target / _shrink_factor(np.array(sizes) * known / target)
    return Grid(crop_to_body=crop, spacing=(round(float(target[0]), 6), round(float(target[1]), 6)))


def _shrink_factor(sizes: np.ndarray) -> float:
    """On height and width of slices (N, 2), that gives the median :data:`MAX_PREPARED_PIXELS`; 1 if it has less."""
    return min(1.0, float(np.sqrt(MAX_PREPARED_PIXELS / np.median(sizes[:, 0] * sizes[:, 1]))))


def compute_grid_size(
    height: int, width: int, spacing: tuple[float, float, float] | None, grid: Grid
) -> tuple[int, int]:
    """Height and width that so many rows and columns get."""
    return compute_size(height, width, spacing, size=grid.size, target=grid.spacing, scale=grid.scale)
