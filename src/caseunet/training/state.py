"""Everything that changes while training goes on, and how it is laid down in a checkpoint and taken up again."""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from caseunet.config import Config
from caseunet.models import optimize_for
from caseunet.training.averaging import WeightAverage
from caseunet.training.devices import fastest_layout
from caseunet.training.optim import create_optimizer

PLAIN = (
    "step",
    "seconds",
    "saved_seconds",
    "validation_seconds",
    "due",
    "best",
    "best_step",
    "without_better",
    "validated_step",
    "faults",
    "float32_until",
    "validation_cases",
)
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
"""Checkpoints hold the whole network, however many devices it lies on: they go on with any other number."""


@dataclass
class State:
    """Everything that changes while training goes on.

    Attributes:
        model: the network itself.
        parallel: the same as Fabric wrapped it; called in training, so that devices exchange their gradients.
        scaler: of the loss, for fp16; does nothing otherwise.
        average: of the weights, if one is kept.
        step: steps taken.
        seconds: time spent, since the command began, the same on all devices.
        saved_seconds: ``seconds`` at the last checkpoint.
        validation_seconds: what the last validation took.
        due: share of the budget at which the next validation is due.
        best: highest validation score so far, of step ``best_step``.
        without_better: validations since then.
        validated_step: step of the last validation.
        faults: steps without a finite loss or gradient.
        validation_cases: those that validations in training see; None before the first.
        last_scores: of the last validation, in words; not saved.
        float32_until: step before which the network computes in float32 after such a one.
    """

    model: nn.Module
    parallel: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: WeightAverage | None = None
    step: int = 0
    seconds: float = 0.0
    saved_seconds: float = 0.0
    validation_seconds: float = 0.0
    due: float = 0.0
    best: float = -math.inf
    best_step: int | None = None
    without_better: int = 0
    validated_step: int | None = None
    faults: int = 0
    float32_until: int = 0
    validation_cases: list[str] | None = None
    last_scores: str = ""


def create_state(fabric: Fabric, model: nn.Module, config: Config) -> State:
    """Lay the network on the devices and make what belongs to it."""
    model = optimize_for(model, fabric.device)
    if config.training.strategy != "fsdp":  # which can split contiguous weights alone
        model = model.to(memory_format=fastest_layout(fabric.device))  # type: ignore[call-overload]
    if config.training.compile:
        model.compile()
    parallel = fabric.setup_module(model)
    return State(
        model=model,
        parallel=parallel,
        optimizer=create_optimizer(model, config.optimizer),
        scaler=torch.amp.GradScaler(fabric.device.type, enabled=config.training.precision == "16-mixed"),
        average=None if config.training.ema_decay is None else WeightAverage(model, config.training.ema_decay),
    )


def renew_scaler(scaler: torch.amp.GradScaler) -> torch.amp.GradScaler:
    """A scaler with the same scale that has seen no gradient since its last update."""
    fresh = torch.amp.GradScaler(scaler._device, enabled=scaler.is_enabled())
    if scaler.is_enabled():
        fresh.load_state_dict(scaler.state_dict())
    return fresh


def select_weights(state: State) -> dict[str, Tensor]:
    """The weights that are validated and kept: the average if there is one. To be called on all devices."""
    with state.average.in_place() if state.average else nullcontext():
        weights: dict[str, Any] = get_model_state_dict(state.model, options=WHOLE)
        return {name: weight.clone() for name, weight in weights.items()}


def capture(state: State) -> dict[str, Any]:
    """Tensors and plain values from which :func:`restore` makes the same state. To be called on all devices."""
    content: dict[str, Any] = {
        "model": get_model_state_dict(state.model, options=WHOLE),
        "optimizer": get_optimizer_state_dict(state.model, state.optimizer, options=WHOLE),
        "scaler": state.scaler.state_dict(),
        **{name: getattr(state, name) for name in PLAIN},
    }
    if state.average:
        content |= {"average": select_weights(state), "average_updates": state.average.updates}
    return content


def restore(state: State, content: dict[str, Any]) -> None:
    """Take up a captured state."""
    if state.average:
        set_model_state_dict(state.model, content["average"], options=WHOLE)
        state.average.take()
        state.average.updates = content["average_updates"]
    set_optimizer_state_dict(state.model, state.optimizer, content["optimizer"], options=WHOLE)
    set_model_state_dict(state.model, content["model"], options=WHOLE)
    if state.scaler.is_enabled() and content["scaler"]:
        state.scaler.load_state_dict(content["scaler"])
    for name in PLAIN:
        setattr(state, name, content.get(name))
