"""What a person sees while the work goes on, silent unless a display is asked for, and the cautions it gives.

A caution goes three ways from one call, :meth:`Display.caution`: to the screen, to Python's logging, and, where
:class:`Notices` stands between, to a result's ``warnings`` and the log of an output folder.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.text import Text

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress, TaskID

LOG = "log.txt"
"""In an output folder: when the work was done, and its cautions."""

_log = logging.getLogger(__name__)


def count_text(number: int, noun: str) -> str:
    """ "1 case", "2 cases"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


class Stage:
    """One piece of work with a known amount; this base counts and shows nothing."""

    def advance(self, amount: float = 1, status: str = "") -> None:
        """Report that ``amount`` more is done and, in a few words, how it stands."""


class Display:
    """Shows nothing. The commands take this by default, so that they can be called from any program."""

    is_seen = False
    """Whether somebody reads what is said; then logging shows it too only where it was set up."""

    def say(self, text: str, style: str = "") -> None:
        """A line that stays on the screen; ``style`` is one of rich's, "bold" or "yellow"."""

    def caution(self, text: str, style: str = "yellow", *, shown: bool = True) -> None:
        """Say what whoever uses the result must know; a warning of Python's logging too.

        Args:
            text: one sentence, which names the file or case.
            style: on the screen.
            shown: whether it is said on the screen; False where the command line tells it in another form.
        """
        if shown:
            self.say(f"  {text}", style)
        if not self.is_seen or _log.hasHandlers():
            _log.warning("%s", text)

    @contextmanager
    def stage(self, title: str, total: float, unit: str = "") -> Iterator[Stage]:
        """Announce work of ``total`` units; ``unit`` is a singular, "case", or "second" for a time budget."""
        yield Stage()


class Notices(Display):
    """Keeps the cautions of one piece of work, and passes all on to the display that it was begun with.

    Attributes:
        warnings: the cautions, in the order in which they were given, each once.

    Example:
        >>> notices = Notices(Display())
        >>> notices.caution("scan.nii: its axes are sheared", shown=False)
        >>> notices.warnings
        ('scan.nii: its axes are sheared',)
    """

    def __init__(self, display: Display | None = None) -> None:
        self._display = display or Display()
        self._began = datetime.now(UTC)
        self._kept: dict[str, datetime] = {}

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._kept)

    def say(self, text: str, style: str = "") -> None:
        self._display.say(text, style)

    def caution(self, text: str, style: str = "yellow", *, shown: bool = True) -> None:
        self._kept.setdefault(text, datetime.now(UTC))
        self._display.caution(text, style, shown=shown)

    @contextmanager
    def stage(self, title: str, total: float, unit: str = "") -> Iterator[Stage]:
        with self._display.stage(title, total, unit) as stage:
            yield stage

    def write_log(self, folder: Path) -> None:
        """Add to a folder's :data:`LOG` when the work began, each caution with its time, and when the work ended."""
        ended = datetime.now(UTC)
        lines = [(self._began, "begins"), *((when, f"caution: {text}") for text, when in self._kept.items())]
        with (folder / LOG).open("a", encoding="utf-8") as stream:
            for when, text in (*lines, (ended, "ends")):
                stream.write(f"{when.isoformat(timespec='seconds')}  {text}\n")


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
        self._done, self._first = 0.0, (0.0, 0.0)
        self._last_time, self._last_share = time.monotonic(), 0.0

    def advance(self, amount: float = 1, status: str = "") -> None:
        self._done += amount
        now, share = time.monotonic(), min(1.0, self._done / self._total)
        if self._first == (0.0, 0.0):  # the first takes longer, for all that is loaded before it
            self._first = now, share
            return
        if now - self._last_time < 10 or share - self._last_share < 0.02:
            return
        self._last_time, self._last_share = now, share
        began, ahead = self._first
        left = (now - began) * (1 - share) / (share - ahead)
        self._console.print(
            f"  {self._title}: {share:.0%}, about {left:.0f} s left  {' · '.join(status.splitlines())}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


class TerminalDisplay(Display):
    """Progress bars with the time left in a terminal, plain lines elsewhere."""

    is_seen = True

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
