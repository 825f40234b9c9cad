"""BUNDLE: a folder with everything that prediction needs, and nothing that can run code.

model.safetensors   the weights
model.json          what they are: architecture, preprocessing, label map, origin, scores
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from caseunet.errors import UserError
from caseunet.files import content_hash, read_model, write_json, written_whole
from caseunet.types import LabelMap, Preprocessing, Stored

DESCRIPTION = "model.json"
WEIGHTS = "model.safetensors"


class Architecture(Stored):
    """What to build with ``create_model``."""

    name: str
    in_channels: Annotated[int, Field(ge=1)]
    num_classes: Annotated[int, Field(ge=2)]
    arguments: dict[str, Any]


class TrainingData(Stored):
    """Where the weights come from."""

    source_format: str
    fingerprint: str
    cases: int
    fold: int | None
    """That was held out; None for an ensemble over all folds."""
    split_by: str
    caution: str
    licence: str
    image_hashes: tuple[str, ...]
    """BLAKE2b of each training image's file, so that prediction can tell when it sees one again."""


class Score(Stored):
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


class Member(Stored):
    """One network of an ensemble; its tensors are called fold-N/NAME."""

    preprocessing: Preprocessing
    """Differs from the others' in intensities alone, which come from each one's own training cases."""
    training_data: TrainingData
    validation: Score

    @property
    def prefix(self) -> str:
        return f"fold-{self.training_data.fold}/"


class UsualRange(Stored):
    """What one feature of an image, or of what was found in it, was in training."""

    name: str
    low: float
    high: float
    spread: Annotated[float, Field(gt=0)]
    """Standard deviation over training cases: the unit in which a case may lie outside."""


class ValidatedCase(Stored):
    """A case of validation as prediction sees it: what was expected of its masks, and how good they were."""

    case: str
    expected: dict[str, float | None]
    """Dice that the calibrated probabilities let expect, by structure."""
    dice: dict[str, float | None]
    unusual: float
    """How far its features lie outside the usual ranges, at most, in spreads; 0 inside."""


class Cleaning(Stored):
    """A way to mend masks that made validation's better."""

    structure: str
    do: Literal["largest", "small", "fill"]
    """Keep the largest component alone; drop components below a size; fill holes that are closed in a slice."""
    least: Annotated[float, Field(ge=0)] = 0.0
    """Size for "small": millilitres, or for images without a spacing their share."""
    gain: float
    """Mean Dice of the structure over validation cases that it added."""


class Quality(Stored):
    """What validation taught about the network's own masks, by which new ones are judged and mended."""

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
    cleaning: tuple[Cleaning, ...]
    validated: tuple[ValidatedCase, ...]


class BundleInfo(Stored):
    """Content of model.json."""

    format_version: Literal[1] = 1
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
    code_version: str
    weights_hash: str
    """BLAKE2b of model.safetensors."""

    @model_validator(mode="after")
    def _consistent(self) -> "BundleInfo":
        a = self.architecture
        if (a.in_channels, a.num_classes) != (self.preprocessing.in_channels, len(self.label_map)):
            raise ValueError("architecture, preprocessing and label map disagree on channels or classes")
        own = {"clip", "subtract", "divide"}
        if any(
            m.preprocessing.model_dump(exclude=own) != self.preprocessing.model_dump(exclude=own) for m in self.members
        ):
            raise ValueError("the networks of the ensemble disagree on their images")
        return self


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory: its description, its weights by parameter name, and the folder it came from."""

    info: BundleInfo
    weights: dict[str, Tensor]
    folder: Path

    @property
    def networks(self) -> "list[Network]":
        """Those of an ensemble, or the one."""
        if not self.info.members:
            return [Network(self.info.preprocessing, self.info.training_data, self.weights)]
        return [
            Network(
                member.preprocessing,
                member.training_data,
                {
                    name.removeprefix(member.prefix): tensor
                    for name, tensor in self.weights.items()
                    if name.startswith(member.prefix)
                },
            )
            for member in self.info.members
        ]


@dataclass(frozen=True)
class Network:
    """One network of a bundle: how its images are prepared, what it was trained on, its weights by parameter name."""

    preprocessing: Preprocessing
    training_data: TrainingData
    weights: dict[str, Tensor]


def save_bundle(folder: Path, weights: dict[str, Tensor], **info: Any) -> None:
    """Write a bundle; ``info`` are the fields of :class:`BundleInfo` without format, hash, input and output."""
    preprocessing: Preprocessing = info["preprocessing"]
    label_map: LabelMap = info["label_map"]
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / WEIGHTS) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, temporary)
    description = BundleInfo(
        input=f"float32 (B, {preprocessing.in_channels}, H, W), H and W at least 32, preprocessed as below",
        output=f"logits (B, {len(label_map)}, H, W)",
        weights_hash=content_hash(folder / WEIGHTS),
        **info,
    )
    write_json(folder / DESCRIPTION, description.model_dump(mode="json"))


def add_quality(bundle: Bundle, quality: Quality) -> Bundle:
    """Write what validation taught into a bundle that is there."""
    info = bundle.info.model_copy(update={"quality": quality})
    write_json(bundle.folder / DESCRIPTION, info.model_dump(mode="json"))
    return Bundle(info, bundle.weights, bundle.folder)


def load_bundle(path: str | Path) -> Bundle:
    """Read a bundle; runs no code from it.

    Raises:
        UserError: it is missing, damaged, or of another format; the message names the file.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such bundle; expected a folder with {DESCRIPTION} and {WEIGHTS}.")
    info = read_model(folder / DESCRIPTION, BundleInfo, "a bundle")
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise UserError(f"{weights}: no such file; the bundle is incomplete.")
    if content_hash(weights) != info.weights_hash:
        raise UserError(
            f"{weights}: is not the file that {DESCRIPTION} describes (its hash differs). Copy the bundle again."
        )
    try:
        return Bundle(info=info, weights=load_file(weights), folder=folder)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{weights}: cannot be read as safetensors: {error}") from error
