"""Radiographs, photographs and films as DICOM; what pydicom decodes is the reference for colours."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import pixel_array
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from caseunet.errors import CaseUNetError
from caseunet.io import dicom

CLASSES = {
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "MG": "1.2.840.10008.5.1.4.1.1.1.2",
    "XA": "1.2.840.10008.5.1.4.1.1.12.1",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "OP": "1.2.840.10008.5.1.4.1.1.77.1.5.1",
    "ES": "1.2.840.10008.5.1.4.1.1.77.1.1",
    "OT": "1.2.840.10008.5.1.4.1.1.7",
}


def still(values: np.ndarray, modality: str = "DX", bits: int = 12, **values_of: Any) -> Dataset:
    """(rows, columns) of grey values, or with a third axis of colours, or frames before these."""
    colored = values.shape[-1] == 3
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPClassUID, d.Modality, d.SOPInstanceUID, d.SeriesInstanceUID = CLASSES[modality], modality, "1.2", "1.2.3"
    frames = values.shape[: values.ndim - (3 if colored else 2)]
    d.Rows, d.Columns = values.shape[len(frames) : len(frames) + 2]
    if frames:
        d.NumberOfFrames = frames[0]
    d.SamplesPerPixel, d.PhotometricInterpretation = (3, "RGB") if colored else (1, "MONOCHROME2")
    if colored:
        d.PlanarConfiguration = 0
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = (8 if bits <= 8 else 16), bits, bits - 1, 0
    d.PixelData = values.astype(np.uint8 if bits <= 8 else "<u2").tobytes()
    if len(d.PixelData) % 2:
        d.PixelData += b"\0"
    for keyword, value in values_of.items():
        setattr(d, keyword, value)
    return d


def save(folder: Path, dataset: Dataset) -> Path:
    dataset.save_as(folder / "a.dcm", enforce_file_format=True, little_endian=True, implicit_vr=False)
    return folder / "a.dcm"


RAMP = np.arange(300, 330).reshape(5, 6)
"""Of 12 bits."""


@pytest.mark.parametrize("modality", list(CLASSES))
def test_grey_values_are_as_stored(modality: str, tmp_path: Path) -> None:
    path = save(tmp_path, still(RAMP, modality, WindowCenter=310, WindowWidth=10))
    header = dicom.read_header(path)
    assert (header.kind, header.modality, header.colored, header.frames) == ("still", modality, False, 1)
    picture = dicom.read_still(path, 0, rgb=False)
    np.testing.assert_array_equal(picture.pixels, RAMP[None, None])
    assert picture.geometry == dicom.read_still_geometry(path)
    assert (picture.geometry.shape, picture.geometry.affine, picture.geometry.remarks) == ((5, 6), None, ())


@pytest.mark.parametrize(
    ("values", "bits", "expected"),
    [(RAMP, 12, 4095 - RAMP), (RAMP, 16, 65535 - RAMP), (RAMP - 300, 8, 555 - RAMP), (RAMP - 300, 16, 555 - RAMP)],
    ids=["12 bits", "16 bits", "8 bits", "8 in 16 bits"],
)
def test_monochrome1_is_turned(values: np.ndarray, bits: int, expected: np.ndarray, tmp_path: Path) -> None:
    path = save(tmp_path, still(values, bits=bits, PhotometricInterpretation="MONOCHROME1"))
    picture = dicom.read_still(path, 0, rgb=False)
    np.testing.assert_array_equal(picture.pixels[0, 0], expected)
    told = ("its values were turned, for MONOCHROME1 shows low ones bright",)
    assert picture.geometry.remarks == dicom.read_still_geometry(path).remarks == told


def test_a_rescale_is_applied(tmp_path: Path) -> None:
    path = save(tmp_path, still(RAMP, RescaleSlope=2, RescaleIntercept=-100))
    np.testing.assert_array_equal(dicom.read_still(path, 0, rgb=False).pixels[0, 0], 2 * RAMP - 100)


def test_grey_of_8_bits_is_a_colour_picture_too(tmp_path: Path) -> None:
    path = save(tmp_path, still(RAMP - 300, bits=8))
    np.testing.assert_array_equal(dicom.read_still(path, 0, rgb=True).pixels[0], np.stack([RAMP - 300] * 3))
    path = save(tmp_path, still(RAMP, bits=12))
    with pytest.raises(CaseUNetError, match=r"a.dcm: .* 12 bits \(BitsStored\); 8 in each colour were expected"):
        dicom.read_still(path, 0, rgb=True)


def test_grey_that_was_saved_as_colours_is_grey(tmp_path: Path) -> None:
    values = np.repeat((RAMP - 300)[..., None], 3, axis=2)
    picture = dicom.read_still(save(tmp_path, still(values, "US", 8)), 0, rgb=False)
    np.testing.assert_array_equal(picture.pixels[0, 0], RAMP - 300)


def test_each_frame_is_an_image(tmp_path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (3, 5, 6, 3))
    path = save(tmp_path, still(colors, "ES", 8))
    header = dicom.read_header(path)
    assert (header.kind, header.frames, header.colored) == ("still", 3, True)
    for n in range(3):
        np.testing.assert_array_equal(dicom.read_still(path, n, rgb=True).pixels[0], colors[n].transpose(2, 0, 1))
    with pytest.raises(CaseUNetError, match=r"a.dcm: .* it has 3 frames, none with the number 4"):
        dicom.read_still(path, 3, rgb=True)
    with pytest.raises(CaseUNetError, match=r"a.dcm: .* in colour \(RGB\); grey values were expected"):
        dicom.read_still(path, 0, rgb=False)


SHIPPED = (
    *("examples_rgb_color.dcm", "examples_ybr_color.dcm", "examples_jpeg2k.dcm", "examples_palette.dcm"),
    *("SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm", "SC_ybr_full_422_uncompressed.dcm"),
)


@pytest.mark.parametrize("name", SHIPPED)
def test_real_colours_are_those_of_pydicom(name: str) -> None:
    """JPEG, JPEG lossless, JPEG 2000, run lengths; YBR with and without fewer colours; a palette."""
    path = Path(str(get_testdata_file(name)))
    dataset = pydicom.dcmread(path)
    expected = pixel_array(dataset, index=0)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        palettes = (f"{color}PaletteColorLookupTableData" for color in ("Red", "Green", "Blue"))
        luts = [np.frombuffer(dataset[palette].value, "<u2") >> 8 for palette in palettes]
        expected = np.stack([lut[expected] for lut in luts], -1)
    found = dicom.read_still(path, 0, rgb=True).pixels
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[0], expected.transpose(2, 0, 1))


def test_films_in_dicom_are_refused_by_name(tmp_path: Path) -> None:
    d = still(RAMP, "ES", 8)
    d.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.102")
    d.PixelData = pydicom.encaps.encapsulate([b"film"])
    d["PixelData"].is_undefined_length = True
    d.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    path = tmp_path / "a.dcm"
    pydicom.dcmwrite(path, d, enforce_file_format=True)
    with pytest.raises(CaseUNetError, match=r"a.dcm: .* it holds a film \(MPEG-4 AVC/H.264 High Profile"):
        dicom.read_still(path, 0, rgb=True)


def test_pixels_in_upper_bits_are_refused(tmp_path: Path) -> None:
    """HighBit 15 with BitsStored 12: some programs shift them and some do not."""
    d = still(np.arange(30, dtype=np.uint16).reshape(5, 6) << 4)
    d.HighBit = 15
    d.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(CaseUNetError, match="a.dcm: .*its pixels lie in the upper bits .HighBit 15, BitsStored 12"):
        dicom.read_still(tmp_path / "a.dcm", 0, False)
