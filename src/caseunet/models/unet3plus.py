"""UNet 3+: full-scale skip connections, without multi-scale convolutions or attention.

Paper: Huang, Lin, Tong, Hu, Zhang, Iwamoto, Han, Chen, Wu, "UNet 3+: A Full-Scale Connected UNet for Medical Image
Segmentation", ICASSP 2020 (arXiv:2004.08790), from which CASe-UNet takes its skip connections. At 3 channels and one
output it has the paper's 26.97 million parameters.

Differences from it: softmax over classes instead of one sigmoid per organ; and the classification-guided module
(``classification_guided``) has no loss of its own. The paper's decides from the lowest map whether an organ is in the
image and multiplies the organ's mask by 0 or 1. Here the logarithm of that probability is added to the class's logit,
for each class but the background: the same in the limit, differentiable, and trained by the segmentation's loss alone.
"""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caseunet.errors import CaseUNetError
from caseunet.models.blocks.convolution import ConvBatchNormReLU
from caseunet.models.blocks.padding import pad_image


class FullScaleStage(nn.Module):
    """A map of every level brought to one size, to ``skip_width`` channels each, and fused.

    Shapes: maps (B, C_i, ·, ·) of all levels → (B, levels · skip_width, H, W) at the size of level ``level``.
    """

    def __init__(self, level: int, channels: Sequence[int], skip_width: int) -> None:
        super().__init__()
        self.level = level
        self.skips = nn.ModuleList(ConvBatchNormReLU(c, skip_width, 3, bias=True) for c in channels)
        self.fuse = ConvBatchNormReLU(skip_width * len(channels), skip_width * len(channels), 3, bias=True)

    def forward(self, maps: list[Tensor]) -> Tensor:
        H, W = maps[self.level].shape[-2:]
        resized = [_resize(m, H, W, up=i > self.level) for i, m in enumerate(maps)]
        fused: Tensor = self.fuse(torch.cat([skip(m) for skip, m in zip(self.skips, resized, strict=True)], 1))
        return fused


class UNet3Plus(nn.Module):
    """UNet 3+. ``forward``: images (B, in_channels, H, W), H and W at least 32 → logits (B, num_classes, H, W).

    In training with ``deep_supervision`` it returns a list of such logits: the network's own, then those of each lower
    decoder stage and of the lowest encoder map.

    Args:
        in_channels: channels of the image.
        num_classes: classes with the background.
        widths: channels of the encoder at each size, from the full one down; each step halves H and W.
        skip_width: channels to which each skip is brought.
        deep_supervision: logits of every stage in training.
        classification_guided: the module described above.

    Raises:
        CaseUNetError: an argument, or an input's size or number of channels, is not one of these.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        skip_width: int = 64,
        deep_supervision: bool = False,
        classification_guided: bool = False,
    ) -> None:
        super().__init__()
        if len(widths) < 2 or not all(isinstance(w, int) and w >= 1 for w in [*widths, skip_width]):
            raise CaseUNetError(
                f"widths={list(widths)}, skip_width={skip_width}: expected at least two widths, and positive whole "
                "numbers of channels."
            )
        self.in_channels = in_channels
        self.deep_supervision = deep_supervision
        self.multiple = 2 ** (len(widths) - 1)
        self.smallest = 2 * self.multiple  # batch norm over a single position of a single image would fail

        self.encoder = nn.ModuleList(
            nn.Sequential(ConvBatchNormReLU(c_in, c, 3, bias=True), ConvBatchNormReLU(c, c, 3, bias=True))
            for c_in, c in zip([in_channels, *widths[:-1]], widths, strict=True)
        )
        channels = list(widths)  # of the maps that the next decoder stage reads: those below it are decoded
        decoded = skip_width * len(widths)
        stages: list[FullScaleStage] = []
        for level in reversed(range(len(widths) - 1)):
            stages.append(FullScaleStage(level, channels, skip_width))
            channels[level] = decoded
        self.decoder = nn.ModuleList(stages)

        levels = len(widths) if deep_supervision else 1
        self.heads = nn.ModuleList(nn.Conv2d(c, num_classes, 3, padding=1) for c in channels[:levels])
        self.presence = (
            nn.Sequential(nn.Dropout(0.5), nn.Conv2d(widths[-1], num_classes - 1, 1), nn.AdaptiveMaxPool2d(1))
            if classification_guided
            else None
        )

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        H, W = x.shape[-2:]
        x = pad_image(x, self.in_channels, self.multiple, self.smallest)
        padded_H, padded_W = x.shape[-2:]
        maps: list[Tensor] = []  # full size, H/2 …
        for i, stage in enumerate(self.encoder):
            x = stage(x if i == 0 else F.max_pool2d(x, 2))
            maps.append(x)
        for full_scale in cast(
            Iterable[FullScaleStage], self.decoder
        ):  # from the second lowest level up; each replaces its encoder map
            maps[full_scale.level] = full_scale(maps)

        heads = self.heads if self.training else self.heads[:1]
        raised = [_resize(head(m), padded_H, padded_W, up=True) for head, m in zip(heads, maps, strict=False)]
        logits = [y[..., :H, :W] for y in raised]
        if self.presence is not None:
            present = F.logsigmoid(self.presence(maps[-1]))  # (B, num_classes - 1, 1, 1)
            logits = [y + F.pad(present, (0, 0, 0, 0, 1, 0)) for y in logits]
        return logits if self.training and self.deep_supervision else logits[0]


def _resize(x: Tensor, H: int, W: int, up: bool) -> Tensor:
    """Max-pooled or bilinearly up-sampled to H×W, or x itself."""
    if x.shape[-2:] == (H, W):
        return x
    if up:
        return F.interpolate(x, size=(H, W), mode="bilinear", align_corners=False)
    return F.max_pool2d(x, x.shape[-2] // H)
