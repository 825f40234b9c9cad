"""Masks as PNG, NIfTI, .seg.nrrd and DICOM segmentation objects: written, and read again."""

import json
import shutil
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from caseunet.commands.convert import convert
from caseunet.config import PrepareConfig
from caseunet.datasets import open_source
from caseunet.datasets.generate import write_dicom, write_lits, write_nnunet
from caseunet.errors import CaseUNetError
from caseunet.io.dicom_seg import SegmentContent
from caseunet.io.itk import read_itk_segmentation
from caseunet.io.seg_nrrd import write_seg_nrrd
from caseunet.types import Geometry
from tests.datasets.exchange.sources import assert_equal, read_all, write_frames


@pytest.mark.parametrize("ignore", [False, True])
def test_png_keeps_frames(ignore: bool, tmp_path: Path) -> None:
    write_frames(tmp_path / "RAW", ignore=ignore)
    done = convert(tmp_path / "RAW", to="png", out=tmp_path / "out")
    assert done.warnings == ()
    assert Image.open(tmp_path / "out" / "masks" / "case1.png").mode == "P"
    assert_equal(read_all(tmp_path / "RAW"), read_all(tmp_path / "out"))
    copy = (tmp_path / "out" / "images" / "first_case.png").read_bytes()
    assert copy == (tmp_path / "RAW" / "images" / "first case.png").read_bytes()


@pytest.mark.parametrize("to", ["png", "nnunet", "coco"])
def test_a_turned_picture_is_not_copied(to: str, tmp_path: Path) -> None:
    write_frames(tmp_path / "RAW")
    path, exif = tmp_path / "RAW" / "images" / "case1.png", Image.Exif()
    exif[274] = 3
    Image.open(path).save(path, exif=exif)
    with pytest.raises(CaseUNetError, match="case1.png: its EXIF orientation is 3"):
        convert(tmp_path / "RAW", to=to, out=tmp_path / "out")


def test_png_keeps_the_parts_of_a_split(tmp_path: Path) -> None:
    write_frames(tmp_path / "RAW", parts=True)
    convert(tmp_path / "RAW", to="png", out=tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == ["train", "val"]


def test_png_cuts_volumes_and_says_so(tmp_path: Path) -> None:
    write_lits(tmp_path / "RAW", patients=2, shape=(6, 20, 16))
    done = convert(tmp_path / "RAW", to="png", out=tmp_path / "out")
    assert "volumes are cut into slices of 8 bits" in done.warnings[0]
    slices = read_all(tmp_path / "out")
    for name, classes in read_all(tmp_path / "RAW").items():
        for k in range(6):
            for structure, where in classes.items():
                found = slices[f"{name}_{k:04d}"].get(structure, np.zeros_like(where[:1]))
                np.testing.assert_array_equal(found[0], where[k])


@pytest.mark.parametrize("to", ["nifti", "seg.nrrd"])
def test_volumes_keep_voxels_and_place(to: Literal["nifti", "seg.nrrd"], tmp_path: Path) -> None:
    write_lits(tmp_path / "RAW", patients=4, shape=(6, 20, 16))
    assert convert(tmp_path / "RAW", to=to, out=tmp_path / "out").warnings == ()
    assert_equal(read_all(tmp_path / "RAW"), read_all(tmp_path / "out"))


@pytest.mark.parametrize("to", ["nifti", "seg.nrrd"])
def test_volumes_keep_what_nobody_judged(to: str, tmp_path: Path) -> None:
    write_nnunet(tmp_path / "RAW", cases=2, tests=0, shape=(6, 20, 16))
    path = tmp_path / "RAW" / "Dataset901_MadeUp" / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": {"background": 0, "liver": 1, "ignore": 2}}))
    convert(tmp_path / "RAW", to=to, out=tmp_path / "out")
    assert_equal(read_all(tmp_path / "RAW"), read_all(tmp_path / "out"))


def test_regions_are_layers_of_slicer(tmp_path: Path) -> None:
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1:3, 1:4, 1:5] = 1
    labels[2, 2:4, 2:4] = 2
    affine = np.array([[0, -0.5, 0, 3], [0.75, 0, 0, -8], [0, 0, 2.0, 5], [0, 0, 0, 1]])
    geometry = Geometry(shape=(5, 6, 4), affine=affine, spacing=(2.0, 0.75, 0.5))
    segments = [SegmentContent(1, "whole", (255, 0, 0), (1, 2)), SegmentContent(2, "core", (0, 255, 0), (2,))]
    path = tmp_path / "a.seg.nrrd"
    write_seg_nrrd(path, labels, geometry, segments)
    mask = read_itk_segmentation(path, geometry)
    assert mask.names == {1: "whole", 2: "core"}
    assert mask.palette == {1: 0xFF0000, 2: 0x00FF00}
    np.testing.assert_array_equal(mask.label_values, labels)


def test_slicerio_reads_what_was_written(tmp_path: Path) -> None:
    slicerio = pytest.importorskip("slicerio")
    write_nnunet(tmp_path / "RAW", cases=1, tests=0, shape=(6, 20, 16))
    path = tmp_path / "RAW" / "Dataset901_MadeUp" / "dataset.json"
    regions = {"labels": {"background": 0, "whole": [1, 2], "tumour": [2]}, "regions_class_order": [1, 2]}
    path.write_text(json.dumps(json.loads(path.read_text()) | regions))
    convert(tmp_path / "RAW", to="seg.nrrd", out=tmp_path / "out")
    found = slicerio.read_segmentation(str(next((tmp_path / "out" / "masks").iterdir())))
    names = [segment["name"] for segment in found["segments"]]
    assert names == ["whole", "tumour"]
    voxels = np.asarray(found["voxels"])
    mask = next((tmp_path / "RAW").rglob("labelsTr/*.nii.gz"))
    values = np.asarray(nib.load(mask).dataobj)
    for segment, members in zip(found["segments"], ((1, 2), (2,)), strict=True):
        layer = voxels[segment["layer"]] if voxels.ndim == 4 else voxels
        np.testing.assert_array_equal(layer == segment["labelValue"], np.isin(values, members))
    lps = np.diag([-1, -1, 1, 1]) @ nib.load(mask).affine
    np.testing.assert_allclose(found["ijkToLPS"], lps, atol=1e-6)


def test_a_series_gets_a_segmentation_object(tmp_path: Path) -> None:
    write_dicom(tmp_path / "RAW", patients=2)
    done = convert(tmp_path / "RAW", to="dicom-seg", out=tmp_path / "out")
    before = read_all(tmp_path / "RAW")
    assert len(done.cases) == len(before)
    _, dataset = open_source(tmp_path / "RAW", PrepareConfig())
    for case in dataset.cases:
        for path in case.label:
            path.unlink()
        shutil.copy(tmp_path / "out" / f"{case.id.replace('/', '_')}.dcm", case.image[0].parent / "seg.dcm")
    assert_equal(before, read_all(tmp_path / "RAW"))


@pytest.mark.parametrize(("to", "told"), [("nifti", "without a position"), ("dicom-seg", "is no DICOM file")])
def test_pictures_are_refused(to: str, told: str, tmp_path: Path) -> None:
    write_frames(tmp_path / "RAW")
    with pytest.raises(CaseUNetError, match=told):
        convert(tmp_path / "RAW", to=to, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
