"""Masks that several people drew of one image."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from caseunet.commands.audit import audit
from caseunet.commands.prepare import prepare
from caseunet.config import PrepareConfig
from caseunet.datasets.layout import SourceCase
from caseunet.datasets.raters import measure_agreement, merge_raters, tell_agreement
from caseunet.errors import CaseUNetError
from caseunet.types import Geometry, Mask
from tests.support.labels import write_rated


def case_of(raters: int) -> SourceCase:
    return SourceCase("a", (), tuple(Path(f"a_{n}.png") for n in range(raters)), "a")


def masks_of(*rows: list[int]) -> list[Mask]:
    return [Mask(np.array(row)[None, None], Geometry((1, len(row)))) for row in rows]


def test_majority_by_hand() -> None:
    """Two of three; three who all differ give the lowest; the ids of classes need not follow each other."""
    masks = masks_of([0, 1, 7, 0, 7], [0, 1, 7, 1, 1], [1, 7, 7, 7, 0])
    assert merge_raters(masks, case_of(3), "majority").label_values[0, 0].tolist() == [0, 1, 7, 0, 0]


def test_two_who_differ_give_the_background() -> None:
    merged = merge_raters(masks_of([0, 1, 1], [1, 0, 1]), case_of(2), "majority")
    assert merged.label_values[0, 0].tolist() == [0, 0, 1]


def test_agreement_is_a_mean_of_dice() -> None:
    found = measure_agreement(masks_of([1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]), "abc")
    assert found.pairs == (("a", "b", pytest.approx(2 / 3)), ("a", "c", 0), ("b", "c", 0))
    assert (found.mean, found.empty) == (pytest.approx(2 / 9), ("c",))
    nothing = measure_agreement(masks_of([0, 0], [0, 0]), "ab")
    assert (nothing.mean, nothing.empty) == (1, ())


def test_one_of_many_who_drew_nothing_is_named() -> None:
    """Of eight, seven draw the same: their mean Dice of 0.75 alone would hide the eighth."""
    found = measure_agreement(masks_of(*[[1, 1, 0]] * 7, [0, 0, 0]), "abcdefgh")
    assert found.mean == 0.75
    warning = tell_agreement({"c1": found})[1]
    assert (warning.case, warning.text[:30]) == ("c1", "h is empty; its raters agree w")


def test_staple_trusts_those_who_agree() -> None:
    """Two careful raters against two who mark at random: where votes tie, STAPLE follows the careful ones."""
    rng = np.random.default_rng(0)
    truth = np.zeros((40, 40), int)
    truth[10:30, 10:30] = 1
    careful = [np.where(rng.random(truth.shape) < 0.02, 1 - truth, truth) for _ in range(3)]
    careless = [np.where(rng.random(truth.shape) < 0.45, 1 - truth, truth) for _ in range(3)]
    masks = [Mask(mask[None], Geometry((40, 40))) for mask in (*careless, *careful)]
    wrong = {
        rule: int((merge_raters(masks, case_of(6), rule).label_values[0] != truth).sum())
        for rule in ("majority", "staple")
    }
    assert wrong["staple"] < wrong["majority"] / 3
    both = [sitk.GetImageFromArray(mask.label_values.astype(np.uint8)) for mask in masks]
    binary = sitk.GetArrayFromImage(sitk.STAPLE(both, 1.0)) > 0.5
    assert np.mean((merge_raters(masks, case_of(6), "staple").label_values == 1) == binary) > 0.99


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    root = tmp_path / "raw"
    write_rated(root)
    return root


def test_raters_are_merged_and_their_agreement_told(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(CaseUNetError, match="merge those of several") as refused:
        prepare(raw, out=tmp_path / "prepared", config=PrepareConfig(folds=2))
    assert str(refused.value).count("merge those of several") == 1, "said once for all cases"
    assert "and 3 more of this kind: masks/c1_rater1.png, masks/c2_rater1.png" in str(refused.value)
    assert "prepare.raters" in refused.value.options
    config = PrepareConfig(folds=2, raters="majority")
    prepared = prepare(raw, out=tmp_path / "prepared", config=config)
    assert prepared.labels("c0").sum() == 19 * 30, "rows that two of three drew"
    told = {finding.kind: finding.text for finding in audit(raw, out=tmp_path / "audit", config=config).findings}
    assert "4 cases have masks of several raters" in told["raters"]
    assert "least in c2" in told["raters"]
    assert "c2_rater3 is empty; its raters agree with a mean Dice of 0.3" in told["raters-disagree"]
    assert "c2_rater1 and c2_rater3 0.00" in told["raters-disagree"]


def test_a_mask_of_another_shape_is_refused(raw: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((48, 40), np.uint8)).save(raw / "masks" / "c1_rater2.png")
    with pytest.raises(CaseUNetError, match=r"c1_rater2.png: has shape \(1, 48, 40\)"):
        prepare(raw, out=tmp_path / "prepared", config=PrepareConfig(folds=2, raters="staple"))


def test_values_of_another_kind_are_refused() -> None:
    """255 of one rater is the 1 of the others: votes of raw values would be wrong."""
    with pytest.raises(CaseUNetError, match=r"a_1.png: holds 0 and 255, where a_0.png, another rater's mask"):
        merge_raters(masks_of([0, 1, 1], [0, 255, 255], [0, 0, 1]), case_of(3), "majority")
