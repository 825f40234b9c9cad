"""The networks, by name."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from caseunet.errors import CaseUNetError
from caseunet.models import author_weights, paper_weights
from caseunet.models.case_unet import CaseUNet
from caseunet.models.deeplabv3plus import DeepLabV3Plus
from caseunet.models.monai_peers import AttentionUNet, NNUNet, SegResNet, SwinUNETR, UNetPlusPlus
from caseunet.models.smp import PREFIX, SmpNetwork
from caseunet.models.transunet import TransUNet
from caseunet.models.unet import UNet
from caseunet.models.unet3plus import UNet3Plus
from caseunet.registry import Registry, build

MODELS: Registry[type[nn.Module]] = Registry("model")
MODELS.add("case_unet", CaseUNet)
MODELS.add("unet", UNet)
MODELS.add("unet3plus", UNet3Plus)
MODELS.add("transunet", TransUNet)
MODELS.add("deeplabv3plus", DeepLabV3Plus)
MODELS.add("unetplusplus", UNetPlusPlus)
MODELS.add("attention_unet", AttentionUNet)
MODELS.add("nnunet", NNUNet)
MODELS.add("segresnet", SegResNet)
MODELS.add("swin_unetr", SwinUNETR)

__all__ = [
    "MODELS",
    "author_weights",
    "create_model",
    "list_models",
    "model_class",
    "paper_weights",
    "planned_arguments",
]


def create_model(name: str, in_channels: int = 3, num_classes: int = 2, **arguments: Any) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        name: one of :func:`list_models`, or "smp:<Architecture>/<encoder>" for one of segmentation_models.pytorch.
        in_channels: channels of the images it will get.
        num_classes: classes it tells apart, the background among them.
        arguments: what the network's own docstring lists.

    Returns:
        A module that maps (B, in_channels, H, W) to logits (B, num_classes, H, W).

    Raises:
        CaseUNetError: no such model or argument (the nearest is suggested), or a value that it does not take.
    """
    if in_channels < 1 or num_classes < 2:
        raise CaseUNetError(f"in_channels={in_channels}, num_classes={num_classes}: expected at least 1 and 2.")
    fixed: dict[str, Any] = {"in_channels": in_channels, "num_classes": num_classes}
    if name.startswith(PREFIX):
        fixed["specification"] = name
    return build(model_class(name), f'The model "{name}"', fixed, arguments)


def model_class(name: str) -> type[nn.Module]:
    """The class behind a name.

    Raises:
        CaseUNetError: no such model; the nearest is suggested.
    """
    return SmpNetwork if name.startswith(PREFIX) else MODELS.get(name)


def plan_arguments(name: str, arguments: Mapping[str, Any], patch_size: tuple[int, int]) -> dict[str, Any]:
    """Arguments with ``patch_size: auto``, given or the network's own default, replaced by what it is trained on.

    Args:
        name: of a network.
        arguments: as configured.
        patch_size: height and width.
    """
    own = inspect.signature(model_class(name)).parameters.get("patch_size")
    asked = arguments.get("patch_size", own.default if own else None)
    return {**arguments, "patch_size": list(patch_size)} if asked == "auto" else dict(arguments)


def list_models() -> list[str]:
    """Names of the networks that :func:`create_model` builds."""
    return list(MODELS)
