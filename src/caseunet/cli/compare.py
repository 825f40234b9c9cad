"""``caseunet compare``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from caseunet.cli.parameters import ConfigFile, FlatLists, Out, Overwrite, Prepared, Resume, Settings, choose_mode
from caseunet.cli.study import say_study, stopping_kindly
from caseunet.cli.terminal import console
from caseunet.config import parse_settings
from caseunet.options import StudyOptions
from caseunet.progress import TerminalDisplay


def compare_verb(
    prepared: Prepared,
    *,
    models: Annotated[
        list[str],
        Parameter(
            consume_multiple=True,
            help="Networks (caseunet models lists them), recipes (default, paper), or YAML files laid over the rest.",
        ),
    ],
    predictions: Annotated[
        tuple[str, ...],
        Parameter(
            consume_multiple=True,
            help="Masks of other tools, to be scored and tested like the models: NAME=FOLDER, where FOLDER holds the "
            "folders seed-0-fold-0 and so on, or, for one seed and one fold, the masks.",
        ),
    ] = (),
    out: Out = Path("comparison"),
    options: Annotated[StudyOptions, FlatLists] = StudyOptions(),
    config: ConfigFile = None,
    settings: Settings = (),
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    from caseunet.commands.compare import compare
    from caseunet.studies.design import predictions_of, variants_of

    variants = variants_of(models, config, parse_settings(settings) | options.budget)
    mode, given, display = choose_mode(overwrite, resume), predictions_of(predictions), TerminalDisplay(console)
    with stopping_kindly():
        study = compare(prepared, variants, out=out, predictions=given, options=options, mode=mode, display=display)
    say_study(study)
