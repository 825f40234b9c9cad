"""Probabilities at full size, gathered on disk: classes × pixels of floating-point numbers would be too large."""

import tempfile
from collections.abc import Iterator, Sequence

import numpy as np

from caseunet.data.transforms import raised_in_slabs
from caseunet.inference.predictor import Group
from caseunet.io.nifti import WHOLE


class Shares:
    """The calibrated probability of each class but the background, as shares of ``WHOLE`` (65,535).

    Args:
        shape: (S, H, W) of the case.
        classes: how many, with the background.
        temperature: of the calibration.
    """

    def __init__(self, shape: Sequence[int], classes: int, temperature: float) -> None:
        self._shape, self._classes, self._temperature = tuple(shape), classes, temperature
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the object; closed by `close`)
        self._file.truncate((classes - 1) * int(np.prod(shape)) * 2)

    def add(self, group: Group) -> None:
        """Some slices; what is never added is 0."""
        S, H, W = self._shape
        top, left, bottom, right = group.box
        found = np.zeros((len(group.slices), self._classes - 1, H, W), np.uint16)
        row = top
        for part in raised_in_slabs(group.logits / self._temperature, (bottom - top, right - left)):
            shares = (part.softmax(1)[:, 1:] * WHOLE).round().cpu().numpy()
            found[:, :, row : row + part.shape[2], left:right] = shares
            row += part.shape[2]
        for number, s in enumerate(group.slices):
            for c in range(self._classes - 1):
                self._file.seek((c * S + s) * H * W * 2)
                self._file.write(found[number, c].tobytes())

    def each(self) -> Iterator[tuple[int, np.ndarray]]:
        """Class ids from 1 on, each with its shares (S, H, W), uint16."""
        count = int(np.prod(self._shape))
        self._file.seek(0)
        for c in range(1, self._classes):
            yield c, np.frombuffer(self._file.read(2 * count), np.uint16).reshape(self._shape)

    def close(self) -> None:
        self._file.close()
