"""The deterministic steps from stored pixels to network input and from logits to labels.

Training and prediction both use these, so that a model sees at prediction exactly what it saw in training.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from caseunet.errors import InvalidInputError
from caseunet.imaging.slices import split_padding
from caseunet.types import Preprocessing

PIXELS_AT_ONCE = 2**20

Thresholds = Sequence[tuple[tuple[int, ...], float]]
"""Of structures: the classes of each, and the probability from which a pixel is its own."""

VALUES_AT_ONCE = 2**23
"""Numbers of a map at full size that are held together."""


def slices_at_once(height: int, width: int) -> int:
    """How many slices to give a network together when only its answer is wanted: about a million pixels."""
    return max(1, PIXELS_AT_ONCE // (height * width))


def resize_image(pixels: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Slices (S, C, H, W) at ``size``: bilinear, anti-aliased when shrinking, rounded back to their own type."""
    if size is None or pixels.shape[-2:] == tuple(size):
        return pixels
    resized = np.empty((*pixels.shape[:2], *size), pixels.dtype)
    for n, image in enumerate(pixels):  # one at a time: a whole scan in floating point would be large
        step = len(image) if image.size <= 4 * VALUES_AT_ONCE else 1
        for c in range(0, len(image), step):
            as_float = torch.from_numpy(image[c : c + step].astype(np.float32))[None]
            values = F.interpolate(as_float, tuple(size), mode="bilinear", antialias=True)[0].numpy()
            # Bilinear weights are not negative, so no value leaves the range of the type.
            resized[n, c : c + step] = np.rint(values) if pixels.dtype.kind in "iu" else values
    return resized


def resize_labels(labels: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Class ids (S, H, W), uint8, at ``size``; each pixel gets the id at its centre, never a mixture."""
    if size is None or labels.shape[-2:] == tuple(size):
        return labels
    resized = F.interpolate(torch.from_numpy(labels.astype(np.uint8))[:, None], tuple(size), mode="nearest-exact")
    return resized[:, 0].numpy()


def normalize(pixels: Tensor, preprocessing: Preprocessing, statistics_of_cases: Tensor) -> Tensor:
    """Gathered pixels (B, slices · C, H, W) of any type, clipped and scaled, float32 of the same shape.

    Args:
        pixels: gathered.
        preprocessing: how.
        statistics_of_cases: :func:`case_statistics` of each one's case, (B, 2, C), or (1, 2, C) of all; used only
            for channels that are normalized per case.

    Raises:
        CaseUNetError: the number of channels is not what the model was made for.
    """
    p = preprocessing
    slices = 2 * p.context_slices + 1
    if pixels.shape[1] != slices * p.channels:
        raise InvalidInputError(
            f"The image has {pixels.shape[1] // slices} channels; the model was trained on {p.modality} images with "
            f"{p.channels}."
        )
    x = pixels.float()
    if any(p.intensity_window):
        limits = [window or (-math.inf, math.inf) for window in p.intensity_window]
        low, high = x.new_tensor(limits).repeat(slices, 1).T[:, :, None, None]
        x = x.clamp(low, high)
    parts = x.new_tensor((p.mean, p.std))[None]
    if any(p.per_case_zscore):
        means, deviations = statistics_of_cases.unbind(1)
        own = torch.stack([means, deviations.clamp(min=1e-8)], dim=1)  # all pixels of a case may be equal
        parts = torch.where(torch.tensor(p.per_case_zscore, device=x.device), own, parts)
    shift, scale = parts.repeat(1, 1, slices)[:, :, :, None, None].unbind(1)
    return (x - shift) / scale


def repeat_channels(
    x: Tensor, preprocessing: Preprocessing, layout: torch.memory_format = torch.channels_last
) -> Tensor:
    """Normalised images (B, slices · C, H, W) as the network gets them: (B, in_channels, H, W), in that layout."""
    repeated = x.repeat_interleave(preprocessing.channel_repeat, dim=1) if preprocessing.channel_repeat > 1 else x
    return repeated.contiguous(memory_format=layout)


def run_network(
    network: Callable[[Tensor], Tensor], pixels: Tensor, preprocessing: Preprocessing, statistics: np.ndarray
) -> Tensor:
    """Logits (B, classes, H, W) of gathered pixels (B, slices · C, H, W) of any type and size.

    Args:
        network: network input → logits.
        pixels: gathered from one case.
        preprocessing: that the network was trained with.
        statistics: :func:`case_statistics` of the case.

    Raises:
        CaseUNetError: see :func:`normalize`.
    """
    H, W = pixels.shape[-2:]
    (above, below), (left, right) = (
        split_padding(length, least) for length, least in zip((H, W), preprocessing.min_size, strict=True)
    )
    statistics_of_cases = torch.from_numpy(statistics)[None].to(pixels.device)
    x = F.pad(normalize(pixels, preprocessing, statistics_of_cases), (left, right, above, below), mode="replicate")
    return network(repeat_channels(x, preprocessing))[..., above : above + H, left : left + W]


def crop_or_pad(pixels: np.ndarray, size: tuple[int, int], corner: tuple[int, int]) -> np.ndarray:
    """The window of ``size`` whose upper left is ``corner`` of (…, H, W); missing rows and columns repeat the edge."""
    for axis, (length, start) in enumerate(zip(size, corner, strict=True), start=pixels.ndim - 2):
        positions = np.clip(np.arange(start, start + length), 0, pixels.shape[axis] - 1)
        pixels = pixels.take(positions, axis)
    return pixels


def labels_from_logits(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Class ids (B, *size), uint8: logits (B, C, H, W) are interpolated to the source's size before the maximum."""
    return torch.cat([pick_classes(part) for part in upsample_in_slabs(logits, size)], dim=1)


def upsample_in_slabs(
    maps: Tensor, size: tuple[int, int], first: int = 0, height: int | None = None
) -> Iterator[Tensor]:
    """Maps (B, C, h, w) interpolated to ``size``, some rows after another (B, C, rows, W): all would be large.

    Bilinear between centres of pixels, as ``torch.nn.functional.interpolate`` does.

    Args:
        maps: all rows; or those from ``first`` on of ``height``, which give :func:`raised_rows` alone.
        size: height and width of the whole.
    """
    (h, w), (H, W) = maps.shape[-2:], size
    height = height or h
    if (height, w) == (H, W):
        yield maps
        return
    maps = maps.float()
    (left, right, beside), (upper, lower, below) = _between(w, W, maps.device), _between(height, H, maps.device)
    step = max(1, VALUES_AT_ONCE // (maps.shape[0] * maps.shape[1] * W))
    rows = rows_to_upsample(range(first, first + h), height, H)
    for start in range(rows.start, rows.stop, step):
        part = slice(start, min(start + step, rows.stop))
        share = below[part, None]
        tall = maps[:, :, upper[part] - first] * (1 - share) + maps[:, :, lower[part] - first] * share
        yield tall[..., left] * (1 - beside) + tall[..., right] * beside


def rows_to_upsample(rows: range, height: int, wanted: int) -> range:
    """Which of ``wanted`` rows lie between two of these rows of ``height``, when they are interpolated."""
    upper, lower, _ = _between(height, wanted, torch.device("cpu"))
    inside = torch.nonzero((upper >= rows.start) & (lower < rows.stop))
    return range(int(inside[0]), int(inside[-1]) + 1) if len(inside) else range(0)


def _between(length: int, wanted: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each of ``wanted`` pixels the two of ``length`` between whose centres its own lies, and how far along."""
    centres = ((torch.arange(wanted) + 0.5) * (length / wanted) - 0.5).clamp(min=0)
    first = centres.long().clamp(max=length - 1)
    return first.to(device), (first + 1).clamp(max=length - 1).to(device), (centres - first).to(device)


def pick_classes(maps: Tensor, thresholds: Thresholds = ()) -> Tensor:
    """Ids (B, H, W), uint8, of the highest of the classes (B, C, H, W), the first of several.

    On a CPU this takes a tenth of the time of ``argmax``, and the ids are the same.

    Args:
        maps: logits where there are thresholds; otherwise probabilities will do.
        thresholds: of structures, each of which gets the pixels whose probability reaches its threshold, and no others.
            Where they cannot all have that, those of fewer classes do, and of as many classes as many structures as
            can. A pixel gets the most probable of the classes that are left.
    """
    if not thresholds:
        return maps.max(1).indices.to(torch.uint8)
    scores = maps.softmax(1)
    reached = [sum_probabilities(scores, members) >= threshold for members, threshold in thresholds]
    sizes = [len(members) for members, _ in thresholds]
    weight = 2.0  # above any probability
    for size in sorted(set(sizes), reverse=True):
        for inside, (members, _) in zip(reached, thresholds, strict=True):
            if len(members) == size:
                for c in range(scores.shape[1]):
                    scores[:, c] += weight * (inside if c in members else ~inside)
        weight *= 2 * sizes.count(size)
    return scores.max(1).indices.to(torch.uint8)


def sum_probabilities(probabilities: Tensor, members: Sequence[int]) -> Tensor:
    """The probability (B, H, W) of a structure: the sum of those of its classes, of (B, C, H, W)."""
    total = probabilities[:, members[0]]
    for member in members[1:]:
        total = total + probabilities[:, member]
    return total
