"""How sure a network is of a case: the Dice that its calibrated probabilities let expect, and where its finds lie."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from caseunet.data.transforms import pick_classes
from caseunet.types import LabelMap


@dataclass(frozen=True)
class StructureConfidence:
    """Of one structure in one case, at the network's size.

    Attributes:
        expected_dice: 2 Σ p·y / (Σ p + Σ y) with the structure's calibrated probability p and its predicted mask y: the
            Dice that follows if the probabilities are right. None where nothing is predicted: they cannot tell whether
            that is right.
        share: of the case's pixels that it has.
        centre: of its pixels, as shares of the case's slices, rows and columns; None where it has none.
    """

    expected_dice: float | None
    share: float
    centre: tuple[float, float, float] | None


class ConfidenceMeter:
    """Adds up what :class:`StructureConfidence` needs, group of slices by group.

    Args:
        label_map: the classes.
        slices: of the case.
    """

    def __init__(self, label_map: LabelMap, slices: int) -> None:
        self._structures = {name: list(members) for name, members in label_map.structures.items()}
        self._slices, self._pixels = slices, 0
        self._sums = {name: np.zeros(6) for name in self._structures}  # Σ p, Σ p·y, Σ y, and its Σ slice, row, column

    def add(self, probabilities: Tensor, first: int, row: int = 0, height: int | None = None) -> None:
        """Slices ``first``, ``first`` + 1 …: probabilities (B, C, H, W), calibrated, at the network's size.

        Args:
            row, height: of slices that are added in parts, the first row of this part, and how many there are.
        """
        H, W = height or probabilities.shape[-2], probabilities.shape[-1]
        self._pixels = self._slices * H * W
        labels = pick_classes(probabilities)
        for name, members in self._structures.items():
            p = probabilities[:, members].sum(1)
            y = torch.stack([labels == member for member in members]).any(0).float()  # faster than torch.isin
            by_slice, by_row, by_column = y.sum((1, 2)), y.sum((0, 2)), y.sum((0, 1))
            places = [
                torch.dot(counts, torch.arange(len(counts), device=counts.device) + 0.5)
                for counts in (by_slice, by_row, by_column)
            ]
            found = by_slice.sum()
            sums = torch.stack([p.sum(), (p * y).sum(), found, *places]).cpu().double().numpy()
            sums[3:5] += np.array([first, row]) * sums[2]
            sums[3:] /= (self._slices, H, W)
            self._sums[name] += sums

    def result(self) -> dict[str, StructureConfidence]:
        """{structure: how sure}; slices that were not added hold nothing."""
        return {name: self._of(sums) for name, sums in self._sums.items()}

    def _of(self, sums: np.ndarray) -> StructureConfidence:
        probable, both, found = sums[:3]
        centre = None
        if found:
            slices, rows, columns = (sums[3:] / found).tolist()
            centre = (slices, rows, columns)
        return StructureConfidence(
            expected_dice=float(2 * both / (probable + found)) if found else None,
            share=float(found / self._pixels) if self._pixels else 0.0,
            centre=centre,
        )
