"""Bundles: whole, or refused with the reason."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from caseunet import UserError, load_bundle
from caseunet.bundle import Bundle
from caseunet.inference.predictor import Predictor


@pytest.fixture
def copy(lits_bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return shutil.copytree(lits_bundle.folder, tmp_path / "bundle")


def edit(bundle: Path, **changes: object) -> None:
    content = json.loads((bundle / "model.json").read_text())
    (bundle / "model.json").write_text(json.dumps(content | changes))


def test_two_files_and_nothing_else(lits_bundle: Bundle) -> None:
    assert {path.name for path in lits_bundle.folder.iterdir()} == {"model.json", "model.safetensors"}
    info = lits_bundle.info
    assert info.architecture.name == "case_unet"
    assert info.label_map.names == ("background", "liver", "tumour")
    assert info.training_data.split_by == "patient"
    assert info.training_data.licence


def test_a_moved_bundle_works(copy: Path) -> None:
    assert Predictor(copy).folder == copy


def test_missing_parts_are_named(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such bundle"):
        load_bundle(tmp_path / "nowhere")
    with pytest.raises(UserError, match="model.json: no such file"):
        load_bundle(tmp_path)
    (copy / "model.safetensors").unlink()
    with pytest.raises(UserError, match="model.safetensors: no such file; the bundle is incomplete"):
        load_bundle(copy)


def test_changed_weights_are_noticed(copy: Path) -> None:
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="model.safetensors: is not the file that model.json describes"):
        load_bundle(copy)


def test_an_unreadable_description_is_refused(copy: Path) -> None:
    edit(copy, format_version=99)
    with pytest.raises(UserError, match="model.json: cannot be read as a bundle of this version: format_version"):
        load_bundle(copy)
    (copy / "model.json").write_text("{")
    with pytest.raises(UserError, match="model.json: cannot be read as a bundle"):
        load_bundle(copy)


def test_weights_of_another_architecture_are_refused(copy: Path) -> None:
    content = json.loads((copy / "model.json").read_text())["architecture"]
    edit(copy, architecture=content | {"arguments": content["arguments"] | {"widths": [4, 6, 10]}})
    with pytest.raises(UserError, match="the weights do not fit the architecture"):
        Predictor(copy)


def test_a_bundle_that_contradicts_itself_is_refused(copy: Path) -> None:
    content = json.loads((copy / "model.json").read_text())
    edit(copy, preprocessing=content["preprocessing"] | {"neighbours": 4})
    with pytest.raises(UserError, match="disagree on channels or classes"):
        load_bundle(copy)
    edit(copy, preprocessing=content["preprocessing"] | {"clip": [250, -200]})
    with pytest.raises(UserError, match="clip must rise"):
        load_bundle(copy)
    architecture = content["architecture"] | {"arguments": {"widths": [10**7, 10**7]}}
    edit(copy, preprocessing=content["preprocessing"], architecture=architecture)
    with pytest.raises(UserError, match="the weights do not fit the architecture"):
        Predictor(copy)


def test_weights_are_no_pickle(lits_bundle: Bundle) -> None:
    with (lits_bundle.folder / "model.safetensors").open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        assert json.loads(stream.read(length))
    assert all(isinstance(tensor, torch.Tensor) for tensor in lits_bundle.weights.values())
