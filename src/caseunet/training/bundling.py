"""The bundle that a run ends in."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from caseunet.bundle import Recipe, Score, TrainingData, save_bundle
from caseunet.config import Config
from caseunet.data.store import RawSource
from caseunet.training.checkpoint import TrainedWeights
from caseunet.training.fold_scores import PROTOCOL
from caseunet.training.plan import TrainingPlan


def save_run_bundle(
    run: Path, trained: TrainedWeights, plan: TrainingPlan, *, config: Config, images: dict[str, Any]
) -> None:
    """Write RUN/bundle.

    Args:
        run: the run's folder.
        trained: weights to keep.
        plan: what was trained on what.
        config: with a batch size that is a number.
        images: what else is known of the training images: fields of :class:`TrainingData`.
    """
    preview = run / "figures" / "validation.png"
    save_bundle(
        run / "bundle",
        trained.weights,
        preview=preview if preview.is_file() else None,
        architecture=plan.architecture,
        preprocessing=plan.preprocessing,
        label_map=plan.label_map,
        training_data=_describe_data(plan, images),
        validation=_describe_score(trained, config),
        recipe=_describe_recipe(trained, plan, config),
        code_version=version("caseunet"),
    )


def _describe_data(plan: TrainingPlan, images: dict[str, Any]) -> TrainingData:
    prepared, info, train = plan.prepared, plan.prepared.info, plan.fold.train
    return TrainingData(
        source_format=info.source_format,
        content_hash=info.content_hash,
        cases=len(train),
        fold=plan.config.data.fold,
        split_by=prepared.split.by,
        caution=prepared.split.caution,
        licence=info.licence,
        image_hashes=tuple(sorted(prepared.cases.loc[list(train), "image_hash"])),
        channel_names=info.channel_names,
        read_with={} if info.source is None else _describe_reading(info.source),
        all_channel_names=prepared.all_channel_names,
        channels_by_number=info.channels_by_number,
        **images,
    )


def _describe_reading(source: RawSource) -> dict[str, Any]:
    """How the raw data were read; without paths of this machine."""
    return source.reading.model_dump(mode="json", exclude_unset=True, exclude={"repair_plan", "layout"})


def _describe_score(trained: TrainedWeights, config: Config) -> Score:
    score = trained.score
    return Score(
        protocol=PROTOCOL,
        step=trained.step,
        selected=config.training.checkpoint,
        selected_by=config.training.monitor,
        mean=_without_nan(score.mean),
        structures={name: _without_nan(value) for name, value in score.dice.items()},
    )


def _describe_recipe(trained: TrainedWeights, plan: TrainingPlan, config: Config) -> Recipe:
    assert isinstance(config.data.batch_size, int)
    return Recipe(
        name=config.recipe,
        seed=config.seed,
        steps=trained.step,
        batch_size=config.data.batch_size,
        patch_size=plan.preprocessing.min_size,
        data=config.data.model_dump(mode="json", include={"normalization", "oversample_foreground", "sampling"}),
        augment=config.augment.model_dump(mode="json", exclude_none=True),
        loss=config.loss.model_dump(mode="json"),
        optimizer=config.optimizer.model_dump(mode="json"),
    )


def _without_nan(value: float) -> float | None:
    """JSON has no NaN."""
    return None if value != value else value
