"""What is special about UNet 3+."""

import torch

from caseunet import create_model
from caseunet.models.unet3plus import UNet3Plus

TINY = {"widths": (4, 6, 8), "skip_width": 4}


def test_has_the_paper_s_26_97_million_parameters() -> None:
    """The paper counts one output and no side outputs."""
    with torch.device("meta"):
        model = UNet3Plus(in_channels=3, num_classes=1)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 26.97


def test_deep_supervision_gives_full_size_logits_of_every_level_in_training_only() -> None:
    model = create_model("unet3plus", 1, 2, deep_supervision=True, **TINY)
    image = torch.randn(2, 1, 37, 45)
    assert [tuple(y.shape) for y in model(image)] == [(2, 2, 37, 45)] * 3
    assert model.eval()(image).shape == (2, 2, 37, 45)


def test_an_absent_class_is_suppressed_and_the_background_is_not() -> None:
    torch.manual_seed(0)
    guided = create_model("unet3plus", 1, 3, classification_guided=True, **TINY).eval()
    image = torch.randn(1, 1, 32, 32)
    assert isinstance(guided, UNet3Plus)
    assert guided.presence is not None
    head = guided.presence[1]
    assert isinstance(head, torch.nn.Conv2d)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([100.0, -100.0]))
        found = guided(image)
        guided.presence = None
        unguided = guided(image)
    torch.testing.assert_close(found[:, :2], unguided[:, :2])  # background; class 1, which is surely there
    torch.testing.assert_close(found[:, 2], unguided[:, 2] - 100)
