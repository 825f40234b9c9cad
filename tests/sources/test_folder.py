"""A folder of images and masks, with its traps."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from caseunet.errors import UserError
from caseunet.io import raster
from caseunet.sources import find_layout
from caseunet.sources.coding import find_coding
from caseunet.sources.facts import measure_mask
from caseunet.sources.folder import FOLDER, find_groups
from caseunet.sources.generate import write_folder
from caseunet.sources.generate.drawings import draw_operation, simple
from caseunet.sources.layout import SourceDataset
from caseunet.sources.reading import read_labels

SHAPE = (48, 64)
COLORS = [(0, 0, 0), (255, 55, 0), (124, 155, 5), (0, 255, 0)]
"""Of background, kidney, intestine and instrument."""


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two videos of two frames; masks hold ids."""
    write_folder(tmp_path, groups=2, frames=2, shape=SHAPE)
    return tmp_path


def told(dataset: SourceDataset) -> list[tuple[str, str, str | None]]:
    return [(finding.level, finding.kind, finding.file) for finding in dataset.findings]


def pairs(root: Path) -> list[tuple[str, str]]:
    """(image, mask) of each case, relative to the folder; "" without a mask."""
    assert find_layout(root) is FOLDER
    dataset = FOLDER.discover(root)
    return [(dataset.relative(c.image[0]), "".join(dataset.relative(path) for path in c.label)) for c in dataset.cases]


def with_classes(dataset: SourceDataset) -> SourceDataset:
    """The data set with the classes that its masks show."""
    measured = [measure_mask(FOLDER, case, dataset) for case in dataset.labelled]
    return replace(dataset, coding=find_coding(mask for mask in measured if mask is not None))


def drawn(n: int, number: int) -> np.ndarray:
    """The simple classes of a generated frame."""
    return simple(list(draw_operation(0, n, 2, SHAPE))[number].ids)


def put(path: Path, array: np.ndarray | None = None) -> Path:
    """A picture or volume of no importance."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.diag([-1, -1, 2, 1])), path)
    else:
        raster.write_image(path, np.zeros((8, 8), np.uint8) if array is None else array)
    return path


def test_ids_are_found_and_read_as_they_were_drawn(raw: Path) -> None:
    assert find_layout(raw) is FOLDER
    found = FOLDER.discover(raw)
    assert (found.modality, found.coding) == ("rgb", None)
    assert [(case.id, case.group) for case in found.cases] == [
        ("video1_000", "video1"),
        ("video1_001", "video1"),
        ("video2_000", "video2"),
        ("video2_001", "video2"),
    ]
    assert told(found) == [("note", "groups", None)]
    assert "2 groups" in found.findings[0].text
    dataset = with_classes(found)
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == ("background", "class 1", "class 2", "class 3")
    for case in dataset.cases:
        n, number = int(case.id[5]), int(case.id[-1])
        frame = list(draw_operation(0, n, 2, SHAPE))[number]
        np.testing.assert_array_equal(FOLDER.read_image(case, True).pixels[0], frame.image.transpose(2, 0, 1))
        labels = read_labels(FOLDER, case, dataset)
        for i in range(4):
            np.testing.assert_array_equal(labels[0] == i, simple(frame.ids) == i)


def test_255_is_foreground(tmp_path: Path) -> None:
    write_folder(tmp_path, groups=2, frames=2, encoding="0/255", shape=SHAPE)
    dataset = with_classes(FOLDER.discover(tmp_path))
    assert dataset.coding is not None
    assert dataset.coding.codes == {0: 0, 255: 1}
    assert dataset.coding.label_map.names == ("background", "foreground")
    for case in dataset.cases:
        expected = drawn(int(case.id[5]), int(case.id[-1])) == 3
        np.testing.assert_array_equal(read_labels(FOLDER, case, dataset)[0] == 1, expected)


def test_colours_are_found(tmp_path: Path) -> None:
    write_folder(tmp_path, groups=2, frames=2, encoding="colors", shape=SHAPE)
    dataset = with_classes(FOLDER.discover(tmp_path))
    assert dataset.coding is not None
    assert dataset.coding.colored
    assert dataset.coding.label_map.names == ("background", "#00ff00", "#7c9b05", "#ff3700")
    for case in dataset.cases:
        expected, labels = drawn(int(case.id[5]), int(case.id[-1])), read_labels(FOLDER, case, dataset)[0]
        for i, color in enumerate(COLORS):
            np.testing.assert_array_equal(labels == dataset.coding.label_map.colors.index(color), expected == i)


def test_labels_json_names_colours(tmp_path: Path) -> None:
    write_folder(tmp_path, groups=2, frames=2, encoding="colors", shape=SHAPE)
    names = ("tissue", "kidney", "intestine", "instrument")
    classes = [{"name": names[i], "classid": i, "color": COLORS[i]} for i in range(4)]
    (tmp_path / "labels.json").write_text(json.dumps(classes))
    dataset = FOLDER.discover(tmp_path)
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == names
    for case in dataset.cases:
        expected = drawn(int(case.id[5]), int(case.id[-1]))
        np.testing.assert_array_equal(read_labels(FOLDER, case, dataset)[0], expected)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_labels_json_names_ids(mode: str, raw: Path) -> None:
    """Ids may be saved in three equal channels; they are no colours for that."""
    for path in (raw / "masks").iterdir():
        Image.open(path).convert(mode).save(path)
    names = ("tissue", "kidney", "intestine", "instrument")
    (raw / "labels.json").write_text(json.dumps([{"name": name, "classid": i} for i, name in enumerate(names)]))
    dataset = FOLDER.discover(raw)
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == names
    np.testing.assert_array_equal(read_labels(FOLDER, dataset.cases[0], dataset)[0], drawn(1, 0))


def test_palette_masks_hold_ids(raw: Path) -> None:
    """As in Pascal VOC: viewers show colours, the file holds ids."""
    for path in (raw / "masks").iterdir():
        raster.write_ids(path, np.asarray(Image.open(path)), COLORS)
    dataset = with_classes(FOLDER.discover(raw))
    assert dataset.coding is not None
    assert dataset.coding.codes == {0: 0, 1: 1, 2: 2, 3: 3}
    np.testing.assert_array_equal(read_labels(FOLDER, dataset.cases[0], dataset)[0], drawn(1, 0))


def test_masks_side_by_side(tmp_path: Path) -> None:
    for name in ("a.png", "a_mask.png", "b.jpg", "b_mask.png", "deeper/c.png", "deeper/c-seg.png"):
        put(tmp_path / name)
    assert pairs(tmp_path) == [("a.png", "a_mask.png"), ("b.jpg", "b_mask.png"), ("deeper/c.png", "deeper/c-seg.png")]


def test_masks_in_the_folder_of_the_images(tmp_path: Path) -> None:
    for name in ("images/a.png", "images/a_mask.png", "images/b.png", "images/b_mask.png"):
        put(tmp_path / name)
    assert pairs(tmp_path) == [("images/a.png", "images/a_mask.png"), ("images/b.png", "images/b_mask.png")]


def test_words_around_the_name_do_not_part_image_and_mask(tmp_path: Path) -> None:
    for name in (
        "images/volume_7.nii",
        "labels/segmentation_7.nii",
        "images/volume_17.nii",
        "labels/segmentation_17.nii",
    ):
        put(tmp_path / name)
    assert pairs(tmp_path) == [
        ("images/volume_7.nii", "labels/segmentation_7.nii"),
        ("images/volume_17.nii", "labels/segmentation_17.nii"),
    ]
    assert [case.id for case in FOLDER.discover(tmp_path).cases] == ["volume_7", "volume_17"]


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images", "masks"),
        ("imagesTr", "labelsTr"),
        ("JPEGImages", "SegmentationClass"),
        ("img", "gt"),
        ("Images", "Labels"),
    ],
)
def test_known_names_of_folders(images: str, masks: str, tmp_path: Path) -> None:
    put(tmp_path / images / "a.png")
    put(tmp_path / masks / "a.png")
    assert pairs(tmp_path) == [(f"{images}/a.png", f"{masks}/a.png")]


@pytest.mark.parametrize("pattern", ["{part}/{kind}", "{kind}/{part}"])
def test_parts_keep_their_names(pattern: str, tmp_path: Path) -> None:
    """Training and validation may both have an image 1, and these are not one group."""
    for part in ("train", "val"):
        for kind in ("images", "masks"):
            for number in (1, 2):
                put(tmp_path / pattern.format(part=part, kind=kind) / f"{number}.png")
    dataset = FOLDER.discover(tmp_path)
    assert [case.id for case in dataset.cases] == ["train/1", "train/2", "val/1", "val/2"]
    assert [case.group for case in dataset.cases] == [case.id for case in dataset.cases]
    assert all(case.label[0] == Path(str(case.image[0]).replace("images", "masks")) for case in dataset.cases)
    assert told(dataset) == []


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["10001_458", "10001_509", "10002_425"], ["10001", "10001", "10002"]),
        (["video3/frame012", "video3/frame013", "video4/frame1"], ["video3", "video3", "video4"]),
        (["patient1-slice-2", "patient1-slice-10", "patient2-slice-1"], ["patient1", "patient1", "patient2"]),
        (["image_7", "image_8"], ["image_7", "image_8"]),
        (["train/7", "val/7"], ["train/7", "val/7"]),
        (["0", "1", "10"], ["0", "1", "10"]),
        (["hippocampus_001", "hippocampus_003"], ["hippocampus_001", "hippocampus_003"]),
        (["IMG_2021_0001", "IMG_2021_0002"], ["IMG_2021_0001", "IMG_2021_0002"]),  # one group tells nothing
        (["cju0qkwl35piu0993l0de2", "cju0qx73cjw570799j4n5c1"], ["cju0qkwl35piu0993l0de2", "cju0qx73cjw570799j4n5c1"]),
    ],
)  # fmt: skip
def test_groups_by_names(names: list[str], groups: list[str]) -> None:
    assert [find_groups(names)[name] for name in names] == groups


def test_a_mask_without_its_image_is_named(raw: Path) -> None:
    (raw / "images" / "video1_001.png").unlink()
    dataset = FOLDER.discover(raw)
    assert ("error", "extra-mask", "masks/video1_001.png") in told(dataset)


def test_two_images_of_one_name_are_named(raw: Path) -> None:
    Image.open(raw / "images" / "video1_001.png").save(raw / "images" / "video1_001.jpg")
    dataset = FOLDER.discover(raw)
    assert ("error", "twice", "images/video1_001.png") in told(dataset)
    assert len(dataset.cases) == 4


def test_an_image_without_its_mask_has_none(raw: Path) -> None:
    (raw / "masks" / "video1_001.png").unlink()
    assert [bool(case.label) for case in FOLDER.discover(raw).cases] == [True, False, True, True]


def test_names_may_hold_any_characters(tmp_path: Path) -> None:
    for name in ("5²1", "5²2", "Übung ٣", "a b(1)"):
        put(tmp_path / "images" / f"{name}.png")
        put(tmp_path / "masks" / f"{name}.png")
    assert len(pairs(tmp_path)) == 4


def test_shadows_are_no_images(raw: Path) -> None:
    shutil.copytree(raw / "images", raw / "__MACOSX" / "images")
    (raw / "images" / "._video1_000.png").write_bytes(b"shadow")
    assert len(FOLDER.discover(raw).cases) == 4


def test_images_alone_are_no_layout(tmp_path: Path) -> None:
    put(tmp_path / "images" / "a.png")
    with pytest.raises(UserError, match="none of the known layouts"):
        find_layout(tmp_path)


def test_images_and_masks_of_different_size_are_named(raw: Path) -> None:
    put(raw / "masks" / "video1_000.png", np.zeros((48, 60), np.uint8))
    dataset = with_classes(FOLDER.discover(raw))
    with pytest.raises(
        UserError, match=r"masks/video1_000.png: the mask's shape \(48, 60\) is not its image's \(48, 64\)"
    ):
        read_labels(FOLDER, dataset.cases[0], dataset)


def test_smoothed_colours_invent_no_classes(tmp_path: Path) -> None:
    """Masks enlarged with interpolation have mixtures at every edge."""
    write_folder(tmp_path, groups=2, frames=2, encoding="colors", shape=SHAPE)
    for path in (tmp_path / "masks").iterdir():
        Image.open(path).resize((192, 144), Image.Resampling.BICUBIC).save(path)
    dataset = FOLDER.discover(tmp_path)
    mask = np.asarray(Image.open(dataset.cases[0].label[0]))
    assert len(np.unique(mask.reshape(-1, 3), axis=0)) > 50
    coding = with_classes(dataset).coding
    assert coding is not None
    assert set(coding.label_map.colors) == set(COLORS)
    assert coding.label_map.colors[0] == (0, 0, 0)


def test_lossy_colours_invent_no_classes(tmp_path: Path) -> None:
    """JPEG makes neighbours of every colour; those that fill areas may be off by a little."""
    write_folder(tmp_path, groups=2, frames=2, encoding="colors", shape=(144, 192))
    for path in list((tmp_path / "masks").iterdir()):
        Image.open(path).save(path.with_suffix(".jpg"), quality=85)
        path.unlink()
    coding = with_classes(FOLDER.discover(tmp_path)).coding
    assert coding is not None
    assert len(coding.label_map) == 4
    for color in COLORS:
        nearest = min(np.abs(np.subtract(color, found)).max() for found in coding.label_map.colors)
        assert nearest <= 8


def test_lossy_grey_invents_no_classes(tmp_path: Path) -> None:
    write_folder(tmp_path, groups=2, frames=2, encoding="0/255", shape=(96, 128))
    for path in list((tmp_path / "masks").iterdir()):
        Image.open(path).save(path.with_suffix(".jpg"), quality=85)
        path.unlink()
    dataset = FOLDER.discover(tmp_path)
    assert len(np.unique(np.asarray(Image.open(dataset.cases[0].label[0])))) > 2
    coding = with_classes(dataset).coding
    assert coding is not None
    assert coding.codes == {0: 0, 255: 1}


def test_masks_of_1_among_masks_of_255_are_one_class(tmp_path: Path) -> None:
    write_folder(tmp_path, groups=2, frames=2, encoding="0/255", shape=SHAPE)
    path = tmp_path / "masks" / "video2_001.png"
    raster.write_image(path, np.asarray(Image.open(path)) // 255)
    coding = with_classes(FOLDER.discover(tmp_path)).coding
    assert coding is not None
    assert coding.codes == {0: 0, 1: 1}


@pytest.mark.parametrize(("lowest", "modality"), [(-1024, "ct"), (0, "mr")])
def test_volumes_are_ct_where_they_reach_air(lowest: int, modality: str, tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        array = np.full((3, 4, 5), lowest if folder == "images" else 1, np.int16)
        nib.save(nib.Nifti1Image(array, np.diag([-1, -1, 2, 1])), tmp_path / folder / "a.nii.gz")
    dataset = FOLDER.discover(tmp_path)
    assert dataset.modality == modality
    assert [kind for _, kind, _ in told(dataset)] == ["modality"]


def test_real_ct_slices_with_colour_masks(real_data: Callable[[str], Path]) -> None:
    """CURVAS: pancreas cyan, kidney yellow, liver magenta; names are patient_slice. Counted in the files themselves."""
    root = real_data("curvas_36")
    dataset = with_classes(FOLDER.discover(root))
    assert dataset.coding is not None
    assert (dataset.modality, len(dataset.cases), len(dataset.labelled)) == ("gray", 36, 36)
    assert Counter(case.group for case in dataset.cases)["10001"] == 4
    assert len({case.group for case in dataset.cases}) == 11
    colors = [(0, 0, 0), (0, 255, 255), (255, 0, 255), (255, 255, 0)]
    assert list(dataset.coding.label_map.colors) == colors
    case = dataset.cases[0]
    mask = np.asarray(Image.open(case.label[0]))
    expected = [int((mask == color).all(axis=2).sum()) for color in colors]
    assert sum(expected) == 512 * 512
    assert np.bincount(read_labels(FOLDER, case, dataset).ravel(), minlength=4).tolist() == expected


def test_real_volumes(real_data: Callable[[str], Path]) -> None:
    """The Decathlon's hippocampus without its dataset.json: each volume is a patient."""
    root = real_data("hippocampus")
    assert find_layout(root) is FOLDER
    dataset = FOLDER.discover(root)
    assert (dataset.modality, len(dataset.labelled), len({case.group for case in dataset.cases})) == ("mr", 208, 208)
    few = with_classes(replace(dataset, cases=dataset.cases[:5]))
    assert few.coding is not None
    assert few.coding.codes == {0: 0, 1: 1, 2: 2}
    case = few.cases[0]
    stored = np.asarray(nib.load(case.label[0]).dataobj)
    labels = read_labels(FOLDER, case, few)
    assert labels.shape == FOLDER.read_image(case, False).pixels[:, 0].shape
    assert np.bincount(labels.ravel()).tolist() == np.bincount(stored.astype(int).ravel()).tolist()


def test_real_frames_without_groups(real_data: Callable[[str], Path]) -> None:
    """ISBI 2012: neighbouring slices called 0 to 29, which no name tells; cells are 255, membranes 0."""
    dataset = with_classes(FOLDER.discover(real_data("isbi2012_em")))
    assert dataset.coding is not None
    assert (dataset.modality, dataset.coding.codes) == ("gray", {0: 0, 255: 1})
    assert [case.id for case in dataset.cases] == [str(n) for n in range(30)]
    assert [case.group for case in dataset.cases] == [str(n) for n in range(30)]
    cells = np.asarray(Image.open(dataset.cases[0].label[0])) == 255
    np.testing.assert_array_equal(read_labels(FOLDER, dataset.cases[0], dataset)[0] == 1, cells)
