"""``caseunet prepare``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from caseunet.cli.parameters import (
    ConfigFile,
    FlatLists,
    OutLocation,
    Overwrite,
    Recipe,
    Settings,
    collect_options,
    replace_or_new,
    resolve_config,
)
from caseunet.cli.terminal import console, say, say_command, say_next
from caseunet.config import PrepareConfig
from caseunet.progress import TerminalDisplay, count_text


def prepare_verb(
    raw: Annotated[Path, Parameter(help="Raw data set as it was downloaded.")],
    *,
    out: OutLocation,
    options: Annotated[PrepareConfig, FlatLists] = PrepareConfig(),
    config: ConfigFile = None,
    recipe: Recipe = None,
    settings: Settings = (),
    overwrite: Overwrite = False,
) -> None:
    from caseunet.commands.prepare import prepare

    resolved = resolve_config(config, recipe, settings, collect_options("prepare", options))
    mode, display = replace_or_new(overwrite), TerminalDisplay(console)
    prepared = prepare(raw, out=out, config=resolved.prepare, mode=mode, display=display)
    slices = int(prepared.cases["slices"].sum())
    folds = f"{count_text(len(prepared.split.folds), 'fold')} by {prepared.split.by}"
    say(f"{count_text(len(prepared.cases), 'case')}, {count_text(slices, 'slice')}, {folds}")
    say_command("look    ", "preview", out, "--out", "prepared.png")
    say_next("train", out, "--out", "run")
