"""DeepLabV3+: a residual network with dilated convolutions at several rates, and a short decoder.

Paper: Chen, Zhu, Papandreou, Schroff, Adam, "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation", ECCV 2018 (arXiv:1802.02611), with the ResNet-50 encoder of He, Zhang, Ren, Sun, "Deep Residual Learning
for Image Recognition", CVPR 2016 (arXiv:1512.03385), from fresh weights.

Differences: ordinary instead of depthwise separable convolutions (the paper uses those with its Xception encoder);
no batch norm after the image pooling, where a single image would leave it a single value per channel; dropout 0.5 after
the pyramid; and the low-level features' 48 channels shrink and grow with ``decoder_width``.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caseunet.errors import CaseUNetError
from caseunet.models.blocks.convolution import ConvBatchNorm, ConvBatchNormReLU
from caseunet.models.blocks.padding import pad_image


class DeepLabBottleneck(nn.Module):
    """Convolutions 1×1, 3×3, 1×1 around a shortcut: (B, in_channels, H, W) → (B, 4·width, H/stride, W/stride)."""

    def __init__(self, in_channels: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            ConvBatchNormReLU(in_channels, width, 1),
            ConvBatchNormReLU(width, width, 3, stride, dilation),
            ConvBatchNorm(width, 4 * width, 1),
        )
        changes = stride > 1 or in_channels != 4 * width
        self.shortcut = ConvBatchNorm(in_channels, 4 * width, 1, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x) + self.shortcut(x))


class AtrousPyramid(nn.Module):
    """1×1 and dilated 3×3 convolutions and the image's mean, side by side: (B, C, H, W) → (B, width, H, W)."""

    def __init__(self, in_channels: int, width: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [ConvBatchNormReLU(in_channels, width, 1)]
            + [ConvBatchNormReLU(in_channels, width, 3, dilation=rate) for rate in rates]
        )
        self.image = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(in_channels, width, 1), nn.ReLU(inplace=True))
        self.project = nn.Sequential(ConvBatchNormReLU((len(rates) + 2) * width, width, 1), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        image = self.image(x).expand(-1, -1, *x.shape[-2:])
        y: Tensor = self.project(torch.cat([*(branch(x) for branch in self.branches), image], 1))
        return y


class DeepLabV3Plus(nn.Module):
    """DeepLabV3+. ``forward``: images (B, in_channels, H, W), H and W at least 32 → logits (B, num_classes, H, W).

    Args:
        in_channels: channels of the image.
        num_classes: classes with the background.
        blocks: residual blocks of the four encoder stages; 3, 4, 6, 3 is ResNet-50.
        width: channels of the stem; stage i has 4 · width · 2**i.
        output_stride: the image's size over the lowest map's, 16 or 8; stages beyond it dilate instead of halving.
        decoder_width: channels of pyramid and decoder.

    Raises:
        CaseUNetError: an argument, or an input's size or number of channels, is not one of these.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        blocks: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        output_stride: Literal[8, 16] = 16,
        decoder_width: int = 256,
    ) -> None:
        super().__init__()
        if output_stride not in (8, 16):
            raise CaseUNetError(f"output_stride={output_stride}: expected 8 or 16.")
        if len(blocks) != 4 or not all(isinstance(n, int) and n >= 1 for n in blocks):
            raise CaseUNetError(f"blocks={list(blocks)}: expected four positive whole numbers.")
        if not all(isinstance(n, int) and n >= 1 for n in (width, decoder_width)):
            raise CaseUNetError(f"width={width}, decoder_width={decoder_width}: expected positive whole numbers.")
        self.in_channels = in_channels
        self.multiple, self.smallest = 16, 32
        self.stem = ConvBatchNormReLU(in_channels, width, 7, stride=2)
        stages: list[nn.Module] = []
        c_in, stride_so_far, dilation = width, 4, 1
        for i, count in enumerate(blocks):
            stride = 1 if i == 0 or stride_so_far == output_stride else 2
            before = dilation  # the first block of a stage that dilates still sees the map of the stage before
            dilation *= 2 if i > 0 and stride == 1 else 1
            stride_so_far *= stride
            layers = []
            for n in range(count):
                layers.append(
                    DeepLabBottleneck(c_in, width * 2**i, stride if n == 0 else 1, before if n == 0 else dilation)
                )
                c_in = 4 * width * 2**i
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)
        factor = 16 // output_stride
        self.pyramid = AtrousPyramid(c_in, decoder_width, [6 * factor, 12 * factor, 18 * factor])
        low_level = max(decoder_width * 48 // 256, 1)
        self.reduce = ConvBatchNormReLU(4 * width, low_level, 1)
        self.decoder = nn.Sequential(
            ConvBatchNormReLU(decoder_width + low_level, decoder_width, 3),
            ConvBatchNormReLU(decoder_width, decoder_width, 3),
            nn.Conv2d(decoder_width, num_classes, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        H, W = x.shape[-2:]
        x = pad_image(x, self.in_channels, self.multiple, self.smallest)
        padded = x.shape[-2:]
        x = F.max_pool2d(self.stem(x), 3, stride=2, padding=1)
        low = self.stages[0](x)  # H/4
        x = low
        for stage in self.stages[1:]:
            x = stage(x)
        x = F.interpolate(self.pyramid(x), size=low.shape[-2:], mode="bilinear", align_corners=False)
        logits: Tensor = self.decoder(torch.cat([x, self.reduce(low)], 1))
        return F.interpolate(logits, size=padded, mode="bilinear", align_corners=False)[..., :H, :W]
