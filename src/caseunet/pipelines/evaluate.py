"""PREDICTIONS + references → REPORT."""

from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from caseunet.config import PrepareConfig
from caseunet.data.folds import fold_of, read_split
from caseunet.errors import UserError
from caseunet.evaluation.evaluator import (
    EvaluationSummary,
    Pair,
    SliceScore,
    evaluate_case,
    scope_text,
    summarize_cases,
)
from caseunet.evaluation.report import Facts, ShownSlice, choose_slices, write_report
from caseunet.files import check_output_folder, content_hash, output_folder
from caseunet.pipelines.audit import with_coding
from caseunet.pipelines.predictions import PredictionsInfo, read_predictions
from caseunet.progress import Display, counted
from caseunet.sources import Layout, SourceCase, SourceDataset, open_source
from caseunet.sources.reading import check_repairs, known_coding, read_labels
from caseunet.types import LabelMap, Ranges, Split

KIND = "a report"


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` wrote, and the path of its report.html."""

    summary: EvaluationSummary
    cases: pd.DataFrame
    report: Path


def evaluate(
    predictions: Path,
    references: Path,
    out: Path,
    split: Path | None = None,
    fold: int | None = None,
    run: Path | None = None,
    config: PrepareConfig | None = None,
    overwrite: bool = False,
    title: str = "Segmentation report",
    display: Display | None = None,
) -> Evaluation:
    """Score predictions against references in source geometry and write cases.csv, summary.json and report.html.

    Args:
        predictions: folder written by ``predict``.
        references: the raw data set with the masks.
        out: folder to write.
        split, fold: a splits.json; only the validation slices of that fold are scored, and each must be predicted.
            Without a number it is the fold that was predicted, or 0.
        run: the training run, for its curves.
        config: layout, groups and repair plan of ``references``, as they were prepared.
        overwrite: replace an earlier report at ``out``.
        title: of the report.
        display: what a person sees.

    Raises:
        UserError: a prediction or reference is missing or unreadable, or their shapes or labels differ.
    """
    config, display = config or PrepareConfig(), display or Display()
    predicted = read_predictions(predictions)
    layout, dataset = _references(references, config, predicted.label_map)
    label_map = predicted.label_map
    fold = next(number for number in (fold, predicted.fold, 0) if number is not None)
    parts, ranges = None, None
    if split is not None:
        parts = read_split(split)
        ranges = fold_of(parts, fold, split).val
    if run is not None and not (run / "metrics.csv").is_file():
        raise UserError(f"{run}: is no training run (metrics.csv is missing).")
    inputs = [predictions, references, *filter(None, (split, run, config.plan))]
    check_output_folder(out, KIND, inputs, overwrite)
    cases = {case.id: case for case in dataset.labelled}
    pairs = _pairs(predicted, predictions, layout, dataset, cases, ranges)

    table, scores = _score(pairs, label_map, display)
    unpredicted = () if ranges is not None else tuple(sorted(set(cases) - {pair.case for pair in pairs}))
    caution = _caution(predicted, {pair.case for pair in pairs}, parts, fold)
    summary = summarize_cases(
        table,
        label_map,
        "volumes" if dataset.modality in ("ct", "mr") else "slices",
        scope_text(ranges, fold),
        caution,
        unpredicted,
    )
    shown = [
        ShownSlice(rank, score, _pixels(layout, cases[score.pair.case], dataset)[score.slice].copy())
        for rank, score in choose_slices(scores)
    ]
    with (
        output_folder(out, KIND, inputs, overwrite) as folder,
        display.stage("writing the report", 1) as stage,
    ):
        write_report(
            folder,
            table,
            summary,
            label_map,
            shown,
            window=predicted.window or ((0.0, 255.0) if dataset.modality == "rgb" else None),
            facts=Facts(title, _facts(predicted, predictions, references, dataset)),
            metrics_csv=None if run is None else run / "metrics.csv",
        )
        stage.advance(1)
    return Evaluation(summary, table, out / "report.html")


def _references(root: Path, config: PrepareConfig, predicted: LabelMap) -> tuple[Layout, SourceDataset]:
    """The raw data set, whose classes are those that were predicted.

    Raises:
        UserError: it cannot be opened, or its classes are others.
    """
    layout, dataset = open_source(root, config)
    dataset = with_coding(layout, dataset, config.workers)
    check_repairs(dataset, str(config.plan))
    own = known_coding(dataset).label_map
    for what, here, there in (
        ("classes", own.names, predicted.names),
        ("structures", own.structures, predicted.structures),
        ("colours", own.colors, predicted.colors),
    ):
        if here != there:
            raise UserError(
                f"{root}: its {what} {here} are not the predictions' {there}. Where masks alone tell the classes, a "
                "labels.json or the plan of the training data says what they are."
            )
    return layout, dataset


def _pixels(layout: Layout, case: SourceCase, dataset: SourceDataset) -> np.ndarray:
    return layout.read_image(case, dataset.modality == "rgb").pixels


def _pairs(
    predicted: PredictionsInfo,
    folder: Path,
    layout: Layout,
    dataset: SourceDataset,
    cases: dict[str, SourceCase],
    ranges: dict[str, Ranges] | None,
) -> list[Pair]:
    """The predictions to score, each with its reference; those of cases that the plan leaves out are left out.

    Raises:
        UserError: one that should be scored was not predicted (leaving it out would flatter the model), has no
            reference, or was made from another image.
    """
    missing = sorted(set(ranges or ()) - {item.id for item in predicted.cases} - dataset.dropped)
    if missing:
        raise UserError(f"{folder}: {len(missing)} cases of the fold were not predicted, {missing[0]} among them.")
    pairs = []
    for item in predicted.cases:
        if item.id in dataset.dropped or (ranges is not None and item.id not in ranges):
            continue
        if item.id not in cases:
            raise UserError(f"{dataset.root}: there is no mask for the predicted case {item.id}.")
        case = cases[item.id]
        if content_hash(*case.image) != item.image_hash:
            raise UserError(
                f"{folder / item.file}: was predicted from another image than {case.image[0]}. Score predictions "
                "against the masks of the very images that they were made from."
            )
        pairs.append(
            Pair(
                case=item.id,
                group=case.group,
                prediction=folder / item.file,
                read_reference=partial(read_labels, layout, case, dataset),
                image=str(case.image[0]),
                read_geometry=partial(layout.read_geometry, case),
                ranges=None if ranges is None else ranges[item.id],
            )
        )
    if not pairs:
        raise UserError(f"{folder}: holds no predictions to score.")
    return pairs


def _score(pairs: list[Pair], label_map: LabelMap, display: Display) -> tuple[pd.DataFrame, list[SliceScore]]:
    """A row for each case and structure, and the score of every slice that holds a structure."""
    rows: list[dict[str, object]] = []
    scores: list[SliceScore] = []
    with display.stage("evaluating", len(pairs), "case") as stage:
        for pair in pairs:
            of_case, of_slices = evaluate_case(pair, label_map)
            rows += of_case
            scores += of_slices
            stage.advance(1, pair.case)
    return pd.DataFrame(rows), scores


def _caution(predicted: PredictionsInfo, scored: set[str], split: Split | None, fold: int) -> str:
    """What a reader of the scores must know: how split and weights were chosen, or that training images are scored."""
    cautions = []
    seen = [case.id for case in predicted.cases if case.in_training and case.id in scored]
    if split is not None and split.caution:
        cautions.append(split.caution)
    elif seen:
        cautions.append(
            f"The model was trained on {len(seen)} of the {counted(len(scored), 'scored case')}, {seen[0]} among them. "
            "The scores do not show how well it does on new images."
        )
    if predicted.out_of_fold:
        cautions.append(
            "Each case was segmented by the networks that were not trained on it. Where these were chosen by their "
            "score on it, the scores are a little optimistic."
        )
    if split is not None and predicted.selected_on_fold == fold:
        cautions.append("The weights are those that did best on this very fold, so its scores are a little optimistic.")
    return " ".join(cautions)


def _facts(
    predicted: PredictionsInfo, predictions: Path, references: Path, dataset: SourceDataset
) -> tuple[tuple[str, str], ...]:
    return (
        ("predictions", str(predictions)),
        ("references", f"{references} (layout {dataset.format})"),
        ("bundle", f"{predicted.bundle} (weights {predicted.bundle_hash})"),
        ("engine", f"{predicted.engine} on {predicted.device}"),
        ("licence of the data", dataset.licence or "not stated"),
        ("caseunet", version("caseunet")),
    )
