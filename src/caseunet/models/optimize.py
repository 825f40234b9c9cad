"""The fast form of CASe-UNet: neither concatenations nor up-sampled maps are built (``blocks/implicit_concat.py``)."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caseunet.models.blocks import implicit_concat
from caseunet.models.blocks.convolution import ConvNormAct, DepthwiseConvNormAct
from caseunet.models.blocks.implicit_concat import (
    ImplicitConcatConv,
    LazyDepthwiseConv,
    LazyUpsample,
    finish_together,
    materialize,
    merge_blocks,
    merge_kernels,
    prefers_fused_kernels,
)
from caseunet.models.case_unet import CaseUNet, DecoderStage, EncoderStage, Head, MultiScaleBlock, MultiScaleStage

Network = TypeVar("Network", bound=nn.Module)


def optimize_for(model: Network, device: torch.device | str) -> Network:
    """Give CASe-UNet its fast form, in place. Other networks stay as they are.

    Outputs and gradients are the same to rounding. Parameters keep their names, and the model computes on any device.

    Args:
        model: as :func:`caseunet.create_model` builds it.
        device: on which it is to be fast.

    Returns:
        The same model.
    """
    is_merged = torch.device(device).type in implicit_concat.FEW_LAUNCHES_ON
    block = MergedMultiScaleBlock if is_merged else ImplicitMultiScaleBlock
    for network in model.modules():
        if isinstance(network, CaseUNet):
            for module in network.modules():
                module.__class__ = (FAST | {MultiScaleBlock: block}).get(type(module), type(module))
    return model


class ImplicitMultiScaleBlock(MultiScaleBlock):
    """The block without a concatenation; its input may be a :class:`LazyUpsample`."""

    def forward(self, x: Tensor | LazyUpsample) -> list[Tensor]:
        maps = self.convolve_scales(x)
        if not self.pairs:
            return maps
        return [fusion(maps[i], maps[j]) for fusion, (i, j) in zip(self.fusions, self.pairs, strict=True)]


class MergedMultiScaleBlock(ImplicitMultiScaleBlock):
    """The block by one convolution for all branches and one for all fusions, where that is faster.

    Its three maps come in one: (B, 3·width, H, W).
    """

    def forward(self, x: Tensor | LazyUpsample) -> list[Tensor]:
        branches, fusions = list(self.branches), list(self.fusions)
        is_dense = not (self.is_chained or any(isinstance(branch, DepthwiseConvNormAct) for branch in branches))
        if not (self.pairs and is_dense and prefers_fused_kernels(x)):
            return super().forward(x)
        kernel, bias = merge_kernels(branches)
        y = F.conv2d(materialize([x]), kernel, bias, padding=kernel.shape[-1] // 2)
        y = finish_together(branches, y)
        kernel, bias = merge_blocks(fusions, self.pairs, len(branches))
        return [finish_together(fusions, F.conv2d(y, kernel, bias, padding=kernel.shape[-1] // 2))]


class _ImplicitStage(MultiScaleStage):
    def forward(self, x: Tensor | LazyUpsample, skips: Sequence[Tensor | LazyUpsample] = ()) -> Tensor:
        fused: Tensor = self.fuse(*self.multi_scale(x), *skips)
        return fused


class ImplicitEncoderStage(_ImplicitStage, EncoderStage):
    """The stage without a concatenation."""


class ImplicitDecoderStage(_ImplicitStage, DecoderStage):
    """The stage without a concatenation."""


class ImplicitHead(Head):
    """The head without a concatenation."""

    def forward(self, *maps: Tensor | LazyUpsample) -> Tensor:
        first, *others = self
        x: Tensor = first(*maps)
        for layer in others:
            x = layer(x)
        return x


class ImplicitUpsample(nn.Upsample):
    """Up-sampling ×2 that is left to whoever reads the map."""

    def forward(self, x: Tensor | LazyUpsample) -> LazyUpsample:  # type: ignore[override]
        return LazyUpsample(x.map, 2 * x.factor) if isinstance(x, LazyUpsample) else LazyUpsample(x, 2)


FAST: dict[type[nn.Module], type[nn.Module]] = {
    ConvNormAct: ImplicitConcatConv,
    DepthwiseConvNormAct: LazyDepthwiseConv,
    EncoderStage: ImplicitEncoderStage,
    DecoderStage: ImplicitDecoderStage,
    Head: ImplicitHead,
    nn.Upsample: ImplicitUpsample,
}
"""What takes the place of what; each has the same parameters."""
