"""nnU-Net's raw format, with its traps."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from caseunet.datasets import find_layout
from caseunet.datasets.generate import write_nnunet
from caseunet.datasets.generate.drawings import contrasts, draw_operation, draw_patient, simple
from caseunet.datasets.layout import SourceDataset
from caseunet.datasets.nnunet import NNUNET
from caseunet.datasets.reading import read_labels
from caseunet.errors import CaseUNetError
from caseunet.io import raster
from caseunet.types import IGNORE

SHAPE = (6, 20, 16)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Three CT with masks and one of the test set; the dataset's own folder."""
    write_nnunet(tmp_path, cases=3, shape=SHAPE)
    return tmp_path / "Dataset901_MadeUp"


@pytest.fixture
def raw_mr(tmp_path: Path) -> Path:
    """Two patients with two channels."""
    write_nnunet(tmp_path, cases=2, tests=0, channels=2, shape=SHAPE)
    return tmp_path / "Dataset901_MadeUp"


def told(dataset: SourceDataset) -> list[tuple[str, str, str | None]]:
    return [(finding.level, finding.kind, finding.file) for finding in dataset.findings]


def describe(raw: Path, **changes: Any) -> None:
    """Change keys of dataset.json."""
    path = raw / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_patients_are_read_as_they_were_drawn(raw: Path) -> None:
    assert find_layout(raw) is NNUNET
    dataset = NNUNET.discover(raw)
    assert told(dataset) == []
    assert (dataset.modality, dataset.coding and dataset.coding.label_map.names) == (
        "ct",
        ("background", "liver", "tumour"),
    )
    names = ["case_000", "case_001", "case_002", "case_003"]
    assert [(case.id, case.group, bool(case.label), case.test) for case in dataset.cases] == [
        (name, name, name != "case_003", name == "case_003") for name in names
    ]
    for n, case in enumerate(dataset.cases):
        patient = draw_patient(0, n, SHAPE)
        np.testing.assert_array_equal(NNUNET.read_image(case, False).pixels[:, 0], patient.hounsfield)
        if case.label:
            labels = read_labels(NNUNET, case, dataset)
            for i in range(3):
                np.testing.assert_array_equal(labels == i, patient.labels == i)


def test_the_folder_above_is_as_good(raw: Path) -> None:
    assert find_layout(raw.parent) is NNUNET
    dataset = NNUNET.discover(raw.parent)
    assert [case.id for case in dataset.cases] == [case.id for case in NNUNET.discover(raw).cases]
    assert dataset.relative(dataset.cases[0].label[0]) == "Dataset901_MadeUp/labelsTr/case_000.nii.gz"


def test_channels_are_in_their_order(raw_mr: Path) -> None:
    dataset = NNUNET.discover(raw_mr)
    assert dataset.modality == "mr"
    for n, case in enumerate(dataset.cases):
        assert [path.name for path in case.image] == [f"case_00{n}_0000.nii.gz", f"case_00{n}_0001.nii.gz"]
        patient = draw_patient(0, n, SHAPE)
        expected = np.stack(contrasts(patient.hounsfield, 2), axis=1)
        assert (expected[:, 0] != expected[:, 1]).any()
        np.testing.assert_array_equal(NNUNET.read_image(case, False).pixels, expected)
        np.testing.assert_array_equal(read_labels(NNUNET, case, dataset), patient.labels)


def test_grey_png(tmp_path: Path) -> None:
    write_nnunet(tmp_path, cases=2, file_ending=".png", shape=SHAPE)
    dataset = NNUNET.discover(tmp_path)
    assert (dataset.modality, told(dataset)) == ("gray", [])
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == ("background", "kidney", "intestine", "instrument")
    assert [case.label[0].name for case in dataset.labelled] == ["case_000.png", "case_001.png"]
    for n, case in enumerate(dataset.labelled):
        frame = next(draw_operation(0, n, 1, SHAPE[1:]))
        assert NNUNET.read_image(case, False).pixels.shape == (1, 1, 20, 16)
        np.testing.assert_array_equal(read_labels(NNUNET, case, dataset)[0], simple(frame.ids))


def test_colours_of_a_png_are_three_channels_in_one_file(tmp_path: Path) -> None:
    """nnU-Net's one exception to a file for each channel, as in its own Dataset120_RoadSegmentation."""
    write_nnunet(tmp_path, cases=2, channels=3, file_ending=".png", shape=SHAPE)
    dataset = NNUNET.discover(tmp_path)
    assert (dataset.modality, told(dataset)) == ("rgb", [])
    assert [len(case.image) for case in dataset.cases] == [1, 1, 1]
    frame = next(draw_operation(0, 0, 1, SHAPE[1:]))
    np.testing.assert_array_equal(NNUNET.read_image(dataset.cases[0], True).pixels[0], frame.image.transpose(2, 0, 1))


def test_three_grey_pngs_are_three_channels(tmp_path: Path) -> None:
    write_nnunet(tmp_path, cases=1, tests=0, file_ending=".png", shape=SHAPE)
    raw = tmp_path / "Dataset901_MadeUp"
    for channel in (1, 2):
        raster.write_image(raw / "imagesTr" / f"case_000_000{channel}.png", np.full(SHAPE[1:], channel, np.uint8))
    describe(raw, channel_names={"0": "DIC", "1": "DAPI", "2": "GFP"})
    dataset = NNUNET.discover(raw)
    pixels = NNUNET.read_image(dataset.cases[0], dataset.modality == "rgb").pixels
    assert pixels.shape == (1, 3, 20, 16)
    assert (pixels[0, 1] == 1).all()
    assert (pixels[0, 2] == 2).all()


def test_a_missing_channel_is_named_and_its_case_left_out(raw_mr: Path) -> None:
    (raw_mr / "imagesTr" / "case_001_0001.nii.gz").unlink()
    dataset = NNUNET.discover(raw_mr)
    assert told(dataset) == [
        ("error", "channels", "imagesTr/case_001_0000.nii.gz"),
        ("warning", "count", "dataset.json"),
    ]
    assert dataset.findings[0].text == "case case_001: channel 0001 is missing; dataset.json names 2"
    assert [case.id for case in dataset.cases] == ["case_000"]


def test_a_channel_too_many_is_named(raw: Path) -> None:
    shutil.copy(raw / "imagesTr" / "case_000_0000.nii.gz", raw / "imagesTr" / "case_000_0001.nii.gz")
    dataset = NNUNET.discover(raw)
    assert told(dataset)[0] == ("error", "channels", "imagesTr/case_000_0001.nii.gz")
    assert "has channels [0, 1]; dataset.json names 1" in dataset.findings[0].text


def test_channels_on_two_grids_are_named(raw_mr: Path) -> None:
    path = raw_mr / "imagesTr" / "case_001_0001.nii.gz"
    image = nib.load(path)
    affine = image.affine.copy()
    affine[:3, 3] += 5
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)
    with pytest.raises(CaseUNetError, match=r"case_001_0001.nii.gz: is not on the grid of .*case_001_0000.nii.gz"):
        NNUNET.read_image(NNUNET.discover(raw_mr).cases[1], False)


def test_a_mask_without_its_image_is_named(raw: Path) -> None:
    (raw / "imagesTr" / "case_001_0000.nii.gz").unlink()
    dataset = NNUNET.discover(raw)
    assert told(dataset) == [("error", "extra-mask", "labelsTr/case_001.nii.gz"), ("warning", "count", "dataset.json")]
    assert "imagesTr/case_001_0000.nii.gz was expected" in dataset.findings[0].text


def test_images_of_the_test_set_have_no_masks(raw: Path) -> None:
    name = "case_001_0000.nii.gz"
    (raw / "imagesTr" / name).rename(raw / "imagesTs" / name)
    dataset = NNUNET.discover(raw)
    assert ("error", "extra-mask", "labelsTr/case_001.nii.gz") in told(dataset)
    assert [(case.id, case.label) for case in dataset.cases if case.test] == [("case_001", ()), ("case_003", ())]


def test_images_without_channel_number_are_noted(raw: Path) -> None:
    shutil.copy(raw / "imagesTr" / "case_000_0000.nii.gz", raw / "imagesTr" / "scan.nii.gz")
    assert told(NNUNET.discover(raw)) == [("note", "left-out", "imagesTr/scan.nii.gz")]


def test_shadows_are_no_images(raw: Path) -> None:
    (raw / "imagesTr" / "._case_000_0000.nii.gz").write_bytes(b"shadow")
    (raw / "labelsTr" / "._case_000.nii.gz").write_bytes(b"shadow")
    assert told(NNUNET.discover(raw)) == []


def test_a_wrong_number_of_training_cases_is_said(raw: Path) -> None:
    describe(raw, numTraining=4)
    dataset = NNUNET.discover(raw.parent)
    assert told(dataset) == [("warning", "count", "Dataset901_MadeUp/dataset.json")]
    assert dataset.findings[0].text == "says numTraining 4; 3 images with masks are there"


def test_a_test_case_of_a_training_case_s_name_keeps_both_apart(raw: Path) -> None:
    (raw / "imagesTs" / "case_003_0000.nii.gz").rename(raw / "imagesTs" / "case_000_0000.nii.gz")
    dataset = NNUNET.discover(raw)
    ids = [case.id for case in dataset.cases]
    assert len(set(ids)) == len(ids), "two cases of one name would overwrite each other"
    assert dataset.labelled[0].label[0].name == "case_000.nii.gz"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            {"0": "background", "1": "liver"},
            r'"labels" maps ids to names, as the Decathlon does; nnU-Net maps names to ids',
        ),
        ({"polyp": 0, "tool": 1, "background": 2}, r'"background" has the value 2, and 0 is "polyp"'),
        ({"polyp": 0, "tool": 1}, r'0 is the background here and is called "polyp"'),
        ({"background": 0, "liver": 1, "tumour": 3}, r'the ids of "labels" are \[0, 1, 3\]; expected 0, 1, 2 …'),
        ({"liver": 1, "tumour": 2}, r'the ids of "labels" are \[1, 2\]; expected 0, 1, 2 …'),
        ({"background": 0}, r"at least one class beside the background"),
        ({"background": 0, "liver": 1, "tumour": 1}, r"dataset.json: .*liver.*tumour"),
        ({"background": 0, "liver": "one"}, r"dataset.json: .*one"),
        ({"background": 0, "liver": None}, r"dataset.json: .*None"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(labels: dict[str, Any], message: str, raw: Path) -> None:
    describe(raw, labels=labels)
    with pytest.raises(CaseUNetError, match=message) as caught:
        NNUNET.discover(raw)
    assert str(raw / "dataset.json") in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"), [("channel_names", None), ("channel_names", ["CT"]), ("labels", ["background", "liver"])]
)
def test_a_description_of_another_form_is_refused(key: str, value: object, raw: Path) -> None:
    describe(raw, **{key: value})
    with pytest.raises(CaseUNetError, match=rf'dataset.json: "{key}" is missing or no dict'):
        NNUNET.discover(raw)


def test_regions_become_structures(raw: Path) -> None:
    """The liver with its tumours, and the tumours; voxels of the liver alone have no name of their own."""
    describe(raw, labels={"background": 0, "whole liver": [1, 2], "tumour": [2]}, regions_class_order=[1, 2])
    dataset = NNUNET.discover(raw)
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == ("background", "class 1", "tumour")
    assert dataset.coding.label_map.structures == {"whole liver": (1, 2), "tumour": (2,)}
    np.testing.assert_array_equal(read_labels(NNUNET, dataset.cases[0], dataset), draw_patient(0, 0, SHAPE).labels)


def test_ignore_is_no_class(raw: Path) -> None:
    describe(raw, labels={"background": 0, "liver": 1, "ignore": 2})
    dataset = NNUNET.discover(raw)
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == ("background", "liver")
    truth = draw_patient(0, 0, SHAPE).labels
    expected = np.where(truth == 2, IGNORE, truth)
    np.testing.assert_array_equal(read_labels(NNUNET, dataset.cases[0], dataset), expected)


def test_channels_that_are_neither_ct_nor_mr_are_remarked(raw_mr: Path) -> None:
    describe(raw_mr, channel_names={"0": "CT", "1": "PET"})
    dataset = NNUNET.discover(raw_mr)
    assert dataset.modality == "mr"
    assert told(dataset) == [("note", "modality", "dataset.json")]


def test_no_images_at_all(raw: Path) -> None:
    shutil.rmtree(raw / "imagesTr")
    shutil.rmtree(raw / "imagesTs")
    with pytest.raises(CaseUNetError, match=r"imagesTr/CASE_0000.nii.gz was expected"):
        NNUNET.discover(raw)


def test_ids_in_quotes_are_named(raw: Path) -> None:
    describe(raw, labels={"background": "0", "liver": "1"})
    with pytest.raises(CaseUNetError, match="must be numbers without quotes"):
        NNUNET.discover(raw)
