"""What the command line says of predictions."""

import pytest

from caseunet.cli.terminal import console, print_first_looks
from caseunet.prediction.run import look_first
from caseunet.prediction.store import PredictedCase, PredictionsInfo
from caseunet.quality.judgement import CaseQuality, MaskLevel
from caseunet.types import Label, LabelMap

MAP = LabelMap(
    labels=tuple(Label(id=n, name=name, color=(n, 0, 0)) for n, name in enumerate(("none", "liver"))),
    structures={"liver": (1,)},
)


def predictions(*judged: tuple[float | None, MaskLevel, bool], limits: tuple[str, ...] = ()) -> PredictionsInfo:
    cases = []
    for n, (dice, mask, flagged) in enumerate(judged):
        reasons = ("it is dark",) if flagged else ()
        why = (f"low {n}",) if mask == "poor" else ()
        quality = CaseQuality(
            predicted_dice={"liver": dice},
            unusual=0.0,
            flagged=flagged,
            reasons=reasons,
            mask=mask,
            mask_reasons=why,
        )
        case = PredictedCase(
            id=f"c{n}", image="", image_hash="", in_training=False, file=f"c{n}", slices=1, seconds=1, quality=quality
        )
        cases.append(case)
    return PredictionsInfo(
        bundle="b",
        bundle_hash="",
        label_map=MAP,
        window=None,
        device="cpu",
        backend="torch",
        code_version="0",
        fold=None,
        selected_on_fold=None,
        cases=tuple(cases),
        look_first=look_first(cases),
        gate_limits=limits,
    )


@pytest.mark.parametrize(
    ("done", "lines", "absent"),
    [
        (predictions((0.28, "poor", False)), ["1 of 1 case to look at first: 1 mask expected to be poor"], "unlike"),
        (predictions((0.9, "good", True), (0.9, "good", False)), ["1 of 2 cases", "1 image unlike", "0.900?"], "poor"),
        (predictions((0.9, "good", False)), ["0 of 1 case to look at first", "usual", "good", "0.900"], "it is dark"),
        (predictions((0.9, "unknown", False), limits=("Little is known.",)), ["Little is known.", "unknown"], "unlike"),
        (
            predictions((0.9, "unknown", False), (0.2, "poor", False)),
            ["1 of 2 cases to look at first: 1 mask expected to be poor, 1 case cannot be judged"],
            "unlike",
        ),
        (predictions((None, "unknown", False)), ["nothing found"], "good"),
    ],
)
def test_both_statements_are_said(
    done: PredictionsInfo, lines: list[str], absent: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_first_looks(done)
    said = capsys.readouterr().out
    assert [line for line in lines if line not in said] == []
    assert absent not in said


@pytest.mark.parametrize(
    ("done", "is_green"),
    [
        (predictions((0.9, "good", False)), True),
        (predictions((0.28, "poor", False)), False),
        (predictions((0.65, "fair", False)), False),
        (predictions((0.9, "unknown", False)), False),
        (predictions((0.9, "good", False), limits=("Little is known.",)), False),
    ],
)
def test_only_two_good_statements_are_green(
    done: PredictionsInfo, is_green: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("caseunet.cli.terminal.say", lambda text, style="": told.append(style))
    print_first_looks(done)
    assert (told[-1] == "green") == is_green


def test_the_worst_come_first() -> None:
    done = predictions((0.9, "good", False), (0.3, "poor", False), (0.9, "good", True))
    assert done.look_first == ("c2", "c1", "c0")
    with console.capture() as captured:
        print_first_looks(done)
    rows = captured.get().splitlines()
    assert [row.split()[0] for row in rows if row.startswith("c")] == ["c2", "c1", "c0"]
