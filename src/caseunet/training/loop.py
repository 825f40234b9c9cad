"""The training loop, to be read from top to bottom."""

import csv
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from caseunet.config import Config, TrainingConfig
from caseunet.data.augmentation import augment
from caseunet.data.loader import Batch, batches
from caseunet.data.store import Prepared
from caseunet.data.transforms import normalize, repeat_channels
from caseunet.errors import UserError
from caseunet.losses.deep_supervision import deeply_supervised
from caseunet.progress import Display, Stage
from caseunet.training.checkpoint import load_checkpoint, save_checkpoint
from caseunet.training.optim import create_optimizer, learning_rate
from caseunet.training.validation import ValidationScore, validate
from caseunet.types import Preprocessing

ROUNDING = 1e-9
"""Shares of a budget are quotients: they may miss a due point by this much."""


@dataclass
class State:
    """Everything that changes while training goes on.

    Attributes:
        model: as Fabric wrapped it.
        step: steps taken.
        seconds: time spent training and validating.
        validation_seconds: what the last validation took.
        best: highest mean validation Dice so far.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    validation_seconds: float = 0.0
    best: float = -math.inf


@dataclass(frozen=True)
class Trained:
    """Weights by parameter name, the step they are from, and their validation score."""

    weights: dict[str, Tensor]
    step: int
    score: ValidationScore


def fit(
    model: nn.Module,
    loss: nn.Module,
    prepared: Prepared,
    preprocessing: Preprocessing,
    config: Config,
    run: Path,
    display: Display,
) -> Trained:
    """Train ``model`` in place and leave metrics.csv and checkpoints/ in ``run``.

    Returns:
        What ``training.keep`` asks for.

    Raises:
        UserError: the loss became NaN or infinite, or the device is not there.
    """
    fabric = create_fabric(config.training)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = State(*fabric.setup(model, create_optimizer(model, config.optimizer)))
    loss = loss.to(fabric.device)
    log = MetricsLog(run / "metrics.csv", tuple(prepared.info.label_map.structures))
    fold = prepared.fold(config.data.fold)
    loader = batches(prepared, config.data, config.augment, config.seed, start=state.step)

    total, unit = budget(config.training)
    with display.stage("training", total, unit) as stage:
        while budget_used(config.training, state) < 1:
            train_until_validation(fabric, state, loss, loader, preprocessing, config, log, stage)
            began = time.monotonic()
            state.model.eval()
            score = validate(state.model, prepared, fold.val, preprocessing, fabric.device)
            took = time.monotonic() - began
            state.seconds += took
            state.validation_seconds = took
            log.write(state, score)
            is_first = state.best == -math.inf  # and stays so while nothing could be measured
            if is_first or score.mean > state.best:
                state.best = -math.inf if math.isnan(score.mean) else score.mean
                save(run, "best", model, state, score)
            save(run, "last", model, state, score)
            stage.advance(took if unit == "second" else 0)
            display.say(f"  step {state.step:,}: validation Dice {_scores_in_words(score)}")

    kept = load_checkpoint(run / "checkpoints" / f"{config.training.keep}.ckpt")
    return Trained(kept["model"], kept["step"], ValidationScore(kept["mean"], kept["structures"]))


def train_until_validation(
    fabric: Fabric,
    state: State,
    loss: nn.Module,
    loader: Iterator[Batch],
    preprocessing: Preprocessing,
    config: Config,
    log: "MetricsLog",
    stage: Stage,
) -> None:
    """Take steps, at least one, until the next validation is due."""
    due = next_validation(config.training, state)
    parameters = list(state.model.parameters())
    state.model.train()
    first = state.step
    while state.step == first or budget_used(config.training, state) < due:
        began = time.monotonic()
        lr = learning_rate(config.optimizer, budget_used(config.training, state))
        for group in state.optimizer.param_groups:
            group["lr"] = lr
        torch.manual_seed(_mixed(config.seed, state.step))  # dropout too follows from (seed, step)

        image, target = prepare_batch(fabric, next(loader), preprocessing)
        value = deeply_supervised(loss, state.model(image), target)
        state.optimizer.zero_grad(set_to_none=True)
        fabric.backward(value)
        norm = torch.nn.utils.clip_grad_norm_(parameters, config.optimizer.clip_norm or math.inf)
        if not (torch.isfinite(value) and torch.isfinite(norm)):
            raise UserError(
                f"The loss became {value.item():g} and its gradient {norm.item():g} at step {state.step}. Checkpoints "
                'so far are kept. Lower optimizer.lr, set training.precision to "32", or check the data for outliers.'
            )
        state.optimizer.step()

        took = time.monotonic() - began
        state.step += 1
        state.seconds += took
        parts = {name: part.item() for name, part in getattr(loss, "parts", {}).items()}
        log.add({"loss": value.item(), **parts, "gradient_norm": norm.item(), "images_per_second": len(image) / took})
        if state.step % config.training.log_every == 0:
            log.write(state)
        amount = took if config.training.steps is None else 1
        stage.advance(amount, f"loss {value.item():.2f} ({_in_words(parts)})")


def prepare_batch(fabric: Fabric, batch: Batch, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Network input (B, in_channels, H, W) and class ids (B, H, W), int64: moved to the device, normalised, augmented.

    Channels are repeated last, so that equal ones stay equal and cost nothing before.
    """
    image = normalize(fabric.to_device(batch.pixels), preprocessing, fabric.to_device(batch.standards))
    rgb = preprocessing.modality == "rgb"
    image, target = augment(image, fabric.to_device(batch.target), batch.augmentations, rgb)
    return repeat_channels(image, preprocessing), target.long()


def budget(config: TrainingConfig) -> tuple[float, str]:
    """The budget that the display counts: (steps, "step") or (seconds, "second")."""
    if config.steps is not None:
        return config.steps, "step"
    return 60 * (config.minutes or 0), "second"


def next_validation(config: TrainingConfig, state: State) -> float:
    """Share of the budget at which the next validation is due.

    Validations are at equal distances; in a budget of minutes at least three times as far apart as the last one took,
    so that they take no more than a quarter of it.
    """
    distance = 1 / config.validations
    if config.minutes is not None:
        distance = max(distance, 3 * state.validation_seconds / (60 * config.minutes))
    rounds = math.floor(budget_used(config, state) / distance + ROUNDING)
    return min((rounds + 1) * distance, 1.0) - ROUNDING


def budget_used(config: TrainingConfig, state: State) -> float:
    """Used share of the budget, 0 to 1 and a little above; of two budgets the one that is further."""
    by_steps = state.step / config.steps if config.steps is not None else 0.0
    by_time = state.seconds / (60 * config.minutes) if config.minutes is not None else 0.0
    return max(by_steps, by_time)


def create_fabric(config: TrainingConfig) -> Fabric:
    """Lightning Fabric on the configured device, in the configured precision.

    Raises:
        UserError: the device is not there.
    """
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if device == "cuda" and torch.cuda.is_bf16_supported() else "32"
    try:
        return Fabric(accelerator=device, devices=1, precision="bf16-mixed" if precision == "bf16" else "32-true")
    except (RuntimeError, ValueError) as error:
        raise UserError(f'training.device = "{device}" cannot be used here: {error}') from error


def save(run: Path, name: str, model: nn.Module, state: State, score: ValidationScore) -> None:
    """Write checkpoints/NAME.ckpt."""
    content = {
        "model": model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "seconds": state.seconds,
        "best": state.best,
        "mean": score.mean,
        "structures": score.structures,
    }
    save_checkpoint(run / "checkpoints" / f"{name}.ckpt", content)


class MetricsLog:
    """metrics.csv: a row every few steps with the means since the last row, and one for every validation."""

    COLUMNS = ("step", "seconds", "lr", "images_per_second", "loss", "cross_entropy", "ssim", "dice", "gradient_norm")

    def __init__(self, path: Path, structures: tuple[str, ...]) -> None:
        self._path = path
        self._columns = [*self.COLUMNS, "val_dice", *(f"val_dice_{name}" for name in structures)]
        self._sums: dict[str, float] = {}
        self._count = 0
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerow(self._columns)

    def add(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1

    def write(self, state: State, score: ValidationScore | None = None) -> None:
        lr = state.optimizer.param_groups[0]["lr"]
        row: dict[str, Any] = {"step": state.step, "seconds": f"{state.seconds:.2f}", "lr": f"{lr:.6g}"}
        row |= {name: f"{total / self._count:.6g}" for name, total in self._sums.items()}
        if score is not None:
            row["val_dice"] = f"{score.mean:.5f}"
            row |= {f"val_dice_{name}": f"{value:.5f}" for name, value in score.structures.items()}
        with self._path.open("a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, self._columns).writerow(row)
        self._sums, self._count = {}, 0


def _mixed(seed: int, step: int) -> int:
    """One 64-bit seed for torch out of two numbers."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def _in_words(parts: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in parts.items())


def _scores_in_words(score: ValidationScore) -> str:
    """A few structures each; of many the mean and the worst."""
    known = {name: value for name, value in score.structures.items() if not math.isnan(value)}
    if len(known) <= 4:
        return ", ".join(f"{name} {value:.3f}" for name, value in known.items()) or "of nothing"
    worst = min(known, key=lambda name: known[name])
    return f"{score.mean:.3f}, the worst of {len(known)} structures {worst} {known[worst]:.3f}"
