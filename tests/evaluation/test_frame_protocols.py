"""Slices, EndoVis frames, and the averages behind a paper: by hand, by plain loops, and what must always hold."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caseunet.evaluation.protocols.base import Options
from tests.evaluation.test_protocols import ABC, blobs, classes, count, drawn, pair, two_masks

TYPES = tuple(f"tool {n}" for n in range(1, 8))
Frame = tuple[np.ndarray, np.ndarray]
"""Reference and prediction, (1, H, W)."""


def test_slices_by_hand() -> None:
    """One case of four slices, columns 0.5 mm and rows 4 mm wide, slices 3 mm apart.

    0: R 4, P 2, both 2: Dice 4/6, IoU 2/4. Columns 2 and 3 of R are 1 and 2 columns from P: distances 0, 0, 0.5, 1
       and 0, 0; 95 % of 3 steps is 2.85: 0.925. Mean 1.5 / 6. 5 of 6 are at most 0.6 mm away.
    1: reference only: 0, the diagonal √(3² + 8² + 2²); a voxel of another slice is no neighbour.
    2: neither: no value.
    3: the same on both: 1, 0, 1.
    """
    reference = np.concatenate([drawn(row, "....") for row in ("1111", "1...", "....", "..1.")])
    prediction = np.concatenate([drawn(row, "....") for row in ("11..", "....", "....", "..1.")])
    found = count([pair(reference, prediction, spacing=(3, 4, 0.5))], "slices", classes("x"), Options(0.6))
    far = math.sqrt(3**2 + 8**2 + 2**2)
    expected = {
        "dice": [4 / 6, 0, math.nan, 1],
        "iou": [2 / 4, 0, math.nan, 1],
        "hd95": [0.925, far, math.nan, 0],
        "assd": [1.5 / 6, far, math.nan, 0],
        "nsd": [5 / 6, 0, math.nan, 1],
    }
    for column, values in expected.items():
        assert [found.cell(column, "x", at=s) for s in range(4)] == pytest.approx(values, nan_ok=True), column
        known = [value for value in values if not math.isnan(value)]
        number = found.number(column, "x")
        assert (number.value, number.n, number.undefined) == (pytest.approx(np.mean(known)), 3, 1), column
        assert (number.sd, number.median) == pytest.approx((np.std(known, ddof=1), np.median(known))), column
    pooled = found.number("pooled_dice", "x")
    assert (pooled.value, pooled.n) == (pytest.approx(2 * 3 / (6 + 3)), 3)


def test_means_over_slices_and_structures_by_hand() -> None:
    """a: 1 and 2/3; b: 0; c nowhere. A second case weighs by its slices, not as a case: of a there are three."""
    first = np.concatenate([drawn("11.."), drawn("112.")]), np.concatenate([drawn("11.."), drawn("1...")])
    second = drawn("1..."), drawn("....")
    found = count([pair(*first, "one"), pair(*second, "two")], "slices", ABC)
    a, b, c, every = (found.number("dice", name) for name in ("a", "b", "c", None))
    assert (a.value, a.n, a.undefined) == (pytest.approx((1 + 2 / 3 + 0) / 3), 3, 0)
    assert (b.value, b.n, b.undefined) == (0, 1, 2)
    assert (c.value, c.n, c.undefined) == (None, 0, 3)
    assert (every.value, every.n, every.undefined) == (pytest.approx(5 / 9 / 2), 2, 1)
    assert found.value("pooled_dice", "c") is None


def test_endovis_by_hand() -> None:
    """
    frame  reference  prediction   IoU of 1, 2, 3      in the reference   in either
    0      1122..     112.3.       1, 1/2, 0           3/4                1/2
    1      ......     1.....       0                   skipped            0
    2      22....     ......          0                0                  0
    3      ......     ......                           skipped            skipped

    Per class: 1/2, 1/4, 0; the other four are nowhere. Pixels: intersections 2 + 1, unions 2 + 2 + 1, 1 and 2.
    """
    frames = ("1122..", "112.3."), ("......", "1....."), ("22....", "......"), ("......", "......")
    pairs = [pair(drawn(r), drawn(p), f"frame {n}", "sequence") for n, (r, p) in enumerate(frames)]
    found = count(pairs, "endovis-2018", classes(*TYPES))
    told = {
        metric: (number.value, number.n, number.undefined)
        for metric in ("challenge_iou", "isi_iou", "mc_iou", "cumulative_iou")
        for number in [found.number(metric)]
    }
    assert told == {
        "challenge_iou": (pytest.approx(3 / 8), 2, 2),
        "isi_iou": (pytest.approx(1 / 6), 3, 1),
        "mc_iou": (pytest.approx(1 / 4), 3, 4),
        "cumulative_iou": (pytest.approx(3 / 8), 3, 0),
    }
    assert [found.value("iou", name) for name in TYPES] == [0.5, 0.25, 0, None, None, None, None]
    assert (found.number("iou", TYPES[1]).n, found.number("iou", TYPES[1]).undefined) == (2, 2)


def test_a_missing_frame_is_an_empty_one() -> None:
    """Published scorers skip it. Frames 1 and 0 of 1, and 1 pixel of the 3 of the union."""
    pairs = [pair(drawn("1..."), drawn("1..."), "seen"), pair(drawn("11.."), None, "missing")]
    found = count(pairs, "endovis-2018", classes(*TYPES))
    assert found.values() == pytest.approx(
        {("challenge_iou", None): 0.5, ("isi_iou", None): 0.5, ("mc_iou", None): 0.5, ("cumulative_iou", None): 1 / 3}
        | {("iou", name): 0.5 if name == TYPES[0] else math.nan for name in TYPES},
        nan_ok=True,
    )


def plain_endovis(frames: list[Frame]) -> dict[tuple[str, str | None], float]:
    """The four IoUs, and that of each class, frame by frame and class by class."""
    challenge, isi = [], []
    of_class: dict[int, list[float]] = {n: [] for n in range(1, 8)}
    intersections = unions = 0
    for reference, prediction in frames:
        in_reference, in_either = [], []
        for n in range(1, 8):
            truth = set(zip(*np.where(reference == n), strict=True))
            guess = set(zip(*np.where(prediction == n), strict=True))
            if not truth | guess:
                continue
            iou = len(truth & guess) / len(truth | guess)
            of_class[n].append(iou)
            in_either.append(iou)
            if truth:
                in_reference.append(iou)
            intersections += len(truth & guess)
            unions += len(truth | guess)
        if in_reference:
            challenge.append(mean(in_reference))
        if in_either:
            isi.append(mean(in_either))
    numbers = {
        ("challenge_iou", None): mean(challenge),
        ("isi_iou", None): mean(isi),
        ("mc_iou", None): mean([mean(values) for values in of_class.values() if values]),
        ("cumulative_iou", None): intersections / unions if unions else math.nan,
    }
    return numbers | {("iou", name): mean(of_class[n]) for n, name in enumerate(TYPES, 1)}


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


@pytest.mark.parametrize("seed", range(8))
def test_endovis_against_plain_loops(seed: int) -> None:
    """Fifteen frames of up to seven classes; every fourth reference and every fifth prediction is empty."""
    rng = np.random.default_rng(seed)
    frames = []
    for n in range(15):
        reference, prediction = blobs(rng, (1, 7, 9), 8, rng.choice([0.2, 1.0]))
        for ids, every in ((reference, 4), (prediction, 5)):
            ids[rng.choice(8, size=8, p=[0.3, *[0.1] * 7])[ids] == 0] = 0  # some classes are not shown
            if n % every == 0:
                ids[:] = 0
        frames.append((reference, prediction))
    pairs = [pair(*frame, f"frame {n}", f"sequence {n % 3}") for n, frame in enumerate(frames)]
    found, expected = count(pairs, "endovis-2018", classes(*TYPES)).values(), plain_endovis(frames)
    assert found == pytest.approx(expected, nan_ok=True)
    assert (
        len({round(found[metric, None], 6) for metric in ("challenge_iou", "isi_iou", "mc_iou", "cumulative_iou")}) == 4
    )


def test_frames_of_a_volume_are_frames() -> None:
    """Several frames in one file are scored as if each were its own."""
    rng = np.random.default_rng(3)
    reference, prediction = blobs(rng, (6, 5, 6), 4, 0.8)
    apart = [pair(reference[s : s + 1], prediction[s : s + 1], f"{s}") for s in range(6)]
    for protocol in ("endovis-2018", "slices"):
        together = count([pair(reference, prediction)], protocol, ABC).values()
        assert count(apart, protocol, ABC).values() == pytest.approx(together, nan_ok=True)


def test_the_averages_of_a_paper_by_hand() -> None:
    """Two cases of two slices, six pixels each; counts are (reference, prediction, both).

    case  slice  reference  prediction   nothing    a          b
    x     0      11....     1....2       4, 4, 3    2, 1, 1    0, 1, 0
    x     1      ......     ......       6, 6, 6    0, 0, 0    0, 0, 0
    y     0      111122     111.2.       0, 2, 0    4, 3, 3    2, 1, 1
    y     1      ....2.     ....22       5, 4, 4    0, 0, 0    1, 2, 1
    sums                                 15, 16, 13 6, 4, 4    3, 4, 2     unions 18, 6, 5
    """
    x = np.concatenate([drawn("11...."), drawn("......")]), np.concatenate([drawn("1....2"), drawn("......")])
    y = np.concatenate([drawn("111122"), drawn("....2.")]), np.concatenate([drawn("111.2."), drawn("....22")])
    found = count([pair(*x, "x"), pair(*y, "y")], "paper", classes("a", "b"))
    both = {
        "pixel_accuracy": 19 / 24,
        "micro_iou": 19 / 29,
        "mean_iou_with_background": (13 / 18 + 4 / 6 + 2 / 5) / 3,
    }
    of_classes = {
        "mean_iou": (4 / 6, 2 / 5),
        "mean_dice": (8 / 10, 4 / 7),
        "slice_iou_empty_1": ((1 / 2 + 1 + 3 / 4 + 1) / 4, (0 + 1 + 1 / 2 + 1 / 2) / 4),
        "slice_dice_empty_1": ((2 / 3 + 1 + 6 / 7 + 1) / 4, (0 + 1 + 2 / 3 + 2 / 3) / 4),
        "slice_iou": ((1 / 2 + 3 / 4) / 2, (0 + 1 / 2 + 1 / 2) / 3),
        "slice_dice": ((2 / 3 + 6 / 7) / 2, (0 + 2 / 3 + 2 / 3) / 3),
        "case_iou": ((1 / 2 + 3 / 4) / 2, (0 + 2 / 4) / 2),
        "case_dice": ((2 / 3 + 6 / 7) / 2, (0 + 4 / 6) / 2),
    }
    expected = {(metric, None): value for metric, value in both.items()}
    for metric, (a, b) in of_classes.items():
        expected |= {(metric, None): (a + b) / 2, (metric, "a"): a, (metric, "b"): b}
    assert found.values() == pytest.approx(expected)
    assert found.number("case_dice", "b").n == 2
    assert found.number("slice_dice", "b").n == 3
    assert found.number("slice_dice_empty_1", "b").n == 4
    assert [number.metric for number in found.numbers if number.structure is None] == list(found.protocol.chief)


def test_a_class_that_is_nowhere_is_left_out_of_a_paper_s_averages_but_where_empty_is_1() -> None:
    found = count([pair(drawn("1..."), drawn("11.."))], "paper", classes("a", "b"))
    for metric in ("mean_iou", "slice_iou", "case_iou"):
        assert (found.value(metric), found.value(metric, "b")) == (0.5, None), metric
    assert (found.value("slice_iou_empty_1"), found.value("slice_iou_empty_1", "b")) == (0.75, 1)
    assert found.value("mean_iou_with_background") == pytest.approx((1 / 2 + 2 / 3) / 2)


PAIRS = {
    "micro_iou": "pixel_accuracy",
    "mean_iou": "mean_dice",
    "slice_iou_empty_1": "slice_dice_empty_1",
    "slice_iou": "slice_dice",
    "case_iou": "case_dice",
}


@given(st.lists(two_masks(), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_iou_is_never_above_dice_of_same_average(cases: list[Frame]) -> None:
    """IoU = D / (2 − D) is convex in D: of a mean it is at least that of the mean Dice, and at most the mean Dice."""
    found = count([pair(*masks, f"{n}") for n, masks in enumerate(cases)], "paper", ABC)
    values = found.values()
    for (iou, dice), structure in product(PAIRS.items(), (None, "a", "b", "c")):
        if iou == "micro_iou" and structure is not None:  # of all pixels alone
            continue
        i, d = values[iou, structure], values[dice, structure]
        assert math.isnan(i) == math.isnan(d)
        assert math.isnan(i) or d / (2 - d) - 1e-12 <= i <= d + 1e-12
    assert all(0 <= value <= 1 for value in values.values() if not math.isnan(value))


def test_a_mixed_pair_can_be_the_other_way_round() -> None:
    """A tool of 2 pixels in 100, of which 1 is found: Dice 2/3, yet the IoU of all pixels is 99 / 101."""
    reference = np.zeros((1, 10, 10), np.uint8)
    prediction = reference.copy()
    reference[0, 0, :2] = prediction[0, 0, 0] = 1
    found = count([pair(reference, prediction)], "paper", classes("tool"))
    assert found.value("micro_iou") == pytest.approx(99 / 101)
    assert found.value("slice_dice") == pytest.approx(2 / 3)
    assert found.value("micro_iou") > found.value("slice_dice") > found.value("slice_iou")
