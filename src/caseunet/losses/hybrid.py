"""The paper's hybrid loss."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from caseunet.losses.cross_entropy import WeightedCrossEntropy
from caseunet.losses.dice import SoftDice
from caseunet.losses.ssim import SSIM


class Hybrid(nn.Module):
    """``cross_entropy · CE + ssim · (1 − SSIM) + dice · (1 − Dice)``; the paper names no weights, so all are 1 here.

    A term with weight 0 is not computed. ``parts`` holds the terms of the last call, unweighted and detached, for logs.

    ``dice_classes`` is the ``classes`` of :func:`caseunet.losses.dice.soft_dice_loss`.

    Shapes: logits (B, C, H, W), target (B, H, W) class ids → scalar.
    """

    def __init__(
        self,
        cross_entropy: float = 1.0,
        ssim: float = 1.0,
        dice: float = 1.0,
        class_weights: Sequence[float] | None = None,
        dice_classes: Literal["all", "present"] = "all",
    ) -> None:
        super().__init__()
        weights = {"cross_entropy": cross_entropy, "ssim": ssim, "dice": dice}
        if min(weights.values()) < 0 or max(weights.values()) == 0:
            raise ValueError(f"the weights of the terms must be at least 0 and not all 0: {weights}")
        terms = {
            "cross_entropy": WeightedCrossEntropy(class_weights),
            "ssim": SSIM(),
            "dice": SoftDice(classes=dice_classes),
        }
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.terms = nn.ModuleDict({name: terms[name] for name in self.weights})
        self.parts: dict[str, Tensor] = {}

    def forward(self, logits: Tensor, target: Tensor, merged: Tensor | None = None) -> Tensor:
        values = {name: term(logits, target, merged) for name, term in self.terms.items()}
        self.parts = {name: value.detach() for name, value in values.items()}
        return torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
