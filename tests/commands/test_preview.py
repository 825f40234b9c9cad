"""The contact sheet shows what training sees."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caseunet.commands import preview as pipeline
from caseunet.commands.prepare import prepare
from caseunet.commands.preview import show
from caseunet.config import load_config
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError
from caseunet.reporting.figures import OutcomeCell


def shown(prepared: Prepared, out: Path, monkeypatch: pytest.MonkeyPatch, **settings: object) -> list[OutcomeCell]:
    """The cells of a sheet."""
    cells: list[OutcomeCell] = []
    draw = pipeline.contact_sheet

    def spy(given: list[OutcomeCell], *rest: object) -> object:
        cells.extend(given)
        return draw(given, *rest)

    monkeypatch.setattr(pipeline, "contact_sheet", spy)
    show(prepared.folder, out, load_config(overrides=settings), cases=2, slices=2)
    return cells


def test_slices_with_a_class_are_shown_as_they_are_loaded(
    lits_prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = shown(
        lits_prepared,
        tmp_path / "p.png",
        monkeypatch,
        **{"augment.strength": "none", "data.intensity_window": [-200, 250]},
    )
    assert len(cells) == 4
    for cell in cells:
        case, position = cell.caption.split(" · ")
        assert case in lits_prepared.fold(0).train
        expected = np.clip((lits_prepared.image_slice(case, int(position))[0] + 200.0) / 450, 0, 1)
        loaded, ids = (array[8:56, 12:52] for array in cell.loaded)  # 48 × 40 in the middle of 64 × 64
        np.testing.assert_allclose(loaded, expected, atol=1e-5)
        np.testing.assert_array_equal(ids, lits_prepared.label_slice(case, int(position)))
        assert cell.loaded[1].any()
        np.testing.assert_array_equal(cell.augmented[0], cell.loaded[0])
        assert cell.change == "unchanged"
    assert min(Image.open(tmp_path / "p.png").size) > 300


def test_augmented_slices_say_what_was_done(
    lits_prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = shown(lits_prepared, tmp_path / "p.png", monkeypatch, **{"augment.strength": "strong", "seed": 1})
    for cell in cells:
        differs = not np.array_equal(cell.augmented[0], cell.loaded[0])
        assert differs == (cell.change != "unchanged")
    assert any(cell.change != "unchanged" for cell in cells)


def test_frames_from_the_command_line(
    endovis_raw: Path, tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    prepare(endovis_raw, tmp_path / "p")
    command = ("show", tmp_path / "p", "--out", tmp_path / "sheet.png", "--cases", "4", "--augment.strength", "light")
    assert cli(*command) == (0, f"4 slices in {tmp_path / 'sheet.png'}\n", "")
    assert "is there already" in cli(*command)[2]
    assert cli(*command, "--overwrite")[0] == 0
    assert "ends in .png" in cli("show", tmp_path / "p", "--out", tmp_path / "sheet.jpg")[2]
    assert "at least 1" in cli("show", tmp_path / "p", "--cases", "0")[2]


def test_damaged_data_are_told(lits_prepared: Prepared, tmp_path: Path) -> None:
    with pytest.raises(CaseUNetError, match="is no prepared data set"):
        show(tmp_path, tmp_path / "p.png")
