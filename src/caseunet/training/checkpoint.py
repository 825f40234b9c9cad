"""Checkpoints: the last two states of a run and its best weights, each whole or absent."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from caseunet.config import TrainingConfig
from caseunet.errors import CaseUNetError
from caseunet.files import replace_when_whole
from caseunet.progress import Display
from caseunet.training.fold_scores import ValidationScore
from caseunet.training.state import State

KEPT = 2


@dataclass(frozen=True)
class TrainedWeights:
    """Weights by parameter name, the step they are from, and their validation score."""

    weights: dict[str, Tensor]
    step: int
    score: ValidationScore


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


def load_newest(fabric: Fabric, checkpoints: Checkpoints, display: Display) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, for all processes; None if there is none.

    Raises:
        CaseUNetError: there are some, and none can be read.
    """
    step, problem = None, ""
    if fabric.is_global_zero:
        for step in checkpoints.steps("step"):
            try:
                checkpoints.load("step", step)
                problem = ""
                break
            except Exception as error:  # torch has many for a file that is none of its own
                what = (str(error) or type(error).__name__).splitlines()[0]
                problem = f"{checkpoints.path('step', step)}: is damaged: {what}."
                display.caution(problem)
    step, problem = fabric.broadcast((step, problem))
    if problem:
        raise CaseUNetError(f"{problem} No other checkpoint can be read; train anew.", options=("mode",))
    return None if step is None else checkpoints.load("step", step)


def select_checkpoint(checkpoints: Checkpoints, config: TrainingConfig, state: State) -> TrainedWeights:
    """The weights that ``training.checkpoint`` asks for; those of the last step have the last validation's scores."""
    if config.checkpoint == "best" and state.best_step is not None:
        content = checkpoints.load("best", state.best_step)
    else:
        content = checkpoints.load("step", state.step)
    weights = content.get("average", content["model"])  # the best ones are averages already
    return TrainedWeights(weights, content["step"], ValidationScore(content["dice"], content["iou"]))
