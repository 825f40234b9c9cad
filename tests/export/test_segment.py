"""The file that travels with exports: the same as what the package does, without the package."""

import ast
import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from caseunet import Predictor
from caseunet.bundle import Bundle
from caseunet.data import grid, transforms
from caseunet.export import segment as shipped
from caseunet.export.single_file import PARTS, bundle_source
from caseunet.imaging import resampling, slices
from caseunet.models.blocks.padding import pad_image
from caseunet.models.case_unet import CaseUNet
from caseunet.prediction.exports import in_graph
from caseunet.prediction.predictor import SliceBatch
from caseunet.types import Grid, Preprocessing

SOURCE = bundle_source(shipped)
TYPES = st.sampled_from([np.int16, np.uint8, np.float32])
LENGTHS = st.integers(1, 90)
WIDTHS = st.integers(2, 90)
"""Of what torch resizes with anti-aliasing: it repeats one row where there is one column alone."""
GRIDS = st.one_of(
    st.builds(Grid, crop_to_body=st.booleans(), size=st.tuples(st.integers(32, 99), st.integers(32, 99))),
    st.builds(Grid, crop_to_body=st.booleans(), spacing=st.tuples(st.floats(0.2, 3), st.floats(0.2, 3))),
    st.builds(Grid, crop_to_body=st.booleans(), scale=st.none() | st.floats(0.05, 3)),
    st.builds(Grid, crop_to_body=st.just(True), least_box=st.tuples(st.floats(1, 300), st.floats(1, 300))),
)
SPACINGS = st.none() | st.tuples(st.floats(0.5, 9), st.floats(0.2, 3), st.floats(0.2, 3))


def image(shape: tuple[int, ...], seed: int, dtype: Any = np.int16) -> np.ndarray:
    """Noise over the whole of 8 bits, or of what a CT holds."""
    values = np.random.default_rng(seed).uniform(-1024, 1500, shape)
    return (values % 256 if dtype is np.uint8 else values).astype(dtype)


def scan(slices: int, H: int, W: int, seed: int) -> np.ndarray:
    """A CT (S, 1, H, W): boxes, thick or thin, with something like organs in air; there may be none in a slice."""
    rng = np.random.default_rng(seed)
    pixels = np.full((slices, 1, H, W), -1000, np.int16)
    for s in range(slices):
        for _ in range(rng.integers(0, 3)):
            top, left = rng.integers(0, H), rng.integers(0, W)
            bottom, right = top + rng.integers(1, 50), left + rng.integers(1, 50)
            pixels[s, 0, top:bottom, left:right] = rng.normal(40, 60)
    return pixels + rng.integers(-20, 20, pixels.shape, np.int16)


@settings(deadline=None)
@given(slices=st.integers(1, 4), H=LENGTHS, W=LENGTHS, seed=st.integers(0, 999), rule=GRIDS, spacing=SPACINGS)
def test_places_alike(
    slices: int, H: int, W: int, seed: int, rule: Grid, spacing: tuple[float, float, float] | None
) -> None:
    pixels = scan(slices, H, W, seed)
    expected = grid.place_slices(pixels, spacing, rule)
    assert shipped.place(pixels, spacing, rule.model_dump(mode="json")) == (expected.box, expected.size)


@settings(deadline=None)
@given(H=LENGTHS, W=WIDTHS, h=LENGTHS, w=WIDTHS, dtype=TYPES, seed=st.integers(0, 999))
def test_resizes_images_alike(H: int, W: int, h: int, w: int, dtype: Any, seed: int) -> None:
    """Whole numbers differ by one at most, where what is rounded lies in the middle but for its last digits."""
    pixels = image((2, 1, H, W), seed, dtype)
    ours, theirs = resampling.resample_slices(pixels, (h, w)), transforms.resize_image(pixels, (h, w))
    assert ours.dtype == theirs.dtype
    if dtype is np.float32:
        np.testing.assert_allclose(ours, theirs, atol=2e-3)
        return
    exact = F.interpolate(torch.from_numpy(pixels).double(), (h, w), mode="bilinear", antialias=True).numpy()
    differ = ours != theirs
    assert np.all(np.abs(ours.astype(int) - theirs)[differ] == 1)
    assert np.all(np.abs(exact % 1 - 0.5)[differ] < 0.02)


def test_weights_are_worked_out_by_hand() -> None:
    """Doubled, a pixel is three quarters of the nearest; a third is a triangle over five, cut at the edge."""
    ramp = np.array([[0, 4, 8]], np.float32)
    assert resampling.interpolate(ramp, (1, 6)).tolist() == [[0, 1, 3, 5, 7, 8]]
    line = np.zeros((1, 9), np.float32)
    line[0, [4, 8]] = 9, 8
    assert resampling.interpolate(line, (1, 3), antialias=True).tolist() == [[0, 3, 2]]
    assert resampling.interpolate(line, (1, 3)).tolist() == [[0, 9, 0]]


@settings(deadline=None)
@given(H=LENGTHS, W=LENGTHS, h=LENGTHS, w=LENGTHS, classes=st.integers(2, 5), seed=st.integers(0, 999))
def test_brings_labels_back_alike(H: int, W: int, h: int, w: int, classes: int, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(classes, h, w)).astype(np.float32)
    ours = resampling.upsample_argmax(logits, (H, W))
    theirs = transforms.labels_from_logits(torch.from_numpy(logits)[None], (H, W))[0].numpy()
    assert ours.dtype == np.uint8
    maps = torch.cat(list(transforms.upsample_in_slabs(torch.from_numpy(logits)[None], (H, W))), dim=2)[0]
    assert np.all(margin(maps)[ours != theirs] < 1e-3)
    assert np.sum(ours != theirs) <= 1 + 1e-3 * ours.size


@given(slices_=st.integers(1, 6), channels=st.integers(1, 3), context=st.integers(0, 3), dtype=TYPES, data=st.data())
def test_standardizes_as_torch(slices_: int, channels: int, context: int, dtype: Any, data: st.DataObject) -> None:
    pixels = image((slices_, channels, 5, 4), data.draw(st.integers(0, 999)), dtype)
    indices = data.draw(st.lists(st.integers(0, slices_ - 1), min_size=1))
    clip = tuple(data.draw(st.none() | st.just((-50, 120))) for _ in range(channels))
    per_case = tuple(data.draw(st.booleans()) for _ in range(channels))
    gathered, statistics = slices.gather_slices(pixels, indices, context), slices.case_statistics(pixels)
    p = preprocessing(channels=channels, context_slices=context, per_case_zscore=per_case, intensity_window=clip)
    graph = in_graph(p)  # does what is left, per channel
    x = transforms.normalize(torch.from_numpy(gathered), p, torch.from_numpy(statistics)[None])
    ours = slices.standardize(gathered.astype(np.float32), statistics, p.model_dump())
    ours = transforms.normalize(torch.from_numpy(ours), graph, torch.from_numpy(statistics)[None]).numpy()
    np.testing.assert_allclose(ours, x, rtol=1e-6)


def test_a_case_of_equal_pixels_is_nothing() -> None:
    p = preprocessing(per_case_zscore=True).model_dump(mode="json")
    seen: list[np.ndarray] = []

    def network(x: np.ndarray) -> np.ndarray:
        seen.append(x)
        return np.concatenate([x, x], axis=1)

    assert not shipped.segment(np.full((2, 40, 40), 7), network, {"preprocessing": p, "export": EXPORT}).any()
    assert seen[0].dtype == np.float32
    assert not seen[0].any()


def preprocessing(**given: Any) -> Preprocessing:
    channels = given.setdefault("channels", 1)
    values = {"mean": tuple(range(10, 10 + channels)), "std": (300.0,) * channels}
    return Preprocessing(**({"modality": "ct"} | values | given))


EXPORT: dict[str, Any] = {"multiple": 1, "smallest": 1, "precision": "32"}
"""Of height and width of a graph that takes any."""


def margin(maps: torch.Tensor) -> np.ndarray:
    """By how much the highest of logits (C, H, W) is above the second, (H, W)."""
    highest = maps.topk(2, dim=0).values
    return (highest[0] - highest[1]).numpy()


def graph(model: Callable[[torch.Tensor], torch.Tensor], p: Preprocessing) -> shipped.Network:
    """What an export holds: all of it but what depends on the case."""
    if all(p.per_case_zscore):
        nothing = {"intensity_window": (None,) * p.channels, "mean": (0,) * p.channels, "std": (1,) * p.channels}
        p = p.model_copy(update={"per_case_zscore": (False,) * p.channels} | nothing)

    @torch.inference_mode()
    def network(pixels: np.ndarray) -> np.ndarray:
        assert pixels.dtype == np.float32
        return transforms.run_network(model, torch.from_numpy(pixels), p, np.zeros((2, p.channels), np.float32)).numpy()

    return network


def assert_segments_alike(
    predictor: Predictor,
    pixels: np.ndarray,
    spacing: tuple[float, float, float] | None,
    export: dict[str, Any] = EXPORT,
    **given: Any,
) -> np.ndarray:
    """The labels, equal to the package's but where two classes have nearly the same logits."""
    groups: list[SliceBatch] = []
    theirs = predictor.predict_slices(pixels, spacing, on_batch=groups.append)
    description = {"preprocessing": predictor.info.preprocessing.model_dump(mode="json"), "export": export}
    ours = shipped.segment(pixels, graph(*predictor._networks[0]), description, spacing, **given)
    assert ours.dtype == np.uint8
    margins = np.full(theirs.shape, np.inf, np.float32)
    for group in groups:
        top, left, bottom, right = group.box
        for s, logits in zip(group.slices, group.logits, strict=True):
            maps = torch.cat(list(transforms.upsample_in_slabs(logits[None], (bottom - top, right - left))), dim=2)[0]
            margins[s, top:bottom, left:right] = margin(maps)
    differ = ours != theirs
    assert np.mean(differ) <= 1e-3
    assert np.all(margins[differ] < 0.02)  # a pixel rounded the other way changes a logit by about this much
    return ours


@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(32, 70), st.integers(32, 70)),
    st.sampled_from([(8, 32), (32, 32), (32, 64)]),
)
def test_pads_as_training_and_then_as_the_network(
    size: tuple[int, int], least: tuple[int, int], graph: tuple[int, int]
) -> None:
    x = np.random.default_rng(0).normal(size=(1, 2, *size)).astype(np.float32)
    (above, below), (before, after) = (slices.split_padding(n, e) for n, e in zip(size, least, strict=True))
    trained = F.pad(torch.from_numpy(x), (before, after, above, below), mode="replicate")
    expected = pad_image(trained, 2, *graph).numpy()
    found, corner = slices.pad(x, least, {"multiple": graph[0], "smallest": graph[1]})
    np.testing.assert_array_equal(found, expected)
    assert corner == (above, before)


@pytest.fixture(scope="module")
def with_preprocessing(lits_bundle: Bundle) -> Callable[[Preprocessing], Predictor]:
    """The bundle's predictor, as if its network were a small convolution, made for this preprocessing."""

    def made(p: Preprocessing) -> Predictor:
        predictor = Predictor(lits_bundle)
        torch.manual_seed(0)
        network = nn.Conv2d(p.in_channels, 4, 5, padding=2)
        predictor.info = predictor.info.model_copy(update={"preprocessing": p})
        predictor._networks = [(network.eval(), p)]
        return predictor

    return made


def test_segments_as_the_bundle_does(lits_bundle: Bundle, lits_raw: Path) -> None:
    predictor = Predictor(lits_bundle.folder)
    torch.manual_seed(0)
    for parameter in predictor._networks[0][0].head.parameters():
        nn.init.normal_(parameter)
    pixels = scan(5, 48, 40, 3)
    pixels[:, :, 8:40, 8:30] += 1040
    model = predictor._networks[0][0]
    assert isinstance(model, CaseUNet)
    own = {"multiple": model.multiple, "smallest": model.smallest}
    assert len(np.unique(assert_segments_alike(predictor, pixels, (5, 0.8, 0.8), own))) > 1
    p = predictor.info.preprocessing.model_dump(mode="json")
    network = graph(*predictor._networks[0])
    np.testing.assert_array_equal(
        shipped.segment(pixels[:, 0], network, {"preprocessing": p, "export": EXPORT}),
        predictor.predict(pixels[:, 0], axes="NHW").labels,
    )


@pytest.mark.parametrize(
    ("given", "spacing"),
    [
        ({}, None),
        ({"crop_to_body": True}, None),
        ({"crop_to_body": True, "spacing": (0.7, 1.1)}, (5, 0.8, 0.8)),
        ({"crop_to_body": True, "least_box": (900, 900)}, (5, 0.8, 0.8)),
        (
            {"crop_to_body": True, "spacing": (1.1, 1.7), "context_slices": 1, "intensity_window": (-160, 240)},
            (5, 0.8, 0.9),
        ),
        ({"size": (64, 48), "context_slices": 2, "channel_repeat": 3}, None),
        ({"scale": 0.3, "min_size": (64, 80)}, (5, 0.8, 0.8)),
        ({"per_case_zscore": True, "scale": 1.5, "context_slices": 1}, None),
        (
            {"per_case_zscore": True, "crop_to_body": True, "spacing": (1.2, 1.2), "intensity_window": (-900, 90)},
            (5, 0.8, 0.8),
        ),
        ({"spacing": (1.2, 1.2)}, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("at_once", [None, 2])
def test_segments_as_the_predictor_does(
    given: dict[str, Any],
    spacing: tuple[float, float, float] | None,
    at_once: int | None,
    with_preprocessing: Callable[[Preprocessing], Predictor],
) -> None:
    predictor = with_preprocessing(preprocessing(**given))
    pixels = scan(7, 130, 110, 1)
    pixels[2:5, :, 40:100, 30:80] = image((3, 1, 60, 50), 2)
    pixels[5] = -1000
    labels = assert_segments_alike(predictor, pixels, spacing, at_once=at_once)
    assert len(np.unique(labels)) > 2


def test_numbers_that_cannot_be_are_refused() -> None:
    description = {"preprocessing": preprocessing().model_dump(mode="json"), "export": EXPORT}
    pixels = np.zeros((3, 40, 40), np.float32)

    def overflowing(x: np.ndarray) -> np.ndarray:
        logits = np.concatenate([x, x], axis=1)
        logits[-1, 1, 2, 3] = np.inf
        return logits

    with pytest.raises(ValueError, match="slice 1: the network's logits are not finite"):
        shipped.segment(pixels, overflowing, description, at_once=2)
    pixels[2, 7, 7] = np.nan
    with pytest.raises(ValueError, match="slice 2: holds values that are not finite"):
        shipped.segment(pixels, lambda x: np.concatenate([x, x], axis=1), description)


@pytest.mark.parametrize("shape", [(70, 60, 3), (2, 70, 60, 3), (2, 3, 70, 60)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_colours_and_shapes(
    shape: tuple[int, ...], dtype: Any, with_preprocessing: Callable[[Preprocessing], Predictor]
) -> None:
    predictor = with_preprocessing(preprocessing(modality="rgb", channels=3, scale=0.7, std=(50,) * 3))
    pixels = image(shape, 0, dtype)
    given = {"preprocessing": predictor.info.preprocessing.model_dump(mode="json"), "export": EXPORT}
    labels = shipped.segment(pixels, graph(*predictor._networks[0]), given)
    last = np.moveaxis(pixels, 1, -1) if shape[1] == 3 else pixels
    expected = predictor.predict(last).labels
    assert labels.shape == expected.shape == last.shape[:-1]
    assert np.mean(labels != expected) <= 1e-3
    assert len(np.unique(labels)) > 2


def test_a_volume_can_be_given_in_three_shapes(with_preprocessing: Callable[[Preprocessing], Predictor]) -> None:
    predictor = with_preprocessing(preprocessing())
    network = graph(*predictor._networks[0])
    description = {"preprocessing": predictor.info.preprocessing.model_dump(mode="json"), "export": EXPORT}
    pixels = image((2, 1, 40, 36), 0)
    labels = shipped.segment(pixels, network, description)
    np.testing.assert_array_equal(shipped.segment(pixels[:, 0], network, description), labels)
    np.testing.assert_array_equal(shipped.segment(pixels[0, 0], network, description, at_once=1), labels[0])


@pytest.mark.parametrize(
    ("channels", "shape", "expected"),
    [
        (
            1,
            (2, 3, 40, 40),
            r"\(2, 3, 40, 40\); this model expects numbers of shape \(H, W\), \(S, H, W\) or \(S, 1",
        ),
        (1, (40,), r"int16 of shape \(40,\)"),
        (1, (0, 40, 40), r"int16 of shape \(0, 40, 40\)"),
        (3, (40, 40), r"expects numbers of shape \(H, W, 3\), \(S, H, W, 3\) or \(S, 3, H, W\)"),
        (3, (2, 40, 40, 4), r"int16 of shape \(2, 40, 40, 4\)"),
    ],
)
def test_other_shapes_are_refused(channels: int, shape: tuple[int, ...], expected: str) -> None:
    description = {"preprocessing": preprocessing(channels=channels).model_dump(mode="json"), "export": EXPORT}
    with pytest.raises(ValueError, match=expected):
        shipped.segment(np.zeros(shape, np.int16), lambda x: x, description)


def test_other_mistakes_are_told() -> None:
    description = {"preprocessing": preprocessing().model_dump(mode="json"), "export": EXPORT}
    pixels = np.zeros((2, 40, 40), np.int16)
    with pytest.raises(ValueError, match="the image is bool"):
        shipped.segment(pixels > 0, lambda x: x, description)
    for spacing in ((1, 1), (1, 0, 1), (1, float("nan"), 1)):
        with pytest.raises(ValueError, match="spacing must be three positive numbers"):
            shipped.segment(pixels, lambda x: x, description, spacing)
    with pytest.raises(ValueError, match=r"logits have the shape \(2, 1, 20, 20\) where pixels have \(2, 1, 40, 40\)"):
        shipped.segment(pixels, lambda x: x[..., ::2, ::2], description)


def test_it_imports_nothing_but_numpy_and_python() -> None:
    tree = ast.parse(SOURCE)
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert names <= {"numpy", *sys.stdlib_module_names}


def test_no_two_parts_share_a_name() -> None:
    names = [
        name.id if isinstance(name, ast.Name) else name.name
        for node in ast.parse(SOURCE).body
        for name in (
            [node]
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            else [one for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Name)]
            if isinstance(node, ast.Assign)
            else []
        )
    ]
    assert len(names) == len(set(names)) > 30
    assert "caseunet" not in SOURCE
    assert all(part.__doc__ not in SOURCE for part in PARTS)


ALONE = """
import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent}:
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, Absent())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def alone(folder: Path, *arguments: str | Path, absent: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the copy in a folder where neither torch nor this package can be imported."""
    code = ALONE.replace("{absent}", repr({"torch", "caseunet", *absent}))
    command = [sys.executable, "-c", code, folder / "segment.py", *arguments]
    return subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True, cwd=folder)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy, a description and a graph that calls bright what is above 100."""
    from onnx import TensorProto, helper, numpy_helper, save

    folder = tmp_path_factory.mktemp("exported")
    (folder / "segment.py").write_text(SOURCE, encoding="utf-8")
    description = {"preprocessing": preprocessing(spacing=(1.0, 1.0)).model_dump(mode="json")}
    (folder / "model.json").write_text(json.dumps(description), encoding="utf-8")
    (folder / "export.json").write_text(json.dumps(EXPORT), encoding="utf-8")
    weights = [
        numpy_helper.from_array(np.array([0, 1], np.float32).reshape(2, 1, 1, 1), "weight"),
        numpy_helper.from_array(np.array([0, -100], np.float32), "bias"),
    ]
    node = helper.make_node("Conv", ["pixels", "weight", "bias"], ["logits"])
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", channels, "h", "w"])
        for name, channels in (("pixels", 1), ("logits", 2))
    ]
    graph = helper.make_graph([node], "bright", ends[:1], ends[1:], weights)
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(folder / "model.onnx")
    )
    np.save(folder / "image.npy", image((2, 40, 44), 0))
    return folder


def test_a_copy_works_without_torch_and_this_package(exported: Path, tmp_path: Path) -> None:
    result = alone(exported, "image.npy", tmp_path / "labels.npy", "--spacing", "5", "1", "1")
    assert (result.returncode, result.stderr) == (0, "")
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), np.load(exported / "image.npy") > 100)

    result = alone(exported, "image.npy", tmp_path / "labels.npy", "--spacing", "5", "0.7", "1.4")
    assert (result.returncode, result.stderr) == (0, "")
    segment = runpy.run_path(str(exported / "segment.py"))
    labels = segment["segment"](np.load(exported / "image.npy"), *segment["load_model"](exported), (5, 0.7, 1.4))
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), labels)


def test_a_copy_works_with_openvino(exported: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    for name in ("segment.py", "model.json", "export.json", "image.npy"):
        shutil.copy(exported / name, tmp_path / name)
    openvino.save_model(openvino.convert_model(exported / "model.onnx"), tmp_path / "model.xml", compress_to_fp16=False)
    result = alone(tmp_path, "image.npy", "labels.npy", "--spacing", "1", "1", "1")
    assert (result.returncode, result.stderr) == (0, "")
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), np.load(exported / "image.npy") > 100)
    result = alone(tmp_path, "image.npy", "labels.npy")
    assert result.returncode == 0
    assert result.stderr.startswith("No --spacing is given. Pixels are taken to be 1 × 1 mm large, as in training")


def test_what_is_missing_is_told(exported: Path, tmp_path: Path) -> None:
    result = alone(exported, "image.npy", tmp_path / "labels.npy", absent=("onnxruntime", "openvino"))
    assert result.returncode == 1
    assert result.stderr == "segment.py: model.onnx needs onnxruntime: pip install onnxruntime\n"

    shutil.copy(exported / "segment.py", tmp_path)
    shutil.copy(exported / "model.json", tmp_path)
    shutil.copy(exported / "export.json", tmp_path)
    for arguments, expected in (
        ((exported / "none.npy", "labels.npy"), "none.npy"),
        ((exported / "image.npy", "labels.npy"), "neither model.onnx nor model.xml is there"),
    ):
        result = alone(tmp_path, *arguments)
        assert result.returncode == 1
        assert result.stderr.startswith("segment.py: ")
        assert expected in result.stderr
