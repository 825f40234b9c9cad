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

from caseunet.config import PrepareConfig
from caseunet.datasets import find_layout, open_source
from caseunet.datasets.case_statistics import measure_mask
from caseunet.datasets.coding import find_coding
from caseunet.datasets.folder import FOLDER
from caseunet.datasets.generate import write_folder
from caseunet.datasets.generate.drawings import draw_operation, simple
from caseunet.datasets.layout import SourceDataset
from caseunet.datasets.names import find_groups
from caseunet.datasets.reading import read_labels
from caseunet.datasets.roles import Choice
from caseunet.datasets.survey import survey_files
from caseunet.errors import CaseUNetError, SeveralMasksError
from caseunet.io import raster, raster_file
from tests.support.slides import write_ome_zarr, write_svs

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
        volume = np.zeros((3, 4, 5), np.int16) if array is None else array
        nib.save(nib.Nifti1Image(volume, np.diag([-1, -1, 2, 1])), path)
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
    names = ("nothing", "kidney", "intestine", "instrument")
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
    names = ("nothing", "kidney", "intestine", "instrument")
    (raw / "labels.json").write_text(json.dumps([{"name": name, "classid": i} for i, name in enumerate(names)]))
    dataset = FOLDER.discover(raw)
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == names
    np.testing.assert_array_equal(read_labels(FOLDER, dataset.cases[0], dataset)[0], drawn(1, 0))


def test_palette_masks_hold_ids(raw: Path) -> None:
    """As in Pascal VOC: viewers show colours, the file holds ids."""
    for path in (raw / "masks").iterdir():
        raster_file.write_ids(path, np.asarray(Image.open(path)), COLORS)
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


def test_masks_beside_images_never_become_images(tmp_path: Path) -> None:
    """img_1 … img_12 beside mask_01 … mask_12: three pairs fit by name. The other masks are named, not trained on."""
    for number in range(1, 13):
        for name in (f"img_{number}", f"mask_{number:02d}"):
            Image.fromarray(np.zeros(SHAPE, np.uint8)).save(tmp_path / f"{name}.png")
    dataset = FOLDER.discover(tmp_path)
    assert {case.image[0].name for case in dataset.cases} == {f"img_{number}.png" for number in range(1, 13)}
    assert {case.image[0].name for case in dataset.labelled} == {f"img_{number}.png" for number in (10, 11, 12)}
    extra = {finding.file for finding in dataset.findings if finding.kind == "extra-mask"}
    assert extra == {f"mask_{number:02d}.png" for number in range(1, 10)}


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
    with pytest.raises(CaseUNetError, match="none of the known layouts"):
        find_layout(tmp_path)


def test_images_and_masks_of_different_size_are_named(raw: Path) -> None:
    put(raw / "masks" / "video1_000.png", np.zeros((48, 60), np.uint8))
    dataset = with_classes(FOLDER.discover(raw))
    with pytest.raises(
        CaseUNetError, match=r"masks/video1_000.png: the mask's shape \(48, 60\) is not its image's \(48, 64\)"
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


def test_most_volumes_with_masks_tell_modality(tmp_path: Path) -> None:
    """The first of four has an offset, and one file before them is a mask without an image."""
    for number in range(4):
        image = np.full((8, 8, 4), 0 if number == 0 else -1000, np.int16)
        put(tmp_path / "images" / f"p{number}.nii.gz", image)
        put(tmp_path / "masks" / f"p{number}.nii.gz", np.ones((8, 8, 4), np.uint8))
    put(tmp_path / "images" / "a.nii.gz", np.ones((8, 8, 4), np.uint8))
    dataset = FOLDER.discover(tmp_path)
    found = next(finding for finding in dataset.findings if finding.kind == "modality")
    assert (dataset.modality, found.level, found.files) == ("ct", "warning", ("images/p0.nii.gz",))
    assert "taken for CT, since images/p1.nii.gz reaches -1000; the lowest values of 1 of 4 images" in found.text


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


def fill_folder(root: Path, *names: str) -> Path:
    for name in names:
        put(root / name)
    return root


def listed(root: Path, **patterns: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """{case: its image files, then its mask files}."""
    dataset = FOLDER.discover(root, Choice(**patterns))
    return {c.id: tuple(dataset.relative(path) for path in (*c.image, *c.label)) for c in dataset.cases}


@pytest.mark.parametrize(
    ("image", "mask", "case"),
    [
        ("ISIC_Training_Input/I_{n}.jpg", "ISIC_Training_GroundTruth/I_{n}_segmentation.png", "I_{n}"),
        ("training/images/2{n}_training.tif", "training/1st_manual/2{n}_manual1.gif", "training/2{n}_training"),
        ("case_{n}/imaging.nii.gz", "case_{n}/segmentation.nii.gz", "case_{n}"),
        ("pat{n}/ct.nii.gz", "pat{n}/mask.nii.gz", "pat{n}"),
        ("train_images/{n}.png", "train_masks/{n}.png", "{n}"),
        ("{n}.jpg", "masks/{n}.png", "{n}"),
        ("x/{n}.jpg", "masks/{n}.png", "x/{n}"),
        ("images/A {n}.PNG", "masks/a {n}_MASK.png", "A {n}"),
        ("images/Ü{n}.png", "masks/U\u0308{n}.png", "Ü{n}"),
        ("images/IMG_{n}.png", "masks/GT_{n}.png", "IMG_{n}"),
        ("P{n}.nrrd", "P{n}.seg.nrrd", "P{n}"),
        ("pat{n}/images/a.png", "pat{n}/masks/b.png", "pat{n}"),
    ],
)
def test_pairs_in_many_folders(image: str, mask: str, case: str, tmp_path: Path) -> None:
    names = [pattern.format(n=n) for pattern in (image, mask) for n in (1, 2, 3)]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {c.id: (*c.image, *c.label) for c in survey_files(tmp_path).listing.cases}
    assert found == {case.format(n=n): (tmp_path / image.format(n=n), tmp_path / mask.format(n=n)) for n in (1, 2, 3)}
    assert survey_files(tmp_path).listing.findings == ()


def test_two_mask_folders_are_asked_about(tmp_path: Path) -> None:
    """DRIVE: the field of view is a mask, but not of vessels."""
    for n in (21, 22):
        names = f"images/{n}_training.tif", f"1st_manual/{n}_manual1.png", f"mask/{n}_training_mask.png"
        fill_folder(tmp_path / "training", *names)
    assert find_layout(tmp_path) is FOLDER
    with pytest.raises(
        CaseUNetError, match=r"1st_manual/21_manual1.png .*mask/21_training_mask.png .*prepare.masks: 1st"
    ):
        FOLDER.discover(tmp_path)
    chosen = listed(tmp_path, masks=("1st_manual",))
    assert chosen["training/21_training"][1] == "training/1st_manual/21_manual1.png"
    findings = FOLDER.discover(tmp_path, Choice(masks=("1st_manual",))).findings
    assert [f.files for f in findings if f.kind == "left-out"] == [
        ("training/mask/21_training_mask.png", "training/mask/22_training_mask.png")
    ]


def test_no_image_file_is_left_out_unnamed(tmp_path: Path) -> None:
    names = ["images/a.png", "masks/a.png", "fov/a.png", "fov/b.png", "overview.jpg", "images/b.webp", "x/y/z.nii"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    findings = survey_files(tmp_path).listing.findings
    named = {file for finding in findings for file in finding.files or ()}
    assert named == {"fov/a.png", "fov/b.png", "overview.jpg", "images/b.webp", "x/y/z.nii"}
    assert {finding.level for finding in findings} == {"warning"}


@pytest.mark.parametrize(
    "names",
    [
        ["a.png", "a_mask1.png", "a_mask2.png"],
        ["images/a.png", "masks/a_1.png", "masks/a_2.png"],
        ["images/a.png", "masks/a_rater1.png", "masks/a_rater2.png"],
        ["id/images/id.png", "id/masks/x1.png", "id/masks/y2.png", "id2/images/id2.png", "id2/masks/z3.png"],
    ],
)
def test_several_masks_are_never_merged(names: list[str], tmp_path: Path) -> None:
    dataset = FOLDER.discover(fill_folder(tmp_path, *names))
    case = dataset.cases[0]
    assert len(case.label) == 2
    with pytest.raises(SeveralMasksError, match=rf"one of 2 masks of {case.id} .*not merged unasked"):
        FOLDER.read_mask(case, dataset, FOLDER.read_geometry(case))


def test_a_mask_beside_and_one_in_masks_is_asked(tmp_path: Path) -> None:
    fill_folder(tmp_path, "images/a.png", "images/a_mask.png", "masks/a.png")
    with pytest.raises(CaseUNetError, match="has masks in more than one place"):
        FOLDER.discover(tmp_path)


def test_channels_by_the_ends_of_names(tmp_path: Path) -> None:
    """BraTS; the third patient lacks T2."""
    for n in (1, 2, 3, 4):
        for ending in ("t1n", "t1c", "t2w", "seg"):
            if (n, ending) != (3, "t2w"):
                put(tmp_path / f"B-{n}" / f"B-{n}-{ending}.nii.gz")
    dataset = FOLDER.discover(tmp_path)
    assert dataset.channel_names == ("t1c", "t1n", "t2w")
    assert [case.id for case in dataset.cases] == ["B-1", "B-2", "B-4"]
    assert [path.name for path in dataset.cases[0].image] == ["B-1-t1c.nii.gz", "B-1-t1n.nii.gz", "B-1-t2w.nii.gz"]
    (fault,) = (finding for finding in dataset.findings if finding.level == "error")
    assert (fault.kind, fault.text) == ("channels", "case B-3: channel t2w is missing; each image has t1c, t1n, t2w")
    assert (tmp_path / str(fault.file)).is_file()
    assert FOLDER.read_image(dataset.cases[0], False).pixels.shape == (5, 3, 4, 3)


@pytest.mark.parametrize(
    ("images", "mask", "channels"),
    [
        (["images/p{n}_0000.nii", "images/p{n}_0001.nii"], "labels/p{n}.nii", ("0000", "0001")),
        (["p{n}/t1.nii", "p{n}/flair.nii"], "p{n}/seg.nii", ("flair", "t1")),
        (["images/p{n}/t1.nii", "images/p{n}/t2.nii"], "labels/p{n}.nii", ("t1", "t2")),
    ],
)
def test_channels_in_other_folders(images: list[str], mask: str, channels: tuple[str, ...], tmp_path: Path) -> None:
    for n in (1, 2):
        fill_folder(tmp_path, *(name.format(n=n) for name in (*images, mask)))
    survey = survey_files(tmp_path)
    assert survey.channels == channels
    assert [(case.id, len(case.image), len(case.label)) for case in survey.listing.cases] == [
        ("p1", 2, 1),
        ("p2", 2, 1),
    ]


def test_channels_as_a_person_says(tmp_path: Path) -> None:
    fill_folder(tmp_path, *(f"{kind}/p{n}.nii" for kind in ("T1", "T2", "masks") for n in (1, 2)))
    assert not FOLDER.matches(tmp_path)
    assert listed(tmp_path, channels=("T2", "T1"))["p1"] == ("T2/p1.nii", "T1/p1.nii", "masks/p1.nii")


def test_what_names_do_not_tell_a_person_says(tmp_path: Path) -> None:
    root = fill_folder(tmp_path, "A/1.jpg", "A/2.jpg", "B/1.png", "B/2.png")
    with pytest.raises(CaseUNetError, match=r"none of the known layouts .*Found 2 JPEG in A/, 2 PNG in B/\."):
        find_layout(root)
    assert listed(root, images=("A",), masks=("B",)) == {"1": ("A/1.jpg", "B/1.png"), "2": ("A/2.jpg", "B/2.png")}
    layout, _ = open_source(root, PrepareConfig.model_validate({"images": "A", "masks": "B/*.png"}))
    assert layout is FOLDER
    with pytest.raises(CaseUNetError, match="the patterns images=C leave no image"):
        FOLDER.discover(root, Choice(images=("C",)))


def test_many_folders_are_counted_together(tmp_path: Path) -> None:
    root = fill_folder(tmp_path, *(f"case{n}/scan.nii" for n in range(7)))
    with pytest.raises(CaseUNetError, match=r"Found 7 NIfTI in \*/ \(7 folders\)"):
        find_layout(root)


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("{part}/{kind}/{n}.png", ["train", "val", "test"]),
        ("{kind}/{part}/{n}.png", ["Train", "Valid", "Testing"]),
        ("{part}_{kind}/{n}.png", ["training", "validation", "test"]),
        ("{kind}{part}/{n}.png", ["Tr", "Val", "Ts"]),
    ],
)
def test_parts_of_a_given_split(pattern: str, parts: list[str], tmp_path: Path) -> None:
    kinds = ("images", "labels")
    for part in parts:
        fill_folder(tmp_path, *(pattern.format(part=part, kind=kind, n=1) for kind in kinds))
    found = {case.image[0].as_posix(): case.part for case in FOLDER.discover(tmp_path).cases}
    expected = dict(zip(parts, ("train", "val", "test"), strict=True))
    assert found == {
        (tmp_path / pattern.format(part=part, kind="images", n=1)).as_posix(): told for part, told in expected.items()
    }


def test_words_that_only_look_like_parts(tmp_path: Path) -> None:
    fill_folder(tmp_path, "test_patient_1/ct.nii", "test_patient_1/mask.nii", "trainee/ct.nii", "trainee/mask.nii")
    assert {case.part for case in FOLDER.discover(tmp_path).cases} == {""}


def test_parts_of_lists(tmp_path: Path) -> None:
    """Pascal VOC's ImageSets."""
    fill_folder(tmp_path, *(f"{kind}/{n}.png" for kind in ("JPEGImages", "SegmentationClass") for n in "abcd"))
    sets = tmp_path / "ImageSets" / "Segmentation"
    sets.mkdir(parents=True)
    for name, content in (("train", "a\nb\n"), ("val", "c\n"), ("trainval", "a\nb\nc\n"), ("test", "x\n")):
        (sets / f"{name}.txt").write_text(content)
    dataset = FOLDER.discover(tmp_path)
    assert [case.part for case in dataset.cases] == ["train", "train", "val", ""]
    texts = [finding.text for finding in dataset.findings if finding.kind == "own-split"]
    assert texts[0].startswith("1 name in the lists of the split have no image")
    (sets / "val.txt").write_text("b\nc\n")
    dataset = FOLDER.discover(tmp_path)
    assert {case.part for case in dataset.cases} == {""}
    assert "are not used: b is in two of them" in next(f.text for f in dataset.findings if f.kind == "own-split")


def test_real_drive_is_asked_about(real_data: Callable[[str], Path]) -> None:
    root = real_data("drive_train_20")
    with pytest.raises(
        CaseUNetError, match="masks in more than one place: fov/21_training_mask.gif .*labels/21_manual1"
    ):
        FOLDER.discover(root)
    dataset = FOLDER.discover(root, Choice(masks=("labels",)))
    assert len(dataset.labelled) == len(dataset.cases) == 20
    mask = FOLDER.read_mask(dataset.cases[0], dataset, FOLDER.read_geometry(dataset.cases[0]))
    with Image.open(root / "labels" / "21_manual1.gif") as image:
        vessels = np.asarray(image.convert("L")) > 0
    assert 0.05 < vessels.mean() < 0.2
    np.testing.assert_array_equal(mask.label_values[0] > 0, vessels)


@pytest.mark.parametrize("ending", ["png", "nii.gz"])
def test_no_mask_goes_to_another_patient(ending: str, tmp_path: Path) -> None:
    names = [f"pat{p}/{kind}/{n}.{ending}" for p in "AB" for kind in ("images", "masks") for n in (1, 2)]
    fill_folder(tmp_path, *names, f"patA/images/3.{ending}", f"patB/masks/3.{ending}")
    cases = [f"pat{p}/{{}}/{n}.{ending}" for p in "AB" for n in (1, 2)]
    own = [(case.format("images"), case.format("masks")) for case in cases]
    assert pairs(tmp_path) == [*own[:2], (f"patA/images/3.{ending}", ""), *own[2:]]
    assert ("error", "extra-mask", f"patB/masks/3.{ending}") in told(FOLDER.discover(tmp_path))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_labels_json_names_shades_of_grey(mode: str, raw: Path) -> None:
    shades = (0, 128, 255, 60)
    expected = {}
    for path in (raw / "masks").iterdir():
        ids = np.asarray(Image.open(path))
        expected[path.stem] = ids
        Image.fromarray(np.array(shades, np.uint8)[ids]).convert(mode).save(path)
    names = ("none", "c1", "c2", "c3")
    classes = [{"name": names[i], "classid": i, "color": [shade] * 3} for i, shade in enumerate(shades)]
    (raw / "labels.json").write_text(json.dumps(classes))
    dataset = FOLDER.discover(raw)
    for case in dataset.cases:
        np.testing.assert_array_equal(read_labels(FOLDER, case, dataset)[0], expected[case.label[0].stem])


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("{}/train_1.png", "{}/val_2.png", "{}/test_3.png"), "own-split"),
        (("P0/{}/P0_l.png", "P0/{}/P0_r.png", "P1/{}/P1_l.png", "P1/{}/P1_r.png"), "groups"),
        (("{}/train_1.png", "{}/train_2.png"), ""),
        (("{}/a_1.png", "{}/val_2.png"), ""),
        (("P0/{}/a.png", "P1/{}/a.png"), ""),
    ],
)
def test_splits_and_patients_that_names_hint_at(names: tuple[str, ...], kind: str, tmp_path: Path) -> None:
    fill_folder(tmp_path, *(name.format(role) for name in names for role in ("images", "masks")))
    assert [t[1] for t in told(FOLDER.discover(tmp_path)) if t[0] == "warning"] == ([kind] if kind else [])


def test_folders_of_masks_name_classes(tmp_path: Path) -> None:
    for n in range(4):
        put(tmp_path / "images" / f"f{n}a.png", np.zeros(SHAPE, np.uint8))
        mask = np.zeros(SHAPE, np.uint8)
        mask[3:9, 4 : 20 + n] = 255
        put(tmp_path / "masks" / ("polyp" if n < 2 else "instrument") / f"f{n}a.png", mask)
    _, dataset = open_source(tmp_path, PrepareConfig())
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == ("background", "instrument", "polyp")
    kinds = [finding.kind for finding in dataset.findings if finding.level == "warning"]
    assert kinds == ["class-missing", "class-missing"]
    ids = read_labels(FOLDER, dataset.cases[0], dataset, FOLDER.read_geometry(dataset.cases[0]))
    assert np.bincount(ids.ravel(), minlength=3).tolist() == [48 * 64 - 96, 0, 96]


def test_numbered_folders_of_masks_name_none(tmp_path: Path) -> None:
    for n in range(4):
        put(tmp_path / "images" / f"f{n}a.png")
        put(tmp_path / "masks" / f"part{n // 2}" / f"f{n}a.png")
    dataset = FOLDER.discover(tmp_path)
    assert ("warning", "mask-folders", None) in told(dataset)
    assert dataset.coding is None or len(dataset.coding.label_map) == 2


def test_folders_of_both_are_no_classes(tmp_path: Path) -> None:
    for n in range(4):
        for part in ("images", "masks"):
            put(tmp_path / part / ("benign" if n < 2 else "malignant") / f"f{n}a.png")
    assert not {"class-folders", "mask-folders"} & {finding.kind for finding in FOLDER.discover(tmp_path).findings}


@pytest.mark.parametrize("kind", ["svs", "zarr"])
def test_slides_and_their_masks_are_cases(kind: str, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)
    ids = np.eye(96, 128, dtype=np.uint8)
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for name in ("a", "b"):
        if kind == "svs":
            write_svs(tmp_path / "images" / f"{name}.svs", image, 33005)
            raster_file.write_ids(tmp_path / "labels" / f"{name}.tif", ids, COLORS)
        else:
            write_ome_zarr(tmp_path / "images" / f"{name}.ome.zarr", image.transpose(2, 0, 1), "cyx", "0.5")
            write_ome_zarr(tmp_path / "labels" / f"{name}.ome.zarr", ids, "yx", "0.5")
    found = FOLDER.discover(tmp_path)
    assert (found.modality, [case.id for case in found.cases]) == ("rgb", ["a", "b"])
    for case in found.cases:
        np.testing.assert_array_equal(FOLDER.read_image(case, True).pixels[0], image.transpose(2, 0, 1))
        np.testing.assert_array_equal(read_labels(FOLDER, case, with_classes(found))[0], ids)


def write_voc(root: Path, folders: tuple[str, ...]) -> None:
    for n in range(3):
        put(root / "JPEGImages" / f"a{n}.jpg", np.full((8, 8, 3), 40 * n, np.uint8))
        for folder in folders:
            put(root / folder / f"a{n}.png", np.full((8, 8), n + 1, np.uint8))


def test_numbers_of_objects_are_no_masks(tmp_path: Path) -> None:
    """Pascal VOC and CVAT write both."""
    write_voc(tmp_path, ("SegmentationClass", "SegmentationObject"))
    expected = [(f"JPEGImages/a{n}.jpg", f"SegmentationClass/a{n}.png") for n in range(3)]
    assert pairs(tmp_path) == expected
    assert told(FOLDER.discover(tmp_path))[0] == ("note", "left-out", "SegmentationObject/a0.png")


def test_numbers_of_objects_alone_are_refused(tmp_path: Path) -> None:
    write_voc(tmp_path, ("SegmentationObject",))
    with pytest.raises(CaseUNetError, match="SegmentationObject/a0.png among them, number objects and tell no classes"):
        open_source(tmp_path, PrepareConfig())
    _, found = open_source(tmp_path, PrepareConfig(masks=("SegmentationObject",)))
    assert len(found.labelled) == 3


def test_a_video_of_cvat_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "images" / "frame_000000.png")
    (tmp_path / "annotations.xml").write_text(
        '<annotations><track id="0" label="polyp"><polygon frame="0" points="1,1;5,1;5,5"/></track></annotations>'
    )
    with pytest.raises(CaseUNetError, match=r'annotations.xml: holds tracks .* the format "CVAT for images 1.1"'):
        open_source(tmp_path, PrepareConfig())


@pytest.mark.parametrize("images", ["images", "ct"])
def test_folders_of_structures_are_named(images: str, tmp_path: Path) -> None:
    """Nothing says that they hold masks. The message says what to say, and that is right."""
    for folder in (images, "liver", "tumour"):
        for n in range(3):
            put(tmp_path / folder / f"p{n}.nii.gz")
    with pytest.raises(CaseUNetError, match=rf"prepare.images: {images}, prepare.masks: \[liver, tumour\]"):
        open_source(tmp_path, PrepareConfig())
    _, found = open_source(tmp_path, PrepareConfig(images=(images,), masks=("liver", "tumour")))
    assert found.coding is not None
    assert found.coding.label_map.names == ("background", "liver", "tumour")
    assert [found.relative(path) for path in found.cases[1].label] == ["liver/p1.nii.gz", "tumour/p1.nii.gz"]


def test_folders_of_cases_are_no_structures(tmp_path: Path) -> None:
    for n in range(3):
        put(tmp_path / f"p{n}" / "a.nii.gz")
        put(tmp_path / f"p{n}" / "b.nii.gz")
    with pytest.raises(CaseUNetError) as raised:
        open_source(tmp_path, PrepareConfig())
    assert "The folders" not in str(raised.value)


def test_compressed_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "1.dcm.gz").write_bytes(b"")
    with pytest.raises(CaseUNetError, match=r"Found 1 DCM.GZ in it. .* Unpack the others: gunzip -r"):
        open_source(tmp_path, PrepareConfig())
