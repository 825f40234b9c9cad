"""What all losses share: sums over many pixels need more than half precision, and some pixels have no label."""

import torch
from torch import Tensor
from torch.nn import functional as F

from caseunet.types import IGNORE


def at_least_float32(logits: Tensor) -> Tensor:
    """bfloat16 and float16 as float32; float32 and float64 as they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def one_hot(target: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Class ids (B, H, W) as one map a class, (B, C, H, W), and which pixels have a label, (B, 1, H, W), bool.

    Pixels with the id :data:`caseunet.types.IGNORE` are 0 in all maps.
    """
    labelled = (target != IGNORE).unsqueeze(1)
    maps = F.one_hot(target.masked_fill(target == IGNORE, 0), classes).movedim(-1, 1)
    return maps * labelled, labelled
