"""The switches of a CASe-UNet: their checks, and how many stages are planned for a size of images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from caseunet.errors import CaseUNetError
from caseunet.models.blocks.convolution import ConvNormAct, DepthwiseConvNormAct, Initialization, Norm

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
        full_resolution: what sees features of the full size behind the encoder. False: nothing, as in the author's
            network, whose skips come after the pool and whose last stage works at half the size. "head": the last
            convolutions, which read e1 before its pool beside the last stage. True: every stage; skips are taken before
            the pool, and stages work at those sizes.
        heads: of the attention.
        key_size: numbers in a query or key.
        attention_residual: en is added to what attention makes of it.
        attention_position: attention sees where a position is.
        dropout: share of the bottleneck's values that training sets to 0.
        deep_supervision: logits of every decoder stage in training; not of the paper.
        large_kernels: "dense" (the author's); "depthwise": branches beyond 3×3 are a 1×1 convolution, then one of each
            channel by itself, a small part of the arithmetic; or "chained": each branch is a small convolution of the
            branch before it and sees as far as the author's. 3, 5 and 7 are then three of 3×3 in a row, as in
            MultiResUNet (Ibtehaz and Rahman 2020).
        pair_fusions: a multi-scale block fuses its branches in pairs, as the author's does; otherwise a stage fuses the
            branches themselves, with less than two thirds of the maps.
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
    full_resolution: bool | Literal["head"] = False
    heads: int = 3
    key_size: int = 3
    attention_residual: bool = False
    attention_position: bool = False
    dropout: float = 0.2
    deep_supervision: bool = False
    large_kernels: Literal["dense", "depthwise", "chained"] = "dense"
    pair_fusions: bool = True
    activation_first: bool = False
    initialization: Initialization = "he"
    patch_size: Sequence[int] | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        def whole(values: Sequence[int]) -> bool:
            return all(isinstance(value, int) and value >= 1 for value in values)

        def is_switch(name: str) -> bool:
            return isinstance(getattr(self, name), bool)

        # The word "no", or 0, would else count as on, or as neither.
        switches = [field.name for field in fields(self) if isinstance(field.default, bool)]
        switches.remove("full_resolution")  # which takes a word too
        three_odd = len(self.kernel_sizes) == 3 and whole(self.kernel_sizes) and all(k % 2 for k in self.kernel_sizes)
        rising = list(self.kernel_sizes) == sorted(self.kernel_sizes)
        forms = ("dense", "depthwise", "chained")
        checks = (
            ("attention", self.attention in ("rowwise", "author", "spatial", "none"), '"rowwise", "spatial" or "none"'),
            ("kernel_sizes", three_odd, "three odd whole numbers"),
            (
                "full_resolution",
                self.full_resolution == "head" or is_switch("full_resolution"),
                'true, false or "head"',
            ),
            *((name, is_switch(name), "true or false") for name in switches),
            ("heads", whole([self.heads]), "a whole number from 1"),
            ("key_size", whole([self.key_size]), "a whole number from 1"),
            ("dropout", 0 <= self.dropout < 1, "a share from 0 to below 1"),
            ("fusion_kernel_size", self.fusion_kernel_size in (1, 3), "1 or 3"),
            ("widths", len(self.widths) >= 2 and whole(self.widths), "at least two positive whole numbers of channels"),
            ("large_kernels", self.large_kernels in forms, '"dense", "depthwise" or "chained"'),
            ("kernel_sizes", self.large_kernels != "chained" or rising, "chained kernels of rising size"),
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

    def branches(self, in_channels: int, width: int) -> list[ConvNormAct]:
        """The convolutions of a multi-scale block."""
        return [self._branch(n, in_channels, width) for n in range(len(self.kernel_sizes))]

    def _branch(self, n: int, in_channels: int, width: int) -> ConvNormAct:
        kernel_size = self.kernel_sizes[n]
        if self.large_kernels == "chained" and n > 0:
            return self.conv(width, width, kernel_size - self.kernel_sizes[n - 1] + 1)
        if self.large_kernels == "depthwise" and kernel_size > 3:
            form = {"norm": self.norm, "activation_first": self.activation_first}
            return DepthwiseConvNormAct(in_channels, width, kernel_size, self.initialization, **form)
        return self.conv(in_channels, width, kernel_size)


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
