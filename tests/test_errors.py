"""The tree of exceptions: each is what Python calls it too, keeps its options everywhere, and is never reworded."""

import doctest
import pickle
import zipfile
from pathlib import Path

import pytest

from caseunet import errors
from caseunet.bundle import load_bundle
from caseunet.bundle.folder import DESCRIPTION, MAX_DESCRIPTION
from caseunet.datasets import msd
from caseunet.errors import (
    BadValuesError,
    CaseUNetError,
    InputNotFoundError,
    InvalidInputError,
    InvalidOptionError,
    MissingExtraError,
    NotEnoughMemoryError,
    OutputExistsError,
    SeveralMasksError,
)
from caseunet.files import check_output_folder, mark_output, read_json
from caseunet.prediction.image_kind import MaskGivenError
from caseunet.registry import build
from caseunet.workers import LostWorkerError

BASES = {
    CaseUNetError: Exception,
    InvalidInputError: ValueError,
    BadValuesError: ValueError,
    SeveralMasksError: ValueError,
    MaskGivenError: ValueError,
    InvalidOptionError: ValueError,
    InputNotFoundError: FileNotFoundError,
    OutputExistsError: FileExistsError,
    MissingExtraError: ImportError,
    NotEnoughMemoryError: MemoryError,
    LostWorkerError: CaseUNetError,
}


@pytest.mark.parametrize("kind", BASES, ids=lambda kind: kind.__name__)
def test_error_is_ours_and_pythons(kind: type[CaseUNetError]) -> None:
    error = kind("scan.nii: found 3, expected 4.", options=("mode",))
    assert isinstance(error, CaseUNetError)
    assert isinstance(error, BASES[kind])
    assert str(error) == "scan.nii: found 3, expected 4."


@pytest.mark.parametrize("kind", BASES, ids=lambda kind: kind.__name__)
def test_error_pickles_with_options(kind: type[CaseUNetError]) -> None:
    error = pickle.loads(pickle.dumps(kind("text", options=("out", "mode"))))
    assert (type(error), str(error), error.options) == (kind, "text", ("out", "mode"))


def test_with_message_keeps_class_and_options() -> None:
    error = OutputExistsError("run: is there.", options=("mode",)).with_message("run: is there already.")
    assert (type(error), str(error), error.options) == (OutputExistsError, "run: is there already.", ("mode",))


def test_examples_in_errors_hold() -> None:
    assert doctest.testmod(errors).failed == 0


def refuse(width: int = 1) -> int:
    raise InvalidOptionError(f"width={width}: expected at least 2.", options=("model.kwargs",))


def test_build_keeps_a_factorys_own_error() -> None:
    with pytest.raises(InvalidOptionError, match=r"^width=1: expected at least 2\.$") as caught:
        build(refuse, "thing", {}, {"width": 1})
    assert caught.value.options == ("model.kwargs",)


def test_output_that_exists_is_not_reworded(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    mark_output(tmp_path / "run", "a run")
    with pytest.raises(FileExistsError, match=r"holds an earlier result") as caught:
        check_output_folder(tmp_path / "run", "a run", [], False)
    assert "cannot be written" not in str(caught.value)


def test_missing_json_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.json: no such file; expected a list\.$"):
        read_json(tmp_path / "a.json", "a list")


def test_background_of_msd_is_not_reworded(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        msd._coding({"1": "background", "2": "liver"}, tmp_path / "dataset.json")
    assert "maps ids to names" not in str(caught.value)


def test_oversized_bundle_is_not_reworded(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(DESCRIPTION, " " * (MAX_DESCRIPTION + 1))
    with pytest.raises(InvalidInputError, match=r"model\.json: has more than the [\d,]+ bytes that are read of it"):
        load_bundle(tmp_path / "bundle.zip")
