"""Predictions as an HTML page to look through: one card a case, in the order in which to look at them."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from urllib.parse import quote

from caseunet.files import write_text
from caseunet.quality.judgement import CaseQuality

PAGE = "preview.html"
ABSENT = "–"


@dataclass(frozen=True)
class PreviewCase:
    """A case of the page.

    Attributes:
        id: of the case.
        picture: path of a PNG or .mp4, relative to the page's folder; None without one.
        quality: what is to be thought of its image and its masks; None if the bundle cannot tell.
        remarks: what a person should know of how the image was read.
        measurements: a row each, {column: value}.
        error: why it could not be segmented; empty if it was.
    """

    id: str
    picture: str | None
    quality: CaseQuality | None = None
    remarks: Sequence[str] = ()
    measurements: Sequence[Mapping[str, object]] = ()
    error: str = ""


def write_preview(
    folder: Path,
    title: str,
    cases: Sequence[PreviewCase],
    facts: Sequence[tuple[str, str]],
    limits: Sequence[str] = (),
) -> Path:
    """Write preview.html, and give its path.

    Args:
        folder: what the pictures' paths are relative to.
        title: heading of the page.
        cases: in the order in which a person should look at them; those that failed are put at the end.
        facts: (name, value) about all of them.
        limits: what the bundle cannot know of images and masks, a sentence each.
    """
    from caseunet.reporting.page.templates import open_templates  # slow to import, and most predictions have no page

    environment = open_templates()
    done = [case for case in cases if not case.error]
    judged = [case.quality for case in done if case.quality is not None]
    page = environment.get_template("preview.html.j2").render(
        title=title,
        facts=facts,
        cards=[_card(case) for case in done],
        failed=[case for case in cases if case.error],
        limits=limits,
        first=sum(quality.is_first for quality in judged) if judged else None,
        reassuring=not limits and len(judged) == len(done) and all(quality.is_reassuring for quality in judged),
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
    predicted = case.quality.predicted_dice if case.quality else {}
    numeric = [any(_is_number(row.get(column)) for row in rows) for column in columns]
    return {
        "id": case.id,
        "link": None if case.picture is None else quote(os.fsencode(case.picture)),
        "video": case.picture is not None and case.picture.lower().endswith(".mp4"),
        "remarks": case.remarks,
        "level": _level(case.quality),
        "badges": _badges(case.quality),
        "reasons": (*case.quality.reasons, *case.quality.mask_reasons) if case.quality else (),
        "dice": [(name, None if dice is None or math.isnan(dice) else dice) for name, dice in predicted.items()],
        "columns": list(zip(columns, numeric, strict=True)),
        "rows": [list(zip([_text(row.get(column)) for column in columns], numeric, strict=True)) for row in rows],
    }


def _level(quality: CaseQuality | None) -> str:
    """The class of a card: the worse of the two statements colours it, and only two good ones make it green."""
    if quality is None:
        return ""
    return "first" if quality.is_first else "usual" if quality.is_reassuring else ""


def _badges(quality: CaseQuality | None) -> list[tuple[str, str]]:
    """(class, text): whether to look at it first, what the image is like, how good the mask is expected to be."""
    if quality is None:
        return []
    image = {"usual": "usual", "unusual": "first", "unknown": ""}[quality.image]
    mask = {"good": "usual", "fair": "", "poor": "first", "unknown": ""}[quality.mask]
    first = [("first filled", "look at this first")] if quality.is_first else []
    told = {"unknown": "not judged"}
    return [
        *first,
        (image, f"image {told.get(quality.image, quality.image)}"),
        (mask, f"mask {told.get(quality.mask, quality.mask)}"),
    ]


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
