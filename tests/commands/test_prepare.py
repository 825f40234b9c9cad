"""RAW → PREPARED: nothing changes on the way, and nothing half-done is left."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import zarr
from PIL import Image

from caseunet.commands.prepare import prepare
from caseunet.commands.train import train
from caseunet.config import Config, PrepareConfig, load_config
from caseunet.data.folds import fold_of
from caseunet.data.store import DatasetInfo, Prepared
from caseunet.data.writing import PreparedWriter
from caseunet.datasets.generate import write_lits
from caseunet.datasets.lits import LITS
from caseunet.datasets.reading import read_labels
from caseunet.errors import CaseUNetError
from caseunet.prediction.python_predictor import Predictor
from caseunet.types import Fold, Ranges, Split
from caseunet.validation.calibration import source_reference


@pytest.fixture
def raw(lits_raw: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(lits_raw, tmp_path / "raw")


def test_pixels_and_labels_are_the_source_s(lits_prepared: Prepared, lits_raw: Path) -> None:
    dataset = LITS.discover(lits_raw)
    for case in dataset.cases:
        np.testing.assert_array_equal(lits_prepared.image(case.id), LITS.read_image(case, False).pixels)
        np.testing.assert_array_equal(lits_prepared.labels(case.id), read_labels(LITS, case, dataset))
    assert lits_prepared.image("volume-0").dtype == np.int16


def test_one_slice_is_one_chunk_and_small_cases_of_one_shape_share_an_array(lits_prepared: Prepared) -> None:
    group = zarr.open_group(lits_prepared.folder / "images.zarr", mode="r")
    assert list(group.array_keys()) == ["volume-0"]
    array = group["volume-0"]
    assert array.metadata.zarr_format == 3
    assert array.shape == (40, 1, 48, 40)
    assert array.chunks == (1, 1, 48, 40)
    assert array.shards == (40, 1, 48, 40)
    assert lits_prepared.cases["first"].tolist() == [0, 10, 20, 30]


def test_the_description_counts_right(lits_prepared: Prepared, lits_raw: Path) -> None:
    masks = [np.asarray(nib.load(path).dataobj) for path in sorted(lits_raw.glob("segmentation-*.nii"))]
    expected = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=3)
    assert lits_prepared.info.class_pixels == tuple(expected)
    assert lits_prepared.slice_class_pixels("volume-0").shape == (10, 3)
    assert lits_prepared.slice_class_pixels("volume-0").sum() == 10 * 48 * 40
    assert lits_prepared.cases.at["volume-3", "spacing"] == pytest.approx((2.5, 0.95, 0.95))
    assert lits_prepared.split.by == "patient"
    assert Prepared(str(lits_prepared.folder)).info == lits_prepared.info
    liver = np.concatenate(
        [lits_prepared.image(c)[:, 0][lits_prepared.labels(c) > 0] for c in lits_prepared.cases.index]
    )
    assert lits_prepared.info.intensities.mean[0] == pytest.approx(liver.mean(), abs=0.5)


def test_same_source_gives_the_same_fingerprint(raw: Path, lits_prepared: Prepared, tmp_path: Path) -> None:
    again = prepare(raw, out=tmp_path / "again", config=PrepareConfig(folds=2))
    assert again.info.content_hash == lits_prepared.info.content_hash
    assert again.split == lits_prepared.split
    image = nib.load(raw / "volume-0.nii")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + 1, image.affine), raw / "volume-0.nii")
    assert prepare(raw, out=tmp_path / "other").info.content_hash != lits_prepared.info.content_hash


def test_resizing(raw: Path, tmp_path: Path) -> None:
    prepared = prepare(raw, out=tmp_path / "p", config=PrepareConfig(size=(64, 32)))
    assert prepared.image("volume-0").shape == (10, 1, 64, 32)
    assert prepared.labels("volume-0").shape == (10, 64, 32)
    assert prepared.image("volume-0").dtype == np.int16
    assert tuple(prepared.cases.at["volume-0", "source_shape"]) == (40, 48, 10)


def test_images_without_masks_are_left_out_and_named(raw: Path, tmp_path: Path) -> None:
    (raw / "segmentation-2.nii").unlink()
    shutil.copy(raw / "volume-2.nii", raw / "test-volume-0.nii")
    prepared = prepare(raw, out=tmp_path / "p")
    assert sorted(prepared.cases.index) == ["volume-0", "volume-1", "volume-3"]
    notes = " ".join(prepared.info.notes)
    assert "volume-2.nii: has no mask, so it is left out" in notes
    assert "1 image of the test set, without masks: test-volume-0" in notes


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
    with pytest.raises(CaseUNetError, match=r"segmentation-2.nii"):
        prepare(raw, out=tmp_path / "p")
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


def test_all_misfits_are_reported_together(raw: Path, tmp_path: Path) -> None:
    for n in (0, 3):
        image = nib.load(raw / f"segmentation-{n}.nii")
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[1:].copy(), image.affine), raw / f"segmentation-{n}.nii")
    with pytest.raises(
        CaseUNetError,
        match=r"(?s)2 errors in .*segmentation-0.nii.*segmentation-3.nii.*let audit write a repair plan",
    ):
        prepare(raw, out=tmp_path / "p")


def test_one_patient_needs_blocks(raw: Path, tmp_path: Path) -> None:
    for n in (1, 2, 3):
        (raw / f"volume-{n}.nii").unlink()
        (raw / f"segmentation-{n}.nii").unlink()
    with pytest.raises(CaseUNetError, match=r"one patient.*slice-blocks"):
        prepare(raw, out=tmp_path / "p")
    blocks = prepare(
        raw,
        out=tmp_path / "p",
        config=PrepareConfig(split="slice-blocks", split_block_size=2, test_every=2, split_gap=0),
    )
    assert blocks.fold(0).val["volume-0"] == ((0, 2), (4, 6), (8, 10))
    assert "not how well" in blocks.split.caution


def test_overwriting_is_asked_for(raw: Path, tmp_path: Path) -> None:
    prepare(raw, out=tmp_path / "p")
    with pytest.raises(CaseUNetError, match='mode="overwrite"'):
        prepare(raw, out=tmp_path / "p")
    prepare(raw, out=tmp_path / "p", mode="overwrite")
    (raw / "segmentation-0.nii").write_bytes(b"damaged")
    with pytest.raises(CaseUNetError, match="segmentation-0"):
        prepare(raw, out=tmp_path / "p", mode="overwrite")
    Prepared(tmp_path / "p").image("volume-0")  # the earlier one is still there


def test_two_runs_to_one_folder_do_not_mix(tmp_path: Path) -> None:
    with PreparedWriter(tmp_path / "p") as writer:
        with pytest.raises(CaseUNetError, match="another run prepares to it now"), PreparedWriter(tmp_path / "p"):
            pass
        (tmp_path / "p").mkdir()
        (tmp_path / "p" / "theirs").touch()
        with pytest.raises(CaseUNetError, match="another run has written it meanwhile"):
            writer.finish(DatasetInfo.model_construct(), [], Split(by="patient", folds=()))
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
    assert (tmp_path / "p" / "theirs").exists()


def test_what_is_no_prepared_data_set_is_refused(tmp_path: Path, lits_prepared: Prepared) -> None:
    with pytest.raises(CaseUNetError, match=r"is no prepared data set .*caseunet prepare"):
        Prepared(tmp_path)
    broken = shutil.copytree(lits_prepared.folder, tmp_path / "broken")
    (broken / "cases.parquet").write_bytes(b"nothing")
    with pytest.raises(CaseUNetError, match="broken: the prepared data set is damaged"):
        Prepared(broken)
    shutil.copy(lits_prepared.folder / "cases.parquet", broken)
    content = json.loads((broken / "dataset.json").read_text())
    (broken / "dataset.json").write_text(json.dumps(content | {"channels": 2}))
    with pytest.raises(CaseUNetError, match="dataset.json: cannot be read as .* intensities need 2 values"):
        Prepared(broken)
    with pytest.raises(CaseUNetError, match="there is no fold 2; it has 2 folds"):
        fold_of(lits_prepared.split, 2, tmp_path)
    with pytest.raises(CaseUNetError, match='no case "volume-9"'):
        lits_prepared.image("volume-9")


def test_what_an_earlier_version_wrote_is_refused(lits_prepared: Prepared, tmp_path: Path) -> None:
    old = shutil.copytree(lits_prepared.folder, tmp_path / "old")
    content = json.loads((old / "dataset.json").read_text())
    (old / "dataset.json").write_text(json.dumps(content | {"format_version": 2}))
    with pytest.raises(CaseUNetError, match="of format 2, which an earlier version wrote. Prepare the data again"):
        Prepared(old)


def write_ct(raw: Path, name: str, labelled: tuple[slice, slice, slice], code: int = 1) -> None:
    """Air, and a body of 40 HU in rows 24 to 71 and columns 28 to 83 of slices 1 to 4; the label is given."""
    pixels, labels = np.full((6, 96, 112), -1000, np.int16), np.zeros((6, 96, 112), np.uint8)
    pixels[1:5, 24:72, 28:84] = np.random.default_rng(ord(name)).normal(40, 20, (4, 48, 56))
    labels[2, 40:50, 50:60] = 1
    labels[labelled] = code
    affine = np.diag([-0.8, -0.9, 5, 1])
    for folder, array in (("images", pixels), ("masks", labels)):
        (raw / folder).mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), affine), raw / folder / f"{name}.nii.gz")


INSIDE = np.s_[1:5, 30:60, 30:60]
"""The box of such a body is rows 12 to 83 and columns 16 to 95, 12 around the body; a label keeps 4 from its edge."""


@pytest.mark.parametrize(
    ("labelled", "cropped"),
    [
        (INSIDE, True),
        (np.s_[0:6, 30:60, 30:60], True),  # slices of air are kept, so labels may lie there
        (np.s_[2:3, 16:30, 30:60], True),
        (np.s_[2:3, 15:30, 30:60], False),  # no context above
        (np.s_[2:3, 30:80, 30:60], True),
        (np.s_[2:3, 30:81, 30:60], False),
        (np.s_[2:3, 30:60, 20:92], True),
        (np.s_[2:3, 30:60, 19:60], False),
        (np.s_[2:3, 30:60, 30:93], False),
        (np.s_[5:6, 90:92, 108:109], False),
    ],
    ids=str,
)
def test_no_label_is_cut_off(labelled: tuple[slice, slice, slice], cropped: bool, tmp_path: Path) -> None:
    """Once for all: the box is that of the image alone, or no case is cropped, and who forbids it is named."""
    write_ct(tmp_path / "raw", "a", INSIDE)
    write_ct(tmp_path / "raw", "b", labelled)
    prepared = prepare(
        tmp_path / "raw", out=tmp_path / "p", config=PrepareConfig(workers=0, folds=2, crop_to_body=True, modality="ct")
    )
    boxes = {prepared.placement(case).box for case in prepared.cases.index}
    assert boxes == {(12, 16, 84, 96) if cropped else (0, 0, 96, 112)}
    assert prepared.info.grid.crop_to_body == cropped
    assert prepared.info.grid.least_box == ((64.8, 64.0) if cropped else None)
    notes = [note for note in prepared.info.notes if "crop_to_body" in note]
    assert notes == (
        []
        if cropped
        else [
            "prepare.crop_to_body is off for all cases: in b the air around the body holds foreground, "
            "or its edge does."
        ]
    )


def test_a_value_mapped_to_background_cuts_no_air(tmp_path: Path) -> None:
    """A mark in the air that the plan makes background forbids nothing; without the plan it does."""
    for name in "ab":
        write_ct(tmp_path / "raw", name, np.s_[5:6, 90:92, 108:109], 2)
    (tmp_path / "raw" / "labels.json").write_text(
        json.dumps([{"name": n, "classid": i} for i, n in enumerate(("none", "liver"))])
    )
    plan = tmp_path / "plan.yaml"
    plan.write_text("layout: folder\ncases:\n  '*': {map: {2: 0}}\n")
    config = PrepareConfig(workers=0, folds=2, crop_to_body=True, modality="ct", repair_plan=plan)
    assert prepare(tmp_path / "raw", out=tmp_path / "p", config=config).info.grid.crop_to_body
    plan.write_text("layout: folder\ncases:\n  '*': {map: {2: 1}}\n")
    assert not prepare(tmp_path / "raw", out=tmp_path / "p", config=config, mode="overwrite").info.grid.crop_to_body


def test_labels_are_kept_at_the_source_s_size(tmp_path: Path) -> None:
    """Cropped and resized labels of scoring are the source's own, not resized ones."""
    write_ct(tmp_path / "raw", "a", np.s_[2:5, 33:34, 41:43])
    write_ct(tmp_path / "raw", "b", INSIDE)
    config = PrepareConfig(workers=0, folds=2, crop_to_body=True, modality="ct", size=(32, 48))
    prepared = prepare(tmp_path / "raw", out=tmp_path / "p", config=config)
    assert prepared.labels("a").shape == (6, 32, 48)
    true = np.zeros((6, 96, 112), np.uint8)
    true[2, 40:50, 50:60] = true[2:5, 33:34, 41:43] = 1
    np.testing.assert_array_equal(source_reference(prepared, "a"), true)


def test_missing_and_changed_pixels_are_noticed(lits_prepared: Prepared, tmp_path: Path) -> None:
    copy = shutil.copytree(lits_prepared.folder, tmp_path / "copy")
    (copy / "labels.zarr" / "volume-0" / "c" / "0" / "0" / "0").unlink()
    with pytest.raises(CaseUNetError, match="labels of case volume-1 are missing"):
        Prepared(copy).labels("volume-1")
    shard = copy / "images.zarr" / "volume-0" / "c" / "0" / "0" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[500] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CaseUNetError, match="images of case volume-0: .*checksum"):
        Prepared(copy).image("volume-0")


def test_a_large_case_has_several_shards_and_none_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caseunet.data.writing.SHARD_BYTES", 40_000)
    write_lits(tmp_path / "raw", patients=2, shape=(7, 64, 80))  # 71,680 bytes in two shards of four slices
    prepared = prepare(tmp_path / "raw", out=tmp_path / "p", config=PrepareConfig(folds=2, workers=0))
    dataset = LITS.discover(tmp_path / "raw")
    for case in dataset.cases:
        np.testing.assert_array_equal(prepared.image(case.id), LITS.read_image(case, False).pixels)
    shards = sorted((tmp_path / "p" / "images.zarr" / "volume-0" / "c").iterdir())
    assert len(shards) > 1
    shutil.rmtree(shards[-1])
    with pytest.raises(CaseUNetError, match="images of case volume-0 are missing"):
        Prepared(tmp_path / "p").image_slice("volume-0", 0)


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        ({"volume-0": ((0, 10),)}, {"volume-0": ((0, 10),)}, "volume-0 is in training and in validation"),
        ({"volume-0": ((0, 10),)}, {"volume-9": ((0, 10),)}, 'there is no case "volume-9"'),
        ({"volume-0": ((0, 11),)}, {"volume-1": ((0, 10),)}, "volume-0 has slices 0 to 9"),
        ({"volume-0": ((3, -1),)}, {"volume-1": ((0, 10),)}, "volume-0 has slices 0 to 9"),
        ({}, {"volume-1": ((0, 10),)}, "its train part is empty"),
    ],
)
def test_a_split_that_cannot_be_is_refused(
    train: dict[str, Ranges], val: dict[str, Ranges], message: str, lits_prepared: Prepared, tmp_path: Path
) -> None:
    copy = shutil.copytree(lits_prepared.folder, tmp_path / "copy")
    content = json.loads((copy / "splits.json").read_text())
    content["folds"][0] = Fold(train=train, val=val).model_dump(mode="json")
    (copy / "splits.json").write_text(json.dumps(content))
    with pytest.raises(CaseUNetError, match=message):
        Prepared(copy).fold(0)


def test_images_below_networks_size_go_all_way(raw: Path, tiny_config: Config, tmp_path: Path) -> None:
    image = nib.load(raw / "volume-1.nii")
    for name in ("volume-1.nii", "segmentation-1.nii"):
        small = np.asarray(nib.load(raw / name).dataobj)[:20].copy()
        nib.save(nib.Nifti1Image(small, image.affine), raw / name)
    prepared = prepare(raw, out=tmp_path / "p", config=tiny_config.prepare)
    assert prepared.size("volume-1") == (48, 20)
    assert any("48×20 pixels and are padded" in note for note in prepared.info.notes)
    bundle = train(tmp_path / "p", out=tmp_path / "run", config=tiny_config)
    assert Predictor(bundle).predict(raw / "volume-1.nii").canonical.shape == (10, 48, 20)


def test_masks_that_claim_another_place_are_refused_until_a_plan_says_what_counts(raw: Path, tmp_path: Path) -> None:
    image = nib.load(raw / "segmentation-0.nii")
    affine = image.affine.copy()
    affine[0, 3] += 500
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj).copy(), affine), raw / "segmentation-0.nii")
    with pytest.raises(CaseUNetError, match=r"segmentation-0.nii: the mask lies 500 mm away from its image"):
        prepare(raw, out=tmp_path / "p")
    plan = tmp_path / "plan.yaml"
    plan.write_text("layout: lits\ncases:\n  volume-0: {affine: image, why: looked at}\n")
    prepared = prepare(raw, out=tmp_path / "p", config=PrepareConfig(repair_plan=plan))
    assert any(
        "volume-0: repaired as planned: the image's position is used (looked at)" in n for n in prepared.info.notes
    )


def test_other_files_are_named(raw: Path, tmp_path: Path) -> None:
    shutil.copy(raw / "volume-0.nii", raw / "patient9.nii")
    assert any(
        "image files with other names: 1 file: patient9.nii" in n for n in prepare(raw, out=tmp_path / "p").info.notes
    )


def test_a_split_that_folders_bring_is_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part, number in (("train", 3), ("val", 2), ("test", 2)):
        for n in range(number):
            for kind in ("images", "masks"):
                path = tmp_path / "raw" / part / kind / f"{n}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 255 if kind == "images" else 2, (32, 32), np.uint8)).save(path)
    for split, folds in (("auto", 1), ("group", 5)):
        prepared = prepare(tmp_path / "raw", out=tmp_path / split, config=PrepareConfig(workers=0, split=split))
        assert len(prepared.cases) == 7
        assert len(prepared.split.folds) == folds
        used = {case for fold in prepared.split.folds for case in (*fold.train, *fold.val)}
        assert used == {"train/0", "train/1", "train/2", "val/0", "val/1"}
        assert any("test set is prepared, but in no part of a fold" in note for note in prepared.info.notes)
    fold = Prepared(tmp_path / "auto").split.folds[0]
    assert (sorted(fold.train), sorted(fold.val)) == (["train/0", "train/1", "train/2"], ["val/0", "val/1"])


@pytest.mark.parametrize(
    ("width", "size", "text"),
    [
        (4, (300, 400), "slices keep their resolution: vessel is 3.5 pixels wide (median), and would be 1.8 after"),
        (21, (150, 200), "vessel is 21.5 pixels wide (median), and is 11 after shrinking"),
    ],
)
def test_thin_structures_keep_their_pixels(
    width: int, size: tuple[int, int], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caseunet.data.grid.MAX_PREPARED_PIXELS", 30_000)
    for folder in ("images", "masks"):
        (tmp_path / "raw" / folder).mkdir(parents=True)
    (tmp_path / "raw" / "labels.json").write_text('{"background": 0, "vessel": 255}')
    for n in range(3):
        mask = np.zeros((300, 400), np.uint8)
        mask[100 : 100 + width, 20:380] = 255
        noise = np.random.default_rng(n).integers(0, 60, (300, 400, 3)).astype(np.uint8)
        Image.fromarray(noise + (mask // 2)[..., None]).save(tmp_path / "raw" / "images" / f"{n}.png")
        Image.fromarray(mask).save(tmp_path / "raw" / "masks" / f"{n}.png")
    prepared = prepare(tmp_path / "raw", out=tmp_path / "out", config=load_config().prepare)
    assert prepared.size("0") == size
    assert any(note.startswith(text) for note in prepared.info.notes)
