"""Parameters that several verbs have, and what becomes of them."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from caseunet.config import Config, Section, load_config, parse_settings
from caseunet.errors import CaseUNetError
from caseunet.options import Mode

Flat = Parameter(name="*", negative_bool="no-")
"""Of an options model: each field is an option of the verb."""
FlatLists = Parameter(
    name="*",
    negative_bool="no-",
    consume_multiple=True,
)
"""The same, where a list takes all that follows it, --images a b."""

Out = Annotated[Path, Parameter(help="Folder to write.")]
OutLocation = Annotated[str, Parameter(help="Folder to write, on this machine or an fsspec URL (s3://bucket/folder).")]
Prepared = Annotated[str, Parameter(help="Folder or URL written by caseunet prepare.")]
BundleFolder = Annotated[Path, Parameter(help="Folder of a bundle, or a zip of it.")]
Overwrite = Annotated[bool, Parameter(help="Replace what an earlier run of this verb left in --out.")]
Resume = Annotated[bool, Parameter(help="Go on with what is in --out.")]
ConfigFile = Annotated[Path | None, Parameter(help="YAML file with configuration.")]
Recipe = Annotated[
    Literal["default", "small", "tiny", "paper"] | None,
    Parameter(
        help="Start from the best we know (default), its forms of half (small) and a quarter (tiny) "
        "of the width, or the paper (paper)."
    ),
]
Settings = Annotated[
    tuple[str, ...],
    Parameter(
        name="--set",
        help="A configuration key and its value: --set optimizer.lr=0.001, or in short --optimizer.lr 0.001. "
        "caseunet train --print-config lists the keys.",
    ),
]


def key_help(key: str) -> Parameter:
    """The help of a configuration key, for an option that stands for it."""
    model: Any = Config
    *sections, name = key.split(".")
    for section in sections:
        model = model.model_fields[section].annotation
    return Parameter(help=model.model_fields[name].description)


def resolve_config(
    file: Path | None,
    recipe: str | None,
    settings: tuple[str, ...],
    options: dict[str, Any],
    base: Path | None = None,
    fallback: str = "default",
) -> Config:
    """Recipe or ``base``, file, settings, then the verb's own options that were given."""
    return load_config(file, recipe, parse_settings(settings) | options, base, fallback)


def collect_options(section: str, options: Section) -> dict[str, Any]:
    """The options of a model that were typed, as keys of a section of the configuration."""
    return {f"{section}.{name}": getattr(options, name) for name in options.model_fields_set}


def spell_options(options: Section, leave_out: tuple[str, ...] = ()) -> list[str]:
    """The options of a model that were typed, as they are typed."""
    spelled = []
    for name in sorted(options.model_fields_set.difference(leave_out)):
        value, flag = getattr(options, name), name.replace("_", "-")
        if isinstance(value, dict):
            value = json.dumps(value, ensure_ascii=False)
        values = value if isinstance(value, tuple) else () if isinstance(value, bool) else (value,)
        spelled += [f"--no-{flag}" if value is False else f"--{flag}", *map(str, values)]
    return spelled


def replace_or_new(overwrite: bool) -> Literal["new", "overwrite"]:
    return "overwrite" if overwrite else "new"


def choose_mode(overwrite: bool, resume: bool) -> Literal["new", "overwrite", "resume"]:
    """The mode that the flags say.

    Raises:
        CaseUNetError: they exclude each other.
    """
    if overwrite and resume:
        raise CaseUNetError("An earlier result is either replaced or gone on with: choose one.", options=("mode",))
    return "resume" if resume else replace_or_new(overwrite)


def choose_training_mode(overwrite: bool, resume: bool, extend: bool) -> Mode:
    """As :func:`choose_mode`, where a run can also be extended."""
    mode = choose_mode(overwrite, resume or extend)
    return "extend" if extend else mode
