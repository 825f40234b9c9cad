"""A tree of DICOM series and segmentations, with its traps."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK

from caseunet.datasets import find_layout
from caseunet.datasets.coding import coding_of
from caseunet.datasets.dicom import DICOM, find_images
from caseunet.datasets.generate import write_dicom
from caseunet.datasets.generate.drawings import draw_patient
from caseunet.datasets.generate.series import segmentation, series
from caseunet.datasets.layout import SourceDataset
from caseunet.datasets.reading import read_labels
from caseunet.errors import CaseUNetError
from caseunet.io import dicom, raster

SHAPE = (10, 48, 40)
AFFINE = np.diag([-1.0, -1.0, 2.5, 1.0])
"""Axes Left, Posterior, Superior, so that an array (columns, rows, slices) is the transpose of the canonical one."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients with segmentations: axial, coronal and sagittal slices, each tilted."""
    folder = tmp_path_factory.mktemp("dicom") / "raw"
    write_dicom(folder, shape=SHAPE)
    return folder


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """One series of eight slices, ``ct/0.dcm`` to ``7.dcm`` in the order of position, without a mask."""
    return put_series(tmp_path / "raw" / "ct", pixels()).parent


def pixels(slices: int = 8, seed: int = 0) -> np.ndarray:
    """HU, (columns, rows, slices)."""
    return np.random.default_rng(seed).integers(-1000, 1000, (6, 5, slices)).astype(np.int16)


def put_series(
    folder: Path, hounsfield: np.ndarray, patient: str = "P1", entropy: str = "one", affine: np.ndarray = AFFINE
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(series(hounsfield, affine, patient, entropy)):
        dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder


def change(path: Path, **values: Any) -> None:
    """Change attributes of a DICOM file."""
    dataset = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


def put_segmentation(
    path: Path, labels: np.ndarray, slices: Sequence[int], names: Sequence[str] = ("liver", "tumour")
) -> Path:
    """A segmentation of some slices of the series beside it, from labels (columns, rows, slices) of all."""
    sources = [pydicom.dcmread(path.parent / f"{number}.dcm") for number in slices]
    segmentation(sources, labels[..., list(slices)], names).save_as(path)
    return path


def marked(*voxels: tuple[int, int, int], value: int = 1) -> np.ndarray:
    """Labels (columns, rows, slices) of the series in ``raw``."""
    labels = np.zeros((6, 5, 8), np.uint8)
    for voxel in voxels:
        labels[voxel] = value
    return labels


def told(dataset: SourceDataset) -> list[tuple[str, str, str | None]]:
    return [(finding.level, finding.kind, finding.file) for finding in dataset.findings]


def ids(root: Path) -> list[str]:
    return [case.id for case in DICOM.discover(root).cases]


def read(root: Path) -> np.ndarray:
    """The pixels of the first case, (S, H, W)."""
    return DICOM.read_image(DICOM.discover(root).cases[0], False).pixels[:, 0]


def labels_of(root: Path) -> np.ndarray:
    dataset = DICOM.discover(root)
    return read_labels(DICOM, dataset.cases[0], dataset)


def test_patients_are_read_as_they_were_drawn(made: Path) -> None:
    """Slices in three planes, oblique, in files whose names do not tell their order, come out in one orientation."""
    assert find_layout(made) is DICOM
    dataset = DICOM.discover(made)
    assert told(dataset) == []
    assert (dataset.modality, dataset.group_name) == ("ct", "patient")
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == ("background", "liver", "tumour")
    assert [(case.id, case.group, len(case.image)) for case in dataset.cases] == [
        ("patient_0", "P000", 10),
        ("patient_1", "P001", 48),
        ("patient_2", "P002", 40),
    ]
    for n, case in enumerate(dataset.cases):
        patient = draw_patient(0, n, SHAPE)
        picture = DICOM.read_image(case, False)
        np.testing.assert_array_equal(picture.pixels[:, 0], patient.hounsfield)
        assert picture.pixels.dtype == np.int16
        assert picture.geometry.spacing == pytest.approx(patient.spacing)
        geometry = DICOM.read_geometry(case)
        assert geometry.shape == picture.geometry.shape
        np.testing.assert_allclose(geometry.affine, picture.geometry.affine)
        oblique = np.abs(geometry.affine[:3, :3]).max(axis=0) / np.linalg.norm(geometry.affine[:3, :3], axis=0)
        assert oblique.min() < 0.999, "by at least 3 degrees"
        labels = read_labels(DICOM, case, dataset)
        for i in range(3):
            np.testing.assert_array_equal(labels == i, patient.labels == i)


def test_names_do_not_tell_the_order(made: Path) -> None:
    paths = DICOM.discover(made).cases[0].image
    numbers = [int(pydicom.dcmread(path, stop_before_pixels=True).InstanceNumber) for path in paths]
    assert sorted(numbers) == list(range(1, 11))
    assert numbers != sorted(numbers)
    assert numbers != sorted(numbers, reverse=True)


def test_slices_are_sorted_by_position(raw: Path) -> None:
    """Names and instance numbers both run otherwise."""
    order = [3, 0, 7, 1, 6, 2, 5, 4]
    for number, new in enumerate(order):
        (raw / "ct" / f"{number}.dcm").rename(raw / "ct" / f"slice{new}.dcm")
        change(raw / "ct" / f"slice{new}.dcm", InstanceNumber=order[new] + 1)
    np.testing.assert_array_equal(read(raw), pixels().T)


def test_slices_that_run_downwards_are_turned(tmp_path: Path) -> None:
    put_series(tmp_path / "ct", pixels(), affine=np.diag([-1.0, -1.0, -2.5, 1.0]))
    np.testing.assert_array_equal(read(tmp_path), pixels().T[::-1])


def test_stored_values_are_rescaled(raw: Path) -> None:
    """Stored 0, 1, 2 … with slope 2 and intercept −1000 are HU −1000, −998, −996 …; slices may differ in both."""
    for number in range(8):
        path = raw / "ct" / f"{number}.dcm"
        stored = np.arange(30, dtype="<u2") + number
        change(path, PixelData=stored.tobytes(), RescaleSlope=2, RescaleIntercept=-1000 - number)
    expected = 2 * (np.arange(30).reshape(5, 6) + np.arange(8)[:, None, None]) - 1000 - np.arange(8)[:, None, None]
    np.testing.assert_array_equal(read(raw), expected)


def test_files_need_no_suffix(raw: Path) -> None:
    for path in list((raw / "ct").iterdir()):
        path.rename(path.with_name(f"1.2.840.113619.{path.stem}"))
    (raw / "ct" / "README").write_text("not a slice " * 20)
    assert find_layout(raw) is DICOM
    np.testing.assert_array_equal(read(raw), pixels().T)
    assert told(DICOM.discover(raw)) == []


def test_the_index_of_a_disc_is_no_slice(raw: Path) -> None:
    """DICOMDIR lies on every disc that a hospital burns; it is DICOM, and holds no image."""
    from pydicom.fileset import FileSet

    index = FileSet()
    for path in sorted((raw / "ct").iterdir()):
        index.add(path)
    index.write(raw.parent / "disc")
    assert (raw.parent / "disc" / "DICOMDIR").is_file()
    dataset = DICOM.discover(raw.parent / "disc")
    assert [finding for finding in told(dataset) if finding[0] == "error"] == []
    np.testing.assert_array_equal(read(raw.parent / "disc"), pixels().T)


@pytest.mark.parametrize(
    "voxels",
    [
        [(2, 3, 4), (1, 0, 5)],
        [(2, 3, 1), (1, 0, 6)],
        [(2, 3, 1), (1, 0, 3), (0, 0, 5)],
        [(2, 3, 7)],
        [],
    ],
    ids=["neighbours", "gap", "every second", "one slice", "empty"],
)
@pytest.mark.parametrize("spaced", [True, False], ids=["spaced", "unspaced"])
def test_a_segmentation_of_few_slices_lies_on_the_right_ones(
    voxels: list[tuple[int, int, int]], spaced: bool, raw: Path
) -> None:
    """Slices without labels have no frame; SpacingBetweenSlices, which tells the distance, is optional."""
    labels = marked(*voxels)
    path = put_segmentation(raw / "ct" / "mask.dcm", labels, range(8))
    if not spaced:
        dataset = pydicom.dcmread(path)
        del dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
        dataset.save_as(path)
    np.testing.assert_array_equal(labels_of(raw), labels.T)


@pytest.mark.parametrize("slices", [[2, 3, 4, 5], [5, 3, 4, 2], [3]], ids=["some", "shuffled", "one"])
def test_a_segmentation_made_on_few_slices_lies_on_the_right_ones(slices: list[int], raw: Path) -> None:
    labels = marked((2, 3, 3), (1, 0, 3))
    put_segmentation(raw / "ct" / "mask.dcm", labels, slices)
    np.testing.assert_array_equal(labels_of(raw), labels.T)


def test_two_segmentations_of_one_series_are_joined(raw: Path) -> None:
    put_segmentation(raw / "ct" / "liver.dcm", marked((2, 3, 3), (1, 0, 4)), range(8), ["liver"])
    put_segmentation(raw / "ct" / "tumour.dcm", marked((5, 4, 6)), range(8), ["tumour"])
    dataset = DICOM.discover(raw)
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == ("background", "liver", "tumour")
    assert [path.name for path in dataset.cases[0].label] == ["liver.dcm", "tumour.dcm"]
    assert told(dataset) == []
    expected = marked((2, 3, 3), (1, 0, 4)) + marked((5, 4, 6), value=2)
    np.testing.assert_array_equal(labels_of(raw), expected.T)


def test_two_segmentations_of_one_label_are_asked_about(raw: Path) -> None:
    """Two people may have drawn it. Without one of them, the other's counts."""
    put_segmentation(raw / "ct" / "one.dcm", marked((2, 3, 3)), range(8), ["liver"])
    put_segmentation(raw / "ct" / "two.dcm", marked((1, 0, 4)), range(8), ["liver"])
    finding = DICOM.discover(raw).findings[0]
    assert (finding.level, finding.kind, finding.file, finding.ignore) == ("error", "extra-mask", "ct/two.dcm", True)
    assert 'has a segment "liver" of ct, as ct/one.dcm has' in finding.text
    (raw / "ct" / "two.dcm").unlink()
    assert told(DICOM.discover(raw)) == []
    np.testing.assert_array_equal(labels_of(raw), marked((2, 3, 3)).T)


def test_segments_go_by_their_labels_not_their_numbers(tmp_path: Path) -> None:
    """The first patient's segment 1 is the liver, the second's is the tumour."""
    for patient, names in (("a", ["liver", "tumour"]), ("b", ["tumour", "liver"])):
        put_series(tmp_path / patient, pixels(), patient, entropy=patient)
        labels = marked((2, 3, 3)) + marked((5, 4, 6), value=2)
        put_segmentation(tmp_path / patient / "mask.dcm", labels, range(8), names)
    dataset = DICOM.discover(tmp_path)
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == ("background", "liver", "tumour")
    first, second = (read_labels(DICOM, case, dataset) for case in dataset.cases)
    assert (first[3, 3, 2], first[6, 4, 5]) == (1, 2)
    assert (second[3, 3, 2], second[6, 4, 5]) == (2, 1)


def test_spellings_of_a_label_are_one_class(tmp_path: Path) -> None:
    for patient, names in (("a", ["liver", "left tumour"]), ("b", ["Left_Tumour", "LIVER"])):
        put_series(tmp_path / patient, pixels(), patient, entropy=patient)
        labels = marked((2, 3, 3)) + marked((5, 4, 6), value=2)
        path = put_segmentation(tmp_path / patient / "mask.dcm", labels, range(8))
        dataset = pydicom.dcmread(path)
        for segment, name in zip(dataset.SegmentSequence, names, strict=True):
            segment.SegmentLabel = name
        dataset.save_as(path)
    found = DICOM.discover(tmp_path)
    assert found.coding is not None
    assert found.coding.label_map.names == ("background", "liver", "left tumour")
    first, second = (read_labels(DICOM, case, found) for case in found.cases)
    assert (first[3, 3, 2], first[6, 4, 5]) == (1, 2)
    assert (second[3, 3, 2], second[6, 4, 5]) == (2, 1)
    assert [f.text[:27] for f in found.findings if f.kind == "spellings"] == [
        '"Left_Tumour" and "left tum',
        '"LIVER" and "liver" are spe',
    ]


def test_overlapping_segmentations_are_refused(raw: Path) -> None:
    put_segmentation(raw / "ct" / "liver.dcm", marked((2, 3, 3)), range(8), ["liver"])
    put_segmentation(raw / "ct" / "tumour.dcm", marked((2, 3, 3)), range(8), ["tumour"])
    with pytest.raises(
        CaseUNetError, match=r'tumour.dcm: its segment "tumour" overlaps "liver" of .*liver.dcm on 1 voxels'
    ):
        labels_of(raw)


def test_a_segmentation_belongs_to_the_series_that_it_references(tmp_path: Path) -> None:
    """Wherever its file lies."""
    for name in ("a", "b"):
        put_series(tmp_path / name, pixels(seed=ord(name)), name, entropy=name)
    path = put_segmentation(tmp_path / "b" / "mask.dcm", marked((2, 3, 3)), range(8))
    (tmp_path / "a" / "masks").mkdir()
    path.rename(tmp_path / "a" / "masks" / "mask.dcm")
    assert [(case.id, bool(case.label)) for case in DICOM.discover(tmp_path).cases] == [("a", False), ("b", True)]


def test_a_segmentation_of_a_series_that_is_not_there_is_named(raw: Path, tmp_path: Path) -> None:
    other = put_series(tmp_path / "other", pixels(), entropy="other")
    path = put_segmentation(other / "mask.dcm", marked((2, 3, 3)), range(8))
    shutil.copy(path, raw / "ct" / "mask.dcm")
    dataset = DICOM.discover(raw)
    assert told(dataset) == [("error", "extra-mask", "ct/mask.dcm")]
    assert dataset.cases[0].label == ()


def test_a_segmentation_off_the_grid_is_refused(raw: Path, tmp_path: Path) -> None:
    """Half a voxel beside its image."""
    put_segmentation(raw / "ct" / "mask.dcm", marked((2, 3, 3)), range(8))
    for number in range(8):
        path = raw / "ct" / f"{number}.dcm"
        x, y, z = pydicom.dcmread(path).ImagePositionPatient
        change(path, ImagePositionPatient=[x + 0.5, y, z])
    with pytest.raises(CaseUNetError, match=r"mask.dcm: its segments cannot be laid on its image"):
        labels_of(raw)


def test_nifti_masks_belong_by_name_of_the_folder(tmp_path: Path) -> None:
    write_dicom(tmp_path, shape=SHAPE, masks="nifti")
    assert find_layout(tmp_path) is DICOM
    found = DICOM.discover(tmp_path)
    assert (found.coding, told(found)) == (None, [])
    dataset = SourceDataset(**{**vars(found), "coding": coding_of({0: "background", 1: "liver", 2: "tumour"})})
    for n, case in enumerate(dataset.cases):
        assert dataset.relative(case.label[0]) == f"masks/patient_{n}.nii.gz"
        np.testing.assert_array_equal(read_labels(DICOM, case, dataset), draw_patient(0, n, SHAPE).labels)


@pytest.mark.parametrize(
    "name",
    ["ct.nii.gz", "masks/ct.nii", "masks/ct_mask.nii.gz", "segmentation_P1.nii.gz", "ct/anything.nii.gz"],
)
def test_volumes_belong_by_series_patient_or_folder(name: str, raw: Path) -> None:
    put_series(raw / "other" / "ct2", pixels(seed=1), "P2", entropy="two")
    path = raw / name
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(marked((2, 3, 3)), AFFINE), path)
    dataset = DICOM.discover(raw)
    assert [(case.id, case.label) for case in dataset.cases] == [("ct", (path,)), ("other/ct2", ())]
    assert told(dataset) == []


def test_a_volume_that_belongs_nowhere_is_named(raw: Path) -> None:
    put_series(raw / "ct2", pixels(seed=1), "P2", entropy="two")
    nib.save(nib.Nifti1Image(marked(), AFFINE), raw / "someone.nii.gz")
    assert told(DICOM.discover(raw)) == [("error", "extra-mask", "someone.nii.gz")]


def test_pictures_beside_series_are_named(raw: Path) -> None:
    """As in CHAOS, where each slice of a mask is a PNG file."""
    for number in range(3):
        path = raw / "Ground" / f"liver_{number:03d}.png"
        path.parent.mkdir(exist_ok=True)
        raster.write_image(path, np.zeros((5, 6), np.uint8))
    dataset = DICOM.discover(raw)
    assert told(dataset) == [("warning", "left-out", "Ground/liver_000.png")]
    assert "3 PNG files beside DICOM series, in Ground, are not used" in dataset.findings[0].text
    assert not find_images(raw, [*raw.rglob("*.png"), *raw.rglob("*.dcm")], "ct")[0].findings


def test_volumes_beside_segmentations_are_noted(raw: Path) -> None:
    put_segmentation(raw / "ct" / "mask.dcm", marked((2, 3, 3)), range(8))
    nib.save(nib.Nifti1Image(marked(), AFFINE), raw / "ct.nii.gz")
    dataset = DICOM.discover(raw)
    assert told(dataset) == [("note", "left-out", "ct.nii.gz")]
    assert [path.name for path in dataset.cases[0].label] == ["mask.dcm"]


@pytest.mark.parametrize(
    "values", [{"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, {"Modality": "SR"}], ids=["localizer", "report"]
)
def test_what_is_no_slice_is_left_out_and_noted(values: dict[str, Any], raw: Path) -> None:
    scout = put_series(raw / "scout", pixels(slices=1), entropy="scout")
    change(scout / "0.dcm", **values)
    dataset = DICOM.discover(raw)
    assert [case.id for case in dataset.cases] == ["ct"]
    assert told(dataset) == [("note", "left-out", "scout/0.dcm")]


def test_two_series_in_one_folder_are_two_cases_of_one_patient(raw: Path) -> None:
    other = put_series(raw / "more", pixels(seed=1), entropy="two")
    for path in list(other.iterdir()):
        change(path, SeriesNumber=5)
        path.rename(raw / "ct" / f"again{path.name}")
    dataset = DICOM.discover(raw)
    assert [(case.id, case.group, len(case.image)) for case in dataset.cases] == [
        ("ct/2", "P1", 8),
        ("ct/5", "P1", 8),
    ]
    for seed, case in enumerate(dataset.cases):
        np.testing.assert_array_equal(DICOM.read_image(case, False).pixels[:, 0], pixels(seed=seed).T)


def test_series_of_one_folder_and_number_have_names_of_their_own(raw: Path) -> None:
    other = put_series(raw / "more", pixels(seed=1), entropy="two")
    for path in list(other.iterdir()):
        path.rename(raw / "ct" / f"again{path.name}")
    assert len(set(ids(raw))) == 2


@pytest.mark.parametrize("element", ["StudyInstanceUID", "FrameOfReferenceUID"])
@pytest.mark.parametrize("folders", [("a", "b"), ("a", "a")])
def test_one_series_uid_does_not_join_studies(folders: tuple[str, str], element: str, tmp_path: Path) -> None:
    """The heights of the second follow those of the first, and its InstanceNumbers go on."""
    for i, folder in enumerate(folders):
        made = series(pixels(seed=i), AFFINE, "P1", "one")
        (tmp_path / folder).mkdir(exist_ok=True)
        for n, dataset in enumerate(made):
            x, y, z = dataset.ImagePositionPatient
            dataset.ImagePositionPatient = [x, y, z + 20 * i]
            dataset.InstanceNumber, dataset.SOPInstanceUID = n + 1 + 8 * i, f"1.2.{i}.{n}"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            setattr(dataset, element, f"1.2.3.{i}")
            dataset.save_as(tmp_path / folder / f"{i}-{n}.dcm")
    dataset = DICOM.discover(tmp_path)
    found = dataset.cases
    assert len({case.id for case in found}) == 2
    assert ("warning", "volumes", f"{folders[0]}/0-0.dcm") in told(dataset)
    read = [DICOM.read_image(case, False).pixels[:, 0] for case in found]
    for i in range(2):
        np.testing.assert_array_equal(read[i], pixels(seed=i).T)


def grouped(root: Path) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The groups of the cases, and what is said of patients."""
    dataset = DICOM.discover(root)
    said = [(finding.level, finding.text) for finding in dataset.findings if finding.kind == "groups"]
    return {case.id: case.group for case in dataset.cases}, said


def test_the_group_is_the_patient(tmp_path: Path) -> None:
    for name, patient in (("monday", "P1"), ("friday", "P1"), ("else", "P2")):
        put_series(tmp_path / name, pixels(), patient, entropy=name)
    assert grouped(tmp_path) == ({"monday": "P1", "friday": "P1", "else": "P2"}, [])


def test_without_patient_the_group_is_the_study(tmp_path: Path) -> None:
    """Two phases of one study, and another study."""
    for name in ("arterial", "venous", "other"):
        put_series(tmp_path / name, pixels(), " ", entropy=name)
    study = pydicom.dcmread(tmp_path / "arterial" / "0.dcm").StudyInstanceUID
    for path in (tmp_path / "venous").iterdir():
        change(path, StudyInstanceUID=study)
    groups, said = grouped(tmp_path)
    assert groups["arterial"] == groups["venous"] == study != groups["other"]
    assert said == [("note", "PatientID is empty in 3 of 3 series, groups are studies (StudyInstanceUID)")]
    for path in (tmp_path / "other").iterdir():
        change(path, StudyInstanceUID="")
    groups, said = grouped(tmp_path)
    assert groups["other"] == "other"
    assert [level for level, _ in said] == ["warning"]
    assert "PatientID is empty in 3 of 3 series, and StudyInstanceUID too in 1" in said[0][1]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("", ""), 'all 2 series, of 2 studies, have the PatientID "ANON"'),
        (("Doe^A", "Roe^B"), 'the PatientID "ANON" stands beside 2 different PatientNames'),
    ],
)
def test_one_patient_id_for_all_is_told(names: tuple[str, str], expected: str, tmp_path: Path) -> None:
    for number, name in enumerate(names):
        put_series(tmp_path / str(number), pixels(), "ANON", entropy=str(number))
        for path in (tmp_path / str(number)).iterdir():
            change(path, PatientName=name)
    groups, said = grouped(tmp_path)
    assert set(groups.values()) == {"ANON"}
    assert said == [("warning", f"{expected}: they are one group, which a split does not part")]


def test_the_folder_of_a_series_is_a_data_set(raw: Path) -> None:
    assert ids(raw / "ct") == ["ct"]


def test_a_missing_slice_is_said(raw: Path) -> None:
    (raw / "ct" / "3.dcm").unlink()
    dataset = DICOM.discover(raw)
    expected = r"ct/0.dcm: .* between 2.dcm .*3\) and 4.dcm .*5\) a slice is missing: they lie 5 mm apart"
    with pytest.raises(CaseUNetError, match=expected):
        DICOM.read_geometry(dataset.cases[0])
    with pytest.raises(CaseUNetError, match=expected):
        DICOM.read_image(dataset.cases[0], False)


@pytest.mark.parametrize("identifier", [None, "1.2.3"], ids=["same UID", "new UID"])
def test_a_slice_that_is_there_twice_is_used_once(identifier: str | None, raw: Path) -> None:
    shutil.copy(raw / "ct" / "3.dcm", raw / "ct" / "copy.dcm")
    if identifier is not None:
        change(raw / "ct" / "copy.dcm", SOPInstanceUID=identifier)
    case = DICOM.discover(raw).cases[0]
    picture = DICOM.read_image(case, False)
    np.testing.assert_array_equal(picture.pixels[:, 0], pixels().T)
    expected = ("copy.dcm (InstanceNumber 4) is the same slice as 3.dcm (InstanceNumber 4): one is used",)
    assert picture.geometry.remarks == DICOM.read_geometry(case).remarks == expected


def test_a_projection_in_a_series_is_left_out(raw: Path) -> None:
    """One step above the last slice, where it would continue the stack."""
    shutil.copy(raw / "ct" / "7.dcm", raw / "ct" / "mip.dcm")
    values = {"SOPInstanceUID": "1.2.3", "InstanceNumber": 9, "ImagePositionPatient": [0, 0, 20]}
    change(raw / "ct" / "mip.dcm", ImageType=["DERIVED", "SECONDARY", "MIP"], **values)
    dataset = DICOM.discover(raw)
    assert told(dataset) == [("note", "left-out", "ct/mip.dcm")]
    np.testing.assert_array_equal(read(raw), pixels().T)
    found = dicom.read_series(sorted((raw / "ct").iterdir()))
    np.testing.assert_array_equal(found.pixels[:, 0], pixels().T)
    expected = ("mip.dcm (InstanceNumber 9) is a projection by ImageType, no slice of the volume: left out",)
    assert found.geometry.remarks == expected


def test_scans_between_each_other_are_cases(raw: Path) -> None:
    """One series of two, without and with contrast agent, each 2.5 mm apart."""
    for n in range(8):
        change(raw / "ct" / f"{n}.dcm", AcquisitionNumber=1)
        shutil.copy(raw / "ct" / f"{n}.dcm", raw / "ct" / f"late{n}.dcm")
        values = {"InstanceNumber": 9 + n, "ImagePositionPatient": [0, 0, 2.5 * n + 1.25], "ContrastBolusAgent": "x"}
        change(raw / "ct" / f"late{n}.dcm", SOPInstanceUID=f"1.2.{n + 1}", AcquisitionNumber=2, **values)
    cases = DICOM.discover(raw).cases
    assert [case.id for case in cases] == ["ct/acquisition-1", "ct/acquisition-2"]
    for case in cases:
        picture = DICOM.read_image(case, False)
        np.testing.assert_array_equal(picture.pixels[:, 0], pixels().T)
        assert picture.geometry.spacing == pytest.approx((2.5, 1, 1))


def test_two_slices_at_one_position_are_named(raw: Path) -> None:
    """With other pixels, and nothing that tells them apart."""
    shutil.copy(raw / "ct" / "3.dcm", raw / "ct" / "copy.dcm")
    change(raw / "ct" / "copy.dcm", SOPInstanceUID="1.2.3", PixelData=bytes(60))
    expected = r"(3|copy).dcm \(.*4\) and (3|copy).dcm \(.*4\) lie at one position \(0, 0, 7.5\) with different pixels"
    with pytest.raises(CaseUNetError, match=expected):
        read(raw)


def test_a_file_without_its_pixels_end_is_named(raw: Path) -> None:
    path = raw / "ct" / "3.dcm"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CaseUNetError, match=r"ct/3.dcm: cannot be read as DICOM: 60 bytes of pixels are declared, 50"):
        read(raw)


@pytest.mark.parametrize("length", [0, 10, 300])
def test_a_file_cut_in_its_header_is_named(length: int, raw: Path) -> None:
    path = raw / "ct" / "3.dcm"
    path.write_bytes(path.read_bytes()[:length])
    dataset = DICOM.discover(raw)
    assert told(dataset) == [("error", "unreadable", "ct/3.dcm")]
    assert dataset.findings[0].text.startswith("cannot be read as DICOM")


def test_a_segmentation_cut_short_is_named(raw: Path) -> None:
    path = put_segmentation(raw / "ct" / "mask.dcm", marked((2, 3, 3), (1, 1, 4)), range(8))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CaseUNetError, match=r"ct/mask.dcm: its segments cannot be laid on its image"):
        labels_of(raw)


def test_nothing_but_damaged_files(raw: Path) -> None:
    for path in (raw / "ct").iterdir():
        path.write_bytes(b"damaged")
    with pytest.raises(CaseUNetError, match=r"none of its (8 )?DICOM files can be read; the first"):
        DICOM.discover(raw)


def test_series_of_two_modalities_are_warned_of(raw: Path) -> None:
    other = put_series(raw / "mr", pixels(), entropy="mr")
    for path in other.iterdir():
        change(path, Modality="MR")
    assert ("warning", "modalities", None) in told(DICOM.discover(raw))


def test_a_real_segmentation_equals_the_same_mask_as_nrrd(real_data: Callable[[str], Path]) -> None:
    """dcmqi's three CT slices: its DICOM-SEG was made from the NRRD, which SimpleITK reads here by itself."""
    root = real_data("dcmqi_ct3slice")
    assert find_layout(root) is DICOM
    dataset = DICOM.discover(root)
    assert told(dataset) == [("note", "left-out", "labels/heart_seg.nrrd")]
    assert len(dataset.cases) == 1
    case = dataset.cases[0]
    assert DICOM.read_image(case, False).pixels.shape == (3, 1, 512, 512)
    labels = read_labels(DICOM, case, dataset)
    assert int(labels.sum()) == 107_098
    nrrd = SimpleITK.ReadImage(str(root / "labels" / "liver_seg.nrrd"))
    assert nrrd.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1), "its axes run Left, Posterior, Superior"
    np.testing.assert_array_equal(labels, SimpleITK.GetArrayFromImage(nrrd))


def test_a_structure_that_a_patient_lacks_is_told(tmp_path: Path) -> None:
    """Each structure is an object of its own, and one patient lacks one."""
    for n in range(3):
        folder = put_series(tmp_path / "raw" / f"P{n}" / "ct", pixels(seed=n), f"P{n}", str(n))
        files = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
        for name in ("liver", "tumour")[: 1 if n == 1 else 2]:
            mask = np.zeros((6, 5, 8), np.uint8)
            mask[1:4, 1:3, 2:5] = 1
            segmentation(files, mask, [name]).save_as(tmp_path / "raw" / f"P{n}" / f"{name}.dcm")
    [finding] = [finding for finding in DICOM.discover(tmp_path / "raw").findings if finding.kind == "class-missing"]
    assert finding.text == "1 case without a segment of tumour, which counts as empty: P1/ct"


def test_a_slice_of_no_thickness_has_no_volume(tmp_path: Path) -> None:
    write_dicom(tmp_path, shape=SHAPE)
    slices = [path for path in sorted((tmp_path / "patient_0").iterdir()) if dicom.read_header(path).kind == "volume"]
    assert dicom.read_series_geometry(slices[:1]).has_thickness
    header = pydicom.dcmread(slices[0])
    for element in ("SliceThickness", "SpacingBetweenSlices"):
        header.pop(element, None)
    header.save_as(slices[0])
    assert not dicom.read_series_geometry(slices[:1]).has_thickness
    assert dicom.read_series_geometry(slices).has_thickness


def test_compressed_slices_are_told(tmp_path: Path) -> None:
    """Else a volume would silently end before them."""
    write_dicom(tmp_path, shape=SHAPE)
    (tmp_path / "patient_0" / "0099.dcm.gz").write_bytes(b"")
    told = [(finding.level, finding.file) for finding in DICOM.discover(tmp_path).findings if "gzip" in finding.text]
    assert told == [("warning", "patient_0/0099.dcm.gz")]
