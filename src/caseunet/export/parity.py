"""An export beside PyTorch: the slices on which they are compared, and how far they agree."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from caseunet.bundle import Bundle
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError
from caseunet.export.formats import ExportableModel
from caseunet.files import Location
from caseunet.imaging.boxes import space_evenly
from caseunet.imaging.slices import gather_slices, pad, standardize
from caseunet.prediction.exports import Parity
from caseunet.progress import Display, count_text
from caseunet.types import Ranges

SLICES = 16
"""On which an export is compared with PyTorch, evenly spread over the cases."""

CALIBRATION_SLICES = 64
"""By which ranges of activations are found for int8."""


@dataclass(frozen=True)
class Samples:
    """Slices (C, H, W), float32, as the graph takes them, and where they are from."""

    pixels: list[np.ndarray]
    origin: str


def samples(bundle: Bundle, whole: ExportableModel, data: Location | None, number: int, of_training: bool) -> Samples:
    """Slices of the fold that the bundle was trained on, or of the one held out; noise if there are no data.

    Each is as the graph takes it. Three quarters hold a structure, the others none if there are such; both are evenly
    spread over all slices of all cases, so that they are neither the easiest nor the most alike.

    Raises:
        CaseUNetError: the data are not of the bundle's modality and channels.
    """
    p = bundle.info.preprocessing
    if data is None:
        rng = np.random.default_rng(0)
        low, high = p.display_window or (0.0, 255.0)
        size = (max(p.min_size[0], whole.smallest), max(p.min_size[1], whole.smallest))
        noise = rng.uniform(low, high, (number, whole.in_channels, *size)).astype(np.float32)
        return Samples([pad_slice(x, whole, p.min_size) for x in noise], "noise, for no data were given")
    prepared = Prepared(data, bundle.info.training_data.chosen_channels)
    if (prepared.info.modality, prepared.info.channels) != (p.modality, p.channels):
        raise CaseUNetError(
            f"{data}: holds {prepared.info.modality} images of {prepared.info.channels} channels; the bundle is for "
            f"{p.modality} of {p.channels}."
        )
    fold = prepared.fold(bundle.info.training_data.fold or 0, p.context_slices)
    chosen = spread_evenly(prepared, fold.train if of_training else fold.val, number)
    pixels: list[np.ndarray] = []
    for case, slices in chosen.items():
        x = gather_slices(prepared.image(case), slices, p.context_slices).astype(np.float32)
        if any(p.per_case_zscore):
            x = standardize(x, prepared.case_statistics(case), p.model_dump())
        pixels += [pad_slice(one, whole, p.min_size) for one in x]
    part = "training" if of_training else "validation"
    return Samples(pixels, f"slices of {count_text(len(chosen), f'{part} case')} of {Path(str(data)).name}")


def spread_evenly(prepared: Prepared, cases: dict[str, Ranges], number: int) -> dict[str, list[int]]:
    """So many slices at most of a part of a fold, as :func:`samples` chooses them, of each case in their order."""
    with_structure: list[tuple[str, int]] = []
    without: list[tuple[str, int]] = []
    for case, ranges in cases.items():
        foreground = prepared.slice_class_pixels(case)[:, 1:].sum(1)
        for position in (s for start, stop in ranges for s in range(start, stop)):
            (with_structure if foreground[position] else without).append((case, position))
    empty = min(len(without), max(number // 4, number - len(with_structure)))
    chosen: dict[str, list[int]] = {}
    for found, wanted in ((with_structure, number - empty), (without, empty)):
        for n in space_evenly(len(found), wanted):
            case, position = found[n]
            chosen.setdefault(case, []).append(position)
    return {case: sorted(slices) for case, slices in sorted(chosen.items())}


def pad_slice(x: np.ndarray, whole: ExportableModel, least: tuple[int, int]) -> np.ndarray:
    """A slice (C, H, W) with its edges repeated until the graph takes it."""
    return pad(x[None], least, {"multiple": whole.multiple, "smallest": whole.smallest})[0][0]


def parity(whole: ExportableModel, run: Any, checked: Samples, names: tuple[str, ...], display: Display) -> Parity:
    """Compare an export with PyTorch, slice by slice: they may differ in size."""
    largest, total, count, equal, pixels = 0.0, 0.0, 0, 0, 0
    both, either = np.zeros(len(names)), np.zeros(len(names))
    with display.stage("comparing with PyTorch", len(checked.pixels), "slice") as stage, torch.no_grad():
        for x in checked.pixels:
            expected, found = whole(torch.from_numpy(x[None])).numpy(), run(x[None])
            if found.shape != expected.shape or not np.isfinite(found).all():
                raise CaseUNetError(
                    f"The export gives {found.shape} with values that are not finite, or not {expected.shape}."
                )
            difference = np.abs(found - expected)
            largest, total, count = (
                max(largest, float(difference.max())),
                total + float(difference.sum()),
                count + difference.size,
            )
            a, b = expected.argmax(1), found.argmax(1)
            equal, pixels = equal + int((a == b).sum()), pixels + a.size
            for c in range(len(names)):
                both[c] += ((a == c) & (b == c)).sum()
                either[c] += (a == c).sum() + (b == c).sum()
            stage.advance(1)
    dice = {name: float(2 * both[c] / either[c]) if either[c] else None for c, name in enumerate(names) if c > 0}
    return Parity(
        on=checked.origin,
        slices=len(checked.pixels),
        largest=largest,
        mean=total / count,
        dice=dice,
        equal=equal / pixels,
    )
