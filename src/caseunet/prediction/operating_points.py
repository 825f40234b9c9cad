"""Thresholds for a sensitivity that is asked for, from those that training chose on the validation cases."""

from collections.abc import Mapping

from caseunet.bundle import BundleInfo, OperatingPoint, PostprocessingRule
from caseunet.errors import InvalidOptionError, did_you_mean
from caseunet.progress import count_text

FEW_CASES = 10
"""Below this many validation cases with a structure its sensitivity on new images is hardly known."""


def choose_operating_points(info: BundleInfo, asked: Mapping[str, float]) -> dict[str, OperatingPoint]:
    """For each structure the highest threshold that reached the sensitivity asked for in validation.

    Raises:
        InvalidOptionError: the bundle knows no thresholds, or no such structure, or none that is so sensitive.
    """
    known = info.quality.operating_points if info.quality else {}
    chosen = {}
    for name, sensitivity in asked.items():
        if name not in info.label_map.structures:
            hint = did_you_mean(name, info.label_map.structures)
            raise InvalidOptionError(f'There is no structure "{name}". {hint}', options=("sensitivity",))
        if not known:
            raise InvalidOptionError(
                "The bundle holds no thresholds, because its training learnt nothing from the validation cases. Train "
                "it again with training.quality true.",
                options=("sensitivity",),
            )
        if name not in known:
            raise InvalidOptionError(
                f"The bundle holds no threshold of {name}, because no validation case has it.", options=("sensitivity",)
            )
        reaching = [point for point in known[name] if point.sensitivity >= sensitivity]
        if not reaching:
            most = max(point.sensitivity for point in known[name])
            raise InvalidOptionError(
                f"No threshold of {name} reaches a sensitivity of {sensitivity:g} on the validation cases. The bundle "
                f"holds thresholds up to a sensitivity of {int(most * 1000) / 1000:g}.",
                options=("sensitivity",),
            )
        chosen[name] = max(reaching, key=lambda point: point.threshold)
    return chosen


def describe_operating_point(structure: str, point: OperatingPoint) -> str:
    """What a person should know of a threshold, in one line."""
    interval = "no interval" if point.interval is None else "95 % interval {:.3f}–{:.3f}".format(*point.interval)
    precision = "" if point.precision is None else f", precision {point.precision:.3f}"
    specificity = "" if point.specificity is None else f", specificity {point.specificity:.4f}"
    return (
        f"{structure}: pixels with a probability of {point.threshold:.3g} or more. In validation "
        f"({count_text(point.cases, 'case')}) sensitivity {point.sensitivity:.3f} ({interval}){precision}{specificity}"
    )


def list_doubts(points: Mapping[str, OperatingPoint]) -> list[str]:
    """Cautions on thresholds that few cases chose."""
    return [
        f"the threshold of {name} was chosen on {count_text(point.cases, 'validation case')}, so its sensitivity on "
        "new images may be far from that"
        for name, point in points.items()
        if point.cases < FEW_CASES
    ]


def select_rules(info: BundleInfo, points: Mapping[str, OperatingPoint]) -> tuple[PostprocessingRule, ...]:
    """The rules of post-processing that change no structure with a threshold: rules were learnt for other masks."""
    structures = info.label_map.structures
    kept = {i for name in points for i in structures[name]}
    rules = info.quality.postprocessing if info.quality else ()
    return tuple(rule for rule in rules if kept.isdisjoint(structures[rule.structure]))
