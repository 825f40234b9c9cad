"""U-Net: the plain encoder–decoder that CASe-UNet is compared with.

Paper: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015
(arXiv:1505.04597), figure 1. Differences from it, all usual today: 'same' zero padding instead of valid convolutions,
so that the output has the input's size; LeakyReLU 0.1 instead of ReLU; optional norm; no dropout.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caseunet.errors import CaseUNetError
from caseunet.models.blocks.convolution import ConvNormAct, Norm
from caseunet.models.blocks.padding import pad_image


class DoubleConv(nn.Sequential):
    """Two 3×3 convolutions: (B, in_channels, H, W) → (B, width, H, W)."""

    def __init__(self, in_channels: int, width: int, norm: str) -> None:
        super().__init__(ConvNormAct(in_channels, width, 3, norm), ConvNormAct(width, width, 3, norm))


class UNet(nn.Module):
    """U-Net. ``forward``: images (B, in_channels, H, W), H and W at least 32 → logits (B, num_classes, H, W).

    Args:
        in_channels: channels of the image.
        num_classes: classes with the background.
        norm: "none" (the paper's), "instance" or "batch".
        widths: channels at each size, from the full one down; each step halves H and W.

    Raises:
        CaseUNetError: an argument, or an input's size or number of channels, is not one of these.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        norm: Norm = "none",
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
    ) -> None:
        super().__init__()
        if len(widths) < 2 or not all(isinstance(w, int) and w >= 1 for w in widths):
            raise CaseUNetError(f"widths={list(widths)}: expected at least two positive whole numbers of channels.")
        self.in_channels = in_channels
        self.multiple = 2 ** (len(widths) - 1)
        # Instance norm over a single position would erase it: keep the lowest map at 2×2 or more.
        self.smallest = self.multiple * (2 if norm == "instance" else 1)
        self.down = nn.ModuleList(
            DoubleConv(c_in, c, norm) for c_in, c in zip([in_channels, *widths[:-1]], widths, strict=True)
        )
        rising = list(reversed(widths))
        self.raise_size = nn.ModuleList(nn.ConvTranspose2d(c_in, c, 2, stride=2) for c_in, c in pairwise(rising))
        self.up = nn.ModuleList(DoubleConv(2 * c, c, norm) for c in rising[1:])
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        H, W = x.shape[-2:]
        x = pad_image(x, self.in_channels, self.multiple, self.smallest)
        skips: list[Tensor] = []  # full size, H/2 …; the lowest is not among them
        for stage in self.down[:-1]:
            x = stage(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.down[-1](x)
        for raise_size, stage, skip in zip(self.raise_size, self.up, reversed(skips), strict=True):
            x = stage(torch.cat([skip, raise_size(x)], 1))
        logits: Tensor = self.head(x)
        return logits[..., :H, :W]
