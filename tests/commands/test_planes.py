"""Volumes that were acquired in other planes than the axial one, from raw data to a report."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from caseunet import Predictor
from caseunet.bundle import load_bundle
from caseunet.commands.audit import audit
from caseunet.commands.evaluate import evaluate
from caseunet.commands.predict import dry_run, predict
from caseunet.commands.prepare import prepare
from caseunet.commands.train import train
from caseunet.config import PrepareConfig, load_config
from caseunet.files import write_json
from caseunet.options import EvaluateOptions, PredictionOutputs, PredictOptions
from caseunet.types import DIRECTIONS, Plane
from tests.datasets.test_planes import write_volume
from tests.prediction.test_round_trips import CT, brightness_bundle

HU = CT.model_copy(update={"modality": "mr", "mean": (150.5,)})
"""The network finds what is above 150, as the masks of ``write_volume`` have it."""


def turned(path: Path, plane: Plane) -> np.ndarray:
    """The array of a file in the order of a plane, by nibabel."""
    image = nib.load(path)
    own, there = (nib.orientations.axcodes2ornt(c) for c in (nib.aff2axcodes(image.affine), DIRECTIONS[plane]))
    return np.asarray(image.as_reoriented(nib.orientations.ornt_transform(own, there)).dataobj)


@pytest.fixture
def sagittal(tmp_path: Path) -> Path:
    """Two volumes of six slices."""
    raw = tmp_path / "raw"
    for n in range(2):
        write_volume(raw, f"v{n}", "sagittal", n)
    write_json(raw / "labels.json", [{"name": name, "classid": n} for n, name in enumerate(("background", "liver"))])
    return raw


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two sagittal volumes, an axial and an isotropic one, and a single coronal slice."""
    raw = tmp_path / "raw"
    for n, kind in enumerate(("sagittal", "sagittal", "axial", "isotropic")):
        write_volume(raw, f"v{n}", kind, n)
    write_volume(raw, "v4", "coronal", 4, single=True)
    return raw


def test_a_mixed_data_set_is_told_and_decided(mixed: Path, tmp_path: Path) -> None:
    prepared = prepare(mixed, out=tmp_path / "p", config=PrepareConfig(spacing=None, workers=0))
    assert prepared.info.grid.plane == "sagittal"
    assert prepared.cases["slices"].to_dict() == {"v0": 6, "v1": 6, "v2": 36, "v3": 36, "v4": 1}
    for n, plane in enumerate(("sagittal",) * 4 + ("coronal",)):
        np.testing.assert_array_equal(prepared.image(f"v{n}")[:, 0], turned(mixed / f"images/v{n}.nii.gz", plane))
        np.testing.assert_array_equal(prepared.labels(f"v{n}"), turned(mixed / f"masks/v{n}.nii.gz", plane))
    [note] = [note for note in prepared.info.notes if "in the plane" in note]
    assert "axial: 1 (v2); coronal: 1 (v4); sagittal: 2 (v0, v1); isotropic: 1 (v3)" in note
    assert "volumes are cut into sagittal slices; single slices stay as they are (1 (v4))" in note


def test_the_audit_warns_of_mixed_planes(mixed: Path, tmp_path: Path) -> None:
    found = audit(mixed, out=tmp_path / "a", config=PrepareConfig(workers=0))
    [finding] = [finding for finding in found.at_level("warning") if finding.kind == "plane"]
    assert finding.case == "v2"
    assert "prepare.plane" in finding.advice
    assert (found.plane, [case.image.plane for case in found.facts]) == ("sagittal", ["sagittal"] * 4 + ["coronal"])


def test_each_volume_can_keep_its_own_plane(mixed: Path, tmp_path: Path) -> None:
    prepared = prepare(mixed, out=tmp_path / "p", config=PrepareConfig(spacing=None, plane="acquired", workers=0))
    assert prepared.info.grid.plane == "acquired"
    assert prepared.cases["slices"].to_dict() == {"v0": 6, "v1": 6, "v2": 6, "v3": 40, "v4": 1}
    np.testing.assert_array_equal(prepared.image("v2")[:, 0], turned(mixed / "images/v2.nii.gz", "axial"))


@pytest.mark.parametrize("rule", ["axial", "sagittal", "acquired"])
def test_predict_says_where_planes_differ(rule: str, mixed: Path, tmp_path: Path) -> None:
    bundle = brightness_bundle(tmp_path / "b", HU.model_copy(update={"plane": rule}))
    outputs = PredictionOutputs(probabilities=True, overlay=True, measurements=True)
    done = predict(
        bundle, mixed / "images", out=tmp_path / "out", options=PredictOptions(device="cpu", **outputs.model_dump())
    )
    assert done.plane == rule
    for case in done.cases:
        for what, is_there in (("file", lambda a: a > 0), ("probability of liver", lambda a: a > 0.5)):
            name = case.file if what == "file" else case.others[what]
            mask, image = nib.load(tmp_path / "out" / name), nib.load(mixed / "images" / f"{case.id}.nii.gz")
            np.testing.assert_array_equal(mask.affine, image.affine)
            np.testing.assert_array_equal(is_there(mask.get_fdata()), image.get_fdata() > 150)
    slices = {"axial": (40, 40, 6, 40, 1), "sagittal": (6, 6, 36, 36, 1), "acquired": (6, 6, 6, 40, 1)}[rule]
    assert tuple(case.slices for case in done.cases) == slices
    told = {case.id: case.remarks for case in done.cases if case.remarks}
    single = f"is a single coronal slice, while the model was trained on {rule} ones"
    moved = f"was acquired in {{}} slices and is cut into {rule} ones, as the model's training data were"
    expected = {"v0": "sagittal", "v1": "sagittal"} if rule == "axial" else {"v2": "axial"}
    expected = {case: (moved.format(plane),) for case, plane in expected.items()} | {"v4": (single,)}
    assert told == ({} if rule == "acquired" else expected)
    costs, _ = dry_run(bundle, [mixed / "images"], options=PredictOptions(device="cpu"))
    assert tuple(cost.slices for cost in costs) == slices
    assert (costs[0].height, costs[0].width) == {"axial": (38, 6)}.get(rule, (40, 38))


def test_scores_of_volumes_do_not_hang_on_planes(sagittal: Path, tmp_path: Path) -> None:
    found = {}
    for rule in ("axial", "sagittal"):
        preprocessing = HU.model_copy(update={"plane": rule, "mean": (160.0,)})
        bundle = brightness_bundle(tmp_path / f"b-{rule}", preprocessing)
        predict(bundle, sagittal / "images", out=tmp_path / rule, options=PredictOptions(device="cpu"))
        for protocol in ("volumes", "slices"):
            config = PrepareConfig(workers=0)
            done = evaluate(
                tmp_path / rule,
                sagittal,
                out=tmp_path / f"r-{rule}-{protocol}",
                config=config,
                options=EvaluateOptions(protocol=protocol),
            )
            assert done.summary.source.plane == rule
            found[rule, protocol] = done.cases[done.cases["structure"] != "background"]
    columns = [c for c in found["axial", "volumes"].columns if c != "model"]
    numbers = [found[rule, "volumes"][columns].select_dtypes("number").to_numpy() for rule in ("axial", "sagittal")]
    np.testing.assert_allclose(*numbers, rtol=1e-9)
    assert [len(found[rule, "slices"]) for rule in ("axial", "sagittal")] == [80, 12]


def test_masks_of_other_tools_are_cut_as_acquired(sagittal: Path, tmp_path: Path) -> None:
    done = evaluate(
        sagittal / "masks",
        sagittal,
        out=tmp_path / "r",
        config=PrepareConfig(workers=0),
        options=EvaluateOptions(protocol="slices"),
    )
    assert done.summary.source.plane == "sagittal"
    assert sorted(set(done.cases["slice"])) == list(range(6))


def test_blocks_of_sagittal_slices_are_scored(sagittal: Path, tmp_path: Path) -> None:
    config = PrepareConfig(spacing=None, split="slice-blocks", split_block_size=2, test_every=3, split_gap=0, workers=0)
    prepared = prepare(sagittal, out=tmp_path / "p", config=config)
    assert prepared.fold(1).val == {"v0": ((2, 4),), "v1": ((2, 4),)}
    bundle = brightness_bundle(tmp_path / "b", HU.model_copy(update={"plane": "sagittal"}))
    predict(bundle, sagittal / "images", out=tmp_path / "out", options=PredictOptions(device="cpu"))
    split = tmp_path / "p" / "splits.json"
    config = PrepareConfig(workers=0)
    done = evaluate(
        tmp_path / "out", sagittal, out=tmp_path / "r", config=config, options=EvaluateOptions(split=split, fold=1)
    )
    pixels = done.cases[done.cases["structure"] != "background"]["reference_pixels"].tolist()
    masks = [turned(sagittal / f"masks/v{n}.nii.gz", "sagittal") for n in range(2)]
    assert pixels == [int(mask[2:4].sum()) for mask in masks]


def test_sagittal_slices_are_learned(tmp_path: Path) -> None:
    """A bright disc, seen only in the sagittal plane as one: what is learned returns to the file's own axes."""
    raw, names = tmp_path / "raw", [f"v{n}" for n in range(3)]
    for n, name in enumerate(names):
        rows, columns = np.mgrid[:40, :36]
        disc = (rows - 18 - n) ** 2 + (columns - 12 - n) ** 2 < 60
        image = np.random.default_rng(n).normal(100, 5, (40, 36, 6)) + 80 * disc[..., None]
        affine = np.array([[0, 0, 4, 0], [0, -0.5, 0, 0], [-0.5, 0, 0, 0], [0, 0, 0, 1.0]])
        for part, array in (("images", image.astype(np.int16)), ("masks", disc[..., None] & np.ones(6, bool))):
            (raw / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array.astype(np.int16), affine), raw / part / f"{name}.nii.gz")
    prepared = prepare(raw, out=tmp_path / "p", config=PrepareConfig(workers=0, folds=3))
    assert prepared.image("v0").shape == (6, 1, 40, 36)
    changes = {"model.name": "unet", "model.kwargs": {"widths": [4, 8]}, "training.steps": 40, "data.batch_size": 2}
    train(tmp_path / "p", out=tmp_path / "run", config=load_config(overrides=changes))
    assert load_bundle(tmp_path / "run" / "bundle").info.preprocessing.plane == "sagittal"
    assert "cut into sagittal slices" in (tmp_path / "run" / "bundle" / "README.md").read_text()
    mask = Predictor(tmp_path / "run" / "bundle", "cpu").predict(raw / "images" / "v0.nii.gz")
    mask.save(tmp_path / "m.nii.gz")
    found, truth = (nib.load(path).get_fdata() > 0 for path in (tmp_path / "m.nii.gz", raw / "masks" / "v0.nii.gz"))
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8
