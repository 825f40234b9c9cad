"""The run lengths in which Label Studio keeps masks: bits of an RGBA picture."""

from collections.abc import Sequence

import numpy as np

from caseunet.datasets.shapes import run_lengths

WORD = 8
SIZES = (3, 4, 8, 16)
"""Bits in which the length of a run may be written."""

OPAQUE = 255


def encode_brush(inside: np.ndarray) -> list[int]:
    """Bytes for the pixels (H, W).

    They tell the number of values, the bits of a value and of the four sizes of lengths, then each run: that it is
    one, which size its length has, the length less 1, and the value.
    """
    bits = [f"{4 * inside.size:032b}", f"{WORD - 1:05b}", *(f"{size - 1:04b}" for size in SIZES)]
    for n, run in enumerate(run_lengths(inside.ravel())):
        left = 4 * run  # four channels, alike
        while left:
            length = min(left, 2 ** SIZES[-1])
            index = next(n for n, size in enumerate(SIZES) if length <= 2**size)
            bits.append(f"1{index:02b}{length - 1:0{SIZES[index]}b}{OPAQUE * (n % 2):08b}")
            left -= length
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def decode_brush(packed: Sequence[int], shape: tuple[int, int]) -> np.ndarray:
    """The pixels (H, W) that are not transparent.

    Raises:
        ValueError: it is no such run of bits, or not of this shape.
    """
    reader = _Bits(bytes(packed))
    number, word = reader.read(32), reader.read(5) + 1
    sizes = [reader.read(4) + 1 for _ in range(4)]
    if number != 4 * shape[0] * shape[1]:
        raise ValueError(f"its run lengths are of {number // 4:,} pixels; the image has {shape[0]}×{shape[1]}")
    values: list[int] = []
    runs: list[int] = []
    done = 0
    while done < number:
        alike = reader.read(1)
        length = reader.read(sizes[reader.read(2)]) + 1
        done += length
        if alike:
            values.append(reader.read(word))
            runs.append(length)
        else:
            values += [reader.read(word) for _ in range(length)]
            runs += [1] * length
    picture = np.repeat(np.array(values, np.uint8), runs)[:number]
    return np.asarray(picture.reshape(*shape, 4)[..., 3] > 0)


class _Bits:
    """Reads numbers of some bits, one after another."""

    def __init__(self, packed: bytes) -> None:
        self._text = "".join(f"{byte:08b}" for byte in packed)
        self._place = 0

    def read(self, bits: int) -> int:
        """The next number.

        Raises:
            ValueError: there are not so many bits left.
        """
        end = self._place + bits
        if end > len(self._text):
            raise ValueError("its run lengths end too early")
        number = int(self._text[self._place : end], 2)
        self._place = end
        return number
