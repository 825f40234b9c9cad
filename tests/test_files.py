"""Files are whole or absent; folders are not destroyed unasked."""

from pathlib import Path

import pytest

from caseunet.errors import UserError
from caseunet.files import free_output_folder, read_json, write_json, written_whole


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def write_until_the_power_fails() -> None:
        with written_whole(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_until_the_power_fails()
    assert read_json(path, "numbers") == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_only_own_results_are_replaced_and_only_when_asked(tmp_path: Path) -> None:
    free_output_folder(tmp_path / "new", "mark", overwrite=False)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(UserError, match="photos: holds other files"):
        free_output_folder(tmp_path / "photos", "mark", overwrite=True)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "mark").touch()
    with pytest.raises(UserError, match="old: holds an earlier result.*--overwrite"):
        free_output_folder(tmp_path / "old", "mark", overwrite=False)
    free_output_folder(tmp_path / "old", "mark", overwrite=True)
    assert not (tmp_path / "old").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        free_output_folder(tmp_path / "file", "mark", overwrite=True)
