"""Steps whose loss or gradient is not finite: what was in the batch, which sample is to blame, how it is undone."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from caseunet.data.loader import Batch
from caseunet.errors import CaseUNetError
from caseunet.losses.deep_supervision import deeply_supervised
from caseunet.models.regions import give_regions
from caseunet.progress import Display
from caseunet.training.batch import prepare_batch
from caseunet.training.devices import gather_objects
from caseunet.training.state import State, renew_scaler
from caseunet.types import Preprocessing

FILE = "faults.jsonl"
FALLBACK_STEPS = 100
"""In float32 after a step that was not finite in half precision."""


@dataclass(frozen=True)
class StepResult:
    """What a forward and backward pass gave.

    Attributes:
        values: the loss and its parts.
        norm: of the gradient before clipping.
        dtype: in which the network computed; None for float32.
    """

    values: dict[str, float]
    norm: float
    dtype: torch.dtype | None = None

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.values["loss"]) and math.isfinite(self.norm)

    @property
    def is_scaled(self) -> bool:
        """Whether the loss was scaled for fp16."""
        return self.dtype == torch.float16

    def is_overflow(self, scaler: torch.amp.GradScaler) -> bool:
        """Whether the loss is fine and only fp16's scale was too large for its gradient, which it finds out by this."""
        return self.is_scaled and math.isfinite(self.values["loss"]) and scaler.get_scale() > 1

    def describe(self) -> str:
        """The loss and its parts in words."""
        parts = [f"{name.replace('_', ' ')} {value:.2f}" for name, value in self.values.items() if name != "loss"]
        return f"{self.values['loss']:.2f}" + (f" ({', '.join(parts)})" if parts else "")


def copy_buffers(model: nn.Module) -> list[Tensor]:
    """What :func:`undo_step` needs to know of the time before."""
    return [buffer.clone() for buffer in model.buffers()]


def undo_step(state: State, buffers: Sequence[Tensor]) -> None:
    """Leave no trace of forward and backward passes: gradients, statistics of batch norm, what fp16's scaler saw."""
    state.optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        for buffer, before in zip(state.model.buffers(), buffers, strict=True):
            buffer.copy_(before)
    state.scaler = renew_scaler(state.scaler)


class FaultLog:
    """Describes steps that were not finite, writes them to faults.jsonl, and gives up where they are too many."""

    def __init__(
        self, fabric: Fabric, loss: nn.Module, preprocessing: Preprocessing, *, run: Path, display: Display
    ) -> None:
        self._fabric, self._loss, self._preprocessing, self._display = fabric, loss, preprocessing, display
        self._path = run / FILE

    def describe(self, state: State, batch: Batch, result: StepResult) -> dict[str, Any]:
        """What is known of such a step. On several devices all must call this, with as many samples."""
        own = describe_samples(self._fabric, state.model, self._loss, batch, self._preprocessing)
        return {
            "step": state.step,
            "precision": str(result.dtype or torch.float32).removeprefix("torch."),
            "samples": [sample for part in gather_objects(self._fabric, own) for sample in part],
            "loss": str(result.values["loss"]),
            "gradient_norm": str(result.norm),
        }

    def report(self, state: State, fault: dict[str, Any], *, has_recovered: bool, limit: int) -> None:
        """Count, write and tell a fault.

        Args:
            state: of training.
            fault: as :meth:`describe` gave it.
            has_recovered: whether the step came out finite in float32.
            limit: of faults.

        Raises:
            CaseUNetError: training has diverged, or there were too many.
        """
        state.faults += 1
        outcome = "repeated in float32" if has_recovered else "left out"
        if self._fabric.is_global_zero:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(fault | {"outcome": outcome}, ensure_ascii=False) + "\n")
        culprits = find_culprits(fault["samples"])
        culprits = f"{culprits}. " if culprits else ""
        self._display.caution(f"step {state.step:,}: no finite loss, {outcome}. {culprits}")
        advice = f"Checkpoints so far are kept. The batches are listed in {self._path}."
        if not has_recovered and all(sample["cause"].startswith("its loss") for sample in fault["samples"]):
            raise CaseUNetError(
                f"The network gives nothing finite for any image of the batch at step {state.step}: training has "
                f"diverged. {advice} Lower optimizer.lr, or set optimizer.max_grad_norm."
            )
        if state.faults >= limit:
            raise CaseUNetError(
                f"{limit} steps gave no finite loss or gradient, the last of them step {state.step}. "
                f"{culprits}{advice} Mend or leave out the data named there, lower optimizer.lr, "
                'or set training.precision to "32-true".'
            )


@torch.no_grad()
def describe_samples(
    fabric: Fabric, model: nn.Module, loss: nn.Module, batch: Batch, preprocessing: Preprocessing
) -> list[dict[str, Any]]:
    """Every sample of a batch with its augmentation, and under "cause" what is wrong with it, if anything.

    Each goes through the network by itself, in float32.
    """
    model.eval()
    give_regions(model)
    described = []
    for n, (sample, augmentation) in enumerate(zip(batch.samples, batch.augmentations, strict=True)):
        one = batch.part(n, len(batch))
        image, target, merged = prepare_batch(fabric, one, preprocessing)
        value = deeply_supervised(loss, model(image), target, merged)
        cause = ""
        if not torch.isfinite(one.pixels.float()).all():
            cause = "its pixels are not all finite"
        elif not torch.isfinite(image).all():
            cause = "its pixels are not finite after normalisation and augmentation"
        elif not torch.isfinite(value):
            cause = "its loss is not finite, though its pixels are"
        described.append(
            {"case": sample.case, "slice": sample.slice, "cause": cause, "focus": sample.focus}
            | {"chance": sample.chance, "augmentation": asdict(augmentation)}
        )
    model.train()
    return described


def find_culprits(samples: Sequence[dict[str, Any]]) -> str:
    """The samples that are to blame, in words; "" if none is."""
    causes: dict[str, list[str]] = {}
    for sample in samples:
        if sample["cause"]:
            causes.setdefault(sample["cause"], []).append(f"case {sample['case']}, slice {sample['slice']}")
    return "; ".join(f"{' and '.join(sorted(set(who)))}: {cause}" for cause, who in causes.items())


def forget_after(run: Path, step: int) -> None:
    """Remove the faults of steps that a run which goes on from ``step`` has not come to yet."""
    file = run / FILE
    if file.is_file():
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] < step]
        file.write_text("".join(kept), encoding="utf-8")
