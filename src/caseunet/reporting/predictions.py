"""Tables and the page that lie beside predictions."""

import csv
import io
import math
import os
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from caseunet.files import write_json, write_text
from caseunet.options import PredictionSettings
from caseunet.prediction.store import DESCRIPTION, PredictedCase, PredictionsInfo
from caseunet.quality.judgement import CaseQuality

if TYPE_CHECKING:
    from caseunet.reporting.page.tables import Table

PAGE = "preview.html"


def write_tables(folder: Path, result: PredictionsInfo) -> None:
    """measurements.csv and .json, and preview.html, where they were asked for."""
    if result.outputs.measurements or any(case.measurements for case in result.cases):
        for name, is_video in (("measurements", False), ("timeline", True)):
            rows = [row for case in result.cases for row in case.measurements if ("start_frame" in row) == is_video]
            if rows:
                write_json(folder / f"{name}.json", rows)
                write_text(folder / f"{name}.csv", _as_csv(rows))
    if result.outputs.overlay:
        write_preview(folder, result)


def _as_csv(rows: Sequence[dict[str, Any]]) -> str:
    stream = io.StringIO()
    table = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    return stream.getvalue()


def write_preview(folder: Path, result: PredictionsInfo) -> Path:
    """Write preview.html, a card for each case in the order in which to look at them, and give its path."""
    from caseunet.reporting.page.templates import open_templates  # slow to import, and most predictions have no page

    order = {case: n for n, case in enumerate(result.look_first)}
    cases = sorted(result.cases, key=lambda case: order.get(case.id, len(order)))
    judged = [case.quality for case in cases if case.quality is not None]
    is_reassuring = len(judged) == len(cases) and all(quality.is_reassuring for quality in judged)
    page = (
        open_templates()
        .get_template("preview.html.j2")
        .render(
            title="Predictions",
            facts=_facts(result),
            cases=[
                (case, _link(case), _level(case.quality), _badges(case.quality), _measurements(case)) for case in cases
            ],
            failed=result.failed,
            limits=result.gate_limits,
            first=sum(quality.is_first for quality in judged) if judged else None,
            reassuring=is_reassuring and not result.gate_limits,
        )
    )
    # names of files that are no UTF-8 hold characters that cannot be written
    write_text(folder / PAGE, page.encode("utf-8", "replace").decode("utf-8"))
    return folder / PAGE


def _link(case: PredictedCase) -> str:
    """The address of the case's picture; "" without one."""
    return quote(os.fsencode(case.others.get("overlay", "")))


def _level(quality: CaseQuality | None) -> str:
    """The class of a card: the worse of the two statements colours it, and only two good ones make it green."""
    if quality is None:
        return ""
    return "first" if quality.is_first else "usual" if quality.is_reassuring else ""


def _badges(quality: CaseQuality | None) -> list[tuple[str, str]]:
    """(class, text): whether to look at it first, what the image is like, how good the mask is expected to be."""
    if quality is None:
        return []
    levels = {"usual": "usual", "unusual": "first", "good": "usual", "poor": "first"}
    badges = [("first filled", "look at this first")] if quality.is_first else []
    for what, said in (("image", quality.image), ("mask", quality.mask)):
        badges.append((levels.get(said, ""), f"{what} {'not judged' if said == 'unknown' else said}"))
    return badges


def _measurements(case: PredictedCase) -> "Table | None":
    """What was measured, without columns that nobody has, such as millilitres of an image without a spacing."""
    from caseunet.reporting.page.tables import Table, columns_of  # as slow as open_templates

    rows = case.measurements
    columns = [
        column
        for column in dict.fromkeys(column for row in rows for column in row)
        if column != "case" and any(row.get(column) is not None for row in rows)
    ]
    if not columns:
        return None
    text = [column for column in columns if any(isinstance(row.get(column), str) for row in rows)]
    cells = [[_format_measured(row.get(column)) for column in columns] for row in rows]
    headings = [column.replace("_", " ") for column in columns]
    return Table(
        "Measurements.", columns_of(*headings, text={c.replace("_", " ") for c in text}), [("", cells)], "close"
    )


def _format_measured(value: object) -> str:
    """Whole numbers whole, others to three significant digits or whole; a dash where there is none."""
    if value is None or (isinstance(value, Real) and math.isnan(float(value))):
        return "–"
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    number = float(value)
    return f"{number:,.0f}" if isinstance(value, Integral) or abs(number) >= 100 else f"{number:.3g}"


def _settings_text(settings: PredictionSettings) -> str:
    names = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16 weights", "int8": "8-bit integers"}
    parts = [names[settings.precision]]
    parts += ["mirrored images too"] if settings.tta_flip else []
    parts += [f"sizes ×{', ×'.join(f'{s:g}' for s in settings.tta_scales)}"] if settings.tta_scales != (1.0,) else []
    return ", ".join([*parts, "masks post-processed" if settings.postprocess else "masks not post-processed"])


def _facts(result: PredictionsInfo) -> list[tuple[str, str]]:
    return [
        ("bundle", f"{result.bundle} (weights {result.bundle_hash})"),
        ("computed by", f"{result.backend} on {result.device}"),
        ("settings", _settings_text(result.settings)),
        ("masks", f"one file for each image, listed in {DESCRIPTION}"),
        ("caseunet", result.code_version),
    ]
