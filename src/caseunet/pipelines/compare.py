"""PREPARED + several models → a study: each trained alike with several seeds, scored alike, and tested for ties."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import torch
import yaml

from caseunet.config import RECIPES, Config, PrepareConfig, load_config
from caseunet.data.loader import plan_patch_size, plan_preprocessing
from caseunet.data.store import Prepared, RawSource
from caseunet.errors import Interrupted, UserError
from caseunet.evaluation.rows import read_cases
from caseunet.evaluation.study import ModelCost, StudySummary, compare_models, score_models
from caseunet.evaluation.study_page import write_study
from caseunet.evaluation.summary import EvaluationSummary
from caseunet.files import Location, output_folder, read_json, read_model, unfinished_folder, write_json
from caseunet.models import MODELS, create_model, planned_arguments
from caseunet.models.smp import PREFIX
from caseunet.pipelines.evaluate import evaluate
from caseunet.pipelines.models import count, measure
from caseunet.pipelines.predict import predict
from caseunet.pipelines.train import train
from caseunet.progress import Display, counted
from caseunet.training.stopping import stop_on_signals

KIND = "a study"
PLAN, SPLITS = "plan.json", "splits.json"


@dataclass(frozen=True)
class Variant:
    """One of the models: its name, how it differs from what they have in common, and its whole configuration."""

    name: str
    overrides: Mapping[str, Any]
    config: Config

    @property
    def told(self) -> str:
        return ", ".join(f"{key}: {_flow(value)}" for key, value in self.overrides.items()) or "as configured"


@dataclass(frozen=True)
class Cell:
    """One training of a study, and all that comes of it; or another tool's predictions in its place.

    Attributes:
        model: its name.
        variant: what is trained; None of another tool.
        given: folder of another tool's masks.
        folder: where the run, its predictions and its report go.
    """

    model: str
    variant: Variant | None
    given: Path | None
    seed: int
    fold: int
    folder: Path

    @property
    def is_done(self) -> bool:
        return (self.folder / "report" / "summary.json").is_file()

    @property
    def told(self) -> str:
        return f"{self.model}, seed {self.seed}, fold {self.fold}"


@dataclass(frozen=True)
class Design:
    """What a study does.

    Attributes:
        variants: what is compared; each with its budget, which should be the same.
        seeds: how many: 0, 1, 2 …
        folds: to validate on, one after another.
        protocol: as in ``evaluate``.
        title: of the page.
        predictions: {name: folder} of other tools, whose masks of the same cases are scored beside the variants'. A
            folder holds seed-S-fold-F/ for every seed and fold; where there is but one of each, the masks themselves.
    """

    variants: Sequence[Variant]
    seeds: int = 3
    folds: Sequence[int] = (0,)
    protocol: str | None = None
    title: str = "Comparison of models"
    predictions: Mapping[str, Path] = field(default_factory=dict)

    def cells(self, folder: Path) -> list[Cell]:
        """All trainings; whole rounds come first, so that a study that was stopped has compared something."""
        return [
            Cell(name, variant, given and self.masks(given, seed, fold), seed, fold, folder / "runs" / name / run_name)
            for seed in range(self.seeds)
            for fold in self.folds
            for run_name in [f"seed-{seed}-fold-{fold}"]
            for name, variant, given in [
                *((v.name, v, None) for v in self.variants),
                *((name, None, masks) for name, masks in self.predictions.items()),
            ]
        ]

    def masks(self, given: Path, seed: int, fold: int) -> Path:
        """Where another tool's masks of a seed and fold are.

        Raises:
            UserError: they are not there.
        """
        folder = given / f"seed-{seed}-fold-{fold}"
        if folder.is_dir():
            return folder
        if given.is_dir() and self.seeds == len(self.folds) == 1:
            return given
        raise UserError(
            f"{folder}: no such folder. --predictions takes NAME=FOLDER, where FOLDER holds a folder of masks for "
            "every seed and fold of the study (seed-0-fold-0, …), or, for one seed and one fold, the masks."
        )


@dataclass(frozen=True)
class Study:
    """What :func:`compare` wrote: its numbers, and the path of study.html."""

    summary: StudySummary
    page: Path


def variants_of(models: Sequence[str], file: Path | None, overrides: Mapping[str, Any]) -> list[Variant]:
    """Models by name.

    Args:
        models: each a network ("unet", with the arguments that it has by itself), a recipe ("default", "paper"), or a
            YAML file whose configuration is laid over what all have in common.
        file: configuration that all have in common.
        overrides: {"optimizer.lr": 0.003}, for all of them.

    Raises:
        UserError: there is no such network, recipe or file, two have one name, or there are fewer than two.
    """
    variants = []
    for model in models:
        if model in RECIPES:
            variants.append(variant(model, {"recipe": model}, file, overrides))
        elif model.endswith((".yaml", ".yml")):
            load_config(Path(model))  # says what is wrong with the file, and where
            own = yaml.safe_load(Path(model).read_text(encoding="utf-8"))
            variants.append(variant(Path(model).stem, _dotted(own or {}), file, overrides))
        else:
            if not model.startswith(PREFIX):
                MODELS.get(model)
            variants.append(variant(model, {"model.name": model}, file, overrides))
    twice = [name for name, times in Counter(v.name for v in variants).items() if times > 1]
    if twice:
        raise UserError(f'"{twice[0]}" is there twice. Give every model a name of its own, by a file for each.')
    if len(variants) < 2:
        raise UserError("A comparison takes at least two models: --models case_unet unet.")
    return variants


def predictions_of(given: Sequence[str]) -> dict[str, Path]:
    """["nnU-Net=masks"] as {"nnU-Net": Path("masks")}.

    Raises:
        UserError: one is no name with a folder, or a name cannot be that of a folder or is there twice.
    """
    found: dict[str, Path] = {}
    for text in given:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder) or "/" in name or "\\" in name or name in (".", ".."):
            raise UserError(f'--predictions "{text}": expected NAME=FOLDER, such as nnU-Net=masks.')
        if name in found:
            raise UserError(f"--predictions {name}: is there twice.")
        found[name] = Path(folder)
    return found


def variant(name: str, own: Mapping[str, Any], file: Path | None, overrides: Mapping[str, Any]) -> Variant:
    """The common configuration with a model's own keys (dotted) laid over it."""
    return Variant(name, own, load_config(file, None, {**own, **overrides}))


def compare(
    prepared_folder: Location,
    design: Design,
    out: Path,
    raw: Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    jobs: int = 1,
    display: Display | None = None,
) -> Study:
    """Train every variant with every seed on every fold, predict the fold's validation cases, score them in source
    geometry, and write study.json, cases.csv, scores.csv, scores.tex, study.html and the figure.

    Args:
        prepared_folder: written by ``prepare``.
        design: what is compared and how.
        out: folder to write; runs/NAME/seed-S-fold-F/ holds each run, its predictions and its report.
        raw: the raw data set; where PREPARED says if None.
        overwrite: replace an earlier study at ``out``.
        resume: go on with the study at ``out``, which must have been begun with the same models and budget.
        jobs: trainings at a time, each in a process of its own with its share of the processors.
        display: what a person sees.

    Raises:
        UserError: something is missing or does not fit.
        Interrupted: a signal ended a training; everything is saved.
    """
    display = display or Display()
    for option, number in (("seeds", design.seeds), ("jobs", jobs)):
        if number < 1:
            raise UserError(f"--{option} {number}: expected at least 1.")
    if resume and overwrite:
        raise UserError("A study is either replaced (--overwrite) or gone on with (--resume): choose one.")
    twice = {v.name for v in design.variants} & set(design.predictions)
    if twice:
        raise UserError(f"--predictions {min(twice)}=…: one of the models has that name. Give it another one.")
    design.cells(out)  # says which masks are missing
    prepared = Prepared(prepared_folder)
    source = _source(prepared, raw)
    for fold in design.folds:
        prepared.fold(fold)
    size = plan_patch_size(prepared, design.variants[0].config.data, prepared.fold(design.folds[0]).train)
    plan = _plan(prepared, design)
    with _folder(out, prepared_folder, overwrite, resume) as folder:
        _check_plan(folder, plan)
        write_json(folder / PLAN, plan)
        write_json(folder / SPLITS, prepared.split.model_dump(mode="json"))  # PREPARED may be behind a URL
        costs = _measure_all(folder, prepared, design, size, display)
        cells = design.cells(folder)
        run = partial(_run, prepared=prepared.folder, splits=folder / SPLITS, source=source, protocol=design.protocol)
        _run_all(cells, run, jobs, display)
        summary, cases = _conclude(design, cells, costs, size, prepared)
        write_study(folder, summary, cases)
    return Study(summary, out / "study.html")


def _source(prepared: Prepared, raw: Path | None) -> tuple[Path, PrepareConfig]:
    """The raw data set, and how it is read.

    Raises:
        UserError: nothing tells where it is, or it is not there.
    """
    known = prepared.info.source or RawSource(folder="", format=prepared.info.source_format)
    root = raw or (Path(known.folder) if known.folder else None)
    if root is None or not root.is_dir():
        where = f"they were at {root} when they were prepared" if root else "the prepared data set does not say where"
        raise UserError(f"Masks are scored in the raw data's own geometry, but {where}. Name them with --raw.")
    config = PrepareConfig(
        format=known.format,
        plan=None if known.plan is None else Path(known.plan),
        group=known.group,
        modality=known.modality or "auto",
    )
    return root, config


def _plan(prepared: Prepared, design: Design) -> dict[str, Any]:
    """What must not change when a study goes on."""
    return {
        "fingerprint": prepared.info.fingerprint,
        "models": {v.name: v.config.model_dump(mode="json") for v in design.variants},
        "seeds": design.seeds,
        "folds": list(design.folds),
        "protocol": design.protocol,
    }


def _check_plan(folder: Path, plan: Mapping[str, Any]) -> None:
    """Raises UserError if a study goes on with other models, data or budget; more seeds and folds may be added."""
    if not (folder / PLAN).is_file():
        return
    before = read_json(folder / PLAN, "a study's plan")
    for key in ("fingerprint", "models", "protocol"):
        if before.get(key) != plan[key]:
            what = {"fingerprint": "prepared data", "models": "models or settings", "protocol": "protocol"}[key]
            raise UserError(f"{folder}: was begun with other {what}. Go on with the same, or give another --out.")


@contextmanager
def _folder(out: Path, prepared: Location, overwrite: bool, resume: bool) -> Iterator[Path]:
    if resume and out.exists():
        with unfinished_folder(out, KIND) as folder:
            yield folder
    else:
        with output_folder(out, KIND, [prepared], overwrite) as folder:
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
        arguments = planned_arguments(v.config.model.name, v.config.model.arguments, size)
        build = partial(create_model, v.config.model.name, channels, classes, **arguments)
        builds[v.name] = build, channels, count(build, size, channels)
    with display.stage("measuring the networks", len(builds), "network") as stage:
        for name, (build, channels, (parameters, gmac)) in builds.items():
            cost = measure(build, size, channels=channels, classes=classes)
            costs[name] = {
                "parameters": parameters,
                "gmac": gmac,
                "milliseconds": cost.milliseconds,
                "peak_mib": cost.peak_mib,
            }
            stage.advance(1, name)
    write_json(path, costs)
    return costs


def _run_all(cells: Sequence[Cell], run: Callable[..., None], jobs: int, display: Display) -> None:
    """Run what is not done yet.

    Raises:
        UserError: a cell cannot be run, or its process died. What was begun is ended first, the rest not begun.
        Interrupted: a signal came; the trainings under way have saved.
    """
    todo = [(number, cell) for number, cell in enumerate(cells, 1) if not cell.is_done]
    if jobs == 1:
        for number, cell in todo:
            display.say(f"\n{number} of {len(cells)}: {cell.told}", "bold")
            run(cell, display=display)
        return
    threads = max(1, (psutil.cpu_count(logical=False) or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_prepare_process, initargs=(threads,))
    with (
        pool,
        stop_on_signals() as stop,
        display.stage("training, predicting and scoring", max(len(todo), 1), "model") as stage,
    ):
        begun = {pool.submit(run, cell, display=Display()): cell for _, cell in todo}
        waiting = set(begun)
        try:
            while waiting and not stop.signal:
                done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                    stage.advance(1, begun[future].told)
        except BrokenProcessPool as error:
            raise UserError(
                f"A process that trained died, most likely for want of memory. Lower --jobs (now {jobs}) and go on "
                "with --resume."
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            if stop.signal:
                for process in psutil.Process().children():
                    process.terminate()
            wait(waiting)
        if stop.signal:
            raise Interrupted("Stopped; the trainings under way are saved.", stop.signal)


def _prepare_process(threads: int) -> None:
    """Let this process use so many threads, for several that take all hinder each other; and leave a terminal's Ctrl-C
    to the process that began it, which passes it on once."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for what it starts itself
    torch.set_num_threads(threads)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)


def _run(
    cell: Cell,
    prepared: Location,
    splits: Path,
    source: tuple[Path, PrepareConfig],
    protocol: str | None,
    display: Display,
) -> None:
    """Train, predict and score one cell; what is there already is gone on with."""
    raw, reading = source
    run, masks = None, cell.given or cell.folder / "predictions"
    if cell.variant is not None:
        config = cell.variant.config
        data = config.data.model_copy(update={"fold": cell.fold})
        config = config.model_copy(update={"seed": cell.seed, "data": data})
        run = cell.folder / "run"
        if not (run / "bundle" / "model.json").is_file():
            train(prepared, run, config, resume=run.exists(), display=display)
        predict(run / "bundle", [raw], masks, split=splits, fold=cell.fold, resume=True, display=display)
    evaluate(
        masks,
        raw,
        cell.folder / "report",
        protocol=protocol,
        split=splits,
        fold=cell.fold,
        run=run,
        config=reading,
        overwrite=True,
        title=cell.told,
        display=display,
    )


def _conclude(
    design: Design,
    cells: Sequence[Cell],
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
        scores=tuple(scores),
        differences=tuple(compare_models(cases, first.ranked, scores)),
        costs=tuple(_cost(name, costs[name], [c for c in cells if c.model == name]) for name in told),
        settings=_settings(config, prepared, first),
        caution=prepared.split.caution,
    )
    return summary, cases


def _cost(name: str, measured: Mapping[str, float], cells: Sequence[Cell]) -> ModelCost:
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
        ("data", f"{counted(len(prepared.cases), 'case')}, split by {prepared.split.by}"),
        ("licence of the data", prepared.info.licence or "not stated"),
        ("batch", str(config.data.batch_size)),
        ("augmentation", config.augment.strength),
        ("weights that count", f"{config.training.keep} of {counted(config.training.validations, 'validation')}"),
        ("scored", f"{report.scope}, protocol {report.protocol}"),
        ("caseunet", version("caseunet")),
    )


def _dotted(values: Mapping[str, Any]) -> dict[str, Any]:
    """{"model": {"name": "unet"}} as {"model.name": "unet"}; what lies deeper, as arguments, stays together."""
    dotted: dict[str, Any] = {}
    for section, content in values.items():
        nested = content if isinstance(content, Mapping) else None
        dotted |= {section: content} if nested is None else {f"{section}.{key}": v for key, v in nested.items()}
    return dotted


def _flow(value: object) -> str:
    """On one line, as YAML writes it."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()
