"""What the masks of a data set mean, where no file tells: found by reading them all."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from caseunet.datasets.case_statistics import measure_mask
from caseunet.datasets.checks import PALETTES
from caseunet.datasets.coding import MaskValues, find_coding, find_table, palette_conflict
from caseunet.datasets.known_values import name_known
from caseunet.datasets.layout import Layout, SourceCase, SourceDataset
from caseunet.errors import InvalidInputError
from caseunet.io import raster
from caseunet.workers import run_all


def with_coding(layout: Layout, dataset: SourceDataset, workers: int | None) -> SourceDataset:
    """The data set with the meaning of its masks, which are read for it where no file tells.

    Raises:
        CaseUNetError: they do not show it, or their palettes contradict each other.
    """
    if dataset.coding is not None and (dataset.coding.colored or not _has_palette(dataset.labelled)):
        return dataset
    parts = [alone(dataset, (case,)) for case in dataset.labelled]
    results = dict(run_all(partial(_measure_mask, layout), parts, workers))
    measured = (results[index] for index in sorted(results))  # in the order of the cases, whichever is done first
    masks = [result for result in measured if isinstance(result, MaskValues)]
    if dataset.coding is not None:
        if conflict := palette_conflict(masks):
            raise InvalidInputError(
                f"{dataset.root}: {conflict}, so that values alone do not tell the classes. {PALETTES}"
            )
        return dataset
    coding = (
        find_table(dataset.class_tables, masks, dataset.class_regions) if dataset.class_tables else find_coding(masks)
    )
    coding = name_known(coding, dataset.known_values)
    if coding is None:
        raise InvalidInputError(f"{dataset.root}: its masks show fewer than two classes. Name them in a labels.json.")
    return replace(dataset, coding=coding)


def _has_palette(cases: Iterable[SourceCase]) -> bool:
    """Whether any mask has."""
    files = (path for case in cases for path in case.label if raster.is_raster(path))
    return any(raster.has_palette(path) for path in files)


def alone(dataset: SourceDataset, cases: tuple[SourceCase, ...]) -> SourceDataset:
    """A few cases and what is needed to read them: small enough to be sent to a worker process for each."""
    repairs = {case.id: dataset.repairs[case.id] for case in cases if case.id in dataset.repairs}
    return replace(dataset, cases=cases, findings=(), repairs=repairs)


def _measure_mask(layout: Layout, dataset: SourceDataset) -> MaskValues | None:
    return measure_mask(layout, dataset.cases[0], dataset)
