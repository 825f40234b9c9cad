"""Tables and the page that lie beside predictions."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from caseunet.files import write_json, write_text
from caseunet.options import PredictionSettings
from caseunet.prediction.store import DESCRIPTION, PredictionsInfo
from caseunet.reporting.preview_page import PreviewCase, write_preview


def write_tables(folder: Path, result: PredictionsInfo) -> None:
    """measurements.csv and .json, and preview.html, where they were asked for."""
    if result.outputs.measurements or any(case.measurements for case in result.cases):
        for name, is_video in (("measurements", False), ("timeline", True)):
            rows = [row for case in result.cases for row in case.measurements if ("start_frame" in row) == is_video]
            if rows:
                write_json(folder / f"{name}.json", rows)
                write_text(folder / f"{name}.csv", _as_csv(rows))
    if result.outputs.overlay:
        write_preview(folder, "Predictions", _preview(result), _facts(result), result.gate_limits)


def _as_csv(rows: Sequence[dict[str, Any]]) -> str:
    stream = io.StringIO()
    table = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    return stream.getvalue()


def _preview(result: PredictionsInfo) -> list[PreviewCase]:
    order = {case: n for n, case in enumerate(result.look_first)}
    cases = sorted(result.cases, key=lambda case: order.get(case.id, len(order)))
    shown = [
        PreviewCase(
            id=case.id,
            picture=case.others.get("overlay"),
            quality=case.quality,
            remarks=(*([case.seen] if case.seen else []), *case.remarks),
            measurements=case.measurements,
        )
        for case in cases
    ]
    return shown + [PreviewCase(id=case.id, picture=None, error=case.error) for case in result.failed]


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
