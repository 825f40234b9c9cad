"""Checkpoints: the best and the last state of a run, each whole or absent."""

from pathlib import Path
from typing import Any

import torch

from caseunet.files import written_whole


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values; anything else could not be read back safely."""
    with written_whole(path) as temporary:
        torch.save(content, temporary)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without running code from it."""
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content
