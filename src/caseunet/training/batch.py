"""From loaded batches to what network and loss take, on their device."""

from lightning_fabric import Fabric
from torch import Tensor

from caseunet.data.augmentation import augment
from caseunet.data.loader import Batch
from caseunet.data.transforms import normalize, repeat_channels
from caseunet.types import Preprocessing


def prepare_batch(fabric: Fabric, batch: Batch, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Network input (B, in_channels, H, W) and class ids (B, H, W), int64: moved to the device, normalised, augmented.

    Channels are repeated last, so that equal ones stay equal and cost nothing before.
    """
    image = normalize(fabric.to_device(batch.pixels), preprocessing, fabric.to_device(batch.case_statistics))
    rgb = preprocessing.modality == "rgb"
    image, target = augment(image, fabric.to_device(batch.target), batch.augmentations, rgb)
    return repeat_channels(image, preprocessing), target.long()
