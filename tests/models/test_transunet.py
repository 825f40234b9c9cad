"""What is special about TransUNet."""

from typing import Any

import pytest
import torch

from caseunet import CaseUNetError, create_model
from caseunet.models.transunet import StandardizedConv2d, TransformerLayer

TINY = {"blocks": (1, 1, 1), "width": 4, "hidden": 8, "depth": 1, "heads": 2, "mlp": 8, "decoder_widths": (4, 4, 4, 4)}


def test_has_the_size_of_r50_vit_b_16() -> None:
    """About 105 million, as published for it at 224×224."""
    with torch.device("meta"):
        model = create_model("transunet", 3, 9)
    assert 104e6 < sum(p.numel() for p in model.parameters()) < 107e6


def test_every_token_reaches_every_other() -> None:
    torch.manual_seed(0)
    layer = TransformerLayer(hidden=8, heads=2, mlp=8, dropout=0.0)
    tokens = torch.randn(1, 6, 8)
    changed = tokens.clone()
    changed[0, 2, 3] += 1
    assert ((layer(tokens) - layer(changed)).abs().amax(2) > 0).all()


def test_position_embeddings_follow_image_s_grid() -> None:
    """0 and 4 in the two rows of a learned grid are 0, 1, 3 and 4 in the four rows of a 64×64 image."""
    model = create_model("transunet", 1, 2, position_grid=(2, 1), **TINY).eval()
    seen: list[torch.Tensor] = []
    model.dropout.register_forward_hook(lambda module, inputs, output: seen.append(output))
    image = torch.randn(1, 1, 64, 64)
    model(image)
    with torch.no_grad():
        model.position += torch.tensor([0.0, 4.0]).reshape(1, 1, 2, 1)
    model(image)
    difference = (seen[1] - seen[0])[0, :, 0].reshape(4, 4)
    torch.testing.assert_close(difference, torch.tensor([0.0, 1.0, 3.0, 4.0]).reshape(4, 1).expand(4, 4))


def test_kernels_are_standardised() -> None:
    conv = StandardizedConv2d(1, 1, 1)
    assert conv(torch.ones(1, 1, 1, 1)).item() == 0, "a kernel of one number has no variance"
    conv = StandardizedConv2d(2, 1, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([5.0, 9.0]).reshape(1, 2, 1, 1))  # mean 7, deviation 2: -1 and 1
    torch.testing.assert_close(conv(torch.tensor([[[[3.0]], [[10.0]]]])), torch.full((1, 1, 1, 1), 7.0))


@pytest.mark.parametrize(
    "argument",
    [
        {"blocks": (0, 1, 1)},
        {"width": 0},
        {"hidden": 0},
        {"depth": 0},
        {"heads": 0},
        {"mlp": 0},
        {"decoder_widths": (0, 4, 4, 4)},
        {"position_grid": (0, 1)},
        {"dropout": 1.0},
    ],
)
def test_refuses_arguments_out_of_range(argument: dict[str, Any]) -> None:
    with torch.device("meta"), pytest.raises(CaseUNetError, match=next(iter(argument))):
        create_model("transunet", 3, 2, **{**TINY, **argument})
