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
from caseunet.pipelines.audit import Examination, examine
from caseunet.progress import Display
from caseunet.sources import Finding, Layout, SourceCase, SourceDataset
from caseunet.sources.reading import known_coding, read_labels
from caseunet.sources.splits import SplitCase, make_split
from caseunet.types import Split

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

    The data are audited first, and errors refuse them. Cases without a mask are left out, and named. If a case fails,
    ``out`` is as it was before.

    Args:
        raw: a folder in a known layout.
        out: the folder to write.
        config: layout, groups, repair plan, size, split.
        overwrite: replace an earlier PREPARED at ``out``.
        display: what a person sees.

    Raises:
        UserError: the layout is not known, or the audit finds errors.
    """
    config, display = config or PrepareConfig(), display or Display()
    check_output_folder(out, KIND, [raw, *([config.plan] if config.plan is not None else [])], overwrite)
    found = examine(raw, config, display)
    notes = _accept(found, config, display)
    layout, dataset = found.layout, found.dataset
    cases, label_map = dataset.labelled, known_coding(dataset).label_map

    writer = PreparedWriter(out, overwrite)
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
            label_map=label_map,
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


def _accept(found: Examination, config: PrepareConfig, display: Display) -> tuple[str, ...]:
    """What a person should know of the raw data, in words; some of it is shown.

    Raises:
        UserError: there are errors, or there is nothing to prepare.
    """
    fatal = [
        finding
        for finding in found.findings
        if finding.level == "error"
        or (finding.kind == "split" and found.split is None)
        or (finding.kind == "small" and config.size is None)
    ]
    errors = [_in_words(finding, found.dataset) for finding in fatal]
    if len(errors) == 1:
        raise UserError(errors[0])
    if errors:
        listed = "\n".join(f"  {shorten(error, 300)}" for error in errors[:10])
        raise UserError(
            f"{len(errors)} errors in {found.dataset.root}; nothing was written. The first of them:\n{listed}\n"
            f"See all: caseunet audit {found.dataset.root}   To deal with them: add --repair plan.yaml, read the plan, "
            "then prepare with --plan plan.yaml"
        )
    notes = [_in_words(finding, found.dataset) for finding in found.findings]
    for note in notes[:MOST_NOTES]:
        display.say(f"  {shorten(note, 200)}", "yellow")
    if len(notes) > MOST_NOTES:
        display.say(f"  and {len(notes) - MOST_NOTES} more remarks, all in {DESCRIPTION}", "yellow")
    return tuple(notes)


def _in_words(finding: Finding, dataset: SourceDataset) -> str:
    place = dataset.root / finding.file if finding.file else finding.case or dataset.root
    return f"{place}: {finding.text}. {finding.advice}".strip()


def read_case(
    layout: Layout, case: SourceCase, dataset: SourceDataset, size: tuple[int, int] | None
) -> tuple[CaseRow, np.ndarray, np.ndarray]:
    """Read one labelled case: its row of the table, image (S, C, H, W) and class ids (S, H, W) at ``size``."""
    picture = layout.read_image(case, dataset.modality == "rgb")
    labels = read_labels(layout, case, dataset, picture.geometry)
    if labels.shape != (picture.pixels.shape[0], *picture.pixels.shape[2:]):
        raise UserError(f"{case.label[0]}: the mask's shape {labels.shape} is not its image's {picture.pixels.shape}.")
    image, labels = resize_image(picture.pixels, size), resize_labels(labels, size)
    if min(image.shape[-2:]) < SMALLEST_IMAGE:
        raise UserError(
            f"{case.image[0]}: its slices have {image.shape[2]}×{image.shape[3]} pixels; the networks need at least "
            f"{SMALLEST_IMAGE} each way. Set prepare.size."
        )
    classes = len(known_coding(dataset).label_map)
    row = CaseRow(
        id=case.id,
        group=case.group,
        slices=image.shape[0],
        height=image.shape[2],
        width=image.shape[3],
        source_shape=picture.geometry.shape,
        spacing=picture.geometry.spacing,
        image_files=tuple(dataset.relative(path) for path in case.image),
        image_hash=content_hash(*case.image),
        label_files=tuple(dataset.relative(path) for path in case.label),
        label_hash=content_hash(*case.label),
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


def _intensities(sample: np.ndarray) -> Intensities:
    low, high = np.percentile(sample, [0.5, 99.5], axis=1)
    columns = (sample.mean(1), sample.std(1), low, high)
    mean, std, low, high = (tuple(float(v) for v in column) for column in columns)
    return Intensities(mean=mean, std=std, low=low, high=high)


def _split(rows: list[CaseRow], dataset: SourceDataset, config: PrepareConfig) -> Split:
    cases = {
        row.id: SplitCase(
            row.group, row.slices, frozenset((np.flatnonzero(row.slice_class_pixels[:, 1:].sum(0)) + 1).tolist())
        )
        for row in rows
    }
    return make_split(config, cases, dataset.group_name, dataset.format)


def _fingerprint(rows: list[CaseRow]) -> str:
    lines = sorted(f"{row.id} {row.image_hash} {row.label_hash}" for row in rows)
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()
