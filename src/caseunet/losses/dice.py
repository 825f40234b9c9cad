"""Soft Dice."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from caseunet.losses.targets import compare_maps


def soft_dice_loss(
    logits: Tensor,
    target: Tensor,
    smooth: float = 1e-5,
    classes: Literal["all", "present"] = "all",
    total: Callable[[Tensor], Tensor] = lambda sums: sums,
    regions: Tensor | None = None,
    merged: Tensor | None = None,
) -> Tensor:
    """1 − mean over classes of ``(2 Σ p·g + smooth) / (Σ p + Σ g + smooth)``, in float32 or better.

    p is the softmax, g the one-hot target; of regions the sigmoids and the regions' maps. The sums run over the
    labelled pixels of the whole batch. The background counts as a class.

    Args:
        logits: (B, C, H, W).
        target: (B, H, W), class ids; pixels with :data:`caseunet.types.IGNORE` are left out.
        smooth: keeps the quotient finite.
        classes: "all" means over all C. "present" means over those that the batch's target holds: for the others the
            quotient is near 0 whatever the network says, which adds a constant and weakens the others' gradient.
        total: sums (3, C) over this batch → over all parts of it, where others are elsewhere.
        regions: see :func:`caseunet.losses.targets.target_maps`.
        merged: see :func:`caseunet.losses.targets.merge_classes`.
    """
    p, g = compare_maps(logits, target, regions, merged)
    over = (0, 2, 3)
    both, predicted, pixels = total(torch.stack([torch.sum(p * g, over), p.sum(over), g.sum(over)]))
    dice = (2 * both + smooth) / (predicted + pixels + smooth)
    counted = torch.ones_like(dice) if classes == "all" else (pixels > 0).to(dice)
    return 1 - (dice * counted).sum() / counted.sum()


class SoftDice(nn.Module):
    """:func:`soft_dice_loss` with fixed settings; ``total`` is set where a batch is on several devices, ``regions``
    where the network's outputs are regions."""

    def __init__(self, smooth: float = 1e-5, classes: Literal["all", "present"] = "all") -> None:
        super().__init__()
        if classes not in ("all", "present"):
            raise ValueError(f'classes="{classes}": expected "all" or "present"')
        self.smooth = smooth
        self.classes: Literal["all", "present"] = classes
        self.total: Callable[[Tensor], Tensor] = lambda sums: sums
        self.regions: Tensor | None = None

    def forward(self, logits: Tensor, target: Tensor, merged: Tensor | None = None) -> Tensor:
        return soft_dice_loss(logits, target, self.smooth, self.classes, self.total, self.regions, merged)
