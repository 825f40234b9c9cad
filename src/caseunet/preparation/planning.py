"""The grid of a prepared data set, and the space that it needs on disk."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from caseunet.config import PrepareConfig
from caseunet.data.grid import compute_grid_size, plan_grid
from caseunet.datasets import SourceDataset
from caseunet.datasets.case_statistics import CaseFacts, ImageFacts
from caseunet.datasets.reading import require_coding
from caseunet.errors import CaseUNetError
from caseunet.files import Location
from caseunet.imaging.body import box_in_mm
from caseunet.progress import Display
from caseunet.types import Grid

USUAL_SHARE = 0.3, 0.7
"""Of their size in memory, what images take on disk: CT at the lower end, photographs at the upper."""

MIN_WIDTH = 3.0
"""Pixels that the narrowest structure has across at least after shrinking: what is thinner breaks into pieces."""


def plan_data_grid(dataset: SourceDataset, facts: Sequence[CaseFacts], config: PrepareConfig) -> tuple[Grid, str]:
    """The grid of all cases; and what shrinking their slices does, or would do, to the narrowest structure, else "".

    Slices keep their size where a structure would become narrower than :data:`MIN_WIDTH`.
    """
    labelled = {case.id for case in dataset.labelled}
    images = [case.image for case in facts if case.image is not None and case.id in labelled]
    sizes = [(image.shape[2], image.shape[3]) for image in images]
    spacings = [None if image.spacing is None else image.spacing[1:] for image in images]
    shrunk, full = (plan_grid(config, dataset.modality, sizes, spacings, shrink=shrink) for shrink in (True, False))
    narrowest = find_narrowest(dataset, facts)
    if shrunk == full or narrowest is None:
        return shrunk, ""
    name, width = narrowest
    first = images[0]
    before, after = (compute_grid_size(*first.shape[2:], first.spacing, grid)[0] for grid in (full, shrunk))
    text = f"{name} is {width:g} pixels wide (median), and {{}} {width * after / before:.2g} after shrinking"
    if width * after / before < MIN_WIDTH:
        return full, f"slices keep their resolution: {text.format('would be')} to 1.5 megapixels"
    return shrunk, text.format("is")


def find_narrowest(dataset: SourceDataset, facts: Sequence[CaseFacts]) -> tuple[str, float] | None:
    """The class whose median width over cases is smallest, and that width in pixels; None where nothing is known."""
    coding = require_coding(dataset)
    names = coding.label_map.names
    widths: dict[str, list[float]] = {}
    for case in facts:
        for value, width in (case.mask.widths if case.mask is not None else {}).items():
            class_id = coding.codes.get(value, 0)
            if 0 < class_id < len(names):
                widths.setdefault(names[class_id], []).append(width)
    medians = {name: float(np.median(values)) for name, values in widths.items()}
    return min(medians.items(), key=lambda pair: pair[1]) if medians else None


def settle_crop(grid: Grid, dataset: SourceDataset, facts: Sequence[CaseFacts]) -> tuple[Grid, str]:
    """The grid with ``crop_to_body`` as all cases allow it, and why it is off where it was asked for; else "".

    At prediction nobody knows the labels, so the box follows from the image alone. It must hold every label of every
    case, with a margin: otherwise no case is cropped.
    """
    if not grid.crop_to_body:
        return grid, ""
    labelled = {case.id for case in dataset.labelled}
    boxes = []
    found = False
    for case in facts:
        if case.id not in labelled or case.image is None:
            continue
        cut_off = _classes_cut_off(case, dataset)
        if cut_off:
            why = f"in {case.id} the air around the body holds {' and '.join(cut_off)}, or its edge does"
            return grid.model_copy(update={"crop_to_body": False}), f"prepare.crop_to_body is off for all cases: {why}."
        found = found or case.image.body_box is not None
        if case.image.body_box is not None and case.image.spacing is not None:
            boxes.append(box_in_mm(case.image.body_box, case.image.spacing))
    if not found:
        why = "in none of them is a body with air around it found"
        return grid.model_copy(update={"crop_to_body": False}), f"prepare.crop_to_body is off for all cases: {why}."
    least = tuple(round(min(lengths), 3) for lengths in zip(*boxes, strict=True))
    return grid.model_copy(update={"least_box": least or None}), ""


def _classes_cut_off(case: CaseFacts, dataset: SourceDataset) -> list[str]:
    """Names of the classes of which something lies out of the body's box or at its edge."""
    if case.mask is None:
        return []
    coding, repair = require_coding(dataset), dataset.repairs.get(case.id)
    meaning = {**coding.codes, **(repair.map if repair else {})}
    unknown = 1 if repair is not None and repair.snap else 0  # which it becomes is not known yet
    ids = {meaning.get(code, unknown) for code in case.mask.outside}
    return [label.name for label in coding.label_map.labels[1:] if label.id in ids]


def check_space(
    dataset: SourceDataset, images: dict[str, ImageFacts], grid: Grid, out: Location, display: Display
) -> None:
    """Say what will be written and what it needs.

    Raises:
        CaseUNetError: there is certainly too little room for it.
    """
    needed, is_kept = 0, True
    for case in dataset.labelled:
        facts = images[case.id]
        height, width = compute_grid_size(facts.shape[2], facts.shape[3], facts.spacing, grid)
        is_kept &= (height, width) == facts.shape[2:]
        needed += facts.shape[0] * height * width * (facts.shape[1] * np.dtype(facts.stored).itemsize + 1)
        if (height, width) != facts.shape[2:]:
            needed += facts.shape[0] * facts.shape[2] * facts.shape[3]  # the labels at their own size
    least, most = (share * needed / 1e6 for share in USUAL_SHARE)
    text = f"  needs {math.floor(least):,} to {math.ceil(most):,} MB on disk"
    if isinstance(out, Path):
        free = shutil.disk_usage(out.resolve().parent).free
        text += f"; {free / 1e6:,.0f} MB are free"
        if free < least * 1e6 / 3:  # less may do: air is cut off, and even areas take next to nothing
            raise CaseUNetError(f"{out}:{text[1:]}. Choose a folder on another disk.", options=("out",))
    volumes = any(facts.spacing is not None for facts in images.values())
    display.say(f"  {f'{grid.plane} ' if volumes else ''}{_grid_text(grid, is_kept)}")
    display.say(text)


def _grid_text(grid: Grid, is_kept: bool) -> str:
    """ "slices resampled to 0.78 × 0.78 mm, without the air around the body"; or that all keep their pixels."""
    text = "slices keep their pixels"
    if is_kept and grid.spacing is not None:
        text += f" of {grid.spacing[0]:.3g} × {grid.spacing[1]:.3g} mm"
    elif grid.size is not None:
        text = f"slices resized to {grid.size[0]}×{grid.size[1]}"
    elif grid.spacing is not None:
        text = f"slices resampled to {grid.spacing[0]:.3g} × {grid.spacing[1]:.3g} mm"
    elif grid.scale is not None:
        text = f"images shrunk to {grid.scale:.3g} of their height and width"
    return text + (", the air around the body cut off" if grid.crop_to_body else "")
