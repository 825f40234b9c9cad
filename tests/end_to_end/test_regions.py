"""Structures that overlap, learnt each by itself: from a raw data set that declares them to masks, scores, exports."""

import json
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch

from caseunet import Predictor, create_model
from caseunet.bundle import Architecture, Bundle
from caseunet.commands.audit import audit
from caseunet.commands.evaluate import evaluate
from caseunet.commands.export import export as export_bundle
from caseunet.commands.predict import predict
from caseunet.commands.prepare import prepare
from caseunet.commands.train import train
from caseunet.config import Config, PrepareConfig, load_config
from caseunet.datasets.generate import write_lits
from caseunet.datasets.lits import CODING as LITS
from caseunet.errors import CaseUNetError
from caseunet.training.pretrained import start_from_bundle
from tests.support.bundles import NO_DATA

STRUCTURES = {"whole liver": (1, 2), "tumour": (2,)}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nnU-Net's raw format with regions, as its documentation has BraTS."""
    folder = tmp_path_factory.mktemp("regions")
    write_lits(folder / "lits", patients=4)
    dataset = folder / "raw" / "Dataset017_Liver"
    for name in ("imagesTr", "labelsTr"):
        (dataset / name).mkdir(parents=True)
    for n in range(4):
        for source, target in (
            (f"volume-{n}.nii", f"imagesTr/p{n}_0000.nii.gz"),
            (f"segmentation-{n}.nii", f"labelsTr/p{n}.nii.gz"),
        ):
            path = next((folder / "lits").rglob(source))
            nibabel.save(nibabel.load(path), dataset / target)
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "whole liver": [1, 2], "tumour": [2]},
        "regions_class_order": [1, 2],
        "numTraining": 4,
        "file_ending": ".nii.gz",
    }
    (dataset / "dataset.json").write_text(json.dumps(description))
    return folder / "raw"


@pytest.fixture(scope="module")
def bundle(raw: Path, tiny_config: Config) -> Bundle:
    prepared = prepare(raw, out=raw.parent / "prepared", config=tiny_config.prepare)
    assert prepared.info.label_map.region_ids == (1, 2)
    return train(prepared.folder, out=raw.parent / "run", config=tiny_config)


def test_declared_regions_are_learnt(bundle: Bundle) -> None:
    assert bundle.info.architecture.kwargs["regions"] == [[1, 2], [2]]
    assert bundle.info.label_map.structures == STRUCTURES
    assert set(bundle.info.validation.structures) == set(STRUCTURES)


def test_masks_and_scores_are_of_regions(bundle: Bundle, raw: Path, tmp_path: Path) -> None:
    predict(bundle.folder, [raw], out=tmp_path / "masks")
    ids = np.unique(np.asarray(nibabel.load(tmp_path / "masks" / "p0.nii.gz").dataobj))
    assert set(ids.tolist()) <= {0, 1, 2}
    result = evaluate(tmp_path / "masks", raw, out=tmp_path / "report")
    assert set(result.cases["structure"]) >= set(STRUCTURES)
    assert result.summary.structures == STRUCTURES


def test_an_export_gives_the_same_classes(bundle: Bundle, tmp_path: Path) -> None:
    export_bundle(bundle.folder, format="onnx", out=tmp_path / "export")
    parity = json.loads((tmp_path / "export" / "export.json").read_text())["parity"]
    assert parity["equal"] == 1.0


def test_one_region_alone_may_be_learnt(raw: Path, tiny_config: Config, tmp_path: Path) -> None:
    """Any data set's structures can be declared to be regions, by names or by values."""
    config = tiny_config.prepare.model_copy(update={"regions": {"organ": ("tumour", 1)}})
    prepared = prepare(raw, out=tmp_path / "prepared", config=config)
    assert prepared.info.label_map.structures == {"organ": (1, 2)}
    assert prepared.info.label_map.region_ids == (1,), "what is written where both classes are in the same region"
    bundle = train(prepared.folder, out=tmp_path / "run", config=tiny_config)
    labels = Predictor(bundle).predict(np.zeros((4, 64, 64), np.int16), axes="SPL", spacing=(5.0, 0.8, 0.8)).labels
    assert set(np.unique(labels).tolist()) <= {0, 1}


def test_classes_may_be_learnt_nevertheless(raw: Path, bundle: Bundle, tmp_path: Path) -> None:
    config = load_config(raw.parent / "run" / "config.yaml", overrides={"data.targets": "classes", "training.steps": 2})
    classes = train(raw.parent / "prepared", out=tmp_path / "run", config=config)
    assert "regions" not in classes.info.architecture.kwargs


@pytest.mark.parametrize("name", ["unet", "nnunet"])
def test_a_training_starts_from_the_other_kind(name: str, tmp_path: Path) -> None:
    """Weights of a network of classes start one of regions, and the other way round; only the head is new."""
    label_map = LITS.label_map
    kinds: list[dict] = [{}, {"regions": [[1, 2], [2]]}]
    for old, new in (kinds, kinds[::-1]):
        before, after = (Architecture(name=name, in_channels=1, num_classes=3, kwargs=kind) for kind in (old, new))
        start = create_model(name, 1, 3, **old)
        info = SimpleNamespace(architecture=before, label_map=label_map, members=(), training_data=NO_DATA)
        bundle = SimpleNamespace(info=info, weights=start.state_dict(), folder=tmp_path)
        model = create_model(name, 1, 3, **new)
        told = start_from_bundle(model, after, label_map=label_map, channel_names=(), bundle=bundle)  # type: ignore[arg-type]
        assert ("outputs were the regions liver, tumour" if old else "classes were background, liver, tumour") in told
        before_, after_ = (getattr(m, "network", m) if kind else m for m, kind in ((start, old), (model, new)))
        shared = [n for n, w in after_.state_dict().items() if w.shape == before_.state_dict()[n].shape]
        assert shared
        assert all(torch.equal(after_.state_dict()[n], before_.state_dict()[n]) for n in shared)


def test_a_class_in_no_region_is_told(raw: Path, tmp_path: Path) -> None:
    found = audit(raw, out=tmp_path / "audit", config=PrepareConfig(regions={"core": (2,)})).findings
    assert [f.text for f in found if f.kind == "no-region"] == ["in no region, so learnt as background: class 1"]


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ({"liver": ("Leber",)}, r'region "liver" holds .Leber., which is no class. The classes are'),
        ({"liver": (7,)}, 'region "liver" holds 7, which is no class'),
        ({"a": (1, 2), "b": (2, 1)}, 'the regions "a" and "b" hold the same classes'),
        ({"a": ()}, 'region "a" is'),
    ],
)
def test_bad_regions_are_refused(raw: Path, regions: dict[str, tuple], message: str, tmp_path: Path) -> None:
    with pytest.raises(CaseUNetError, match=message):
        prepare(raw, out=tmp_path / "prepared", config=PrepareConfig(regions=regions))


def test_regions_are_no_arguments_of_a_network(raw: Path, bundle: Bundle, tmp_path: Path) -> None:
    config = load_config(overrides={"model.kwargs": {"regions": [[1]]}})
    with pytest.raises(CaseUNetError, match=r"Declare regions when the data are prepared"):
        train(raw.parent / "prepared", out=tmp_path / "run", config=config)
    assert create_model("unet", 1, 3, regions=[[1, 2], [2]]).eval() is not None
