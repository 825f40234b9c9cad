"""Any network of segmentation_models.pytorch: an optional extra, since it needs torchvision.

Source: Iakubovskii, segmentation_models.pytorch, https://github.com/qubvel-org/segmentation_models.pytorch.
"""

import importlib
from typing import Any

from torch import Tensor, nn

from caseunet.errors import CaseUNetError, did_you_mean
from caseunet.models.blocks.padding import pad_image

PREFIX = "smp:"


class SmpNetwork(nn.Module):
    """A decoder of that package on one of its encoders, with fresh weights.

    ``forward``: images (B, in_channels, H, W), H and W at least 32 → logits (B, num_classes, H, W).

    Args:
        specification: "smp:<Architecture>/<encoder>", for example "smp:Unet/resnet34".

    Raises:
        CaseUNetError: the package is not there or not usable, or has no such architecture or encoder.
    """

    def __init__(self, in_channels: int, num_classes: int, specification: str) -> None:
        super().__init__()
        architecture, _, encoder = specification.removeprefix(PREFIX).partition("/")
        if not architecture or not encoder:
            raise CaseUNetError(
                f'The model "{specification}": expected smp:<Architecture>/<encoder>, as smp:Unet/resnet34.'
            )
        package = _package()
        architectures = {c.__name__: c for c in vars(package).values() if isinstance(c, type) and _is_network(c)}
        if architecture not in architectures:
            raise CaseUNetError(
                f'segmentation_models.pytorch has no architecture "{architecture}". '
                f"{did_you_mean(architecture, architectures)}"
            )
        encoders = package.encoders.get_encoder_names()
        if encoder not in encoders and not encoder.startswith("tu-"):
            raise CaseUNetError(
                f'segmentation_models.pytorch has no encoder "{encoder}". {did_you_mean(encoder, encoders)}'
            )
        self.in_channels = in_channels
        self.multiple, self.smallest = 32, 64
        self.network = architectures[architecture](
            encoder_name=encoder, encoder_weights=None, in_channels=in_channels, classes=num_classes
        )

    def forward(self, x: Tensor) -> Tensor:
        H, W = x.shape[-2:]
        logits: Tensor = self.network(pad_image(x, self.in_channels, self.multiple, self.smallest))
        return logits[..., :H, :W]


def _package() -> Any:
    try:
        return importlib.import_module("segmentation_models_pytorch")
    except (ImportError, RuntimeError, OSError) as error:  # torchvision without its compiled part raises RuntimeError
        raise CaseUNetError(
            "Networks named smp:… need segmentation_models.pytorch and a torchvision that fits this torch. "
            f"Install them with: pip install 'caseunet[smp]'. ({str(error).splitlines()[0]})"
        ) from error


def _is_network(candidate: type) -> bool:
    return issubclass(candidate, nn.Module) and hasattr(candidate, "forward")
