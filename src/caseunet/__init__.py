"""caseunet: raw scans or frames in; a trained, measured, portable segmentation model out."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caseunet import losses, metrics, models
    from caseunet.bundle import Bundle, load_bundle
    from caseunet.commands.audit import audit
    from caseunet.commands.compare import compare
    from caseunet.commands.evaluate import evaluate
    from caseunet.commands.predict import predict
    from caseunet.commands.prepare import prepare
    from caseunet.commands.train import train
    from caseunet.config import Config, load_config
    from caseunet.errors import CaseUNetError
    from caseunet.models import create_model, list_models
    from caseunet.prediction.python_predictor import Predictor, Segmentation

__version__ = version("caseunet")

__all__ = [
    "Bundle",
    "CaseUNetError",
    "Config",
    "Predictor",
    "Segmentation",
    "audit",
    "compare",
    "create_model",
    "evaluate",
    "list_models",
    "load_bundle",
    "load_config",
    "losses",
    "metrics",
    "models",
    "predict",
    "prepare",
    "train",
]

_HOMES = {
    "Bundle": "bundle",
    "Config": "config",
    "Predictor": "prediction.python_predictor",
    "Segmentation": "prediction.python_predictor",
    "CaseUNetError": "errors",
    "audit": "commands.audit",
    "compare": "commands.compare",
    "create_model": "models",
    "evaluate": "commands.evaluate",
    "list_models": "models",
    "load_bundle": "bundle",
    "load_config": "config",
    "predict": "commands.predict",
    "prepare": "commands.prepare",
    "train": "commands.train",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch takes seconds, and the command line must answer at once."""
    if name in ("losses", "metrics", "models"):
        return import_module(f"caseunet.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module caseunet has no attribute {name!r}")
    return getattr(import_module(f"caseunet.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names, for completion in notebooks."""
    return [*__all__, "__version__"]
