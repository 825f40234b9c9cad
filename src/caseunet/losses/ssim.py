"""Structural similarity between the predicted probability maps and the reference's."""

from pytorch_msssim import ssim
from torch import Tensor, nn

from caseunet.losses.targets import compare_maps


def ssim_loss(logits: Tensor, target: Tensor, regions: Tensor | None = None, merged: Tensor | None = None) -> Tensor:
    """1 − SSIM between the softmax and the one-hot target, meaned over classes, positions and images; of regions
    between the sigmoids and theirs.

    Wang et al. 2004: 11×11 Gaussian window, σ = 1.5, K1 = .01, K2 = .03, dynamic range 1. Only windows that lie wholly
    inside the image count, as in ``tf.image.ssim``, so H and W must be at least 11. Computed in
    float32 or better.

    Args:
        logits: (B, C, H, W).
        target: (B, H, W), class ids; pixels with :data:`caseunet.types.IGNORE` are 0 in both maps, so equal.
        regions: see :func:`caseunet.losses.targets.target_maps`.
        merged: see :func:`caseunet.losses.targets.merge_classes`.

    Raises:
        ValueError: H or W is below 11.
    """
    H, W = logits.shape[-2:]
    if H < 11 or W < 11:
        raise ValueError(f"SSIM needs at least 11×11 pixels, not {H}×{W}")
    probabilities, reference = compare_maps(logits, target, regions, merged)
    similarity: Tensor = ssim(probabilities, reference, data_range=1.0, win_size=11, win_sigma=1.5)
    return 1 - similarity


class SSIM(nn.Module):
    """:func:`ssim_loss` as a module; ``regions`` is set where the network's outputs are regions."""

    def __init__(self) -> None:
        super().__init__()
        self.regions: Tensor | None = None

    def forward(self, logits: Tensor, target: Tensor, merged: Tensor | None = None) -> Tensor:
        return ssim_loss(logits, target, self.regions, merged)
