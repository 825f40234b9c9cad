"""Pixels that nobody judged: in no loss, statistic or score, from the raw data to the report."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from caseunet.commands.evaluate import evaluate
from caseunet.commands.prepare import prepare
from caseunet.commands.train import train
from caseunet.config import Config, PrepareConfig
from caseunet.datasets.generate import write_folder, write_lits
from caseunet.options import EvaluateOptions
from caseunet.types import IGNORE


@pytest.fixture(scope="module")
def judged_in_part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames whose left half nobody judged; the masks hold the classes 0 to 3 and 255."""
    raw = tmp_path_factory.mktemp("ignore") / "raw"
    write_folder(raw, groups=4, frames=2, shape=(48, 64))
    for path in (raw / "masks").iterdir():
        ids = np.asarray(Image.open(path)).copy()
        ids[:, :32] = 255
        Image.fromarray(ids).save(path)
    return raw


def test_training_and_scores_leave_it_out(judged_in_part: Path, tiny_config: Config, tmp_path: Path) -> None:
    prepared = prepare(judged_in_part, out=tmp_path / "prepared", config=tiny_config.prepare)
    assert prepared.info.label_map.names == ("background", "class 1", "class 2", "class 3")
    case = prepared.cases.index[0]
    assert (prepared.labels(case)[:, :, :32] == IGNORE).all()
    assert prepared.slice_class_pixels(case).sum() == 48 * 32, "half of the pixels"
    bundle = train(prepared.folder, out=tmp_path / "run", config=tiny_config)
    assert len(bundle.info.label_map) == 4, "ignored pixels are no class of the model"


def test_what_is_predicted_there_changes_no_score(judged_in_part: Path, tmp_path: Path) -> None:
    """The reference as prediction, with nonsense where nobody judged: every Dice is 1."""
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    for path in (judged_in_part / "masks").iterdir():
        ids = np.asarray(Image.open(path)).copy()
        ids[:, :32] = np.arange(32) % 4
        Image.fromarray(ids).save(predictions / path.name)
    result = evaluate(predictions, judged_in_part, out=tmp_path / "report", options=EvaluateOptions(protocol="slices"))
    assert result.cases["dice"].dropna().eq(1).all()
    assert result.cases["ignored_pixels"].eq(48 * 32).all()
    table = pd.read_csv(tmp_path / "report" / "cases.csv")
    assert table["ignored_pixels"].eq(48 * 32).all()
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert any("12,288 pixels of 8 references (50 % of all pixels)" in note for note in summary["notes"])


def test_255_may_be_the_class_that_is_missing(tmp_path: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    """In one mask of eight 255 stands where all others have class 1: it is not silently ignored."""
    raw, plan = tmp_path / "raw", tmp_path / "plan.yaml"
    write_folder(raw, groups=4, frames=2, shape=(48, 64))
    path = sorted((raw / "masks").iterdir())[2]
    ids = np.asarray(Image.open(path)).copy()
    number = int((ids == 1).sum())
    ids[ids == 1] = 255
    Image.fromarray(ids).save(path)
    cli("audit", raw, "--out", tmp_path / "audit", "--repair", plan)
    findings = json.loads((tmp_path / "audit" / "audit.json").read_text())["findings"]
    told = {finding["kind"]: finding for finding in findings}
    assert told["ignored-class"]["level"] == "warning"
    assert told["ignored-class"]["file"] == f"masks/{path.name}"
    assert f"{number} pixels of 255" in told["ignored-class"]["text"]
    assert f"{number} pixels of 1 mask" in told["unjudged"]["text"]
    text = plan.read_text()
    way = f"{path.stem}: {{why: ignored-class, map: {{255: 1}}}}"
    assert f"# {way}" in text
    plan.write_text(text.replace(f"# {way}", way))
    cli("audit", raw, "--out", tmp_path / "again", "--repair-plan", plan)
    kinds = {finding["kind"] for finding in json.loads((tmp_path / "again" / "audit.json").read_text())["findings"]}
    assert not kinds & {"ignored-class", "unjudged"}
    prepared = prepare(raw, out=tmp_path / "prepared", config=PrepareConfig(workers=0, folds=2, repair_plan=plan))
    assert int(prepared.slice_class_pixels(path.stem)[:, 1].sum()) == number


def test_a_declared_value_is_not_asked_about(tmp_path: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    """A description says that 9 is to be ignored: it stands for no class, though one mask has it for class 1."""
    raw = tmp_path / "raw"
    write_folder(raw, groups=4, frames=2, shape=(48, 64))
    names = {"background": 0, "a": 1, "b": 2, "c": 3, "ignore": 9}
    (raw / "labels.json").write_text(json.dumps(names))
    path = sorted((raw / "masks").iterdir())[2]
    ids = np.asarray(Image.open(path)).copy()
    ids[ids == 1] = 9
    Image.fromarray(ids).save(path)
    cli("audit", raw, "--out", tmp_path / "audit")
    findings = json.loads((tmp_path / "audit" / "audit.json").read_text())["findings"]
    assert {"unjudged"} == {finding["kind"] for finding in findings} & {"unjudged", "ignored-class"}


def test_a_plan_leaves_out_255(tmp_path: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    """Where a description names the classes, 255 is asked about; the plan that is offered leaves it out."""
    raw = tmp_path / "raw"
    write_folder(raw, groups=3, frames=1, shape=(48, 64))
    named = [{"name": n, "classid": i} for i, n in enumerate(("none", "kidney", "intestine", "instrument"))]
    (raw / "labels.json").write_text(json.dumps(named))
    path = sorted((raw / "masks").iterdir())[0]
    ids = np.asarray(Image.open(path)).copy()
    ids[:4] = 255
    Image.fromarray(ids).save(path)
    plan = tmp_path / "plan.yaml"
    assert cli("audit", raw, "--out", tmp_path / "audit", "--repair", plan)[0] == 1
    text = plan.read_text()
    assert [f"map: {{255: {to}}}" in text for to in ("ignore", 1, 2, 3)] == [True] * 4, "each is possible"
    plan.write_text(re.sub(r"# (\S+: {why: unknown-label, map: {255: ignore}})", r"\1", text))
    status, _, error = cli(
        "prepare", raw, "--out", tmp_path / "prepared", "--repair-plan", plan, "--prepare.folds", "2"
    )
    assert status == 0, error


def test_ignored_voxels_of_volumes(tmp_path: Path) -> None:
    """An nnU-Net-like volume: three slices of ten were not looked at."""
    import nibabel as nib

    raw, predictions = tmp_path / "raw", tmp_path / "predictions"
    write_lits(raw, patients=2, shape=(10, 48, 40))
    predictions.mkdir()
    (raw / "images").mkdir()
    (raw / "masks").mkdir()
    for volume in raw.rglob("volume-*.nii*"):
        label = next(raw.rglob(volume.name.replace("volume", "segmentation")))
        image = nib.load(label)
        ids = np.asarray(image.dataobj).astype(np.uint8)
        thick = int(np.argmin(ids.shape))
        unseen = np.moveaxis(np.zeros(ids.shape, bool), thick, 0)
        unseen[:3] = True
        unseen = np.moveaxis(unseen, 0, thick)
        number = volume.name.split("-")[1]
        nib.save(nib.Nifti1Image(np.where(unseen, 255, ids).astype(np.uint8), image.affine), raw / "masks" / number)
        nib.save(nib.Nifti1Image(np.where(unseen, 1, ids).astype(np.uint8), image.affine), predictions / number)
        volume.rename(raw / "images" / number)
        label.unlink()
    result = evaluate(predictions, raw, out=tmp_path / "report", options=EvaluateOptions(protocol="volumes"))
    measured = result.cases[result.cases["structure"] != "background"]
    assert measured["dice"].dropna().eq(1).all()
    assert measured["hd95"].dropna().eq(0).all()
