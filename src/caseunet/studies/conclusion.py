"""All runs of a study together: its cases, and the numbers made of them."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version

import pandas as pd

from caseunet.config import Config, load_config
from caseunet.data.store import Prepared
from caseunet.evaluation.rows import read_cases
from caseunet.evaluation.summary import EvaluationSummary
from caseunet.files import read_model
from caseunet.progress import count_text
from caseunet.studies.design import Design, StudyRun
from caseunet.studies.summary import ModelCost, StudySummary, compare_models, score_models


def conclude(
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
        settings=_settings(config, _batch_sizes(cells), prepared, first),
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


def _batch_sizes(cells: Sequence[StudyRun]) -> str:
    """As the runs planned them: one, or each that any model has."""
    runs = [load_config(base=cell.folder / "run" / "config.yaml") for cell in cells if cell.variant is not None]
    return ", ".join(str(size) for size in sorted({int(run.data.batch_size or 0) for run in runs}))


def _settings(
    config: Config, batch_sizes: str, prepared: Prepared, report: EvaluationSummary
) -> tuple[tuple[str, str], ...]:
    return (
        ("data", f"{count_text(len(prepared.cases), 'case')}, split by {prepared.split.by}"),
        ("licence of the data", prepared.info.licence or "not stated"),
        ("batch", batch_sizes),
        ("augmentation", config.augment.strength),
        (
            "weights that count",
            f"{config.training.checkpoint} of {count_text(config.training.num_validations, 'validation')}",
        ),
        ("scored", f"{report.scope}, protocol {report.protocol}"),
        ("caseunet", version("caseunet")),
    )
