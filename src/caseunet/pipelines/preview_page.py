"""Predictions as an HTML page to look through: one card a case, in the order in which to look at them."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from urllib.parse import quote

import jinja2

from caseunet.files import write_text

PAGE = "preview.html"
ABSENT = "–"


@dataclass(frozen=True)
class PreviewCase:
    """A case of the page.

    Attributes:
        id: of the case.
        picture: path of a PNG or .mp4, relative to the page's folder; None without one.
        predicted_dice: by structure, 0 to 1, None where there is nothing to predict; None if the bundle cannot tell.
        unusual: why the case is unlike those of training; empty if it is usual, None if the bundle does not know.
        measurements: a row each, {column: value}.
        error: why it could not be segmented; empty if it was.
    """

    id: str
    picture: str | None
    predicted_dice: Mapping[str, float | None] | None
    unusual: tuple[str, ...] | None
    measurements: Sequence[Mapping[str, object]]
    error: str = ""


def write_preview(folder: Path, title: str, cases: Sequence[PreviewCase], facts: Sequence[tuple[str, str]]) -> Path:
    """Write preview.html, and give its path.

    Args:
        folder: what the pictures' paths are relative to.
        title: heading of the page.
        cases: in the order in which a person should look at them; those that failed are put at the end.
        facts: (name, value) about all of them.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("caseunet.pipelines"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    done = [case for case in cases if not case.error]
    page = environment.get_template("preview.html.j2").render(
        title=title,
        facts=facts,
        cards=[_card(case) for case in done],
        failed=[case for case in cases if case.error],
        unusual=sum(bool(case.unusual) for case in done) if any(case.unusual is not None for case in done) else None,
        ranked=any(case.unusual is not None or case.predicted_dice for case in done),
    )
    path = folder / PAGE
    # names of files that are no UTF-8 hold characters that cannot be written
    write_text(path, page.encode("utf-8", "replace").decode("utf-8"))
    return path


def _card(case: PreviewCase) -> dict[str, object]:
    """What the template shows of a case, numbers as texts."""
    rows = case.measurements
    columns = [
        column
        for column in dict.fromkeys(column for row in rows for column in row)
        if any(row.get(column) is not None for row in rows)  # such as millilitres of an image without a spacing
        and not (column == "case" and all(row.get(column) == case.id for row in rows))  # the heading says it
    ]
    numeric = [any(_is_number(row.get(column)) for row in rows) for column in columns]
    return {
        "id": case.id,
        "link": None if case.picture is None else quote(os.fsencode(case.picture)),
        "video": case.picture is not None and case.picture.lower().endswith(".mp4"),
        "dice": [(name, _two_digits(dice), _percent(dice)) for name, dice in (case.predicted_dice or {}).items()],
        "unusual": case.unusual,
        "columns": list(zip(columns, numeric, strict=True)),
        "rows": [list(zip([_text(row.get(column)) for column in columns], numeric, strict=True)) for row in rows],
    }


def _two_digits(dice: float | None) -> str:
    return ABSENT if dice is None or math.isnan(dice) else f"{dice:.2f}"


def _percent(dice: float | None) -> int:
    """Length of the bar, 0 to 100."""
    return 0 if dice is None or math.isnan(dice) else round(100 * min(1.0, max(0.0, dice)))


def _text(value: object) -> str:
    """A measured value: whole numbers whole, others to three significant digits or whole."""
    if value is None:
        return ABSENT
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    number = float(value)
    if math.isnan(number):
        return ABSENT
    return f"{number:,.0f}" if isinstance(value, Integral) or abs(number) >= 100 else f"{number:.3g}"


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
