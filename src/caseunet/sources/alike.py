"""Images that are there twice, or nearly: what leaks from training into validation when their groups are parted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from caseunet.sources.facts import CaseFacts

NEARLY = 0.995
"""Correlation of the small pictures from which two images count as near copies."""

BLOCK = 2048

_TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "": lambda small: small,
    "mirrored": lambda small: small[..., ::-1],
    "upside down": lambda small: small[..., ::-1, :],
    "turned by 180°": lambda small: small[..., ::-1, ::-1],
}


@dataclass(frozen=True)
class Pair:
    """Two images of different groups that are alike.

    Attributes:
        first, second: the cases.
        exact: whether their pixels are equal.
        correlation: of their small pictures.
        turned: how the second must be turned to be like the first; "" as it is.
    """

    first: CaseFacts
    second: CaseFacts
    exact: bool
    correlation: float
    turned: str = ""


def copies(facts: Sequence[CaseFacts]) -> Iterator[list[CaseFacts]]:
    """Lists of cases whose pixels are equal; images in which all pixels are equal count as no copies."""
    by_content: dict[str, list[CaseFacts]] = {}
    for case in facts:
        if case.image is not None and case.image.likeness is not None:
            by_content.setdefault(case.image.content, []).append(case)
    yield from (cases for cases in by_content.values() if len(cases) > 1)


def near_copies(facts: Sequence[CaseFacts], parted: Callable[[CaseFacts, CaseFacts], bool]) -> list[Pair]:
    """Pairs of near copies that a split may part, the most alike first; each image in at most one pair of a kind.

    Args:
        facts: of the cases.
        parted: whether a split may put the two on different sides.
    """
    pairs: dict[tuple[str, str], Pair] = {}
    for shape in {case.image.likeness.shape for case in facts if case.image and case.image.likeness is not None}:
        cases = [c for c in facts if c.image and c.image.likeness is not None and c.image.likeness.shape == shape]
        small = np.stack([case.image.likeness for case in cases if case.image and case.image.likeness is not None])
        flat = small.reshape(len(small), -1)
        for turned, turn in _TURNS.items():
            other = np.ascontiguousarray(turn(small)).reshape(len(small), -1)
            for start in range(0, len(flat), BLOCK):
                correlation = flat[start : start + BLOCK] @ other.T
                for i, j in np.argwhere(correlation >= NEARLY).tolist():
                    a, b, value = cases[start + i], cases[j], float(correlation[i, j])
                    known = pairs.get((a.id, b.id))
                    if start + i < j and parted(a, b) and (known is None or value > known.correlation + 1e-4):
                        exact = a.image is not None and b.image is not None and a.image.content == b.image.content
                        pairs[a.id, b.id] = Pair(a, b, exact, value, turned)
    return sorted(pairs.values(), key=lambda pair: -pair.correlation)
