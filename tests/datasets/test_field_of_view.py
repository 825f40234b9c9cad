"""Fields of view: files that show where an image was judged."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caseunet.commands.audit import audit
from caseunet.commands.evaluate import evaluate
from caseunet.commands.prepare import prepare
from caseunet.config import PrepareConfig
from caseunet.datasets import open_source
from caseunet.errors import CaseUNetError
from caseunet.types import IGNORE
from tests.support.labels import write_drive

CONFIG = PrepareConfig(masks=("1st_manual",), field_of_view=("mask",), folds=2)


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    root = tmp_path / "DRIVE"
    write_drive(root, tmp_path / "masks")
    return root


def test_pixels_outside_have_no_label(drive: Path, tmp_path: Path) -> None:
    prepared = prepare(drive, out=tmp_path / "prepared", config=CONFIG)
    inside = np.asarray(Image.open(drive / "mask" / "21_training_mask.gif").convert("L")) > 0
    labels = prepared.labels("21_training")[0]
    assert ((labels == IGNORE) == ~inside).all()
    assert prepared.slice_class_pixels("21_training").sum() == inside.sum()
    assert prepared.info.source is not None
    assert prepared.info.source.field_of_view == ("mask",)


def test_predictions_outside_are_not_scored(drive: Path, tmp_path: Path) -> None:
    result = evaluate(tmp_path / "masks", drive, out=tmp_path / "report", config=CONFIG)
    assert result.cases["dice"].dropna().eq(1).all()
    assert any("nobody judged them" in note for note in result.summary.notes)
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<strong>What nobody judged.</strong> Left out, because nobody judged them" in page
    assert "How the classes were matched.</strong> Left out" not in page


def test_no_file_is_left_out_unnamed(drive: Path) -> None:
    (drive / "mask" / "99_training_mask.gif").write_bytes((drive / "mask" / "21_training_mask.gif").read_bytes())
    findings = open_source(drive, CONFIG)[1].findings
    assert [finding.file for finding in findings if finding.level != "note"] == ["mask/99_training_mask.gif"]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (np.zeros((40, 48), np.uint8), "21_training_mask.gif: the field of view is 0 everywhere"),
        (np.full((48, 40), 255, np.uint8), r"21_training_mask.gif: the field of view has shape \(1, 48, 40\)"),
    ],
)
def test_bad_fields_are_refused(drive: Path, field: np.ndarray, message: str, tmp_path: Path) -> None:
    Image.fromarray(field).save(drive / "mask" / "21_training_mask.gif")
    with pytest.raises(CaseUNetError, match=message):
        prepare(drive, out=tmp_path / "prepared", config=CONFIG)


def test_an_image_without_a_field_is_named(drive: Path) -> None:
    (drive / "mask" / "23_training_mask.gif").unlink()
    findings = open_source(drive, CONFIG)[1].findings
    assert [(finding.kind, finding.case) for finding in findings if finding.level == "warning"] == [
        ("no-field", "23_training")
    ]


def test_a_pattern_of_no_field_is_refused(drive: Path) -> None:
    config = CONFIG.model_copy(update={"field_of_view": ("msk",)})
    with pytest.raises(CaseUNetError, match=r"no file fits prepare.field_of_view = msk"):
        open_source(drive, config)


def test_the_audit_names_a_bad_field(drive: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 48), np.uint8)).save(drive / "mask" / "21_training_mask.gif")
    errors = audit(drive, out=tmp_path / "audit", config=CONFIG).at_level("error")
    assert "the field of view is 0 everywhere" in errors[0].text
