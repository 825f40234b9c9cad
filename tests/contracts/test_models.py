"""What every registered network promises."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from caseunet import CaseUNetError, create_model, list_models

SMALL = (4, 6, 8)
TINY: dict[str, list[dict[str, Any]]] = {
    "case_unet": [
        {"widths": SMALL},
        {"widths": SMALL, "fusion_kernel_size": 1, "norm": "instance", "attention": "spatial"},
        {"widths": SMALL, "fusion_kernel_size": 1, "norm": "batch", "full_resolution": True, "deep_supervision": True},
        {"widths": SMALL, "norm": "instance", "full_resolution": "head", "deep_supervision": True},
        {"widths": SMALL, "norm": "instance", "large_kernels": "chained", "pair_fusions": False},
    ],
    "unet": [{"widths": SMALL}, {"widths": SMALL, "norm": "instance"}],
    "unet3plus": [
        {"widths": SMALL, "skip_width": 4},
        {"widths": SMALL, "skip_width": 4, "deep_supervision": True, "classification_guided": True},
    ],
    "transunet": [
        {
            "blocks": (1, 1, 1),
            "width": 8,
            "hidden": 12,
            "depth": 2,
            "heads": 3,
            "mlp": 16,
            "decoder_widths": (*SMALL, 4),
            "position_grid": (3, 2),
        }
    ],
    "deeplabv3plus": [
        {"blocks": (1, 1, 1, 1), "width": 4, "decoder_width": 16},
        {"blocks": (1, 1, 1, 2), "width": 4, "decoder_width": 16, "output_stride": 8},
    ],
    "unetplusplus": [{"features": (4, 4, 6, 8, 8, 4)}],
    "attention_unet": [{"widths": SMALL}],
    "nnunet": [
        {"patch_size": (32, 32), "width": 4},
        {"patch_size": (64, 32), "width": 2, "most": 8, "deep_supervision": False},
    ],
    "segresnet": [{"width": 8}],
    "swin_unetr": [{"width": 12}],
}
VARIANTS = [
    pytest.param(partial(create_model, name, **arguments), id=f"{name}-{i}")
    for name in TINY
    for i, arguments in enumerate(TINY[name])
]
every_variant = pytest.mark.parametrize("create", VARIANTS)


def build(create: Any, in_channels: int = 3, num_classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = create(in_channels=in_channels, num_classes=num_classes)
    return model


def outputs_of(model: nn.Module, image: Tensor) -> list[Tensor]:
    """In training a network may give a list of logits, its own first."""
    outputs = model(image)
    return [outputs] if isinstance(outputs, Tensor) else outputs


def test_every_network_is_here() -> None:
    assert sorted(TINY) == list_models()


@every_variant
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 96), (97, 41)])
@pytest.mark.parametrize("training", [False, True])
def test_logits_have_the_image_s_size(create: Any, size: tuple[int, int], training: bool) -> None:
    outputs = outputs_of(build(create).train(training), torch.randn(2, 3, *size))
    for logits in outputs:
        assert logits.shape == (2, 4, *size)
        assert torch.isfinite(logits).all()
    assert outputs[0].min() < 0, "logits, not probabilities"
    assert training or len(outputs) == 1


@every_variant
@pytest.mark.parametrize(("in_channels", "num_classes"), [(1, 2), (9, 12)])
def test_channels_and_classes_are_free(create: Any, in_channels: int, num_classes: int) -> None:
    model = build(create, in_channels, num_classes).eval()
    assert model(torch.randn(1, in_channels, 40, 40)).shape[1] == num_classes


@every_variant
def test_gradients_reach_every_parameter(create: Any) -> None:
    model = build(create)
    sum(logits.square().mean() for logits in outputs_of(model, torch.randn(2, 3, 64, 64))).backward()  # type: ignore[union-attr]
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        if parameter.ndim > 1:  # biases before a norm, and of attention keys, have no influence by construction
            assert parameter.grad.abs().max() > 0, parameter_name


@every_variant
def test_a_single_smallest_image_trains(create: Any) -> None:
    logits = outputs_of(build(create).train(), torch.randn(1, 3, 32, 32))[0]
    logits.square().mean().backward()
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", ["case_unet", "unet"])
@pytest.mark.parametrize("norm", ["none", "instance"])
def test_the_smallest_image_trains_at_full_depth(name: str, norm: str) -> None:
    """With all five stages an image of 32 pixels comes down to a single position."""
    torch.manual_seed(0)
    model = create_model(name, 3, 2, norm=norm, widths=(2, 2, 2, 2, 2)).train()
    logits = model(torch.randn(1, 3, 32, 32))
    logits.square().mean().backward()
    assert torch.isfinite(logits).all()


@every_variant
def test_weights_survive_a_file(create: Any, tmp_path: Path) -> None:
    """Loaded the way prediction does: into a network that was built without memory."""
    first = build(create).eval()
    save_file(first.state_dict(), tmp_path / "weights.safetensors")
    with torch.device("meta"):
        second = build(create).eval()
    second.load_state_dict(load_file(tmp_path / "weights.safetensors"), assign=True)
    x = torch.randn(1, 3, 48, 48)
    torch.testing.assert_close(first(x), second(x), atol=1e-5, rtol=1e-5)


@every_variant
def test_images_of_a_batch_do_not_influence_each_other(create: Any) -> None:
    model = build(create).double().eval()
    x = torch.randn(3, 3, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), atol=1e-9, rtol=1e-9)


@every_variant
def test_bf16_autocast_stays_near(create: Any) -> None:
    model = build(create).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        exact = model(x)
        with torch.autocast("cpu", torch.bfloat16):
            near = model(x).float()
    assert (near - exact).abs().max() < 0.1 * exact.abs().max() + 0.05


@every_variant
def test_channels_last_changes_nothing(create: Any) -> None:
    model = build(create).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        contiguous = model(x)
        channels_last = model.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(channels_last, contiguous, atol=1e-4, rtol=1e-4)


@every_variant
def test_exports_with_a_free_batch_size(create: Any) -> None:
    model = build(create).eval()
    shapes = {0: torch.export.Dim("batch", min=1, max=64)}
    program = torch.export.export(model, (torch.randn(2, 3, 64, 64),), dynamic_shapes=(shapes,)).module()
    x = torch.randn(3, 3, 64, 64)
    torch.testing.assert_close(program(x), model(x), atol=1e-5, rtol=1e-5)


@every_variant
def test_bad_input_is_refused_with_expected_shape(create: Any) -> None:
    model = build(create)
    with pytest.raises(CaseUNetError, match="31×40.*at least 32"):
        model(torch.zeros(1, 3, 31, 40))
    with pytest.raises(CaseUNetError, match=r"expected \(B, 3, H, W\)"):
        model(torch.zeros(1, 1, 64, 64))


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(CaseUNetError, match='no model "caseunet".*"case_unet"'):
        create_model("caseunet", num_classes=2)
    with pytest.raises(CaseUNetError, match='no argument "atention".*"attention"'):
        create_model("case_unet", num_classes=2, atention="spatial")
    with pytest.raises(CaseUNetError, match='no argument "in_channel"'):
        create_model("unet", num_classes=2, in_channel=3)
    for widths in ("abc", 4, [4, "a"], [4.5, 6]):
        with pytest.raises(CaseUNetError, match="widths|cannot be built"):
            create_model("unet", num_classes=2, widths=widths)
    with pytest.raises(CaseUNetError, match="num_classes=1"):
        create_model("unet", num_classes=1)
