"""``caseunet report``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from caseunet.cli.parameters import Overwrite, replace_or_new
from caseunet.cli.terminal import console, print_numbers, say
from caseunet.errors import CaseUNetError
from caseunet.progress import TerminalDisplay, count_text


def report_verb(
    folder: Annotated[Path, Parameter(help="Report written by caseunet evaluate.")],
    *,
    case_study: Annotated[bool, Parameter(help="Draw cases side by side: image, reference, each model.")] = False,
    out: Annotated[Path, Parameter(help="Picture to write: .png, .svg or .pdf.")] = Path("case-study.png"),
    cases: Annotated[
        tuple[str, ...],
        Parameter(
            consume_multiple=True,
            help="Cases to draw, CASE or CASE:SLICE. Default: the worst, the median and the best.",
        ),
    ] = (),
    fill: Annotated[bool, Parameter(negative="--no-fill", help="Tint the masks, not only outline them.")] = True,
    overwrite: Overwrite = False,
) -> None:
    from caseunet.commands.report import case_study as run_case_study
    from caseunet.commands.report import read_report

    if not case_study:
        if cases:
            raise CaseUNetError("--cases says what --case-study draws: give both.")
        print_numbers(read_report(folder).summary)
        return
    mode, display = replace_or_new(overwrite), TerminalDisplay(console)
    drawn = run_case_study(folder, out=out, cases=cases, fill=fill, mode=mode, display=display)
    say(f"{count_text(drawn, 'case')} in {out}")
