"""Scores of the model in training, on whole cases of the validation fold."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from caseunet.data.store import Prepared
from caseunet.data.tiles import run_in_windows
from caseunet.data.transforms import labels_from_logits, slices_at_once
from caseunet.imaging.slices import gather_slices
from caseunet.metrics.overlap import confusion_matrix, counts_of
from caseunet.types import Preprocessing, Ranges

PROTOCOL = (
    "Dice per case and structure over the fold's validation slices in the geometry of the source files, in training's "
    "own precision and not cleaned, NaN where reference and prediction are empty; mean over cases, then over structures"
)
SHOWN = 4
"""Cases of which a slice is kept to be looked at."""


@dataclass(frozen=True)
class ShownSlice:
    """A slice to look at, at its prepared size: pixels (C, H, W), class ids (H, W) of reference and prediction."""

    case: str
    slice: int
    pixels: np.ndarray
    reference: np.ndarray
    prediction: np.ndarray


@dataclass(frozen=True)
class CaseScores:
    """Dice and IoU of every structure in one case, NaN where it is in neither mask; perhaps a slice to look at."""

    case: str
    dice: dict[str, float]
    iou: dict[str, float]
    shown: ShownSlice | None = None


@dataclass(frozen=True)
class ValidationScore:
    """Means over cases of each structure; NaN where no case had it."""

    dice: dict[str, float]
    iou: dict[str, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Dice, over structures."""
        return _mean(self.dice.values())

    def value(self, name: str) -> float:
        """What ``training.monitor`` names: "dice", "iou", or of one structure "dice/liver"."""
        metric, _, structure = name.partition("/")
        values: dict[str, float] = getattr(self, metric)
        return values[structure] if structure else _mean(values.values())

    def describe(self) -> str:
        """Dice of a few structures each; of many the mean and the worst."""
        known = {name: value for name, value in self.dice.items() if not np.isnan(value)}
        if len(known) <= 4:
            return ", ".join(f"{name} {value:.3f}" for name, value in known.items()) or "of nothing"
        worst = min(known, key=lambda name: known[name])
        return f"{self.mean:.3f}, the worst of {len(known)} structures {worst} {known[worst]:.3f}"


@torch.no_grad()
def validate(
    network: Callable[[Tensor], Tensor],
    prepared: Prepared,
    ranges: Mapping[str, Ranges],
    preprocessing: Preprocessing,
    device: torch.device,
    shown: Sequence[str] = (),
    stop: Callable[[], bool] = lambda: False,
    seconds: float | None = None,
) -> list[CaseScores] | None:
    """Segment the validation slices of every case and compare them with the reference, in the source's slices.

    Args:
        network: normalised images → logits, in evaluation mode.
        ranges: {case: slices}.
        shown: cases of which the slice with most foreground is kept.
        stop: asked between slices whether to give up.
        seconds: after which no further case is begun; None for all cases.

    Returns:
        The scores case by case, None if it was given up.
    """
    began = time.monotonic()
    label_map = prepared.info.label_map
    scores: list[CaseScores] = []
    for case, parts in ranges.items():
        if scores and seconds is not None and time.monotonic() - began > seconds:
            break
        pixels, references = prepared.image(case), prepared.references(case)
        statistics = prepared.case_statistics(case)
        confusion = np.zeros((len(label_map), len(label_map)), np.int64)
        indices = [s for start, stop_ in parts for s in range(start, stop_)]
        fullest = max(indices, key=lambda s: int(prepared.slice_class_pixels(case)[s, 1:].sum()))
        kept = None
        at_once = slices_at_once(*pixels.shape[-2:])
        for begin in range(0, len(indices), at_once):
            if stop():
                return None
            group = indices[begin : begin + at_once]
            gathered = torch.from_numpy(gather_slices(pixels, group, preprocessing.context_slices)).to(device)
            logits = run_in_windows(network, gathered, preprocessing, statistics)
            predicted = labels_from_logits(logits, references.shape[1:]).cpu().numpy()
            confusion += confusion_matrix(references[group], predicted, len(label_map))
            if case in shown and fullest in group:
                drawn = logits[group.index(fullest)].argmax(0).cpu().numpy()
                kept = ShownSlice(case, fullest, pixels[fullest], prepared.label_slice(case, fullest), drawn)
        known = prepared.known_structures(case)
        counts = {name: counts_of(confusion, members) for name, members in label_map.structures.items()}
        dice, iou = (
            {name: getattr(c, metric) if name in known else np.nan for name, c in counts.items()}
            for metric in ("dice", "iou")
        )
        scores.append(CaseScores(case, dice, iou, kept))
    return scores


def summarize_cases(scores: Sequence[CaseScores]) -> ValidationScore:
    """Means over cases, whatever their order."""
    ordered = sorted(scores, key=lambda score: score.case)
    dice, iou = (
        {name: _mean([getattr(score, metric)[name] for score in ordered]) for name in ordered[0].dice}
        for metric in ("dice", "iou")
    )
    return ValidationScore(dice, iou)


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
