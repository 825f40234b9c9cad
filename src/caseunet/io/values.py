"""Numbers as files hold them: integers kept, floating point checked."""

from pathlib import Path

import numpy as np

from caseunet.errors import BadValuesError, UserError


def as_integers(array: np.ndarray, path: Path) -> np.ndarray:
    """Integers as they are; floating-point pixels that are whole 16-bit numbers as int16, others as float32.

    Raises:
        BadValuesError: there are NaN or infinities.
        UserError: the pixels are no real numbers.
    """
    if array.dtype.kind in "iu":
        return array
    if array.dtype.kind != "f":
        raise UserError(f"{path}: expected numbers, found pixels of type {array.dtype}.")
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise BadValuesError(f"{path}: holds {bad:,} of {array.size:,} pixels that are NaN or infinite.")
    if np.array_equal(array, np.rint(array)) and array.min() >= -32768 and array.max() <= 32767:
        return array.astype(np.int16)
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    if not np.all(np.isfinite(single)):
        raise BadValuesError(f"{path}: holds values as large as {np.abs(array).max():g}, beyond single precision.")
    return single


def whole_numbers(array: np.ndarray, path: Path) -> tuple[np.ndarray, int]:
    """Mask values as integers, and how many were none and have been rounded.

    Raises:
        BadValuesError: there are NaN or infinities, or numbers that no label can be.
    """
    if array.dtype.kind in "iu":
        return array, 0
    if array.dtype.kind == "b":
        return array.astype(np.uint8), 0
    if array.dtype.kind != "f":
        raise UserError(f"{path}: expected whole numbers, found values of type {array.dtype}.")
    if not np.all(np.isfinite(array)) or np.abs(array).max(initial=0) > 2**31:
        raise BadValuesError(f"{path}: holds values that are NaN, infinite or beyond any label.")
    rounded = np.rint(array)
    return rounded.astype(np.int32), int(np.count_nonzero(rounded != array))
