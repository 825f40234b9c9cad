"""Optimiser, learning-rate schedule, clipping of gradients."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from caseunet.config import OptimizerConfig


def create_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Adamax or AdamW over all parameters."""
    classes = {"adamax": torch.optim.Adamax, "adamw": torch.optim.AdamW}
    return classes[config.name](model.parameters(), lr=config.lr, weight_decay=config.weight_decay)


def learning_rate(config: OptimizerConfig, share: float) -> float:
    """Linear rise over the warm-up, then polynomial decay to zero.

    A function of how much of the budget is used, so that budgets in steps and in minutes have the same schedule.

    Args:
        share: used part of the budget, 0 to 1.
    """
    if share < config.warmup_ratio:
        # Half a per cent to begin with: at exactly zero the first step would be wasted.
        return config.lr * max(share / config.warmup_ratio, 0.005)
    return config.lr * (1 - min(share, 1.0)) ** config.poly_power


def set_learning_rate(optimizer: torch.optim.Optimizer, config: OptimizerConfig, share: float) -> None:
    """Give the optimiser the schedule's learning rate; ``share`` as for :func:`learning_rate`."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, share)


def clip_gradients(model: nn.Module, config: OptimizerConfig) -> Tensor:
    """Scale the gradients down to ``max_grad_norm``; returns their norm before that."""
    norm: Any = torch.nn.utils.clip_grad_norm_(list(model.parameters()), config.max_grad_norm or math.inf)
    whole: Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of a network in parts
    return whole


def update_weights(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None) -> None:
    """Take the optimiser's step; a scaler leaves the weights as they are where it finds an overflow."""
    if scaler is None:
        optimizer.step()
    else:
        scaler.step(optimizer)
        scaler.update()
