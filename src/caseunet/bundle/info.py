"""What model.json says: everything that prediction needs to know, and where the weights come from."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from caseunet.former_names import migrate_section
from caseunet.types import FrozenModel, LabelMap, Preprocessing, former_name

FORMAT: Literal[4] = 4
"""Written now. 3, which says window and z-scores once for all channels, 2, with other names of some entries, and 1,
without size and recipe, are still read."""

LOSSES_WITH_WEIGHTS = ("cross_entropy", "hybrid")
"""Losses that take loss.class_weights, of classes and not of regions."""

OVERSAMPLE = 0.66
"""Share of patches around foreground that is advised where a structure is not found."""


class Architecture(FrozenModel):
    """What to build with ``create_model``."""

    name: str
    in_channels: Annotated[int, Field(ge=1)]
    num_classes: Annotated[int, Field(ge=2)]
    kwargs: Annotated[dict[str, Any], former_name("arguments", "kwargs")]


class TrainingImage(FrozenModel):
    """By what a training image is known again, whatever its file."""

    case: str
    pixels_hash: str
    """BLAKE2b of its decoded pixels in canonical order."""
    likeness: str = ""
    """A small picture, 32 × 32 of a frame or 8 slices of 16 × 16 of a volume: base64 of bytes; "" if none is kept."""
    sketch: str = ""
    """The lowest hashes of short rows of its pixels, of which its parts share many: base64; "" if none is kept."""


class StoredValues(FrozenModel):
    """The values of an image as it is stored, all channels together."""

    lowest: float
    low: float
    """1st percentile."""
    middle: float
    high: float
    """99th percentile."""
    highest: float


class TrainingData(FrozenModel):
    """Where the weights come from."""

    source_format: str
    content_hash: Annotated[str, former_name("fingerprint", "content_hash")]
    """Of the prepared data set."""
    cases: int
    fold: int | None
    """That was held out; None for an ensemble over all folds."""
    split_by: str
    caution: str
    licence: str
    image_hashes: tuple[str, ...]
    """BLAKE2b of each training image's file, so that prediction can tell when it sees one again."""
    channel_names: tuple[str, ...] = ()
    """Of the network's channels, in order: how the names of files end that hold one each, so that prediction finds them
    together, or what dataset.json calls them."""
    all_channel_names: tuple[str, ...] = ()
    """Of all channels of the training images, of which the network may see some; () in earlier bundles."""
    channels_by_number: bool = False
    """Whether the place among all channels tells a channel, as in nnU-Net's _0000 or in a file of all channels, and
    not how its file's name ends."""
    images: tuple[TrainingImage, ...] = ()
    """By what prediction knows them again in other files; () in bundles of before."""
    alike_from: float | None = None
    """Correlation of the small pictures from which an image looks like a training image."""
    stored: tuple[StoredValues, ...] = ()
    """Values of training images, evenly spread; () in bundles of before."""
    read_with: dict[str, Any] = Field(default_factory=dict)
    """Options that the raw data were read with, such as masks and field_of_view; {} where names told all."""

    @property
    def chosen_channels(self) -> tuple[str, ...]:
        """Names of the network's channels where they are some of the training images'; () where they are all."""
        is_chosen = self.all_channel_names not in ((), self.channel_names)
        return self.channel_names if is_chosen else ()


class Score(FrozenModel):
    """A score measured in training."""

    protocol: str
    step: int | None
    """Of training; None for an ensemble, whose networks have their own."""
    selected: Literal["best", "last"]
    """Whether these weights were chosen by this score ("best", so the score is optimistic) or are simply the last."""
    selected_by: str = "dice"
    """The score by which "best" were chosen: dice or iou, the mean or of one structure."""
    mean: float | None
    structures: dict[str, float | None]
    not_found: tuple[str, ...] = ()
    """Structures of which not one pixel was found in the validation cases, though references have them."""


class Member(FrozenModel):
    """One network of an ensemble; its tensors are called fold-N/NAME."""

    preprocessing: Preprocessing
    """Differs from the others' in intensities alone, which come from each one's own training cases."""
    training_data: TrainingData
    validation: Score

    @property
    def prefix(self) -> str:
        return f"fold-{self.training_data.fold}/"


class Recipe(FrozenModel):
    """How the weights were trained, as the run's configuration says it."""

    name: str
    seed: int
    steps: int
    batch_size: int
    patch_size: tuple[int, int]
    data: dict[str, Any]
    augment: dict[str, Any]
    loss: dict[str, Any]
    optimizer: dict[str, Any]

    @field_validator("data", "augment", "loss", "optimizer", mode="before")
    @classmethod
    def _present_words(cls, values: Any, field: ValidationInfo) -> Any:
        return migrate_section(str(field.field_name), values) if isinstance(values, Mapping) else values


class UsualRange(FrozenModel):
    """What one feature of an image, or of what was found in it, was in training."""

    name: str
    low: float
    high: float
    spread: Annotated[float, Field(gt=0)]
    """Standard deviation over training cases: the unit in which a case may lie outside."""


class ValidatedCase(FrozenModel):
    """A case of validation as prediction sees it: what was expected of its masks, and how good they were."""

    case: str
    expected: dict[str, float | None]
    """Dice that the calibrated probabilities let expect, by structure."""
    dice: dict[str, float | None]
    unusual: float
    """How far its features lie outside the usual ranges, at most, in spreads; 0 inside."""


class PostprocessingRule(FrozenModel):
    """A rule of post-processing that made the masks of validation better."""

    structure: str
    do: Literal["largest", "small", "fill"]
    """Keep the largest component alone; drop components below a size; fill holes that are closed in a slice."""
    least: Annotated[float, Field(ge=0)] = 0.0
    """Size for "small": millilitres, or for images without a spacing their share."""
    gain: float
    """Mean Dice of the structure over validation cases that it added."""


class OperatingPoint(FrozenModel):
    """A threshold of a structure's probability, and what it gives on validation: means over cases of pixel counts."""

    threshold: Annotated[float, Field(gt=0, lt=1)]
    """The structure is each pixel whose probability, the sum over its classes at temperature 1, reaches it."""
    sensitivity: float
    """Mean over the cases that have the structure of the share of its pixels that is found."""
    interval: tuple[float, float] | None
    """95 % percentile bootstrap interval of the sensitivity over patients or sequences; None with fewer than five."""
    precision: float | None
    """Mean over the cases in which something is found of the share of it that is right; None without any."""
    specificity: float | None
    """Mean over cases of the share of the other pixels that is left out."""
    cases: Annotated[int, Field(ge=1)]
    """Of validation that have the structure."""


class Quality(FrozenModel):
    """What validation taught about the network's own masks, by which new ones are judged and post-processed."""

    protocol: str
    temperature: Annotated[float, Field(gt=0)]
    """Of the probabilities: softmax of logits / temperature."""
    calibration_error: tuple[float, float]
    """Expected calibration error over validation's pixels, before and after; of the same pixels."""
    usual: tuple[UsualRange, ...]
    """Empty where there were too few training cases to tell."""
    threshold: float
    """Spreads outside a usual range beyond which a case is called unusual."""
    lines: dict[str, tuple[float, float]]
    """{structure: (a, b)}: predicted Dice is a + b · expected."""
    error: dict[str, float | None]
    """Mean absolute error of the predicted Dice over validation cases, each predicted from the others."""
    postprocessing: Annotated[tuple[PostprocessingRule, ...], former_name("cleaning", "postprocessing")]
    validated: tuple[ValidatedCase, ...]
    operating_points: dict[str, tuple[OperatingPoint, ...]] = Field(default_factory=dict)
    """By structure, the thresholds falling and the sensitivities rising; {} in bundles of earlier versions, and without
    a structure that no validation case has."""


class BundleInfo(FrozenModel):
    """Content of model.json."""

    format_version: Literal[1, 2, 3, 4] = FORMAT
    architecture: Architecture
    preprocessing: Preprocessing
    label_map: LabelMap
    input: str
    output: str
    training_data: TrainingData
    validation: Score
    members: tuple[Member, ...] = ()
    """Of an ensemble, whose own entries above tell of all together; () for a single network."""
    quality: Quality | None = None
    """None where nothing was validated, or in bundles of earlier versions."""
    recipe: Recipe | None = None
    """None for weights that were trained elsewhere, and in bundles of format 1."""
    code_version: str
    weights_hash: str
    """BLAKE2b of model.safetensors."""
    weights_bytes: Annotated[int, Field(ge=8)] | None = None
    """Size of model.safetensors; None only in bundles of format 1."""

    @property
    def takes_missing_channels(self) -> bool:
        """Whether the network learned to do without some channels."""
        return self.recipe is not None and self.recipe.augment.get("channel_dropout", 0) > 0

    @model_validator(mode="after")
    def _consistent(self) -> "BundleInfo":
        if (self.weights_bytes is None) != (self.format_version == 1):
            raise ValueError("weights_bytes belongs to format 2 and later, and is required there")
        a = self.architecture
        if (a.in_channels, a.num_classes) != (self.preprocessing.in_channels, len(self.label_map)):
            raise ValueError("architecture, preprocessing and label map disagree on channels or classes")
        own = {"intensity_window", "mean", "std"}
        if any(
            m.preprocessing.model_dump(exclude=own) != self.preprocessing.model_dump(exclude=own) for m in self.members
        ):
            raise ValueError("the networks of the ensemble disagree on their images")
        return self

    @property
    def caution(self) -> str:
        """What whoever uses the network must know of its validation, and what may help; "" if nothing."""
        if not self.validation.not_found:
            return ""
        ways = ["Train it longer"]
        loss, data = ({}, {}) if self.recipe is None else (self.recipe.loss, self.recipe.data)
        weighted = loss.get("name") in LOSSES_WITH_WEIGHTS and loss.get("class_weights") == "none"
        if weighted and not self.label_map.region_ids:
            ways.append("with loss.class_weights: inverse_frequency")
        if data.get("oversample_foreground", OVERSAMPLE) < OVERSAMPLE:
            ways.append(f"with data.oversample_foreground: {OVERSAMPLE}")
        structures = " and ".join(self.validation.not_found)
        return f"the network finds nothing of {structures} in any validation case. {', or '.join(ways)}"


def bundle_schema() -> dict[str, Any]:
    """JSON Schema of model.json; published for each format in docs/schemas."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **BundleInfo.model_json_schema()}
