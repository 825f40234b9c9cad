"""What the networks are and what they cost, in numbers."""

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from caseunet.models import MODELS, create_model, model_class
from caseunet.progress import Display
from caseunet.studies.costs import Cost, Workload, count, measure


@dataclass(frozen=True)
class ModelRow:
    """One network with its default arguments.

    Attributes:
        parameters: how many numbers it trains.
        gmac: 10⁹ multiply-adds of one forward of one image, counted by torch's FlopCounterMode.
        cost: measured here, if asked for.
    """

    name: str
    summary: str
    parameters: int
    gmac: float
    cost: Cost | None


def describe_models(
    names: Sequence[str] = (),
    *,
    size: tuple[int, int] = (512, 512),
    measure_on: str | None = None,
    training: bool = False,
    display: Display | None = None,
) -> list[ModelRow]:
    """The named networks, or all, for 3 channels and 3 classes.

    Args:
        size: height and width of the image.
        measure_on: "cpu" or "cuda" to run each network there too.
        training: measure a training step instead of the forward alone.

    Raises:
        CaseUNetError: no such network, or one that cannot be built or run here.
    """
    rows = []
    chosen = list(names or MODELS)
    with (display or Display()).stage("networks", len(chosen), "network") as stage:
        for name in chosen:
            build = partial(create_model, name, 3, 3)
            parameters, gmac = count(build, size)
            cost = measure(build, size, Workload(device=measure_on, training=training)) if measure_on else None
            rows.append(ModelRow(name, summary(name), parameters, gmac, cost))
            stage.advance(1, name)
    return rows


@dataclass(frozen=True)
class ModelArgument:
    """One argument of a network: its default, and what it does."""

    name: str
    default: str
    text: str


def describe_arguments(name: str) -> list[ModelArgument]:
    """The arguments of a network that ``model.kwargs`` can set.

    Raises:
        CaseUNetError: no such network.
    """
    network = model_class(name)
    network = getattr(network, "config_class", network)
    section = (inspect.getdoc(network) or "").partition("Args:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^ {4}([\w, ]+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    texts = {one: " ".join(text.split()) for names, text in entries for one in names.split(", ")}
    return [
        ModelArgument(parameter.name, repr(parameter.default), texts.get(parameter.name, ""))
        for parameter in inspect.signature(network).parameters.values()
        if parameter.default is not inspect.Parameter.empty
    ]


def summary(name: str) -> str:
    """First line of the module's docstring, or of the class's where a module holds several networks."""
    network = model_class(name)
    module = inspect.getmodule(network)
    several = sum(inspect.getmodule(MODELS.get(other)) is module for other in MODELS) > 1
    return (inspect.getdoc(network if several else module) or "").splitlines()[0].rstrip(".")
