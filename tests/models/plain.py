"""CASe-UNet written plainly: every concatenation and up-sampled map is built. The oracle for the rewritten form."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caseunet.models.blocks.convolution import ConvNormAct
from caseunet.models.blocks.padding import pad_image
from caseunet.models.case_unet import CaseUNet


class PlainCaseUNet(nn.Module):
    """The same function with the same parameters as ``model``, whose modules it shares."""

    def __init__(self, model: CaseUNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        model, (H, W) = self.model, image.shape[-2:]
        x = pad_image(image, model.in_channels, model.multiple, model.smallest)
        down: list[Tensor] = []
        fine = x
        for stage in model.encoder:
            before_pool = plain_conv(stage.fuse, torch.cat(plain_multi_scale(stage.multi_scale, x), 1))
            fine = fine if down else before_pool
            x = F.max_pool2d(before_pool, 2)
            down.append(before_pool if model.full_resolution else x)
        x = model.bottleneck(x)
        up = [x]
        for j, stage in enumerate(model.decoder):
            if model.full_resolution:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            size = x.shape[-2:]
            pooled = [F.max_pool2d(e, e.shape[-2] // size[0]) for e in down[: len(down) - j]]
            raised = [F.interpolate(u, size=size, mode="nearest") for u in up[:j]]
            skips = [*pooled, *raised] if model.multi_level else pooled[-1:]
            x = plain_conv(stage.fuse, torch.cat([*plain_multi_scale(stage.multi_scale, x), *skips], 1))
            if not model.full_resolution:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            up.append(x)
        if model.config.full_resolution == "head":
            x = torch.cat([x, fine], 1)
        x = plain_conv(model.head[1], plain_conv(model.head[0], x))
        return model.head[2](x)[..., :H, :W]


def plain_multi_scale(block: nn.Module, x: Tensor) -> list[Tensor]:
    maps: list[Tensor] = []
    for branch in block.branches:
        maps.append(plain_branch(branch, maps[-1] if block.is_chained and maps else x))
    if not block.pairs:
        return maps
    fused = zip(block.fusions, block.pairs, strict=True)
    return [plain_conv(fusion, torch.cat([maps[i], maps[j]], 1)) for fusion, (i, j) in fused]


def plain_branch(branch: ConvNormAct, x: Tensor) -> Tensor:
    if not hasattr(branch, "depthwise"):
        return plain_conv(branch, x)
    return plain_finish(branch, branch.depthwise(branch.conv(x)))


def plain_conv(layer: ConvNormAct, x: Tensor) -> Tensor:
    return plain_finish(layer, layer.conv(x))


def plain_finish(layer: ConvNormAct, x: Tensor) -> Tensor:
    slope = layer.act.negative_slope
    return layer.norm(F.leaky_relu(x, slope)) if layer.activation_first else F.leaky_relu(layer.norm(x), slope)
