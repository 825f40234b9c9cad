"""PREPARED → RUN, and the bundle in it."""

import time
from pathlib import Path

from caseunet.bundle import Bundle, add_validation, load_bundle
from caseunet.config import Config
from caseunet.data.store import Prepared
from caseunet.files import Location, check_output_folder
from caseunet.options import Mode, check_mode
from caseunet.prediction.training_images import describe_training_images
from caseunet.progress import Display, Notices
from caseunet.reporting.run_figures import RunFigures
from caseunet.training.budget import seconds_to_close
from caseunet.training.bundling import save_run_bundle
from caseunet.training.devices import OwnRanks, create_fabric, launch, ranks_from_outside
from caseunet.training.plan import TrainingPlan, plan_training
from caseunet.training.run_folder import KIND, RunRequest, open_run, resolve_request
from caseunet.training.trainer import Trainer, TrainingSet
from caseunet.validation.scores import validate_bundle


def train(
    prepared: str | Location | None,
    *,
    out: str | Path = "run",
    config: Config | None = None,
    mode: Mode = "new",
    display: Display | None = None,
) -> Bundle:
    """Train a network and write the run: config.yaml, environment.json, metrics.csv, tensorboard/, checkpoints/,
    figures/, bundle/.

    Args:
        prepared: written by :func:`caseunet.prepare`; may be None for a run that goes on.
        out: the run's folder.
        config: everything else, the recipe recommended for this machine if None; its ``prepare`` section is not used
            here.
        mode: "overwrite" replaces an earlier run at ``out``. "resume" goes on with it, whose configuration is to be
            given again (None takes its own), or begins one where there is none. "extend" goes on with another budget:
            the schedule is laid out anew over it.
        display: shows progress.

    Returns:
        The bundle in ``out``/bundle.

    Raises:
        CaseUNetError: something is missing or does not fit, or the loss became NaN too often.
        Interrupted: a signal ended the run; everything is saved.
    """
    display, out = display or Display(), Path(out)
    check_mode(mode, "resume", "extend")
    request = resolve_request(prepared, out, config, mode)
    devices = request.config.training.devices
    if devices > 1 and ranks_from_outside()[1] == 1:
        if not request.is_resumed:
            check_output_folder(out, KIND, [request.prepared], request.mode == "overwrite")
        launch(devices, _train_in_rank, type(display), request)
    else:
        _train(None, display, request)
    return load_bundle(out / "bundle")


def is_first_process() -> bool:
    """Whether this process speaks for all that torchrun or SLURM started."""
    return ranks_from_outside()[0] == 0


def _train_in_rank(own: OwnRanks, display: type[Display], request: RunRequest) -> None:
    _train(own, display(), request)


def _train(ranks: OwnRanks | None, display: Display, request: RunRequest) -> None:
    """The work of one process; the first one writes."""
    began = time.monotonic()
    fabric = create_fabric(request.config.training, ranks)
    display = Notices(display if fabric.is_global_zero else None)
    prepared = Prepared(request.prepared, request.config.data.channels)
    plan = plan_training(prepared, request.config, is_resumed=request.is_resumed, display=display)
    model, loss = plan.create_model(display), plan.create_loss()
    plan.introduce(model, display)
    with open_run(request, fabric, prepared, plan.preprocessing, display) as run:
        data = TrainingSet(prepared, plan.preprocessing)
        trainer = Trainer(fabric, model, loss, plan.config, run, data=data, display=display)
        figures = RunFigures(run, prepared, plan.preprocessing)
        trained = trainer.fit(figures, replan=request.mode == "extend", began=began)
        left = seconds_to_close(plan.config.training, trainer.state)
        until = None if left is None else time.monotonic() + left
        if fabric.is_global_zero:
            likeness = plan.config.training.likeness
            images = describe_training_images(prepared, sorted(plan.fold.train), with_likeness=likeness)
            save_run_bundle(run, trained, plan, config=trainer.config, images=images)
        fabric.barrier()  # what follows may take long, and the others need not wait for it
        if fabric.is_global_zero:
            _validate(run, plan, str(fabric.device), display, until)


def _validate(run: Path, plan: TrainingPlan, device: str, display: Display, until: float | None) -> None:
    """Add to the bundle what its masks are worth, as far as that can be told until then; None for all."""
    bundle = load_bundle(run / "bundle")
    measured = validate_bundle(
        bundle,
        plan.prepared,
        plan.fold,
        device,
        display,
        with_quality=plan.config.training.quality,
        seconds=None if until is None else max(1.0, until - time.monotonic()),
    )
    caution = add_validation(bundle, *measured).info.caution
    if caution:
        display.caution(caution)
