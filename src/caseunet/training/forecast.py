"""What a trial step says of the run ahead: how many steps the budget allows, and whether that is enough."""

import math
from dataclasses import dataclass

from caseunet.config import Config, load_config
from caseunet.errors import InvalidOptionError
from caseunet.progress import Display, count_text
from caseunet.training.budget import CLOSING, FOR_VALIDATIONS, in_words, seconds_to_train
from caseunet.training.state import State
from caseunet.training.trial import GIB, StepCost

FEW_STEPS = 50
"""Below which hardly anything is learnt."""
MANY_STEPS = 150
"""Below which a narrower network learns more (docs/research/by-the-clock.md)."""
NARROWER = {"default": "small", "small": "tiny"}
"""For each recipe the one with half its width."""


@dataclass(frozen=True)
class Forecast:
    """What the trial step says of the time ahead, at most: the first step is slower than the others.

    Attributes:
        text: for a person.
        steps: that the budget allows.
        minutes: of a budget that allows :data:`FEW_STEPS`; None with a budget in steps.
    """

    text: str
    steps: int
    minutes: int | None = None


def forecast_run(cost: StepCost, config: Config, state: State, slices: int) -> Forecast:
    """Steps and time ahead.

    Args:
        cost: of the trial step.
        config: with a batch size that is a number.
        state: with the steps and seconds so far.
        slices: in a validation of all cases.
    """
    size, training = config.data.batch_size, config.training
    assert isinstance(size, int)
    text = f"trial step: {in_words(cost.seconds)}, {cost.bytes / GIB:.2f} GiB for {size} slices"
    each = slices * cost.seconds / size / 3  # forward alone is about a third of a step
    if training.minutes is None:
        steps = (training.steps or 0) - state.step
        left = in_words(steps * cost.seconds + training.num_validations * each)
        return Forecast(f"{text}; the {steps:,} steps take about {left} or less", steps)
    whole = seconds_to_train(training)
    validations = min(training.num_validations * each, whole * FOR_VALIDATIONS)
    steps = max(0, int((whole - state.seconds - validations) / cost.seconds))
    if training.steps is not None:
        steps = min(steps, training.steps - state.step)
    needed = (FEW_STEPS * cost.seconds + state.seconds) / (1 - CLOSING) / (1 - FOR_VALIDATIONS)
    budget = in_words(60 * training.minutes)
    return Forecast(f"{text}; {budget} allow about {count_text(steps, 'step')} or more", steps, math.ceil(needed / 60))


def check_budget(forecast: Forecast, config: Config, step: int, display: Display) -> None:
    """Say where a budget of minutes is too small to learn anything, or for so wide a network.

    Raises:
        CaseUNetError: it does not allow a single step.
    """
    if forecast.minutes is None or step + forecast.steps >= MANY_STEPS or config.training.steps == forecast.steps:
        return
    is_own = config.model == load_config(recipe=config.recipe).model
    narrower = NARROWER.get(config.recipe) if is_own else None
    small = f"the recipe {narrower} (the same network at half this width), " if narrower else ""
    if step + forecast.steps >= FEW_STEPS:
        if small:
            display.say(f"  in so few steps a narrower network learns more: take {small}or give more minutes")
        return
    advice = f"Give about {count_text(forecast.minutes, 'minute')}, or take {small}smaller patches or a smaller batch."
    if not forecast.steps and not step:
        raise InvalidOptionError(
            f"training.minutes = {config.training.minutes:g}: is too short for a single step. {advice}",
            options=("training.minutes", "recipe", "data.patch_size", "data.batch_size"),
        )
    few = count_text(forecast.steps, "step")
    display.caution(f"the budget allows about {few}, in which hardly anything is learnt. {advice}", "yellow")
