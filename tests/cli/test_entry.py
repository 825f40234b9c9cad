"""How the program ends."""

import signal

import pytest

from caseunet.cli.entry import main
from caseunet.errors import Interrupted


def test_a_signal_is_no_defect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A demo that SIGTERM ends says so, with the status that shells expect."""

    def stopped(*, out: str = "demo") -> None:
        raise Interrupted("Stopped after step 3; everything is saved.", signal.SIGTERM)

    monkeypatch.setattr("caseunet.cli.demo.demo_verb", stopped)
    with pytest.raises(SystemExit) as ended:
        main(["demo"])
    assert ended.value.code == 143
    said = "".join(capsys.readouterr())
    assert "Stopped after step 3" in said
    assert "defect" not in said
