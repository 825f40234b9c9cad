"""A caution from one call: on the screen, in Python's logging, in a result's warnings and in a folder's log."""

import doctest
import io
import logging
from pathlib import Path

import pytest
from rich.console import Console

from caseunet import progress
from caseunet.progress import Display, Notices, TerminalDisplay


def terminal() -> TerminalDisplay:
    return TerminalDisplay(Console(file=io.StringIO(), width=200))


def text_of(display: TerminalDisplay) -> str:
    assert isinstance(display.console.file, io.StringIO)
    return display.console.file.getvalue()


def test_caution_goes_three_ways(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    display = terminal()
    notices = Notices(display)
    for _ in range(2):
        notices.caution("a.nii: its axes are sheared")
    notices.caution("b.nii: is a mask", shown=False)
    assert notices.warnings == ("a.nii: its axes are sheared", "b.nii: is a mask")
    assert text_of(display) == "  a.nii: its axes are sheared\n" * 2
    assert caplog.record_tuples[1:] == [
        ("caseunet.progress", logging.WARNING, "a.nii: its axes are sheared"),
        ("caseunet.progress", logging.WARNING, "b.nii: is a mask"),
    ]
    notices.write_log(tmp_path)
    lines = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == [
        "begins",
        "caution: a.nii: its axes are sheared",
        "caution: b.nii: is a mask",
        "ends",
    ]
    notices.write_log(tmp_path)
    assert len((tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()) == 8


def test_notices_of_a_part_reach_the_whole(caplog: pytest.LogCaptureFixture) -> None:
    whole = Notices()
    part = Notices(whole)
    part.caution("a.nii: is a mask")
    whole.caution("one more")
    assert (part.warnings, whole.warnings) == (("a.nii: is a mask",), ("a.nii: is a mask", "one more"))
    assert [record.getMessage() for record in caplog.records] == ["a.nii: is a mask", "one more"]


def test_terminal_shows_a_caution_once(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Without any handler Python's logging writes to standard error, which the terminal shows too."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    display = terminal()
    Notices(display).caution("a.nii: is a mask")
    assert (text_of(display), capfd.readouterr().err) == ("  a.nii: is a mask\n", "")
    Notices(Display()).caution("a.nii: is a mask")
    assert capfd.readouterr().err == "a.nii: is a mask\n"


def test_examples_in_progress_hold() -> None:
    assert doctest.testmod(progress).failed == 0
