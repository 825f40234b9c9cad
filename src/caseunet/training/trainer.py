"""Training, to be read from top to bottom: ``fit`` → ``run_epoch`` → ``step`` → ``forward_backward``, and between the
epochs ``validate_and_save``."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from caseunet.config import Config, DataConfig, to_yaml
from caseunet.data.loader import Batch, batches, plan_workers
from caseunet.data.store import Prepared
from caseunet.errors import Interrupted
from caseunet.files import write_text
from caseunet.imaging.boxes import spread_order
from caseunet.losses.deep_supervision import deeply_supervised
from caseunet.progress import Display, Stage
from caseunet.training.batch import prepare_batch
from caseunet.training.budget import (
    budget,
    budget_used,
    is_finished,
    next_validation,
    progress,
    seconds_to_validate,
)
from caseunet.training.checkpoint import Checkpoints, TrainedWeights, load_newest, select_checkpoint
from caseunet.training.devices import autocast_type, gather_objects, gather_values, sum_over_ranks
from caseunet.training.faults import FALLBACK_STEPS, FaultLog, StepResult, copy_buffers, forget_after, undo_step
from caseunet.training.fold_scores import SHOWN, CaseScores, ShownSlice, ValidationScore, summarize_cases, validate
from caseunet.training.forecast import check_budget, forecast_run
from caseunet.training.logs import MetricsLog, create_loggers
from caseunet.training.optim import clip_gradients, set_learning_rate, update_weights
from caseunet.training.state import capture, create_state, restore, select_weights
from caseunet.training.stopping import StopRequest, stop_on_signals
from caseunet.training.trial import (
    StepCost,
    check_disk,
    check_step,
    fits_gpu,
    measure_step,
    optimizer_bytes,
    resolve_batch_size,
)
from caseunet.types import Fold, Preprocessing

OnValidation = Callable[[Sequence[ShownSlice], bool], np.ndarray | None]
"""Called on the first process after each validation, with slices to look at and whether it is the last. A picture that
it returns, (H, W, 3), uint8, goes to the loggers."""


@dataclass(frozen=True)
class TrainingSet:
    """Prepared data, and how their pixels become network input."""

    prepared: Prepared
    preprocessing: Preprocessing


class Trainer:
    """Trains a network in place. An epoch is the stretch between two validations.

    Every process makes one and calls :meth:`fit`.

    Args:
        fabric: launched.
        model: gives logits, or a list of them with deep supervision.
        loss: of logits and class ids.
        config: of the run.
        run: folder of config.yaml, metrics.csv, tensorboard/, faults.jsonl and checkpoints/.
        data: to train and validate on.
        display: what a person sees.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: nn.Module,
        loss: nn.Module,
        config: Config,
        run: Path,
        *,
        data: TrainingSet,
        display: Display,
    ) -> None:
        self.fabric, self.config, self.run, self.data, self.display = fabric, config, run, data, display
        self.state = create_state(fabric, model, config)
        self.loss = loss.to(fabric.device)
        sum_over_ranks(fabric, self.loss)
        self.dtype = autocast_type(config.training, fabric.device)
        self.checkpoints = Checkpoints(run / "checkpoints")
        self.faults = FaultLog(fabric, self.loss, data.preprocessing, run=run, display=display)
        self.stop_request = StopRequest()
        self.stage = Stage()
        self.counted_until = time.monotonic()
        self.log: MetricsLog

    def fit(
        self,
        on_validation: OnValidation = lambda shown, is_last: None,
        *,
        replan: bool = False,
        began: float | None = None,
    ) -> TrainedWeights:
        """Train until the budget is used or nothing better comes, from the newest checkpoint if there is one.

        Args:
            began: of ``time.monotonic``, from which on a budget of minutes runs; None for now.
            on_validation: draws pictures, for example.
            replan: whether the budget was changed since the checkpoint, so that validations are laid out anew.

        Returns:
            The weights that the configuration asks for.

        Raises:
            CaseUNetError: the batch does not fit into memory, the checkpoints not on the disk, none of them can be
                read, or too many steps gave nothing finite.
            Interrupted: a signal ended it; everything is saved.
        """
        self.counted_until = time.monotonic() if began is None else began
        logged = self.resume(replan)
        self.config = self.config.model_copy(update={"data": self.resolve_data()})
        config, state = self.config.training, self.state
        self.log = self.open_log(logged)
        try:
            with stop_on_signals() as self.stop_request:
                if config.pretrained is not None and state.step == 0:
                    self.score_start()
                if not is_finished(config, state):
                    loader = self.load_batches()
                    with self.display.stage("training", *budget(config)) as self.stage:
                        self.stage.advance(progress(config, state))
                        while not is_finished(config, state):
                            self.run_epoch(loader)
                            self.validate_and_save(on_validation)
                    if budget_used(config, state) < 1:
                        self.display.say(
                            f"  ends early: {state.without_better} validations brought nothing better", "yellow"
                        )
        finally:
            self.log.close()
        self.fabric.barrier()
        return select_checkpoint(self.checkpoints, config, state)

    def score_start(self) -> None:
        """Score the weights that training starts from; they are kept where none after them are better."""
        scores = self.score_cases()
        if scores is None:  # a signal came; the first step sees to it
            return
        score = summarize_cases(scores)
        self.log.write(self.state, score)
        self.keep_best(score)
        self.display.say(f"  step 0: validation Dice {score.describe()}, of the weights that training starts from")

    def run_epoch(self, loader: Iterator[Batch]) -> None:
        """Take the steps that are left until the next validation is due."""
        config, state = self.config.training, self.state
        state.model.train()
        while budget_used(config, state) < state.due:
            set_learning_rate(state.optimizer, self.config.optimizer, budget_used(config, state))
            batch = next(loader)
            result = self.step(batch)
            seconds, signal = self.agree()
            self.count_step(result, images=len(batch) * self.fabric.world_size, seconds=seconds)
            if state.step % config.log_every == 0:
                self.log.write(state)
            if signal:
                self.stop(signal)
            is_time = state.seconds - state.saved_seconds >= 60 * config.checkpoint_minutes
            if is_time and budget_used(config, state) < state.due:  # otherwise it is saved with its validation
                self.save()

    def step(self, batch: Batch) -> StepResult | None:
        """Update the weights, or leave the batch out where its loss or gradient is not finite.

        Half precision that failed is tried again in float32, and left alone for a while. Where fp16 alone overflows,
        its scale is lowered and the batch left out, as is usual.

        Returns:
            What the step gave; None if nothing finite came out.

        Raises:
            CaseUNetError: too many steps were not finite, or the network gives nothing finite any more.
        """
        state = self.state
        dtype = self.dtype if state.step >= state.float32_until else None
        buffers = copy_buffers(state.model)
        result = self.forward_backward(batch, dtype)
        if not result.is_finite and not result.is_overflow(state.scaler):
            fault = self.faults.describe(state, batch, result)
            if dtype is not None:
                state.float32_until = state.step + FALLBACK_STEPS
                undo_step(state, buffers)
                result = self.forward_backward(batch, None)
            self.faults.report(
                state, fault, has_recovered=result.is_finite, limit=self.config.training.max_nonfinite_steps
            )
        if result.is_finite or result.is_overflow(state.scaler):
            update_weights(state.optimizer, state.scaler if result.is_scaled else None)
        if not result.is_finite:
            undo_step(state, buffers)
            return None
        if state.average:
            state.average.update()
        return result

    def forward_backward(self, batch: Batch, dtype: torch.dtype | None, parts: int | None = None) -> StepResult:
        """Forward and backward pass of this device's share of a batch; weights stay as they are.

        Args:
            batch: as it was loaded.
            dtype: in which the network computes; None for float32.
            parts: in which the batch is taken one after another; None for what is configured.
        """
        fabric, state, loss = self.fabric, self.state, self.loss
        parts = parts or self.config.training.micro_batches
        scaler = state.scaler if dtype == torch.float16 else None
        torch.manual_seed(_mix_seed(self.config.seed, state.step, fabric.global_rank))  # dropout follows from them too
        state.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for n in range(parts):
            image, target, merged = prepare_batch(fabric, batch.part(n, parts), self.data.preprocessing)
            with fabric.no_backward_sync(state.parallel, enabled=fabric.world_size > 1 and n + 1 < parts):
                with torch.autocast(fabric.device.type, dtype or torch.bfloat16, enabled=dtype is not None):
                    outputs = state.parallel(image)
                value = deeply_supervised(loss, outputs, target, merged) / parts
                fabric.backward(scaler.scale(value) if scaler else value)
            terms = {name: term / parts for name, term in getattr(loss, "parts", {}).items()}
            for name, term in ({"loss": value.detach()} | terms).items():
                sums[name] = sums[name] + term if name in sums else term
        if scaler:
            scaler.unscale_(state.optimizer)
        norm = clip_gradients(state.model, self.config.optimizer)
        *values, own_norm = torch.stack([*sums.values(), norm.to(value.device)]).tolist()  # a GPU is waited for once
        means = gather_values(fabric, values).mean(0).tolist()
        return StepResult(dict(zip(sums, means, strict=True)), own_norm, dtype)

    def validate_and_save(self, on_validation: OnValidation) -> None:
        """Score the weights on the validation cases; keep them if they are the best; lay down a checkpoint."""
        config, state = self.config.training, self.state
        scores = self.score_cases()
        seconds, signal = self.agree()
        if scores is None:
            self.stop(signal)
            return
        score = summarize_cases(scores)
        before = progress(config, state)
        state.seconds += seconds
        state.validation_seconds = seconds
        self.log.write(state, score)
        self.keep_best(score)
        state.validated_step = state.step
        state.due = next_validation(config, state)
        self.save(score)
        if self.fabric.is_global_zero:
            picture = on_validation([s.shown for s in scores if s.shown is not None], is_finished(config, state))
            if picture is not None:
                self.log.picture(state.step, "validation", picture)
        state.seconds += self.agree()[0]  # saving and drawing
        state.due = next_validation(config, state)
        self.stage.advance(progress(config, state) - before)
        words = f"validation Dice {score.describe()}"
        state.last_scores = f"\n{words}, of step {state.step:,}"
        self.display.say(f"  step {state.step:,}: {words}")

    def score_cases(self) -> list[CaseScores] | None:
        """Scores of the validation cases, each process having done its share; None where a signal came.

        Where the budget has no time for all of them, those that the first validation comes to are seen by all others.
        """
        fold = self.data.prepared.fold(self.config.data.fold)
        is_split = self.config.training.strategy == "fsdp"  # whose processes must do the same at the same time
        state = self.state
        seen = state.validation_cases or self._validation_order(fold)
        own = seen if is_split else seen[self.fabric.global_rank :: self.fabric.world_size]
        is_bounded = state.validation_cases is None and not is_split
        with state.average.in_place() if state.average else nullcontext():
            state.model.eval()
            scores = validate(
                state.model,
                self.data.prepared,
                {case: fold.val[case] for case in own},
                self.data.preprocessing,
                self.fabric.device,
                shown=seen[:SHOWN],
                stop=lambda: not is_split and bool(self.stop_request.signal),
                seconds=seconds_to_validate(self.config.training) if is_bounded else None,
            )
        everywhere = gather_objects(self.fabric, scores)
        if any(of_process is None for of_process in everywhere):
            return None
        by_case = {score.case: score for of_process in everywhere for score in of_process}
        if state.validation_cases is None:
            state.validation_cases = [case for case in seen if case in by_case]
            if len(by_case) < len(seen):
                self.display.say(
                    f"  validates on {len(by_case)} of {len(seen)} cases in training: the budget has no time for more"
                )
        return [by_case[case] for case in fold.val if case in by_case]

    def _validation_order(self, fold: Fold) -> list[str]:
        """All validation cases; with a budget of minutes so that the first few are spread over them."""
        cases = list(fold.val)
        return cases if self.config.training.minutes is None else [cases[n] for n in spread_order(len(cases))]

    def keep_best(self, score: ValidationScore) -> None:
        """Save the weights if none before were better; the first in any case, where nothing could be measured."""
        state, value = self.state, score.value(self.config.training.monitor)
        state.without_better += 1
        if state.best_step is None or value > state.best:
            state.best, state.best_step, state.without_better = -math.inf if math.isnan(value) else value, state.step, 0
            weights = select_weights(state)
            if self.fabric.is_global_zero:
                content = {"model": weights, "step": state.step, "dice": score.dice, "iou": score.iou}
                self.checkpoints.save("best", state.step, content)

    def save(self, score: ValidationScore | None = None) -> None:
        """Lay down a checkpoint, with the validation score if it was just validated."""
        state = self.state
        state.saved_seconds = state.seconds
        content = capture(state) | {"log": self.log.capture()}
        if score is not None:
            content |= {"dice": score.dice, "iou": score.iou}
        if self.fabric.is_global_zero:
            self.checkpoints.save("step", state.step, content)
        self.fabric.barrier()

    def stop(self, signal: int) -> None:
        """Save and leave."""
        self.save()
        raise Interrupted(f"Stopped after step {self.state.step:,}; everything is saved.", signal)

    def count_step(self, result: StepResult | None, *, images: int, seconds: float) -> None:
        """Note that a step was taken, and what it gave."""
        state, config = self.state, self.config.training
        before = progress(config, state)
        state.step += 1
        state.seconds += seconds
        words = "left out"
        if result is not None:
            self.log.add(result.values | {"gradient_norm": result.norm, "images_per_second": images / seconds})
            words = f"loss {result.describe()} · {images / seconds:.1f} images/s"
        self.stage.advance(progress(config, state) - before, f"step {state.step:,} · {words}{state.last_scores}")

    def agree(self) -> tuple[float, int]:
        """Seconds since they were last counted, on the slowest process, and the signal that any has got, or 0."""
        now = time.monotonic()
        own = [now - self.counted_until, float(self.stop_request.signal)]
        self.counted_until = now
        seconds, signal = gather_values(self.fabric, own).amax(0).tolist()
        return seconds, int(signal)

    def resume(self, replan: bool) -> dict[str, Any] | None:
        """Take up the newest checkpoint; returns what metrics.csv is gone on with, None where there is none."""
        config, state = self.config.training, self.state
        content = load_newest(self.fabric, self.checkpoints, self.display)
        if content is not None:
            restore(state, content)
        if content is None or replan:
            state.due, state.without_better = next_validation(config, state), 0
        if content is None:
            return None
        if replan:
            self._renew_validation()
        if is_finished(config, state):
            self.display.say(f"  the run is finished with step {state.step:,}. To train longer, give a larger budget")
        else:
            self.display.say(f"  goes on from step {state.step:,}")
        logged: dict[str, Any] = content["log"]
        return logged

    def _renew_validation(self) -> None:
        """Let another budget see other validation cases, if the former had no time for all: scores begin anew."""
        state, cases = self.state, self.data.prepared.fold(self.config.data.fold).val
        if state.validation_cases is not None and len(state.validation_cases) < len(cases):
            state.validation_cases, state.best = None, -math.inf

    def resolve_data(self) -> DataConfig:
        """The data's configuration with a batch size that is a number and spreads evenly over devices and parts, and
        with a number of workers."""
        given, prepared, fabric = self.config.data, self.data.prepared, self.fabric

        def fits(number: int) -> bool:
            config = given.model_copy(update={"batch_size": number, "workers": 0})
            batch = next(batches(prepared, config, self.config.augment, self.config.seed, 0))
            return fits_gpu(lambda: self.try_step(batch, parts=1), optimizer_bytes(self.state.model))

        size = resolve_batch_size(self.config, fabric, fits)
        if given.batch_size != size:
            self.display.say(f"  data.batch_size is {size} here")
        config = given.model_copy(update={"batch_size": size})
        if config.workers == "auto":
            ranks = max(1, fabric.world_size // self.config.training.nodes)
            config = config.model_copy(update={"workers": plan_workers(prepared, config, fabric.device, ranks)})
        return config

    def load_batches(self) -> Iterator[Batch]:
        """This process's batches from the present step on, without end, once it is sure that one fits into memory, and
        that the budget allows some."""
        config, fabric, prepared = self.config, self.fabric, self.data.prepared
        part = fabric.global_rank, fabric.world_size
        is_gpu = fabric.device.type == "cuda"
        loader = batches(prepared, config.data, config.augment, config.seed, self.state.step, part, is_pinned=is_gpu)
        first = next(loader)
        cost = check_step(self.try_step, first, config.training, fabric, optimizer_bytes(self.state.model))
        ranges = prepared.fold(config.data.fold).val.values()
        slices = sum(stop - start for parts in ranges for start, stop in parts)
        self.state.seconds += self.agree()[0]
        if self.state.step == 0:  # one that goes on may owe a validation
            self.state.due = next_validation(config.training, self.state)
        forecast = forecast_run(cost, config, self.state, slices)
        self.display.say(f"  {forecast.text}")
        check_budget(forecast, config, self.state.step, self.display)
        return chain([first], loader)

    def try_step(self, batch: Batch, parts: int | None = None, held: int | None = None) -> StepCost:
        """Measure a forward and backward pass, of which no trace is left; see :func:`measure_step`."""
        buffers = copy_buffers(self.state.model)
        self.state.model.train()
        try:
            return measure_step(lambda: self.forward_backward(batch, self.dtype, parts), self.fabric.device, held)
        finally:
            undo_step(self.state, buffers)

    def open_log(self, logged: dict[str, Any] | None) -> MetricsLog:
        """Write config.yaml, take back what came after the checkpoint, and go on with metrics.csv and the loggers."""
        structures = tuple(self.data.prepared.info.label_map.structures)
        if not self.fabric.is_global_zero:
            return MetricsLog(None, structures, content=logged)
        step = self.state.step
        check_disk(self.state, self.run)
        write_text(self.run / "config.yaml", to_yaml(self.config))
        self.checkpoints.forget_after(step)
        forget_after(self.run, step)
        loggers = create_loggers(self.run, self.config, step, self.display)
        return MetricsLog(self.run / "metrics.csv", structures, loggers, logged)


def _mix_seed(seed: int, step: int, rank: int) -> int:
    """One 64-bit seed for torch out of several numbers."""
    numbers = [seed, step, rank] if rank else [seed, step]
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
