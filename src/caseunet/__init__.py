"""caseunet: raw scans or frames in; a trained, measured, portable segmentation model out."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caseunet import models
    from caseunet.bundle import Bundle, load_bundle
    from caseunet.config import Config, load_config
    from caseunet.errors import UserError
    from caseunet.models import create_model, list_models
    from caseunet.pipelines.audit import audit
    from caseunet.pipelines.evaluate import evaluate
    from caseunet.pipelines.predict import predict
    from caseunet.pipelines.prepare import prepare
    from caseunet.pipelines.python_predictor import Predictor, Segmentation
    from caseunet.pipelines.train import train

__version__ = version("caseunet")

__all__ = [
    "Bundle",
    "Config",
    "Predictor",
    "Segmentation",
    "UserError",
    "audit",
    "create_model",
    "evaluate",
    "list_models",
    "load_bundle",
    "load_config",
    "models",
    "predict",
    "prepare",
    "train",
]

_HOMES = {
    "Bundle": "bundle",
    "Config": "config",
    "Predictor": "pipelines.python_predictor",
    "Segmentation": "pipelines.python_predictor",
    "UserError": "errors",
    "audit": "pipelines.audit",
    "create_model": "models",
    "evaluate": "pipelines.evaluate",
    "list_models": "models",
    "load_bundle": "bundle",
    "load_config": "config",
    "predict": "pipelines.predict",
    "prepare": "pipelines.prepare",
    "train": "pipelines.train",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch takes seconds, and the command line must answer at once."""
    if name == "models":
        return import_module("caseunet.models")
    if name not in _HOMES:
        raise AttributeError(f"module caseunet has no attribute {name!r}")
    return getattr(import_module(f"caseunet.{_HOMES[name]}"), name)
