"""RAW → PREPARED."""

import hashlib
from importlib.metadata import version
from pathlib import Path
from textwrap import shorten

import numpy as np

from caseunet.config import PrepareConfig
from caseunet.data.store import DESCRIPTION, KIND, CaseRow, DatasetInfo, Intensities, Prepared, PreparedWriter
from caseunet.data.transforms import resize_image, resize_labels
from caseunet.errors import UserError
from caseunet.files import check_output_folder, content_hash
from caseunet.models.blocks.padding import SMALLEST_IMAGE
from caseunet.progress import Display, Stage, counted
from caseunet.sources import Layout, find_layout
from caseunet.sources.splits import by_group, by_slice_blocks
from caseunet.types import SourceCase, SourceDataset, Split

SAMPLED_PIXELS = 20_000
"""Pixels of each case that enter the intensity statistics."""

MOST_NOTES = 5


def prepare(
    raw: Path,
    out: Path,
    config: PrepareConfig | None = None,
    overwrite: bool = False,
    display: Display | None = None,
) -> Prepared:
    """Read a raw data set once and write it as PREPARED.

    Every case's header is checked before the first is read, so that most mistakes show at once. Cases without a label
    are left out, and named. If a case fails, ``out`` is as it was before.

    Args:
        raw: a folder in a known layout.
        out: the folder to write.
        config: size, splits.
        overwrite: replace an earlier PREPARED at ``out``.
        display: what a person sees.

    Raises:
        UserError: the layout is not known, or a file is missing, unpaired, unreadable or does not fit its pair.
    """
    config, display = config or PrepareConfig(), display or Display()
    check_output_folder(out, KIND, [raw], overwrite)
    layout = find_layout(raw, config.format)
    dataset = layout.discover(raw)
    cases, notes = survey(layout, dataset, config, display)

    writer = PreparedWriter(out)
    try:
        rows, samples, dtypes = [], [], set()
        with display.stage("preparing", len(cases), "case") as stage:
            for case in cases:
                row, image, labels = read_case(layout, case, dataset, config.size)
                writer.add(row, image, labels)
                rows.append(row)
                samples.append(sample_foreground(image, labels))
                dtypes.add(image.dtype)
                stage.advance(1, case.id)
        info = DatasetInfo(
            source_format=layout.name,
            modality=dataset.modality,
            group_name=dataset.group_name,
            licence=dataset.licence,
            label_map=dataset.label_map,
            channels=samples[0].shape[0],
            dtype=str(np.result_type(*dtypes)),
            size=config.size,
            intensities=_intensities(np.concatenate(samples, axis=1)),
            class_pixels=tuple(int(n) for n in sum(row.slice_class_pixels.sum(0) for row in rows)),
            fingerprint=_fingerprint(rows),
            code_version=version("caseunet"),
            notes=notes,
        )
        empty = [name for name, pixels in zip(info.label_map.names, info.class_pixels, strict=True) if pixels == 0]
        if empty:
            display.say(f"  no pixel has these labels, so they cannot be learned: {', '.join(empty)}", "yellow")
        writer.finish(info, _split(rows, dataset, config))
    except BaseException:
        writer.abandon()
        raise
    return Prepared(out)


def survey(
    layout: Layout, dataset: SourceDataset, config: PrepareConfig, display: Display
) -> tuple[list[SourceCase], tuple[str, ...]]:
    """Look at names and headers before anything is read: the labelled cases, and what a person should know.

    Raises:
        UserError: there are no masks, nothing could be held out, or an image and its mask do not fit.
    """
    labelled = [case for case in dataset.cases if case.label is not None]
    unlabelled = [case.id for case in dataset.cases if case.label is None]
    if not labelled:
        raise UserError(
            f"{dataset.root}: {len(unlabelled)} images of layout {layout.name}, but no masks; nothing to train on."
        )
    groups = len({case.group for case in labelled})
    display.say(
        f"  {dataset.root}: layout {layout.name}, {counted(len(labelled), 'labelled case')} of "
        + counted(groups, dataset.group_name)
    )
    if config.split == "group":  # says at once if there is nothing to split
        by_group({case.id: (case.group, 1) for case in labelled}, config.folds, config.seed, dataset.group_name)
    notes = list(dataset.notes)
    if unlabelled:
        notes.append(f"{counted(len(unlabelled), 'image')} without a mask left out: {', '.join(unlabelled)}")
    with display.stage("checking headers", len(labelled), "case") as stage:
        notes += _check_all(layout, labelled, stage)
    for note in notes[:MOST_NOTES]:
        display.say(f"  {shorten(note, 200)}", "yellow")
    if len(notes) > MOST_NOTES:
        display.say(f"  and {len(notes) - MOST_NOTES} more remarks, all in {DESCRIPTION}", "yellow")
    return labelled, tuple(notes)


def read_case(
    layout: Layout, case: SourceCase, dataset: SourceDataset, size: tuple[int, int] | None
) -> tuple[CaseRow, np.ndarray, np.ndarray]:
    """Read one labelled case: its row of the table, image (S, C, H, W) and class ids (S, H, W) at ``size``."""
    if case.label is None:
        raise ValueError(f"{case.id} has no label")
    picture = layout.read_image(case)
    labels = layout.read_labels(case, dataset)
    if labels.shape != (picture.pixels.shape[0], *picture.pixels.shape[2:]):
        raise UserError(f"{case.label}: the mask's shape {labels.shape} is not its image's {picture.pixels.shape}.")
    image, labels = resize_image(picture.pixels, size), resize_labels(labels, size)
    if min(image.shape[-2:]) < SMALLEST_IMAGE:
        raise UserError(
            f"{case.image}: its slices have {image.shape[2]}×{image.shape[3]} pixels; the networks need at least "
            f"{SMALLEST_IMAGE} each way. Set prepare.size."
        )
    classes = len(dataset.label_map)
    row = CaseRow(
        id=case.id,
        group=case.group,
        slices=image.shape[0],
        height=image.shape[2],
        width=image.shape[3],
        source_shape=picture.geometry.shape,
        spacing=picture.geometry.spacing,
        image_file=_relative(case.image, dataset.root),
        image_hash=content_hash(case.image),
        label_file=_relative(case.label, dataset.root),
        label_hash=content_hash(case.label),
        slice_class_pixels=np.stack([np.bincount(s.ravel(), minlength=classes) for s in labels]),
    )
    return row, image, labels


def sample_foreground(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(C, n): evenly spread foreground pixels of one case, or of all pixels if it has no foreground."""
    pixels = np.moveaxis(image, 1, 0).reshape(image.shape[1], -1)
    foreground = labels.ravel() > 0
    if foreground.any():
        pixels = pixels[:, foreground]
    stride = -(-pixels.shape[1] // SAMPLED_PIXELS)
    return pixels[:, ::stride].astype(np.float32)


def _check_all(layout: Layout, cases: list[SourceCase], stage: Stage) -> list[str]:
    """Check every case's headers; report all failures together, or return the remarks."""
    problems, remarks = [], []
    for case in cases:
        try:
            remarks += [remark for remark in [layout.check(case)] if remark]
        except UserError as error:
            problems.append(str(error))
        stage.advance(1, case.id)
    if len(problems) == 1:
        raise UserError(problems[0])
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems[:20])
        raise UserError(f"{len(problems)} cases cannot be prepared; nothing was written. The first of them:\n{listed}")
    return remarks


def _intensities(sample: np.ndarray) -> Intensities:
    low, high = np.percentile(sample, [0.5, 99.5], axis=1)
    columns = (sample.mean(1), sample.std(1), low, high)
    mean, std, low, high = (tuple(float(v) for v in column) for column in columns)
    return Intensities(mean=mean, std=std, low=low, high=high)


def _split(rows: list[CaseRow], dataset: SourceDataset, config: PrepareConfig) -> Split:
    cases = {row.id: (row.group, row.slices) for row in rows}
    if config.split == "slice-blocks":
        return by_slice_blocks(cases, config.block, config.hold_out_every, config.gap)
    return by_group(cases, config.folds, config.seed, dataset.group_name)


def _fingerprint(rows: list[CaseRow]) -> str:
    lines = sorted(f"{row.id} {row.image_hash} {row.label_hash}" for row in rows)
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
