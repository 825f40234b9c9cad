"""Weighted categorical cross entropy, and the class weights for it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caseunet.losses.targets import at_least_float32, known_regions, merge_classes, target_maps
from caseunet.types import IGNORE


def weighted_cross_entropy(
    logits: Tensor, target: Tensor, class_weights: Tensor | None = None, merged: Tensor | None = None
) -> Tensor:
    """Mean over all labelled pixels of ``w[y] · (−log softmax(logits)[y])``, in float32 or better; 0 without any.

    The mean is over pixels, as in Keras, not over weights: torch's own ``weight`` argument divides by the weights' sum,
    which would undo the scale that :func:`inverse_frequency_weights` chooses.

    Args:
        logits: (B, C, H, W).
        target: (B, H, W), class ids; pixels with :data:`IGNORE` are left out.
        class_weights: (C,); ones if None.
        merged: see :func:`caseunet.losses.targets.merge_classes`.
    """
    loss = F.cross_entropy(
        merge_classes(at_least_float32(logits), merged), target, reduction="none", ignore_index=IGNORE
    )
    labelled = target != IGNORE
    if class_weights is not None:
        loss = loss * class_weights.to(loss)[target.masked_fill(~labelled, 0)]
    return loss.sum() / labelled.sum().clamp(min=1)


def region_cross_entropy(logits: Tensor, target: Tensor, regions: Tensor, merged: Tensor | None = None) -> Tensor:
    """Binary cross entropy of each region, meaned over regions and all labelled pixels, in float32 or better.

    Args:
        logits: (B, R, H, W).
        target: (B, H, W), class ids; pixels with :data:`IGNORE` are left out.
        regions: see :func:`caseunet.losses.targets.target_maps`.
        merged: see :func:`caseunet.losses.targets.merge_classes`; regions that cannot be told are left out.
    """
    logits = at_least_float32(logits)
    maps, labelled = target_maps(target, logits.shape[1], regions)
    known = labelled.expand_as(logits).to(logits)
    if merged is not None:
        known = known * known_regions(regions, merged)[:, :, None, None]
    loss = F.binary_cross_entropy_with_logits(logits, maps.to(logits), reduction="none") * known
    return loss.sum() / known.sum().clamp(min=1)


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
    """:func:`weighted_cross_entropy` with fixed weights, or where ``regions`` is set :func:`region_cross_entropy`."""

    def __init__(self, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", None if class_weights is None else torch.tensor(class_weights))
        self.regions: Tensor | None = None

    def forward(self, logits: Tensor, target: Tensor, merged: Tensor | None = None) -> Tensor:
        if self.regions is not None:
            return region_cross_entropy(logits, target, self.regions, merged)
        return weighted_cross_entropy(logits, target, self.class_weights, merged)
