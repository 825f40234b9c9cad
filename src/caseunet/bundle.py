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
    fold: int
    split_by: str
    caution: str
    licence: str
    image_hashes: tuple[str, ...]
    """BLAKE2b of each training image's file, so that prediction can tell when it sees one again."""


class Score(Stored):
    """A score measured in training."""

    protocol: str
    step: int
    selected: Literal["best", "last"]
    """Whether these weights were chosen by this score ("best", so the score is optimistic) or are simply the last."""
    mean: float | None
    structures: dict[str, float | None]


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
    code_version: str
    weights_hash: str
    """BLAKE2b of model.safetensors."""

    @model_validator(mode="after")
    def _consistent(self) -> "BundleInfo":
        a = self.architecture
        if (a.in_channels, a.num_classes) != (self.preprocessing.in_channels, len(self.label_map)):
            raise ValueError("architecture, preprocessing and label map disagree on channels or classes")
        return self


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory: its description, its weights by parameter name, and the folder it came from."""

    info: BundleInfo
    weights: dict[str, Tensor]
    folder: Path


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
