"""The one style of all figures, and how figures become files."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from caseunet.errors import InvalidInputError
from caseunet.files import replace_when_whole

INK, SOFT, FAINT, ALERT = "#22303c", "#5c6b78", "#d5dbe1", "#b3261e"

PALETTE = ("#2f6fa8", "#c4701c", "#3d8b5f", "#7a5aa6", "#a8434f", "#6b7780")
"""Colours of models: told apart by the colour-blind too, and dark enough on white."""

LINESTYLES = ("-", "--", "-.", ":")
"""Beside the colours, so that lines are told apart in black and white."""

PAGE_WIDTH = 7.2
"""Inches: the text width of a printed page."""

DPI = 300
MAX_NAME = 40
"""Characters of a name in a legend."""

STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": SOFT,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "figure.constrained_layout.use": True,
    "figure.titlesize": 10,
    "font.size": 8,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "caseunet",
    "text.color": INK,
    "text.parse_math": False,  # a name such as a$b$ is no formula
    "xtick.color": INK,
    "xtick.labelsize": 8,
    "ytick.color": INK,
    "ytick.labelsize": 8,
}

METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": dict.fromkeys(("Creator", "Date", "Format", "Type")),
    "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
}
"""{kind of file: what is left out of it, because it changes from run to run}."""


@contextmanager
def figure_style() -> Iterator[None]:
    """matplotlib's defaults with the style of this package, whatever the user's settings say.

    Letters that the font lacks become boxes without a warning for each.
    """
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def to_bytes(figure: Figure, kind: str, dpi: int = DPI) -> bytes:
    """Render as "png", "svg" or "pdf"; equal figures make equal bytes. Letters of an SVG are paths."""
    buffer = BytesIO()
    with figure_style():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # a second layout would differ in the last bits
        figure.savefig(buffer, format=kind, dpi=dpi, facecolor="white", metadata=METADATA[kind])
    return buffer.getvalue()


def to_png(figure: Figure, dpi: int = 110) -> bytes:
    return to_bytes(figure, "png", dpi)


def to_svg(figure: Figure) -> bytes:
    """Render as an SVG element without the XML prolog."""
    text = to_bytes(figure, "svg", 144)
    return text[text.index(b"<svg") :]


def check_figure(path: Path) -> None:
    """Raises CaseUNetError if the name ends in none of .png, .svg and .pdf."""
    if path.suffix.lower()[1:] not in METADATA:
        raise InvalidInputError(
            f'{path}: ends in "{path.suffix}"; a figure needs a name that ends in .png, .svg or .pdf.'
        )


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as its name's ending says.

    Raises:
        CaseUNetError: the name ends in none of .png, .svg and .pdf.
    """
    check_figure(path)
    with replace_when_whole(path) as temporary:
        temporary.write_bytes(to_bytes(figure, path.suffix.lower()[1:]))


def hex_color(color: tuple[int, int, int]) -> str:
    return str(matplotlib.colors.to_hex([c / 255 for c in color]))


def shorten(name: str, most: int = MAX_NAME) -> str:
    """A name on one line; long ones lose their middle, for beginning and end tell most."""
    name = " ".join(name.split())
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def add_legend(figure: Figure, marks: Sequence[Artist]) -> None:
    """Name marks below the plots, in as many columns as the width holds. The figure grows by the lines."""
    if not marks:
        return
    names = [f" {shorten(str(mark.get_label()))}" for mark in marks]  # matplotlib leaves "_name" out of legends
    width, height = figure.get_size_inches()
    columns = max(1, int(width / (0.6 + 0.075 * max(map(len, names)))))
    figure.set_figheight(height + 0.19 * math.ceil(len(marks) / columns))
    figure.legend(list(marks), names, loc="outside lower center", ncols=min(columns, len(marks)))
