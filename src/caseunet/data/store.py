"""PREPARED: the folder between the raw data and the batches.

    dataset.json     what the data are: classes, channels, intensities, pixel counts, where they came from
    cases.parquet    one row per case
    splits.json      folds
    images.zarr      one array per case, (S, C, H, W), one slice per chunk, one shard per case, the source's own type
    labels.zarr      one array per case, (S, H, W), uint8

It is written beside its place and renamed when it is whole.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import zarr
from pydantic import ValidationError

from caseunet.errors import UserError, did_you_mean
from caseunet.files import read_json, write_json
from caseunet.types import Fold, LabelMap, Modality, Split, Stored

MARKER = "dataset.json"


class Intensities(Stored):
    """Of a sample of the pixels that are not background (all pixels where there is only background), per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...]
    """0.5th percentile."""
    high: tuple[float, ...]
    """99.5th percentile."""


class DatasetInfo(Stored):
    """Content of dataset.json."""

    format_version: Literal[1] = 1
    source_format: str
    modality: Modality
    group_name: str
    licence: str
    label_map: LabelMap
    channels: int
    dtype: str
    size: tuple[int, int] | None
    intensities: Intensities
    class_pixels: tuple[int, ...]
    fingerprint: str
    """BLAKE2b over the hashes of all source files in order of case."""
    code_version: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaseRow:
    """One row of cases.parquet.

    Attributes:
        slice_class_pixels: (S, classes) pixel counts.
    """

    id: str
    group: str
    slices: int
    height: int
    width: int
    source_shape: tuple[int, ...]
    spacing: tuple[float, float, float] | None
    image_file: str
    image_hash: str
    label_file: str
    label_hash: str
    slice_class_pixels: np.ndarray


class PreparedWriter:
    """Collects cases in a hidden folder beside ``folder`` and renames it on :meth:`finish`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._partial = folder.with_name(f".partial-{folder.name}")
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        self._images = zarr.create_group(self._partial / "images.zarr")
        self._labels = zarr.create_group(self._partial / "labels.zarr")
        self._rows: list[dict[str, Any]] = []

    def add(self, row: CaseRow, image: np.ndarray, labels: np.ndarray) -> None:
        """Store one case: image (S, C, H, W) and class ids (S, H, W)."""
        for group, array in ((self._images, image), (self._labels, labels.astype(np.uint8))):
            group.create_array(row.id, data=array, chunks=(1, *array.shape[1:]), shards=array.shape)
        counts = row.slice_class_pixels
        self._rows.append(vars(row) | {"slice_class_pixels": counts.ravel().tolist()})

    def finish(self, info: DatasetInfo, split: Split) -> None:
        pd.DataFrame(self._rows).to_parquet(self._partial / "cases.parquet", index=False)
        write_json(self._partial / "splits.json", split.model_dump(mode="json"))
        write_json(self._partial / MARKER, info.model_dump(mode="json"))
        shutil.rmtree(self.folder, ignore_errors=True)  # an earlier one, if it may be replaced
        self._partial.rename(self.folder)

    def abandon(self) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)


class Prepared:
    """A PREPARED folder, for reading.

    Attributes:
        info: dataset.json.
        cases: cases.parquet, indexed by case id.
        split: splits.json.

    Raises:
        UserError: the folder is none, or is of a newer format.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / MARKER).is_file():
            raise UserError(f"{folder}: is no prepared data set ({MARKER} is missing). Make one with: caseunet prepare")
        try:
            self.info = DatasetInfo.model_validate(read_json(folder / MARKER, "a prepared data set's description"))
            self.cases = pd.read_parquet(folder / "cases.parquet").set_index("id")
            self._images = zarr.open_group(folder / "images.zarr", mode="r")
            self._labels = zarr.open_group(folder / "labels.zarr", mode="r")
        except (ValidationError, OSError, KeyError, ValueError) as error:
            raise UserError(f"{folder}: the prepared data set is damaged or of another version: {error}") from error
        self.split = read_split(folder / "splits.json")

    def fold(self, number: int) -> Fold:
        return fold_of(self.split, number, self.folder)

    def image(self, case: str) -> np.ndarray:
        """(S, C, H, W), the source's type."""
        return self._read(self._images, case)

    def labels(self, case: str) -> np.ndarray:
        """(S, H, W), uint8."""
        return self._read(self._labels, case)

    def image_slice(self, case: str, position: int) -> np.ndarray:
        """(C, H, W); decodes this slice alone."""
        return self._read(self._images, case, position)

    def label_slice(self, case: str, position: int) -> np.ndarray:
        """(H, W), uint8."""
        return self._read(self._labels, case, position)

    def slice_class_pixels(self, case: str) -> np.ndarray:
        """Pixel counts, (S, classes)."""
        flat = np.asarray(self.cases.at[case, "slice_class_pixels"])
        return flat.reshape(-1, len(self.info.label_map))

    def _read(self, group: Any, case: str, part: Any = ...) -> np.ndarray:
        if case not in self.cases.index:
            raise UserError(f'{self.folder}: there is no case "{case}". {did_you_mean(case, self.cases.index)}')
        try:
            return np.asarray(group[case][part])
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise UserError(f"{self.folder}: case {case} is damaged: {error}. Prepare the data again.") from error


def read_split(path: Path) -> Split:
    """Read a splits.json.

    Raises:
        UserError: it is missing or of another form.
    """
    try:
        return Split.model_validate(read_json(path, "splits.json of a prepared data set"))
    except ValidationError as error:
        raise UserError(f"{path}: is no splits.json of a prepared data set: {error}") from error


def fold_of(split: Split, number: int, origin: Path) -> Fold:
    """One fold.

    Raises:
        UserError: there are fewer folds; ``origin`` says where.
    """
    if not 0 <= number < len(split.folds):
        raise UserError(f"{origin}: there is no fold {number}; its folds are 0 to {len(split.folds) - 1}.")
    return split.folds[number]
