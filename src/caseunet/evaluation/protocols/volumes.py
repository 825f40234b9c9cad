"""The protocol "volumes": a case at a time, in its source geometry. The default for CT and MRI."""

import math
from functools import partial

import numpy as np
import pandas as pd

from caseunet.evaluation.lesion_names import find_lesions
from caseunet.evaluation.protocols.base import (
    Measured,
    Options,
    Protocol,
    Row,
    Structures,
    Unit,
    mean_number,
    of_structure,
    ratio_number,
)
from caseunet.evaluation.protocols.measures import (
    DICE,
    IOU,
    RATES,
    distance_columns,
    distance_measures,
    mask_of,
    rate_numbers,
)
from caseunet.evaluation.summary import Measure, Number
from caseunet.metrics.lesions import Detection, Lesion, detect
from caseunet.types import voxel_volume

TEXT = (
    "A case is a volume, scored whole and on its own, in the geometry of its source file, never on resized masks. A "
    "structure is the union of its labels; the background is no structure and enters no average. Means are over cases. "
    "A structure that neither reference nor prediction has in a case gives no value there: it is counted as undefined "
    "and left out of the mean. A structure that only one of them has scores Dice and IoU 0 and, as its distance, the "
    "diagonal of the image. A case without a usable prediction counts as an empty mask. Where only some slices of a "
    "case are scored, the others stay in their place, blank in both masks. Lesions are the connected "
    "components of a structure that is a lesion, by its name or as told, joined by faces, edges and corners (26 "
    "neighbours). A lesion of the reference is detected if at least one of its voxels is predicted; a predicted "
    "component that shares no voxel with the reference is false."
)
UNDEFINED_LESIONS = "No lesion in reference and prediction: no value, left out of means."
COUNTED = "A case without lesions counts 0."


VOLUMES = {
    "reference_ml": Measure(
        label="reference volume",
        definition="|R| × voxel volume",
        empty="Nothing there: 0. No spacing: no value.",
        better="nearer to 0",
        unit="mL",
    ),
    "prediction_ml": Measure(
        label="predicted volume",
        definition="|P| × voxel volume",
        empty="Nothing there: 0. No spacing: no value.",
        better="nearer to 0",
        unit="mL",
    ),
    "volume_error_ml": Measure(
        label="volume error",
        definition="(|P| − |R|) × voxel volume, with its sign",
        empty="Neither mask has the structure, or no spacing: no value, left out of means.",
        better="nearer to 0",
        unit="mL",
    ),
    "relative_volume_error": Measure(
        label="relative volume error",
        definition="(|P| − |R|) / |R|, with its sign",
        empty="The reference has no such structure: no value, left out of means.",
        better="nearer to 0",
    ),
}
LESIONS = {
    "lesions_reference": Measure(
        label="lesions in the reference",
        definition="components of the reference",
        empty=COUNTED,
        better="nearer to 0",
    ),
    "lesions_detected": Measure(
        label="detected lesions",
        definition="components of the reference of which at least one voxel is predicted",
        empty=COUNTED,
        better="higher",
    ),
    "lesions_predicted": Measure(
        label="predicted lesions",
        definition="components of the prediction",
        empty=COUNTED,
        better="nearer to 0",
    ),
    "lesions_false": Measure(
        label="false lesions",
        definition="components of the prediction that share no voxel with the reference; the mean is the false "
        "positives per case",
        empty=COUNTED,
        better="lower",
    ),
    "lesion_f1": Measure(
        label="lesion F1",
        definition="2 TP / (2 TP + FP + FN); TP detected and FN missed lesions of the reference, FP false ones",
        empty=UNDEFINED_LESIONS + " Only one has lesions: 0.",
        better="higher",
    ),
    "lesion_sensitivity": Measure(
        label="lesion sensitivity",
        definition="detected lesions / lesions of the reference",
        empty="No lesion in the reference: no value, left out of means.",
        better="higher",
    ),
}
POOLED = {
    "pooled_sensitivity": Measure(
        label="pooled lesion sensitivity",
        definition="detected lesions of all cases / lesions of all references",
        empty="No lesion in any reference: no value.",
        better="higher",
    ),
    "pooled_precision": Measure(
        label="pooled lesion precision",
        definition="predicted components of all cases that share a voxel with the reference / all predicted components",
        empty="No component in any prediction: no value.",
        better="higher",
    ),
}
AVERAGED = ("dice", "iou", "hd95", "assd", "nsd", "volume_error_ml", "relative_volume_error")
AVERAGED_LESIONS = ("lesion_f1", "lesion_sensitivity", "lesions_false")


def volumes(options: Options) -> Protocol:
    has_lesions = options.lesions is None or len(options.lesions) > 0
    f1 = ("lesion_f1",) if has_lesions else ()
    columns = {"dice": DICE, "iou": IOU, **RATES, **distance_measures(options), **VOLUMES}
    columns |= LESIONS if has_lesions else {}
    return Protocol(
        name="volumes",
        text=TEXT,
        by="case",
        columns=columns,
        ranked="dice",
        chief=("dice", "iou", "hd95", "nsd", *f1),
        compared=("dice", "hd95", *f1),
        measure=partial(_measure, options=options),
        conclude=partial(_conclude, columns=columns, options=options),
    )


def _measure(unit: Unit, structures: Structures, options: Options) -> Measured:
    of_lesions = find_lesions(structures, options.lesions)
    columns: dict[str, Row] = {}
    lesions: list[Row] = []
    known = unit.in_mm and (unit.file is None or unit.file.has_thickness)
    voxel_ml = voxel_volume(unit.spacing) / 1000 if known and unit.spacing is not None else math.nan
    for name, members in structures.items():
        reference, prediction = mask_of(unit.reference, members), mask_of(unit.prediction, members)
        r, p = int(np.count_nonzero(reference)), int(np.count_nonzero(prediction))
        columns[name] = {
            **distance_columns(reference, prediction, unit, options.tolerance),
            "reference_ml": r * voxel_ml,
            "prediction_ml": p * voxel_ml,
            "volume_error_ml": (p - r) * voxel_ml if r or p else math.nan,
            "relative_volume_error": (p - r) / r if r else math.nan,
        }
        if name not in of_lesions:
            continue
        found = detect(reference, prediction)
        columns[name] |= {
            "lesions_reference": len(found.reference),
            "lesions_detected": found.num_detected,
            "lesions_predicted": len(found.predicted),
            "lesions_false": found.false,
            "lesion_f1": found.f1,
            "lesion_sensitivity": found.sensitivity,
        }
        lesions += [{"structure": name, **row} for row in _lesion_rows(found, voxel_ml)]
    return Measured(columns, lesions)


def _lesion_rows(found: Detection, voxel_ml: float) -> list[Row]:
    sides: tuple[tuple[str, tuple[Lesion, ...], tuple[str, str]], ...] = (
        ("reference", found.reference, ("missed", "detected")),
        ("prediction", found.predicted, ("false", "matched")),
    )
    return [
        {
            "mask": mask,
            "lesion": number,
            "voxels": lesion.voxels,
            "ml": lesion.voxels * voxel_ml,
            "at_slice": lesion.center[0],
            "at_row": lesion.center[1],
            "at_column": lesion.center[2],
            "overlap": lesion.overlap,
            "partners": lesion.partners,
            "outcome": outcomes[lesion.partners > 0],
        }
        for mask, lesions, outcomes in sides
        for number, lesion in enumerate(lesions, 1)
    ]


def _conclude(
    cases: pd.DataFrame, structures: Structures, columns: dict[str, Measure], options: Options
) -> list[Number]:
    numbers = []
    of_lesions = find_lesions(structures, options.lesions)
    for name in structures:
        rows = of_structure(cases, name)
        numbers += [mean_number(rows, column, columns[column], name, "mean over cases") for column in AVERAGED]
        numbers += rate_numbers(rows, name, "mean over cases")
        if name not in of_lesions:
            continue
        numbers += [mean_number(rows, column, columns[column], name, "mean over cases") for column in AVERAGED_LESIONS]
        pools = (
            ("pooled_sensitivity", rows["lesions_detected"], rows["lesions_reference"]),
            ("pooled_precision", rows["lesions_predicted"] - rows["lesions_false"], rows["lesions_predicted"]),
        )
        for metric, above, below in pools:
            part = above.to_numpy(float), below.to_numpy(float)
            numbers.append(
                ratio_number(
                    rows, [part], metric, POOLED[metric], name, "ratio of sums over all cases", n=int(part[1].sum())
                )
            )
    if len(structures) > 1:
        averaging = "mean over structures of the mean over cases"
        numbers += [over_structures(cases, c, columns[c], structures, averaging) for c in AVERAGED[:5]]
    return numbers


def over_structures(
    cases: pd.DataFrame, column: str, measure: Measure, structures: Structures, averaging: str
) -> Number:
    """Mean over structures of the mean over units."""
    first = of_structure(cases, next(iter(structures)))
    parts, undefined = [], 0
    for name in structures:
        values = of_structure(cases, name)[column].to_numpy(float)
        parts.append((np.nan_to_num(values), (~np.isnan(values)).astype(float)))
        undefined += int(np.isnan(values).all())
    return ratio_number(
        first,
        parts,
        column,
        measure,
        None,
        averaging,
        n=len(parts) - undefined,
        undefined=undefined,
    )
