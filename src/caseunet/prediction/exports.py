"""What an export says of itself, and its graph ready to run: beside PyTorch, and in a bundle's place."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BeforeValidator
from torch import Tensor

from caseunet.bundle import BundleInfo
from caseunet.errors import CaseUNetError, InvalidInputError, InvalidOptionError
from caseunet.files import read_model
from caseunet.prediction import backends
from caseunet.types import FrozenModel, Preprocessing

DESCRIPTION = "export.json"
FILES = {"onnx": "model.onnx", "openvino": "model.xml", "torch-export": "model.pt2"}

Run = Callable[[np.ndarray], np.ndarray]
"""Float32 pixels (B, slices · channels, H, W) → logits (B, classes, H, W)."""


class Parity(FrozenModel):
    """How near an export is to PyTorch in float32, on the same slices on the same machine.

    Attributes:
        on: which slices.
        largest, mean: absolute difference of the logits.
        dice: between both masks of each class, over all slices together; None where neither has it.
        equal: share of the pixels with the same class.
    """

    on: str
    slices: int
    largest: float
    mean: float
    dice: dict[str, float | None]
    equal: float


class ExportInfo(FrozenModel):
    """Content of export.json."""

    format_version: int = 1
    format: str
    precision: Annotated[str, BeforeValidator(lambda value: "fp32" if value == "32" else value)]
    file: str
    input: str
    output: str
    multiple: int
    """Of which the height and width that the graph takes are multiples."""
    smallest: int
    """Height and width that it takes at least."""
    bundle_hash: str
    calibrated_on: str | None
    parity: Parity
    libraries: dict[str, str]
    processor: str


def read_export(folder: Path, bundle: BundleInfo) -> ExportInfo:
    """What an export of a bundle says of itself.

    Raises:
        CaseUNetError: there is none, it is another bundle's, or its graph is one of PyTorch's.
    """
    if not (folder / DESCRIPTION).is_file():
        raise InvalidOptionError(
            f"{folder}: is no folder written by caseunet export ({DESCRIPTION} is missing).", options=("exported",)
        )
    info = read_model(folder / DESCRIPTION, ExportInfo, "the description of an export")
    if info.bundle_hash != bundle.weights_hash:
        raise InvalidInputError(
            f"{folder}: is an export of other weights ({info.bundle_hash}) than this bundle's ({bundle.weights_hash}). "
            "Export this bundle anew, or give the bundle that it was made of."
        )
    if info.format not in ("onnx", "openvino"):
        raise InvalidInputError(f"{folder}: holds a graph for {info.format}; predict runs those for onnx and openvino.")
    return info


def runner(format: str, precision: str, folder: Path) -> Run:
    """What runs an exported graph on the CPU.

    Raises:
        CaseUNetError: what runs it is not installed.
    """
    path = folder / FILES[format]
    if format == "openvino":
        return backends.run_openvino(path, "bf16" if precision in ("bf16", "int8") else "fp32")
    if format == "onnx":
        return backends.run_onnx(str(path))
    with backends.silence():
        program = torch.export.load(path).module()

    def run(pixels: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(program(torch.from_numpy(pixels)).numpy())

    return run


def in_graph(p: Preprocessing) -> Preprocessing:
    """What an exported graph does of the normalization: all of the channels that are not normalized case by case."""
    return _leave_out(p, p.per_case_zscore)


def before_graph(p: Preprocessing) -> Preprocessing:
    """What is done before an exported graph: what :func:`in_graph` leaves, and nothing is repeated."""
    left = _leave_out(p, tuple(not by_case for by_case in p.per_case_zscore))
    return left.model_copy(update={"channel_repeat": 1})


def _leave_out(p: Preprocessing, channels: tuple[bool, ...]) -> Preprocessing:
    """The preprocessing with some channels left as they are."""
    nothing: dict[str, Any] = {"intensity_window": None, "per_case_zscore": False, "mean": 0.0, "std": 1.0}
    return p.model_copy(
        update={
            name: tuple(plain if out else value for value, out in zip(getattr(p, name), channels, strict=True))
            for name, plain in nothing.items()
        }
    )


def as_network(folder: Path, info: ExportInfo, bundle: BundleInfo) -> tuple[backends.Network, Preprocessing]:
    """An export in the place of its bundle's networks, and what is left to be done to its input.

    The graph scales and repeats channels itself , see :func:`in_graph`, and divides by the temperature that prediction
    divides by later.

    Raises:
        CaseUNetError: the graph is missing or damaged, or what runs it is not installed.
    """
    left = before_graph(bundle.preprocessing)
    temperature = bundle.quality.temperature if bundle.quality else 1.0
    if not (folder / FILES[info.format]).is_file():
        raise InvalidInputError(f"{folder}: {FILES[info.format]} is missing. Export the bundle anew.")
    try:
        run = runner(info.format, info.precision, folder)
    except CaseUNetError:
        raise
    except Exception as error:  # a runtime's own
        raise InvalidInputError(
            f"{folder / FILES[info.format]}: cannot be read: {str(error).splitlines()[0]}"
        ) from error
    whole = backends.pad_graph(run, left.in_channels, info.multiple, info.smallest)

    def network(x: Tensor) -> Tensor:
        return whole(x) * temperature

    return network, left
