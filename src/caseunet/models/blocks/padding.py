"""Images of any size through networks that halve the size several times."""

from torch import Tensor
from torch.nn import functional as F

from caseunet.errors import UserError

SMALLEST_IMAGE = 32


def pad_to_multiple(x: Tensor, multiple: int, minimum: int) -> Tensor:
    """Repeat the last row and column until H and W are multiples of ``multiple`` and at least ``minimum``.

    The caller crops its output back with ``y[..., :H, :W]``.

    Args:
        x: (B, C, H, W).

    Raises:
        UserError: H or W is below 32 pixels.
    """
    H, W = x.shape[-2:]
    if H < SMALLEST_IMAGE or W < SMALLEST_IMAGE:
        raise UserError(
            f"An image of {H}×{W} pixels is too small: the networks need at least {SMALLEST_IMAGE} pixels each way. "
            "Resize the images (prepare.size) or pad them."
        )
    target_H, target_W = (max(minimum, -(-n // multiple) * multiple) for n in (H, W))
    if (target_H, target_W) == (H, W):
        return x
    return F.pad(x, (0, target_W - W, 0, target_H - H), mode="replicate")
