"""PREDICTIONS + references → REPORT."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import pandas as pd

from caseunet.config import EvaluateOptions, PrepareConfig
from caseunet.data.folds import fold_of, read_split
from caseunet.errors import CaseUNetError
from caseunet.evaluation.comparison import Difference, compare_scores
from caseunet.evaluation.evaluator import Pair, Scored, scope_text, score
from caseunet.evaluation.ground_truth import (
    GroundTruth,
    cut_references,
    name_references,
    open_ground_truth,
    pairs_of,
    warn_of_structures,
    with_grids,
)
from caseunet.evaluation.lesion_names import find_lesions
from caseunet.evaluation.prediction_sets import PredictionSet, check_folders, model_names, open_prediction_set
from caseunet.evaluation.protocols import PROTOCOLS
from caseunet.evaluation.protocols.base import Options, Protocol
from caseunet.evaluation.rows import BACKGROUND, MISSING, SCORED, UNUSABLE
from caseunet.evaluation.shared_classes import SharedClasses, share_classes
from caseunet.evaluation.summary import EvaluationSummary, Remark, ScoredModel, Source
from caseunet.files import check_output_folder, output_folder
from caseunet.prediction.unpacking import in_archive, unpack_all
from caseunet.progress import Display, Notices, count_text
from caseunet.reporting.cases_to_show import choose_cases, draw_cases
from caseunet.reporting.report import write_report
from caseunet.types import BY_BLOCKS, LabelMap, Ranges, Split, name_key
from caseunet.workers import LostWorkerError, run_all

KIND = "a report"
FEW = 8
"""Cases up to which other processes would take longer to start than to help."""


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` wrote.

    Attributes:
        report: the path of its report.html.
        warnings: what a reader of the scores must know of references, predictions and model.
    """

    summary: EvaluationSummary
    cases: pd.DataFrame
    report: Path
    warnings: tuple[str, ...] = ()


def evaluate(
    predictions: str | Path,
    references: str | Path,
    *,
    out: str | Path = "report",
    mode: Literal["new", "overwrite"] = "new",
    options: EvaluateOptions = EvaluateOptions(),
    config: PrepareConfig = PrepareConfig(),
    display: Display | None = None,
) -> Evaluation:
    """Score predictions against references in source geometry and write cases.csv, summary.json and report.html.

    Args:
        predictions: folder written by ``predict``, or masks of another tool, named as the references' cases: a folder,
            a zip, or a single file. A folder per case may hold a file per structure.
        references: the raw data set with the masks, or masks alone in the same forms.
        out: folder to write.
        mode: "overwrite" replaces an earlier report at ``out``.
        options: protocol, split and everything else. Without a split the cases are those that ``predict`` was asked
            for, or else all with a mask.
        config: layout, groups and repair plan of ``references``, as they were prepared.
        display: shows progress.

    Raises:
        CaseUNetError: a reference is missing or unreadable, no prediction can be used, or no class is shared.
    """
    predictions, references, out = Path(predictions), Path(references), Path(out)
    split, run, labels, fold = options.split, options.run, options.labels, options.fold
    notices, overwrite = Notices(display), mode == "overwrite"
    Options(options.tolerance)  # says at once what is wrong with it
    folders = [predictions, *options.compare]
    inputs = [*folders, references, *filter(None, (split, run, labels, config.repair_plan))]
    check_output_folder(out, KIND, inputs, overwrite)
    if fold is not None and split is None:
        raise CaseUNetError("A fold is one of a split: name its splits.json too.", options=("split",))
    if run is not None and not (run / "metrics.csv").is_file():
        raise CaseUNetError(f"{run}: is no training run (metrics.csv is missing).")
    check_folders(folders)
    factory = (
        None if options.protocol is None else PROTOCOLS.get(options.protocol)
    )  # an unknown name is told before the masks are read
    with unpack_all((references, *folders)) as (opened, *opened_folders):
        truth = open_ground_truth(opened, config, labels)
        prediction_sets = [
            open_prediction_set(folder, name, truth.dataset, labels, config.workers)
            for folder, name in zip(opened_folders, model_names(folders), strict=True)
        ]
        truth, remark = name_references(truth, prediction_sets)
        truth = cut_references(with_grids(truth, prediction_sets), prediction_sets, config)
        shared = share_classes(
            truth.label_map,
            {c.name: None if c.coding is None else c.coding.label_map for c in prediction_sets},
            str(references),
        )
        if fold is None:
            fold = next((c.info.fold for c in prediction_sets if c.info is not None and c.info.fold is not None), 0)
        parts = None if split is None else read_split(split)
        ranges = None if parts is None or split is None else fold_of(parts, fold, split).val
        scope = _scope(truth, prediction_sets, ranges)
        in_mm = _in_mm(truth, scope)
        volumes = truth.dataset.modality in ("ct", "mr")
        factory = factory or PROTOCOLS.get("volumes" if volumes else "slices")
        of_lesions = _lesions(truth, shared, options.lesions)
        chosen = factory(Options(options.tolerance, "mm" if in_mm else "px", of_lesions))
        structures = chosen.structures(shared.label_map)

        pairs = [
            pair
            for prediction_set in prediction_sets
            for pair in pairs_of(truth, prediction_set, scope, ranges, shared)
        ]
        scored = _score(pairs, chosen, shared.label_map, in_mm, config.workers, notices)
        _check_usable(prediction_sets, scored)
        cases = pd.DataFrame([row for item in scored for row in item.rows])
        chosen.check(cases)
        components = pd.DataFrame([row for item in scored for row in item.lesions])
        of_model = {c.name: cases[cases["model"] == c.name] for c in prediction_sets}
        summary = EvaluationSummary(
            code_version=version("caseunet"),
            protocol=chosen.name,
            text=chosen.text,
            structures=dict(structures),
            label_map=shared.label_map,
            columns=dict(chosen.columns),
            scope=scope_text(ranges, fold, len(scope)),
            cases=len(scope),
            not_asked=() if ranges is not None else tuple(sorted(set(truth.labelled) - set(scope))),
            only_reference=shared.only_reference,
            notes=tuple(
                filter(
                    None,
                    (
                        remark,
                        *shared.notes,
                        warn_of_structures(truth),
                        *_unread(truth, prediction_sets),
                        _left_out(cases),
                    ),
                )
            ),
            ranked=chosen.ranked,
            chief=tuple(chosen.chief),
            models=tuple(
                _summarize_model(prediction_set, folder, scored, parts, fold, shared)
                for prediction_set, folder in zip(prediction_sets, folders, strict=True)
            ),
            numbers=tuple(number for rows in of_model.values() for number in chosen.conclude(rows, structures)),
            comparison=_compare(cases, chosen) if options.compare else (),
            source=_source(
                *(truth, references, prediction_sets, config, labels),
                ranges if parts and parts.by == BY_BLOCKS else None,
            ),
            facts=_facts(truth, references, prediction_sets, folders),
        )
        shown = choose_cases(cases, chosen.ranked)
        pictures = draw_cases(truth, pairs, shown, summary, cases, notices)
    with (
        output_folder(out, KIND, inputs, overwrite) as folder,
        notices.stage("writing the report", 1) as stage,
    ):
        for text in _warnings(summary):
            notices.caution(text, shown=False)
        curves = None if run is None else run / "metrics.csv"
        write_report(folder, options.title, cases, components if len(components) else None, summary, pictures, curves)
        notices.write_log(folder)
        stage.advance(1)
    return Evaluation(summary, cases, out / "report.html", notices.warnings)


def _warnings(summary: EvaluationSummary) -> list[str]:
    """The cautions of a summary, a text each; of several models with the name of that which it is about."""
    told = list(summary.notes)
    for model in summary.models:
        of_cases = (f"{one.case}: {one.text}" for one in (*model.missing, *model.unusable, *model.remarks))
        whose = f"{model.name}: " if len(summary.models) > 1 else ""
        told += [whose + text for text in (model.caution, *of_cases) if text]
    return told


def _scope(truth: GroundTruth, prediction_sets: list[PredictionSet], ranges: dict[str, Ranges] | None) -> list[str]:
    """The cases to be scored, the same for every model, in the references' order.

    Raises:
        CaseUNetError: a case of the fold has no mask.
    """
    labelled = truth.labelled
    if ranges is not None:
        unknown = sorted(set(ranges) - set(labelled) - truth.dataset.dropped)
        if unknown:
            raise CaseUNetError(f"{truth.dataset.root}: there is no mask for the case {unknown[0]} of the fold.")
        return [case for case in labelled if case in ranges]
    asked = [prediction_set.asked for prediction_set in prediction_sets if prediction_set.asked is not None]
    return [case for case in labelled if not asked or any(case in cases for cases in asked)]


def _lesions(truth: GroundTruth, shared: SharedClasses, told: Sequence[str] | None) -> tuple[str, ...]:
    """The scored structures that are lesions: as told, as labels.json says, or by their names.

    Raises:
        CaseUNetError: one that was told is not scored.
    """
    structures = shared.label_map.structures
    if told is None and truth.lesions is not None:
        wanted = {name_key(name) for name in truth.lesions}
        told = [name for name in structures if name_key(name) in wanted]
    return find_lesions(structures, told)


def _in_mm(truth: GroundTruth, scope: list[str]) -> bool:
    """Whether distances are in millimetres: where the first image has a spacing."""
    if not scope:
        raise CaseUNetError(f"{truth.dataset.root}: there is nothing to score.")
    return truth.layout.read_geometry(truth.labelled[scope[0]]).spacing is not None


def _score(
    pairs: list[Pair], protocol: Protocol, label_map: LabelMap, in_mm: bool, workers: int | None, display: Display
) -> list[Scored]:
    """Each case, in the order of the pairs."""
    done: list[Scored | None] = [None] * len(pairs)
    work = partial(score, protocol=protocol, label_map=label_map, in_mm=in_mm)
    with display.stage("evaluating", len(pairs), "case") as stage:
        for index, result in run_all(work, pairs, 0 if len(pairs) <= FEW else workers):
            if isinstance(result, LostWorkerError):
                raise CaseUNetError(f"{pairs[index].case}: {result}") from result
            done[index] = result
            stage.advance(1, pairs[index].case)
    return [item for item in done if item is not None]


def _check_usable(prediction_sets: list[PredictionSet], scored: list[Scored]) -> None:
    """Raises CaseUNetError if nothing of a model could be used: zeros everywhere would only hide the cause."""
    for prediction_set in prediction_sets:
        own = [item for item in scored if item.pair.model == prediction_set.name]
        unusable = [item for item in own if item.status == UNUSABLE]
        if all(item.status in (MISSING, UNUSABLE) for item in own):
            first = unusable[0] if unusable else own[0]
            predicted = None if prediction_set.info is None else prediction_set.info.fold
            fold = f" It holds the predictions of fold {predicted}." if not unusable and predicted is not None else ""
            raise CaseUNetError(
                f"{prediction_set.folder}: none of the {count_text(len(own), 'case')} can be scored. The first, "
                f"{first.pair.case}: {first.text}{fold}"
            )


def _summarize_model(
    prediction_set: PredictionSet,
    folder: Path,
    scored: list[Scored],
    split: Split | None,
    fold: int,
    shared: SharedClasses,
) -> ScoredModel:
    own = [item for item in scored if item.pair.model == prediction_set.name]

    def remarks_on(status: str) -> tuple[Remark, ...]:
        found = [item for item in own if item.status == status and item.text]
        return tuple(
            Remark(case=item.pair.case, text=in_archive(item.text, prediction_set.folder, folder)) for item in found
        )

    info = prediction_set.info
    return ScoredModel(
        name=prediction_set.name,
        folder=str(folder.resolve()),
        bundle="" if info is None else f"{info.bundle} (weights {info.bundle_hash})",
        missing=remarks_on(MISSING),
        unusable=remarks_on(UNUSABLE),
        extra=prediction_set.extra,
        only_prediction=shared.only_prediction.get(prediction_set.name, ()),
        remarks=remarks_on(SCORED),
        caution=_caution(prediction_set, {item.pair.case for item in own}, split, fold),
    )


def _caution(prediction_set: PredictionSet, scored: set[str], split: Split | None, fold: int) -> str:
    """What a reader of the scores must know: how split and weights were chosen, or that training images are scored."""
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
    if split is not None and predicted is not None and predicted.selected_on_fold == fold:
        cautions.append("The weights are those that did best on this very fold, so its scores are a little optimistic.")
    return " ".join(cautions)


def _compare(cases: pd.DataFrame, protocol: Protocol) -> tuple[Difference, ...]:
    better = {name: protocol.columns[name].better for name in protocol.compared}
    return compare_scores(cases, {name: "higher" if b == "higher" else "lower" for name, b in better.items()})


def _source(
    truth: GroundTruth,
    root: Path,
    prediction_sets: list[PredictionSet],
    config: PrepareConfig,
    labels: Path | None,
    ranges: dict[str, Ranges] | None,
) -> Source:
    window = next((c.info.window for c in prediction_sets if c.info is not None and c.info.window is not None), None)
    return Source(
        references=str(root.resolve()),
        layout=truth.dataset.format,
        modality=truth.dataset.modality,
        plan=None if config.repair_plan is None else str(config.repair_plan.resolve()),
        labels=None if labels is None else str(labels.resolve()),
        group=config.group,
        plane=truth.plane,
        images=config.images,
        masks=config.masks,
        channels=config.channels,
        ranges=ranges or {},
        window=window or ((0.0, 255.0) if truth.dataset.modality == "rgb" else None),
    )


def _facts(
    truth: GroundTruth, references: Path, prediction_sets: list[PredictionSet], folders: Sequence[Path]
) -> tuple[tuple[str, str], ...]:
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
        ("references", f"{references} ({_layout_text(truth)})"),
        *(("left out", finding.text) for finding in truth.dataset.findings if not truth.has_images),
        ("licence of the data", truth.dataset.licence or "not stated"),
        ("caseunet", version("caseunet")),
    )


def _layout_text(truth: GroundTruth) -> str:
    return f"layout {truth.dataset.format}" if truth.has_images else "masks alone, no images"


def _unread(truth: GroundTruth, prediction_sets: list[PredictionSet]) -> list[str]:
    """Files of both sides that may be masks and cannot be read, a sentence for each folder."""
    datasets = [truth.dataset, *(c.dataset for c in prediction_sets if c.dataset is not None)]
    told = [f for dataset in datasets for f in dataset.findings if f.kind == "left-out" and f.level == "warning"]
    return [f"Left out, {finding.text}." for finding in told]


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
