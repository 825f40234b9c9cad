"""Losses are sums over many pixels: half precision is not enough for them."""

import torch
from torch import Tensor


def at_least_float32(logits: Tensor) -> Tensor:
    """bfloat16 and float16 as float32; float32 and float64 as they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
