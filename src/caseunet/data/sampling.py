"""Which slices a batch holds: a pure function of (seed, step)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from caseunet.errors import InvalidInputError
from caseunet.imaging.slices import split_padding
from caseunet.types import Ranges


@dataclass(frozen=True)
class Sample:
    """One slice and the part of it that is cut out.

    Attributes:
        focus: the class of which the cut holds a pixel; None where any cut will do.
        chance: numbers from 0 to 1 that choose the pixel and where the cut lies around it, rows and columns.
    """

    case: str
    slice: int
    focus: int | None
    chance: tuple[float, float, float]

    def corner(self, labels: np.ndarray, patch_size: tuple[int, int]) -> tuple[int, int]:
        """Upper left of the cut; negative where the slice is smaller than the patch, which is centred on it then.

        Args:
            labels: class ids of the slice, (H, W).
            patch_size: height and width of the cut.
        """
        pixel = None
        if self.focus is not None and any(n > patch for n, patch in zip(labels.shape, patch_size, strict=True)):
            holding = np.flatnonzero(labels == self.focus)
            if len(holding):
                pixel = divmod(int(holding[int(self.chance[0] * len(holding))]), labels.shape[1])
        starts = []
        for axis, (length, patch) in enumerate(zip(labels.shape, patch_size, strict=True)):
            first, last = 0, length - patch
            if last < 0:
                starts.append(-split_padding(length, patch)[0])
                continue
            if pixel is not None:
                first, last = max(first, pixel[axis] - patch + 1), min(last, pixel[axis])
            starts.append(first + int(self.chance[1 + axis] * (last - first + 1)))
        return starts[0], starts[1]


class SliceSampler:
    """Draws slices at random, with replacement.

    A share of the samples hold a foreground class for sure: first the class is drawn, each as likely, then a slice
    that holds it (with ``sampling`` "cases" first the case). The others are drawn as ``sampling`` says.

    Args:
        ranges: {case: slices to draw from}.
        class_pixels: {case: (S, classes) counts of labelled pixels}; slices without any are not drawn.
        batch_size: samples in a batch.
        oversample_foreground: see above; where it makes no whole number of samples, it holds on average.
        sampling: what is equally likely: "slices", "cases" or "classes".

    Raises:
        CaseUNetError: there is no slice to draw.
    """

    def __init__(
        self,
        ranges: Mapping[str, Ranges],
        class_pixels: Mapping[str, np.ndarray],
        batch_size: int,
        oversample_foreground: float,
        sampling: Literal["slices", "cases", "classes"],
    ) -> None:
        self._slices = [
            (case, s)
            for case in ranges
            for start, stop in ranges[case]
            for s in range(start, stop)
            if class_pixels[case][s].any()  # nothing is learnt from a slice that nobody labelled
        ]
        if not self._slices:
            raise InvalidInputError("The training part of the split holds no labelled slices.")
        counts = np.stack([class_pixels[case][s] for case, s in self._slices])  # (N, classes)
        cases = {case: n for n, case in enumerate(ranges)}
        self._case_of = np.array([cases[case] for case, _ in self._slices])
        self._all = np.arange(len(self._slices))
        self._holding = {c: held for c in range(counts.shape[1]) if len(held := np.flatnonzero(counts[:, c]))}
        self._foreground = [c for c in self._holding if c > 0]
        self._batch_size, self._sampling = batch_size, sampling
        self._rare = oversample_foreground * batch_size if self._foreground else 0.0

    def __len__(self) -> int:
        """Slices to draw from."""
        return len(self._slices)

    def draw(self, seed: int, step: int) -> list[Sample]:
        """The samples of one batch."""
        rng = np.random.default_rng([seed, step])
        rare = int(self._rare + rng.random())
        return [self._sample(rng, rare=n < rare) for n in range(self._batch_size)]

    def _sample(self, rng: np.random.Generator, rare: bool) -> Sample:
        among, focus = self._all, None
        if rare:
            focus = self._foreground[rng.integers(len(self._foreground))]
        elif self._sampling == "classes":
            focus = list(self._holding)[rng.integers(len(self._holding))]
        if focus is not None:
            among = self._holding[focus]
        if self._sampling == "cases":
            present = np.unique(self._case_of[among])
            among = among[self._case_of[among] == present[rng.integers(len(present))]]
        case, position = self._slices[int(among[rng.integers(len(among))])]
        chance = rng.random(3)
        return Sample(case, position, focus, (float(chance[0]), float(chance[1]), float(chance[2])))
