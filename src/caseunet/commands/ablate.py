"""The paper's ablations as one study: its parts taken away one at a time, under the statistics of any comparison."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from caseunet.commands.compare import Study, run_study
from caseunet.config import Config
from caseunet.errors import CaseUNetError
from caseunet.files import Location, location
from caseunet.models import model_parameters
from caseunet.options import StudyOptions
from caseunet.progress import Display
from caseunet.studies.design import Design, Variant, variant

WHOLE = "whole"
PARTS: dict[str, dict[str, Any]] = {
    "one scale": {"model.kwargs.kernel_sizes": [3, 3, 3]},
    "one level": {"model.kwargs.multi_level": False},
    "no attention": {"model.kwargs.attention": "none"},
    "author attention": {"model.kwargs.attention": "rowwise"},
    "spatial attention": {"model.kwargs.attention": "spatial"},
    "loss CE": {"loss.kwargs.ssim": 0.0, "loss.kwargs.dice": 0.0},
    "loss CE + Dice": {"loss.kwargs.ssim": 0.0, "loss.kwargs.dice": 1.0},
    "loss CE + SSIM": {"loss.kwargs.ssim": 1.0, "loss.kwargs.dice": 0.0},
    "loss CE + SSIM + Dice": {"loss.kwargs.ssim": 1.0, "loss.kwargs.dice": 1.0},
    "class weights off": {"loss.class_weights": "none"},
    "class weights on": {"loss.class_weights": "inverse_frequency"},
}
"""{what is taken away, or put in its place: keys}. What the configuration has already is left out."""


def ablate(
    prepared: str | Location,
    variants: Sequence[Variant] | None = None,
    *,
    out: str | Path = "ablation",
    options: StudyOptions = StudyOptions(),
    mode: Literal["new", "overwrite", "resume"] = "new",
    display: Display | None = None,
) -> Study:
    """Take CASe-UNet apart, one part at a time, as one study.

    Args:
        variants: of :func:`ablations`; those of the default recipe if None.
        prepared: as for :func:`caseunet.compare`.
        out: as there.
        options: as there.
        mode: as there.
        display: as there.

    Raises:
        CaseUNetError, Interrupted: as there.
    """
    variants = ablations(None, None, options.budget) if variants is None else variants
    design = Design(variants, options.seeds, options.folds, options.protocol, "Ablation of CASe-UNet")
    return run_study(location(prepared), design, out=Path(out), options=options, mode=mode, display=display)


def ablations(recipe: str | None, file: Path | None, overrides: Mapping[str, Any]) -> list[Variant]:
    """The whole network, then the same with one part changed at a time.

    Args:
        recipe: what the whole is: "default" or "paper".
        file, overrides: configuration laid over it.

    Raises:
        CaseUNetError: the network is no CASe-UNet, the loss not the hybrid one, or a part cannot be taken away.
    """
    own = {} if recipe is None else {"recipe": recipe}
    whole = variant(WHOLE, own, file, overrides)
    if (whole.config.model.name, whole.config.loss.name) != ("case_unet", "hybrid"):
        raise CaseUNetError(
            "Ablations take CASe-UNet with the hybrid loss apart; the configuration has "
            f"{whole.config.model.name} with {whole.config.loss.name}."
        )
    # A part comes last, so that it holds against whatever all have in common.
    changed = [variant(name, own, file, {**overrides, **keys}) for name, keys in PARTS.items()]
    return [whole] + [
        Variant(v.name, PARTS[v.name], v.config) for v in changed if _complete(v.config) != _complete(whole.config)
    ]


def _complete(config: Config) -> dict[str, Any]:
    """The configuration with the network's own defaults written out, so that alike networks look alike."""
    values = config.model_dump(mode="json")
    parameters = model_parameters("case_unet").values()
    defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    arguments = defaults | values["model"]["kwargs"]
    values["model"]["kwargs"] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in arguments.items()
    }
    return values
