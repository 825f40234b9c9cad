"""What a study does: the variants it compares, with which seeds and on which folds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from caseunet.config import RECIPES, Config, load_config
from caseunet.errors import InputNotFoundError, InvalidOptionError
from caseunet.models import MODELS
from caseunet.models.smp import PREFIX
from caseunet.yaml_text import parse_yaml


@dataclass(frozen=True)
class Variant:
    """One of the models: its name, how it differs from what they have in common, and its whole configuration."""

    name: str
    overrides: Mapping[str, Any]
    config: Config

    @property
    def told(self) -> str:
        return ", ".join(f"{key}: {_flow(value)}" for key, value in self.overrides.items()) or "as configured"


@dataclass(frozen=True)
class StudyRun:
    """One training of a study, and all that comes of it; or another tool's predictions in its place.

    Attributes:
        model: its name.
        variant: what is trained; None of another tool.
        given: folder of another tool's masks.
        folder: where the run, its predictions and its report go.
    """

    model: str
    variant: Variant | None
    given: Path | None
    seed: int
    fold: int
    folder: Path

    @property
    def is_done(self) -> bool:
        return (self.folder / "report" / "summary.json").is_file()

    @property
    def told(self) -> str:
        return f"{self.model}, seed {self.seed}, fold {self.fold}"


@dataclass(frozen=True)
class Design:
    """What a study does.

    Attributes:
        variants: what is compared; each with its budget, which should be the same.
        seeds: how many: 0, 1, 2 …
        folds: to validate on, one after another.
        protocol: as in ``evaluate``.
        title: of the page.
        predictions: {name: folder} of other tools, whose masks of the same cases are scored beside the variants'. A
            folder holds seed-S-fold-F/ for every seed and fold; where there is but one of each, the masks themselves.
    """

    variants: Sequence[Variant]
    seeds: int = 3
    folds: Sequence[int] = (0,)
    protocol: str | None = None
    title: str = "Comparison of models"
    predictions: Mapping[str, Path] = field(default_factory=dict)

    def cells(self, folder: Path) -> list[StudyRun]:
        """All trainings; whole rounds come first, so that a study that was stopped has compared something."""
        return [
            StudyRun(
                name, variant, given and self.masks(given, seed, fold), seed, fold, folder / "runs" / name / run_name
            )
            for seed in range(self.seeds)
            for fold in self.folds
            for run_name in [f"seed-{seed}-fold-{fold}"]
            for name, variant, given in [
                *((v.name, v, None) for v in self.variants),
                *((name, None, masks) for name, masks in self.predictions.items()),
            ]
        ]

    def masks(self, given: Path, seed: int, fold: int) -> Path:
        """Where another tool's masks of a seed and fold are.

        Raises:
            CaseUNetError: they are not there.
        """
        folder = given / f"seed-{seed}-fold-{fold}"
        if folder.is_dir():
            return folder
        if given.is_dir() and self.seeds == len(self.folds) == 1:
            return given
        raise InputNotFoundError(
            f"{folder}: no such folder. Predictions are given as NAME=FOLDER, where FOLDER holds a folder of masks "
            "for every seed and fold of the study (seed-0-fold-0, …), or, for one seed and one fold, the masks.",
            options=("predictions",),
        )


def variants_of(models: Sequence[str], file: Path | None, overrides: Mapping[str, Any]) -> list[Variant]:
    """Models by name.

    Args:
        models: each a network ("unet", with the arguments that it has by itself), a recipe ("default", "small",
            "tiny", "paper"), or a YAML file whose configuration is laid over what all have in common.
        file: configuration that all have in common.
        overrides: {"optimizer.lr": 0.003}, for all of them.

    Raises:
        CaseUNetError: there is no such network, recipe or file, or two have one name.
    """
    variants = []
    for model in models:
        if model in RECIPES:
            variants.append(variant(model, {"recipe": model}, file, overrides))
        elif model.endswith((".yaml", ".yml")):
            load_config(Path(model))  # says what is wrong with the file, and where
            own = parse_yaml(Path(model).read_text(encoding="utf-8"))
            variants.append(variant(Path(model).stem, _flatten(own or {}), file, overrides))
        else:
            if not model.startswith(PREFIX):
                MODELS.get(model)
            variants.append(variant(model, {"model.name": model}, file, overrides))
    twice = [name for name, times in Counter(v.name for v in variants).items() if times > 1]
    if twice:
        raise InvalidOptionError(
            f'"{twice[0]}" is there twice. Give every model a name of its own, by a file for each.'
        )
    return variants


def predictions_of(given: Sequence[str]) -> dict[str, Path]:
    """["nnU-Net=masks"] as {"nnU-Net": Path("masks")}.

    Raises:
        CaseUNetError: one is no name with a folder, or a name cannot be that of a folder or is there twice.
    """
    found: dict[str, Path] = {}
    for text in given:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder) or "/" in name or "\\" in name or name in (".", ".."):
            raise InvalidOptionError(
                f'predictions "{text}": expected NAME=FOLDER, such as nnU-Net=masks.', options=("predictions",)
            )
        if name in found:
            raise InvalidOptionError(f"predictions {name}: is there twice.", options=("predictions",))
        found[name] = Path(folder)
    return found


def variant(name: str, own: Mapping[str, Any], file: Path | None, overrides: Mapping[str, Any]) -> Variant:
    """The common configuration with a model's own keys (dotted) laid over it."""
    return Variant(name, own, load_config(file, None, {**own, **overrides}))


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """{"model": {"name": "unet"}} as {"model.name": "unet"}; what lies deeper, as arguments, stays together."""
    dotted: dict[str, Any] = {}
    for section, content in values.items():
        nested = content if isinstance(content, Mapping) else None
        dotted |= {section: content} if nested is None else {f"{section}.{key}": v for key, v in nested.items()}
    return dotted


def _flow(value: object) -> str:
    """On one line, as YAML writes it."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()
