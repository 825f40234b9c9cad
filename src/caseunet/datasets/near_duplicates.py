"""Images that are there twice, or nearly: what leaks from training into validation when their groups are parted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from caseunet.datasets.case_statistics import CaseFacts

NEARLY = 0.995
"""Correlation of the small pictures from which two images count as near copies."""

STEP = 1e-4
"""By which a turned picture must be more alike to be preferred."""

BLOCK = 1024

_TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "": lambda small: small,
    "mirrored": lambda small: small[..., ::-1],
    "upside down": lambda small: small[..., ::-1, :],
    "turned by 180°": lambda small: small[..., ::-1, ::-1],
}


@dataclass(frozen=True)
class SimilarPair:
    """Two images that are nearly alike.

    Attributes:
        first, second: the cases, in their order in the data set.
        correlation: of their small pictures.
        turned: how the second must be turned to be like the first; "" as it is.
    """

    first: CaseFacts
    second: CaseFacts
    correlation: float
    turned: str


def copies(facts: Sequence[CaseFacts]) -> Iterator[list[CaseFacts]]:
    """Lists of cases whose pixels are equal; images in which all pixels are equal count as no copies."""
    by_content: dict[str, list[CaseFacts]] = {}
    for case in facts:
        if case.image is not None and case.image.likeness is not None:
            by_content.setdefault(case.image.content, []).append(case)
    yield from (cases for cases in by_content.values() if len(cases) > 1)


def near_copies(
    facts: Sequence[CaseFacts], parted: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> list[SimilarPair]:
    """For each image the one before it that is most like it, if a split may part the two; the most alike first.

    Copies to the pixel are left to :func:`copies`. The time grows with the square of the number of images.

    Args:
        facts: of the cases.
        parted: gives, for two rows of indices into ``facts``, the matrix of which pairs a split may part.
    """
    shapes = {case.image.likeness.shape for case in facts if case.image and case.image.likeness is not None}
    return sorted((pair for shape in shapes for pair in _of_shape(facts, shape, parted)), key=lambda p: -p.correlation)


def _of_shape(
    facts: Sequence[CaseFacts], shape: tuple[int, ...], parted: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Iterator[SimilarPair]:
    """Pairs among the images whose small pictures have this shape; only such can be compared."""
    small, indices, contents = [], [], []
    for index, case in enumerate(facts):
        if case.image is not None and case.image.likeness is not None and case.image.likeness.shape == shape:
            small.append(case.image.likeness)
            indices.append(index)
            contents.append(case.image.content)
    pictures, place = np.stack(small), np.array(indices)
    _, content = np.unique(contents, return_inverse=True)
    number = len(pictures)
    best, partner, turn = np.full(number, NEARLY - STEP), np.zeros(number, int), np.zeros(number, int)
    flat = pictures.reshape(number, -1)
    for t, turned in enumerate(_TURNS.values()):
        others = np.ascontiguousarray(turned(pictures)).reshape(number, -1)
        for start in range(0, number, BLOCK):
            correlation = flat[start : start + BLOCK] @ others.T
            alike = correlation >= NEARLY
            alike &= np.arange(number) > np.arange(start, start + len(correlation))[:, None]
            rows = np.flatnonzero(alike.any(axis=1))
            if not rows.size:
                continue
            counts = alike[rows] & parted(place[start + rows], place)
            counts &= content[start + rows, None] != content
            value = np.where(counts, correlation[rows], -1)
            first, highest = value.argmax(axis=0), value.max(axis=0)
            better = highest > best + STEP  # an image that is its own mirror image is not called turned
            best[better], partner[better], turn[better] = highest[better], (start + rows[first])[better], t
    for second in np.flatnonzero(best >= NEARLY):
        yield SimilarPair(
            facts[place[partner[second]]], facts[place[second]], float(best[second]), list(_TURNS)[turn[second]]
        )
