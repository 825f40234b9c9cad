"""Standard error, silenced and brought back."""

import os
import sys
import threading
from pathlib import Path

import pytest

from caseunet.io.silence import silence_stderr


def test_only_what_is_written_meanwhile_is_lost(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Python, which holds lines back, and past it; standard output goes on."""
    with open(2, "w", buffering=4096, closefd=False) as held:
        monkeypatch.setattr(sys, "stderr", held)
        print("before", file=sys.stderr)
        with silence_stderr():
            print("python", file=sys.stderr)
            os.write(2, b"library\n")
            os.write(1, b"result\n")
        os.write(2, b"after\n")
    assert capfd.readouterr() == ("result\n", "before\nafter\n")


def test_exception_passes_and_the_sound_returns(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), silence_stderr():
        _ = 1 / 0
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_it_lasts_until_all_threads_are_done(capfd: pytest.CaptureFixture[str]) -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with silence_stderr():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with silence_stderr():
        thread.start()
        assert inside.wait(10)
    os.write(2, b"still\n")
    leave.set()
    thread.join()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_without_standard_error_nothing_happens(tmp_path: Path) -> None:
    kept = os.dup(2)
    os.close(2)
    try:
        with silence_stderr():
            (tmp_path / "a").write_text("x")
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(2, b"x")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert (tmp_path / "a").read_text() == "x"
