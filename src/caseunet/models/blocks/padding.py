"""Images of any size through networks that halve the size several times."""

import torch
from torch import Tensor
from torch.nn import functional as F

from caseunet.errors import CaseUNetError

MIN_IMAGE = 32


def is_exporting() -> bool:
    """Whether a network runs to be exported, by ``torch.export`` or by tracing: no choice may depend on a size then."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]


def pad_image(x: Tensor, in_channels: int, multiple: int, minimum: int) -> Tensor:
    """Check an image, and repeat its last row and column until H and W suit a network.

    The caller crops its output back with ``y[..., :H, :W]``. While a network is exported nothing is checked or
    repeated: a graph for any size has no room for "at least", so whoever runs it gives it images of such a size.

    Args:
        x: (B, in_channels, H, W).
        multiple: what H and W become multiples of.
        minimum: what they become at least.

    Raises:
        CaseUNetError: x has another number of axes or channels, or H or W is below 32 pixels.
    """
    if is_exporting():
        return x
    if x.ndim != 4 or x.shape[1] != in_channels:
        raise CaseUNetError(f"Input of shape {tuple(x.shape)}: expected (B, {in_channels}, H, W).")
    H, W = x.shape[-2:]
    if H < MIN_IMAGE or W < MIN_IMAGE:
        raise CaseUNetError(
            f"An image of {H}×{W} pixels is too small: the networks need at least {MIN_IMAGE} pixels each way. "
            "Resize the images (prepare.size) or pad them."
        )
    target_H, target_W = (max(minimum, -(-n // multiple) * multiple) for n in (H, W))
    if (target_H, target_W) == (H, W):
        return x
    return F.pad(x, (0, target_W - W, 0, target_H - H), mode="replicate")
