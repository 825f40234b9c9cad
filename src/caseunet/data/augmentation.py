"""Random changes of training images: drawn first, as plain numbers, then applied to image and mask on their device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from caseunet.config import AugmentConfig
from caseunet.types import Grid, LabelMap

LIMITS: dict[str, tuple[float, float, float, float]] = {
    # key: (none, light, default, strong)
    "vertical_flip": (False, True, True, True),  # whether images are turned upside down
    "horizontal_flip": (False, True, True, True),  # whether they are turned left to right
    "rotation": (0, 10, 30, 180),  # degrees, either way
    "scale": (1, 1.1, 1.4, 1.6),  # factor, larger or smaller
    "shear": (0, 0, 5, 10),  # degrees, either way
    "elastic": (0, 0, 0.01, 0.02),  # standard deviation of the displacement, share of the shorter side
    "noise": (0, 0.1, 0.3, 0.5),  # standard deviation, in those of the image
    "blur": (0, 0, 1, 1.5),  # standard deviation, pixels
    "gamma": (1, 1.2, 1.5, 2),  # exponent, or its inverse
    "brightness": (0, 0.1, 0.3, 0.5),  # shift either way, in standard deviations of the image
    "contrast": (1, 1.15, 1.33, 1.6),  # factor on distances from the mean, or its inverse
    "low_resolution": (1, 1, 2, 3),  # factor by which the image is shrunk before it is brought back
    "hue": (0, 5, 10, 20),  # degrees, either way
    "saturation": (1, 1.1, 1.3, 1.6),  # factor on distances from grey, or its inverse
}
"""How far each change goes at most at each strength; 0, 1 for factors, and False leave the image as it is."""

STRENGTHS: dict[str, AugmentConfig] = {
    strength: AugmentConfig.model_validate({"strength": strength} | {key: row[n] for key, row in LIMITS.items()})
    for n, strength in enumerate(("none", "light", "default", "strong"))
}
"""The limits of each strength as a configuration in which nothing is left open."""

PROBABILITIES = {
    "vertical_flip": 0.5,
    "horizontal_flip": 0.5,
    "rotation": 0.3,
    "scale": 0.3,
    "shear": 0.2,
    "elastic": 0.2,
    "noise": 0.15,
    "blur": 0.15,
    "gamma": 0.3,
    "brightness": 0.15,
    "contrast": 0.15,
    "low_resolution": 0.15,
    "hue": 0.2,
    "saturation": 0.2,
}
"""That each change happens to a sample; near those of nnU-Net where it has the like."""

CONTROL_POINTS = 6
"""Along each side of the image; the elastic displacement between them is smooth."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to one sample; the defaults do nothing. Steps are applied in this order.

    Attributes:
        vertical_flip, horizontal_flip: upside down, left to right.
        angle: degrees, counter-clockwise as the image is looked at.
        scale: above 1 things become larger.
        shear: degrees by which columns lean, their upper end to the right.
        elastic: where control points read, (2, n, n), rows first, as shares of the shorter side; () for none.
        low_resolution: factor by which the image is shrunk before it is brought back to its size.
        blur: standard deviation, pixels.
        gamma: exponent on intensities between the sample's lowest and highest.
        contrast: factor on distances from the sample's mean.
        brightness: shift in standard deviations of the sample.
        hue, saturation: rotation of colours in degrees, factor on their distance from grey.
        noise: standard deviation in those of the sample.
        noise_seed: of the noise's own generator.
        dropped_channels: which become 0, as what is missing is.
    """

    vertical_flip: bool = False
    horizontal_flip: bool = False
    angle: float = 0.0
    scale: float = 1.0
    shear: float = 0.0
    elastic: tuple[tuple[tuple[float, ...], ...], ...] = ()
    low_resolution: float = 1.0
    blur: float = 0.0
    gamma: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0
    hue: float = 0.0
    saturation: float = 1.0
    noise: float = 0.0
    noise_seed: int = 0
    dropped_channels: tuple[int, ...] = ()

    @property
    def resamples(self) -> bool:
        """Whether pixels move to where no pixel was."""
        return bool(self.angle or self.scale != 1 or self.shear or self.elastic)


def resolve(config: AugmentConfig) -> AugmentConfig:
    """The configuration with what is not given taken from its strength."""
    given = config.model_dump(exclude_none=True)
    return AugmentConfig.model_validate(STRENGTHS[config.strength].model_dump() | given)


def keep_sides(config: AugmentConfig, label_map: LabelMap, grid: Grid) -> AugmentConfig:
    """The configuration without mirroring left to right where classes have sides, unless it was asked for.

    In axial and coronal slices, and in frames, columns run from side to side; sagittal slices have one side each.
    """
    if config.horizontal_flip is not None or grid.plane == "sagittal" or not label_map.sided_names:
        return config
    return config.model_copy(update={"horizontal_flip": False})


def draw_transforms(config: AugmentConfig, rng: np.random.Generator, rgb: bool, channels: int = 1) -> Augmentation:
    """What is done to one sample.

    Args:
        config: resolved. The same numbers are drawn whatever it says, so that one key changes nothing else.
        rng: to draw from. Factors are drawn evenly on a logarithmic scale.
        rgb: whether the image has colours.
        channels: of the image.
    """
    limits = config.model_dump()
    chances, places = rng.random(len(PROBABILITIES)).tolist(), rng.uniform(-1, 1, len(PROBABILITIES)).tolist()
    happens = {name: chance < PROBABILITIES[name] for name, chance in zip(PROBABILITIES, chances, strict=True)}
    place = dict(zip(PROBABILITIES, places, strict=True))
    displacements = rng.standard_normal((2, CONTROL_POINTS, CONTROL_POINTS))
    noise_seed = int(rng.integers(2**32))

    def either_way(name: str) -> float:
        return limits[name] * place[name] if happens[name] else 0.0

    def upward(name: str) -> float:
        return limits[name] * abs(place[name]) if happens[name] else 0.0

    def factor(name: str, exponent: float) -> float:
        return float(limits[name] ** exponent) if happens[name] else 1.0

    elastic = (displacements * limits["elastic"]).tolist() if happens["elastic"] and limits["elastic"] else []
    noise = upward("noise")
    return Augmentation(
        vertical_flip=happens["vertical_flip"] and limits["vertical_flip"],
        horizontal_flip=happens["horizontal_flip"] and limits["horizontal_flip"],
        angle=either_way("rotation"),
        scale=factor("scale", place["scale"]),
        shear=either_way("shear"),
        elastic=tuple(tuple(map(tuple, axis)) for axis in elastic),
        low_resolution=factor("low_resolution", abs(place["low_resolution"])),
        blur=upward("blur"),
        gamma=factor("gamma", place["gamma"]),
        contrast=factor("contrast", place["contrast"]),
        brightness=either_way("brightness"),
        hue=either_way("hue") if rgb else 0.0,
        saturation=factor("saturation", place["saturation"]) if rgb else 1.0,
        noise=noise,
        noise_seed=noise_seed if noise else 0,
        dropped_channels=_draw_dropped(config.channel_dropout, noise_seed, channels),
    )


def _draw_dropped(probability: float, seed: int, channels: int) -> tuple[int, ...]:
    """Channels that are left out, never all: one that is drawn stays. From a generator of its own, so that their number
    changes nothing else."""
    if not probability or channels == 1:
        return ()
    rng = np.random.default_rng([seed, channels])
    dropped = rng.random(channels) < probability
    if dropped.all():
        dropped[rng.integers(channels)] = False
    return tuple(np.flatnonzero(dropped).tolist())


def augment(
    image: Tensor, labels: Tensor, drawn: Sequence[Augmentation], rgb: bool = False, channels: int = 1
) -> tuple[Tensor, Tensor]:
    """Apply what was drawn; a pure function of its arguments, the same on every device up to rounding.

    Each step touches only the samples that it changes; the others keep their bits. Masks move with their images and
    are never interpolated; what comes in from beyond the edge is mirrored, in both.

    Args:
        image: (B, C, H, W), floating point; with ``rgb`` every three channels are red, green and blue.
        labels: class ids, (B, H, W), any integer type, below 2²⁴.
        drawn: one for each sample.
        rgb: whether there are colours to change.
        channels: of each slice: every so many-th of C is one of them.

    Returns:
        Image and labels of the same shapes, types and memory formats.

    Raises:
        ValueError: the numbers of samples or the sizes differ, or the channels of RGB images are no multiple of three.
    """
    if len(drawn) != len(image) or labels.shape != (len(image), *image.shape[2:]):
        raise ValueError(f"{len(drawn)} draws for images {tuple(image.shape)} with masks {tuple(labels.shape)}")
    if rgb and image.shape[1] % 3:
        raise ValueError(f"{image.shape[1]} channels are no multiple of red, green and blue")
    images, masks = torch.empty_like(image), torch.empty_like(labels)
    # Half precision would round the places where pixels are read to several pixels, and not alike for image and mask.
    precision = torch.promote_types(image.dtype, torch.float32)
    for n, d in enumerate(drawn):
        x, mask = _flip(image[n].to(precision), d), _flip(labels[n], d)
        if d.resamples:
            x, mask = _resample(x, mask, d)
        if d.low_resolution != 1:
            x = _at_low_resolution(x, d.low_resolution)
        if d.blur:
            x = _blur(x, d.blur)
        if d.gamma != 1:
            low, high = x.min(), x.max()
            span = (high - low).clamp(min=torch.finfo(x.dtype).tiny)
            x = ((x - low) / span) ** d.gamma * span + low
        if d.contrast != 1:
            x = torch.lerp(x.mean(), x, d.contrast)
        if d.brightness:
            x = x + d.brightness * x.std(correction=0)  # without correction also of a single pixel
        if rgb and (d.hue or d.saturation != 1):
            x = _recolor(x, d.hue, d.saturation)
        if d.noise:
            generator = torch.Generator().manual_seed(d.noise_seed)  # of the CPU's, which is the same on any device
            normal = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
            x = x + d.noise * x.std(correction=0) * normal
        images[n], masks[n] = x, mask
        for channel in d.dropped_channels:
            images[n, channel::channels] = 0
    return images, masks


def _flip(pixels: Tensor, d: Augmentation) -> Tensor:
    axes = [axis for axis, flips in ((-2, d.vertical_flip), (-1, d.horizontal_flip)) if flips]
    return pixels.flip(axes) if axes else pixels


def _resample(image: Tensor, mask: Tensor, d: Augmentation) -> tuple[Tensor, Tensor]:
    """Image (C, H, W) and mask (H, W) read from the same places."""
    grid = _grid(d, image.shape[-2:], image.device)[None]
    moved = F.grid_sample(image[None], grid.to(image.dtype), padding_mode="reflection", align_corners=False)[0]
    ids = mask[None, None].to(torch.float32)
    ids = F.grid_sample(ids, grid, mode="nearest", padding_mode="reflection", align_corners=False)[0, 0]
    return moved, ids.round().to(mask.dtype)


def _grid(d: Augmentation, size: torch.Size, device: torch.device) -> Tensor:
    """(H, W, 2): where each pixel is read, columns first, in −1 … 1 between the edges of the image; float32."""
    H, W = size
    rows = torch.arange(H, dtype=torch.float32, device=device) - (H - 1) / 2
    columns = torch.arange(W, dtype=torch.float32, device=device) - (W - 1) / 2
    angle, lean = np.deg2rad(d.angle), np.tan(np.deg2rad(d.shear))
    # From the place in the result to that in the source: undo the turn, the shear, the scale; in pixels, so that a disc
    # stays a disc in an image that is not square. Rows run downwards, hence the signs.
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # (row, column)
    back = np.array([[1.0, 0.0], [lean, 1.0]]) @ turn / d.scale
    (a, b), (c, e) = back.tolist()
    y = a * rows[:, None] + b * columns
    x = c * rows[:, None] + e * columns
    if d.elastic:
        points = torch.tensor(d.elastic, dtype=torch.float32, device=device) * min(H, W)  # pixels
        moved = _between(points.shape[1], H, device) @ points @ _between(points.shape[2], W, device).T
        y, x = y + moved[0], x + moved[1]
    return torch.stack((x * (2 / W), y * (2 / H)), dim=-1)


def _between(points: int, length: int, device: torch.device) -> Tensor:
    """(length, points): bicubic weights of points from edge to edge; as a product much faster than interpolation."""
    unit = torch.eye(points, device=device)[None, None]
    return F.interpolate(unit, (length, points), mode="bicubic", align_corners=True)[0, 0]


def _at_low_resolution(image: Tensor, factor: float) -> Tensor:
    size = image.shape[-2:]
    small = [max(1, round(length / factor)) for length in size]
    shrunk = F.interpolate(image[None], small, mode="bilinear", antialias=True)
    return F.interpolate(shrunk, size, mode="bilinear")[0]


def _blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian, first along the columns, then along the rows; edges are mirrored."""
    radius = max(1, int(np.ceil(3 * sigma)))
    at = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    H, W = image.shape[-2:]
    x = image[:, None]  # channels are samples of one channel: the kernel is one for all
    x = F.conv2d(x[..., _mirror(H, radius, x.device), :], kernel[None, None, :, None])
    return F.conv2d(x[..., _mirror(W, radius, x.device)], kernel[None, None, None])[:, 0]


def _mirror(length: int, margin: int, device: torch.device) -> Tensor:
    """Positions −margin … length + margin − 1 with what is beyond the edges mirrored, as often as it takes."""
    at = torch.arange(-margin, length + margin, device=device) % (2 * length)
    return torch.minimum(at, 2 * length - 1 - at)


def _recolor(image: Tensor, hue: float, saturation: float) -> Tensor:
    """Colours turned about the axis of greys, and stretched from it; greys stay."""
    grey = np.full((3, 3), 1 / 3)
    axis = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    angle = np.deg2rad(hue)
    matrix = grey + saturation * (np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) * axis)
    colors = image.reshape(-1, 3, *image.shape[1:])
    turned = torch.tensor(matrix, dtype=image.dtype, device=image.device)
    return torch.einsum("dc,schw->sdhw", turned, colors).reshape(image.shape)
