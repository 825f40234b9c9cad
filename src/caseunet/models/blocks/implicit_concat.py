"""Convolutions of maps that are never built: of channel concatenations, and of maps up-sampled by nearest neighbour.

CASe-UNet concatenates and up-samples a lot, and most of what a plain implementation computes, moves and keeps for the
backward pass are copies of the same numbers. What follows gives the same function (up to rounding, zero padding
included) with the same trained parameters: each kernel used here is a sum of trained ones, made anew in every forward,
so gradients reach the trained kernels and nothing outside this file knows.

**Concatenation.** A convolution is linear in its input channels: with the kernel cut along them,
conv([a, b], [U, V]) = conv(a, U) + conv(b, V). Three maps that enter several pairs are kept once instead of twice.

**Nearest up-sampling ×s, then a k×k convolution.** Up-sampling is itself a convolution of the zero-stuffed map with an
s×s box of ones, so both together are one transposed convolution of stride s, whose (k+s-1)×(k+s-1) kernel is the
trained one (flipped, as transposed convolutions do) convolved with the box. Cropping k//2 at each side gives 'same'
padding: H → (H-1)·s + (k+s-1) - 2·(k//2) = s·H. Per output position this takes ((k+s-1)/s)² multiplications instead of
k²; for s = 2 that is 16 instead of 49 (k = 7), 9 instead of 25 (k = 5), 4 instead of 9 (k = 3).

**Larger s.** With s ≥ k, the outputs that come from one input position repeat: along an axis, the k//2 first and the
k//2 last differ, and the s-k+1 in between see that position alone and are equal. So it is enough to compute ×k, by the
rule above, and to repeat the middle one of every k outputs. For k = 1 nothing but the middle is left: convolve at the
map's own size, then up-sample.

**Where it does not pay.** Making a kernel costs the same for any image; below ``MIN_POSITIONS`` outputs in the batch
(a 32×32 map) it costs more than it saves, on two CPU cores, and the up-sampled map is built after all. Compiled and
exported networks do without that choice, for it would tie them to a size; an exported network keeps its kernels anyway.

**On a GPU** it is the other way round: what costs is not arithmetic but how many kernels are launched, several
thousand small ones in a training step. There maps are built after all, and what works on the same map side by side is
merged into one convolution (``merge_kernels``, ``merge_blocks``), zeros and all, as long as the maps are not large.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caseunet.models.blocks.convolution import ConvNormAct, DepthwiseConvNormAct
from caseunet.models.blocks.padding import is_exporting

MIN_POSITIONS = 32 * 32

FEW_LAUNCHES_ON = frozenset({"cuda"})
"""Types of devices that are better off with few large operations."""

MAX_POSITIONS = 2**20
"""Of a map in the batch for which that is so: sixteen of 256×256. Beyond, arithmetic and memory count again."""


class LazyUpsample(NamedTuple):
    """Stands for ``map``, (B, C, H, W), up-sampled by nearest neighbour to (B, C, factor·H, factor·W)."""

    map: Tensor
    factor: int


class ImplicitConcatConv(ConvNormAct):
    """``ConvNormAct`` of a channel concatenation, which is not built.

    Shapes: maps (B, C_i, H, W), or :class:`LazyUpsample` of that size, with ΣC_i = in_channels
    → (B, out_channels, H, W).
    """

    def forward(self, *maps: Tensor | LazyUpsample) -> Tensor:
        return self.norm_and_activate(convolve(maps, self.conv.weight, self.conv.bias))


class LazyDepthwiseConv(DepthwiseConvNormAct):
    """``DepthwiseConvNormAct``, perhaps of a map to be up-sampled, whose 1×1 convolution works at the map's own size.

    Shapes: x (B, in_channels, H, W), or :class:`LazyUpsample` of that size → (B, out_channels, H, W).
    """

    def forward(self, x: Tensor | LazyUpsample) -> Tensor:
        raised = x if isinstance(x, LazyUpsample) else LazyUpsample(x, 1)
        y = self.conv(raised.map)
        if raised.factor > 1:
            y = F.interpolate(y, scale_factor=raised.factor, mode="nearest")
        return self.norm_and_activate(self.depthwise(y))


def convolve(maps: Sequence[Tensor | LazyUpsample], weight: Tensor, bias: Tensor | None) -> Tensor:
    """'Same' convolution of the concatenation of ``maps``: (B, C_i, H, W) each → (B, out, H, W).

    Args:
        weight: (out, ΣC_i, k, k), k odd.
        bias: (out).
    """
    if prefers_fused_kernels(maps[0]):
        return F.conv2d(materialize(maps), weight, bias, padding=weight.shape[-1] // 2)
    total: Tensor | None = None
    start = 0
    for m in maps:
        raised = m if isinstance(m, LazyUpsample) else LazyUpsample(m, 1)
        channels = int(raised.map.shape[1])  # a number even where shapes are traced: kernels are cut once, not always
        kernel = weight.narrow(1, start, channels)
        if total is None:
            total = _convolve_one(raised, kernel, bias)
        else:
            # In place: no gradient needs a convolution's output.
            total += _convolve_one(raised, kernel, None)
        start += channels
    assert total is not None
    return total


def prefers_fused_kernels(x: Tensor | LazyUpsample) -> bool:
    """Whether few large operations on such a map are faster than many small ones."""
    raised = x if isinstance(x, LazyUpsample) else LazyUpsample(x, 1)
    if raised.map.device.type not in FEW_LAUNCHES_ON:
        return False
    return torch.compiler.is_compiling() or _positions(raised) <= MAX_POSITIONS


def materialize(maps: Sequence[Tensor | LazyUpsample]) -> Tensor:
    """The channel concatenation, with raised maps up-sampled."""
    whole = [
        F.interpolate(m.map, scale_factor=m.factor, mode="nearest") if isinstance(m, LazyUpsample) else m for m in maps
    ]
    return torch.cat(whole, 1) if len(whole) > 1 else whole[0]


def merge_kernels(layers: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Kernel and bias of one convolution that gives the outputs of several, of one map, one after another.

    Smaller kernels get a rim of zeros.
    """
    largest = max(layer.conv.kernel_size[0] for layer in layers)
    rims = [(largest - layer.conv.kernel_size[0]) // 2 for layer in layers]
    kernels = [
        F.pad(layer.conv.weight, (rim,) * 4) if rim else layer.conv.weight
        for layer, rim in zip(layers, rims, strict=True)
    ]
    return torch.cat(kernels), _concatenate([layer.conv.bias for layer in layers])


def merge_blocks(layers: Sequence[Any], read: Sequence[Sequence[int]], blocks: int) -> tuple[Tensor, Tensor]:
    """Kernel and bias of one convolution that does what several do, each of which reads some blocks of the channels.

    Args:
        read: for each layer the blocks that it reads, in the order of its own channels.
        blocks: how many there are; all of one width.
    """
    rows = []
    for layer, own in zip(layers, read, strict=True):
        parts = dict(zip(own, layer.conv.weight.chunk(len(own), 1), strict=True))
        nothing = torch.zeros_like(parts[own[0]])
        rows.append(torch.cat([parts.get(block, nothing) for block in range(blocks)], 1))
    return torch.cat(rows), _concatenate([layer.conv.bias for layer in layers])


def finish_together(layers: Sequence[Any], x: Tensor) -> Tensor:
    """Norms and activations of several layers' outputs, (B, ΣC, H, W), which are overwritten."""
    first = layers[0]

    def norm(y: Tensor) -> Tensor:
        if isinstance(first.norm, nn.Identity):
            return y
        if not isinstance(first.norm, nn.GroupNorm):  # batch norm keeps statistics for each layer
            parts = y.chunk(len(layers), 1)
            return torch.cat([layer.norm(part) for layer, part in zip(layers, parts, strict=True)], 1)
        scale, shift = (_concatenate([getattr(layer.norm, name) for layer in layers]) for name in ("weight", "bias"))
        return F.group_norm(y, y.shape[1], scale, shift, first.norm.eps)

    y: Tensor = norm(first.act(x)) if first.activation_first else first.act(norm(x))
    return y


def _concatenate(vectors: Sequence[Tensor | None]) -> Tensor:
    return torch.cat([vector for vector in vectors if vector is not None])


def _convolve_one(raised: LazyUpsample, kernel: Tensor, bias: Tensor | None) -> Tensor:
    k = kernel.shape[-1]
    if raised.factor == 1:
        return F.conv2d(raised.map, kernel, bias, padding=k // 2)
    if k > 1 and not (torch.compiler.is_compiling() or is_exporting()) and _positions(raised) < MIN_POSITIONS:
        built = F.interpolate(raised.map, scale_factor=raised.factor, mode="nearest")
        return F.conv2d(built, kernel, bias, padding=k // 2)
    stride = min(raised.factor, k)
    y = F.conv_transpose2d(raised.map, _with_box(kernel, stride), bias, stride=stride, padding=k // 2)
    return _repeat_middle(y, k, raised.factor) if raised.factor > k else y


def _positions(raised: LazyUpsample) -> int:
    B, _, H, W = raised.map.shape
    return B * H * W * raised.factor**2


def _with_box(kernel: Tensor, size: int) -> Tensor:
    """(out, in, k, k) → the transposed convolution's (in, out, k+size-1, k+size-1)."""
    wide = F.pad(kernel.flip(2, 3).transpose(0, 1), (size - 1,) * 4)
    for axis in (2, 3):
        length = kernel.shape[axis] + size - 1
        shifted = [wide.narrow(axis, shift, length) for shift in range(size)]
        wide = sum(shifted[1:], shifted[0])
    return wide


def _repeat_middle(y: Tensor, k: int, factor: int) -> Tensor:
    """(B, C, k·H, k·W) → (B, C, factor·H, factor·W): of every k rows and columns the middle one is repeated."""
    if k == 1:
        return F.interpolate(y, scale_factor=factor, mode="nearest")
    y = y.permute(0, 2, 3, 1)  # channels last
    for axis in (1, 2):
        y = y.unflatten(axis, (-1, k))  # type: ignore[no-untyped-call]
        first, middle, last = y.split([k // 2, 1, k // 2], dim=axis + 1)  # type: ignore[no-untyped-call]
        repeats = [-1] * y.ndim
        repeats[axis + 1] = factor - k + 1
        y = torch.cat([first, middle.expand(repeats), last], dim=axis + 1).flatten(axis, axis + 1)
    return y.permute(0, 3, 1, 2)
