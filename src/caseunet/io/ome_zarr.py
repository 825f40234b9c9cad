"""2-D images in OME-Zarr, NGFF 0.4 and 0.5: read part by part, and masks written with the same sizes and scales."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.errors import InvalidInputError
from caseunet.files import replace_when_whole
from caseunet.io.slide import CENTIMETER, MICROMETERS, Slide, sample
from caseunet.types import Color

SUFFIXES = (".zarr",)
"""Of folders."""

BLOSC_HEADER = 16
"""Bytes, of which the last four tell how many there are in all."""

ORDER = "tczyx"
"""Of the axes, as NGFF asks for it."""

MASK_SUFFIX = ".ome.zarr"

MAX_CHUNK = 1024
"""Height and width of the chunks that masks are written in."""

COLOR_NAMES = {"red": "red", "r": "red", "green": "green", "g": "green", "blue": "blue", "b": "blue"}
COLOR_CODES = {"FF0000": "red", "00FF00": "green", "0000FF": "blue"}

NUMBERED = re.compile(r"((channel|ch|c)?[\s_:#-]*\d+(:\d+)*)?", re.IGNORECASE)
"""Names of channels that say nothing: none, "0", "Channel 1", "Channel:0:0"."""

UNITS = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6}
"""Of length, in micrometres."""


class ZarrSlide(Slide):
    """The finest level of a multiscale image; axes are y and x, with channels, or with a single time and plane.

    Raises:
        CaseUNetError: the folder holds no such image, or more than one plane.
    """

    def __init__(self, path: Path) -> None:
        self.multiscale = _read_multiscale(path)
        axes = self.multiscale.axes
        for level in self.multiscale.paths:
            if level not in self.multiscale.group:
                raise InvalidInputError(f'{path}: lacks its level "{level}"; the folder is damaged.')
        self._array: Any = self.multiscale.group[self.multiscale.paths[0]]
        sizes = dict(zip(axes, self._array.shape, strict=True))
        if several := [f"{axis} = {sizes[axis]}" for axis in axes if axis not in "cyx" and sizes[axis] > 1]:
            raise InvalidInputError(
                f"{path}: holds several planes ({', '.join(several)}); of OME-Zarr single 2-D images are read. Save a "
                "volume as NIfTI."
            )
        channels = sizes.get("c", 1)
        if channels not in (1, 3) or sizes["y"] * sizes["x"] == 0:
            raise InvalidInputError(f"{path}: holds {channels} channels; expected one (grey) or three (RGB).")
        if self._array.dtype.kind not in "uif":
            raise InvalidInputError(f"{path}: its pixels are of type {self._array.dtype}; expected numbers.")
        super().__init__(path, (channels, sizes["y"], sizes["x"]), self._array.chunks[axes.index("y")])
        self.dtype = self._array.dtype.newbyteorder("=")
        self.levels = tuple(map(self.multiscale.size_of, self.multiscale.paths))
        self._order: tuple[int, ...] | None = None
        if channels == 3:
            self._order, self.remarks = _order_colors(self.multiscale.channels)
        across, down = (self.multiscale.micrometers(axis) for axis in "xy")
        if across and down:
            self.resolution = (MICROMETERS / across, MICROMETERS / down, CENTIMETER)

    def close(self) -> None:
        """Nothing is open."""

    def _read_rows(self, start: int, stop: int) -> np.ndarray:
        self._check_chunks(start, stop)
        places = {"c": slice(None), "y": slice(start, stop), "x": slice(None)}
        pixels = self._array[tuple(places.get(axis, 0) for axis in self.multiscale.axes)]
        pixels = pixels if pixels.ndim == 3 else pixels[None]
        return pixels if self._order is None else pixels[list(self._order)]

    def _check_chunks(self, start: int, stop: int) -> None:
        """Make sure that the chunks of these rows are whole: Blosc unpacks a truncated one to whatever memory holds.

        Raises:
            CaseUNetError: one is not.
        """
        array, axes = self._array, self.multiscale.axes
        if array.shards is not None or not any("blosc" in type(one).__name__.lower() for one in array.compressors):
            return
        counts = [range(-(-length // chunk)) for length, chunk in zip(array.shape, array.chunks, strict=True)]
        height = array.chunks[axes.index("y")]
        counts[axes.index("y")] = range(start // height, -(-stop // height))
        for place in itertools.product(*counts):
            file = self.path / array.path / array.metadata.encode_chunk_key(place)
            if not file.is_file():  # which is what is left out
                continue
            with file.open("rb") as stream:
                header, size = stream.read(BLOSC_HEADER), file.stat().st_size
            stated = max(BLOSC_HEADER, int.from_bytes(header[12:16], "little"))
            if size < stated:
                raise InvalidInputError(
                    f"{file}: holds {size:,} bytes, not the {stated:,} that it states: it is truncated."
                )


@dataclass(frozen=True)
class Multiscale:
    """The first multiscale image of a group.

    Attributes:
        group: of zarr.
        version: of NGFF, "0.4" or "0.5".
        axes: their names, such as "cyx".
        units: of each axis that has one.
        paths: of the arrays, the finest first.
        transforms: of each array.
        common: of all arrays, after their own.
        channels: name and colour (RRGGBB) of each, as "omero" tells them; () where it does not.
    """

    group: Any
    version: str
    axes: str
    units: dict[str, str]
    paths: tuple[str, ...]
    transforms: tuple[list[dict[str, Any]], ...]
    common: list[dict[str, Any]]
    channels: tuple[tuple[str, str], ...] = ()

    def size_of(self, path: str) -> tuple[int, int]:
        """Height and width of an array."""
        shape = self.group[path].shape
        return shape[self.axes.index("y")], shape[self.axes.index("x")]

    def micrometers(self, axis: str) -> float | None:
        """Between pixels of the finest level; None where the unit is not known."""
        length = UNITS.get(self.units.get(axis, ""))
        for transform in (*self.transforms[0], *self.common):
            if length is not None and transform.get("type") == "scale":
                length *= float(transform["scale"][self.axes.index(axis)])
        return length


def _read_multiscale(path: Path) -> Multiscale:
    """What the metadata of a group tell.

    Raises:
        CaseUNetError: they are missing, or of another form.
    """
    import zarr  # late, for it takes a third of a second

    try:
        group = zarr.open_group(path, mode="r")
        attributes = dict(group.attrs)
        inside = attributes.get("ome", attributes)
        if "multiscales" not in inside:
            raise ValueError(f"it holds none; give the image in it, such as {path / '0'}" if "0" in group else "none")
        image = inside["multiscales"][0]
        axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in image["axes"]]
        names = [str(axis["name"]) for axis in axes]
        if not {"y", "x"} <= set(names) or names != [axis for axis in ORDER if axis in names]:
            raise ValueError(f"its axes are {', '.join(names)}; expected some of {', '.join(ORDER)}, in this order")
        return Multiscale(
            group,
            str(inside.get("version", image.get("version", "0.4"))),
            "".join(names),
            {axis["name"]: axis["unit"] for axis in axes if "unit" in axis},
            tuple(level["path"] for level in image["datasets"]),
            tuple(level.get("coordinateTransformations", []) for level in image["datasets"]),
            image.get("coordinateTransformations", []),
            _read_channels(inside.get("omero")),
        )
    except Exception as error:  # a folder may hold anything
        text = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        raise InvalidInputError(f"{path}: cannot be read as an OME-Zarr image (multiscales): {text}") from error


def _read_channels(omero: Any) -> tuple[tuple[str, str], ...]:
    """Name and colour of each channel; () where the metadata of viewers are missing, or of another form."""
    listed = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        return ()
    return tuple((str(one.get("label", "")).strip(), str(one.get("color", "")).upper()[-6:]) for one in listed)


def _order_colors(channels: Sequence[tuple[str, str]]) -> tuple[tuple[int, ...] | None, tuple[str, ...]]:
    """Where red, green and blue lie among three channels, None where they are stored so; and what should be known.

    Names count before colours: viewers show stains in red, green and blue too.
    """
    if len(channels) != 3:
        return None, ()
    names = [name for name, _ in channels]
    by_name = [COLOR_NAMES.get(name.lower()) for name in names]
    if not any(by_name) and all(NUMBERED.fullmatch(name) for name in names):
        by_name = [COLOR_CODES.get(color) for _, color in channels]
        if None in by_name or len(set(by_name)) < 3:
            return None, ()
    if None in by_name or len(set(by_name)) < 3:
        return None, (f"its channels are called {', '.join(names)}; they are taken for red, green and blue",)
    order = tuple(by_name.index(color) for color in ("red", "green", "blue"))
    stored = ", ".join(map(str, by_name))
    return (None, ()) if order == (0, 1, 2) else (order, (f"its channels are stored as {stored}; put in order",))


def is_ome_zarr(path: Path) -> bool:
    """Whether a name is that of such a folder."""
    return path.suffix.lower() in SUFFIXES


def write_zarr_mask(
    path: Path, labels: np.ndarray, colors: Sequence[Color], names: Sequence[str], like: ZarrSlide
) -> None:
    """Write class ids (H, W), uint8, as a label image of the image's version, axes, sizes, scales and units.

    The axis of channels is left out.
    """
    import zarr

    source = like.multiscale
    kept = [n for n, axis in enumerate(source.axes) if axis != "c"]
    ome: dict[str, Any] = {
        "multiscales": [_describe(source, kept, path.name.removesuffix(MASK_SUFFIX))],
        "image-label": {
            "colors": [{"label-value": n, "rgba": [*color, 255 * bool(n)]} for n, color in enumerate(colors)],
            "properties": [{"label-value": n, "class": name} for n, name in enumerate(names)],
        },
    }
    if source.version == "0.4":
        ome["image-label"] |= {"version": "0.4"}
    else:
        ome = {"ome": {"version": source.version, **ome}}
    with replace_when_whole(path) as temporary:
        group = zarr.create_group(temporary, zarr_format=2 if source.version == "0.4" else 3, attributes=ome)
        for level, size in zip(source.paths, like.levels, strict=True):
            _write_level(group, level, sample(labels, size), [source.axes[n] for n in kept])


def _describe(source: Multiscale, kept: Sequence[int], name: str) -> dict[str, Any]:
    """A multiscale image of the axes that are kept."""
    kinds = {"t": "time", "c": "channel"}
    axes = [{"name": source.axes[n], "type": kinds.get(source.axes[n], "space")} for n in kept]
    axes = [axis | ({"unit": source.units[axis["name"]]} if axis["name"] in source.units else {}) for axis in axes]

    def drop_channel(transforms: list[dict[str, Any]]) -> list[dict[str, Any]]:
        lists = ("scale", "translation")
        return [
            {key: [value[n] for n in kept] if key in lists else value for key, value in transform.items()}
            for transform in transforms
        ]

    described: dict[str, Any] = {
        "name": name,
        "axes": axes,
        "datasets": [
            {"path": path, "coordinateTransformations": drop_channel(transforms)}
            for path, transforms in zip(source.paths, source.transforms, strict=True)
        ],
    }
    if source.common:
        described["coordinateTransformations"] = drop_channel(source.common)
    return described | ({"version": "0.4"} if source.version == "0.4" else {})


def _write_level(group: Any, name: str, labels: np.ndarray, axes: Sequence[str]) -> None:
    """An array of class ids (h, w); the other axes have a length of 1."""
    sizes = dict(zip("yx", labels.shape, strict=True))
    version_2 = group.metadata.zarr_format == 2
    array = group.create_array(
        name,
        shape=[sizes.get(axis, 1) for axis in axes],
        chunks=[min(MAX_CHUNK, sizes.get(axis, 1)) for axis in axes],
        dtype="uint8",
        fill_value=0,
        chunk_key_encoding={"name": "v2" if version_2 else "default", "separator": "/"},
        dimension_names=None if version_2 else list(axes),
    )
    for start in range(0, len(labels), MAX_CHUNK):
        rows = slice(start, min(start + MAX_CHUNK, len(labels)))
        places = {"y": rows, "x": slice(None)}
        array[tuple(places.get(axis, 0) for axis in axes)] = labels[rows]
