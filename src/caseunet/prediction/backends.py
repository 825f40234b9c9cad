"""What computes a network: PyTorch itself, OpenVINO or ONNX Runtime; each takes the network input and gives logits.

OpenVINO and ONNX Runtime get the network as ``torch.export`` writes it down, for any batch, height and width: their
processors' libraries then choose memory layouts, fuse what follows a convolution into it and keep the kernels that
CASe-UNet sums anew in each forward (``models/blocks/implicit_concat.py``).
"""

import importlib
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from caseunet.errors import CaseUNetError, InvalidOptionError, MissingExtraError, did_you_mean
from caseunet.imaging.threads import in_own_thread
from caseunet.models.blocks.padding import pad_image
from caseunet.types import MIN_SIZE

BACKENDS = ("torch", "openvino", "onnx", "auto")

ROUNDING = 1e-3
"""By which logits of two backends may differ in float32, as a share of the largest."""

Network = Callable[[Tensor], Tensor]
"""Network input (B, C, H, W) → logits (B, classes, H, W)."""


def choose_backend(backend: str, device: torch.device) -> str:
    """The backend that a name stands for: of "auto", OpenVINO on a CPU where it is installed, and torch elsewhere.

    Raises:
        CaseUNetError: there is no such backend, or it does not run on the device.
    """
    if backend not in BACKENDS:
        raise CaseUNetError(f'There is no backend "{backend}". {did_you_mean(backend, BACKENDS)}', options=("backend",))
    if backend == "auto":
        return "openvino" if device.type == "cpu" and find_spec("openvino") is not None else "torch"
    if backend != "torch" and device.type != "cpu":
        raise InvalidOptionError(
            f"The backend {backend} computes on the CPU alone: choose the device cpu, or torch.",
            options=("device", "backend"),
        )
    return backend


def prepare_network(model: nn.Module, backend: str, precision: str) -> Network:
    """A network ready to run.

    Args:
        model: in evaluation mode, on its device, float32 (with torch in its own type).
        backend: "torch", "openvino" or "onnx".
        precision: "fp32" or "bf16"; a processor without bfloat16 computes in float32 all the same.

    Raises:
        CaseUNetError: the backend is not installed, or does not compute so.
    """
    if backend == "torch":
        return model
    return {"openvino": _openvino, "onnx": _onnx}[backend](model, precision)


def _check(network: Network, model: Any, backend: str) -> None:
    """Try a size other than the one a network was written down at: some hold that for a constant without a word.

    Args:
        network: computes in float32; by fewer bits a wrong graph could not be told from a right one.
    """
    multiple = int(model.multiple)
    rows = -(-max(int(model.smallest), MIN_SIZE) // multiple) * multiple
    x = torch.linspace(-1, 1, model.in_channels * rows * (rows + multiple)).reshape(1, -1, rows, rows + multiple)
    try:
        with torch.no_grad():
            found, expected = network(x), model(x)
    except Exception as error:  # a runtime's own
        raise InvalidOptionError(
            f"{type(model).__name__} fails with {backend}: {str(error).splitlines()[0]}", options=("backend",)
        ) from error
    if found.shape != expected.shape or not (found - expected).abs().max() <= ROUNDING * (1 + expected.abs().max()):
        raise CaseUNetError(
            f"{type(model).__name__} gives other logits with {backend} than with torch: it cannot be written down for "
            "any size. Take torch.",
            options=("backend",),
        )


def pad_graph(run: Callable[[np.ndarray], np.ndarray], in_channels: int, multiple: int, smallest: int) -> Network:
    """A graph for images of any size: their last row and column are repeated, as networks do.

    Args:
        multiple, smallest: of the height and width that the graph takes.
    """

    def network(x: Tensor) -> Tensor:
        H, W = x.shape[-2:]
        whole = pad_image(x, in_channels, multiple, smallest)
        return torch.from_numpy(run(whole.contiguous().numpy()))[..., :H, :W]

    return network


def to_program(model: nn.Module, in_channels: int, size: tuple[int, int]) -> ExportedProgram:
    """A network as a graph for any batch, height and width that the model need not pad.

    Args:
        model: in evaluation mode, on the CPU.
        size: a height and width that it need not pad; they are no limit.

    Raises:
        CaseUNetError: it cannot be written as such a graph.
    """
    example = torch.zeros(2, in_channels, *size)
    try:
        with silence():
            any_size = {0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO}
            return torch.export.export(model, (example,), dynamic_shapes=(any_size,), strict=False)
    except Exception as error:  # the exporter has many of its own
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise CaseUNetError(f"{type(model).__name__} cannot be exported: {told[0]}") from error


def example_size(model: Any) -> tuple[int, int]:
    """Two different multiples of what a network needs, larger than the least: so that none is taken for a constant."""
    multiple, smallest = int(model.multiple), int(model.smallest)
    rows = -(-max(smallest, MIN_SIZE) // multiple) * multiple + 2 * multiple
    return rows, rows + multiple


def to_onnx(program: ExportedProgram) -> Any:
    """As an ``onnx.ModelProto``.

    Raises:
        CaseUNetError: what it needs is not installed, or an operation has no counterpart.
    """
    package("onnxscript", "onnx")
    try:
        with silence():
            written = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=["pixels"], output_names=["logits"]
            )
    except Exception as error:
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise CaseUNetError(f"The network cannot be written as ONNX: {told[0]}") from error
    assert written is not None
    return written.model_proto


def to_openvino(model: nn.Module, in_channels: int, size: tuple[int, int]) -> Any:
    """A network as an ``openvino.Model`` for any batch, height and width that it need not pad.

    By tracing, which takes a fifth of the time of ``torch.export``.

    Args:
        model, in_channels, size: as for :func:`to_program`.

    Raises:
        CaseUNetError: OpenVINO is not installed, or has no counterpart for an operation.
    """
    openvino = package("openvino", "openvino")
    try:
        with silence(), torch.no_grad():
            example = torch.zeros(2, in_channels, *size)
            traced = torch.jit.trace(model, example, check_trace=False)  # type: ignore[no-untyped-call]
            written = openvino.convert_model(traced, example_input=example)
            written.reshape([-1, in_channels, -1, -1])  # kernels are cut by numbers of channels, which are known now
            return written
    except Exception as error:
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise CaseUNetError(f"The network cannot be written for OpenVINO: {told[0]}") from error


def run_openvino(model: Any, precision: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function from its input to its first output.

    Args:
        model: an ``openvino.Model``, or the path of one.
    """
    openvino = package("openvino", "openvino")
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    request = in_own_thread(openvino.compile_model, model, "CPU", options).create_infer_request()

    def run(x: np.ndarray) -> np.ndarray:
        request.infer([x])
        return np.array(request.get_output_tensor(0).data)  # a copy: the next call writes there

    return run


def run_onnx(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    """A function from its input to its first output.

    Args:
        model: bytes of an ONNX model, or the path of one.
    """
    runtime = package("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(x: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {name: x})[0])

    return run


def _openvino(model: Any, precision: str) -> Network:
    written = to_openvino(model, model.in_channels, example_size(model))
    size = (model.in_channels, model.multiple, model.smallest)
    exact = pad_graph(run_openvino(written, "fp32"), *size)
    _check(exact, model, "openvino")
    return exact if precision == "fp32" else pad_graph(run_openvino(written, precision), *size)


def _onnx(model: Any, precision: str) -> Network:
    if precision == "bf16":
        raise InvalidOptionError(
            "ONNX Runtime computes in float32 on CPUs: choose that precision, or openvino or torch.",
            options=("precision", "backend"),
        )
    package("onnxruntime", "onnx")
    content = to_onnx(to_program(model, model.in_channels, example_size(model))).SerializeToString()
    network = pad_graph(run_onnx(content), model.in_channels, model.multiple, model.smallest)
    _check(network, model, "onnx")
    return network


def package(name: str, extra: str) -> Any:
    """An optional package.

    Raises:
        CaseUNetError: it is not installed; the extra that holds it is named.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(f"{name} is not installed. Install caseunet[{extra}] for it.") from error


@contextmanager
def silence() -> Iterator[None]:
    """Exporters print what is of no use to whoever exports."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
