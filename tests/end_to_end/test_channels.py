"""Images of several channels: some of them by name, one that is missing, each with its own normalization."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from caseunet import Predictor
from caseunet.bundle import load_bundle
from caseunet.commands.export import export
from caseunet.commands.prepare import prepare
from caseunet.commands.train import train
from caseunet.config import load_config, parse_settings
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError
from caseunet.export import segment
from caseunet.files import read_json
from caseunet.io.images import read_image_file
from tests.support.public_layouts import write_brats

Cli = Callable[..., tuple[int, str, str]]
CHANNELS = ("CT", "T1", "noNorm")
SMALL = (
    *("--training.steps=2", "--training.num_validations=1", "--data.batch_size=2", "--data.patch_size=[32,32]"),
    *("--model.kwargs.widths=[4,6]", "--model.kwargs.patch_size=null"),
)


def write_mixed(root: Path, cases: range, *, masks: bool = True) -> None:
    """nnU-Net's raw format: CT in HU, MR whose scale differs from scan to scan, and a map from 0 to 1."""
    folder = root / "Dataset007_Mixed" if masks else root
    for name in ("imagesTr", "labelsTr") if masks else (".",):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for n in cases:
        rng = np.random.default_rng(n)
        mask = np.zeros((40, 36, 4), np.uint8)
        mask[8 + n : 24 + n, 10:26, 1:] = 1
        made = rng.normal(-100, 20, mask.shape) + 150 * mask, rng.normal(300, 30, mask.shape) * (n + 1), mask / 2
        for c, values in enumerate(made):
            kind = np.float32 if c == 2 else np.int16
            path = folder / ("imagesTr" if masks else ".") / f"p{n}_{c:04d}.nii.gz"
            nib.save(nib.Nifti1Image(values.astype(kind), np.diag([1, 1, 2, 1])), path)
        if masks:
            nib.save(nib.Nifti1Image(mask, np.diag([1, 1, 2, 1])), folder / "labelsTr" / f"p{n}.nii.gz")
    if masks:
        told = {"channel_names": dict(enumerate(CHANNELS)), "labels": {"background": 0, "lesion": 1}}
        (folder / "dataset.json").write_text(json.dumps(told | {"numTraining": len(cases), "file_ending": ".nii.gz"}))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """prepared, run of a model that may lack channels, and NEW images of which p7 lacks its CT."""
    folder = tmp_path_factory.mktemp("mixed")
    write_mixed(folder / "RAW", range(4))
    write_mixed(folder / "NEW", range(6, 8), masks=False)
    (folder / "NEW" / "p7_0000.nii.gz").unlink()
    settings = [option.removeprefix("--") for option in SMALL] + ["augment.channel_dropout=0.3"]
    config = load_config(overrides=parse_settings(settings))
    prepare(folder / "RAW", out=folder / "prepared", config=config.prepare)
    train(folder / "prepared", out=folder / "run", config=config)
    return folder


def run(cli: Cli, *arguments: str | Path) -> str:
    status, out, err = cli(*arguments)
    assert status == 0, out + err
    return out + err


def test_some_channels_from_raw_to_report(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_brats(Path("BRATS"))
    run(cli, "prepare", "BRATS", "--out", "prepared")
    status, _, err = cli("train", "prepared", "--out", "run", "--data.channels", "[t1c, flair]")
    assert status != 0
    assert "there is no channel flair. The channels are t1c, t1n, t2f, t2w." in err
    told = run(cli, "train", "prepared", "--out", "run", "--data.channels", "[t2f, t1c]", *SMALL)
    assert "sees t2f, t1c of the channels t1c, t1n, t2f, t2w" in told
    info = load_bundle("run/bundle").info
    assert (info.training_data.channel_names, info.architecture.in_channels) == (("t2f", "t1c"), 2)
    run(cli, "predict", "run/bundle", "BRATS", "--out", "masks")
    made = read_json(Path("masks/predictions.json"), "predictions")
    assert sorted(case["in_training"] for case in made["cases"]) == [False, False, True, True]
    run(cli, "evaluate", "masks", "BRATS", "--out", "report")
    assert Path("report/report.html").is_file()
    told = run(
        cli, "train", "prepared", "--out", "t", "--pretrained", "run/bundle", "--data.channels", "[t1c, t2f]", *SMALL
    )
    assert "those of t1c, t2f are copied" in " ".join(told.split())


def test_a_part_of_prepared_is_read(mixed: Path) -> None:
    whole, part = Prepared(mixed / "prepared"), Prepared(mixed / "prepared", ("nonorm", "CT"))
    assert (whole.info.channel_names, part.info.channel_names) == (CHANNELS, ("noNorm", "CT"))
    assert (whole.is_part, part.is_part, part.info.channels) == (False, True, 2)
    np.testing.assert_array_equal(part.image("p1"), whole.image("p1")[:, [2, 0]])
    np.testing.assert_array_equal(part.image_slice("p1", 2), whole.image_slice("p1", 2)[[2, 0]])
    np.testing.assert_array_equal(part.case_statistics("p1"), whole.case_statistics("p1")[:, [2, 0]])
    assert part.intensities(["p0"]).mean == tuple(np.array(whole.intensities(["p0"]).mean)[[2, 0]])
    for wrong in (("CT", "ct"), ("CT", "T9")):
        with pytest.raises(CaseUNetError, match="The channels are CT, T1, noNorm"):
            Prepared(mixed / "prepared", wrong)


def test_mixed_modalities_that_may_lack_one(mixed: Path, cli: Cli) -> None:
    """By their names CT is normalized by the training cases, MR by each case, and the map not at all."""
    p = load_bundle(mixed / "run" / "bundle").info.preprocessing
    assert p.per_case_zscore == (False, True, False)
    assert [window is None for window in p.intensity_window] == [False, True, True]
    told = run(cli, "predict", mixed / "run", mixed / "NEW", "--out", mixed / "masks")
    assert "channel CT is missing: the mask is made from the others" in " ".join(told.split())
    cases = {case["id"]: case for case in read_json(mixed / "masks" / "predictions.json", "predictions")["cases"]}
    assert {name: case["missing_channels"] for name, case in cases.items()} == {"p6": [], "p7": ["CT"]}
    assert cases["p7"]["quality"]["flagged"]
    by_name = Predictor(mixed / "run" / "bundle", device="cpu").predict(channels_of_case(mixed / "NEW", 7), axes="NHW")
    written = read_image_file(mixed / "masks" / "p7.nii.gz", False).pixels[:, 0]
    np.testing.assert_array_equal(by_name.labels, written)
    assert any("channel CT is missing" in warning for warning in by_name.warnings)


def channels_of_case(folder: Path, number: int) -> dict[str, np.ndarray]:
    """The channels that are there, as slices one after another."""
    files = {name: folder / f"p{number}_{c:04d}.nii.gz" for c, name in enumerate(CHANNELS)}
    return {name: read_image_file(path, False).pixels[:, 0] for name, path in files.items() if path.is_file()}


def test_an_export_normalizes_each_channel(mixed: Path, tmp_path: Path) -> None:
    """The graph does so of CT and the map, and segment.py beside it of MR."""
    export(mixed / "run" / "bundle", format="onnx", data=str(mixed / "prepared"), out=tmp_path / "onnx")
    info: dict[str, Any] = read_json(tmp_path / "onnx" / "export.json", "an export")
    assert "channel 1 standardised (counted from 0), others in stored units" in info["input"]
    image = np.stack(list(channels_of_case(mixed / "NEW", 6).values()), axis=1)
    labels = segment.segment(image, *segment.load_model(tmp_path / "onnx"), spacing=(2, 1, 1))
    predictor = Predictor(mixed / "run" / "bundle", device="cpu")
    expected = predictor.predict_slices(image, (2.0, 1.0, 1.0))
    assert np.mean(labels == expected) > 0.999
    beside = Predictor(mixed / "run" / "bundle", device="cpu", exported=tmp_path / "onnx")
    assert np.mean(beside.predict_slices(image, (2.0, 1.0, 1.0)) == expected) > 0.999
