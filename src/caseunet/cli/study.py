"""What compare and ablate have in common: how a study ends, and what is said of it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from caseunet.cli.terminal import print_study, say
from caseunet.errors import Interrupted

RESUME_ME = 75
"""Exit status of a training that a signal stopped and that goes on with --resume (EX_TEMPFAIL: try again later)."""


@contextmanager
def stopping_kindly() -> Iterator[None]:
    """End a study that a signal stops with what to do next."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as stopped:
        say("Stopped; what is done is kept. Go on with the same command and --resume.", style="yellow")
        ended = isinstance(stopped, KeyboardInterrupt) or stopped.signal == signal.SIGINT
        raise SystemExit(130 if ended else RESUME_ME) from None


def say_study(study: Any) -> None:
    print_study(study.summary)
    say(f"page    {study.page}")
