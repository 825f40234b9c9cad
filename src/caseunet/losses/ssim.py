"""Structural similarity between the predicted probability maps and the reference's."""

from pytorch_msssim import ssim
from torch import Tensor, nn

from caseunet.losses.precision import at_least_float32, one_hot


def ssim_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 − SSIM between the softmax and the one-hot target, meaned over classes, positions and images.

    Wang et al. 2004: 11×11 Gaussian window, σ = 1.5, K1 = .01, K2 = .03, dynamic range 1. Only windows that lie wholly
    inside the image count, as in ``tf.image.ssim``, so H and W must be at least 11. Computed in
    float32 or better.

    Args:
        logits: (B, C, H, W).
        target: (B, H, W), class ids; pixels with :data:`caseunet.types.IGNORE` are 0 in both maps, so equal.

    Raises:
        ValueError: H or W is below 11.
    """
    H, W = logits.shape[-2:]
    if H < 11 or W < 11:
        raise ValueError(f"SSIM needs at least 11×11 pixels, not {H}×{W}")
    reference, labelled = one_hot(target, logits.shape[1])
    probabilities = at_least_float32(logits).softmax(1) * labelled
    similarity: Tensor = ssim(probabilities, reference.to(probabilities), data_range=1.0, win_size=11, win_sigma=1.5)
    return 1 - similarity


class SSIM(nn.Module):
    """:func:`ssim_loss` as a module."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return ssim_loss(logits, target)
