"""PREPARED → RUN, and the bundle in it."""

import platform
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from caseunet.bundle import Architecture, Bundle, Score, TrainingData, load_bundle, save_bundle
from caseunet.config import Config, load_config, to_yaml
from caseunet.data.loader import plan_preprocessing
from caseunet.data.store import Prepared
from caseunet.evaluation.figures import hex_color, to_png, training_curves
from caseunet.files import Location, output_folder, write_json, write_text, written_whole
from caseunet.losses import create_loss, inverse_frequency_weights
from caseunet.models import create_model
from caseunet.progress import Display, counted
from caseunet.training.loop import Trained, fit
from caseunet.training.validation import PROTOCOL
from caseunet.types import Preprocessing

KIND = "a training run"
LIBRARIES = ("torch", "lightning-fabric", "numpy", "zarr", "nibabel", "pandas", "pytorch-msssim")


def train(
    prepared_folder: Location,
    out: Path,
    config: Config | None = None,
    overwrite: bool = False,
    display: Display | None = None,
) -> Bundle:
    """Train a network and write the run: config.yaml, environment.json, metrics.csv, checkpoints/, figures/, bundle/.

    Args:
        prepared_folder: written by :func:`caseunet.pipelines.prepare.prepare`.
        out: the run's folder.
        config: everything else, the default recipe if None; its ``prepare`` section is not used here.
        overwrite: replace an earlier run at ``out``.
        display: what a person sees.

    Returns:
        The bundle in ``out``/bundle.

    Raises:
        UserError: something is missing or does not fit, or the loss became NaN.
    """
    config, display = config or load_config(), display or Display()
    prepared = Prepared(prepared_folder)
    fold = prepared.fold(config.data.fold, config.data.neighbours)
    preprocessing = plan_preprocessing(prepared.info, prepared.intensities(fold.train), config.data)
    label_map = prepared.info.label_map

    torch.manual_seed(config.seed)
    architecture = Architecture(
        name=config.model.name,
        in_channels=preprocessing.in_channels,
        num_classes=len(label_map),
        arguments=config.model.arguments,
    )
    model = create_model(architecture.name, architecture.in_channels, len(label_map), **architecture.arguments)
    weights = None
    if config.loss.class_weights == "inverse_frequency":
        pixels = np.sum([prepared.slice_class_pixels(case).sum(0) for case in fold.train], axis=0)
        weights = inverse_frequency_weights(pixels.tolist())
    loss = create_loss(config.loss.name, weights, **config.loss.arguments)

    parameters = sum(p.numel() for p in model.parameters())
    display.say(
        f"  {config.model.name}: {parameters:,} parameters, {architecture.in_channels} input channels, "
        f"{len(label_map)} classes; {counted(len(fold.train), 'case')} to train on, {len(fold.val)} to validate on"
    )
    if prepared.split.caution:
        display.say(f"  {prepared.split.caution}", "yellow")

    with output_folder(out, KIND, [prepared_folder], overwrite) as run:
        write_text(run / "config.yaml", to_yaml(config))
        write_json(run / "environment.json", environment(prepared))
        trained = fit(model, loss, prepared, preprocessing, config, run, display)
        structures = label_map.structures
        colors = [hex_color(label_map.labels[members[0]].color) for members in structures.values()]
        with written_whole(run / "figures" / "curves.png") as picture:
            picture.write_bytes(to_png(training_curves(run / "metrics.csv", list(structures), colors)))
        _save(run / "bundle", trained, prepared, config, architecture, preprocessing)
    return load_bundle(out / "bundle")


def environment(prepared: Prepared) -> dict[str, object]:
    """What made the run, beside its configuration."""
    return {
        "caseunet": version("caseunet"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "libraries": {name: version(name) for name in LIBRARIES},
        "command": sys.argv,
        "data_fingerprint": prepared.info.fingerprint,
    }


def _save(
    folder: Path,
    trained: Trained,
    prepared: Prepared,
    config: Config,
    architecture: Architecture,
    preprocessing: Preprocessing,
) -> None:
    info = prepared.info
    fold = prepared.fold(config.data.fold)
    score = trained.score
    save_bundle(
        folder,
        trained.weights,
        architecture=architecture,
        preprocessing=preprocessing,
        label_map=info.label_map,
        training_data=TrainingData(
            source_format=info.source_format,
            fingerprint=info.fingerprint,
            cases=len(fold.train),
            fold=config.data.fold,
            split_by=prepared.split.by,
            caution=prepared.split.caution,
            licence=info.licence,
            image_hashes=tuple(sorted(prepared.cases.loc[list(fold.train), "image_hash"])),
        ),
        validation=Score(
            protocol=PROTOCOL,
            step=trained.step,
            selected=config.training.keep,
            mean=_defined(score.mean),
            structures={name: _defined(value) for name, value in score.structures.items()},
        ),
        code_version=version("caseunet"),
    )


def _defined(value: float) -> float | None:
    """JSON has no NaN."""
    return None if value != value else value
