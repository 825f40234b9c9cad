"""What the command line says: lines, tables, errors."""

import shlex
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from caseunet.progress import counted

console = Console()


def say(text: str, style: str = "") -> None:
    """A line as it is: names of files may look like markup."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def say_next(*command: str | Path) -> None:
    say("next    caseunet " + shlex.join(str(part) for part in command))


def complain(text: str) -> None:
    Console(stderr=True).print(f"[bold red]error[/bold red] {escape(text)}", highlight=False, soft_wrap=True)


def number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3f}"


def print_costs(costs: Any) -> None:
    """A row for each case, and all together."""
    table = Table("case", box=None, pad_edge=False)
    for column in ("slices", "size", "seconds", "memory"):
        table.add_column(column, justify="right")
    for cost in costs:
        size = f"{cost.height}×{cost.width}"
        table.add_row(
            escape(cost.id), f"{cost.slices:,}", size, f"{cost.seconds:,.1f}", f"{cost.memory / 2**20:,.0f} MiB"
        )
    console.print(table)
    if costs:
        highest, seconds = max(cost.memory for cost in costs), sum(cost.seconds for cost in costs)
        say(
            f"together about {seconds:,.0f} s on this machine, and {highest / 2**20:,.0f} MiB of memory at most; "
            "nothing was written"
        )


def print_first_looks(done: Any) -> None:
    """The cases to be looked at first, and why."""
    cases = {case.id: case for case in done.cases}
    flagged = sum(case.quality.flagged for case in done.cases if case.quality)
    if any(case.quality and case.quality.unusual is None for case in done.cases):
        say("too few training cases to tell which of these are unlike them", style="dim")
    if not done.look_first or (len(cases) == 1 and not flagged):
        return
    if flagged:
        say(f"{flagged} of {counted(len(cases), 'case')} unlike the training data", style="yellow")
    table = Table("look at first", "predicted Dice", "why", box=None, pad_edge=False)
    for case in done.look_first[: max(3, min(flagged, 10))]:
        quality = cases[case].quality
        doubt = "?" if quality.flagged else ""
        known = {name: value for name, value in quality.predicted_dice.items() if value is not None}
        values = ", ".join(f"{name} {number(value)}{doubt}" for name, value in known.items())
        table.add_row(
            escape(case), escape(values or "nothing found"), escape(quality.reasons[0] if quality.reasons else "")
        )
    console.print(table)


def print_scores(cases: Any) -> None:
    table = Table("structure", box=None, pad_edge=False)
    for column in ("Dice", "IoU", "cases"):
        table.add_column(column, justify="right")
    for name, rows in cases.groupby("structure", sort=False):
        table.add_row(escape(name), number(rows["dice"].mean()), number(rows["iou"].mean()), str(rows["dice"].count()))
    console.print()
    console.print(table)
    console.print()


def print_findings(found: Any) -> None:
    """A row for each kind of finding: its level, how many, and the first of them."""
    from caseunet.pipelines.audit_page import title_of

    styles = {"error": "bold red", "warning": "yellow", "note": "cyan"}
    table = Table("", "finding", "", "the first of them", box=None, pad_edge=False)
    for (level, kind), group in groupby(found.findings, key=lambda finding: (finding.level, finding.kind)):
        members = list(group)
        first = members[0]
        text = f"{first.file or first.case}: {first.text}" if first.file or first.case else first.text
        times = str(len(members)) if len(members) > 1 else ""
        table.add_row(f"[{styles[level]}]{level}[/]", escape(title_of(kind)), times, escape(text))
    console.print()
    if found.findings:
        console.print(table)
        console.print()
    counts = ", ".join(counted(len(found.at_level(level)), level) for level in styles)
    say(counts, style="bold red" if found.at_level("error") else "bold green")
