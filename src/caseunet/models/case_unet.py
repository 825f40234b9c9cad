"""CASe-UNet: a U-Net with parallel 3/5/7 convolutions, full-scale skip connections and attention in the bottleneck.

Paper: "CASE_UNet: Multilevel Multiscale UNet for Medical Image Segmentation", CHSN 2023. The layers follow the network
definition that the paper's first author published; with ``norm="none"`` and ``attention="author"`` the function is the
author's, for both of its versions (``fusion_kernel_size`` 3, the original, and 1, the lighter one).

Differences, none of which changes that function:

* ``forward`` returns logits; the author's network ends in a softmax.
* The author's stride-1 transposed convolutions are convolutions here: the same functions, with the kernel flipped and
  its input and output axes swapped (``paper_weights`` does so).
* Neither the concatenations nor the up-sampled maps are built (``blocks/implicit_concat.py``).
* H and W need not be multiples of 2**stages: the input is padded with its last row and column and the output cropped.

Every other argument is a switch that does change it; the values that the class has by itself are the author's.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caseunet.errors import CaseUNetError
from caseunet.models.blocks.convolution import ConvNormAct, Initialization, Norm
from caseunet.models.blocks.implicit_concat import (
    DepthwiseConvNormAct,
    ImplicitConcatConv,
    LazyUpsample,
    finish_together,
    materialize,
    merge_blocks,
    merge_kernels,
    prefers_fused_kernels,
)
from caseunet.models.blocks.padding import pad_image

MIN_BOTTLENECK = 4
"""Rows and columns that stages planned for a size leave at least: attention over fewer has little to attend to."""


class Form(NamedTuple):
    """What all stages have in common."""

    fusion_kernel_size: int
    norm: str
    kernel_sizes: tuple[int, ...]
    depthwise: bool
    activation_first: bool
    initialization: Initialization

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, slope: float = 0.1) -> ImplicitConcatConv:
        return ImplicitConcatConv(
            in_channels, out_channels, kernel_size, self.norm, slope, self.activation_first, self.initialization
        )

    def branch(self, in_channels: int, out_channels: int, kernel_size: int) -> ConvNormAct:
        if self.depthwise and kernel_size > 3:
            return DepthwiseConvNormAct(
                in_channels,
                out_channels,
                kernel_size,
                self.initialization,
                norm=self.norm,
                activation_first=self.activation_first,
            )
        return self.conv(in_channels, out_channels, kernel_size)

    def fusion(self, in_channels: int, out_channels: int) -> ImplicitConcatConv:
        return self.conv(in_channels, out_channels, self.fusion_kernel_size)


class MultiScaleBlock(nn.Module):
    """Convolutions 3×3, 5×5 and 7×7 of the same map, fused in pairs.

    Shapes: (B, in_channels, H, W), perhaps :class:`Raised` → three maps (B, width, H, W), or all in one of 3·width.

    Args:
        pairs: which two of the branches (0: 3×3, 1: 5×5, 2: 7×7) each fusion reads, in this order.
    """

    def __init__(self, in_channels: int, width: int, form: "Form", pairs: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        self.can_merge = not form.depthwise
        self.branches = nn.ModuleList(form.branch(in_channels, width, k) for k in form.kernel_sizes)
        self.fusions = nn.ModuleList(form.fusion(2 * width, width) for _ in self.pairs)

    def forward(self, x: Tensor | LazyUpsample) -> list[Tensor]:
        if self.can_merge and prefers_fused_kernels(x):
            return [self.merge(materialize([x]))]
        maps = [branch(x) for branch in self.branches]
        return [fusion(maps[i], maps[j]) for fusion, (i, j) in zip(self.fusions, self.pairs, strict=True)]

    def merge(self, x: Tensor) -> Tensor:
        """The same by one convolution for all branches and one for all fusions: → (B, 3·width, H, W)."""
        branches, fusions = list(self.branches), list(self.fusions)
        kernel, bias = merge_kernels(branches)
        x = finish_together(branches, F.conv2d(x, kernel, bias, padding=kernel.shape[-1] // 2))
        kernel, bias = merge_blocks(fusions, self.pairs, len(branches))
        return finish_together(fusions, F.conv2d(x, kernel, bias, padding=kernel.shape[-1] // 2))


class EncoderStage(nn.Module):
    """Multi-scale block and fusion of its three maps: (B, c, H, W) → (B, width, H, W). The pool comes after it."""

    def __init__(self, in_channels: int, width: int, form: Form) -> None:
        super().__init__()
        self.multi_scale = MultiScaleBlock(in_channels, width, form, ((0, 1), (1, 2), (0, 2)))
        self.fuse = form.fusion(3 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.fuse(*self.multi_scale(x))
        return fused


class Attention(nn.Module):
    """Multi-head attention over positions of a feature map: (B, channels, H, W) → the same.

    Args:
        rows_and_heads: the author's form: the tokens are all (column, head) pairs of one image row, H separate
            sequences of W·heads tokens of ``key_size`` numbers. Otherwise the ordinary form: each head on its own,
            over all H·W positions.
    """

    def __init__(self, channels: int, heads: int, key_size: int, rows_and_heads: bool) -> None:
        super().__init__()
        self.heads, self.key_size, self.rows_and_heads = heads, key_size, rows_and_heads
        self.query = nn.Linear(channels, heads * key_size)
        self.key = nn.Linear(channels, heads * key_size)
        self.value = nn.Linear(channels, heads * key_size)
        self.output = nn.Linear(heads * key_size, channels)
        for layer in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, query: Tensor, source: Tensor) -> Tensor:
        B, _, H, W = query.shape
        q, k, v = (
            self.query(_channels_last(query)),
            self.key(_channels_last(source)),
            self.value(_channels_last(source)),
        )
        if self.rows_and_heads:
            tokens = [t.reshape(B, H, W * self.heads, self.key_size) for t in (q, k, v)]
            attended = F.scaled_dot_product_attention(*tokens).reshape(B, H, W, -1)
        else:
            tokens = [t.reshape(B, H * W, self.heads, self.key_size).transpose(1, 2) for t in (q, k, v)]
            attended = F.scaled_dot_product_attention(*tokens).transpose(1, 2).reshape(B, H, W, -1)
        return _channels_first(self.output(attended))


class Bottleneck(nn.Module):
    """Attention of e5 over a gated copy of itself, then LayerNorm over channels and dropout.

    Shapes: (B, channels, H, W) → the same.

    Args:
        residual: whether e5 itself is added; the author's has no such connection.
        position: whether query and source get a code of their row and column first.
    """

    def __init__(
        self,
        channels: int,
        attention: str,
        heads: int,
        key_size: int,
        dropout: float,
        residual: bool,
        position: bool,
    ) -> None:
        super().__init__()
        self.residual, self.position = residual, position
        self.feature = nn.Conv2d(channels, channels, 3, padding=1)
        self.gate = nn.Conv2d(channels, channels, 3, padding=1)
        self.attention = Attention(channels, heads, key_size, rows_and_heads=attention == "author")
        self.norm = nn.LayerNorm(channels, eps=1e-3)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        gated = torch.sigmoid(self.gate(self.feature(x)))
        code = position_code(x) if self.position else 0
        attended = self.attention(x + code, gated + code)
        attended = self.dropout(_channels_first(self.norm(_channels_last(attended))))
        return x + attended if self.residual else attended


def position_code(x: Tensor) -> Tensor:
    """Sines and cosines of row and column, as transformers number their tokens: (B, C, H, W) → (1, C, H, W).

    A quarter of the channels each has sin and cos of the row and sin and cos of the column, of wavelengths from 2π to
    2π · 10,000 positions; channels beyond a multiple of four are 0.
    """
    _, C, H, W = x.shape
    n = C // 4
    steps = torch.arange(n, device=x.device, dtype=torch.float32)
    frequency = (-math.log(10_000) * steps / max(n, 1)).exp()[:, None]
    rows = (frequency * torch.arange(H, device=x.device))[:, :, None].expand(n, H, W)
    columns = (frequency * torch.arange(W, device=x.device))[:, None].expand(n, H, W)
    code = torch.cat([rows.sin(), rows.cos(), columns.sin(), columns.cos()])
    return F.pad(code, (0, 0, 0, 0, 0, C - 4 * n))[None].to(x.dtype)


class DecoderStage(nn.Module):
    """Multi-scale block of x, fused with skips from every level: (B, c, H, W) → (B, width, H, W).

    The nearest ×2 that ends the stage is left to those who read its map (:class:`Raised`).

    Args:
        skip_channels: channels of all skips together.
    """

    def __init__(self, in_channels: int, skip_channels: int, width: int, form: Form) -> None:
        super().__init__()
        self.multi_scale = MultiScaleBlock(in_channels, width, form, ((0, 1), (0, 2), (1, 2)))
        self.fuse = form.fusion(3 * width + skip_channels, width)

    def forward(self, x: Tensor | LazyUpsample, down_skips: list[Tensor], up_skips: list[LazyUpsample]) -> Tensor:
        """All skips have x's size."""
        fused: Tensor = self.fuse(*self.multi_scale(x), *down_skips, *up_skips)
        return fused


class CaseUNet(nn.Module):
    """CASe-UNet. ``forward``: images (B, in_channels, H, W), H and W at least 32 → logits (B, num_classes, H, W).

    In training with ``deep_supervision`` it returns a list of such logits: the network's own, then those of d(n-1) … d1
    through a 1×1 convolution each, brought to full size.

    With n widths there are n encoder stages e1 … en (each at half the size before it), the bottleneck b, and n decoder
    stages d1 … dn. Stage j reads the stage before it; the encoder maps e1 … e(n+1-j), max-pooled to its size; and the
    bottleneck and d1 … d(j-2), up-sampled to its size.

    Args:
        in_channels: channels of the image.
        num_classes: classes with the background.
        fusion_kernel_size: 3 (the original) or 1 (the author's lighter version).
        attention: "author" (tokens are the column–head pairs of each image row), "spatial" (every position attends to
            every position, each head on its own; the same parameters) or "none" (b is en).
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
        CaseUNetError: an argument, or an input's size or number of channels, is not one of these.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        fusion_kernel_size: Literal[1, 3] = 3,
        attention: Literal["author", "spatial", "none"] = "author",
        norm: Norm = "none",
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        kernel_sizes: Sequence[int] = (3, 5, 7),
        multi_level: bool = True,
        full_resolution: bool = False,
        heads: int = 3,
        key_size: int = 3,
        attention_residual: bool = False,
        attention_position: bool = False,
        dropout: float = 0.2,
        deep_supervision: bool = False,
        large_kernels: Literal["dense", "depthwise"] = "dense",
        activation_first: bool = False,
        initialization: Initialization = "he",
        patch_size: Sequence[int] | Literal["auto"] | None = None,
    ) -> None:
        super().__init__()
        if attention not in ("author", "spatial", "none"):
            raise CaseUNetError(f'attention="{attention}": expected "author", "spatial" or "none".')
        if len(kernel_sizes) != 3 or not all(isinstance(k, int) and k >= 1 and k % 2 for k in kernel_sizes):
            raise CaseUNetError(f"kernel_sizes={list(kernel_sizes)}: expected three odd whole numbers.")
        if min(heads, key_size) < 1:
            raise CaseUNetError(f"heads={heads}, key_size={key_size}: expected whole numbers from 1.")
        if not 0 <= dropout < 1:
            raise CaseUNetError(f"dropout={dropout}: expected a share from 0 to below 1.")
        if fusion_kernel_size not in (1, 3):
            raise CaseUNetError(f"fusion_kernel_size={fusion_kernel_size}: expected 1 or 3.")
        if len(widths) < 2 or not all(isinstance(w, int) and w >= 1 for w in widths):
            raise CaseUNetError(f"widths={list(widths)}: expected at least two positive whole numbers of channels.")
        if large_kernels not in ("dense", "depthwise"):
            raise CaseUNetError(f'large_kernels="{large_kernels}": expected "dense" or "depthwise".')
        if initialization not in ("he", "glorot"):
            raise CaseUNetError(f'initialization="{initialization}": expected "he" or "glorot".')
        if patch_size is not None and patch_size != "auto":
            widths = widths[: most_stages(patch_size)]
        self.in_channels = in_channels
        self.multiple = 2 ** len(widths)
        # Instance norm over a single position would erase it: keep the bottleneck at 2×2 or more.
        self.smallest = self.multiple * (2 if norm == "instance" else 1)

        self.multi_level, self.full_resolution = multi_level, full_resolution
        form = Form(
            fusion_kernel_size,
            norm,
            tuple(kernel_sizes),
            large_kernels == "depthwise",
            activation_first,
            initialization,
        )
        self.encoder = nn.ModuleList(
            EncoderStage(c_in, c, form) for c_in, c in zip([in_channels, *widths[:-1]], widths, strict=True)
        )
        self.bottleneck: nn.Module = nn.Identity()
        if attention != "none":
            residual, position = attention_residual, attention_position
            self.bottleneck = Bottleneck(widths[-1], attention, heads, key_size, dropout, residual, position)

        decoder_widths = [widths[-2], *reversed(widths[:-1])]
        up_widths = [widths[-1], *decoder_widths]  # the bottleneck, d1, d2 …
        n = len(widths)
        every = [sum(widths[: n - j]) + sum(up_widths[:j]) for j in range(n)]
        skip_widths = every if multi_level else [widths[n - 1 - j] for j in range(n)]
        self.decoder = nn.ModuleList(
            DecoderStage(up_widths[j], skip_widths[j], c, form) for j, c in enumerate(decoder_widths)
        )
        self.head = nn.Sequential(
            form.conv(decoder_widths[-1], 16, 3, slope=0.3),
            form.conv(16, 16, 3, slope=0.3),
            nn.Conv2d(16, num_classes, 1),
        )
        supervised = decoder_widths[-2::-1] if deep_supervision else []
        self.stage_heads = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for width in supervised)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        H, W = x.shape[-2:]
        x = pad_image(x, self.in_channels, self.multiple, self.smallest)

        n = len(self.encoder)
        down: list[list[Tensor]] = []  # e1 … en, each from the size of en up to its own
        for i, stage in enumerate(self.encoder):
            before_pool = stage(x)
            x = F.max_pool2d(before_pool, 2)
            down.append(_pool(before_pool if self.full_resolution else x, n - 1 - i))

        # The bottleneck, d1, d2 …, each raised to the size of the stage to come.
        up = [LazyUpsample(self.bottleneck(x), 2 if self.full_resolution else 1)]
        maps: list[Tensor] = []
        for j, stage in enumerate(self.decoder):
            *up_skips, before = up
            down_skips = [e[j] for e in down[: n - j]]
            d = stage(before, down_skips, up_skips) if self.multi_level else stage(before, down_skips[-1:], [])
            up = [LazyUpsample(u.map, 2 * u.factor) for u in up] + [LazyUpsample(d, 2)]
            maps.append(d)

        logits: Tensor = self.head(maps[-1] if self.full_resolution else up[-1])
        own = logits[..., :H, :W]
        if not (self.training and self.stage_heads):
            return own
        stages = zip(self.stage_heads, maps[-2::-1], strict=True)
        deeper = [F.interpolate(head(d), logits.shape[-2:], mode="bilinear") for head, d in stages]
        return [own, *(d[..., :H, :W] for d in deeper)]


def most_stages(patch_size: Sequence[int]) -> int:
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


def _channels_last(x: Tensor) -> Tensor:
    """(B, C, H, W) → (B, H, W, C)"""
    return x.permute(0, 2, 3, 1)


def _channels_first(x: Tensor) -> Tensor:
    """(B, H, W, C) → (B, C, H, W)"""
    return x.permute(0, 3, 1, 2)
