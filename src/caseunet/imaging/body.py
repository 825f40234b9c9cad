"""How far labels lie from the edge of the box around the body in a CT."""

import numpy as np

from caseunet.imaging.portable import Box

LABEL_MARGIN = 4
"""Rows and columns between a label and the edge of the box, so that a label keeps its context."""


def mark_edge(box: Box, size: tuple[int, int]) -> np.ndarray:
    """(H, W), bool: what lies out of a box or at its edge, but for edges that are the image's own."""
    (H, W), (top, left, bottom, right) = size, box
    edge = np.ones(size, bool)
    edge[
        top + LABEL_MARGIN if top else 0 : bottom - LABEL_MARGIN if bottom < H else H,
        left + LABEL_MARGIN if left else 0 : right - LABEL_MARGIN if right < W else W,
    ] = False
    return edge
