"""caseunet: raw scans or frames in; a trained, measured, portable segmentation model out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caseunet import losses, metrics, models
    from caseunet.bundle import Bundle, load_bundle
    from caseunet.commands.ablate import ablate
    from caseunet.commands.audit import audit
    from caseunet.commands.compare import compare
    from caseunet.commands.convert import convert
    from caseunet.commands.cross_validation import cross_validate
    from caseunet.commands.demo import demo
    from caseunet.commands.evaluate import evaluate
    from caseunet.commands.export import export
    from caseunet.commands.import_weights import import_weights
    from caseunet.commands.info import describe_bundle
    from caseunet.commands.predict import predict
    from caseunet.commands.prepare import prepare
    from caseunet.commands.preview import preview
    from caseunet.commands.report import case_study, read_report
    from caseunet.commands.train import train
    from caseunet.config import Config, PrepareConfig, load_config
    from caseunet.errors import CaseUNetError
    from caseunet.models import create_model, list_models
    from caseunet.options import ConvertOptions, EvaluateOptions, ImportOptions, PredictOptions, StudyOptions
    from caseunet.prediction.python_predictor import Predictor, Segmentation

__all__ = [
    "Bundle",
    "CaseUNetError",
    "Config",
    "ConvertOptions",
    "EvaluateOptions",
    "ImportOptions",
    "PredictOptions",
    "Predictor",
    "PrepareConfig",
    "Segmentation",
    "StudyOptions",
    "ablate",
    "audit",
    "case_study",
    "compare",
    "convert",
    "create_model",
    "cross_validate",
    "demo",
    "describe_bundle",
    "evaluate",
    "export",
    "import_weights",
    "list_models",
    "load_bundle",
    "load_config",
    "losses",
    "metrics",
    "models",
    "predict",
    "prepare",
    "preview",
    "read_report",
    "train",
]

_HOMES = {
    "Bundle": "bundle",
    "CaseUNetError": "errors",
    "Config": "config",
    "ConvertOptions": "options",
    "EvaluateOptions": "options",
    "ImportOptions": "options",
    "PredictOptions": "options",
    "PrepareConfig": "config",
    "Predictor": "prediction.python_predictor",
    "Segmentation": "prediction.python_predictor",
    "StudyOptions": "options",
    "ablate": "commands.ablate",
    "audit": "commands.audit",
    "case_study": "commands.report",
    "compare": "commands.compare",
    "convert": "commands.convert",
    "create_model": "models",
    "cross_validate": "commands.cross_validation",
    "demo": "commands.demo",
    "describe_bundle": "commands.info",
    "evaluate": "commands.evaluate",
    "export": "commands.export",
    "import_weights": "commands.import_weights",
    "list_models": "models",
    "load_bundle": "bundle",
    "load_config": "config",
    "predict": "commands.predict",
    "prepare": "commands.prepare",
    "preview": "commands.preview",
    "read_report": "commands.report",
    "train": "commands.train",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch takes seconds, and the command line must answer at once."""
    if name == "__version__":
        return import_module("importlib.metadata").version("caseunet")
    if name in ("losses", "metrics", "models"):
        return import_module(f"caseunet.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module caseunet has no attribute {name!r}")
    return getattr(import_module(f"caseunet.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names, for completion in notebooks."""
    return [*__all__, "__version__"]
