"""lits-official against what the challenge's own scorer printed.

``golden/lits_scorer.npz`` holds 40 made-up sets of four cases and the scorer's numbers of each, to three decimals:
unmodified, with its own pins (Python 2.7, MedPy 0.2.2). Among them are cases without a predicted lesion, of noise, of
joined and split lesions, and without label 1.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from caseunet.evaluation.evaluator import Pair, Predicted, Reference
from caseunet.io.geometry import to_canonical, volume_geometry
from caseunet.types import Geometry
from tests.evaluation.test_protocols import LITS, Counted, count

GOLDEN = Path(__file__).parents[1] / "golden" / "lits_scorer.npz"
CASES = 4
Case = tuple[np.ndarray, np.ndarray, list[float]]
"""Reference and prediction as the file holds them, and the voxel size of its header."""
NAMES = {
    "RMSE_Tumorburden": ("burden_rmse", "lesion"),
    "MAXERROR_Tumorburden": ("burden_max", "lesion"),
    "lesion_dice": ("object_dice", "lesion"),
    "lesion_precision": ("precision_50", "lesion"),
    "lesion_recall": ("recall_50", "lesion"),
    "lesion_precision_greater_zero": ("precision_0", "lesion"),
    "lesion_recall_greater_zero": ("recall_0", "lesion"),
}
TWICE = {"liver_jaccard", "lesion_jaccard", "liver_dice"}
"""1 − VOE, and the liver's Dice per case."""


def named(name: str) -> tuple[str, str]:
    """Ours of the scorer's name of a number: metric and structure."""
    structure, metric = name.split("_", 1)
    return NAMES.get(name, (metric, structure))


def golden_sets() -> list[tuple[list[Case], dict[tuple[str, str], float]]]:
    """Of each set the cases, and the scorer's numbers."""
    with np.load(GOLDEN) as stored:
        scores = json.loads(str(stored["scores"]))
        shapes, spacings = stored["shapes"].astype(int).tolist(), stored["spacings"].tolist()
        voxels = stored["voxels"]
    masks = []
    for shape in (shape for shape in shapes for _ in range(2)):
        masks.append(voxels[: np.prod(shape)].reshape(shape))
        voxels = voxels[np.prod(shape) :]
    cases = list(zip(masks[0::2], masks[1::2], spacings, strict=True))
    return [
        (
            cases[CASES * n : CASES * (n + 1)],
            {named(name): value for name, value in of_set.items() if name not in TWICE},
        )
        for n, of_set in enumerate(scores)
    ]


SETS = golden_sets()


def count_files(cases: list[Case], protocol: str, axes: str = "RAS") -> Counted:
    """As if they were read from files whose axes run as told."""
    pairs = []
    for n, (reference, prediction, spacing) in enumerate(cases):
        turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
        order = np.argsort(turn[:, 0])
        straight = np.diag([*(spacing[int(axis)] for axis in turn[:, 0]), 1.0])
        affine = straight @ inv_ornt_aff(turn, np.array(reference.shape)[order.argsort()])
        geometry = volume_geometry(reference.shape, affine, "file")
        np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), spacing)
        pairs.append(as_pair(f"{n}", geometry, reference, prediction))
    return count(pairs, protocol, LITS)


def as_pair(case: str, geometry: Geometry, reference: np.ndarray, prediction: np.ndarray) -> Pair:
    ids, predicted = (to_canonical(array, geometry) for array in (reference, prediction))
    return Pair("m", case, case, lambda: Reference(ids, geometry, geometry), lambda _: Predicted(predicted))


@pytest.mark.parametrize("number", range(len(SETS)))
def test_numbers_of_the_scorer(number: int) -> None:
    cases, expected = SETS[number]
    found = count_files(cases, "lits-official").values()
    assert len(expected) == 21
    assert {key: round(value, 3) for key, value in found.items()} == expected


@pytest.mark.parametrize("axes", ["LPS", "PIR", "SAL", "ILP"])
def test_axes_of_the_file_decide(axes: str) -> None:
    """The scorer takes the array as it lies in the file, wherever its axes run."""
    for number in (6, 18, 26):
        cases, expected = SETS[number]
        found = count_files(cases, "lits-official", axes).values()
        assert {key: round(value, 3) for key, value in found.items()} == expected


def test_corrected_heeds_no_axis_order() -> None:
    for cases, _ in SETS[18:22]:
        one, other = (count_files(cases, "lits-corrected"), count_files(turned(cases), "lits-corrected", "SRA"))
        assert one.values() == pytest.approx(other.values(), rel=1e-6)


def turned(cases: list[Case]) -> list[Case]:
    """The same volumes in files whose axes run otherwise: (z, x, y)."""
    return [
        (reference.transpose(2, 0, 1), prediction.transpose(2, 0, 1), [spacing[2], *spacing[:2]])
        for reference, prediction, spacing in cases
    ]


def test_official_and_corrected_differ() -> None:
    """In what is a slip: lesions above .5, and the largest error. All else is the same."""
    slips = {("precision_50", "lesion"), ("recall_50", "lesion"), ("burden_max", "lesion")}
    slips |= {(metric, "lesion") for metric in ("object_dice", "voe", "rvd", "assd", "rmsd", "msd")}
    differing = set()
    for cases, _ in SETS[::4]:
        official, corrected = (count_files(cases, way).values() for way in ("lits-official", "lits-corrected"))
        differing |= {key for key in official if official[key] != pytest.approx(corrected[key], rel=1e-6)}
    assert differing == slips
