"""Intensities of the foreground: measured for each case, and put together for those that training sees."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from caseunet.types import IGNORE, FrozenModel

QUANTILES = (0, 0.5, 1, 2, 5, 10, 25, 50, 75, 90, 95, 98, 99, 99.5, 100)
"""Per cent; the distribution between them is taken to be even."""

MAX_SAMPLED = 1_000_000
"""Pixels of a case from which its quantiles are taken, about."""


class Intensities(FrozenModel):
    """Of the pixels that are not background (all pixels where there is only background), per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...]
    """0.5th percentile."""
    high: tuple[float, ...]
    """99.5th percentile."""

    def of(self, channels: Sequence[int]) -> "Intensities":
        """Those of some channels."""
        values = {name: tuple(getattr(self, name)[c] for c in channels) for name in Intensities.model_fields}
        return Intensities(**values)


@dataclass(frozen=True)
class CaseIntensities:
    """Of one case's foreground, per channel.

    Attributes:
        pixels: how many.
        mean, variance: (C,).
        quantiles: (C, Q), at :data:`QUANTILES`.
    """

    pixels: int
    mean: tuple[float, ...]
    variance: tuple[float, ...]
    quantiles: tuple[tuple[float, ...], ...]

    def flat(self) -> list[float]:
        """For a column of a table."""
        return [float(self.pixels), *self.mean, *self.variance, *(q for row in self.quantiles for q in row)]

    @classmethod
    def from_flat(cls, values: Sequence[float], channels: int) -> "CaseIntensities":
        """The inverse of :meth:`flat`.

        Raises:
            ValueError: the number of values does not fit.
        """
        array = np.asarray(values, float)
        if array.size != 1 + channels * (2 + len(QUANTILES)):
            raise ValueError(f"{array.size} values do not describe {channels} channels")
        rest = array[1:].tolist()
        quantiles = np.reshape(array[1 + 2 * channels :], (channels, -1)).tolist()
        return cls(
            int(array[0]), tuple(rest[:channels]), tuple(rest[channels : 2 * channels]), tuple(map(tuple, quantiles))
        )


def measure_intensities(image: np.ndarray, labels: np.ndarray) -> CaseIntensities:
    """Of one case: image (S, C, H, W), class ids (S, H, W). Slice by slice, since a copy of a scan would be large."""
    pixels = sum(int(np.count_nonzero(_foreground(plane))) for plane in labels)
    everywhere = pixels == 0
    pixels = pixels or labels.size
    step = -(-pixels // MAX_SAMPLED)
    mean, variance, quantiles = [], [], []
    for c in range(image.shape[1]):
        slices = [image[s, c].ravel() if everywhere else image[s, c][_foreground(labels[s])] for s in range(len(image))]
        mean.append(sum(float(values.sum(dtype=np.float64)) for values in slices) / pixels)
        variance.append(sum(float(np.square(values - mean[-1]).sum()) for values in slices) / pixels)
        sample = np.concatenate([values[::step] for values in slices])
        quantiles.append(tuple(np.percentile(sample, QUANTILES).tolist()))
    return CaseIntensities(pixels, tuple(mean), tuple(variance), tuple(quantiles))


def _foreground(labels: np.ndarray) -> np.ndarray:
    return (labels > 0) & (labels != IGNORE)


def pool_statistics(cases: Sequence[CaseIntensities]) -> Intensities:
    """Of all pixels of several cases together: mean and standard deviation exactly, percentiles closely."""
    pixels = np.array([case.pixels for case in cases], float)
    weights = pixels / pixels.sum()
    means, variances = np.array([case.mean for case in cases]), np.array([case.variance for case in cases])  # (N, C)
    mean = weights @ means
    variance = weights @ (variances + (means - mean) ** 2)
    quantiles = np.array([case.quantiles for case in cases])  # (N, C, Q)
    ends = [_percentiles(quantiles[:, c], weights) for c in range(quantiles.shape[1])]
    return Intensities(
        mean=tuple(mean.tolist()),
        std=tuple(np.sqrt(variance).tolist()),
        low=tuple(low for low, _ in ends),
        high=tuple(high for _, high in ends),
    )


def _percentiles(quantiles: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The 0.5th and 99.5th percentile of a mixture whose parts (N, Q) have these weights."""
    low, high = float(quantiles.min()), float(quantiles.max())
    values = np.linspace(low, high, 4097)
    shares = np.array(QUANTILES) / 100
    below = sum(
        weight * np.interp(values, row, shares, left=0, right=1) for weight, row in zip(weights, quantiles, strict=True)
    )
    return float(np.interp(0.005, below, values)), float(np.interp(0.995, below, values))
