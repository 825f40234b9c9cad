"""A bundle as one graph, from prepared pixels to logits, in the formats of other runtimes.

In the graph: clipping and scaling of the intensities, repeating of channels, the network or all of an ensemble, the
calibration temperature. Outside, because it depends on the image and not on the network: cutting, resizing, the
neighbouring slices, the edges that are repeated up to the size that the graph takes, and, where the preprocessing is
per case, clipping and scaling too (``segment.py``, a copy of which lies beside each export).
"""

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from caseunet.bundle import Bundle
from caseunet.errors import InvalidOptionError
from caseunet.prediction import backends
from caseunet.prediction.exports import FILES, in_graph
from caseunet.prediction.predictor import SlicePredictor, log_of_mean
from caseunet.types import Preprocessing

Format = Literal["onnx", "openvino", "torch-export"]
Precision = Literal["fp32", "bf16", "fp16", "int8"]
PRECISIONS: dict[str, tuple[str, ...]] = {
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "bf16", "fp16", "int8"),
    "torch-export": ("fp32", "bf16", "fp16"),
}
"""That each format knows. OpenVINO stores bf16 as float32 and computes in bfloat16, as it does with int8 what is not
quantized: transposed convolutions above all."""

NOT_QUANTIZED = (r".*\.model\.head.*", r".*\.decoder\..*\.fuse/.*Add.*")
"""Operations of CASe-UNet, by their names in OpenVINO, that are not computed in eight bits."""

OUTLIERS = 1e-4
"""Share of a slice's activations that may lie outside the range of eight bits, at each end."""


LARGEST = float(np.finfo(np.float32).max)
"""End of the window of a channel that has none: not every runtime knows infinity."""


class ExportableModel(nn.Module):
    """Pixels (B, slices · channels, H, W), float32, in stored units → logits (B, classes, H, W), over the temperature.

    Args:
        bundle: whose networks are built on the CPU in float32.

    Attributes:
        in_channels: of the pixels.
        multiple, smallest: of the height and width that it takes.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        models = SlicePredictor(bundle, device="cpu").models
        self.networks = nn.ModuleList(_Scaled(model, network.preprocessing) for model, network in models)
        p = bundle.info.preprocessing
        self.in_channels = (2 * p.context_slices + 1) * p.channels
        self.multiple = max(int(model.multiple) for model, _ in models)
        self.smallest = max(int(model.smallest) for model, _ in models)
        self.temperature = bundle.info.quality.temperature if bundle.info.quality else 1.0
        self.dtype = torch.float32

    def forward(self, pixels: Tensor) -> Tensor:
        logits = [network(pixels, self.dtype) for network in self.networks]
        return (logits[0] if len(logits) == 1 else log_of_mean(logits)) / self.temperature

    def in_half(self, dtype: torch.dtype) -> "ExportableModel":
        """The same with weights and arithmetic of a type of 16 bits; pixels and logits stay float32."""
        half = copy.deepcopy(self)
        half.dtype = dtype
        for network in half.networks:
            assert isinstance(network, _Scaled)
            network.model.to(dtype)
        return half


class _Scaled(nn.Module):
    """A network after its own clipping, scaling and repeating of channels."""

    low: Tensor
    high: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, model: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        p = preprocessing
        self.model, self.repeat = model, p.channel_repeat
        inside = in_graph(p)
        self.clips, slices = inside.intensity_window, 2 * p.context_slices + 1
        limits = [window or (-LARGEST, LARGEST) for window in self.clips]
        low, high = zip(*limits, strict=True)
        for name, values in (("low", low), ("high", high), ("shift", inside.mean), ("scale", inside.std)):
            self.register_buffer(name, torch.tensor(values * slices)[None, :, None, None], persistent=False)

    def forward(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        x = pixels
        if len(set(self.clips)) > 1:
            x = torch.minimum(torch.maximum(x, self.low), self.high)
        elif self.clips[0] is not None:
            x = x.clamp(*self.clips[0])
        x = (x - self.shift) / self.scale
        x = x.repeat_interleave(self.repeat, dim=1) if self.repeat > 1 else x
        logits: Tensor = self.model(x.to(dtype))
        return logits.float()


def check_precision(format: str, precision: str) -> None:
    """Raises CaseUNetError: there is no such format, or it does not know this precision."""
    if format not in PRECISIONS:
        raise InvalidOptionError(
            f'There is no format "{format}". Known: {", ".join(PRECISIONS)}, zip, monai.', options=("format",)
        )
    if precision not in PRECISIONS[format]:
        raise InvalidOptionError(
            f"precision {precision}: {format} knows {', '.join(PRECISIONS[format])}.", options=("precision",)
        )


def write(
    whole: ExportableModel, format: str, precision: str, folder: Path, samples: Iterable[np.ndarray] = ()
) -> None:
    """Write a graph.

    Args:
        folder: where model.onnx, model.xml and model.bin, or model.pt2 is written.
        samples: pixels (B, C, H, W) by which ranges of activations are found for int8.

    Raises:
        CaseUNetError: it has no counterpart in that format, or what writes it is not installed.
    """
    check_precision(format, precision)
    if precision == "fp16" and format != "openvino":
        whole = whole.in_half(torch.float16)
    elif precision == "bf16" and format == "torch-export":
        whole = whole.in_half(torch.bfloat16)
    size = backends.example_size(whole)
    if format == "openvino":
        _write_openvino(backends.to_openvino(whole, whole.in_channels, size), precision, folder, samples)
        return
    program = backends.to_program(whole, whole.in_channels, size)
    if format == "torch-export":
        with backends.silence():
            torch.export.save(program, folder / FILES[format])
        return
    model = backends.to_onnx(program)
    if precision == "int8":
        _quantize_onnx(model, folder / FILES[format], samples)
    else:
        (folder / FILES[format]).write_bytes(model.SerializeToString())


def _write_openvino(model: Any, precision: str, folder: Path, samples: Iterable[np.ndarray]) -> None:
    openvino = backends.package("openvino", "openvino")
    for port, name in ((model.input(0), "pixels"), (model.output(0), "logits")):
        port.get_tensor().set_names({name})
    if precision == "int8":
        nncf = backends.package("nncf", "openvino")
        with backends.silence():
            data = nncf.Dataset(list(samples))
            model = nncf.quantize(model, data, subset_size=data.get_length(), **_eight_bits(nncf))
    openvino.save_model(model, folder / FILES["openvino"], compress_to_fp16=precision == "fp16")


def _eight_bits(nncf: Any) -> dict[str, Any]:
    """How ranges of activations are found, and what is left out.

    The largest of all samples, but for one value in ten thousand: NNCF's default, a mean over samples, cuts off what
    only some slices reach, and ruined those. The head and the sums over levels in the decoder are left out: that took
    no time where it was measured, and half the difference of the logits.
    """
    ranges = backends.package("nncf.quantization.range_estimator", "openvino")

    def end(aggregator: Any) -> Any:
        return ranges.StatisticsCollectorParameters(
            statistics_type=ranges.StatisticsType.QUANTILE, aggregator_type=aggregator, quantile_outlier_prob=OUTLIERS
        )

    estimator = ranges.RangeEstimatorParameters(min=end(ranges.AggregatorType.MIN), max=end(ranges.AggregatorType.MAX))
    return {
        "preset": nncf.QuantizationPreset.MIXED,
        "ignored_scope": nncf.IgnoredScope(patterns=list(NOT_QUANTIZED), validate=False),  # other networks have others
        "advanced_parameters": nncf.AdvancedQuantizationParameters(activations_range_estimator_params=estimator),
    }


def _quantize_onnx(model: Any, path: Path, samples: Iterable[np.ndarray]) -> None:
    quantization = backends.package("onnxruntime.quantization", "onnx")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            self.left = iter(samples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            found = next(self.left, None)
            return None if found is None else {"pixels": found}

    with backends.silence():
        quantization.quantize_static(
            model,
            str(path),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            op_types_to_quantize=["Conv", "ConvTranspose"],
        )
