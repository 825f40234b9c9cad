"""The EndoVis 2018 scene layout, with its traps."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caseunet.datasets import find_layout
from caseunet.datasets.endovis2018 import ENDOVIS2018
from caseunet.datasets.generate.drawings import SCENE, draw_operation
from caseunet.datasets.layout import SourceCase, SourceDataset
from caseunet.datasets.reading import read_labels
from caseunet.errors import CaseUNetError
from caseunet.io import raster

KIDNEY = (255, 55, 0)


@pytest.fixture
def raw(endovis_raw: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(endovis_raw, tmp_path / "raw")


def told(dataset: SourceDataset) -> list[tuple[str, str, str | None]]:
    return [(finding.level, finding.kind, finding.file) for finding in dataset.findings]


def case_of(dataset: SourceDataset, name: str) -> SourceCase:
    return next(case for case in dataset.cases if case.id == name)


def put_mask(path: Path, color: tuple[int, int, int] = KIDNEY) -> Path:
    """A mask of one colour, 48×64."""
    raster.write_image(path, np.full((48, 64, 3), color, np.uint8))
    return path


def test_frames_are_read_as_they_were_drawn(endovis_raw: Path) -> None:
    assert find_layout(endovis_raw) is ENDOVIS2018
    dataset = ENDOVIS2018.discover(endovis_raw)
    assert dataset.coding is not None
    assert told(dataset) == []
    assert dataset.coding.label_map.names == tuple(name for name, _ in SCENE)
    assert dataset.coding.label_map.colors == tuple(color for _, color in SCENE)
    cases = iter(dataset.cases)
    for n in (1, 2, 3):
        for number, frame in enumerate(draw_operation(0, n, 3, (48, 64))):
            case = next(cases)
            assert (case.id, case.group) == (f"seq_{n}/frame00{number}", f"seq_{n}")
            np.testing.assert_array_equal(
                ENDOVIS2018.read_image(case, True).pixels, frame.image.transpose(2, 0, 1)[None]
            )
            labels = read_labels(ENDOVIS2018, case, dataset)
            assert labels.shape == (1, 48, 64)
            for i in range(12):
                np.testing.assert_array_equal(labels[0] == i, frame.ids == i)
    assert next(cases, None) is None


def test_frames_of_the_right_camera_are_not_read(endovis_raw: Path) -> None:
    assert {path.name for path in (endovis_raw / "seq_2").iterdir()} == {
        "left_frames",
        "right_frames",
        "labels",
        "camera_calibration.txt",
    }
    cases = ENDOVIS2018.discover(endovis_raw).cases
    assert [path.parent.name for case in cases for path in case.image] == ["left_frames"] * 9


def test_sequences_are_in_natural_order(raw: Path) -> None:
    (raw / "seq_3").rename(raw / "seq_10")
    groups = [case.group for case in ENDOVIS2018.discover(raw).cases]
    assert list(dict.fromkeys(groups)) == ["seq_1", "seq_2", "seq_10"]


def test_training_and_test_sequences_of_one_number_are_two_groups(endovis_raw: Path, tmp_path: Path) -> None:
    shutil.copytree(endovis_raw / "seq_1", tmp_path / "train" / "seq_1")
    shutil.copytree(endovis_raw / "seq_2", tmp_path / "test" / "seq_1")
    shutil.copy(endovis_raw / "labels.json", tmp_path / "train" / "labels.json")
    assert find_layout(tmp_path) is ENDOVIS2018
    dataset = ENDOVIS2018.discover(tmp_path)
    assert [case.id for case in dataset.cases] == [
        f"{part}/seq_1/frame00{n}" for part in ("test", "train") for n in range(3)
    ]
    assert {case.group for case in dataset.cases} == {"train/seq_1", "test/seq_1"}
    assert told(dataset) == []


def test_both_forms_of_labels_json(raw: Path) -> None:
    expected = ENDOVIS2018.discover(raw).coding
    classes = json.loads((raw / "labels.json").read_text())
    with_alpha = [entry | {"color": [*entry["color"], 255]} for entry in classes]
    (raw / "labels.json").write_text(json.dumps({"classes": with_alpha}))
    assert ENDOVIS2018.discover(raw).coding == expected


def test_transparency_in_masks_is_dropped(raw: Path) -> None:
    dataset = ENDOVIS2018.discover(raw)
    before = read_labels(ENDOVIS2018, dataset.cases[0], dataset)
    path = dataset.cases[0].label[0]
    Image.open(path).convert("RGBA").save(path)
    assert Image.open(path).mode == "RGBA"
    np.testing.assert_array_equal(read_labels(ENDOVIS2018, dataset.cases[0], dataset), before)


def test_mended_masks_replace_those_of_same_names(raw: Path) -> None:
    before = ENDOVIS2018.discover(raw)
    put_mask(raw / "fixes" / "seq_1" / "labels" / "frame002.png")
    dataset = ENDOVIS2018.discover(raw)
    assert told(dataset) == [("note", "mended-masks", "fixes/seq_1/labels")]
    assert "seq_1: frame002" in dataset.findings[0].text
    assert [case.id for case in dataset.cases] == [case.id for case in before.cases]
    changed = [c.id for c, old in zip(dataset.cases, before.cases, strict=True) if c.label != old.label]
    assert changed == ["seq_1/frame002"]
    assert (read_labels(ENDOVIS2018, case_of(dataset, "seq_1/frame002"), dataset) == 4).all(), "4 is the kidney"


def test_mended_masks_go_to_the_nearest_sequence_of_their_name(endovis_raw: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        shutil.copytree(endovis_raw / "seq_1", tmp_path / part / "seq_1")
    shutil.copy(endovis_raw / "labels.json", tmp_path)
    mended = put_mask(tmp_path / "train" / "fixes" / "seq_1" / "labels" / "frame000.png")
    dataset = ENDOVIS2018.discover(tmp_path)
    assert case_of(dataset, "train/seq_1/frame000").label == (mended,)
    assert case_of(dataset, "test/seq_1/frame000").label == (tmp_path / "test/seq_1/labels/frame000.png",)


@pytest.mark.parametrize(
    ("name", "reason"), [("seq_9", "no sequence has its name"), ("seq_1", "2 sequences have its name")]
)
def test_mended_masks_that_fit_no_one_sequence_are_named(
    name: str, reason: str, endovis_raw: Path, tmp_path: Path
) -> None:
    for part in ("train", "test"):
        shutil.copytree(endovis_raw / "seq_1", tmp_path / part / "seq_1")
    shutil.copy(endovis_raw / "labels.json", tmp_path)
    put_mask(tmp_path / "fixes" / name / "labels" / "frame000.png")
    dataset = ENDOVIS2018.discover(tmp_path)
    assert told(dataset) == [("error", "unplaced-repair", f"fixes/{name}/labels")]
    assert reason in dataset.findings[0].text


def test_a_mended_mask_without_its_frame_is_named(raw: Path) -> None:
    put_mask(raw / "fixes" / "seq_1" / "labels" / "frame077.png")
    assert ("error", "extra-mask", "fixes/seq_1/labels/frame077.png") in told(ENDOVIS2018.discover(raw))


def test_shadows_of_archives_are_no_sequences(raw: Path) -> None:
    shutil.copytree(raw / "seq_1", raw / "__MACOSX" / "seq_1")
    (raw / "seq_1" / "left_frames" / "._frame000.png").write_bytes(b"shadow")
    dataset = ENDOVIS2018.discover(raw)
    assert len(dataset.cases) == 9
    assert told(dataset) == []


def test_a_mask_without_its_frame_is_named(raw: Path) -> None:
    (raw / "seq_2" / "left_frames" / "frame001.png").unlink()
    dataset = ENDOVIS2018.discover(raw)
    assert told(dataset) == [("error", "extra-mask", "seq_2/labels/frame001.png")]
    assert "seq_2/left_frames/frame001.png was expected" in dataset.findings[0].text


def test_a_frame_without_a_mask_has_none(raw: Path) -> None:
    (raw / "seq_2" / "labels" / "frame001.png").unlink()
    dataset = ENDOVIS2018.discover(raw)
    assert case_of(dataset, "seq_2/frame001").label == ()
    assert len(dataset.labelled) == 8


def test_two_images_of_one_name_are_named(raw: Path) -> None:
    shutil.copy(raw / "seq_1" / "left_frames" / "frame000.png", raw / "seq_1" / "left_frames" / "frame000.jpg")
    dataset = ENDOVIS2018.discover(raw)
    assert told(dataset) == [("error", "twice", "seq_1/left_frames/frame000.png")]
    assert "seq_1/left_frames/frame000.jpg" in dataset.findings[0].text
    assert len(dataset.cases) == 9


def test_unknown_colours_are_named_and_counted(raw: Path) -> None:
    dataset = ENDOVIS2018.discover(raw)
    case = dataset.cases[4]
    colors = np.array(Image.open(case.label[0]))
    colors[0, :3] = (1, 2, 3)
    raster.write_image(case.label[0], colors)
    with pytest.raises(CaseUNetError, match=r"frame001.png: 3 pixels have colours .* most often #010203"):
        read_labels(ENDOVIS2018, case, dataset)


def test_a_mask_of_another_shape_is_named(raw: Path) -> None:
    dataset = ENDOVIS2018.discover(raw)
    raster.write_image(dataset.cases[0].label[0], np.zeros((48, 60, 3), np.uint8))
    with pytest.raises(
        CaseUNetError, match=r"labels/frame000.png: the mask's shape \(48, 60\) is not its image's \(48, 64\)"
    ):
        read_labels(ENDOVIS2018, dataset.cases[0], dataset)


def test_linked_folders_are_followed(raw: Path, tmp_path: Path) -> None:
    (raw / "seq_3").rename(tmp_path / "elsewhere")
    (raw / "seq_3").symlink_to(tmp_path / "elsewhere")
    assert len(ENDOVIS2018.discover(raw).cases) == 9


def test_a_truncated_mask_is_named(raw: Path) -> None:
    dataset = ENDOVIS2018.discover(raw)
    mask = dataset.cases[0].label[0]
    mask.write_bytes(mask.read_bytes()[:-60])
    with pytest.raises(CaseUNetError, match="frame000.png: its pixels cannot be read"):
        read_labels(ENDOVIS2018, dataset.cases[0], dataset)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"color": [0, 0, 300]}, "labels.json: color.2"),
        ({"color": [0, 0, 0]}, "is there twice"),
        ({"name": "background-tissue"}, "background-tissue is there twice"),
        ({"classid": 4}, "labels.json: label ids must be whole numbers from 0"),
    ],
)
def test_classes_that_cannot_be_told_apart_are_refused(change: dict[str, object], message: str, raw: Path) -> None:
    classes = json.loads((raw / "labels.json").read_text())
    classes[3] |= change
    (raw / "labels.json").write_text(json.dumps(classes))
    with pytest.raises(CaseUNetError, match=message):
        ENDOVIS2018.discover(raw)


@pytest.mark.parametrize("content", ["{}", "[1]", '[{"name": "a", "color": [0, 0, 0], "classid": 1}]', "no json"])
def test_a_bad_labels_json_is_named(content: str, raw: Path) -> None:
    (raw / "labels.json").write_text(content)
    with pytest.raises(CaseUNetError, match=r"labels.json"):
        ENDOVIS2018.discover(raw)


def test_a_missing_labels_json_is_said(raw: Path) -> None:
    (raw / "labels.json").unlink()
    with pytest.raises(CaseUNetError, match=r"labels.json is missing"):
        ENDOVIS2018.discover(raw)


def test_sequence_by_itself_is_named_after_folder(raw: Path) -> None:
    shutil.copy(raw / "labels.json", raw / "seq_2" / "labels.json")
    assert [case.id for case in ENDOVIS2018.discover(raw / "seq_2").cases] == [f"seq_2/frame00{n}" for n in range(3)]
