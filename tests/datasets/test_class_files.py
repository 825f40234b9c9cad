"""A file for each class, as TotalSegmentator's data set has."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from caseunet.datasets.class_files import read_class_files
from caseunet.datasets.folder import FOLDER
from caseunet.datasets.reading import read_labels
from caseunet.errors import CaseUNetError, SeveralMasksError
from caseunet.prediction.inputs import find_inputs
from caseunet.types import Geometry

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, AFFINE), path)


def box(*ranges: slice) -> np.ndarray:
    array = np.zeros((6, 5, 4), np.uint8)
    array[ranges] = 1
    return array


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two cases with liver, and a tumour in it, and a spleen that touches none; the second has no tumour's file."""
    for case in ("s1", "s2"):
        save(tmp_path / case / "ct.nii.gz", np.full((6, 5, 4), -1000, np.int16))
        save(tmp_path / case / "segmentations" / "liver.nii.gz", box(slice(0, 3)))
        save(tmp_path / case / "segmentations" / "spleen.nii.gz", box(slice(4, 6)) * 255)
    save(tmp_path / "s1" / "segmentations" / "tumour.nii.gz", box(slice(1, 2), slice(1, 3)))
    return tmp_path


def test_classes_are_the_names_of_files(raw: Path) -> None:
    dataset = FOLDER.discover(raw)
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == ("background", "liver", "spleen", "tumour")
    first, second = (read_labels(FOLDER, case, dataset) for case in dataset.cases)
    expected = np.where(box(slice(0, 3)), 1, 0) + np.where(box(slice(4, 6)), 2, 0)
    counts = np.bincount(second.ravel(), minlength=4)
    assert counts.tolist() == np.bincount(expected.ravel(), minlength=4).tolist() == [20, 60, 40, 0]
    assert np.bincount(first.ravel(), minlength=4).tolist() == [20, 52, 40, 8]  # the tumour lies on the liver


def test_spellings_of_a_file_are_one_class(tmp_path: Path) -> None:
    for case, names in (("s1", ("Left_Kidney", "Spleen")), ("s2", ("left kidney", "spleen"))):
        save(tmp_path / case / "ct.nii.gz", np.full((6, 5, 4), -1000, np.int16))
        for name, inside in zip(names, (box(slice(0, 3)), box(slice(4, 6))), strict=True):
            save(tmp_path / case / "segmentations" / f"{name}.nii.gz", inside)
    dataset = FOLDER.discover(tmp_path)
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == ("background", "Left_Kidney", "Spleen")
    for case in dataset.cases:
        assert np.bincount(read_labels(FOLDER, case, dataset).ravel()).tolist() == [20, 60, 40]
    assert not [f for f in dataset.findings if f.level != "note"]
    assert sum(f.kind == "spellings" for f in dataset.findings) == 2


def test_overlap_is_counted_and_said(raw: Path) -> None:
    dataset = FOLDER.discover(raw)
    case = dataset.cases[0]
    mask = FOLDER.read_mask(case, dataset, FOLDER.read_geometry(case))
    assert mask.geometry.remarks == ("tumour.nii.gz covers 8 pixels of liver, and is kept",)


def test_two_masks_of_one_thing_are_refused(raw: Path) -> None:
    save(raw / "s1" / "segmentations" / "tumour.nii.gz", box(slice(0, 3), slice(0, 4)))
    dataset = FOLDER.discover(raw)
    with pytest.raises(SeveralMasksError, match=r"tumour.nii.gz: shows the same as .*liver.nii.gz \(48 of 60 pixels\)"):
        read_labels(FOLDER, dataset.cases[0], dataset)


def test_a_file_of_several_values_is_refused(raw: Path) -> None:
    save(raw / "s2" / "segmentations" / "spleen.nii.gz", box(slice(4, 5)) + box(slice(4, 6)))
    dataset = FOLDER.discover(raw)
    with pytest.raises(CaseUNetError, match="spleen.nii.gz: holds the values 0, 1, 2"):
        read_labels(FOLDER, dataset.cases[1], dataset)


def test_prediction_takes_the_scans_alone(raw: Path) -> None:
    assert [(item.id, item.files) for item in find_inputs([raw])] == [
        (case, (raw / case / "ct.nii.gz",)) for case in ("s1", "s2")
    ]


@pytest.mark.parametrize(
    "pattern", ["labels/{case}_{organ}.nii", "labels/{case}/{organ}.nii", "labels/{organ}/{case}.nii"]
)
def test_class_files_in_other_places(pattern: str, tmp_path: Path) -> None:
    for case in ("p1", "p2"):
        save(tmp_path / "images" / f"{case}.nii", np.zeros((6, 5, 4), np.int16))
        for n, organ in enumerate(("liver", "spleen")):
            save(tmp_path / pattern.format(case=case, organ=organ), box(slice(3 * n, 3 * n + 1)))
    dataset = FOLDER.discover(tmp_path)
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == ("background", "liver", "spleen")
    for case in dataset.cases:
        assert np.bincount(read_labels(FOLDER, case, dataset).ravel()).tolist() == [80, 20, 20]


@pytest.mark.parametrize("colors", [(0, 0, 0, 255, 255, 255), (255, 255, 255, 0, 0, 0)])
def test_black_is_outside_whatever_its_index(colors: tuple[int, ...], tmp_path: Path) -> None:
    seen = np.zeros((6, 8), np.uint8)
    seen[1:4, 2:5] = 1
    image = Image.fromarray(seen if colors[0] == 0 else 1 - seen).convert("L")
    image.putpalette(colors)
    image.save(tmp_path / "liver.png")
    Image.fromarray(seen[::-1] * 255).convert("1").save(tmp_path / "spleen.png")
    paths = (tmp_path / "liver.png", tmp_path / "spleen.png")
    mask = read_class_files(paths, {"liver": 1, "spleen": 2}, Geometry(shape=(6, 8)))
    expected = seen.copy()
    expected[::-1][seen > 0] = 2
    np.testing.assert_array_equal(mask.label_values[0], expected)
    assert (dict(mask.palette), dict(mask.names)) == ({}, {})


def test_a_file_that_lies_elsewhere_is_refused(raw: Path) -> None:
    moved = AFFINE.copy()
    moved[2, 3] = 12
    nib.save(nib.Nifti1Image(box(slice(4, 6)), moved), raw / "s2" / "segmentations" / "spleen.nii.gz")
    dataset = FOLDER.discover(raw)
    with pytest.raises(CaseUNetError, match=r"spleen.nii.gz: lies 12 mm away from .*liver.nii.gz"):
        read_labels(FOLDER, dataset.cases[1], dataset)


def test_background_and_ignore_are_no_classes(raw: Path) -> None:
    save(raw / "s1" / "segmentations" / "background.nii.gz", box(slice(3, 4)))
    save(raw / "s1" / "segmentations" / "ignore.nii.gz", box(slice(2, 4)))
    save(raw / "s2" / "segmentations" / "background.nii.gz", box(slice(3, 4)))
    dataset = FOLDER.discover(raw)
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == ("background", "liver", "spleen", "tumour")
    counts = np.bincount(read_labels(FOLDER, dataset.cases[0], dataset).ravel(), minlength=256)
    assert counts[[0, 1, 2, 3, 255]].tolist() == [0, 32, 40, 8, 40]
    texts = [finding.text for finding in dataset.findings if finding.level == "warning"]
    assert texts == ["1 case without a file of tumour, which counts as empty: s2"]
