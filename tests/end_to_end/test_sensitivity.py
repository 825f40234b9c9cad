"""Masks of a sensitivity that is asked for: from the command line, in Python, and what is said of them."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from caseunet import Predictor
from caseunet.bundle import Bundle, load_bundle
from caseunet.data.store import Prepared
from caseunet.options import PredictionSettings
from caseunet.prediction.store import read_predictions

Run = Callable[..., tuple[int, str, str]]
MEMBERS = {"liver": (1, 2), "tumour": (2,)}


def read(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)  # type: ignore[attr-defined]


def found(raw: Path, masks: Path, structure: str) -> dict[str, float]:
    """Mean sensitivity, precision and specificity over the masks, counted anew."""
    rates: dict[str, list[float]] = {"sensitivity": [], "precision": [], "specificity": []}
    for mask in masks.glob("*.nii"):
        reference = np.isin(read(raw / mask.name.replace("volume", "segmentation")), MEMBERS[structure])
        predicted = np.isin(read(mask), MEMBERS[structure])
        rates["sensitivity"].append(predicted[reference].mean())
        rates["precision"].append(reference[predicted].mean())
        rates["specificity"].append(1 - predicted[~reference].mean())
    assert rates["sensitivity"]
    return {name: float(np.mean(values)) for name, values in rates.items()}


def predict(cli: Run, bundle: Bundle, raw: Path, prepared: Prepared, out: Path, *options: str) -> tuple[int, str, str]:
    split = prepared.folder / "splits.json"
    return cli("predict", bundle.folder, raw, "--out", out, "--split", split, "--overwrite", *options)


def test_masks_have_the_sensitivity_that_is_said(
    cli: Run, lits_bundle: Bundle, lits_raw: Path, lits_prepared: Prepared, tmp_path: Path
) -> None:
    before = None
    for asked in (0.6, 0.85, 0.95):
        status, out, err = predict(
            cli, lits_bundle, lits_raw, lits_prepared, tmp_path / "masks", "--sensitivity", f"tumour={asked}"
        )
        assert status == 0, err
        rates = found(lits_raw, tmp_path / "masks", "tumour")
        assert rates["sensitivity"] >= asked
        said = f"sensitivity {rates['sensitivity']:.3f} (no interval), precision {rates['precision']:.3f}, "
        assert said + f"specificity {rates['specificity']:.4f}" in out
        assert "was chosen on 2 validation cases" in out
        info = read_predictions(tmp_path / "masks")
        assert (info.settings.sensitivity, list(info.operating_points)) == ({"tumour": asked}, ["tumour"])
        assert info.operating_points["tumour"].sensitivity == pytest.approx(rates["sensitivity"])
        assert any("tumour" in text for text in info.warnings)
        masks = {path.name: read(path) == 2 for path in (tmp_path / "masks").glob("*.nii")}
        assert before is None or all((before[name] <= masks[name]).all() for name in masks)
        before = masks


def test_several_structures_are_asked(
    cli: Run, lits_bundle: Bundle, lits_raw: Path, lits_prepared: Prepared, tmp_path: Path
) -> None:
    """With one option or two; each mask finds its share, since the tumour lies in the liver."""
    for name, options in {
        "one": ("--sensitivity", "liver=0.9,tumour=0.8"),
        "two": ("--sensitivity=tumour=0.8", "--sensitivity", "liver=0.9"),
    }.items():
        assert predict(cli, lits_bundle, lits_raw, lits_prepared, tmp_path / name, *options)[0] == 0
        for structure, asked in (("liver", 0.9), ("tumour", 0.8)):
            assert found(lits_raw, tmp_path / name, structure)["sensitivity"] >= asked
    for mask in (tmp_path / "one").glob("*.nii"):
        assert mask.read_bytes() == (tmp_path / "two" / mask.name).read_bytes()


def test_python_segments_as_the_command(
    cli: Run, lits_bundle: Bundle, lits_raw: Path, lits_prepared: Prepared, tmp_path: Path
) -> None:
    predict(cli, lits_bundle, lits_raw, lits_prepared, tmp_path / "masks", "--sensitivity", "tumour=0.9")
    predictor = Predictor(lits_bundle, settings=PredictionSettings(sensitivity={"tumour": 0.9}))
    mask = next((tmp_path / "masks").glob("*.nii"))
    segmentation = predictor.predict(lits_raw / mask.name)
    assert np.array_equal(segmentation.labels, read(mask))
    assert any("was chosen on 2 validation cases" in text for text in segmentation.warnings)
    assert predictor.operating_points["tumour"].sensitivity >= 0.9


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("kidney=0.9", 'There is no structure "kidney". Known: liver, tumour'),
        ("tumor=0.9", 'There is no structure "tumor". Did you mean "tumour"?'),
        ("tumour=1", "expected structures and numbers between 0 and 1, such as tumour=0.95"),
        ("tumour", "expected structures and numbers between 0 and 1, such as tumour=0.95"),
    ],
)
def test_what_cannot_be_asked_is_told(
    cli: Run, lits_bundle: Bundle, lits_raw: Path, tmp_path: Path, asked: str, told: str
) -> None:
    options = ("--out", tmp_path / "masks", "--sensitivity", asked)
    status, _, err = cli("predict", lits_bundle.folder, lits_raw, *options)
    assert (status, told in err) == (2, True), err
    assert "--sensitivity" in err
    assert not (tmp_path / "masks").exists()


def test_a_bundle_without_thresholds_is_told(cli: Run, lits_bundle: Bundle, lits_raw: Path, tmp_path: Path) -> None:
    """One whose training learnt nothing, and one of an earlier version, which is read all the same."""
    entries = json.loads((lits_bundle.folder / "model.json").read_text())
    del entries["quality"]["operating_points"]
    for name, quality in (("earlier", entries["quality"]), ("none", None)):
        folder = tmp_path / name
        folder.mkdir()
        for file in lits_bundle.folder.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / "model.json").write_text(json.dumps(entries | {"quality": quality}))
        load_bundle(folder)
        status, _, err = cli("predict", folder, lits_raw, "--out", tmp_path / "out", "--sensitivity", "tumour=0.9")
        assert (status, "The bundle holds no thresholds" in err) == (2, True), err


def test_what_was_begun_with_other_thresholds_is_not_resumed(
    cli: Run, lits_bundle: Bundle, lits_raw: Path, tmp_path: Path
) -> None:
    image, out = lits_raw / "volume-0.nii", tmp_path / "masks"
    assert cli("predict", lits_bundle.folder, image, "--out", out, "--sensitivity", "tumour=0.5")[0] == 0
    status, _, err = cli("predict", lits_bundle.folder, image, "--out", out, "--resume")
    assert (status, "was begun with other settings" in err) == (2, True), err
    assert cli("predict", lits_bundle.folder, image, "--out", out, "--resume", "--sensitivity", "tumour=0.5")[0] == 0
