"""Evaluation of hand-made masks, and what is refused."""

import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from caseunet.errors import UserError
from caseunet.evaluation.statistics import summarize
from caseunet.files import content_hash, write_json
from caseunet.pipelines.evaluate import evaluate
from caseunet.sources.lits import CODING
from caseunet.types import Fold, Split

AFFINE = np.diag([-2.0, -1.0, 5.0, 1.0])  # voxels of 10 mm³


def put(path: Path, labels: np.ndarray, dtype: type = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels.astype(dtype), AFFINE), path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """(predictions, references) of two cases.

    Case 0: 40 liver and 10 tumour voxels in slice 1, all found but 4 tumour voxels, which are called liver; 10
    voxels of background called liver in slice 2. Case 1: liver of 20, found; no tumour, none predicted.
    """
    reference = np.zeros((2, 10, 10, 4))
    prediction = reference.copy()
    reference[0, :5, :, 1], reference[0, 0, :, 1] = 1, 2
    prediction[0] = reference[0]
    prediction[0, 0, :4, 1] = 1
    prediction[0, 9, :, 2] = 1
    reference[1, :2, :, 0] = prediction[1, :2, :, 0] = 1
    raw, out = tmp_path / "raw", tmp_path / "predictions"
    for n in range(2):
        put(raw / f"volume-{n}.nii", np.arange(400).reshape(10, 10, 4), np.int16)
        put(raw / f"segmentation-{n}.nii", reference[n])
        put(out / f"volume-{n}.nii", prediction[n])
    write_predictions(out)
    return out, raw


def write_predictions(folder: Path, cases: tuple[int, ...] = (0, 1), trained: bool = False) -> None:
    content = {
        "bundle": "b",
        "bundle_hash": "0",
        "label_map": CODING.label_map.model_dump(mode="json"),
        "window": [0, 400],
        "device": "cpu",
        "engine": "torch",
        "code_version": "0",
        "fold": None,
        "selected_on_fold": 0,
        "cases": [
            {
                "id": f"volume-{n}",
                "image": "",
                "image_hash": content_hash(folder.parent / "raw" / f"volume-{n}.nii"),
                "in_training": trained,
                "file": f"volume-{n}.nii",
                "slices": 4,
                "seconds": 0,
            }
            for n in cases
        ],
    }
    write_json(folder / "predictions.json", content)


def value(table: pd.DataFrame, case: str, structure: str, column: str) -> float:
    row = table[(table["case"] == case) & (table["structure"] == structure)]
    return float(row[column].iloc[0])


def test_hand_computed_scores(folders: tuple[Path, Path], tmp_path: Path) -> None:
    result = evaluate(*folders, tmp_path / "report")
    table = pd.read_csv(tmp_path / "report" / "cases.csv")
    # liver = liver or tumour: R 50, P 60, both 50
    assert value(table, "volume-0", "liver", "dice") == pytest.approx(100 / 110, abs=1e-5)
    assert value(table, "volume-0", "liver", "iou") == pytest.approx(50 / 60, abs=1e-5)
    assert value(table, "volume-0", "liver", "volume_error_ml") == pytest.approx(0.1)  # 10 voxels of 10 mm³
    assert value(table, "volume-0", "liver", "relative_volume_error") == pytest.approx(0.2)
    # tumour: R 10, P 6, both 6
    assert value(table, "volume-0", "tumour", "dice") == pytest.approx(12 / 16)
    assert value(table, "volume-0", "tumour", "volume_error_ml") == pytest.approx(-0.04)
    assert value(table, "volume-1", "liver", "dice") == 1
    assert np.isnan(value(table, "volume-1", "tumour", "dice"))

    tumour = result.summary.structures["tumour"].metrics["dice"]
    assert (tumour.n, tumour.undefined, tumour.mean, tumour.interval) == (1, 1, 0.75, None)
    liver = result.summary.structures["liver"].metrics["dice"]
    assert liver.mean == pytest.approx((100 / 110 + 1) / 2)
    assert result.summary.mean_dice == pytest.approx((0.75 + (100 / 110 + 1) / 2) / 2)


def test_every_number_carries_its_definition(folders: tuple[Path, Path], tmp_path: Path) -> None:
    evaluate(*folders, tmp_path / "report")
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert summary["protocol"] == "volumes"
    assert "counted as undefined" in summary["definition"]
    assert set(summary["metrics"]) == set(summary["structures"]["liver"]["metrics"])
    assert summary["structures"]["liver"]["labels"] == [1, 2]
    cases = pd.read_csv(tmp_path / "report" / "cases.csv")
    for name, structure in summary["structures"].items():
        for metric, numbers in structure["metrics"].items():
            mean = cases[cases["structure"] == name][metric].mean()
            assert numbers["mean"] == pytest.approx(mean, rel=1e-5), (name, metric)


def test_the_report_needs_nothing_from_outside(folders: tuple[Path, Path], tmp_path: Path) -> None:
    html = evaluate(*folders, tmp_path / "report", title="<b>Title</b>").report.read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)""", html)
    assert "http" not in html
    assert "@import" not in html
    assert html.count("data:image/png;base64,") >= 2
    assert "&lt;b&gt;Title" in html
    assert len(html) < 2_000_000


def test_only_the_fold_s_slices_are_scored(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Slice 1 of case 0 alone: liver exact, tumour as before. Slices count from the feet."""
    split = Split(by="slice-blocks", caution="Careful.", folds=(Fold(train={}, val={"volume-0": ((1, 2),)}),))
    write_json(tmp_path / "splits.json", split.model_dump(mode="json"))
    result = evaluate(*folders, tmp_path / "report", split=tmp_path / "splits.json")
    assert value(result.cases, "volume-0", "liver", "dice") == 1
    assert value(result.cases, "volume-0", "tumour", "dice") == 0.75
    assert result.summary.caution.startswith("Careful. The weights are those that did best on this very fold")
    assert "1 slice of 1 case" in result.summary.scope
    assert "Careful." in result.report.read_text()


def test_what_was_not_predicted_is_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    write_predictions(folders[0], cases=(0,))
    assert evaluate(*folders, tmp_path / "report").summary.not_predicted == ("volume-1",)
    split = Split(by="patient", folds=(Fold(train={}, val={"volume-0": ((0, 4),), "volume-1": ((0, 4),)}),))
    write_json(tmp_path / "splits.json", split.model_dump(mode="json"))
    with pytest.raises(UserError, match="1 cases of the fold were not predicted, volume-1"):
        evaluate(*folders, tmp_path / "other", split=tmp_path / "splits.json")


def test_what_does_not_fit_is_named(folders: tuple[Path, Path], tmp_path: Path, endovis_raw: Path) -> None:
    predictions, raw = folders
    with pytest.raises(UserError, match="predictions.json: no such file; expected predictions"):
        evaluate(raw, raw, tmp_path / "report")
    with pytest.raises(UserError, match=r"its classes .* are not the predictions'"):
        evaluate(predictions, endovis_raw, tmp_path / "report")
    shutil.copytree(predictions, tmp_path / "unlike")
    put(tmp_path / "unlike" / "volume-0.nii", np.zeros((10, 9, 4)))
    with pytest.raises(UserError, match=r"volume-0.nii: the prediction's shape \(4, 9, 10\)"):
        evaluate(tmp_path / "unlike", raw, tmp_path / "report")
    moved = AFFINE.copy()
    moved[0, 3] = 300
    nib.save(nib.Nifti1Image(np.zeros((10, 10, 4), np.uint8), moved), tmp_path / "unlike" / "volume-0.nii")
    with pytest.raises(UserError, match="volume-0.nii: lies elsewhere than its image"):
        evaluate(tmp_path / "unlike", raw, tmp_path / "report")
    put(tmp_path / "unlike" / "volume-0.nii", np.full((10, 10, 4), 3))
    with pytest.raises(UserError, match="volume-0.nii: a class id is not in 0 to 2"):
        evaluate(tmp_path / "unlike", raw, tmp_path / "report")
    (raw / "segmentation-1.nii").unlink()
    with pytest.raises(UserError, match="there is no mask for the predicted case volume-1"):
        evaluate(predictions, raw, tmp_path / "report")


def test_another_image_s_mask_is_not_scored(folders: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, raw = folders
    put(raw / "volume-0.nii", np.ones((10, 10, 4)), np.int16)
    with pytest.raises(UserError, match="volume-0.nii: was predicted from another image"):
        evaluate(predictions, raw, tmp_path / "report")


def test_training_images_among_the_scored_are_told(folders: tuple[Path, Path], tmp_path: Path) -> None:
    write_predictions(folders[0], trained=True)
    caution = evaluate(*folders, tmp_path / "report").summary.caution
    assert "trained on 2 of the 2 scored cases, volume-0 among them" in caution


def test_a_list_of_predictions_is_checked(folders: tuple[Path, Path], tmp_path: Path) -> None:
    write_predictions(folders[0], cases=(0, 0))
    with pytest.raises(UserError, match="predictions.json: .*case volume-0 is there twice"):
        evaluate(*folders, tmp_path / "report")
    write_predictions(folders[0])
    with pytest.raises(UserError, match=r"metrics.csv is missing"):
        evaluate(*folders, tmp_path / "report", run=tmp_path)
    assert not (tmp_path / "report").exists()


def test_summaries() -> None:
    summary = summarize([1.0, float("nan"), 3.0], ["a", "b", "c"])
    assert (summary.n, summary.undefined, summary.mean, summary.median) == (2, 1, 2.0, 2.0)
    assert summary.sd == pytest.approx(2**0.5)
    assert summary.interval is None
    empty = summarize([float("nan")], ["a"])
    assert (empty.n, empty.mean, empty.interval) == (0, None, None)
    values = list(np.random.default_rng(0).normal(5, 1, 400))
    many = summarize(values, range(400))
    assert many.interval is not None
    assert 4.8 < many.interval[0] < many.mean < many.interval[1] < 5.2


def test_copies_of_a_case_make_no_interval_narrower() -> None:
    """Ten sequences with the same frame forty times over are as uncertain as ten frames."""
    values = list(np.random.default_rng(0).normal(5, 1, 10))
    once = summarize(values, range(10))
    copied = summarize(values * 40, list(range(10)) * 40)
    np.testing.assert_allclose(once.interval, copied.interval)
    assert summarize(values, ["one sequence"] * 10).interval is None
