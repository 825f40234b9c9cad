"""Public data sets in their exact form: what is found unasked, what it means, and the traps of each.

Boxes of :func:`draw_volume` have 3 × 4 × 4 voxels where its number is even, else 4 × 4 × 4.
"""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from caseunet.commands.prepare import prepare
from caseunet.config import PrepareConfig
from caseunet.data.store import Prepared
from caseunet.datasets import find_layout, open_source
from caseunet.datasets.layout import SourceDataset
from caseunet.errors import CaseUNetError, InvalidInputError
from caseunet.evaluation.ground_truth import open_ground_truth
from caseunet.prediction.channels import Channels
from caseunet.prediction.inputs import find_inputs
from tests.support import public_layouts as public

Writer = Callable[[Path], None]


def raw_of(writer: Writer, tmp_path: Path) -> Path:
    root = tmp_path / "raw"
    root.mkdir()
    writer(root)
    return root


def opened(root: Path, **options: object) -> SourceDataset:
    return open_source(root, PrepareConfig.model_validate(options))[1]


def prepared(root: Path, **options: object) -> Prepared:
    config = PrepareConfig.model_validate({"workers": 0, "folds": 2, **options})
    return prepare(root, out=root.parent / "prepared", config=config)


def pixels(data: Prepared, case: str) -> list[int]:
    """Of each class."""
    return np.bincount(data.labels(case).ravel(), minlength=len(data.info.label_map)).tolist()


def told(dataset: SourceDataset, level: str) -> list[tuple[str, str | None]]:
    return [(finding.kind, finding.file) for finding in dataset.findings if finding.level == level]


KIDNEY = ("background", "kidney", "tumour", "cyst")
TUMOUR = ("background", "necrotic core", "oedema", "enhancing tumour")
HASH = "00ae65ba41143e3c090626b18c614b0d8f173f3abb54ed61ea9efbdc172f997a"
FORMS: dict[str, tuple[Writer, str, str, tuple[str, ...], dict[str, tuple[str, list[int]]]]] = {
    "kits": (public.write_kits, "kits", "ct", KIDNEY, {"case_00001": ("case_00001", [2688, 64, 64, 64])}),
    "kits in data": (partial(public.write_kits, below="data"), "kits", "ct", KIDNEY, {}),
    "kits 2021": (public.write_kits21, "kits", "ct", KIDNEY, {"case_00002": ("case_00002", [2736, 48, 48, 48])}),
    "brats": (
        public.write_brats,
        "brats",
        "mr",
        TUMOUR,
        {"BraTS-GLI-00003-001": ("BraTS-GLI-00003", [2688, 64, 64, 64])},
    ),
    "brats 0, 1, 2, 4": (partial(public.write_brats, values=(1, 2, 4)), "brats", "mr", TUMOUR, {}),
    "brats after treatment": (
        partial(public.write_brats, values=(1, 2, 3, 4)),
        "brats",
        "mr",
        (*TUMOUR, "resection cavity"),
        {},
    ),
    "brats 2020": (
        public.write_brats20,
        "brats",
        "mr",
        TUMOUR,
        {"BraTS20_Training_002": ("BraTS20_Training_002", [2736, 48, 48, 48])},
    ),
    "acdc": (
        public.write_acdc,
        "acdc",
        "mr",
        ("background", "right ventricle", "myocardium", "left ventricle"),
        {"patient002_frame12": ("patient002", [2736, 48, 48, 48])},
    ),
    "btcv": (
        public.write_btcv,
        "folder",
        "ct",
        ("background", *(f"class {n}" for n in range(1, 6))),
        {"img0002": ("img0002", [2880 - 5 * 48] + 5 * [48])},
    ),
    "btcv whole": (
        partial(public.write_btcv, values=range(1, 13)),  # the last class is missing
        "folder",
        "ct",
        (
            *("background", "spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach"),
            *("aorta", "inferior vena cava", "portal vein and splenic vein", "pancreas"),
            *("right adrenal gland", "left adrenal gland"),
        ),
        {},
    ),
    "btcv and more": (
        partial(public.write_btcv, values=range(1, 15)),
        "folder",
        "ct",
        ("background", *(f"class {n}" for n in range(1, 15))),
        {},
    ),
    "btcv img": (partial(public.write_btcv, images="img", labels="label"), "folder", "ct", (), {}),
    "amos": (public.write_amos, "msd", "ct", ("background", "spleen", "right kidney", "left kidney"), {}),
    "totalsegmentator": (
        public.write_totalsegmentator,
        "folder",
        "ct",
        ("background", "liver", "rib_left_1", "spleen"),
        {"s0001": ("s0001", [2752, 64, 0, 64])},
    ),
    "isic": (public.write_isic, "folder", "rgb", ("background", "foreground"), {}),
    "isic in folders": (partial(public.write_isic, together=False), "folder", "rgb", (), {}),
    "clinicdb": (public.write_clinicdb, "folder", "rgb", (), {"1": ("1", [1920 - 16 * 20, 16 * 20])}),
    "glas": (public.write_glas, "glas", "rgb", ("background", "gland"), {"testA_1": ("patient 5", [1680, 240])}),
    "busi": (
        public.write_busi,
        "busi",
        "rgb",
        ("background", "lesion"),
        {  # 17 × 21 pixels, and 6 × 10 of the second mask
            "benign/benign (2)": ("benign/benign (2)", [1920 - 357 - 60, 417]),
            "normal/normal (1)": ("normal/normal (1)", [1920, 0]),
        },
    ),
    "dsb2018": (public.write_dsb2018, "dsb2018", "rgb", ("background", "nucleus"), {HASH: (HASH, [1820, 100])}),
    "bids dseg": (public.write_bids, "bids", "mr", (), {"sub-02_T1w": ("sub-02", [2784, 48, 48])}),
    "bids lesion": (
        partial(public.write_bids, ending="label-lesion_mask"),
        "bids",
        "mr",
        ("background", "lesion"),
        {"sub-01_T1w": ("sub-01", [2816, 64])},
    ),
    "bids visits": (
        partial(public.write_bids, visits=True, ending="space-orig_desc-manual_dseg"),
        "bids",
        "mr",
        (),
        {"sub-03_ses-2_T1w": ("sub-03", [2784, 48, 48])},
    ),
    "nnunet 1": (
        public.write_nnunet_v1,
        "nnunet",
        "mr",
        ("background", "Anterior", "Posterior"),
        {"hip_001": ("hip_001", [2752, 64, 64])},
    ),
    "nnunet listed": (
        public.write_nnunet_listed,
        "nnunet",
        "mr",
        ("background", "Anterior", "Posterior"),
        {"hip_001": ("hip_001", [2752, 64, 64])},
    ),
    "monai label": (
        public.write_monai_label,
        "monai-label",
        "ct",
        ("background", "spleen", "liver"),
        {"spleen_1": ("spleen_1", [2752, 64, 64])},
    ),
    "2-d nifti": (public.write_flat_nifti, "folder", "mr", (), {"p1": ("p1", [1920 - 16 * 20, 16 * 20])}),
}


@pytest.mark.parametrize("form", FORMS)
def test_scores_read_public_forms_as_prepare_does(form: str, tmp_path: Path) -> None:
    """A raw data set with images is not taken for masks alone."""
    writer, layout, *_ = FORMS[form]
    root = raw_of(writer, tmp_path)
    truth = open_ground_truth(root, PrepareConfig(workers=0))
    assert truth.dataset.format == layout
    assert set(truth.labelled) == {case.id for case in opened(root).labelled}


@pytest.mark.parametrize("form", FORMS)
def test_public_forms_are_read_unasked(form: str, tmp_path: Path) -> None:
    writer, layout, modality, classes, cases = FORMS[form]
    data = prepared(raw_of(writer, tmp_path))
    assert (data.info.source_format, data.info.modality) == (layout, modality)
    assert data.info.label_map.names == (classes or data.info.label_map.names)
    for case, (group, counts) in cases.items():
        assert data.cases.loc[case, "group"] == group
        assert pixels(data, case) == counts


def test_public_masks_are_read_voxel_by_voxel(tmp_path: Path) -> None:
    data = prepared(raw_of(public.write_kits, tmp_path))
    drawn = public.draw_volume(1, (1, 2, 3))  # axes left, posterior, superior
    np.testing.assert_array_equal(data.labels("case_00001"), drawn.transpose(2, 1, 0))


# KiTS


def test_kits19_has_no_cyst(tmp_path: Path) -> None:
    root = raw_of(public.write_kits, tmp_path)
    for path in root.glob("case_*/segmentation.nii.gz"):
        mask = np.asarray(nib.load(path).dataobj)
        public.save_volume(path, np.where(mask == 3, 0, mask).astype(np.uint8))
    assert prepared(root).info.label_map.names == KIDNEY[:3]


def test_kits_values_beyond_its_own_are_errors(tmp_path: Path) -> None:
    root = raw_of(public.write_kits, tmp_path)
    public.save_volume(root / "case_00001" / "segmentation.nii.gz", public.draw_volume(1, (1, 7)))
    with pytest.raises(CaseUNetError, match="case_00001.*64 pixels have values that are no class: 7"):
        prepared(root)


def test_labels_json_renames_kits(tmp_path: Path) -> None:
    root = raw_of(public.write_kits, tmp_path)
    (root / "labels.json").write_text('["background", "Niere", "Tumor", "Zyste"]')
    assert prepared(root).info.label_map.names == ("background", "Niere", "Tumor", "Zyste")


def test_kits_without_a_mask_or_an_image(tmp_path: Path) -> None:
    root = raw_of(public.write_kits, tmp_path)
    (root / "case_00001" / "imaging.nii.gz").unlink()
    shutil.copy(root / "case_00000" / "imaging.nii.gz", root / "case_00000" / "scan.nii.gz")
    dataset = opened(root)
    assert told(dataset, "error") == [("extra-mask", "case_00001/segmentation.nii.gz")]
    assert told(dataset, "note") == [("left-out", "case_00000/scan.nii.gz")]
    assert [case.id for case in dataset.cases if not case.label] == ["case_00003"]


def test_kits_names_what_lies_elsewhere(tmp_path: Path) -> None:
    """Images in other folders may be more of the data set, so that they are more than a note."""
    root = raw_of(public.write_kits, tmp_path)
    shutil.copytree(root / "case_00000", root / "more" / "patient 7")
    assert told(opened(root), "warning") == [("left-out", "more/patient 7/imaging.nii.gz")]


# BraTS


def test_brats_channels_are_joined_in_order(tmp_path: Path) -> None:
    dataset = opened(raw_of(public.write_brats, tmp_path))
    assert dataset.channel_names == ("t1c", "t1n", "t2f", "t2w")
    ends = [path.name.removesuffix(".nii.gz")[-3:] for path in dataset.cases[0].image]
    assert ends == ["t1c", "t1n", "t2f", "t2w"]


@pytest.mark.parametrize(
    ("values", "whole", "written"), [((1, 2, 3), (1, 2, 3), (1, 2, 3)), ((1, 2, 4), (1, 2, 3), (1, 2, 3))]
)
def test_brats_declares_what_is_scored(
    values: tuple[int, ...], whole: tuple[int, ...], written: tuple[int, ...], tmp_path: Path
) -> None:
    prepared = prepare(
        raw_of(partial(public.write_brats, values=values), tmp_path), out=tmp_path / "p", config=PrepareConfig(folds=2)
    )
    label_map = prepared.info.label_map
    assert label_map.structures == {"whole tumour": whole, "tumour core": (1, 3), "enhancing tumour": (3,)}
    assert label_map.region_ids == written


def test_brats_of_two_ages_is_refused(tmp_path: Path) -> None:
    root = raw_of(public.write_brats, tmp_path)
    for folder in list(root.rglob("BraTS-GLI-00003-001")):
        for path in list(folder.iterdir()):
            path.rename(folder / path.name.replace("BraTS-GLI-00003-001", "BraTS2021_00003"))
    with pytest.raises(CaseUNetError, match="cases of BraTS before 2023, such as BraTS2021_00003, lie"):
        opened(root)


def test_channels_may_be_typed_in_brackets() -> None:
    assert PrepareConfig(channels="[t2f, 't1c']").channels == ("t2f", "t1c")
    assert PrepareConfig(channels=("[t2f, t1c]",)).channels == ("t2f", "t1c")


def test_brats_channels_may_be_chosen(tmp_path: Path) -> None:
    dataset = opened(raw_of(public.write_brats, tmp_path), channels=["t2f", "t1c"])
    assert (dataset.format, dataset.channel_names) == ("brats", ("t2f", "t1c"))
    assert [path.name[-10:-7] for path in dataset.cases[0].image] == ["t2f", "t1c"]


def test_brats_is_predicted_in_the_chosen_order(tmp_path: Path) -> None:
    root = raw_of(public.write_brats, tmp_path)
    found = find_inputs([root], channels=Channels(2, ("t2f", "t1c")))
    assert [[path.name[-10:-7] for path in item.files] for item in found] == 4 * [["t2f", "t1c"]]


def test_brats_without_a_channel_is_an_error(tmp_path: Path) -> None:
    root = raw_of(public.write_brats, tmp_path)
    next(root.glob("*-00003-000/*-t2w.nii.gz")).unlink()
    dataset = opened(root)
    assert [kind for kind, _ in told(dataset, "error")] == ["channels"]
    assert "BraTS-GLI-00003-000" not in [case.id for case in dataset.cases]


def test_brats_validation_is_a_test_set(tmp_path: Path) -> None:
    root = raw_of(public.write_brats20, tmp_path)
    folder = root / "MICCAI_BraTS2020_TrainingData" / "BraTS20_Training_003"
    (folder / "BraTS20_Training_003_seg.nii").rename(folder / "W39_1998.09.19_Segm.nii")
    dataset = opened(root)
    assert [(case.id, case.part) for case in dataset.cases if case.part] == [("BraTS20_Validation_001", "test")]
    assert [len(case.label) for case in dataset.cases] == [1, 1, 1, 1, 0]
    assert dataset.findings == ()


def test_brats_of_children_is_not_named(tmp_path: Path) -> None:
    """Their values mean other things than those of gliomas."""
    root = raw_of(public.write_brats, tmp_path)
    for path in sorted(root.rglob("*GLI*"), reverse=True):
        path.rename(path.with_name(path.name.replace("GLI", "PED")))
    assert opened(root).class_tables == ()


# ACDC


def test_acdc_series_are_left_out_and_parts_kept(tmp_path: Path) -> None:
    dataset = opened(raw_of(public.write_acdc, tmp_path))
    assert {case.part for case in dataset.cases if case.group == "patient004"} == {"test"}
    left = [finding.file or "" for finding in dataset.findings if finding.kind == "left-out"]
    assert len(left) == 4
    assert all(name.endswith("_4d.nii.gz") for name in left)


def test_acdc_in_nnunets_form_is_nnunets(tmp_path: Path) -> None:
    root = raw_of(public.write_nnunet_v1, tmp_path)
    for path in root.rglob("*.nii.gz"):
        path.rename(path.with_name(path.name.replace("hip_", "patient").replace("_00", "_frame01_00")))
    assert find_layout(root).name != "acdc"


# splits


def test_a_split_in_meta_csv_is_kept(tmp_path: Path) -> None:
    data = prepared(raw_of(public.write_totalsegmentator, tmp_path))
    assert data.split is not None
    assert [sorted(fold.val) for fold in data.split.folds] == [["s0004"]]
    assert "s0005" not in data.split.folds[0].train


def test_amos_validation_is_its_split(tmp_path: Path) -> None:
    dataset = opened(raw_of(public.write_amos, tmp_path))
    assert [case.part for case in dataset.cases] == ["train"] * 4 + ["val", "test"]
    assert dataset.findings == ()


def test_a_table_of_other_names_is_not_used(tmp_path: Path) -> None:
    root = raw_of(public.write_totalsegmentator, tmp_path)
    (root / "meta.csv").write_text("image_id;split\nx1;train\nx2;val\n")
    dataset = opened(root)
    assert ("own-split", "meta.csv") in told(dataset, "warning")
    assert {case.part for case in dataset.cases} == {""}


# pictures


def test_isic_superpixels_are_no_images(tmp_path: Path) -> None:
    dataset = opened(raw_of(public.write_isic, tmp_path))
    assert [case.id for case in dataset.cases] == [f"ISIC_{n:07d}" for n in range(4)]
    (left,) = (finding for finding in dataset.findings if finding.kind == "left-out" and finding.level == "warning")
    assert left.files is not None
    assert len(left.files) == 4


def test_glas_objects_are_a_class_and_parts_kept(tmp_path: Path) -> None:
    dataset = opened(raw_of(public.write_glas, tmp_path))
    assert [(case.id, case.part) for case in dataset.cases][::3] == [
        ("testA_1", "test"),
        ("train_1", "train"),
        ("train_4", "train"),
    ]


def test_chase_asks_for_the_rater(tmp_path: Path) -> None:
    root = raw_of(public.write_chase, tmp_path)
    with pytest.raises(CaseUNetError, match=r"prepare.masks: '\*_1stHO\.\*', merge those of several people"):
        prepared(root)


@pytest.mark.parametrize(("options", "rows"), [({"masks": ["*_1stHO.*"]}, 16), ({"raters": "majority"}, 14)])
def test_chase_raters(options: dict[str, object], rows: int, tmp_path: Path) -> None:
    """The second leaves out two rows; where two differ, the lower value counts."""
    data = prepared(raw_of(public.write_chase, tmp_path), **options)
    assert data.info.label_map.names == ("background", "vessel")
    assert set(data.cases["group"]) == {"Image_01", "Image_02", "Image_03"}
    assert pixels(data, "Image_01L") == [1920 - rows * 20, rows * 20]


def test_busi_without_an_image_is_an_error(tmp_path: Path) -> None:
    root = raw_of(public.write_busi, tmp_path)
    (root / "benign" / "benign (2).png").unlink()
    assert [kind for kind, _ in told(opened(root), "error")] == ["extra-mask", "extra-mask"]


def test_dsb_test_images_are_a_test_set(tmp_path: Path) -> None:
    root = raw_of(public.write_dsb2018, tmp_path)
    other = HASH.replace("00", "ff")
    public.save_picture(root / "stage1_test" / other / "images" / f"{other}.png", public.photo(np.zeros((9, 9)), 1))
    assert [case.part for case in opened(root).cases] == ["", "", "", "", "test"]


def test_class_files_are_no_objects(tmp_path: Path) -> None:
    """Names of classes, not hashes: each file is a class."""
    root = tmp_path / "raw"
    for n in range(3):
        public.save_picture(root / f"p{n}" / "images" / f"p{n}.png", public.photo(public.draw_picture(n), n))
        for name in ("liver", "spleen"):
            public.save_picture(root / f"p{n}" / "masks" / f"{name}.png", public.draw_picture(n + len(name)))
    assert find_layout(root).name == "folder"


# BIDS


def add_contrast(root: Path) -> None:
    """FLAIR beside each T1w."""
    for path in list(root.glob("sub-*/anat/*_T1w.nii.gz")):
        image = nib.load(path)
        nib.save(image, path.with_name(path.name.replace("T1w", "FLAIR")))


def test_bids_asks_which_contrast_is_meant(tmp_path: Path) -> None:
    root = raw_of(public.write_bids, tmp_path)
    add_contrast(root)
    with pytest.raises(InvalidInputError, match=r"prepare.images: '\*_FLAIR\.\*' or '\*_T1w\.\*'"):
        opened(root)
    dataset = opened(root, images=["*_FLAIR.*"])
    assert (dataset.format, dataset.cases[0].id, dataset.cases[0].group) == ("bids", "sub-01_FLAIR", "sub-01")
    dataset = opened(root, channels=["T1w", "FLAIR"])
    assert [path.name for path in dataset.cases[1].image] == ["sub-02_T1w.nii.gz", "sub-02_FLAIR.nii.gz"]


def test_bids_masks_that_name_their_contrast(tmp_path: Path) -> None:
    root = raw_of(partial(public.write_bids, ending="space-T1w_dseg"), tmp_path)
    add_contrast(root)
    dataset = opened(root)
    assert [case.id for case in dataset.cases] == [f"sub-{n:02d}_T1w" for n in range(1, 5)]
    assert any("sub-01_FLAIR" in finding.text for finding in dataset.findings if finding.kind == "left-out")


def test_bids_asks_which_masks_are_meant(tmp_path: Path) -> None:
    root = raw_of(public.write_bids, tmp_path)
    public.write_bids(root, labels="derivatives/model")
    with pytest.raises(InvalidInputError, match="masks of 2 kinds.*: derivatives/labels or derivatives/model"):
        opened(root)
    dataset = opened(root, masks=["derivatives/labels"])
    assert {dataset.relative(case.label[0])[:18] for case in dataset.cases} == {"derivatives/labels"}


def test_bids_asks_which_description_is_meant(tmp_path: Path) -> None:
    root = raw_of(partial(public.write_bids, ending="desc-manual_dseg", visits=True), tmp_path)
    public.write_bids(root, ending="desc-model_dseg", visits=True)
    with pytest.raises(InvalidInputError, match=r"'\*_desc-manual_dseg\.\*' or '\*_desc-model_dseg\.\*'"):
        opened(root)
    dataset = opened(root, masks=["*_desc-manual_dseg.*"])
    assert [len(case.label) for case in dataset.cases] == 8 * [1]


def test_bids_masks_of_several_labels_are_classes(tmp_path: Path) -> None:
    root = raw_of(partial(public.write_bids, ending="label-lesion_mask"), tmp_path)
    for n in range(1, 5):
        mask = public.draw_volume(n, (0, 0, 1))
        public.save_volume(root / f"derivatives/labels/sub-{n:02d}/anat/sub-{n:02d}_label-GM_mask.nii.gz", mask)
    data = prepared(root)
    assert data.info.label_map.names == ("background", "GM", "lesion")
    assert pixels(data, "sub-01_T1w") == [2752, 64, 64]


def test_bids_table_names_the_classes(tmp_path: Path) -> None:
    root = raw_of(public.write_bids, tmp_path)
    (root / "derivatives" / "labels" / "dseg.tsv").write_text("index\tname\n0\tnone\n1\tcaudate\n2\tputamen\n")
    assert prepared(root).info.label_map.names == ("background", "caudate", "putamen")


def write_tables(root: Path, tables: dict[str, str]) -> None:
    for name, rows in tables.items():
        (root / "derivatives" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "derivatives" / name).write_text(f"index\tname\n{rows}")


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("1\tputamen\n", r"calls the value 1 \"caudate\", and .*sub-02_dseg\.tsv calls it \"putamen\""),
        ("2\tcaudate\n", r"\"caudate\" is 1 in .*, and 2 in derivatives/labels/sub-02/anat/sub-02_dseg\.tsv"),
    ],
)
def test_bids_tables_that_contradict_each_other(second: str, message: str, tmp_path: Path) -> None:
    root = raw_of(public.write_bids, tmp_path)
    first, other = (f"labels/sub-0{n}/anat/sub-0{n}_dseg.tsv" for n in (1, 2))
    write_tables(root, {first: "1\tcaudate\n", other: second})
    with pytest.raises(InvalidInputError, match=message):
        opened(root)
    write_tables(root, {other: "1\tCaudate\n2\tputamen\n"})
    assert opened(root).class_tables == ({1: "caudate", 2: "putamen"},)


@pytest.mark.parametrize("name", ["other/dseg.tsv", "labels/desc-aseg_dseg.tsv", "labels/sub-09/anat/sub-09_dseg.tsv"])
def test_bids_tables_of_other_masks_do_not_count(name: str, tmp_path: Path) -> None:
    root = raw_of(public.write_bids, tmp_path)
    write_tables(root, {name: "1\tcortex\n2\twhite matter\n"})
    assert opened(root).class_tables == ()
    write_tables(root, {"labels/dseg.tsv": "1\tcaudate\n2\tputamen\n"})
    assert opened(root).class_tables == ({1: "caudate", 2: "putamen"},)


def test_bids_without_a_mask_or_an_image(tmp_path: Path) -> None:
    root = raw_of(public.write_bids, tmp_path)
    (root / "sub-02" / "anat" / "sub-02_T1w.nii.gz").unlink()
    shutil.rmtree(root / "derivatives" / "labels" / "sub-03")
    dataset = opened(root)
    assert told(dataset, "error") == [("extra-mask", "derivatives/labels/sub-02/anat/sub-02_dseg.nii.gz")]
    assert [case.id for case in dataset.cases if not case.label] == ["sub-03_T1w"]


# nnU-Net and MONAI Label


def test_listed_files_that_lack_or_lie_outside(tmp_path: Path) -> None:
    root = raw_of(public.write_nnunet_listed, tmp_path)
    (root / "scans" / "T2" / "p1.nii.gz").unlink()
    (root / "drawn" / "extra.nii.gz").write_bytes(b"")
    dataset = opened(root)
    assert told(dataset, "error") == [("missing-file", "scans/T2/p1.nii.gz")]
    assert [case.id for case in dataset.cases] == ["hip_000", "hip_002", "hip_003"]
    assert any("extra.nii.gz" in finding.text for finding in dataset.findings)
    description = json.loads((root / "dataset.json").read_text())
    description["dataset"]["hip_000"]["label"] = "../other.nii.gz"
    (root / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(InvalidInputError, match="lies outside the data set"):
        opened(root)


def test_monai_label_takes_final_masks_alone(tmp_path: Path) -> None:
    root = raw_of(public.write_monai_label, tmp_path)
    (root / "labels" / "final" / "spleen_1.nii.gz").unlink()
    dataset = opened(root)
    assert [dataset.relative(case.label[0]) for case in dataset.labelled] == [
        f"labels/final/spleen_{n}.nii.gz" for n in (0, 2, 3)
    ]
    assert told(dataset, "error") == [("missing-file", "labels/final/spleen_1.nii.gz")]


def submit_as(root: Path, names: dict[str, dict[str, int]]) -> None:
    store = json.loads((root / "datastore_v2.json").read_text())
    for case, own in names.items():
        store["objects"][case]["labels"]["final"]["info"]["params"]["label_names"] = own
    (root / "datastore_v2.json").write_text(json.dumps(store))


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"liver": 1}, r'spleen_0 calls the value 1 "spleen", and spleen_1 calls it "liver"; expected one name'),
        ({"Spleen": 1, "liver": 3}, r'"liver" is 2 in spleen_0, and 3 in spleen_1; expected one value'),
        ({"spleen": 1, "kidney": 1}, r'spleen_1 calls it "kidney"'),
    ],
)
def test_monai_label_names_that_contradict_each_other(own: dict[str, int], message: str, tmp_path: Path) -> None:
    root = raw_of(public.write_monai_label, tmp_path)
    submit_as(root, {"spleen_1": own})
    with pytest.raises(InvalidInputError, match=message):
        opened(root)
    (root / "labels.json").write_text('{"background": 0, "spleen": 1, "liver": 2}')
    assert opened(root).coding is not None


def test_monai_label_masks_submitted_without_a_class_are_partial(tmp_path: Path) -> None:
    root = raw_of(public.write_monai_label, tmp_path)
    submit_as(root, {"spleen_0": {"spleen": 1}, "spleen_1": {}})
    dataset = opened(root)
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == ("background", "spleen", "liver")
    assert [case.labelled for case in dataset.cases] == [("spleen",), (), (), (), ()]


@pytest.mark.parametrize(
    "entry", [{"image": {"ext": "/../x.nii.gz"}}, {"image": {}, "labels": {"final": {"ext": "/../../x.nii.gz"}}}]
)
def test_monai_label_stays_in_its_folder(entry: dict[str, object], tmp_path: Path) -> None:
    root = raw_of(public.write_monai_label, tmp_path)
    (root / "datastore_v2.json").write_text(json.dumps({"objects": {"spleen_0": entry}}))
    with pytest.raises(InvalidInputError, match="lies outside the data set"):
        opened(root)


@pytest.mark.parametrize("entry", [{}, {"image": [], "labels": 3}, {"labels": {"final": {"info": "x"}}}])
def test_monai_label_entries_of_other_forms(entry: dict[str, object], tmp_path: Path) -> None:
    root = raw_of(public.write_monai_label, tmp_path)
    store = json.loads((root / "datastore_v2.json").read_text())
    store["objects"]["other"] = entry
    (root / "datastore_v2.json").write_text(json.dumps(store))
    assert ("missing-file", "other") in told(opened(root), "error")


def test_a_listed_case_without_images_is_an_error(tmp_path: Path) -> None:
    root = raw_of(public.write_nnunet_listed, tmp_path)
    description = json.loads((root / "dataset.json").read_text())
    description["dataset"]["hip_000"] = {"images": []}
    (root / "dataset.json").write_text(json.dumps(description))
    assert told(opened(root), "error") == [("channels", "dataset.json")]


# a failed search


@pytest.mark.parametrize(
    ("writer", "pattern", "nearest"),
    [
        (public.write_kits, "*/segmentation.nii.gz", r"nearest layout is kits \(case_NNNNN/.*4 images, but no mask"),
        (public.write_acdc, "*/*/*_gt.nii.gz", r"nearest layout is acdc .*8 images, but no mask"),
        (public.write_bids, "derivatives/**/*.nii.gz", r"nearest layout is bids .*4 images, but no mask"),
        (public.write_clinicdb, "Original/*", r"nearest layout is folder .*5 masks, but no image"),
    ],
)
def test_a_failed_search_names_the_nearest(writer: Writer, pattern: str, nearest: str, tmp_path: Path) -> None:
    root = raw_of(writer, tmp_path)
    for path in root.glob(pattern):
        path.unlink()
    with pytest.raises(InvalidInputError, match=f"none of the known layouts was found. Found .*{nearest}"):
        find_layout(root)


def test_two_layouts_are_not_guessed_between(tmp_path: Path) -> None:
    root = raw_of(public.write_kits, tmp_path)
    public.write_acdc(root)
    with pytest.raises(InvalidInputError, match="fits the layouts acdc and kits. Name the one that is meant"):
        opened(root)
    assert opened(root, layout="acdc").format == "acdc"
