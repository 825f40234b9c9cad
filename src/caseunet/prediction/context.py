"""What one case is segmented with, and whether training saw it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caseunet.errors import InvalidInputError
from caseunet.io import images
from caseunet.options import PredictionOutputs
from caseunet.prediction.inputs import Input
from caseunet.prediction.predictor import SlicePredictor
from caseunet.types import ImageVolume


@dataclass(frozen=True)
class PredictionContext:
    """With what cases are segmented, and where to; ``max_ram`` are the bytes that the process may have, if told."""

    predictor: SlicePredictor
    folder: Path
    outputs: PredictionOutputs
    out_of_fold: bool
    max_ram: int | None = None


@dataclass(frozen=True)
class Identity:
    """Of an image.

    Attributes:
        image_hash: of its files.
        in_training: whether a network that segments it was trained on it, in this file or another.
        training_case: that it is or looks like; None where there is none, or only the file is known.
        looks_like: by what it looks like that case, without being the same.
        voting: the networks that may segment it; None for all.
    """

    image_hash: str
    in_training: bool
    training_case: str | None
    looks_like: str | None
    voting: list[int] | None


def find_identity(work: PredictionContext, item: Input, picture: ImageVolume | None = None) -> Identity:
    """Whether training saw an image, in this file or another, and who may segment it; of a video its file alone tells.

    Raises:
        CaseUNetError: nobody may.
    """
    try:
        image_hash = images.hash_images(*item.all_files)
    except OSError as error:
        raise InvalidInputError(f"{item.path}: cannot be read: {error.strerror}.") from error
    match = None if picture is None else work.predictor.known_images.find(picture.pixels)
    same, alike = [], []
    for data in work.predictor.training_data:
        has_match = match is not None and any(image.case == match.case for image in data.images)
        same.append(image_hash in data.image_hashes or (has_match and match is not None and match.is_same))
        alike.append(has_match and not same[-1])
    voting = [n for n in range(len(same)) if not (work.out_of_fold and (same[n] or alike[n]))]
    if not voting:
        raise InvalidInputError(f"{item.path}: every network of {work.predictor.folder} was trained on it.")
    in_training = any(same[n] for n in voting)
    looks_like = match.text if match and not in_training and any(alike[n] for n in voting) else None
    return Identity(
        image_hash=image_hash,
        in_training=in_training,
        training_case=match.case if match and (in_training or looks_like) else None,
        looks_like=looks_like,
        voting=voting if len(voting) < len(same) else None,
    )


def shared_entries(work: PredictionContext, item: Input, target: Path, identity: Identity) -> dict[str, Any]:
    """What :class:`caseunet.prediction.store.PredictedCase` says of every kind of input."""
    return {
        "id": item.id,
        "image": str(item.path),
        "image_hash": identity.image_hash,
        "in_training": identity.in_training,
        "training_case": identity.training_case,
        "looks_like": identity.looks_like,
        "file": target.relative_to(work.folder).as_posix(),
    }


def path_beside(target: Path, item: Input, ending: str) -> Path:
    """A path beside the mask, called by the image with another ending."""
    return target.parent / (Path(item.id).name + ending)


def display_window(predictor: SlicePredictor) -> tuple[float, float] | None:
    """In which a person looks at the images."""
    return predictor.info.preprocessing.display_window
