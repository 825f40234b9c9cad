"""The losses, by name. Every one maps logits (B, C, H, W) and class ids (B, H, W) to a scalar. The C outputs
are classes, or regions of them, which may overlap.

Pixels whose id is :data:`caseunet.types.IGNORE` have no label and change no loss. A third argument tells which classes
cannot be told in an image where only some structures are labelled, see :func:`caseunet.losses.targets.merge_classes`.
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
from caseunet.losses.targets import region_table
from caseunet.registry import Registry, build

LOSSES: Registry[type[nn.Module]] = Registry("loss")
LOSSES.add("cross_entropy", WeightedCrossEntropy)
LOSSES.add("dice", SoftDice)
LOSSES.add("hybrid", Hybrid)
LOSSES.add("ssim", SSIM)

__all__ = ["LOSSES", "create_loss", "inverse_frequency_weights"]


def create_loss(
    name: str,
    class_weights: Sequence[float] | None = None,
    *,
    regions: Sequence[Sequence[int]] = (),
    num_classes: int = 0,
    **arguments: Any,
) -> nn.Module:
    """Build a loss.

    Args:
        name: one of :data:`LOSSES`.
        class_weights: of the cross entropy.
        regions: class ids of each region, for a network that learns regions: sigmoids take the place of the softmax,
            and binary cross entropies that of the cross entropy.
        num_classes: how many classes the targets hold, with the background; asked for with regions alone.
        arguments: what the loss takes.

    Raises:
        CaseUNetError: no such loss or argument, or class weights for a loss that has no use for them.
    """
    if regions and class_weights is not None:
        raise InvalidOptionError(
            'Regions have no class weights; set loss.class_weights to "none".', options=("loss.class_weights",)
        )
    loss_class = LOSSES.get(name)
    fixed: dict[str, Any] = {}
    if class_weights is not None:
        if "class_weights" not in inspect.signature(loss_class).parameters:
            raise InvalidOptionError(
                f'The loss "{name}" has no class weights; set loss.class_weights to "none".',
                options=("loss.class_weights",),
            )
        fixed["class_weights"] = class_weights
    loss = build(loss_class, f'The loss "{name}"', fixed, arguments)
    table = region_table(regions, num_classes)
    for term in loss.modules():
        if isinstance(term, WeightedCrossEntropy | SoftDice | SSIM):
            term.regions = table
    return loss
