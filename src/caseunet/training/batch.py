"""From loaded batches to what network and loss take, on their device."""

import torch
from lightning_fabric import Fabric
from torch import Tensor

from caseunet.data.augmentation import augment
from caseunet.data.loader import Batch
from caseunet.data.transforms import normalize, repeat_channels
from caseunet.training.devices import fastest_layout
from caseunet.types import Preprocessing


def prepare_batch(fabric: Fabric, batch: Batch, preprocessing: Preprocessing) -> tuple[Tensor, Tensor, Tensor | None]:
    """Network input (B, in_channels, H, W) and class ids (B, H, W), int64: moved to the device, normalised, augmented;
    and which classes are merged, (B, classes), where some image is labelled in part.

    Channels are repeated last, so that equal ones stay equal and cost nothing before.
    """
    image = normalize(fabric.to_device(batch.pixels), preprocessing, fabric.to_device(batch.case_statistics))
    rgb = preprocessing.modality == "rgb"
    image, target = augment(image, fabric.to_device(batch.target), batch.augmentations, rgb, preprocessing.channels)
    is_whole = bool((batch.merged == torch.arange(batch.merged.shape[1], dtype=torch.uint8)).all())
    merged = None if is_whole else fabric.to_device(batch.merged.long())
    return repeat_channels(image, preprocessing, fastest_layout(fabric.device)), target.long(), merged
