"""Which of the author's networks some arrays belong to."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from caseunet.errors import CaseUNetError
from caseunet.models.case_unet import CaseUNet
from caseunet.models.case_unet_config import CaseUNetConfig
from caseunet.models.paper_names import match
from caseunet.models.paper_weights import convert_weights, list_lines, misfits, plan


class NamedArray(Protocol):
    """An array of a file, known by its layer and slot, and the place in the file where it stands."""

    @property
    def name(self) -> str: ...

    @property
    def place(self) -> str: ...


class IdentifiedNetwork(NamedTuple):
    """What to give ``create_model("case_unet", …)``, and the weights.

    Attributes:
        is_by_order: the arrays have none of the author's names, so that layers were taken in order.
    """

    in_channels: int
    num_classes: int
    arguments: dict[str, Any]
    weights: dict[str, torch.Tensor]
    is_by_order: bool


def identify_network(stored: Sequence[NamedArray]) -> IdentifiedNetwork:
    """The network that arrays belong to, with its weights.

    Raises:
        CaseUNetError: they are not all of it and nothing else.
    """
    by_name: dict[str, list[NamedArray]] = {}
    for array in stored:
        by_name.setdefault(array.name, []).append(array)
    found, is_by_order = match(list(by_name))
    held = {name: [array for own in names for array in by_name[own]] for name, names in found.items()}
    arrays = {name: members[0] for name, members in held.items()}
    in_channels, num_classes, arguments = plan(arrays)
    with torch.device("meta"):
        model = CaseUNet(CaseUNetConfig(in_channels, num_classes, **arguments))
    wrong = [
        f'"{name}" is there {len(members)} times, as {members[0].place} and {members[1].place}: expected it once'
        for name, members in held.items()
        if len(members) > 1
    ]
    wrong += misfits(model, arrays)
    if wrong:
        how = "; its layers have other names, so they were taken in order" if is_by_order else ""
        raise CaseUNetError(
            f"does not hold the author's network. By most of its arrays it would be {describe_version(arguments)}, "
            f"{in_channels} input channels, {num_classes} classes{how}.{list_lines(wrong)}"
        )
    return IdentifiedNetwork(in_channels, num_classes, arguments, convert_weights(model, arrays), is_by_order)


def describe_version(arguments: Mapping[str, Any]) -> str:
    """A network of the author's in words."""
    size, widths = arguments["fusion_kernel_size"], ", ".join(map(str, arguments["widths"]))
    return f"CASe-UNet with {size}×{size} fusion, widths {widths}"
