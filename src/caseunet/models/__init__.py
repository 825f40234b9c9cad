"""The networks, by name."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from caseunet.errors import CaseUNetError
from caseunet.models import author_weights, paper_weights
from caseunet.models.case_unet import CaseUNet
from caseunet.models.deeplabv3plus import DeepLabV3Plus
from caseunet.models.monai_peers import AttentionUNet, NNUNet, SegResNet, SwinUNETR, UNetPlusPlus
from caseunet.models.optimize import optimize_for
from caseunet.models.regions import RegionNetwork
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
    "model_parameters",
    "optimize_for",
    "paper_weights",
    "plan_arguments",
]


def create_model(
    name: str,
    in_channels: int = 3,
    num_classes: int = 2,
    *,
    regions: Sequence[Sequence[int]] = (),
    written: Sequence[int] = (),
    **arguments: Any,
) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        name: one of :func:`list_models`, or "smp:<Architecture>/<encoder>" for one of segmentation_models.pytorch.
        in_channels: channels of the images it will get.
        num_classes: classes it tells apart, the background among them.
        regions: class ids of each region, such as [[1, 2], [2]], for a network that learns regions, which may overlap:
            in training it gives their logits (B, len(regions), H, W).
        written: of a network of regions the class ids that it predicts; () for all.
        arguments: what the network's own docstring lists.

    Returns:
        A module that maps (B, in_channels, H, W) to logits (B, num_classes, H, W).

    Raises:
        CaseUNetError: no such model or argument (the nearest is suggested), or a value that it does not take.
    """
    if in_channels < 1 or num_classes < 2:
        raise CaseUNetError(f"in_channels={in_channels}, num_classes={num_classes}: expected at least 1 and 2.")
    if regions:
        network = _create_network(name, in_channels, len(regions), arguments)
        wrapped = {"network": network, "regions": regions, "num_classes": num_classes, "written": written}
        return build(RegionNetwork, "The network of regions", wrapped, {})
    return _create_network(name, in_channels, num_classes, arguments)


def _create_network(name: str, in_channels: int, outputs: int, arguments: dict[str, Any]) -> nn.Module:
    fixed: dict[str, Any] = {"in_channels": in_channels, "num_classes": outputs}
    if name.startswith(PREFIX):
        fixed["specification"] = name
    network, what = model_class(name), f'The model "{name}"'
    if hasattr(network, "config_class"):
        fixed, arguments = {"config": build(network.config_class, what, fixed, arguments)}, {}
    return build(network, what, fixed, arguments)


def model_class(name: str) -> type[nn.Module]:
    """The class behind a name.

    Raises:
        CaseUNetError: no such model; the nearest is suggested.
    """
    return SmpNetwork if name.startswith(PREFIX) else MODELS.get(name)


def model_parameters(name: str) -> Mapping[str, inspect.Parameter]:
    """What a network takes, by name; with ``in_channels`` and ``num_classes``."""
    network = model_class(name)
    return inspect.signature(getattr(network, "config_class", network)).parameters


def plan_arguments(name: str, arguments: Mapping[str, Any], patch_size: tuple[int, int]) -> dict[str, Any]:
    """Arguments with ``patch_size: auto``, given or the network's own default, replaced by what it is trained on.

    Args:
        name: of a network.
        arguments: as configured.
        patch_size: height and width.
    """
    own = model_parameters(name).get("patch_size")
    asked = arguments.get("patch_size", own.default if own else None)
    return {**arguments, "patch_size": list(patch_size)} if asked == "auto" else dict(arguments)


def list_models() -> list[str]:
    """Names of the networks that :func:`create_model` builds."""
    return list(MODELS)
