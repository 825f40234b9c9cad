"""What follows from data and configuration before anything is trained: folds, preprocessing, network, loss."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from caseunet.bundle import Architecture, Bundle, load_bundle
from caseunet.config import Config, ModelConfig, load_config
from caseunet.data.augmentation import keep_sides, resolve
from caseunet.data.normalization import describe_channels, plan_preprocessing
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError, InvalidInputError, InvalidOptionError
from caseunet.losses import create_loss, inverse_frequency_weights
from caseunet.models import create_model, plan_arguments
from caseunet.progress import Display, count_text
from caseunet.training.patches import plan_patch_size
from caseunet.training.pretrained import describe_changes, start_from_bundle
from caseunet.types import Fold, LabelMap, Preprocessing

REGION_KWARGS = ("regions", "written")
"""What a network of regions is built with; it follows from the data set."""


@dataclass(frozen=True)
class TrainingPlan:
    """What is trained on what.

    Attributes:
        config: with the network and the mirroring that are used.
        prepared: the data.
        fold: of them.
        preprocessing: of their pixels.
        architecture: of the network.
        pretrained: whose weights the network starts from, if any.
    """

    config: Config
    prepared: Prepared
    fold: Fold
    preprocessing: Preprocessing
    architecture: Architecture
    pretrained: Bundle | None

    @property
    def label_map(self) -> LabelMap:
        """The data's, with its structures as regions where the network learns them so."""
        own = self.prepared.info.label_map
        return own.with_regions() if "regions" in self.architecture.kwargs and not own.region_ids else own

    @cached_property
    def class_pixels(self) -> np.ndarray:
        """Pixels of each class in the training cases."""
        counts: np.ndarray = np.sum([self.prepared.slice_class_pixels(case).sum(0) for case in self.fold.train], axis=0)
        return counts

    def create_model(self, display: Display) -> nn.Module:
        """The network with fresh weights, which follow from the seed, or with those that it starts from."""
        architecture, start = self.architecture, self.pretrained
        torch.manual_seed(self.config.seed)
        model = create_model(
            architecture.name, architecture.in_channels, architecture.num_classes, **architecture.kwargs
        )
        if start is not None:
            display.say(f"  {self._start_from(model, start)}")
            display.say(f"  learning rate {self.config.optimizer.lr:g}")
            if changes := describe_changes(start.info.preprocessing, self.preprocessing):
                display.caution(f"that network was trained on other images than these: {changes}")
        return model

    def _start_from(self, model: nn.Module, start: Bundle) -> str:
        info = self.prepared.info
        return start_from_bundle(
            model, self.architecture, label_map=info.label_map, channel_names=info.channel_names, bundle=start
        )

    def create_loss(self) -> nn.Module:
        """The loss, with class weights of the training cases where they are asked for."""
        config, weights = self.config.loss, None
        if config.class_weights == "inverse_frequency":
            weights = inverse_frequency_weights(self.class_pixels.tolist())
        regions = self.architecture.kwargs.get("regions", ())
        return create_loss(
            config.name, weights, regions=regions, num_classes=self.architecture.num_classes, **config.kwargs
        )

    def introduce(self, model: nn.Module, display: Display) -> None:
        """Say what is about to be trained on what, and what of it cannot be learnt."""
        prepared, fold, architecture = self.prepared, self.fold, self.architecture
        parameters = sum(p.numel() for p in model.parameters())
        display.say(
            f"  {architecture.name} (recipe {self.config.recipe}): {parameters:,} parameters, "
            f"{count_text(architecture.in_channels, 'input channel')}, {_describe_targets(architecture)}; "
            f"{count_text(len(fold.train), 'case')} to train on, {len(fold.val)} to validate on"
        )
        for line in describe_channels(prepared.info, prepared.all_channel_names, self.preprocessing):
            display.say(f"  {line}")
        if prepared.split.caution:
            display.caution(prepared.split.caution)
        absent = [label.name for label in prepared.info.label_map.labels if not self.class_pixels[label.id]]
        if absent:
            display.caution(f"in no training case of this fold, so not to be learnt: {', '.join(absent)}")


def plan_training(prepared: Prepared, config: Config, *, is_resumed: bool, display: Display) -> TrainingPlan:
    """Work out what is trained on what.

    Args:
        prepared: the data.
        config: as given.
        is_resumed: whether the weights come from a checkpoint.
        display: what a person sees.

    Raises:
        CaseUNetError: something does not fit the data.
    """
    fold = prepared.fold(config.data.fold, config.data.context_slices)
    pretrained = None
    if config.training.pretrained is not None and not is_resumed:
        pretrained = load_bundle(config.training.pretrained)
        own = pretrained.info.architecture
        if config.model.name != own.name and config.model != load_config(recipe=config.recipe).model:
            display.caution(
                f"training.pretrained is a {own.name}, which is trained on: "
                f"model.name = {config.model.name} is not used"
            )
        kwargs = {name: value for name, value in own.kwargs.items() if name not in REGION_KWARGS}
        config = config.model_copy(update={"model": ModelConfig(name=own.name, kwargs=kwargs)})
    patch_size = plan_patch_size(prepared, config.data, [config.model], fold.train)
    config = config.model_copy(update={"data": config.data.model_copy(update={"patch_size": patch_size})})
    preprocessing = plan_preprocessing(prepared.info, prepared.intensities(fold.train), config.data, patch_size)
    label_map = prepared.info.label_map
    if not any(prepared.slice_class_pixels(case).any() for case in fold.train):
        raise InvalidInputError(
            f"{prepared.folder}: no pixel of the fold's training cases is labelled, so that nothing can be learnt."
        )
    _check_dropout(config, prepared)
    config = decide_mirroring(config, prepared, display)
    structure = config.training.monitor.partition("/")[2]
    if structure and structure not in label_map.structures:
        raise CaseUNetError(
            f'training.monitor: there is no structure "{structure}". Known: {", ".join(label_map.structures)}.'
        )
    architecture = Architecture(
        name=config.model.name,
        in_channels=preprocessing.in_channels,
        num_classes=len(label_map),
        kwargs=plan_model_kwargs(config, label_map, patch_size),
    )
    return TrainingPlan(config, prepared, fold, preprocessing, architecture, pretrained)


def _check_dropout(config: Config, prepared: Prepared) -> None:
    """Raises InvalidOptionError where there are no channels of which one may be left out."""
    if config.augment.channel_dropout and (prepared.info.channels == 1 or prepared.info.modality == "rgb"):
        found = "colour images" if prepared.info.modality == "rgb" else "images of one channel"
        raise InvalidOptionError(
            f"augment.channel_dropout leaves out channels, and these are {found}. Set it to 0.",
            options=("augment.channel_dropout",),
        )


def plan_model_kwargs(config: Config, label_map: LabelMap, patch_size: tuple[int, int]) -> dict[str, Any]:
    """What the network is built with: as configured, planned for its images, with the regions that it learns.

    Raises:
        CaseUNetError: regions are given as the network's own arguments.
    """
    kwargs = plan_arguments(config.model.name, config.model.kwargs, patch_size)
    for name in REGION_KWARGS:
        if name in kwargs:
            raise InvalidOptionError(
                f"model.kwargs: {name} is not set there. Declare regions when the data are prepared, and set "
                "data.targets: regions.",
                options=("prepare.regions", "data.targets"),
            )
    targets = config.data.targets
    if targets == "classes" or (targets == "auto" and not label_map.region_ids):
        return kwargs
    regions = [list(members) for members in label_map.structures.values()]
    return {**kwargs, "regions": regions, "written": list(label_map.region_ids or label_map.distinct_ids())}


def _describe_targets(architecture: Architecture) -> str:
    if regions := architecture.kwargs.get("regions"):
        return f"{count_text(len(regions), 'region')} of {architecture.num_classes - 1} classes"
    return f"{architecture.num_classes} classes"


def decide_mirroring(config: Config, prepared: Prepared, display: Display) -> Config:
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
