"""The whole way through the command line, on generated data, and every bad input with its one clear error."""

import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

import caseunet
from caseunet.config import Config, load_config
from caseunet.data.store import Prepared
from caseunet.options import EvaluateOptions, PredictOptions
from tests.conftest import TINY
from tests.contracts.test_layouts import WRITERS

Run = Callable[..., tuple[int, str, str]]
KEYS = [token for key, value in TINY.items() for token in (f"--{key}", json.dumps(value))]


@pytest.mark.parametrize("kind", ["lits", "endovis"])
def test_verbs_one_by_one_equal_their_functions(
    kind: str, cli: Run, request: pytest.FixtureRequest, tiny_config: Config, tmp_path: Path
) -> None:
    raw: Path = request.getfixturevalue(f"{kind}_raw")
    a, b = tmp_path / "cli", tmp_path / "functions"

    for arguments in (
        ("prepare", raw, "--out", a / "prepared", *KEYS),
        ("train", a / "prepared", "--out", a / "run", *KEYS),
        ("predict", a / "run" / "bundle", raw, "--out", a / "predictions", "--split", a / "prepared" / "splits.json"),
        (
            *("evaluate", a / "predictions", raw, "--out", a / "report", "--run", a / "run"),
            *("--split", a / "prepared" / "splits.json"),
        ),
    ):
        status, out, err = cli(*arguments)
        assert (status, err) == (0, ""), out
        assert cli(*arguments)[0] == 2, "an earlier result is not replaced unasked"
        assert cli(*arguments, "--overwrite")[0] == 0

    splits = b / "prepared" / "splits.json"
    prepared = caseunet.prepare(raw, out=b / "prepared", config=tiny_config.prepare)
    bundle = caseunet.train(b / "prepared", out=b / "run", config=tiny_config)
    caseunet.predict(bundle.folder, [raw], out=b / "predictions", options=PredictOptions(split=splits))
    evaluation = caseunet.evaluate(
        b / "predictions", raw, out=b / "report", options=EvaluateOptions(split=splits, run=b / "run")
    )

    from_cli = Prepared(a / "prepared")
    assert (from_cli.info, from_cli.split) == (prepared.info, prepared.split)
    weights = caseunet.load_bundle(a / "run" / "bundle").weights
    assert all(torch.equal(weights[name], tensor) for name, tensor in bundle.weights.items())
    found = (path.relative_to(b / "predictions") for path in (b / "predictions").rglob("*"))
    masks = [path for path in found if path.suffix in (".nii", ".png")]
    assert len(masks) == len(prepared.fold(0).val)
    for mask in masks:
        assert (a / "predictions" / mask).read_bytes() == (b / "predictions" / mask).read_bytes()
    pd.testing.assert_frame_equal(pd.read_csv(a / "report" / "cases.csv"), pd.read_csv(b / "report" / "cases.csv"))
    assert evaluation.report.is_file()
    assert json.loads((a / "report" / "summary.json").read_text())["cases"] == len(prepared.fold(0).val)


def test_predictions_lie_where_their_sources_lie(
    cli: Run, lits_bundle: caseunet.Bundle, lits_raw: Path, tmp_path: Path
) -> None:
    status, _, _ = cli("predict", lits_bundle.folder, lits_raw, "--out", tmp_path / "out")
    assert status == 0
    for source_path in sorted(lits_raw.glob("volume-*.nii")):
        source, mask = nib.load(source_path), nib.load(tmp_path / "out" / source_path.name)
        assert mask.shape == source.shape
        np.testing.assert_array_equal(mask.affine, source.affine)
        assert nib.aff2axcodes(mask.affine) == nib.aff2axcodes(source.affine)


def test_frames_become_palette_masks_of_their_size(
    cli: Run, endovis_raw: Path, tiny_config: Config, tmp_path: Path
) -> None:
    config = load_config(overrides=TINY | {"prepare.size": [32, 32]})
    caseunet.prepare(endovis_raw, out=tmp_path / "prepared", config=config.prepare)
    caseunet.train(tmp_path / "prepared", out=tmp_path / "run", config=config)
    frame = endovis_raw / "seq_2" / "left_frames" / "frame001.png"
    status, _, _ = cli("predict", tmp_path / "run" / "bundle", frame, "--out", tmp_path / "out")
    assert status == 0
    mask = Image.open(tmp_path / "out" / "frame001.png")
    assert mask.mode == "P"
    assert mask.size == Image.open(frame).size
    assert np.asarray(mask).max() < 12


def test_the_demo_on_made_up_patients(cli: Run, tmp_path: Path) -> None:
    status, out, err = cli("demo", "--synthetic", "--steps", "4", "--out", tmp_path / "demo")
    assert (status, err) == (0, "")
    summary = json.loads((tmp_path / "demo" / "report" / "summary.json").read_text())
    assert summary["models"][0]["caution"] == "", "made-up patients are split by patient"
    assert set(summary["structures"]) == {"liver", "tumour"}
    assert str(tmp_path / "demo" / "report" / "report.html") in out
    assert f" predict {tmp_path / 'demo' / 'run' / 'bundle'} my-ct.nii.gz" in out
    assert "liver" in out
    status, _, err = cli("demo", "--synthetic", "--out", tmp_path / "demo")
    assert status == 2
    assert "overwrite" in err


def test_the_demo_s_volume_is_lits_117(cli: Run, tmp_path: Path) -> None:
    demo = pytest.importorskip("caseunet.commands.demo")
    if demo.find_spec(demo.PACKAGE) is None:
        pytest.skip("the package with LiTS volume 117 is not installed")
    demo.write_volume_117(tmp_path)
    status, _, err = cli("prepare", tmp_path, "--out", tmp_path / "p", "--prepare.split", "slice-blocks")
    assert (status, err) == (0, "")
    prepared = Prepared(tmp_path / "p")
    assert prepared.info.class_pixels == (1481801, 485268, 130083)
    assert prepared.fold(0).train["volume-117"][0] == (10, 30)
    labels = prepared.labels("volume-117")
    assert np.argwhere(labels > 0)[:, 2].mean() < 64, "the liver lies on the patient's right"


def test_without_the_volume_the_demo_offers_made_up_patients(
    cli: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("caseunet.commands.demo.find_spec", lambda name: None)
    status, _, err = cli("demo", "--out", tmp_path / "demo")
    assert status == 2
    assert "On the command line: --synthetic" in err
    assert not (tmp_path / "demo").exists()


def test_models_are_measured_here(cli: Run) -> None:
    status, out, _ = cli("models", "segresnet", "--size", "64", "96", "--measure", "--training")
    assert status == 0
    row = next(line for line in out.splitlines() if line.startswith("segresnet"))
    milliseconds, images_per_second, mib = (float(cell.replace(",", "")) for cell in row.split()[-3:])
    assert images_per_second == pytest.approx(1000 / milliseconds, rel=0.1)
    parameters = float(row.split()[-5].replace(",", ""))
    assert mib > 4 * 4 * parameters / 2**20, "weights, gradients and two moments of each"
    status, _, error = cli("models", "segresnett")
    assert status == 2
    assert '"segresnet"' in error
    status, _, error = cli("models", "--training")
    assert status == 2
    assert "--measure" in error
    if not torch.cuda.is_available():
        status, _, error = cli("models", "segresnet", "--size", "64", "64", "--measure", "--device", "cuda")
        assert status == 2
        assert "no CUDA device" in error


@pytest.mark.parametrize("name", ["dicom", "nnunet", "msd", "folder", "endovis2018-types", "endovis2017"])
def test_every_layout_goes_the_whole_way(name: str, cli: Run, tmp_path: Path) -> None:
    raw, work = tmp_path / "raw", tmp_path / "work"
    WRITERS[name](raw)
    config = ("--prepare.workers", "1")
    assert cli("prepare", raw, "--out", work / "prepared", *KEYS, *config)[::2] == (0, "")
    assert cli("train", work / "prepared", "--out", work / "run", *KEYS, "--steps", "2")[::2] == (0, "")
    split = ("--split", work / "prepared" / "splits.json")
    status, out, err = cli("predict", work / "run" / "bundle", raw, "--out", work / "predictions", *split)
    assert (status, err) == (0, ""), out
    status, out, err = cli("evaluate", work / "predictions", raw, "--out", work / "report", *split, *config)
    assert (status, err) == (0, ""), out
    scored = pd.read_csv(work / "report" / "cases.csv")
    assert set(scored["case"]) == set(Prepared(work / "prepared").fold(0).val)
    assert (scored["reference_pixels"] > 0).any()


def test_cases_that_a_plan_leaves_out_are_not_scored(
    cli: Run, lits_raw: Path, lits_bundle: caseunet.Bundle, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("layout: lits\ncases: {volume-1: {drop: true, why: looked at}}\n")
    assert cli("predict", lits_bundle.folder, lits_raw, "--out", tmp_path / "p")[0] == 0
    status, _, err = cli("evaluate", tmp_path / "p", lits_raw, "--out", tmp_path / "r", "--repair-plan", plan)
    assert (status, err) == (0, "")
    assert set(pd.read_csv(tmp_path / "r" / "cases.csv")["case"]) == {"volume-0", "volume-2", "volume-3"}


def test_help_models_doctor_and_version(cli: Run) -> None:
    status, out, _ = cli("--help")
    assert status == 0
    making = ("demo", "audit", "prepare", "train", "predict", "evaluate", "report", "compare", "ablate")
    for verb in (*making, "models", "doctor"):
        assert verb in out
        assert cli(verb, "--help")[0] == 0
    status, out, _ = cli("models")
    assert status == 0
    assert "86,446,030" in out
    assert "204.2" in out, "GMAC of one 512×512 image"
    status, out, _ = cli("doctor")
    assert status == 0
    assert torch.__version__ in out
    assert f"OpenVINO {version('openvino').split('-')[0]}" in out
    assert cli("--version")[1].strip() == caseunet.__version__
    out = cli(
        "train",
        "--print-config",
        "--optimizer.lr=1e-3",
        "--set",
        "model.name=unet",
        "--data.intensity_window",
        "[-1, 2]",
    )[1]
    config = yaml.safe_load(out)
    assert (config["optimizer"]["lr"], config["model"]["name"], config["data"]["intensity_window"]) == (
        1e-3,
        "unet",
        [-1, 2],
    )


@pytest.mark.parametrize(
    "case",
    [
        "missing",
        "unpaired",
        "shape",
        "key",
        "bundle",
        "option",
        "verb",
        "argument",
        "value",
        "nothing",
        "steps",
        "self",
    ],
)
def test_each_bad_input_gives_one_clear_error(
    case: str, cli: Run, lits_raw: Path, lits_prepared: Prepared, lits_bundle: caseunet.Bundle, tmp_path: Path
) -> None:
    raw = shutil.copytree(lits_raw, tmp_path / "raw")
    out = ("--out", tmp_path / "out")
    if case == "unpaired":
        (raw / "volume-3.nii").unlink()
    if case == "shape":
        image = nib.load(raw / "segmentation-3.nii")
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[1:].copy(), image.affine), raw / "segmentation-3.nii")
    broken = shutil.copytree(lits_bundle.folder, tmp_path / "broken")
    (broken / "model.json").write_text("{}")
    arguments, expected = {
        "missing": (("predict", lits_bundle.folder, tmp_path / "none.nii", *out), "none.nii: no such file"),
        "unpaired": (("prepare", raw, *out), "segmentation-3.nii: a mask without its image; volume-3.nii was expected"),
        "shape": (("prepare", raw, *out), "segmentation-3.nii: the mask's shape"),
        "key": (
            ("train", lits_prepared.folder, *out, "--optimizer.learning", "1"),
            'there is no key "optimizer.learning"',
        ),
        "bundle": (("predict", broken, raw, *out), "model.json: cannot be read as a bundle"),
        "option": (("prepare", raw, *out, "--overwrit"), "Unknown option: --overwrit. Did you mean --overwrite?"),
        "verb": (("prepair", raw), "prepair"),
        "argument": (("prepare", raw), "out"),
        "value": (("demo", "--steps", "many"), "many"),
        "steps": (("train", lits_prepared.folder, *out, "--steps", "0"), "training.steps = 0"),
        "self": (("prepare", raw, "--out", raw, "--overwrite"), "which is read"),
        "nothing": (("predict", lits_bundle.folder, *out), "Nothing to segment"),
    }[case]
    status, stdout, stderr = cli(*arguments)
    assert status != 0
    assert expected in " ".join(stderr.split())
    assert "Traceback" not in stdout + stderr
    assert stderr.lower().count("error") <= 1
    assert not (tmp_path / "out").exists()
    assert (raw / "volume-0.nii").exists()


def test_names_that_look_like_markup_are_printed_as_they_are(cli: Run, lits_raw: Path, tmp_path: Path) -> None:
    raw = shutil.copytree(lits_raw, tmp_path / "scans [ct] [/b] ü")
    status, out, err = cli("prepare", raw, "--out", tmp_path / "pre [x]")
    assert (status, err) == (0, "")
    assert "scans [ct] [/b] ü: layout lits" in out
    assert f"caseunet train '{tmp_path / 'pre [x]'}' --out run" in out


def test_debug_shows_the_traceback(cli: Run, tmp_path: Path) -> None:
    with pytest.raises(caseunet.CaseUNetError, match="no such folder"):
        cli("prepare", tmp_path / "none", "--out", tmp_path / "out", "--debug")
