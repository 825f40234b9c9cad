"""Optimiser and learning-rate schedule."""

import torch
from torch import nn

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
