"""The protocols of the LiTS challenge: by hand, and against a plain count by the formulas of its scorer."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, label

from caseunet.errors import CaseUNetError
from caseunet.evaluation.evaluator import Pair, Predicted, Reference
from caseunet.evaluation.protocols import PROTOCOLS
from caseunet.evaluation.protocols.base import Options
from caseunet.io.geometry import to_canonical, volume_geometry
from caseunet.types import LabelMap
from tests.evaluation.test_protocols import LITS, Counted, Spacing, classes, count, drawn, pair

OFFICIAL, CORRECTED = "lits-official", "lits-corrected"
NONE = 9001
WAYS = pytest.mark.parametrize("protocol", [OFFICIAL, CORRECTED])
Case = tuple[np.ndarray, np.ndarray, Spacing]
"""Reference, prediction, and the spacing that the reference's own header states."""


def row(text: str) -> np.ndarray:
    """(2, 2, W), of which one row holds something: 1 is liver, 2 lesion."""
    ids = np.zeros((2, 2, len(text)), np.uint8)
    ids[0, 0] = [0 if pixel == "." else int(pixel) for pixel in text]
    return ids


def count_rows(protocol: str, *cases: tuple[str, str]) -> Counted:
    """Cases c0, c1 …; columns are 0.5 mm wide by the reference's header, and 4 mm by the image's."""
    pairs = [
        pair(row(reference), row(prediction), f"c{n}", spacing=(4, 4, 4), own=(7, 3, 0.5))
        for n, (reference, prediction) in enumerate(cases)
    ]
    return count(pairs, protocol, LITS)


BOTH = (("11112200020.", "11111220000."), ("112222110000", "112222221100"))


@WAYS
def test_two_cases_by_hand(protocol: str) -> None:
    """
    c0  lesions R 3 voxels in 2 components, P 2, both 1; the only match has IoU 1/3.
        liver R 7, P 7, both 6. Column 9 of R is 3 columns from P's last, 6, and that is 1 from R's: 1.5 and 0.5 mm.
    c1  lesions R 4, P 6, both 4: IoU 2/3. Columns 6 and 7 of P are 0.5 and 1 mm from R.
        liver R 8, P 10, both 8. Columns 8 and 9 of P are 0.5 and 1 mm from R.
    """
    found = count_rows(protocol, *BOTH)
    expected = {
        ("dice_per_case", "liver"): (12 / 14 + 16 / 18) / 2,
        ("dice_global", "liver"): 28 / 32,
        ("voe", "liver"): (2 / 8 + 2 / 10) / 2,
        ("rvd", "liver"): (0 + (10 - 8) / 8) / 2,
        ("assd", "liver"): ((1.5 + 0.5) / 14 + (0.5 + 1) / 18) / 2,
        ("rmsd", "liver"): (math.sqrt(2.5 / 14) + math.sqrt(1.25 / 18)) / 2,
        ("msd", "liver"): (1.5 + 1) / 2,
        ("dice_per_case", "lesion"): (2 / 5 + 8 / 10) / 2,
        ("dice_global", "lesion"): 10 / 15,
        ("object_dice", "lesion"): 8 / 10,
        ("voe", "lesion"): 1 / 3,
        ("rvd", "lesion"): 1 / 2,
        ("precision_0", "lesion"): 2 / 2,
        ("recall_0", "lesion"): 2 / 3,
        ("precision_50", "lesion"): 1 / 2,
        ("recall_50", "lesion"): 1 / 3,
        ("burden_rmse", "lesion"): math.sqrt(((3 / 7 - 2 / 7) ** 2 + (4 / 8 - 6 / 10) ** 2) / 2),
        ("burden_max", "lesion"): 1 / 7,
    }
    values = found.values()
    distances = {key for key in values if key[0] in ("assd", "rmsd", "msd") and key[1] == "lesion"}
    assert set(values) == set(expected) | distances
    assert {key: values[key] for key in expected} == pytest.approx(expected)
    assert (found.number("voe", "lesion").n, found.number("voe", "liver").n) == (1, 2)
    assert (found.number("precision_50", "lesion").n, found.number("recall_50", "lesion").n) == (2, 3)
    assert found.number("voe", "lesion").averaging == "mean over detected lesions"


@WAYS
def test_distances_of_a_lesion_that_is_one_voxel_thick(protocol: str) -> None:
    """c1 of above: each of its voxels has a neighbour in another slice or row that is not lesion.

    R → P: 4 times 0. P → R: 4 times 0, and 0.5 and 1 mm.
    """
    found = count_rows(protocol, BOTH[1])
    assert found.value("assd", "lesion") == pytest.approx(1.5 / 10)
    assert found.value("rmsd", "lesion") == pytest.approx(math.sqrt(1.25 / 10))
    assert found.value("msd", "lesion") == pytest.approx(1)


@WAYS
def test_distances_in_a_volume_of_one_slice(protocol: str) -> None:
    """Nothing lies above or below it, so that each voxel is boundary, not the outline alone.

    A liver of 3 × 4, of which column 3, 0.5 mm from the next, is not found: 3 · 0.5 over 12 + 9 voxels.
    """
    reference, prediction = drawn("1111.", "1122.", "1111."), drawn("111..", "112..", "111..")
    found = count([pair(reference, prediction, own=(7, 3, 0.5))], protocol, LITS)
    assert found.value("assd", "liver") == pytest.approx(3 * 0.5 / 21)
    assert found.value("rmsd", "liver") == pytest.approx(math.sqrt(3 * 0.25 / 21))
    assert found.value("assd", "lesion") == NONE  # 1 of 2 is not above .5


@WAYS
def test_too_small_a_volume_is_negative(protocol: str) -> None:
    """Half of a liver of 8 is found: (4 − 8) / 8."""
    assert count_rows(protocol, ("1111112200", "1112000000")).value("rvd", "liver") == -1 / 2


@WAYS
def test_boundary_voxels_by_edges(protocol: str) -> None:
    """5 × 5 × 5 voxels against the same without an edge: each of the 27 inner ones has 18 neighbours.

    Without the edge of 5 voxels the 3 inner ones beside it are boundary too: 98 and 98 − 5 + 3 voxels. The lost ones
    are 1 from the next of the other; so are the 3 new ones from the faces.
    """
    reference = np.zeros((7, 7, 7), np.uint8)
    reference[1:6, 1:6, 1:6] = 1
    reference[3, 3, 3] = 2
    prediction = reference.copy()
    prediction[1, 1] = 0
    found = count([pair(reference, prediction)], protocol, LITS)
    assert found.value("assd", "liver") == pytest.approx((5 + 3) / (98 + 96))


def test_slip_scores_of_a_case_that_counts_0() -> None:
    """One lesion found, and two joined and lost, so taken off twice: TP 2 − 2. With two found it is 3 − 2.

    At 0 the scorer leaves out the scores of the found one, which is found whole.
    """
    lost, found = "2.2.....11", "2222222.11"
    one, two = ("2." + lost, "2." + found), ("2.2." + lost, "2.2." + found)
    official, corrected = count_rows(OFFICIAL, one), count_rows(CORRECTED, one)
    assert official.cell("true_positives_50", "lesion", "c0") == 0
    assert (official.value("object_dice", "lesion"), official.number("voe", "lesion").n) == (0, 0)
    assert corrected.cell("true_positives_50", "lesion", "c0") == 1
    assert (corrected.value("object_dice", "lesion"), corrected.number("voe", "lesion").n) == (1, 1)
    official = count_rows(OFFICIAL, two)
    assert official.cell("true_positives_50", "lesion", "c0") == 1
    assert (official.value("object_dice", "lesion"), official.number("voe", "lesion").n) == (1, 2)


def test_slip_axes_count_as_orthogonal() -> None:
    """A liver of 1 voxel, predicted 1 row and 1 column away. Both are 1 mm long, at 60 degrees: √3 mm, not √2."""
    affine = np.array([[1, 0.5, 0, 0], [0, math.sqrt(0.75), 0, 0], [0, 0, 5, 0], [0, 0, 0, 1]])
    reference, prediction = np.zeros((2, 4, 4, 2), np.uint8)
    reference[1, 1, 0], prediction[2, 2, 0] = 1, 1  # nothing can be said of lesions, and it is not
    geometry = volume_geometry(reference.shape, affine, "file")
    masks = [to_canonical(ids, geometry) for ids in (reference, prediction)]
    one = Pair("m", "c", "c", lambda: Reference(masks[0], geometry, geometry), lambda _: Predicted(masks[1]))
    masks[0][0, 0, 0] = masks[1][0, 0, 0] = 2
    for protocol, expected in ((OFFICIAL, math.sqrt(2)), (CORRECTED, math.sqrt(3))):
        assert count([one], protocol, LITS).value("msd", "liver") == pytest.approx(expected)


def test_slip_a_reference_without_lesions() -> None:
    """The scorer ends there; mended, its predicted lesion is false: precision 1 of 2."""
    cases = ("1122..", "1122.."), ("1111..", "1121.."), ("1111..", "1111..")
    with pytest.raises(CaseUNetError, match=r'^The references of 2 cases hold no lesion, c1, c2; .*"lits-corrected"'):
        count_rows(OFFICIAL, *cases)
    with pytest.raises(CaseUNetError, match="^The references of 1 case hold no lesion, c1;"):
        count_rows(OFFICIAL, *cases[:2])
    found = count_rows(CORRECTED, *cases)
    assert [found.cell("dice_per_case", "lesion", f"c{n}") for n in range(3)] == [1, 0, 1]
    assert found.value("dice_global", "lesion") == 4 / 5
    assert (found.value("precision_50", "lesion"), found.value("recall_50", "lesion")) == (1 / 2, 1)
    # burdens 1/2 − 1/2, 0 − 1/4, 0 − 0
    assert found.value("burden_rmse", "lesion") == pytest.approx(math.sqrt(1 / 48))


def test_slip_the_largest_error_of_the_burden() -> None:
    """1/4 − 1/2 and 1/2 − 3/8: the scorer takes the larger number, 1/8, mended it is the larger error, 1/4."""
    cases = ("11111122", "11112222"), ("11112222", "11111222")
    assert count_rows(OFFICIAL, *cases).value("burden_max", "lesion") == 1 / 8
    assert count_rows(CORRECTED, *cases).value("burden_max", "lesion") == 1 / 4
    rmse = math.sqrt((1 / 16 + 1 / 64) / 2)
    assert count_rows(OFFICIAL, *cases).value("burden_rmse", "lesion") == pytest.approx(rmse)
    assert count_rows(CORRECTED, *cases).value("burden_rmse", "lesion") == pytest.approx(rmse)


def test_slip_a_joined_pair_that_fails() -> None:
    """One predicted lesion of 7 voxels joins two of one voxel, IoU 2/7. It is one pair that is not kept.

    The scorer takes it off twice: TP 1 − 2, so beside a lesion that is found (TP 1) there are 0 of 2 predicted and 0 of
    3 lesions. Mended, TP is 1.
    """
    cases = ("1121211", "2222222"), ("1122...", "1122...")
    official, corrected = count_rows(OFFICIAL, *cases), count_rows(CORRECTED, *cases)
    assert official.cell("true_positives_50", "lesion", "c0") == -1
    assert corrected.cell("true_positives_50", "lesion", "c0") == 0
    found = [[c.value(f"{m}_50", "lesion") for m in ("precision", "recall")] for c in (official, corrected)]
    assert found == [[0, 0], [1 / 2, 1 / 3]]
    assert official.value("precision_0", "lesion") == corrected.value("precision_0", "lesion") == 1


@WAYS
def test_split_lesions_are_put_together_but_counted_before(protocol: str) -> None:
    """Two pieces of one lesion: together 4 of 5. One object detected, of two predicted and one true."""
    found = count_rows(protocol, ("22222111", "22122111"))
    assert found.value("object_dice", "lesion") == pytest.approx(8 / 9)
    assert (found.value("precision_50", "lesion"), found.value("recall_50", "lesion")) == (1 / 2, 1)


@WAYS
def test_without_label_1_the_liver_scores_nothing(protocol: str) -> None:
    """Though its lesion is all right: what label 2 says is no liver. Its burden is 9001."""
    found = count_rows(protocol, ("1122", "..22"), ("1122", "1122"))
    for column, value in {"dice_per_case": 0, "object_dice": 0, "voe": 1, "liver_predicted": 0}.items():
        assert found.cell(column, "liver", "c0") == value, column
    for column in ("rvd", "assd", "rmsd", "msd"):
        assert found.cell(column, "liver", "c0") == NONE
        assert found.value(column, "liver") == NONE / 2
        assert found.value(column, "lesion") == 0
    assert (found.value("dice_per_case", "liver"), found.value("voe", "liver")) == (1 / 2, 1 / 2)
    assert found.value("dice_per_case", "lesion") == found.value("recall_50", "lesion") == 1
    assert found.value("dice_global", "liver") == 8 / 12  # c0 adds its reference alone
    assert found.value("burden_rmse", "lesion") == pytest.approx((NONE - 0.5) / math.sqrt(2))
    assert found.value("burden_max", "lesion") == {OFFICIAL: 0, CORRECTED: NONE - 0.5}[protocol]


@WAYS
def test_nothing_detected_anywhere(protocol: str) -> None:
    """One lesion is missed, the other too little overlapped, 1/3, to count above .5."""
    found = count_rows(protocol, ("1122.", "1111."), ("1122.", "11122"))
    for metric, value in {"object_dice": 0, "voe": 1, "rvd": NONE, "assd": NONE, "rmsd": NONE, "msd": NONE}.items():
        assert (found.value(metric, "lesion"), found.number(metric, "lesion").n) == (value, 0), metric
    assert found.value("precision_50", "lesion") == found.value("recall_50", "lesion") == 0
    assert (found.value("precision_0", "lesion"), found.value("recall_0", "lesion")) == (1, 1 / 2)
    none = count_rows(protocol, ("1122.", "1111."))
    assert (none.value("precision_0", "lesion"), none.number("precision_0", "lesion").n) == (0, 0)


def test_masks_without_liver() -> None:
    """Neither has one: still "no label 1 predicted". Only the prediction has one: nothing to compare it with."""
    found = count_rows(CORRECTED, ("......", "......"), ("......", "11...."), ("1122..", "1122.."))
    assert [found.cell("dice_per_case", "liver", f"c{n}") for n in range(3)] == [0, 0, 1]
    assert [found.cell("msd", "liver", f"c{n}") for n in range(3)] == [NONE, NONE, 0]
    assert found.value("dice_global", "liver") == 8 / (2 + 8)
    burden = found.number("burden_rmse", "lesion")
    assert (burden.value, burden.n, burden.undefined) == (0, 1, 2)
    assert (found.number("burden_max", "lesion").n, found.number("burden_max", "lesion").undefined) == (1, 2)


@WAYS
def test_without_a_voxel_size_there_are_no_distances(protocol: str) -> None:
    with pytest.raises(CaseUNetError, match="^c: .*states no voxel size"):
        count([pair(row("12."), row("12."), spacing=None)], protocol, LITS)


@WAYS
def test_distances_in_pixels_are_not_called_millimetres(protocol: str) -> None:
    """Masks of images, which have no spacing; to refuse them is as good."""
    try:
        found = count([pair(row("12."), row("122"), spacing=None)], protocol, LITS, Options(2, "px"), in_mm=False)
    except CaseUNetError:
        return
    assert found.number("msd", "liver").measure.unit == "px"


@WAYS
@pytest.mark.parametrize(
    ("label_map", "found"),
    [
        (classes("liver"), "nothing, liver"),
        (classes("liver", "vessel"), "nothing, liver, vessel"),
        (classes("tumour", "liver"), "nothing, tumour, liver"),
        (classes("liver", "tumour", "vessel"), "nothing, liver, tumour, vessel"),
    ],
)
def test_other_classes_are_refused(protocol: str, label_map: LabelMap, found: str) -> None:
    with pytest.raises(CaseUNetError, match=f'"{protocol}" is for three classes.* not for {found}\\.'):
        count([pair(row("1"), row("1"))], protocol, label_map)


@pytest.mark.parametrize("lesion", ["tumour", "Tumor", "liver lesion", "cancer"])
def test_names_of_the_lesion(lesion: str) -> None:
    structures = PROTOCOLS.get(OFFICIAL)(Options()).structures(classes("Liver", lesion))
    assert structures == {"liver": (1, 2), "lesion": (2,)}


# The scorer's formulas once more, voxel by voxel and set by set.

Scores = dict[str, float]


def plain_numbers(cases: list[Case], mended: bool) -> dict[tuple[str, str], float]:
    """All numbers of the protocol."""
    liver: list[Scores] = []
    lesions: list[Scores] = []
    per_case: dict[str, list[float]] = {"liver": [], "lesion": []}
    doubled, total = {"liver": 0, "lesion": 0}, {"liver": 0, "lesion": 0}
    true = {0.0: 0, 0.5: 0}
    predicted_lesions = reference_lesions = 0
    burdens = []
    for reference, prediction, spacing in cases:
        liver_found = bool((prediction == 1).any())
        r, p = reference > 0, prediction > 0
        penalty = {"dice": 0, "voe": 1, "rvd": NONE, "assd": NONE, "rmsd": NONE, "msd": NONE}
        liver.append(plain_object(r, p, spacing) if liver_found else penalty)
        per_case["liver"].append(liver[-1]["dice"])
        doubled["liver"] += 2 * int((r & p).sum()) if liver_found else 0
        total["liver"] += int(r.sum()) + (int(p.sum()) if liver_found else 0)

        r, p = reference == 2, prediction == 2
        both, size = int((r & p).sum()), int(r.sum() + p.sum())
        per_case["lesion"].append(2 * both / size if size else 1)
        doubled["lesion"] += 2 * both
        total["lesion"] += size
        reference_lesions += label(r)[1]
        predicted_lesions += label(p)[1]
        for least in true:
            found, kept = plain_detection(r, p, least, mended)
            true[least] += found
        lesions += [plain_object(*one, spacing) for one in kept if found > 0]  # of the last: above .5

        burden = (prediction == 2).sum() / (prediction > 0).sum() if liver_found else NONE
        burdens.append((reference == 2).sum() / (reference > 0).sum() - burden)

    numbers = {(f"dice_{how}", name): 0.0 for how in ("per_case", "global") for name in per_case}
    for name in per_case:
        numbers["dice_per_case", name] = sum(per_case[name]) / len(cases)
        numbers["dice_global", name] = doubled[name] / total[name]
    nothing = {"dice": 0, "voe": 1, "rvd": NONE, "assd": NONE, "rmsd": NONE, "msd": NONE}
    for metric, value in nothing.items():
        if metric != "dice":
            numbers[metric, "liver"] = sum(scores[metric] for scores in liver) / len(liver)
        of_lesions = sum(scores[metric] for scores in lesions) / len(lesions) if lesions else value
        numbers["object_dice" if metric == "dice" else metric, "lesion"] = of_lesions
    for least, key in ((0.0, "0"), (0.5, "50")):
        numbers[f"precision_{key}", "lesion"] = true[least] / predicted_lesions if predicted_lesions else 0
        numbers[f"recall_{key}", "lesion"] = true[least] / reference_lesions if reference_lesions else 0
    numbers["burden_rmse", "lesion"] = math.sqrt(sum(b**2 for b in burdens) / len(burdens))
    numbers["burden_max", "lesion"] = max(abs(b) for b in burdens) if mended else max(burdens)
    return numbers


def plain_object(reference: np.ndarray, prediction: np.ndarray, spacing: Spacing) -> Scores:
    r, p, both = int(reference.sum()), int(prediction.sum()), int((reference & prediction).sum())
    distances = plain_distances(reference, prediction, spacing)
    return {
        "dice": 2 * both / (r + p),
        "voe": 1 - both / int((reference | prediction).sum()),
        "rvd": (p - r) / r,
        "assd": sum(distances) / len(distances),
        "rmsd": math.sqrt(sum(d**2 for d in distances) / len(distances)),
        "msd": max(distances),
    }


def plain_distances(reference: np.ndarray, prediction: np.ndarray, spacing: Spacing) -> list[float]:
    """From each boundary voxel of either mask to the nearest of the other; every pair is measured."""
    one, other = (np.array(plain_boundary(mask)) * spacing for mask in (reference, prediction))
    apart = np.sqrt(((one[:, None] - other[None]) ** 2).sum(-1))
    return [*apart.min(1), *apart.min(0)]


def plain_boundary(mask: np.ndarray) -> list[tuple[int, ...]]:
    voxels = set(zip(*(axis.tolist() for axis in mask.nonzero()), strict=True))
    steps = [step for step in product((-1, 0, 1), repeat=3) if 0 < sum(map(abs, step)) <= 2]
    return [
        place
        for place in voxels
        if any(tuple(a + b for a, b in zip(place, step, strict=True)) not in voxels for step in steps)
    ]


def plain_detection(
    reference: np.ndarray, prediction: np.ndarray, least: float, mended: bool
) -> tuple[int, list[tuple[np.ndarray, np.ndarray]]]:
    """True positives, and the pairs that are kept, as masks of the whole image."""
    lesions = [label(reference)[0] == n + 1 for n in range(label(reference)[1])]
    pieces = {n: label(prediction)[0] == n + 1 for n in range(label(prediction)[1])}
    pieces = {n: piece for n, piece in pieces.items() if (piece & reference).any()}
    parts_of: dict[int, list[int]] = {}  # of each object that joins lesions, by the piece that joins them
    for g, lesion in enumerate(lesions):
        shared = [int((lesion & piece).sum()) for piece in pieces.values()]
        if any(shared):
            parts_of.setdefault(shared.index(max(shared)), []).append(g)
    objects = sorted(parts_of.values())
    masks = {parts[0]: np.any([lesions[g] for g in parts], axis=0) for parts in objects}
    pieces_of: dict[int, list[int]] = {}
    for n, piece in pieces.items():
        shared = {g: int((mask & piece).sum()) for g, mask in masks.items()}
        pieces_of.setdefault(max(shared, key=lambda g: shared[g]), []).append(n)
    marked = np.full(reference.shape, -1)  # where predicted objects are, the number of their reference object
    for g, parts in pieces_of.items():
        for n in parts:
            marked[pieces[n]] = g
    true = len(pieces_of)
    for g, parts in sorted(pieces_of.items(), key=lambda item: item[1][0]):
        whole = marked == (g if mended else parts[0])
        if (masks[g] & (marked == g)).sum() / (masks[g] | whole).sum() <= least:
            marked[marked == g] = -1
            true -= 1 if mended else next(len(parts) for parts in objects if parts[0] == g)
    return true, [(masks[g], marked == g) for g in sorted(pieces_of) if (marked == g).any()]


def random_cases(seed: int) -> list[Case]:
    """Livers with small and large lesions, predicted more or less well; in one case no label 1 is predicted."""
    rng = np.random.default_rng(seed)
    shape, cases = (4, 9, 10), []
    for n in range(4):
        body, spots = gaussian_filter(rng.normal(size=shape), 2), gaussian_filter(rng.normal(size=shape), 0.6)
        body, spots = body / body.std(), spots / spots.std()
        noise = [gaussian_filter(rng.normal(size=shape), 0.6) * rng.choice([0.2, 0.6, 1.5]) for _ in range(2)]
        reference, prediction = (
            ((b > -0.7) * np.where(s > rng.choice([0.6, 1.0, 1.4]), 2, 1)).astype(np.uint8)
            for b, s in ((body, spots), (body + noise[0], spots + noise[1]))
        )
        if n == 3 and seed % 2:
            prediction[prediction == 1] = 0
        cases.append((reference, prediction, tuple(rng.choice([0.5, 0.8, 1.0, 2.5], size=3).tolist())))
    return cases


def count_cases(protocol: str, cases: list[Case]) -> Counted:
    pairs = [pair(r, p, f"c{n}", spacing=(9, 9, 9), own=spacing) for n, (r, p, spacing) in enumerate(cases)]
    return count(pairs, protocol, LITS)


SEEDS = range(12)


@WAYS
@pytest.mark.parametrize("seed", SEEDS)
def test_against_a_plain_count(seed: int, protocol: str) -> None:
    cases = random_cases(seed)
    found, expected = count_cases(protocol, cases).values(), plain_numbers(cases, protocol == CORRECTED)
    assert set(found) == set(expected)
    assert found == pytest.approx(expected, rel=1e-6)


def test_random_cases_hold_what_is_to_be_counted() -> None:
    """Lesions that are found and missed, pairs that are lost above .5, and joined ones among these."""
    sets = [random_cases(seed) for seed in SEEDS]
    official, corrected = ([count_cases(way, cases) for cases in sets] for way in (OFFICIAL, CORRECTED))
    for other in corrected:
        assert other.number("voe", "lesion").n > 0
        assert other.value("recall_50", "lesion") < other.value("recall_0", "lesion") < 1
    both = zip(official, corrected, strict=True)
    differ = [a.value("recall_50", "lesion") != b.value("recall_50", "lesion") for a, b in both]
    assert sum(differ) > 5


def test_a_plain_count_of_cases_without_lesions() -> None:
    """Mended, also where the reference has none, where neither has any, and where nothing is predicted."""
    cases = random_cases(1)[:2] + random_cases(2)
    cases[0][0][cases[0][0] == 2] = 1
    cases[1][0][cases[1][0] == 2] = cases[1][1][cases[1][1] == 2] = 1
    cases[2][1][:] = 0
    assert count_cases(CORRECTED, cases).values() == pytest.approx(plain_numbers(cases, mended=True), rel=1e-6)
    with pytest.raises(CaseUNetError, match="hold no lesion, c0, c1;"):
        count_cases(OFFICIAL, cases)
