"""Numbers as files hold them: integers kept, floating point checked."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from caseunet.errors import BadValuesError, InvalidInputError
from caseunet.io import scratch

NEARLY_WHOLE = 1e-3
"""By which a label may differ from a whole number."""

MAX_STEP = 0.02
"""Of a file's values, half of which a label may differ: nibabel scales 0 to 255 to all of int16, in steps of 0.004."""

PIECE = 2**20
"""Numbers that are looked at together."""


def to_native(array: np.ndarray) -> np.ndarray:
    """The numbers in this machine's byte order, the only one that PyTorch knows; a copy where they are in the other."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def as_integers(array: np.ndarray, path: Path, nan: float | None = None) -> np.ndarray:
    """Integers as they are; floating-point pixels that are whole 16-bit numbers as int16, others as float32.

    All in this machine's byte order.

    Args:
        array: the pixels.
        path: the file, for messages.
        nan: what replaces NaN; None makes NaN an error.

    Raises:
        BadValuesError: there are NaN that nothing replaces, or infinities.
        CaseUNetError: the pixels are no real numbers.
    """
    if array.dtype.kind in "iu":
        return to_native(array)
    if array.dtype.kind != "f":
        raise InvalidInputError(f"{path}: expected numbers, found pixels of type {array.dtype}.")
    return _narrow(array, 1.0, 0.0, path, nan)


def rescale(array: np.ndarray, slope: float, intercept: float, path: Path, nan: float | None = None) -> np.ndarray:
    """``array · slope + intercept`` as :func:`as_integers` gives it, without a copy of it all in double precision.

    Raises:
        BadValuesError, CaseUNetError: as there.
    """
    if (slope, intercept) == (1, 0):
        return as_integers(array, path, nan)
    return _narrow(array, slope, intercept, path, nan)


def _narrow(array: np.ndarray, slope: float, intercept: float, path: Path, nan: float | None) -> np.ndarray:
    """Rescaled, as int16 where all values are such numbers, as float32 elsewhere."""

    def values_of(part: np.ndarray) -> np.ndarray:
        values = part * slope + intercept if (slope, intercept) != (1, 0) else part
        return values if nan is None else np.where(np.isnan(values), nan, values)

    bad, whole, low, high = 0, True, 0.0, 0.0
    strides = [abs(stride) * (length > 1) for stride, length in zip(array.strides, array.shape, strict=True)]
    slowest = int(np.argmax(strides))
    for part in _parts(array, slowest):
        values = values_of(part)
        bad += values.size - int(np.count_nonzero(np.isfinite(values)))
        whole = whole and np.array_equal(values, np.rint(values))
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    if bad:
        raise BadValuesError(f"{path}: holds {bad:,} of {array.size:,} pixels that are NaN or infinite.")
    if max(-low, high) > np.finfo(np.float32).max:
        raise BadValuesError(f"{path}: holds values as large as {max(-low, high):g}, beyond single precision.")
    fits = whole and low >= -32768 and high <= 32767
    narrow = scratch.zeros_like(array, np.int16 if fits else np.float32)
    for part, target in zip(_parts(array, slowest), _parts(narrow, slowest), strict=True):
        target[...] = values_of(part)
    return narrow


def _parts(array: np.ndarray, axis: int) -> Iterator[np.ndarray]:
    """An array piece by piece along an axis, so that what is made of a piece is small."""
    along = np.moveaxis(array, axis, 0)
    step = max(1, PIECE * len(along) // max(1, array.size))
    for start in range(0, len(along), step):
        yield along[start : start + step]


class WholeNumbers(NamedTuple):
    """Mask values as integers.

    Attributes:
        values: rounded.
        fractional: how many were no whole numbers.
        rounding: by how much one was changed at most.
        remarks: what should be known of them.
    """

    values: np.ndarray
    fractional: int = 0
    rounding: float = 0.0
    remarks: tuple[str, ...] = ()


def whole_numbers(array: np.ndarray, path: Path, step: float = 0.0) -> WholeNumbers:
    """Mask values as integers, and what was done to them.

    Values nearly whole are what single precision or a slope made of labels: they are rounded, and count as whole.

    Args:
        array: the values.
        path: the file, for messages.
        step: between values as the file can hold them.

    Raises:
        BadValuesError: there are NaN or infinities, or numbers that no label can be.
    """
    if array.dtype.kind in "iu":
        return WholeNumbers(to_native(array))
    if array.dtype.kind == "b":
        return WholeNumbers(array.astype(np.uint8))
    if array.dtype.kind != "f":
        raise InvalidInputError(f"{path}: expected whole numbers, found values of type {array.dtype}.")
    if not np.all(np.isfinite(array)) or np.abs(array).max(initial=0) > 2**31:
        raise BadValuesError(f"{path}: holds values that are NaN, infinite or beyond any label.")
    rounded = np.rint(array)
    off = np.abs(rounded - array)
    fractional = int(np.count_nonzero(off > max(NEARLY_WHOLE, min(step, MAX_STEP) * 0.51)))
    remark = f"labels up to {off.max():.2g} from whole numbers were rounded" if fractional == 0 and off.any() else ""
    return WholeNumbers(rounded.astype(np.int32), fractional, float(off.max(initial=0)), (remark,) if remark else ())
