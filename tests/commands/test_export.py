"""Exports: each does what PyTorch does, says how nearly, and runs where this package is not."""

import json
import runpy
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from caseunet import CaseUNetError, Predictor, load_bundle
from caseunet.bundle import Bundle, Member, save_bundle
from caseunet.commands import export as pipeline
from caseunet.commands.export import export
from caseunet.commands.predict import predict
from caseunet.commands.prepare import prepare
from caseunet.config import Config
from caseunet.data.store import Prepared
from caseunet.export import formats, parity
from caseunet.export.formats import PRECISIONS, ExportableModel
from caseunet.imaging.slices import pad
from caseunet.options import PredictOptions
from caseunet.prediction.exports import ExportInfo
from caseunet.progress import Display

Run = Callable[..., tuple[int, str, str]]


def read(folder: Path) -> ExportInfo:
    return ExportInfo.model_validate_json((folder / "export.json").read_text())


@pytest.mark.parametrize(
    ("format", "precision", "largest", "dice"),
    [
        ("openvino", "fp32", 1e-3, 0.999),
        ("openvino", "bf16", 0.2, 0.9),
        ("openvino", "fp16", 0.02, 0.99),
        ("openvino", "int8", 0.5, 0.5),
        ("torch-export", "fp32", 1e-5, 0.9999),
        ("torch-export", "bf16", 0.2, 0.9),
        ("onnx", "fp32", 1e-3, 0.999),
        ("onnx", "int8", 0.5, 0.5),
    ],
)
def test_an_export_is_compared_with_torch_on_real_slices(
    format: str,
    precision: str,
    largest: float,
    dice: float,
    small_bundle: Bundle,
    lits_prepared: Prepared,
    lits_raw: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "export"
    info = export(small_bundle.folder, out=out, format=format, precision=precision, data=lits_prepared.folder)
    assert info == read(out)
    assert info.parity.slices == parity.SLICES
    assert info.parity.on == "slices of 2 validation cases of prepared"
    assert 0 <= info.parity.mean <= info.parity.largest < largest
    assert all(value is None or value > dice for value in info.parity.dice.values())
    assert (info.calibrated_on is not None) == (precision == "int8")
    if format != "torch-export" and precision == "fp32":
        image = sorted(lits_raw.glob("volume-*"))[0]
        assert_segments_alike(out, Predictor(small_bundle), image)


@pytest.fixture(scope="module")
def small_bundle(lits_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of two stages, for what writes ONNX takes long; its head is filled so that its logits differ from each other."""
    torch.manual_seed(0)
    info = load_bundle(Path(__file__).parents[1] / "golden" / "bundle_2").info
    weights = dict(load_bundle(Path(__file__).parents[1] / "golden" / "bundle_2").weights)
    weights["head.2.weight"] = torch.randn_like(weights["head.2.weight"]) / 4
    folder = tmp_path_factory.mktemp("small") / "bundle"
    save_again(folder, weights, Bundle(info, weights, folder), preprocessing=lits_bundle.info.preprocessing)
    return load_bundle(folder)


def save_again(folder: Path, weights: dict[str, torch.Tensor], bundle: Bundle, **changes: object) -> None:
    kept = ("architecture", "preprocessing", "label_map", "training_data", "validation", "quality", "code_version")
    save_bundle(folder, weights, **{name: getattr(bundle.info, name) for name in kept} | changes)


def assert_segments_alike(folder: Path, predictor: Predictor, image: Path) -> None:
    """What lies beside the graph makes the same masks as this package."""
    from caseunet.prediction.predictor import read_model_input

    picture = read_model_input(image, predictor.info.preprocessing)
    expected = predictor.predict_slices(picture.pixels, picture.geometry.spacing)
    beside = runpy.run_path(str(folder / "segment.py"))
    found = beside["segment"](picture.pixels, *beside["load_model"](folder), picture.geometry.spacing)
    assert np.mean(found != expected) < 2e-3
    assert len(np.unique(expected)) > 1


def test_heads_and_sums_over_levels_are_not_quantized(
    small_bundle: Bundle, lits_prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quantized(name: str) -> set[str]:
        export(small_bundle.folder, out=tmp_path / name, format="openvino", precision="int8", data=lits_prepared.folder)
        layers = ElementTree.parse(tmp_path / name / "model.xml").iter("layer")
        names = {layer.get("name", "") for layer in layers if layer.get("type") == "FakeQuantize"}
        return {n for n in names if ".head." in n or (".decoder." in n and ".fuse/" in n and "/Add" in n)}

    own = quantized("as-it-is")
    assert not any(".head." in n for n in own)
    monkeypatch.setattr(formats, "NOT_QUANTIZED", ())
    every = quantized("all")
    assert any(".head." in n for n in every), "else the names say nothing"
    sums, all_sums = ({n for n in names if ".fuse/" in n} for names in (own, every))
    assert sums < all_sums, "only the last sum is, for the convolution that takes it"


@pytest.fixture
def two(small_bundle: Bundle, tmp_path: Path) -> Path:
    """An ensemble of two, which clip differently."""
    torch.manual_seed(0)
    other = {name: tensor + 0.1 * torch.randn_like(tensor) for name, tensor in small_bundle.weights.items()}
    info = small_bundle.info
    members = tuple(
        Member(
            preprocessing=info.preprocessing.model_copy(update={"intensity_window": ((-100.0, 200.0 + fold),)}),
            training_data=info.training_data.model_copy(update={"fold": fold}),
            validation=info.validation,
        )
        for fold in (0, 1)
    )
    weights = {
        member.prefix + name: tensor
        for member, tensors in zip(members, (small_bundle.weights, other), strict=True)
        for name, tensor in tensors.items()
    }
    save_again(tmp_path / "both", weights, small_bundle, members=members)
    return tmp_path / "both"


def first_logits(predictor: Predictor, pixels: np.ndarray) -> torch.Tensor:
    """Of the slices that go through the network first."""
    return next(predictor.groups(predictor.cut(pixels))).logits


def test_an_ensemble_is_one_graph(two: Path, lits_prepared: Prepared, tmp_path: Path) -> None:
    with pytest.raises(CaseUNetError, match="ensemble of 2 networks; a MONAI bundle holds one"):
        export(two, out=tmp_path / "monai", format="monai")
    written = export(two, out=tmp_path / "out", format="openvino", data=lits_prepared.folder)
    assert written is not None
    assert written.parity.equal > 0.999
    pixels = lits_prepared.image(lits_prepared.cases.index[0])[:1]
    bundle = load_bundle(two)
    whole = ExportableModel(bundle).eval()
    graph = {"multiple": whole.multiple, "smallest": whole.smallest}
    padded, (top, left) = pad(pixels.astype(np.float32), bundle.info.preprocessing.min_size, graph)
    with torch.no_grad():
        found = whole(torch.from_numpy(padded)) * whole.temperature
    H, W = pixels.shape[-2:]
    expected = first_logits(Predictor(two), pixels)
    torch.testing.assert_close(found[..., top : top + H, left : left + W], expected, rtol=0, atol=1e-3)
    exported = first_logits(Predictor(two, exported=str(tmp_path / "out")), pixels)
    torch.testing.assert_close(exported, expected, rtol=0, atol=5e-3)  # over the temperature, and times it again
    with pytest.raises(CaseUNetError, match="an export computes all networks together"):
        predict(
            two, [tmp_path], out=tmp_path / "masks", options=PredictOptions(exported=tmp_path / "out", out_of_fold=True)
        )


@pytest.mark.parametrize("per_case", [False, True])
def test_prediction_computes_with_an_export(
    per_case: bool, small_bundle: Bundle, lits_prepared: Prepared, tmp_path: Path
) -> None:
    p = small_bundle.info.preprocessing.model_copy(
        update={"per_case_zscore": (per_case,), "intensity_window": ((-150.0, 200.0),)}
    )
    quality = load_bundle(Path(__file__).parents[1] / "golden" / "bundle_2").info.quality
    assert quality is not None
    quality = quality.model_copy(update={"temperature": 2.5})
    save_again(tmp_path / "bundle", dict(small_bundle.weights), small_bundle, preprocessing=p, quality=quality)
    pixels = lits_prepared.image(lits_prepared.cases.index[0])[:2, :, :50, :77]  # which no network takes as they are
    export(tmp_path / "bundle", out=tmp_path / "out", format="openvino", precision="fp16", data=lits_prepared.folder)
    predictor = Predictor(tmp_path / "bundle", exported=str(tmp_path / "out"))
    assert (predictor.backend, predictor.settings.precision) == ("openvino (export out)", "fp16")
    expected = first_logits(Predictor(tmp_path / "bundle"), pixels)
    torch.testing.assert_close(first_logits(predictor, pixels), expected, rtol=0, atol=5e-2)
    assert expected.abs().max() > 0.5


def test_prediction_refuses_an_export_that_is_not_the_bundles(
    small_bundle: Bundle, lits_raw: Path, cli: Run, tmp_path: Path
) -> None:
    def fails(engine: object, *arguments: str) -> str:
        images = sorted(lits_raw.glob("volume-*"))[:1]
        status, _, err = cli(
            *("predict", small_bundle.folder, *images, "--out", tmp_path / "masks", "--exported", engine, *arguments)
        )
        assert status == 2
        assert not (tmp_path / "masks").exists()
        return " ".join(err.split())

    def described(**changes: object) -> Path:
        (own / "export.json").write_text(info.model_copy(update=changes).model_dump_json())
        return own

    own = tmp_path / "own"
    info = export(small_bundle.folder, out=own, format="openvino", precision="fp16")
    assert info is not None
    assert "is no folder written by caseunet export" in fails(tmp_path)
    assert "computes in fp16, not bf16. On the command line: --precision" in fails(own, "--precision", "bf16")
    assert "is an export of other weights (1234)" in fails(described(bundle_hash="1234"))
    assert "predict runs those for onnx and openvino" in fails(described(format="torch-export"))
    described()
    (own / "model.xml").write_text("<net")
    assert "model.xml: cannot be read" in fails(own)
    (own / "model.xml").unlink()
    assert "model.xml is missing. Export the bundle anew." in fails(own)
    (own / "export.json").write_text("{}")
    assert "cannot be read as the description of an export" in fails(own)


def test_cases_are_standardised_beside_the_graph(
    small_bundle: Bundle, lits_prepared: Prepared, lits_raw: Path, tmp_path: Path
) -> None:
    p = small_bundle.info.preprocessing
    per_case = p.model_copy(update={"per_case_zscore": (True,), "intensity_window": ((-150.0, 200.0),)})
    save_again(tmp_path / "bundle", dict(small_bundle.weights), small_bundle, preprocessing=per_case)
    written = export(tmp_path / "bundle", out=tmp_path / "out", format="openvino", data=lits_prepared.folder)
    assert written is not None
    assert "standardised" in written.input
    assert_segments_alike(tmp_path / "out", Predictor(tmp_path / "bundle"), sorted(lits_raw.glob("volume-*"))[0])


def test_through_the_command_line(cli: Run, small_bundle: Bundle, lits_prepared: Prepared, tmp_path: Path) -> None:
    arguments = ("export", small_bundle.folder, "--format", "openvino", "--out", tmp_path / "out")
    status, text, err = cli(*arguments)
    assert (status, err) == (0, "")
    assert "compared with PyTorch on noise, for no data were given" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} - {".caseunet"} == {
        *("model.xml", "model.bin", "model.json", "export.json", "segment.py", "README.md")
    }
    assert "python segment.py IMAGE.npy" in (tmp_path / "out" / "README.md").read_text()
    status, _, err = cli(*arguments)
    assert status == 2
    assert "--overwrite" in err
    status, _, err = cli("export", small_bundle.folder, "--format", "zip", "--out", tmp_path / "small.zip")
    assert status == 0
    with zipfile.ZipFile(tmp_path / "small.zip") as archive:
        assert "small/model.json" in archive.namelist()
    status, _, err = cli("export", small_bundle.folder, "--format", "zip", "--out", tmp_path / "small.zip")
    assert (status, "is there already" in err) == (2, True)


def test_a_monai_bundle_is_one_for_monai(small_bundle: Bundle, lits_raw: Path, tmp_path: Path) -> None:
    from monai.bundle import ConfigParser, run, verify_net_in_out

    out = tmp_path / "liver"
    assert export(small_bundle.folder, out=out, format="monai") is None
    configs = {name: str(out / "configs" / f"{name}.json") for name in ("metadata", "inference")}
    assert set(json.loads(Path(configs["metadata"]).read_text())) >= MONAI_KEYS
    verify_net_in_out(
        "network_def", meta_file=configs["metadata"], config_file=configs["inference"], device="cpu", n=8, p=8
    )
    parser = ConfigParser()
    parser.read_config(configs["inference"])
    parser["bundle_root"] = str(out)
    parser.get_parsed_content("load")
    loaded = parser.get_parsed_content("network_def").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in small_bundle.weights.items())
    scan = sorted(lits_raw.glob("volume-*"))[0]
    shutil.copy(scan, tmp_path / scan.name)
    run(config_file=configs["inference"], bundle_root=str(out), dataset_dir=str(tmp_path / scan.name), device="cpu")
    assert list((out / "eval").glob("*.nii*"))
    assert load_bundle(out).info == small_bundle.info


MONAI_KEYS = {
    *("version", "monai_version", "pytorch_version", "numpy_version", "optional_packages_version", "task"),
    *("description", "authors", "copyright", "network_data_format"),
}


def test_what_cannot_be_exported_is_refused_before_any_work(
    small_bundle: Bundle, endovis_raw: Path, lits_prepared: Prepared, tiny_config: Config, tmp_path: Path
) -> None:
    frames = prepare(endovis_raw, out=tmp_path / "frames", config=tiny_config.prepare)
    for format, precision, data, text in (
        ("openvino", "int8", None, "needs real slices of a prepared data set"),
        ("torch-export", "int8", lits_prepared.folder, "torch-export knows"),
        ("tflite", "fp32", None, 'no format "tflite". Known: onnx, openvino, torch-export, zip'),
        ("openvino", "fp32", frames.folder, "holds rgb images of 3 channels; the bundle is for ct of 1"),
        ("openvino", "fp32", tmp_path / "nothing", "nothing"),
    ):
        with pytest.raises(CaseUNetError, match=text):
            export(small_bundle.folder, out=tmp_path / "out", format=format, precision=precision, data=data)
        assert not (tmp_path / "out").exists()
    assert set(PRECISIONS) == {"onnx", "openvino", "torch-export"}


def test_export_that_is_not_network_is_refused(
    small_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        pipeline,
        "runner",
        lambda *_: lambda x: -ExportableModel(small_bundle).eval()(torch.from_numpy(x)).detach().numpy(),
    )
    with pytest.raises(CaseUNetError, match="It is of no use"):
        export(small_bundle.folder, out=tmp_path / "out", format="torch-export")
    assert not (tmp_path / "out" / "export.json").exists()


def test_parity_by_hand() -> None:
    """Two slices of 1×2 pixels: one of eight logits differs, by 0.7, and one of four pixels changes its class."""

    class Fixed:
        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[[[1.0, 0.0]], [[0.0, 0.4]]]])

    first = np.array([[[[1.0, 0.0]], [[0.0, 0.4]]]], np.float32)
    second = np.array([[[[1.0, 0.7]], [[0.0, 0.4]]]], np.float32)
    runs = iter([first, second])
    checked = parity.Samples([np.zeros((1, 1, 2), np.float32)] * 2, "two slices")
    found = parity.parity(Fixed(), lambda x: next(runs), checked, ("background", "liver"), Display())
    assert (found.largest, found.mean, found.equal) == pytest.approx((0.7, 0.7 / 8, 0.75))
    assert found.dice == {"liver": 2 * 1 / (2 + 1)}
