"""By what an image is known again: a hash of its pixels, a small picture of it, and a sketch of what it holds.

The hash finds the same pixels in another file or numeric type. The sketch finds what was cut out of an image, whatever
was cut off: it holds the lowest hashes of short rows of neighbouring pixels, and a part has the rows of the whole. The
picture finds what was changed: scaled, resampled, compressed.
"""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from caseunet.io import scratch

SKETCH = 64
"""Hashes in a sketch of few slices."""

SLICE_SKETCH = 8
"""Hashes for each slice of more, so that one slice alone is found."""

MAX_SKETCH = 1024
"""Hashes in any sketch."""

WINDOW = 16
"""Neighbouring pixels of a row that are hashed together."""

MIN_CHANGES = 12
"""Of the 15 steps in a window those that must change the value: areas of one value are alike in all images."""

SAMPLED = 2**29
"""Of 2³², which share of windows is hashed: those that begin with certain values, the same ones wherever they lie."""

MIN_SKETCH = 16
"""Hashes below which a sketch says nothing."""

MIN_COMMON = 3
"""Hashes of two sketches that are equal from which images share pixels: different ones have hardly one."""

AT_ONCE = 2**22
"""Numbers that are held in floating point together."""

_MIX = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))
_STEP = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(33)


@dataclass(frozen=True)
class ImageIdentity:
    """By what an image is known again.

    Attributes:
        pixels_hash: of its shape and values, in canonical order, whatever their numeric type.
        picture: see :func:`likeness`.
        sketch: the lowest hashes of its windows, rising, (n,), uint64.
    """

    pixels_hash: str
    picture: np.ndarray | None
    sketch: np.ndarray


def identify(pixels: np.ndarray) -> ImageIdentity:
    """Of an image (S, C, H, W) in canonical order."""
    return ImageIdentity(hash_values(pixels), likeness(pixels), sketch(pixels))


def hash_values(array: np.ndarray) -> str:
    """Hash of an array's shape and numbers, whatever their type."""
    digest = hashlib.blake2b(str(array.shape).encode(), digest_size=16)
    for part in array:
        flat = np.ascontiguousarray(part).reshape(-1)
        for start in range(0, flat.size, AT_ONCE):
            digest.update((flat[start : start + AT_ONCE].astype("<f8") + 0.0).tobytes())  # −0 is 0
    return digest.hexdigest()


def likeness(pixels: np.ndarray) -> np.ndarray | None:
    """A small picture by which alike images are found: (1, 32, 32) of a frame, (8, 16, 16) of a volume (S, C, H, W).

    Of mean 0 and length 1; None if all pixels are equal.
    """
    depth, side = (1, 32) if len(pixels) == 1 else (8, 16)
    slices = np.linspace(0, len(pixels) - 1, depth).round().astype(int)
    small = np.stack([_shrink(_mean_of_channels(pixels[s]), side) for s in slices])
    small = small.astype(np.float64)  # in which no square is infinite
    small -= small.mean()
    length = float(np.linalg.norm(small))
    lowest, highest = scratch.find_range(pixels)
    return np.asarray(small / length, np.float32) if length > 1e-6 * max(1.0, -lowest, highest) else None


def sketch(pixels: np.ndarray) -> np.ndarray:
    """The lowest hashes of windows of the first channel of (S, C, H, W), rising, uint64: more for more slices."""
    size = min(max(SKETCH, SLICE_SKETCH * len(pixels)), MAX_SKETCH)
    lowest = np.zeros(0, np.uint64)
    for plane in pixels[:, 0]:
        for band in _bands(plane):
            found = _hash_windows(band)
            if len(found) > size:
                found = np.partition(found, size)[: size + 1]
            lowest = np.unique(np.concatenate([lowest, found]))[:size]
    return lowest


def measure_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Part of its pixels that the smaller of two images shares with the other, as sketches tell; 0 where they do not.

    A sketch holds all hashes of its image up to its last one, so they are compared up to where the first of them ends.
    """
    if min(len(first), len(second)) < MIN_SKETCH:
        return 0.0
    end = min(first[-1], second[-1])
    first, second = first[first <= end], second[second <= end]
    common = len(np.intersect1d(first, second, assume_unique=True))
    return common / min(len(first), len(second)) if common >= MIN_COMMON else 0.0


def turns(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """The eight ways in which rows and columns, the last two axes, can be turned and mirrored; first as they are."""
    for turned in (pixels, pixels.swapaxes(-1, -2)):
        yield from (turned, turned[..., ::-1], turned[..., ::-1, :], turned[..., ::-1, ::-1])


def encode_picture(picture: np.ndarray | None) -> str:
    """As text: base64 of 8-bit numbers; "" for None."""
    if picture is None:
        return ""
    low, high = float(picture.min()), float(picture.max())
    return base64.b64encode(np.rint((picture - low) / (high - low) * 255).astype(np.uint8).tobytes()).decode()


def decode_picture(text: str) -> np.ndarray:
    """The picture in one row, of mean 0 and length 1."""
    flat = np.frombuffer(base64.b64decode(text), np.uint8).astype(np.float32)
    flat -= flat.mean()
    return np.asarray(flat / np.linalg.norm(flat))


def encode_sketch(values: np.ndarray) -> str:
    """As text; "" where it says nothing."""
    return base64.b64encode(values.astype("<u8").tobytes()).decode() if len(values) >= MIN_SKETCH else ""


def decode_sketch(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<u8").astype(np.uint64)


def _bands(image: np.ndarray) -> list[np.ndarray]:
    """(…, H, W) in parts of some rows, since floating point takes many times what is stored."""
    return np.array_split(image, max(1, -(-image.size // AT_ONCE)), axis=-2)


def _mean_of_channels(image: np.ndarray) -> np.ndarray:
    """Of (C, H, W), (H, W) float32."""
    return np.concatenate([band.mean(axis=0, dtype=np.float64).astype(np.float32) for band in _bands(image)])


def _shrink(plane: np.ndarray, side: int) -> np.ndarray:
    """(side, side), by a filter that is symmetric, so that a mirrored image gives the mirrored picture."""
    return np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BILINEAR), np.float32)


def _hash_windows(plane: np.ndarray) -> np.ndarray:
    """Of the windows in the rows of (H, W) that change enough to be known again, (n,), uint64."""
    count = plane.shape[1] - WINDOW + 1
    if count < 1:
        return np.zeros(0, np.uint64)
    bits = (np.ascontiguousarray(plane, "<f4") + np.float32(0)).view("<u4")
    begins = bits[:, :count] * np.uint32(0x9E3779B1) ^ bits[:, 1 : count + 1] * np.uint32(0x85EBCA77)
    rows, columns = np.nonzero((begins < SAMPLED) & (bits[:, :count] != bits[:, 1 : count + 1]))
    windows = bits[rows[:, None], columns[:, None] + np.arange(WINDOW)].astype(np.uint64)
    windows = windows[np.count_nonzero(windows[:, 1:] != windows[:, :-1], axis=1) >= MIN_CHANGES]
    hashes = np.zeros(len(windows), np.uint64)
    for values in windows.T:
        hashes = hashes * _STEP + values
    for factor in _MIX:
        hashes = (hashes ^ (hashes >> _HALF)) * factor
    return np.asarray(hashes ^ (hashes >> _HALF))
