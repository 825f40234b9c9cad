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

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caseunet.errors import CaseUNetError
from caseunet.models.blocks.attention import Attention, channels_first, channels_last, position_code
from caseunet.models.blocks.convolution import ConvNormAct, DepthwiseConvNormAct, Initialization, Norm
from caseunet.models.blocks.padding import pad_image

MIN_BOTTLENECK = 4
"""Rows and columns that stages planned for a size leave at least: attention over fewer has little to attend to."""


@dataclass(frozen=True)
class CaseUNetConfig:
    """What a CASe-UNet is made of.

    Args:
        in_channels: channels of the image.
        num_classes: classes with the background.
        fusion_kernel_size: 3 (the original) or 1 (the author's lighter version).
        attention: "rowwise" (the author's: tokens are the column–head pairs of each image row; "author" is the same),
            "spatial" (every position attends to every position, each head on its own; the same parameters) or "none"
            (b is en).
        norm: "none" (the author's), "instance" or "batch", between each convolution and its activation.
        widths: channels of the encoder stages. The decoder has them in reverse, without the last and with the last but
            one twice: 32, 64, 128, 256, 512 gives 256, 256, 128, 64, 32.
        kernel_sizes: of the three parallel convolutions; (3, 3, 3) has one scale only.
        multi_level: skips from every level; otherwise only en+1-j and the stage before, as in a U-Net.
        full_resolution: skips are taken before the pool, and decoder stages work at those sizes, so that features of
            the full size reach the decoder; the author's come after it, and the last stage works at half the size.
        heads: of the attention.
        key_size: numbers in a query or key.
        attention_residual: en is added to what attention makes of it.
        attention_position: attention sees where a position is.
        dropout: share of the bottleneck's values that training sets to 0.
        deep_supervision: logits of every decoder stage in training; not of the paper.
        large_kernels: "dense" (the author's), or "depthwise": branches beyond 3×3 are a 1×1 convolution, then one of
            each channel by itself, a small part of the arithmetic.
        activation_first: each activation comes before its norm.
        initialization: convolutions start from "he" or "glorot", see ``blocks/convolution.py``.
        patch_size: height and width of the images that the number of stages is planned for: the last widths are left
            out where they would halve the bottleneck below 4×4. Training fills in "auto", which by itself is as None,
            the author's: all stages, whatever the size.

    Raises:
        CaseUNetError: a value is not one of these.
    """

    in_channels: int
    num_classes: int
    fusion_kernel_size: Literal[1, 3] = 3
    attention: Literal["rowwise", "author", "spatial", "none"] = "rowwise"
    norm: Norm = "none"
    widths: Sequence[int] = (32, 64, 128, 256, 512)
    kernel_sizes: Sequence[int] = (3, 5, 7)
    multi_level: bool = True
    full_resolution: bool = False
    heads: int = 3
    key_size: int = 3
    attention_residual: bool = False
    attention_position: bool = False
    dropout: float = 0.2
    deep_supervision: bool = False
    large_kernels: Literal["dense", "depthwise"] = "dense"
    activation_first: bool = False
    initialization: Initialization = "he"
    patch_size: Sequence[int] | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        def whole(values: Sequence[int]) -> bool:
            return all(isinstance(value, int) and value >= 1 for value in values)

        three_odd = len(self.kernel_sizes) == 3 and whole(self.kernel_sizes) and all(k % 2 for k in self.kernel_sizes)
        checks = (
            ("attention", self.attention in ("rowwise", "author", "spatial", "none"), '"rowwise", "spatial" or "none"'),
            ("kernel_sizes", three_odd, "three odd whole numbers"),
            ("heads", whole([self.heads]), "a whole number from 1"),
            ("key_size", whole([self.key_size]), "a whole number from 1"),
            ("dropout", 0 <= self.dropout < 1, "a share from 0 to below 1"),
            ("fusion_kernel_size", self.fusion_kernel_size in (1, 3), "1 or 3"),
            ("widths", len(self.widths) >= 2 and whole(self.widths), "at least two positive whole numbers of channels"),
            ("large_kernels", self.large_kernels in ("dense", "depthwise"), '"dense" or "depthwise"'),
            ("initialization", self.initialization in ("he", "glorot"), '"he" or "glorot"'),
        )
        for name, is_right, expected in checks:
            if not is_right:
                raise CaseUNetError(f"{name}={getattr(self, name)!r}: expected {expected}.")
        attention = "rowwise" if self.attention == "author" else self.attention
        present = {"attention": attention, "widths": tuple(self.widths), "kernel_sizes": tuple(self.kernel_sizes)}
        for name, value in present.items():
            object.__setattr__(self, name, value)

    @property
    def stage_widths(self) -> list[int]:
        """``widths`` without those that ``patch_size`` leaves out."""
        is_planned = self.patch_size is not None and self.patch_size != "auto"
        return list(self.widths[: max_stages(self.patch_size)] if is_planned else self.widths)  # type: ignore[arg-type]

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, slope: float = 0.1) -> ConvNormAct:
        """A convolution as all are."""
        return ConvNormAct(
            in_channels, out_channels, kernel_size, self.norm, slope, self.activation_first, self.initialization
        )

    def branch(self, in_channels: int, out_channels: int, kernel_size: int) -> ConvNormAct:
        """One of a multi-scale block's parallel convolutions."""
        if self.large_kernels == "dense" or kernel_size <= 3:
            return self.conv(in_channels, out_channels, kernel_size)
        form = {"norm": self.norm, "activation_first": self.activation_first}
        return DepthwiseConvNormAct(in_channels, out_channels, kernel_size, self.initialization, **form)


class MultiScaleBlock(nn.Module):
    """Convolutions 3×3, 5×5 and 7×7 of the same map, fused in pairs: (B, in_channels, H, W) → three (B, width, H, W).

    Args:
        pairs: which two of the branches (0: 3×3, 1: 5×5, 2: 7×7) each fusion reads, in this order.
    """

    def __init__(self, in_channels: int, width: int, config: CaseUNetConfig, pairs: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        self.branches = nn.ModuleList(config.branch(in_channels, width, k) for k in config.kernel_sizes)
        self.fusions = nn.ModuleList(config.conv(2 * width, width, config.fusion_kernel_size) for _ in self.pairs)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [branch(x) for branch in self.branches]
        return [
            fusion(torch.cat([maps[i], maps[j]], 1)) for fusion, (i, j) in zip(self.fusions, self.pairs, strict=True)
        ]


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
    bottleneck and d1 … d(j-2), up-sampled to its size.

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
        self.multi_level, self.full_resolution = config.multi_level, config.full_resolution

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
        self.head = nn.Sequential(
            config.conv(decoder_widths[-1], 16, 3, slope=0.3),
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
        for i, stage in enumerate(self.encoder):
            e = stage(x)
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

        logits: Tensor = self.head(maps[-1] if self.full_resolution else self.upsample(maps[-1]))
        own = logits[..., :H, :W]
        if not (self.training and self.stage_heads):
            return own
        stages = zip(self.stage_heads, maps[-2:0:-1], strict=True)
        deeper = [F.interpolate(head(d), logits.shape[-2:], mode="bilinear") for head, d in stages]
        return [own, *(d[..., :H, :W] for d in deeper)]


def max_stages(patch_size: Sequence[int]) -> int:
    """How often (height, width) can be halved with at least 4 positions left along each axis.

    Raises:
        CaseUNetError: not even twice, or it is no height and width.
    """
    if len(patch_size) != 2 or not all(isinstance(n, int) and n >= 4 * MIN_BOTTLENECK for n in patch_size):
        raise CaseUNetError(
            f'patch_size={patch_size}: expected height and width of at least 16 pixels each, or "auto".'
        )
    return int(math.log2(min(patch_size) / MIN_BOTTLENECK))


def _pool(x: Tensor, times: int) -> list[Tensor]:
    """x max-pooled 2×2 so many times, that so many times less one, … x itself."""
    sizes = [x]
    for _ in range(times):
        sizes.insert(0, F.max_pool2d(sizes[0], 2))
    return sizes
