"""TIFF images too large to be held in memory, such as whole slides: decoded part by part, written in tiles.

Needs tifffile, and for compressed files imagecodecs: ``pip install 'caseunet[slides]'``. Without these, or where a
file is one huge strip, images are read whole.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from caseunet.errors import InvalidInputError
from caseunet.files import replace_when_whole
from caseunet.io import raster
from caseunet.types import Color

SUFFIXES = (".tif", ".tiff")

MIN_PIXELS = 2**26
"""Of an image, from which on it is not held: 8,192 × 8,192."""

MAX_SEGMENT = 2**26
"""Bytes of a tile or strip that may be decoded at once."""

UPRIGHT = 1
"""Orientation of an image whose first row is its top."""

TILE = 512
"""Height and width of the tiles that masks are written in."""

OVERVIEW = 2**20
"""Pixels of an overview, about."""


class Slide:
    """An 8-bit image of a TIFF file, (1, C, H, W), of which parts are decoded.

    Use it in a ``with`` block, which closes the file.

    Attributes:
        shape: (1, C, H, W).
        levels: how many sizes of it the file holds.
    """

    def __init__(self, path: Path) -> None:
        import tifffile

        self.path = path
        self._file = tifffile.TiffFile(path)
        self._page: Any = self._file.pages[0]
        self.levels = len(self._file.series[0].levels)
        page = self._page
        self._segment = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        self.shape = (1, page.samplesperpixel, page.imagelength, page.imagewidth)

    def __enter__(self) -> "Slide":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Pixels (C, rows, columns), uint8.

        Raises:
            CaseUNetError: they are damaged.
        """
        pixels = np.zeros((self.shape[1], rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        for index in self._segments_of(rows, columns):
            offset, size = self._page.dataoffsets[index], self._page.databytecounts[index]
            try:
                self._file.filehandle.seek(offset)
                data = self._file.filehandle.read(size)
                segment, place, shape = self._page.decode(data, index, jpegtables=self._page.jpegtables)
            except Exception as error:  # decoders raise what they like
                raise InvalidInputError(
                    f"{self.path}: rows {rows.start} to {rows.stop} cannot be read; the file is damaged: {error}"
                ) from error
            if segment is not None:  # none is left out of the file, and is 0
                _lay(pixels, np.asarray(segment)[0, : shape[1], : shape[2]], place, rows.start, columns.start)
        return pixels

    def _segments_of(self, rows: slice, columns: slice) -> Iterator[int]:
        """Numbers of the tiles, or strips, that hold these pixels: of each plane, where colours are planes."""
        height, width = self._segment
        down, across = -(-self.shape[2] // height), -(-self.shape[3] // width)
        planes = len(self._page.dataoffsets) // (down * across)
        for plane in range(planes):
            for row in range(rows.start // height, -(-rows.stop // height)):
                for column in range(columns.start // width, -(-columns.stop // width)):
                    yield (plane * down + row) * across + column

    def overview(self) -> tuple[np.ndarray, int]:
        """Every ``step``-th row and column, (1, C, h, w), about :data:`OVERVIEW` pixels; and the step."""
        _, _, height, width = self.shape
        step = max(1, round((height * width / OVERVIEW) ** 0.5))
        bands = []
        for rows in self._bands():
            offset = -rows.start % step
            bands.append(self.read(rows, slice(0, width))[:, offset::step, ::step].copy())  # a view would keep all
        return np.concatenate(bands, axis=1)[None], step

    @property
    def resolution(self) -> tuple[Any, Any, Any]:
        """Pixels per unit across and down, and the unit, as the file tells them; None where it does not."""
        tags = self._page.tags
        names = ("XResolution", "YResolution", "ResolutionUnit")
        across, down, unit = (tags[name].value if name in tags else None for name in names)
        return across, down, unit

    def _bands(self) -> Iterator[slice]:
        height = self.shape[2]
        step = self._segment[0] * max(1, TILE // self._segment[0])  # no tile is decoded twice
        yield from (slice(row, min(row + step, height)) for row in range(0, height, step))


def _lay(pixels: np.ndarray, segment: np.ndarray, place: Sequence[int], top: int, left: int) -> None:
    """Copy what a segment (h, w, samples) and pixels (C, rows, columns), which begin at ``top`` and ``left``, share."""
    plane, _, row, column, _ = place
    starts = row - top, column - left
    inside = [
        slice(max(0, -start), max(0, min(length, side - start)))
        for start, length, side in zip(starts, segment.shape, pixels.shape[1:], strict=False)
    ]
    part = segment[inside[0], inside[1]].transpose(2, 0, 1)
    first = starts[0] + inside[0].start, starts[1] + inside[1].start
    target = pixels[plane : plane + len(part)] if len(part) < len(pixels) else pixels
    target[:, first[0] : first[0] + part.shape[1], first[1] : first[1] + part.shape[2]] = part


def is_slide(path: Path) -> bool:
    """Whether a file is a TIFF image of at least :data:`MIN_PIXELS` that can be decoded in parts here."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        height, width = raster.read_shape(path)  # which gives up on damaged headers
        if height * width < MIN_PIXELS:
            return False
        import tifffile

        with tifffile.TiffFile(path) as file:
            series, page = file.series[0], file.pages[0]
            turned = page.tags["Orientation"].value if "Orientation" in page.tags else UPRIGHT
            segment = page.tile if page.is_tiled else (page.rowsperstrip, width)
            return (
                (page.imagelength, page.imagewidth) == (height, width)
                and len(file.series) == 1
                and turned == UPRIGHT  # others are refused where images are read whole
                and series.axes in ("YX", "YXS", "SYX")
                and series.dtype == np.uint8
                and str(getattr(page.photometric, "name", "")) in ("MINISBLACK", "RGB", "YCBCR")
                and page.samplesperpixel in (1, 3)
                and segment[0] * segment[1] * page.samplesperpixel <= MAX_SEGMENT
            )
    except Exception:  # no tifffile; or another reader says what is wrong with the file
        return False


def write_slide_mask(path: Path, labels: np.ndarray, colors: Sequence[Color], like: Slide) -> None:
    """Write class ids (H, W), uint8, in tiles with a palette; with smaller sizes where the image has them.

    Resolution and its unit are the image's.
    """
    import tifffile

    table = np.zeros((3, 256), np.uint16)
    table[:, : len(colors)] = 257 * np.array(colors, np.uint16).T
    across, down, unit = like.resolution
    smaller = like.levels - 1
    with replace_when_whole(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=labels.size > 2**31) as file:
        for level in range(smaller + 1):
            options: dict[str, Any] = {"subifds": smaller} if level == 0 else {"subfiletype": 1}
            if across is not None and unit is not None:
                scale = 2**level
                options |= {"resolution": (_divide(across, scale), _divide(down, scale)), "resolutionunit": unit}
            file.write(
                np.ascontiguousarray(labels[:: 2**level, :: 2**level]),
                tile=(TILE, TILE),
                compression="zlib",
                photometric="palette",
                colormap=table,
                metadata=None,
                **options,
            )


def _divide(ratio: tuple[int, int] | float, by: int) -> float:
    number, over = ratio if isinstance(ratio, tuple) else (ratio, 1)
    return number / over / by
