"""Measures that several protocols take: overlap, boundary distances, volumes."""

import math

import numpy as np
import pandas as pd

from caseunet.evaluation.protocols.base import Options, Row, Unit, mean_number
from caseunet.evaluation.summary import Measure, Number
from caseunet.metrics.distances import diagonal, surface_distances

EMPTY_OVERLAP = (
    "Neither mask has the structure: no value, counted as undefined and left out of means. Only one has it: 0."
)
DICE = Measure(
    label="Dice",
    definition="2 |R ∩ P| / (|R| + |P|); R pixels of the reference, P of the prediction",
    empty=EMPTY_OVERLAP,
    better="higher",
)
IOU = Measure(label="IoU", definition="|R ∩ P| / |R ∪ P|", empty=EMPTY_OVERLAP, better="higher")
RATES = {
    "sensitivity": Measure(
        label="sensitivity",
        definition="|R ∩ P| / |R|: share of the reference's pixels that are found (recall)",
        empty="The reference has no such structure: no value, left out of means. Only the reference has it: 0.",
        better="higher",
    ),
    "precision": Measure(
        label="precision",
        definition="|R ∩ P| / |P|: share of the predicted pixels that are right",
        empty="The prediction has no such structure: no value, left out of means. Only the prediction has it: 0.",
        better="higher",
    ),
    "specificity": Measure(
        label="specificity",
        definition="share of the pixels outside the reference that are outside the prediction, without those that "
        "nobody judged",
        empty="The reference is everywhere: no value, left out of means.",
        better="higher",
    ),
}
"""Of pixels, in every protocol."""
BOUNDARY = (
    "boundary pixels are those with a face neighbour outside the mask (in a single image: an edge neighbour), "
    "distances are exact, between pixel centres"
)


def distance_measures(options: Options) -> dict[str, Measure]:
    """HD95, ASSD and NSD."""
    empty = (
        "Neither mask has the structure: no value, left out of means. Only one has it: the diagonal of the image, so "
        "that missing a structure never helps."
    )
    unit = options.unit
    return {
        "hd95": Measure(
            label="HD95",
            definition="95th percentile of the distances from the boundary of one mask to that of the other, the "
            f"larger of the two directions; {BOUNDARY}",
            empty=empty,
            better="lower",
            unit=unit,
        ),
        "assd": Measure(
            label="ASSD",
            definition="mean over the boundary pixels of both masks of the distance to the boundary of the other mask; "
            f"{BOUNDARY}",
            empty=empty,
            better="lower",
            unit=unit,
        ),
        "nsd": Measure(
            label=f"NSD at {options.tolerance:g} {unit}",
            definition="normalised surface distance (surface Dice): share of the boundary pixels of both masks that "
            f"lie at most {options.tolerance:g} {unit} from the boundary of the other mask; {BOUNDARY}",
            empty="Neither mask has the structure: no value, left out of means. Only one has it: 0.",
            better="higher",
        ),
    }


def distance_columns(reference: np.ndarray, prediction: np.ndarray, unit: Unit, tolerance: float) -> Row:
    """HD95, ASSD and NSD of one structure's masks (S, H, W), by the policy of :func:`distance_measures`."""
    undefined: Row = {"hd95": math.nan, "assd": math.nan, "nsd": math.nan}
    if unit.spacing is None:
        return undefined
    there = reference.any(), prediction.any()
    if not any(there):
        return undefined
    if not all(there):
        far = diagonal(unit.reference.shape, unit.spacing)
        return {"hd95": far, "assd": far, "nsd": 0.0}
    distances = surface_distances(reference, prediction, unit.spacing)
    return {
        "hd95": distances.percentile(95),
        "assd": distances.average,
        "nsd": distances.within(tolerance),
    }


def rate_numbers(rows: pd.DataFrame, structure: str, averaging: str) -> list[Number]:
    """Means of :data:`RATES` over the rows of a structure."""
    return [mean_number(rows, column, measure, structure, averaging) for column, measure in RATES.items()]


def mask_of(ids: np.ndarray, members: tuple[int, ...]) -> np.ndarray:
    """Where the ids are one of the members: bool, of the same shape."""
    mask: np.ndarray = ids == members[0]
    for member in members[1:]:
        mask |= ids == member
    return mask
