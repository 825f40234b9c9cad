"""Scores cases: prediction and reference, as a protocol says, into the rows of cases.csv."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from caseunet.errors import CaseUNetError, InvalidInputError
from caseunet.evaluation.protocols.base import Measured, Protocol, Row, Structures, Unit
from caseunet.evaluation.rows import BACKGROUND, MISSING, SCORED, UNUSABLE
from caseunet.io.geometry import is_identity, voxel_steps
from caseunet.metrics.overlap import confusion_matrix, counts_of
from caseunet.progress import Display
from caseunet.types import IGNORE, Geometry, LabelMap, Ranges, is_told_apart
from caseunet.workers import LostWorkerError, run_all

COUNTED = ("reference_pixels", "prediction_pixels", "both_pixels")
"""Columns of cases.csv that count, of every protocol."""

FEW = 8
"""Cases up to which other processes would take longer to start than to help."""


@dataclass(frozen=True)
class Reference:
    """The true masks of a case: class ids (S, H, W), :data:`IGNORE` where nobody judged, the geometry of its image and
    that of the mask's own file, a remark on what it lacks, or "", and the structures that are labelled, () for all."""

    ids: np.ndarray
    image: Geometry
    own: Geometry
    remark: str = ""
    labelled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Predicted:
    """A model's masks of a case: class ids (S, H, W), and a remark on how the file differs, or ""."""

    ids: np.ndarray
    remark: str = ""


@dataclass(frozen=True)
class Pair:
    """A case to score.

    Attributes:
        model: whose prediction it is.
        read_reference: raises CaseUNetError where it cannot be read; without a reference nothing can be scored.
        read_prediction: given the geometry of the image; raises CaseUNetError where it cannot be read or does not fit.
            None where there is no prediction.
        missing: why there is none.
        ranges: slices to score, or None for all.
    """

    model: str
    case: str
    group: str
    read_reference: Callable[[], Reference]
    read_prediction: Callable[[Geometry], Predicted] | None
    missing: str = ""
    ranges: Ranges | None = None


@dataclass(frozen=True)
class Scored:
    """The rows of one case, whether its prediction was scored, and why not or what was seen."""

    pair: Pair
    status: str
    text: str
    rows: list[Row] = field(default_factory=list)
    lesions: list[Row] = field(default_factory=list)


def score_all(
    pairs: Sequence[Pair],
    *,
    protocol: Protocol,
    label_map: LabelMap,
    in_mm: bool,
    workers: int | None,
    display: Display,
) -> list[Scored]:
    """Score each case, in the order of the pairs."""
    done: list[Scored | None] = [None] * len(pairs)
    work = partial(score, protocol=protocol, label_map=label_map, in_mm=in_mm)
    with display.stage("evaluating", len(pairs), "case") as stage:
        for index, result in run_all(work, pairs, 0 if len(pairs) <= FEW else workers):
            if isinstance(result, LostWorkerError):
                raise CaseUNetError(f"{pairs[index].case}: {result}") from result
            done[index] = result
            stage.advance(1, pairs[index].case)
    return [item for item in done if item is not None]


def score(pair: Pair, protocol: Protocol, label_map: LabelMap, in_mm: bool) -> Scored:
    """Score one case. A prediction that is missing or unfit counts as an empty mask, unless the protocol refuses.

    Args:
        pair: the case.
        protocol: says what is a unit and what is measured.
        label_map: of the class ids.
        in_mm: whether distances are in mm; else in pixels.

    Raises:
        CaseUNetError: the reference cannot be read, or the protocol refuses the prediction.
    """
    reference = pair.read_reference()
    prediction, status, text = usable_ids(pair, reference, len(label_map))
    if status != SCORED and protocol.refuses:
        raise InvalidInputError(
            f'{pair.case}: {text} The protocol "{protocol.name}" ends here, as the scorer that it follows does.'
        )
    if reference.labelled and not protocol.takes_partial:
        raise InvalidInputError(
            f"{pair.case}: only some structures are labelled ({', '.join(reference.labelled)}); the scorer that the "
            f'protocol "{protocol.name}" follows knows no such cases. Score with the protocol "volumes".'
        )
    reference, prediction, merged = _merge_unlabelled(reference, prediction, label_map)
    slices = len(reference.ids)
    chosen = list(range(slices)) if pair.ranges is None else slices_in(pair.ranges, slices, pair.case)
    parts = [chosen] if protocol.by == "case" else [[s] for s in chosen]
    structures = protocol.structures(label_map)
    if BACKGROUND in structures:
        raise InvalidInputError(
            f'The class "{BACKGROUND}" is no structure, yet has an id above 0. Give it another name.'
        )
    known = {name: members for name, members in structures.items() if is_told_apart(members, merged)}
    scored = Scored(pair, status, text)
    for part in parts:
        unit = _unit(reference, prediction, part, protocol, in_mm)
        head: Row = {
            "model": pair.model,
            "case": pair.case,
            "slice": part[0] if protocol.by == "slice" else math.nan,
            "group": pair.group,
        }
        try:
            measured = protocol.measure(unit, structures)
        except CaseUNetError as error:
            raise error.with_message(f"{pair.case}: {error}") from error
        except ValueError as error:
            raise CaseUNetError(f"{pair.case}: {error}") from error
        confusion = np.sum([confusion_matrix(reference.ids[s], prediction[s], len(label_map)) for s in part], axis=0)
        ignored = sum(int(np.count_nonzero(reference.ids[s] == IGNORE)) for s in part)
        scored.rows.extend(_rows(head, status, confusion, ignored, structures, measured, protocol, label_map))
        for row in scored.rows:
            if row["structure"] not in (*known, BACKGROUND):
                row.update({column: _blank(row[column]) for column in (*protocol.columns, *COUNTED)})
        lesions = (lesion for lesion in measured.lesions if lesion["structure"] in known)
        scored.lesions.extend({**_without_group(head), **lesion} for lesion in lesions)
    return scored


def _merge_unlabelled(
    reference: Reference, prediction: np.ndarray, label_map: LabelMap
) -> tuple[Reference, np.ndarray, tuple[int, ...]]:
    """Both masks of a case in which only some structures are labelled, with the classes that can be told; and these."""
    merged = label_map.merged_ids(reference.labelled) if reference.labelled else tuple(range(len(label_map)))
    if not reference.labelled:
        return reference, prediction, merged
    table = np.arange(256, dtype=np.uint8)
    table[: len(merged)] = merged
    return replace(reference, ids=table[reference.ids]), table[prediction], merged


def _blank(value: Any) -> float | int:
    """In the place of a value where the structure is not labelled: 0 for a count, so that no sum has it, else NaN."""
    return 0 if isinstance(value, int | np.integer) else math.nan


def usable_ids(pair: Pair, reference: Reference, classes: int) -> tuple[np.ndarray, str, str]:
    """Predicted class ids (S, H, W), status and text; an empty mask where there is no prediction that fits."""
    nothing = np.zeros_like(reference.ids)
    if pair.read_prediction is None:
        return nothing, MISSING, pair.missing
    try:
        predicted = pair.read_prediction(reference.image)
    except CaseUNetError as error:
        return nothing, UNUSABLE, str(error)
    ids, remark = predicted.ids, predicted.remark
    unlabelled = ids == IGNORE
    if classes == 2 and unlabelled.any() and not (ids * ~unlabelled).any():
        ids = unlabelled.astype(np.uint8)  # white, though the references have no judgement there
        remark = f"{remark} It holds {IGNORE} alone, which was taken for the one class of the references.".strip()
    elif unlabelled.any():
        ids = ids * ~unlabelled
        remark = f"{remark} Its {np.count_nonzero(unlabelled):,} pixels without a class count as background.".strip()
    if ids.shape != reference.ids.shape:
        return nothing, UNUSABLE, f"the prediction has shape {ids.shape}, its reference {reference.ids.shape}."
    if ids.size and int(ids.max()) >= classes:
        return nothing, UNUSABLE, f"the prediction holds label {int(ids.max())}; there are 0 to {classes - 1}."
    return ids, SCORED, " ".join(filter(None, (reference.remark, remark)))


def _unit(reference: Reference, prediction: np.ndarray, part: Sequence[int], protocol: Protocol, in_mm: bool) -> Unit:
    """The slices ``part``. Slices between them that are not scored stay where they are, blank in both masks, so that
    distances between what lies on either side are right."""
    in_header = reference.image if protocol.spacing_of == "image" else reference.own
    judged = _span(reference.ids, part) != IGNORE  # elsewhere both masks are blank
    return Unit(
        reference=_span(reference.ids, part) * judged,
        prediction=_span(prediction, part) * judged,
        spacing=voxel_steps(in_header) if in_mm else (1.0, 1.0, 1.0),
        in_mm=in_mm,
        file=reference.image if is_identity(reference.own) else reference.own,  # a mask without a place is laid on it
    )


def _span(ids: np.ndarray, part: Sequence[int]) -> np.ndarray:
    first, last = min(part), max(part)
    span = ids[first : last + 1]
    if len(part) == len(span):
        return span
    blank = np.zeros_like(span)
    places = np.asarray(part) - first
    blank[places] = span[places]
    return blank


def _rows(
    head: Row,
    status: str,
    confusion: np.ndarray,
    ignored: int,
    structures: Structures,
    measured: Measured,
    protocol: Protocol,
    label_map: LabelMap,
) -> list[Row]:
    """A row for each structure, and one for the background, which holds counts alone; ``ignored`` pixels of the
    reference have no label and are in none of the counts."""
    rows = []
    for name, members in {**structures, BACKGROUND: (0,)}.items():
        counts = counts_of(confusion, members)
        predicted_as = confusion[list(members)].sum(0)
        pixels = int(confusion.sum())
        of_counts: Row = {
            "dice": counts.dice,
            "iou": counts.iou,
            "sensitivity": counts.sensitivity,
            "precision": counts.precision,
            "specificity": counts.specificity(pixels),
        }
        values = {**of_counts, **measured.columns[name]} if name in structures else {}
        rows.append(
            {
                **head,
                "structure": name,
                "status": status,
                "reference_pixels": counts.reference,
                "prediction_pixels": counts.prediction,
                "both_pixels": counts.both,
                "judged_pixels": pixels,
                "ignored_pixels": ignored,
                **{f"predicted_as_{label.name}": int(predicted_as[label.id]) for label in label_map.labels},
                **{column: values.get(column, math.nan) for column in protocol.columns},
            }
        )
    return rows


def _without_group(head: Row) -> Row:
    return {key: value for key, value in head.items() if key != "group"}


def slices_in(ranges: Ranges, slices: int, case: str) -> list[int]:
    """The slice numbers of ranges.

    Raises:
        CaseUNetError: a range goes beyond the case.
    """
    chosen = sorted({s for start, stop in ranges for s in range(start, stop)})
    if not chosen or max(chosen) >= slices:
        raise InvalidInputError(
            f"{case}: the split names slices up to {max(chosen, default=-1)}, but the case has {slices}."
        )
    return chosen
