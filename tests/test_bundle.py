"""Bundles: whole, or refused with the reason."""

import json
import shutil
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import jsonschema
import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from caseunet import CaseUNetError, load_bundle
from caseunet.bundle import Bundle, BundleInfo, add_validation, write_zip
from caseunet.bundle.card import licence_name
from caseunet.bundle.folder import MAX_DESCRIPTION
from caseunet.bundle.info import FORMAT, bundle_schema
from caseunet.files import content_hash
from caseunet.prediction.python_predictor import Predictor


@pytest.fixture
def copy(lits_bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return shutil.copytree(lits_bundle.folder, tmp_path / "bundle")


def edit(bundle: Path, **changes: object) -> None:
    content = json.loads((bundle / "model.json").read_text())
    (bundle / "model.json").write_text(json.dumps(content | changes))


def test_four_files_and_nothing_else(lits_bundle: Bundle) -> None:
    files = {path.name: path for path in lits_bundle.folder.iterdir()}
    assert set(files) == {"model.json", "model.safetensors", "README.md", "preview.png"}
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {files["model.json"].stat().st_mode & 0o777}
    info = lits_bundle.info
    assert info.architecture.name == "case_unet"
    assert info.label_map.names == ("background", "liver", "tumour")
    assert info.training_data.split_by == "patient"
    assert info.training_data.licence


def test_a_moved_bundle_works(copy: Path) -> None:
    assert Predictor(copy).folder == copy


def test_the_folder_of_a_run_is_its_bundle(copy: Path, tmp_path: Path) -> None:
    shutil.copytree(copy, tmp_path / "run" / "bundle")
    assert load_bundle(tmp_path / "run").folder == tmp_path / "run" / "bundle"


def test_missing_parts_are_named(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(CaseUNetError, match="nowhere: no such bundle"):
        load_bundle(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CaseUNetError, match="holds no model.json"):
        load_bundle(tmp_path / "empty")
    (copy / "model.safetensors").unlink()
    with pytest.raises(CaseUNetError, match="model.safetensors: no such file; the bundle is incomplete"):
        load_bundle(copy)


def test_changed_weights_are_noticed(copy: Path) -> None:
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    with pytest.raises(CaseUNetError, match="model.safetensors: is not the file that model.json describes"):
        load_bundle(copy)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(copy: Path, value: float) -> None:
    """Their hash is right: such a network gives an empty mask without a word."""
    weights = load_file(copy / "model.safetensors")
    name = sorted(weights)[1]
    weights[name].view(-1)[0] = value
    save_file(weights, copy / "model.safetensors")
    edit(copy, weights_hash=content_hash(copy / "model.safetensors"))
    with pytest.raises(CaseUNetError, match=f"model.safetensors: {name} holds values that are no finite numbers"):
        load_bundle(copy)


def test_what_is_never_found_is_said(copy: Path, lits_raw: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    bundle = load_bundle(copy)
    assert bundle.info.caution == ""
    poor = bundle.info.validation.model_copy(update={"not_found": ("tumour",)})
    add_validation(bundle, poor, None)
    assert "with loss.class_weights: inverse_frequency" in load_bundle(copy).info.caution
    told = "finds nothing of tumour in any validation case"
    assert told in load_bundle(copy).info.caution
    assert told in (copy / "README.md").read_text()
    status, out, _ = cli("predict", copy, lits_raw / "volume-0.nii", "--out", copy.parent / "masks")
    assert status == 0
    assert told in " ".join(out.split())


@pytest.mark.parametrize(
    ("loss", "regions", "is_advised"),
    [
        ({"name": "hybrid", "class_weights": "none"}, False, True),
        ({"name": "hybrid", "class_weights": "none"}, True, False),
        ({"name": "hybrid", "class_weights": "inverse_frequency"}, False, False),
        ({"name": "dice", "class_weights": "none"}, False, False),
    ],
)
def test_advice_is_only_what_can_be_followed(
    loss: dict[str, str], regions: bool, is_advised: bool, lits_bundle: Bundle
) -> None:
    info = lits_bundle.info
    assert info.recipe is not None
    told = info.model_copy(
        update={
            "validation": info.validation.model_copy(update={"not_found": ("tumour",)}),
            "recipe": info.recipe.model_copy(update={"loss": loss}),
            "label_map": info.label_map.with_regions() if regions else info.label_map,
        }
    )
    assert ("loss.class_weights" in told.caution) == is_advised


def test_an_unreadable_description_is_refused(copy: Path) -> None:
    edit(copy, format_version=99)
    with pytest.raises(CaseUNetError, match="model.json: cannot be read as a bundle of this version: format_version"):
        load_bundle(copy)
    (copy / "model.json").write_text("{")
    with pytest.raises(CaseUNetError, match="model.json: cannot be read as a bundle"):
        load_bundle(copy)


def test_weights_of_another_architecture_are_refused(copy: Path) -> None:
    content = json.loads((copy / "model.json").read_text())["architecture"]
    edit(copy, architecture=content | {"kwargs": content["kwargs"] | {"widths": [4, 6, 10]}})
    with pytest.raises(CaseUNetError, match="the weights do not fit the architecture"):
        Predictor(copy)


def test_a_bundle_that_contradicts_itself_is_refused(copy: Path) -> None:
    content = json.loads((copy / "model.json").read_text())
    edit(copy, preprocessing=content["preprocessing"] | {"context_slices": 4})
    with pytest.raises(CaseUNetError, match="disagree on channels or classes"):
        load_bundle(copy)
    edit(copy, preprocessing=content["preprocessing"] | {"intensity_window": [250, -200]})
    with pytest.raises(CaseUNetError, match="intensity_window must rise"):
        load_bundle(copy)
    architecture = content["architecture"] | {"kwargs": {"widths": [10**7, 10**7]}}
    edit(copy, preprocessing=content["preprocessing"], architecture=architecture)
    with pytest.raises(CaseUNetError, match="the weights do not fit the architecture"):
        Predictor(copy)


def test_weights_are_no_pickle(lits_bundle: Bundle) -> None:
    with (lits_bundle.folder / "model.safetensors").open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        assert json.loads(stream.read(length))
    assert all(isinstance(tensor, torch.Tensor) for tensor in lits_bundle.weights.values())


OLD = Path(__file__).parent / "golden" / "bundle_1"


@pytest.mark.parametrize(("name", "version"), [("bundle_1", 1), ("bundle_2", 2)])
def test_bundles_of_every_format_give_the_masks_they_gave(name: str, version: int) -> None:
    """Both were written by the code of their day; class counts and logits are what it made of this image then."""
    bundle = load_bundle(OLD.parent / name)
    assert bundle.info.format_version == version
    image = np.random.default_rng(0).integers(-200, 250, (2, 48, 40)).astype(np.int16)
    logits: list[torch.Tensor] = []
    predictor = Predictor(bundle, device="cpu")
    labels = predictor.predict_slices(image[:, None], on_batch=lambda group: logits.append(group.logits))
    assert np.bincount(labels.ravel()).tolist() == pytest.approx([134, 1765, 1941], abs=3)
    together = torch.cat(logits)
    assert (together.mean().item(), together.std().item()) == pytest.approx((-0.064707, 0.311703), abs=1e-4)


def test_the_published_schema_is_that_of_the_code() -> None:
    """docs/write_bundle_schema.py writes it."""
    published = Path(__file__).parents[1] / "docs" / "schemas" / f"model-{FORMAT}.json"
    assert json.loads(published.read_text()) == bundle_schema()


def test_descriptions_fit_the_published_schema(lits_bundle: Bundle) -> None:
    written = json.loads((lits_bundle.folder / "model.json").read_text())
    jsonschema.validate(written, bundle_schema())
    former = json.loads((Path(__file__).parents[1] / "docs" / "schemas" / "model-2.json").read_text())
    jsonschema.validate(json.loads((OLD / "model.json").read_text()), former)
    broken = written | {"format_version": FORMAT + 1}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, bundle_schema())


def test_a_zip_is_the_bundle(lits_bundle: Bundle, tmp_path: Path) -> None:
    write_zip(lits_bundle, tmp_path / "liver.zip")
    write_zip(lits_bundle, tmp_path / "again" / "liver.zip")
    assert (tmp_path / "liver.zip").read_bytes() == (tmp_path / "again" / "liver.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "liver.zip") as archive:
        names = sorted(archive.namelist())
        assert names == [f"liver/{name}" for name in ("README.md", "model.json", "model.safetensors", "preview.png")]
        archive.extractall(tmp_path / "unpacked")
    loaded = load_bundle(tmp_path / "liver.zip")
    assert loaded.info == lits_bundle.info == load_bundle(tmp_path / "unpacked" / "liver").info
    for name, tensor in lits_bundle.weights.items():
        assert torch.equal(loaded.weights[name], tensor)
    image = np.zeros((2, 48, 40), np.int16)
    masks = [Predictor(bundle).predict(image, axes="NHW").labels for bundle in (loaded, lits_bundle)]
    assert np.array_equal(*masks)
    with pytest.raises(CaseUNetError, match="is a zip already"):
        write_zip(loaded, tmp_path / "other.zip")


def test_zips_that_are_no_bundle_are_refused(lits_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "bad.zip"
    path.write_bytes(b"PK nothing")
    with pytest.raises(CaseUNetError, match="bad.zip: cannot be read as the zip of a bundle"):
        load_bundle(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing")
    with pytest.raises(CaseUNetError, match="bad.zip: holds no model.json"):
        load_bundle(path)
    with zipfile.ZipFile(path, "w") as archive:
        for folder in "ab":
            archive.write(lits_bundle.folder / "model.json", f"{folder}/model.json")
    with pytest.raises(CaseUNetError, match="holds two files called model.json"):
        load_bundle(path)
    write_zip(lits_bundle, path)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        weights = next(info for info in archive.infolist() if info.filename.endswith(".safetensors"))
    middle = weights.header_offset + weights.compress_size // 2
    data[middle] ^= 1
    path.write_bytes(data)
    with pytest.raises(CaseUNetError, match="bad.zip"):
        load_bundle(path)


def test_more_than_a_bundle_says_is_not_read(copy: Path, tmp_path: Path) -> None:
    """What would fill the memory is refused by what is said of it, before it is there."""
    truth = json.loads((copy / "model.json").read_text())
    edit(copy, weights_bytes=truth["weights_bytes"] + 1)
    with pytest.raises(CaseUNetError, match="bytes where model.json says"):
        load_bundle(copy)
    edit(copy, weights_bytes=None)
    with pytest.raises(CaseUNetError, match="weights_bytes belongs to format 2"):
        load_bundle(copy)

    bomb = tmp_path / "bomb.zip"
    edit(copy, weights_bytes=2**29)
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(copy / "model.json", "model.json")
        with archive.open("model.safetensors", "w") as stream:
            for _ in range(2**9):
                stream.write(bytes(2**20))
    with pytest.raises(CaseUNetError, match="no weights shrink so"):
        load_bundle(bomb)
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("model.json", "w") as stream:
        stream.write(b" " * (MAX_DESCRIPTION + 1))
    with pytest.raises(CaseUNetError, match="more than the .* bytes that are read"):
        load_bundle(bomb)

    huge = truth["architecture"]["kwargs"] | {"widths": [10**5] * 4}
    edit(copy, weights_bytes=truth["weights_bytes"], architecture=truth["architecture"] | {"kwargs": huge})
    tracemalloc.start()
    with pytest.raises(CaseUNetError, match="the weights do not fit the architecture"):
        Predictor(copy)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_the_card_tells_people_and_hubs(lits_bundle: Bundle) -> None:
    card = ModelCard.load(lits_bundle.folder / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("caseunet", "image-segmentation")
    assert card.data.license == "cc-by-nc-nd-4.0"
    score = lits_bundle.info.validation
    measured = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert measured["Dice, mean"] == pytest.approx(score.mean, abs=1e-4)
    for text in ("liver", "tumour", score.protocol[1:], "no medical device", "preview.png", "fold 0", "hybrid"):
        assert text in card.content, text
    best = lits_bundle.info.quality.operating_points["liver"][-1]
    assert f"liver up to {best.sensitivity:.3f}" in card.content


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("CC BY-SA 4.0", "cc-by-sa-4.0"),
        ("Kvasir-SEG (MIT)", "mit"),
        ("CC BY 4.0 or CC BY-NC 4.0", None),
        ("for research only", None),
        ("permitted", None),
        ("", None),
    ],
)
def test_licences_by_the_names_of_hubs(stated: str, name: str | None) -> None:
    assert licence_name(stated) == name


def test_from_pretrained_takes_folders_and_hub(
    lits_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Bundle.from_pretrained(lits_bundle.folder).info == lits_bundle.info
    asked = []

    def download(name: str, **options: object) -> str:
        asked.append((name, options["revision"]))
        return str(lits_bundle.folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert Bundle.from_pretrained("someone/liver", revision="v1").info == lits_bundle.info
    assert asked == [("someone/liver", "v1")]
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: 1 / 0)
    with pytest.raises(CaseUNetError, match="someone/liver: no such folder or zip, and the hub gives no such model"):
        Bundle.from_pretrained("someone/liver")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CaseUNetError, match=r"install caseunet\[hub\]"):
        Bundle.from_pretrained("someone/liver")


def test_info_tells_and_checks(
    cli: Callable[..., tuple[int, str, str]], lits_bundle: Bundle, copy: Path, tmp_path: Path
) -> None:
    write_zip(lits_bundle, tmp_path / "liver.zip")
    for path in (lits_bundle.folder, tmp_path / "liver.zip"):
        status, text, err = cli("info", path)
        assert (status, err) == (0, "")
        parameters = sum(tensor.numel() for tensor in lits_bundle.weights.values())
        assert f"whole; {parameters:,} numbers that fit case_unet" in " ".join(text.split())
    status, text, _ = cli("info", lits_bundle.folder, "--json")
    assert BundleInfo.model_validate_json(text) == lits_bundle.info
    edit(copy, weights_hash="0" * 32)
    status, _, err = cli("info", copy)
    assert status == 2
    assert "its hash differs" in err
