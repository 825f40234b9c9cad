"""How long training goes on, and when it validates: all in shares of the budget, be it steps or minutes."""

import math

from caseunet.config import TrainingConfig
from caseunet.training.state import State

ROUNDING = 1e-9
"""Shares of a budget are quotients: they may miss a due point by this much."""

CLOSING = 0.1
"""Share of a budget of minutes that is kept for what comes after training: the bundle, and what its masks are worth."""

FOR_VALIDATIONS = 0.1
"""Share of the minutes to train that validations take at most."""

ONE_VALIDATION = 0.025
"""Share of a budget of minutes that a validation in training may take; of many cases it sees some."""


def seconds_to_train(config: TrainingConfig) -> float:
    """Of a budget of minutes, 0 without one: without :data:`CLOSING`."""
    return 60 * (config.minutes or 0) * (1 - CLOSING)


def seconds_to_close(config: TrainingConfig, state: State) -> float | None:
    """What is left of a budget of minutes after training, half of :data:`CLOSING` at least; None without one."""
    if config.minutes is None:
        return None
    return max(60 * config.minutes - state.seconds, 60 * config.minutes * CLOSING / 2)


def seconds_to_validate(config: TrainingConfig) -> float | None:
    """What a validation in training may take; None where it sees all cases."""
    return None if config.minutes is None else ONE_VALIDATION * 60 * config.minutes


def budget(config: TrainingConfig) -> tuple[float, str]:
    """The budget that the display counts: (steps, "step") or (seconds, "second")."""
    if config.steps is not None:
        return config.steps, "step"
    return seconds_to_train(config), "second"


def progress(config: TrainingConfig, state: State) -> float:
    """How much of :func:`budget` is used, in its unit."""
    return state.step if config.steps is not None else state.seconds


def budget_used(config: TrainingConfig, state: State) -> float:
    """Used share of the budget, 0 to 1 and a little above; of two budgets the one that is further."""
    by_steps = state.step / config.steps if config.steps is not None else 0.0
    by_time = state.seconds / seconds_to_train(config) if config.minutes is not None else 0.0
    return max(by_steps, by_time)


def next_validation(config: TrainingConfig, state: State) -> float:
    """Share of the budget at which the next validation is due.

    Validations are at equal distances; in a budget of minutes so far apart that they take no more than
    :data:`FOR_VALIDATIONS` of it.
    """
    distance = 1 / config.num_validations
    if config.minutes is not None:
        distance = max(distance, (1 / FOR_VALIDATIONS - 1) * state.validation_seconds / seconds_to_train(config))
    rounds = math.floor(budget_used(config, state) / distance + ROUNDING)
    return min((rounds + 1) * distance, 1.0) - ROUNDING


def is_finished(config: TrainingConfig, state: State) -> bool:
    """Whether the budget is used and the last step validated, or ``patience`` validations brought nothing better."""
    if config.patience is not None and state.without_better >= config.patience:
        return True
    return budget_used(config, state) >= 1 and state.validated_step == state.step


def in_words(seconds: float) -> str:
    """A duration: "40 s", "12 min", "3 h 20 min", "2 d 5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
