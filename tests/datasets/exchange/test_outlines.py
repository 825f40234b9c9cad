"""COCO, LabelMe, YOLO, CVAT and Label Studio: written, and read again by us and by their own tools."""

import json
import re
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from caseunet.commands.convert import convert
from caseunet.config import PrepareConfig
from caseunet.datasets import open_source
from caseunet.datasets.brush import decode_brush, encode_brush
from caseunet.datasets.generate import write_lits
from caseunet.datasets.names import part_of_outlines
from caseunet.errors import CaseUNetError
from caseunet.options import ConvertOptions
from tests.datasets.exchange.sources import NAMES, assert_equal, read_all, write_frames
from tests.support.labels import write_drive

Shapes = Literal["masks", "polygons"]


def read_frames(root: Path) -> dict[str, dict[str, np.ndarray]]:
    """By the names that they have without the part of a split before it."""
    return {re.sub("^((train|val)_)+", "", name): found for name, found in read_all(root).items()}


@pytest.mark.parametrize("shapes", ["masks", "polygons"])
@pytest.mark.parametrize("to", ["coco", "labelme", "cvat", "label-studio", "voc"])
@pytest.mark.parametrize("parts", [False, True])
def test_each_pixel_comes_back(to: str, shapes: Shapes, parts: bool, tmp_path: Path) -> None:
    write_frames(tmp_path / "RAW", ignore=True, parts=parts)
    convert(tmp_path / "RAW", to=to, out=tmp_path / "out", options=ConvertOptions(shapes=shapes))
    if parts and to == "voc":
        assert (tmp_path / "out" / "ImageSets" / "Segmentation" / "val.txt").read_text().splitlines() == [
            "case1",
            "case3",
        ]
    assert_equal(read_frames(tmp_path / "RAW"), read_frames(tmp_path / "out"))


def test_a_word_in_a_name_is_no_part(tmp_path: Path) -> None:
    """21_training.json is LabelMe's file of one image, and no training part; "ignore" is no class."""
    write_drive(tmp_path / "RAW")
    config = PrepareConfig(masks=("1st_manual",), field_of_view=("mask",))
    convert(tmp_path / "RAW", to="labelme", out=tmp_path / "labelme", config=config)
    dataset = open_source(tmp_path / "labelme", PrepareConfig())[1]
    assert {case.part for case in dataset.cases} == {""}
    assert "masks are outlines; the classes are foreground" in [finding.text for finding in dataset.findings]
    assert part_of_outlines(Path("instances_train2017.json"), Path("1.png")) == "train"


def test_voc_says_that_there_is_no_split(tmp_path: Path) -> None:
    for parts in (False, True):
        write_frames(tmp_path / f"RAW{parts}", parts=parts)
        done = convert(tmp_path / f"RAW{parts}", to="voc", out=tmp_path / f"out{parts}")
        assert any("there is no split" in text for text in done.warnings) is not parts


@pytest.mark.parametrize("parts", [False, True])
def test_yolo_keeps_each_pixel_of_a_class(parts: bool, tmp_path: Path) -> None:
    write_frames(tmp_path / "RAW", parts=parts)
    done = convert(tmp_path / "RAW", to="yolo", out=tmp_path / "out")
    assert bool(done.warnings) is not parts, "without a split it says what validates"
    assert_equal(read_frames(tmp_path / "RAW"), read_frames(tmp_path / "out"))


def test_yolo_says_what_becomes_background(tmp_path: Path) -> None:
    write_frames(tmp_path / "RAW", ignore=True)
    done = convert(tmp_path / "RAW", to="yolo", out=tmp_path / "out")
    assert any("480 pixels that nobody judged, in 4 cases, count as background" in text for text in done.warnings)


@pytest.mark.parametrize("shapes", ["masks", "polygons"])
def test_pycocotools_reads_what_was_written(shapes: Shapes, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    write_frames(tmp_path / "RAW", ignore=True)
    convert(tmp_path / "RAW", to="coco", out=tmp_path / "out", options=ConvertOptions(shapes=shapes))
    found = coco.COCO(str(tmp_path / "out" / "annotations" / "instances_default.json"))
    before = read_all(tmp_path / "RAW")
    for image in found.loadImgs(found.getImgIds()):
        drawn: dict[str, np.ndarray] = {}
        for annotation in found.loadAnns(found.getAnnIds(imgIds=[image["id"]])):
            name = found.loadCats([annotation["category_id"]])[0]["name"]
            mask = found.annToMask(annotation).astype(bool)
            drawn[name] = drawn.get(name, np.zeros_like(mask)) | mask
        own = {name: where[0] for name, where in before[Path(image["file_name"]).stem].items() if name != NAMES[0]}
        assert drawn.keys() == own.keys()
        for name, mask in drawn.items():
            np.testing.assert_array_equal(mask, own[name])


def test_label_studio_reads_what_was_written() -> None:
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    inside = np.random.default_rng(0).random((37, 23)) < 0.5
    theirs = brush.decode_rle(encode_brush(inside)).reshape(37, 23, 4)[..., 3]
    np.testing.assert_array_equal(theirs > 0, inside)
    np.testing.assert_array_equal(decode_brush(brush.mask2rle(inside.astype(np.uint8) * 255), (37, 23)), inside)


@pytest.mark.parametrize("shape", [(1, 1), (300, 301)])
def test_brush_masks_are_undone(shape: tuple[int, int]) -> None:
    for inside in (np.ones(shape, bool), np.zeros(shape, bool), np.indices(shape).sum(0) % 7 == 0):
        np.testing.assert_array_equal(decode_brush(encode_brush(inside), shape), inside)


def test_volumes_become_pictures(tmp_path: Path) -> None:
    write_lits(tmp_path / "RAW", patients=2, shape=(6, 20, 16))
    done = convert(tmp_path / "RAW", to="coco", out=tmp_path / "out")
    assert "volumes are cut into slices of 8 bits" in done.warnings[0]
    slices = read_all(tmp_path / "out")
    assert len(slices) == 12
    for name, classes in read_all(tmp_path / "RAW").items():
        for structure in ("liver", "tumour"):
            where = classes.get(structure, np.zeros((6, 20, 16), bool))
            found = [slices[f"{name}_{k:04d}"].get(structure, np.zeros((1, 20, 16), bool))[0] for k in range(6)]
            np.testing.assert_array_equal(np.stack(found), where)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("to", "file", "old", "new", "told"),
    [
        ("cvat", "annotations.xml", 'left="0"', 'left="41"', r"mask \d+ in \w+.png cannot be read: its box reaches"),
        ("cvat", "annotations.xml", 'rle="0, ', 'rle="1, ', r"mask \d+ in \w+.png cannot be read: its runs fill"),
        ("cvat", "annotations.xml", 'label="polyp"', 'label=""', r"a mask in \w+.png has no label"),
        ("label-studio", "tasks.json", '"original_width": 41', '"original_width": 40', "region 1 of task 1 .* 30×40"),
        ("label-studio", "tasks.json", '"polyp"', "", "region 1 of task 1 has 0 labels"),
        ("yolo", "labels/train/case1.txt", "0 0.", "7 0.", r"case1.txt: line 1 cannot be read: it has the class 7"),
        ("yolo", "labels/train/case1.txt", "0 0.", "0 0.5 ", r"case1.txt: line 1 cannot be read: it has \d+ numbers"),
        ("coco", "annotations/instances_default.json", '"name": "tool"', '"name": ""', "the category 2 has no name"),
        (
            "coco",
            "annotations/instances_default.json",
            "      30,\n          41",
            "31,41",
            "annotation 1 cannot be read: its run",
        ),
        ("labelme", "case1.json", '"label": "polyp"', '"label": ""', "case1.json: shape 1 has no label"),
    ],
)
def test_faults_name_file_and_entry(to: str, file: str, old: str, new: str, told: str, tmp_path: Path) -> None:
    write_frames(tmp_path / "RAW")
    convert(tmp_path / "RAW", to=to, out=tmp_path / "out")
    change(tmp_path / "out" / file, old, new)
    with pytest.raises(CaseUNetError, match=told):
        read_all(tmp_path / "out")


@pytest.mark.parametrize(
    ("to", "file"),
    [
        ("coco", "annotations/instances_default.json"),
        ("cvat", "annotations.xml"),
        ("labelme", "case1.json"),
        ("yolo", "labels/train/case1.txt"),
    ],
)
def test_an_outline_outside_the_image_is_named(to: str, file: str, tmp_path: Path) -> None:
    write_frames(tmp_path / "RAW")
    convert(tmp_path / "RAW", to=to, out=tmp_path / "out", options=ConvertOptions(shapes="polygons"))
    path = tmp_path / "out" / file
    if to == "yolo":
        path.write_text("0 1.1 1.1 1.2 1.1 1.2 1.2\n")
    elif to == "cvat":
        change(path, 'points="', 'points="99,99;100,99;100,100" was="')
    else:
        content = json.loads(path.read_text())
        if to == "coco":
            content["annotations"][0]["segmentation"] = [[99, 99, 100, 99, 100, 100]]
        else:
            content["shapes"][0]["points"] = [[99, 99], [100, 99], [100, 100]]
        path.write_text(json.dumps(content))
    with pytest.raises(CaseUNetError, match=r"cannot be read: its outline, from .* lies outside the image of 30×41"):
        read_all(tmp_path / "out")
