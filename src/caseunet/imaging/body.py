"""The box around the body in a CT: which rows and columns can be cut off because they hold air alone."""

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

MARGIN = 12
"""Rows and columns of air that are kept around the body, so that skin has a context and nothing thin is lost."""

LABEL_MARGIN = 4
"""Rows and columns between a label and the edge of the box, so that a label keeps its context."""


def find_body_box(pixels: np.ndarray) -> Box | None:
    """The box around the body in a CT (S, C, H, W) in HU, with a margin.

    None where no body is found, and where more than air would be cut off.
    """
    H, W = pixels.shape[-2:]
    looked_at = pixels[:, 0, ::STRIDE, ::STRIDE]
    body = np.any(_open(looked_at > BODY), axis=0)
    rows, columns = (np.flatnonzero(np.any(body, axis=axis)) * STRIDE for axis in (1, 0))
    if not len(rows):
        return None
    top, left = max(0, int(rows[0]) - MARGIN), max(0, int(columns[0]) - MARGIN)
    bottom, right = min(H, int(rows[-1]) + 1 + MARGIN), min(W, int(columns[-1]) + 1 + MARGIN)
    outside = np.ones(looked_at.shape[-2:], bool)
    outside[-(-top // STRIDE) : -(-bottom // STRIDE), -(-left // STRIDE) : -(-right // STRIDE)] = False
    if outside.any() and np.mean(looked_at[:, outside] > AIR) > MAX_LOST:
        return None
    return top, left, bottom, right


def mark_edge(box: Box, size: tuple[int, int]) -> np.ndarray:
    """(H, W), bool: what lies out of a box or at its edge, but for edges that are the image's own."""
    (H, W), (top, left, bottom, right) = size, box
    edge = np.ones(size, bool)
    edge[
        top + LABEL_MARGIN if top else 0 : bottom - LABEL_MARGIN if bottom < H else H,
        left + LABEL_MARGIN if left else 0 : right - LABEL_MARGIN if right < W else W,
    ] = False
    return edge


def _open(found: np.ndarray) -> np.ndarray:
    """(S, H', W'), bool, without what is thinner than three pixels: noise, tubes, the shell of a couch."""
    return _dilate(~_dilate(~found))


def _dilate(found: np.ndarray) -> np.ndarray:
    """(S, H', W'), bool, with the eight neighbours of each pixel."""
    padded = np.pad(found, ((0, 0), (1, 1), (1, 1)))
    rows = padded[:, :-2] | padded[:, 1:-1] | padded[:, 2:]
    return np.asarray(rows[..., :-2] | rows[..., 1:-1] | rows[..., 2:])
