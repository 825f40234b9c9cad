"""The training loop, to be read from top to bottom."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric
from torch import Tensor, nn

from caseunet.config import Config, to_yaml
from caseunet.data.loader import Batch, batches
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError, Interrupted
from caseunet.files import write_text
from caseunet.progress import Display, Stage
from caseunet.training import faults
from caseunet.training.budget import budget, budget_used, in_words, is_finished, next_validation, progress
from caseunet.training.checkpoint import Checkpoints
from caseunet.training.devices import gather_objects, gather_values, sum_over_ranks
from caseunet.training.logs import Logger, MetricsLog, create_loggers
from caseunet.training.optim import learning_rate
from caseunet.training.state import State, capture, create_state, restore, validated_weights
from caseunet.training.step import take_step
from caseunet.training.stopping import StopRequest, stop_on_signals
from caseunet.training.trial import (
    MemoryTrial,
    bytes_of_optimizer,
    check_disk,
    check_step,
    find_batch_size,
    fits_gpu,
    try_step,
)
from caseunet.training.validation import SHOWN, CaseScores, ShownSlice, ValidationScore, summarize, validate
from caseunet.types import Preprocessing

Draw = Callable[[Sequence[ShownSlice], bool], np.ndarray | None]
"""Makes the pictures of a validation, if it likes or if it is the last; gives one back, (H, W, 3), uint8, for the
loggers."""


@dataclass(frozen=True)
class Trained:
    """Weights by parameter name, the step they are from, and their validation score."""

    weights: dict[str, Tensor]
    step: int
    score: ValidationScore


@dataclass(frozen=True)
class TrainContext:
    """What stays the same while training goes on.

    Attributes:
        loss: on the device.
        run: folder of metrics.csv, checkpoints/ and the rest.
        draw: called on the first process after each validation.
    """

    fabric: Fabric
    loss: nn.Module
    prepared: Prepared
    preprocessing: Preprocessing
    config: Config
    run: Path
    display: Display
    draw: Draw
    checkpoints: Checkpoints
    log: MetricsLog
    stop: StopRequest


def fit(
    fabric: Fabric,
    model: nn.Module,
    loss: nn.Module,
    prepared: Prepared,
    preprocessing: Preprocessing,
    config: Config,
    run: Path,
    display: Display,
    draw: Draw = lambda shown, is_last: None,
    replan: bool = False,
) -> Trained:
    """Train ``model`` in place, from the newest checkpoint in ``run`` if there is one, until the budget is used.

    Leaves config.yaml, metrics.csv, tensorboard/ and checkpoints/ in ``run``.

    Args:
        fabric: launched; every process calls this.
        replan: whether the budget was changed since the checkpoint, so that validations are laid out anew.

    Returns:
        What ``training.checkpoint`` asks for.

    Raises:
        CaseUNetError: the batch does not fit into memory, the checkpoints not on the disk, none of them can be read, or
            too many steps gave nothing finite.
        Interrupted: a signal ended it; everything is saved.
    """
    state = create_state(fabric, model, config)
    loss = loss.to(fabric.device)
    sum_over_ranks(fabric, loss)
    checkpoints = Checkpoints(run / "checkpoints")
    content = newest(fabric, checkpoints, display)
    if content is not None:
        restore(state, content)
    if content is None or replan:
        state.due, state.without_better = next_validation(config.training, state), 0
    if content is not None:
        is_done = is_finished(config.training, state)
        display.say(f"  is finished with step {state.step:,}" if is_done else f"  goes on from step {state.step:,}")
    config = with_batch_size(fabric, state, loss, prepared, preprocessing, config, display)
    loggers: list[Logger] = []
    if fabric.is_global_zero:
        check_disk(state, run)
        write_text(run / "config.yaml", to_yaml(config))
        checkpoints.forget_after(state.step)
        faults.forget_after(run, state.step)
        loggers = create_loggers(run, config, state.step, display)
    structures = tuple(prepared.info.label_map.structures)
    metrics = run / "metrics.csv" if fabric.is_global_zero else None
    log = MetricsLog(metrics, structures, loggers, None if content is None else content["log"])
    try:
        with stop_on_signals() as stop:
            job = TrainContext(
                fabric, loss, prepared, preprocessing, config, run, display, draw, checkpoints, log, stop
            )
            train(job, state, loggers)
    finally:
        for logger in loggers:
            logger.close()
    fabric.barrier()
    return select_checkpoint(checkpoints, config, state)


def newest(fabric: Fabric, checkpoints: Checkpoints, display: Display) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, for all processes; None if there is none.

    Raises:
        CaseUNetError: there are some, and none can be read.
    """
    step, problem = None, ""
    if fabric.is_global_zero:
        for step in checkpoints.steps("step"):
            try:
                checkpoints.load("step", step)
                problem = ""
                break
            except Exception as error:  # torch has many for a file that is none of its own
                what = (str(error) or type(error).__name__).splitlines()[0]
                problem = f"{checkpoints.path('step', step)}: is damaged: {what}."
                display.say(f"  {problem}", "yellow")
    step, problem = fabric.broadcast((step, problem))
    if problem:
        raise CaseUNetError(f"{problem} No other checkpoint can be read; train anew with --overwrite.")
    return None if step is None else checkpoints.load("step", step)


def with_batch_size(
    fabric: Fabric,
    state: State,
    loss: nn.Module,
    prepared: Prepared,
    preprocessing: Preprocessing,
    config: Config,
    display: Display,
) -> Config:
    """The configuration with a batch size that is a number and spreads evenly over devices and their parts.

    Raises:
        CaseUNetError: it does not, or is to be found with several devices.
    """
    shares = fabric.world_size * config.training.micro_batches
    size = config.data.batch_size

    def sized(number: int) -> Config:
        return config.model_copy(update={"data": config.data.model_copy(update={"batch_size": number})})

    if size == "auto":
        if fabric.world_size > 1:
            raise CaseUNetError(
                "data.batch_size = auto: is found on one device. Begin with training.devices 1, and give as many times "
                "what it says as there are devices."
            )

        def fits(number: int) -> bool:
            whole = sized(number).model_copy(
                update={"training": config.training.model_copy(update={"micro_batches": 1})}
            )
            batch = next(batches(prepared, whole.data, config.augment, config.seed, 0))
            return fits_gpu(
                lambda: try_step(fabric, state, loss, batch, preprocessing, whole), bytes_of_optimizer(state)
            )

        size = find_batch_size(fabric.device, shares, fits)
        display.say(f"  data.batch_size: auto is {size} here")
    if size % shares:
        raise CaseUNetError(
            f"data.batch_size = {size}: does not spread evenly over {fabric.world_size} devices × "
            f"{config.training.micro_batches} parts (training.micro_batches). Take a multiple of {shares}."
        )
    return sized(size)


def train(job: TrainContext, state: State, loggers: Sequence[Logger]) -> None:
    """Steps and validations in turn, until the budget is used or nothing better comes any more."""
    config = job.config
    if is_finished(config.training, state):
        return
    part = job.fabric.global_rank, job.fabric.world_size
    loader = batches(job.prepared, config.data, config.augment, config.seed, state.step, part)
    first = next(loader)
    trial = check_step(job.fabric, state, job.loss, first, job.preprocessing, config)
    job.display.say(f"  {expectation(trial, job, state)}")
    loader = chain([first], loader)
    total, unit = budget(config.training)
    with job.display.stage("training", total, unit) as stage:
        stage.advance(progress(config.training, state))
        while not is_finished(config.training, state):
            train_until_validation(job, state, loader, stage)
            validate_and_save(job, state, loggers, stage)
    if budget_used(config.training, state) < 1:
        job.display.say(f"  ends early: {state.without_better} validations brought nothing better", "yellow")


def train_until_validation(job: TrainContext, state: State, loader: Iterator[Batch], stage: Stage) -> None:
    """Take the steps that are left until the next validation is due."""
    config, fabric = job.config, job.fabric
    state.model.train()
    while budget_used(config.training, state) < state.due:
        began = time.monotonic()
        lr = learning_rate(config.optimizer, budget_used(config.training, state))
        for group in state.optimizer.param_groups:
            group["lr"] = lr
        batch = next(loader)
        attempt = take_step(fabric, state, job.loss, batch, job.preprocessing, config, job.run, job.display)

        shared = gather_values(fabric, [time.monotonic() - began, float(job.stop.signal)]).amax(0)
        took, signal = float(shared[0]), int(shared[1])
        before = progress(config.training, state)
        state.step += 1
        state.seconds += took
        speed = len(batch) * fabric.world_size / took
        words = "left out"
        if attempt is not None:
            job.log.add(attempt.values | {"gradient_norm": attempt.norm, "images_per_second": speed})
            words = f"loss {_in_words(attempt.values)} · {speed:.1f} images/s"
        stage.advance(progress(config.training, state) - before, f"step {state.step:,} · {words}{state.last_scores}")
        if state.step % config.training.log_every == 0:
            job.log.write(state)
        if signal:
            stop(job, state, signal)
        is_time = state.seconds - state.saved_seconds >= 60 * config.training.checkpoint_minutes
        if is_time and budget_used(config.training, state) < state.due:  # otherwise it is saved with its validation
            save(job, state)


def validate_and_save(job: TrainContext, state: State, loggers: Sequence[Logger], stage: Stage) -> None:
    """Score the weights on the validation cases; keep them if they are the best; lay down a checkpoint."""
    config, fabric = job.config, job.fabric
    began = time.monotonic()
    scores = score_cases(job, state)
    took, signal = gather_values(fabric, [time.monotonic() - began, float(job.stop.signal)]).amax(0).tolist()
    if scores is None:
        stop(job, state, int(signal))
        return
    score = summarize(scores)
    before = progress(config.training, state)
    state.seconds += took
    state.validation_seconds = took
    job.log.write(state, score)
    value = score.value(config.training.monitor)
    state.without_better += 1
    if state.best_step is None or value > state.best:  # the first, too, where nothing could be measured
        state.best, state.best_step, state.without_better = -math.inf if math.isnan(value) else value, state.step, 0
        weights = validated_weights(state)
        if fabric.is_global_zero:
            content = {"model": weights, "step": state.step, "dice": score.dice, "iou": score.iou}
            job.checkpoints.save("best", state.step, content)
    state.validated_step = state.step
    state.due = next_validation(config.training, state)
    save(job, state, score)
    if fabric.is_global_zero:
        shown = [s.shown for s in scores if s.shown is not None]
        picture = job.draw(shown, is_finished(config.training, state))
        for logger in loggers:
            if picture is not None:
                logger.picture(state.step, "validation", picture)
    stage.advance(progress(config.training, state) - before)
    words = f"validation Dice {_scores_in_words(score)}"
    state.last_scores = f"\n{words}, of step {state.step:,}"
    job.display.say(f"  step {state.step:,}: {words}")


def score_cases(job: TrainContext, state: State) -> list[CaseScores] | None:
    """Scores of all validation cases, each process having done its share; None where a signal came."""
    fold = job.prepared.fold(job.config.data.fold)
    rank, ranks = job.fabric.global_rank, job.fabric.world_size
    cases = list(fold.val)
    if job.config.training.strategy != "fsdp":  # whose processes must do the same at the same time
        cases = cases[rank::ranks]
    may_stop = job.config.training.strategy != "fsdp"
    with state.average.in_place() if state.average else nullcontext():
        state.model.eval()
        own = validate(
            state.model,
            job.prepared,
            {case: fold.val[case] for case in cases},
            job.preprocessing,
            job.fabric.device,
            shown=list(fold.val)[:SHOWN],
            stop=lambda: may_stop and bool(job.stop.signal),
        )
    everywhere = gather_objects(job.fabric, own)
    if any(scores is None for scores in everywhere):
        return None
    by_case = {score.case: score for scores in everywhere for score in scores}
    return [by_case[case] for case in fold.val]


def save(job: TrainContext, state: State, score: ValidationScore | None = None) -> None:
    """Lay down a checkpoint, with the validation score if it was just validated."""
    state.saved_seconds = state.seconds
    content = capture(state) | {"log": job.log.capture()}
    if score is not None:
        content |= {"dice": score.dice, "iou": score.iou}
    if job.fabric.is_global_zero:
        job.checkpoints.save("step", state.step, content)
    job.fabric.barrier()


def stop(job: TrainContext, state: State, signal: int) -> None:
    """Save and leave."""
    save(job, state)
    raise Interrupted(f"Stopped after step {state.step:,}; everything is saved.", signal)


def select_checkpoint(checkpoints: Checkpoints, config: Config, state: State) -> Trained:
    """What ``training.checkpoint`` asks for; the scores of the last weights are those of the last validation."""
    if config.training.checkpoint == "best" and state.best_step is not None:
        content = checkpoints.load("best", state.best_step)
        return Trained(content["model"], content["step"], ValidationScore(content["dice"], content["iou"]))
    content = checkpoints.load("step", state.step)
    return Trained(
        content.get("average", content["model"]), content["step"], ValidationScore(content["dice"], content["iou"])
    )


def expectation(trial: MemoryTrial, job: TrainContext, state: State) -> str:
    """What the trial step says of the time ahead, at most: the first step is slower than the others."""
    config, data = job.config.training, job.config.data
    text = f"trial step: {in_words(trial.seconds)}, {trial.bytes / 2**30:.2f} GiB for {data.batch_size} slices"
    if config.steps is None:
        return f"{text}; {config.minutes:g} minutes"
    slices = sum(stop - start for ranges in job.prepared.fold(data.fold).val.values() for start, stop in ranges)
    each = trial.seconds / int(data.batch_size) / 3  # forward alone is about a third of a step
    left = (config.steps - state.step) * trial.seconds + config.num_validations * slices * each
    return f"{text}; the {config.steps - state.step:,} steps take about {in_words(left)} or less"


def _in_words(values: dict[str, float]) -> str:
    parts = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in values.items() if name != "loss")
    return f"{values['loss']:.2f} ({parts})" if parts else f"{values['loss']:.2f}"


def _scores_in_words(score: ValidationScore) -> str:
    """A few structures each; of many the mean and the worst."""
    known = {name: value for name, value in score.dice.items() if not math.isnan(value)}
    if len(known) <= 4:
        return ", ".join(f"{name} {value:.3f}" for name, value in known.items()) or "of nothing"
    worst = min(known, key=lambda name: known[name])
    return f"{score.mean:.3f}, the worst of {len(known)} structures {worst} {known[worst]:.3f}"
