"""The protocols beside other implementations, on hundreds of masks that are hard to count.

MONAI for overlap and distances, SciPy for lesions, scikit-learn for everything that is made of pixel counts.
"""

import itertools
import math
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pytest
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
)
from scipy import ndimage
from sklearn.metrics import accuracy_score, f1_score, jaccard_score

from caseunet.evaluation.protocols.base import Options
from tests.evaluation.test_protocols import Counted, Spacing, blobs, classes, count, pair

Shape = tuple[int, int, int]
SHAPES: tuple[Shape, ...] = ((5, 9, 8), (1, 11, 9), (3, 4, 13))
SPACINGS: tuple[Spacing, ...] = ((1.0, 1.0, 1.0), (5.0, 0.7, 0.8), (0.3, 2.1, 1.4))
TOLERANCE = 1.234
"""No distance between voxels of these sizes."""
OVERLAP, DISTANCES = ("dice", "iou"), ("hd95", "assd", "nsd")


def one_voxel(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    ids = np.zeros(shape, np.uint8)
    ids[tuple(rng.integers(0, shape))] = 1
    return ids


def corners(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    ids = np.zeros(shape, np.uint8)
    ids[0, 0, 0], ids[-1, -1, -1] = 1, rng.integers(1, 4)
    return ids


def frame(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """All that touches the edge of the image."""
    ids = np.full(shape, rng.integers(1, 3), np.uint8)
    ids[tuple(slice(1, -1) if length > 2 else slice(None) for length in shape)] = 0
    return ids


def one_slice(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    ids = np.zeros(shape, np.uint8)
    ids[rng.integers(shape[0])] = rng.integers(0, 3, shape[1:])
    return ids


MASKS: dict[str, Callable[[Shape, np.random.Generator], np.ndarray]] = {
    "empty": lambda shape, _: np.zeros(shape, np.uint8),
    "full": lambda shape, _: np.ones(shape, np.uint8),
    "one voxel": one_voxel,
    "corners": corners,
    "frame": frame,
    "chessboard": lambda shape, _: (np.indices(shape).sum(0) % 2).astype(np.uint8),
    "one slice": one_slice,
    "sparse": lambda shape, rng: rng.choice(4, shape, p=[0.9, 0.05, 0.03, 0.02]).astype(np.uint8),
    "noise": lambda shape, rng: rng.integers(0, 4, shape).astype(np.uint8),
    "smooth": lambda shape, rng: blobs(rng, shape, 4, 0)[0],
}
NAMES = ("lesion a", "lesion b", "lesion c")


@cache
def pairs(shape: Shape) -> list[tuple[np.ndarray, np.ndarray, Spacing]]:
    """Every second of all kinds against all kinds."""
    rng = np.random.default_rng(shape)
    kinds = list(itertools.product(MASKS.values(), repeat=2))[SHAPES.index(shape) % 2 :: 2]
    return [(one(shape, rng), other(shape, rng), SPACINGS[n % 3]) for n, (one, other) in enumerate(kinds)]


@cache
def counted(shape: Shape, protocol: str) -> Counted:
    cases = [pair(r, p, f"{n}", "all", spacing) for n, (r, p, spacing) in enumerate(pairs(shape))]
    return count(cases, protocol, classes(*NAMES), Options(TOLERANCE))


def monai(reference: np.ndarray, prediction: np.ndarray, spacing: Spacing) -> dict[str, float]:
    """Of masks that both hold something; those of a single slice are images."""
    if len(reference) == 1:
        reference, prediction = reference[0], prediction[0]
    both = torch.from_numpy(prediction)[None, None], torch.from_numpy(reference)[None, None]
    steps = spacing[-reference.ndim :]
    found = {
        "dice": compute_dice(*both),
        "iou": compute_iou(*both),
        "hd95": compute_hausdorff_distance(*both, True, percentile=95, spacing=steps),
        "assd": compute_average_surface_distance(*both, True, symmetric=True, spacing=steps),
        "nsd": compute_surface_dice(*both, [TOLERANCE], True, spacing=steps),
    }
    return {name: value.item() for name, value in found.items()}


def by_policy(reference: np.ndarray, prediction: np.ndarray, spacing: Spacing) -> dict[str, float]:
    """Of masks of which one is empty, or both."""
    if not reference.any() and not prediction.any():
        return dict.fromkeys((*OVERLAP, *DISTANCES), math.nan)
    far = math.dist((0, 0, 0), np.multiply(reference.shape, spacing))
    return {"dice": 0, "iou": 0, "hd95": far, "assd": far, "nsd": 0}


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("shape", SHAPES)
def test_volumes_beside_monai(shape: Shape) -> None:
    rows = counted(shape, "volumes").rows
    by_monai = 0
    for n, (reference, prediction, spacing) in enumerate(pairs(shape)):
        for number, name in enumerate(NAMES, 1):
            masks = reference == number, prediction == number
            both = masks[0].any() and masks[1].any()
            expected = (monai if both else by_policy)(*masks, spacing)
            (row,) = rows[(rows["case"] == f"{n}") & (rows["structure"] == name)].to_dict("records")
            found = {column: row[column] for column in expected}
            assert found == pytest.approx(expected, rel=1e-5, nan_ok=True), (n, name)
            by_monai += both
    assert by_monai > 40


@pytest.mark.parametrize("shape", SHAPES)
def test_lesions_beside_scipy(shape: Shape) -> None:
    rows = counted(shape, "volumes").rows
    label = partial(ndimage.label, structure=np.ones((3, 3, 3)))
    seen = 0
    for n, (reference, prediction, spacing) in enumerate(pairs(shape)):
        for number, name in enumerate(NAMES, 1):
            r, p = reference == number, prediction == number
            (lesions, there), (pieces, predicted) = label(r), label(p)
            detected = len(set(lesions[r & p].tolist()))
            false = predicted - len(set(pieces[r & p].tolist()))
            total = 2 * detected + false + (there - detected)
            expected = {
                "lesions_reference": there,
                "lesions_predicted": predicted,
                "lesions_detected": detected,
                "lesions_false": false,
                "lesion_f1": 2 * detected / total if total else math.nan,
                "lesion_sensitivity": detected / there if there else math.nan,
                "reference_ml": r.sum() * np.prod(spacing) / 1000,
                "prediction_ml": p.sum() * np.prod(spacing) / 1000,
            }
            (row,) = rows[(rows["case"] == f"{n}") & (rows["structure"] == name)].to_dict("records")
            assert {column: row[column] for column in expected} == pytest.approx(expected, nan_ok=True), (n, name)
            seen += there > 1
    assert seen > 20


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_slices_beside_monai() -> None:
    """Every slice as an image of its own."""
    shape = SHAPES[0]
    rows = counted(shape, "slices").rows
    by_monai = 0
    for n, (reference, prediction, spacing) in list(enumerate(pairs(shape)))[::2]:
        for s, (number, name) in itertools.product(range(shape[0]), enumerate(NAMES, 1)):
            masks = reference[s : s + 1] == number, prediction[s : s + 1] == number
            both = masks[0].any() and masks[1].any()
            expected = (monai if both else by_policy)(*masks, spacing)
            chosen = (rows["case"] == f"{n}") & (rows["structure"] == name) & (rows["slice"] == s)
            (row,) = rows[chosen].to_dict("records")
            found = {column: row[column] for column in expected}
            assert found == pytest.approx(expected, rel=1e-5, nan_ok=True), (n, s, name)
            by_monai += both
    assert by_monai > 30


def frames(shape: Shape) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of every slice the classes of its pixels."""
    found = []
    for reference, prediction, _ in pairs(shape):
        found += zip(reference.reshape(len(reference), -1), prediction.reshape(len(prediction), -1), strict=True)
    return found


def mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else math.nan


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_endovis_beside_sklearn(shape: Shape) -> None:
    """Of each frame the mean IoU over chosen classes is scikit-learn's macro average."""
    challenge, isi = [], []
    of_class: dict[int, list[float]] = {n: [] for n in (1, 2, 3)}
    for r, p in frames(shape):
        in_reference, in_either = set(r.tolist()) - {0}, {*r.tolist(), *p.tolist()} - {0}
        if in_reference:
            challenge.append(jaccard_score(r, p, labels=sorted(in_reference), average="macro"))
        if in_either:
            isi.append(jaccard_score(r, p, labels=sorted(in_either), average="macro"))
        for n in in_either:
            of_class[n].append(jaccard_score(r == n, p == n))
    whole = [np.concatenate(side) for side in zip(*frames(shape), strict=True)]
    found = counted(shape, "endovis-2018").values()
    expected = {
        ("challenge_iou", None): mean(challenge),
        ("isi_iou", None): mean(isi),
        ("mc_iou", None): mean([mean(values) for values in of_class.values() if values]),
        ("cumulative_iou", None): jaccard_score(*whole, labels=[1, 2, 3], average="micro"),
        **{("iou", name): mean(of_class[n]) for n, name in enumerate(NAMES, 1)},
    }
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_paper_beside_sklearn(shape: Shape) -> None:
    whole = [np.concatenate(side) for side in zip(*frames(shape), strict=True)]
    cases = [(r.ravel(), p.ravel()) for r, p, _ in pairs(shape)]
    found = counted(shape, "paper").values()
    expected = {
        "pixel_accuracy": accuracy_score(*whole),
        "micro_iou": jaccard_score(*whole, average="micro"),
        "mean_iou_with_background": jaccard_score(*whole, average="macro"),
        "mean_iou": jaccard_score(*whole, labels=[1, 2, 3], average="macro"),
        "mean_dice": f1_score(*whole, labels=[1, 2, 3], average="macro"),
    }
    for name, score in (("iou", jaccard_score), ("dice", f1_score)):
        for metric, units in ((f"slice_{name}", frames(shape)), (f"case_{name}", cases)):
            scores = np.array([score(r, p, labels=[1, 2, 3], average=None, zero_division=0) for r, p in units])
            nowhere = [[n not in r and n not in p for n in (1, 2, 3)] for r, p in units]
            expected[metric] = float(np.ma.masked_array(scores, nowhere).mean(axis=0).mean())
            if metric.startswith("slice"):
                expected[f"{metric}_empty_1"] = float(np.where(nowhere, 1, scores).mean())
    assert {metric: found[metric, None] for metric in expected} == pytest.approx(expected)
    assert {metric for metric, structure in found if structure is None} == set(expected)
