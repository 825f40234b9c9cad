"""TransUNet: a residual network, a vision transformer on its lowest map, and a U-Net decoder.

Paper: Chen, Lu, Yu, Luo, Adeli, Wang, Lu, Yuille, Zhou, "TransUNet: Transformers Make Strong Encoders for Medical Image
Segmentation", 2021 (arXiv:2102.04306), in its form R50-ViT-B/16, from fresh weights: a ResNet-50 with
weight-standardised convolutions and group norm down to H/16, twelve transformer layers, and a decoder with skips from
H/2, H/4 and H/8.

Differences: the position embeddings, learned on a grid, are brought to the image's grid by bilinear interpolation, so
that images of any size work; residual blocks normalise after each convolution, as in ResNet's first version; and the
transformer's dropout acts on its sums and its MLP, not on the attention's weights. Unlike the authors' published code,
the decoder up-samples with ``align_corners=False``, and the stem's max-pool pads its map instead of cutting it short.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caseunet.errors import CaseUNetError
from caseunet.models.blocks.convolution import ConvBatchNormReLU
from caseunet.models.blocks.padding import pad_image


class StandardizedConv2d(nn.Conv2d):
    """'Same' convolution without bias whose kernel has mean 0 and variance 1 per output channel (arXiv:1903.10520)."""

    def __init__(self, in_channels: int, out_channels: int, k: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, k, stride=stride, padding=k // 2, bias=False)
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        return F.conv2d(x, (self.weight - mean) * torch.rsqrt(variance + 1e-5), None, self.stride, self.padding)


class TransUNetBottleneck(nn.Module):
    """Convolutions 1×1, 3×3, 1×1 around a shortcut: (B, in_channels, H, W) → (B, out_channels, H/stride, W/stride)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        width = out_channels // 4
        self.residual = nn.Sequential(
            StandardizedConv2d(in_channels, width, 1),
            group_norm(width),
            nn.ReLU(inplace=True),
            StandardizedConv2d(width, width, 3, stride),
            group_norm(width),
            nn.ReLU(inplace=True),
            StandardizedConv2d(width, out_channels, 1),
            group_norm(out_channels),
        )
        changes = stride > 1 or in_channels != out_channels
        self.shortcut = (
            nn.Sequential(StandardizedConv2d(in_channels, out_channels, 1, stride), group_norm(out_channels))
            if changes
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x) + self.shortcut(x))


def group_norm(channels: int) -> nn.GroupNorm:
    """32 groups, or as many as divide the channels."""
    return nn.GroupNorm(next(g for g in (32, 16, 8, 4, 2, 1) if channels % g == 0), channels)


class TransformerLayer(nn.Module):
    """Self-attention and an MLP, each after a layer norm and added to its input: (B, N, hidden) → the same."""

    def __init__(self, hidden: int, heads: int, mlp: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(hidden, eps=1e-6)
        self.query_key_value = nn.Linear(hidden, 3 * hidden)
        self.output = nn.Linear(hidden, hidden)
        self.norm_mlp = nn.LayerNorm(hidden, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(hidden, mlp), nn.GELU(), nn.Dropout(dropout), nn.Linear(mlp, hidden), nn.Dropout(dropout)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        B, N, hidden = x.shape
        qkv = self.query_key_value(self.norm_attention(x)).reshape(B, N, 3, self.heads, hidden // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, hidden / heads) each
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, N, hidden)
        x = x + self.dropout(self.output(attended))
        y: Tensor = x + self.mlp(self.norm_mlp(x))
        return y


class TransUNet(nn.Module):
    """TransUNet. ``forward``: images (B, in_channels, H, W), H and W at least 32 → logits (B, num_classes, H, W).

    Args:
        in_channels: channels of the image.
        num_classes: classes with the background.
        blocks: residual blocks at H/4, H/8 and H/16.
        width: channels of the stem; the residual stages have 4, 8 and 16 times as many.
        hidden: numbers per token.
        depth: transformer layers.
        heads: attention heads; they divide ``hidden``.
        mlp: width of the transformer's MLP.
        decoder_widths: channels at H/8, H/4, H/2 and H.
        position_grid: rows and columns of the learned position embeddings; 14×14 is a 224×224 image.
        dropout: of the transformer.

    Raises:
        CaseUNetError: an argument, or an input's size or number of channels, is not one of these.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        blocks: Sequence[int] = (3, 4, 9),
        width: int = 64,
        hidden: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp: int = 3072,
        decoder_widths: Sequence[int] = (256, 128, 64, 16),
        position_grid: tuple[int, int] = (14, 14),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if len(blocks) != 3 or len(decoder_widths) != 4:
            raise CaseUNetError(
                f"blocks={list(blocks)}, decoder_widths={list(decoder_widths)}: expected three and four."
            )
        sizes = (*blocks, *decoder_widths, *position_grid, width, hidden, depth, heads, mlp)
        if len(position_grid) != 2 or not all(isinstance(n, int) and n >= 1 for n in sizes):
            raise CaseUNetError(
                f"blocks={list(blocks)}, decoder_widths={list(decoder_widths)}, position_grid={list(position_grid)}, "
                f"width={width}, hidden={hidden}, depth={depth}, heads={heads}, mlp={mlp}: "
                "expected positive whole numbers, two of them in position_grid."
            )
        if not 0 <= dropout < 1:
            raise CaseUNetError(f"dropout={dropout}: expected at least 0 and less than 1.")
        if hidden % heads:
            raise CaseUNetError(f"hidden={hidden}, heads={heads}: expected heads that divide hidden.")
        self.in_channels = in_channels
        self.multiple, self.smallest = 16, 32
        self.stem = nn.Sequential(
            StandardizedConv2d(in_channels, width, 7, stride=2), group_norm(width), nn.ReLU(inplace=True)
        )
        channels = [width, 4 * width, 8 * width, 16 * width]  # at H/2, H/4, H/8, H/16
        self.stages = nn.ModuleList(
            nn.Sequential(
                TransUNetBottleneck(c_in, c, stride), *(TransUNetBottleneck(c, c, 1) for _ in range(count - 1))
            )
            for c_in, c, count, stride in zip(channels, channels[1:], blocks, (1, 2, 2), strict=False)
        )
        self.embed = nn.Conv2d(channels[-1], hidden, 1)
        self.position = nn.Parameter(torch.zeros(1, hidden, *position_grid))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.transformer = nn.Sequential(*(TransformerLayer(hidden, heads, mlp, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(hidden, eps=1e-6)

        joint = 8 * width
        self.join = ConvBatchNormReLU(hidden, joint, 3)
        skips = [*reversed(channels[:3]), 0]
        self.decoder = nn.ModuleList(
            nn.Sequential(ConvBatchNormReLU(c_in + skip, c, 3), ConvBatchNormReLU(c, c, 3))
            for c_in, skip, c in zip([joint, *decoder_widths[:-1]], skips, decoder_widths, strict=True)
        )
        self.head = nn.Conv2d(decoder_widths[-1], num_classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        H, W = x.shape[-2:]
        x = self.stem(pad_image(x, self.in_channels, self.multiple, self.smallest))
        skips = [x]  # H/2, H/4, H/8
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        x = self.embed(skips.pop())  # (B, hidden, H/16, W/16)

        x = x + F.interpolate(self.position, size=x.shape[-2:], mode="bilinear", align_corners=False)
        rows, columns = x.shape[-2:]
        tokens = self.norm(self.transformer(self.dropout(x.flatten(2).transpose(1, 2))))  # (B, rows · columns, hidden)
        x = self.join(tokens.transpose(1, 2).unflatten(2, (rows, columns)))

        for i, stage in enumerate(self.decoder):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = stage(torch.cat([x, skips.pop()], 1) if i < 3 else x)
        logits: Tensor = self.head(x)
        return logits[..., :H, :W]
