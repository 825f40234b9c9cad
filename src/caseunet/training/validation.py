"""Scores of the model in training, on whole cases of the validation fold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from caseunet.data.store import Prepared
from caseunet.data.transforms import case_standard, gather_slices, segment, slices_at_once
from caseunet.metrics.overlap import confusion_matrix, counts_of
from caseunet.types import Preprocessing, Ranges

PROTOCOL = (
    "Dice per case and structure over the fold's validation slices at their prepared size, NaN where reference and "
    "prediction are empty; mean over cases, then over structures"
)


@dataclass(frozen=True)
class ValidationScore:
    """Mean Dice over cases of each structure, and the mean of those; NaN where no case had the structure."""

    mean: float
    structures: dict[str, float]


@torch.no_grad()
def validate(
    network: Callable[[Tensor], Tensor],
    prepared: Prepared,
    ranges: Mapping[str, Ranges],
    preprocessing: Preprocessing,
    device: torch.device,
) -> ValidationScore:
    """Segment the validation slices of every case and compare them with the reference.

    Args:
        network: normalised images → logits, in evaluation mode.
        ranges: {case: slices}.
    """
    label_map = prepared.info.label_map
    dice: dict[str, list[float]] = {name: [] for name in label_map.structures}
    for case, parts in ranges.items():
        pixels, labels = prepared.image(case), prepared.labels(case)
        standard = case_standard(pixels)
        confusion = np.zeros((len(label_map), len(label_map)), np.int64)
        indices = [s for start, stop in parts for s in range(start, stop)]
        at_once = slices_at_once(*pixels.shape[-2:])
        for begin in range(0, len(indices), at_once):
            group = indices[begin : begin + at_once]
            gathered = torch.from_numpy(gather_slices(pixels, group, preprocessing.neighbours)).to(device)
            predicted = segment(network, gathered, preprocessing, standard).argmax(1).cpu().numpy()
            confusion += confusion_matrix(labels[group], predicted, len(label_map))
        for name, members in label_map.structures.items():
            dice[name].append(counts_of(confusion, members).dice)
    structures = {name: _mean(values) for name, values in dice.items()}
    return ValidationScore(mean=_mean(list(structures.values())), structures=structures)


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
