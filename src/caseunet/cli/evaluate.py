"""``caseunet evaluate``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from caseunet.cli.parameters import (
    ConfigFile,
    FlatLists,
    Out,
    Overwrite,
    Settings,
    collect_options,
    replace_or_new,
    resolve_config,
)
from caseunet.cli.terminal import console, print_numbers, say, say_next
from caseunet.config import ReadingConfig
from caseunet.options import EvaluateOptions
from caseunet.progress import TerminalDisplay


def evaluate_verb(
    predictions: Annotated[
        Path, Parameter(help="Folder written by caseunet predict, or masks of any other tool; a zip, or a single file.")
    ],
    references: Annotated[
        Path, Parameter(help="The true masks: a folder or zip of them, a raw data set, or a single file.")
    ],
    *,
    out: Out = Path("report"),
    options: Annotated[EvaluateOptions, FlatLists] = EvaluateOptions(),
    reading: Annotated[ReadingConfig, FlatLists] = ReadingConfig(),
    config: ConfigFile = None,
    settings: Settings = (),
    overwrite: Overwrite = False,
) -> None:
    from caseunet.commands.evaluate import evaluate

    read_as = resolve_config(config, None, settings, collect_options("prepare", reading)).prepare
    mode, display = replace_or_new(overwrite), TerminalDisplay(console)
    result = evaluate(predictions, references, out=out, mode=mode, options=options, config=read_as, display=display)
    print_numbers(result.summary)
    say(f"report  {result.report}")
    say_next("report", out, "--case-study", "--out", "case-study.png")
