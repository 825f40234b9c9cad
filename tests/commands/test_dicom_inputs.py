"""What of a folder of DICOM is segmented, under which names, and what is said of the rest."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from caseunet.datasets import find_layout
from caseunet.datasets.dicom import DICOM
from caseunet.datasets.generate.series import series
from caseunet.datasets.layout import SourceDataset
from caseunet.datasets.reading import read_labels
from caseunet.errors import CaseUNetError
from caseunet.prediction.inputs import Input, find_inputs
from caseunet.prediction.predictor import read_model_input
from caseunet.progress import Display
from caseunet.types import Modality, Preprocessing

AFFINE = np.diag([-1.0, -1.0, 2.5, 1.0])
CT = Preprocessing(modality="ct", channels=1, mean=(0.0,), std=(1.0,))


class Said(Display):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str, style: str = "") -> None:
        self.lines.append(text.strip())


def hounsfield(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 1000, (6, 5, 8)).astype(np.int16)


def put(folder: Path, seed: int = 0, change: Callable[[int, Dataset], None] | None = None, **options: Any) -> Path:
    """A CT series of eight slices, 0.dcm to 7.dcm; ``change`` gets the number and the data set of each."""
    folder.mkdir(parents=True, exist_ok=True)
    made = series(hounsfield(seed), AFFINE, patient=options.pop("patient", "P1"), entropy=f"{folder.name} {seed}")
    for n, dataset in enumerate(made):
        for keyword, value in options.items():
            setattr(dataset, keyword, value)
        if change is not None:
            change(n, dataset)
        dataset.preamble = bytes(128)
        dataset.save_as(folder / f"{n}.dcm", implicit_vr=False, little_endian=True)
    return folder


def find(*paths: Path, modality: Modality = "ct") -> tuple[list[Input], list[str]]:
    said = Said()
    return find_inputs(list(paths), None, said, modality=modality), said.lines


def removed(*keywords: str) -> Callable[[int, Dataset], None]:
    def change(n: int, dataset: Dataset) -> None:
        for keyword in keywords:
            del dataset[keyword]

    return change


def emptied(*keywords: str) -> Callable[[int, Dataset], None]:
    def change(n: int, dataset: Dataset) -> None:
        for keyword in keywords:
            setattr(dataset, keyword, "")

    return change


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        (removed("FrameOfReferenceUID"), ""),
        (removed("SeriesInstanceUID"), ""),
        (emptied("SeriesInstanceUID", "StudyInstanceUID", "PatientID"), ""),
        (removed("PatientID", "StudyInstanceUID", "SOPInstanceUID", "InstanceNumber", "ImageType"), ""),
        (removed("SOPClassUID"), ""),
        (removed("Modality"), "it has no Modality; by its SOPClassUID (CT Image Storage) it is CT"),
        (emptied("Modality"), "it has no Modality; by its SOPClassUID (CT Image Storage) it is CT"),
        (
            removed("Modality", "SOPClassUID"),
            "it has no Modality and SOPClassUID; by its KVP or RescaleType it is CT",
        ),
        (
            removed("Modality", "SOPClassUID", "RescaleType"),
            "it has no Modality and no SOPClassUID that tells one; it is taken for what is expected",
        ),
    ],
)
def test_a_series_without_an_element_is_read(
    change: Callable[[int, Dataset], None], remark: str, tmp_path: Path
) -> None:
    (item,), _ = find(put(tmp_path / "ct", change=change))
    picture = item.read(CT, read_model_input)
    np.testing.assert_array_equal(picture.pixels[:, 0], hounsfield().T)
    assert picture.geometry.remarks == ((remark,) if remark else ())


@pytest.mark.parametrize("suffix", [".dcm", ""])
def test_files_without_preamble_are_read(suffix: str, tmp_path: Path) -> None:
    """Neither the preamble nor the meta information, as some tools write them."""
    folder = put(tmp_path / "ct")
    for path in list(folder.iterdir()):
        dataset = pydicom.dcmread(path)
        del dataset.file_meta
        dataset.preamble = None
        path.unlink()
        target = path.with_suffix(suffix)
        dataset.save_as(target, implicit_vr=True, little_endian=True)
        assert target.read_bytes()[128:132] != b"DICM"
    (item,), _ = find(folder)
    np.testing.assert_array_equal(item.read(CT, read_model_input).pixels[:, 0], hounsfield().T)


def test_slices_with_series_of_their_own_are_one_volume(tmp_path: Path) -> None:
    def change(n: int, dataset: Dataset) -> None:
        dataset.SeriesInstanceUID = f"1.2.{n}"

    (item,), said = find(put(tmp_path / "ct", change=change))
    np.testing.assert_array_equal(item.read(CT, read_model_input).pixels[:, 0], hounsfield().T)
    assert said == ["8 series of one slice each (SeriesInstanceUID) make one volume and are read as such"]


def test_phases_of_one_series_are_inputs_of_their(tmp_path: Path) -> None:
    folder = tmp_path / "S1"
    for phase in (1, 2):
        put(
            folder,
            phase,
            TemporalPositionIdentifier=phase,
            SeriesInstanceUID="1.2.3",
            StudyInstanceUID="1.2.3.8",
            FrameOfReferenceUID="1.2.3.9",
            InstanceNumber=9 * phase,
        )
        for path in list(folder.glob("?.dcm")):
            path.rename(folder / f"{phase}{path.name}")
    inputs, said = find(tmp_path)
    assert [item.id for item in inputs] == ["S1/phase-1", "S1/phase-2"]
    for seed, item in enumerate(inputs, start=1):
        np.testing.assert_array_equal(item.read(CT, read_model_input).pixels[:, 0], hounsfield(seed).T)
    assert said == ["a series holds 2 volumes, told apart by TemporalPositionIdentifier: S1/phase-1, S1/phase-2"]


OTHERS = {
    "RTSTRUCT": ("1.2.840.10008.5.1.4.1.1.481.3", "RT Structure Set"),
    "RTPLAN": ("1.2.840.10008.5.1.4.1.1.481.5", "RT Plan"),
    "SR": ("1.2.840.10008.5.1.4.1.1.88.67", "X-Ray Radiation Dose SR"),
    "PR": ("1.2.840.10008.5.1.4.1.1.11.1", "Grayscale Softcopy Presentation State"),
    "KO": ("1.2.840.10008.5.1.4.1.1.88.59", "Key Object Selection Document"),
    "REG": ("1.2.840.10008.5.1.4.1.1.66.1", "Spatial Registration"),
    "DOC": ("1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF"),
    "ECG": ("1.2.840.10008.5.1.4.1.1.9.1.1", "12-lead ECG Waveform"),
    "RAW": ("1.2.840.10008.5.1.4.1.1.66", "Raw Data"),
    "RTDOSE": ("1.2.840.10008.5.1.4.1.1.481.2", "RT Dose"),
}


@pytest.mark.parametrize("modality", list(OTHERS))
def test_what_is_no_image_is_left_out_and_said(modality: str, tmp_path: Path) -> None:
    put(tmp_path / "ct")
    other = pydicom.dcmread(tmp_path / "ct" / "0.dcm")
    other.SOPClassUID, name = OTHERS[modality]
    other.Modality, other.SeriesInstanceUID, other.SOPInstanceUID = modality, "1.2.3", "1.2.4"
    if modality != "RTDOSE":
        for keyword in ("Rows", "Columns", "PixelData", "ImagePositionPatient", "ImageOrientationPatient"):
            del other[keyword]
    other.save_as(tmp_path / "other.dcm")
    inputs, said = find(tmp_path)
    assert [(item.id, item.error) for item in inputs] == [("ct", "")]
    assert said == [f"left out: {name}, no image: 1 file: other.dcm"]
    inputs, said = find(tmp_path / "other.dcm")
    assert [item.error for item in inputs] == [f"{tmp_path / 'other.dcm'}: holds no DICOM image, but 1 × {name}."]


def test_a_pet_beside_a_ct_is_left_out(tmp_path: Path) -> None:
    """With a note; given by itself it is refused by its modality."""
    put(tmp_path / "ct")
    put(tmp_path / "pet", 1, Modality="PT", SOPClassUID=UID("1.2.840.10008.5.1.4.1.1.128"))
    inputs, said = find(tmp_path)
    assert [item.id for item in inputs] == ["ct"]
    assert said == ["left out: series of PT: 8 files in pet: 0.dcm, 1.dcm, 2.dcm, 3.dcm, 4.dcm and 3 more"]
    (alone,), _ = find(tmp_path / "pet")
    with pytest.raises(CaseUNetError, match=r"DICOM of modality PT, a volume; this model was trained on ct images"):
        alone.read(CT, read_model_input)
    assert {item.id for item in find(tmp_path, modality="gray")[0]} == {"ct", "pet"}


@pytest.mark.parametrize(
    ("name", "is_mask"),
    [("ct_mask.nii.gz", True), ("liver.nii.gz", True), ("labels/any.nii", True), ("ct.nii.gz", True), ("b.nii", False)],
)
def test_masks_beside_dicom_are_no_scans(name: str, is_mask: bool, tmp_path: Path) -> None:
    """By name, or by few whole values; a converted scan stays an input."""
    put(tmp_path / "P1" / "ct")
    path = tmp_path / "P1" / name
    path.parent.mkdir(exist_ok=True)
    values = (hounsfield() > 500).astype(np.uint8) if is_mask else hounsfield()
    nib.save(nib.Nifti1Image(values, AFFINE), path)
    inputs, said = find(tmp_path)
    if is_mask:
        assert [item.id for item in inputs] == ["P1/ct"]
        assert said == [f"left out: P1/{name}: a mask by name or values, no scan"]
    else:
        assert [item.id for item in inputs] == ["P1/ct", "P1/b"]
        assert said == []


def test_equally_named_series_have_their_patient_s_masks(tmp_path: Path) -> None:
    for n, name in enumerate(("CT_mask.nii.gz", "CT_mask.nii.gz", "mask.nii.gz", "seg/m.nii.gz"), start=1):
        put(tmp_path / f"P{n}" / "CT", n, patient=f"P{n}")
        path = tmp_path / f"P{n}" / name
        path.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image((hounsfield(n) > 500).astype(np.uint8), AFFINE), path)
    assert find_layout(tmp_path) is DICOM
    dataset = DICOM.discover(tmp_path)
    assert [(f.kind, f.file) for f in dataset.findings] == []
    coding = {"coding": _coding()}
    dataset = SourceDataset(**{**vars(dataset), **coding})
    for n, case in enumerate(dataset.cases, start=1):
        assert case.id == f"P{n}/CT"
        np.testing.assert_array_equal(read_labels(DICOM, case, dataset), (hounsfield(n) > 500).T)


def _coding() -> Any:
    from caseunet.datasets.coding import coding_of

    return coding_of({0: "background", 1: "liver"})


def test_several_masks_beside_one_series_are_asked_about(tmp_path: Path) -> None:
    put(tmp_path / "P1" / "CT")
    for name in ("liver", "tumour"):
        nib.save(nib.Nifti1Image((hounsfield() > 500).astype(np.uint8), AFFINE), tmp_path / "P1" / f"{name}.nii.gz")
    dataset = DICOM.discover(tmp_path)
    assert [path.name for path in dataset.cases[0].label] == ["liver.nii.gz", "tumour.nii.gz"]
    assert {f.text for f in dataset.findings} == {"is one of 2 masks beside P1/CT; one was expected"}


def test_contours_are_the_labels_of_their_series(tmp_path: Path) -> None:
    """Found by the series that they reference; names become classes."""
    put(tmp_path / "P1" / "ct")
    first = pydicom.dcmread(tmp_path / "P1" / "ct" / "0.dcm")
    d = Dataset()
    d.file_meta = first.file_meta
    d.SOPClassUID, d.SOPInstanceUID, d.Modality = UID("1.2.840.10008.5.1.4.1.1.481.3"), "1.2.5", "RTSTRUCT"
    d.SeriesInstanceUID, d.PatientID = "1.2.6", "P1"
    frame, study, of_series, roi, item, contour = (Dataset() for _ in range(6))
    of_series.SeriesInstanceUID = first.SeriesInstanceUID
    study.RTReferencedSeriesSequence, frame.RTReferencedStudySequence = [of_series], [study]
    d.ReferencedFrameOfReferenceSequence = [frame]
    roi.ROINumber, roi.ROIName, item.ReferencedROINumber = 4, "Liver", 4
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
    contour.ContourData = [0.5, 0.5, 5, 3.5, 0.5, 5, 3.5, 2.5, 5, 0.5, 2.5, 5]  # columns 1 to 3, rows 1 and 2, slice 2
    item.ContourSequence, d.StructureSetROISequence, d.ROIContourSequence = [contour], [roi], [item]
    d.save_as(tmp_path / "P1" / "rs.dcm", enforce_file_format=True)
    dataset = DICOM.discover(tmp_path)
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == ("background", "Liver")
    expected = np.zeros((8, 5, 6), np.uint8)
    expected[2, 1:3, 1:4] = 1
    np.testing.assert_array_equal(read_labels(DICOM, dataset.cases[0], dataset), expected)
    inputs, said = find(tmp_path)
    assert [item.id for item in inputs] == ["P1/ct"]
    assert said == []


def put_stills(folder: Path, frames: int = 1) -> None:
    """Two radiographs in folders of their own, two photographs in one."""
    for n in range(2):
        put_still(folder / f"x{n}" / "IM1.dcm", "DX", "1.2.840.10008.5.1.4.1.1.1.1", frames)
        put_still(folder / "photos" / f"p{n}.dcm", "XC", "1.2.840.10008.5.1.4.1.1.77.1.4", frames)


def put_still(path: Path, modality: str, sop_class: str, frames: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    d = series(hounsfield(), AFFINE, patient=path.parent.name, entropy=str(path))[0]
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept"):
        del d[keyword]
    d.Modality, d.SOPClassUID, d.NumberOfFrames = modality, sop_class, frames
    d.PixelData = np.arange(30 * frames, dtype="<u2").tobytes()
    d.save_as(path, enforce_file_format=True)


def test_still_images_are_named_by_folder_or_file(tmp_path: Path) -> None:
    put_stills(tmp_path)
    inputs, said = find(tmp_path, modality="gray")
    assert [(item.id, item.suffix) for item in inputs] == [
        (name, ".png") for name in ("photos/p0", "photos/p1", "x0", "x1")
    ]
    assert said == []


def test_frames_of_a_still_image_are_inputs(tmp_path: Path) -> None:
    put_still(tmp_path / "us" / "a.dcm", "US", "1.2.840.10008.5.1.4.1.1.3.1", 3)
    inputs, _ = find(tmp_path / "us" / "a.dcm", modality="gray")
    assert [item.id for item in inputs] == ["a/frame_0001", "a/frame_0002", "a/frame_0003"]
    gray = CT.model_copy(update={"modality": "gray"})
    for n, item in enumerate(inputs):
        np.testing.assert_array_equal(
            item.read(gray, read_model_input).pixels[0, 0], np.arange(30).reshape(5, 6) + 30 * n
        )


@pytest.mark.parametrize("gray", [True, False])
def test_gray_ultrasound_in_colours_is_gray(gray: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    put_still(path, "US", "1.2.840.10008.5.1.4.1.1.6.1", 1)
    d = pydicom.dcmread(path)
    values = np.repeat(np.arange(30, dtype=np.uint8).reshape(5, 6, 1), 3, axis=2)
    values[..., 1] += not gray
    d.SamplesPerPixel, d.PhotometricInterpretation, d.PlanarConfiguration = 3, "RGB", 0
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelData = 8, 8, 7, values.tobytes()
    d.save_as(path)
    item = find(path, modality="gray")[0][0]
    model = CT.model_copy(update={"modality": "gray"})
    if gray:
        np.testing.assert_array_equal(item.read(model, read_model_input).pixels[0, 0], np.arange(30).reshape(5, 6))
    else:
        with pytest.raises(CaseUNetError, match="a colour image; this model was trained on gray images"):
            item.read(model, read_model_input)


def test_still_images_pair_with_masks_of_their_names(tmp_path: Path) -> None:
    from PIL import Image

    put_stills(tmp_path)
    (tmp_path / "masks").mkdir()
    for name in ("x0", "x1", "p0", "p1"):
        Image.fromarray(np.full((5, 6), int(name[1]), np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    assert find_layout(tmp_path) is DICOM
    dataset = DICOM.discover(tmp_path)
    assert (dataset.modality, dataset.findings[0].kind) == ("gray", "modalities")
    assert {case.id: case.label[0].stem for case in dataset.cases} == {
        "photos/p0": "p0",
        "photos/p1": "p1",
        "x0": "x0",
        "x1": "x1",
    }


def test_mosaics_are_refused_by_name(tmp_path: Path) -> None:
    put(tmp_path / "mr", Modality="MR", ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])
    (item,), _ = find(tmp_path, modality="mr")
    with pytest.raises(CaseUNetError, match=r"0.dcm is a Siemens mosaic \(ImageType\).*dcm2niix"):
        item.read(CT.model_copy(update={"modality": "mr"}), read_model_input)


def test_damaged_file_beside_a_series_is_an_error(tmp_path: Path) -> None:
    put(tmp_path / "ct")
    shutil.copy(tmp_path / "ct" / "0.dcm", tmp_path / "ct" / "cut.dcm")
    (tmp_path / "ct" / "cut.dcm").write_bytes((tmp_path / "ct" / "0.dcm").read_bytes()[:500])
    inputs, _ = find(tmp_path)
    assert [(item.id, bool(item.error)) for item in inputs] == [("ct", False), ("ct/cut", True)]
