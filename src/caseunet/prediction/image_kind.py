"""Whether an image is of the kind that a model was trained on, by its values as they are stored."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from caseunet.bundle import StoredValues, TrainingData
from caseunet.errors import InvalidInputError
from caseunet.io import scratch
from caseunet.types import Preprocessing

AIR = -200
"""HU below which every CT holds something: air, lung, or fat at the least."""

NO_AIR = -500
"""HU above which nothing is air."""

AIR_FILLS = -900
"""HU of the 1st percentile up to which an image holds the air around a body."""

NO_MR = -500
"""Value down to which no MR image comes, whatever was done to it; in CT it is air."""

SAMPLE = 200_000
"""Pixels from which percentiles are taken, about."""

MAX_IDS = 32
"""Different values up to which an image may be a label map."""

MIN_SPREAD = 0.1
"""Of the smallest distance between the 1st and 99th percentile in training, below which an image is in other units."""

MASK_WORDS = (
    *("mask", "masks", "seg", "segs", "segm", "segmentation", "segmentations", "label", "labels", "lbl"),
    *("gt", "groundtruth", "annotation", "annotations"),
)
"""In names of files and folders of masks."""


class MaskGivenError(InvalidInputError):
    """An image to segment that looks like a label map."""


def measure_values(pixels: np.ndarray) -> StoredValues:
    """Of an image (S, C, H, W), as stored.

    Raises:
        CaseUNetError: it has no pixels; without the image's name.
    """
    if not pixels.size:
        raise InvalidInputError(f"is empty: its shape is {pixels.shape}. Give an image with at least one pixel.")
    low, middle, high = np.percentile(_sample_pixels(pixels), [1, 50, 99])
    lowest, highest = scratch.find_range(pixels)
    return StoredValues(lowest=lowest, low=float(low), middle=float(middle), high=float(high), highest=highest)


def check_kind(pixels: np.ndarray, preprocessing: Preprocessing, data: TrainingData, strict: bool = True) -> list[str]:
    """What speaks against an image being of the model's kind, a sentence each.

    Args:
        pixels: (S, C, H, W), as stored.
        preprocessing: of the model.
        data: that it was trained on.
        strict: whether what is clearly of another kind is an error.

    Raises:
        CaseUNetError: it is; without the image's name.
    """
    own, known = measure_values(pixels), data.stored
    if own.lowest == own.highest:
        return [f"all of its pixels are {own.lowest:g}"]
    wrong, doubts = "", []
    if preprocessing.modality == "ct" and own.lowest > AIR and all(case.lowest <= AIR for case in known):
        text = f"its values run from {own.lowest:g} to {own.highest:g}, with none below {AIR} HU as air and lung are"
        doubts.append(f"{text}: it may be no CT, windowed, or stored with an offset")
        if own.lowest >= 0 and known:
            wrong = (
                f"{text}, so it does not hold Hounsfield units. It may be no CT, or one that was windowed or stored "
                "with an offset, such as 1024. Convert it to HU."
            )
    elif (
        preprocessing.modality == "ct"
        and known
        and own.lowest > NO_AIR
        and all(case.low <= AIR_FILLS for case in known)
    ):
        doubts.append(
            f"its values run from {own.lowest:g} to {own.highest:g}, with no air, and every training image has air "
            f"(at least 1 % of its values at {AIR_FILLS} HU or lower): it may be no CT, or one without its surroundings"
        )
    if preprocessing.modality == "mr" and own.lowest < NO_MR and all(case.lowest > NO_MR for case in known):
        text = f"its values run from {own.lowest:g} to {own.highest:g}, as those of CT do and of MR do not"
        doubts.append(text)
        wrong = f"{text}. This model was trained on MR images." if known else ""
    if known and not any(preprocessing.per_case_zscore):
        scale_doubt, is_beyond = _check_scale(own, known)
        doubts += [scale_doubt] if scale_doubt else []
        wrong = wrong or (f"{scale_doubt}. Bring it to the scale of the training data." if is_beyond else "")
    if wrong and strict:
        raise InvalidInputError(wrong)
    return doubts


def check_no_mask(pixels: np.ndarray, path: Path, data: TrainingData) -> None:
    """Make sure that an image is no label map: whole numbers 0, 1, 2 …, or a few others in a file called like one.

    Raises:
        MaskGivenError: it looks like one; without the image's name.
    """
    if not pixels.size or len(np.unique(_sample_pixels(pixels))) > MAX_IDS:
        return
    values = _find_values(pixels)
    if not 2 <= len(values) <= MAX_IDS or values.min() < 0 or values.max() > 255 or np.any(values % 1):
        return
    is_ids = pixels.shape[1] == 1 and np.array_equal(values, np.arange(len(values)))
    is_unlike = bool(data.stored) and min(case.high - case.low for case in data.stored) > 4 * len(values)
    if is_called_mask(path) or (is_ids and is_unlike):
        listed = ", ".join(f"{value:g}" for value in values[:6]) + (" …" if len(values) > 6 else "")
        raise MaskGivenError(f"looks like a mask: it holds {len(values)} values ({listed}). Give images to segment.")


def _sample_pixels(pixels: np.ndarray) -> np.ndarray:
    """About :data:`SAMPLE` values of an image (S, C, H, W), evenly spread."""
    step, size = -(-pixels.size // SAMPLE), pixels[0].size
    parts = [pixels[rows].reshape(-1)[-rows.start * size % step :: step] for rows in scratch.blocks(pixels)]
    return np.concatenate(parts)


def _find_values(pixels: np.ndarray) -> np.ndarray:
    """The different values of an image (S, C, H, W), rising: all of them, or some where they are more than ids."""
    values = np.zeros(0, pixels.dtype)
    for rows in scratch.blocks(pixels):
        values = np.union1d(values, pixels[rows])
        if len(values) > MAX_IDS:
            break
    return values


def is_called_mask(path: Path) -> bool:
    """Whether a file, or its folder, is called as masks are."""
    words = re.split(r"[^a-z]+", path.name.lower()) + re.split(r"[^a-z]+", path.parent.name.lower())
    return any(word in MASK_WORDS for word in words)


def _check_scale(own: StoredValues, known: Sequence[StoredValues]) -> tuple[str, bool]:
    """Why an image has another scale than those of training, "" if it has not; and whether most of it lies beyond."""
    low, high = min(case.low for case in known), max(case.high for case in known)
    spread = min(case.high - case.low for case in known)
    trained = f"in training they ran from {low:g} to {high:g}"
    if own.high > high + (high - low) or own.low < low - (high - low):
        is_beyond = own.middle > max(case.highest for case in known) or own.middle < min(case.lowest for case in known)
        return f"most of its values run from {own.low:g} to {own.high:g}; {trained}", is_beyond
    if own.high - own.low < MIN_SPREAD * spread:
        return f"most of its values differ by {own.high - own.low:g} at most; {trained}", False
    return "", False
