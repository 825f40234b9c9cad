"""Views of one image at prediction: mirrored, scaled, and brought back."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from caseunet.options import PredictionSettings
from caseunet.types import MIN_SIZE


@dataclass(frozen=True)
class View:
    """One way to look at an image.

    Attributes:
        scale: factor on height and width.
        mirrored: axes of (B, C, H, W) that are turned round.
    """

    scale: float = 1.0
    mirrored: tuple[int, ...] = ()


def list_views(settings: PredictionSettings, has_sides: bool = False) -> list[View]:
    """The views that settings ask for; with ``has_sides`` none is mirrored left to right."""
    mirrors: list[tuple[int, ...]] = [(), (3,), (2,), (2, 3)] if settings.tta_flip else [()]
    if has_sides:
        mirrors = [mirrored for mirrored in mirrors if 3 not in mirrored]
    return [View(scale, mirrored) for scale in settings.tta_scales for mirrored in mirrors]


def seen_in(network: Callable[[Tensor], Tensor], view: View) -> Callable[[Tensor], Tensor]:
    """A network that looks at its images (B, C, H, W) in a view; its logits have their size again."""
    return network if view == View() else partial(_look, network, view)


def _look(network: Callable[[Tensor], Tensor], view: View, x: Tensor) -> Tensor:
    size = x.shape[-2:]
    if view.scale != 1:
        scaled = [max(MIN_SIZE, round(length * view.scale)) for length in size]
        x = F.interpolate(x, scaled, mode="bilinear", antialias=True).contiguous(memory_format=torch.channels_last)
    logits = network(x.flip(view.mirrored)).flip(view.mirrored)
    return logits if logits.shape[-2:] == size else F.interpolate(logits.float(), size, mode="bilinear")
