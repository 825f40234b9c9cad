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
