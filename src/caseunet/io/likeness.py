"""By what an image is known again: a hash of its pixels, a small picture of it, and a sketch of what it holds.

The hash finds the same pixels in another file or numeric type. The sketch finds what was cut out of an image, whatever
was cut off: it holds the lowest hashes of short rows of neighbouring pixels, so that two images share as many of them
as they share of their pixels. The picture finds what was changed: scaled, resampled, compressed.
"""

import base64
import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

SKETCH = 64
"""Hashes in a sketch: a shared half is seen as 38 to 62 %."""

WINDOW = 16
"""Neighbouring pixels of a row that are hashed together."""

MIN_CHANGES = 12
"""Of the 15 steps in a window those that must change the value: areas of one value are alike in all images."""

SAMPLED = 2**29
"""Of 2³², which share of windows is hashed: those that begin with certain values, the same ones wherever they lie."""

MIN_SKETCH = 16
"""Hashes below which a sketch says nothing."""

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
        digest.update((np.ascontiguousarray(part, "<f8") + 0.0).tobytes())  # −0 is 0
    return digest.hexdigest()


def likeness(pixels: np.ndarray) -> np.ndarray | None:
    """A small picture by which alike images are found: (1, 32, 32) of a frame, (8, 16, 16) of a volume (S, C, H, W).

    Of mean 0 and length 1; None if all pixels are equal.
    """
    depth, side = (1, 32) if len(pixels) == 1 else (8, 16)
    slices = np.linspace(0, len(pixels) - 1, depth).round().astype(int)
    small = np.stack([_shrink(pixels[s].mean(axis=0, dtype=np.float32), side) for s in slices])
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return small / length if length > 1e-6 * max(1.0, float(np.abs(pixels).max())) else None


def sketch(pixels: np.ndarray) -> np.ndarray:
    """The :data:`SKETCH` lowest hashes of windows of the first channel of (S, C, H, W), rising, uint64."""
    lowest = np.zeros(0, np.uint64)
    for plane in pixels[:, 0]:
        found = _hash_windows(plane)
        if len(found) > SKETCH:
            found = np.partition(found, SKETCH)[: SKETCH + 1]
        lowest = np.unique(np.concatenate([lowest, found]))[:SKETCH]
    return lowest


def shared_part(first: np.ndarray, second: np.ndarray) -> float:
    """Part of the pixels of both images together that they share, as their sketches tell; 0 where these say nothing."""
    if min(len(first), len(second)) < MIN_SKETCH:
        return 0.0
    lowest = np.union1d(first, second)[:SKETCH]
    return float(np.mean(np.isin(lowest, first) & np.isin(lowest, second)))


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
