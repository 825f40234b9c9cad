"""The LiTS layout, with its traps."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from caseunet.datasets import find_layout
from caseunet.datasets.generate import write_nnunet
from caseunet.datasets.generate.drawings import draw_patient
from caseunet.datasets.layout import SourceCase, SourceDataset
from caseunet.datasets.lits import CODING, LITS
from caseunet.datasets.reading import read_labels
from caseunet.errors import CaseUNetError
from caseunet.files import write_json

AFFINE = np.diag([-1, -1, 2, 1])
SHAPE = (4, 5, 6)


def put(path: Path, array: np.ndarray | None = None, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.int16) if array is None else array, affine), path)
    return path


def told(dataset: SourceDataset) -> list[tuple[str, str, str | None]]:
    return [(finding.level, finding.kind, finding.file) for finding in dataset.findings]


def pairs(dataset: SourceDataset) -> list[tuple[str, str, str, bool]]:
    """(case, image, mask, test) with files relative to the folder; "" without a mask."""
    return [
        (case.id, dataset.relative(case.image[0]), "".join(dataset.relative(path) for path in case.label), case.test)
        for case in dataset.cases
    ]


def test_made_up_patients_are_read_as_they_were_drawn(lits_raw: Path) -> None:
    assert find_layout(lits_raw) is LITS
    dataset = LITS.discover(lits_raw)
    assert told(dataset) == []
    assert pairs(dataset) == [(f"volume-{n}", f"volume-{n}.nii", f"segmentation-{n}.nii", False) for n in range(4)]
    assert [case.group for case in dataset.cases] == [case.id for case in dataset.cases]
    codes = ["".join(nib.aff2axcodes(nib.load(case.image[0]).affine)) for case in dataset.cases]
    assert codes == ["RAS", "LPS", "LAS", "PIR"]
    for n, case in enumerate(dataset.cases):
        patient = draw_patient(0, n, (10, 48, 40))
        picture = LITS.read_image(case, False)
        assert picture.pixels.dtype == np.int16
        np.testing.assert_array_equal(picture.pixels[:, 0], patient.hounsfield)
        labels = read_labels(LITS, case, dataset)
        for i, name in enumerate(("background", "liver", "tumour")):
            assert CODING.label_map.names[i] == name
            np.testing.assert_array_equal(labels == i, patient.labels == i)


def test_made_up_patients_are_anatomically_sound(lits_raw: Path) -> None:
    dataset = LITS.discover(lits_raw)
    for case in dataset.cases:
        image, labels = LITS.read_image(case, False), read_labels(LITS, case, dataset)
        liver = np.argwhere(labels > 0)
        assert liver[:, 2].mean() < 20, "the liver lies on the patient's right, the left of the picture"
        spine = np.argwhere(image.pixels[:, 0] > 250)
        assert spine[:, 1].mean() > 30, "the spine lies at the back, low in the picture"
        assert (labels == 2).any() == (case.id != "volume-1"), "one patient has no tumour"


def test_the_liver_is_scored_with_its_tumours() -> None:
    assert CODING.label_map.structures == {"liver": (1, 2), "tumour": (2,)}


def test_batches_gzip_shadows_and_the_test_set(tmp_path: Path) -> None:
    for path in (
        "Training Batch 1/volume-2.nii",
        "Training Batch 1/segmentation-2.nii.gz",
        "Training Batch 2/volume-10.nii.gz",
        "Training Batch 2/segmentation-10.nii",
        "test-volume-2.nii",
    ):
        put(tmp_path / path)
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "volume-3.nii").write_bytes(b"shadow")
    (tmp_path / "._volume-4.nii").write_bytes(b"shadow")
    assert find_layout(tmp_path) is LITS
    dataset = LITS.discover(tmp_path)
    assert pairs(dataset) == [
        ("volume-2", "Training Batch 1/volume-2.nii", "Training Batch 1/segmentation-2.nii.gz", False),
        ("volume-10", "Training Batch 2/volume-10.nii.gz", "Training Batch 2/segmentation-10.nii", False),
        ("test-volume-2", "test-volume-2.nii", "", True),
    ]
    assert told(dataset) == []


def test_the_decathlon_s_copy_has_the_same_scans_under_the_same_names(tmp_path: Path) -> None:
    for path in (
        "imagesTr/liver_0",
        "labelsTr/liver_0",
        "imagesTr/liver_103",
        "labelsTr/liver_103",
        "imagesTs/liver_7",
    ):
        put(tmp_path / f"{path}.nii.gz")
    for path in ("imagesTr/._liver_0.nii.gz", "labelsTr/._liver_0.nii.gz"):
        (tmp_path / path).write_bytes(b"shadow")
    entry = {"image": "./imagesTr/liver_0.nii.gz", "label": "./labelsTr/liver_0.nii.gz"}
    write_json(tmp_path / "dataset.json", {"modality": {"0": "CT"}, "labels": {"0": "background"}, "training": [entry]})
    assert find_layout(tmp_path) is LITS
    dataset = LITS.discover(tmp_path)
    assert pairs(dataset) == [
        ("volume-0", "imagesTr/liver_0.nii.gz", "labelsTr/liver_0.nii.gz", False),
        ("volume-103", "imagesTr/liver_103.nii.gz", "labelsTr/liver_103.nii.gz", False),
        ("test-volume-7", "imagesTs/liver_7.nii.gz", "", True),
    ]
    assert told(dataset) == []


def test_nnunet_s_copy_is_nnunet_s(tmp_path: Path) -> None:
    """Dataset003_Liver has labelsTr/liver_0.nii.gz as the Decathlon has, but images called liver_0_0000.nii.gz."""
    write_nnunet(tmp_path, cases=2, shape=(2, 5, 6))
    for path in list(tmp_path.rglob("case_*")):
        path.rename(path.with_name(path.name.replace("case_00", "liver_")))
    assert find_layout(tmp_path).name == "nnunet"


def test_a_mask_without_its_image_is_named(tmp_path: Path) -> None:
    put(tmp_path / "volume-1.nii")
    put(tmp_path / "segmentation-1.nii")
    put(tmp_path / "more" / "segmentation-7.nii")
    dataset = LITS.discover(tmp_path)
    assert told(dataset) == [("error", "extra-mask", "more/segmentation-7.nii")]
    assert "volume-7.nii was expected" in dataset.findings[0].text
    assert [case.id for case in dataset.cases] == ["volume-1"]


def test_a_number_that_is_there_twice_is_named(tmp_path: Path) -> None:
    put(tmp_path / "volume-1.nii")
    put(tmp_path / "segmentation-01.nii")
    put(tmp_path / "segmentation-1.nii.gz")
    put(tmp_path / "again" / "volume-1.nii.gz")
    dataset = LITS.discover(tmp_path)
    assert told(dataset) == [("error", "twice", "volume-1.nii"), ("error", "twice", "segmentation-1.nii.gz")]
    assert "again/volume-1.nii.gz" in dataset.findings[0].text
    assert pairs(dataset) == [("volume-1", "again/volume-1.nii.gz", "segmentation-01.nii", False)]


def test_other_files_are_noted(tmp_path: Path) -> None:
    put(tmp_path / "volume-1.nii")
    put(tmp_path / "liver_atlas.nii")
    assert told(LITS.discover(tmp_path)) == [("note", "left-out", "liver_atlas.nii")]


def test_masks_alone_are_no_data_set(tmp_path: Path) -> None:
    put(tmp_path / "segmentation-1.nii")
    with pytest.raises(CaseUNetError, match=r"volume-N.nii or volume-N.nii.gz was expected"):
        LITS.discover(tmp_path)


def test_an_empty_folder_lists_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(CaseUNetError, match=r"(?s)none of the known layouts.*lits: volume-N.nii.*") as caught:
        find_layout(tmp_path)
    assert "endovis2018" in str(caught.value)
    with pytest.raises(CaseUNetError, match="no such folder"):
        find_layout(tmp_path / "none")
    with pytest.raises(CaseUNetError, match='no raw layout "lit". Did you mean "lits"'):
        find_layout(tmp_path, "lit")


def one_case(folder: Path, mask: np.ndarray, affine: np.ndarray = AFFINE) -> tuple[SourceCase, SourceDataset]:
    """A case whose image lies at ``AFFINE``."""
    put(folder / "volume-1.nii")
    put(folder / "segmentation-1.nii", mask, affine)
    dataset = LITS.discover(folder)
    return dataset.cases[0], dataset


def test_values_that_are_no_label_are_named_and_counted(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[0, 0, :3] = 7
    with pytest.raises(
        CaseUNetError, match=r"segmentation-1.nii: 3 pixels have values that are no class, most often 7"
    ):
        read_labels(LITS, *one_case(tmp_path, mask))


def test_interpolated_labels_are_named(tmp_path: Path) -> None:
    with pytest.raises(CaseUNetError, match=r"segmentation-1.nii: holds 120 values that are no whole numbers"):
        read_labels(LITS, *one_case(tmp_path, np.full(SHAPE, 0.5, np.float32)))


def test_a_mask_of_another_shape_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaseUNetError, match=r"segmentation-1.nii: the mask's shape \(4, 5, 5\) is not its image's"):
        read_labels(LITS, *one_case(tmp_path, np.zeros((4, 5, 5), np.uint8)))


def test_a_mask_that_lies_elsewhere_is_named(tmp_path: Path) -> None:
    shifted = AFFINE + np.array([[0, 0, 0, 3], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])  # 3 mm, voxels of 1 mm
    with pytest.raises(CaseUNetError, match=r"segmentation-1.nii: the mask lies 3 mm away from its image\."):
        read_labels(LITS, *one_case(tmp_path, np.zeros(SHAPE, np.uint8), shifted))


def test_mask_with_unit_affine_lies_as_its_image(tmp_path: Path) -> None:
    """As in case 53. The image's axes run Left, Posterior, Superior; the identity's Right, Anterior, Superior."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[0, 1, 2] = 1
    assert np.argwhere(read_labels(LITS, *one_case(tmp_path, mask, np.eye(4)))).tolist() == [[2, 1, 0]]


def test_a_mask_in_other_axes_at_the_same_place_is_turned(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[0, 1, 2] = 1
    turned = nib.Nifti1Image(mask, AFFINE).as_reoriented(np.array([[0, -1], [1, -1], [2, 1]]))
    case = one_case(tmp_path, np.asarray(turned.dataobj), turned.affine)
    assert np.argwhere(read_labels(LITS, *case)).tolist() == [[2, 1, 0]]


def test_real_liver_lies_on_the_right(real_data: Callable[[str], Path]) -> None:
    """CHAOS CT set 3: a real 512×512×78 scan whose mask must come out on the patient's right, in front of the spine."""
    folder = "chaos_ct_liver/"
    image = real_data(folder + "images/volume_CT_SET_3.nii.gz")
    label = real_data(folder + "labels/segmentation_CT_SET_3.nii.gz")
    case = SourceCase(id="3", image=(image,), label=(label,), group="3")
    dataset = SourceDataset(
        format="lits",
        root=image.parent,
        cases=(case,),
        coding=CODING,
        modality="ct",
        group_name="patient",
        licence="",
    )
    labels = read_labels(LITS, case, dataset)
    pixels = LITS.read_image(case, False).pixels
    assert labels.shape == (78, 512, 512)
    columns = np.argwhere(labels.any(axis=(0, 1)))
    bone_rows = np.argwhere(pixels[39, 0] > 400)[:, 0]
    assert columns.mean() < 256
    assert np.median(bone_rows) > 256
