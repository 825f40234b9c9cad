"""What the command line says: lines, tables, errors."""

import shlex
import shutil
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from caseunet.progress import count_text

console = Console()


def say(text: str, style: str = "") -> None:
    """A line as it is: names of files may look like markup."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def say_next(*command: str | Path) -> None:
    say_command("next    ", *command)


def say_command(before: str, *command: str | Path) -> None:
    """A command that can be typed as it is printed."""
    say(f"{before}{_program()} {shlex.join(str(part) for part in command)}")


def _program() -> str:
    """The command as it was called, if it is not on the path."""
    called = Path(sys.argv[0])
    if called.parts[-2:] == ("caseunet", "__main__.py"):
        return f"{shlex.quote(sys.executable)} -m caseunet"
    return shlex.quote(sys.argv[0]) if called.stem == "caseunet" and shutil.which("caseunet") is None else "caseunet"


def complain(text: str) -> None:
    Console(stderr=True).print(f"[bold red]error[/bold red] {escape(text)}", highlight=False, soft_wrap=True)


def number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3f}"


def show_default(value: Any) -> str | None:
    """What stands behind "default:" in the help; nothing where there is nothing to see."""
    if value is None or value is False or value in ((), {}):
        return None
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def print_costs(costs: Any) -> None:
    """A row for each case, and all together."""
    table = Table("case", box=None, pad_edge=False)
    disk = any(cost.disk for cost in costs)
    for column in ("slices", "size", "seconds", "memory", *(["disk"] if disk else [])):
        table.add_column(column, justify="right")
    for cost in costs:
        size, bytes_of = f"{cost.height}×{cost.width}", [cost.memory, *([cost.disk] if disk else [])]
        taken = (f"{number / 2**20:,.0f} MiB" for number in bytes_of)
        table.add_row(escape(cost.id), f"{cost.slices:,}", size, f"{cost.seconds:,.1f}", *taken)
    console.print(table)
    if costs:
        highest, seconds = max(cost.memory for cost in costs), sum(cost.seconds for cost in costs)
        say(
            f"together about {seconds:,.0f} s on this machine, and {highest / 2**20:,.0f} MiB of memory at most; "
            "nothing was written"
        )


IMAGE_STYLES = {"usual": "green", "unusual": "bold yellow", "unknown": "dim"}
MASK_STYLES = {"good": "green", "fair": "", "poor": "bold yellow", "unknown": "dim"}


def print_first_looks(done: Any) -> None:
    """What to think of the cases: of each image and of its mask, those to be looked at first at the front."""
    for limit in done.gate_limits:
        say(limit, style="yellow")
    if not done.look_first:
        return
    cases = {case.id: case for case in done.cases}
    judged = [cases[case].quality for case in done.look_first]
    first = sum(quality.is_first for quality in judged)
    unusual, poor = sum(q.flagged for q in judged), sum(q.mask == "poor" for q in judged)
    why = [f"{count_text(unusual, 'image')} unlike the training data"] if unusual else []
    why += [f"{count_text(poor, 'mask')} expected to be poor"] if poor else []
    unjudged = sum(not q.is_first and "unknown" in (q.image, q.mask) for q in judged)
    why += [f"{count_text(unjudged, 'case')} cannot be judged"] if unjudged else []
    told = f": {', '.join(why)}" if why else ""
    reassuring = not first and not done.gate_limits and all(quality.is_reassuring for quality in judged)
    style = "bold yellow" if first else "green" if reassuring else ""
    say(f"{first} of {count_text(len(cases), 'case')} to look at first{told}", style=style)
    table = Table(
        "look at first" if first else "case", "image", "mask", "predicted Dice", "why", box=None, pad_edge=False
    )
    doubtful = False
    for case in done.look_first[: max(3, min(first, 10))]:
        quality = cases[case].quality
        doubt = "?" if quality.flagged else ""
        known = {name: value for name, value in quality.predicted_dice.items() if value is not None}
        values = ", ".join(f"{name} {number(value)}{doubt}" for name, value in known.items())
        doubtful = doubtful or bool(doubt and known)
        reasons = (*quality.reasons, *quality.mask_reasons)
        table.add_row(
            Text(case),
            Text(quality.image, IMAGE_STYLES[quality.image]),
            Text(quality.mask, MASK_STYLES[quality.mask]),
            Text(values or "nothing found"),
            Text(reasons[0] if reasons else ""),
        )
    console.print(table)
    if doubtful:
        say("? the image is unlike the training data, so its Dice may be far from the predicted one", style="dim")


def print_numbers(summary: Any) -> None:
    """What a reader of an evaluation must know first, then its chief numbers, a row for each structure."""
    console.print()
    for model in summary.models:
        _print_concerns(model, len(summary.models) > 1)
    for model in summary.models:
        numbers = [
            n for n in summary.numbers if n.model == model.name and n.metric in summary.chief and n.n + n.undefined
        ]
        if len(summary.models) > 1:
            say(model.name, style="bold")
        console.print(_score_table(numbers, summary))
        console.print()
    _print_comparison(summary)
    say(f"protocol {summary.protocol}, {summary.scope}; the report defines each number", style="dim")
    _print_matching(summary)


def _score_table(numbers: list[Any], summary: Any) -> Table:
    """A row for each structure and a column for each number, with the interval and the cases of the first one."""
    metrics = [metric for metric in summary.chief if any(shown.metric == metric for shown in numbers)]
    labels = {shown.metric: shown.measure for shown in numbers}
    table = Table("structure", box=None, pad_edge=False)
    for metric in metrics:
        unit = f" ({labels[metric].unit})" if labels[metric].unit else ""
        table.add_column(escape(labels[metric].label + unit), justify="right", min_width=5)
        if metric == metrics[0]:
            table.add_column("95 % interval", justify="right", no_wrap=True)
    counts = ("n", "undefined") if any(shown.undefined for shown in numbers) else ("n",)
    for column in counts:
        table.add_column(column, justify="right", no_wrap=True)
    structures = dict.fromkeys(shown.structure for shown in numbers)
    for structure in sorted(structures, key=lambda name: name is None):
        row = {shown.metric: shown for shown in numbers if shown.structure == structure}
        first = next(iter(row.values()))
        cells = [number(row[metric].value) if metric in row else "" for metric in metrics]
        interval = "" if first.metric != metrics[0] or first.interval is None else "–".join(map(number, first.interval))
        made_of = (f"{first.n:,}", f"{first.undefined:,}" if first.undefined else "")
        table.add_row(escape(structure or "all"), cells[0], interval, *cells[1:], *made_of[: len(counts)])
    return table


def _print_matching(summary: Any) -> None:
    """Which classes were not scored, and how the others were matched."""
    for text in summary.notes:
        say(text, style="yellow")
    if summary.not_asked:
        first = summary.not_asked[0]
        what = count_text(len(summary.not_asked), "labelled case")
        say(f"{what} that predict was not asked for, left out: {first} …", style="yellow")
    if summary.only_reference:
        say(f"only in the references, not scored: {', '.join(summary.only_reference)}", style="yellow")
    for model in summary.models:
        if model.only_prediction:
            whose = f" of {model.name}" if len(summary.models) > 1 else ""
            say(f"only in the predictions{whose}, not scored: {', '.join(model.only_prediction)}", style="yellow")


def _print_comparison(summary: Any) -> None:
    """A table for every two models."""
    for (first, second), group in groupby(summary.comparison, key=lambda row: (row.first, row.second)):
        table = Table("structure", "number", box=None, pad_edge=False)
        for column in ("difference", "95 % interval", "p (Holm)", "pairs"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("")
        winners = {"first better": f"{first} better", "second better": f"{second} better"}
        for row in group:
            interval = "–" if row.interval is None else "…".join(number(end) for end in row.interval)
            p = "–" if row.p_holm is None else "<.001" if row.p_holm < 0.001 else number(row.p_holm)
            names = escape(row.structure), escape(summary.columns[row.metric].label)
            verdict = escape(winners.get(row.verdict, row.verdict))
            table.add_row(*names, number(row.difference), interval, p, str(row.groups), verdict)
        say(f"{first} − {second}", style="bold")
        console.print(table)
        console.print()


def _print_concerns(model: Any, several: bool) -> None:
    """What a reader of the numbers must know of a model's predictions."""
    whose = f"{model.name}: " if several else ""
    if model.caution:
        say(whose + model.caution, style="yellow")
    for what, remarks in (
        ("without a prediction, counted as empty masks", model.missing),
        ("with a prediction that cannot be used, counted as empty masks", model.unusable),
    ):
        if remarks:
            first = f"{remarks[0].case}: {remarks[0].text}"
            say(f"{whose}{count_text(len(remarks), 'case')} {what}; the first: {first}", style="bold yellow")
    if model.extra:
        say(f"{whose}{count_text(len(model.extra), 'prediction')} without a reference, left out: {model.extra[0]} …")
    if model.remarks:
        first = f"{model.remarks[0].case}: {model.remarks[0].text}"
        say(f"{whose}{count_text(len(model.remarks), 'remark')}; the first: {first}", style="dim")


def print_study(summary: Any) -> None:
    """A row for each model, the best first, and whether it is told apart from the best."""
    scores = [score for score in summary.scores if score.structure == "all structures"]
    ranked = sorted(scores, key=lambda score: -(score.mean if score.mean is not None else -1))
    costs = {cost.model: cost for cost in summary.costs}
    table = Table("model", box=None, pad_edge=False)
    for column in (f"{summary.measure.label} ± sd of seeds", "95 % interval", "GMAC", "ms", "minutes"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    best = ranked[0].model
    for score in ranked:
        cost = costs.get(score.model)
        interval = "–" if score.interval is None else "–".join(number(end) for end in score.interval)
        beside = [d for d in summary.differences if {d.first, d.second} == {best, score.model}]
        whole = next((d for d in beside if d.structure == "all structures"), beside[0] if beside else None)
        table.add_row(
            escape(score.model),
            f"{number(score.mean)} ± {number(score.sd)}",
            interval,
            *(
                ("–", "–", "–")
                if cost is None
                else (f"{cost.gmac:.2f}", f"{cost.milliseconds:.0f}", f"{cost.training_minutes:.1f}")
            ),
            "best" if whole is None else "worse" if whole.outcome.endswith("better") else whole.outcome,
        )
    console.print()
    console.print(table)
    console.print()
    say(f"{summary.measure.label}: {summary.measure.definition}. {summary.measure.empty}", style="dim")
    if summary.caution:
        say(summary.caution, style="yellow")


def print_findings(found: Any) -> None:
    """A row for each kind of finding: its level, how many, and the first of them."""
    from caseunet.reporting.audit_page import title_of

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
    counts = ", ".join(count_text(len(found.at_level(level)), level) for level in styles)
    say(counts, style="bold red" if found.at_level("error") else "bold green")
