"""The LiTS layout, with its traps."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from caseunet.errors import UserError
from caseunet.sources import find_layout
from caseunet.sources.lits import LABELS, LITS
from caseunet.types import SourceCase, SourceDataset

AFFINE = np.diag([-1, -1, 2, 1])


def put(path: Path, array: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16) if array is None else array, AFFINE), path)
    return path


def test_batches_gzip_shadows_and_the_test_set(tmp_path: Path) -> None:
    for path in (
        "Training Batch 1/volume-2.nii",
        "Training Batch 1/segmentation-2.nii.gz",
        "Training Batch 2/volume-10.nii.gz",
        "Training Batch 2/segmentation-10.nii",
        "test-volume-2.nii",
    ):
        put(tmp_path / path)
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "volume-3.nii").write_bytes(b"shadow")
    (tmp_path / "._volume-4.nii").write_bytes(b"shadow")
    assert find_layout(tmp_path) is LITS
    cases = LITS.discover(tmp_path).cases
    assert [(case.id, case.label and case.label.name) for case in cases] == [
        ("volume-2", "segmentation-2.nii.gz"),
        ("volume-10", "segmentation-10.nii"),
        ("test-volume-2", None),
    ]


def test_an_unpaired_mask_is_named(tmp_path: Path) -> None:
    put(tmp_path / "volume-1.nii")
    put(tmp_path / "segmentation-1.nii")
    put(tmp_path / "segmentation-7.nii")
    with pytest.raises(UserError, match="segmentation-7.nii: a mask without its image; volume-7.nii was expected"):
        LITS.discover(tmp_path)


def test_a_case_that_is_there_twice_is_named(tmp_path: Path) -> None:
    put(tmp_path / "volume-1.nii")
    put(tmp_path / "again" / "volume-1.nii.gz")
    with pytest.raises(UserError, match="case 1 is there twice"):
        LITS.discover(tmp_path)


def test_an_empty_folder_lists_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)none of the known layouts.*lits: volume-N.nii.*") as caught:
        find_layout(tmp_path)
    assert "endovis2018" in str(caught.value)
    with pytest.raises(UserError, match="no such folder"):
        find_layout(tmp_path / "none")
    with pytest.raises(UserError, match='no raw layout "lit". Did you mean "lits"'):
        find_layout(tmp_path, "lit")


def test_wrong_shape_and_wrong_label_are_named(tmp_path: Path) -> None:
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[0, 0, 0] = 7
    case = SourceCase("volume-1", put(tmp_path / "volume-1.nii"), put(tmp_path / "segmentation-1.nii", labels), "1")
    with pytest.raises(UserError, match=r"segmentation-1.nii: holds the labels \[7\]"):
        LITS.read_labels(case, LITS.discover(tmp_path))
    put(tmp_path / "segmentation-1.nii", np.zeros((4, 5, 5), np.uint8))
    with pytest.raises(UserError, match=r"segmentation-1.nii: the mask's shape \(4, 5, 5\)"):
        LITS.check(case)


def test_the_generated_patients_are_as_the_layout_says(lits_raw: Path) -> None:
    dataset = LITS.discover(lits_raw)
    codes = ["".join(nib.aff2axcodes(nib.load(case.image).affine)) for case in dataset.cases]
    assert codes == ["RAS", "LPS", "LAS", "PIR"]
    for case in dataset.cases:
        image, labels = LITS.read_image(case), LITS.read_labels(case, dataset)
        assert image.pixels.shape == (10, 1, 48, 40)
        assert image.pixels.dtype == np.int16
        assert labels.shape == (10, 48, 40)
        liver = np.argwhere(labels > 0)
        assert liver[:, 2].mean() < 20, "the liver lies on the patient's right, the left of the picture"
        spine = np.argwhere(image.pixels[:, 0] > 250)
        assert spine[:, 1].mean() > 30, "the spine lies at the back, low in the picture"
        assert (labels == 2).any() == (case.id != "volume-1"), "one patient has no tumour"


def test_real_liver_lies_on_the_right(real_data: Callable[[str], Path]) -> None:
    """CHAOS CT set 3: a real 512×512×78 scan whose mask must come out on the patient's right, in front of the spine."""
    folder = "chaos_ct_liver/"
    image = real_data(folder + "images/volume_CT_SET_3.nii.gz")
    label = real_data(folder + "labels/segmentation_CT_SET_3.nii.gz")
    case = SourceCase("3", image, label, "3")
    dataset = SourceDataset("lits", image.parent, (case,), LABELS, "ct", "patient", "")
    labels = LITS.read_labels(case, dataset)
    pixels = LITS.read_image(case).pixels
    assert labels.shape == (78, 512, 512)
    columns = np.argwhere(labels.any(axis=(0, 1)))
    bone_rows = np.argwhere(pixels[39, 0] > 400)[:, 0]
    assert columns.mean() < 256
    assert np.median(bone_rows) > 256
