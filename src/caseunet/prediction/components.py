"""Structures of a label map and their connected components, found block by block: a scan's numbers would be large."""

from collections.abc import Sequence

import numpy as np

from caseunet.imaging.boxes import Slices, find_box
from caseunet.io import scratch


def crop_structure(labels: np.ndarray, members: Sequence[int]) -> tuple[np.ndarray, Slices]:
    """Where class ids (S, H, W) are ``members``, bool, in the smallest box that holds them all; and that box.

    Where there are none, array and box are empty.
    """
    seen, area = np.zeros(len(labels), bool), np.zeros(labels.shape[1:], bool)
    for s, ids in enumerate(labels):
        found = np.isin(ids, members)
        seen[s], area = found.any(), area | found
    depth, plane = find_box(seen), find_box(area)
    box = (*depth, *plane) if depth and plane else (slice(0, 0),) * 3
    part = labels[box]
    cropped = scratch.zeros(part.shape, bool)
    for s, ids in enumerate(part):
        cropped[s] = np.isin(ids, members)
    return cropped, box


def number_components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Which of its components each pixel of a mask (S, H, W), bool, belongs to; and how many there are.

    They are joined by faces, edges and corners, and numbered from 1 on in the order of their first pixels; 0 is none.
    """
    import cc3d
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    def number_alone(block: np.ndarray) -> tuple[np.ndarray, int]:
        # as bytes: for bool cc3d (4.1.1) reckons with too few components, and fails on a slice of many single pixels
        numbered: tuple[np.ndarray, int] = cc3d.connected_components(
            block.view(np.uint8), connectivity=26, return_N=True
        )
        return numbered

    blocks = list(scratch.blocks(mask, scratch.BLOCK // 4))
    if len(blocks) == 1:
        return number_alone(mask)
    numbers, count, touching = scratch.zeros(mask.shape, np.uint32), 0, [np.zeros((2, 0), np.uint32)]
    for rows in blocks:
        found, more = number_alone(mask[rows])
        np.add(found, np.uint32(count), out=numbers[rows], where=found > 0, casting="unsafe")
        if rows.start:
            touching.append(_find_touching(numbers[rows.start - 1], numbers[rows.start]))
        count += more
    first, second = np.concatenate(touching, axis=1)
    graph = coo_array((np.ones(len(first), bool), (first, second)), (count + 1, count + 1))
    joined, number_of = connected_components(graph, directed=False)  # in the order of their first numbers
    for rows in blocks:
        numbers[rows] = number_of[numbers[rows]]
    return numbers, joined - 1


def _find_touching(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Numbers (2, n) of components in two neighbouring slices (H, W) that touch."""
    H, W = above.shape
    framed = np.pad(below, 1)
    pairs = []
    for row in range(3):
        for column in range(3):
            under = framed[row : row + H, column : column + W]
            both = (under > 0) & (above > 0)
            pairs.append(np.stack([under[both], above[both]]))
    return np.unique(np.concatenate(pairs, axis=1), axis=1)
