"""REPORT: cases.csv, summary.json and a self-contained report.html."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd

from caseunet.evaluation.evaluator import METRICS, EvaluationSummary, SliceScore, read_prediction
from caseunet.evaluation.figures import display_range, hex_color, outlined_slice, to_png, training_curves
from caseunet.evaluation.statistics import FEWEST_GROUPS
from caseunet.files import write_json, write_text, written_whole
from caseunet.progress import counted
from caseunet.types import LabelMap


@dataclass(frozen=True)
class Facts:
    """What a report says beside the scores: (name, value) pairs in order."""

    title: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ShownSlice:
    """A slice to draw: which it is among all, its score, and its pixels (C, H, W) as stored."""

    rank: str
    score: SliceScore
    pixels: np.ndarray


def choose_slices(scores: Sequence[SliceScore]) -> list[tuple[str, SliceScore]]:
    """Best, median and worst by Dice, each once."""
    ranked = sorted(scores, key=lambda score: -score.dice)
    if len(ranked) < 3:
        return [("slice", score) for score in ranked]
    return [("best", ranked[0]), ("median", ranked[len(ranked) // 2]), ("worst", ranked[-1])]


def write_report(
    folder: Path,
    cases: pd.DataFrame,
    summary: EvaluationSummary,
    label_map: LabelMap,
    shown: Sequence[ShownSlice],
    window: tuple[float, float] | None,
    facts: Facts,
    metrics_csv: Path | None,
) -> Path:
    """Write the three files; returns the path of report.html."""
    write_json(folder / "summary.json", summary.model_dump(mode="json"))
    with written_whole(folder / "cases.csv") as temporary:
        cases.to_csv(temporary, index=False, float_format="%.6g")

    structures = label_map.structures
    found = {name: s for name, s in summary.structures.items() if s.metrics["dice"].n}
    outlined = {i for name in found for i in structures[name]}
    colors = {name: hex_color(label_map.labels[members[0]].color) for name, members in structures.items()}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("caseunet", "evaluation/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = _number
    environment.globals["counted"] = counted
    html = environment.get_template("report.html.j2").render(
        facts=facts,
        summary=summary,
        metrics=METRICS,
        colors=colors,
        made_of={name: " or ".join(label_map.names[i] for i in members) for name, members in structures.items()},
        found=found,
        absent=[name for name in structures if name not in found],
        fewest_groups=FEWEST_GROUPS,
        labels=[(label.name, hex_color(label.color)) for label in label_map.labels if label.id in outlined],
        rows=cases.to_dict("records"),
        curves=None
        if metrics_csv is None
        else _embedded(to_png(training_curves(metrics_csv, list(colors), list(colors.values())))),
        pictures=[(s.rank, s.score, _embedded(_picture(s, label_map, window))) for s in shown],
    )
    write_text(folder / "report.html", html)
    return folder / "report.html"


def _picture(shown: ShownSlice, label_map: LabelMap, window: tuple[float, float] | None) -> bytes:
    pair, number = shown.score.pair, shown.score.slice
    title = f"{pair.case}, slice {number}: mean Dice {shown.score.dice:.3f}"
    predicted, _ = read_prediction(pair.prediction)
    reference = pair.read_reference()
    image = display_range(shown.pixels, window)
    return to_png(outlined_slice(image, reference[number], predicted[number], label_map.labels, title))


def _embedded(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _number(value: float | None, digits: int = 3) -> str:
    """A dash where there is no value."""
    return "–" if value is None or value != value else f"{value:.{digits}f}"
