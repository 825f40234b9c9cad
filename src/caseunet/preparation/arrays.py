"""The arrays of a prepared data set: which cases share one, and each read, placed on the grid and written."""

import hashlib
import json
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from textwrap import shorten

import numpy as np

from caseunet.data.grid import compute_grid_size, place_slices
from caseunet.data.intensities import measure_intensities
from caseunet.data.store import CaseRow
from caseunet.data.transforms import resize_image, resize_labels
from caseunet.data.writing import Workplace
from caseunet.datasets import Layout, SourceCase, SourceDataset
from caseunet.datasets.case_statistics import ImageFacts
from caseunet.datasets.meanings import alone
from caseunet.datasets.reading import read_labels, read_repaired_image, require_coding
from caseunet.errors import CaseUNetError
from caseunet.imaging.slices import case_statistics
from caseunet.io.images import hash_images
from caseunet.io.likeness import identify
from caseunet.prediction.image_kind import measure_values
from caseunet.prediction.training_images import describe_training_image
from caseunet.progress import Display
from caseunet.types import Grid, LabelMap
from caseunet.workers import LostWorkerError, run_all

ARRAY_BYTES = 32 * 1024**2
"""Small cases of one shape share an array up to this size; it is also what one process holds at a time."""


@dataclass(frozen=True)
class ArrayJob:
    """One array to write.

    Attributes:
        array: its name.
        dataset: with its cases alone.
    """

    array: str
    dataset: SourceDataset
    grid: Grid
    workplace: Workplace


@dataclass(frozen=True)
class CaseFailure:
    """A case that could not be prepared."""

    case: str
    text: str
    trace: str = ""


def plan_arrays(
    dataset: SourceDataset, images: dict[str, ImageFacts], grid: Grid, workplace: Workplace
) -> list[ArrayJob]:
    """The arrays to write: neighbours in the list of cases share one if their prepared slices have one shape."""
    arrays: list[list[SourceCase]] = []
    last, size = None, 0
    for case in dataset.labelled:
        facts = images[case.id]
        S, C, H, W = facts.shape
        height, width = compute_grid_size(H, W, facts.spacing, grid)
        kind = (
            case.id if grid.crop_to_body else (facts.stored, C, height, width, H, W)
        )  # a cropped size is not known yet
        nbytes = S * C * height * width * np.dtype(facts.stored).itemsize
        if kind != last or size + nbytes > ARRAY_BYTES:
            arrays.append([])
            size = 0
        arrays[-1].append(case)
        last, size = kind, size + nbytes
    return [ArrayJob(_array_name(cases[0].id), alone(dataset, tuple(cases)), grid, workplace) for cases in arrays]


def _array_name(case: str) -> str:
    """A case's id as one part of a path."""
    return case.replace("%", "%25").replace("/", "%2F")


def prepare_arrays(
    layout: Layout, jobs: Sequence[ArrayJob], workers: int | None, display: Display
) -> tuple[list[CaseRow], list[CaseFailure]]:
    """The rows of all cases, in the jobs' order, and what failed."""
    rows: list[list[CaseRow]] = [[] for _ in jobs]
    failures = []
    with display.stage("preparing", sum(len(job.dataset.cases) for job in jobs), "case") as stage:
        for index, result in run_all(partial(prepare_array, layout), jobs, workers):
            cases = jobs[index].dataset.cases
            if isinstance(result, LostWorkerError):
                result = [CaseFailure(cases[0].id, f"{cases[0].image[0]}: {result}")]
            for one in result:
                if isinstance(one, CaseFailure):
                    failures.append(one)
                    display.caution(shorten(one.text, 300), "red")
                else:
                    rows[index].append(one)
            stage.advance(len(cases), cases[-1].id)
    return [row for part in rows for row in part], failures


def prepare_array(layout: Layout, job: ArrayJob) -> list[CaseRow] | list[CaseFailure]:
    """Write one array, unless it is there from the same sources; if cases fail, all of them are told.

    Never raises: whatever is wrong with some cases must not cost the others.
    """
    try:
        return _prepare_array(layout, job)
    except Exception as error:
        return [_failure(job.dataset.cases[0], error)]


def _prepare_array(layout: Layout, job: ArrayJob) -> list[CaseRow] | list[CaseFailure]:
    cases = job.dataset.cases
    hashes = [(hash_images(*case.image), hash_images(*_label_files(case))) for case in cases]
    key = _key(job, hashes)
    done = job.workplace.done(job.array, key)
    if done is not None:
        return done
    rows: list[CaseRow] = []
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    references: list[np.ndarray] = []
    failures: list[CaseFailure] = []
    for case, of_case in zip(cases, hashes, strict=True):
        try:
            row, image, ids, whole = read_case(layout, case, job, sum(row.slices for row in rows), of_case)
        except Exception as error:
            failures.append(_failure(case, error))
        else:
            rows.append(row)
            images.append(image)
            labels.append(ids)
            references += [] if whole is None else [whole]
    if failures:
        return failures
    at_source = _concatenate(references) if references else None
    job.workplace.add(job.array, key, rows, _concatenate(images), _concatenate(labels), at_source)
    return rows


def _failure(case: SourceCase, error: Exception) -> CaseFailure:
    """To be called where the error is handled, for its traceback."""
    text = str(error) if isinstance(error, CaseUNetError) else f"{case.image[0]}: {type(error).__name__}: {error}"
    return CaseFailure(case.id, text, traceback.format_exc())


def _key(job: ArrayJob, hashes: Sequence[tuple[str, str]]) -> str:
    """Changes with everything that an array depends on: sources, repairs, classes, grid, code."""
    dataset = job.dataset
    parts = {
        "code": version("caseunet"),
        "grid": job.grid.model_dump(mode="json"),
        "coding": require_coding(dataset).model_dump(mode="json"),
        "modality": dataset.modality,
        "raters": dataset.raters,
        "cases": [
            [case.id, case.group, *of_case, _files(case, dataset), case.labelled]
            for case, of_case in zip(dataset.cases, hashes, strict=True)
        ],
        "repairs": {case: repair.model_dump(mode="json") for case, repair in dataset.repairs.items()},
    }
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _files(case: SourceCase, dataset: SourceDataset) -> list[str]:
    return [dataset.relative(path) for path in (*case.image, *_label_files(case))]


def _label_files(case: SourceCase) -> tuple[Path, ...]:
    """All that tells the labels of a case: its masks, and what was judged of it."""
    return case.label if case.field is None else (*case.label, case.field)


def _concatenate(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _merge_table(label_map: LabelMap, labelled: Sequence[str]) -> np.ndarray:
    """Class id → what is left of it in a case in which these structures are labelled, for all values of uint8."""
    table = np.arange(256, dtype=np.uint8)
    table[: len(label_map)] = label_map.merged_ids(labelled)
    return table


def read_case(
    layout: Layout, case: SourceCase, job: ArrayJob, first: int, hashes: tuple[str, str]
) -> tuple[CaseRow, np.ndarray, np.ndarray, np.ndarray | None]:
    """Read one labelled case: its row of the table, image (S, C, H, W) and class ids (S, H, W) as prepared, and the ids
    of the same box at the source's size, where that is another.

    Args:
        layout: that reads it.
        case: of the job's data set.
        job: the array that it belongs to.
        first: its first slice there.
        hashes: of the files of its image and of its mask.

    Raises:
        CaseUNetError: it cannot be read.
    """
    dataset, grid = job.dataset, job.grid
    picture = read_repaired_image(layout, case, dataset)
    labels = read_labels(layout, case, dataset, picture.geometry)
    if labels.shape != (picture.pixels.shape[0], *picture.pixels.shape[2:]):
        raise CaseUNetError(
            f"{case.label[0]}: the mask's shape {labels.shape} is not its image's {picture.pixels.shape}."
        )
    if case.labelled:
        labels = np.take(_merge_table(require_coding(dataset).label_map, case.labelled), labels)
    source, pixels = picture.geometry, picture.pixels
    identity, values = describe_training_image(case.id, identify(pixels)), measure_values(pixels)
    placement = place_slices(pixels, source.spacing, grid)
    image = resize_image(placement.cut(pixels), placement.size)
    del picture, pixels  # the largest of all that is held
    height, width = labels.shape[1:]
    at_source = placement.cut(labels)
    labels = resize_labels(at_source, placement.size)
    classes = len(require_coding(dataset).label_map)
    row = CaseRow(
        id=case.id,
        group=case.group,
        array=job.array,
        first=first,
        slices=image.shape[0],
        height=image.shape[2],
        width=image.shape[3],
        source_shape=source.shape,
        source_height=height,
        source_width=width,
        spacing=source.spacing,
        box=placement.box,
        image_files=tuple(dataset.relative(path) for path in case.image),
        image_hash=hashes[0],
        label_files=tuple(dataset.relative(path) for path in _label_files(case)),
        label_hash=hashes[1],
        slice_class_pixels=tuple(int(n) for s in labels for n in np.bincount(s.ravel(), minlength=classes)[:classes]),
        intensities=measure_intensities(image, labels),
        statistics=tuple(case_statistics(image).ravel().tolist()),
        pixels_hash=identity.pixels_hash,
        likeness=identity.likeness,
        sketch=identity.sketch,
        stored_values=tuple(values.model_dump().values()),
        labelled=case.labelled,
    )
    return row, image, labels, at_source if placement.size != placement.box_size else None
