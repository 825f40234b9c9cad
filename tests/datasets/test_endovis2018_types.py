"""The layout of EndoVis 2018's instrument types, with its traps."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caseunet.datasets import find_layout
from caseunet.datasets.endovis2018_types import ENDOVIS2018_TYPES
from caseunet.datasets.generate import write_endovis2018_types
from caseunet.datasets.generate.drawings import draw_operation
from caseunet.datasets.layout import SourceDataset
from caseunet.datasets.reading import read_labels
from caseunet.errors import CaseUNetError
from caseunet.io import raster

RELEASE = {
    0: "background",
    1: "Bipolar Forceps",
    2: "Prograsp Forceps",
    3: "Large Needle Driver",
    6: "Monopolar Curved Scissors",
    7: "Ultrasound Probe",
    8: "Suction Instrument",
    9: "Clip Applier",
}
"""The ids of the release, as its authors' readme gives them."""

SHAPE = (48, 64)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    write_endovis2018_types(tmp_path, sequences=4, frames=2, shape=SHAPE)
    return tmp_path


def told(dataset: SourceDataset) -> list[tuple[str, str, str | None]]:
    return [(finding.level, finding.kind, finding.file) for finding in dataset.findings]


def raw_ids(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_frames_are_grouped_by_sequence_across_both_parts(raw: Path) -> None:
    assert find_layout(raw) is ENDOVIS2018_TYPES
    dataset = ENDOVIS2018_TYPES.discover(raw)
    assert [(case.id, case.group) for case in dataset.cases] == [
        (f"seq_{n}/frame00{frame}", f"seq_{n}") for n in (1, 3, 4, 2) for frame in (0, 1)
    ]
    assert dataset.relative(dataset.cases[0].image[0]) == "train/images/seq1_frame000.png"
    assert dataset.relative(dataset.cases[6].image[0]) == "val/images/seq2_frame000.png", "sequence 2 validates"
    assert dataset.relative(dataset.cases[6].label[0]) == "val/annotations/seq2_frame000.png"
    assert told(dataset) == []


def test_validation_is_isinet_s_and_there_is_no_sequence_8(tmp_path: Path) -> None:
    write_endovis2018_types(tmp_path, sequences=15, frames=1, shape=(8, 8))
    numbers = {
        part: {int(path.stem.split("_")[0][3:]) for path in (tmp_path / part / "images").iterdir()}
        for part in ("train", "val")
    }
    assert numbers == {"train": {1, 3, 4, 6, 7, 10, 11, 12, 13, 14, 16}, "val": {2, 5, 9, 15}}


def test_each_class_is_found_under_its_name(raw: Path) -> None:
    """The ids of the release have a gap: class 4 of the model is not the id 4, so names are compared."""
    dataset = ENDOVIS2018_TYPES.discover(raw)
    assert dataset.coding is not None
    names = dataset.coding.label_map.names
    seen = set()
    for case in dataset.cases:
        frame = list(draw_operation(0, int(case.group[4:]), 2, SHAPE, instruments=2))[int(case.id[-1])]
        np.testing.assert_array_equal(
            ENDOVIS2018_TYPES.read_image(case, True).pixels[0], frame.image.transpose(2, 0, 1)
        )
        ids, labels = raw_ids(case.label[0]), read_labels(ENDOVIS2018_TYPES, case, dataset)[0]
        np.testing.assert_array_equal(ids > 0, frame.instruments > 0)
        for value, name in RELEASE.items():
            np.testing.assert_array_equal(labels == names.index(name), ids == value)
            seen |= {name} if (ids == value).any() else set()
    assert seen == set(RELEASE.values()), "four operations show all types"


def test_other_ids_are_refused_with_the_reason(raw: Path) -> None:
    dataset = ENDOVIS2018_TYPES.discover(raw)
    path = dataset.cases[0].label[0]
    ids = raw_ids(path).copy()
    ids[0, :2] = 4  # what a later repository calls the scissors
    raster.write_image(path, ids)
    message = r"annotations/seq1_frame000.png: 2 pixels .* most often 4; the classes are 0, 1, 2, 3, 6, 7, 8, 9"
    with pytest.raises(CaseUNetError, match=message):
        read_labels(ENDOVIS2018_TYPES, dataset.cases[0], dataset)
    assert "labels.json" in dataset.hint


def test_labels_json_tells_of_other_ids(raw: Path) -> None:
    """Renumbered 1 … 7 in an order of its own: what was 9, the clip applier, is 1, and so on down."""
    order = [0, 9, 8, 7, 6, 3, 2, 1]
    before = ENDOVIS2018_TYPES.discover(raw)
    expected = {case.id: read_labels(ENDOVIS2018_TYPES, case, before) for case in before.cases}
    table = np.zeros(10, np.uint8)
    table[order] = np.arange(8)
    for case in before.cases:
        raster.write_image(case.label[0], table[raw_ids(case.label[0])])
    classes = [{"name": RELEASE[value], "classid": number} for number, value in enumerate(order)]
    (raw / "labels.json").write_text(json.dumps(classes))
    dataset = ENDOVIS2018_TYPES.discover(raw)
    assert before.coding is not None
    assert dataset.coding is not None
    assert dataset.hint == ""
    for case in dataset.cases:
        labels = read_labels(ENDOVIS2018_TYPES, case, dataset)
        for name in RELEASE.values():
            np.testing.assert_array_equal(
                labels == dataset.coding.label_map.names.index(name),
                expected[case.id] == before.coding.label_map.names.index(name),
            )


def test_a_mask_in_the_other_part_is_named(raw: Path) -> None:
    name = "seq2_frame001.png"
    (raw / "val" / "annotations" / name).rename(raw / "train" / "annotations" / name)
    dataset = ENDOVIS2018_TYPES.discover(raw)
    assert told(dataset) == [("error", "apart", f"val/images/{name}")]
    assert f"train/annotations/{name}" in dataset.findings[0].text


def test_a_frame_in_both_parts_is_named(raw: Path) -> None:
    """The leak that a copied file makes: the same frame trains and validates."""
    for folder in ("images", "annotations"):
        source = raw / "train" / folder / "seq1_frame000.png"
        (raw / "val" / folder / "seq1_frame000.png").write_bytes(source.read_bytes())
    dataset = ENDOVIS2018_TYPES.discover(raw)
    assert told(dataset) == [
        ("error", "twice", "val/images/seq1_frame000.png"),
        ("error", "twice", "val/annotations/seq1_frame000.png"),
    ]
    assert len(dataset.cases) == 8


def test_a_mask_without_its_frame_is_named(raw: Path) -> None:
    (raw / "train" / "images" / "seq1_frame001.png").unlink()
    assert told(ENDOVIS2018_TYPES.discover(raw)) == [("error", "extra-mask", "train/annotations/seq1_frame001.png")]


def test_a_colour_mask_is_refused(raw: Path) -> None:
    dataset = ENDOVIS2018_TYPES.discover(raw)
    raster.write_image(dataset.cases[0].label[0], np.full((*SHAPE, 3), (255, 0, 0), np.uint8))
    with pytest.raises(
        CaseUNetError, match=r"seq1_frame000.png: expected class ids \(grey or palette\), found a RGB image"
    ):
        read_labels(ENDOVIS2018_TYPES, dataset.cases[0], dataset)
