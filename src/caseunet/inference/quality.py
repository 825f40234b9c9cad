"""The quality gate: what a bundle's validation lets expect of one case's masks, and whether the case is unusual."""

from collections.abc import Mapping

from caseunet.bundle import Quality
from caseunet.inference.confidence import StructureConfidence
from caseunet.inference.fingerprint import found_features, outside
from caseunet.types import Stored

MOST_REASONS = 5


class CaseQuality(Stored):
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

    @property
    def lowest(self) -> float:
        """Predicted Dice of the worst structure; 1 where there is nothing to predict."""
        return min((value for value in self.predicted_dice.values() if value is not None), default=1.0)

    @property
    def urgency(self) -> tuple[bool, float]:
        """Cases with a greater one are to be looked at first."""
        return self.flagged, 1 - self.lowest


def judge(quality: Quality, image: Mapping[str, float], found: Mapping[str, StructureConfidence]) -> CaseQuality:
    """Judge one case.

    Args:
        quality: what the bundle's validation taught.
        image: the image's features.
        found: how sure the network is of each structure, by calibrated probabilities.
    """
    far = outside({**image, **found_features(found)}, quality.usual)
    times = far[0].times if far else 0.0
    flagged = times > quality.threshold
    predicted: dict[str, float | None] = {}
    for name, structure in found.items():
        a, b = quality.lines.get(name, (0.0, 1.0))
        expected = structure.expected_dice
        predicted[name] = None if expected is None else min(1.0, max(0.0, a + b * expected))
    reasons = tuple(unusual.text for unusual in far if unusual.times > quality.threshold)
    return CaseQuality(
        predicted_dice=predicted,
        unusual=times if quality.usual else None,
        flagged=flagged,
        reasons=reasons[:MOST_REASONS] if flagged else (),
    )
