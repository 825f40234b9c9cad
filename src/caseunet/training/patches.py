"""Height and width of the patches that a network is trained on."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from caseunet.config import DataConfig, ModelConfig
from caseunet.data.store import Prepared
from caseunet.models import create_model, plan_arguments

MIN_PATCH = 32
"""Height and width at least, below which networks take no images."""


def plan_patch_size(
    prepared: Prepared, config: DataConfig, models: Sequence[ModelConfig], cases: Iterable[str]
) -> tuple[int, int]:
    """As configured, or the median height and width of some cases, made a little larger until all networks take it as
    it is.

    What networks pad to reach a multiple is in no loss. A network that always pads in training learns nothing of an
    image's last rows and columns, and finds things there.
    """
    if config.patch_size is not None:
        return config.patch_size
    lengths = zip(*(prepared.size(case) for case in cases), strict=True)
    height, width = (min(config.max_patch_size, max(MIN_PATCH, int(np.median(values)))) for values in lengths)
    return fit_patch_size((height, width), models)


def fit_patch_size(size: tuple[int, int], models: Sequence[ModelConfig]) -> tuple[int, int]:
    """The next larger height and width that none of the networks pads, their depth being planned for it.

    Example:
        >>> fit_patch_size((50, 35), [ModelConfig(name="case_unet", kwargs={"patch_size": "auto"})])
        (56, 40)
    """
    while True:
        padded = size
        for model in models:
            padded = _pad_for(model, padded)
        if padded == size:
            return size
        size = padded


def _pad_for(model: ModelConfig, size: tuple[int, int]) -> tuple[int, int]:
    """The height and width that a network makes of an image's."""
    with torch.device("meta"):
        network = create_model(model.name, 1, 2, **plan_arguments(model.name, model.kwargs, size))
    multiple, smallest = (int(getattr(network, name, MIN_PATCH)) for name in ("multiple", "smallest"))
    height, width = (max(smallest, -(-length // multiple) * multiple) for length in size)
    return height, width
