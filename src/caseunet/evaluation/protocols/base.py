"""What a protocol is: which units are scored, what is measured of each, and how numbers are made of that."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from caseunet.errors import InvalidOptionError
from caseunet.evaluation.statistics import Combine, estimate, mean_of_parts
from caseunet.evaluation.summary import Measure, Number
from caseunet.types import Geometry, LabelMap, Steps

Structures = Mapping[str, tuple[int, ...]]
"""Scored structures: name → the class ids that make it up."""


@dataclass(frozen=True)
class Unit:
    """What is scored at once, a case or one of its slices: class ids (S, H, W), the background 0.

    ``spacing`` (between slices, rows, columns) is in mm, or ones where distances are in pixels (``in_mm`` false); None
    where they are in mm but this case has none, so that its distances are undefined. ``file`` tells in which order the
    axes of the reference's file run; None where that is the order here.
    """

    reference: np.ndarray
    prediction: np.ndarray
    spacing: Steps | None
    in_mm: bool = True
    file: Geometry | None = None


Row = dict[str, object]


@dataclass(frozen=True)
class Measured:
    """Of one unit: {structure: measured columns}, and a row for each lesion."""

    columns: dict[str, Row]
    lesions: list[Row] = field(default_factory=list)


def _own_structures(label_map: LabelMap) -> Structures:
    return label_map.structures


def no_complaint(_: pd.DataFrame) -> None:
    """Nothing that the protocol cannot count."""


@dataclass(frozen=True)
class Protocol:
    """A way of counting.

    Attributes:
        name: as on the command line.
        text: what it counts, in its own words.
        by: whether a unit is a whole case or each of its slices.
        columns: the measured columns of cases.csv.
        ranked: the column by which cases are called worst, median and best; higher is better.
        chief: the numbers that a short table shows.
        compared: columns that are tested between models.
        measure: measures a unit, given the structures.
        conclude: makes numbers of the rows of one model, given the structures; they depend on nothing else.
        structures: of a label map; raises CaseUNetError where the protocol is not made for its classes.
        spacing_of: whose header states the voxel size.
        refuses: whether a missing or unusable prediction ends the evaluation instead of counting as an empty mask.
        takes_partial: whether cases may have only some structures labelled.
        check: raises CaseUNetError where the rows hold what the protocol cannot count.
    """

    name: str
    text: str
    by: Literal["case", "slice"]
    columns: Mapping[str, Measure]
    ranked: str
    chief: Sequence[str]
    compared: Sequence[str]
    measure: Callable[[Unit, Structures], Measured]
    conclude: Callable[[pd.DataFrame, Structures], list[Number]]
    structures: Callable[[LabelMap], Structures] = _own_structures
    spacing_of: Literal["image", "reference"] = "image"
    refuses: bool = False
    takes_partial: bool = True
    check: Callable[[pd.DataFrame], None] = no_complaint


@dataclass(frozen=True)
class Options:
    """What a protocol may be told: the tolerance of the normalised surface distance, the unit of distances, and which
    structures are lesions (None: those with such names)."""

    tolerance: float = 2.0
    unit: Literal["mm", "px"] = "mm"
    lesions: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < float("inf"):
            raise InvalidOptionError(
                f"The tolerance must be a positive number of mm or pixels, not {self.tolerance:g}."
            )


def mean_number(
    rows: pd.DataFrame, column: str, measure: Measure, structure: str | None, averaging: str, metric: str = ""
) -> Number:
    """Mean of a column over the rows where it has a value."""
    values = rows[column].to_numpy(float)
    known = values[~np.isnan(values)]
    found = estimate([(np.nan_to_num(values), (~np.isnan(values)).astype(float))], rows["group"].tolist())
    return Number(
        model=model_of(rows),
        structure=structure,
        metric=metric or column,
        value=found.value,
        interval=found.interval,
        n=len(known),
        undefined=len(values) - len(known),
        sd=float(known.std(ddof=1)) if len(known) > 1 else None,
        median=float(np.median(known)) if len(known) else None,
        averaging=averaging,
        measure=measure,
    )


def ratio_number(
    rows: pd.DataFrame,
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    metric: str,
    measure: Measure,
    structure: str | None,
    averaging: str,
    combine: Combine = mean_of_parts,
    n: int | None = None,
    undefined: int = 0,
) -> Number:
    """A ratio of sums over the rows, or a combination of several; ``parts`` hold an entry for each row.

    ``n`` is what it is made of; the number of rows with a denominator if not given.
    """
    found = estimate(parts, rows["group"].tolist(), combine)
    made_of = int(np.any([np.asarray(below) != 0 for _, below in parts], axis=0).sum()) if parts else 0
    return Number(
        model=model_of(rows),
        structure=structure,
        metric=metric,
        value=found.value,
        interval=found.interval,
        n=made_of if n is None else n,
        undefined=undefined,
        averaging=averaging,
        measure=measure,
    )


def model_of(rows: pd.DataFrame) -> str:
    return str(rows["model"].iloc[0])


def of_structure(rows: pd.DataFrame, structure: str) -> pd.DataFrame:
    return rows[rows["structure"] == structure]
