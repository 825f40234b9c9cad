"""Weights of the author's Keras network, by layer and slot, put into :class:`CaseUNet`.

Source: the layer names and array layouts of the network definition that the paper's first author published.
Keras stores convolution kernels as (k, k, in, out), transposed ones as (k, k, out, in), attention projections as
(channels, heads, key size) and the attention output as (heads, key size, channels).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from caseunet.errors import MAX_SUGGESTED, CaseUNetError
from caseunet.models.case_unet import CaseUNet

STAGES = 5
WIDEST = 2**16
"""Channels of a layer beyond which the numbers cannot be meant."""

Shape = tuple[int, ...]
Arrays = Mapping[str, Any]
"""{"layer/slot": array}: NumPy arrays, or what has a shape and a dtype and becomes one."""


def load(model: CaseUNet, arrays: Arrays) -> None:
    """Copy the author's weights into ``model``, in place; nothing is copied unless everything fits.

    Args:
        model: five stages, ``norm="none"``, with the fusion size, channels and classes that the arrays have.
        arrays: {"layer/slot": array}, for example "conv-e-1_1_1/kernel" of shape (3, 3, 3, 32).

    Raises:
        CaseUNetError: arrays are missing, left over, or of another shape than the model's; all are told, by name.
    """
    converted = convert_weights(model, arrays)
    tensors = dict(model.named_parameters())
    with torch.no_grad():
        for target, tensor in converted.items():
            tensors[target].copy_(tensor)


def convert_weights(model: CaseUNet, arrays: Arrays) -> dict[str, torch.Tensor]:
    """The author's weights as parameters of ``model``, by name, float32; the model, which may be on the meta device,
    stays as it is. No array is read before all shapes fit.

    Raises:
        CaseUNetError: as for :func:`load`.
    """
    wrong = misfits(model, arrays)
    if wrong:
        raise CaseUNetError(
            f"The author's weights do not fit this network.{list_lines(wrong)}\n"
            "Check fusion_kernel_size, widths, in_channels, num_classes and norm."
        )
    converted = {}
    for source, weight in _correspondence(model).items():
        with np.errstate(over="ignore"):  # what is too large becomes infinity, and is told
            array = np.asarray(arrays[source], dtype=np.float32)
        if not np.isfinite(array).all():
            wrong.append(f'"{source}" holds NaN or infinity: expected finite numbers')
        converted[weight.target] = torch.from_numpy(weight.layout.convert(array).copy())
    if wrong:
        raise CaseUNetError(f"The author's weights cannot be used.{list_lines(wrong)}")
    return converted


def misfits(model: CaseUNet, arrays: Arrays) -> list[str]:
    """All that keeps arrays from being the weights of ``model``, a line each, by name; told by their shapes alone."""
    tensors = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    weights = _correspondence(model)
    wrong = []
    for source, weight in weights.items():
        if weight.target not in tensors:
            wrong.append(f'"{source}" is missing in the model: expected its "{weight.target}"')
            continue
        expected = weight.layout.shape(tensors[weight.target], weight.heads)
        if source not in arrays:
            wrong.append(f'"{source}" is missing: expected shape {expected}')
        elif np.shape(arrays[source]) != expected:
            wrong.append(f'"{source}" has shape {np.shape(arrays[source])}: expected {expected}')
        elif not np.issubdtype(arrays[source].dtype, np.floating):
            wrong.append(f'"{source}" is of type {arrays[source].dtype}: expected float16, float32 or float64')
    wrong += [
        f'"{name}" of shape {np.shape(arrays[name])} is no weight of this network: expected nothing of this name'
        for name in sorted(set(arrays) - set(weights))
    ]
    foreign = sorted(set(tensors) - {weight.target for weight in weights.values()})
    return wrong + [
        f'"{name}" of the model has no part in the author\'s: expected a model without it' for name in foreign
    ]


def list_lines(lines: Sequence[str]) -> str:
    """Lines under an error's first, so many as a person reads, and how many more there are."""
    more = len(lines) - MAX_SUGGESTED
    return "".join(f"\n  {line}" for line in lines[:MAX_SUGGESTED]) + (f"\n  … and {more:,} more" if more > 0 else "")


class Plan(NamedTuple):
    """What to give ``create_model`` for the network that some arrays belong to."""

    in_channels: int
    num_classes: int
    arguments: dict[str, Any]


def plan(arrays: Arrays) -> Plan:
    """Work out the network from the arrays' shapes, by majority, so that a wrong one or two are found as misfits; what
    no array tells is the author's own.

    Raises:
        CaseUNetError: the numbers cannot be meant.
    """
    shapes = {name: np.shape(array) for name, array in arrays.items()}

    def most(axis: int, dimensions: int, default: int, *prefixes: str) -> int:
        sizes = [
            shape[axis] for name, shape in shapes.items() if len(shape) == dimensions and name.startswith(prefixes)
        ]
        return Counter(sizes).most_common(1)[0][0] if sizes else default

    stages = range(1, STAGES + 1)
    widths = [most(3, 4, 16 * 2**i, f"conv-e-{i}_", f"conv_fin-e-{i}_") for i in stages]
    projections = ("MHSA_layer-b-1/query/kernel", "MHSA_layer-b-1/key/kernel", "MHSA_layer-b-1/value/kernel")
    heads, key_size = most(1, 3, 3, *projections), most(2, 3, 3, *projections)
    in_channels, num_classes = most(2, 4, 3, "conv-e-1_1_"), most(3, 4, 2, "segmaps/")
    largest = max(*widths, heads * key_size, in_channels, num_classes)
    if largest > WIDEST:
        raise CaseUNetError(f"One of its layers has {largest:,} channels; expected at most {WIDEST:,}.")
    arguments = {
        "fusion_kernel_size": most(0, 4, 3, *(f"conv-e-{i}_2_" for i in stages)),
        "attention": "rowwise",
        "norm": "none",
        "widths": widths,
        "heads": heads,
        "key_size": key_size,
    }
    return Plan(in_channels, num_classes, arguments)


class Layer(NamedTuple):
    """A layer of the author's.

    Attributes:
        source: its name, for a part of the attention with the part's.
        target: the module here.
        kind: the class in Keras of the layer that has the name.
        slots: of its two arrays, in Keras' order.
    """

    source: str
    target: str
    kind: str
    slots: tuple[str, str] = ("kernel", "bias")


def layers(stages: int = STAGES) -> Iterator[Layer]:
    """The author's layers with weights, in the order in which an image passes them."""
    for i in range(stages):
        here = f"encoder.{i}"
        for n in range(3):
            yield Layer(f"conv-e-{i + 1}_1_{n + 1}", f"{here}.multi_scale.branches.{n}.conv", "conv2d")
        for n in range(3):
            yield Layer(f"conv-e-{i + 1}_2_{n + 1}", f"{here}.multi_scale.fusions.{n}.conv", "conv2d")
        yield Layer(f"conv_fin-e-{i + 1}_123", f"{here}.fuse.conv", "conv2d")

    yield Layer("feature_layer-b-1", "bottleneck.feature", "conv2d")
    yield Layer("attention_layer-b-1", "bottleneck.gate", "conv2d")
    for part in ("query", "key", "value"):
        yield Layer(f"MHSA_layer-b-1/{part}", f"bottleneck.attention.{part}", "multi_head_attention")
    yield Layer("MHSA_layer-b-1/attention_output", "bottleneck.attention.output", "multi_head_attention")
    yield Layer("LN-b-1", "bottleneck.norm", "layer_normalization", ("gamma", "beta"))

    for j in range(stages):
        here = f"decoder.{j}"
        for n in range(3):
            yield Layer(f"convt-d-{j + 1}_1_{n + 1}", f"{here}.multi_scale.branches.{n}.conv", "conv2d_transpose")
        for n in range(3):
            yield Layer(f"conv-d-{j + 1}_2_{n + 1}", f"{here}.multi_scale.fusions.{n}.conv", "conv2d")
        yield Layer(f"conv_fin-ud-{j + 1}_123", f"{here}.fuse.conv", "conv2d")

    yield Layer("feature_smoothen_1", "head.0.conv", "conv2d")
    yield Layer("feature_smoothen_2", "head.1.conv", "conv2d")
    yield Layer("segmaps", "head.2", "conv2d")


class WeightLayout(NamedTuple):
    """How Keras lays an array out.

    Attributes:
        convert: the author's array → the one here.
        shape: (shape here, heads) → the author's.
    """

    convert: Callable[[np.ndarray], np.ndarray]
    shape: Callable[[Shape, int], Shape]


_FLAT = WeightLayout(lambda a: a, lambda s, heads: s)
_CONV = WeightLayout(lambda a: a.transpose(3, 2, 0, 1), lambda s, heads: (s[2], s[3], s[1], s[0]))
# The convolution that equals a transposed one at stride 1 has its kernel flipped.
_TRANSPOSED = WeightLayout(
    lambda a: a.transpose(2, 3, 0, 1)[:, :, ::-1, ::-1], lambda s, heads: (s[2], s[3], s[0], s[1])
)
_PROJECTION = WeightLayout(lambda a: a.reshape(a.shape[0], -1).T, lambda s, heads: (s[1], heads, s[0] // heads))
_PROJECTION_BIAS = WeightLayout(lambda a: a.reshape(-1), lambda s, heads: (heads, s[0] // heads))
_OUTPUT = WeightLayout(lambda a: a.reshape(-1, a.shape[-1]).T, lambda s, heads: (heads, s[1] // heads, s[0]))


class _Weight(NamedTuple):
    target: str
    layout: WeightLayout
    heads: int


def _correspondence(model: CaseUNet) -> dict[str, _Weight]:
    """{"layer/slot" of the author: parameter here} for every weight."""
    heads = getattr(getattr(model.bottleneck, "attention", None), "heads", 1)
    weights = {}
    for layer in layers(len(model.encoder)):
        first, second = _layouts(layer)
        weights[f"{layer.source}/{layer.slots[0]}"] = _Weight(f"{layer.target}.weight", first, heads)
        weights[f"{layer.source}/{layer.slots[1]}"] = _Weight(f"{layer.target}.bias", second, heads)
    return weights


def _layouts(layer: Layer) -> tuple[WeightLayout, WeightLayout]:
    if layer.kind == "multi_head_attention":
        is_output = layer.source.endswith("/attention_output")
        return (_OUTPUT, _FLAT) if is_output else (_PROJECTION, _PROJECTION_BIAS)
    first = {"conv2d": _CONV, "conv2d_transpose": _TRANSPOSED, "layer_normalization": _FLAT}[layer.kind]
    return first, _FLAT
