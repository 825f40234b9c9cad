"""What a person sees while the work goes on; silent unless a display is asked for."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.text import Text

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress, TaskID


def count_text(number: int, noun: str) -> str:
    """ "1 case", "2 cases"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


class Stage:
    """One piece of work with a known amount; this base counts and shows nothing."""

    def advance(self, amount: float = 1, status: str = "") -> None:
        """Report that ``amount`` more is done and, in a few words, how it stands."""


class Display:
    """Shows nothing. The commands take this by default, so that they can be called from any program."""

    def say(self, text: str, style: str = "") -> None:
        """A line that stays on the screen; ``style`` is one of rich's, "bold" or "yellow"."""

    @contextmanager
    def stage(self, title: str, total: float, unit: str = "") -> Iterator[Stage]:
        """Announce work of ``total`` units; ``unit`` is a singular, "case", or "second" for a time budget."""
        yield Stage()


class _BarStage(Stage):
    """A bar, and below it how it stands, in as many lines as that has."""

    def __init__(self, bar: "Progress", task: "TaskID", live: "Live") -> None:
        self._bar, self._task, self._live = bar, task, live

    def advance(self, amount: float = 1, status: str = "") -> None:
        self._bar.update(self._task, advance=amount)
        below = Text(f"    {status}".replace("\n", "\n    "), style="dim", no_wrap=True, overflow="ellipsis")
        self._live.update(Group(self._bar, below) if status else self._bar)


class _LineStage(Stage):
    """For logs and pipes: a line at most every ten seconds and every two per cent."""

    def __init__(self, console: Console, title: str, total: float) -> None:
        self._console, self._title, self._total = console, title, total
        self._done, self._start = 0.0, time.monotonic()
        self._last_time, self._last_share = self._start, 0.0

    def advance(self, amount: float = 1, status: str = "") -> None:
        self._done += amount
        now, share = time.monotonic(), min(1.0, self._done / self._total)
        if now - self._last_time < 10 or share - self._last_share < 0.02:
            return
        self._last_time, self._last_share = now, share
        left = (now - self._start) * (1 - share) / share
        self._console.print(
            f"  {self._title}: {share:.0%}, about {left:.0f} s left  {' · '.join(status.splitlines())}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


class TerminalDisplay(Display):
    """Progress bars with the time left in a terminal, plain lines elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()

    def say(self, text: str, style: str = "") -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def stage(self, title: str, total: float, unit: str = "") -> Iterator[Stage]:
        start = time.monotonic()
        if self.console.is_terminal:
            from rich.live import Live
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.table import Column

            columns = (
                TextColumn("  {task.description}"),
                BarColumn(bar_width=16, table_column=Column(min_width=16)),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
                TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=7)),
                TextColumn("left"),
            )
            bar = Progress(*columns, console=self.console)
            with Live(bar, console=self.console, transient=True, refresh_per_second=5) as live:
                yield _BarStage(bar, bar.add_task(title, total=total), live)
        else:
            yield _LineStage(self.console, title, total)
        amount = "" if unit in ("", "second") else f" {count_text(int(total), unit)} in"
        self.say(f"  ✓ {title}:{amount} {time.monotonic() - start:.1f} s")
