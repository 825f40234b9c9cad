"""Bundles whose weights nobody trained, for benchmarks that measure time and memory alone."""

from importlib.metadata import version
from pathlib import Path

import torch

from caseunet.bundle import Architecture, Bundle, Score, TrainingData, load_bundle, save_bundle
from caseunet.config import ModelConfig
from caseunet.models import create_model
from caseunet.types import Label, LabelMap, Preprocessing

AUTHORS = ModelConfig(name="case_unet", kwargs={"fusion_kernel_size": 1})
"""The author's lighter network."""

LABELS = ("background", "liver", "tumour")

CT = Preprocessing(
    crop_to_body=True,
    modality="ct",
    channels=1,
    context_slices=1,
    intensity_window=(-100.0, 250.0),
    mean=(100.0,),
    std=(50.0,),
    min_size=(256, 256),
)
"""Three neighbouring slices as channels, air cut off."""


def save_untrained(folder: Path, network: ModelConfig, preprocessing: Preprocessing = CT) -> Bundle:
    """Write one for these images, which segments livers and their tumours."""
    torch.manual_seed(0)
    model = create_model(network.name, preprocessing.in_channels, len(LABELS), **network.kwargs)
    save_bundle(
        folder,
        model.state_dict(),
        architecture=Architecture(
            name=network.name,
            in_channels=preprocessing.in_channels,
            num_classes=len(LABELS),
            kwargs=network.kwargs,
        ),
        preprocessing=preprocessing,
        label_map=LabelMap(
            labels=tuple(Label(id=i, name=name, color=(100 * i, 0, 0)) for i, name in enumerate(LABELS)),
            structures={"liver": (1, 2), "tumour": (2,)},
        ),
        training_data=TrainingData(
            source_format="none",
            content_hash="",
            cases=0,
            fold=None,
            split_by="patient",
            caution="Random weights.",
            licence="",
            image_hashes=(),
        ),
        validation=Score(protocol="none", step=None, selected="last", mean=None, structures={}),
        code_version=version("caseunet"),
    )
    return load_bundle(folder)
