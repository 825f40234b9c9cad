"""What a trial step says of the steps that a budget allows."""

import pytest

from caseunet.config import load_config
from caseunet.errors import CaseUNetError
from caseunet.progress import Notices
from caseunet.training.forecast import Forecast, check_budget, forecast_run
from caseunet.training.trial import StepCost
from tests.training.test_trainer import blank_state


def forecast(step_seconds: float, **training: object) -> Forecast:
    settings = {f"training.{key}": value for key, value in training.items()}
    config = load_config(overrides={"data.batch_size": 8, "training.num_validations": 10, **settings})
    return forecast_run(StepCost(step_seconds, 2**30), config, blank_state(seconds=8), slices=24)


def test_steps_of_minutes() -> None:
    """Of 600 s, 540 are to train; 8 went before; ten validations of 24 slices take 10 · 24 · 1/24 s: 522 s are left."""
    assert forecast(1.0, minutes=10).steps == 522
    assert "10 min allow about 522 steps or more" in forecast(1.0, minutes=10).text


def test_validations_take_a_tenth() -> None:
    """Of 540 s; ten of 24 · 20/24 = 20 s would take 200."""
    assert forecast(20.0, minutes=10).steps == (540 - 8 - 54) // 20


def test_minutes_for_fifty_steps() -> None:
    """(50 · 20 + 8) s are nine tenths of nine tenths of 1244 s."""
    assert forecast(20.0, minutes=10).minutes == 21


def test_steps_and_minutes() -> None:
    assert forecast(1.0, minutes=10, steps=7).steps == 7
    assert forecast(1.0, steps=100).steps == 100
    assert "100 steps take about" in forecast(1.0, steps=100).text


def test_few_steps_are_told() -> None:
    display = Notices(None)
    config = load_config(overrides={"training.minutes": 10})
    check_budget(Forecast("", 12, 25), config, 0, display)
    (told,) = display.warnings
    assert "about 12 steps" in told
    assert "25 minutes" in told
    assert "recipe small" in told


@pytest.mark.parametrize(
    ("recipe", "steps", "narrower"),
    [("default", 149, "small"), ("small", 50, "tiny"), ("small", 150, None), ("tiny", 60, None), ("paper", 60, None)],
)
def test_a_narrower_network_is_offered(recipe: str, steps: int, narrower: str | None) -> None:
    said: list[str] = []
    display = Notices(None)
    display.say = lambda text, style="": said.append(text)  # type: ignore[method-assign]
    check_budget(Forecast("", steps, 25), load_config(recipe=recipe, overrides={"training.minutes": 10}), 0, display)
    assert not display.warnings
    assert [narrower in text for text in said if narrower] == ([True] if narrower else [])
    assert bool(said) == (narrower is not None)


def test_another_network_is_not_narrowed() -> None:
    said: list[str] = []
    display = Notices(None)
    display.say = lambda text, style="": said.append(text)  # type: ignore[method-assign]
    other = {"training.minutes": 10, "model.kwargs.full_resolution": True}
    check_budget(Forecast("", 60, 25), load_config(overrides=other), 0, display)
    assert not said


@pytest.mark.parametrize(("steps", "before", "budget"), [(50, 0, {}), (3, 60, {}), (7, 0, {"training.steps": 7})])
def test_enough_steps(steps: int, before: int, budget: dict[str, object]) -> None:
    display = Notices(None)
    config = load_config(overrides={"training.minutes": 10, **budget})
    check_budget(Forecast("", steps, 25), config, before, display)
    assert not display.warnings


def test_not_one_step() -> None:
    config = load_config(overrides={"training.minutes": 0.1})
    with pytest.raises(CaseUNetError, match=r"= 0.1: is too short for a single step. Give about 25 min"):
        check_budget(Forecast("", 0, 25), config, 0, Notices(None))
