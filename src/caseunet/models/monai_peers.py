"""Peers from MONAI: published networks in the version that many projects use, behind the same interface.

Source: MONAI (Cardoso et al., arXiv:2211.02701), https://github.com/Project-MONAI/MONAI. Each class here only chooses a
network's arguments, pads the image to a size that it takes, and crops the logits. MONAI is imported when the first of
them is built, because that takes seconds.
"""

import contextlib
import io
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caseunet.errors import CaseUNetError
from caseunet.models.blocks.padding import pad_image


class MonaiNetwork(nn.Module):
    """``forward``: images (B, in_channels, H, W), H and W at least 32 → logits (B, num_classes, H, W).

    Args:
        build: makes the network.
        multiple: what H and W are padded to a multiple of: the factor between the image and the lowest map.
        smallest_map: height and width of the lowest map at least; instance norm needs 2.
    """

    def __init__(self, build: Callable[[], nn.Module], in_channels: int, multiple: int, smallest_map: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.multiple = multiple
        self.smallest = multiple * smallest_map
        wanted = torch.get_default_device()
        # On the CPU even if without memory is wanted (the "meta" device), since some compute numbers when built; and in
        # silence, since some print.
        with torch.device("cpu"), contextlib.redirect_stdout(io.StringIO()):
            network = build()
        self.network = network.to(wanted)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        H, W = x.shape[-2:]
        logits = self.logits(pad_image(x, self.in_channels, self.multiple, self.smallest))
        if isinstance(logits, Tensor):
            return logits[..., :H, :W]
        return [y[..., :H, :W] for y in logits]

    def logits(self, x: Tensor) -> Tensor | list[Tensor]:
        """Of an image of fitting size."""
        y: Tensor = self.network(x)
        return y


class UNetPlusPlus(MonaiNetwork):
    """U-Net++: a U-Net whose skip connections are nested convolutions.

    Paper: Zhou, Siddiquee, Tajbakhsh, Liang, "UNet++: A Nested U-Net Architecture for Medical Image Segmentation",
    DLMIA 2018 (arXiv:1807.10165). MONAI's ``BasicUNetPlusPlus``: instance norm, LeakyReLU 0.1, transposed convolutions;
    here without deep supervision, and without the three output layers that only it uses.

    Args:
        features: channels at each of the five sizes, then those of the last stage.
    """

    def __init__(
        self, in_channels: int, num_classes: int, features: Sequence[int] = (32, 32, 64, 128, 256, 32)
    ) -> None:
        if len(features) != 6 or not all(isinstance(c, int) and c >= 2 for c in features):  # raised maps have half
            raise CaseUNetError(f"features={list(features)}: expected six whole numbers of channels from 2.")

        def build() -> nn.Module:
            from monai.networks.nets import BasicUNetPlusPlus

            network = BasicUNetPlusPlus(2, in_channels, num_classes, features)
            network.final_conv_0_1 = network.final_conv_0_2 = network.final_conv_0_3 = nn.Identity()
            return network

        super().__init__(build, in_channels, multiple=16, smallest_map=2)

    def logits(self, x: Tensor) -> Tensor:
        y: Tensor = self.network(x)[0]
        return y


class AttentionUNet(MonaiNetwork):
    """Attention U-Net: a U-Net whose skip connections pass through gates.

    Paper: Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018 (arXiv:1804.03999).
    MONAI's ``AttentionUnet``: batch norm, but instance norm and PReLU where a gated map is merged; halving by strided
    convolution; the gating signal is brought up to the skip's size first, where the paper brings the skip down to its;
    without the paper's deep supervision.

    Args:
        widths: channels at each size, from the full one down; each step halves H and W.
    """

    def __init__(self, in_channels: int, num_classes: int, widths: Sequence[int] = (64, 128, 256, 512, 1024)) -> None:
        if len(widths) < 2 or not all(isinstance(w, int) and w >= 2 for w in widths):  # gates have half the channels
            raise CaseUNetError(f"widths={list(widths)}: expected at least two whole numbers of channels from 2.")

        def build() -> nn.Module:
            from monai.networks.nets import AttentionUnet

            return AttentionUnet(2, in_channels, num_classes, channels=widths, strides=[2] * (len(widths) - 1))

        super().__init__(build, in_channels, multiple=2 ** (len(widths) - 1), smallest_map=2)


class NNUNet(MonaiNetwork):
    """nnU-Net: the plain-convolution U-Net, its depth planned from the image's size.

    Paper: Isensee, Jaeger, Kohl, Petersen, Maier-Hein, "nnU-Net: a self-configuring method for deep learning-based
    biomedical image segmentation", Nature Methods 18, 2021. Built of MONAI's ``DynUNet`` by the 2-D rules of nnU-Net
    v2: an axis is halved as long as at least 4 positions remain, or 6 if it is the only one that still is; 32 channels
    at full size, twice as many at each step, 512 at most; two 3×3 convolutions a stage, instance norm, LeakyReLU 0.01;
    transposed convolutions up; in training, logits of all decoder stages but the lowest. So 512×512 gives eight stages.

    Differences: equal pixel spacing of both axes; the logits of lower stages are brought to full size by nearest
    neighbour, where nnU-Net shrinks the reference; no biases but in the output layers: after a 3×3 convolution instance
    norm would remove them, after a transposed one it would not entirely (zero padding at the edges).
    Not its batch size, augmentation or post-processing: this is the network.

    Args:
        patch_size: height and width of the images that the depth is planned for; others work too. Training fills in
            "auto", which by itself is 512×512.
        width: channels at full size.
        most: channels at most.
        deep_supervision: whether training returns a list of logits, the network's own first.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        patch_size: Sequence[int] | Literal["auto"] = "auto",
        width: int = 32,
        most: int = 512,
        deep_supervision: bool = True,
    ) -> None:
        if width < 1 or most < 1:
            raise CaseUNetError(f"width={width}, most={most}: expected positive whole numbers of channels.")
        strides = plan_strides((512, 512) if patch_size == "auto" else patch_size)
        channels = [min(width * 2**i, most) for i in range(len(strides))]
        heads = len(strides) - 3  # of the decoder stages without the highest, which is the output, and the lowest

        def build() -> nn.Module:
            from monai.networks.nets import DynUNet

            network = DynUNet(
                2,
                in_channels,
                num_classes,
                kernel_size=[3] * len(strides),
                strides=strides,
                upsample_kernel_size=strides[1:],
                filters=channels,
                deep_supervision=deep_supervision and heads > 0,
                deep_supr_num=max(heads, 1),
            )
            del network.skip_layers  # the same modules under other names
            return network

        factor = 2 ** max(sum(s[axis] == 2 for s in strides) for axis in (0, 1))
        super().__init__(build, in_channels, multiple=factor, smallest_map=2)

    def logits(self, x: Tensor) -> Tensor | list[Tensor]:
        network: Any = self.network
        H, W = x.shape[-2:]
        skips = [network.input_block(x)]  # full size, H/2 …
        for stage in network.downsamples:
            skips.append(stage(skips[-1]))
        x = network.bottleneck(skips[-1])
        decoded: list[Tensor] = []  # the full size first
        for stage, skip in zip(network.upsamples, reversed(skips), strict=True):
            x = stage(x, skip)
            decoded.insert(0, x)
        logits: Tensor = network.output_block(decoded[0])
        if not (self.training and network.deep_supervision):
            return logits
        lower = zip(network.deep_supervision_heads, decoded[1:], strict=False)
        return [logits, *(F.interpolate(head(d), size=(H, W), mode="nearest") for head, d in lower)]


def plan_strides(patch_size: Sequence[int]) -> list[tuple[int, int]]:
    """Stride of each stage, the first (1, 1): each axis is halved as long as it has at least 8 positions, and at least
    12 if the other one is not halved any more (nnU-Net v2, ``get_pool_and_conv_props``).
    """
    rows, columns = patch_size
    strides = [(1, 1)]
    while min(rows, columns) >= 8 or max(rows, columns) >= 12:
        strides.append((2 if rows >= 8 else 1, 2 if columns >= 8 else 1))
        rows, columns = (-(-n // s) for n, s in zip((rows, columns), strides[-1], strict=True))
    if len(strides) < 3:
        raise CaseUNetError(
            f"patch_size={list(patch_size)}: too small for three stages; expected at least 16×16 pixels."
        )
    return strides


class SegResNet(MonaiNetwork):
    """SegResNet: residual encoder and a light decoder, with group norm.

    Paper: Myronenko, "3D MRI Brain Tumor Segmentation Using Autoencoder Regularization", BrainLes 2018
    (arXiv:1810.11654), here in 2-D. MONAI's ``SegResNet``, which is without the paper's autoencoder branch.

    Args:
        width: channels at full size, a multiple of 8; each of three steps halves H and W and doubles them.
    """

    def __init__(self, in_channels: int, num_classes: int, width: int = 32) -> None:
        if width < 8 or width % 8:
            raise CaseUNetError(f"width={width}: expected a positive multiple of 8.")

        def build() -> nn.Module:
            from monai.networks.nets import SegResNet as Network

            return Network(2, width, in_channels, num_classes)

        super().__init__(build, in_channels, multiple=8, smallest_map=2)


class SwinUNETR(MonaiNetwork):
    """Swin UNETR: a U-Net whose encoder is a Swin transformer.

    Paper: Hatamizadeh, Nath, Tang, Yang, Roth, Xu, "Swin UNETR: Swin Transformers for Semantic Segmentation of Brain
    Tumors in MRI Images", BrainLes 2021 (arXiv:2201.01266), here in 2-D. MONAI's ``SwinUNETR`` without pre-training.

    Args:
        width: channels after the patch embedding, a multiple of 12.
    """

    def __init__(self, in_channels: int, num_classes: int, width: int = 48) -> None:
        if width < 12 or width % 12:
            raise CaseUNetError(f"width={width}: expected a positive multiple of 12.")

        def build() -> nn.Module:
            from monai.networks.nets import SwinUNETR as Network

            return Network(in_channels, num_classes, feature_size=width, spatial_dims=2)

        super().__init__(build, in_channels, multiple=32, smallest_map=2)
