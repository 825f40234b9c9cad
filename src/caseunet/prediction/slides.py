"""Images that are never held whole, such as whole slides: decoded, segmented and written in parts.

What is held of one is the class id of each pixel.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from caseunet.data.grid import Placement
from caseunet.imaging.windows import is_blank
from caseunet.io import raster
from caseunet.io.limits import check_free_memory
from caseunet.io.overlay import case_sheet
from caseunet.io.slide import Slide
from caseunet.io.slides import is_slide, open_slide, write_slide_mask
from caseunet.options import PredictionOutputs
from caseunet.prediction.context import PredictionContext, display_window, find_identity, path_beside, shared_entries
from caseunet.prediction.image_kind import check_kind, check_no_mask
from caseunet.prediction.inputs import Input
from caseunet.prediction.measurements import measure_volume, to_rows
from caseunet.prediction.postprocessing import apply_postprocessing
from caseunet.prediction.predictor import NetworkInput, SliceBatch, SlicePredictor, match_range
from caseunet.prediction.store import PredictedCase
from caseunet.progress import count_text
from caseunet.quality.confidence import ConfidenceMeter
from caseunet.quality.judgement import CaseQuality, judge_case
from caseunet.quality.out_of_distribution import image_features
from caseunet.types import Geometry, ImageVolume, LabelMap, Preprocessing

NOT_POSTPROCESSED = "too large for the memory, so its mask is not post-processed and its components not measured"

COMPONENT_BYTES, BYTES_OF_ONE = 10, 256
"""What telling components apart takes, for each pixel beside its class id, and for each component."""

COUNTED_AT_ONCE = 2**22
"""Pixels of which several bytes are held each."""


def streams(item: Input, preprocessing: Preprocessing, outputs: PredictionOutputs) -> bool:
    """Whether an image is segmented without being held: one that can be read in parts, whose pixels are not resampled,
    and are not normalized by statistics of all of them."""
    p = preprocessing
    known = (p.modality, p.channels) in (("rgb", 3), ("gray", 1))
    if not known or p.size is not None or p.scale is not None or any(p.per_case_zscore) or outputs.probabilities:
        return False
    return not item.error and item.image is None and len(item.files) == 1 and is_slide(item.files[0])


class _BlankWindows:
    """Tells which windows show nothing, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, pixels: np.ndarray) -> bool:
        found = is_blank(pixels)
        self.count += found
        return found


class _Parts:
    """One slice of a slide as an array (C, H, W) of which windows are read."""

    def __init__(self, slide: Slide, channels: int) -> None:
        self._slide = slide
        self.shape = (channels, *slide.shape[2:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:, :, :], dtype)

    def __getitem__(self, place: tuple[slice, slice, slice]) -> np.ndarray:
        pixels = self._slide.read(*place[1:])
        return raster.match_channels(self._slide.path, pixels, self.shape[0])[0]


@dataclass(frozen=True)
class _Slices:
    """The one slice of a slide."""

    parts: _Parts

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.parts  # type: ignore[return-value]  # what is asked of it, an array gives


def predict_slide(
    work: PredictionContext, item: Input, target: Path, written: list[Path], advance: Callable[[float], None]
) -> PredictedCase:
    """Segment one large image and write its files.

    Raises:
        CaseUNetError: it cannot be read or segmented.
    """
    predictor, info = work.predictor, work.predictor.info
    began = time.monotonic()
    with open_slide(item.files[0]) as slide:
        height, width = slide.shape[2:]
        check_free_memory(item.path, height * width)
        small, step = _look_at(slide, item, predictor)
        identity = find_identity(work, item, small)
        blank = _BlankWindows()
        case = NetworkInput(
            _Slices(_Parts(slide, info.preprocessing.channels)),
            Placement((0, 0, height, width), (height, width)),
            (height, width),
            np.zeros((2, info.preprocessing.channels), np.float32),
            is_blank=blank,
        )
        alarms = check_kind(small.pixels, info.preprocessing, info.training_data, predictor.settings.check_image)
        labels, quality = _segment(predictor, case, identity.voting, alarms, advance)
        rows, told = _finish(work, item, labels)
        written.append(target)
        write_slide_mask(target, labels[0], info.label_map.colors, info.label_map.names, slide)
    others = {}
    if work.outputs.overlay:
        path = path_beside(target, item, "-overlay.png")
        written.append(path)
        ids = labels[:, ::step, ::step]
        sheet = case_sheet(small.pixels, ids, info.label_map, display_window(predictor), None, item.id, "axial")
        raster.write_image(path, sheet)
        others["overlay"] = path.relative_to(work.folder).as_posix()
    remarks = [*small.geometry.remarks, *told]
    if blank.count:
        remarks.append(f"{count_text(blank.count, 'window')} of even brightness were taken for background unseen")
    return PredictedCase(
        **shared_entries(work, item, target, identity),
        slices=1,
        seconds=round(time.monotonic() - began, 3),
        others=others,
        quality=quality,
        measurements=tuple(rows),
        remarks=tuple(remarks),
    )


def _look_at(slide: Slide, item: Input, predictor: SlicePredictor) -> tuple[ImageVolume, int]:
    """The slide with every so many-th row and column, as the model's channels; and how many.

    Raises:
        CaseUNetError: it is no image for the model.
    """
    info = predictor.info
    sampled, step = slide.overview()
    pixels, remark = raster.match_channels(item.path, sampled[0], info.preprocessing.channels)
    geometry = Geometry(pixels.shape[1:], remarks=(*slide.remarks, *((remark,) if remark else ())))
    small = match_range(item.path, ImageVolume(pixels[None], geometry), info.preprocessing)
    if predictor.settings.check_image:
        check_no_mask(small.pixels, item.files[0], info.training_data)
    return small, step


def _finish(work: PredictionContext, item: Input, labels: np.ndarray) -> tuple[list[dict[str, object]], list[str]]:
    """Post-process class ids (1, H, W) in place and measure them where memory allows; rows, and what to say."""
    info, measures = work.predictor.info, work.outputs.measurements
    rules = work.predictor.postprocessing
    if (rules or measures) and not _fits(labels, work.max_ram):
        return (_measure_areas(item.id, labels, info.label_map) if measures else []), [NOT_POSTPROCESSED]
    apply_postprocessing(labels, rules, info.label_map, None)
    return (to_rows(item.id, measure_volume(labels, None, info.label_map)) if measures else []), []


def _fits(labels: np.ndarray, max_ram: int | None) -> bool:
    """Whether memory is left to tell the components of class ids (1, H, W) apart."""
    own = psutil.Process().memory_info().rss
    free = psutil.virtual_memory().available if max_ram is None else max_ram - own
    needed = COMPONENT_BYTES * labels.size
    return needed <= free and needed + BYTES_OF_ONE * _count_starts(labels[0]) <= free


def _count_starts(labels: np.ndarray) -> int:
    """Pixels unlike the four before them, left and above: no fewer than there are components."""
    step, count = max(1, COUNTED_AT_ONCE // labels.shape[1]), 0
    above = np.zeros_like(labels[:1])
    for row in range(0, len(labels), step):
        ids = np.concatenate([above, labels[row : row + step]])
        own, over, above = ids[1:], ids[:-1], ids[-1:]
        starts = (own > 0) & (own != over)
        starts[:, 1:] &= (own[:, 1:] != own[:, :-1]) & (own[:, 1:] != over[:, :-1])
        starts[:, :-1] &= own[:, :-1] != over[:, 1:]
        count += int(np.count_nonzero(starts))
    return count


def _segment(
    predictor: SlicePredictor,
    case: NetworkInput,
    networks: list[int] | None,
    alarms: list[str],
    advance: Callable[[float], None],
) -> tuple[np.ndarray, CaseQuality | None]:
    """Class ids (1, H, W), and what to think of them."""
    info = predictor.info
    temperature = info.quality.temperature if info.quality else 1.0
    meter = ConfidenceMeter(info.label_map, 1)

    def on_batch(group: SliceBatch) -> None:
        meter.add((group.logits / temperature).softmax(1), 0, group.first, group.height)
        advance(group.share)

    labels = predictor.label(case, None, networks, on_batch)
    if info.quality is None:
        return labels, judge_case(None, {}, {}, alarms) if alarms else None
    features = image_features(case.slices, info.preprocessing, case.statistics, None)
    return labels, judge_case(info.quality, features, meter.result(), alarms)


def _measure_areas(case: str, labels: np.ndarray, label_map: LabelMap) -> list[dict[str, object]]:
    """Pixels of each structure and their share of the image."""
    bands = np.array_split(labels[0], 64)  # counting takes eight bytes for each pixel
    counts = np.sum([np.bincount(band.ravel(), minlength=len(label_map)) for band in bands], axis=0)
    voxels = {name: int(sum(counts[i] for i in members)) for name, members in label_map.structures.items()}
    return [
        {"case": case, "structure": name, "voxels": number, "area_share": number / labels.size}
        for name, number in voxels.items()
    ]
