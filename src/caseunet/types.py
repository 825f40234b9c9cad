"""What passes between the layers: labels, geometry, cases, and how pixels become network input."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Union
from unicodedata import combining, normalize

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    import numpy as np

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")

Modality = Literal["ct", "mr", "rgb", "gray"]
Plane = Literal["axial", "coronal", "sagittal"]
"""In which the slices of a volume lie."""
PlaneRule = Literal["axial", "coronal", "sagittal", "acquired"]
"""In which plane the volumes of a data set are cut; "acquired": each in its own, in which its slices were taken."""
DIRECTIONS: dict[Plane, str] = {"axial": "SPL", "coronal": "PIL", "sagittal": "LIP"}
"""Whereto slices, rows and columns of each plane run: Superior, Inferior, Posterior, Left."""
Channel = Annotated[int, Field(ge=0, le=255)]
Color = tuple[Channel, Channel, Channel]
MIN_SIZE = 32
"""Height and width that every network can work on."""
IGNORE = 255
"""Id of pixels that nobody judged, in stored labels, targets and references. No class has it, no network predicts it,
and losses, sampling, statistics and scores leave them out."""
Length = Annotated[int, Field(ge=MIN_SIZE, le=8192)]
Size = tuple[Length, Length]
"""Height and width of what a network gets."""
Window = tuple[float, float]
"""Lowest and highest intensity that count."""
Steps = Union[tuple[float, float, float], "np.ndarray"]
"""From a voxel to the next one along slices, rows and columns, in millimetres: three lengths where these axes stand at
right angles, else (3, 3) vectors, one a row."""


def step_vectors(steps: Steps) -> np.ndarray:
    """(3, 3), one a row; along the coordinate axes where the steps are lengths."""
    import numpy as np

    return np.diag(steps) if np.ndim(steps) == 1 else np.asarray(steps, float)


def voxel_volume(steps: Steps) -> float:
    """In mm³: of voxels that are not boxes, less than the product of the lengths of their edges."""
    import numpy as np

    if np.ndim(steps) == 1:
        return math.prod(float(length) for length in steps)
    return abs(float(np.linalg.det(steps)))


class FrozenModel(BaseModel):
    """Base of everything that is written to JSON: immutable, and strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


def former_name(former: str, name: str) -> Any:
    """Of a field that files of earlier versions call otherwise: read by either name, written by the present one."""
    return Field(validation_alias=AliasChoices(name, former))


class Label(FrozenModel):
    """One class of a label map. Id 0 is the background."""

    id: Annotated[int, Field(ge=0, le=254)]
    name: Annotated[str, Field(min_length=1)]
    color: Color


def name_key(name: str) -> str:
    """The name of a class as names are compared: without case; spaces, underscores and hyphens alike."""
    words = re.findall(r"[^\s_-]+", normalize("NFC", name).casefold())
    return " ".join(words) or name


_PAIRS = [("left", "right"), ("l", "r"), ("lt", "rt"), ("lh", "rh"), ("sin", "dex"), ("os", "od")]
_SIDES = {side: other for pair in _PAIRS for side, other in (pair, pair[::-1])}
_GLUED = re.compile(r"^(left|right)(?=.)|(?<=.)(left|right)$")


def _words(name: str) -> list[str]:
    """Of a class name in any script, in lower case and without accents."""
    letters = (letter for letter in normalize("NFD", name) if not combining(letter))
    return [word.lower() for word in _WORD.findall("".join(letters))]


def _split_sides(name: str) -> tuple[str, ...]:
    """The words of a class name, with left and right apart from what they are glued to."""
    return tuple(part for word in _words(name) for part in _GLUED.split(word) if part)


class LabelMap(FrozenModel):
    """The classes of a data set and the structures on which it is scored.

    ``structures`` maps the name of a scored structure to the label ids that make it up; they may overlap, as in LiTS,
    where the liver is every voxel labelled liver or tumour. The background is never a structure.

    ``region_ids`` says that the structures are regions, learnt each by itself as in nnU-Net's region-based training,
    and which class ids are written for them; () where each pixel has one class.
    """

    labels: tuple[Label, ...]
    structures: dict[str, tuple[int, ...]]
    region_ids: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> LabelMap:
        ids = [label.id for label in self.labels]
        if ids != list(range(len(ids))) or len(ids) < 2:
            raise ValueError(f"label ids must be 0, 1, 2 … with at least one class beside the background, not {ids}")
        for values in (self.names, self.colors):
            twice = [value for value in values if values.count(value) > 1]
            if twice:
                raise ValueError(f"{twice[0]} is there twice; each class needs its own name and colour")
        for name, members in self.structures.items():
            if not members or not set(members) <= set(ids[1:]):
                raise ValueError(f'structure "{name}" must hold foreground ids of {ids[1:]}, not {list(members)}')
        if not set(self.region_ids) <= set(self.distinct_ids(self.region_ids)):
            raise ValueError(f"of the class ids {list(self.region_ids)} some are in the same regions, or in none")
        return self

    def distinct_ids(self, preferred: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Class ids that the structures tell apart: of those in the same ones the first, of ``preferred`` if there is
        one. The background, and what is in no structure, is left out."""
        first: dict[tuple[str, ...], int] = {}
        for i in (*preferred, *range(len(self.labels))):
            inside = tuple(name for name, members in self.structures.items() if i in members)
            if inside:
                first.setdefault(inside, i)
        return tuple(sorted(first.values()))

    def with_regions(self, order: tuple[int, ...] = ()) -> LabelMap:
        """With its structures as regions.

        Args:
            order: the class id that each structure stands for, as nnU-Net's ``regions_class_order``; () leaves it to
                :meth:`distinct_ids`.

        Raises:
            ValueError: the order is not one id of each structure, or two of them are in the same structures.
        """
        if order and (
            len(order) != len(self.structures)
            or any(i not in members for i, members in zip(order, self.structures.values(), strict=True))
        ):
            raise ValueError(
                f"{list(order)} is not one class id of each region, in the order of {list(self.structures)}"
            )
        region_ids = tuple(sorted(order)) or self.distinct_ids()
        return LabelMap(labels=self.labels, structures=self.structures, region_ids=region_ids)

    def merged_ids(self, labelled: Iterable[str]) -> tuple[int, ...]:
        """What is left of the classes where only some structures are labelled: for each class the id of the first that
        cannot be told from it. Of a tumour within a liver that alone is labelled that is the liver's, of a spleen that
        nobody labelled the background's.

        Args:
            labelled: names of structures or classes; others are passed over.
        """
        keys = set(map(name_key, labelled))
        known = [members for name, members in self.structures.items() if name_key(name) in keys]
        told = {name_key(name) for name in self.structures}
        known += [(label.id,) for label in self.labels if name_key(label.name) in keys - told]
        first: dict[tuple[bool, ...], int] = {}
        return tuple(first.setdefault(tuple(i in members for members in known), i) for i in range(len(self.labels)))

    def known_structures(self, merged: tuple[int, ...]) -> tuple[str, ...]:
        """The structures that can be told where classes are merged as :meth:`merged_ids` says."""
        return tuple(name for name, members in self.structures.items() if is_told_apart(members, merged))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)

    @property
    def sided_names(self) -> tuple[str, ...]:
        """Of classes that are left or right: one looks like the other in a mirrored image.

        "left kidney" or "KidneyRight" alone, and "kidney_l_cyst" where there is "Kidney-R-cyst" too.
        """
        words = {name: _split_sides(name) for name in self.names}
        turned = {name: tuple(_SIDES.get(word, word) for word in own) for name, own in words.items()}
        return tuple(
            name
            for name, own in words.items()
            if {"left", "right"} & set(_words(name)) or (turned[name] != own and turned[name] in words.values())
        )

    @property
    def colors(self) -> tuple[Color, ...]:
        return tuple(label.color for label in self.labels)

    def __len__(self) -> int:
        return len(self.labels)


def is_told_apart(members: Iterable[int], merged: Sequence[int]) -> bool:
    """Whether a structure of these class ids can be told where classes are merged as :meth:`LabelMap.merged_ids`
    says."""
    inside = set(members)
    return {merged[i] for i in inside}.isdisjoint(merged[i] for i in range(len(merged)) if i not in inside)


@dataclass(frozen=True)
class Geometry:
    """Where the pixels of a source file lie, and how to return to it.

    Attributes:
        shape: shape of the source array, in the axis order of the file.
        affine: 4×4, voxel index → RAS millimetres; None for images without a position in the patient.
        spacing: (between slices, rows, columns) in millimetres in canonical order; None as above.
        plane: of the slices in canonical order. Readers give axial ones, and
            :func:`caseunet.io.geometry.reslice` turns these.
        remarks: what a person should know of how the file was read, a sentence each without its name: a slice
            distance that varies, a second picture that is left out. Audit, prediction and evaluation show them.
        has_thickness: whether the source tells the distance between slices. Where it does not, that of ``spacing`` is
            made up, and volumes mean nothing.
    """

    shape: tuple[int, ...]
    affine: np.ndarray | None = None
    spacing: tuple[float, float, float] | None = None
    plane: Plane = "axial"
    remarks: tuple[str, ...] = ()
    has_thickness: bool = True


@dataclass(frozen=True)
class ImageVolume:
    """The pixels of one case in canonical order.

    Attributes:
        pixels: (S, C, H, W), the file's own numeric type. For volumes slices, rows and columns run as those of the
            geometry's plane do: axial to the patient's Superior, Posterior and Left, coronal to Posterior, Inferior
            and Left, sagittal to Left, Inferior and Posterior. A single frame has S = 1.
        geometry: the source's.
        missing: names of the channels that the source lacks, which hold what stands for a missing one.
    """

    pixels: np.ndarray
    geometry: Geometry
    missing: tuple[str, ...] = ()


class RaterAgreement(NamedTuple):
    """How far several people's masks of one image agree.

    Attributes:
        pairs: names of every two files, and their Dice.
        empty: names of the files in which nothing is drawn, though something is in others.
    """

    pairs: tuple[tuple[str, str, float], ...]
    empty: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        """Mean Dice of every two."""
        return sum(dice for _, _, dice in self.pairs) / len(self.pairs)


@dataclass(frozen=True)
class Mask:
    """The values of one case's mask files, before they become class ids.

    Attributes:
        label_values: (S, H, W) in canonical order, whole numbers: grey values or ids, or colours as 0xRRGGBB.
        geometry: the mask's own.
        colored: whether they are colours.
        stored: numeric type in the file.
        fractional: how many values were no whole numbers and have been rounded.
        rounding: by how much a value was changed at most.
        assumed_aligned: whether its own position is lost, so that it was laid on its image, index on index.
        palette: {value: colour as 0xRRGGBB}, where the file shows them in colours.
        names: {value: name}, where the file names them: a segmentation of 3D Slicer.
        agreement: of several people's masks; None of one.
    """

    label_values: np.ndarray
    geometry: Geometry
    colored: bool = False
    stored: str = "uint8"
    fractional: int = 0
    rounding: float = 0.0
    assumed_aligned: bool = False
    palette: Mapping[int, int] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    agreement: RaterAgreement | None = None


class LabelCoding(FrozenModel):
    """What the values in mask files mean: ``codes`` maps each value, or colour as 0xRRGGBB, to a class id or to
    :data:`IGNORE`.

    Where files name their values and number them differently, ``by_name`` is True: the values of a file without names
    mean nothing then.
    """

    label_map: LabelMap
    codes: dict[int, int]
    colored: bool = False
    by_name: bool = False


class Grid(FrozenModel):
    """From a source's slices to the prepared ones: what is cut off, and how many pixels the rest becomes.

    At most one of ``size``, ``spacing`` and ``scale`` is given; without any the slices keep their pixels.
    """

    plane: PlaneRule = "axial"
    """In which plane volumes are cut into slices; a volume of one slice keeps that, whatever its own plane."""

    crop_to_body: Annotated[bool, former_name("crop_air", "crop_to_body")] = False
    """Cut off the rows and columns that hold nothing but the air around a body (CT)."""
    least_box: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] | None = None
    """Height and width of the smallest body's box in the data set, millimetres: of an image in which far less is found
    nothing is cut off. None where nothing is known of them."""
    size: Size | None = None
    """Height and width that every slice gets, whatever its own."""
    spacing: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] | None = None
    """Millimetres between rows and between columns that every slice gets."""
    scale: Annotated[float, Field(gt=0)] | None = None
    """Factor on height and width, for images without a spacing."""

    @model_validator(mode="after")
    def _one_rule(self) -> Grid:
        if sum(rule is not None for rule in (self.size, self.spacing, self.scale)) > 1:
            raise ValueError("of size, spacing and scale only one can be given")
        return self


class Preprocessing(Grid):
    """How a source's pixels become network input; all that prediction needs to repeat what training saw.

    Steps, in this order: cut and resize the slices as the :class:`Grid` says. Put the ``context_slices`` slices below
    and above beside each as channels (edge slices repeated). Clip each channel to its ``intensity_window`` if it has
    one. Subtract its ``mean`` and divide by its ``std``, with ``per_case_zscore`` those of each case's own pixels.
    Repeat each channel ``channel_repeat`` times. Repeat the edges of slices smaller than ``min_size`` on all sides
    alike until they have that size, as training did.
    """

    modality: Modality
    channels: Annotated[int, Field(ge=1)]
    context_slices: Annotated[int, former_name("neighbours", "context_slices"), Field(ge=0)] = 0
    channel_repeat: Annotated[int, former_name("repeat", "channel_repeat"), Field(ge=1)] = 1
    intensity_window: Annotated[tuple[Window | None, ...], former_name("clip", "intensity_window")] = ()
    """One for each channel; written as one for all in earlier bundles, as ``per_case_zscore`` is."""
    per_case_zscore: Annotated[tuple[bool, ...], former_name("per_case", "per_case_zscore")] = ()
    mean: Annotated[tuple[float, ...], former_name("subtract", "mean")]
    std: Annotated[tuple[float, ...], former_name("divide", "std")]
    min_size: Annotated[Size, former_name("least", "min_size")] = (MIN_SIZE, MIN_SIZE)
    window: Size | None = None
    """Height and width of the overlapping windows in which slices are seen that are more than a quarter larger, in
    rows or columns: those of training's patches. None in bundles of earlier versions."""
    value_range: tuple[float, float] | None = None
    """Lowest and highest pixel value of the data set's images; None in earlier bundles."""

    @property
    def in_channels(self) -> int:
        """Channels of the network input: slices × stored channels × repeats."""
        return (2 * self.context_slices + 1) * self.channels * self.channel_repeat

    @property
    def display_window(self) -> Window | None:
        """In which a person looks at the first channel; None for the image's own."""
        return self.intensity_window[0] or ((0.0, 255.0) if self.modality == "rgb" else None)

    @property
    def missing_values(self) -> tuple[float, ...]:
        """What stands for each channel where it is missing, in stored units: what normalization turns into 0."""
        values = (0.0 if by_case else mean for by_case, mean in zip(self.per_case_zscore, self.mean, strict=True))
        return tuple(
            min(max(value, window[0]), window[1]) if window else value
            for value, window in zip(values, self.intensity_window, strict=True)
        )

    @model_validator(mode="before")
    @classmethod
    def _spread_over_channels(cls, values: Any) -> Any:
        """What is said once, as earlier bundles do, is said of each channel."""
        if not isinstance(values, Mapping) or not isinstance(values.get("channels"), int):
            return values
        spread = dict(values)
        for former, name, default in (("clip", "intensity_window", None), ("per_case", "per_case_zscore", False)):
            key = former if former in values else name
            if _is_said_once(given := values.get(key, default)):
                spread[key] = (given,) * values["channels"]
        return spread

    @model_validator(mode="after")
    def _consistent(self) -> Preprocessing:
        rules = (self.mean, self.std, self.intensity_window, self.per_case_zscore)
        if {len(values) for values in rules} != {self.channels}:
            raise ValueError(
                f"mean, std, intensity_window and per_case_zscore need {self.channels} values, one per channel"
            )
        if any(abs(deviation) < 1e-12 for deviation in self.std):
            raise ValueError("std holds a zero")
        for window in self.intensity_window:
            if window is not None and not window[0] < window[1]:
                raise ValueError("intensity_window must rise, not run from {:g} to {:g}".format(*window))
        return self


def _is_said_once(value: Any) -> bool:
    """Whether a value is None, a bool or a window, not one of these for each channel."""
    return not isinstance(value, list | tuple) or (len(value) == 2 and all(type(v) in (int, float) for v in value))


Ranges = tuple[tuple[int, int], ...]
"""Slices of a case as [start, stop) pairs, counted in canonical order."""


class Fold(FrozenModel):
    """Which slices of which cases are for training and which for validation."""

    train: dict[str, Ranges]
    val: dict[str, Ranges]


BY_BLOCKS = "slice-blocks"


class Split(FrozenModel):
    """A partition of the cases into folds; the content of ``splits.json``.

    ``by`` says what was kept whole ("patient", "sequence", or :data:`BY_BLOCKS`); ``caution`` is what a reader of any
    score must know, and empty where there is nothing to warn of.
    """

    by: str
    caution: str = ""
    folds: tuple[Fold, ...]
