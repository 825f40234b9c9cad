"""Masks that several people drew of one image, as one: by majority or by STAPLE; and how far they agree."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from caseunet.datasets.class_files import SAME_PLACE
from caseunet.datasets.layout import Finding, SourceCase
from caseunet.errors import InvalidInputError
from caseunet.io import images
from caseunet.io.geometry import distance_in_voxels
from caseunet.types import Mask, RaterAgreement

FULL = 255
"""What masks of 0 and white hold where others hold class ids."""

LOW_AGREEMENT = 0.7
"""Mean Dice of every two raters below which a case is named."""

MAX_PAIRS = 6
"""Pairs of raters whose Dice is told one by one."""


def merge_raters(masks: Sequence[Mask], case: SourceCase, rule: str) -> Mask:
    """One mask of several people's.

    Args:
        masks: in the order of the case's files.
        case: that they are of.
        rule: "majority": the value that most gave, the lowest of those given equally often; "staple": the value that is
            likeliest if each person has a quality of his own (Warfield et al., IEEE TMI 2004; Rohlfing et al. 2003 for
            several classes).

    Raises:
        CaseUNetError: they differ in shape, place or the meaning of their values.
    """
    first = masks[0]
    for path, mask in zip(case.label[1:], masks[1:], strict=True):
        if mask.label_values.shape != first.label_values.shape or (
            distance_in_voxels(first.geometry, mask.geometry) > SAME_PLACE
        ):
            raise InvalidInputError(
                f"{path}: has shape {mask.label_values.shape} or a place that differs from {case.label[0]} "
                f"({first.label_values.shape}), another rater's mask of the same case. All must lie on one grid."
            )
        if mask.colored != first.colored or mask.names != first.names:
            raise InvalidInputError(
                f"{path}: its values mean other classes than those of {case.label[0]}, another rater's mask of the "
                "same case."
            )
    foregrounds = [set(np.unique(mask.label_values).tolist()) - {0} for mask in masks]
    white = next((n for n, values in enumerate(foregrounds) if values == {FULL}), None)
    other = next((n for n, values in enumerate(foregrounds) if values and FULL not in values), None)
    if white is not None and other is not None and not first.colored:
        raise InvalidInputError(
            f"{case.label[white]}: holds 0 and {FULL}, where {case.label[other]}, another rater's mask of the same "
            f"case, holds {sorted(foregrounds[other])}. Save all masks with the same values."
        )
    values, places = np.unique(np.stack([mask.label_values for mask in masks]), return_inverse=True)
    votes = places.reshape(len(masks), *first.label_values.shape)
    chosen = _vote(votes, len(values)) if rule == "majority" else _staple(votes, len(values))
    palette = {code: color for mask in masks for code, color in mask.palette.items()}
    fractional, rounding = sum(mask.fractional for mask in masks), max(mask.rounding for mask in masks)
    names = [images.stem(path) for path in case.label]
    merged = values[chosen].astype(first.label_values.dtype)
    united = replace(first, label_values=merged, fractional=fractional, rounding=rounding, palette=palette)
    return replace(united, agreement=measure_agreement(masks, names))


def measure_agreement(masks: Sequence[Mask], names: Sequence[str]) -> RaterAgreement:
    """Dice of every two masks: of everything that is not 0, with the same value. 1 where both are empty."""
    pairs = []
    for (first, a), (second, b) in combinations(zip(names, (m.label_values for m in masks), strict=True), 2):
        total = np.count_nonzero(a) + np.count_nonzero(b)
        dice = 2 * np.count_nonzero((a == b) & (a != 0)) / total if total else 1.0
        pairs.append((first, second, float(dice)))
    empty = tuple(name for name, mask in zip(names, masks, strict=True) if not mask.label_values.any())
    return RaterAgreement(tuple(pairs), () if len(empty) == len(masks) else empty)


def tell_agreement(agreement: dict[str, RaterAgreement]) -> list[Finding]:
    """A note on how far raters agree, and a warning on the cases in which they do not, or one drew nothing."""
    if not agreement:
        return []
    means = {case: one.mean for case, one in agreement.items()}
    worst = min(means, key=lambda case: means[case])
    text = (
        f"{len(means)} cases have masks of several raters; every two agree with a mean Dice of "
        f"{np.mean(list(means.values())):.2f}, least in {worst} ({means[worst]:.2f})"
    )
    findings = [Finding(level="note", kind="raters", text=text)]
    for case, one in agreement.items():
        if one.mean < LOW_AGREEMENT or one.empty:
            findings.append(Finding(level="warning", kind="raters-disagree", text=_describe_pairs(one), case=case))
    return findings


def _describe_pairs(agreement: RaterAgreement) -> str:
    """Who drew nothing, and the Dice of the pairs that agree least."""
    empty = f"{', '.join(agreement.empty)} {'is' if len(agreement.empty) == 1 else 'are'} empty; "
    least = sorted(agreement.pairs, key=lambda pair: pair[2])[:MAX_PAIRS]
    pairs = ", ".join(f"{first} and {second} {dice:.2f}" for first, second, dice in least)
    more = f", {len(agreement.pairs) - len(least)} more" if len(agreement.pairs) > len(least) else ""
    start = empty if agreement.empty else ""
    return f"{start}its raters agree with a mean Dice of {agreement.mean:.2f} ({pairs}{more})"


def _vote(votes: np.ndarray, values: int) -> np.ndarray:
    """Of numbers of values (raters, S, H, W) the one that most give; of those that are as many the lowest."""
    return np.stack([(votes == value).sum(0) for value in range(values)]).argmax(0)


def _staple(votes: np.ndarray, values: int) -> np.ndarray:
    """As :func:`_vote`, weighted by each rater's quality; where two are equally likely, the majority."""
    import SimpleITK as sitk

    undecided = values
    images = [sitk.GetImageFromArray(vote.astype(np.uint16)) for vote in votes]
    found = sitk.GetArrayFromImage(sitk.MultiLabelSTAPLE(images, undecided)).astype(int)
    return np.where(found == undecided, _vote(votes, values), found)
