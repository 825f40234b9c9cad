"""RAW → PREPARED: nothing changes on the way, and nothing half-done is left."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import zarr

from caseunet.config import PrepareConfig
from caseunet.data.store import Prepared, fold_of
from caseunet.errors import UserError
from caseunet.pipelines.prepare import prepare
from caseunet.sources.lits import LITS


@pytest.fixture
def raw(lits_raw: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(lits_raw, tmp_path / "raw")


def test_pixels_and_labels_are_the_source_s(lits_prepared: Prepared, lits_raw: Path) -> None:
    dataset = LITS.discover(lits_raw)
    for case in dataset.cases:
        np.testing.assert_array_equal(lits_prepared.image(case.id), LITS.read_image(case).pixels)
        np.testing.assert_array_equal(lits_prepared.labels(case.id), LITS.read_labels(case, dataset))
    assert lits_prepared.image("volume-0").dtype == np.int16


def test_one_slice_is_one_chunk_and_one_case_one_shard(lits_prepared: Prepared) -> None:
    array = zarr.open_group(lits_prepared.folder / "images.zarr", mode="r")["volume-2"]
    assert array.metadata.zarr_format == 3
    assert array.chunks == (1, 1, 48, 40)
    assert array.shards == (10, 1, 48, 40)


def test_the_description_counts_right(lits_prepared: Prepared, lits_raw: Path) -> None:
    masks = [np.asarray(nib.load(path).dataobj) for path in sorted(lits_raw.glob("segmentation-*.nii"))]
    expected = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=3)
    assert lits_prepared.info.class_pixels == tuple(expected)
    assert lits_prepared.slice_class_pixels("volume-0").shape == (10, 3)
    assert lits_prepared.slice_class_pixels("volume-0").sum() == 10 * 48 * 40
    assert lits_prepared.cases.at["volume-3", "spacing"] == pytest.approx((2.5, 0.95, 0.95))
    assert lits_prepared.split.by == "patient"
    liver = np.concatenate(
        [lits_prepared.image(c)[:, 0][lits_prepared.labels(c) > 0] for c in lits_prepared.cases.index]
    )
    assert lits_prepared.info.intensities.mean[0] == pytest.approx(liver.mean(), abs=0.5)


def test_the_same_source_gives_the_same_fingerprint(raw: Path, lits_prepared: Prepared, tmp_path: Path) -> None:
    again = prepare(raw, tmp_path / "again", PrepareConfig(folds=2))
    assert again.info.fingerprint == lits_prepared.info.fingerprint
    assert again.split == lits_prepared.split
    image = nib.load(raw / "volume-0.nii")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + 1, image.affine), raw / "volume-0.nii")
    assert prepare(raw, tmp_path / "other").info.fingerprint != lits_prepared.info.fingerprint


def test_resizing(raw: Path, tmp_path: Path) -> None:
    prepared = prepare(raw, tmp_path / "p", PrepareConfig(size=(64, 32)))
    assert prepared.image("volume-0").shape == (10, 1, 64, 32)
    assert prepared.labels("volume-0").shape == (10, 64, 32)
    assert prepared.image("volume-0").dtype == np.int16
    assert tuple(prepared.cases.at["volume-0", "source_shape"]) == (40, 48, 10)


def test_images_without_masks_are_left_out_and_named(raw: Path, tmp_path: Path) -> None:
    (raw / "segmentation-2.nii").unlink()
    shutil.copy(raw / "volume-2.nii", raw / "test-volume-0.nii")
    prepared = prepare(raw, tmp_path / "p")
    assert sorted(prepared.cases.index) == ["volume-0", "volume-1", "volume-3"]
    assert "volume-2" in prepared.info.notes[0]
    assert "test-volume-0" in prepared.info.notes[0]


@pytest.mark.parametrize("damage", ["shape", "label", "truncated"])
def test_a_bad_case_leaves_nothing_behind(damage: str, raw: Path, tmp_path: Path) -> None:
    path = raw / "segmentation-2.nii"
    image = nib.load(path)
    array = np.asarray(image.dataobj).copy()
    if damage == "shape":
        array = array[:-1]
    elif damage == "label":
        array[0, 0, 0] = 9
    nib.save(nib.Nifti1Image(array, image.affine), path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"segmentation-2.nii"):
        prepare(raw, tmp_path / "p")
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


def test_all_misfits_are_reported_together(raw: Path, tmp_path: Path) -> None:
    for n in (0, 3):
        image = nib.load(raw / f"segmentation-{n}.nii")
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[1:].copy(), image.affine), raw / f"segmentation-{n}.nii")
    with pytest.raises(UserError, match=r"(?s)2 cases cannot be prepared.*segmentation-0.nii.*segmentation-3.nii"):
        prepare(raw, tmp_path / "p")


def test_one_patient_needs_blocks(raw: Path, tmp_path: Path) -> None:
    for n in (1, 2, 3):
        (raw / f"volume-{n}.nii").unlink()
        (raw / f"segmentation-{n}.nii").unlink()
    with pytest.raises(UserError, match=r"one patient.*slice-blocks"):
        prepare(raw, tmp_path / "p")
    blocks = prepare(raw, tmp_path / "p", PrepareConfig(split="slice-blocks", block=2, hold_out_every=2, gap=0))
    assert blocks.fold(0).val["volume-0"] == ((0, 2), (4, 6), (8, 10))
    assert "not how well" in blocks.split.caution


def test_overwriting_is_asked_for(raw: Path, tmp_path: Path) -> None:
    prepare(raw, tmp_path / "p")
    with pytest.raises(UserError, match="--overwrite"):
        prepare(raw, tmp_path / "p")
    prepare(raw, tmp_path / "p", overwrite=True)
    (raw / "segmentation-0.nii").write_bytes(b"damaged")
    with pytest.raises(UserError, match="segmentation-0"):
        prepare(raw, tmp_path / "p", overwrite=True)
    Prepared(tmp_path / "p").image("volume-0")  # the earlier one is still there


def test_what_is_no_prepared_data_set_is_refused(tmp_path: Path, lits_prepared: Prepared) -> None:
    with pytest.raises(UserError, match=r"is no prepared data set .*caseunet prepare"):
        Prepared(tmp_path)
    broken = shutil.copytree(lits_prepared.folder, tmp_path / "broken")
    (broken / "cases.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match="broken: the prepared data set is damaged"):
        Prepared(broken)
    with pytest.raises(UserError, match="there is no fold 2; its folds are 0 to 1"):
        fold_of(lits_prepared.split, 2, tmp_path)
    with pytest.raises(UserError, match='no case "volume-9"'):
        lits_prepared.image("volume-9")
