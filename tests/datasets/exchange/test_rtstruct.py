"""Masks as structure sets (RTSTRUCT): by our own reader and by others, each voxel comes back."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from matplotlib.path import Path as Outline

from caseunet.commands.convert import convert
from caseunet.config import PrepareConfig
from caseunet.datasets import open_source
from caseunet.datasets.generate import write_dicom
from caseunet.errors import CaseUNetError
from tests.datasets.exchange.sources import assert_equal, read_all, write_frames

NAMES = {1: "liver", 2: "tumour", 3: "spleen"}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """An axial, a coronal and a sagittal series, with holes, islands in them, contacts at corners and stray voxels."""
    folder = tmp_path / "RAW"
    write_dicom(folder, patients=3, shape=(6, 20, 16), masks="nifti")
    (folder / "labels.json").write_text('{"liver": 1, "tumour": 2, "spleen": 3}')
    for n, path in enumerate(sorted((folder / "masks").iterdir())):
        mask = nib.load(path)
        ids = np.zeros(mask.shape, np.uint8)
        ids[1:-1, 1:-2] = 1
        ids[3:8, 3:8] = 0
        ids[4:7, 4:7] = 2
        ids[5, 5] = 1
        ids[np.random.default_rng(n).random(ids.shape) < 0.05] = 2
        ids[0, 0, 0] = ids[-1, -1, -1] = 3 if n else 1
        nib.save(nib.Nifti1Image(ids, mask.affine), path)
    return folder


def fill(dataset: Any, name: str, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The voxels of a structure as matplotlib fills its contours; (columns, rows, slices) of a NIfTI file."""
    number = next(roi.ROINumber for roi in dataset.StructureSetROISequence if roi.ROIName == name)
    contours = next(c for c in dataset.ROIContourSequence if c.ReferencedROINumber == number).ContourSequence
    found = np.zeros(shape, bool)
    to_index = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
    centres = np.argwhere(np.ones(shape[:2], bool))
    for contour in contours:
        points = np.reshape(np.array(contour.ContourData, float), (-1, 3)) @ to_index[:3, :3].T + to_index[:3, 3]
        k = round(points[0, 2])
        assert np.abs(points[:, 2] - k).max() < 1e-3
        found[:, :, k] |= Outline(points[:, :2]).contains_points(centres).reshape(shape[:2])
    return found


def test_each_voxel_comes_back(raw: Path, tmp_path: Path) -> None:
    before = read_all(raw)
    assert len(convert(raw, to="rtstruct", out=tmp_path / "out").cases) == 3
    for case in open_source(raw, PrepareConfig())[1].cases:
        mask = nib.load(case.label[0])
        written = pydicom.dcmread(tmp_path / "out" / f"{case.id}.dcm")
        for value in np.unique(mask.dataobj)[1:].tolist():
            inside = fill(written, NAMES[value], mask.affine, mask.shape)
            np.testing.assert_array_equal(inside, np.asarray(mask.dataobj) == value)
        shutil.copy(tmp_path / "out" / f"{case.id}.dcm", case.image[0].parent / "structures.dcm")
    shutil.rmtree(raw / "masks")
    (raw / "labels.json").unlink()
    assert_equal(before, read_all(raw))


def test_a_contour_names_its_slice(raw: Path, tmp_path: Path) -> None:
    convert(raw, to="rtstruct", out=tmp_path / "out")
    case = open_source(raw, PrepareConfig())[1].cases[1]
    slices = {header.SOPInstanceUID: header for header in map(pydicom.dcmread, case.image)}
    written = pydicom.dcmread(tmp_path / "out" / f"{case.id}.dcm")
    first = next(iter(slices.values()))
    assert written.StudyInstanceUID == first.StudyInstanceUID
    assert [roi.ROIName for roi in written.StructureSetROISequence] == ["liver", "tumour", "spleen"]
    assert {roi.ROIGenerationAlgorithm for roi in written.StructureSetROISequence} == {"MANUAL"}
    for item in written.ROIContourSequence:
        for contour in item.ContourSequence:
            header = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            normal = np.cross(header.ImageOrientationPatient[:3], header.ImageOrientationPatient[3:])
            away = (np.array(contour.ContourData[:3], float) - np.array(header.ImagePositionPatient, float)) @ normal
            assert abs(away) < 1e-3


def test_what_is_not_there_is_not_listed(raw: Path, tmp_path: Path) -> None:
    """Other programs fail on a structure without contours."""
    mask = nib.load(raw / "masks" / "patient_2.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine), raw / "masks" / "patient_2.nii.gz")
    done = convert(raw, to="rtstruct", out=tmp_path / "out")
    assert any("patient_2 holds no structure, and has no file" in warning for warning in done.warnings)
    first = pydicom.dcmread(tmp_path / "out" / "patient_0.dcm")
    assert [roi.ROIName for roi in first.StructureSetROISequence] == ["liver", "tumour"]


def test_the_standard_is_kept(raw: Path, tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which("dciodvfy", path=path)
    if program is None:
        pytest.skip("dciodvfy is absent (package dicom3tools)")
    convert(raw, to="rtstruct", out=tmp_path / "out")
    done = subprocess.run([program, tmp_path / "out" / "patient_0.dcm"], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert "RTStructureSet" in lines
    assert not [line for line in lines if line.startswith("Error")]


def test_what_cannot_be_held_is_refused(raw: Path, tmp_path: Path) -> None:
    (raw / "labels.json").write_text('{"liver": 1, "tumour": 2, "ignore": 3}')
    with pytest.raises(CaseUNetError, match="judged by nobody, and rtstruct has no word"):
        convert(raw, to="rtstruct", out=tmp_path / "out")
    write_frames(tmp_path / "frames")
    with pytest.raises(CaseUNetError, match="is no DICOM file"):
        convert(tmp_path / "frames", to="rtstruct", out=tmp_path / "other")
