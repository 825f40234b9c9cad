"""Things in a picture as pixels, as outlines along their edges, and as run lengths.

A pixel belongs to an outline if its centre lies inside, where the pixel in the corner reaches from 0 to 1.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

Ring = np.ndarray
"""(N, 2) corners x, y of an outline; the last is joined to the first."""


class Shape(NamedTuple):
    """One thing in an image: its class, and where it is."""

    name: str
    inside: np.ndarray


class Thing(NamedTuple):
    """A connected part of one class: the corner of its box, and its pixels in that."""

    class_id: int
    left: int
    top: int
    inside: np.ndarray

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width, height."""
        return self.left, self.top, self.inside.shape[1], self.inside.shape[0]

    def whole(self, shape: tuple[int, ...]) -> np.ndarray:
        """(H, W), bool."""
        mask = np.zeros(shape, bool)
        mask[self.top : self.top + self.inside.shape[0], self.left : self.left + self.inside.shape[1]] = self.inside
        return mask

    def rings(self) -> list[Ring]:
        """Its outline, then those of its holes, along the edges of pixels."""
        return [np.add(ring, (self.left, self.top)) for ring in trace_rings(self.inside)]

    def polygon(self) -> Ring:
        """One outline of it, to whose holes cuts without a width lead."""
        return cut_open(self.rings())


def find_things(labels: np.ndarray) -> Iterator[Thing]:
    """The connected parts of each class but 0 in class ids (H, W); pixels that touch at a corner are connected."""
    for number in np.unique(labels[labels > 0]).tolist():
        parts, _ = ndimage.label(labels == number, np.ones((3, 3)))
        for part, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
            yield Thing(number, columns.start, rows.start, parts[rows, columns] == part)


def trace_rings(inside: np.ndarray) -> list[Ring]:
    """The outlines of pixels (H, W) along their edges, the outer ones clockwise and first, holes the other way.

    Where two pixels touch at a corner, the outline goes on from one to the other.

    Example:
        >>> trace_rings(np.array([[True, True]]))[0].tolist()
        [[0, 0], [2, 0], [2, 1], [0, 1]]
    """
    follow = _directed_edges(inside)
    rings = []
    while follow:
        start = min(follow)
        ring: list[tuple[int, int]] = []
        place, heading = start, follow[start][0]
        while place in follow:
            turns = follow[place]
            wanted = [(heading[1], -heading[0]), heading, (-heading[1], heading[0])]  # left, ahead, right
            step = next((turn for turn in wanted if turn in turns), turns[0])
            turns.remove(step)
            if not turns:
                del follow[place]
            if step != heading or not ring:
                ring.append(place)
            place, heading = (place[0] + step[0], place[1] + step[1]), step
        rings.append(_without_straight(np.array(ring)))
    return sorted(rings, key=lambda ring: -_area(ring))


def _directed_edges(inside: np.ndarray) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """{corner: where the edges lead that begin at it}, with the inside on the right."""
    padded = np.pad(inside, 1).astype(np.int8)
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    down, across = np.diff(padded, axis=0)[:, 1:-1], np.diff(padded, axis=1)[1:-1]
    for change, value, offset, step in (
        (down, 1, (0, 0), (1, 0)),
        (down, -1, (1, 0), (-1, 0)),
        (across, 1, (0, 1), (0, -1)),
        (across, -1, (0, 0), (0, 1)),
    ):
        y, x = np.nonzero(change == value)
        for place in zip((x + offset[0]).tolist(), (y + offset[1]).tolist(), strict=True):
            edges.setdefault(place, []).append(step)
    return edges


def _without_straight(ring: Ring) -> Ring:
    """The ring without its first corner if that lies between two others on a line."""
    (x0, y0), (x1, y1), (x2, y2) = ring[-1], ring[0], ring[1]
    return ring[1:] if x0 == x1 == x2 or y0 == y1 == y2 else ring


def _area(ring: Ring) -> float:
    x, y = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def cut_open(rings: Sequence[Ring]) -> Ring:
    """One outline of a thing with holes: along cuts of no width it goes to each hole and back.

    The cuts run along the edges of pixels, so that no pixel's centre lies on one.
    """
    whole = rings[0]
    for hole in rings[1:]:
        far, nearest = cKDTree(whole, compact_nodes=False, balanced_tree=False).query(hole, p=1)
        other = int(far.argmin())
        near = int(nearest[other])
        start, end = whole[near], hole[other]
        bend = [] if (start == end).any() else [np.array([[end[0], start[1]]])]
        around = np.concatenate([hole[other:], hole[: other + 1]])
        whole = np.concatenate([whole[: near + 1], *bend, around, *bend, whole[near:]])
    return whole


def fill(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels (H, W) whose centres lie inside an outline of (x, y)."""
    from matplotlib.path import Path as Outline  # few need it, and it is slow to import

    inside = np.zeros(shape, bool)
    left, top = np.maximum(np.floor(points.min(axis=0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(points.max(axis=0)).astype(int), (shape[1], shape[0]))
    if right <= left or bottom <= top:
        return inside
    x, y = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
    within = Outline(points, closed=False).contains_points(np.stack([x.ravel(), y.ravel()], axis=1))
    inside[top:bottom, left:right] = within.reshape(x.shape)
    return inside


def fill_outline(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """As :func:`fill`, of an outline of an image.

    Raises:
        ValueError: all of it lies outside the image.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    if (high < 0).any() or (low > (shape[1], shape[0])).any():
        raise ValueError(
            f"its outline, from ({low[0]:g}, {low[1]:g}) to ({high[0]:g}, {high[1]:g}), lies outside the image of "
            f"{shape[0]}×{shape[1]} pixels"
        )
    return fill(points, shape)


def decode_runs(segmentation: Mapping[str, Any]) -> np.ndarray:
    """The pixels of COCO's run lengths: of a list, or packed into text; columns first.

    Raises:
        ValueError: the runs do not fill the image.
    """
    height, width = (int(length) for length in segmentation["size"])
    counts = segmentation["counts"]
    runs = _decode_counts(counts) if isinstance(counts, str) else [int(count) for count in counts]
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise ValueError(f"its runs fill {sum(runs)} of {height * width} pixels")
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return values.reshape(width, height).T


def _decode_counts(text: str) -> list[int]:
    """Run lengths out of COCO's text: six bits in a character, five of number and one that says whether more follow;
    from the third on each is told as the difference to the one before the last."""
    runs: list[int] = []
    number, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number, shift = 0, 0
    return runs


def run_lengths(flat: np.ndarray) -> list[int]:
    """Lengths of the runs of False and True in turn; the first is of False, and may be 0.

    Example:
        >>> run_lengths(np.array([True, True, False]))
        [0, 2, 1]
    """
    edges = np.flatnonzero(np.diff(flat.astype(np.int8))) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *lengths] if flat.size and flat[0] else lengths


def pack_runs(inside: np.ndarray) -> str:
    """COCO's text for the pixels (H, W): run lengths, columns first, as :func:`decode_runs` undoes them."""
    runs = run_lengths(inside.T.ravel())
    text = []
    for n, run in enumerate(runs):
        number = run - runs[n - 2] if n > 2 else run
        more = True
        while more:
            bits, number = number & 31, number >> 5
            more = number != -1 if bits & 16 else number != 0
            text.append(chr((bits | 32 if more else bits) + 48))
    return "".join(text)
