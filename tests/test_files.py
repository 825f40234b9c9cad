"""Files are whole or absent; folders are not destroyed unasked."""

import shutil
from pathlib import Path

import pytest

from caseunet.errors import CaseUNetError
from caseunet.files import check_output_folder, output_folder, read_json, replace_when_whole, write_json


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def write_until_the_power_fails() -> None:
        with replace_when_whole(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_until_the_power_fails()
    assert read_json(path, "numbers") == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """An earlier result."""
    with output_folder(tmp_path / "out", "a report", [], overwrite=False) as folder:
        (folder / "result").write_text("old")
    return tmp_path / "out"


def test_an_earlier_result_is_replaced_only_when_asked(old: Path) -> None:
    with pytest.raises(CaseUNetError, match='out: holds an earlier result.*mode="overwrite"'):
        check_output_folder(old, "a report", [], overwrite=False)
    with output_folder(old, "a report", [], overwrite=True) as folder:
        (folder / "result").write_text("new")
        assert (old.with_name(".caseunet-before-out") / "result").read_text() == "old"
    assert (old / "result").read_text() == "new"
    assert [path.name for path in old.parent.iterdir()] == ["out"]


def test_an_earlier_result_comes_back_when_the_new_one_fails(old: Path) -> None:
    def fail() -> None:
        with output_folder(old, "a report", [], overwrite=True) as folder:
            (folder / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (old / "result").read_text() == "old"
    assert (old.with_name("out.unfinished") / "half").exists()


def test_an_earlier_result_survives_a_kill(old: Path) -> None:
    """A killed replacement leaves the earlier result beside; its half-done successor is not taken for it."""
    old.rename(old.with_name(".caseunet-before-out"))
    with output_folder(old, "a report", [], overwrite=False) as folder:
        (folder / "result").write_text("half")
    old.with_name(".caseunet-before-out").mkdir()
    (old.with_name(".caseunet-before-out") / "result").write_text("old")
    with pytest.raises(RuntimeError), output_folder(old, "a report", [], overwrite=True):
        raise RuntimeError
    assert (old / "result").read_text() == "old"


def test_neighbours_with_telling_names_are_left_alone(old: Path) -> None:
    """People keep runs as NAME.before themselves, and may need more than one unfinished one."""
    for name in ("out.before", "out.unfinished"):
        shutil.copytree(old, old.with_name(name))

    def fail() -> None:
        with output_folder(old, "a report", [], overwrite=True) as folder:
            (folder / "half").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with output_folder(old, "a report", [], overwrite=True):
        pass
    assert (old.with_name("out.before") / "result").read_text() == "old"
    assert (old.with_name("out.unfinished") / "result").read_text() == "old"
    assert old.with_name("out.unfinished-2").exists()


def test_of_work_that_wrote_nothing_nothing_is_left(old: Path) -> None:
    def fail(folder: Path) -> None:
        with output_folder(folder, "a report", [], overwrite=True):
            raise RuntimeError

    before = sorted(path.name for path in old.parent.iterdir())
    for folder in (old, old.with_name("new")):
        with pytest.raises(RuntimeError):
            fail(folder)
    assert sorted(path.name for path in old.parent.iterdir()) == before
    assert (old / "result").read_text() == "old"


def test_only_own_results_are_replaced(old: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(CaseUNetError, match="photos: holds files that caseunet did not write"):
        check_output_folder(tmp_path / "photos", "a report", [], overwrite=True)
    with pytest.raises(CaseUNetError, match="out: holds a report, not predictions"):
        check_output_folder(old, "predictions", [], overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(CaseUNetError, match="is a file"):
        check_output_folder(tmp_path / "file", "a report", [], overwrite=True)
    with pytest.raises(CaseUNetError, match="cannot be written"):
        check_output_folder(tmp_path / "file" / "inside", "a report", [], overwrite=True)


def test_an_output_never_holds_its_inputs(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (old / "raw").mkdir()
    for inside in (old, old / "raw", tmp_path / "x" / ".." / "out" / "raw"):
        with pytest.raises(CaseUNetError, match="which is read. Choose a folder that holds no input"):
            check_output_folder(old, "a report", [inside], overwrite=True)
    monkeypatch.chdir(old)
    with pytest.raises(CaseUNetError, match="not the current one"):
        check_output_folder(Path("."), "a report", [], overwrite=True)
