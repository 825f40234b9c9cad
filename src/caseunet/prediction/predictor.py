"""A bundle made ready to segment."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from caseunet.bundle import Bundle, load_bundle
from caseunet.bundle import Network as BundledNetwork
from caseunet.data.grid import Placement, place_slices
from caseunet.data.tiles import Cropped, Windows, blend, plan_windows
from caseunet.data.transforms import pick_classes, rows_to_upsample, run_network, upsample_in_slabs
from caseunet.errors import CaseUNetError, InvalidInputError, InvalidOptionError
from caseunet.imaging.slices import Stack, case_statistics
from caseunet.io import images, raster, scratch
from caseunet.models import create_model, optimize_for
from caseunet.options import PredictionSettings
from caseunet.prediction.backends import Network, choose_backend, prepare_network
from caseunet.prediction.exports import as_network, read_export
from caseunet.prediction.operating_points import choose_operating_points, select_rules
from caseunet.prediction.planes import cut_as_trained
from caseunet.prediction.slices import Slices, gather_context
from caseunet.prediction.training_images import KnownImages
from caseunet.prediction.tta import list_views, seen_in
from caseunet.types import ImageVolume, Preprocessing

PIXELS_AT_ONCE = {"cpu": 2**18, "cuda": 2**21}
"""Of the slices that go through a network together: on a CPU more would fall out of its caches."""

NOT_FILLED = ("normal_", "uniform_", "trunc_normal_", "fill_", "zero_")
"""What fills parameters at the beginning of training."""

CERTAIN = 20.0
"""Logit of the background where nothing is shown."""

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
class NetworkInput:
    """A case as its network sees it: cut from an image just now, or stored in PREPARED.

    Attributes:
        slices: (C, h, w) each, at the network's size, in the source's units.
        placement: where they lie in the source's slices.
        size: height and width of these.
        statistics: ``case_statistics`` of all slices; used only if the preprocessing is per case.
        is_blank: tells of a window (C, h, w) whether it shows nothing and is background unseen; None looks at all.
    """

    slices: Stack
    placement: Placement
    size: tuple[int, int]
    statistics: np.ndarray
    is_blank: Callable[[np.ndarray], bool] | None = None


@dataclass(frozen=True)
class SliceBatch:
    """Some neighbouring slices of a case, segmented; of slices too large to be seen at once some rows.

    Attributes:
        slices: which of the case.
        logits: (len(slices), C, rows, w), float32, at the network's size: its own, or of several predictions the
            logarithm of their mean probability. Not calibrated. Groups of the same slices share no rows.
        placement: where the network's slices lie in the case's; outside is background.
        first: row of the network's slices with which the logits begin.
        above: (len(slices), C, 1, w), logits of the row above; None if the logits begin with the first row.
    """

    slices: range
    logits: Tensor
    placement: Placement
    first: int = 0
    above: Tensor | None = None

    @property
    def rows(self) -> range:
        """Rows of the network's slices that the logits have."""
        return range(self.first, self.first + self.logits.shape[2])

    @property
    def height(self) -> int:
        """Of the network's slices, all rows."""
        return self.placement.size[0]

    @property
    def share(self) -> float:
        """Of the slices' rows that the group has."""
        return len(self.rows) / self.height

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of what :meth:`raised` gives, in the case's slices."""
        top, left, _, right = self.placement.box
        rows = self.rows
        if self.placement.size != self.placement.box_size:
            rows = rows_to_upsample(range(self._start, rows.stop), self.height, self.placement.box_size[0])
        return top + rows.start, left, top + rows.stop, right

    def upsample_logits(self) -> Iterator[Tensor]:
        """The logits at the source's size, some rows of the box after another, (len(slices), C, rows, W)."""
        maps = self.logits
        if self.above is not None and self.placement.size != self.placement.box_size:
            maps = torch.cat([self.above, maps], dim=2)
        yield from upsample_in_slabs(maps, self.placement.box_size, self._start, self.height)

    @property
    def _start(self) -> int:
        return self.first - (self.above is not None)


class SlicePredictor:
    """Segments images with a bundle.

    Args:
        bundle: from :func:`caseunet.load_bundle`, whose weights it then shares, or its folder.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "mps".
        backend: "torch", "openvino", "onnx", or "auto": OpenVINO on a CPU if it is installed, else torch.
        exported: the folder of an ONNX or OpenVINO export of the bundle, which then computes, in its own precision.
        settings: precision, views; the default if None. The precision of an export need not be given.

    Attributes:
        info: what the bundle says of itself.
        folder: the bundle's.
        backend: that computes the networks.
        models: the networks as modules, each with what the bundle says of it; none where an export computes.
        training_data: of each network.
        known_images: the images that it was trained on.
        operating_points: by structure, the thresholds by which masks have the sensitivities of the settings.
        postprocessing: the rules that are applied to masks; those of structures with a threshold are left out.

    Raises:
        CaseUNetError: the bundle cannot be read or its weights are not its architecture's; no such device or backend;
            an export is another bundle's or has another precision; no threshold has a sensitivity of the settings.
    """

    @property
    def has_sides(self) -> bool:
        """Whether a mirrored image would show one class as another: left as right."""
        return bool(self.info.label_map.sided_names) and self.info.preprocessing.plane != "sagittal"

    def __init__(
        self,
        bundle: Bundle | str | Path,
        device: str = "auto",
        *,
        backend: str = "torch",
        exported: str | Path | None = None,
        settings: PredictionSettings | None = None,
    ) -> None:
        self.device = _device(device)
        self.backend = choose_backend(backend, self.device)
        bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
        self.info, self.folder = bundle.info, bundle.folder
        self.training_data = [network.training_data for network in bundle.networks]
        self.known_images = KnownImages(self.info.training_data)
        self.settings = settings or PredictionSettings()
        self.operating_points = choose_operating_points(self.info, self.settings.sensitivity)
        self.postprocessing = select_rules(self.info, self.operating_points) if self.settings.postprocess else ()
        structures = self.info.label_map.structures
        self._thresholds = [(structures[name], point.threshold) for name, point in self.operating_points.items()]
        in_torch = exported is None and self.backend == "torch"
        self._dtype = torch.bfloat16 if in_torch and self.settings.precision == "bf16" else torch.float32
        self.models: list[tuple[Any, BundledNetwork]] = []
        self._networks: list[tuple[Network, Preprocessing]] = []
        if exported is not None:
            if self.device.type != "cpu":
                raise CaseUNetError("An export computes on the CPU alone.", options=("device", "exported"))
            self._take_export(Path(exported))
            return
        if self.settings.precision not in ("fp32", "bf16"):
            raise InvalidOptionError(
                f"{self.backend} computes in fp32 or bf16, not {self.settings.precision}: export the bundle.",
                options=("precision", "backend"),
            )
        try:
            for network in bundle.networks:
                model = self._build(network.weights)
                self.models.append((model, network))
                run = self._cast(model) if in_torch else prepare_network(model, self.backend, self.settings.precision)
                self._networks.append((run, network.preprocessing))
        except RuntimeError as error:
            raise InvalidInputError(f"{self.folder}: the weights do not fit the architecture: {error}") from error
        except CaseUNetError as error:
            raise error.with_message(f"{self.folder}: {error}") from error

    def predict_slices(
        self,
        pixels: np.ndarray,
        spacing: tuple[float, float, float] | None = None,
        networks: Sequence[int] | None = None,
        on_batch: Callable[[SliceBatch], None] = lambda group: None,
    ) -> np.ndarray:
        """Class ids (S, H, W), uint8, of stored pixels (S, C, H, W); the classes' maps are held for a few slices only.

        Args:
            pixels: canonical order, slices in the model's plane.
            spacing: millimetres between slices, rows and columns; None is taken to be the training data's.
            networks: of an ensemble those whose probabilities are averaged; None for all.
            on_batch: called with each group of slices once it is segmented.
        """
        return self.label(self.cut(pixels, spacing), None, networks, on_batch)

    def cut(self, pixels: np.ndarray, spacing: tuple[float, float, float] | None = None) -> NetworkInput:
        """An image (S, C, H, W) as the network sees it; its slices are made when they are asked for.

        Raises:
            CaseUNetError: the image's channels are not the model's, or some of its values are no finite numbers.
        """
        preprocessing = self.info.preprocessing
        self._check_channels(pixels)
        _check_finite_pixels(pixels)
        placement = place_slices(pixels, spacing, preprocessing)
        slices = Slices(pixels, placement, self.slices_at_once(placement.size) + 2 * preprocessing.context_slices)
        statistics = (
            case_statistics(slices)
            if any(preprocessing.per_case_zscore)
            else np.zeros((2, pixels.shape[1]), np.float32)
        )
        height, width = pixels.shape[-2:]
        return NetworkInput(slices, placement, (height, width), statistics)

    def label(
        self,
        case: NetworkInput,
        wanted: Sequence[int] | None = None,
        networks: Sequence[int] | None = None,
        on_batch: Callable[[SliceBatch], None] = lambda group: None,
    ) -> np.ndarray:
        """Class ids (S, H, W), uint8, in the source's slices: the one way from prepared slices to masks.

        Args:
            case: all of it, since neighbours and statistics come from slices that are not wanted too.
            wanted: slices that are segmented, rising; None for all. The others are background.
            networks, on_batch: as for :meth:`predict_slices`.

        Raises:
            CaseUNetError: the network's logits are no finite numbers; names the slice.
        """
        labels = scratch.zeros((len(case.slices), *case.size), np.uint8)  # what is cut off is background
        for group in self.groups(case, wanted, networks):
            row, left, _, right = group.box
            for maps in group.upsample_logits():
                found = labels[group.slices.start : group.slices.stop, row : row + maps.shape[2], left:right]
                found[...] = pick_classes(maps, self._thresholds).cpu().numpy()
                row += maps.shape[2]
            on_batch(group)
        return labels

    @torch.inference_mode()
    def groups(
        self, case: NetworkInput, wanted: Sequence[int] | None = None, networks: Sequence[int] | None = None
    ) -> Iterator[SliceBatch]:
        """Segment slices of a case, as :meth:`label` does, some neighbouring ones after another."""
        windows = self.windows(case.placement.size)
        for run in _runs(
            range(len(case.slices)) if wanted is None else wanted, self.slices_at_once(case.placement.size)
        ):

            def run_window(rows: slice, columns: slice) -> Tensor:
                cropped = Cropped(case.slices, rows, columns)
                if case.is_blank is not None and all(case.is_blank(cropped[s]) for s in run):  # noqa: B023
                    return self._background(len(run), cropped[run[0]].shape[1:])  # noqa: B023
                return self._finite_logits(cropped, run, case.statistics, networks)  # noqa: B023  (called at once)

            if windows is None:
                yield SliceBatch(run, self._finite_logits(case.slices, run, case.statistics, networks), case.placement)
                continue
            above = None
            for first, logits in blend(run_window, windows):
                yield SliceBatch(run, logits, case.placement, first, above)
                above = logits[:, :, -1:].clone()

    def windows(self, size: tuple[int, int]) -> Windows | None:
        """In which slices of this height and width at the network's size go through it; None if they go whole."""
        return plan_windows(size, self.info.preprocessing)

    @torch.inference_mode()
    def trial(self, size: tuple[int, int]) -> int:
        """Send as many slices of the network's size through it as go together, to see what that takes.

        Returns:
            How many there were.
        """
        p = self.info.preprocessing
        at_once = self.slices_at_once(size)
        gathered = torch.zeros((at_once, (2 * p.context_slices + 1) * p.channels, *size), device=self.device)
        self._logits(gathered, np.ones((2, p.channels), np.float32), None)
        return at_once

    def slices_at_once(self, size: tuple[int, int]) -> int:
        """Slices of the network's size, or the same window of each, that go through it together."""
        windows = self.windows(size)
        height, width = windows.window if windows else size
        return max(1, PIXELS_AT_ONCE["cpu" if self.device.type == "cpu" else "cuda"] // (height * width))

    def _finite_logits(
        self, slices: Stack, run: range, statistics: np.ndarray, networks: Sequence[int] | None
    ) -> Tensor:
        """Of some slices of a case.

        Raises:
            CaseUNetError: some are no finite numbers; names the slice.
        """
        gathered = torch.from_numpy(gather_context(slices, run, self.info.preprocessing.context_slices)).to(self.device)
        logits = self._logits(gathered, statistics, networks)
        finite = torch.isfinite(logits).flatten(1).all(1)
        if not finite.all():
            raise CaseUNetError(
                f"slice {run[int(finite.int().argmin())]}: the network's logits are no finite numbers, so there is "
                "no mask of it. The weights are damaged, or the arithmetic too coarse: compute in float32.",
                options=("precision",),
            )
        return logits

    def _background(self, slices: int, size: tuple[int, ...]) -> Tensor:
        """Logits of slices that hold nothing but background."""
        logits = torch.zeros((slices, len(self.info.label_map), *size), device=self.device)
        logits[:, 0] = CERTAIN
        return logits

    def _logits(self, gathered: Tensor, statistics: np.ndarray, networks: Sequence[int] | None) -> Tensor:
        """Of one network and view, or the logarithm of the mean probability over several."""
        asked = self._networks if networks is None else [self._networks[n] for n in networks]
        looks = [(network, own, view) for network, own in asked for view in list_views(self.settings, self.has_sides)]
        logits = (
            run_network(seen_in(network, view), gathered, own, statistics).float() for network, own, view in looks
        )
        return next(logits) if len(looks) == 1 else log_of_mean(logits)

    def _build(self, weights: dict[str, Tensor]) -> nn.Module:
        """The network with these weights, which it shares where device and precision allow."""
        architecture = self.info.architecture
        with torch.device("meta"), _Unfilled():  # shapes only: nothing is allocated beyond what the bundle holds
            model = create_model(
                architecture.name, architecture.in_channels, architecture.num_classes, **architecture.kwargs
            )
        optimize_for(model, self.device).load_state_dict(weights, assign=True)
        for module in model.modules():
            # the running sums of batch norm need their digits
            dtype = torch.float32 if isinstance(module, nn.modules.batchnorm._BatchNorm) else self._dtype
            for parameter in module.parameters(recurse=False):
                layout = torch.channels_last if parameter.ndim == 4 else torch.preserve_format
                parameter.data = parameter.data.to(self.device, dtype, memory_format=layout)
        return model.to(self.device).eval()

    def _cast(self, model: nn.Module) -> Network:
        return model if self._dtype is torch.float32 else lambda x: model(x.to(self._dtype))

    def _take_export(self, folder: Path) -> None:
        """Put an export of the bundle in the place of its networks."""
        export = read_export(folder, self.info)
        if self.settings.precision not in ("fp32", export.precision):
            raise InvalidOptionError(
                f"{folder}: computes in {export.precision}, not {self.settings.precision}.", options=("precision",)
            )
        self.settings = self.settings.model_copy(update={"precision": export.precision})
        self.backend = f"{export.format} (export {folder.name})"
        self._networks.append(as_network(folder, export, self.info))

    def _check_channels(self, pixels: np.ndarray) -> None:
        p = self.info.preprocessing
        if pixels.shape[1] != p.channels:
            raise InvalidInputError(
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


def read_model_input(path: Path, preprocessing: Preprocessing) -> ImageVolume:
    """Read a file that a model with this preprocessing can segment, cut into slices as its training data were.

    Raises:
        CaseUNetError: it is missing, damaged, of an unknown kind, or not what the model was trained on.
    """
    if images.is_volume(path) and preprocessing.modality == "rgb":
        raise InvalidInputError(f"{path}: a volume; this model was trained on {preprocessing.modality} images.")
    if raster.is_raster(path) and preprocessing.modality == "ct":
        raise InvalidInputError(
            f"{path}: an image file holds no Hounsfield units; this model was trained on CT volumes."
        )
    return cut_as_trained(images.read_image_file(path, preprocessing.modality == "rgb"), preprocessing)


def match_range(path: Path, picture: ImageVolume, preprocessing: Preprocessing) -> ImageVolume:
    """The picture of a grey image, if its values are on the scale of the training data's; with a remark if unsure.

    Raises:
        CaseUNetError: the model was trained on 8-bit values, and these are others.
    """
    trained = preprocessing.value_range
    if trained is None and not any((*preprocessing.intensity_window, *preprocessing.per_case_zscore)):
        trained = (0.0, 255.0)  # bundles of earlier versions clip all but 8-bit values
    if preprocessing.modality != "gray" or trained is None:
        return picture
    pixels = picture.pixels
    low, high = scratch.find_range(pixels)
    in_8_bits = trained[0] >= 0 and 1 < trained[1] <= 255
    if in_8_bits and (low < 0 or high > 255 or (pixels.dtype.kind == "f" and high <= 1)):
        raise InvalidInputError(
            f"{path}: its values run from {low:g} to {high:g}; this model was trained on 8-bit images, 0 to 255. Save "
            "it with 8 bits, scaled as the training images were."
        )
    if pixels.dtype != np.uint8 or trained[1] <= 255:
        return picture
    remark = f"it has 8-bit values; this model was trained on values up to {trained[1]:g}, so its masks may be wrong"
    return replace(picture, geometry=replace(picture.geometry, remarks=(*picture.geometry.remarks, remark)))


def _check_finite_pixels(pixels: np.ndarray) -> None:
    """Make sure that an image (S, C, H, W) holds numbers; readers do so of files."""
    if pixels.dtype.kind == "f":
        for s, image in enumerate(pixels):  # one at a time: a scan is large
            if not np.isfinite(image).all():
                raise InvalidInputError(
                    f"slice {s}: holds values that are no finite numbers (NaN or infinity). Replace them."
                )


def _runs(wanted: Sequence[int], at_once: int) -> Iterator[range]:
    """Neighbouring wanted slices, so many together at most."""
    start = 0
    while start < len(wanted):
        stop = start + 1
        while stop < len(wanted) and wanted[stop] == wanted[stop - 1] + 1 and stop - start < at_once:
            stop += 1
        yield range(wanted[start], wanted[stop - 1] + 1)
        start = stop


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InvalidOptionError(
            f'The device "{name}" cannot be used here: {str(error).splitlines()[0]}', options=("device",)
        ) from error
    return device
