"""Readers of every kind of file give this machine's byte order, the only one that PyTorch knows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import tifffile
import torch

from caseunet.io import dicom, images, slides
from caseunet.types import Geometry, ImageVolume
from tests.io.test_dicom_stills import still
from tests.support.slides import write_ome_zarr

NRRD = "NRRD0004\ntype: {type}\ndimension: 3\nspace: left-posterior-superior\nsizes: {sizes}\nspace directions: " + (
    "(1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nendian: big\nencoding: raw\n\n"
)
MHA = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = True\n"
    "TransformMatrix = 1 0 0 0 1 0 0 0 1\nDimSize = {sizes}\nElementType = {type}\nElementDataFile = LOCAL\n"
)
TYPES = {">u2": ("unsigned short", "MET_USHORT"), ">i4": ("int", "MET_INT"), ">f4": ("float", "MET_FLOAT")}


def values(order: str) -> np.ndarray:
    """(3, 5, 6), rising; beyond 16 bits or between whole numbers where the type can hold such."""
    rising = np.arange(90).reshape(3, 5, 6)
    return (rising + {"u": 300, "i": 70_000, "f": 0.5}[np.dtype(order).kind]).astype(order)


def write_itk(path: Path, array: np.ndarray) -> None:
    """(z, y, x), whose axes run as those of a canonical volume."""
    sizes = " ".join(map(str, array.shape[::-1]))
    nrrd, mha = TYPES[array.dtype.str]
    header = NRRD.format(type=nrrd, sizes=sizes) if path.suffix == ".nrrd" else MHA.format(type=mha, sizes=sizes)
    path.write_bytes(header.encode() + array.tobytes())


def write_nifti(path: Path, array: np.ndarray) -> None:
    header = nib.Nifti1Header(endianness=">")
    nib.save(nib.Nifti1Image(array.T, np.diag([-1, -1, 1, 1]), header, dtype=array.dtype), path)
    assert nib.load(path).header.endianness == ">"


def write_one(path: Path, array: np.ndarray) -> None:
    tifffile.imwrite(path, array[0], byteorder=">")


def write_imagej(path: Path, array: np.ndarray) -> None:
    tifffile.imwrite(path, array[0], imagej=True, byteorder=">")


def write_stack(path: Path, array: np.ndarray) -> None:
    tifffile.imwrite(path, array, imagej=True, byteorder=">", metadata={"axes": "ZYX"})


def write_zarr(path: Path, array: np.ndarray) -> None:
    write_ome_zarr(path, array[0], "yx", levels=1)


KINDS: dict[str, tuple[Callable[[Path, np.ndarray], None], tuple[str, ...]]] = {
    "a.nii": (write_nifti, (">u2", ">i4", ">f4")),
    "a.nrrd": (write_itk, (">u2", ">i4", ">f4")),
    "a.mha": (write_itk, (">u2", ">i4", ">f4")),
    "one.tif": (write_one, (">u2", ">i4", ">f4")),
    "imagej.tif": (write_imagej, (">u2", ">f4")),
    "stack.tif": (write_stack, (">u2", ">f4")),
    "a.zarr": (write_zarr, (">u2", ">i4", ">f4")),
}
CASES = [(name, order) for name, (_, orders) in KINDS.items() for order in orders]


def assert_values(image: ImageVolume, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(image.pixels[:, 0], expected)
    torch.from_numpy(image.pixels)


@pytest.mark.parametrize(("name", "order"), CASES)
def test_images_come_in_native_byte_order(name: str, order: str, tmp_path: Path) -> None:
    expected = values(order)
    KINDS[name][0](tmp_path / name, expected)
    image = images.read_image_file(tmp_path / name, rgb=False)
    assert_values(image, expected[: len(image.pixels)])


@pytest.mark.parametrize(("name", "order"), [(name, order) for name, order in CASES if order != ">f4"])
def test_masks_come_in_native_byte_order(name: str, order: str, tmp_path: Path) -> None:
    expected = values(order)
    KINDS[name][0](tmp_path / name, expected)
    mask = images.read_mask_file(tmp_path / name, Geometry(expected.shape[1:]))
    np.testing.assert_array_equal(mask.label_values, expected[: len(mask.label_values)])
    assert mask.label_values.dtype.isnative


def test_parts_of_ome_zarr_are_native(tmp_path: Path) -> None:
    expected = values(">u2")
    write_zarr(tmp_path / "a.zarr", expected)
    with slides.open_slide(tmp_path / "a.zarr") as slide:
        for pixels in (slide.read(slice(1, 4), slice(2, 5)), slide.overview()[0], slide.read_whole()):
            torch.from_numpy(pixels)
        np.testing.assert_array_equal(slide.read(slice(1, 4), slice(2, 5))[0], expected[0, 1:4, 2:5])


def test_big_endian_dicom_is_native(tmp_path: Path) -> None:
    expected = values(">u2")[0]
    data: Any = still(expected)
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    data.PixelData = expected.tobytes()
    data["PixelData"].VR = "OW"
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert_values(dicom.read_still(tmp_path / "a.dcm", 0, rgb=False), expected[None])
