"""PREPARED → RUN, and the bundle in it."""

import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric
from matplotlib.figure import Figure
from PIL import Image

from caseunet.bundle import (
    Architecture,
    Bundle,
    Recipe,
    Score,
    StoredValues,
    TrainingData,
    TrainingImage,
    add_validation,
    load_bundle,
    save_bundle,
)
from caseunet.config import Config, ModelConfig, load_config
from caseunet.data.augmentation import keep_sides, resolve
from caseunet.data.loader import plan_patch_size, plan_preprocessing
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError
from caseunet.files import (
    Location,
    check_output_folder,
    content_hash,
    is_output,
    location,
    output_folder,
    read_json,
    replace_when_whole,
    resume_folder,
    write_json,
)
from caseunet.former_names import migrate_file
from caseunet.losses import create_loss, inverse_frequency_weights
from caseunet.models import create_model, plan_arguments
from caseunet.prediction.training_images import MAX_PICTURED, learn_alikeness, limit_sketches
from caseunet.progress import Display, Notices, count_text
from caseunet.reporting.figures import (
    Outcome,
    display_range,
    hex_color,
    outcome_sheet,
    to_pixels,
    training_curves,
)
from caseunet.training.devices import OwnRanks, create_fabric, launch, ranks_from_outside
from caseunet.training.loop import Trained, fit
from caseunet.training.pretrained import describe_changes, start_from_bundle
from caseunet.training.validation import PROTOCOL, ShownSlice
from caseunet.types import Fold, Preprocessing
from caseunet.validation.scores import validate_bundle

KIND = "a training run"
LIBRARIES = ("torch", "lightning-fabric", "numpy", "zarr", "nibabel", "pandas", "pytorch-msssim")
MAY_CHANGE = {
    "prepare": None,
    "data": {"workers"},
    "training": {
        "device",
        "devices",
        "nodes",
        "strategy",
        "micro_batches",
        "compile",
        "log_every",
        "checkpoint_minutes",
        "max_nonfinite_steps",
        "loggers",
        "quality",
        "likeness",
        "checkpoint",
    },
}
"""Keys that a resumed run may have otherwise: they do not change what is learnt beyond rounding. None: all of them."""
REPLANNED = {"steps", "minutes", "num_validations", "patience"}
"""Keys of ``training`` that may change on purpose."""


def train(
    prepared_folder: str | Location | None,
    out: str | Path,
    config: Config | None = None,
    overwrite: bool = False,
    display: Display | None = None,
    resume: bool = False,
    extend: bool = False,
) -> Bundle:
    """Train a network and write the run: config.yaml, environment.json, metrics.csv, tensorboard/, checkpoints/,
    figures/, bundle/.

    Args:
        prepared_folder: written by :func:`caseunet.commands.prepare.prepare`; may be None for a run that goes on.
        out: the run's folder.
        config: everything else, the default recipe if None; its ``prepare`` section is not used here.
        overwrite: replace an earlier run at ``out``.
        display: what a person sees.
        resume: go on with the run at ``out``, whose configuration is to be given again (None takes its own); begin one
            where there is none.
        extend: as ``resume``, with another budget: the schedule is laid out anew over it.

    Returns:
        The bundle in ``out``/bundle.

    Raises:
        CaseUNetError: something is missing or does not fit, or the loss became NaN too often.
        Interrupted: a signal ended the run; everything is saved.
    """
    prepared_folder, out = None if prepared_folder is None else location(prepared_folder), Path(out)
    display = display or Display()
    resume = resume or extend
    if resume and overwrite:
        raise CaseUNetError("A run is either replaced (--overwrite) or gone on with (--resume): choose one.")
    _check_unlocked(out)
    if resume and prepared_folder is None:
        if not (out / "environment.json").is_file():
            raise CaseUNetError(
                f"{out}: there is no training run to go on with. Name the prepared data set to begin one."
            )
        prepared_folder = location(read_json(out / "environment.json", "a run's description")["prepared"])
    if prepared_folder is None:
        raise CaseUNetError("Nothing to train on: name the prepared data set.")
    if not any((out / "checkpoints").glob("step-*.ckpt")):  # it ended before it learnt anything: begin anew
        began = out / "config.yaml"
        config = config or (load_config(base=began) if resume and began.is_file() else None)
        resume = False
        overwrite = overwrite or (is_output(out, KIND) and not (out / "bundle").exists())
    if resume:
        config = _resume_config(out, config, extend)
    config = config or load_config()
    arguments = (prepared_folder, out, config, overwrite, resume, extend)
    if config.training.devices > 1 and ranks_from_outside()[1] == 1:
        if not resume:
            check_output_folder(out, KIND, [prepared_folder], overwrite)
        launch(config.training.devices, _train_in_rank, type(display), *arguments)
    else:
        _train(None, display, *arguments)
    return load_bundle(out / "bundle")


def is_first_process() -> bool:
    """Whether this process speaks for all that torchrun or SLURM started."""
    return ranks_from_outside()[0] == 0


def _train_in_rank(own: OwnRanks, display: type[Display], *arguments: Any) -> None:
    _train(own, display(), *arguments)


def _train(
    ranks: OwnRanks | None,
    display: Display,
    prepared_folder: Location,
    out: Path,
    config: Config,
    overwrite: bool,
    resume: bool,
    extend: bool,
) -> None:
    """The work of one process; the first one writes."""
    fabric = create_fabric(config.training, ranks)
    display = Notices(display if fabric.is_global_zero else None)
    prepared = Prepared(prepared_folder)
    fold = prepared.fold(config.data.fold, config.data.context_slices)
    patch_size = plan_patch_size(prepared, config.data, fold.train)
    preprocessing = plan_preprocessing(prepared.info, prepared.intensities(fold.train), config.data, patch_size)
    label_map = prepared.info.label_map
    config = _with_sides(config, prepared, display)
    best_of = config.training.monitor.partition("/")[2]
    if best_of and best_of not in label_map.structures:
        raise CaseUNetError(
            f'training.monitor: there is no structure "{best_of}". Known: {", ".join(label_map.structures)}.'
        )

    torch.manual_seed(config.seed)
    start = None
    if config.training.pretrained is not None and not resume:
        start = load_bundle(config.training.pretrained)
        own = start.info.architecture
        config = config.model_copy(update={"model": ModelConfig(name=own.name, kwargs=own.kwargs)})
    architecture = Architecture(
        name=config.model.name,
        in_channels=preprocessing.in_channels,
        num_classes=len(label_map),
        kwargs=plan_arguments(config.model.name, config.model.kwargs, patch_size),
    )
    model = create_model(architecture.name, architecture.in_channels, len(label_map), **architecture.kwargs)
    if start is not None:
        display.say(f"  {start_from_bundle(model, architecture, label_map, start)}")
        if changes := describe_changes(start.info.preprocessing, preprocessing):
            display.caution(f"that network was trained on other images than these: {changes}")
    pixels = np.sum([prepared.slice_class_pixels(case).sum(0) for case in fold.train], axis=0)
    weights = None
    if config.loss.class_weights == "inverse_frequency":
        weights = inverse_frequency_weights(pixels.tolist())
    loss = create_loss(config.loss.name, weights, **config.loss.kwargs)
    _introduce(prepared, fold, architecture, sum(p.numel() for p in model.parameters()), pixels, display)

    with _run_folder(fabric, prepared, preprocessing, out, overwrite, resume, display) as run:
        draw = _Drawing(run, prepared, preprocessing)
        trained = fit(fabric, model, loss, prepared, preprocessing, config, run, display, draw, extend)
        if fabric.is_global_zero:
            _save(run, trained, prepared, config, architecture, preprocessing)
        fabric.barrier()  # what follows may take long, and the others need not wait for it
        if fabric.is_global_zero:
            saved = load_bundle(run / "bundle")
            learn = config.training.quality
            measured = validate_bundle(saved, prepared, fold, str(fabric.device), display, learn)
            bundle = add_validation(saved, *measured)
            if bundle.info.validation.caution:
                display.caution(bundle.info.validation.caution)


def _with_sides(config: Config, prepared: Prepared, display: Display) -> Config:
    """The configuration without mirroring left to right where that would mix up classes; what it does is said."""
    info = prepared.info
    augment = keep_sides(config.augment, info.label_map, info.grid)
    if info.label_map.sided_names and resolve(config.augment).horizontal_flip:
        names = ", ".join(info.label_map.sided_names[:4])
        if augment.horizontal_flip is False:
            display.caution(
                f"not mirrored left to right, for {names} have sides (augment.horizontal_flip: true mirrors)", ""
            )
        elif augment.horizontal_flip:
            display.caution(f"mirrored left to right as configured, though {names} have sides")
    return config.model_copy(update={"augment": augment})


def _introduce(
    prepared: Prepared, fold: Fold, architecture: Architecture, parameters: int, pixels: np.ndarray, display: Display
) -> None:
    """Say what is about to be trained on what, and what of it cannot be learnt."""
    display.say(
        f"  {architecture.name}: {parameters:,} parameters, {architecture.in_channels} input channels, "
        f"{architecture.num_classes} classes; {count_text(len(fold.train), 'case')} to train on, {len(fold.val)} to "
        "validate on"
    )
    if prepared.split.caution:
        display.caution(prepared.split.caution)
    absent = [label.name for label in prepared.info.label_map.labels if not pixels[label.id]]
    if absent:
        display.caution(f"in no training case of this fold, so not to be learnt: {', '.join(absent)}")


def _resume_config(out: Path, config: Config | None, extend: bool) -> Config:
    """The configuration with which a run goes on.

    Raises:
        CaseUNetError: it would go on otherwise than it began.
    """
    began = load_config(base=out / "config.yaml")
    if config is None:
        return began
    if config.data.batch_size == "auto":
        config = config.model_copy(
            update={"data": config.data.model_copy(update={"batch_size": began.data.batch_size})}
        )
    if config.augment.horizontal_flip is None:  # may have been settled by the classes' names
        kept = {"horizontal_flip": began.augment.horizontal_flip}
        config = config.model_copy(update={"augment": config.augment.model_copy(update=kept)})
    if config.training.pretrained is not None:  # the network is its
        config = config.model_copy(update={"model": began.model})
    for section, before in began.model_dump(mode="json").items():
        after = config.model_dump(mode="json")[section]
        if not isinstance(before, dict):
            before, after = {"": before}, {"": after}
        free = MAY_CHANGE.get(section, set())
        if free is None:
            continue
        free = free | (REPLANNED if extend and section == "training" else set())
        for key in before:
            if before[key] != after[key] and key not in free:
                name = f"{section}.{key}".rstrip(".")
                hint = " To train longer on purpose, give --extend." if key in REPLANNED else ""
                raise CaseUNetError(
                    f"{name} was {before[key]} when the run in {out} began and is {after[key]} now: a resumed run goes "
                    f"on as it began.{hint} Otherwise start another run with another --out."
                )
    return config


def _check_unlocked(out: Path) -> None:
    """Make sure that no other process trains in a folder before anything in it is moved.

    Raises:
        CaseUNetError: one does.
    """
    if (out / ".lock").exists():
        try:
            with FileLock(out / ".lock", timeout=0):
                pass
        except Timeout as error:
            raise CaseUNetError(f"{out}: another process trains in it.") from error


@contextmanager
def _run_folder(
    fabric: Fabric,
    prepared: Prepared,
    preprocessing: Preprocessing,
    out: Path,
    overwrite: bool,
    resume: bool,
    display: Notices,
) -> Iterator[Path]:
    """The run's folder, written to by the first process and locked by it; the others wait until it is there.

    Raises:
        CaseUNetError: it cannot be written, another process trains in it, or the data are not those it began with.
    """
    if not fabric.is_global_zero:
        fabric.barrier()
        yield out.resolve()
        return
    made_with = environment(fabric, prepared, preprocessing)
    opened = resume_folder(out, KIND) if resume else output_folder(out, KIND, [prepared.folder], overwrite)
    with opened as run:
        try:
            with FileLock(run / ".lock", timeout=0):
                if resume:
                    made_with = _gone_on(run, made_with, display)
                write_json(run / "environment.json", made_with)
                fabric.barrier()
                try:
                    yield run
                finally:
                    display.write_log(run)
        except Timeout as error:
            raise CaseUNetError(f"{out}: another process trains in it.") from error


def _gone_on(run: Path, now: dict[str, Any], display: Display) -> dict[str, Any]:
    """What made the run so far, with this resumption added.

    Raises:
        CaseUNetError: the data are others.
    """
    before = migrate_file(read_json(run / "environment.json", "a run's description of what made it"))
    before["preprocessing"] = Preprocessing.model_validate(before["preprocessing"]).model_dump(mode="json")
    for key, what in (("data_hash", "sources"), ("split", "folds"), ("preprocessing", "sizes or intensities")):
        if before.get(key) != now[key]:
            raise CaseUNetError(
                f"{now['prepared']}: is not what the run began with: its {what} are others. Give the data set it began "
                "with, or start another run."
            )
    changed = [key for key in ("code_hash", "libraries", "device", "processor_threads") if before.get(key) != now[key]]
    if changed:
        names = ", ".join(key.replace("_", " ") for key in changed)
        display.caution(f"not the same as when the run began: {names}; so not the same bit for bit")
    added = {key: now[key] for key in (*changed, "command", "began")}
    return before | {"resumed": [*before.get("resumed", []), added]}


def environment(fabric: Fabric, prepared: Prepared, preprocessing: Preprocessing) -> dict[str, Any]:
    """What makes a run, beside its configuration."""
    device = fabric.device
    return {
        "caseunet": version("caseunet"),
        "code_hash": content_hash(*sorted(Path(__file__).parents[1].rglob("*.py"))),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "processes": fabric.world_size,
        "processor_threads": torch.get_num_threads(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "command": sys.argv,
        "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "prepared": str(prepared.folder if not isinstance(prepared.folder, Path) else prepared.folder.resolve()),
        "data_hash": prepared.info.content_hash,
        "split": prepared.split.model_dump(mode="json"),
        "preprocessing": preprocessing.model_dump(mode="json"),
    }


class _Drawing:
    """figures/ of a run, curves.png and validation.png: drawn anew after a validation, in a twentieth of the time at
    most, and after the last."""

    def __init__(self, run: Path, prepared: Prepared, preprocessing: Preprocessing) -> None:
        self._run, self._prepared, self._preprocessing = run, prepared, preprocessing
        self._not_before = time.monotonic() + 20.0

    def __call__(self, shown: Sequence[ShownSlice], is_last: bool) -> np.ndarray | None:
        """Draw, if it is time; gives the slices as they were drawn."""
        began = time.monotonic()
        if began < self._not_before and not is_last:
            return None
        label_map = self._prepared.info.label_map
        colors = [hex_color(label_map.labels[members[0]].color) for members in label_map.structures.values()]
        self._write("curves", training_curves(self._run / "metrics.csv", list(label_map.structures), colors))
        pixels = self._write("validation", self._slices(shown)) if shown else None
        self._not_before = time.monotonic() + 20 * (time.monotonic() - began)
        return pixels

    def _slices(self, shown: Sequence[ShownSlice]) -> Figure:
        rgb = self._preprocessing.modality == "rgb"
        window = self._preprocessing.intensity_window or ((0.0, 255.0) if rgb else None)
        outcomes = [
            Outcome(
                display_range(s.pixels if rgb else s.pixels[:1], window),
                s.reference,
                s.prediction,
                f"{s.case} · {s.slice}",
            )
            for s in shown
        ]
        title = "validation: of each case the slice with most foreground"
        return outcome_sheet(outcomes, self._prepared.info.label_map.labels, title)

    def _write(self, name: str, figure: Figure) -> np.ndarray:
        pixels = to_pixels(figure)
        with replace_when_whole(self._run / "figures" / f"{name}.png") as picture:
            Image.fromarray(pixels).save(picture)
        return pixels


def _save(
    run: Path,
    trained: Trained,
    prepared: Prepared,
    config: Config,
    architecture: Architecture,
    preprocessing: Preprocessing,
) -> None:
    info = prepared.info
    fold = prepared.fold(config.data.fold)
    score = trained.score
    batch_size = load_config(base=run / "config.yaml").data.batch_size
    assert batch_size != "auto", "the file says what was found"
    drawn = run / "figures" / "validation.png"
    save_bundle(
        run / "bundle",
        trained.weights,
        preview=drawn if drawn.is_file() else None,
        architecture=architecture,
        preprocessing=preprocessing,
        label_map=info.label_map,
        training_data=TrainingData(
            source_format=info.source_format,
            content_hash=info.content_hash,
            cases=len(fold.train),
            fold=config.data.fold,
            split_by=prepared.split.by,
            caution=prepared.split.caution,
            licence=info.licence,
            image_hashes=tuple(sorted(prepared.cases.loc[list(fold.train), "image_hash"])),
            channel_names=info.channel_names,
            **_describe_images(prepared, sorted(fold.train), config.training.likeness),
        ),
        validation=Score(
            protocol=PROTOCOL,
            step=trained.step,
            selected=config.training.checkpoint,
            selected_by=config.training.monitor,
            mean=_without_nan(score.mean),
            structures={name: _without_nan(value) for name, value in score.dice.items()},
        ),
        recipe=Recipe(
            name=config.recipe,
            seed=config.seed,
            steps=trained.step,
            batch_size=batch_size,
            patch_size=preprocessing.min_size,
            data=config.data.model_dump(mode="json", include={"normalization", "oversample_foreground", "sampling"}),
            augment=config.augment.model_dump(mode="json", exclude_none=True),
            loss=config.loss.model_dump(mode="json"),
            optimizer=config.optimizer.model_dump(mode="json"),
        ),
        code_version=version("caseunet"),
    )


MAX_MEASURED = 500
"""Training images whose values a bundle keeps."""


def _describe_images(prepared: Prepared, cases: list[str], likeness: bool) -> dict[str, Any]:
    """``images``, ``alike_from`` and ``stored`` of :class:`TrainingData`; nothing of what earlier versions prepared."""
    if "pixels_hash" not in prepared.cases:
        return {}
    pictured = set(cases[:: -(-len(cases) // MAX_PICTURED)])
    rows = prepared.cases.loc[cases]
    images = tuple(
        TrainingImage(
            case=str(case),
            pixels_hash=row.pixels_hash,
            likeness=row.likeness if likeness and case in pictured else "",
            sketch=row.sketch if case in pictured else "",
        )
        for case, row in rows.iterrows()
    )
    spread = rows["stored_values"].iloc[:: -(-len(cases) // MAX_MEASURED)]
    return {
        "images": limit_sketches(images),
        "alike_from": learn_alikeness(images, rows["group"].tolist()) if likeness else None,
        "stored": tuple(StoredValues(**dict(zip(StoredValues.model_fields, values, strict=True))) for values in spread),
    }


def _without_nan(value: float) -> float | None:
    """JSON has no NaN."""
    return None if value != value else value
