"""What is special about DeepLabV3+."""

from typing import Any

import pytest
import torch

from caseunet import CaseUNetError, create_model
from caseunet.models.deeplabv3plus import DeepLabV3Plus


def test_the_encoder_is_resnet_50() -> None:
    """25,557,032 parameters with its classifier of 1000 classes, 2048 · 1000 + 1000 of them."""
    with torch.device("meta"):
        model = DeepLabV3Plus(3, 2)
    parameters = [*model.stem.parameters(), *model.stages.parameters()]
    assert sum(p.numel() for p in parameters) == 25_557_032 - 2_049_000


@pytest.mark.parametrize("output_stride", [8, 16])
def test_the_lowest_map_has_the_output_stride(output_stride: int) -> None:
    seen: list[torch.Tensor] = []
    model = DeepLabV3Plus(1, 2, (1, 1, 1, 1), width=4, output_stride=output_stride, decoder_width=8)  # type: ignore[arg-type]
    model.pyramid.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    model(torch.zeros(1, 1, 64, 96))
    assert seen[0].shape == (1, 128, 64 // output_stride, 96 // output_stride)


@pytest.mark.parametrize(
    "argument", [{"width": 0}, {"decoder_width": 0}, {"blocks": (1, 1, 0, 1)}, {"output_stride": 4}]
)
def test_refuses_arguments_out_of_range(argument: dict[str, Any]) -> None:
    with torch.device("meta"), pytest.raises(CaseUNetError, match=next(iter(argument))):
        create_model("deeplabv3plus", 3, 2, **argument)


def test_learns_from_one_image_of_smallest_size() -> None:
    """The image pooling leaves one value per channel, over which batch norm could not train."""
    torch.manual_seed(0)
    model = DeepLabV3Plus(1, 2, (1, 1, 1, 1), width=4, decoder_width=8)
    model(torch.randn(1, 1, 32, 32)).square().mean().backward()
    gradient = model.pyramid.image[1].weight.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0
