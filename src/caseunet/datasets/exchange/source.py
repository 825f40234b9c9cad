"""What every exchange format is written from: named cases, their labels, their pictures and their part of a split."""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from caseunet.datasets.layout import Layout, SourceCase, SourceDataset
from caseunet.datasets.names import PART_WORDS
from caseunet.datasets.reading import read_placed_mask, read_repaired_image, require_coding, to_ids
from caseunet.errors import InvalidInputError
from caseunet.io import raster
from caseunet.io.raster_file import UPRIGHT, find_orientation
from caseunet.options import ConvertOptions
from caseunet.progress import Display, count_text
from caseunet.types import IGNORE, Color, Geometry, LabelMap, Split

IGNORE_NAME = "ignore"
"""What pixels that nobody judged are called where a format names them; our readers know it."""

IGNORE_COLOR: Color = (255, 255, 255)
COPIED = (".png", ".jpg", ".jpeg")
"""Kinds of pictures that every tool reads."""

CT_WINDOW = (-200.0, 250.0)
PERCENTILES = (0.5, 99.5)

PARTS = ("train", "val", "test")

MAX_REMARKS = 10
"""On masks, that are shown; all stand in the log."""


@dataclass(frozen=True)
class ExchangeCase:
    """A case and the name of its files."""

    name: str
    case: SourceCase
    part: str


@dataclass(frozen=True)
class ExchangeFrame:
    """A 2-D picture with its class ids: a whole case, or a slice of a volume.

    Attributes:
        name: of its files.
        part: of the split.
        labels: (H, W), uint8.
        file: the picture's own file, if it can be copied as it is.
        picture: gives (H, W) or (H, W, 3), uint8; None where there is no image.
    """

    name: str
    part: str
    labels: np.ndarray
    file: Path | None
    picture: Callable[[], np.ndarray] | None

    @property
    def suffix(self) -> str:
        return self.file.suffix.lower() if self.file is not None else ".png"

    def write_picture(self, folder: Path) -> Path:
        """Copy or write the picture into a folder."""
        path = folder / f"{self.name}{self.suffix}"
        folder.mkdir(parents=True, exist_ok=True)
        if self.file is not None:
            shutil.copyfile(self.file, path)
        elif self.picture is not None:
            raster.write_image(path, self.picture())
        return path


@dataclass(frozen=True)
class ExchangeSource:
    """A raw data set or predictions, to be written in another format.

    Attributes:
        layout: that reads it.
        dataset: with its coding.
        cases: in order, with masks or without.
        options: what the verb was told.
        display: shows progress and takes cautions.
        split: as given or as the data set brings it; None for none.
        name: of the data set.
    """

    layout: Layout
    dataset: SourceDataset
    cases: tuple[ExchangeCase, ...]
    options: ConvertOptions
    display: Display
    split: Split | None = None
    name: str = "data"
    ignored: dict[str, int] = field(default_factory=dict)
    """{case: pixels that nobody judged}, as they are found."""
    remarks: dict[str, None] = field(default_factory=dict)
    """On how masks were read, as they are read."""

    @property
    def label_map(self) -> LabelMap:
        return require_coding(self.dataset).label_map

    @property
    def labelled(self) -> tuple[ExchangeCase, ...]:
        return tuple(case for case in self.cases if case.case.label)

    def name_values(self, labels: np.ndarray) -> dict[int, str]:
        """{class id, or :data:`IGNORE`: its name} of what occurs in labels."""
        names = dict(enumerate(self.label_map.names)) | {IGNORE: IGNORE_NAME}
        return {value: names[value] for value in np.unique(labels).tolist()}

    def has_image(self, case: ExchangeCase) -> bool:
        """Whether there is an image beside the mask."""
        return case.case.image != case.case.label

    def read_case(self, case: ExchangeCase) -> tuple[np.ndarray, Geometry]:
        """Class ids in canonical order (S, H, W), and the image's geometry."""
        geometry = self.layout.read_geometry(case.case)
        mask = read_placed_mask(self.layout, case.case, self.dataset, geometry)
        labels = to_ids(mask, case.case, self.dataset, require_coding(self.dataset))
        for remark in mask.geometry.remarks:
            told = f"{case.case.label[0]}: {remark}"
            if told not in self.remarks:
                self.display.caution(told, shown=len(self.remarks) < MAX_REMARKS)
                self.remarks[told] = None
        if number := int(np.count_nonzero(labels == IGNORE)):
            self.ignored[case.case.id] = number
        return labels, geometry

    def read_pixels(self, case: ExchangeCase) -> np.ndarray:
        """(S, C, H, W)."""
        return read_repaired_image(self.layout, case.case, self.dataset).pixels

    def each(self, cases: Sequence[ExchangeCase], title: str = "converting") -> Iterator[ExchangeCase]:
        """The cases, with progress shown."""
        with self.display.stage(title, len(cases), "case") as stage:
            for case in cases:
                yield case
                stage.advance(1, case.case.id)

    def frames(self) -> Iterator[ExchangeFrame]:
        """The pictures of all cases with a mask; the slices of volumes one by one.

        Raises:
            CaseUNetError: a case cannot be read.
        """
        for case in self.each(self.labelled):
            labels, geometry = self.read_case(case)
            if geometry.affine is None and len(labels) == 1:
                yield self._single_frame(case, labels[0], geometry)
                continue
            pictures = self.read_slices(case) if self.has_image(case) else None
            for k, ids in enumerate(labels):
                picture = None if pictures is None else _picker(pictures, k)
                yield ExchangeFrame(f"{case.name}_{k:04d}", case.part, ids, None, picture)

    def _single_frame(self, case: ExchangeCase, labels: np.ndarray, geometry: Geometry) -> ExchangeFrame:
        if not self.has_image(case):
            return ExchangeFrame(case.name, case.part, labels, None, None)
        file = case.case.image[0]
        copied = (
            file.suffix.lower() in COPIED
            and len(case.case.image) == 1
            and case.case.id not in self.dataset.repairs
            and not case.case.volume
            and is_plain_picture(file, labels.shape)
        )
        return ExchangeFrame(case.name, case.part, labels, file if copied else None, lambda: self.read_slices(case)[0])

    def read_slices(self, case: ExchangeCase) -> np.ndarray:
        """The image as pictures of 8 bits, (S, H, W) or (S, H, W, 3)."""
        pixels = self.read_pixels(case)
        if pixels.shape[1] not in (1, 3):
            pixels = pixels[:, :1]
        if pixels.dtype != np.uint8:
            low, high = self._window(pixels)
            pixels = np.clip((pixels - low) / (high - low) * 255, 0, 255).round().astype(np.uint8)
        return pixels[:, 0] if pixels.shape[1] == 1 else pixels.transpose(0, 2, 3, 1)

    def _window(self, pixels: np.ndarray) -> tuple[float, float]:
        if self.options.window is not None:
            return self.options.window
        if self.dataset.modality == "ct":
            return CT_WINDOW
        low, high = (float(value) for value in np.percentile(pixels, PERCENTILES))
        return low, high if high > low else low + 1

    def tell_losses(self, format: str) -> None:
        """Caution of what a format of 2-D pictures cannot hold of these cases.

        Raises:
            CaseUNetError: no case has a mask and an image.
        """
        if not self.labelled:
            raise InvalidInputError(f"{self.dataset.root}: has no masks, so there is nothing to write as {format}.")
        without = len(self.cases) - len(self.labelled)
        if without:
            self.display.caution(f"{count_text(without, 'image')} without a mask are left out")
        if any(self.layout.read_geometry(case.case).affine is not None for case in self.labelled[:1]):
            self.display.caution(
                f"{format} holds pictures alone: volumes are cut into slices of 8 bits, and spacing, position and "
                "intensities are lost"
            )
        if self.label_map.region_ids:
            names = ", ".join(self.label_map.structures)
            self.display.caution(f"the regions {names} are written as the classes that they consist of")
        self.tell_partial(format)

    def tell_partial(self, format: str) -> None:
        """Caution that what a case does not label has become background."""
        partial = [case.case.id for case in self.labelled if case.case.labelled]
        if partial:
            self.display.caution(
                f"{count_text(len(partial), 'case')} are labelled in part, {partial[0]} among them; {format} cannot "
                "say so, and what nobody labelled there counts as background"
            )

    def require_images(self, format: str) -> None:
        """Raises CaseUNetError where a case with a mask has no image to be written beside it."""
        lacking = next((case for case in self.labelled if not self.has_image(case)), None)
        if lacking is not None:
            raise InvalidInputError(
                f"{lacking.case.label[0]}: has no image that can be read, and {format} needs it. Convert in the "
                "folder in which you predicted, or write the masks alone as png, nifti or seg.nrrd."
            )

    def tell_without_mask(self) -> None:
        """Caution that images without a mask are left out."""
        without = len(self.cases) - len(self.labelled)
        if without:
            self.display.caution(f"{count_text(without, 'image')} without a mask are left out")

    def tell_ignored(self, format: str) -> None:
        """Caution that pixels that nobody judged have become background."""
        if self.ignored:
            pixels = sum(self.ignored.values())
            self.display.caution(
                f"{pixels:,} pixels that nobody judged, in {count_text(len(self.ignored), 'case')}, count as "
                f"background: {format} has no word for them"
            )


def _picker(pictures: np.ndarray, k: int) -> Callable[[], np.ndarray]:
    return lambda: pictures[k]


def is_plain_picture(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether a picture file shows, to every program, grey or colour of 8 bits in the given shape."""
    if not raster.is_raster(path) or raster.read_shape(path) != shape:
        return False
    with Image.open(path) as image:
        upright = find_orientation(image) in UPRIGHT
        return upright and image.mode in ("L", "RGB") and not image.has_transparency_data


def name_cases(ids: Sequence[str]) -> dict[str, str]:
    """{case: a name for its files}: without folders and special characters, each once."""
    names: dict[str, str] = {}
    for own in ids:
        name = first = re.sub(r"[^\w.-]+", "_", own).strip("._") or "case"
        number = 2
        while name in names.values():
            name, number = f"{first}_{number}", number + 1
        names[own] = name
    return names


def part_names(split: Split | None, cases: Sequence[SourceCase], fold: int) -> Mapping[str, str]:
    """{case: its part}: by a fold of the split, else as the data set brings it; "" where there is none."""
    own: dict[str, str] = {case.id: case.part if case.part in PARTS else "" for case in cases}
    if split is not None:
        chosen = split.folds[fold]
        own.update(dict.fromkeys(chosen.train, "train"))
        own.update(dict.fromkeys(chosen.val, "val"))
    if any(own.values()):
        return {case: part or "train" for case, part in own.items()}
    return own


def build_cases(dataset: SourceDataset, split: Split | None, fold: int) -> tuple[ExchangeCase, ...]:
    """The cases of a data set with their names and parts."""
    ids = [case.id for case in dataset.cases]
    bare = [_without_part(own) for own in ids]
    named = name_cases(bare) if len(set(bare)) == len(bare) else name_cases(ids)
    names = dict(zip(ids, named.values(), strict=True))
    parts = part_names(split, dataset.cases, fold)
    return tuple(ExchangeCase(names[case.id], case, parts[case.id]) for case in dataset.cases)


def _without_part(case: str) -> str:
    """A case's name without the folder of its part of a split: "train/a" becomes "a"."""
    folder, slash, rest = case.partition("/")
    return rest if slash and folder.lower() in PART_WORDS else case


def without_ignore(labels: np.ndarray) -> np.ndarray:
    """Class ids with 0 where nobody judged."""
    return np.where(labels == IGNORE, 0, labels).astype(np.uint8)
