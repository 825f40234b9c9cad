"""A bundle made ready to segment."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from caseunet.bundle import Bundle, load_bundle
from caseunet.bundle import Network as BundledNetwork
from caseunet.config import PredictionSettings
from caseunet.data.grid import place, slices_with_body
from caseunet.data.transforms import case_standard, labels_from_logits, segment
from caseunet.errors import UserError
from caseunet.inference.engines import ENGINES, Network, chosen, prepared
from caseunet.inference.exports import as_network, read_export
from caseunet.inference.slices import Slices
from caseunet.inference.training_images import KnownImages
from caseunet.inference.views import seen_in, views
from caseunet.io import images, raster
from caseunet.models import create_model
from caseunet.types import Picture, Preprocessing

PIXELS_AT_ONCE = {"cpu": 2**18, "cuda": 2**21}
"""Of the slices that go through a network together: on a CPU more would fall out of its caches."""

NOT_FILLED = ("normal_", "uniform_", "trunc_normal_", "fill_", "zero_")
"""What fills parameters at the beginning of training."""

LOWEST = 1e-12
"""Probability below which a vote is taken to be none: its logarithm must be finite."""


def log_of_mean(logits: Iterable[Tensor]) -> Tensor:
    """Logarithm of the mean probability of several votes (B, C, H, W), of which one is held at a time."""
    total, votes = None, 0
    for maps in logits:
        probabilities = maps.softmax(1)
        total, votes = probabilities if total is None else total.add_(probabilities), votes + 1
    assert total is not None
    return total.div_(votes).clamp_(min=LOWEST).log_()


@dataclass(frozen=True)
class Group:
    """Some neighbouring slices of a case, segmented.

    Attributes:
        slices: which of the case.
        logits: (len(slices), C, h, w), float32, at the network's size: its own, or of several predictions the
            logarithm of their mean probability. Not calibrated.
        box: (top, left, bottom, right) where h × w lie in the case's slices; outside is background.
    """

    slices: range
    logits: Tensor
    box: tuple[int, int, int, int]


class Predictor:
    """Segments slices with a bundle; :class:`caseunet.Predictor` adds to it whatever holds an image.

    Args:
        bundle: from :func:`caseunet.load_bundle`, whose weights it then shares, or its folder.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "mps".
        engine: "torch", "openvino", "onnx", or "auto": OpenVINO on a CPU if it is installed, else torch. Or the folder
            of an ONNX or OpenVINO export of the bundle, which computes in the export's precision.
        settings: precision, views; the default if None. The precision of an export need not be given.

    Attributes:
        info: what the bundle says of itself.
        folder: the bundle's.
        engine: that computes the networks.
        models: the networks as modules, each with what the bundle says of it; none where an export computes.
        training_data: of each network.
        known_images: the images that it was trained on.

    Raises:
        UserError: the bundle cannot be read or its weights are not its architecture's; no such device or engine; an
            export is another bundle's or has another precision.
    """

    def __init__(
        self,
        bundle: Bundle | str | Path,
        device: str = "auto",
        engine: str = "torch",
        settings: PredictionSettings | None = None,
    ) -> None:
        self.device = _device(device)
        self.engine = chosen(engine, self.device)
        bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
        self.info, self.folder = bundle.info, bundle.folder
        self.training_data = [network.training_data for network in bundle.networks]
        self.known_images = KnownImages(self.info.training_data)
        self.settings = settings or PredictionSettings()
        in_torch = self.engine == "torch"
        self._dtype = torch.bfloat16 if in_torch and self.settings.precision == "bf16" else torch.float32
        self.models: list[tuple[Any, BundledNetwork]] = []
        self._networks: list[tuple[Network, Preprocessing]] = []
        if self.engine not in ENGINES:
            self._take_export(Path(self.engine))
            return
        if self.settings.precision not in ("32", "bf16"):
            raise UserError(f"{self.engine} computes in 32 or bf16, not {self.settings.precision}: export the bundle.")
        try:
            for network in bundle.networks:
                model = self._built(network.weights)
                self.models.append((model, network))
                run = self._typed(model) if in_torch else prepared(model, self.engine, self.settings.precision)
                self._networks.append((run, network.preprocessing))
        except RuntimeError as error:
            raise UserError(f"{self.folder}: the weights do not fit the architecture: {error}") from error
        except UserError as error:
            raise UserError(f"{self.folder}: {error}") from error

    def predict_slices(
        self,
        pixels: np.ndarray,
        spacing: tuple[float, float, float] | None = None,
        networks: Sequence[int] | None = None,
        look: Callable[[Group], None] = lambda group: None,
    ) -> np.ndarray:
        """Class ids (S, H, W), uint8, of stored pixels (S, C, H, W); the classes' maps are held for a few slices only.

        Args:
            pixels: canonical order.
            spacing: millimetres between slices, rows and columns; None is taken to be the training data's.
            networks: of an ensemble those whose probabilities are averaged; None for all.
            look: called with each group of slices once it is segmented.
        """
        labels = np.zeros((len(pixels), *pixels.shape[-2:]), np.uint8)  # what is not segmented is background
        for group in self.groups(pixels, spacing, networks):
            top, left, bottom, right = group.box
            found = labels_from_logits(group.logits, (bottom - top, right - left))
            labels[group.slices.start : group.slices.stop, top:bottom, left:right] = found.cpu().numpy()
            look(group)
        return labels

    @torch.inference_mode()
    def groups(
        self,
        pixels: np.ndarray,
        spacing: tuple[float, float, float] | None = None,
        networks: Sequence[int] | None = None,
    ) -> Iterator[Group]:
        """Segment a case, as :meth:`predict_slices` does, some slices after another; those without a body are skipped.

        Raises:
            UserError: the image's channels are not the model's.
        """
        preprocessing = self.info.preprocessing
        self._check_channels(pixels)
        placement = place(pixels, spacing, preprocessing)
        at_once = self._at_once(placement.size)
        slices = Slices(pixels, placement, at_once + 2 * preprocessing.neighbours)
        standard = case_standard(slices) if preprocessing.per_case else np.zeros((2, pixels.shape[1]), np.float32)
        wanted = slices_with_body(pixels) if preprocessing.crop_air else np.ones(len(pixels), bool)
        for run in _runs(wanted, at_once):
            gathered = torch.from_numpy(slices.gathered(run, preprocessing.neighbours)).to(self.device)
            yield Group(run, self._logits(gathered, standard, networks), placement.box)

    @torch.inference_mode()
    def trial(self, size: tuple[int, int]) -> int:
        """Send as many slices of the network's size through it as go together, to see what that takes.

        Returns:
            How many there were.
        """
        p = self.info.preprocessing
        at_once = self._at_once(size)
        gathered = torch.zeros((at_once, (2 * p.neighbours + 1) * p.channels, *size), device=self.device)
        self._logits(gathered, np.ones((2, p.channels), np.float32), None)
        return at_once

    def _at_once(self, size: tuple[int, int]) -> int:
        """Slices of the network's size that go through it together."""
        return max(1, PIXELS_AT_ONCE["cpu" if self.device.type == "cpu" else "cuda"] // (size[0] * size[1]))

    def _logits(self, gathered: Tensor, standard: np.ndarray, networks: Sequence[int] | None) -> Tensor:
        """Of one network and view, or the logarithm of the mean probability over several."""
        asked = self._networks if networks is None else [self._networks[n] for n in networks]
        looks = [(network, own, view) for network, own in asked for view in views(self.settings)]
        logits = (segment(seen_in(network, view), gathered, own, standard).float() for network, own, view in looks)
        return next(logits) if len(looks) == 1 else log_of_mean(logits)

    def _built(self, weights: dict[str, Tensor]) -> nn.Module:
        """The network with these weights, which it shares where device and precision allow."""
        architecture = self.info.architecture
        with torch.device("meta"), _Unfilled():  # shapes only: nothing is allocated beyond what the bundle holds
            model = create_model(
                architecture.name, architecture.in_channels, architecture.num_classes, **architecture.arguments
            )
        model.load_state_dict(weights, assign=True)
        for module in model.modules():
            # the running sums of batch norm need their digits
            dtype = torch.float32 if isinstance(module, nn.modules.batchnorm._BatchNorm) else self._dtype
            for parameter in module.parameters(recurse=False):
                layout = torch.channels_last if parameter.ndim == 4 else torch.preserve_format
                parameter.data = parameter.data.to(self.device, dtype, memory_format=layout)
        return model.to(self.device).eval()

    def _typed(self, model: nn.Module) -> Network:
        return model if self._dtype is torch.float32 else lambda x: model(x.to(self._dtype))

    def _take_export(self, folder: Path) -> None:
        """Put an export of the bundle in the place of its networks."""
        export = read_export(folder, self.info)
        if self.settings.precision not in ("32", export.precision):
            raise UserError(f"{folder}: computes in {export.precision}: leave out --precision.")
        self.settings = self.settings.model_copy(update={"precision": export.precision})
        self.engine = f"{export.format} (export {folder.name})"
        self._networks.append(as_network(folder, export, self.info))

    def _check_channels(self, pixels: np.ndarray) -> None:
        p = self.info.preprocessing
        if pixels.shape[1] != p.channels:
            raise UserError(
                f"The image has {pixels.shape[1]} channels; the model was trained on {p.modality} images with "
                f"{p.channels}."
            )


class _Unfilled(TorchFunctionMode):
    """Parameters are not filled when a network is built: on the meta device that would load torch's compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in NOT_FILLED:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def read_picture(path: Path, preprocessing: Preprocessing) -> Picture:
    """Read a file that a model with this preprocessing can segment.

    Raises:
        UserError: it is missing, damaged, of an unknown kind, or not what the model was trained on.
    """
    if images.is_volume(path) and preprocessing.modality == "rgb":
        raise UserError(f"{path}: a volume; this model was trained on {preprocessing.modality} images.")
    if raster.is_raster(path) and preprocessing.modality == "ct":
        raise UserError(f"{path}: an image file holds no Hounsfield units; this model was trained on CT volumes.")
    return images.read_picture(path, preprocessing.modality == "rgb")


def _runs(wanted: np.ndarray, at_once: int) -> Iterator[range]:
    """Neighbouring wanted slices, so many together at most."""
    start = 0
    while start < len(wanted):
        stop = start
        while stop < len(wanted) and wanted[stop] and stop - start < at_once:
            stop += 1
        if stop > start:
            yield range(start, stop)
        start = max(stop, start + 1)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f'The device "{name}" cannot be used here: {str(error).splitlines()[0]}') from error
    return device
