"""A loss over every output that a network gives in training."""

from collections.abc import Sequence

from torch import Tensor, nn


def deeply_supervised(
    loss: nn.Module, outputs: Tensor | Sequence[Tensor], target: Tensor, *known: Tensor | None
) -> Tensor:
    """``loss`` of the logits, or the weighted mean of the losses of several.

    Output i weighs 2⁻ⁱ, divided by the sum of all weights, as in nnU-Net (Isensee et al., Nature Methods 2021).

    Args:
        outputs: logits (B, C, H, W), or a list of them with the network's own first.
        target: class ids (B, H, W).
        known: what else the loss takes.
    """
    if isinstance(outputs, Tensor):
        value: Tensor = loss(outputs, target, *known)
        return value
    weights = [2.0**-i for i in range(len(outputs))]
    # Backwards, so that what the loss remembers of its last call (its parts, for the log) is of the network's own.
    values = [
        weight * loss(logits, target, *known) for weight, logits in reversed(list(zip(weights, outputs, strict=True)))
    ]
    return sum(values[1:], values[0]) / sum(weights)
