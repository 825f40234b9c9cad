"""The Medical Segmentation Decathlon's form, with its traps."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from caseunet.datasets import find_layout
from caseunet.datasets.generate import write_msd
from caseunet.datasets.generate.drawings import contrasts, draw_patient
from caseunet.datasets.layout import SourceDataset
from caseunet.datasets.msd import MSD
from caseunet.datasets.reading import read_labels
from caseunet.errors import CaseUNetError

SHAPE = (6, 20, 16)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Three CT with masks and one of the test set."""
    write_msd(tmp_path, cases=3, shape=SHAPE)
    return tmp_path


def told(dataset: SourceDataset) -> list[tuple[str, str, str | None]]:
    return [(finding.level, finding.kind, finding.file) for finding in dataset.findings]


def description(raw: Path) -> dict[str, Any]:
    return json.loads((raw / "dataset.json").read_text())


def describe(raw: Path, **changes: Any) -> None:
    """Change keys of dataset.json."""
    (raw / "dataset.json").write_text(json.dumps(description(raw) | changes))


def entry(name: str) -> dict[str, str]:
    return {"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"}


def test_patients_are_read_as_they_were_drawn(raw: Path) -> None:
    assert find_layout(raw) is MSD
    dataset = MSD.discover(raw)
    assert told(dataset) == []
    assert (dataset.modality, dataset.licence) == ("ct", "CC0")
    assert dataset.coding is not None
    assert description(raw)["labels"] == {"0": "background", "1": "liver", "2": "tumour"}, "ids are mapped to names"
    assert dataset.coding.label_map.names == ("background", "liver", "tumour")
    names = [f"patient_00{n}" for n in range(4)]
    assert [(case.id, case.group, bool(case.label), case.test) for case in dataset.cases] == [
        (name, name, name != names[3], name == names[3]) for name in names
    ]
    for n, case in enumerate(dataset.cases):
        patient = draw_patient(0, n, SHAPE)
        np.testing.assert_array_equal(MSD.read_image(case, False).pixels[:, 0], patient.hounsfield)
        if case.label:
            labels = read_labels(MSD, case, dataset)
            for i in range(3):
                np.testing.assert_array_equal(labels == i, patient.labels == i)


def test_several_channels_are_the_fourth_axis(tmp_path: Path) -> None:
    write_msd(tmp_path, cases=2, tests=0, channels=3, shape=SHAPE)
    dataset = MSD.discover(tmp_path)
    assert dataset.modality == "mr"
    for n, case in enumerate(dataset.cases):
        assert nib.load(case.image[0]).shape[3:] == (3,)
        patient = draw_patient(0, n, SHAPE)
        expected = np.stack(contrasts(patient.hounsfield, 3), axis=1)
        np.testing.assert_array_equal(MSD.read_image(case, False).pixels, expected)
        np.testing.assert_array_equal(read_labels(MSD, case, dataset), patient.labels)


def test_classes_are_in_the_order_of_their_ids_not_of_the_file(raw: Path) -> None:
    describe(raw, labels={"2": "tumour", "0": "background", "1": "liver"})
    dataset = MSD.discover(raw)
    assert dataset.coding is not None
    assert dataset.coding.codes == {0: 0, 1: 1, 2: 2}
    assert dataset.coding.label_map.names == ("background", "liver", "tumour")


def test_shadows_are_skipped_listed_or_not(raw: Path) -> None:
    for folder in ("imagesTr", "labelsTr"):
        for name in ("._patient_000.nii.gz", "_patient_001.nii.gz"):
            (raw / folder / name).write_bytes(b"shadow")
    shadows = [entry("._patient_000.nii.gz"), entry("_patient_001.nii.gz")]
    describe(raw, training=description(raw)["training"] + shadows)
    dataset = MSD.discover(raw)
    assert len(dataset.labelled) == 3
    assert told(dataset) == []


def test_a_listed_image_that_is_missing_is_named(raw: Path) -> None:
    (raw / "imagesTr" / "patient_001.nii.gz").unlink()
    dataset = MSD.discover(raw)
    assert told(dataset)[0] == ("error", "missing-file", "imagesTr/patient_001.nii.gz")
    assert dataset.findings[0].text == "is listed in dataset.json for patient_001, but is not there"
    assert [case.id for case in dataset.labelled] == ["patient_000", "patient_002"]


def test_a_listed_mask_that_is_missing_is_named(raw: Path) -> None:
    (raw / "labelsTr" / "patient_001.nii.gz").unlink()
    dataset = MSD.discover(raw)
    assert told(dataset) == [
        ("error", "missing-file", "labelsTr/patient_001.nii.gz"),
        ("warning", "count", "dataset.json"),
    ]
    assert [case.id for case in dataset.cases if not case.label] == ["patient_001", "patient_003"]


def test_files_that_are_not_listed_are_noted(raw: Path) -> None:
    for folder in ("imagesTr", "labelsTr"):
        shutil.copy(raw / folder / "patient_000.nii.gz", raw / folder / "patient_009.nii.gz")
    dataset = MSD.discover(raw)
    names = ["imagesTr/patient_009.nii.gz", "labelsTr/patient_009.nii.gz"]
    assert told(dataset) == [("note", "left-out", name) for name in names]


@pytest.mark.parametrize("image", ["../x.nii.gz", "imagesTr/../../x.nii.gz", "/etc/x.nii.gz"])
@pytest.mark.parametrize("part", ["training", "test"])
def test_a_path_that_points_outside_is_refused(image: str, part: str, raw: Path) -> None:
    describe(raw, **{part: [{"image": image, "label": "labelsTr/patient_000.nii.gz"}]})
    with pytest.raises(CaseUNetError, match=r"dataset.json: .*x.nii.gz lies outside the data set"):
        MSD.discover(raw)


def test_a_label_that_points_outside_is_refused(raw: Path) -> None:
    describe(raw, training=[{"image": "imagesTr/patient_000.nii.gz", "label": "../x.nii.gz"}])
    with pytest.raises(CaseUNetError, match=r"dataset.json: .*x.nii.gz lies outside the data set"):
        MSD.discover(raw)


def test_a_case_that_is_listed_twice_is_named(raw: Path) -> None:
    describe(raw, training=[*description(raw)["training"], entry("patient_000.nii.gz")])
    dataset = MSD.discover(raw)
    assert told(dataset) == [("error", "twice", "dataset.json")]
    assert "patient_000" in dataset.findings[0].text
    assert len(dataset.labelled) == 3


def test_a_wrong_number_of_training_cases_is_said(raw: Path) -> None:
    describe(raw, numTraining=131)
    dataset = MSD.discover(raw)
    assert told(dataset) == [("warning", "count", "dataset.json")]
    assert dataset.findings[0].text == "says numTraining 131; 3 images with masks are there"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"background": 0, "liver": 1}}, r'"labels" maps ids to names'),
        ({"labels": {"0": "liver", "1": "tumour"}}, r'0 is the background here and is called "liver"'),
        ({"labels": {"0": "background"}}, r"at least one class beside the background"),
        ({"labels": {"0": "background", "1": "liver", "2": "liver"}}, r"liver is there twice"),
        ({"labels": ["background", "liver"]}, r'"labels" is missing or no dict'),
        ({"training": {"image": "x"}}, r'"training" is missing or no list'),
        ({"training": [{"img": "x"}]}, r"expected entries {image, label}, found {'img': 'x'}"),
        ({"training": [7]}, r"expected entries {image, label}, found 7"),
    ],
)
def test_a_description_of_another_form_is_refused(changes: dict[str, Any], message: str, raw: Path) -> None:
    describe(raw, **changes)
    with pytest.raises(CaseUNetError, match=message) as caught:
        MSD.discover(raw)
    assert str(raw / "dataset.json") in str(caught.value)


def test_what_is_left_out_is_what_everybody_means(raw: Path) -> None:
    """Some files leave out the background, or write null for no test set."""
    describe(raw, labels={"1": "liver", "2": "tumour"}, test=None)
    coding = MSD.discover(raw).coding
    assert coding is not None
    assert coding.label_map.names == ("background", "liver", "tumour")


def test_no_training_images(raw: Path) -> None:
    describe(raw, training=[], test=[])
    with pytest.raises(CaseUNetError, match=r"a training image that dataset.json lists was expected"):
        MSD.discover(raw)
