"""Sums up what was scored: the content of summary.json, with all that a reader of the scores must know."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from caseunet.evaluation.comparison import compare_scores
from caseunet.evaluation.evaluator import Scored
from caseunet.evaluation.ground_truth import warn_of_structures
from caseunet.evaluation.inputs import EvaluationInputs, Scope
from caseunet.evaluation.prediction_sets import PredictionSet
from caseunet.evaluation.protocols.base import Protocol
from caseunet.evaluation.rows import BACKGROUND, MISSING, SCORED, UNUSABLE
from caseunet.evaluation.summary import EvaluationSummary, Remark, ScoredModel, Source
from caseunet.io.unpacking import in_archive
from caseunet.progress import count_text
from caseunet.types import BY_BLOCKS, Split


def summarize(
    inputs: EvaluationInputs,
    scope: Scope,
    *,
    protocol: Protocol,
    scored: Sequence[Scored],
    cases: pd.DataFrame,
    folders: Sequence[Path],
) -> EvaluationSummary:
    """Sum up an evaluation.

    Args:
        inputs: what was scored.
        scope: of which cases.
        protocol: as which they were counted.
        scored: each case.
        cases: the rows of all of them.
        folders: of the predictions, as they were given.
    """
    truth, shared = inputs.truth, inputs.shared
    structures = protocol.structures(shared.label_map)
    matched = (inputs.remark, *shared.notes, warn_of_structures(truth))
    headings = dict.fromkeys(_unread(inputs), "What could not be read")
    headings |= {_left_out(cases): "What nobody judged", _partial(inputs, scope): "What is not labelled"}
    headings.pop("", None)
    better = {name: protocol.columns[name].better for name in protocol.compared}
    return EvaluationSummary(
        code_version=version("caseunet"),
        protocol=protocol.name,
        text=protocol.text,
        structures=dict(structures),
        label_map=shared.label_map,
        columns=dict(protocol.columns),
        scope=scope.text,
        cases=len(scope.cases),
        not_asked=() if scope.ranges is not None else tuple(sorted(set(truth.labelled) - set(scope.cases))),
        only_reference=shared.only_reference,
        notes=(*filter(None, matched), *headings),
        headings=headings,
        ranked=protocol.ranked,
        chief=tuple(protocol.chief),
        models=tuple(
            _summarize_model(inputs, prediction_set, folder=folder, scored=scored, scope=scope)
            for prediction_set, folder in zip(inputs.prediction_sets, folders, strict=True)
        ),
        numbers=tuple(
            number
            for prediction_set in inputs.prediction_sets
            for number in protocol.conclude(cases[cases["model"] == prediction_set.name], structures)
        ),
        comparison=compare_scores(cases, {name: "higher" if b == "higher" else "lower" for name, b in better.items()})
        if len(inputs.prediction_sets) > 1
        else (),
        source=_source(inputs, scope),
        facts=_facts(inputs, folders),
    )


def list_cautions(summary: EvaluationSummary) -> list[str]:
    """The cautions of a summary, a text each; of several models with the name of that which it is about."""
    told = list(summary.notes)
    for model in summary.models:
        of_cases = (f"{one.case}: {one.text}" for one in (*model.missing, *model.unusable, *model.remarks))
        whose = f"{model.name}: " if len(summary.models) > 1 else ""
        told += [whose + text for text in (model.caution, *of_cases) if text]
    return told


def _summarize_model(
    inputs: EvaluationInputs, prediction_set: PredictionSet, *, folder: Path, scored: Sequence[Scored], scope: Scope
) -> ScoredModel:
    own = [item for item in scored if item.pair.model == prediction_set.name]

    def told(status: str) -> tuple[Remark, ...]:
        found = [item for item in own if item.status == status and item.text]
        return tuple(
            Remark(case=item.pair.case, text=in_archive(item.text, prediction_set.folder, folder)) for item in found
        )

    info = prediction_set.info
    return ScoredModel(
        name=prediction_set.name,
        folder=str(folder.resolve()),
        bundle="" if info is None else f"{info.bundle} (weights {info.bundle_hash})",
        missing=told(MISSING),
        unusable=told(UNUSABLE),
        extra=prediction_set.extra,
        only_prediction=inputs.shared.only_prediction.get(prediction_set.name, ()),
        remarks=told(SCORED),
        caution=" ".join(
            (
                *_list_other_readings(inputs, prediction_set, scope, own),
                *_list_cautions_of_model(prediction_set, {item.pair.case for item in own}, scope.split, scope.fold),
            )
        ),
    )


def _list_other_readings(
    inputs: EvaluationInputs, prediction_set: PredictionSet, scope: Scope, scored: Sequence[Scored]
) -> list[str]:
    """Where the references are read otherwise than the data that the model was trained on."""
    info, config = prediction_set.info, inputs.config
    known = scope.read_with or ({} if info is None else info.read_with)
    cautions = []
    fields = known.get("field_of_view", ())
    if fields and not config.field_of_view and not any(row.get("ignored_pixels") for s in scored for row in s.rows):
        cautions.append(
            f"The model's data were read with prepare.field_of_view: {', '.join(fields)}, and these references without "
            "it. Pixels outside the field of view are scored here, though nobody judged them."
        )
    raters = known.get("raters")
    if raters and config.raters and raters != config.raters:
        cautions.append(
            f"The model's data were read with prepare.raters: {raters}, and these references with {config.raters}."
        )
    plan = known.get("repair_plan")
    if plan and inputs.truth.has_images and config.repair_plan is None:
        cautions.append(
            f"The model's data were read with the repair plan {plan}, and these references without one. What it mends "
            "or leaves out is scored here as it is."
        )
    return cautions


def _list_cautions_of_model(
    prediction_set: PredictionSet, scored: set[str], split: Split | None, fold: int
) -> list[str]:
    """How split and weights were chosen, or that training images are scored."""
    cautions = []
    predicted = prediction_set.info
    seen = [] if predicted is None else [c.id for c in predicted.cases if c.in_training and c.id in scored]
    if split is not None and split.caution:
        cautions.append(split.caution)
    elif seen:
        cautions.append(
            f"The model was trained on {len(seen)} of the {count_text(len(scored), 'scored case')}, {seen[0]} among "
            "them. The scores do not show how well it does on new images."
        )
    alike = [] if predicted is None else [c for c in predicted.cases if c.looks_like and c.id in scored]
    if alike:
        cautions.append(
            f"{count_text(len(alike), 'scored case')} may be known from training: {alike[0].id} {alike[0].seen}. The "
            "scores may flatter."
        )
    if predicted is not None and predicted.out_of_fold:
        cautions.append(
            "Each case was segmented by the networks that were not trained on it. Where these were chosen by their "
            "score on it, the scores are a little optimistic."
        )
    told = fold if split is not None else None if predicted is None else predicted.fold
    if told is not None and predicted is not None and predicted.selected_on_fold == told:
        cautions.append("The weights are those that did best on this very fold, so its scores are a little optimistic.")
    return cautions


def _source(inputs: EvaluationInputs, scope: Scope) -> Source:
    truth, config, labels = inputs.truth, inputs.config, inputs.labels
    in_blocks = scope.split is not None and scope.split.by == BY_BLOCKS
    windows = (c.info.window for c in inputs.prediction_sets if c.info is not None)
    window = next((window for window in windows if window is not None), None)
    return Source(
        references=str(inputs.root.resolve()),
        layout=truth.dataset.format,
        modality=truth.dataset.modality,
        plan=None if config.repair_plan is None else str(config.repair_plan.resolve()),
        labels=None if labels is None else str(labels.resolve()),
        group=config.group,
        plane=truth.plane,
        images=config.images,
        masks=config.masks,
        channels=config.channels,
        field_of_view=config.field_of_view,
        raters=config.raters,
        regions=config.regions,
        ranges=dict(scope.ranges or {}) if in_blocks else {},
        window=window or ((0.0, 255.0) if truth.dataset.modality == "rgb" else None),
    )


def _facts(inputs: EvaluationInputs, folders: Sequence[Path]) -> tuple[tuple[str, str], ...]:
    truth, prediction_sets = inputs.truth, inputs.prediction_sets
    layout = f"layout {truth.dataset.format}" if truth.has_images else "masks alone, no images"
    facts = []
    for prediction_set, folder in zip(prediction_sets, folders, strict=True):
        several = f" of {prediction_set.name}" if len(prediction_sets) > 1 else ""
        facts.append((f"predictions{several}", str(folder)))
        if prediction_set.info is not None:
            info = prediction_set.info
            facts.append((f"bundle{several}", f"{info.bundle} (weights {info.bundle_hash})"))
            facts.append((f"backend{several}", f"{info.backend} on {info.device}"))
    return (
        *facts,
        ("references", f"{inputs.root} ({layout})"),
        *(("left out", finding.text) for finding in truth.dataset.findings if not truth.has_images),
        ("licence of the data", truth.dataset.licence or "not stated"),
        ("caseunet", version("caseunet")),
    )


def _unread(inputs: EvaluationInputs) -> list[str]:
    """Files of both sides that may be masks and cannot be read, a sentence for each folder."""
    datasets = [inputs.truth.dataset, *(c.dataset for c in inputs.prediction_sets if c.dataset is not None)]
    told = [f for dataset in datasets for f in dataset.findings if f.kind == "left-out" and f.level == "warning"]
    return [f"Left out, {finding.text}." for finding in told]


def _partial(inputs: EvaluationInputs, scope: Scope) -> str:
    """In how many references not all structures are labelled; "" where all are."""
    labelled = inputs.truth.labelled
    partial = [case for case in scope.cases if labelled[case].labelled]
    if not partial:
        return ""
    return (
        f"{len(partial)} of {count_text(len(scope.cases), 'reference')} have only some structures labelled, "
        f"{partial[0]} among them ({', '.join(labelled[partial[0]].labelled)}): the others are not scored there."
    )


def _left_out(cases: pd.DataFrame) -> str:
    """How much of the references nobody judged; "" where all was."""
    of_one = cases[(cases["model"] == cases["model"].iloc[0]) & (cases["structure"] == BACKGROUND)]
    ignored, judged = int(of_one["ignored_pixels"].sum()), int(of_one["judged_pixels"].sum())
    if not ignored:
        return ""
    having = of_one[of_one["ignored_pixels"] > 0]["case"]
    return (
        f"Left out, because nobody judged them: {count_text(ignored, 'pixel')} of "
        f"{count_text(len(having), 'reference')} ({100 * ignored / (ignored + judged):.2g} % of all pixels), "
        f"{having.iloc[0]} among them."
    )
