"""The protocols "lits-official" and "lits-corrected": as the scorer of the LiTS challenge counts.

The challenge and its scorer: Bilic et al., The Liver Tumor Segmentation Benchmark (LiTS), 2023.
"""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from caseunet.errors import InvalidInputError, InvalidOptionError
from caseunet.evaluation.protocols.base import (
    Measured,
    Options,
    Protocol,
    Row,
    Structures,
    Unit,
    mean_number,
    no_complaint,
    of_structure,
    ratio_number,
)
from caseunet.evaluation.protocols.measures import RATES, rate_numbers
from caseunet.evaluation.protocols.slices import dice_sums
from caseunet.evaluation.statistics import Combine
from caseunet.evaluation.summary import Measure, Number
from caseunet.io.geometry import to_source
from caseunet.metrics.distances import boundary_by_edges, surface_distances
from caseunet.metrics.lits_lesions import lits_detection
from caseunet.progress import count_text
from caseunet.types import LabelMap, Steps, step_vectors

PENALTY = 9001.0
"""What the scorer gives for a distance, RVD or burden that does not exist."""
OVERLAPS = {"0": 0.0, "50": 0.5}
NOTHING: dict[str, object] = {
    "object_dice": 0.0,
    "voe": 1.0,
    "rvd": PENALTY,
    "assd": PENALTY,
    "rmsd": PENALTY,
    "msd": PENALTY,
}
"""Scores of an object that has nothing to be compared with."""
OBJECT_COLUMNS = tuple(NOTHING)

NOT_DETECTED = (
    "Liver: no label 1 predicted: {0}. Lesions: none detected in a case: no value, left out; in no case at all: {0}."
)

COMMON = (
    "As the LiTS challenge's scorer counts. Liver is label 1 or 2, lesion is label 2. Distances are in the voxel size "
    "that the header of the REFERENCE states, between boundaries. A boundary voxel has one of 18 neighbours, by a face "
    "or an edge, outside the object. RVD is (|P| − |R|) / |R|. Dice per case is the mean over cases, both masks empty "
    "= 1; Dice global pools all cases. VOE = 1 − J, RVD, ASSD, RMSD and MSD (the largest distance) "
    "are of the liver of each case, and of lesions only over those DETECTED with an overlap (IoU) above .5, so that a "
    "missed lesion does not enter them. Lesions are joined by faces; reference lesions that one predicted lesion "
    "joins, and predicted ones that one reference lesion is split into, are merged before they are matched, yet "
    "precision and recall divide by the numbers before merging. Where the prediction has no label 1 its liver scores "
    f"0, and {PENALTY:g} for every distance, for RVD, and for its tumour burden. "
)
OFFICIAL = COMMON + (
    "Slips of the scorer, kept: A case without a lesion in the reference, a missing prediction and one of another "
    "shape end the scoring. The largest error of the tumour burden is the largest signed difference, so that "
    "overestimates do not count. A merged lesion that is not detected is taken off once for each lesion merged in it, "
    "so that counts may fall below 0. Detected lesions of a case whose count is 0 or below give no scores. The union "
    "by which the overlap of a matched pair is judged is looked up by a number of another numbering, so that it may be "
    "that with another prediction or with none, and depends on the axis order of the file. Axes count as orthogonal, "
    "whatever their angles."
)
CORRECTED = COMMON + (
    "Slips of the scorer, mended: A case without a lesion in the reference counts, its predicted lesions as false. The "
    "largest error of the tumour burden is that of the absolute difference. A merged lesion that is not detected is "
    "taken off once, so that no count falls below 0 and all detected lesions give scores. The overlap of a matched "
    "pair is that of the pair, whatever the axis order of the file. Distances follow the angles between the axes. A "
    "case without a usable prediction counts as an empty mask."
)


def lits_official(options: Options) -> Protocol:
    return _protocol("lits-official", OFFICIAL, mended=False)


def lits_corrected(options: Options) -> Protocol:
    return _protocol("lits-corrected", CORRECTED, mended=True)


def _protocol(name: str, text: str, mended: bool) -> Protocol:
    return Protocol(
        name=name,
        text=text,
        by="case",
        columns=_columns(),
        ranked="dice_per_case",
        chief=("dice_per_case", "dice_global", "assd", "precision_50", "recall_50", "burden_rmse"),
        compared=("dice_per_case",),
        measure=partial(_measure, mended=mended),
        conclude=partial(_conclude, mended=mended),
        structures=partial(liver_and_lesion, name=name),
        spacing_of="reference",
        refuses=not mended,
        takes_partial=False,
        check=no_complaint if mended else _refuse_lesion_free,
    )


def liver_and_lesion(label_map: LabelMap, name: str) -> Structures:
    """Liver (labels 1 and 2) and lesion (2).

    Raises:
        CaseUNetError: the classes are not background, a liver and its tumour.
    """
    names = [label.name.lower() for label in label_map.labels]
    lesion = ("tumo", "lesion", "cancer")
    if len(names) != 3 or "liver" not in names[1] or not any(word in names[2] for word in lesion):
        raise InvalidOptionError(
            f'The protocol "{name}" is for three classes, background, liver and tumour, not for {", ".join(names)}. '
            'Take "volumes" or "slices".'
        )
    return {"liver": (1, 2), "lesion": (2,)}


def _columns() -> dict[str, Measure]:
    of_objects = "; of the liver of a case, or the mean over its detected lesions (overlap > .5)"
    nothing = NOT_DETECTED.format(f"{PENALTY:g}")

    def distance(label: str, definition: str) -> Measure:
        return Measure(label=label, definition=definition + of_objects, empty=nothing, better="lower", unit="mm")

    def count(label: str, definition: str) -> Measure:
        return Measure(
            label=label, definition=definition, empty="Nothing there: 0. Liver: no value.", better="nearer to 0"
        )

    return {
        "dice_per_case": Measure(
            label="Dice per case",
            definition="2 |R ∩ P| / (|R| + |P|)",
            empty="Lesion: both masks empty: 1; one: 0. Liver: no label 1 predicted: 0.",
            better="higher",
        ),
        **RATES,
        "object_dice": Measure(
            label="Dice of detected",
            definition="2 |R ∩ P| / (|R| + |P|)" + of_objects,
            empty=NOT_DETECTED.format(0),
            better="higher",
        ),
        "voe": Measure(
            label="VOE",
            definition="volumetric overlap error, 1 − |R ∩ P| / |R ∪ P|" + of_objects,
            empty=NOT_DETECTED.format(1),
            better="lower",
        ),
        "rvd": Measure(
            label="RVD",
            definition="relative volume difference, (|P| − |R|) / |R|, with its sign" + of_objects,
            empty=nothing,
            better="nearer to 0",
        ),
        "assd": distance("ASSD", "average symmetric surface distance"),
        "rmsd": distance("RMSD", "root mean square symmetric surface distance"),
        "msd": distance("MSD", "maximum symmetric surface distance"),
        "liver_predicted": Measure(
            label="liver predicted",
            definition="1 where the prediction has a voxel of label 1, else 0",
            empty="Lesion: no value.",
            better="higher",
        ),
        "objects": count("objects", "liver: 1; lesion: detected objects over which the case's means are taken"),
        "lesions_reference": count("lesions in the reference", "components of label 2 in the reference"),
        "lesions_predicted": count("predicted lesions", "components of label 2 in the prediction"),
        "true_positives_0": count("detected, overlap > 0", "lesions detected with an overlap above 0"),
        "true_positives_50": count("detected, overlap > .5", "lesions detected with an overlap above .5"),
        "burden_error": Measure(
            label="tumour burden error",
            definition="|lesion| / |liver| of the reference − the same of the prediction",
            empty=f"No label 1 predicted: the prediction's burden is {PENALTY:g}. No liver in the reference: no value.",
            better="nearer to 0",
        ),
    }


def _measure(unit: Unit, structures: Structures, mended: bool) -> Measured:
    spacing = unit.spacing
    if spacing is None:
        raise InvalidInputError("distances are in mm, but the reference's file states no voxel size.")
    if not unit.in_mm:
        raise InvalidInputError("the LiTS protocols measure millimetres, but these images have no spacing.")
    if not mended:
        unit = _as_in_file(unit, spacing)
        spacing = unit.spacing or spacing
    return Measured({"liver": _measure_liver(unit, spacing), "lesion": _measure_lesions(unit, spacing, mended)})


def _as_in_file(unit: Unit, spacing: Steps) -> Unit:
    """Axes in the order of the reference's file, which decides ties and unions, and taken to be at right angles."""
    lengths = np.linalg.norm(step_vectors(spacing), axis=1).tolist()
    if unit.file is None or unit.file.affine is None:
        return replace(unit, spacing=tuple(lengths))
    which = to_source(np.zeros((1, 2, 3), bool), unit.file).shape  # of slices, rows, columns each axis is, from 1 on
    return replace(
        unit,
        reference=to_source(unit.reference, unit.file),
        prediction=to_source(unit.prediction, unit.file),
        spacing=tuple(lengths[axis - 1] for axis in which),
    )


def _measure_liver(unit: Unit, spacing: Steps) -> Row:
    reference, prediction = unit.reference >= 1, unit.prediction >= 1
    predicted = bool(np.any(unit.prediction == 1))  # what the scorer asks, whatever label 2 says
    values = _object_scores(reference, prediction, spacing) if predicted and reference.any() else NOTHING
    return {**values, "dice_per_case": values["object_dice"], "objects": 1, "liver_predicted": int(predicted)}


def _measure_lesions(unit: Unit, spacing: Steps, mended: bool) -> Row:
    reference, prediction = unit.reference == 2, unit.prediction == 2
    both = int(np.count_nonzero(reference & prediction))
    total = int(np.count_nonzero(reference)) + int(np.count_nonzero(prediction))
    found = {name: lits_detection(reference, prediction, least, mended) for name, least in OVERLAPS.items()}
    scored = found["50"].pairs if found["50"].true_positives > 0 else ()  # only by the scorer's way it can be less
    objects = [_object_scores(r, p, spacing) for r, p in scored]
    means: Row = {
        column: float(np.mean([o[column] for o in objects])) if objects else math.nan for column in OBJECT_COLUMNS
    }
    return {
        **means,
        "dice_per_case": 2 * both / total if total else 1.0,
        "objects": len(objects),
        "lesions_reference": found["0"].reference,
        "lesions_predicted": found["0"].predicted,
        **{f"true_positives_{name}": detection.true_positives for name, detection in found.items()},
        "burden_error": _burden_error(unit),
    }


def _object_scores(reference: np.ndarray, prediction: np.ndarray, spacing: Steps) -> dict[str, object]:
    """Scores of one object, in both masks not empty."""
    r, p = int(np.count_nonzero(reference)), int(np.count_nonzero(prediction))
    both = int(np.count_nonzero(reference & prediction))
    distances = surface_distances(reference, prediction, spacing, boundary_by_edges)
    return {
        "object_dice": 2 * both / (r + p),
        "voe": 1 - both / (r + p - both),
        "rvd": (p - r) / r,
        "assd": distances.average,
        "rmsd": distances.root_mean_square,
        "msd": distances.maximum,
    }


def _burden_error(unit: Unit) -> float:
    liver = int(np.count_nonzero(unit.reference >= 1))
    if not liver:
        return math.nan
    burden = int(np.count_nonzero(unit.reference == 2)) / liver
    if not np.any(unit.prediction == 1):
        return burden - PENALTY
    predicted = int(np.count_nonzero(unit.prediction == 2)) / int(np.count_nonzero(unit.prediction >= 1))
    return burden - predicted


def _refuse_lesion_free(cases: pd.DataFrame) -> None:
    lesions = of_structure(cases, "lesion")
    free = list(dict.fromkeys(lesions.loc[lesions["reference_pixels"] == 0, "case"]))
    if free:
        some = ", ".join(free[:5]) + (" …" if len(free) > 5 else "")
        raise InvalidInputError(
            f"The references of {count_text(len(free), 'case')} hold no lesion, {some}; "
            'the challenge\'s scorer ends at such a case. Take "lits-corrected", which counts them, or leave them out.'
        )


def _conclude(cases: pd.DataFrame, structures: Structures, mended: bool) -> list[Number]:
    columns = _columns()
    numbers = []
    for name in structures:
        rows = of_structure(cases, name)
        numbers.append(mean_number(rows, "dice_per_case", columns["dice_per_case"], name, "mean over cases"))
        numbers.append(_global_dice(rows, name))
        numbers += rate_numbers(rows, name, "mean over cases")
        objects = rows["objects"].to_numpy(float)
        what = "mean over cases" if name == "liver" else "mean over detected lesions"
        for column in OBJECT_COLUMNS[1 if name == "liver" else 0 :]:
            part = np.nan_to_num(rows[column].to_numpy(float)) * objects, objects
            if not objects.any():
                part = np.full(len(rows), NOTHING[column]), np.ones(len(rows))
            numbers.append(ratio_number(rows, [part], column, columns[column], name, what, n=int(objects.sum())))
    return numbers + _detection_numbers(of_structure(cases, "lesion"), mended) + _burden_numbers(cases, mended)


def _global_dice(rows: pd.DataFrame, name: str) -> Number:
    measure = Measure(
        label="Dice global",
        definition="2 Σ|R ∩ P| / Σ(|R| + |P|) over all cases",
        empty="All masks empty: no value."
        + (" No label 1 predicted: the case adds |R| alone." if name == "liver" else ""),
        better="higher",
    )
    above, below = dice_sums(rows)
    if name == "liver":
        unpredicted = rows["liver_predicted"].to_numpy() == 0
        above = np.where(unpredicted, 0, above)
        below = np.where(unpredicted, rows["reference_pixels"].to_numpy(float), below)
    return ratio_number(rows, [(above, below)], "dice_global", measure, name, "ratio of sums over all cases")


def _detection_numbers(rows: pd.DataFrame, mended: bool) -> list[Number]:
    overlap = "IoU" if mended else "overlap (intersection over the union that the scorer looks up)"
    numbers = []
    for key, shown in (("50", "> .5"), ("0", "> 0")):
        found = rows[f"true_positives_{key}"].to_numpy(float)
        for metric, column, whose in (
            ("precision", "lesions_predicted", "predicted"),
            ("recall", "lesions_reference", "reference"),
        ):
            measure = Measure(
                label=f"{metric}, overlap {shown}",
                definition=f"detected lesions / {whose} lesions, both summed over all cases; a lesion is detected if "
                f"its {overlap} with its match, after merging split and joined ones, is {shown}",
                empty="No such lesion in any case: 0.",
                better="higher",
            )
            all_lesions = rows[column].to_numpy(float)
            part = (found, all_lesions) if all_lesions.any() else (np.zeros(len(rows)), np.ones(len(rows)))
            averaging = "ratio of sums over all cases"
            numbers.append(
                ratio_number(rows, [part], f"{metric}_{key}", measure, "lesion", averaging, n=int(all_lesions.sum()))
            )
    return numbers


def _burden_numbers(cases: pd.DataFrame, mended: bool) -> list[Number]:
    rows = of_structure(cases, "lesion")
    errors = rows["burden_error"].to_numpy(float)
    known = ~np.isnan(errors)
    column = _columns()["burden_error"]
    part = np.nan_to_num(errors) ** 2, known.astype(float)
    root: Combine = lambda values: np.sqrt(values[..., 0])  # noqa: E731
    rmse = ratio_number(
        rows,
        [part],
        "burden_rmse",
        column.model_copy(update={"label": "tumour burden RMSE", "better": "lower"}),
        "lesion",
        "root of the mean square over cases",
        root,
        undefined=int((~known).sum()),
    )
    largest = np.nanmax(np.abs(errors) if mended else errors) if known.any() else None
    return [
        rmse,
        Number(
            model=rmse.model,
            structure="lesion",
            metric="burden_max",
            value=None if largest is None else float(largest),
            interval=None,
            n=int(known.sum()),
            undefined=int((~known).sum()),
            averaging="largest absolute error of all cases" if mended else "largest signed error of all cases",
            measure=column.model_copy(update={"label": "tumour burden, largest error"}),
        ),
    ]
