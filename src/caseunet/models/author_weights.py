"""Weights of the author's Keras network, by layer and slot, put into :class:`CaseUNet`.

Source: the layer names and array layouts of the network definition that the paper's first author published.
Keras stores convolution kernels as (k, k, in, out), transposed ones as (k, k, out, in), attention projections as
(channels, heads, key size) and the attention output as (heads, key size, channels).
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch

from caseunet.errors import UserError, did_you_mean
from caseunet.models.case_unet import CaseUNet

Layout = Callable[[np.ndarray], np.ndarray]


def load(model: CaseUNet, arrays: Mapping[str, np.ndarray]) -> None:
    """Copy the author's weights into ``model``, in place; nothing is copied unless everything fits.

    Args:
        model: five stages, ``norm="none"``, with the fusion size, channels and classes that the arrays have.
        arrays: {"layer/slot": array}, for example "conv-e-1_1_1/kernel" of shape (3, 3, 3, 32).

    Raises:
        UserError: an array is missing, left over, or of another shape than the model's; the first is named.
    """
    tensors = dict(model.named_parameters())
    converted: dict[str, torch.Tensor] = {}
    layouts = dict(_correspondence(model))
    for source, (target, layout) in layouts.items():
        if source not in arrays:
            raise UserError(f'The author\'s weights lack "{source}". {did_you_mean(source, arrays)}')
        array = layout(np.asarray(arrays[source]))
        expected = tuple(tensors[target].shape)
        if array.shape != expected:
            raise UserError(
                f'"{source}" has shape {np.shape(arrays[source])}, which is {array.shape} here; "{target}" needs '
                f"{expected}. Check fusion_kernel_size, widths, in_channels and num_classes."
            )
        converted[target] = torch.from_numpy(np.ascontiguousarray(array))
    left_over = sorted(set(arrays) - set(layouts))
    if left_over:
        raise UserError(f'"{left_over[0]}" ({len(left_over)} such) is no weight of this network.')
    unset = sorted(set(tensors) - set(converted))
    if unset:
        raise UserError(f'The author\'s network has no "{unset[0]}": build the model with norm="none".')
    with torch.no_grad():
        for target, tensor in converted.items():
            tensors[target].copy_(tensor)


def _conv(kernel: np.ndarray) -> np.ndarray:
    """(k, k, in, out) → (out, in, k, k)"""
    return kernel.transpose(3, 2, 0, 1)


def _transposed_conv(kernel: np.ndarray) -> np.ndarray:
    """(k, k, out, in) → (out, in, k, k), flipped: the convolution that equals it at stride 1."""
    return kernel.transpose(2, 3, 0, 1)[:, :, ::-1, ::-1]


def _projection(kernel: np.ndarray) -> np.ndarray:
    """(channels, heads, key size) → (heads · key size, channels)"""
    return kernel.reshape(kernel.shape[0], -1).T


def _output(kernel: np.ndarray) -> np.ndarray:
    """(heads, key size, channels) → (channels, heads · key size)"""
    return kernel.reshape(-1, kernel.shape[-1]).T


def _flat(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1)


def _correspondence(model: CaseUNet) -> Iterator[tuple[str, tuple[str, Layout]]]:
    """("layer/slot" of the author, (parameter here, change of layout)) for every weight."""

    def layer(source: str, target: str, kernel: Layout) -> Iterator[tuple[str, tuple[str, Layout]]]:
        yield f"{source}/kernel", (f"{target}.weight", kernel)
        yield f"{source}/bias", (f"{target}.bias", _flat)

    for i in range(len(model.encoder)):
        for n in range(3):
            yield from layer(f"conv-e-{i + 1}_1_{n + 1}", f"encoder.{i}.multi_scale.branches.{n}.conv", _conv)
            yield from layer(f"conv-e-{i + 1}_2_{n + 1}", f"encoder.{i}.multi_scale.fusions.{n}.conv", _conv)
        yield from layer(f"conv_fin-e-{i + 1}_123", f"encoder.{i}.fuse.conv", _conv)

    yield from layer("feature_layer-b-1", "bottleneck.feature", _conv)
    yield from layer("attention_layer-b-1", "bottleneck.gate", _conv)
    for part in ("query", "key", "value"):
        yield from layer(f"MHSA_layer-b-1/{part}", f"bottleneck.attention.{part}", _projection)
    yield from layer("MHSA_layer-b-1/attention_output", "bottleneck.attention.output", _output)
    yield "LN-b-1/gamma", ("bottleneck.norm.weight", _flat)
    yield "LN-b-1/beta", ("bottleneck.norm.bias", _flat)

    for j in range(len(model.decoder)):
        for n in range(3):
            branch, fusion = f"decoder.{j}.multi_scale.branches.{n}.conv", f"decoder.{j}.multi_scale.fusions.{n}.conv"
            yield from layer(f"convt-d-{j + 1}_1_{n + 1}", branch, _transposed_conv)
            yield from layer(f"conv-d-{j + 1}_2_{n + 1}", fusion, _conv)
        yield from layer(f"conv_fin-ud-{j + 1}_123", f"decoder.{j}.fuse.conv", _conv)

    yield from layer("feature_smoothen_1", "head.0.conv", _conv)
    yield from layer("feature_smoothen_2", "head.1.conv", _conv)
    yield from layer("segmaps", "head.2", _conv)
