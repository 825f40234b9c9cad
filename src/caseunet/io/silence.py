"""Silence for what libraries print on damaged files, beside the exceptions that tell what matters of it."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_LOCK = threading.Lock()
_STATE = {"users": 0, "kept": -1}


@contextlib.contextmanager
def silence_stderr() -> Iterator[None]:
    """Let nothing of what the process writes to standard error appear meanwhile.

    libtiff and MetaIO write there from C, past Python and without a way to ask them not to; nibabel and Pillow log
    there. Several threads may be quiet at once: the last one to end brings standard error back.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    with _LOCK:
        _STATE["users"] += 1
        if _STATE["users"] > 1:
            return
        _flush()
        try:
            _STATE["kept"] = os.dup(2)
        except OSError:  # there is no standard error
            _STATE["kept"] = -1
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)


def _leave() -> None:
    with _LOCK:
        _STATE["users"] -= 1
        if _STATE["users"] or _STATE["kept"] < 0:
            return
        _flush()
        os.dup2(_STATE["kept"], 2)
        os.close(_STATE["kept"])


def _flush() -> None:
    """Let what Python holds back go where it was meant to."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # it may be closed
            sys.stderr.flush()
