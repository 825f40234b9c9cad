"""What all losses share: sums over many pixels need more than half precision, and some pixels have no label."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from caseunet.types import IGNORE


def at_least_float32(logits: Tensor) -> Tensor:
    """bfloat16 and float16 as float32; float32 and float64 as they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def target_maps(target: Tensor, outputs: int, regions: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Class ids (B, H, W) as one map an output, (B, outputs, H, W), and which pixels have a label, (B, 1, H, W), bool.

    Pixels with the id :data:`caseunet.types.IGNORE` are 0 in all maps.

    Args:
        target: class ids.
        outputs: classes, or regions.
        regions: (classes, outputs), 1 where the class is in the region; None where each output is a class.
    """
    labelled = (target != IGNORE).unsqueeze(1)
    ids = target.masked_fill(target == IGNORE, 0)
    maps = F.one_hot(ids, outputs) if regions is None else regions.to(target.device)[ids]
    return maps.movedim(-1, 1) * labelled, labelled


def compare_maps(logits: Tensor, target: Tensor, regions: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Predicted and true maps (B, C, H, W), both 0 where there is no label: softmax and classes, or sigmoid and
    regions."""
    g, labelled = target_maps(target, logits.shape[1], regions)
    logits = at_least_float32(logits)
    p = (logits.softmax(1) if regions is None else logits.sigmoid()) * labelled
    return p, g.to(p)


def region_table(regions: Sequence[Sequence[int]], num_classes: int) -> Tensor | None:
    """(num_classes, R), 1 where the class is in the region; None without regions."""
    if not regions:
        return None
    return torch.tensor([[float(i in members) for members in regions] for i in range(num_classes)])
