"""``caseunet demo``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from caseunet.cli.parameters import Out, Overwrite, replace_or_new
from caseunet.cli.terminal import console, print_numbers, say, say_command
from caseunet.progress import TerminalDisplay


def demo(
    *,
    out: Out = Path("caseunet-demo"),
    steps: Annotated[
        int, Parameter(help="Training budget in steps: about two minutes on two cores.", validator=Number(gte=1))
    ] = 80,
    seed: Annotated[int, Parameter(help="Seed of all random numbers.")] = 0,
    synthetic: Annotated[bool, Parameter(help="Made-up patients instead of the real CT volume.")] = False,
    overwrite: Overwrite = False,
) -> None:
    from caseunet.commands.demo import demo as run_demo

    mode, display = replace_or_new(overwrite), TerminalDisplay(console)
    result = run_demo(out=out, steps=steps, seed=seed, synthetic=synthetic, mode=mode, display=display)
    print_numbers(result.evaluation.summary)
    say(f"report  {result.evaluation.report}")
    say(f"bundle  {result.bundle}")
    say("\nSegment your own CT volume with it:")
    say_command("  ", "predict", result.bundle, "my-ct.nii.gz", "--out", "predictions")
