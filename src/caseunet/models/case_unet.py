"""CASe-UNet: a U-Net with parallel 3/5/7 convolutions, full-scale skip connections and attention in the bottleneck.

Paper: "CASE_UNet: Multilevel Multiscale UNet for Medical Image Segmentation", CHSN 2023. The layers follow the network
definition that the paper's first author published; with ``norm="none"`` and ``attention="author"`` the function is the
author's, for both of its versions (``fusion_kernel_size`` 3, the original, and 1, the lighter one).

Differences, none of which changes that function:

* ``forward`` returns logits; the author's network ends in a softmax.
* The author's stride-1 transposed convolutions are convolutions here: the same functions, with the kernel flipped and
  its input and output axes swapped (``author_weights`` does so).
* Neither the concatenations nor the up-sampled maps are built (``blocks/unbuilt.py``).
* H and W need not be multiples of 2**stages: the input is padded with its last row and column and the output cropped.

Switches that do change it: ``norm="instance"`` (between each convolution and its activation), ``attention="spatial"``,
other ``widths``.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caseunet.errors import UserError
from caseunet.models.blocks.padding import pad_image
from caseunet.models.blocks.unbuilt import Raised, UnbuiltConvNormAct


class MultiScaleBlock(nn.Module):
    """Convolutions 3×3, 5×5 and 7×7 of the same map, fused in pairs.

    Shapes: (B, in_channels, H, W), perhaps :class:`Raised` → three maps (B, width, H, W).

    Args:
        pairs: which two of the branches (0: 3×3, 1: 5×5, 2: 7×7) each fusion reads, in this order.
    """

    def __init__(
        self, in_channels: int, width: int, fusion_kernel_size: int, pairs: Sequence[tuple[int, int]], norm: str
    ) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        self.branches = nn.ModuleList(UnbuiltConvNormAct(in_channels, width, k, norm) for k in (3, 5, 7))
        self.fusions = nn.ModuleList(UnbuiltConvNormAct(2 * width, width, fusion_kernel_size, norm) for _ in self.pairs)

    def forward(self, x: Tensor | Raised) -> list[Tensor]:
        maps = [branch(x) for branch in self.branches]
        return [fusion(maps[i], maps[j]) for fusion, (i, j) in zip(self.fusions, self.pairs, strict=True)]


class EncoderStage(nn.Module):
    """Multi-scale block, fusion of its three maps, max-pool 2×2: (B, c, H, W) → (B, width, H/2, W/2)."""

    def __init__(self, in_channels: int, width: int, fusion_kernel_size: int, norm: str) -> None:
        super().__init__()
        pairs = ((0, 1), (1, 2), (0, 2))
        self.multi_scale = MultiScaleBlock(in_channels, width, fusion_kernel_size, pairs, norm)
        self.fuse = UnbuiltConvNormAct(3 * width, width, fusion_kernel_size, norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.fuse(*self.multi_scale(x)), 2)


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
    """Attention of e5 over a gated copy of itself, then LayerNorm over channels and dropout; no residual connection.

    Shapes: (B, channels, H, W) → the same.
    """

    def __init__(self, channels: int, attention: str, heads: int = 3, key_size: int = 3, dropout: float = 0.2) -> None:
        super().__init__()
        if attention not in ("author", "spatial"):
            raise UserError(f'attention="{attention}": expected "author" or "spatial".')
        self.feature = nn.Conv2d(channels, channels, 3, padding=1)
        self.gate = nn.Conv2d(channels, channels, 3, padding=1)
        self.attention = Attention(channels, heads, key_size, rows_and_heads=attention == "author")
        self.norm = nn.LayerNorm(channels, eps=1e-3)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        gated = torch.sigmoid(self.gate(self.feature(x)))
        attended = self.attention(x, gated)
        return self.dropout(_channels_first(self.norm(_channels_last(attended))))


class DecoderStage(nn.Module):
    """Multi-scale block of x, fused with skips from every level: (B, c, H, W) → (B, width, H, W).

    The nearest ×2 that ends the stage is left to those who read its map (:class:`Raised`).

    Args:
        skip_channels: channels of all skips together.
    """

    def __init__(self, in_channels: int, skip_channels: int, width: int, fusion_kernel_size: int, norm: str) -> None:
        super().__init__()
        pairs = ((0, 1), (0, 2), (1, 2))
        self.multi_scale = MultiScaleBlock(in_channels, width, fusion_kernel_size, pairs, norm)
        self.fuse = UnbuiltConvNormAct(3 * width + skip_channels, width, fusion_kernel_size, norm)

    def forward(self, x: Tensor | Raised, down_skips: list[Tensor], up_skips: list[Raised]) -> Tensor:
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
        attention: "author" (tokens are the column–head pairs of each image row) or "spatial" (every position attends to
            every position, each head on its own). Both have the same parameters.
        norm: "none" (the author's) or "instance".
        widths: channels of the encoder stages. The decoder has them in reverse, without the last and with the last but
            one twice: 32, 64, 128, 256, 512 gives 256, 256, 128, 64, 32.
        dropout: share of the bottleneck's values that training sets to 0.
        deep_supervision: logits of every decoder stage in training; not of the paper.

    Raises:
        UserError: an argument, or an input's size or number of channels, is not one of these.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        fusion_kernel_size: Literal[1, 3] = 3,
        attention: Literal["author", "spatial"] = "author",
        norm: Literal["none", "instance"] = "none",
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        dropout: float = 0.2,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise UserError(f"dropout={dropout}: expected a share from 0 to below 1.")
        if fusion_kernel_size not in (1, 3):
            raise UserError(f"fusion_kernel_size={fusion_kernel_size}: expected 1 or 3.")
        if len(widths) < 2 or not all(isinstance(w, int) and w >= 1 for w in widths):
            raise UserError(f"widths={list(widths)}: expected at least two positive whole numbers of channels.")
        self.in_channels = in_channels
        self.multiple = 2 ** len(widths)
        # Instance norm over a single position would erase it: keep the bottleneck at 2×2 or more.
        self.smallest = self.multiple * (2 if norm == "instance" else 1)

        self.encoder = nn.ModuleList(
            EncoderStage(c_in, c, fusion_kernel_size, norm)
            for c_in, c in zip([in_channels, *widths[:-1]], widths, strict=True)
        )
        self.bottleneck = Bottleneck(widths[-1], attention, dropout=dropout)

        decoder_widths = [widths[-2], *reversed(widths[:-1])]
        up_widths = [widths[-1], *decoder_widths]  # the bottleneck, d1, d2 …
        self.decoder = nn.ModuleList(
            DecoderStage(up_widths[j], sum(widths[: len(widths) - j]) + sum(up_widths[:j]), c, fusion_kernel_size, norm)
            for j, c in enumerate(decoder_widths)
        )
        self.head = nn.Sequential(
            UnbuiltConvNormAct(decoder_widths[-1], 16, 3, norm, negative_slope=0.3),
            UnbuiltConvNormAct(16, 16, 3, norm, negative_slope=0.3),
            nn.Conv2d(16, num_classes, 1),
        )
        supervised = decoder_widths[-2::-1] if deep_supervision else []
        self.stage_heads = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for width in supervised)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        H, W = x.shape[-2:]
        x = pad_image(x, self.in_channels, self.multiple, self.smallest)

        n = len(self.encoder)
        down: list[list[Tensor]] = []  # e1 (H/2) … en (H/2**n), each from H/2**n up to its own size
        for i, stage in enumerate(self.encoder):
            x = stage(x)
            down.append(_pooled(x, n - 1 - i))

        up = [Raised(self.bottleneck(x), 1)]  # the bottleneck, d1, d2 …, each raised to the size of the stage to come
        maps: list[Tensor] = []
        for j, stage in enumerate(self.decoder):
            *up_skips, before = up
            d = stage(before, [e[j] for e in down[: n - j]], up_skips)
            up = [Raised(u.map, 2 * u.factor) for u in up] + [Raised(d, 2)]
            maps.append(d)

        logits: Tensor = self.head(up[-1])
        own = logits[..., :H, :W]
        if not (self.training and self.stage_heads):
            return own
        stages = zip(self.stage_heads, maps[-2::-1], strict=True)
        deeper = [F.interpolate(head(d), logits.shape[-2:], mode="bilinear") for head, d in stages]
        return [own, *(d[..., :H, :W] for d in deeper)]


def _pooled(x: Tensor, times: int) -> list[Tensor]:
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
