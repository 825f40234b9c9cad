"""Texts of a case study: how much room they take, and how they are made to fit."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

INCH = 72
"""Points of an inch."""
LINE_HEIGHT = 1.25
"""From line to line, in sizes of the font."""
FONT = "DejaVu Sans"  # matplotlib brings it along, so every machine draws the same letters


def fit_text(text: str, width: float, size: float, most: int) -> str:
    """A text wrapped to ``width`` inches at ``size`` points; what needs more than ``most`` lines loses its middle.

    A text of several lines keeps them, and they share ``most``.
    """
    given = text.split("\n")
    each = max(1, most // len(given))
    return "\n".join(line for words in given for line in _shorten(" ".join(words.split()), width, size, each))


def _shorten(text: str, width: float, size: float, most: int) -> list[str]:
    """At most ``most`` lines; as many letters as fit."""
    lines = _wrap(text, width, size)
    if len(lines) <= most:
        return lines
    attempts = range(len(text))
    too_long = bisect_left(attempts, True, key=lambda n: len(_wrap(_without_middle(text, n), width, size)) > most)
    return _wrap(_without_middle(text, too_long - 1), width, size)


def _wrap(text: str, width: float, size: float) -> list[str]:
    """Lines no wider than ``width`` inches, broken at " · ", else at spaces, else within words where they may be."""
    if width_of(text, size) <= width:
        return [text]
    joint = next((joint for joint in (" · ", " ") if joint in text), "")
    pieces = text.split(joint) if joint else re.split(r"(?<=\w[_\-/])(?=\w)", text)
    if not joint and any(width_of(piece, size) > width for piece in pieces):
        n = max(1, bisect_left(range(len(text)), True, key=lambda n: width_of(text[:n], size) > width) - 1)
        return [text[:n], *_wrap(text[n:], width, size)]
    lines: list[str] = []
    for piece in pieces:
        if lines and width_of(lines[-1] + joint + piece, size) <= width:
            lines[-1] += joint + piece
        else:
            lines += _wrap(piece, width, size)
    return lines


def _without_middle(text: str, kept: int) -> str:
    """The first and last letters, ``kept`` together, about an ellipsis."""
    tail = kept // 2
    return text[: kept - tail].rstrip() + "…" + text[len(text) - tail :].lstrip()


def width_of(line: str, size: float) -> float:
    """Inches that a line takes."""
    return sum(map(_advance, line)) * size / INCH


@cache
def _advance(letter: str) -> float:
    """Width of a letter, in sizes of the font; kept, for laying out a line of text takes its time."""
    between, beside = (
        text_to_path.get_text_width_height_descent(text, font_of(INCH), ismath=False)[0]
        for text in (f"|{letter}|", "||")
    )
    return float(between - beside) / INCH


def text_height(texts: Sequence[str], size: float) -> float:
    """Inches that the longest of some texts takes."""
    return max((text.count("\n") + 1 for text in texts if text), default=0) * size * LINE_HEIGHT / INCH


def font_of(size: float) -> FontProperties:
    return FontProperties(family=FONT, size=size)
