"""The protocol "slices": an image at a time, or each slice of a volume by itself. The default for images and frames."""

from functools import partial

import numpy as np
import pandas as pd

from caseunet.evaluation.protocols.base import (
    Measured,
    Options,
    Protocol,
    Structures,
    Unit,
    mean_number,
    of_structure,
    ratio_number,
)
from caseunet.evaluation.protocols.measures import DICE, IOU, RATES, distance_columns, distance_measures, mask_of
from caseunet.evaluation.protocols.volumes import over_structures
from caseunet.evaluation.summary import Measure, Number

TEXT = (
    "Each image, frame or slice is scored on its own, in the geometry of its source file, never on resized masks. A "
    "structure is the union of its labels; the background is no structure and enters no average. Means are over "
    "slices; slices of one patient or sequence are near copies, so the intervals are over patients or sequences. A "
    "structure that neither reference nor prediction has in a slice gives no value there: it is counted as undefined "
    "and left out of the mean. A structure that only one of them has scores Dice and IoU 0 and, as its distance, the "
    "diagonal of the image. A case without a usable prediction counts as an empty mask. Scores of slices are no scores "
    "of volumes: small cuts at the ends of an organ weigh as much as large ones."
)
GLOBAL_DICE = Measure(
    label="pooled Dice",
    definition="2 Σ|R ∩ P| / Σ(|R| + |P|), summed over all slices",
    empty="No slice has the structure: no value.",
    better="higher",
)


def slices(options: Options) -> Protocol:
    columns = {"dice": DICE, "iou": IOU, **RATES, **distance_measures(options)}
    return Protocol(
        name="slices",
        text=TEXT,
        by="slice",
        columns=columns,
        ranked="dice",
        chief=("dice", "iou", "hd95", "nsd"),
        compared=("dice", "hd95"),
        measure=partial(_measure, tolerance=options.tolerance),
        conclude=partial(_conclude, columns=columns),
    )


def _measure(unit: Unit, structures: Structures, tolerance: float) -> Measured:
    masks = {name: (mask_of(unit.reference, m), mask_of(unit.prediction, m)) for name, m in structures.items()}
    return Measured({name: distance_columns(r, p, unit, tolerance) for name, (r, p) in masks.items()})


def _conclude(cases: pd.DataFrame, structures: Structures, columns: dict[str, Measure]) -> list[Number]:
    numbers = []
    for name in structures:
        rows = of_structure(cases, name)
        numbers += [mean_number(rows, column, measure, name, "mean over slices") for column, measure in columns.items()]
        numbers.append(ratio_number(rows, [dice_sums(rows)], "pooled_dice", GLOBAL_DICE, name, "ratio of sums"))
    if len(structures) > 1:
        averaging = "mean over structures of the mean over slices"
        averaged = {column: measure for column, measure in columns.items() if column not in RATES}
        numbers += [over_structures(cases, column, m, structures, averaging) for column, m in averaged.items()]
    return numbers


def dice_sums(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """2 |R ∩ P| and |R| + |P| of each row."""
    return (
        2 * rows["both_pixels"].to_numpy(float),
        (rows["reference_pixels"] + rows["prediction_pixels"]).to_numpy(float),
    )


def iou_sums(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """|R ∩ P| and |R ∪ P| of each row."""
    both = rows["both_pixels"].to_numpy(float)
    return both, (rows["reference_pixels"] + rows["prediction_pixels"]).to_numpy(float) - both
