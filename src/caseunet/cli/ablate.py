"""``caseunet ablate``."""

from pathlib import Path
from typing import Annotated

from caseunet.cli.parameters import (
    ConfigFile,
    FlatLists,
    Out,
    Overwrite,
    Prepared,
    Recipe,
    Resume,
    Settings,
    choose_mode,
)
from caseunet.cli.study import say_study, stopping_kindly
from caseunet.cli.terminal import console
from caseunet.config import parse_settings
from caseunet.options import StudyOptions
from caseunet.progress import TerminalDisplay


def ablate_verb(
    prepared: Prepared,
    *,
    out: Out = Path("ablation"),
    options: Annotated[StudyOptions, FlatLists] = StudyOptions(),
    recipe: Recipe = None,
    config: ConfigFile = None,
    settings: Settings = (),
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    from caseunet.commands.ablate import ablate, ablations

    variants = ablations(recipe, config, parse_settings(settings) | options.budget)
    mode, display = choose_mode(overwrite, resume), TerminalDisplay(console)
    with stopping_kindly():
        study = ablate(prepared, variants, out=out, options=options, mode=mode, display=display)
    say_study(study)
