"""Slides in TIFF, read part by part: of any program, of Aperio (SVS) and of Hamamatsu (NDPI); and masks in tiles.

Needs tifffile, and for compressed files imagecodecs: ``pip install 'caseunet[slides]'``.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.errors import InvalidInputError, MissingExtraError
from caseunet.files import replace_when_whole
from caseunet.io.slide import CENTIMETER, MICROMETERS, Resolution, Slide, sample
from caseunet.types import Color

SUFFIXES = (".svs", ".ndpi")
"""Of scanners; a file of these holds a slide, and other images beside it."""

MAX_SEGMENT = 2**26
"""Bytes of a tile or strip that may be decoded at once."""

UPRIGHT = 1
"""Orientation of an image whose first row is its top."""

NO_UNIT = 1
"""ResolutionUnit of pixels that have no size."""

TILE = 512
"""Height and width of the tiles that masks are written in."""

JPEG_2000_YCBCR = 33003
"""Compression of Aperio's whose decoder leaves the colours as luminance and chrominance."""

PHOTOMETRIC = ("MINISBLACK", "RGB", "YCBCR")

_MPP = re.compile(r"\|\s*MPP\s*=\s*([\d.]+)")
_OME_SIZE = re.compile(r'\bPhysicalSize([XY])="([\d.eE+-]+)"')
_OME_UNIT = re.compile(r'\bPhysicalSize[XY]Unit="([^"]*)"')
_IMAGEJ_UNIT = re.compile(r"^ImageJ=.*^unit=(\S+)", re.DOTALL | re.MULTILINE)

LENGTHS = {"nm": 1e-3, "um": 1.0, "µm": 1.0, "&#181;m": 1.0, "&#xb5;m": 1.0, "micron": 1.0, "mm": 1e3, "cm": 1e4}
"""Units of OME and ImageJ, in micrometres; the micro sign is that of Latin-1."""


class TiffSlide(Slide):
    """The first image of a TIFF file, 8 bits, grey or RGB.

    Raises:
        CaseUNetError: tifffile is not installed; or the file is none, or of another form.
    """

    def __init__(self, path: Path) -> None:
        tifffile = _import_tifffile(path)
        try:
            self._file = tifffile.TiffFile(path)
        except Exception as error:
            raise InvalidInputError(f"{path}: cannot be read as TIFF: {error}") from error
        try:
            with _hear_tifffile() as heard:
                series = self._file.series[0]
            self._page: Any = series.keyframe
            lost = next((text for text in heard if "invalid page offset" in text), "")
            problem = f"is truncated: {lost}" if lost else _find_problem(self._file, series, self._page)
        except Exception as error:  # damaged headers, in ways that no library foresees
            problem = f"its header is damaged: {error}"
        if problem:
            self._file.close()
            raise InvalidInputError(f"{path}: {problem}")
        page = self._page
        self.resolution = _find_resolution(page)
        self._segment = page.tile if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        super().__init__(path, (page.samplesperpixel, page.imagelength, page.imagewidth), self._segment[0])
        self.levels = tuple((level.keyframe.imagelength, level.keyframe.imagewidth) for level in series.levels)

    def close(self) -> None:
        self._file.close()

    def _read_rows(self, start: int, stop: int) -> np.ndarray:
        page = self._page
        pixels = np.zeros((self.shape[1], stop - start, self.shape[3]), np.uint8)
        tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
        known = {name: table for name, table in tables.items() if table is not None}
        for index in self._segments_of(start, stop):
            self._file.filehandle.seek(page.dataoffsets[index])
            data = self._file.filehandle.read(page.databytecounts[index])
            if len(data) < page.databytecounts[index]:  # decoders of JPEG make do with less
                raise InvalidInputError(
                    f"{self.path}: rows {start} to {stop} cannot be read; the file ends before them: it is truncated."
                )
            segment, place, shape = page.decode(data, index, **known)
            if segment is not None:  # none is left out of the file, and is 0
                part = np.asarray(segment)[0, : shape[1], : shape[2]]
                _lay(pixels, _as_rgb(part) if page.compression == JPEG_2000_YCBCR else part, place, start)
        return pixels

    def _segments_of(self, start: int, stop: int) -> list[int]:
        """Numbers of the tiles, or strips, that hold these rows: of each plane, where colours are planes."""
        height, width = self._segment
        down, across = -(-self.shape[2] // height), -(-self.shape[3] // width)
        planes = len(self._page.dataoffsets) // (down * across)
        rows = range(start // height, -(-stop // height))
        return [(plane * down + row) * across + n for plane in range(planes) for row in rows for n in range(across)]


@contextmanager
def _hear_tifffile() -> Iterator[list[str]]:
    """What tifffile logs within, which goes on where part of a file is lost."""
    heard: list[str] = []
    handler, log = logging.Handler(), logging.getLogger("tifffile")
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    try:
        yield heard
    finally:
        log.removeHandler(handler)


def _import_tifffile(path: Path) -> Any:
    try:
        import tifffile
    except ImportError as error:
        raise MissingExtraError(f"{path}: install what reads slides: pip install 'caseunet[slides]'.") from error
    return tifffile


def _find_problem(file: Any, series: Any, page: Any) -> str:
    """Why the first image of a file is not read in parts; "" where it is."""
    turned = page.tags["Orientation"].value if "Orientation" in page.tags else UPRIGHT
    rows, columns = page.tile if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    beside = (
        [] if file.is_svs or file.is_ndpi else [other for other in file.series[1:] if not other.keyframe.is_reduced]
    )
    if prod(series.shape) != prod(page.shape) or beside:
        return "holds several images, such as focal planes or channels; expected one"
    if page.axes not in ("YX", "YXS", "SYX") or page.samplesperpixel not in (1, 3) or page.dtype != np.uint8:
        return f"holds {page.samplesperpixel} samples of {page.dtype} a pixel; expected grey or RGB with 8 bits"
    if str(getattr(page.photometric, "name", "")) not in PHOTOMETRIC:
        return f"its colours are {getattr(page.photometric, 'name', 'unknown')}; expected grey or RGB"
    if turned != UPRIGHT:
        return f"is stored turned (orientation {turned}). Save it upright"
    if rows * columns * page.samplesperpixel > MAX_SEGMENT:
        return f"holds {rows} rows in one piece, too many to be decoded at once. Save it in tiles"
    return ""


def _lay(pixels: np.ndarray, segment: np.ndarray, place: Sequence[int], top: int) -> None:
    """Copy what a segment (h, w, samples) and whole rows (C, rows, W), which begin at ``top``, share."""
    plane, _, row, column, _ = place
    first, last = max(row, top), min(row + segment.shape[0], top + pixels.shape[1])
    part = segment[first - row : last - row, : pixels.shape[2] - column].transpose(2, 0, 1)
    target = pixels[plane : plane + len(part)] if len(part) < len(pixels) else pixels
    target[:, first - top : last - top, column : column + part.shape[2]] = part


def _as_rgb(segment: np.ndarray) -> np.ndarray:
    """Luminance and chrominance (h, w, 3) as JFIF has them."""
    luminance, blue, red = (segment[..., n].astype(np.float32) for n in range(3))
    blue, red = blue - 128, red - 128
    colors = (luminance + 1.402 * red, luminance - 0.344136 * blue - 0.714136 * red, luminance + 1.772 * blue)
    return np.stack(colors, -1).round().clip(0, 255).astype(np.uint8)


def _find_resolution(page: Any) -> Resolution:
    """By the tags of TIFF, else as Aperio, ImageJ and OME tell it."""
    names = ("XResolution", "YResolution", "ResolutionUnit")
    across, down, unit = (page.tags[name].value if name in page.tags else None for name in names)
    if across is not None and down is not None and unit not in (None, NO_UNIT):
        return across, down, unit
    text = page.description if isinstance(page.description, str) else ""
    first = text[: text.find("</Pixels>")]
    lengths = {LENGTHS.get(name, 0.0) for name in _OME_UNIT.findall(first)} or {1.0}  # micrometres where it is not told
    try:
        if match := _MPP.search(text):
            return MICROMETERS / float(match[1]), MICROMETERS / float(match[1]), CENTIMETER
        if (match := _IMAGEJ_UNIT.search(text)) and across is not None and down is not None:
            ratio = MICROMETERS / LENGTHS[match[1].replace("\\u00B5", "µ")]
            return _times(across, ratio), _times(down, ratio), CENTIMETER
        (length,), sizes = lengths, dict(_OME_SIZE.findall(first))  # one for both axes
        return MICROMETERS / length / float(sizes["X"]), MICROMETERS / length / float(sizes["Y"]), CENTIMETER
    except (KeyError, ValueError, ZeroDivisionError):
        return None, None, None


def write_tiff_mask(path: Path, labels: np.ndarray, colors: Sequence[Color], like: Slide) -> None:
    """Write class ids (H, W), uint8, in tiles with a palette; with smaller sizes where the image has them.

    The smaller sizes follow as pages of their own, marked as reduced, where OpenSlide and others look for them.
    Resolution and its unit are the image's.
    """
    tifffile = _import_tifffile(path)
    table = np.zeros((3, 256), np.uint16)
    table[:, : len(colors)] = 257 * np.array(colors, np.uint16).T
    across, down, unit = like.resolution
    with replace_when_whole(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=labels.size > 2**31) as file:
        for level, (height, width) in enumerate(like.levels):
            options: dict[str, Any] = {"subfiletype": 1} if level else {}
            if across is not None and unit is not None:
                scales = width / labels.shape[1], height / labels.shape[0]
                options |= {"resolution": (_times(across, scales[0]), _times(down, scales[1])), "resolutionunit": unit}
            file.write(
                np.ascontiguousarray(sample(labels, (height, width))),
                tile=(TILE, TILE),
                compression="zlib",
                photometric="palette",
                colormap=table,
                metadata=None,
                **options,
            )


def _times(ratio: tuple[int, int] | float, scale: float) -> float:
    number, over = ratio if isinstance(ratio, tuple) else (ratio, 1)
    return number / over * scale
