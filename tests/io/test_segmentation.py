"""Segmentations of 3D Slicer and MITK: names, cropped extents, layers."""

import gzip
import json
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from caseunet.errors import CaseUNetError
from caseunet.io import images, itk
from caseunet.types import Geometry

SPACING, ORIGIN = (0.7, 0.8, 2.5), (-20.0, 11.0, 5.0)
LABELS = np.zeros((6, 9, 11), np.uint8)  # z, y, x
LABELS[2:5, 3:8, 4:9] = 1
LABELS[3, 4:6, 5:7] = 2
HEADER = {
    **{"Segment0_ID": "Segment_1", "Segment0_Name": "liver", "Segment0_LabelValue": "1", "Segment0_Layer": "0"},
    **{"Segment1_ID": "Segment_2", "Segment1_Name": "tumour", "Segment1_LabelValue": "2", "Segment1_Layer": "0"},
    "Segment0_Color": "1 0.5 0",
}


def write(path: Path, array: np.ndarray, start: tuple[float, ...] = (0, 0, 0), **meta: str) -> Path:
    """(z, y, x) or (z, y, x, layers), its first voxel at an index (x, y, z) of the image."""
    image = SimpleITK.GetImageFromArray(array, isVector=array.ndim == 4)
    image.SetSpacing(SPACING)
    image.SetOrigin([o + s * i for o, s, i in zip(ORIGIN, SPACING, start, strict=True)])
    for key, value in meta.items():
        image.SetMetaData(key, value)
    SimpleITK.WriteImage(image, path, useCompression=True)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Geometry:
    return images.read_file_geometry(write(tmp_path / "P.nrrd", LABELS.astype(np.int16)))


def canonical(path: Path) -> np.ndarray:
    """As read through SimpleITK: (z, y, x) of LPS is canonical."""
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))


def test_segments_are_told_by_the_header(tmp_path: Path, image: Geometry) -> None:
    path = write(tmp_path / "P.seg.nrrd", LABELS, **HEADER)
    assert (itk.is_segmentation(path), itk.is_segmentation(tmp_path / "P.nrrd")) == (True, False)
    mask = images.read_mask_file(path, image)
    np.testing.assert_array_equal(mask.label_values, canonical(path))
    assert (dict(mask.names), dict(mask.palette)) == ({1: "liver", 2: "tumour"}, {1: 0xFF8000})
    with pytest.raises(CaseUNetError, match=r"P.seg.nrrd: a segmentation of 3D Slicer"):
        images.read_image_file(path, rgb=False)


def test_a_cropped_extent_lies_in_its_place(tmp_path: Path, image: Geometry) -> None:
    mask = images.read_mask_file(write(tmp_path / "P.seg.nrrd", LABELS[2:5, 3:8, 4:9], (4, 3, 2), **HEADER), image)
    np.testing.assert_array_equal(mask.label_values, LABELS)
    assert mask.geometry.shape == image.shape


def test_margins_beyond_the_image_are_empty(tmp_path: Path, image: Geometry) -> None:
    padded = np.pad(LABELS, 2)
    mask = images.read_mask_file(write(tmp_path / "P.seg.nrrd", padded, (-2, -2, -2), **HEADER), image)
    np.testing.assert_array_equal(mask.label_values, LABELS)
    padded[0, 0, 0] = 1
    with pytest.raises(CaseUNetError, match="1 voxels of its segments lie outside its image"):
        images.read_mask_file(write(tmp_path / "P.seg.nrrd", padded, (-2, -2, -2), **HEADER), image)


@pytest.mark.parametrize("off", [0.05, 0.4])
def test_cropped_extent_off_grid_keeps_its_own(off: float, tmp_path: Path, image: Geometry) -> None:
    mask = images.read_mask_file(write(tmp_path / "P.seg.nrrd", LABELS[2:5], (off, 0, 2), **HEADER), image)
    assert (mask.geometry.shape == image.shape) is (off < 0.1)


@pytest.mark.parametrize("axes", ["".join(a) for p in permutations(("LR", "PA", "IS")) for a in product(*p)][::5])
def test_images_may_run_otherwise(axes: str, tmp_path: Path, image: Geometry) -> None:
    volume = nib.Nifti1Image(LABELS.transpose(2, 1, 0), np.asarray(image.affine))
    there = nib.orientations.axcodes2ornt(axes)
    turned = volume.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(volume.affine), there))
    nib.save(turned, tmp_path / "P.nii.gz")
    path = write(tmp_path / "P.seg.nrrd", LABELS[2:5, 3:8, 4:9], (4, 3, 2), **HEADER)
    mask = images.read_mask_file(path, images.read_file_geometry(tmp_path / "P.nii.gz"))
    np.testing.assert_array_equal(mask.label_values, LABELS)


LAYERS = {"Segment1_LabelValue": "1", "Segment1_Layer": "1"}


def test_nested_segments_keep_the_inner_one(tmp_path: Path, image: Geometry) -> None:
    header = {**HEADER, **LAYERS}
    layers = np.stack([LABELS > 0, LABELS == 2], axis=-1).astype(np.uint8)
    mask = images.read_mask_file(write(tmp_path / "P.seg.nrrd", layers, **header), image)
    np.testing.assert_array_equal(mask.label_values, LABELS)
    assert dict(mask.names) == {1: "liver", 2: "tumour"}
    assert mask.geometry.remarks == ('the segment "tumour" lies within "liver"; its voxels have its class alone',)


def test_overlapping_segments_are_refused(tmp_path: Path, image: Geometry) -> None:
    other = np.zeros_like(LABELS)
    other[4:6, 3:8, 4:9] = 1  # half in, half out
    layers = np.stack([(LABELS > 0).astype(np.uint8), other], axis=-1)
    path = write(tmp_path / "P.seg.nrrd", layers, **{**HEADER, **LAYERS})
    with pytest.raises(CaseUNetError, match='segments "tumour" and "liver" overlap in 25 voxels, and neither'):
        images.read_mask_file(path, image)


def test_slicers_own_list_of_layers(tmp_path: Path, image: Geometry) -> None:
    """As Slicer writes it: layers first, kind "list"; older versions name neither layers nor values."""
    header = (
        "NRRD0004\ntype: uint8\ndimension: 4\nspace: left-posterior-superior\nsizes: 2 11 9 6\n"
        "space directions: none (0.7,0,0) (0,0.8,0) (0,0,2.5)\nkinds: list domain domain domain\nencoding: gzip\n"
        "space origin: (-20,11,5)\nSegment0_ID:=a\nSegment0_Name:=liver\nSegment1_ID:=b\nSegment1_Name:=tumour\n\n"
    )
    layers = np.stack([LABELS > 0, LABELS == 2], axis=-1).astype(np.uint8)
    (tmp_path / "P.seg.nrrd").write_bytes(header.encode() + gzip.compress(layers.tobytes()))
    mask = images.read_mask_file(tmp_path / "P.seg.nrrd", image)
    np.testing.assert_array_equal(mask.label_values, LABELS)
    assert dict(mask.names) == {1: "liver", 2: "tumour"}


@pytest.mark.parametrize(("key", "value"), [("Segment1_Layer", "7"), ("Segment1_LabelValue", "x")])
def test_segments_that_cannot_be_are_named(key: str, value: str, tmp_path: Path, image: Geometry) -> None:
    path = write(tmp_path / "P.seg.nrrd", LABELS, **{**HEADER, key: value})
    with pytest.raises(CaseUNetError, match='its segment "tumour" is value'):
        images.read_mask_file(path, image)


def mitk(*groups: list[tuple[str, int]]) -> dict[str, str]:
    """The header of MITK's multilabel segmentations."""
    color = {"type": "ColorProperty", "value": [1.0, 0.5, 0.0]}
    told = [{"labels": [{"name": name, "value": value, "color": color} for name, value in group]} for group in groups]
    return {"modality": "org.mitk.multilabel.segmentation", itk.MITK_GROUPS: json.dumps(told)}


def test_mitk_names_its_labels(tmp_path: Path, image: Geometry) -> None:
    """Numbered in the order of drawing; a second group is a layer of its own."""
    path = write(tmp_path / "P.nrrd", LABELS, **mitk([("tumour", 2), ("liver", 1), ("exterior", 0)]))
    assert itk.is_segmentation(path)
    mask = images.read_mask_file(path, image)
    np.testing.assert_array_equal(mask.label_values, LABELS)
    assert (dict(mask.names), mask.palette[1]) == ({1: "liver", 2: "tumour"}, 0xFF8000)
    layers = np.stack([LABELS > 0, np.where(LABELS == 2, 7, 0)], axis=-1).astype(np.uint8)
    mask = images.read_mask_file(write(tmp_path / "P.nrrd", layers, **mitk([("liver", 1)], [("tumour", 7)])), image)
    np.testing.assert_array_equal(mask.label_values, LABELS)
    assert dict(mask.names) == {1: "liver", 2: "tumour"}


def test_damaged_names_of_mitk_are_refused(tmp_path: Path, image: Geometry) -> None:
    path = write(tmp_path / "P.nrrd", LABELS, **{itk.MITK_GROUPS: '[{"labels": [{"value": 1}]}]'})
    with pytest.raises(CaseUNetError, match=r"P.nrrd: the names of its labels .* cannot be read: KeyError\('name'\)"):
        images.read_mask_file(path, image)
