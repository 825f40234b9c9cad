"""What verbs can be told."""

import pytest

from caseunet.errors import InvalidOptionError
from caseunet.options import PredictOptions, check_mode, is_overwrite


def test_check_mode_refuses_unknown_modes() -> None:
    check_mode("resume", "resume")
    for mode in ("owerwrite", "extend", ""):
        with pytest.raises(InvalidOptionError, match=f'There is no mode "{mode}"'):
            check_mode(mode, "resume")


def test_is_overwrite_knows_two_modes() -> None:
    assert [is_overwrite(mode) for mode in ("new", "overwrite")] == [False, True]
    with pytest.raises(InvalidOptionError, match='There is no mode "resume"'):
        is_overwrite("resume")


@pytest.mark.parametrize(
    ("field", "hint"),
    [("precison", 'Did you mean "precision"?'), ("engine", 'It is now called "backend".'), ("xyz", "Known: backend,")],
)
def test_unknown_field_names_the_near_one(field: str, hint: str) -> None:
    with pytest.raises(InvalidOptionError) as told:
        PredictOptions(**{field: "x"})
    assert str(told.value).startswith(f'PredictOptions has no field "{field}". {hint}')


def test_an_export_takes_no_backend() -> None:
    with pytest.raises(ValueError, match="an export computes by itself"):
        PredictOptions(exported="folder", backend="onnx")


def test_sensitivities_are_read() -> None:
    for text, told in (
        ("tumour=0.95", {"tumour": 0.95}),
        ("liver=0.9, left kidney=.8", {"liver": 0.9, "left kidney": 0.8}),
        ("lesion, left=0.9,tumour=0.95", {"lesion, left": 0.9, "tumour": 0.95}),
        ({"liver": 0.5}, {"liver": 0.5}),
    ):
        assert PredictOptions(sensitivity=text).settings.sensitivity == told  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    ["tumour", "0.95", "=0.9", "tumour=", "a=1", "a=0", "a=nan", "a=0.5,b=2", "a=0.5,b", "a=0.5,a=0.6", "", {"a": 1.5}],
)
def test_what_is_no_sensitivity_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="sensitivity"):
        PredictOptions(sensitivity=value)  # type: ignore[arg-type]
