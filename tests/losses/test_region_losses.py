"""Losses of regions against numbers by hand, and pixels that nobody judged."""

from math import exp, log

import pytest
import torch

from caseunet.errors import CaseUNetError
from caseunet.losses import create_loss
from caseunet.types import IGNORE

REGIONS = [[1, 2], [2]]


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def small() -> tuple[torch.Tensor, torch.Tensor]:
    """Two judged pixels, of class 1 and 2, and one that is not: logits (1, 2, 1, 3)."""
    return torch.tensor([[[[0.5, 2.0, 9.0]], [[-1.0, 0.25, -9.0]]]]), torch.tensor([[[1, 2, IGNORE]]])


def test_cross_entropy_is_binary_for_each_region() -> None:
    logits, target = small()
    expected = -(log(sigmoid(0.5)) + log(1 - sigmoid(-1)) + log(sigmoid(2)) + log(sigmoid(0.25))) / 4
    loss = create_loss("cross_entropy", regions=REGIONS, num_classes=3)
    assert float(loss(logits, target)) == pytest.approx(expected)


def test_dice_is_a_mean_over_regions() -> None:
    logits, target = small()
    first = 2 * (sigmoid(0.5) + sigmoid(2)) / (sigmoid(0.5) + sigmoid(2) + 2)
    second = 2 * sigmoid(0.25) / (sigmoid(-1) + sigmoid(0.25) + 1)
    loss = create_loss("dice", regions=REGIONS, num_classes=3)
    assert float(loss(logits, target)) == pytest.approx(1 - (first + second) / 2, abs=1e-5)


@pytest.mark.parametrize("name", ["cross_entropy", "dice", "ssim", "hybrid"])
@pytest.mark.parametrize("regions", [(), REGIONS])
def test_gradient_is_zero_where_nobody_judged(name: str, regions: list[list[int]]) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 2 if regions else 3, 16, 16, requires_grad=True)
    target = torch.randint(0, 3, (2, 16, 16))
    target[:, 4:9, 5:11] = IGNORE
    create_loss(name, regions=regions, num_classes=3)(logits, target).backward()
    unjudged = (target == IGNORE)[:, None].expand_as(logits)
    assert (logits.grad[unjudged] == 0).all()
    assert (logits.grad[~unjudged] != 0).any()


def test_class_weights_are_refused() -> None:
    with pytest.raises(CaseUNetError, match="Regions have no class weights"):
        create_loss("cross_entropy", [1, 1, 1], regions=REGIONS, num_classes=3)
