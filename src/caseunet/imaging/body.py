"""The box around the body in a CT: what is cut off is the air around it."""

from collections.abc import Sequence

import numpy as np

Box = tuple[int, int, int, int]
"""(top, left, bottom, right) in rows and columns; bottom and right are not in it."""
BODY = -500
"""HU above which there is no air; lung is below, but surrounded by what is above."""
AIR = -900
"""HU above which something may be lung, not air."""
MAX_LOST = 1 / 3
"""Share of what is cut off that may be above :data:`AIR`: a patient's couch is a fifth of it, and a scan that shows a
lung alone has no body to cut to."""
STRIDE = 4
"""Every which row and column is looked at for the body."""
LIMB = 6
"""Rows and columns of a square that is kept wherever it lies if all of it is above :data:`BODY`. A thin limb has such
squares. A couch's shell, of up to 5 in a real scan, tubes, leads and noise have none."""
MARGIN = 12
"""Rows and columns of air that are kept around the body, so that skin has a context and nothing thin is lost."""
LABEL_MARGIN = 4
"""Rows and columns between a label and the edge of the box, so that a label keeps its context."""
MIN_BOX = 0.5
"""Height and width of a body's box as shares of the smallest in training: below, it is no body but a part of one."""


def find_body_box(pixels: np.ndarray) -> Box | None:
    """The box around the body in a CT (S, C, H, W) in HU, with a margin.

    None where no body is found, and where more than air would be cut off.
    """
    H, W = pixels.shape[-2:]
    looked_at = pixels[:, 0, ::STRIDE, ::STRIDE]
    body = np.zeros(looked_at.shape[1:], bool)
    for image in looked_at:  # one at a time: a scan is large
        body |= _dilate(~_dilate(~(image > BODY)))  # opened: noise and a couch's shell are thin
    rows, columns = (np.flatnonzero(np.any(body, axis=axis)) * STRIDE for axis in (1, 0))
    if not len(rows):
        return None
    top, left = max(0, int(rows[0]) - MARGIN), max(0, int(columns[0]) - MARGIN)
    bottom, right = min(H, int(rows[-1]) + 1 + MARGIN), min(W, int(columns[-1]) + 1 + MARGIN)
    if (top, left, bottom, right) != (0, 0, H, W):
        rows, columns = (np.flatnonzero(_find_limbs(pixels[:, 0]).any(axis=axis)) for axis in (1, 0))
        if len(rows):
            top, left = max(0, min(top, rows[0] - MARGIN)), max(0, min(left, columns[0] - MARGIN))
            bottom, right = max(bottom, rows[-1] + LIMB + MARGIN), max(right, columns[-1] + LIMB + MARGIN)
            top, left, bottom, right = int(top), int(left), min(H, int(bottom)), min(W, int(right))
    outside = np.ones(looked_at.shape[-2:], bool)
    outside[-(-top // STRIDE) : -(-bottom // STRIDE), -(-left // STRIDE) : -(-right // STRIDE)] = False
    lost = sum(int(np.count_nonzero(image[outside] > AIR)) for image in looked_at)
    if lost and lost / (len(looked_at) * np.count_nonzero(outside)) > MAX_LOST:
        return None
    return top, left, bottom, right


def is_whole_body(box: Box, spacing: Sequence[float] | None, min_box: Sequence[float] | None) -> bool:
    """Whether a box is as large as bodies were in training, or nothing is known of them.

    Args:
        box: of the body that was found.
        spacing: millimetres between slices, rows and columns; None where it is not known.
        min_box: height and width of the smallest body in training, millimetres.
    """
    if spacing is None or min_box is None:
        return True
    return all(own >= MIN_BOX * least for own, least in zip(box_in_mm(box, spacing), min_box, strict=True))


def box_in_mm(box: Box, spacing: Sequence[float]) -> tuple[float, float]:
    """Height and width of a box of pixels so far apart."""
    return (box[2] - box[0]) * spacing[1], (box[3] - box[1]) * spacing[2]


def mark_edge(box: Box, size: tuple[int, int]) -> np.ndarray:
    """(H, W), bool: what lies out of a box or at its edge, but for edges that are the image's own."""
    (H, W), (top, left, bottom, right) = size, box
    edge = np.ones(size, bool)
    edge[
        top + LABEL_MARGIN if top else 0 : bottom - LABEL_MARGIN if bottom < H else H,
        left + LABEL_MARGIN if left else 0 : right - LABEL_MARGIN if right < W else W,
    ] = False
    return edge


def _find_limbs(slices: np.ndarray) -> np.ndarray:
    """The upper left corners (H, W), bool, of the squares of :data:`LIMB` that any slice (S, H, W) is full of."""
    _, H, W = slices.shape
    corners = np.zeros((H, W), bool)
    for image in slices:
        above = np.pad(image > BODY, (0, LIMB - 1))
        rows = np.logical_and.reduce([above[n : n + H] for n in range(LIMB)])
        corners |= np.logical_and.reduce([rows[:, n : n + W] for n in range(LIMB)])
    return corners


def _dilate(found: np.ndarray) -> np.ndarray:
    """(H', W'), bool, with the eight neighbours of each pixel."""
    padded = np.pad(found, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
