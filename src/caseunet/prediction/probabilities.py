"""Probabilities at full size, gathered on disk: classes × pixels of floating-point numbers would be too large."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from caseunet.io import scratch
from caseunet.io.nifti import WHOLE
from caseunet.prediction.predictor import SliceBatch


class ProbabilityAccumulator:
    """The calibrated probability of each class but the background, as parts of ``WHOLE`` (65,535).

    Args:
        shape: (S, H, W) of the case.
        classes: how many, with the background.
        temperature: of the calibration.
    """

    def __init__(self, shape: Sequence[int], classes: int, temperature: float) -> None:
        self._shape, self._classes, self._temperature = tuple(shape), classes, temperature
        self._file = scratch.open_file()  # lives as long as the object; closed by `close`
        self._file.truncate((classes - 1) * int(np.prod(shape)) * 2)

    def add(self, group: SliceBatch) -> None:
        """Some slices; what is never added is 0."""
        S, H, W = self._shape
        above = None if group.above is None else group.above / self._temperature
        row, left, _, right = group.box
        for part in replace(group, logits=group.logits / self._temperature, above=above).upsample_logits():
            found = np.zeros((len(group.slices), self._classes - 1, part.shape[2], W), np.uint16)
            found[..., left:right] = (part.softmax(1)[:, 1:] * WHOLE).round().cpu().numpy()
            for number, s in enumerate(group.slices):
                for c in range(self._classes - 1):
                    self._file.seek(((c * S + s) * H + row) * W * 2)
                    self._file.write(found[number, c].tobytes())
            row += part.shape[2]

    def each(self) -> Iterator[tuple[int, np.ndarray]]:
        """Class ids from 1 on, each with its probabilities (S, H, W), uint16."""
        self._file.seek(0)
        for c in range(1, self._classes):
            values = scratch.zeros(self._shape, np.uint16)
            scratch.read_into(self._file, values)
            yield c, values

    def close(self) -> None:
        self._file.close()
