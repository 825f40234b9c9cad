"""Segmentation objects: what a reader that is not ours finds in them, and what is refused."""

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom.sr.codedict import codes

from caseunet.datasets.generate.series import series
from caseunet.errors import CaseUNetError
from caseunet.io import dicom, dicom_seg, itk
from caseunet.io.dicom_seg import Algorithm, code_class, write_segmentation
from caseunet.types import Geometry, Label, LabelMap, Mask

COLUMNS, ROWS, SLICES = 6, 5, 4

LABELS = LabelMap(
    labels=(
        Label(id=0, name="background", color=(0, 0, 0)),
        Label(id=1, name="liver", color=(200, 30, 10)),
        Label(id=2, name="liver tumour", color=(0, 255, 0)),
        Label(id=3, name="Milz 脾", color=(10, 20, 200)),
    ),
    structures={"liver": (1, 2)},
)
ALGORITHM = Algorithm(name="CASe-UNet", version="0.1.0", hash="0123456789abcdef" * 2)
IDS = {"liver": 1, "liver tumour": 2, "Milz 脾": 3}

STEPS = {"L": (-1, 0, 0), "R": (1, 0, 0), "P": (0, -1, 0), "A": (0, 1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
"""Where a step to each side leads, RAS."""


def affine_of(axes: str, degrees: float = 0.0) -> np.ndarray:
    """Of an array (columns, rows, slices) whose axes run there, turned by so much about an oblique axis."""
    matrix = np.array([STEPS[side] for side in axes], float).T * (0.7, 0.8, 2.5)
    axis, angle = np.array([1, 2, 3]) / np.sqrt(14), np.radians(degrees)
    cross = np.cross(np.eye(3), -axis)
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross  # Rodrigues
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ matrix, (20, 10, -400)
    return affine


def slices_of(axes: str = "LPS", degrees: float = 0.0, marked: tuple[int, int, int] | None = None) -> list[Any]:
    """A series of air, as data sets; the voxel at ``marked`` (column, row, slice) has 1000 HU."""
    hounsfield = np.full((COLUMNS, ROWS, SLICES), -1000, np.int16)
    if marked is not None:
        hounsfield[marked] = 1000
    return series(hounsfield, affine_of(axes, degrees), patient="P1", entropy="test")


def save(folder: Path, datasets: Sequence[Any]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.dcm" for number in range(len(datasets))]
    for path, dataset in zip(paths, datasets, strict=True):
        dataset.save_as(path, enforce_file_format=True)
    return paths


def written(folder: Path, datasets: Sequence[Any], labels: np.ndarray, label_map: LabelMap = LABELS) -> Any:
    """The segmentation of a series, as pydicom reads it."""
    sources = save(folder / "series", datasets)
    write_segmentation(folder / "seg.dcm", labels, dicom.read_series_geometry(sources), sources, label_map, ALGORITHM)
    return pydicom.dcmread(folder / "seg.dcm")


def some_labels() -> np.ndarray:
    """Liver in the lowest two slices, tumour in the second, no spleen. Canonical order."""
    labels = np.zeros((SLICES, ROWS, COLUMNS), np.uint8)
    labels[:2, 1:4, 1:5] = 1
    labels[1, 2, 2] = 2
    return labels


def as_one_file(slices: Sequence[Any], order: Sequence[int]) -> Any:
    """All frames in one object, in this order."""
    for dataset in slices:
        dataset.Manufacturer, dataset.PositionReferenceIndicator = "made-up", ""
        dataset.AcquisitionDate, dataset.AcquisitionTime = "20000101", "120000"
    return highdicom.legacy.LegacyConvertedEnhancedCTImage(
        [slices[k] for k in order],
        series_instance_uid=highdicom.UID(),
        series_number=3,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
    )


def anonymised() -> list[Any]:
    """Slices that tell nothing of patient and study but their identifiers, nor how thick they are."""
    slices = slices_of()
    for dataset in slices:
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
            del dataset[keyword]
        del dataset.StudyDate, dataset.StudyTime, dataset.ReferringPhysicianName, dataset.SliceThickness
        del dataset.SeriesNumber
    return slices


def spelt_badly() -> list[Any]:
    slices = slices_of()
    for dataset in slices:
        dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        dataset.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
        dataset.StudyDate, dataset.StudyTime = "2000.01.02", "12:30:00"
        dataset.PatientBirthDate, dataset.PatientSex = "unknown", "female"
    return slices


@pytest.mark.parametrize(
    ("axes", "degrees"),
    [("LPS", 0), ("LPI", 0), ("RAS", 0), ("PIR", 0), ("PIL", 0), ("LIP", 0), ("LIA", 0), ("LPS", 25), ("AIL", 25)],
    ids=lambda value: str(value),
)
def test_a_voxel_lies_where_it_was_seen(axes: str, degrees: float, tmp_path: Path) -> None:
    """Axial, sagittal and coronal slices, in either order, and oblique ones; files in any order."""
    slices = slices_of(axes, degrees, marked=(4, 1, 2))
    sources = save(tmp_path, [slices[k] for k in (2, 0, 3, 1)])
    picture = dicom.read_series(sources)
    labels = (picture.pixels[:, 0] > 0).astype(np.uint8)
    write_segmentation(tmp_path / "seg.dcm", labels, picture.geometry, sources, LABELS, ALGORITHM)
    segmentation = pydicom.dcmread(tmp_path / "seg.dcm")
    assert segmentation.NumberOfFrames == 1
    np.testing.assert_array_equal(np.argwhere(segmentation.pixel_array), [[1, 4]])  # row, column
    frame, shared = segmentation.PerFrameFunctionalGroupsSequence[0], segmentation.SharedFunctionalGroupsSequence[0]
    np.testing.assert_allclose(frame.PlanePositionSequence[0].ImagePositionPatient, slices[2].ImagePositionPatient)
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    np.testing.assert_allclose(orientation, slices[2].ImageOrientationPatient, atol=1e-6)
    measures = shared.PixelMeasuresSequence[0]
    assert list(measures.PixelSpacing) == pytest.approx([0.8, 0.7])
    assert float(measures.SpacingBetweenSlices) == pytest.approx(2.5, abs=0.01)  # the even stack nearest to them
    source = frame.DerivationImageSequence[0].SourceImageSequence[0]
    assert source.ReferencedSOPInstanceUID == slices[2].SOPInstanceUID
    assert source.SpatialLocationsPreserved == "YES"


def test_a_voxel_of_a_multi_frame_image(tmp_path: Path) -> None:
    """Frames in any order; slice 2 is the second frame."""
    image = as_one_file(slices_of(marked=(4, 1, 2)), order=(3, 2, 0, 1))
    sources = save(tmp_path, [image])
    picture = dicom.read_series(sources)
    labels = (picture.pixels[:, 0] > 0).astype(np.uint8)
    write_segmentation(tmp_path / "seg.dcm", labels, picture.geometry, sources, LABELS, ALGORITHM)
    segmentation = pydicom.dcmread(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(np.argwhere(segmentation.pixel_array), [[1, 4]])
    frame = segmentation.PerFrameFunctionalGroupsSequence[0]
    assert list(frame.PlanePositionSequence[0].ImagePositionPatient) == pytest.approx([-20, -10, -395])
    source = frame.DerivationImageSequence[0].SourceImageSequence[0]
    assert (source.ReferencedSOPInstanceUID, source.ReferencedFrameNumber) == (image.SOPInstanceUID, 2)


def test_one_of_two_volumes_in_a_file_is_refused(tmp_path: Path) -> None:
    """The frames of the other volume would be named as its source."""
    sources = save(tmp_path, [as_one_file(slices_of(), order=(0, 1, 2, 3))])
    geometry = dicom.read_series_geometry(sources)
    columns, rows, _ = geometry.shape
    labels = some_labels()[:2]
    with pytest.raises(CaseUNetError, match=r"0.dcm: it holds 4 frames, of which 2 are the volume of this mask"):
        write_segmentation(
            tmp_path / "seg.dcm", labels, replace(geometry, shape=(columns, rows, 2)), sources, LABELS, ALGORITHM
        )
    assert not (tmp_path / "seg.dcm").exists()


def test_orientations_and_spacings_that_each_frame_has_for_itself(tmp_path: Path) -> None:
    """Some scanners repeat with every frame what is common to all."""
    image = as_one_file(slices_of(), order=(0, 1, 2, 3))
    shared = image.SharedFunctionalGroupsSequence[0]
    for frame in image.PerFrameFunctionalGroupsSequence:
        frame.PlaneOrientationSequence = shared.PlaneOrientationSequence
        frame.PixelMeasuresSequence = shared.PixelMeasuresSequence
    del shared.PlaneOrientationSequence, shared.PixelMeasuresSequence
    assert written(tmp_path, [image], some_labels()).NumberOfFrames == 3


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Geometry]:
    """A coronal series on the disk."""
    sources = save(tmp_path_factory.mktemp("series"), slices_of("LIP"))
    return sources, dicom.read_series_geometry(sources)


@pytest.fixture
def errors() -> Callable[[Path], list[str]]:
    """What dciodvfy, which knows the standard by heart, finds wrong with a file."""
    program = shutil.which("dciodvfy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if program is None:
        pytest.skip("dciodvfy is absent (package dicom3tools)")

    def check(path: Path) -> list[str]:
        done = subprocess.run([program, path], capture_output=True, text=True, check=False)
        lines = (done.stdout + done.stderr).splitlines()
        assert "Segmentation" in lines  # so it was understood as what it is
        return [line for line in lines if line.startswith("Error")]

    return check


@settings(max_examples=15, deadline=None)
@given(labels=arrays(np.uint8, (ROWS, SLICES, COLUMNS), elements=st.integers(0, 3)))
def test_any_labels_come_back(labels: np.ndarray, saved: tuple[list[Path], Geometry]) -> None:
    sources, geometry = saved
    path = sources[0].with_name("seg.dcm")
    write_segmentation(path, labels, geometry, sources, LABELS, ALGORITHM)
    np.testing.assert_array_equal(dicom.read_dicom_segmentation([path], IDS, geometry).label_values, labels)
    if labels.any():  # a frame for each class in each slice (canonical rows run along coronal columns) that it is in
        planes = sum(bool((labels[:, k] == label).any()) for label in (1, 2, 3) for k in range(SLICES))
        assert pydicom.dcmread(path).NumberOfFrames == planes


def test_segments_tell_what_they_are(tmp_path: Path) -> None:
    segmentation = written(tmp_path, slices_of(), some_labels())
    assert (segmentation.SegmentationType, segmentation.Modality) == ("BINARY", "SEG")
    segments = segmentation.SegmentSequence
    assert [(s.SegmentNumber, s.SegmentLabel) for s in segments] == [(1, "liver"), (2, "liver tumour"), (3, "Milz 脾")]
    kinds = [s.SegmentedPropertyTypeCodeSequence[0] for s in segments]
    assert [k.CodeValue for k in kinds] == ["10200004", "108369006", "85756007"]
    assert {k.CodingSchemeDesignator for k in kinds} == {"SCT"}
    for segment, label in zip(segments, LABELS.labels[1:], strict=True):
        color = highdicom.color.CIELabColor.from_dicom_value([int(n) for n in segment.RecommendedDisplayCIELabValue])
        assert color.to_rgb(clip=True) == pytest.approx(label.color, abs=1)
    # Pure green in CIELab is (87.73, −86.18, 83.18), which DICOM scales to 16 bits.
    assert list(segments[1].RecommendedDisplayCIELabValue) == pytest.approx([57498, 10747, 54274], abs=5)


def test_regions_are_segments_that_overlap(errors: Callable[[Path], list[str]], tmp_path: Path) -> None:
    """highdicom reads the liver with its tumour, and the tumour within it."""
    regions = LabelMap(
        labels=LABELS.labels, structures={"liver": (1, 2), "liver tumour": (2,), "Milz 脾": (3,)}
    ).with_regions()
    labels = some_labels()
    for name, found in (("found", labels), ("empty", np.zeros_like(labels))):
        segmentation = written(tmp_path / name, slices_of(), found, regions)
        assert [s.SegmentLabel for s in segmentation.SegmentSequence] == ["liver", "liver tumour", "Milz 脾"]
        assert errors(tmp_path / name / "seg.dcm") == []
    read = highdicom.seg.segread(tmp_path / "found" / "seg.dcm").get_volume(combine_segments=False)
    voxels = [int(read.array[..., n].sum()) for n in range(3)]
    assert voxels == [int(np.isin(labels, (1, 2)).sum()), int((labels == 2).sum()), 0]


def test_segments_tell_what_made_them(tmp_path: Path) -> None:
    for segment in written(tmp_path, slices_of(), some_labels()).SegmentSequence:
        assert (segment.SegmentAlgorithmType, segment.SegmentAlgorithmName) == ("AUTOMATIC", "CASe-UNet")
        made_by = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert (made_by.AlgorithmName, made_by.AlgorithmVersion) == ("CASe-UNet", "0.1.0")
        assert made_by.AlgorithmParameters == "weights=0123456789abcdef0123456789abcdef"
        family = made_by.AlgorithmFamilyCodeSequence[0]
        assert (family.CodeValue, family.CodingSchemeDesignator) == ("123110", "DCM")  # artificial intelligence


def test_a_class_that_was_not_found_is_described_and_has_no_frame(tmp_path: Path) -> None:
    segmentation = written(tmp_path, slices_of(), some_labels())
    frames = segmentation.PerFrameFunctionalGroupsSequence
    assert [f.SegmentIdentificationSequence[0].ReferencedSegmentNumber for f in frames] == [1, 1, 2]
    assert [s.get("SegmentDescription") for s in segmentation.SegmentSequence] == [None, None, dicom_seg.NOT_FOUND]


def test_nothing_found_is_a_file_that_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nothing = np.zeros((SLICES, ROWS, COLUMNS), np.uint8)
    segmentation = written(tmp_path, slices_of(), nothing)
    assert {s.SegmentDescription for s in segmentation.SegmentSequence} == {dicom_seg.NOT_FOUND}
    assert segmentation.NumberOfFrames == 3  # one for each segment; none is not allowed
    assert not segmentation.pixel_array.any()
    referenced = segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert len(referenced) == SLICES
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_patient_study_and_place_are_the_source_s(tmp_path: Path) -> None:
    slices = slices_of()
    segmentation = written(tmp_path, slices, some_labels())
    for keyword in ("PatientID", "PatientName", "PatientSex", "StudyInstanceUID", "StudyDate", "FrameOfReferenceUID"):
        assert segmentation[keyword].value == slices[0][keyword].value, keyword
    assert segmentation.SeriesInstanceUID != slices[0].SeriesInstanceUID
    assert segmentation.SeriesNumber == 1002  # the source's is 2
    referenced = segmentation.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == slices[0].SeriesInstanceUID
    instances = {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence}
    assert instances == {dataset.SOPInstanceUID for dataset in slices}
    assert dicom.read_header(tmp_path / "seg.dcm").references == (slices[0].SeriesInstanceUID,)


def test_what_the_source_does_not_tell_is_empty(tmp_path: Path) -> None:
    segmentation = written(tmp_path, anonymised(), some_labels())
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "ContentCreatorName"):
        assert keyword in segmentation
        assert not segmentation[keyword].value, keyword


@pytest.mark.filterwarnings("ignore:Invalid value")  # from making them
def test_names_in_other_scripts_and_dates_in_other_forms(tmp_path: Path) -> None:
    segmentation = written(tmp_path, spelt_badly(), some_labels())
    assert segmentation.SpecificCharacterSet == "ISO_IR 192"
    assert segmentation.PatientName == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert "山田".encode() in (tmp_path / "seg.dcm").read_bytes()
    assert (segmentation.StudyDate, segmentation.StudyTime) == ("20000102", "123000")
    assert (segmentation.PatientBirthDate, segmentation.PatientSex) == ("", "")


def test_slices_that_are_rounded_or_tell_a_wrong_distance(tmp_path: Path) -> None:
    """Positions are believed before the distance that is told; a slice 0.02 mm off still is the source of its frame."""
    slices = slices_of()
    for k, dataset in enumerate(slices):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, float(z) + (0.02 if k == 1 else 0)]
        dataset.ImageOrientationPatient = [1, 1e-6 * k, 0, 0, 1, 0]
        dataset.SpacingBetweenSlices = 1.0
    segmentation = written(tmp_path, slices, some_labels())
    measures = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == pytest.approx(2.5, abs=0.01)  # the even stack nearest to them
    frames = segmentation.PerFrameFunctionalGroupsSequence
    used = {
        (
            f.SegmentIdentificationSequence[0].ReferencedSegmentNumber,
            f.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID,
        )
        for f in frames
    }
    assert used == {(segment, slices[k].SOPInstanceUID) for segment, k in ((1, 0), (1, 1), (2, 1))}


def test_directions_that_are_rounded_to_three_digits(tmp_path: Path) -> None:
    """They are 0.012 % too short, and so seem the pixels: each slice still is known as the source of its frame."""
    slices = slices_of()
    for k, dataset in enumerate(slices):
        dataset.ImageOrientationPatient = [0.906, 0.423, 0, -0.423, 0.906, 0]
        dataset.ImagePositionPatient = [0, 0, 2.5 * k]
    segmentation = written(tmp_path, slices, some_labels())
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        assert frame.DerivationImageSequence[0].SourceImageSequence[0].SpatialLocationsPreserved == "YES"


def test_names_without_parts_are_no_reason_to_warn(tmp_path: Path) -> None:
    slices = slices_of()
    for dataset in slices:
        dataset.PatientName = "Made"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert written(tmp_path, slices, some_labels()).PatientName == "Made"


def test_a_single_slice(tmp_path: Path) -> None:
    segmentation = written(tmp_path, slices_of()[:1], some_labels()[:1])
    assert segmentation.pixel_array.sum() == 12


ANATOMY, TISSUE, FINDING, OBJECT = "91723000", "85756007", "49755003", "260787004"


@pytest.mark.parametrize(
    ("name", "category", "kind"),
    [
        ("liver", ANATOMY, "10200004"),
        ("Liver", ANATOMY, "10200004"),
        ("left_kidney", ANATOMY, "64033007"),
        ("KIDNEYS", ANATOMY, "64033007"),
        ("kidney-parenchyma", ANATOMY, "64033007"),
        ("spleen", ANATOMY, "78961009"),
        ("pancreas", ANATOMY, "15776009"),
        ("lung right", ANATOMY, "39607008"),
        ("Lungs", ANATOMY, "39607008"),
        ("heart", ANATOMY, "80891009"),
        ("prostate", ANATOMY, "41216001"),
        ("urinary bladder", ANATOMY, "89837001"),
        ("gall bladder", ANATOMY, "28231008"),
        ("Hippocampus", ANATOMY, "5366008"),
        ("small-intestine", ANATOMY, "30315005"),
        ("oesophagus", ANATOMY, "32849002"),
        ("vertebrae L1", ANATOMY, "51282000"),
        ("bones", TISSUE, "3138006"),
        ("liver vessels", TISSUE, "59820001"),
        ("arteries", TISSUE, "51114001"),
        ("aorta", ANATOMY, "15825003"),
        ("portal_vein", ANATOMY, "32764006"),
        ("tumour", FINDING, "108369006"),
        ("Tumors", FINDING, "108369006"),
        ("liver tumour", FINDING, "108369006"),
        ("neoplasm", FINDING, "108369006"),
        ("colon cancer", FINDING, "108369006"),
        ("metastases", FINDING, "14799000"),
        ("cyst", FINDING, "367643001"),
        ("suction-instrument", OBJECT, "57134006"),
        ("large needle driver", OBJECT, "57134006"),
        ("bipolar forceps", OBJECT, "57134006"),
        ("suturing-needle", OBJECT, "79068005"),
        ("thread", OBJECT, "27065002"),
        ("delivery", ANATOMY, "85756007"),  # only whole words count
        ("Milz", ANATOMY, "85756007"),
        ("class 7", ANATOMY, "85756007"),
        ("7", ANATOMY, "85756007"),
    ],
)
def test_names_become_codes(name: str, category: str, kind: str) -> None:
    found = code_class(name)
    assert [(code.value, code.scheme_designator) for code in found] == [(category, "SCT"), (kind, "SCT")]


def test_no_row_of_the_table_hides_another() -> None:
    for terms, (category, kind) in dicom_seg._CODES:
        for term in terms:
            assert code_class(term) == (getattr(codes.SCT, category), getattr(codes.SCT, kind)), term


@pytest.mark.filterwarnings("ignore:Invalid value")
@pytest.mark.parametrize(
    ("make", "found"),
    [
        (slices_of, True),
        (slices_of, False),
        (lambda: slices_of("AIL", 25), True),
        (lambda: slices_of()[:1], True),
        (lambda: [as_one_file(slices_of(), (3, 2, 0, 1))], True),
        (anonymised, True),
        (spelt_badly, True),
    ],
    ids=["axial", "nothing found", "oblique", "one slice", "multi-frame", "anonymised", "spelt badly"],
)
def test_the_standard_is_kept(
    make: Callable[[], list[Any]], found: bool, errors: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    sources = save(tmp_path / "series", make())
    picture = dicom.read_series(sources)
    labels = np.zeros(picture.pixels[:, 0].shape, np.uint8)
    labels[0, 1:3, 1:3] = int(found)
    write_segmentation(tmp_path / "seg.dcm", labels, picture.geometry, sources, LABELS, ALGORITHM)
    assert errors(tmp_path / "seg.dcm") == []


def test_what_people_drew_names_no_algorithm(errors: Callable[[Path], list[str]], tmp_path: Path) -> None:
    sources = save(tmp_path / "series", slices_of())
    picture = dicom.read_series(sources)
    labels = np.ones(picture.pixels[:, 0].shape, np.uint8)
    by_hand = Algorithm("caseunet convert", "0.1.0", "none", by_hand=True)
    write_segmentation(tmp_path / "seg.dcm", labels, picture.geometry, sources, LABELS, by_hand)
    segment = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence[0]
    assert segment.SegmentAlgorithmType == "MANUAL"
    assert "SegmentationAlgorithmIdentificationSequence" not in segment
    assert errors(tmp_path / "seg.dcm") == []


def test_dciodvfy_would_find_an_error(errors: Callable[[Path], list[str]], tmp_path: Path) -> None:
    segmentation = written(tmp_path, slices_of(), some_labels())
    del segmentation.SegmentSequence[0].SegmentLabel
    segmentation.save_as(tmp_path / "bad.dcm")
    assert any("SegmentLabel" in line for line in errors(tmp_path / "bad.dcm"))


def test_the_liver_of_a_real_patient(
    real_data: Callable[[str], Path], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The same voxels as in the segmentation that dcmqi made of the same mask."""
    folder = real_data("dcmqi_ct3slice")
    sources = sorted((folder / "images_dcm").glob("*.dcm"))
    geometry = dicom.read_series_geometry(sources)
    labels = itk.read_itk_mask(folder / "labels" / "liver_seg.nrrd").label_values.astype(np.uint8)
    write_segmentation(tmp_path / "seg.dcm", labels, geometry, sources, LABELS, ALGORITHM)
    reference = folder / "labels" / "liver.dcm"
    ids = dict.fromkeys(dicom.read_header(reference).segments.values(), 1)
    expected = dicom.read_dicom_segmentation([reference], ids, geometry).label_values
    assert expected.any()
    np.testing.assert_array_equal(
        dicom.read_dicom_segmentation([tmp_path / "seg.dcm"], IDS, geometry).label_values, expected
    )
    check: Callable[[Path], list[str]] = request.getfixturevalue("errors")  # last, for it may skip the test
    assert check(tmp_path / "seg.dcm") == []


def test_a_voxel_that_would_read_back_otherwise_leaves_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sources = save(tmp_path / "series", slices_of())
    geometry = dicom.read_series_geometry(sources)
    target = tmp_path / "out" / "seg.dcm"

    def misread(paths: Sequence[Path], ids: dict[str, int], image: Geometry) -> Mask:
        mask = dicom.read_dicom_segmentation(paths, ids, image)
        mask.label_values[3, 4, 5] = 2
        return mask

    monkeypatch.setattr(dicom_seg, "read_dicom_segmentation", misread)
    with pytest.raises(CaseUNetError, match=r"seg.dcm: cannot be written .*: 1 of 120 voxels"):
        write_segmentation(target, some_labels(), geometry, sources, LABELS, ALGORITHM)
    assert list(target.parent.iterdir()) == []


def test_what_cannot_be_read_back_is_named_as_it_would_be_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unreadable(paths: Sequence[Path], ids: dict[str, int], image: Geometry) -> Mask:
        raise CaseUNetError(f"{paths[0]}: its segments cannot be laid on its image.")

    monkeypatch.setattr(dicom_seg, "read_dicom_segmentation", unreadable)
    with pytest.raises(CaseUNetError, match=r"seg.dcm: cannot be written .*: its segments cannot be laid") as caught:
        written(tmp_path, slices_of(), some_labels())
    assert "partial" not in str(caught.value)


def test_earlier_file_stays_when_new_one_fails(tmp_path: Path) -> None:
    sources = save(tmp_path / "series", slices_of())
    target = tmp_path / "seg.dcm"
    target.write_bytes(b"earlier")
    with pytest.raises(CaseUNetError):
        write_segmentation(target, some_labels(), dicom.read_series_geometry(sources), sources[:3], LABELS, ALGORITHM)
    assert target.read_bytes() == b"earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seg.dcm", "series"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (some_labels()[:3], r"expected class ids \(uint8\) of shape \(4, 5, 6\), found uint8 of \(3, 5, 6\)"),
        (some_labels().astype(np.int64), r"found int64"),
        (some_labels() + 2, r"found class id 4, but the last class is 3"),
    ],
    ids=["shape", "type", "class"],
)
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(CaseUNetError, match=rf"seg.dcm: cannot be written as a DICOM segmentation: .*{message}"):
        written(tmp_path, slices_of(), labels)
    assert not (tmp_path / "seg.dcm").exists()


@pytest.mark.parametrize("name", ["x" * 65, "liver\\tumour", " liver", "liver\nleft"])
def test_names_that_dicom_cannot_hold_are_refused(name: str, tmp_path: Path) -> None:
    label_map = LabelMap(labels=(LABELS.labels[0], Label(id=1, name=name, color=(1, 2, 3))), structures={})
    with pytest.raises(CaseUNetError, match="does not fit into DICOM"):
        written(tmp_path, slices_of(), np.zeros((SLICES, ROWS, COLUMNS), np.uint8), label_map)
    sources, algorithm = save(tmp_path, slices_of()), replace(ALGORITHM, name=name)
    geometry = dicom.read_series_geometry(sources)
    with pytest.raises(CaseUNetError, match="does not fit into DICOM"):
        write_segmentation(tmp_path / "seg.dcm", some_labels(), geometry, sources, LABELS, algorithm)


def test_an_image_without_a_position_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseUNetError, match="no position in a patient"):
        write_segmentation(
            tmp_path / "seg.dcm", some_labels(), Geometry((SLICES, ROWS, COLUMNS)), [tmp_path], LABELS, ALGORITHM
        )


def moved(slices: list[Any]) -> list[Any]:
    for dataset in slices:
        dataset.ImagePositionPatient = [float(n) + 1 for n in dataset.ImagePositionPatient]
    return slices


def turned(slices: list[Any]) -> list[Any]:
    for dataset in slices:
        dataset.ImageOrientationPatient = [0.8, 0.6, 0, -0.6, 0.8, 0]
    return slices


def cropped(slices: list[Any]) -> list[Any]:
    for dataset in slices:
        dataset.Rows -= 1
    return slices


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda slices: [], "no files"),
        (lambda slices: slices[:3], r"it has 3 slices, the labels have 4"),
        (lambda slices: [*slices[:3], slices[0]], r"it has 3 slices, the labels have 4"),
        (moved, r"its slice at .* is none of those of the labels"),
        (turned, r"has another orientation"),
        (cropped, r"rows and columns"),
    ],
    ids=["none", "one less", "one twice", "moved", "turned", "cropped"],
)
def test_another_series_is_refused(
    change: Callable[[list[Any]], list[Any]], message: str, saved: tuple[list[Path], Geometry], tmp_path: Path
) -> None:
    others = save(tmp_path / "others", change(slices_of("LIP")))
    labels = np.zeros((ROWS, SLICES, COLUMNS), np.uint8)
    with pytest.raises(CaseUNetError, match=message):
        write_segmentation(tmp_path / "seg.dcm", labels, saved[1], others, LABELS, ALGORITHM)
    assert not (tmp_path / "seg.dcm").exists()


@pytest.mark.parametrize("content", [None, b"", b"text " * 100])
def test_a_source_that_cannot_be_read_is_named(content: bytes | None, tmp_path: Path) -> None:
    sources = save(tmp_path / "series", slices_of())
    geometry = dicom.read_series_geometry(sources)
    sources[2].unlink()
    if content is not None:
        sources[2].write_bytes(content)
    with pytest.raises(CaseUNetError, match=r"2.dcm: cannot be read as DICOM"):
        write_segmentation(tmp_path / "seg.dcm", some_labels(), geometry, sources, LABELS, ALGORITHM)


def test_a_series_without_frame_of_reference_gets_one(tmp_path: Path) -> None:
    """The same each time, so that segmentations of one series lie in one frame."""
    slices, labels = slices_of(), some_labels()
    for dataset in slices:
        del dataset.FrameOfReferenceUID
    first = written(tmp_path / "a", slices, labels)
    second = written(tmp_path / "b", slices, labels)
    assert first.FrameOfReferenceUID == second.FrameOfReferenceUID
    assert pydicom.uid.UID(first.FrameOfReferenceUID).is_valid
    found = highdicom.seg.segread(tmp_path / "a" / "seg.dcm").get_volume(combine_segments=True)
    assert np.count_nonzero(found.array) == np.count_nonzero(labels)


def test_slice_that_is_there_twice_is_one_source(tmp_path: Path) -> None:
    slices = slices_of()
    copy = pydicom.dataset.Dataset(slices[1])
    copy.file_meta, copy.SOPInstanceUID = slices[1].file_meta, "1.2.3"
    segmentation = written(tmp_path, [*slices, copy], some_labels())
    referenced = segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {item.ReferencedSOPInstanceUID for item in referenced} == {d.SOPInstanceUID for d in slices}


def test_a_source_without_a_study_is_refused(tmp_path: Path) -> None:
    slices = slices_of()
    for dataset in slices:
        del dataset.StudyInstanceUID
    with pytest.raises(CaseUNetError, match=r"0.dcm does not tell what it needs: .*StudyInstanceUID"):
        written(tmp_path, slices, some_labels())


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    sources = save(tmp_path / "series", slices_of())
    target = sources[0] / "seg.dcm"
    with pytest.raises(CaseUNetError, match=r"seg.dcm: cannot be written"):
        write_segmentation(target, some_labels(), dicom.read_series_geometry(sources), sources, LABELS, ALGORITHM)
