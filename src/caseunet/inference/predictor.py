"""A bundle made ready to segment."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from caseunet.bundle import Bundle, load_bundle
from caseunet.data.grid import place
from caseunet.data.transforms import (
    case_standard,
    gather_slices,
    labels_from_logits,
    resize_image,
    segment,
    slices_at_once,
)
from caseunet.errors import UserError
from caseunet.io import images, nifti, raster
from caseunet.models import create_model
from caseunet.types import Geometry, LabelMap, Picture, Preprocessing

ENGINES = ("torch",)


@dataclass(frozen=True)
class Segmentation:
    """Class ids of one image.

    Attributes:
        labels: uint8. For an array the array's shape without channels; for a file canonical order (S, H, W), which
            :meth:`save` turns back into the file's.
        label_map: names and colours of the ids.
        geometry: of the source; None for an array.
        source: the file; None for an array.
    """

    labels: np.ndarray
    label_map: LabelMap
    geometry: Geometry | None = None
    source: Path | None = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.labels, dtype=dtype, copy=copy)

    def save(self, path: str | Path) -> None:
        """Write it in source geometry: NIfTI for volumes, palette PNG for images."""
        path = Path(path)
        if nifti.is_nifti(path):
            if self.geometry is None or self.geometry.affine is None:
                raise UserError(f"{path}: an image without a position cannot be saved as NIfTI; use .png.")
            nifti.write_labels(path, self.labels, self.geometry, like=self.source)
        elif path.suffix == ".png" and self.labels.shape[0] == 1:
            raster.write_ids(path, self.labels[0], self.label_map.colors)
        else:
            raise UserError(f"{path}: expected .nii or .nii.gz for a volume, .png for a single image.")


class Predictor:
    """Segments arrays and files with a bundle.

    Args:
        bundle: from :func:`caseunet.load_bundle`, whose weights it then shares, or its folder.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "mps".
        engine: "torch".

    Raises:
        UserError: the bundle cannot be read or its weights are not its architecture's; no such device or engine.
    """

    def __init__(self, bundle: Bundle | str | Path, device: str = "auto", engine: str = "torch") -> None:
        if engine not in ENGINES:
            raise UserError(f'There is no engine "{engine}". Known: {", ".join(ENGINES)}.')
        self.bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
        self.device = _device(device)
        architecture = self.bundle.info.architecture
        self._networks: list[tuple[nn.Module, Preprocessing]] = []
        try:
            for network in self.bundle.networks:
                with torch.device("meta"):  # shapes only: nothing is allocated beyond what the bundle holds
                    model = create_model(
                        architecture.name, architecture.in_channels, architecture.num_classes, **architecture.arguments
                    )
                model.load_state_dict(network.weights, assign=True)
                model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
                self._networks.append((model.eval(), network.preprocessing))
        except RuntimeError as error:
            raise UserError(f"{self.bundle.folder}: the weights do not fit the architecture: {error}") from error
        except UserError as error:
            raise UserError(f"{self.bundle.folder}: {error}") from error

    def predict(
        self, image: np.ndarray | str | Path, spacing: tuple[float, float, float] | None = None
    ) -> Segmentation:
        """Segment one image.

        Args:
            image: a NIfTI or raster file; or an array in canonical order: (H, W) or (S, H, W) for models of one
                channel, (H, W, C) or (S, H, W, C) for models of several, in the units of the training data (HU for CT).
            spacing: of an array, millimetres between slices, rows and columns; if not given, it is taken to be the
                training data's. A file tells its own.

        Raises:
            UserError: the file cannot be read, or the shape is not one of these.
        """
        if isinstance(image, np.ndarray):
            pixels = self._as_slices(image)
            labels = self.predict_slices(pixels, spacing)
            channel_axis = self.bundle.info.preprocessing.channels > 1
            return Segmentation(
                labels.reshape(image.shape[:-1] if channel_axis else image.shape), self.bundle.info.label_map
            )
        path = Path(image)
        picture = read_picture(path, self.bundle.info.preprocessing)
        labels = self.predict_slices(picture.pixels, picture.geometry.spacing)
        return Segmentation(labels, self.bundle.info.label_map, picture.geometry, path)

    @torch.inference_mode()
    def predict_slices(
        self,
        pixels: np.ndarray,
        spacing: tuple[float, float, float] | None = None,
        done: Callable[[int], None] = lambda slices: None,
        networks: Sequence[int] | None = None,
    ) -> np.ndarray:
        """Class ids (S, H, W), uint8, of stored pixels (S, C, H, W); the classes' maps are held for a few slices only.

        Args:
            pixels: canonical order.
            spacing: millimetres between slices, rows and columns; None is taken to be the training data's.
            done: called with the number of slices after each group.
            networks: of an ensemble those whose probabilities are averaged; None for all.
        """
        chosen = self._networks if networks is None else [self._networks[n] for n in networks]
        preprocessing = self.bundle.info.preprocessing
        S, _, H, W = pixels.shape
        placement = place(pixels, spacing, preprocessing)
        resized = resize_image(placement.cut(pixels), placement.size)
        standard = case_standard(resized)
        group = slices_at_once(*placement.size)
        labels = np.zeros((S, H, W), np.uint8)  # what is cut off is background
        kept = placement.cut(labels)
        for start in range(0, S, group):
            indices = range(start, min(start + group, S))
            gathered = torch.from_numpy(gather_slices(resized, indices, preprocessing.neighbours)).to(self.device)
            maps = [segment(model, gathered, own, standard) for model, own in chosen]
            if len(maps) > 1:  # probabilities then, which have one scale
                maps = [torch.stack([logits.float().softmax(1) for logits in maps]).mean(0)]
            kept[indices.start : indices.stop] = labels_from_logits(maps[0], placement.box_size).cpu().numpy()
            done(len(indices))
        return labels

    def _as_slices(self, image: np.ndarray) -> np.ndarray:
        """An array in one of the shapes of :meth:`predict` as (S, C, H, W)."""
        channels = self.bundle.info.preprocessing.channels
        if channels == 1 and image.ndim in (2, 3):
            return image.reshape(-1, 1, *image.shape[-2:])
        if channels > 1 and image.ndim in (3, 4) and image.shape[-1] == channels:
            return np.ascontiguousarray(np.moveaxis(image.reshape(-1, *image.shape[-3:]), -1, 1))
        expected = "(H, W) or (S, H, W)" if channels == 1 else f"(H, W, {channels}) or (S, H, W, {channels})"
        raise UserError(f"An array of shape {image.shape}: this model expects {expected}.")


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


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f'The device "{name}" cannot be used here: {str(error).splitlines()[0]}') from error
    return device
