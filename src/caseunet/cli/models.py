"""``caseunet models``."""

from typing import Annotated, Literal

from cyclopts import Parameter
from rich.markup import escape
from rich.table import Table

from caseunet.cli.terminal import console
from caseunet.errors import CaseUNetError
from caseunet.progress import TerminalDisplay


def print_arguments(name: str) -> None:
    """A row for each argument of a network."""
    from caseunet.commands.models import describe_arguments

    table = Table("argument", "default", "meaning", box=None, pad_edge=False)
    for argument in describe_arguments(name):
        table.add_row(argument.name, escape(argument.default), escape(argument.text))
    console.print()
    console.print(table)


def models_verb(
    *names: Annotated[str, Parameter(help="Networks to show; all if not given.")],
    size: Annotated[tuple[int, int], Parameter(help="Height and width of the image.")] = (512, 512),
    measure: Annotated[bool, Parameter(help="Also run each, and show its time and memory here.")] = False,
    training: Annotated[bool, Parameter(help="With --measure: a training step, not the forward alone.")] = False,
    device: Annotated[Literal["cpu", "cuda"], Parameter(help="Where to measure.")] = "cpu",
) -> None:
    if training and not measure:
        raise CaseUNetError("--training says what --measure measures: give both.")
    from caseunet.commands.models import describe_models

    table = Table("name", "what it is", box=None, pad_edge=False)
    for column in ("parameters", "GMAC", *(("ms", "images/s", "peak MiB") if measure else ())):
        table.add_column(column, justify="right")
    rows = describe_models(
        names,
        size=size,
        measure_on=device if measure else None,
        training=training,
        display=TerminalDisplay(console),
    )
    for row in rows:
        cells = [row.name, escape(row.summary), f"{row.parameters:,}", f"{row.gmac:.1f}"]
        if row.cost is not None:
            cells += [
                f"{row.cost.milliseconds:.0f}",
                f"{row.cost.images_per_second:.2f}",
                f"{row.cost.peak_mib:,.0f}",
            ]
        table.add_row(*cells)
    console.print(table)
    if len(names) == 1:
        print_arguments(names[0])
    what = "a training step" if training else "a forward"
    console.print(
        f"\nDefault arguments, 3 input channels, 3 classes. GMAC: 10⁹ multiply-adds of one {size[0]}×{size[1]} image."
        + (f" Measured: {what} of one such image, float32, channels last, on {device}." if measure else ""),
        style="dim",
        highlight=False,
    )
