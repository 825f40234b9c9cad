"""The protocol "paper": every averaging that could stand behind a table that names none, side by side."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from caseunet.evaluation.protocols.base import (
    Measured,
    Options,
    Protocol,
    Structures,
    Unit,
    of_structure,
    ratio_number,
)
from caseunet.evaluation.protocols.endovis2018 import classes
from caseunet.evaluation.protocols.measures import DICE, IOU, RATES, rate_numbers
from caseunet.evaluation.protocols.slices import dice_sums, iou_sums
from caseunet.evaluation.rows import BACKGROUND
from caseunet.evaluation.summary import Measure, Number

TEXT = (
    "The same masks, counted in every way that a paper may have meant by “IoU” and “Dice” where it does not say. These "
    "numbers are NOT comparable with each other, and none with a number of another paper unless that says how it was "
    "counted. Of one pair of masks IoU = Dice / (2 − Dice) is never above Dice, and so it is with any one averaging of "
    "both: a table whose IoU is above its Dice has mixed two of these ways. Classes are taken one by one; slices and "
    "cases as in the references; a case without a usable prediction counts as an empty mask."
)
EMPTY_IS_ONE = "A slice in which neither mask shows the class: 1, so that empty slices lift the mean. Only one: 0."
EMPTY_IS_NONE = "Where neither mask shows the class: left out. Where only one does: 0."
ALL_PIXELS = "Empty masks do not matter: every pixel has a class."
MEASURES = {
    "pixel_accuracy": Measure(
        label="pixel accuracy",
        definition="pixels of the right class / all pixels, background included (it is also the micro Dice)",
        empty=ALL_PIXELS,
        better="higher",
    ),
    "micro_iou": Measure(
        label="micro IoU, all pixels",
        definition="Σ|R ∩ P| / Σ|R ∪ P|, summed over all slices and classes, background included",
        empty=ALL_PIXELS,
        better="higher",
    ),
    "mean_iou_with_background": Measure(
        label="mean IoU with background",
        definition="mean over classes, background included, of Σ|R ∩ P| / Σ|R ∪ P| over all slices",
        empty="A class that no slice shows is left out.",
        better="higher",
    ),
    "mean_iou": Measure(
        label="mean pooled IoU",
        definition="mean over classes, without the background, of Σ|R ∩ P| / Σ|R ∪ P| over all slices",
        empty="A class that no slice shows is left out.",
        better="higher",
    ),
    "mean_dice": Measure(
        label="mean pooled Dice",
        definition="mean over classes, without the background, of 2 Σ|R ∩ P| / Σ(|R| + |P|) over all slices",
        empty="A class that no slice shows is left out.",
        better="higher",
    ),
    "slice_iou_empty_1": Measure(
        label="slice IoU, empty = 1",
        definition="mean over classes of the mean over all slices of IoU",
        empty=EMPTY_IS_ONE,
        better="higher",
    ),
    "slice_dice_empty_1": Measure(
        label="slice Dice, empty = 1",
        definition="mean over classes of the mean over all slices of Dice",
        empty=EMPTY_IS_ONE,
        better="higher",
    ),
    "slice_iou": Measure(
        label="slice IoU",
        definition="mean over classes of the mean of IoU over the slices in which either mask shows the class",
        empty=EMPTY_IS_NONE,
        better="higher",
    ),
    "slice_dice": Measure(
        label="slice Dice",
        definition="mean over classes of the mean of Dice over the slices in which either mask shows the class",
        empty=EMPTY_IS_NONE,
        better="higher",
    ),
    "case_iou": Measure(
        label="case IoU",
        definition="mean over classes of the mean over cases of the IoU of the whole case",
        empty=EMPTY_IS_NONE,
        better="higher",
    ),
    "case_dice": Measure(
        label="case Dice",
        definition="mean over classes of the mean over cases of the Dice of the whole case",
        empty=EMPTY_IS_NONE,
        better="higher",
    ),
}
Part = tuple[np.ndarray, np.ndarray]


def paper(options: Options) -> Protocol:
    del options  # it measures no distances
    return Protocol(
        name="paper",
        text=TEXT,
        by="slice",
        columns={"dice": DICE, "iou": IOU, **RATES},
        ranked="dice",
        chief=tuple(MEASURES),
        compared=("dice",),
        measure=_measure,
        conclude=_conclude,
        structures=classes,
    )


def _measure(unit: Unit, structures: Structures) -> Measured:
    del unit  # counts tell all
    return Measured({name: {} for name in structures})


def _conclude(cases: pd.DataFrame, structures: Structures) -> list[Number]:
    """Over all classes, then of each if there are several."""
    each = [[name] for name in structures] if len(structures) > 1 else []
    numbers = _of(cases, list(structures), None) + [n for chosen in each for n in _of(cases, chosen, chosen[0])]
    return numbers + [
        n for name in structures for n in rate_numbers(of_structure(cases, name), name, "mean over slices")
    ]


def _of(cases: pd.DataFrame, chosen: Sequence[str], name: str | None) -> list[Number]:
    slices = {each: of_structure(cases, each) for each in (*chosen, BACKGROUND)}
    whole = {each: _per_case(rows) for each, rows in slices.items()}
    foreground = [slices[each] for each in chosen]
    numbers = []

    def add(metric: str, rows: pd.DataFrame, parts: Sequence[Part]) -> None:
        numbers.append(ratio_number(rows, parts, metric, MEASURES[metric], name, MEASURES[metric].definition))

    if name is None:  # of a class alone there is no averaging with the background
        with_background = [slices[BACKGROUND], *foreground]
        both = np.sum([rows["both_pixels"].to_numpy(float) for rows in with_background], axis=0)
        pixels = np.sum([rows["reference_pixels"].to_numpy(float) for rows in with_background], axis=0)
        add("pixel_accuracy", slices[BACKGROUND], [(both, pixels)])
        add("micro_iou", slices[BACKGROUND], [(both, 2 * pixels - both)])
        add("mean_iou_with_background", slices[BACKGROUND], [iou_sums(rows) for rows in with_background])
    first, first_case = foreground[0], whole[chosen[0]]
    add("mean_iou", first, [iou_sums(rows) for rows in foreground])
    add("mean_dice", first, [dice_sums(rows) for rows in foreground])
    add("slice_iou_empty_1", first, [_ratios(iou_sums(rows), empty=1) for rows in foreground])
    add("slice_dice_empty_1", first, [_ratios(dice_sums(rows), empty=1) for rows in foreground])
    add("slice_iou", first, [_ratios(iou_sums(rows)) for rows in foreground])
    add("slice_dice", first, [_ratios(dice_sums(rows)) for rows in foreground])
    add("case_iou", first_case, [_ratios(iou_sums(whole[each])) for each in chosen])
    add("case_dice", first_case, [_ratios(dice_sums(whole[each])) for each in chosen])
    return numbers


def _per_case(rows: pd.DataFrame) -> pd.DataFrame:
    """The counts of the slices of each case, added up."""
    counts = ["reference_pixels", "prediction_pixels", "both_pixels"]
    return rows.groupby(["model", "group", "case"], sort=False)[counts].sum().reset_index()


def _ratios(sums: Part, empty: float | None = None) -> Part:
    """Of each row the ratio, to be averaged: (ratios, ones); where there is nothing ``empty``, or left out."""
    above, below = sums
    there = below > 0
    ratios = np.where(there, above / np.where(there, below, 1), empty or 0)
    return ratios, (np.ones_like(ratios) if empty is not None else there.astype(float))
