"""What the networks are, in a table."""

import inspect
from dataclasses import dataclass

import torch

from caseunet.models import MODELS, create_model


@dataclass(frozen=True)
class ModelRow:
    """One network: parameters are of default arguments, 3 channels in, 3 classes."""

    name: str
    summary: str
    parameters: int


def describe_models() -> list[ModelRow]:
    """All networks by name; built without memory for their weights."""
    rows = []
    for name in MODELS:
        with torch.device("meta"):
            model = create_model(name, in_channels=3, num_classes=3)
        module = inspect.getmodule(MODELS.get(name))
        summary = (inspect.getdoc(module) or "").splitlines()[0].rstrip(".")
        rows.append(ModelRow(name, summary, sum(p.numel() for p in model.parameters())))
    return rows
