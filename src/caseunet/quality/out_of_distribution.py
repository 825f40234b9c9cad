"""Whether a case is like those that a network was trained on: features that a person can check, and usual ranges."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from caseunet.bundle import UsualRange
from caseunet.data.transforms import normalize
from caseunet.imaging.boxes import space_evenly
from caseunet.imaging.slices import Stack
from caseunet.imaging.windows import MAX_WHOLE
from caseunet.quality.confidence import StructureConfidence
from caseunet.types import Preprocessing

LOOKED_AT = 24
"""Slices of a case that are looked at, evenly spread."""

PERCENTILES = (1, 10, 50, 90, 99)

BLOCK = 64
"""Height and width of the blocks that are looked at of very large slices: most pixels have their neighbours."""

MIN_CASES = 8
"""Training cases below which their ranges say nothing about others."""

MIN_SPREADS = {"size": 0.25, "spacing": 0.1}
DEFAULT_SPREAD = 0.02
"""Below which a spread only tells that training cases were all the same: features are of the order of one. Scanners are
set to a few sizes and spacings, and others are near enough for their own ranges: 28 % and 10 %."""

TEXTS = {
    "spacing": "{0} are {1} mm apart; in training {2} to {3} mm",
    "size": "there are {1} {0}; in training {2} to {3}",
    "percentile": "percentile {0} of the network's input is {1}; in training {2} to {3}",
    "channel": "the mean of channel {0} of the network's input is {1}; in training {2} to {3}",
    "contrast": "the standard deviation of the network's input is {1}; in training {2} to {3}",
    "noise": "neighbouring pixels differ by {1} of the contrast; in training by {2} to {3}",
    "steps": "neighbouring slices differ by {1} of the contrast; in training by {2} to {3}",
    "balance": "the first half of the {0} is {1} of the contrast brighter than the second; in training {2} to {3}",
    "absent": "nothing was found of {0}, which every training case had",
    "share": "{0} has {1} of the image; in training {2} to {3}",
    "place": "the place of {0}, from 0 to 1, is {1}; in training {2} to {3}",
}
GEOMETRY = ("spacing", "size")
"""Kinds of features that intensities do not change."""
LOGARITHMS = ("spacing", "size", "noise", "steps", "share")


@dataclass(frozen=True)
class Unusual:
    """A feature outside its usual range, by ``times`` spreads."""

    name: str
    value: float
    low: float
    high: float
    times: float

    @property
    def text(self) -> str:
        kind, _, what = self.name.partition(":")
        values = [self.value, self.low, self.high]
        if kind in LOGARITHMS:
            values = [float(np.exp(value)) for value in values]
        return TEXTS[kind].format(what, *(f"{value:.3g}" for value in values))


def image_features(
    slices: Stack,
    preprocessing: Preprocessing,
    statistics: np.ndarray,
    spacing: tuple[float, float, float] | None,
) -> dict[str, float]:
    """What an image is like, {name: value}, each of the order of one.

    Args:
        slices: (C, h, w) each, at the network's size, as stored.
        preprocessing: the network's; intensities are looked at as it sees them.
        statistics: of the case, for preprocessing by case.
        spacing: the source's, millimetres between slices, rows, columns.
    """
    S, (C, H, W) = len(slices), slices[0].shape
    alone = preprocessing.model_copy(update={"context_slices": 0})
    statistics_of_cases = torch.from_numpy(statistics)[None]

    def seen(s: int) -> np.ndarray:
        pixels = torch.from_numpy(np.ascontiguousarray(_thin(slices[s])))
        return normalize(pixels[None], alone, statistics_of_cases)[0].numpy()

    positions = space_evenly(S, LOOKED_AT)
    looked = np.stack([seen(s) for s in positions])  # (N, C, h, w)
    contrast = max(float(looked.std()), 1e-6)
    features = {f"size:{what}": float(np.log(n)) for what, n in (("rows", H), ("columns", W))}
    if spacing is not None:
        named = zip(("slices", "rows", "columns"), spacing, strict=True)
        features |= {f"spacing:{what}": float(np.log(millimetres)) for what, millimetres in named}
    sample = looked.reshape(-1)[:: max(1, looked.size // 200_000)]
    values = np.percentile(sample, PERCENTILES)
    features |= {f"percentile:{p}": float(v) for p, v in zip(PERCENTILES, values, strict=True)}
    if C > 1:
        features |= {f"channel:{c}": float(mean) for c, mean in enumerate(looked.mean((0, 2, 3)))}
    features["contrast"] = contrast
    features["noise"] = _log_share(_typical_step(looked, -1) + _typical_step(looked, -2), contrast)
    features |= {"balance:rows": _balance(looked, 2, contrast), "balance:columns": _balance(looked, 3, contrast)}
    if S > 1:
        features["size:slices"] = float(np.log(S))
        features["balance:slices"] = _balance(looked, 0, contrast)
        pairs = space_evenly(S - 1, LOOKED_AT // 3)
        steps = [float(np.abs(seen(int(s)) - seen(int(s) + 1)).mean()) for s in pairs]
        features["steps"] = _log_share(float(np.mean(steps)), contrast)
    return features


def _thin(image: np.ndarray) -> np.ndarray:
    """(C, H, W), if it is very large some blocks of it, evenly spread and side by side."""
    H, W = image.shape[1:]
    every = math.ceil(math.sqrt(H * W / MAX_WHOLE))
    if every == 1:
        return image
    block = min(BLOCK, H // every, W // every)
    rows, columns = ([slice(at, at + block) for at in range(0, length, block * every)] for length in (H, W))
    return np.concatenate([np.concatenate([image[:, r, c] for c in columns], axis=2) for r in rows], axis=1)


def mask_features(found: Mapping[str, StructureConfidence]) -> dict[str, float]:
    """What was found in a case, or drawn in its reference, is like."""
    features = {}
    for name, structure in found.items():
        features[f"absent:{name}"] = float(structure.centre is None)
        if structure.centre is not None:
            features[f"share:{name}"] = float(np.log(structure.share))
            axes = ("slices", "rows", "columns")
            features |= {f"place:{name} among {a}": v for a, v in zip(axes, structure.centre, strict=True)}
    return features


def usual_ranges(cases: Sequence[Mapping[str, float]]) -> tuple[UsualRange, ...]:
    """Of the features that at least half the cases have; none where there are too few cases."""
    if len(cases) < MIN_CASES:
        return ()
    ranges = []
    for name in dict.fromkeys(name for case in cases for name in case):
        values = np.array([case[name] for case in cases if name in case])
        if len(values) >= max(MIN_CASES, len(cases) / 2):
            spread = max(float(values.std()), MIN_SPREADS.get(name.partition(":")[0], DEFAULT_SPREAD))
            ranges.append(UsualRange(name=name, low=float(values.min()), high=float(values.max()), spread=spread))
    return tuple(ranges)


def outside(features: Mapping[str, float], ranges: Sequence[UsualRange]) -> list[Unusual]:
    """The features that lie outside their ranges, the farthest first."""
    found = []
    for usual in ranges:
        value = features.get(usual.name)
        if value is not None and not usual.low <= value <= usual.high:
            distance = max(usual.low - value, value - usual.high)
            found.append(Unusual(usual.name, value, usual.low, usual.high, distance / usual.spread))
    return sorted(found, key=lambda unusual: -unusual.times)


def _log_share(part: float, whole: float) -> float:
    return float(np.log(max(part / whole, 1e-4)))


def _typical_step(looked: np.ndarray, axis: int) -> float:
    """Between neighbours along an axis; 0 where it has none."""
    return float(np.median(np.abs(np.diff(looked, axis=axis)))) if looked.shape[axis] > 1 else 0.0


def _balance(looked: np.ndarray, axis: int, contrast: float) -> float:
    """Mean of the first half along an axis less that of the second, in contrasts; turned round, its sign turns."""
    first, second = np.array_split(looked, 2, axis)
    return float((first.mean() - second.mean()) / contrast) if second.size else 0.0
