"""BUNDLE: a folder, or a zip of it, with everything that prediction needs, and nothing that can run code.

model.safetensors   the weights
model.json          what they are: architecture, preprocessing, label map, origin, scores
README.md           the same for people, with the metadata by which model hubs list it
preview.png         slices of validation, if there were any
"""

from caseunet.bundle.card import model_card
from caseunet.bundle.folder import FILES, PREVIEW, Bundle, Network, add_validation, load_bundle, save_bundle, write_zip
from caseunet.bundle.info import (
    Architecture,
    BundleInfo,
    Member,
    OperatingPoint,
    PostprocessingRule,
    Quality,
    Recipe,
    Score,
    StoredValues,
    TrainingData,
    TrainingImage,
    UsualRange,
    ValidatedCase,
)

__all__ = [
    "FILES",
    "PREVIEW",
    "Architecture",
    "Bundle",
    "BundleInfo",
    "Member",
    "Network",
    "OperatingPoint",
    "PostprocessingRule",
    "Quality",
    "Recipe",
    "Score",
    "StoredValues",
    "TrainingData",
    "TrainingImage",
    "UsualRange",
    "ValidatedCase",
    "add_validation",
    "load_bundle",
    "model_card",
    "save_bundle",
    "write_zip",
]
