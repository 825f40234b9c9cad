"""Checkpoints: the last two states of a run and its best weights, each whole or absent."""

from pathlib import Path
from typing import Any

import torch

from caseunet.files import replace_when_whole

KEPT = 2


class Checkpoints:
    """``step-00001200.ckpt``, of which the last two are kept, and ``best-00001000.ckpt`` likewise.

    Two, because the newest may be damaged where a machine lost its power. Between two states lies one validation at
    most, so the two newest of the best are those that the two states know of.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, kind: str, step: int, content: dict[str, Any]) -> None:
        """Write tensors and plain values; anything else could not be read back safely."""
        with replace_when_whole(self.path(kind, step)) as temporary:
            torch.save(content, temporary)
        for path in self.files(kind)[KEPT:]:
            path.unlink(missing_ok=True)

    def load(self, kind: str, step: int) -> dict[str, Any]:
        """Read onto the CPU, without running code from it."""
        content: dict[str, Any] = torch.load(self.path(kind, step), map_location="cpu", weights_only=True)
        return content

    def files(self, kind: str) -> list[Path]:
        """Newest first."""
        return sorted(self._folder.glob(f"{kind}-*.ckpt"), reverse=True)

    def steps(self, kind: str) -> list[int]:
        """Of the files of a kind, newest first."""
        return [int(path.stem.partition("-")[2]) for path in self.files(kind)]

    def forget_after(self, step: int) -> None:
        """Remove what a run that now goes on from ``step`` has not come to yet."""
        for kind in ("step", "best"):
            for later in self.steps(kind):
                if later > step:
                    self.path(kind, later).unlink()

    def path(self, kind: str, step: int) -> Path:
        return self._folder / f"{kind}-{step:08d}.ckpt"
