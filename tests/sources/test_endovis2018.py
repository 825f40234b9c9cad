"""The EndoVis 2018 scene layout, with its traps."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from caseunet.errors import UserError
from caseunet.io import raster
from caseunet.sources import find_layout
from caseunet.sources.endovis2018 import ENDOVIS2018


@pytest.fixture
def raw(endovis_raw: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(endovis_raw, tmp_path / "raw")


def test_frames_are_grouped_by_sequence(endovis_raw: Path) -> None:
    dataset = find_layout(endovis_raw).discover(endovis_raw)
    assert dataset.format == "endovis2018"
    assert [case.id for case in dataset.cases][:4] == [
        "seq_1/frame000",
        "seq_1/frame001",
        "seq_1/frame002",
        "seq_2/frame000",
    ]
    assert {case.group for case in dataset.cases} == {"seq_1", "seq_2", "seq_3"}
    assert {path.name for path in (endovis_raw / "seq_2").iterdir()} == {
        "left_frames",
        "right_frames",
        "labels",
        "camera_calibration.txt",
    }
    assert all("left_frames" in case.image.parts for case in dataset.cases)
    assert len(dataset.label_map) == 12
    case = dataset.cases[0]
    labels = ENDOVIS2018.read_labels(case, dataset)
    colors = raster.read_colors(case.label)
    assert labels.shape == (1, 48, 64)
    for label in dataset.label_map.labels:
        np.testing.assert_array_equal(labels[0] == label.id, (colors == label.color).all(-1))
    assert ENDOVIS2018.read_image(case).pixels.shape == (1, 3, 48, 64)


def test_sequences_are_in_natural_order(raw: Path) -> None:
    (raw / "seq_3").rename(raw / "seq_10")
    groups = [case.group for case in ENDOVIS2018.discover(raw).cases]
    assert list(dict.fromkeys(groups)) == ["seq_1", "seq_2", "seq_10"]


def test_both_forms_of_labels_json(raw: Path) -> None:
    expected = ENDOVIS2018.discover(raw).label_map
    classes = json.loads((raw / "labels.json").read_text())
    with_alpha = [entry | {"color": [*entry["color"], 255]} for entry in classes]
    (raw / "labels.json").write_text(json.dumps({"classes": with_alpha}))
    assert ENDOVIS2018.discover(raw).label_map == expected


def test_shadows_of_archives_are_no_sequences(raw: Path) -> None:
    shutil.copytree(raw / "seq_1", raw / "__MACOSX" / "seq_1")
    assert len(ENDOVIS2018.discover(raw).cases) == 9


def test_an_unpaired_mask_is_named(raw: Path) -> None:
    (raw / "seq_2" / "left_frames" / "frame001.png").unlink()
    with pytest.raises(UserError, match=r"seq_2/labels/frame001.png: a mask without its image"):
        ENDOVIS2018.discover(raw)


def test_unknown_colours_are_named_and_counted(raw: Path) -> None:
    dataset = ENDOVIS2018.discover(raw)
    case = dataset.cases[4]
    colors = raster.read_colors(case.label).copy()
    colors[0, :3] = (1, 2, 3)
    raster.write_image(case.label, colors)
    with pytest.raises(UserError, match=r"frame001.png: 3 pixels have colours .* most often \(1, 2, 3\)"):
        ENDOVIS2018.read_labels(case, dataset)


def test_a_mask_of_another_shape_is_named(raw: Path) -> None:
    dataset = ENDOVIS2018.discover(raw)
    raster.write_image(dataset.cases[0].label, np.zeros((48, 60, 3), np.uint8))
    with pytest.raises(UserError, match=r"labels/frame000.png: the mask's shape \(48, 60\)"):
        ENDOVIS2018.check(dataset.cases[0])


def test_two_images_of_one_name_are_refused(raw: Path) -> None:
    shutil.copy(raw / "seq_1" / "left_frames" / "frame000.png", raw / "seq_1" / "left_frames" / "frame000.jpg")
    with pytest.raises(UserError, match="frame000.png: frame000.jpg has the same name"):
        ENDOVIS2018.discover(raw)


def test_linked_folders_are_followed(raw: Path, tmp_path: Path) -> None:
    (raw / "seq_3").rename(tmp_path / "elsewhere")
    (raw / "seq_3").symlink_to(tmp_path / "elsewhere")
    assert len(ENDOVIS2018.discover(raw).cases) == 9


def test_a_truncated_mask_is_named(raw: Path) -> None:
    dataset = ENDOVIS2018.discover(raw)
    mask = dataset.cases[0].label
    mask.write_bytes(mask.read_bytes()[:-60])
    with pytest.raises(UserError, match="frame000.png: its pixels cannot be read"):
        ENDOVIS2018.read_labels(dataset.cases[0], dataset)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"color": [0, 0, 300]}, "labels.json: color.2"),
        ({"color": [0, 0, 0]}, "is there twice"),
        ({"name": "background-tissue"}, "background-tissue is there twice"),
    ],
)
def test_classes_that_cannot_be_told_apart_are_refused(change: dict[str, object], message: str, raw: Path) -> None:
    classes = json.loads((raw / "labels.json").read_text())
    classes[3] |= change
    (raw / "labels.json").write_text(json.dumps(classes))
    with pytest.raises(UserError, match=message):
        ENDOVIS2018.discover(raw)


@pytest.mark.parametrize("content", ["{}", "[1]", '[{"name": "a", "color": [0, 0, 0], "classid": 1}]', "no json"])
def test_a_bad_labels_json_is_named(content: str, raw: Path) -> None:
    (raw / "labels.json").write_text(content)
    with pytest.raises(UserError, match=r"labels.json"):
        ENDOVIS2018.discover(raw)


def test_a_missing_labels_json_is_said(raw: Path) -> None:
    (raw / "labels.json").unlink()
    with pytest.raises(UserError, match=r"labels.json is missing"):
        ENDOVIS2018.discover(raw)
