"""The losses, by name. Every one maps logits (B, C, H, W) and class ids (B, H, W) to a scalar.

Pixels whose id is :data:`caseunet.types.IGNORE` have no label and change no loss.
"""

import inspect
from collections.abc import Sequence
from typing import Any

from torch import nn

from caseunet.errors import InvalidOptionError
from caseunet.losses.cross_entropy import WeightedCrossEntropy, inverse_frequency_weights
from caseunet.losses.dice import SoftDice
from caseunet.losses.hybrid import Hybrid
from caseunet.losses.ssim import SSIM
from caseunet.registry import Registry, build

LOSSES: Registry[type[nn.Module]] = Registry("loss")
LOSSES.add("cross_entropy", WeightedCrossEntropy)
LOSSES.add("dice", SoftDice)
LOSSES.add("hybrid", Hybrid)
LOSSES.add("ssim", SSIM)

__all__ = ["LOSSES", "create_loss", "inverse_frequency_weights"]


def create_loss(name: str, class_weights: Sequence[float] | None = None, **arguments: Any) -> nn.Module:
    """Build a loss.

    Raises:
        CaseUNetError: no such loss or argument, or class weights for a loss that has no use for them.
    """
    loss_class = LOSSES.get(name)
    fixed: dict[str, Any] = {}
    if class_weights is not None:
        if "class_weights" not in inspect.signature(loss_class).parameters:
            raise InvalidOptionError(
                f'The loss "{name}" has no class weights; set loss.class_weights to "none".',
                options=("loss.class_weights",),
            )
        fixed["class_weights"] = class_weights
    return build(loss_class, f'The loss "{name}"', fixed, arguments)
