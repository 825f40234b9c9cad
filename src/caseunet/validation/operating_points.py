"""Operating points: how much of a structure is found, and how much else, at each threshold of its probability.

A structure's probability at a pixel is the sum over its classes of the softmax at temperature 1, at the source's size.
Its pixels are counted case by case, by their probability: :data:`BINS` steps of the log-odds, fine in both tails.
Sensitivity, precision and specificity of a threshold are means over cases, as ``evaluate`` gives them of cases, so that
a small tumour weighs as much as a large one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from caseunet.bundle import OperatingPoint
from caseunet.data.transforms import sum_probabilities
from caseunet.evaluation.statistics import estimate
from caseunet.types import IGNORE, LabelMap

BINS = 128
MAX_LOG_ODDS = 12.0
"""Thresholds lie between ± this; a probability of 12 is 0.999994."""

THRESHOLDS = torch.linspace(-MAX_LOG_ODDS, MAX_LOG_ODDS, BINS + 1).sigmoid()
"""Those that are tried, (BINS + 1,), float32, as probabilities are."""

SENSITIVITIES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 0.999)
"""For each the highest threshold that reaches it is kept."""


@dataclass
class ProbabilityHistograms:
    """Pixels of a case by the probability of each structure that its reference tells.

    Attributes:
        case, group: its id, and its patient or sequence.
        counts: {structure: (2, BINS + 2), int64}: outside and inside of the reference's structure, pixels below the
            lowest threshold, then from each threshold to the next.
    """

    case: str
    group: str
    counts: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, maps: Tensor, reference: np.ndarray, label_map: LabelMap, known: Iterable[str]) -> None:
        """Count some pixels.

        Args:
            maps: logits (B, C, H, W) at the source's size.
            reference: class ids (B, H, W); pixels that are :data:`IGNORE` are left out.
            label_map: the classes.
            known: structures that the reference tells.
        """
        probabilities = maps.softmax(1)
        ids, thresholds = torch.from_numpy(reference).to(maps.device), THRESHOLDS.to(maps.device)
        judged = ids != IGNORE
        for name in known:
            members = label_map.structures[name]
            inside = torch.stack([ids == member for member in members]).any(0)
            p = sum_probabilities(probabilities, members)
            counted = judged & (p >= thresholds[0])  # of most structures few pixels, and only they are sorted in
            bins = torch.bucketize(p[counted], thresholds, right=True) + (BINS + 2) * inside[counted]
            found = torch.bincount(bins, minlength=2 * (BINS + 2)).reshape(2, BINS + 2)
            sizes = torch.stack([judged.sum() - inside.sum(), inside.sum()])
            found[:, 0] = sizes - found.sum(1)
            self.counts[name] = self.counts.get(name, 0) + found.cpu().numpy()

    def add_background(self, pixels: int) -> None:
        """Count pixels that the network does not see, which are background in reference and prediction."""
        for counts in self.counts.values():
            counts[0, 0] += pixels


def find_operating_points(
    cases: Iterable[ProbabilityHistograms], label_map: LabelMap
) -> dict[str, tuple[OperatingPoint, ...]]:
    """The operating points of each structure that some case has; parts of one case are added up."""
    whole: dict[str, dict[str, np.ndarray]] = {name: {} for name in label_map.structures}
    groups: dict[str, str] = {}
    for one in cases:
        groups[one.case] = one.group
        for name, counts in one.counts.items():
            whole[name][one.case] = whole[name].get(one.case, 0) + counts
    points = {name: _points_of(np.array([*of.values()]), [groups[case] for case in of]) for name, of in whole.items()}
    return {name: found for name, found in points.items() if found}


def _points_of(counts: np.ndarray, groups: Sequence[str]) -> tuple[OperatingPoint, ...]:
    """Of the counts (cases, 2, BINS + 2) of one structure."""
    if not counts.size or not counts[:, 1].any():
        return ()
    sizes = counts.sum(2)
    reached = counts[..., ::-1].cumsum(2)[..., -2::-1]  # (cases, 2, BINS + 1): pixels from each threshold on
    has_it = sizes[:, 1] > 0
    sensitivity = reached[has_it, 1] / sizes[has_it, 1:]  # (cases that have it, BINS + 1)
    means = sensitivity.mean(0)
    chosen = sorted({int(np.flatnonzero(means >= asked)[-1]) for asked in SENSITIVITIES if asked <= means[0]})
    points = []
    for k in chosen[::-1]:
        found = reached[:, :, k].sum(1)
        precision = _mean_ratio(reached[:, 1, k], found)
        specificity = _mean_ratio(sizes[:, 0] - reached[:, 0, k], sizes[:, 0])
        values = sensitivity[:, k]
        interval = estimate([(values, np.ones_like(values))], [g for g, has in zip(groups, has_it, strict=True) if has])
        points.append(
            OperatingPoint(
                threshold=float(THRESHOLDS[k]),
                sensitivity=float(means[k]),
                interval=interval.interval,
                precision=precision,
                specificity=specificity,
                cases=int(has_it.sum()),
            )
        )
    return tuple(points)


def _mean_ratio(above: np.ndarray, below: np.ndarray) -> float | None:
    """Mean of the quotients; None where every denominator is 0."""
    known = below > 0
    return float(np.mean(above[known] / below[known])) if known.any() else None
