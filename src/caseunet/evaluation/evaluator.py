"""The protocols "volumes" and "slices": per case and structure, in source geometry."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from caseunet.errors import UserError
from caseunet.evaluation.statistics import Summary, summarize
from caseunet.io import images
from caseunet.metrics.overlap import confusion_matrix, counts_of
from caseunet.progress import counted
from caseunet.types import Geometry, LabelMap, Ranges, Stored

PROTOCOLS = {"volumes": "A case is a volume. ", "slices": "A case is an image or frame. "}
PROTOCOL_TEXT = (
    "Every case is scored on its own, in the geometry of its source file, never on resized masks. A structure is the "
    "union of its labels; the background is no structure. Means are over cases. A structure that neither reference nor "
    "prediction has in a case gives no value there: it is counted as undefined and left out of the mean. A structure "
    "that only one of them has scores Dice 0 and IoU 0."
)
METRICS = {
    "dice": "2 |R ∩ P| / (|R| + |P|) over all scored pixels of the case; R reference, P prediction",
    "iou": "|R ∩ P| / |R ∪ P|",
    "volume_error_ml": "(|P| − |R|) × voxel volume in millilitres; undefined for images without spacing",
    "relative_volume_error": "(|P| − |R|) / |R|; undefined where the reference has no such structure",
}


@dataclass(frozen=True)
class Pair:
    """A case to score: where prediction and reference come from.

    Attributes:
        prediction: file written by ``predict``.
        read_reference: class ids in canonical order, (S, H, W).
        ranges: slices to score, or None for all.
        image: source image, for messages.
        read_geometry: of the source image.
    """

    case: str
    group: str
    prediction: Path
    read_reference: Callable[[], np.ndarray]
    image: str
    read_geometry: Callable[[], Geometry]
    ranges: Ranges | None = None


class StructureSummary(Stored):
    labels: tuple[int, ...]
    metrics: dict[str, Summary]


class EvaluationSummary(Stored):
    """Content of summary.json."""

    protocol: str
    definition: str
    metrics: dict[str, str]
    scope: str
    caution: str
    cases: int
    not_predicted: tuple[str, ...]
    structures: dict[str, StructureSummary]
    mean_dice: float | None


@dataclass(frozen=True)
class SliceScore:
    """Mean Dice over the structures that a slice has; for choosing which slices to show."""

    pair: Pair
    slice: int
    dice: float


def evaluate_case(pair: Pair, label_map: LabelMap) -> tuple[list[dict[str, object]], list[SliceScore]]:
    """Score one case: a row for each structure, and every slice that holds a structure.

    Raises:
        UserError: the prediction cannot be read, has another shape or position than its image, or holds unknown labels.
    """
    predicted, geometry = read_prediction(pair.prediction)
    if geometry.affine is not None:
        source = pair.read_geometry()
        if source.affine is None or not np.allclose(geometry.affine, source.affine, rtol=1e-4, atol=1e-3):
            raise UserError(f"{pair.prediction}: lies elsewhere than its image {pair.image} (their affines differ).")
    reference = pair.read_reference()
    if predicted.shape != reference.shape:
        raise UserError(
            f"{pair.prediction}: the prediction's shape {predicted.shape} is not its reference's {reference.shape} "
            "(slices, rows, columns). Predict the same image that the reference belongs to."
        )
    chosen = list(range(len(reference))) if pair.ranges is None else slices_in(pair.ranges, len(reference), pair.case)
    try:
        confusions = [confusion_matrix(reference[s], predicted[s], len(label_map)) for s in chosen]
    except ValueError as error:
        raise UserError(f"{pair.prediction}: {error}; the label map has ids 0 to {len(label_map) - 1}.") from error
    confusion = np.sum(confusions, axis=0)
    voxel_ml = math.prod(geometry.spacing) / 1000 if geometry.spacing else float("nan")
    rows = []
    for name, members in label_map.structures.items():
        counts = counts_of(confusion, members)
        difference = counts.prediction - counts.reference
        rows.append(
            {
                "case": pair.case,
                "group": pair.group,
                "structure": name,
                "slices": len(chosen),
                "reference_pixels": counts.reference,
                "prediction_pixels": counts.prediction,
                "both_pixels": counts.both,
                "dice": counts.dice,
                "iou": counts.iou,
                "reference_ml": counts.reference * voxel_ml,
                "prediction_ml": counts.prediction * voxel_ml,
                "volume_error_ml": difference * voxel_ml,
                "relative_volume_error": difference / counts.reference if counts.reference else float("nan"),
            }
        )
    scores = []
    for number, of_slice in zip(chosen, confusions, strict=True):
        dice = [counts_of(of_slice, members).dice for members in label_map.structures.values()]
        if not np.all(np.isnan(dice)):
            scores.append(SliceScore(pair, number, float(np.nanmean(dice))))
    return rows, scores


def summarize_cases(
    cases: pd.DataFrame, label_map: LabelMap, protocol: str, scope: str, caution: str, not_predicted: tuple[str, ...]
) -> EvaluationSummary:
    """Means over cases of every metric and structure."""
    structures = {}
    for name, members in label_map.structures.items():
        rows = cases[cases["structure"] == name]
        metrics = {metric: summarize(rows[metric].tolist(), rows["group"].tolist()) for metric in METRICS}
        structures[name] = StructureSummary(labels=members, metrics=metrics)
    means = [s.metrics["dice"].mean for s in structures.values()]
    known = [mean for mean in means if mean is not None]
    return EvaluationSummary(
        protocol=protocol,
        definition=PROTOCOLS[protocol] + PROTOCOL_TEXT,
        metrics=METRICS,
        scope=scope,
        caution=caution,
        cases=int(cases["case"].nunique()),
        not_predicted=not_predicted,
        structures=structures,
        mean_dice=sum(known) / len(known) if known else None,
    )


def read_prediction(path: Path) -> tuple[np.ndarray, Geometry]:
    """Class ids in canonical order, (S, H, W), and the geometry they lie in."""
    mask = images.read_mask(path, Geometry(shape=()), colored=False)
    if mask.fractional:
        raise UserError(f"{path}: holds {mask.fractional:,} values that are no whole numbers.")
    return mask.codes, mask.geometry


def slices_in(ranges: Ranges, slices: int, case: str) -> list[int]:
    """The slice numbers of ranges.

    Raises:
        UserError: a range goes beyond the case.
    """
    chosen = [s for start, stop in ranges for s in range(start, stop)]
    if not chosen or max(chosen) >= slices:
        raise UserError(f"{case}: the split names slices up to {max(chosen, default=-1)}, but the case has {slices}.")
    return chosen


def scope_text(ranges: Mapping[str, Ranges] | None, fold: int) -> str:
    """What was scored, in words."""
    if ranges is None:
        return "all predicted cases, whole"
    slices = sum(stop - start for parts in ranges.values() for start, stop in parts)
    return f"validation part of fold {fold}: {counted(slices, 'slice')} of {counted(len(ranges), 'case')}"
