"""Slides as scanners write them, made by tifffile and Pillow."""

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from PIL import Image

APERIO = "Aperio Image Library v11.2.1"
MPP = 0.5


def write_svs(path: Path, image: np.ndarray, compression: Any = "jpeg", photometric: str = "rgb") -> None:
    """A slide of two sizes, its thumbnail, and pictures of label and glass, (H, W, 3)."""
    tiles: dict[str, Any] = {"tile": (256, 256), "compression": compression, "photometric": photometric}
    if photometric == "ycbcr":
        tiles["subsampling"] = (1, 1)
    strips: dict[str, Any] = {"rowsperstrip": 16, "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(image, description=f"{APERIO}|AppMag = 20|MPP = {MPP}", metadata=None, **tiles)
        file.write(np.ascontiguousarray(image[::8, ::8]), description=f"{APERIO}\nthumbnail", **strips)
        file.write(np.ascontiguousarray(image[::4, ::4]), description=APERIO, metadata=None, **tiles)
        for kind, name in ((1, "label"), (9, "macro")):
            small = np.ascontiguousarray(image[:90, :120])
            file.write(small, description=f"{APERIO}\n{name} 120x90", subfiletype=kind, **strips)


def write_ndpi(path: Path, image: np.ndarray, blocks: int) -> np.ndarray:
    """One JPEG whose restart markers, each so many blocks of 8 × 8, are told; gives its pixels.

    TIFF with offsets of 64 bits at the directories, which no library writes.
    """
    stream = BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=90, subsampling=0, restart_marker_blocks=blocks)
    data, (height, width) = stream.getvalue(), image.shape[:2]
    scan = data.index(b"\xff\xda")
    first = scan + 2 + struct.unpack(">H", data[scan + 2 : scan + 4])[0]
    marks = [at + 2 for at in range(first, len(data) - 1) if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7]
    values: dict[int, tuple[int, str, list[Any]]] = {
        256: (4, "I", [width]),
        257: (4, "I", [height]),
        258: (3, "H", [8, 8, 8]),
        259: (3, "H", [7]),
        262: (3, "H", [6]),
        271: (2, "c", [bytes([letter]) for letter in b"Hamamatsu\0"]),
        273: (4, "I", [12]),
        277: (3, "H", [3]),
        278: (4, "I", [height]),
        279: (4, "I", [len(data)]),
        282: (5, "I", [40_000, 1]),
        283: (5, "I", [40_000, 1]),
        296: (3, "H", [3]),
        65420: (4, "I", [1]),
        65421: (11, "f", [20.0]),
        65424: (9, "i", [0]),
        65426: (4, "I", [first, *marks]),
    }
    content, entries = bytearray(b"II*\0" + bytes(8) + data), b""
    for tag, (kind, code, numbers) in values.items():
        packed = b"".join(struct.pack(f"<{code}", number) for number in numbers)
        if len(packed) > 4:
            content, packed = content + packed, struct.pack("<I", len(content))
        entries += struct.pack("<HHI", tag, kind, len(numbers) // (2 if kind == 5 else 1)) + packed.ljust(4, b"\0")
    content[4:12] = struct.pack("<Q", len(content))
    path.write_bytes(content + struct.pack("<H", len(values)) + entries + bytes(8 + 4 * len(values)))
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def write_ome_zarr(
    path: Path, image: np.ndarray, axes: str, version: str = "0.4", levels: int = 3, **options: Any
) -> None:
    """An image of these axes in sizes that are halved, 0.5 µm between pixels."""
    units: dict[str, dict[str, str]] = {"t": {"type": "time"}, "c": {"type": "channel"}}
    space = {"type": "space", "unit": "micrometer"}
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [0.5 * 2**level if axis in "yx" else 1.0 for axis in axes]},
                {"type": "translation", "translation": [2.0 if axis in "yx" else 0.0 for axis in axes]},
            ],
        }
        for level in range(levels)
    ]
    multiscale = {
        "axes": [{"name": axis, **units.get(axis, space)} for axis in axes],
        "datasets": datasets,
        "name": "a",
    }
    old = version == "0.4"
    ome: dict[str, Any] = {"multiscales": [multiscale | ({"version": version} if old else {})]}
    attributes = ome if old else {"ome": {"version": version} | ome}
    group = zarr.create_group(path, zarr_format=2 if old else 3, attributes=attributes)
    for level in range(levels):
        step = tuple(slice(None, None, 2**level if axis in "yx" else 1) for axis in axes)
        small = image[step]
        array = group.create_array(
            str(level),
            shape=small.shape,
            chunks=tuple(
                min(200, length) if axis in "yx" else 1 for length, axis in zip(small.shape, axes, strict=True)
            ),
            dtype=small.dtype,
            chunk_key_encoding={"name": "v2" if old else "default", "separator": "/"},
            dimension_names=None if old else list(axes),
            **options,
        )
        array[:] = small
