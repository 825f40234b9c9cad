"""What holds for every protocol, and volumes: by hand, as MONAI counts, and what must always hold.

``count`` and its makers are the plain way from masks to numbers, for these tests and those of the other protocols.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import DiceMetric, HausdorffDistanceMetric, MeanIoU, SurfaceDiceMetric, SurfaceDistanceMetric
from scipy.ndimage import gaussian_filter

from caseunet.datasets.coding import coding_of
from caseunet.datasets.lits import CODING
from caseunet.errors import CaseUNetError
from caseunet.evaluation.evaluator import Pair, Predicted, Reference, score
from caseunet.evaluation.protocols import PROTOCOLS
from caseunet.evaluation.protocols.base import Options, Protocol, Unit
from caseunet.evaluation.protocols.measures import RATES
from caseunet.evaluation.rows import BACKGROUND
from caseunet.evaluation.summary import Number
from caseunet.types import IGNORE, Geometry, LabelMap, Ranges

Spacing = tuple[float, float, float]
ONES: Spacing = (1.0, 1.0, 1.0)
LITS = CODING.label_map
COUNTS = ["reference_pixels", "prediction_pixels", "both_pixels"]
WITH_BACKGROUND = {"pixel_accuracy", "micro_iou", "mean_iou_with_background"}
"""The numbers, all of "paper", that say in their definition that the background is in them."""


def classes(*names: str) -> LabelMap:
    """A background, and a structure for each name."""
    return coding_of(dict(enumerate(("nothing", *names)))).label_map


def drawn(*rows: str) -> np.ndarray:
    """One slice, (1, H, W): a dot is the background, a digit its class."""
    return np.array([[[0 if pixel == "." else int(pixel) for pixel in row] for row in rows]], np.uint8)


def pair(
    reference: np.ndarray,
    prediction: np.ndarray | CaseUNetError | None,
    case: str = "c",
    group: str | None = None,
    spacing: Spacing | None = ONES,
    own: Spacing | None = None,
    ranges: Ranges | None = None,
) -> Pair:
    """A case in memory: no prediction is a missing one, and an error is what reading it raises."""
    image = Geometry(reference.shape, spacing=spacing)

    def read(geometry: Geometry) -> Predicted:
        assert geometry is image, "a prediction is read in the geometry of the image"
        if isinstance(prediction, CaseUNetError):
            raise prediction
        assert prediction is not None
        return Predicted(prediction)

    return Pair(
        model="m",
        case=case,
        group=group or case,
        read_reference=lambda: Reference(reference, image, Geometry(reference.shape, spacing=own or spacing)),
        read_prediction=None if prediction is None else read,
        missing="there is no prediction of it." if prediction is None else "",
        ranges=ranges,
    )


@dataclass(frozen=True)
class Counted:
    """Rows and numbers of one model."""

    protocol: Protocol
    rows: pd.DataFrame
    lesions: pd.DataFrame
    numbers: list[Number]
    states: list[tuple[str, str]]

    def cell(self, column: str, structure: str, case: str = "c", at: int | None = None) -> float:
        rows = self.rows[(self.rows["structure"] == structure) & (self.rows["case"] == case)]
        (value,) = rows[column] if at is None else rows.loc[rows["slice"] == at, column]
        return float(value)

    def number(self, metric: str, structure: str | None = None) -> Number:
        (found,) = (n for n in self.numbers if (n.metric, n.structure) == (metric, structure))
        return found

    def value(self, metric: str, structure: str | None = None) -> float | None:
        return self.number(metric, structure).value

    def values(self) -> dict[tuple[str, str | None], float]:
        """NaN where there is none; without the rates that every protocol gives."""
        own = (n for n in self.numbers if n.metric not in RATES)
        return {(n.metric, n.structure): math.nan if n.value is None else n.value for n in own}


def count(
    pairs: Sequence[Pair], protocol: str, label_map: LabelMap, options: Options | None = None, in_mm: bool = True
) -> Counted:
    chosen = PROTOCOLS.get(protocol)(options or Options(lesions=tuple(label_map.structures)))
    scored = [score(one, chosen, label_map, in_mm) for one in pairs]
    rows = pd.DataFrame([row for case in scored for row in case.rows])
    chosen.check(rows)
    return Counted(
        protocol=chosen,
        rows=rows,
        lesions=pd.DataFrame([row for case in scored for row in case.lesions]),
        numbers=chosen.conclude(rows, chosen.structures(label_map)),
        states=[(case.status, case.text) for case in scored],
    )


def blobs(rng: np.random.Generator, shape: tuple[int, ...], labels: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Reference and prediction of smooth, touching regions; the more noise, the less alike."""

    def smooth() -> np.ndarray:
        return gaussian_filter(rng.normal(size=(labels, *shape)), (0, 1, 1, 1))

    scores = smooth()
    return scores.argmax(0).astype(np.uint8), (scores + noise * smooth()).argmax(0).astype(np.uint8)


def sample(protocol: str, groups: int = 6, whole: bool = False) -> tuple[list[Pair], list[tuple[np.ndarray, ...]]]:
    """Six cases of liver and tumour, and their masks as they count.

    Unless ``whole``, one prediction is empty and, where the protocol counts that, one is missing and one reference has
    no tumour.
    """
    rng = np.random.default_rng(5)
    masks = [blobs(rng, (3, 6, 7), 3, 0.5) for _ in range(6)]
    predictions: list[np.ndarray | None] = [prediction for _, prediction in masks]
    if not whole:
        predictions[1] = np.zeros_like(masks[1][0])
        if protocol != "lits-official":
            predictions[2] = None
            masks[3][0][masks[3][0] == 2] = 1
    pairs = [
        pair(reference, prediction, f"case {n}", f"group {n % groups}", (3, 1, 2), ONES)
        for n, ((reference, _), prediction) in enumerate(zip(masks, predictions, strict=True))
    ]
    as_counted = [
        (reference, np.zeros_like(reference) if prediction is None else prediction)
        for (reference, _), prediction in zip(masks, predictions, strict=True)
    ]
    return pairs, as_counted


every_protocol = pytest.mark.parametrize("protocol", list(PROTOCOLS))


@every_protocol
def test_everything_is_explained(protocol: str) -> None:
    found = count(sample(protocol)[0], protocol, LITS)
    chosen = found.protocol
    assert chosen.name == protocol
    assert len(chosen.text) > 200
    for measure in [*chosen.columns.values(), *(number.measure for number in found.numbers)]:
        assert measure.label.strip()
        assert measure.definition.strip()
        assert measure.empty.strip()
    assert all(number.averaging.strip() and number.model == "m" for number in found.numbers)
    names = [(number.metric, number.structure) for number in found.numbers]
    assert len(set(names)) == len(names)
    assert {chosen.ranked, *chosen.compared} <= set(chosen.columns)
    assert chosen.columns[chosen.ranked].better == "higher"
    assert all(chosen.columns[name].better != "nearer to 0" for name in chosen.compared)
    assert set(chosen.chief) <= {number.metric for number in found.numbers}
    assert set(chosen.columns) <= set(found.rows.columns)
    assert found.rows[list(chosen.columns)].notna().any().all(), "a column that nothing fills"
    unit = Unit(*sample(protocol)[1][0], ONES)
    for measured in chosen.measure(unit, chosen.structures(LITS)).columns.values():
        assert set(measured) <= set(chosen.columns), "measured, but not told"


@pytest.mark.parametrize("names", [("tool",), ("tool", "tissue", "thread")])
@pytest.mark.parametrize("protocol", ["volumes", "slices", "endovis-2018", "paper"])
def test_no_number_is_there_twice(protocol: str, names: tuple[str, ...]) -> None:
    masks = blobs(np.random.default_rng(0), (2, 6, 6), len(names) + 1, 0.5)
    found = count([pair(*masks)], protocol, classes(*names))
    told = [f"{number.metric} of {number.structure}" for number in found.numbers]
    assert sorted(told) == sorted(set(told))


@every_protocol
def test_the_background_counts_pixels_alone(protocol: str) -> None:
    found = count(sample(protocol)[0], protocol, LITS)
    background = found.rows["structure"] == BACKGROUND
    assert found.rows.loc[background, list(found.protocol.columns)].isna().all(axis=None)
    changed = found.rows.copy()
    for column, factor in zip(COUNTS, (5, 4, 2), strict=True):
        changed.loc[background, column] *= factor
    again = found.protocol.conclude(changed, found.protocol.structures(LITS))
    moved = {a.metric for a, b in zip(found.numbers, again, strict=True) if a != b}
    assert moved == (WITH_BACKGROUND if protocol == "paper" else set())


@every_protocol
def test_numbers_can_be_had_from_the_rows_on_disk(protocol: str) -> None:
    found = count(sample(protocol)[0], protocol, LITS)
    stored = io.StringIO(found.rows.to_csv(index=False))
    rows = pd.read_csv(stored, dtype={"model": str, "case": str, "group": str, "structure": str})
    again = found.protocol.conclude(rows, found.protocol.structures(LITS))
    assert again == found.numbers
    assert any(number.interval is not None for number in again)
    assert [Number.model_validate_json(number.model_dump_json()) for number in again] == found.numbers


@every_protocol
def test_the_order_of_cases_does_not_matter(protocol: str) -> None:
    pairs = sample(protocol)[0]
    one, other = (count(order, protocol, LITS).numbers for order in (pairs, pairs[::-1]))
    for a, b in zip(one, other, strict=True):
        assert (a.metric, a.structure, a.n, a.undefined) == (b.metric, b.structure, b.n, b.undefined)
        for ours, theirs in ((a.value, b.value), (a.sd, b.sd), (a.median, b.median)):
            assert ours == (None if theirs is None else pytest.approx(theirs, rel=1e-12))


@every_protocol
def test_intervals_need_five_groups(protocol: str) -> None:
    """Of the largest error of a burden there is none: a maximum cannot be drawn again."""
    for groups in (4, 5, 6):
        numbers = count(sample(protocol, groups, whole=True)[0], protocol, LITS).numbers
        without = {number.metric for number in numbers if number.interval is None}
        if groups < 5:
            assert len(without) == len({number.metric for number in numbers})
        else:
            assert without == ({"burden_max"} if protocol.startswith("lits") else set())
            assert all(n.interval[0] <= n.interval[1] for n in numbers if n.interval is not None)


@every_protocol
def test_pixels_are_counted(protocol: str) -> None:
    pairs, masks = sample(protocol)
    found = count(pairs, protocol, LITS)
    members = {**found.protocol.structures(LITS), BACKGROUND: (0,)}
    for row in found.rows.to_dict("records"):
        reference, prediction = masks[int(row["case"].split()[1])]
        if found.protocol.by == "slice":
            reference, prediction = reference[int(row["slice"])], prediction[int(row["slice"])]
        else:
            assert math.isnan(row["slice"])
        r, p = (np.isin(ids, members[row["structure"]]) for ids in (reference, prediction))
        assert [row[column] for column in COUNTS] == [r.sum(), p.sum(), (r & p).sum()]
        predicted_as = [row[f"predicted_as_{name}"] for name in LITS.names]
        assert predicted_as == [(r & (prediction == n)).sum() for n in range(3)]
        assert sum(predicted_as) == row["reference_pixels"]
        assert row["both_pixels"] == sum(predicted_as[n] for n in members[row["structure"]])
    units = 6 * (3 if found.protocol.by == "slice" else 1)
    assert len(found.rows) == units * len(members)
    parts = {BACKGROUND, "liver"} | ({"tumour"} if members["liver"] == (1,) else set())  # each pixel is in one of them
    cover = found.rows[found.rows["structure"].isin(parts)]
    assert cover["reference_pixels"].sum() == cover["prediction_pixels"].sum() == 6 * 3 * 6 * 7


BAD = {
    "missing": (None, "missing", "there is no prediction of it."),
    "unreadable": (CaseUNetError("c.nii: is no NIfTI file."), "unusable", "c.nii: is no NIfTI file."),
    "shape": (np.zeros((2, 3, 4), np.uint8), "unusable", "the prediction has shape (2, 3, 4), its reference (2, 3, 5)"),
    "label": (np.full((2, 3, 5), 3, np.uint8), "unusable", "the prediction holds label 3; there are 0 to 2"),
}


@every_protocol
@pytest.mark.parametrize("fault", list(BAD))
def test_a_prediction_that_cannot_be_used_counts_as_an_empty_mask(protocol: str, fault: str) -> None:
    prediction, status, text = BAD[fault]
    reference = np.array([drawn("12...", "12...", "....."), drawn(".....", "..1..", ".....")], np.uint8)[:, 0]
    if protocol == "lits-official":
        with pytest.raises(CaseUNetError, match="^c: .*lits-official"):
            count([pair(reference, prediction)], protocol, LITS)
        return
    found = count([pair(reference, prediction)], protocol, LITS)
    ((found_status, found_text),) = found.states
    assert found_status == status
    assert text in found_text
    assert set(found.rows["status"]) == {status}
    empty = count([pair(reference, np.zeros_like(reference))], protocol, LITS)
    assert empty.states == [("scored", "")]
    pd.testing.assert_frame_equal(found.rows.drop(columns="status"), empty.rows.drop(columns="status"))
    assert found.numbers == empty.numbers


@every_protocol
def test_without_a_reference_there_is_nothing(protocol: str) -> None:
    def broken() -> Reference:
        raise CaseUNetError("segmentation-0.nii: is gone.")

    one = Pair("m", "c", "c", broken, None, "there is no prediction of it.")
    with pytest.raises(CaseUNetError, match=r"^segmentation-0.nii: is gone\.$"):
        score(one, PROTOCOLS.get(protocol)(Options()), LITS, in_mm=True)


@pytest.mark.parametrize("protocol", ["volumes", "slices"])
def test_only_the_slices_of_the_ranges_are_scored(protocol: str) -> None:
    """Of five slices 1, 2 and 4: in these 3 and 1 and 0 pixels of tool, of which 2 and 1 and 0 are found."""
    reference = np.concatenate([drawn(row) for row in ("1111", "111.", "1...", "1111", "....")])
    prediction = np.concatenate([drawn(row) for row in ("....", "11..", "1...", "....", "....")])
    found = count([pair(reference, prediction, ranges=((1, 3), (4, 5)))], protocol, classes("tool"))
    tool = found.rows[found.rows["structure"] == "tool"]
    if protocol == "volumes":
        assert tool[COUNTS].to_numpy().tolist() == [[4, 3, 3]]
    else:
        assert tool[["slice", *COUNTS]].to_numpy().tolist() == [[1, 3, 2, 2], [2, 1, 1, 1], [4, 0, 0, 0]]
        assert found.value("pooled_dice", "tool") == pytest.approx(6 / 7)
    with pytest.raises(CaseUNetError, match="^c: the split names slices up to 5, but the case has 5"):
        count([pair(reference, prediction, ranges=((1, 6),))], protocol, classes("tool"))


def test_slices_that_are_not_scored_keep_their_place() -> None:
    """Of three slices, 3 mm apart, the middle one is not scored: from 0 to 2 it is 6 mm, and its voxels are nowhere."""
    reference = np.concatenate([drawn(row, "...") for row in ("1..", "111", "...")])
    prediction = np.concatenate([drawn(row, "...") for row in ("...", "111", "1..")])
    one = pair(reference, prediction, spacing=(3, 1, 1), ranges=((0, 1), (2, 3)))
    found = count([one], "volumes", classes("x"))
    assert found.cell("hd95", "x") == pytest.approx(6)
    assert [found.cell(column, "x") for column in (*COUNTS, "dice", "lesions_reference")] == [1, 1, 0, 0, 1]


def boxes(*filled: tuple[slice | int, ...]) -> np.ndarray:
    """(3, 4, 5) pixels, the boxes class 1."""
    ids = np.zeros((3, 4, 5), np.uint8)
    for box in filled:
        ids[box] = 1
    return ids


THICK: Spacing = (5.0, 2.0, 1.0)  # a voxel is 10 mm³ = 0.01 mL
FAR = math.sqrt(15**2 + 8**2 + 5**2)  # 3 × 5, 4 × 2 and 5 × 1 mm
SIX = boxes((1, slice(0, 2), slice(0, 3)))
BY_HAND = {
    "both empty": (
        (boxes(), boxes()),
        dict.fromkeys(("dice", "iou", "hd95", "assd", "nsd", "volume_error_ml", "relative_volume_error"), math.nan)
        | {"reference_ml": 0, "prediction_ml": 0, "lesions_reference": 0, "lesions_detected": 0}
        | {"lesions_predicted": 0, "lesions_false": 0, "lesion_f1": math.nan, "lesion_sensitivity": math.nan}
        | {"sensitivity": math.nan, "precision": math.nan, "specificity": 1},
    ),
    "reference only": (
        (SIX, boxes()),
        {"dice": 0, "iou": 0, "hd95": FAR, "assd": FAR, "nsd": 0, "volume_error_ml": -0.06, "relative_volume_error": -1}
        | {"reference_ml": 0.06, "prediction_ml": 0, "lesions_reference": 1, "lesions_detected": 0}
        | {"lesions_predicted": 0, "lesions_false": 0, "lesion_f1": 0, "lesion_sensitivity": 0}
        | {"sensitivity": 0, "precision": math.nan, "specificity": 1},
    ),
    "prediction only": (
        (boxes(), SIX),
        {"dice": 0, "iou": 0, "hd95": FAR, "assd": FAR, "nsd": 0, "volume_error_ml": 0.06}
        | {"relative_volume_error": math.nan, "reference_ml": 0, "prediction_ml": 0.06, "lesions_reference": 0}
        | {"lesions_detected": 0, "lesions_predicted": 1, "lesions_false": 1, "lesion_f1": 0}
        | {"lesion_sensitivity": math.nan}
        | {"sensitivity": math.nan, "precision": 0, "specificity": 54 / 60},
    ),
    # 1 slice, 2 rows and 3 columns apart: √(5² + 4² + 3²) = √50 = 7.07
    "a voxel against another": (
        (boxes((0, 1, 1)), boxes((1, 3, 4))),
        {"dice": 0, "iou": 0, "hd95": math.sqrt(50), "assd": math.sqrt(50), "nsd": 0, "volume_error_ml": 0}
        | {"relative_volume_error": 0, "reference_ml": 0.01, "prediction_ml": 0.01, "lesions_reference": 1}
        | {"lesions_detected": 0, "lesions_predicted": 1, "lesions_false": 1, "lesion_f1": 0, "lesion_sensitivity": 0}
        | {"sensitivity": 0, "precision": 0, "specificity": 58 / 59},
    ),
    "a voxel against itself": (
        (boxes((2, 3, 4)), boxes((2, 3, 4))),
        {"dice": 1, "iou": 1, "hd95": 0, "assd": 0, "nsd": 1, "volume_error_ml": 0, "relative_volume_error": 0}
        | {"reference_ml": 0.01, "prediction_ml": 0.01, "lesions_reference": 1, "lesions_detected": 1}
        | {"lesions_predicted": 1, "lesions_false": 0, "lesion_f1": 1, "lesion_sensitivity": 1}
        | {"sensitivity": 1, "precision": 1, "specificity": 1},
    ),
    # 2 of 6 voxels found, those of column 0; columns 1 and 2 of both rows are 1 and 2 mm away. R → P: 0, 0, 1, 1, 2, 2;
    # 95 % of 5 steps is 4.75: 2. P → R: 0, 0. Mean 6 / 8; all are at most 2 mm away.
    "a part of it": (
        (SIX, boxes((1, slice(0, 2), 0))),
        {"dice": 4 / 8, "iou": 2 / 6, "hd95": 2, "assd": 6 / 8, "nsd": 1, "volume_error_ml": -0.04}
        | {"relative_volume_error": -4 / 6, "reference_ml": 0.06, "prediction_ml": 0.02, "lesions_reference": 1}
        | {"lesions_detected": 1, "lesions_predicted": 1, "lesions_false": 0, "lesion_f1": 1, "lesion_sensitivity": 1}
        | {"sensitivity": 2 / 6, "precision": 1, "specificity": 1},
    ),
}


@pytest.mark.parametrize("name", list(BY_HAND))
def test_a_volume_by_hand(name: str) -> None:
    masks, expected = BY_HAND[name]
    found = count([pair(*masks, spacing=THICK)], "volumes", classes("lesion"))
    assert set(expected) == set(found.protocol.columns)
    for column, value in expected.items():
        assert found.cell(column, "lesion") == pytest.approx(value, nan_ok=True), column
    for number in found.numbers:
        if number.metric in expected:
            undefined = math.isnan(expected[number.metric])
            assert (number.n, number.undefined) == ((0, 1) if undefined else (1, 0)), number.metric
            assert number.value == (None if undefined else pytest.approx(expected[number.metric])), number.metric
            assert number.sd is None
            assert number.median == number.value


def test_percentile_and_tolerance_by_hand() -> None:
    """Four voxels in a row of 1 mm columns, twice that many predicted; the row below is empty, so all are boundary.

    R → P: 4 times 0. P → R: 0, 0, 0, 0, 1, 2, 3, 4; 95 % of 7 steps is 6.65, between 3 and 4: 3.65. Mean 10 / 12. At
    most 2 away, so the given tolerance of 2 just counts: 4 + 6 of 12.
    """
    reference, prediction = drawn("1111......", ".........."), drawn("11111111..", "..........")
    found = count([pair(reference, prediction, spacing=(9, 9, 1))], "volumes", classes("x"), Options(2.0))
    assert found.cell("hd95", "x") == pytest.approx(3.65)
    assert found.cell("assd", "x") == pytest.approx(10 / 12)
    assert found.cell("nsd", "x") == pytest.approx(10 / 12)
    less = count([pair(reference, prediction, spacing=(9, 9, 1))], "volumes", classes("x"), Options(1.99))
    assert less.cell("nsd", "x") == pytest.approx(9 / 12)
    assert less.number("nsd", "x").measure.label == "NSD at 1.99 mm"
    with pytest.raises(CaseUNetError, match="positive number"):
        Options(0.0)


def test_distances_without_a_voxel_size() -> None:
    """In mm there are none; in pixels they do not ask for one, and there are no millilitres."""
    masks = drawn("1...."), drawn("...1.")
    none = count([pair(*masks, spacing=None)], "volumes", classes("x"))
    for column in ("hd95", "assd", "nsd", "reference_ml", "volume_error_ml"):
        assert math.isnan(none.cell(column, "x")), column
    assert none.cell("dice", "x") == 0
    assert (none.value("hd95", "x"), none.number("hd95", "x").undefined) == (None, 1)
    pixels = count([pair(*masks, spacing=(1, 2, 5))], "volumes", classes("x"), Options(2, "px"), in_mm=False)
    assert pixels.cell("hd95", "x") == 3
    assert pixels.number("hd95", "x").measure.unit == "px"
    assert math.isnan(pixels.cell("reference_ml", "x"))


LESIONS = {
    "joined": ("11.11....", "1111..11."),  # one predicted lesion finds both; the other is false
    "split": ("1111111.1", "1.1.1...."),  # three pieces find one; the other is missed
    "false": (".........", "1...1...."),
    "none": (".........", "........."),
}


def test_lesions_by_hand() -> None:
    """
    joined: TP 2, FP 1, FN 0, F1 4/5, sensitivity 2/2. split: TP 1, FP 0, FN 1, F1 2/3, sensitivity 1/2.
    false: FP 2, F1 0. Pooled: 3 of 4 lesions are found, and of 2 + 3 + 2 predicted ones 1 + 3 + 0 are not false.
    """
    pairs = [pair(drawn(r), drawn(p), case) for case, (r, p) in LESIONS.items()]
    found = count(pairs, "volumes", classes("lesion"))
    f1, sensitivity = found.number("lesion_f1", "lesion"), found.number("lesion_sensitivity", "lesion")
    of_cases = [found.cell("lesion_f1", "lesion", c) for c in LESIONS]
    assert of_cases == pytest.approx([4 / 5, 2 / 3, 0, math.nan], nan_ok=True)
    assert (f1.value, f1.n, f1.undefined) == (pytest.approx((4 / 5 + 2 / 3) / 3), 3, 1)
    assert (f1.median, f1.sd) == pytest.approx((2 / 3, np.std([4 / 5, 2 / 3, 0], ddof=1)))
    assert (sensitivity.value, sensitivity.n, sensitivity.undefined) == (0.75, 2, 2)
    assert [found.cell("lesions_false", "lesion", c) for c in LESIONS] == [1, 0, 2, 0]
    assert (found.value("lesions_false", "lesion"), found.number("lesions_false", "lesion").n) == (0.75, 4)
    pooled = found.number("pooled_sensitivity", "lesion"), found.number("pooled_precision", "lesion")
    assert [(n.value, n.n) for n in pooled] == [(3 / 4, 4), (4 / 7, 7)]
    seen = found.lesions.groupby(["mask", "outcome"]).size().to_dict()
    assert seen == {
        ("reference", "detected"): 3,
        ("reference", "missed"): 1,
        ("prediction", "matched"): 4,
        ("prediction", "false"): 3,
    }
    reference = found.lesions[found.lesions["mask"] == "reference"]
    assert reference["voxels"].tolist() == [2, 2, 7, 1]
    assert reference["overlap"].tolist() == [2, 1, 3, 0]
    assert reference["partners"].tolist() == [1, 1, 3, 0]


def test_lesions_touch_by_corners_but_not_across_structures() -> None:
    """Two voxels that share a corner are one lesion; a neighbour of another class is one of its own."""
    ids = np.zeros((2, 2, 4), np.uint8)
    ids[0, 0, 0] = ids[1, 1, 1] = 1
    ids[1, 1, 2] = 2
    found = count([pair(ids, ids)], "volumes", classes("a", "b"))
    assert [found.cell("lesions_reference", name) for name in "ab"] == [1, 1]


def test_means_over_cases_and_structures_by_hand() -> None:
    """a: 1 and 2/3, b: 0 in its one case, c nowhere. Over structures: (5/6 + 0) / 2."""
    pairs = [pair(drawn("11.."), drawn("11.."), "one"), pair(drawn("112."), drawn("1..."), "two")]
    found = count(pairs, "volumes", classes("a", "b", "c"))
    a, b, c, every = (found.number("dice", name) for name in ("a", "b", "c", None))
    assert (a.value, a.n, a.undefined) == (pytest.approx(5 / 6), 2, 0)
    assert (b.value, b.n, b.undefined) == (0, 1, 1)
    assert (c.value, c.n, c.undefined) == (None, 0, 2)
    assert (every.value, every.n, every.undefined) == (pytest.approx(5 / 12), 2, 1)
    # HD95 of a: 0, and of the distances 0 and 1 the 95th percentile. Of b it is √(1² + 1² + 4²), the diagonal.
    assert found.value("hd95") == pytest.approx((0.95 / 2 + math.sqrt(18)) / 2)


def test_a_structure_is_the_union_of_its_labels() -> None:
    """Tumour called liver is right for the liver: R 4, P 5, both 4."""
    pairs = [pair(drawn("1122.."), drawn("11112.")), pair(drawn("1....."), drawn("1....."), "d")]
    found = count(pairs, "volumes", LITS)
    assert found.cell("dice", "liver") == pytest.approx(8 / 9)
    assert found.cell("dice", "tumour") == 0
    assert found.number("dice", "tumour").undefined == 1


@pytest.mark.parametrize("protocol", ["volumes", "slices", "endovis-2018", "paper"])
def test_a_class_called_background_is_scored_as_itself(protocol: str) -> None:
    """It is missed, so its score is 0; to refuse the name is as good."""
    try:
        found = count([pair(drawn("11.."), drawn("...."))], protocol, classes("background", "x"))
    except (CaseUNetError, ValueError):
        return
    column = found.protocol.ranked
    assert found.cell(column, "background", at=None if protocol == "volumes" else 0) == 0


def monai_scores(reference: np.ndarray, prediction: np.ndarray, labels: int, spacing: Sequence[float]) -> np.ndarray:
    """(measures, foreground classes), of masks of two or three axes."""
    one_hot = [
        torch.from_numpy(np.stack([ids == n for n in range(labels)])[None].astype(np.float32))
        for ids in (prediction, reference)
    ]
    distances = (
        HausdorffDistanceMetric(include_background=False, percentile=95, reduction="none"),
        SurfaceDistanceMetric(include_background=False, symmetric=True, reduction="none"),
        SurfaceDiceMetric(class_thresholds=[2.0] * (labels - 1), include_background=False, reduction="none"),
    )
    overlap = (metric(include_background=False, reduction="none")(*one_hot) for metric in (DiceMetric, MeanIoU))
    found = [*overlap, *(metric(*one_hot, spacing=list(spacing)) for metric in distances)]
    return np.stack([np.asarray(scores)[0] for scores in found])


@pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges:FutureWarning")
@pytest.mark.parametrize("seed", range(6))
def test_monai_agrees(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference, prediction = blobs(rng, (6, 13, 15), 4, rng.choice([0.3, 0.6, 1.0]))
    spacing = [(1.0, 1.0, 1.0), (2.5, 0.8, 0.7), (0.5, 1.3, 3.0)][seed % 3]
    names, columns = ("a", "b", "c"), ("dice", "iou", "hd95", "assd", "nsd")
    one = [pair(reference, prediction, spacing=spacing)]
    volume, slices = (count(one, protocol, classes(*names)) for protocol in ("volumes", "slices"))
    assert all((ids == n).any() for ids in (reference, prediction) for n in range(1, 4))
    ours = [[volume.cell(column, name) for name in names] for column in columns]
    np.testing.assert_allclose(ours, monai_scores(reference, prediction, 4, spacing), rtol=1e-5, atol=1e-6)
    compared = 0
    for s in range(6):
        both = [n for n in range(1, 4) if (reference[s] == n).any() and (prediction[s] == n).any()]
        theirs = monai_scores(reference[s], prediction[s], 4, spacing[1:])
        for n in both:
            of_slice = [slices.cell(column, names[n - 1], at=s) for column in columns]
            np.testing.assert_allclose(of_slice, theirs[:, n - 1], rtol=1e-5, atol=1e-6)
        compared += len(both)
    assert compared > 6


@st.composite
def two_masks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Class ids 0 to 3 in a few slices, alike or not, smooth or full of holes; some classes may be nowhere."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(2, 6), st.integers(2, 7)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        reference, prediction = blobs(rng, shape, 4, draw(st.sampled_from([0.0, 0.5, 2.0])))
    else:
        reference, prediction = (rng.choice(4, size=shape, p=[0.7, 0.2, 0.1, 0]).astype(np.uint8) for _ in range(2))
    if draw(st.booleans()):
        prediction[prediction == 1] = 0
    return reference, prediction


spacings = st.tuples(*[st.sampled_from([0.5, 0.75, 1.0, 2.5])] * 3)
ABC = classes("a", "b", "c")


@given(two_masks(), spacings)
@settings(max_examples=40, deadline=None)
def test_swapping_the_masks(masks: tuple[np.ndarray, np.ndarray], spacing: Spacing) -> None:
    """Lesion F1 is the same where as many lesions are detected as predicted ones are not false."""
    reference, prediction = masks
    for protocol in ("volumes", "slices"):
        one = count([pair(reference, prediction, spacing=spacing)], protocol, ABC)
        other = count([pair(prediction, reference, spacing=spacing)], protocol, ABC)
        for column in ("dice", "iou", "hd95", "assd", "nsd"):
            np.testing.assert_allclose(one.rows[column], other.rows[column], rtol=1e-6)
        assert one.values().keys() == other.values().keys()
        if protocol == "slices":
            assert one.values() == pytest.approx(other.values(), rel=1e-6, nan_ok=True)
            continue
        np.testing.assert_array_equal(one.rows["volume_error_ml"], -other.rows["volume_error_ml"])
        missed = one.rows["lesions_reference"] - one.rows["lesions_detected"]
        np.testing.assert_array_equal(missed, other.rows["lesions_false"])
        matched = one.rows["lesions_predicted"] - one.rows["lesions_false"]
        np.testing.assert_array_equal(matched, other.rows["lesions_detected"])
        alike = matched == one.rows["lesions_detected"]
        np.testing.assert_array_equal(one.rows.loc[alike, "lesion_f1"], other.rows.loc[alike, "lesion_f1"])


def test_lesion_f1_depends_on_which_mask_is_the_reference_where_lesions_are_split() -> None:
    """One lesion found in two pieces, and a false one: 2·1 / (2·1 + 1). Two lesions joined, and a missed one: 4/5."""
    split, whole = drawn("11.11..1"), drawn("11111...")
    assert count([pair(whole, split)], "volumes", classes("x")).value("lesion_f1", "x") == pytest.approx(2 / 3)
    assert count([pair(split, whole)], "volumes", classes("x")).value("lesion_f1", "x") == pytest.approx(4 / 5)


@given(two_masks(), spacings, st.permutations([1, 2, 3]))
@settings(max_examples=20, deadline=None)
def test_class_numbers_are_only_names(
    masks: tuple[np.ndarray, np.ndarray], spacing: Spacing, numbers: list[int]
) -> None:
    """Other numbers for the classes, in masks and label map alike, give the same rows and numbers in another order."""
    new = np.array([0, *numbers], np.uint8)
    names = [""] * 3
    for name, number in zip("abc", numbers, strict=True):
        names[number - 1] = name
    for protocol in ("volumes", "slices", "endovis-2018", "paper"):
        before = count([pair(*masks, spacing=spacing)], protocol, ABC)
        after = count([pair(*(new[ids] for ids in masks), spacing=spacing)], protocol, classes(*names))
        one, other = (c.rows.set_index(["slice", "structure"]).sort_index() for c in (before, after))
        pd.testing.assert_frame_equal(one, other[one.columns])
        assert before.values() == pytest.approx(after.values(), rel=1e-12, nan_ok=True)


@given(two_masks(), spacings, st.sampled_from([0.1, 0.3, 1.7, 4.0, 25.0]))
@settings(max_examples=40, deadline=None)
def test_the_scale_of_the_voxels(masks: tuple[np.ndarray, np.ndarray], spacing: Spacing, factor: float) -> None:
    for protocol in ("volumes", "slices"):
        before = count([pair(*masks, spacing=spacing)], protocol, ABC, Options(1.5)).rows
        large = (spacing[0] * factor, spacing[1] * factor, spacing[2] * factor)
        after = count([pair(*masks, spacing=large)], protocol, ABC, Options(1.5 * factor)).rows
        powers = {"hd95": 1, "assd": 1, "reference_ml": 3, "prediction_ml": 3, "volume_error_ml": 3}
        for column in PROTOCOLS.get(protocol)(Options()).columns:
            expected = before[column] * factor ** powers.get(column, 0)
            np.testing.assert_allclose(after[column], expected, rtol=1e-5, err_msg=column)


@every_protocol
def test_ignored_pixels_change_no_number(protocol: str) -> None:
    """Whatever is predicted where nobody judged; but for shapes that end there, as if both masks were empty there."""
    rng = np.random.default_rng(3)
    pairs, blank = [], []
    for n in range(4):
        reference, prediction = blobs(rng, (4, 20, 24), 3, 0.5)
        seen = np.ones(reference.shape, bool)
        seen[:, :, 16:] = False
        guess = np.where(seen, prediction, rng.integers(0, 3, reference.shape)).astype(np.uint8)
        pairs.append(pair(np.where(seen, reference, IGNORE).astype(np.uint8), guess, case=str(n)))
        blank.append(pair(reference * seen, prediction * seen, case=str(n)))
    found, expected = count(pairs, protocol, LITS), count(blank, protocol, LITS)
    assert found.rows["ignored_pixels"].gt(0).all()
    background = {"specificity", *(WITH_BACKGROUND if protocol == "paper" else ())}  # there is less of it
    for one, other in zip(found.numbers, expected.numbers, strict=True):
        if one.metric not in background:
            assert one.value == pytest.approx(other.value, nan_ok=True), one.metric
