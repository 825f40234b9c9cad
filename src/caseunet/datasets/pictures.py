"""Small pictures of cases for the audit: the image, its classes outlined, and what is wrong with it."""

import io

import numpy as np
from PIL import Image

from caseunet.datasets.coding import decode, translate
from caseunet.datasets.layout import Finding, Layout, SourceCase, SourceDataset
from caseunet.datasets.reading import find_unjudged, read_planned_mask, read_repaired_image
from caseunet.datasets.repair import CaseRepair
from caseunet.errors import CaseUNetError
from caseunet.io import raster
from caseunet.types import IGNORE, ImageVolume, Mask

SIDE = 220
"""Pixels of a picture's longer side."""

WRONG = np.array([255, 0, 255], np.uint8)
"""Colour of values that are no class."""

CT_WINDOW = (-200.0, 250.0)
"""HU between which CT is shown."""

STRIPES = 8
"""Pixels from one stripe to the next where nobody judged."""

GAP = 6


def draw_case(layout: Layout, dataset: SourceDataset, finding: Finding | None = None) -> bytes:
    """A PNG of the cases of a data set side by side; empty if nothing of them can be drawn.

    The slice is the one that the finding is about: where a value is no class, else where most foreground is. Classes
    are outlined in their colours, values that are no class are filled with magenta, what nobody judged is striped.
    """
    panels = []
    for case in dataset.cases:
        try:
            panels += _panels(layout, case, dataset)
        except Exception:  # what cannot be read has a finding of its own
            continue
    if not panels and finding is not None and finding.file is not None:
        panels = _of_file(dataset, finding.file)
    return _png(panels) if panels else b""


def _panels(layout: Layout, case: SourceCase, dataset: SourceDataset) -> list[np.ndarray]:
    picture = read_repaired_image(layout, case, dataset)
    mask = None
    if case.label:
        try:
            mask = read_planned_mask(layout, case, dataset, picture.geometry)
        except Exception:
            mask = None
    if mask is None:
        return [_resize(_visible(picture, len(picture.pixels) // 2, dataset))]
    if mask.label_values.shape != (
        picture.pixels.shape[0],
        *picture.pixels.shape[2:],
    ):  # they do not fit: side by side
        ids, unknown = _ids(mask, case, dataset)
        s = _telling(ids, unknown)
        return [
            _resize(_visible(picture, len(picture.pixels) // 2, dataset)),
            _resize(_fill(ids[s], unknown[s], dataset)),
        ]
    ids, unknown = _ids(mask, case, dataset)
    if case.field is not None:
        ids[find_unjudged(case.field, mask)] = IGNORE
    s = _telling(ids, unknown)
    return [_outline(_visible(picture, s, dataset), ids[s], unknown[s], dataset)]


def _outline(shown: np.ndarray, ids: np.ndarray, wrong: np.ndarray, dataset: SourceDataset) -> np.ndarray:
    """Drawn at the size of the picture, so that outlines are one of its pixels wide and the least wrong spot shows."""
    shown = _resize(shown).copy()
    size = shown.shape[1::-1]
    plane = np.asarray(Image.fromarray(ids).resize(size, Image.Resampling.NEAREST))
    spots = np.asarray(Image.fromarray(wrong.astype(np.float32)).resize(size, Image.Resampling.BOX)) > 0
    rows, columns = np.indices(plane.shape)
    unjudged = plane == IGNORE
    shown[unjudged] = shown[unjudged] // 2 + 40
    shown[unjudged & ((rows + columns) % STRIPES == 0)] = 200
    if dataset.coding is not None:
        for label in dataset.coding.label_map.labels[1:]:
            color = label.color if sum(label.color) > 60 else (255, 255, 255)
            shown[_edge(plane == label.id)] = color
    shown[spots] = WRONG
    return shown


def _ids(mask: Mask, case: SourceCase, dataset: SourceDataset) -> tuple[np.ndarray, np.ndarray]:
    if dataset.coding is None:
        return (mask.label_values != 0).astype(np.uint8), np.zeros(mask.label_values.shape, bool)
    codes = translate(mask, dataset.coding).apply(mask.label_values)
    return decode(codes, dataset.coding, dataset.repairs.get(case.id, CaseRepair()).map)


def _telling(ids: np.ndarray, unknown: np.ndarray) -> int:
    """The slice with most values that are no class, else with most foreground, else the middle one."""
    for counts in (unknown.sum(axis=(1, 2)), ((ids > 0) & (ids != IGNORE)).sum(axis=(1, 2))):
        if counts.any():
            return int(counts.argmax())
    return len(ids) // 2


def _visible(picture: ImageVolume, s: int, dataset: SourceDataset) -> np.ndarray:
    """One slice as (H, W, 3) uint8: colours as they are, CT in a window for the abdomen, others between their 0.5th and
    99.5th percentile."""
    pixels = picture.pixels[s]
    if len(pixels) == 3 and pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels.transpose(1, 2, 0))
    plane = pixels[0].astype(np.float32)
    low, high = CT_WINDOW if dataset.modality == "ct" else np.percentile(plane, [0.5, 99.5])
    grey = np.clip((plane - low) / max(float(high - low), 1e-6), 0, 1) * 255
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def _fill(plane: np.ndarray, wrong: np.ndarray, dataset: SourceDataset) -> np.ndarray:
    colors = [(0, 0, 0), (255, 255, 255)] if dataset.coding is None else dataset.coding.label_map.colors
    shown = np.array(colors, np.uint8)[plane]
    shown[wrong] = WRONG
    return shown


def _edge(region: np.ndarray) -> np.ndarray:
    """The pixels of a region that have a neighbour outside it."""
    padded = np.pad(region, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(region & ~inside)


def _of_file(dataset: SourceDataset, name: str) -> list[np.ndarray]:
    """A raster file that belongs to no case."""
    path = dataset.root / name
    if not (path.is_file() and raster.is_raster(path)):
        return []
    try:
        pixels = raster.read_raster(path, 3).pixels[0].transpose(1, 2, 0)
    except CaseUNetError:
        return []
    shown = pixels.astype(np.float32)
    if shown.max() < 32:  # ids, too dark to see
        shown *= 255 / max(float(shown.max()), 1)
    return [_resize(shown.astype(np.uint8))]


def _resize(shown: np.ndarray) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(shown))
    factor = SIDE / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return np.asarray(image.resize(size, Image.Resampling.BOX if factor < 1 else Image.Resampling.NEAREST))


def _png(panels: list[np.ndarray]) -> bytes:
    height = max(len(panel) for panel in panels)
    width = sum(panel.shape[1] for panel in panels) + GAP * (len(panels) - 1)
    sheet = np.full((height, width, 3), 255, np.uint8)
    left = 0
    for panel in panels:
        sheet[: len(panel), left : left + panel.shape[1]] = panel
        left += panel.shape[1] + GAP
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, format="PNG", optimize=True)
    return stream.getvalue()
