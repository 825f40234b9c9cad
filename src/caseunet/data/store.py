"""PREPARED: the folder between the raw data and the batches.

    dataset.json     what the data are: classes, channels, grid, intensities, pixel counts, where they came from
    cases.parquet    one row per case
    splits.json      folds
    images.zarr      arrays (S, C, H, W) in the source's own type, one slice per chunk, some megabytes per shard; of
                     slices of more than four megapixels a chunk is a tile
    labels.zarr      arrays (S, H, W), uint8, of the same names
    references.zarr  the labels at the source's size, of the same names, where images are stored at another

A volume has an array of its own; small cases of one shape, as frames are, lie together in one. It is written beside its
place, one whole array after another, and moved when all is there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import zarr
from pydantic import Field, model_validator

from caseunet import former_names
from caseunet.config import ReadingConfig
from caseunet.data.folds import fold_of, read_split
from caseunet.data.grid import Placement
from caseunet.data.intensities import CaseIntensities, Intensities, pool_statistics
from caseunet.errors import CaseUNetError, InputNotFoundError, InvalidInputError, InvalidOptionError, did_you_mean
from caseunet.files import Location, location, read_json, read_model, remote_errors
from caseunet.types import BY_BLOCKS, Fold, FrozenModel, Grid, LabelMap, Modality, former_name

KIND = "a prepared data set"
DESCRIPTION = "dataset.json"
FORMAT: Literal[3] = 3
"""2 had no labels at the source's size; 1 had them all in one array."""
MAX_CHUNK, TILE = 2**22, 1024
"""Pixels of a slice up to which it is one chunk; height and width of the chunks of larger ones, of which training then
decodes those that a patch needs."""
KINDS = ("images", "labels", "references")
COLUMNS = (
    "group",
    "array",
    "first",
    "slices",
    "height",
    "width",
    "source_height",
    "source_width",
    "box",
    "image_hash",
    "slice_class_pixels",
    "intensities",
    "statistics",
)


def chunk_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of what is stored, and decoded, as one."""
    return (height, width) if height * width <= MAX_CHUNK else (min(TILE, height), min(TILE, width))


class RawSource(FrozenModel):
    """Where the raw data were when they were prepared, and how they were read."""

    folder: str
    format: str
    plan: str | None = None
    group: str | None = None
    modality: Modality | None = None
    """Where it was given, not found."""
    images: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    regions: dict[str, tuple[int | str, ...]] = Field(default_factory=dict)
    """As they were declared; {} where the data set tells."""
    raters: Literal["majority", "staple"] | None = None
    field_of_view: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    """Patterns that tell images, masks, fields of view and channels; () where names tell it."""
    layout: str = "auto"
    """As it was given; ``format`` is the one that was found."""

    @property
    def reading(self) -> ReadingConfig:
        """The options that whoever reads the same raw data again must give."""
        names = ("layout", "group", "modality", "images", "masks", "field_of_view", "channels", "raters", "regions")
        given = self.model_dump(include=set(names), exclude_defaults=True, exclude_none=True)
        return ReadingConfig.model_validate(given | ({} if self.plan is None else {"repair_plan": self.plan}))


class DatasetInfo(FrozenModel):
    """Content of dataset.json."""

    format_version: Literal[3] = FORMAT
    source_format: str
    modality: Modality
    group_name: str
    licence: str
    label_map: LabelMap
    channels: Annotated[int, Field(ge=1)]
    channel_names: tuple[str, ...] = ()
    """How the names of the channels' files end, or what dataset.json calls them; () where nothing names them."""
    channels_by_number: bool = False
    """Whether numbers tell a channel, of its file (nnU-Net's _0000) or in a file of all, and not its name."""
    dtype: str
    grid: Grid
    intensities: Intensities
    """Of all cases; training takes those of its own cases alone."""
    class_pixels: tuple[int, ...]
    value_range: tuple[float, float] | None = None
    """Lowest and highest pixel value of all cases; None in what earlier versions prepared."""
    content_hash: Annotated[str, former_name("fingerprint", "content_hash")]
    """BLAKE2b over the hashes of all source files in order of case."""
    code_version: str
    notes: tuple[str, ...] = ()
    source: RawSource | None = None
    """None in what earlier versions prepared."""

    @model_validator(mode="after")
    def _consistent(self) -> "DatasetInfo":
        i = self.intensities
        if {len(values) for values in (i.mean, i.std, i.low, i.high)} != {self.channels}:
            raise ValueError(f"intensities need {self.channels} values each, one per channel")
        if len(self.class_pixels) != len(self.label_map):
            raise ValueError(f"class_pixels needs {len(self.label_map)} values, one per class")
        return self


def read_source(folder: Location) -> RawSource | None:
    """How the raw data of a prepared data set were read; None where its dataset.json is not there or does not tell."""
    if not (folder / DESCRIPTION).is_file() or "content_hash" not in read_json(folder / DESCRIPTION, KIND):
        return None
    return read_model(folder / DESCRIPTION, DatasetInfo, "a prepared data set's description").source


@dataclass(frozen=True)
class CaseRow:
    """One row of cases.parquet.

    Attributes:
        array: name of the array that holds it.
        first: its first slice there.
        slices, height, width: as stored.
        source_shape: in the axis order of the file.
        source_height, source_width: in canonical order.
        spacing: the source's between slices, rows, columns, millimetres.
        box: (top, left, bottom, right) of what was kept of the source's canonical rows and columns.
        slice_class_pixels: pixel counts, (slices · classes), slice after slice.
        intensities: of its foreground.
        statistics: means, then standard deviations of its channels over all pixels, (2 · C).
        pixels_hash, likeness, sketch: by what the source's image is known again; "" in what earlier versions prepared.
        stored_values: of the source's image: lowest, 1st percentile, median, 99th percentile, highest; () as above.
        labelled: the structures that are labelled in it; () for all.
    """

    id: str
    group: str
    array: str
    first: int
    slices: int
    height: int
    width: int
    source_shape: tuple[int, ...]
    source_height: int
    source_width: int
    spacing: tuple[float, float, float] | None
    box: tuple[int, int, int, int]
    image_files: tuple[str, ...]
    image_hash: str
    label_files: tuple[str, ...]
    label_hash: str
    slice_class_pixels: tuple[int, ...]
    intensities: CaseIntensities
    statistics: tuple[float, ...]
    pixels_hash: str = ""
    likeness: str = ""
    sketch: str = ""
    stored_values: tuple[float, ...] = ()
    labelled: tuple[str, ...] = ()


def find_chosen(info: DatasetInfo, channels: Sequence[str], folder: Location) -> list[int]:
    """The places of some channels among those that are stored; of all without names.

    Raises:
        InvalidOptionError: there is no such channel, or it is named twice; or they are colours.
    """
    if not channels:
        return list(range(info.channels))
    places = {name.lower(): place for place, name in enumerate(info.channel_names)}
    names = [name.lower() for name in channels]
    there = f"The channels are {', '.join(info.channel_names)}"
    if info.modality == "rgb":
        raise InvalidOptionError(f"{folder}: holds colour images, which are taken whole.", options=("data.channels",))
    if not places:
        there = "Its channels have no names: prepare the data with prepare.channels"
    unknown = [given for given, name in zip(channels, names, strict=True) if name not in places]
    if unknown:
        raise InvalidOptionError(
            f"{folder}: there is no channel {', '.join(unknown)}. {there}.", options=("data.channels",)
        )
    if len(set(names)) < len(names):
        raise InvalidOptionError(
            f"data.channels names a channel twice: {', '.join(channels)}. {there}.", options=("data.channels",)
        )
    return [places[name] for name in names]


def describe_chosen(info: DatasetInfo, places: Sequence[int]) -> DatasetInfo:
    """The description of some channels; itself of all of them."""
    if list(places) == list(range(info.channels)):
        return info
    return info.model_copy(
        update={
            "channels": len(places),
            "channel_names": tuple(info.channel_names[place] for place in places),
            "intensities": info.intensities.of(places),
        }
    )


def unfinished_path(folder: Location) -> Location:
    """Where a PREPARED is until all is there."""
    return folder.with_name(f"{folder.name}.unfinished")


def open_group(location: Location, mode: Literal["r", "r+", "w"]) -> zarr.Group:
    """A Zarr group on this machine or behind a URL."""
    options = None if isinstance(location, Path) else dict(location.storage_options) or None
    return zarr.open_group(str(location), mode=mode, storage_options=options)


class Prepared:
    """A PREPARED folder, for reading.

    Attributes:
        folder: of this machine, or behind a URL.
        info: dataset.json.
        cases: cases.parquet, indexed by case id.
        split: splits.json.
        warnings: what was to be told of the data when they were prepared; () of one that is only read.
        all_channel_names: of the stored channels, of which ``info`` names those that are read.

    Args:
        folder: to read.
        channels: names of the channels to read, in order; () for all.

    Raises:
        CaseUNetError: the folder is none, or is of another format; or there is no such channel.
    """

    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Prepared {self.folder}: {len(self.cases)} cases, {self.info.modality}>"

    def __init__(self, folder: str | Location, channels: Sequence[str] = ()) -> None:
        folder = self.folder = location(folder)
        self._arrays: dict[tuple[str, str], zarr.Array] = {}
        with remote_errors(folder):
            is_there, is_begun = (folder / DESCRIPTION).is_file(), unfinished_path(folder).is_dir()
        if not is_there and is_begun:
            raise CaseUNetError(f"{folder}: is not finished. Prepare the same data to it again: that goes on.")
        if not is_there and isinstance(folder, Path) and not folder.exists():
            raise InputNotFoundError(f"{folder}: no such folder.")
        if not is_there:
            raise InvalidInputError(
                f"{folder}: is no {KIND[2:]} ({DESCRIPTION} is missing). Make one with: caseunet prepare"
            )
        if (found := read_json(folder / DESCRIPTION, KIND).get("format_version")) in range(1, FORMAT):
            raise InvalidInputError(
                f"{folder}: is of format {found}, which an earlier version wrote. Prepare the data again."
            )
        self._stored = read_model(folder / DESCRIPTION, DatasetInfo, "a prepared data set's description")
        self.all_channel_names = self._stored.channel_names
        self._chosen = find_chosen(self._stored, channels, folder)
        self.info = describe_chosen(self._stored, self._chosen)
        self.split = read_split(folder / "splits.json")
        try:
            with (folder / "cases.parquet").open("rb") as stream:
                self.cases = pd.read_parquet(stream).set_index("id").rename(columns=former_names.CASE_COLUMNS)
            self._groups = {kind: open_group(folder / f"{kind}.zarr", "r") for kind in KINDS}
        except (OSError, KeyError, ValueError) as error:
            raise self._damage_error(str(error)) from error
        missing = [column for column in COLUMNS if column not in self.cases]
        if missing or not self.cases.index.is_unique:
            raise self._damage_error(f"cases.parquet lacks {missing}" if missing else "cases.parquet has a case twice")

    @property
    def is_part(self) -> bool:
        """Whether some of the stored channels are read, or all in another order."""
        return self.info is not self._stored

    def fold(self, number: int, context_slices: int = 0) -> Fold:
        """One fold, checked: its cases and slices exist, and nothing is in training and validation.

        Args:
            number: of the fold.
            context_slices: slices on each side that training sees beside its own.

        Raises:
            CaseUNetError: there is no such fold, or it does not hold what a fold must.
        """
        fold = fold_of(self.split, number, self.folder)
        origin = f"{self.folder / 'splits.json'}: fold {number}"
        used: dict[str, set[tuple[str, int]]] = {"train": set(), "val": set()}
        for part, cases in (("train", fold.train), ("val", fold.val)):
            for case, ranges in cases.items():
                if case not in self.cases.index:
                    raise InvalidInputError(
                        f'{origin}: there is no case "{case}". {did_you_mean(case, self.cases.index)}'
                    )
                slices = int(self.cases.at[case, "slices"])
                if not all(0 <= start < stop <= slices for start, stop in ranges):
                    raise InvalidInputError(f"{origin}: {case} has slices 0 to {slices - 1}, not {list(ranges)}.")
                reach = context_slices if part == "train" else 0
                seen = {s for start, stop in ranges for s in range(start - reach, stop + reach)}
                if self.split.by != BY_BLOCKS:  # then groups are kept whole
                    case, seen = str(self.cases.at[case, "group"]), {0} if seen else set()
                used[part] |= {(case, s) for s in seen}
            if not used[part]:
                raise InvalidInputError(f"{origin}: its {part} part is empty.")
        both = sorted(used["train"] & used["val"])
        if both:
            raise InvalidInputError(
                f"{origin}: {both[0][0]} is in training and in validation, so scores would flatter. "
                "(Neighbouring slices count: data.context_slices must not be above prepare.split_gap.)",
                options=("data.context_slices", "prepare.split_gap"),
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
        return np.asarray(self._read("images", case, range(position, position + 1))[0])

    def image_part(self, case: str, position: int, rows: slice, columns: slice) -> np.ndarray:
        """(C, rows, columns) of a slice; of a large one decodes the chunks that hold them alone."""
        return np.asarray(self._read("images", case, range(position, position + 1), (rows, columns))[0])

    def label_slice(self, case: str, position: int) -> np.ndarray:
        """(H, W), uint8."""
        return np.asarray(self._read("labels", case, range(position, position + 1))[0])

    def placement(self, case: str) -> Placement:
        """Where the stored slices lie in the source's."""
        top, left, bottom, right = (int(value) for value in self.cases.at[case, "box"])
        return Placement((top, left, bottom, right), self.size(case))

    def source_size(self, case: str) -> tuple[int, int]:
        """(H, W) of the source's slices."""
        return int(self.cases.at[case, "source_height"]), int(self.cases.at[case, "source_width"])

    def spacing(self, case: str) -> tuple[float, float, float] | None:
        """The source's between slices, rows, columns, millimetres; None where it has none."""
        spacing = self.cases.at[case, "spacing"]
        if spacing is None or len(spacing) != 3:
            return None
        slices, rows, columns = (float(value) for value in spacing)
        return slices, rows, columns

    def references(self, case: str) -> np.ndarray:
        """Labels at the source's size (S, h, w), uint8, of the placement's box; outside of it there are none."""
        placement = self.placement(case)
        return self._read("labels" if placement.size == placement.box_size else "references", case)

    def slice_class_pixels(self, case: str) -> np.ndarray:
        """Pixel counts, (S, classes)."""
        flat = np.asarray(self.cases.at[case, "slice_class_pixels"])
        shape = (int(self.cases.at[case, "slices"]), len(self.info.label_map))
        if flat.size != shape[0] * shape[1]:
            raise self._damage_error(f"the pixel counts of case {case} are not {shape[0]} slices × {shape[1]} classes")
        return flat.reshape(shape)

    def case_statistics(self, case: str) -> np.ndarray:
        """Mean and standard deviation over all pixels of a case, (2, C), float32."""
        flat = np.asarray(self.cases.at[case, "statistics"], np.float32)
        if flat.size != 2 * self._stored.channels:
            raise self._damage_error(f"the statistics of case {case} is not that of {self._stored.channels} channels")
        return flat.reshape(2, -1)[:, self._chosen]

    def merged_ids(self, case: str) -> tuple[int, ...] | None:
        """Where only some structures are labelled in a case, what is left of each class, as
        :meth:`LabelMap.merged_ids`; None where all are."""
        labelled = self.cases.at[case, "labelled"] if "labelled" in self.cases.columns else ()
        if labelled is None or len(labelled) == 0:
            return None
        return self.info.label_map.merged_ids(str(name) for name in labelled)

    def known_structures(self, case: str) -> tuple[str, ...]:
        """The structures that can be told in a case."""
        merged = self.merged_ids(case)
        return tuple(self.info.label_map.structures) if merged is None else self.info.label_map.known_structures(merged)

    def intensities(self, cases: Iterable[str]) -> Intensities:
        """Of the foreground of some cases together."""
        try:
            rows = [
                CaseIntensities.from_flat(self.cases.at[case, "intensities"], self._stored.channels) for case in cases
            ]
        except ValueError as error:
            raise self._damage_error(f"intensities in cases.parquet: {error}") from error
        return pool_statistics(rows).of(self._chosen)

    def _read(
        self,
        kind: str,
        case: str,
        slices: range | None = None,
        part: tuple[slice, slice] = (slice(None), slice(None)),
    ) -> np.ndarray:
        """Some slices of a case, or all; of these some rows and columns, or all."""
        try:
            if (kind, case) not in self._arrays:
                self._arrays[kind, case] = self._open(kind, case)
            slices = range(int(self.cases.at[case, "slices"])) if slices is None else slices
            first = int(self.cases.at[case, "first"])
            place = (slice(first + slices.start, first + slices.stop), ..., *part)
            stored = np.asarray(self._arrays[kind, case][place])
            return stored[:, self._chosen] if kind == "images" and self.is_part else stored
        except CaseUNetError:
            raise
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise self._damage_error(f"{kind} of case {case}: {error}") from error

    def _open(self, kind: str, case: str) -> zarr.Array:
        """The array of a case, after a look at its shape and whether its pixels are there: absent ones read as 0."""
        if case not in self.cases.index:
            raise InvalidInputError(f'{self.folder}: there is no case "{case}". {did_you_mean(case, self.cases.index)}')
        array = self._groups[kind][self.cases.at[case, "array"]]
        size = self.placement(case).box_size if kind == "references" else self.size(case)
        stored, expected = (array.shape[0], *array.shape[-2:]), (int(self.cases.at[case, "slices"]), *size)
        if stored[1:] != expected[1:] or stored[0] < int(self.cases.at[case, "first"]) + expected[0]:
            raise self._damage_error(
                f"{kind} of case {case} have shape {stored}, not {expected} (slices, rows, columns)"
            )
        if array.nchunks_initialized < array.nchunks:  # counted by files: absent ones would read as 0
            raise self._damage_error(f"{kind} of case {case} are missing")
        return array

    def _damage_error(self, what: str) -> CaseUNetError:
        return InvalidInputError(f"{self.folder}: the prepared data set is damaged: {what}. Prepare the data again.")
