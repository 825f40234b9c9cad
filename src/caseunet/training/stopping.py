"""Signals that ask a run to end: it ends after the step under way, with everything saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C; what batch systems and spot machines send before they kill; what SLURM sends when told to (``signal=USR1@60``)."""


class StopRequest:
    """Whether a signal asked for the end, and which; 0 while none did."""

    signal = 0


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Note the first signal instead of ending at it; the second one ends at once, as it would have without this.

    Only the main thread gets signals: elsewhere nothing is changed.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = number
        for each, handler in before.items():
            signal.signal(each, handler)

    # None is what was not set from Python; that cannot be put back.
    before = {each: signal.signal(each, note) or signal.SIG_DFL for each in SIGNALS}
    try:
        yield request
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
