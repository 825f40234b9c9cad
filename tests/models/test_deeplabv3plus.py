"""What is special about DeepLabV3+."""

import pytest
import torch

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
