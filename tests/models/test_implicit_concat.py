"""The rewritten CASe-UNet is the plain one: outputs and gradients, in both fusion sizes, at odd sizes too."""

import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from caseunet.models import create_model, optimize_for
from caseunet.models.blocks import implicit_concat
from caseunet.models.blocks.implicit_concat import LazyUpsample, convolve, prefers_fused_kernels
from caseunet.models.case_unet import CaseUNet
from tests.models.plain import PlainCaseUNet

SIZES = [(32, 32), (64, 96), (33, 47), (97, 41)]


def gradients(model: torch.nn.Module, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    logits = model(image)
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (logits * weights.to(logits)).mean().backward()
    return logits.detach(), {
        name.removeprefix("model."): p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize(
    "switches",
    [
        {"full_resolution": True},
        {"full_resolution": "head"},
        {"full_resolution": "head", "norm": "instance", "multi_level": False},
        {"multi_level": False},
        {"full_resolution": True, "multi_level": False, "kernel_sizes": (3, 3, 3)},
        {"attention": "none", "kernel_sizes": (1, 5, 9)},
        {"large_kernels": "depthwise", "full_resolution": True},
        {"large_kernels": "depthwise", "norm": "instance"},
        {"large_kernels": "chained", "norm": "instance"},
        {"large_kernels": "chained", "pair_fusions": False, "full_resolution": "head"},
        {"pair_fusions": False, "norm": "instance"},
        {"activation_first": True, "norm": "instance"},
        {"norm": "batch"},
        {"fusion_kernel_size": 3, "initialization": "glorot"},
        {"attention": "spatial", "attention_residual": True, "attention_position": True, "heads": 2, "key_size": 5},
    ],
)
@pytest.mark.parametrize("few_launches", [False, True])
def test_every_switch_equals_the_plain_form(
    switches: dict[str, Any], few_launches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(implicit_concat, "MIN_POSITIONS", 0)
    monkeypatch.setattr(implicit_concat, "FEW_LAUNCHES_ON", frozenset({"cpu"} if few_launches else ()))
    torch.manual_seed(0)
    switches = {"fusion_kernel_size": 1} | switches
    model = create_model("case_unet", 3, 4, widths=(4, 5, 6), **switches).double().eval()
    image = torch.randn(2, 3, 41, 32, dtype=torch.float64)
    expected_logits, expected_grads = gradients(PlainCaseUNet(model), image)
    for form in (model, optimize_for(deepcopy(model), "cpu")):
        logits, grads = gradients(form, image)
        torch.testing.assert_close(logits, expected_logits, rtol=0, atol=1e-9)
        assert set(grads) == set(expected_grads) == {name for name, _ in form.named_parameters()}
        for name, gradient in grads.items():
            torch.testing.assert_close(gradient, expected_grads[name], rtol=1e-9, atol=1e-12)


def test_few_launches_are_wanted_on_a_gpu_for_maps_that_are_not_large(monkeypatch: pytest.MonkeyPatch) -> None:
    sixteen = torch.empty(16, 1, 128, 128, device="meta")
    assert not prefers_fused_kernels(sixteen), "it is no GPU"
    monkeypatch.setattr(implicit_concat, "FEW_LAUNCHES_ON", frozenset({"meta"}))
    assert prefers_fused_kernels(LazyUpsample(sixteen, 2)), "16 × 256 × 256 positions"
    assert not prefers_fused_kernels(LazyUpsample(sixteen, 4))


@pytest.mark.parametrize("fusion", [1, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("norm", "dtype", "tolerance"),
    [
        ("none", torch.float64, 1e-9),
        ("none", torch.float32, 1e-4),
        # In float32 instance norm over the few positions of the lowest maps amplifies rounding: gradients of the plain
        # form itself are up to 1e-2 (of their largest) off its float64 ones.
        ("instance", torch.float64, 1e-9),
    ],
)
def test_equals_the_plain_form(
    fusion: int,
    size: tuple[int, int],
    norm: str,
    dtype: torch.dtype,
    tolerance: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(implicit_concat, "MIN_POSITIONS", 0)
    torch.manual_seed(0)
    model = create_model("case_unet", 3, 4, fusion_kernel_size=fusion, norm=norm, widths=(4, 5, 6, 7, 8))
    model = optimize_for(model.to(dtype).eval(), "cpu")  # without dropout
    image = torch.randn(2, 3, *size, dtype=dtype)
    assert isinstance(model, CaseUNet)
    logits, grads = gradients(model, image)
    expected_logits, expected_grads = gradients(PlainCaseUNet(model), image)
    torch.testing.assert_close(logits, expected_logits, atol=tolerance, rtol=tolerance)
    assert grads.keys() == expected_grads.keys()
    for name, expected in expected_grads.items():
        scale = max(expected.abs().max().item(), 1e-12)
        assert (grads[name] - expected).abs().max().item() <= tolerance * max(scale, 1e-3), name


@settings(deadline=None, max_examples=60)
@given(
    kernel_size=st.sampled_from([1, 3, 5, 7]),
    factors=st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, max_size=4),
    height=st.integers(1, 3),
    width=st.integers(1, 3),
    channels_last=st.booleans(),
    fewest=st.sampled_from([0, 10**9]),  # both ways of computing it
)
def test_convolution_of_raised_maps_equals_the_definition(
    kernel_size: int, factors: list[int], height: int, width: int, channels_last: bool, fewest: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    H, W = 8 * height, 8 * width
    maps = [
        LazyUpsample(draw(2, i + 1, H // f, W // f).contiguous(memory_format=layout), f) for i, f in enumerate(factors)
    ]
    weight = draw(3, sum(m.map.shape[1] for m in maps), kernel_size, kernel_size)
    bias = draw(3)
    built = torch.cat([m.map.repeat_interleave(m.factor, 2).repeat_interleave(m.factor, 3) for m in maps], 1)
    expected = F.conv2d(built, weight, bias, padding=kernel_size // 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(implicit_concat, "MIN_POSITIONS", fewest)
        found = convolve(maps, weight, bias)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


def test_kernel_of_a_raised_map_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """[1, 2] raised ×2 is [1, 1, 2, 2]; under the kernel [1, 10, 100] with zeros outside: 110, 211, 221, 22."""
    row = torch.tensor([[[[1.0, 2.0]]]])
    kernel = torch.tensor([[[[0.0, 0, 0], [1, 10, 100], [0, 0, 0]]]])
    monkeypatch.setattr(implicit_concat, "MIN_POSITIONS", 0)
    found = convolve([LazyUpsample(row, 2)], kernel, None)
    assert found[0, 0].tolist() == [[110, 211, 221, 22]] * 2


def test_optimizing_keeps_names_and_other_networks() -> None:
    model = create_model("case_unet", widths=(2, 3))
    before = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    assert optimize_for(optimize_for(model, "cpu"), "cuda") is model
    assert {name: tensor.data_ptr() for name, tensor in model.state_dict().items()} == before
    unet = create_model("unet", widths=(2, 3))
    kinds = [type(module) for module in unet.modules()]
    assert [type(module) for module in optimize_for(unet, "cuda").modules()] == kinds


@pytest.mark.parametrize(("fusion", "most", "plain"), [(1, 82, 110.6), (3, 208, 263.8)])
def test_multiplications_of_a_512_image(fusion: int, most: float, plain: float) -> None:
    with torch.device("meta"):
        model = optimize_for(CaseUNet.paper(3, 3, fusion_kernel_size=fusion).eval(), "cpu")
        image = torch.zeros(1, 3, 512, 512)
    counts = []
    for form in (model, PlainCaseUNet(model)):
        with FlopCounterMode(display=False) as counter:
            form(image)
        counts.append(counter.get_total_flops() / 2e9)
    assert counts[0] <= most
    assert counts[1] == pytest.approx(plain, abs=0.1)


@pytest.mark.parametrize("fusion", [1, 3])
def test_exports_with_free_batch_and_size_to_onnx(fusion: int, tmp_path: Path) -> None:
    """One ONNX file for any batch and any multiples of 2**stages; its runtime gives the same logits."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    torch.manual_seed(0)
    model = create_model("case_unet", 3, 4, fusion_kernel_size=fusion, widths=(4, 6, 8)).eval()
    model = optimize_for(model, "cpu")
    free = torch.export.Dim
    shapes = {
        0: free("batch", min=1, max=64),
        2: 8 * free("rows", min=4, max=256),
        3: 8 * free("columns", min=4, max=256),
    }
    program = torch.export.export(model, (torch.randn(2, 3, 64, 96),), dynamic_shapes=(shapes,))
    torch.onnx.export(program, dynamo=True, verbose=False).save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for image in (torch.randn(1, 3, 32, 40), torch.randn(3, 3, 128, 64)):
        expected = model(image).detach()
        torch.testing.assert_close(program.module()(image), expected, atol=1e-5, rtol=1e-5)
        (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("fusion", [1, 3])
def test_compiles(fusion: int) -> None:
    if shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler on a CPU")
    torch.manual_seed(0)
    model = optimize_for(create_model("case_unet", 1, 2, fusion_kernel_size=fusion, widths=(2, 3)).eval(), "cpu")
    image = torch.randn(2, 1, 32, 40)
    compiled = torch.compile(model)
    torch.testing.assert_close(compiled(image), model(image), atol=1e-5, rtol=1e-5)
