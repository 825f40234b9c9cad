"""Which slices a batch holds: a pure function of (seed, step)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from caseunet.errors import UserError
from caseunet.types import Ranges


@dataclass(frozen=True)
class Sample:
    """One slice and what is done to it.

    Attributes:
        corner: upper left of the crop; negative where the slice is smaller than the patch.
    """

    case: str
    slice: int
    corner: tuple[int, int]
    flip_rows: bool
    flip_columns: bool


class SliceSampler:
    """Draws slices at random, with replacement.

    The first ``round(rare_share · batch_size)`` samples of a batch are drawn among the slices that hold a foreground
    class: first the class, each as likely, then the slice. The others are drawn among all slices.

    Args:
        ranges: {case: slices to draw from}.
        class_pixels: {case: (S, classes) pixel counts}.
        heights_widths: {case: (H, W)}.
        patch_size: of the batch.
        batch_size: samples in a batch.
        rare_share: see above.
        flip_rows, flip_columns: whether half of the samples are flipped so.

    Raises:
        UserError: there is no slice to draw.
    """

    def __init__(
        self,
        ranges: Mapping[str, Ranges],
        class_pixels: Mapping[str, np.ndarray],
        heights_widths: Mapping[str, tuple[int, int]],
        patch_size: tuple[int, int],
        batch_size: int,
        rare_share: float,
        flip_rows: bool,
        flip_columns: bool,
    ) -> None:
        self._slices = [(case, s) for case in ranges for start, stop in ranges[case] for s in range(start, stop)]
        if not self._slices:
            raise UserError("The training part of the split holds no slices.")
        counts = np.stack([class_pixels[case][s] for case, s in self._slices])  # (N, classes)
        holding = [np.flatnonzero(counts[:, c]) for c in range(1, counts.shape[1])]
        self._holding_class = [indices for indices in holding if len(indices)]
        self._heights_widths = heights_widths
        self._patch_size = patch_size
        self._batch_size = batch_size
        self._rare = round(rare_share * batch_size) if self._holding_class else 0
        self._flip_rows, self._flip_columns = flip_rows, flip_columns

    def __len__(self) -> int:
        """Slices to draw from."""
        return len(self._slices)

    def draw(self, seed: int, step: int) -> list[Sample]:
        """The samples of one batch."""
        rng = np.random.default_rng([seed, step])
        return [self._sample(rng, rare=n < self._rare) for n in range(self._batch_size)]

    def _sample(self, rng: np.random.Generator, rare: bool) -> Sample:
        if rare:
            index = int(rng.choice(self._holding_class[rng.integers(len(self._holding_class))]))
        else:
            index = int(rng.integers(len(self._slices)))
        case, position = self._slices[index]
        vertical, horizontal = (
            _start(rng, length, patch)
            for length, patch in zip(self._heights_widths[case], self._patch_size, strict=True)
        )
        flips = rng.random(2) < 0.5
        return Sample(
            case=case,
            slice=position,
            corner=(vertical, horizontal),
            flip_rows=bool(flips[0]) and self._flip_rows,
            flip_columns=bool(flips[1]) and self._flip_columns,
        )


def _start(rng: np.random.Generator, length: int, patch: int) -> int:
    """Where the patch begins: anywhere inside a longer slice, centred on a shorter one."""
    if length >= patch:
        return int(rng.integers(length - patch + 1))
    return -((patch - length) // 2)
