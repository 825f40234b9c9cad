"""One step: forward, loss, backward, update; and what happens where the numbers are no longer finite."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from caseunet.config import Config
from caseunet.data.loader import Batch
from caseunet.errors import CaseUNetError
from caseunet.losses.deep_supervision import deeply_supervised
from caseunet.progress import Display
from caseunet.training.batch import prepare_batch
from caseunet.training.devices import autocast_type, gather_objects, gather_values
from caseunet.training.faults import FILE, describe_fault, find_culprits, write_fault
from caseunet.training.state import State, renew_scaler
from caseunet.types import Preprocessing

FALLBACK_STEPS = 100
"""In float32 after a step that was not finite in half precision."""


@dataclass(frozen=True)
class Attempt:
    """What a forward and backward pass gave: the loss with its parts, and the gradient's norm before clipping."""

    values: dict[str, float]
    norm: float

    @property
    def finite(self) -> bool:
        return math.isfinite(self.values["loss"]) and math.isfinite(self.norm)


def take_step(
    fabric: Fabric,
    state: State,
    loss: nn.Module,
    batch: Batch,
    preprocessing: Preprocessing,
    config: Config,
    run: Path,
    display: Display,
) -> Attempt | None:
    """Update the weights, or leave the batch out where its loss or gradient is not finite.

    Half precision that failed is tried again in float32, and left alone for a while. Each such step is written down in
    faults.jsonl. Where fp16 alone overflows, its scale is lowered and the batch left out, as is usual.

    Returns:
        What the step gave; None if nothing finite came out.

    Raises:
        CaseUNetError: too many steps were not finite, or the network gives nothing finite any more.
    """
    dtype = autocast_type(config.training, fabric.device) if state.step >= state.float32_until else None
    buffers = [buffer.clone() for buffer in state.model.buffers()]
    attempt = attempt_step(fabric, state, loss, batch, preprocessing, config, dtype)
    if not attempt.finite and not _is_overflow(attempt, state, dtype):
        samples = [
            s
            for part in gather_objects(fabric, describe_fault(fabric, state.model, loss, batch, preprocessing))
            for s in part
        ]
        fault = {
            "step": state.step,
            "precision": str(dtype or torch.float32).removeprefix("torch."),
            "samples": samples,
        }
        fault |= {"loss": str(attempt.values["loss"]), "gradient_norm": str(attempt.norm)}
        state.faults += 1
        if dtype is not None:
            state.float32_until = state.step + FALLBACK_STEPS
            undo_attempt(state, buffers)
            attempt, dtype = attempt_step(fabric, state, loss, batch, preprocessing, config, None), None
        outcome = "repeated in float32" if attempt.finite else "left out"
        if fabric.is_global_zero:
            write_fault(run, fault | {"outcome": outcome})
        display.say(f"  step {state.step:,}: no finite loss, {outcome}. {_sentence(find_culprits(samples))}", "yellow")
        _give_up_if_hopeless(state, samples, config.training.max_nonfinite_steps, run, attempt.finite)
    if attempt.finite or _is_overflow(attempt, state, dtype):
        if dtype == torch.float16:
            state.scaler.step(state.optimizer)  # leaves the weights as they are where it finds an overflow
            state.scaler.update()
        else:
            state.optimizer.step()
    if not attempt.finite:
        undo_attempt(state, buffers)
        return None
    if state.average:
        state.average.update()
    return attempt


def attempt_step(
    fabric: Fabric,
    state: State,
    loss: nn.Module,
    batch: Batch,
    preprocessing: Preprocessing,
    config: Config,
    dtype: torch.dtype | None,
) -> Attempt:
    """Forward and backward pass of a batch in ``training.micro_batches`` parts; weights stay as they are.

    Args:
        batch: this device's share.
        dtype: in which the network computes; None for float32.
    """
    torch.manual_seed(_mix_seed(config.seed, state.step, fabric.global_rank))  # dropout too follows from (seed, step)
    state.optimizer.zero_grad(set_to_none=True)
    parts = config.training.micro_batches
    scaled = dtype == torch.float16
    sums: dict[str, Tensor] = {}
    for n in range(parts):
        image, target = prepare_batch(fabric, batch.part(n, parts), preprocessing)
        with fabric.no_backward_sync(state.parallel, enabled=fabric.world_size > 1 and n + 1 < parts):
            with torch.autocast(fabric.device.type, dtype or torch.bfloat16, enabled=dtype is not None):
                outputs = state.parallel(image)
            value = deeply_supervised(loss, outputs, target) / parts
            fabric.backward(state.scaler.scale(value) if scaled else value)
        terms = {name: part / parts for name, part in getattr(loss, "parts", {}).items()}
        for name, term in ({"loss": value.detach()} | terms).items():
            sums[name] = sums[name] + term if name in sums else term
    if scaled:
        state.scaler.unscale_(state.optimizer)
    limit = config.optimizer.max_grad_norm or math.inf
    norm: Any = torch.nn.utils.clip_grad_norm_(list(state.model.parameters()), limit)
    norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of a network in parts
    *values, own_norm = torch.stack([*sums.values(), norm.to(value.device)]).tolist()  # a GPU is waited for once
    means = gather_values(fabric, values).mean(0).tolist()
    return Attempt(dict(zip(sums, means, strict=True)), own_norm)


def _is_overflow(attempt: Attempt, state: State, dtype: torch.dtype | None) -> bool:
    """Whether the loss is fine and only fp16's scale was too large for its gradient, which it finds out by this."""
    return dtype == torch.float16 and math.isfinite(attempt.values["loss"]) and state.scaler.get_scale() > 1


def undo_attempt(state: State, buffers: list[torch.Tensor]) -> None:
    """Leave no trace of forward and backward passes: gradients, statistics of batch norm, what fp16's scaler saw."""
    state.optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        for buffer, before in zip(state.model.buffers(), buffers, strict=True):
            buffer.copy_(before)
    state.scaler = renew_scaler(state.scaler)


def _give_up_if_hopeless(state: State, samples: list[dict[str, Any]], limit: int, run: Path, recovered: bool) -> None:
    advice = f"Checkpoints so far are kept. The batches are listed in {run / FILE}."
    if not recovered and all(sample["cause"].startswith("its loss") for sample in samples):
        raise CaseUNetError(
            f"The network gives nothing finite for any image of the batch at step {state.step}: training has diverged. "
            f"{advice} Lower optimizer.lr, or set optimizer.max_grad_norm."
        )
    if state.faults >= limit:
        raise CaseUNetError(
            f"{limit} steps gave no finite loss or gradient, the last of them step {state.step}. "
            f"{_sentence(find_culprits(samples))}{advice} Mend or leave out the data named there, lower optimizer.lr, "
            'or set training.precision to "32-true".'
        )


def _sentence(text: str) -> str:
    return text + ". " if text else ""


def _mix_seed(seed: int, step: int, rank: int) -> int:
    """One 64-bit seed for torch out of several numbers."""
    numbers = [seed, step, rank] if rank else [seed, step]
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
