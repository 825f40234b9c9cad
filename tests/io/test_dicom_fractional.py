"""Probabilities as FRACTIONAL segmentation objects: within 1/255 by our own reader and by highdicom's."""

from pathlib import Path

import highdicom
import numpy as np
import pytest

from caseunet.errors import CaseUNetError
from caseunet.io import dicom
from caseunet.io.dicom_fractional import read_fractional, write_fractional
from caseunet.io.geometry import to_source
from tests.io.test_dicom_seg import ALGORITHM, COLUMNS, ROWS, SLICES, save, slices_of

RED = (255, 0, 0)


def some_probabilities() -> np.ndarray:
    """Each value from 0 to 1 in the lower slices, nothing in the highest."""
    values = np.linspace(0, 1, SLICES * ROWS * COLUMNS, dtype=np.float32).reshape(SLICES, ROWS, COLUMNS)
    values[-1] = 0
    return values


@pytest.mark.parametrize(("axes", "degrees"), [("LPS", 0.0), ("LIP", 7.0), ("PIR", 12.0)])
def test_probabilities_come_back(axes: str, degrees: float, tmp_path: Path) -> None:
    sources = save(tmp_path / "series", slices_of(axes, degrees))
    geometry = dicom.read_series_geometry(sources)
    shape = dicom.read_series(sources).pixels[:, 0].shape
    probabilities = some_probabilities().reshape(shape)
    write_fractional(tmp_path / "p.dcm", probabilities, geometry, sources, ("liver", RED), ALGORITHM)
    np.testing.assert_allclose(read_fractional(tmp_path / "p.dcm", geometry), probabilities, atol=0.5 / 255 + 1e-6)

    found = highdicom.seg.segread(tmp_path / "p.dcm")
    assert (found.SegmentationType, found.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    assert found.MaximumFractionalValue == 255
    assert [segment.SegmentLabel for segment in found.SegmentSequence] == ["liver"]
    volume = found.get_volume(rescale_fractional=True, allow_missing_positions=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(geometry.affine)
    own = to_source(probabilities, geometry)
    for place in np.argwhere(own > 0.1)[::7]:  # by position in space
        index = np.rint(np.linalg.inv(volume.affine) @ lps @ (*place, 1))[:3].astype(int)
        assert abs(float(np.squeeze(volume.array)[tuple(index)]) - own[tuple(place)]) <= 1 / 255


def test_a_class_that_is_nowhere_has_one_frame(tmp_path: Path) -> None:
    sources = save(tmp_path / "series", slices_of())
    geometry = dicom.read_series_geometry(sources)
    nothing = np.zeros((SLICES, ROWS, COLUMNS), np.float32)
    write_fractional(tmp_path / "p.dcm", nothing, geometry, sources, ("liver", RED), ALGORITHM)
    assert highdicom.seg.segread(tmp_path / "p.dcm").NumberOfFrames == 1
    assert not read_fractional(tmp_path / "p.dcm", geometry).any()


def test_a_series_without_identifiers_is_refused(tmp_path: Path) -> None:
    slices = slices_of()
    for dataset in slices:
        del dataset.StudyInstanceUID
    sources = save(tmp_path / "series", slices)
    geometry = dicom.read_series_geometry(sources)
    with pytest.raises(CaseUNetError, match="does not tell what it needs"):
        write_fractional(tmp_path / "p.dcm", some_probabilities(), geometry, sources, ("liver", RED), ALGORITHM)
    assert not (tmp_path / "p.dcm").exists()


def test_other_objects_are_no_fractions(tmp_path: Path) -> None:
    sources = save(tmp_path / "series", slices_of())
    with pytest.raises(CaseUNetError, match="its fractions cannot be laid on its image"):
        read_fractional(sources[0], dicom.read_series_geometry(sources))
