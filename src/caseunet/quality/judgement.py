"""The quality gate: what a bundle's validation lets expect of one case's masks, and whether the case is unusual.

Two statements, for they fail apart: whether the image is like those of training, and how good its masks will be. An
image like the training's can get a bad mask, and what is predicted of the mask of an unusual image is likely too high.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from caseunet.bundle import BundleInfo, Quality
from caseunet.progress import count_text
from caseunet.quality.confidence import StructureConfidence
from caseunet.quality.out_of_distribution import MIN_CASES, mask_features, outside
from caseunet.types import FrozenModel

MAX_REASONS = 5

POOR_DICE = 0.5
"""Predicted Dice below which masks are poor, whatever validation was like."""

GOOD_DICE = 0.7
"""Predicted Dice from which masks can be good."""

MIN_VALIDATED = 5
"""Validation cases with a structure below which its predicted Dice reassures nobody."""

MAX_ERROR = 0.1
"""Mean error of the predicted Dice in validation above which it reassures nobody."""

MARGIN = 0.05
"""Dice below the worst of validation that still counts as like it."""

ImageLevel = Literal["usual", "unusual", "unknown"]
MaskLevel = Literal["good", "fair", "poor", "unknown"]
_RANKS: dict[MaskLevel, int] = {"good": 0, "unknown": 1, "fair": 2, "poor": 3}


class CaseQuality(FrozenModel):
    """What to think of one case's masks before anyone has looked at them."""

    predicted_dice: dict[str, float | None]
    """By structure; None where nothing was found and nothing was probable."""
    unusual: float | None
    """How far the case lies outside what training knew, in the unit of the bundle's ranges; 0 inside, None where there
    were too few training cases to tell."""
    flagged: bool
    """Whether that is beyond the bundle's threshold: then the predicted Dice is likely too high, and the case comes
    before those that are not flagged."""
    reasons: tuple[str, ...]
    """Of the flag, the farthest first."""
    mask: MaskLevel = "unknown"
    """How good the worst structure's mask is expected to be; "unknown" where validation was too small or nothing was
    found."""
    mask_reasons: tuple[str, ...] = ()
    """Why it is not good."""

    @property
    def image(self) -> ImageLevel:
        """Whether the image is like those of training."""
        return "unusual" if self.flagged else "unknown" if self.unusual is None else "usual"

    @property
    def is_first(self) -> bool:
        """Whether a person has to look at it first: the image is unusual, or its mask is expected to be poor."""
        return self.flagged or self.mask == "poor"

    @property
    def is_reassuring(self) -> bool:
        """Whether both statements are good ones."""
        return self.image == "usual" and self.mask == "good"

    @property
    def lowest(self) -> float:
        """Predicted Dice of the worst structure; 1 where there is nothing to predict."""
        return min((value for value in self.predicted_dice.values() if value is not None), default=1.0)

    @property
    def urgency(self) -> tuple[bool, bool, int, float]:
        """Cases with a greater one are to be looked at first."""
        return self.is_first, self.flagged, _RANKS[self.mask], 1 - self.lowest


def judge_case(
    quality: Quality | None,
    image: Mapping[str, float],
    found: Mapping[str, StructureConfidence],
    alarms: Sequence[str] = (),
) -> CaseQuality:
    """Judge one case.

    Args:
        quality: what the bundle's validation taught; None if nothing.
        image: the image's features.
        found: how sure the network is of each structure, by calibrated probabilities.
        alarms: why the image is none for the model, known without any ranges; each flags it.
    """
    if quality is None:
        return CaseQuality(predicted_dice={}, unusual=None, flagged=bool(alarms), reasons=tuple(alarms))
    far = outside({**image, **mask_features(found)}, quality.usual)
    times = far[0].times if far else 0.0
    predicted: dict[str, float | None] = {}
    for name, structure in found.items():
        a, b = quality.lines.get(name, (0.0, 1.0))
        expected = structure.expected_dice
        predicted[name] = None if expected is None else min(1.0, max(0.0, a + b * expected))
    reasons = *alarms, *(unusual.text for unusual in far if unusual.times > quality.threshold)
    worst_first = sorted(predicted.items(), key=lambda item: -1.0 if item[1] is None else item[1])
    judged = [_judge_mask(quality, name, dice) for name, dice in worst_first]
    mask: MaskLevel = max([level for level, _ in judged], key=_RANKS.__getitem__) if judged else "unknown"
    if mask == "good" and all(dice is None for dice in predicted.values()):
        mask = "unknown"
    return CaseQuality(
        predicted_dice=predicted,
        unusual=times if quality.usual else None,
        flagged=bool(reasons),
        reasons=tuple(reasons)[:MAX_REASONS],
        mask=mask,
        mask_reasons=tuple(reason for level, reason in judged if reason and level == mask)[:MAX_REASONS],
    )


def _judge_mask(quality: Quality, structure: str, predicted: float | None) -> tuple[MaskLevel, str]:
    """How good one structure's mask is expected to be, and why not good; thresholds are those of the bundle's own
    validation, and absolute ones, for a poor model's usual mask is poor too."""
    known = [case.dice.get(structure) for case in quality.validated]
    dice = np.array([value for value in known if value is not None])
    if predicted is None:
        if len(dice) == len(known) > 0:
            return "poor", f"nothing was found of {structure}, which every validation case had"
        return "good", ""  # it may not be there: the other structures tell
    if predicted < POOR_DICE:
        return "poor", f"the predicted Dice of {structure} is {predicted:.2f}"
    if not len(dice):
        return "unknown", f"no validation case tells how good masks of {structure} are"
    worst, quarter = float(dice.min()), float(np.percentile(dice, 25))
    if predicted < worst - MARGIN:
        return "poor", (
            f"the predicted Dice of {structure} is {predicted:.2f}, below that of every validation case (the worst "
            f"{worst:.2f})"
        )
    if predicted < GOOD_DICE:
        return "fair", f"the predicted Dice of {structure} is {predicted:.2f}"
    if predicted < quarter - MARGIN:
        return "fair", (
            f"the predicted Dice of {structure} is {predicted:.2f}; three of four validation cases had more than "
            f"{quarter:.2f}"
        )
    if len(dice) < MIN_VALIDATED:
        return "unknown", f"{structure} was validated on too few cases to trust its predicted Dice ({len(dice)})"
    error = quality.error.get(structure)
    if error is None or error > MAX_ERROR or float(np.median(dice)) < POOR_DICE:
        off = "" if error is None else f", and the predicted Dice was off by {error:.2f}"
        return "fair", f"in validation the median Dice of {structure} was {float(np.median(dice)):.2f}{off}"
    return "good", ""


def list_limits(info: BundleInfo) -> tuple[str, ...]:
    """What the quality gate of a bundle cannot know, a sentence each: its silence then means nothing."""
    cases, quality = info.training_data.cases, info.quality
    if quality is None:
        return ("The model says nothing of its masks: its bundle holds no validation that would tell.",)
    limits = []
    if not quality.usual:
        limits.append("There were too few training cases to tell which images are unlike them.")
    elif cases < MIN_CASES:
        limits.append(
            f"The model was trained on {count_text(cases, 'case')}: it can hardly tell which images are unusual."
        )
    for structure in info.label_map.structures:
        dice = [d for d in (case.dice.get(structure) for case in quality.validated) if d is not None]
        if len(dice) < MIN_VALIDATED:
            had = f"{count_text(len(dice), 'validation case')} had" if dice else "No validation case had"
            limits.append(f"{had} {structure}: its predicted Dice says little.")
        elif float(np.median(dice)) < POOR_DICE:
            limits.append(
                f"In validation the median Dice of {structure} was {float(np.median(dice)):.2f}: expect poor masks."
            )
    return tuple(limits)
