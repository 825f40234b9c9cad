"""Numbers of a study: several models, each trained with several seeds (and on several folds), on the same cases.

Two kinds of uncertainty are kept apart. *Over patients*: were these patients different ones, would the score be? It is
told by the bootstrap interval and by the paired test, both over patients (or sequences), of scores that were averaged
over the seeds. *Over seeds*: would the same training, begun again, give another score? It is told by the standard
deviation of the whole score over seeds. A model is called better only if both let it: the paired test after Holm's
correction, and a difference above twice the standard error that the seeds leave, √(sd₁²/n₁ + sd₂²/n₂), where there are
at least two seeds. Otherwise it is a tie.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from caseunet.evaluation.comparison import Difference, compare_scores
from caseunet.evaluation.rows import BACKGROUND
from caseunet.evaluation.statistics import estimate
from caseunet.evaluation.summary import Measure
from caseunet.types import FrozenModel

ALL = "all structures"
SEED_ERRORS = 2.0
"""Standard errors over seeds that a difference must exceed."""


class ModelScore(FrozenModel):
    """Of one model and structure.

    Attributes:
        mean: over cases (of :data:`ALL`, over structures of that), of scores averaged over seeds.
        interval: 95 % bootstrap over patients or sequences; None with fewer than five.
        sd: standard deviation over seeds of the same mean (n − 1); None with one seed.
        per_seed: that mean for each seed.
        cases: with a value.
    """

    model: str
    structure: str
    mean: float | None
    interval: tuple[float, float] | None
    sd: float | None
    per_seed: tuple[float | None, ...]
    cases: int


class StudyDifference(Difference):
    """A paired difference with what the seeds leave open.

    Attributes:
        seed_error: standard error of the difference over seeds; None with one seed.
        outcome: "first better", "second better", "tie" or "too few pairs", both kinds of uncertainty considered.
    """

    seed_error: float | None
    outcome: str


class ModelCost(FrozenModel):
    """What a model takes here; ``milliseconds`` and ``peak_mib`` are of a forward of one image of the training size."""

    model: str
    parameters: int
    gmac: float
    milliseconds: float
    peak_mib: float
    training_minutes: float
    """Mean over its runs, validation included."""
    steps: float
    """Mean over its runs."""


class StudySummary(FrozenModel):
    """Content of study.json.

    Attributes:
        title: what was compared.
        protocol: by which the cases were scored.
        metric: the column of cases.csv, and what it means.
        budget: of each training, in words.
        settings: what all models had in common, in words: (name, value).
    """

    code_version: str
    title: str
    protocol: str
    metric: str
    measure: Measure
    budget: str
    size: tuple[int, int]
    seeds: tuple[int, ...]
    folds: tuple[int, ...]
    models: dict[str, str]
    """{name: how it differs, as YAML on one line}."""
    outside: tuple[str, ...] = ()
    """Those of the models that are other tools, of which the study has the masks alone."""
    scores: tuple[ModelScore, ...]
    differences: tuple[StudyDifference, ...]
    costs: tuple[ModelCost, ...]
    settings: tuple[tuple[str, str], ...]
    caution: str = ""

    def score(self, model: str, structure: str = ALL) -> ModelScore:
        return next(s for s in self.scores if (s.model, s.structure) == (model, structure))


def score_models(cases: pd.DataFrame, metric: str) -> list[ModelScore]:
    """Scores of each model.

    Args:
        cases: rows of several cases.csv with columns model, seed, case, slice, group, structure and the metric.
        metric: a column; background rows are left out.
    """
    rows = cases[cases["structure"] != BACKGROUND]
    structures = list(dict.fromkeys(rows["structure"]))
    seeds = sorted(set(rows["seed"]))
    scores = []
    for model in dict.fromkeys(rows["model"]):
        own = rows[rows["model"] == model]
        averaged = over_seeds(own, metric)
        for chosen, name in [([s], s) for s in structures] + [(structures, ALL)]:
            per_seed = [_mean(own[own["seed"] == seed], metric, chosen) for seed in seeds]
            known = [value for value in per_seed if value is not None]
            found = estimate(*_parts(averaged, metric, chosen))
            scores.append(
                ModelScore(
                    model=model,
                    structure=name,
                    mean=found.value,
                    interval=found.interval,
                    sd=float(np.std(known, ddof=1)) if len(known) > 1 else None,
                    per_seed=tuple(per_seed),
                    cases=_units_with_a_value(averaged[averaged["structure"].isin(chosen)], metric),
                )
            )
    return scores


def compare_models(cases: pd.DataFrame, metric: str, scores: Sequence[ModelScore]) -> list[StudyDifference]:
    """Paired tests of every two models, for each structure and for all together (mean over a case's structures)."""
    rows = over_seeds(cases[cases["structure"] != BACKGROUND], metric)
    keys = ["model", "case", "slice", "group"]
    together = rows.groupby(keys, sort=False, dropna=False)[metric].mean().reset_index()
    tested = rows if rows["structure"].nunique() == 1 else pd.concat([rows, together.assign(structure=ALL)])
    by_name = {(score.model, score.structure): score for score in scores}
    return [
        _with_seeds(found, by_name[found.first, found.structure], by_name[found.second, found.structure])
        for found in compare_scores(tested, {metric: "higher"})
    ]


def over_seeds(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The mean over seeds of each case's (or slice's) score, in the order of the rows."""
    keys = ["model", "case", "slice", "group", "structure"]
    return rows.groupby(keys, sort=False, dropna=False)[metric].mean().reset_index()


def _with_seeds(found: Difference, first: ModelScore, second: ModelScore) -> StudyDifference:
    error = None
    if first.sd is not None and second.sd is not None:
        error = math.sqrt(first.sd**2 / len(first.per_seed) + second.sd**2 / len(second.per_seed))
    outcome: str = found.verdict
    if error is not None and found.difference is not None and abs(found.difference) <= SEED_ERRORS * error:
        outcome = "tie" if found.verdict.endswith("better") else found.verdict
    return StudyDifference(**found.model_dump(), seed_error=error, outcome=outcome)


def _mean(rows: pd.DataFrame, metric: str, structures: Sequence[str]) -> float | None:
    means = [rows.loc[rows["structure"] == name, metric].mean() for name in structures]
    known = [float(mean) for mean in means if mean == mean]
    return sum(known) / len(known) if known else None


def _units_with_a_value(averaged: pd.DataFrame, metric: str) -> int:
    known = averaged.dropna(subset=[metric])
    return len(known[["case", "slice"]].drop_duplicates())


def _parts(
    averaged: pd.DataFrame, metric: str, structures: Sequence[str]
) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[str]]:
    """Values and whether they are there, for each structure, and the groups."""
    tables = [averaged[averaged["structure"] == name] for name in structures]
    values = [table[metric].to_numpy(float) for table in tables]
    parts = [(np.nan_to_num(column), (~np.isnan(column)).astype(float)) for column in values]
    return parts, tables[0]["group"].tolist()
