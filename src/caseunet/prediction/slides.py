"""Images that are never held whole, such as whole slides: decoded, segmented and written in tiles."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.data.grid import Placement
from caseunet.errors import InvalidInputError
from caseunet.imaging.windows import is_blank
from caseunet.io import raster
from caseunet.io.overlay import case_sheet
from caseunet.io.slides import Slide, is_slide, write_slide_mask
from caseunet.options import PredictionOutputs
from caseunet.prediction.context import PredictionContext, display_window, find_identity, path_beside, shared_entries
from caseunet.prediction.image_kind import check_kind, check_no_mask
from caseunet.prediction.inputs import Input
from caseunet.prediction.predictor import NetworkInput, SliceBatch, SlicePredictor, match_range
from caseunet.prediction.store import PredictedCase
from caseunet.progress import count_text
from caseunet.quality.confidence import ConfidenceMeter
from caseunet.quality.judgement import CaseQuality, judge_case
from caseunet.quality.out_of_distribution import image_features
from caseunet.types import Geometry, ImageVolume, LabelMap, Preprocessing

NOT_POSTPROCESSED = "too large to be held as a whole, so its mask is not post-processed and its components not measured"


def streams(item: Input, preprocessing: Preprocessing, outputs: PredictionOutputs) -> bool:
    """Whether an image is segmented without being held: a large TIFF image whose pixels are not resampled, and are not
    normalized by statistics of all of them."""
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
    """One slice of a slide as an array (C, H, W) of which windows are read; the last rows read are kept, since windows
    lie side by side."""

    def __init__(self, slide: Slide, channels: int) -> None:
        self._slide, self._rows, self._band = slide, slice(0), np.zeros(0, np.uint8)
        self.shape = (channels, *slide.shape[2:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:, :, :], dtype)

    def __getitem__(self, place: tuple[slice, slice, slice]) -> np.ndarray:
        _, rows, columns = place
        rows = slice(*rows.indices(self.shape[1]))
        if rows != self._rows:
            band = self._slide.read(rows, slice(0, self.shape[2]))
            self._rows, self._band = rows, _as_channels(band, self.shape[0], self._slide.path)
        return np.ascontiguousarray(self._band[:, :, columns])


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
    with Slide(item.files[0]) as slide:
        channels = info.preprocessing.channels
        sampled, step = slide.overview()
        overview = _as_channels(sampled[0], channels, item.path)[None]
        small = match_range(item.path, ImageVolume(overview, Geometry(overview.shape[2:])), info.preprocessing)
        if predictor.settings.check_image:
            check_no_mask(small.pixels, item.files[0], info.training_data)
        identity = find_identity(work, item, small)
        alarms = check_kind(small.pixels, info.preprocessing, info.training_data, predictor.settings.check_image)
        _, _, height, width = slide.shape
        blank = _BlankWindows()
        case = NetworkInput(
            _Slices(_Parts(slide, channels)),
            Placement((0, 0, height, width), (height, width)),
            (height, width),
            np.zeros((2, channels), np.float32),
            is_blank=blank,
        )
        labels, quality = _segment(predictor, case, identity.voting, alarms, advance)
        written.append(target)
        write_slide_mask(target, labels[0], info.label_map.colors, slide)
    others = {}
    if work.outputs.overlay:
        path = path_beside(target, item, "-overlay.png")
        written.append(path)
        ids = labels[:, ::step, ::step]
        raster.write_image(
            path, case_sheet(overview, ids, info.label_map, display_window(predictor), None, item.id, "axial")
        )
        others["overlay"] = path.relative_to(work.folder).as_posix()
    rows = _measure_areas(item.id, labels, info.label_map) if work.outputs.measurements else []
    remarks = [*small.geometry.remarks, NOT_POSTPROCESSED]
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


def _as_channels(pixels: np.ndarray, channels: int, path: Path) -> np.ndarray:
    """Pixels (C, H, W) of grey or colour as the model's channels.

    Raises:
        CaseUNetError: they have colours, and the model is for grey images.
    """
    if len(pixels) == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=0)
    apart = int((pixels.max(axis=0) - pixels.min(axis=0)).max(initial=0))
    if apart > raster.NEARLY_GREY:
        raise InvalidInputError(
            f"{path}: an image in colour (red, green and blue differ by up to {apart}); expected a grey image."
        )
    return pixels[:1]
