"""Overlap of two masks: Dice, intersection over union, and the counts behind them.

Empty masks: where neither mask has a pixel there is nothing to measure and the value is NaN; where only one has one, it
is 0. Sensitivity, precision and specificity are NaN where their denominator is 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from caseunet.types import IGNORE


@dataclass(frozen=True)
class Counts:
    """Pixels of one structure: in the reference, in the prediction, and in both."""

    reference: int
    prediction: int
    both: int

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.reference + other.reference, self.prediction + other.prediction, self.both + other.both)

    @property
    def dice(self) -> float:
        """2 |R ∩ P| / (|R| + |P|)"""
        total = self.reference + self.prediction
        return 2 * self.both / total if total else float("nan")

    @property
    def iou(self) -> float:
        """|R ∩ P| / |R ∪ P|"""
        union = self.reference + self.prediction - self.both
        return self.both / union if union else float("nan")

    @property
    def sensitivity(self) -> float:
        """|R ∩ P| / |R|, recall; NaN where the reference is empty."""
        return self.both / self.reference if self.reference else float("nan")

    @property
    def precision(self) -> float:
        """|R ∩ P| / |P|; NaN where the prediction is empty."""
        return self.both / self.prediction if self.prediction else float("nan")

    def specificity(self, pixels: int) -> float:
        """Share of the pixels outside the reference that are outside the prediction; NaN where there are none.

        Args:
            pixels: of the image.
        """
        outside = pixels - self.reference
        return 1 - (self.prediction - self.both) / outside if outside else float("nan")


def confusion_matrix(reference: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Pixel counts (num_classes, num_classes), rows the reference's class, columns the prediction's.

    Args:
        reference: class ids; pixels that are :data:`IGNORE` are left out.
        prediction: class ids of the same shape.

    Raises:
        ValueError: the shapes differ or an id is not in 0 … num_classes − 1.
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"shapes differ: {reference.shape} and {prediction.shape}")
    ignored = reference == IGNORE
    if ignored.any():
        reference, prediction = reference[~ignored], prediction[~ignored]
    for ids in (reference, prediction):
        if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < num_classes:
            raise ValueError(f"a class id is not in 0 to {num_classes - 1}")
    pairs = reference.astype(np.int64).ravel() * num_classes + prediction.astype(np.int64).ravel()
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def counts_of(confusion: np.ndarray, members: Sequence[int]) -> Counts:
    """Counts of the structure that is made up of the classes ``members``."""
    ids = list(members)
    return Counts(
        reference=int(confusion[ids].sum()),
        prediction=int(confusion[:, ids].sum()),
        both=int(confusion[np.ix_(ids, ids)].sum()),
    )
