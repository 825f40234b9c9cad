"""RAW → PREPARED."""

import hashlib
import json
import shutil
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from textwrap import shorten
from typing import Literal

import numpy as np

from caseunet.commands.audit import Examination, examine
from caseunet.config import PrepareConfig, load_config
from caseunet.data.grid import compute_grid_size, place_slices, plan_grid
from caseunet.data.intensities import measure_intensities, pool_statistics
from caseunet.data.store import DESCRIPTION, KIND, CaseRow, DatasetInfo, Prepared, RawSource
from caseunet.data.transforms import resize_image, resize_labels
from caseunet.data.writing import PreparedWriter, Workplace
from caseunet.datasets import Finding, Layout, SourceCase, SourceDataset
from caseunet.datasets.case_statistics import CaseFacts, ImageFacts
from caseunet.datasets.meanings import alone
from caseunet.datasets.reading import read_labels, read_repaired_image, require_coding
from caseunet.datasets.splits import SplitCase, make_split
from caseunet.errors import CaseUNetError
from caseunet.files import Location, check_output_folder, content_hash, location, write_text
from caseunet.imaging.body import box_in_mm
from caseunet.imaging.slices import case_statistics
from caseunet.io.likeness import identify
from caseunet.prediction.image_kind import measure_values
from caseunet.prediction.training_images import describe_training_image
from caseunet.progress import Display, Notices, count_text
from caseunet.types import Grid, Split
from caseunet.workers import LostWorkerError, run_all

MAX_NOTES = 5

ARRAY_BYTES = 32 * 1024**2
"""Small cases of one shape share an array up to this size; it is also what one process holds at a time."""

USUAL_SHARE = 0.3, 0.7
"""Of their size in memory, what images take on disk: CT at the lower end, photographs at the upper."""


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


def prepare(
    raw: str | Path,
    *,
    out: str | Location,
    config: PrepareConfig | None = None,
    mode: Literal["new", "overwrite"] = "new",
    display: Display | None = None,
) -> Prepared:
    """Read a raw data set and write it as PREPARED.

    The data are audited first, and errors refuse them. Cases without a mask are left out, and named. Until all is done
    ``out`` is as it was before: cases go to OUT.unfinished, from where a run that was killed, or in which a case
    failed, goes on when it is started again.

    Args:
        raw: a folder in a known layout.
        out: the folder to write, on this machine or behind an fsspec URL.
        config: layout, groups, repair plan, grid, split; the default recipe's if None.
        mode: "overwrite" replaces an earlier PREPARED at ``out``.
        display: shows progress.

    Raises:
        CaseUNetError: the layout is not known, the audit finds errors, or cases fail; the others are kept then.
    """
    raw, out = Path(raw), location(out)
    config, notices, overwrite = config or load_config().prepare, Notices(display), mode == "overwrite"
    check_output_folder(out, KIND, [raw, *([config.repair_plan] if config.repair_plan is not None else [])], overwrite)
    found = examine(raw, config, notices)
    notes = _accept(found, config, notices)
    dataset, label_map = found.dataset, require_coding(found.dataset).label_map
    images = {facts.id: facts.image for facts in found.facts if facts.image is not None}
    planned = _plan(dataset, images, config).model_copy(update={"plane": found.plane})
    grid, why_whole = settle_crop(planned, dataset, found.facts)
    if why_whole:
        notices.caution(why_whole)
        notes = (*notes, why_whole)
    _say_needs(dataset, images, grid, out, notices)

    with PreparedWriter(out, overwrite) as writer:
        jobs = _jobs(dataset, images, grid, writer.workplace)
        rows, failures = _prepare_all(found.layout, jobs, _workers(out, config), notices)
        if failures:
            raise _failure_error(failures, len(rows), writer.workplace)
        class_pixels = np.sum([np.reshape(row.slice_class_pixels, (-1, len(label_map))).sum(0) for row in rows], axis=0)
        intensities = pool_statistics([row.intensities for row in rows])
        info = DatasetInfo(
            source_format=found.layout.name,
            modality=dataset.modality,
            group_name=dataset.group_name,
            licence=dataset.licence,
            label_map=label_map,
            channels=len(intensities.mean),
            channel_names=dataset.channel_names,
            dtype=str(np.result_type(*(images[row.id].stored for row in rows))),
            grid=grid,
            intensities=intensities,
            class_pixels=tuple(class_pixels.tolist()),
            value_range=_value_range([images[row.id] for row in rows]),
            content_hash=_hash_sources(rows),
            code_version=version("caseunet"),
            notes=notes,
            source=RawSource(
                folder=str(raw.resolve()),
                format=found.layout.name,
                plan=None if config.repair_plan is None else str(config.repair_plan.resolve()),
                group=config.group,
                modality=None if config.modality == "auto" else config.modality,
                images=config.images,
                masks=config.masks,
                channels=config.channels,
            ),
        )
        pixels = sum(row.slices * row.height * row.width for row in rows)
        if ignored := pixels - int(class_pixels.sum()):
            notices.caution(f"{ignored / pixels:.1%} of the pixels have no label: in no loss, statistic or score")
        empty = [name for name, pixels in zip(info.label_map.names, info.class_pixels, strict=True) if pixels == 0]
        if empty:
            notices.caution(f"no pixel has these labels, so they cannot be learned: {', '.join(empty)}")
        if isinstance(data := writer.workplace.data, Path):
            notices.write_log(data)
        writer.finish(info, rows, _split(rows, dataset, config))
    prepared = Prepared(out)
    prepared.warnings = notices.warnings
    return prepared


def _accept(found: Examination, config: PrepareConfig, display: Display) -> tuple[str, ...]:
    """What a person should know of the raw data, in words; some of it is shown.

    Raises:
        CaseUNetError: there are errors, or there is nothing to prepare.
    """
    fatal = [
        finding
        for finding in found.findings
        if finding.level == "error" or (finding.kind == "split" and found.split is None)
    ]
    errors = [_in_words(finding, found.dataset) for finding in fatal]
    if len(errors) == 1:
        raise CaseUNetError(errors[0])
    if errors:
        listed = "\n".join(f"  {shorten(error, 300)}" for error in errors[:10])
        raise CaseUNetError(
            f"{len(errors)} errors in {found.dataset.root}; nothing was written. The first of them:\n{listed}\n"
            f"See all: caseunet audit {found.dataset.root}   To deal with them, let audit write a repair plan, read "
            "it, and prepare with it.",
            options=("repair", "prepare.repair_plan"),
        )
    notes = [_in_words(finding, found.dataset) for finding in found.findings]
    for note, finding in zip(notes, found.findings, strict=True):
        if finding.level != "note":
            display.caution(note, shown=False)
    for note in notes[:MAX_NOTES]:
        display.say(f"  {shorten(note, 200)}", "yellow")
    if len(notes) > MAX_NOTES:
        display.say(f"  and {len(notes) - MAX_NOTES} more remarks, all in {DESCRIPTION}", "yellow")
    return tuple(notes)


def _value_range(images: Sequence[ImageFacts]) -> tuple[float, float]:
    return min(facts.range[0] for facts in images), max(facts.range[-1] for facts in images)


def _in_words(finding: Finding, dataset: SourceDataset) -> str:
    place = dataset.root / finding.file if finding.file else finding.case or dataset.root
    return f"{place}: {finding.text.rstrip('.')}. {finding.advice}".strip()


def _plan(dataset: SourceDataset, images: dict[str, ImageFacts], config: PrepareConfig) -> Grid:
    """The grid of all cases."""
    shapes = [images[case.id] for case in dataset.labelled]
    sizes = [(facts.shape[2], facts.shape[3]) for facts in shapes]
    spacings = [None if facts.spacing is None else facts.spacing[1:] for facts in shapes]
    return plan_grid(config, dataset.modality, sizes, spacings)


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


def _say_needs(
    dataset: SourceDataset, images: dict[str, ImageFacts], grid: Grid, out: Location, display: Display
) -> None:
    """Say what will be written and what it needs.

    Raises:
        CaseUNetError: there is certainly too little room for it.
    """
    needed = 0
    for case in dataset.labelled:
        facts = images[case.id]
        height, width = compute_grid_size(facts.shape[2], facts.shape[3], facts.spacing, grid)
        needed += facts.shape[0] * height * width * (facts.shape[1] * np.dtype(facts.stored).itemsize + 1)
        if (height, width) != facts.shape[2:]:
            needed += facts.shape[0] * facts.shape[2] * facts.shape[3]  # the labels at their own size
    least, most = (share * needed / 1e6 for share in USUAL_SHARE)
    text = f"  needs {least:,.0f} to {most:,.0f} MB on disk"
    if isinstance(out, Path):
        free = shutil.disk_usage(out.resolve().parent).free
        text += f"; {free / 1e6:,.0f} MB are free"
        if free < least * 1e6 / 3:  # less may do: air is cut off, and even areas take next to nothing
            raise CaseUNetError(f"{out}:{text[1:]}. Choose a folder on another disk.", options=("out",))
    volumes = any(facts.spacing is not None for facts in images.values())
    display.say(f"  {f'{grid.plane} ' if volumes else ''}{_in_words_grid(grid)}")
    display.say(text)


def _in_words_grid(grid: Grid) -> str:
    """ "slices resampled to 0.78 × 0.78 mm, without the air around the body"."""
    text = "slices keep their pixels"
    if grid.size is not None:
        text = f"slices resized to {grid.size[0]}×{grid.size[1]}"
    elif grid.spacing is not None:
        text = f"slices resampled to {grid.spacing[0]:.3g} × {grid.spacing[1]:.3g} mm"
    elif grid.scale is not None:
        text = f"images shrunk to {grid.scale:.3g} of their height and width"
    return text + (", the air around the body cut off" if grid.crop_to_body else "")


def _jobs(dataset: SourceDataset, images: dict[str, ImageFacts], grid: Grid, workplace: Workplace) -> list[ArrayJob]:
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


def _workers(out: Location, config: PrepareConfig) -> int | None:
    """Processes that write; a file system in memory is of one process alone."""
    in_memory = not isinstance(out, Path) and out.protocol == "memory"
    return 0 if in_memory else config.workers


def _prepare_all(
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


def _failure_error(failures: Sequence[CaseFailure], done: int, workplace: Workplace) -> CaseUNetError:
    """Write down what failed, and say it."""
    write_text(workplace.log, "\n".join(f"{failure.case}: {failure.text}\n{failure.trace}" for failure in failures))
    return CaseUNetError(
        f"{count_text(len(failures), 'case')} failed, {failures[0].case} among them: {failures[0].text}\n"
        f"The tracebacks are in {workplace.log}. {count_text(done, 'case')} are done and kept: mend the cause and give "
        "the same command again, which goes on from there; or leave a case out with a plan (cases: {ID: {drop: true}})."
    )


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
    hashes = [(content_hash(*case.image), content_hash(*case.label)) for case in cases]
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
        "cases": [
            [case.id, case.group, *of_case, _files(case, dataset)]
            for case, of_case in zip(dataset.cases, hashes, strict=True)
        ],
        "repairs": {case: repair.model_dump(mode="json") for case, repair in dataset.repairs.items()},
    }
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _files(case: SourceCase, dataset: SourceDataset) -> list[str]:
    return [dataset.relative(path) for path in (*case.image, *case.label)]


def _concatenate(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


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
        label_files=tuple(dataset.relative(path) for path in case.label),
        label_hash=hashes[1],
        slice_class_pixels=tuple(int(n) for s in labels for n in np.bincount(s.ravel(), minlength=classes)[:classes]),
        intensities=measure_intensities(image, labels),
        statistics=tuple(case_statistics(image).ravel().tolist()),
        pixels_hash=identity.pixels_hash,
        likeness=identity.likeness,
        sketch=identity.sketch,
        stored_values=tuple(values.model_dump().values()),
    )
    return row, image, labels, at_source if placement.size != placement.box_size else None


def _split(rows: list[CaseRow], dataset: SourceDataset, config: PrepareConfig) -> Split:
    cases = {}
    parts = {case.id: case.part for case in dataset.cases}
    for row in rows:
        pixels = np.reshape(row.slice_class_pixels, (row.slices, -1)).sum(0)
        cases[row.id] = SplitCase(
            row.group, row.slices, frozenset((np.flatnonzero(pixels[1:]) + 1).tolist()), parts[row.id]
        )
    return make_split(config, cases, dataset.group_name, dataset.format)


def _hash_sources(rows: list[CaseRow]) -> str:
    lines = sorted(f"{row.id} {row.image_hash} {row.label_hash}" for row in rows)
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()
