"""Weights of a bundle as the start of another training."""

import torch
from torch import nn

from caseunet.bundle import Architecture, Bundle, BundleInfo
from caseunet.errors import CaseUNetError
from caseunet.models import create_model
from caseunet.models.regions import RegionNetwork
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
    kept = {_plain_name(name, old.architecture): weight for name, weight in bundle.weights.items()}
    head = {_plain_name(name, architecture) for name in head_of(architecture)}
    network = model.network if isinstance(model, RegionNetwork) else model
    same = list(map(name_key, old.label_map.names)) == list(map(name_key, label_map.names))
    same = same and _outputs(architecture) == _outputs(old.architecture)
    if not same:
        kept = {name: weight for name, weight in kept.items() if name not in head}
    missing, unexpected = network.load_state_dict(kept, strict=False)
    if unexpected or set(missing) - head:
        raise CaseUNetError(
            f"{bundle.folder}: its weights are not those of its network: {[*missing, *unexpected][:3]}."
        )
    start = f"starts from {bundle.folder} ({len(kept)} of {len(kept) + len(missing)} tensors)"
    if same:
        return start
    return f"{start}; new head, because its {_describe_outputs(old)}: {', '.join(sorted(head))}"


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
    """Names of the tensors whose shape follows from the number of outputs."""
    regions = _outputs(architecture)
    more = {"regions": [*regions, [1]], "written": [1]} if regions else {}
    shapes = []
    for extra, classes in (({}, architecture.num_classes), (more, architecture.num_classes + (not regions))):
        with torch.device("meta"):
            kwargs = {**architecture.kwargs, **extra}
            model = create_model(architecture.name, architecture.in_channels, classes, **kwargs)
        shapes.append({name: tensor.shape for name, tensor in model.state_dict().items()})
    return {name for name, shape in shapes[0].items() if shapes[1][name] != shape}


def _plain_name(name: str, architecture: Architecture) -> str:
    """Of a tensor as a network of classes calls it: one of regions has all below "network."."""
    return name.removeprefix("network.") if _outputs(architecture) else name


def _outputs(architecture: Architecture) -> list[list[int]]:
    """The class ids of each region that a network learns; [] where it learns classes."""
    return [list(members) for members in architecture.kwargs.get("regions", ())]


def _describe_outputs(old: BundleInfo) -> str:
    if _outputs(old.architecture):
        return f"outputs were the regions {', '.join(old.label_map.structures)}"
    return f"classes were {', '.join(old.label_map.names)}"
