"""Weights of a bundle as the start of another training."""

import torch
from torch import nn

from caseunet.bundle import Architecture, Bundle
from caseunet.errors import CaseUNetError
from caseunet.models import create_model
from caseunet.types import LabelMap, Preprocessing, name_key


def start_from_bundle(model: nn.Module, architecture: Architecture, label_map: LabelMap, bundle: Bundle) -> str:
    """Give a network the weights of a bundle; where the classes differ, its head keeps those it has.

    Args:
        model: fresh, built as ``architecture`` says.
        label_map: of the new classes.

    Returns:
        What was done, in words.

    Raises:
        CaseUNetError: the bundle's network takes other images.
    """
    old = bundle.info
    if old.members:
        raise CaseUNetError(
            f"{bundle.folder}: is an ensemble. Start from one of its networks: the bundle of a single fold."
        )
    if architecture.in_channels != old.architecture.in_channels:
        p = old.preprocessing
        raise CaseUNetError(
            f"{bundle.folder}: its network takes {old.architecture.in_channels} input channels, these data give "
            f"{architecture.in_channels}. It was trained with data.context_slices {p.context_slices} and "
            f"data.repeat_to_rgb {str(p.channel_repeat == 3).lower()} on {p.modality} images of {p.channels} channels."
        )
    kept = dict(bundle.weights)
    head = head_of(architecture)
    same = list(map(name_key, old.label_map.names)) == list(map(name_key, label_map.names))
    if not same:
        kept = {name: weight for name, weight in kept.items() if name not in head}
    missing, unexpected = model.load_state_dict(kept, strict=False)
    if unexpected or set(missing) - head:
        raise CaseUNetError(
            f"{bundle.folder}: its weights are not those of its network: {[*missing, *unexpected][:3]}."
        )
    start = f"starts from {bundle.folder} ({len(kept)} of {len(kept) + len(missing)} tensors)"
    if same:
        return start
    return f"{start}; new head, because its classes were {', '.join(old.label_map.names)}: {', '.join(sorted(head))}"


def describe_changes(old: Preprocessing, new: Preprocessing) -> str:
    """How the images of a training differ from those that a network knows, as "modality mr for ct"; "" if they do not.

    Windows and spacings are planned for each data set, so they always differ a little and are not told.
    """
    parts = {
        "modality": (old.modality, new.modality),
        "plane": (old.plane, new.plane),
        "data.context_slices": (old.context_slices, new.context_slices),
        "channels": (old.channels, new.channels),
        "z-scores of each case": (old.per_case_zscore, new.per_case_zscore),
    }
    return ", ".join(f"{name} {now} for {before}" for name, (before, now) in parts.items() if before != now)


def head_of(architecture: Architecture) -> set[str]:
    """Names of the tensors whose shape follows from the number of classes."""
    shapes = []
    for classes in (architecture.num_classes, architecture.num_classes + 1):
        with torch.device("meta"):
            model = create_model(architecture.name, architecture.in_channels, classes, **architecture.kwargs)
        shapes.append({name: tensor.shape for name, tensor in model.state_dict().items()})
    return {name for name, shape in shapes[0].items() if shapes[1][name] != shape}
