"""The loop: reproducible, within its budget, and honest when it fails."""

import json
import traceback
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from caseunet.bundle import Bundle, load_bundle
from caseunet.commands.evaluate import evaluate
from caseunet.commands.predict import predict
from caseunet.commands.prepare import prepare
from caseunet.commands.train import train
from caseunet.config import Config, OptimizerConfig, PrepareConfig, TrainingConfig, load_config
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError
from caseunet.losses import create_loss
from caseunet.models import create_model
from caseunet.options import EvaluateOptions, PredictOptions
from caseunet.training.budget import budget_used, is_finished, next_validation
from caseunet.training.checkpoint import Checkpoints
from caseunet.training.optim import learning_rate
from caseunet.training.state import State


def changed(config: Config, **sections: dict[str, object]) -> Config:
    """The configuration with some keys of some sections replaced."""
    values = config.model_dump()
    for name, section in sections.items():
        values[name] = values[name] | section
    return Config.model_validate(values)


def blank_state(**values: float) -> State:
    model = torch.nn.Identity()
    return State(model, model, torch.optim.SGD([torch.zeros(1)]), torch.amp.GradScaler("cpu", enabled=False), **values)


def test_learning_rate_rises_then_falls() -> None:
    config = OptimizerConfig(lr=1.0, warmup_ratio=0.1, poly_power=0.9)
    assert learning_rate(config, 0) == 0.005
    assert learning_rate(config, 0.05) == pytest.approx(0.5)
    assert learning_rate(config, 0.1) == pytest.approx(0.9**0.9)
    assert learning_rate(config, 0.5) == pytest.approx(0.5**0.9)
    assert learning_rate(config, 1.5) == 0
    assert learning_rate(OptimizerConfig(lr=1.0, warmup_ratio=0, poly_power=0), 0.7) == 1


def test_of_two_budgets_the_first_to_end_counts() -> None:
    state = blank_state(step=5, seconds=27)  # of minutes a tenth is kept for what comes after
    assert budget_used(TrainingConfig(steps=10), state) == 0.5
    assert budget_used(TrainingConfig(minutes=2), state) == 0.25
    assert budget_used(TrainingConfig(steps=10, minutes=2), state) == 0.5
    assert budget_used(TrainingConfig(steps=100, minutes=1), state) == 0.5


def test_a_run_holds_what_made_it(lits_bundle: Bundle, tiny_config: Config) -> None:
    run = lits_bundle.folder.parent
    planned = changed(tiny_config, data={"patch_size": lits_bundle.info.preprocessing.min_size, "workers": 0})
    assert Config.model_validate(yaml.safe_load((run / "config.yaml").read_text())) == planned
    environment = json.loads((run / "environment.json").read_text())
    assert environment["libraries"]["torch"] == torch.__version__
    assert environment["split"]["folds"]
    assert environment["command"]
    assert len(environment["code_hash"]) == 32
    checkpoints = Checkpoints(run / "checkpoints")
    assert checkpoints.steps("step") == [4, 2], "the last two"
    assert 1 <= len(checkpoints.steps("best")) <= 2
    for picture in ("curves", "validation"):
        assert (run / "figures" / f"{picture}.png").stat().st_size > 1000
    assert list((run / "tensorboard").iterdir())

    metrics = pd.read_csv(run / "metrics.csv")
    assert metrics["step"].tolist() == [2, 2, 4, 4]
    validated = metrics.dropna(subset=["val_dice"])
    assert validated["step"].tolist() == [2, 4]
    assert {"val_dice_liver", "val_dice_tumour"} <= set(metrics.columns)
    logged = metrics.dropna(subset=["loss"])
    total = logged["cross_entropy"] + logged["ssim"] + logged["dice"]
    np.testing.assert_allclose(logged["loss"], total, rtol=1e-4)


def test_the_bundle_tells_its_best_validation(lits_bundle: Bundle) -> None:
    metrics = pd.read_csv(lits_bundle.folder.parent / "metrics.csv").dropna(subset=["val_dice"])
    best = metrics.loc[metrics["val_dice"].idxmax()]
    score = lits_bundle.info.validation
    assert (score.step, score.selected) == (best["step"], "best")
    assert score.mean == pytest.approx(best["val_dice"], abs=1e-4)


def test_same_seed_gives_same_weights_bit_for_bit(
    lits_prepared: Prepared, lits_bundle: Bundle, tiny_config: Config, tmp_path: Path
) -> None:
    again = train(lits_prepared.folder, out=tmp_path / "again", config=tiny_config)
    assert all(torch.equal(again.weights[name], lits_bundle.weights[name]) for name in lits_bundle.weights)
    other = train(lits_prepared.folder, out=tmp_path / "other", config=tiny_config.model_copy(update={"seed": 1}))
    assert not all(torch.equal(other.weights[name], lits_bundle.weights[name]) for name in lits_bundle.weights)


def test_the_last_weights_can_be_kept(lits_prepared: Prepared, tiny_config: Config, tmp_path: Path) -> None:
    bundle = train(
        lits_prepared.folder, out=tmp_path / "run", config=changed(tiny_config, training={"checkpoint": "last"})
    )
    last = Checkpoints(tmp_path / "run" / "checkpoints").load("step", 4)
    assert last["step"] == 4
    assert all(torch.equal(last["model"][name], tensor) for name, tensor in bundle.weights.items())


def test_training_learns(lits_prepared: Prepared, tmp_path: Path) -> None:
    """A hundred and twenty steps on made-up patients find the liver of patients not seen."""
    config = load_config(
        overrides={
            "model.kwargs.widths": [8, 12, 16],
            "data.batch_size": 4,
            "augment.strength": "light",
            "training.steps": 120,
            "training.num_validations": 2,
        }
    )
    bundle = train(lits_prepared.folder, out=tmp_path / "run", config=config)
    assert bundle.info.validation.structures["liver"] > 0.8


def test_few_frames_precede_the_forward_pass(
    lits_prepared: Prepared, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the command and the network: the work of a process, then what trainer.py has, from top to bottom."""
    stacks: list[list[str]] = []

    def note(*_: object) -> None:
        own = [frame for frame in traceback.extract_stack() if "/src/caseunet/" in frame.filename]
        stacks.append([frame.name for frame in own])

    def create_watched(*arguments: object, **named: object) -> torch.nn.Module:
        model = create_model(*arguments, **named)  # type: ignore[arg-type]
        model.register_forward_pre_hook(note)
        return model

    monkeypatch.setattr("caseunet.training.plan.create_model", create_watched)
    config = changed(tiny_config, training={"steps": 1, "quality": False})
    train(lits_prepared.folder, out=tmp_path / "run", config=config)
    between = [stack[stack.index("train") + 1 :] for stack in stacks if "run_epoch" in stack]
    assert between == [["_train", "fit", "run_epoch", "step", "forward_backward"]]


@pytest.mark.parametrize(("steps", "validations"), [(50, 50), (100, 100), (7, 3), (2, 5)])
def test_every_round_takes_a_step(steps: int, validations: int) -> None:
    """Shares of a budget are rounded; a due point must never be where the run already is for ever."""
    config = TrainingConfig(steps=steps, num_validations=validations)
    state = blank_state(due=next_validation(config, blank_state()))
    rounds = []
    while not is_finished(config, state):
        before = state.step
        while budget_used(config, state) < state.due:
            state.step += 1
        assert state.step > before
        rounds.append(state.step)
        state.validated_step, state.due = state.step, next_validation(config, state)
    assert rounds[-1] == steps
    assert len(rounds) == min(steps, validations)


def test_validations_take_a_tenth_of_the_minutes_at_most() -> None:
    """Of 54 s to train, .6 s each for ten of them; 2.4 s allow two, for nine times as long is trained between them."""
    config = TrainingConfig(minutes=1, num_validations=10)
    state = blank_state(seconds=9, validation_seconds=0.6)
    assert next_validation(config, state) == pytest.approx(0.2)
    state.validation_seconds = 2.4
    assert next_validation(config, state) == pytest.approx(0.4)


def test_learning_rate_of_the_schedule_is_used(lits_bundle: Bundle, tiny_config: Config) -> None:
    """A row after step n shows the rate of step n, which began with n − 1 of 4 steps used."""
    metrics = pd.read_csv(lits_bundle.folder.parent / "metrics.csv").dropna(subset=["loss"])
    expected = [learning_rate(tiny_config.optimizer, (step - 1) / 4) for step in metrics["step"]]
    np.testing.assert_allclose(metrics["lr"], expected, rtol=1e-4)


def test_gradients_are_clipped(lits_prepared: Prepared, tiny_config: Config, tmp_path: Path) -> None:
    """AdamW's first step has one size for any gradient but a vanishing one, which a tiny norm makes of it."""
    runs = {}
    for norm in (1e-9, None):
        config = changed(
            tiny_config, optimizer={"max_grad_norm": norm, "name": "adamw"}, training={"checkpoint": "last", "steps": 1}
        )
        runs[norm] = train(lits_prepared.folder, out=tmp_path / str(norm), config=config).weights["head.2.bias"]
    assert not torch.equal(runs[1e-9], runs[None])


def test_class_weights_follow_the_training_cases(
    lits_prepared: Prepared, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[float] | None] = []

    def spy(name: str, weights: list[float] | None, **arguments: object) -> torch.nn.Module:
        seen.append(weights)
        return create_loss(name, weights, **arguments)

    monkeypatch.setattr("caseunet.training.plan.create_loss", spy)
    config = changed(tiny_config, loss={"class_weights": "inverse_frequency"})
    train(lits_prepared.folder, out=tmp_path / "run", config=config)
    counts = np.bincount(np.concatenate([lits_prepared.labels(c).ravel() for c in lits_prepared.fold(0).train]))
    assert seen == [pytest.approx((1 / counts) / (1 / counts).mean())]


def test_validation_equals_prediction_and_evaluation(
    lits_bundle: Bundle, lits_prepared: Prepared, lits_raw: Path, tmp_path: Path
) -> None:
    """The score in the bundle is what a user gets who predicts the fold's validation cases and evaluates them."""
    splits = lits_prepared.folder / "splits.json"
    predict(lits_bundle.folder, [lits_raw], out=tmp_path / "p", options=PredictOptions(split=splits))
    summary = evaluate(tmp_path / "p", lits_raw, out=tmp_path / "r", options=EvaluateOptions(split=splits)).summary
    for name, value in lits_bundle.info.validation.structures.items():
        assert summary.number("dice", name).value == pytest.approx(value, abs=1e-3)


def test_the_paper_s_recipe_trains(lits_raw: Path, tmp_path: Path) -> None:
    config = load_config(
        recipe="paper",
        overrides={
            "prepare.size": [64, 64],
            "prepare.folds": 2,
            "model.kwargs.widths": [2, 3, 4],
            "training.steps": 1,
        },
    )
    prepare(lits_raw, out=tmp_path / "p", config=config.prepare)
    info = train(tmp_path / "p", out=tmp_path / "run", config=config).info
    assert info.architecture.in_channels == 3
    assert (info.preprocessing.intensity_window, info.preprocessing.channel_repeat) == (((-200, 250),), 3)
    assert info.preprocessing.size == (64, 64)


def test_slices_next_to_the_held_out_ones_are_not_seen(lits_raw: Path, tiny_config: Config, tmp_path: Path) -> None:
    config = PrepareConfig(split="slice-blocks", split_block_size=2, test_every=2, split_gap=0)
    prepare(lits_raw, out=tmp_path / "p", config=config)
    with pytest.raises(CaseUNetError, match="is in training and in validation.*data.context_slices"):
        train(tmp_path / "p", out=tmp_path / "run", config=changed(tiny_config, data={"context_slices": 1}))


def test_no_step_is_validated_twice(lits_prepared: Prepared, tiny_config: Config, tmp_path: Path) -> None:
    train(
        lits_prepared.folder,
        out=tmp_path / "run",
        config=changed(tiny_config, training={"steps": 3, "num_validations": 10}),
    )
    metrics = pd.read_csv(tmp_path / "run" / "metrics.csv").dropna(subset=["val_dice"])
    assert metrics["step"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"loss": {"class_weights": "inverse_frequency"}}, None),
        ({"optimizer": {"name": "adamw", "max_grad_norm": None}}, None),
        ({"training": {"precision": "bf16-mixed"}}, None),
        ({"model": {"name": "unet", "kwargs": {"widths": [4, 6]}}}, None),
        ({"model": {"name": "nnunet", "kwargs": {"patch_size": [64, 64], "width": 2}}}, None),  # deep supervision
        ({"loss": {"name": "dice", "kwargs": {"classes": "present"}}}, None),
        ({"model": {"name": "unet", "kwargs": {"width": 4}}}, 'no argument "width"'),
        ({"data": {"fold": 7}}, "no fold 7"),
        ({"training": {"device": "cuda"}}, "cuda"),
        ({"optimizer": {"lr": 1e30, "warmup_ratio": 0, "max_grad_norm": None}}, "has diverged"),
    ],
)
def test_other_choices_train_or_are_refused(
    sections: dict[str, dict[str, object]],
    message: str | None,
    lits_prepared: Prepared,
    tiny_config: Config,
    tmp_path: Path,
) -> None:
    if message == "cuda" and torch.cuda.is_available():
        pytest.skip("a GPU is present")
    config = changed(tiny_config, **sections)
    if message:
        with pytest.raises(CaseUNetError, match=message):
            train(lits_prepared.folder, out=tmp_path / "run", config=config)
    else:
        train(lits_prepared.folder, out=tmp_path / "run", config=config)
        assert load_bundle(tmp_path / "run" / "bundle").info.validation is not None
