"""CASe-UNet: a U-Net with parallel 3/5/7 convolutions, full-scale skip connections and attention in the bottleneck.

Paper: "CASE_UNet: Multilevel Multiscale UNet for Medical Image Segmentation", CHSN 2023. The layers follow the network
definition that the paper's first author published; :meth:`CaseUNet.paper` is the author's function, for both of its
versions (``fusion_kernel_size`` 3, the original, and 1, the lighter one).

Differences, none of which changes that function:

* ``forward`` returns logits; the author's network ends in a softmax.
* The author's stride-1 transposed convolutions are convolutions here: the same functions, with the kernel flipped and
  its input and output axes swapped (``paper_weights`` does so).
* H and W need not be multiples of 2**stages: the input is padded with its last row and column and the output cropped.

Every other field of :class:`CaseUNetConfig` is a switch that does change it; the defaults are the author's. What is
written here plainly runs faster after ``caseunet.models.optimize_for``, which changes no number beyond rounding.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caseunet.models.blocks.attention import Attention, channels_first, channels_last, position_code
from caseunet.models.blocks.padding import pad_image
from caseunet.models.case_unet_config import CaseUNetConfig

__all__ = [
    "Bottleneck",
    "CaseUNet",
    "CaseUNetConfig",
    "DecoderStage",
    "EncoderStage",
    "Head",
    "MultiScaleBlock",
    "MultiScaleStage",
]


class MultiScaleBlock(nn.Module):
    """Convolutions 3×3, 5×5 and 7×7 of the same map, fused in pairs: (B, in_channels, H, W) → three (B, width, H, W).

    Args:
        pairs: which two of the branches (0: 3×3, 1: 5×5, 2: 7×7) each fusion reads, in this order; none are fused
            where the configuration says so.
    """

    def __init__(self, in_channels: int, width: int, config: CaseUNetConfig, pairs: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.pairs = tuple(pairs) if config.pair_fusions else ()
        self.is_chained = config.large_kernels == "chained"
        self.branches = nn.ModuleList(config.branches(in_channels, width))
        self.fusions = nn.ModuleList(config.conv(2 * width, width, config.fusion_kernel_size) for _ in self.pairs)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.convolve_scales(x)
        if not self.pairs:
            return maps
        return [
            fusion(torch.cat([maps[i], maps[j]], 1)) for fusion, (i, j) in zip(self.fusions, self.pairs, strict=True)
        ]

    def convolve_scales(self, x: Any) -> list[Tensor]:
        """What each branch makes of the map, or, of chained branches, of the one before it."""
        if not self.is_chained:
            return [branch(x) for branch in self.branches]
        return list(accumulate(self.branches, lambda before, branch: branch(before), initial=x))[1:]


class MultiScaleStage(nn.Module):
    """Multi-scale block, and fusion of its three maps with skips: (B, in_channels, H, W) → (B, width, H, W).

    Args:
        skip_channels: channels of all skips together, which have the size of the block's input.
    """

    PAIRS: tuple[tuple[int, int], ...]

    def __init__(self, in_channels: int, width: int, config: CaseUNetConfig, skip_channels: int = 0) -> None:
        super().__init__()
        self.multi_scale = MultiScaleBlock(in_channels, width, config, self.PAIRS)
        self.fuse = config.conv(3 * width + skip_channels, width, config.fusion_kernel_size)

    def forward(self, x: Tensor, skips: Sequence[Tensor] = ()) -> Tensor:
        fused: Tensor = self.fuse(torch.cat([*self.multi_scale(x), *skips], 1))
        return fused


class EncoderStage(MultiScaleStage):
    """A stage without skips. The pool comes after it."""

    PAIRS = ((0, 1), (1, 2), (0, 2))


class DecoderStage(MultiScaleStage):
    """A stage with skips from every level. Nearest up-sampling ×2 comes after it."""

    PAIRS = ((0, 1), (0, 2), (1, 2))


class Head(nn.Sequential):
    """Convolutions of one map, or of the concatenation of several: (B, C_i, H, W) each → (B, num_classes, H, W)."""

    def forward(self, *maps: Tensor) -> Tensor:
        x = torch.cat(maps, 1) if len(maps) > 1 else maps[0]
        for layer in self:
            x = layer(x)
        return x


class Bottleneck(nn.Module):
    """Attention of e5 over a gated copy of itself, then LayerNorm over channels and dropout.

    Shapes: (B, channels, H, W) → the same.
    """

    def __init__(self, channels: int, config: CaseUNetConfig) -> None:
        super().__init__()
        self.residual, self.position = config.attention_residual, config.attention_position
        self.feature = nn.Conv2d(channels, channels, 3, padding=1)
        self.gate = nn.Conv2d(channels, channels, 3, padding=1)
        self.attention = Attention(channels, config.heads, config.key_size, rowwise=config.attention == "rowwise")
        self.norm = nn.LayerNorm(channels, eps=1e-3)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        gated = torch.sigmoid(self.gate(self.feature(x)))
        code = position_code(x) if self.position else 0
        attended = self.attention(x + code, gated + code)
        attended = self.dropout(channels_first(self.norm(channels_last(attended))))
        return x + attended if self.residual else attended


class CaseUNet(nn.Module):
    """CASe-UNet. ``forward``: images (B, in_channels, H, W), H and W at least 32 → logits (B, num_classes, H, W).

    In training with ``deep_supervision`` it returns a list of such logits: the network's own, then those of d(n-1) … d1
    through a 1×1 convolution each, brought to full size.

    With n widths there are n encoder stages e1 … en (each at half the size before it), the bottleneck b, and n decoder
    stages d1 … dn. Stage j reads the stage before it; the encoder maps e1 … e(n+1-j), max-pooled to its size; and the
    bottleneck and d1 … d(j-2), up-sampled to its size. The head reads dn, up-sampled to the full size.

    Raises:
        CaseUNetError: an input's size or number of channels is not one of these.
    """

    config_class = CaseUNetConfig

    def __init__(self, config: CaseUNetConfig) -> None:
        super().__init__()
        self.config, widths = config, config.stage_widths
        n = len(widths)
        self.in_channels = config.in_channels
        self.multiple = 2**n
        # Instance norm over a single position would erase it: keep the bottleneck at 2×2 or more.
        self.smallest = self.multiple * (2 if config.norm == "instance" else 1)
        self.multi_level = config.multi_level
        self.full_resolution, self.head_reads_e1 = config.full_resolution is True, config.full_resolution == "head"

        encoder_inputs = [config.in_channels, *widths[:-1]]
        self.encoder = nn.ModuleList(EncoderStage(c, w, config) for c, w in zip(encoder_inputs, widths, strict=True))
        self.bottleneck = nn.Identity() if config.attention == "none" else Bottleneck(widths[-1], config)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")

        decoder_widths = [widths[-2], *reversed(widths[:-1])]
        before = [widths[-1], *decoder_widths]  # the bottleneck, d1, d2 …
        every = [sum(widths[: n - j]) + sum(before[:j]) for j in range(n)]
        skips = every if self.multi_level else widths[::-1]
        self.decoder = nn.ModuleList(
            DecoderStage(before[j], w, config, skip_channels=skips[j]) for j, w in enumerate(decoder_widths)
        )
        self.head = Head(
            config.conv(decoder_widths[-1] + (widths[0] if self.head_reads_e1 else 0), 16, 3, slope=0.3),
            config.conv(16, 16, 3, slope=0.3),
            nn.Conv2d(16, config.num_classes, 1),
        )
        supervised = decoder_widths[-2::-1] if config.deep_supervision else []
        self.stage_heads = nn.ModuleList(nn.Conv2d(width, config.num_classes, 1) for width in supervised)

    @classmethod
    def paper(cls, in_channels: int, num_classes: int, *, fusion_kernel_size: Literal[1, 3] = 3) -> "CaseUNet":
        """The author's network."""
        return cls(CaseUNetConfig(in_channels, num_classes, fusion_kernel_size))

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        H, W = x.shape[-2:]
        x = pad_image(x, self.in_channels, self.multiple, self.smallest)

        n = len(self.encoder)
        encoded: list[list[Tensor]] = []  # e1 … en, each pooled to the size of every decoder stage that reads it
        fine: list[Tensor] = []  # e1 at full size, where the head reads it
        for i, stage in enumerate(self.encoder):
            e = stage(x)
            if i == 0 and self.head_reads_e1:
                fine = [e]
            x = F.max_pool2d(e, 2)
            encoded.append(_pool(e if self.full_resolution else x, n - 1 - i))

        maps = [self.bottleneck(x)]  # b, d1 … dn
        raised = maps  # the same, up-sampled to the size of the stage to come
        for j, stage in enumerate(self.decoder):
            if j > 0 or self.full_resolution:
                raised = [self.upsample(d) for d in raised]
            *up, before = raised
            down = [e[j] for e in encoded[: n - j]]
            d = stage(before, [*down, *up] if self.multi_level else down[-1:])
            maps, raised = [*maps, d], [*raised, d]

        logits: Tensor = self.head(maps[-1] if self.full_resolution else self.upsample(maps[-1]), *fine)
        own = logits[..., :H, :W]
        if not (self.training and self.stage_heads):
            return own
        stages = zip(self.stage_heads, maps[-2:0:-1], strict=True)
        deeper = [F.interpolate(head(d), logits.shape[-2:], mode="bilinear") for head, d in stages]
        return [own, *(d[..., :H, :W] for d in deeper)]


def _pool(x: Tensor, times: int) -> list[Tensor]:
    """x max-pooled 2×2 so many times, that so many times less one, … x itself."""
    sizes = [x]
    for _ in range(times):
        sizes.insert(0, F.max_pool2d(sizes[0], 2))
    return sizes
