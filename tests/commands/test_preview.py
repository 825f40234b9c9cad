"""The contact sheet shows what training sees."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caseunet.commands import preview as pipeline
from caseunet.commands.prepare import prepare
from caseunet.commands.preview import preview
from caseunet.config import load_config
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError
from caseunet.reporting.figures import Panel


def shown(prepared: Prepared, out: Path, monkeypatch: pytest.MonkeyPatch, **settings: object) -> list[list[Panel]]:
    """The pairs of a sheet: as loaded, as augmented."""
    panels: list[Panel] = []
    draw = pipeline.draw_panels

    def spy(given: list[Panel], *rest: object, **more: object) -> object:
        panels.extend(given)
        return draw(given, *rest, **more)

    monkeypatch.setattr(pipeline, "draw_panels", spy)
    preview(prepared.folder, out=out, config=load_config(overrides=settings), cases=2, slices=2)
    return [panels[n : n + 2] for n in range(0, len(panels), 2)]


def test_slices_with_a_class_are_shown_as_they_are_loaded(
    lits_prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = shown(
        lits_prepared,
        tmp_path / "p.png",
        monkeypatch,
        **{"augment.strength": "none", "data.intensity_window": [-200, 250], "data.patch_size": [64, 64]},
    )
    assert len(pairs) == 4
    for before, after in pairs:
        case, position = before.title.split(" · ")
        assert case in lits_prepared.fold(0).train
        expected = np.clip((lits_prepared.image_slice(case, int(position))[0] + 200.0) / 450, 0, 1)
        assert before.ids is not None
        middle = slice(8, 56), slice(12, 52)  # 48 × 40 in the middle of 64 × 64
        np.testing.assert_allclose(before.image[middle], expected, atol=1e-5)
        np.testing.assert_array_equal(before.ids[middle], lits_prepared.label_slice(case, int(position)))
        assert before.ids.any()
        np.testing.assert_array_equal(after.image, before.image)
        assert after.title == "unchanged"
    assert min(Image.open(tmp_path / "p.png").size) > 300


def test_augmented_slices_say_what_was_done(
    lits_prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = shown(lits_prepared, tmp_path / "p.png", monkeypatch, **{"augment.strength": "strong", "seed": 1})
    for before, after in pairs:
        assert np.array_equal(after.image, before.image) == (after.title == "unchanged")
    assert any(after.title != "unchanged" for _, after in pairs)


def test_frames_from_the_command_line(
    endovis_raw: Path, tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    prepare(endovis_raw, out=tmp_path / "p")
    command = (
        "preview",
        tmp_path / "p",
        "--out",
        tmp_path / "sheet.png",
        "--cases",
        "4",
        "--augment.strength",
        "light",
    )
    assert cli(*command) == (0, f"4 slices in {tmp_path / 'sheet.png'}\n", "")
    assert "is there already" in cli(*command)[2]
    assert cli(*command, "--overwrite")[0] == 0
    assert "ends in .png" in cli("preview", tmp_path / "p", "--out", tmp_path / "sheet.jpg")[2]
    assert "at least 1" in cli("preview", tmp_path / "p", "--cases", "0")[2]


def test_damaged_data_are_told(lits_prepared: Prepared, tmp_path: Path) -> None:
    with pytest.raises(CaseUNetError, match="is no prepared data set"):
        preview(tmp_path, out=tmp_path / "p.png")
