"""DICOM files one by one; whole trees of them are in tests/datasets/test_dicom.py."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
from nibabel.nicom import dicomwrappers
from pydicom.sr.codedict import codes
from pydicom.uid import JPEGLSLossless, RLELossless

from caseunet.datasets.generate.series import segmentation, series
from caseunet.errors import CaseUNetError
from caseunet.io import dicom
from caseunet.io.geometry import distance_in_voxels, to_canonical
from caseunet.types import Geometry

AFFINE = np.array([[-0.7, 0, 0, 20], [0, -0.8, 0, 10], [0, 0, 2.5, -400], [0, 0, 0, 1]])
"""RAS; axes Left, Posterior, Superior: the transpose of an array (columns, rows, slices) is canonical."""

IDS = {"liver": 1, "tumour": 2}


def slices_of(count: int = 4) -> tuple[np.ndarray, list[Any]]:
    """HU (columns, rows, slices), and the slices as data sets."""
    hounsfield = np.random.default_rng(0).integers(-1000, 1000, (6, 5, count)).astype(np.int16)
    return hounsfield, series(hounsfield, AFFINE, patient="P1", entropy="test")


def save(folder: Path, datasets: Sequence[Any]) -> list[Path]:
    paths = [folder / f"{number}.dcm" for number in range(len(datasets))]
    for path, dataset in zip(paths, datasets, strict=True):
        dataset.save_as(path, enforce_file_format=True)
    return paths


def geometry_of(count: int = 4) -> Geometry:
    """Of so many of the slices; axes (columns, rows, slices)."""
    return Geometry(shape=(6, 5, count), affine=AFFINE)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.dcm", b"", True),
        ("a.DCM", b"", True),
        ("a.IMA", b"", True),
        ("IM0001", bytes(128) + b"DICM", True),
        ("1.2.840.113", bytes(128) + b"DICM", True),
        ("IM0001", bytes(128) + b"text", False),
        ("short", b"DICM", False),
        ("a.png", bytes(128) + b"DICM", False),
    ],
)
def test_dicom_by_name_or_first_bytes(name: str, content: bytes, expected: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert dicom.is_dicom(tmp_path / name) == expected


def test_headers_tell_how_files_belong_together(tmp_path: Path) -> None:
    hounsfield, slices = slices_of()
    header = dicom.read_header(save(tmp_path, slices)[1])
    assert (header.modality, header.patient, header.number, header.localizer) == ("CT", "P1", "2", False)
    assert (header.series, header.instance) == (slices[1].SeriesInstanceUID, slices[1].SOPInstanceUID)
    assert (header.references, dict(header.segments)) == ((), {})
    labels = (hounsfield > 500).astype(np.uint8)
    segmentation(slices, labels).save_as(tmp_path / "seg.dcm")
    header = dicom.read_header(tmp_path / "seg.dcm")
    assert header.modality == "SEG"
    assert header.references == (slices[0].SeriesInstanceUID,)
    assert dict(header.segments) == {1: "liver", 2: "tumour"}


def test_segment_without_a_label_goes_by_its_code(tmp_path: Path) -> None:
    hounsfield, slices = slices_of()
    dataset = segmentation(slices, (hounsfield > 500).astype(np.uint8), ["liver"])
    dataset.SegmentSequence[0].SegmentLabel = ""
    dataset.save_as(tmp_path / "seg.dcm")
    assert dict(dicom.read_header(tmp_path / "seg.dcm").segments) == {1: "Liver"}


@pytest.mark.parametrize("content", [b"", b"text " * 100, bytes(128) + b"DICM"])
def test_what_is_no_dicom_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(content)
    with pytest.raises(CaseUNetError, match=r"a.dcm: cannot be read as DICOM"):
        dicom.read_header(tmp_path / "a.dcm")


def test_headers_and_pixels_tell_the_same_place(tmp_path: Path) -> None:
    hounsfield, slices = slices_of()
    paths = save(tmp_path, slices)
    geometry, picture = dicom.read_series_geometry(paths), dicom.read_series(paths)
    np.testing.assert_array_equal(picture.pixels[:, 0], hounsfield.T)
    for found in (geometry, picture.geometry):
        assert found.shape == (6, 5, 4)
        assert found.spacing == pytest.approx((2.5, 0.8, 0.7))
        assert distance_in_voxels(found, geometry_of()) < 1e-6


@pytest.mark.parametrize(("thickness", "between"), [(2.5, None), (5.0, 2.5)], ids=["thickness", "distance"])
def test_single_slice_is_as_thick_as_header_says(thickness: float, between: float | None, tmp_path: Path) -> None:
    """The distance to the next slice if it is told, else the slice's own thickness."""
    _, slices = slices_of(1)
    slices[0].SliceThickness = thickness
    if between is not None:
        slices[0].SpacingBetweenSlices = between
    paths = save(tmp_path, slices)
    assert dicom.read_series(paths).geometry.spacing == pytest.approx((2.5, 0.8, 0.7))
    assert dicom.read_series_geometry(paths).spacing == pytest.approx((2.5, 0.8, 0.7))


def test_directions_that_differ_by_rounding_are_one_direction(tmp_path: Path) -> None:
    """Scanners and anonymisers round each slice by itself."""
    hounsfield, slices = slices_of()
    slices[2].ImageOrientationPatient = [1, 0, 1e-6, 0, 1, 0]
    paths = save(tmp_path, slices)
    assert dicom.read_series_geometry(paths).shape == (6, 5, 4)
    np.testing.assert_array_equal(dicom.read_series(paths).pixels[:, 0], hounsfield.T)


def test_slices_in_two_directions_are_no_volume(tmp_path: Path) -> None:
    _, slices = slices_of()
    slices[2].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    with pytest.raises(CaseUNetError, match=r"no volume: 2.dcm .* has another ImageOrientationPatient"):
        dicom.read_series(save(tmp_path, slices))


def test_a_tilted_gantry_is_refused(tmp_path: Path) -> None:
    """Slices that are shifted against each other would come out sheared."""
    _, slices = slices_of()
    for number, dataset in enumerate(slices):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y + 0.5 * number, z]
    paths = save(tmp_path, slices)
    with pytest.raises(CaseUNetError, match=r"no volume: the gantry was tilted by 11.3 degrees"):
        dicom.read_series_geometry(paths)
    with pytest.raises(CaseUNetError, match=r"0.dcm: the slices of its series make no volume"):
        dicom.read_series(paths)


def test_slices_of_two_sizes_are_no_volume(tmp_path: Path) -> None:
    _, slices = slices_of()
    slices[2].Rows, slices[2].Columns = 6, 5
    with pytest.raises(CaseUNetError, match=r"no volume: 2.dcm .* has another Rows × Columns \(6, 5\)"):
        dicom.read_series(save(tmp_path, slices))


def test_signed_values_and_slopes_are_applied(tmp_path: Path) -> None:
    """Stored −15 … 14 with slope 0.5 and intercept 3 are −4.5 … 10: no whole numbers, so single precision."""
    _, slices = slices_of(1)
    stored = np.arange(-15, 15, dtype="<i2").reshape(5, 6)
    slices[0].PixelData, slices[0].PixelRepresentation = stored.tobytes(), 1
    slices[0].RescaleSlope, slices[0].RescaleIntercept = 0.5, 3
    pixels = dicom.read_series(save(tmp_path, slices)).pixels
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels[0, 0], stored / 2 + 3)


@pytest.mark.parametrize(
    ("element", "value", "message"),
    [
        ("RescaleSlope", None, "2.dcm .InstanceNumber 3. has no RescaleSlope and RescaleIntercept, and 2 of 4"),
        ("RescaleType", "US", "the RescaleType of 2.dcm .InstanceNumber 3. is US, that of 2 of 4 slices HU"),
        ("PhotometricInterpretation", "MONOCHROME1", "of 2.dcm .InstanceNumber 3. is MONOCHROME1"),
    ],
)
def test_slices_on_two_scales_are_refused(element: str, value: str | None, message: str, tmp_path: Path) -> None:
    _, slices = slices_of()
    for dataset in slices[2:]:
        setattr(dataset, element, value)
        if value is None:
            del dataset.RescaleSlope, dataset.RescaleIntercept
    paths = save(tmp_path, slices)
    for read in (dicom.read_series, dicom.read_series_geometry):
        with pytest.raises(CaseUNetError, match=message):
            read(paths)


def test_slices_may_differ_in_how_they_are_stored(tmp_path: Path) -> None:
    """A sign, an intercept, a number of bits and a missing RescaleType of its own change no HU."""
    hounsfield, slices = slices_of()
    slices[1].PixelData, slices[1].PixelRepresentation = hounsfield[..., 1].T.astype("<i2").tobytes(), 1
    slices[1].RescaleIntercept = 0
    del slices[1].RescaleType
    slices[2].BitsStored, slices[2].HighBit = 12, 11
    np.testing.assert_array_equal(dicom.read_series(save(tmp_path, slices)).pixels[:, 0], hounsfield.T)


def test_windows_for_viewing_change_nothing(tmp_path: Path) -> None:
    hounsfield, slices = slices_of()
    for dataset in slices:
        dataset.WindowCenter, dataset.WindowWidth = 40, 400
    np.testing.assert_array_equal(dicom.read_series(save(tmp_path, slices)).pixels[:, 0], hounsfield.T)


def test_compressed_slices_are_read(tmp_path: Path) -> None:
    hounsfield, slices = slices_of()
    for dataset in slices:
        dataset.compress(RLELossless)
    np.testing.assert_array_equal(dicom.read_series(save(tmp_path, slices)).pixels[:, 0], hounsfield.T)


def test_damaged_compression_is_named(tmp_path: Path) -> None:
    _, slices = slices_of()
    for dataset in slices:
        dataset.compress(RLELossless)
        dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    with pytest.raises(CaseUNetError, match=r"\d.dcm: "):
        dicom.read_series(save(tmp_path, slices))


def test_a_slice_without_pixels_is_named(tmp_path: Path) -> None:
    _, slices = slices_of()
    del slices[2].PixelData
    with pytest.raises(CaseUNetError, match=r"2.dcm: cannot be read as DICOM: it holds no pixels"):
        dicom.read_series(save(tmp_path, slices))


def test_a_header_that_claims_too_much_is_not_believed(tmp_path: Path) -> None:
    _, slices = slices_of(1)
    slices[0].Rows = slices[0].Columns = 60_000
    with pytest.raises(CaseUNetError, match=r"0.dcm: .* 7,200,000,000 bytes of pixels are declared, 60 are there"):
        dicom.read_series(save(tmp_path, slices))


def test_colour_pictures_are_no_scan(tmp_path: Path) -> None:
    _, slices = slices_of()
    for dataset in slices:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelData = bytes(90)
    with pytest.raises(CaseUNetError, match=r"0.dcm: the slices of its series make no volume"):
        dicom.read_series(save(tmp_path, slices))


def test_all_frames_in_one_file(tmp_path: Path) -> None:
    """A multi-frame object, made as a parametric map of the series, in which one unit is half of a stored one."""
    hounsfield, slices = slices_of()
    stored = (hounsfield + 1024).astype(np.uint16).transpose(2, 1, 0)
    mapping = highdicom.pm.RealWorldValueMapping(
        lut_label="half",
        lut_explanation="half of the stored value",
        unit=codes.UCUM.NoUnits,
        value_range=(0, 65535),
        slope=0.5,
        intercept=0,
    )
    highdicom.pm.ParametricMap(
        source_images=slices,
        pixel_array=stored,
        series_instance_uid=highdicom.UID(),
        series_number=3,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="caseunet",
        manufacturer_model_name="made-up",
        software_versions="1",
        device_serial_number="1",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[highdicom.VOILUTTransformation(window_center=0, window_width=1000)],
    ).save_as(tmp_path / "map.dcm")
    picture = dicom.read_series([tmp_path / "map.dcm"])
    np.testing.assert_array_equal(picture.pixels[:, 0], stored / 2)
    geometry = dicom.read_series_geometry([tmp_path / "map.dcm"])
    for found in (geometry, picture.geometry):
        assert found.shape == (6, 5, 4)
        assert distance_in_voxels(found, geometry_of()) < 1e-6


def test_a_real_enhanced_image_lies_where_nibabel_has_it(tmp_path: Path) -> None:
    """176 sagittal frames of a Philips MR, which ships with nibabel."""
    packed = Path(nib.__file__).parent / "nicom" / "tests" / "data" / "philips_mprage.dcm.gz"
    if not packed.is_file():
        pytest.skip("nibabel ships without its test data")
    path = tmp_path / "mprage.dcm"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    expected = dicomwrappers.wrapper_from_file(path)
    picture = dicom.read_series([path])
    affine = np.diag([-1, -1, 1, 1]) @ expected.affine  # (rows, columns, slices) → RAS
    other = Geometry(shape=expected.image_shape, affine=affine, spacing=(1, 1, 1))
    assert distance_in_voxels(picture.geometry, other) < 2e-3  # over 256 pixels, of directions in single precision
    np.testing.assert_allclose(picture.pixels[:, 0], to_canonical(expected.get_data(), other), rtol=1e-5)


def test_segments_get_the_values_of_their_labels(tmp_path: Path) -> None:
    hounsfield, slices = slices_of()
    labels = (hounsfield > 0).astype(np.uint8) + (hounsfield > 500)
    segmentation(slices, labels).save_as(tmp_path / "seg.dcm")
    mask = dicom.read_dicom_segmentation([tmp_path / "seg.dcm"], {"liver": 7, "tumour": 3}, geometry_of())
    np.testing.assert_array_equal(mask.label_values, np.array([0, 7, 3], np.uint8)[labels.T])
    assert (mask.colored, mask.fractional) == (False, 0)


def test_segments_that_overlap_are_refused(tmp_path: Path) -> None:
    """An object may hold overlapping segments, one frame for each; a voxel has one class here."""
    _, slices = slices_of()
    both = np.zeros((4, 5, 6, 2), np.uint8)
    both[1, 2, 3] = 1
    made = segmentation(slices, np.ones((6, 5, 4), np.uint8))
    highdicom.seg.Segmentation(
        source_images=slices,
        pixel_array=both,
        segmentation_type="BINARY",
        segment_descriptions=made.SegmentSequence,
        series_instance_uid=highdicom.UID(),
        series_number=100,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="caseunet",
        manufacturer_model_name="made-up",
        software_versions="1",
        device_serial_number="1",
    ).save_as(tmp_path / "seg.dcm")
    with pytest.raises(CaseUNetError, match=r'seg.dcm: its segments "tumour" and "liver" overlap on 1 voxels'):
        dicom.read_dicom_segmentation([tmp_path / "seg.dcm"], IDS, geometry_of())


def test_segments_that_lie_beyond_the_image_are_refused(tmp_path: Path) -> None:
    """The image has lost its upper two slices since; the segmentation marks one of them."""
    _, slices = slices_of()
    labels = np.zeros((6, 5, 4), np.uint8)
    labels[2, 2, 1:4] = 1
    segmentation(slices, labels).save_as(tmp_path / "seg.dcm")
    with pytest.raises(CaseUNetError, match=r"seg.dcm: .*some of their pixels lie outside it"):
        dicom.read_dicom_segmentation([tmp_path / "seg.dcm"], IDS, geometry_of(2))


def test_slice_in_segmentation_s_stead_is_refused(tmp_path: Path) -> None:
    _, slices = slices_of()
    with pytest.raises(CaseUNetError, match=r"0.dcm: its segments cannot be laid on its image"):
        dicom.read_dicom_segmentation([save(tmp_path, slices)[0]], IDS, geometry_of())


def test_a_segment_of_an_unknown_name_is_refused(tmp_path: Path) -> None:
    """As when a repair plan names the classes otherwise."""
    hounsfield, slices = slices_of()
    segmentation(slices, (hounsfield > 500).astype(np.uint8), ["liver"]).save_as(tmp_path / "seg.dcm")
    assert pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence[0].SegmentLabel == "liver"
    with pytest.raises(CaseUNetError, match=r"seg.dcm: .*liver"):
        dicom.read_dicom_segmentation([tmp_path / "seg.dcm"], {"spleen": 1}, geometry_of())


def test_values_are_hounsfield_units_whatever_screens_or_other_units_ask_for(tmp_path: Path) -> None:
    """MONOCHROME1 shows low values bright, and a real-world value map gives other units: both leave HU as they are."""
    _, slices = slices_of()
    for name in ("plain", "other"):
        (tmp_path / name).mkdir()
    plain = dicom.read_series(save(tmp_path / "plain", slices)).pixels
    mapping = pydicom.Dataset()
    mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = 0, 65535
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 0.5, 3
    mapping.LUTLabel, mapping.LUTExplanation = "x", "x"
    for dataset in slices:
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.RealWorldValueMappingSequence = [mapping]
    np.testing.assert_array_equal(dicom.read_series(save(tmp_path / "other", slices)).pixels, plain)
