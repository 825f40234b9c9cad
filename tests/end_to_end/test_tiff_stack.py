"""Stacks of TIFF pages from the raw data to the report."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import caseunet
from caseunet.commands.audit import audit
from caseunet.commands.convert import convert
from caseunet.commands.evaluate import evaluate
from caseunet.commands.predict import predict
from caseunet.commands.prepare import prepare
from caseunet.commands.train import train
from caseunet.config import Config
from caseunet.errors import CaseUNetError
from caseunet.options import PredictOptions
from tests.io.test_tiff_stack import save


def write_stacks(root: Path, stacks: int = 3, pages: int = 4) -> Path:
    """``NAME-volume.tif`` and ``NAME-labels.tif``, as the ISBI challenge of 2012 names them."""
    root.mkdir()
    for n in range(stacks):
        rng = np.random.default_rng(n)
        masks = np.zeros((pages, 40, 36), np.uint8)
        for k in range(pages):
            masks[k, 5 + k : 25, 6 + n : 30] = 255
        save(root / f"train{n}-labels.tif", masks)
        save(root / f"train{n}-volume.tif", (60 + masks // 4 + rng.integers(0, 60, masks.shape)).astype(np.uint8))
    return root


def test_a_stack_is_trained_and_scored(tiny_config: Config, tmp_path: Path) -> None:
    raw = write_stacks(tmp_path / "raw")
    told = {finding.kind: finding for finding in audit(raw, out=tmp_path / "audit").findings}
    assert told["pages"].text == "pages of a TIFF file are slices of one case: train0-volume.tif has 4"
    assert {finding.level for finding in told.values()} == {"note"}
    prepared = prepare(raw, out=tmp_path / "prepared", config=tiny_config.prepare)
    assert prepared.cases["slices"].tolist() == [4, 4, 4]
    bundle = train(prepared.folder, out=tmp_path / "run", config=tiny_config)
    options = PredictOptions(overlay=True, probabilities=True)
    predict(bundle.folder, [raw], out=tmp_path / "masks", options=options)
    with Image.open(tmp_path / "masks" / "train0-volume.tif") as written:
        assert (written.n_frames, written.size) == (4, (36, 40))
    (probability,) = (tmp_path / "masks").glob("train0-volume-probability-1-*.tif")
    with Image.open(probability) as written:
        assert (written.n_frames, written.mode) == (4, "I;16")
    result = evaluate(tmp_path / "masks", raw, out=tmp_path / "report")
    assert set(result.cases["case"]) == {"train0-volume", "train1-volume", "train2-volume"}
    labels = caseunet.Predictor(bundle.folder).predict(raw / "train0-volume.tif").labels
    assert labels.shape == (4, 40, 36)


def test_perfect_masks_score_one(tmp_path: Path) -> None:
    raw = write_stacks(tmp_path / "raw")
    masks = tmp_path / "masks"
    masks.mkdir()
    for path in raw.glob("*-labels.tif"):
        (masks / path.name.replace("labels", "volume")).write_bytes(path.read_bytes())
    assert evaluate(masks, raw, out=tmp_path / "report").cases["dice"].dropna().eq(1).all()


def test_other_numbers_of_pages_are_told(tmp_path: Path) -> None:
    raw = write_stacks(tmp_path / "raw")
    save(raw / "train1-labels.tif", np.zeros((3, 40, 36), np.uint8))
    (error,) = (f for f in audit(raw, out=tmp_path / "audit").findings if f.level == "error")
    assert error.text.startswith("the mask has 3 pages, its image 4; expected a page of each for a slice")


def test_a_stack_becomes_pictures_but_no_nnunet(tmp_path: Path) -> None:
    raw = write_stacks(tmp_path / "raw")
    convert(raw, to="png", out=tmp_path / "png")
    assert len(list((tmp_path / "png" / "masks").iterdir())) == 12
    with pytest.raises(CaseUNetError, match="is a stack of 4 pages"):
        convert(raw, to="nnunet", out=tmp_path / "nnunet")
