"""What is written down of a prepared data set: statistics, sources and split."""

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from caseunet.config import PrepareConfig
from caseunet.data.intensities import pool_statistics
from caseunet.data.store import CaseRow, DatasetInfo, RawSource
from caseunet.datasets import SourceDataset
from caseunet.datasets.case_statistics import ImageFacts
from caseunet.datasets.examination import Examination
from caseunet.datasets.reading import require_coding
from caseunet.datasets.splits import SplitCase, make_split
from caseunet.progress import Display
from caseunet.types import Grid, Split


def describe_prepared(
    found: Examination,
    rows: Sequence[CaseRow],
    *,
    images: Mapping[str, ImageFacts],
    grid: Grid,
    notes: tuple[str, ...],
    raw: Path,
    config: PrepareConfig,
) -> DatasetInfo:
    """The description of a prepared data set.

    Args:
        found: the raw data.
        rows: the prepared cases.
        images: {case: facts of its image}.
        grid: of the prepared slices.
        notes: what a person should know of the raw data.
        raw: their folder.
        config: how they were read.
    """
    dataset, label_map = found.dataset, require_coding(found.dataset).label_map
    class_pixels = np.sum([np.reshape(row.slice_class_pixels, (-1, len(label_map))).sum(0) for row in rows], axis=0)
    intensities = pool_statistics([row.intensities for row in rows])
    return DatasetInfo(
        source_format=found.layout.name,
        modality=dataset.modality,
        group_name=dataset.group_name,
        licence=dataset.licence,
        label_map=label_map,
        channels=len(intensities.mean),
        channel_names=dataset.channel_names if len(dataset.channel_names) == len(intensities.mean) else (),
        channels_by_number=dataset.channels_by_number,
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
            layout=config.layout,
            plan=None if config.repair_plan is None else str(config.repair_plan.resolve()),
            group=config.group,
            modality=None if config.modality == "auto" else config.modality,
            images=config.images,
            masks=config.masks,
            channels=config.channels,
            field_of_view=config.field_of_view,
            regions=config.regions,
            raters=config.raters,
        ),
    )


def warn_of_labels(info: DatasetInfo, rows: Sequence[CaseRow], display: Display) -> None:
    """Caution of pixels without a label, and of labels without a pixel."""
    pixels = sum(row.slices * row.height * row.width for row in rows)
    if ignored := pixels - sum(info.class_pixels):
        display.caution(f"{ignored / pixels:.1%} of the pixels have no label: in no loss, statistic or score")
    empty = [name for name, pixels in zip(info.label_map.names, info.class_pixels, strict=True) if pixels == 0]
    if empty:
        display.caution(f"no pixel has these labels, so they cannot be learned: {', '.join(empty)}")


def _value_range(images: Sequence[ImageFacts]) -> tuple[float, float]:
    return min(facts.range[0] for facts in images), max(facts.range[-1] for facts in images)


def _hash_sources(rows: Sequence[CaseRow]) -> str:
    lines = sorted(
        " ".join([row.id, row.image_hash, row.label_hash, *([";".join(row.labelled)] if row.labelled else [])])
        for row in rows
    )
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def split_rows(rows: Sequence[CaseRow], dataset: SourceDataset, config: PrepareConfig) -> Split:
    """The split of the prepared cases, as configured."""
    cases = {}
    parts = {case.id: case.part for case in dataset.cases}
    for row in rows:
        pixels = np.reshape(row.slice_class_pixels, (row.slices, -1)).sum(0)
        cases[row.id] = SplitCase(
            row.group, row.slices, frozenset((np.flatnonzero(pixels[1:]) + 1).tolist()), parts[row.id]
        )
    return make_split(config, cases, dataset.group_name, dataset.format)
