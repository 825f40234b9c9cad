"""PREPARED: the folder between the raw data and the batches.

    dataset.json     what the data are: classes, channels, intensities, pixel counts, where they came from
    cases.parquet    one row per case
    splits.json      folds
    images.zarr      one array per case, (S, C, H, W), one slice per chunk, one shard per case, the source's own type
    labels.zarr      one array per case, (S, H, W), uint8

It is written beside its place and renamed when it is whole.
"""

import glob
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import psutil
import zarr
from pydantic import Field, model_validator
from zarr.codecs import Crc32cCodec, ZstdCodec

from caseunet.errors import UserError, did_you_mean
from caseunet.files import mark_output, read_model, write_json
from caseunet.progress import counted
from caseunet.types import BY_BLOCKS, Fold, LabelMap, Modality, Size, Split, Stored

KIND = "a prepared data set"
DESCRIPTION = "dataset.json"
COLUMNS = ("group", "slices", "height", "width", "image_hash", "slice_class_pixels")


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
    channels: Annotated[int, Field(ge=1)]
    dtype: str
    size: Size | None
    intensities: Intensities
    class_pixels: tuple[int, ...]
    fingerprint: str
    """BLAKE2b over the hashes of all source files in order of case."""
    code_version: str
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "DatasetInfo":
        i = self.intensities
        if {len(values) for values in (i.mean, i.std, i.low, i.high)} != {self.channels}:
            raise ValueError(f"intensities need {self.channels} values each, one per channel")
        if len(self.class_pixels) != len(self.label_map):
            raise ValueError(f"class_pixels needs {len(self.label_map)} values, one per class")
        return self


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
    image_files: tuple[str, ...]
    image_hash: str
    label_files: tuple[str, ...]
    label_hash: str
    slice_class_pixels: np.ndarray


class PreparedWriter:
    """Collects cases in a hidden folder of this process beside ``folder`` and renames it on :meth:`finish`.

    Args:
        folder: where it will be.
        replace: whether an earlier one may be replaced.
    """

    def __init__(self, folder: Path, replace: bool = False) -> None:
        self.folder, self._replace = folder.resolve(), replace
        for left in self.folder.parent.glob(f".partial-*-{glob.escape(self.folder.name)}"):
            owner = left.name.split("-")[1]
            if owner.isdecimal() and not psutil.pid_exists(int(owner)):  # of a run that was killed
                shutil.rmtree(left, ignore_errors=True)
        self._partial = self.folder.with_name(f".partial-{os.getpid()}-{self.folder.name}")
        self._partial.mkdir(parents=True)
        self._images = zarr.create_group(self._partial / "images.zarr")
        self._labels = zarr.create_group(self._partial / "labels.zarr")
        self._rows: list[dict[str, Any]] = []

    def add(self, row: CaseRow, image: np.ndarray, labels: np.ndarray) -> None:
        """Store one case: image (S, C, H, W) and class ids (S, H, W)."""
        for group, array in ((self._images, image), (self._labels, labels.astype(np.uint8))):
            group.create_array(
                row.id,
                data=array,
                chunks=(1, *array.shape[1:]),
                shards=array.shape,
                compressors=[ZstdCodec(level=3), Crc32cCodec()],  # a flipped bit is an error, not another pixel
                config={"write_empty_chunks": True},  # so that a missing file is missing, and not all zero
            )
        counts = row.slice_class_pixels
        self._rows.append(vars(row) | {"slice_class_pixels": counts.ravel().tolist()})

    def finish(self, info: DatasetInfo, split: Split) -> None:
        pd.DataFrame(self._rows).to_parquet(self._partial / "cases.parquet", index=False)
        write_json(self._partial / "splits.json", split.model_dump(mode="json"))
        write_json(self._partial / DESCRIPTION, info.model_dump(mode="json"))
        mark_output(self._partial, KIND)
        if not self._replace and self.folder.is_dir() and any(self.folder.iterdir()):
            raise UserError(f"{self.folder}: another run has written it meanwhile. Choose another --out.")
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
        self._arrays: dict[tuple[str, str], zarr.Array] = {}
        if not (folder / DESCRIPTION).is_file():
            raise UserError(f"{folder}: is no {KIND[2:]} ({DESCRIPTION} is missing). Make one with: caseunet prepare")
        self.info = read_model(folder / DESCRIPTION, DatasetInfo, "a prepared data set's description")
        self.split = read_split(folder / "splits.json")
        try:
            self.cases = pd.read_parquet(folder / "cases.parquet").set_index("id")
            self._groups = {kind: zarr.open_group(folder / f"{kind}.zarr", mode="r") for kind in ("images", "labels")}
        except (OSError, KeyError, ValueError) as error:
            raise self._damaged(str(error)) from error
        missing = [column for column in COLUMNS if column not in self.cases]
        if missing or not self.cases.index.is_unique:
            raise self._damaged(f"cases.parquet lacks {missing}" if missing else "cases.parquet has a case twice")

    def fold(self, number: int, neighbours: int = 0) -> Fold:
        """One fold, checked: its cases and slices exist, and nothing is in training and validation.

        Args:
            number: of the fold.
            neighbours: slices on each side that training sees beside its own.

        Raises:
            UserError: there is no such fold, or it does not hold what a fold must.
        """
        fold = fold_of(self.split, number, self.folder)
        origin = f"{self.folder / 'splits.json'}: fold {number}"
        used: dict[str, set[tuple[str, int]]] = {"train": set(), "val": set()}
        for part, cases in (("train", fold.train), ("val", fold.val)):
            for case, ranges in cases.items():
                if case not in self.cases.index:
                    raise UserError(f'{origin}: there is no case "{case}". {did_you_mean(case, self.cases.index)}')
                slices = int(self.cases.at[case, "slices"])
                if not all(0 <= start < stop <= slices for start, stop in ranges):
                    raise UserError(f"{origin}: {case} has slices 0 to {slices - 1}, not {list(ranges)}.")
                reach = neighbours if part == "train" else 0
                seen = {s for start, stop in ranges for s in range(start - reach, stop + reach)}
                if self.split.by != BY_BLOCKS:  # then groups are kept whole
                    case, seen = str(self.cases.at[case, "group"]), {0} if seen else set()
                used[part] |= {(case, s) for s in seen}
            if not used[part]:
                raise UserError(f"{origin}: its {part} part is empty.")
        both = sorted(used["train"] & used["val"])
        if both:
            raise UserError(
                f"{origin}: {both[0][0]} is in training and in validation, so scores would flatter. "
                "(Neighbouring slices count: data.neighbours must not be above prepare.gap.)"
            )
        return fold

    def size(self, case: str) -> tuple[int, int]:
        """(H, W) as stored."""
        return int(self.cases.at[case, "height"]), int(self.cases.at[case, "width"])

    def image(self, case: str) -> np.ndarray:
        """(S, C, H, W), the source's type."""
        return self._read("images", case)

    def labels(self, case: str) -> np.ndarray:
        """(S, H, W), uint8."""
        return self._read("labels", case)

    def image_slice(self, case: str, position: int) -> np.ndarray:
        """(C, H, W); decodes this slice alone."""
        return self._read("images", case, position)

    def label_slice(self, case: str, position: int) -> np.ndarray:
        """(H, W), uint8."""
        return self._read("labels", case, position)

    def slice_class_pixels(self, case: str) -> np.ndarray:
        """Pixel counts, (S, classes)."""
        flat = np.asarray(self.cases.at[case, "slice_class_pixels"])
        shape = (int(self.cases.at[case, "slices"]), len(self.info.label_map))
        if flat.size != shape[0] * shape[1]:
            raise self._damaged(f"the pixel counts of case {case} are not {shape[0]} slices × {shape[1]} classes")
        return flat.reshape(shape)

    def _read(self, kind: str, case: str, part: Any = ...) -> np.ndarray:
        try:
            if (kind, case) not in self._arrays:
                self._arrays[kind, case] = self._open(kind, case)
            return np.asarray(self._arrays[kind, case][part])
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise self._damaged(f"{kind} of case {case}: {error}") from error

    def _open(self, kind: str, case: str) -> zarr.Array:
        """The array of a case, after a look at its shape and whether its pixels are there: absent ones read as 0."""
        if case not in self.cases.index:
            raise UserError(f'{self.folder}: there is no case "{case}". {did_you_mean(case, self.cases.index)}')
        array = self._groups[kind][case]
        stored, expected = (array.shape[0], *array.shape[-2:]), (int(self.cases.at[case, "slices"]), *self.size(case))
        if stored != expected:
            raise self._damaged(f"{kind} of case {case} have shape {stored}, not {expected} (slices, rows, columns)")
        if array.nchunks_initialized == 0:
            raise self._damaged(f"{kind} of case {case} are missing")
        return array

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self.folder}: the prepared data set is damaged: {what}. Prepare the data again.")


def read_split(path: Path) -> Split:
    """Read a splits.json.

    Raises:
        UserError: it is missing or of another form.
    """
    return read_model(path, Split, "splits.json of a prepared data set")


def fold_of(split: Split, number: int, origin: Path) -> Fold:
    """One fold.

    Raises:
        UserError: there are fewer folds; ``origin`` says where.
    """
    if not 0 <= number < len(split.folds):
        raise UserError(f"{origin}: there is no fold {number}; it has {counted(len(split.folds), 'fold')}, from 0.")
    return split.folds[number]
