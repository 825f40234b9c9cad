"""Weights of a bundle as the start of another training."""

import torch
from torch import Tensor, nn

from caseunet.bundle import Architecture, Bundle, BundleInfo
from caseunet.errors import CaseUNetError
from caseunet.models import create_model
from caseunet.models.regions import RegionNetwork
from caseunet.types import LabelMap, Preprocessing, name_key


def start_from_bundle(
    model: nn.Module,
    architecture: Architecture,
    *,
    label_map: LabelMap,
    channel_names: tuple[str, ...],
    bundle: Bundle,
) -> str:
    """Give a network the weights of a bundle; where the classes differ, its head keeps those it has.

    Kernels for another number of channels are copied for channels of the same name, and averaged for others.

    Args:
        model: fresh, built as ``architecture`` says.
        label_map: of the new classes.
        channel_names: of the new images; () where they have none.
        bundle: whose weights.

    Returns:
        What was done, in words.

    Raises:
        CaseUNetError: the bundle is an ensemble, or its weights are not its network's.
    """
    old = bundle.info
    if old.members:
        raise CaseUNetError(
            f"{bundle.folder}: is an ensemble. Start from one of its networks: the bundle of a single fold."
        )
    kept = {_plain_name(name, old.architecture): weight for name, weight in bundle.weights.items()}
    head = {_plain_name(name, architecture) for name in head_of(architecture)}
    network = model.network if isinstance(model, RegionNetwork) else model
    same = list(map(name_key, old.label_map.names)) == list(map(name_key, label_map.names))
    same = same and _outputs(architecture) == _outputs(old.architecture)
    if not same:
        kept = {name: weight for name, weight in kept.items() if name not in head}
    adapted = ""
    old_names = tuple(name.lower() for name in old.training_data.channel_names)
    new_names = tuple(name.lower() for name in channel_names)
    is_renamed = old_names != new_names and not set(old_names).isdisjoint(new_names)
    if architecture.in_channels != old.architecture.in_channels or is_renamed:
        first = {_plain_name(name, architecture) for name in first_kernels_of(architecture)}
        kept, adapted = _adapt_channels(kept, network, old_names=old_names, new_names=new_names, first=first)
    missing, unexpected = network.load_state_dict(kept, strict=False)
    if unexpected or set(missing) - head:
        raise CaseUNetError(
            f"{bundle.folder}: its weights are not those of its network: {[*missing, *unexpected][:3]}."
        )
    start = f"starts from {bundle.folder} ({len(kept)} of {len(kept) + len(missing)} tensors){adapted}"
    if same:
        return start
    return f"{start}; new head, because its {_describe_outputs(old)}: {', '.join(sorted(head))}"


def _adapt_channels(
    weights: dict[str, Tensor],
    network: nn.Module,
    *,
    old_names: tuple[str, ...],
    new_names: tuple[str, ...],
    first: set[str],
) -> tuple[dict[str, Tensor], str]:
    """Weights with kernels for the channels of a network, and what was done, in words.

    An averaged kernel stands for each of the new channels, scaled so that images of equal channels give what they gave.

    Args:
        weights: of the old network.
        network: the new one.
        old_names, new_names: of their channels; () where they have none.
        first: names of the tensors that look at channels.
    """
    wanted = {name: tensor.shape for name, tensor in network.state_dict().items()}
    adapted = dict(weights)
    before = after = 0
    copied: list[str] = []
    for name, weight in weights.items():
        shape = wanted.get(name, weight.shape)
        if shape == weight.shape and name not in first:
            continue
        if weight.ndim != 4 or (shape[0], *shape[2:]) != (weight.shape[0], *weight.shape[2:]):
            raise CaseUNetError(
                f"The network cannot take other channels: {name} has the shape {tuple(weight.shape)}, and "
                f"{tuple(shape)} would be needed. Give images of as many channels as it was trained on."
            )
        before, after = weight.shape[1], shape[1]
        kernels = (weight.mean(1, keepdim=True) * before / after).repeat(1, after, 1, 1)
        slices = before // max(1, len(old_names))
        if (slices * len(old_names), slices * len(new_names)) == (before, after):
            copied = [channel for channel in new_names if channel in old_names]
            for channel in copied:  # of each slice
                kernels[:, new_names.index(channel) :: len(new_names)] = weight[
                    :, old_names.index(channel) :: len(old_names)
                ]
        adapted[name] = kernels
    how = f"; kernels for {before} channels become such for {after}"
    if copied:
        return adapted, f"{how}: those of {', '.join(copied)} are copied, others averaged"
    return adapted, f"{how}: each is the average"


def describe_changes(old: Preprocessing, new: Preprocessing) -> str:
    """How the images of a training differ from those that a network knows, as "modality mr for ct"; "" if they do not.

    Windows and spacings are planned for each data set, so they always differ a little and are not told.
    """
    parts = {
        "modality": (old.modality, new.modality),
        "plane": (old.plane, new.plane),
        "data.context_slices": (old.context_slices, new.context_slices),
        "channels": (old.channels, new.channels),
        "z-scores of each case": (_say_once(old.per_case_zscore), _say_once(new.per_case_zscore)),
    }
    return ", ".join(f"{name} {now} for {before}" for name, (before, now) in parts.items() if before != now)


def _say_once(values: tuple[bool, ...]) -> str:
    """Of all channels where they are alike, else of each."""
    return str(values[0]) if len(set(values)) == 1 else ", ".join(map(str, values))


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


def first_kernels_of(architecture: Architecture) -> set[str]:
    """Names of the tensors whose shape follows from the number of input channels."""
    shapes = []
    for channels in (architecture.in_channels, architecture.in_channels + 1):
        with torch.device("meta"):
            model = create_model(architecture.name, channels, architecture.num_classes, **architecture.kwargs)
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
