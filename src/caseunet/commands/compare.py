"""PREPARED + several models → a study: each trained alike with several seeds, scored alike, and tested for ties."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from caseunet.commands.study_runs import run_cell, run_cells
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError
from caseunet.files import Location, location, output_folder, resume_folder, write_json
from caseunet.options import Mode, StudyOptions, check_mode
from caseunet.progress import Display
from caseunet.reporting.study_page import write_study
from caseunet.studies.conclusion import conclude
from caseunet.studies.costs import measure_variants
from caseunet.studies.design import Design, Variant, variants_of
from caseunet.studies.plan import PLAN, check_plan, describe_plan, find_source
from caseunet.studies.summary import StudySummary
from caseunet.training.patches import plan_patch_size

KIND = "a study"
SPLITS = "splits.json"


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
    source = find_source(prepared, options.raw)
    for fold in design.folds:
        prepared.fold(fold)
    design, size = _with_one_patch_size(design, prepared)
    plan = describe_plan(prepared, design)
    with _folder(out, prepared_folder, mode) as folder:
        check_plan(folder, plan)
        write_json(folder / PLAN, plan)
        write_json(folder / SPLITS, prepared.split.model_dump(mode="json"))  # PREPARED may be behind a URL
        costs = measure_variants(folder, prepared, design, size, display)
        cells = design.cells(folder)
        run = partial(
            run_cell, prepared=prepared.folder, splits=folder / SPLITS, source=source, protocol=design.protocol
        )
        run_cells(cells, run, options.jobs, display)
        summary, cases = conclude(design, cells, costs, size, prepared)
        write_study(folder, summary, cases)
    return Study(summary, out / "study.html")


def _with_one_patch_size(design: Design, prepared: Prepared) -> tuple[Design, tuple[int, int]]:
    """The design with patches that no network of it pads; and the height and width of the first one's."""
    models = [variant.config.model for variant in design.variants]
    cases = prepared.fold(design.folds[0]).train
    configs = [variant.config for variant in design.variants]
    sizes = [plan_patch_size(prepared, config.data, models, cases) for config in configs]
    settled = [
        config.model_copy(update={"data": config.data.model_copy(update={"patch_size": size})})
        for config, size in zip(configs, sizes, strict=True)
    ]
    variants = [replace(variant, config=config) for variant, config in zip(design.variants, settled, strict=True)]
    return replace(design, variants=variants), sizes[0]


@contextmanager
def _folder(out: Path, prepared: Location, mode: Mode) -> Iterator[Path]:
    if mode == "resume" and out.exists():
        with resume_folder(out, KIND) as folder:
            yield folder
    else:
        with output_folder(out, KIND, [prepared], mode == "overwrite") as folder:
            yield folder
