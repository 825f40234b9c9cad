"""What every registered network promises."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from caseunet import UserError, create_model, list_models

VARIANTS = [(name, norm) for name in list_models() for norm in ("none", "instance")]
SMALL = (4, 6, 8)

every_variant = pytest.mark.parametrize(("name", "norm"), VARIANTS)


def build(name: str, norm: str, in_channels: int = 3, num_classes: int = 4) -> torch.nn.Module:
    torch.manual_seed(0)
    return create_model(name, in_channels, num_classes, norm=norm, widths=SMALL)


@every_variant
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 96), (97, 41)])
def test_logits_have_the_image_s_size(name: str, norm: str, size: tuple[int, int]) -> None:
    logits = build(name, norm)(torch.randn(2, 3, *size))
    assert logits.shape == (2, 4, *size)
    assert torch.isfinite(logits).all()
    assert logits.min() < 0, "logits, not probabilities"


@every_variant
@pytest.mark.parametrize(("in_channels", "num_classes"), [(1, 2), (9, 12)])
def test_channels_and_classes_are_free(name: str, norm: str, in_channels: int, num_classes: int) -> None:
    assert build(name, norm, in_channels, num_classes)(torch.randn(1, in_channels, 40, 40)).shape[1] == num_classes


@every_variant
def test_gradients_reach_every_parameter(name: str, norm: str) -> None:
    model = build(name, norm)
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        if parameter.ndim > 1:  # biases before a norm, and of attention keys, have no influence by construction
            assert parameter.grad.abs().max() > 0, parameter_name


@every_variant
def test_smallest_image_trains(name: str, norm: str) -> None:
    """With all five stages an image of 32 pixels comes down to a single position."""
    torch.manual_seed(0)
    model = create_model(name, 3, 2, norm=norm, widths=(2, 2, 2, 2, 2)).train()
    logits = model(torch.randn(1, 3, 32, 32))
    logits.square().mean().backward()
    assert torch.isfinite(logits).all()


@every_variant
def test_weights_survive_a_file(name: str, norm: str, tmp_path: Path) -> None:
    first, second = build(name, norm).eval(), create_model(name, 3, 4, norm=norm, widths=SMALL).eval()
    save_file(first.state_dict(), tmp_path / "weights.safetensors")
    second.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    x = torch.randn(1, 3, 48, 48)
    assert torch.equal(first(x), second(x))


@every_variant
def test_images_of_a_batch_do_not_influence_each_other(name: str, norm: str) -> None:
    model = build(name, norm).double().eval()
    x = torch.randn(3, 3, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), atol=1e-9, rtol=1e-9)


@every_variant
def test_bf16_autocast_stays_near(name: str, norm: str) -> None:
    model = build(name, norm).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        exact = model(x)
        with torch.autocast("cpu", torch.bfloat16):
            near = model(x).float()
    assert (near - exact).abs().max() < 0.1 * exact.abs().max() + 0.05


@every_variant
def test_bad_input_is_refused_with_the_expected_shape(name: str, norm: str) -> None:
    model = build(name, norm)
    with pytest.raises(UserError, match="31×40.*at least 32"):
        model(torch.zeros(1, 3, 31, 40))
    with pytest.raises(UserError, match=r"expected \(B, 3, H, W\)"):
        model(torch.zeros(1, 1, 64, 64))


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UserError, match='no model "caseunet".*"case_unet"'):
        create_model("caseunet", num_classes=2)
    with pytest.raises(UserError, match='no argument "atention".*"attention"'):
        create_model("case_unet", num_classes=2, atention="spatial")
    with pytest.raises(UserError, match='no argument "in_channel"'):
        create_model("unet", num_classes=2, in_channel=3)
    for widths in ("abc", 4, [4, "a"], [4.5, 6]):
        with pytest.raises(UserError, match="widths|cannot be built"):
            create_model("unet", num_classes=2, widths=widths)
    with pytest.raises(UserError, match="num_classes=1"):
        create_model("unet", num_classes=1)
