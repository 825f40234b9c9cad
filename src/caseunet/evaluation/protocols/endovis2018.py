"""The protocol "endovis-2018": the IoUs that papers on EndoVis instruments report, frame by frame."""

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
from caseunet.evaluation.protocols.measures import IOU, RATES, rate_numbers
from caseunet.evaluation.protocols.slices import iou_sums
from caseunet.evaluation.summary import Measure, Number
from caseunet.types import LabelMap

TEXT = (
    "Each frame is scored by the IoU of every class; the background is no class. Challenge IoU: mean over the classes "
    "that the reference of a frame shows, then over the frames. ISI IoU: the same over the classes that reference or "
    "prediction show, so that a class seen where there is none costs. mcIoU: per class, mean over the frames where "
    "reference or prediction show it, then over the classes. Cumulative IoU: intersections summed over frames and "
    "classes, divided by the summed unions. A frame in which none of the classes in question is shown is skipped. A "
    "frame without a usable prediction counts as an empty mask: its classes score 0 and its pixels enter the unions. "
    "(Some published scorers walk through the predictions, so that a missing frame is skipped there, and leave frames "
    "with an empty prediction out of the cumulative IoU: both flatter.) Frames of a sequence are near copies, so "
    "intervals are over sequences."
)
SKIPPED = "A frame in which {} is skipped. A class that only one of the masks has: 0."
CHALLENGE = Measure(
    label="Challenge IoU",
    definition="mean over frames of the mean IoU over the classes in the reference of the frame",
    empty=SKIPPED.format("the reference shows no class"),
    better="higher",
)
ISI = Measure(
    label="ISI IoU",
    definition="mean over frames of the mean IoU over the classes in reference or prediction of the frame",
    empty=SKIPPED.format("neither mask shows a class"),
    better="higher",
)
MEAN_CLASS = Measure(
    label="mcIoU",
    definition="mean over classes of the mean IoU over the frames in which reference or prediction show the class",
    empty="Frames that do not show the class are left out of its mean; a class that no frame shows is left out too.",
    better="higher",
)
CUMULATIVE = Measure(
    label="cumulative IoU",
    definition="Σ|R ∩ P| / Σ|R ∪ P| over all frames and classes",
    empty="Empty masks add their pixels to the unions. No class anywhere: no value.",
    better="higher",
)


def endovis_2018(options: Options) -> Protocol:
    del options  # it measures no distances
    return Protocol(
        name="endovis-2018",
        text=TEXT,
        by="slice",
        columns={"iou": IOU, **RATES},
        ranked="iou",
        chief=("challenge_iou", "isi_iou", "mc_iou", "cumulative_iou", "iou"),
        compared=("iou",),
        measure=_measure,
        conclude=_conclude,
        structures=classes,
    )


def classes(label_map: LabelMap) -> Structures:
    """Each class by itself, but the background."""
    return {label.name: (label.id,) for label in label_map.labels[1:]}


def _measure(unit: Unit, structures: Structures) -> Measured:
    del unit  # counts tell all
    return Measured({name: {} for name in structures})


def _conclude(cases: pd.DataFrame, structures: Structures) -> list[Number]:
    tables = [of_structure(cases, name) for name in structures]
    frames = tables[0]
    iou = np.stack([table["iou"].to_numpy(float) for table in tables], axis=1)  # (frames, classes), NaN: not shown
    in_reference = np.stack([table["reference_pixels"].to_numpy() > 0 for table in tables], axis=1)
    numbers = []
    for metric, measure, counted in (
        ("challenge_iou", CHALLENGE, in_reference),
        ("isi_iou", ISI, ~np.isnan(iou)),
    ):
        classes_of = counted.sum(1)
        means = np.where(counted, np.nan_to_num(iou), 0).sum(1) / np.maximum(classes_of, 1)
        shown = (classes_of > 0).astype(float)
        numbers.append(
            ratio_number(
                frames,
                [(means * shown, shown)],
                metric,
                measure,
                None,
                "mean over frames of the mean over classes",
                undefined=int((shown == 0).sum()),
            )
        )
    parts = [(np.nan_to_num(column), (~np.isnan(column)).astype(float)) for column in iou.T]
    absent = int(np.isnan(iou).all(0).sum())
    averaging = "mean over classes of the mean over frames"
    numbers.append(
        ratio_number(frames, parts, "mc_iou", MEAN_CLASS, None, averaging, n=len(parts) - absent, undefined=absent)
    )
    sums = [iou_sums(table) for table in tables]
    total = np.sum([i for i, _ in sums], axis=0), np.sum([u for _, u in sums], axis=0)
    numbers.append(ratio_number(frames, [total], "cumulative_iou", CUMULATIVE, None, "ratio of sums"))
    for name, table in zip(structures, tables, strict=True):
        numbers.append(mean_number(table, "iou", IOU, name, "mean over frames that show it"))
        numbers += rate_numbers(table, name, "mean over frames")
    return numbers
