"""What each verb can be told: one declaration of an option for the command line and for Python."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from caseunet.config import Positive, PositiveFloat, Section
from caseunet.errors import InvalidOptionError, did_you_mean
from caseunet.former_names import present_name
from caseunet.types import Modality

_SENSITIVITY = re.compile(r"\s*(.+?)\s*=\s*(\d*\.?\d+(?:e-?\d+)?)\s*(?:,|$)", re.IGNORECASE)
"""A structure and its number: a comma parts two only behind a number, since names may hold commas too."""

Mode = Literal["new", "overwrite", "resume", "extend"]
"""What to do where an earlier result is: refuse, replace it, go on with it, or go on with another budget."""


def check_mode(mode: str, *known: Mode) -> None:
    """Refuse a mode that a verb does not know.

    Args:
        mode: to check.
        known: the verb's modes beside "new" and "overwrite".

    Raises:
        InvalidOptionError: it is none of them.
    """
    names = ("new", "overwrite", *known)
    if mode not in names:
        raise InvalidOptionError(f'There is no mode "{mode}". {did_you_mean(str(mode), names)}', options=("mode",))


def is_overwrite(mode: str) -> bool:
    """Whether a mode, "new" or "overwrite", replaces an earlier result.

    Raises:
        InvalidOptionError: it is neither.
    """
    check_mode(mode)
    return mode == "overwrite"


def _parse_bytes(value: Any) -> Any:
    """Bytes of "2GB", "1500MiB", "800M"; a number as it is."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", value, re.IGNORECASE)
    if match is None:
        raise ValueError("is no amount of memory; expected one such as 4GB, 1500MiB")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " "))


Bytes = Annotated[int, Field(ge=0), BeforeValidator(_parse_bytes)]


class PredictionSettings(Section):
    """How a bundle's networks are used."""

    precision: Literal["fp32", "bf16", "fp16", "int8"] = "fp32"
    """Arithmetic of the network. bf16 is faster and smaller on processors made for it, and a little less exact. fp16
    and int8 are for exports alone."""
    tta_flip: bool = False
    """Average over mirrored images too, at four times the work. Images with left and right classes are mirrored only
    top to bottom."""
    tta_scales: tuple[float, ...] = (1.0,)
    """Average over images resized by these factors, such as 0.75,1,1.25."""
    postprocess: bool = True
    """Apply the post-processing chosen on the validation set."""
    check_image: bool = True
    """Refuse masks, and images that are clearly of another kind than the training data."""
    sensitivity: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default={})
    """Share of a structure's pixels that masks should find, such as tumour=0.95. Its pixels are then those whose
    probability reaches the threshold that had this sensitivity on the validation cases. Separate several with commas,
    or repeat the option. A name may hold commas itself: 'lesion, left=0.9,tumour=0.95'."""

    @field_validator("precision", mode="before")
    @classmethod
    def _refuse_former(cls, value: Any) -> Any:
        if (told := present_name("prediction.precision", value)) is not None:
            raise ValueError(told.partition(" ")[2])
        return value

    @field_validator("sensitivity", mode="before")
    @classmethod
    def _read_sensitivities(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = _SENSITIVITY.findall(value)
        found = {name: float(number) for name, number in pairs}
        if len(found) < len(pairs):
            raise ValueError("names a structure twice")
        rest = _SENSITIVITY.sub("", value).strip()
        if rest or not found or not all(0 < number < 1 for number in found.values()):
            raise ValueError("expected structures and numbers between 0 and 1, such as tumour=0.95")
        return found

    @field_validator("tta_scales", mode="before")
    @classmethod
    def _read_factors(cls, value: Any) -> tuple[float, ...]:
        parts = value if isinstance(value, list | tuple) else (value,)
        try:
            factors = tuple(float(number) for part in parts for number in str(part).split(","))
        except ValueError:
            factors = ()
        if not factors or not all(0.25 <= factor <= 4 for factor in factors):
            raise ValueError("expected factors from 0.25 to 4, such as 0.75,1,1.25")
        return factors


class PredictionOutputs(Section):
    """What is written beside the masks."""

    probabilities: bool = False
    """Write the calibrated probability of each class."""
    overlay: bool = False
    """Write a picture of each case, and preview.html."""
    measurements: bool = False
    """Write volumes, lesions and diameters to measurements.csv."""
    dicom_seg: bool = False
    """Write a DICOM segmentation object for each DICOM series; with ``probabilities`` a fractional one for each class
    too."""


class PredictOptions(PredictionSettings, PredictionOutputs):
    """What :func:`caseunet.predict` can be told."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""
    backend: Literal["torch", "openvino", "onnx", "auto"] = "torch"
    """What computes the network. auto takes OpenVINO on a CPU if it is installed, else torch."""
    exported: Path | None = None
    """Folder of an export of the bundle, such as one in int8, to compute with."""
    split: Path | None = None
    """splits.json of a prepared data set: segment only the fold's validation part."""
    fold: int | None = None
    """Fold of the split. Default: the model's own."""
    out_of_fold: bool = False
    """Segment each image with those networks of an ensemble that were not trained on it."""
    max_ram: Bytes | None = None
    """Memory that may be taken: 4GB, 1500MiB. Volumes that need more are segmented from the disk."""

    @model_validator(mode="after")
    def _one_backend(self) -> "PredictOptions":
        if self.exported is not None and self.backend != "torch":
            raise ValueError("an export computes by itself: give either a backend or exported")
        return self

    @property
    def settings(self) -> PredictionSettings:
        """How the networks are used, alone."""
        return PredictionSettings(**{name: getattr(self, name) for name in PredictionSettings.model_fields})

    @property
    def outputs(self) -> PredictionOutputs:
        """What is written, alone."""
        return PredictionOutputs(**{name: getattr(self, name) for name in PredictionOutputs.model_fields})


class EvaluateOptions(Section):
    """What :func:`caseunet.evaluate` can be told."""

    protocol: str | None = None
    """How to count: volumes, slices, lits-official, lits-corrected, endovis-2018 or paper. Default: volumes for CT and
    MRI, else slices."""
    compare: tuple[Path, ...] = ()
    """Predictions of other models, which are compared with the first on the same cases by paired tests."""
    labels: Path | None = None
    """labels.json that says what the values of the true masks mean."""
    lesions: tuple[str, ...] | None = None
    """Structures whose components are lesions. Default: those with such names."""
    tolerance: float = 2.0
    """Tolerance of the normalised surface distance, in mm, or in pixels for images without a spacing."""
    split: Path | None = None
    """splits.json of a prepared data set: score only the fold's validation part. A case without a prediction counts as
    an empty mask."""
    fold: int | None = None
    """Fold of the split. Default: the one that was predicted, else 0."""
    run: Path | None = None
    """Training run whose curves the report shows."""
    title: str = "Segmentation report"
    """Title of the report."""


class StudyOptions(Section):
    """What :func:`caseunet.compare` and :func:`caseunet.ablate` can be told."""

    seeds: Positive = 3
    """Trainings of each model: seeds 0, 1, 2 …"""
    folds: tuple[Annotated[int, Field(ge=0)], ...] = (0,)
    """Folds to validate on."""
    minutes: PositiveFloat | None = None
    """Budget of each training in minutes, instead of steps."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Budget of each training in steps."""
    raw: Path | None = None
    """Raw data set with the true masks. Default: where it was prepared from."""
    protocol: str | None = None
    """How to count, as in evaluate."""
    jobs: Annotated[int, Field(ge=1)] = 1
    """Trainings at a time, each with its share of the processors."""

    @property
    def budget(self) -> dict[str, Any]:
        """Configuration keys that replace the configured budget, if one is given."""
        if self.minutes is None and self.steps is None:
            return {}
        return {"training.minutes": self.minutes, "training.steps": self.steps}


class ConvertOptions(Section):
    """What :func:`caseunet.convert` can be told."""

    shapes: Literal["masks", "polygons"] = "masks"
    """How coco, labelme and cvat draw things: as masks, or as polygons along the edges of pixels, whose holes are cut
    open. Both keep each pixel. yolo has polygons alone, label-studio masks alone."""
    split: Path | None = None
    """Which cases are for training and which for validation: nnU-Net's splits_final.json, splits.json of a prepared
    data set, or a .csv. Default: what the data set brings."""
    fold: Annotated[int, Field(ge=0)] = 0
    """Fold of the split that formats of one split get. nnunet gets all."""
    window: tuple[float, float] | None = None
    """Intensities that become black and white where volumes become pictures. Default: -200 250 HU for CT, else the
    middle 99 % of each volume."""
    dataset_id: Annotated[int, Field(ge=1, le=999)] = 1
    """Number of nnU-Net's data set."""
    dataset_name: str | None = None
    """Name of nnU-Net's data set. Default: the folder's."""

    @model_validator(mode="after")
    def _window_rises(self) -> "ConvertOptions":
        if self.window is not None and not self.window[0] < self.window[1]:
            raise ValueError("window must rise, not run from {:g} to {:g}".format(*self.window))
        return self


class ImportOptions(Section):
    """What a file of imported weights does not tell."""

    modality: Modality = "ct"
    """Images that the network segments."""
    labels: tuple[str, ...] = ()
    """Names of the classes behind the background, in order: liver,tumour."""
    window: tuple[float, float] | None = None
    """Intensities that become 0 and 1. Default: -200 250 HU for CT, 0 255 for images."""
    size: tuple[int, int] = (512, 512)
    """Height and width that the network sees."""

    @field_validator("labels", mode="before")
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        parts = [value] if isinstance(value, str) else value
        return [name.strip() for part in parts for name in part.split(",")]
