"""PREPARED + several models → a study: each trained alike with several seeds, scored alike, and tested for ties."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from caseunet.commands.models import Workload, count, measure
from caseunet.commands.study_runs import run_cell, run_cells
from caseunet.config import Config, PrepareConfig
from caseunet.data.loader import plan_patch_size, plan_preprocessing
from caseunet.data.store import Prepared, RawSource
from caseunet.errors import CaseUNetError
from caseunet.evaluation.rows import read_cases
from caseunet.evaluation.summary import EvaluationSummary
from caseunet.files import Location, location, output_folder, read_json, read_model, resume_folder, write_json
from caseunet.former_names import migrate, migrate_file
from caseunet.models import create_model, plan_arguments
from caseunet.options import Mode, StudyOptions, check_mode
from caseunet.progress import Display, count_text
from caseunet.reporting.study_page import write_study
from caseunet.studies.design import Design, StudyRun, Variant, variants_of
from caseunet.studies.summary import ModelCost, StudySummary, compare_models, score_models

KIND = "a study"
PLAN, SPLITS = "plan.json", "splits.json"


@dataclass(frozen=True)
class Study:
    """What :func:`compare` wrote: its numbers, and the path of study.html."""

    summary: StudySummary
    page: Path


def compare(
    prepared: str | Location,
    models: Sequence[str | Variant],
    *,
    out: str | Path = "comparison",
    predictions: Mapping[str, Path] | None = None,
    options: StudyOptions = StudyOptions(),
    mode: Literal["new", "overwrite", "resume"] = "new",
    display: Display | None = None,
) -> Study:
    """Train several networks alike, with several seeds, and say which is better, or that it is a tie.

    Args:
        prepared: written by :func:`caseunet.prepare`.
        models: networks, recipes or YAML files; or variants of :func:`caseunet.studies.design.variants_of`, whose
            configuration has its own budget.
        out: folder to write; runs/NAME/seed-S-fold-F/ holds each run, its predictions and its report.
        predictions: {name: folder} of other tools' masks, scored beside the models'.
        options: seeds, folds, budget and everything else.
        mode: "overwrite" replaces an earlier study at ``out``; "resume" goes on with it, which must have been begun
            with the same models and budget.
        display: shows progress.

    Raises:
        CaseUNetError: something is missing or does not fit.
        Interrupted: a signal ended a training; everything is saved.
    """
    variants = [
        model if isinstance(model, Variant) else variants_of([model], None, options.budget)[0] for model in models
    ]
    return run_study(
        location(prepared),
        Design(variants, options.seeds, options.folds, options.protocol, predictions=predictions or {}),
        out=Path(out),
        options=options,
        mode=mode,
        display=display,
    )


def run_study(
    prepared_folder: Location,
    design: Design,
    *,
    out: Path,
    options: StudyOptions,
    mode: Literal["new", "overwrite", "resume"] = "new",
    display: Display | None = None,
) -> Study:
    """Train every variant with every seed on every fold, predict the fold's validation cases, score them in source
    geometry, and write study.json, cases.csv, scores.csv, scores.tex, study.html and the figure.

    Args:
        design: what is compared and how.
        prepared_folder, out, mode, display: as for :func:`compare`.
        options: its ``raw`` and ``jobs`` are used; the rest is in the design.

    Raises:
        CaseUNetError, Interrupted: as there.
    """
    check_mode(mode, "resume")
    display = display or Display()
    twice = {v.name for v in design.variants} & set(design.predictions)
    if len(design.variants) + len(design.predictions) < 2:
        raise CaseUNetError(
            "A comparison takes at least two models, or one beside other predictions.",
            options=("models", "predictions"),
        )
    if twice:
        raise CaseUNetError(f"{min(twice)}: a model and predictions have this name.", options=("predictions",))
    if design.seeds < 1:
        raise CaseUNetError(f"seeds {design.seeds}: expected at least 1.", options=("seeds",))
    design.cells(out)  # says which masks are missing
    prepared = Prepared(prepared_folder)
    source = _source(prepared, options.raw)
    for fold in design.folds:
        prepared.fold(fold)
    size = plan_patch_size(prepared, design.variants[0].config.data, prepared.fold(design.folds[0]).train)
    plan = _plan(prepared, design)
    with _folder(out, prepared_folder, mode) as folder:
        _check_plan(folder, plan)
        write_json(folder / PLAN, plan)
        write_json(folder / SPLITS, prepared.split.model_dump(mode="json"))  # PREPARED may be behind a URL
        costs = _measure_all(folder, prepared, design, size, display)
        cells = design.cells(folder)
        run = partial(
            run_cell, prepared=prepared.folder, splits=folder / SPLITS, source=source, protocol=design.protocol
        )
        run_cells(cells, run, options.jobs, display)
        summary, cases = _conclude(design, cells, costs, size, prepared)
        write_study(folder, summary, cases)
    return Study(summary, out / "study.html")


def _source(prepared: Prepared, raw: Path | None) -> tuple[Path, PrepareConfig]:
    """The raw data set, and how it is read.

    Raises:
        CaseUNetError: nothing tells where it is, or it is not there.
    """
    known = prepared.info.source or RawSource(folder="", format=prepared.info.source_format)
    root = raw or (Path(known.folder) if known.folder else None)
    if root is None or not root.is_dir():
        where = f"they were at {root} when they were prepared" if root else "the prepared data set does not say where"
        raise CaseUNetError(f"Masks are scored in the raw data's own geometry, but {where}.", options=("raw",))
    config = PrepareConfig(
        layout=known.format,
        repair_plan=None if known.plan is None else Path(known.plan),
        group=known.group,
        modality=known.modality or "auto",
        plane=prepared.info.grid.plane,
        images=known.images,
        masks=known.masks,
        channels=known.channels,
        regions=known.regions,
        field_of_view=known.field_of_view,
    )
    return root, config


def _plan(prepared: Prepared, design: Design) -> dict[str, Any]:
    """What must not change when a study goes on."""
    return {
        "content_hash": prepared.info.content_hash,
        "models": {v.name: v.config.model_dump(mode="json") for v in design.variants},
        "seeds": design.seeds,
        "folds": list(design.folds),
        "protocol": design.protocol,
    }


def _check_plan(folder: Path, plan: Mapping[str, Any]) -> None:
    """Raises CaseUNetError if a study goes on with other models, data or budget; more seeds and folds may be added."""
    if not (folder / PLAN).is_file():
        return
    before = migrate_file(read_json(folder / PLAN, "a study's plan"))
    before["models"] = {name: migrate(config) for name, config in before["models"].items()}
    for key in ("content_hash", "models", "protocol"):
        if before.get(key) != plan[key]:
            what = {"content_hash": "prepared data", "models": "models or settings", "protocol": "protocol"}[key]
            raise CaseUNetError(
                f"{folder}: was begun with other {what}. Go on with the same, or choose another folder.",
                options=("out",),
            )


@contextmanager
def _folder(out: Path, prepared: Location, mode: Mode) -> Iterator[Path]:
    if mode == "resume" and out.exists():
        with resume_folder(out, KIND) as folder:
            yield folder
    else:
        with output_folder(out, KIND, [prepared], mode == "overwrite") as folder:
            yield folder


def _measure_all(
    folder: Path, prepared: Prepared, design: Design, size: tuple[int, int], display: Display
) -> dict[str, dict[str, float]]:
    """Parameters, multiply-adds, time and memory of each, in one go on this machine; kept in costs.json.

    A network that cannot be built is told here, before any training.
    """
    path = folder / "costs.json"
    if path.is_file():
        return dict(read_json(path, "a study's costs"))
    costs = {}
    cases = prepared.fold(design.folds[0]).train
    classes = len(prepared.info.label_map)
    builds = {}
    for v in design.variants:
        preprocessing = plan_preprocessing(prepared.info, prepared.intensities(cases), v.config.data, size)
        channels = preprocessing.in_channels
        arguments = plan_arguments(v.config.model.name, v.config.model.kwargs, size)
        build = partial(create_model, v.config.model.name, channels, classes, **arguments)
        builds[v.name] = build, channels, count(build, size, channels)
    with display.stage("measuring the networks", len(builds), "network") as stage:
        for name, (build, channels, (parameters, gmac)) in builds.items():
            cost = measure(build, size, Workload(channels=channels, classes=classes))
            costs[name] = {
                "parameters": parameters,
                "gmac": gmac,
                "milliseconds": cost.milliseconds,
                "peak_mib": cost.peak_mib,
            }
            stage.advance(1, name)
    write_json(path, costs)
    return costs


def _conclude(
    design: Design,
    cells: Sequence[StudyRun],
    costs: Mapping[str, Mapping[str, float]],
    size: tuple[int, int],
    prepared: Prepared,
) -> tuple[StudySummary, pd.DataFrame]:
    """All cells' rows together, and the numbers made of them."""
    tables = []
    for cell in cells:
        rows = read_cases(cell.folder / "report" / "cases.csv")
        tables.append(rows.assign(model=cell.model, seed=cell.seed, fold=cell.fold))
    cases = pd.concat(tables, ignore_index=True)
    first = read_model(cells[0].folder / "report" / "summary.json", EvaluationSummary, "a report")
    scores = score_models(cases, first.ranked)
    config = design.variants[0].config
    budget = config.training
    told = {v.name: v.told for v in design.variants}
    summary = StudySummary(
        code_version=version("caseunet"),
        title=design.title,
        protocol=first.protocol,
        metric=first.ranked,
        measure=first.columns[first.ranked],
        budget=f"{budget.steps:,} steps" if budget.minutes is None else f"{budget.minutes:g} minutes",
        size=size,
        seeds=tuple(sorted({cell.seed for cell in cells})),
        folds=tuple(sorted({cell.fold for cell in cells})),
        models=told | dict.fromkeys(design.predictions, "masks of another tool, not trained here"),
        outside=tuple(design.predictions),
        scores=tuple(scores),
        differences=tuple(compare_models(cases, first.ranked, scores)),
        costs=tuple(_cost(name, costs[name], [c for c in cells if c.model == name]) for name in told),
        settings=_settings(config, prepared, first),
        caution=prepared.split.caution,
    )
    return summary, cases


def _cost(name: str, measured: Mapping[str, float], cells: Sequence[StudyRun]) -> ModelCost:
    last = [pd.read_csv(cell.folder / "run" / "metrics.csv").iloc[-1] for cell in cells]
    return ModelCost(
        model=name,
        parameters=int(measured["parameters"]),
        gmac=measured["gmac"],
        milliseconds=measured["milliseconds"],
        peak_mib=measured["peak_mib"],
        training_minutes=sum(float(row["seconds"]) for row in last) / 60 / len(last),
        steps=sum(float(row["step"]) for row in last) / len(last),
    )


def _settings(config: Config, prepared: Prepared, report: EvaluationSummary) -> tuple[tuple[str, str], ...]:
    return (
        ("data", f"{count_text(len(prepared.cases), 'case')}, split by {prepared.split.by}"),
        ("licence of the data", prepared.info.licence or "not stated"),
        ("batch", str(config.data.batch_size)),
        ("augmentation", config.augment.strength),
        (
            "weights that count",
            f"{config.training.checkpoint} of {count_text(config.training.num_validations, 'validation')}",
        ),
        ("scored", f"{report.scope}, protocol {report.protocol}"),
        ("caseunet", version("caseunet")),
    )
