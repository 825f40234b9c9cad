"""Weighted categorical cross entropy, and the class weights for it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caseunet.losses.precision import at_least_float32
from caseunet.types import IGNORE


def weighted_cross_entropy(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Mean over all labelled pixels of ``w[y] · (−log softmax(logits)[y])``, in float32 or better; 0 without any.

    The mean is over pixels, as in Keras, not over weights: torch's own ``weight`` argument divides by the weights' sum,
    which would undo the scale that :func:`inverse_frequency_weights` chooses.

    Args:
        logits: (B, C, H, W).
        target: (B, H, W), class ids; pixels with :data:`IGNORE` are left out.
        class_weights: (C,); ones if None.
    """
    loss = F.cross_entropy(at_least_float32(logits), target, reduction="none", ignore_index=IGNORE)
    labelled = target != IGNORE
    if class_weights is not None:
        loss = loss * class_weights.to(loss)[target.masked_fill(~labelled, 0)]
    return loss.sum() / labelled.sum().clamp(min=1)


def inverse_frequency_weights(pixel_counts: Sequence[int]) -> list[float]:
    """Class weights 1/p, p being each class's share of all pixels, scaled so that their mean is 1.

    A class without a pixel cannot be a target, so it gets 0 and does not enter the mean.

    Raises:
        ValueError: no class has a pixel.
    """
    total = sum(pixel_counts)
    if total == 0:
        raise ValueError("no pixels were counted")
    inverse = [total / count if count else 0.0 for count in pixel_counts]
    mean = sum(inverse) / sum(count > 0 for count in pixel_counts)
    return [value / mean for value in inverse]


class WeightedCrossEntropy(nn.Module):
    """:func:`weighted_cross_entropy` with fixed weights."""

    def __init__(self, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", None if class_weights is None else torch.tensor(class_weights))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return weighted_cross_entropy(logits, target, self.class_weights)
