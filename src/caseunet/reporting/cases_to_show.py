"""Which cases a report or a case study shows, and what is seen of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from caseunet.datasets import SourceCase
from caseunet.datasets.reading import read_repaired_image
from caseunet.errors import InvalidInputError, InvalidOptionError, did_you_mean
from caseunet.evaluation.evaluator import Pair, Reference, slices_in, usable_ids
from caseunet.evaluation.ground_truth import GroundTruth
from caseunet.evaluation.rows import BACKGROUND
from caseunet.evaluation.summary import EvaluationSummary
from caseunet.io.geometry import edge_letters
from caseunet.progress import Display
from caseunet.reporting.case_study import StudyRow, draw_case_study
from caseunet.reporting.figures import display_range
from caseunet.reporting.report import ShownCase
from caseunet.reporting.style import to_png
from caseunet.types import IGNORE, Ranges

WORST = 4
"""Of the worst cases, how many a report shows."""
ORDINALS = ("worst", "2nd worst", "3rd worst", "4th worst")
DARK = 0.12
"""Grey that masks without an image are drawn on."""
MAX_SCORES = 4
"""Structures whose scores stand under a picture, the lowest."""


@dataclass(frozen=True)
class Chosen:
    """A case, and its slice where slices are scored (else None), and what it is among all."""

    heading: str
    case: str
    slice: int | None


def unit_scores(cases: pd.DataFrame, ranked: str) -> pd.DataFrame:
    """Of each case (or slice) the mean of the ranked column over structures and models, lowest first.

    Returns:
        Columns case, slice, group, score; units without any value are left out.
    """
    rows = cases[cases["structure"] != BACKGROUND]
    units = rows.groupby(["case", "slice", "group"], sort=False, dropna=False)[ranked].mean().reset_index(name="score")
    return units.dropna(subset=["score"]).sort_values("score", kind="stable").reset_index(drop=True)


def choose_cases(cases: pd.DataFrame, ranked: str, worst: int = WORST) -> list[Chosen]:
    """The worst cases, the median and the best, each once; the worst of different patients or sequences if they can."""
    units = unit_scores(cases, ranked)
    if len(units) == 1:
        return [_choose(units, 0, "only case")]
    # Of frames of one sequence the worst look alike.
    apart = [units.drop_duplicates(name).index for name in ("group", "case")]
    order = dict.fromkeys(index for indices in (*apart, units.index) for index in indices)
    picked = sorted(list(order)[: min(worst, max(1, len(units) - 2))])
    chosen = [_choose(units, index, heading) for heading, index in zip(ORDINALS, picked, strict=False)]
    rest = [index for index in units.index if index not in picked]
    if len(rest) > 1:
        median = min(rest[:-1], key=lambda index: abs(index - len(units) // 2))
        chosen.append(_choose(units, median, "median"))
    return chosen + [_choose(units, index, "best") for index in rest[-1:]]


def find_named_cases(cases: pd.DataFrame, names: Sequence[str], ranked: str) -> list[Chosen]:
    """Cases that a person names: CASE, or CASE:SLICE where slices are scored; of a case alone its worst slice.

    Raises:
        CaseUNetError: there is no such case or slice.
    """
    units = unit_scores(cases, ranked)
    known = list(dict.fromkeys(cases["case"]))
    chosen = []
    for name in names:
        case, _, number = (name, "", "") if name in known else name.rpartition(":")
        if case not in known or (number and not number.isdigit()):
            raise InvalidOptionError(f'There is no scored case "{name}". {did_you_mean(name, known)}')
        if number:
            chosen.append(Chosen("chosen", case, int(number)))
            continue
        own = units[units["case"] == case]
        first = math.nan if own.empty else own["slice"].iloc[0]
        chosen.append(Chosen("chosen", case, None if math.isnan(first) else int(first)))
    return chosen


def _choose(units: pd.DataFrame, index: int, heading: str) -> Chosen:
    number = units["slice"][index]
    return Chosen(heading, str(units["case"][index]), None if math.isnan(number) else int(number))


def study_rows(
    truth: GroundTruth,
    pairs: Sequence[Pair],
    chosen: Sequence[Chosen],
    summary: EvaluationSummary,
    cases: pd.DataFrame,
    display: Display,
) -> list[StudyRow]:
    """Read what is seen of each case: image, reference, predictions; and its scores, which are those of cases.csv.

    Of a volume that slice is shown in which the predictions are wrong in most pixels.

    Raises:
        CaseUNetError: an image or a reference is not there, or a slice.
    """
    rows = []
    with display.stage("drawing", len(chosen), "case") as stage:
        for item in chosen:
            own = {pair.model: pair for pair in pairs if pair.case == item.case}
            first = next(iter(own.values()))
            reference = first.read_reference()
            predictions = [
                usable_ids(own[model.name], reference, len(summary.label_map))[0] for model in summary.models
            ]
            number = slice_to_show(reference.ids, predictions, first.ranges) if item.slice is None else item.slice
            if number >= len(reference.ids):
                raise InvalidInputError(f"{item.case}: has slices 0 to {len(reference.ids) - 1}; there is no {number}.")
            is_volume = item.slice is None and len(reference.ids) > 1
            caption, image = _read_shown(truth, truth.labelled[item.case], number, reference, summary)
            spacing = reference.image.spacing or (1.0, 1.0, 1.0)
            rows.append(
                StudyRow(
                    heading=item.heading,
                    caption=caption,
                    image=image,
                    reference=reference.ids[number],
                    predictions=tuple(ids[number] for ids in predictions),
                    scores=tuple(_scores(cases, model.name, item, summary, is_volume) for model in summary.models),
                    aspect=spacing[1] / spacing[2],
                )
            )
            stage.advance(1, item.case)
    return rows


def _read_shown(
    truth: GroundTruth, case: SourceCase, number: int, reference: Reference, summary: EvaluationSummary
) -> tuple[str, np.ndarray]:
    """What is seen, and a slice as it is shown; dark where there are masks alone."""
    caption = case.id
    if len(reference.ids) > 1:
        plane = reference.image.plane
        left, _, right, _ = edge_letters(plane)
        caption += f", slice {number}" if plane == "axial" else f", {plane} slice {number} ({left}–{right})"
    if not truth.has_images:
        return f"{caption} (no image)", np.full(reference.ids.shape[1:], DARK)
    picture = read_repaired_image(truth.layout, case, truth.dataset)
    return caption, display_range(picture.pixels[number], summary.source.window)


def draw_cases(
    truth: GroundTruth,
    pairs: Sequence[Pair],
    chosen: Sequence[Chosen],
    summary: EvaluationSummary,
    cases: pd.DataFrame,
    display: Display,
) -> list[ShownCase]:
    """The pictures of a report, one for each case."""
    models = [model.name for model in summary.models]
    rows = study_rows(truth, pairs, chosen, summary, cases, display)
    return [
        ShownCase(row.heading, row.caption, to_png(draw_case_study([row], models, summary.label_map.labels), dpi=150))
        for row in rows
    ]


def slice_to_show(reference: np.ndarray, predictions: Sequence[np.ndarray], ranges: Ranges | None = None) -> int:
    """The scored slice with most wrong pixels, all predictions together; if none is wrong, with most of a structure."""
    judged = reference != IGNORE
    wrong = np.sum([((ids != reference) & judged).sum((1, 2)) for ids in predictions], axis=0)
    there = ((reference > 0) & judged).sum((1, 2))
    scored = slices_in(ranges, len(reference), "") if ranges else list(range(len(reference)))
    return max(scored, key=lambda s: (wrong[s], there[s] if not wrong[scored].any() else 0))


def _scores(cases: pd.DataFrame, model: str, item: Chosen, summary: EvaluationSummary, is_volume: bool) -> str:
    """ "Dice: liver 0.951", a line for each structure, from cases.csv; "volume Dice" beside a slice of the volume."""
    rows = cases[(cases["model"] == model) & (cases["case"] == item.case) & (cases["structure"] != BACKGROUND)]
    if item.slice is not None:
        rows = rows[rows["slice"] == item.slice]
    known = rows.dropna(subset=[summary.ranked]).nsmallest(MAX_SCORES, summary.ranked, keep="first")
    label = ("volume " if is_volume else "") + summary.columns[summary.ranked].label
    values = [f"{name} {value:.3f}" for name, value in zip(known["structure"], known[summary.ranked], strict=True)]
    return f"{label}: " + ("\n".join(values) or "–")
