"""The layout of EndoVis 2017's instrument parts, with its traps."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caseunet.datasets import find_layout
from caseunet.datasets.endovis2017 import ENDOVIS2017
from caseunet.datasets.generate import write_endovis2017
from caseunet.datasets.generate.drawings import draw_operation
from caseunet.datasets.layout import SourceDataset
from caseunet.datasets.reading import read_labels
from caseunet.errors import CaseUNetError
from caseunet.io import raster

LEFT, RIGHT = "Left_Prograsp_Forceps_labels", "Right_Prograsp_Forceps_labels"
SHAPE = (48, 64)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two sequences of two frames, small and without borders."""
    write_endovis2017(tmp_path, shape=SHAPE)
    return tmp_path


def told(dataset: SourceDataset) -> list[tuple[str, str, str | None]]:
    return [(finding.level, finding.kind, finding.file) for finding in dataset.findings]


def truth(raw: Path, instrument: str, frame: str = "frame000") -> Path:
    return raw / "instrument_dataset_1" / "ground_truth" / instrument / f"{frame}.png"


def test_frames_are_cut_to_the_camera_s_picture(tmp_path: Path) -> None:
    write_endovis2017(tmp_path, sequences=1, frames=1)
    assert find_layout(tmp_path) is ENDOVIS2017
    dataset = ENDOVIS2017.discover(tmp_path)
    case = dataset.cases[0]
    recorded = np.asarray(Image.open(case.image[0]))
    assert recorded.shape == (1080, 1920, 3)
    picture = recorded[28:1052, 320:1600].copy()
    recorded = recorded.copy()
    recorded[28:1052, 320:1600] = 0
    assert not recorded.any(), "the borders are black"
    pixels = ENDOVIS2017.read_image(case, True).pixels
    np.testing.assert_array_equal(pixels, picture.transpose(2, 0, 1)[None])
    frame = next(draw_operation(0, 1, 1, (256, 320), instruments=2))
    np.testing.assert_array_equal(pixels[0, :, ::4, ::4], frame.image.transpose(2, 0, 1))
    assert ENDOVIS2017.read_geometry(case).shape == (1024, 1280)
    labels = read_labels(ENDOVIS2017, case, dataset)
    assert labels.shape == (1, 1024, 1280)
    np.testing.assert_array_equal(labels[0, ::4, ::4] > 0, frame.instruments > 0)


def test_parts_of_both_instruments_are_merged(raw: Path) -> None:
    dataset = ENDOVIS2017.discover(raw)
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == ("background", "shaft", "wrist", "clasper")
    assert told(dataset) == []
    cases = iter(dataset.cases)
    for n in (1, 2):
        for number, frame in enumerate(draw_operation(0, n, 2, SHAPE, instruments=2)):
            case = next(cases)
            assert (case.id, case.group) == (f"instrument_dataset_{n}/frame00{number}", f"instrument_dataset_{n}")
            assert [path.parent.name for path in case.label] == [LEFT, RIGHT]
            labels = read_labels(ENDOVIS2017, case, dataset)[0]
            for i, scene in ((1, 1), (2, 3), (3, 2)):  # the scene's ids: 1 shaft, 3 wrist, 2 clasper
                np.testing.assert_array_equal(labels == i, frame.ids == scene)
            assert {int(value) for value in frame.instruments.ravel()} == {0, 1, 2}
    assert next(cases, None) is None


def test_where_instruments_overlap_the_later_name_is_on_top(raw: Path) -> None:
    left, right = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    left[10:20, 10:20] = 10
    right[15:25, 15:25] = 30
    raster.write_image(truth(raw, LEFT), left)
    raster.write_image(truth(raw, RIGHT), right)
    dataset = ENDOVIS2017.discover(raw)
    labels = read_labels(ENDOVIS2017, dataset.cases[0], dataset)
    assert np.bincount(labels.ravel(), minlength=4).tolist() == [48 * 64 - 175, 75, 0, 100]


def test_frame_without_one_of_its_masks_is_named(raw: Path) -> None:
    truth(raw, RIGHT, "frame001").unlink()
    dataset = ENDOVIS2017.discover(raw)
    assert told(dataset) == [("error", "missing-mask", "instrument_dataset_1/left_frames/frame001.png")]
    assert RIGHT in dataset.findings[0].text
    assert LEFT not in dataset.findings[0].text
    assert [bool(case.label) for case in dataset.cases] == [True, False, True, True]


def test_a_frame_without_any_mask_has_none(raw: Path) -> None:
    for instrument in (LEFT, RIGHT):
        truth(raw, instrument, "frame001").unlink()
    dataset = ENDOVIS2017.discover(raw)
    assert told(dataset) == []
    assert dataset.cases[1].label == ()


def test_a_test_sequence_without_ground_truth_is_read(raw: Path) -> None:
    shutil.rmtree(raw / "instrument_dataset_2" / "ground_truth")
    dataset = ENDOVIS2017.discover(raw)
    assert [len(case.label) for case in dataset.cases] == [2, 2, 0, 0]
    assert find_layout(raw) is ENDOVIS2017


def test_a_mask_without_its_frame_is_named(raw: Path) -> None:
    (raw / "instrument_dataset_1" / "left_frames" / "frame001.png").unlink()
    assert told(ENDOVIS2017.discover(raw)) == [
        ("error", "extra-mask", f"instrument_dataset_1/ground_truth/{name}/frame001.png") for name in (LEFT, RIGHT)
    ]


def test_masks_of_two_sizes_are_named(raw: Path) -> None:
    raster.write_image(truth(raw, RIGHT), np.zeros((48, 60), np.uint8))
    dataset = ENDOVIS2017.discover(raw)
    with pytest.raises(CaseUNetError, match=rf"{RIGHT}/frame000.png: its shape \(48, 60\)"):
        read_labels(ENDOVIS2017, dataset.cases[0], dataset)


def test_values_that_are_no_part_are_named(raw: Path) -> None:
    raster.write_image(truth(raw, LEFT), np.full(SHAPE, 255, np.uint8))
    dataset = ENDOVIS2017.discover(raw)
    with pytest.raises(
        CaseUNetError, match=r"have values that are no class, most often 255; the classes are 0, 10, 20, 30"
    ):
        read_labels(ENDOVIS2017, dataset.cases[0], dataset)


def test_a_real_frame(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    """All that the two mask files hold lies within the camera's picture."""
    real = real_data("endovis17_one_frame")
    sequence = tmp_path / "instrument_dataset_1"
    for source, target in (
        ("images/frame.png", "left_frames"),
        ("labels/left_frame.png", f"ground_truth/{LEFT}"),
        ("labels/right_frame.png", f"ground_truth/{RIGHT}"),
    ):
        (sequence / target).mkdir(parents=True)
        shutil.copy(real / source, sequence / target / "frame000.png")
    dataset = ENDOVIS2017.discover(tmp_path)
    labels = read_labels(ENDOVIS2017, dataset.cases[0], dataset)
    masks = np.stack([np.asarray(Image.open(path)) for path in dataset.cases[0].label])
    assert not (masks > 0).all(axis=0).any(), "these two do not overlap"
    counts = [int((masks == value).sum()) for value in (10, 20, 30)]
    assert np.bincount(labels.ravel(), minlength=4).tolist() == [1024 * 1280 - sum(counts), *counts]
