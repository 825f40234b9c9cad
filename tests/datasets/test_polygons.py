"""Outlines of COCO and LabelMe; areas by hand, and run lengths as pycocotools packs them."""

import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from caseunet.commands.convert import convert
from caseunet.config import PrepareConfig
from caseunet.datasets import find_layout
from caseunet.datasets.brush import encode_brush
from caseunet.datasets.channels import Item
from caseunet.datasets.folder import FOLDER
from caseunet.datasets.outlines import find_outlines
from caseunet.datasets.reading import read_labels
from caseunet.datasets.shapes import decode_runs, fill, pack_runs
from caseunet.errors import CaseUNetError, SeveralMasksError

SQUARE = [2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0]
"""Columns 2 to 5, rows 1 to 3: 12 pixels."""


def save_image(path: Path, shape: tuple[int, int] = (8, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*shape, 3), np.uint8)).save(path)


def coco(root: Path, annotations: list[dict[str, Any]], names: tuple[str, ...] = ("a.png",)) -> Path:
    images = [{"id": n, "file_name": name, "height": 8, "width": 10} for n, name in enumerate(names)]
    for name in names:
        save_image(root / "images" / name)
    categories = [{"id": 7, "name": "polyp"}, {"id": 3, "name": "organ"}, {"id": 9, "name": "unused"}]
    numbered = [{"id": n, "image_id": 0, "category_id": 7, **own} for n, own in enumerate(annotations)]
    (root / "annotations").mkdir(exist_ok=True)
    path = root / "annotations" / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": numbered, "categories": categories}))
    return root


def labelme(root: Path, shapes: list[dict[str, Any]]) -> Path:
    save_image(root / "a.png")
    content = {"shapes": shapes, "imagePath": "a.png", "imageHeight": 8, "imageWidth": 10}
    (root / "a.json").write_text(json.dumps(content))
    return root


def ids(root: Path) -> np.ndarray:
    assert find_layout(root) is FOLDER
    dataset = FOLDER.discover(root)
    return read_labels(FOLDER, dataset.cases[0], dataset)[0]


def square() -> np.ndarray:
    expected = np.zeros((8, 10), np.uint8)
    expected[1:4, 2:6] = 1
    return expected


@pytest.mark.parametrize(
    "segmentation",
    [
        [SQUARE],
        [[2.4, 1.4, 5.6, 1.4, 5.6, 3.6, 2.4, 3.6]],  # the same pixel centres
        [[2, 1, 4, 1, 4, 4, 2, 4], [4, 1, 6, 1, 6, 4, 4, 4]],
        {"size": [8, 10], "counts": [17, 3, 5, 3, 5, 3, 5, 3, 36]},
        {"size": [8, 10], "counts": "a03500000o0"},  # by pycocotools 2.0.11
    ],
)
def test_coco_gives_the_pixels_by_hand(segmentation: Any, tmp_path: Path) -> None:
    np.testing.assert_array_equal(ids(coco(tmp_path, [{"segmentation": segmentation}])), square())


def test_the_smaller_outline_lies_on_top(tmp_path: Path) -> None:
    whole = {"segmentation": [[0, 0, 10, 0, 10, 8, 0, 8]], "category_id": 3}
    root = coco(tmp_path, [{"segmentation": [SQUARE]}, whole, {"segmentation": [], "bbox": [0, 0, 1, 1]}])
    dataset = FOLDER.discover(root)
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == ("background", "organ", "polyp")
    np.testing.assert_array_equal(ids(root), square() + 1)
    mask = FOLDER.read_mask(dataset.cases[0], dataset, FOLDER.read_geometry(dataset.cases[0]))
    assert mask.geometry.remarks == (
        "an outline of polyp lies on organ in 12 pixels; polyp is kept",
        "1 box without an area, left out",
    )


def test_convert_tells_what_outlines_leave_out(tmp_path: Path) -> None:
    """Once for each file, on the screen and in the log."""
    root = coco(tmp_path / "raw", [{"segmentation": [SQUARE]}, {"segmentation": [], "bbox": [0, 0, 1, 1]}])
    found = convert(root, to="png", out=tmp_path / "png", config=PrepareConfig(workers=0))
    assert [text.partition(": ")[2] for text in found.warnings if "box" in text] == ["1 box without an area, left out"]
    assert "1 box without an area" in (tmp_path / "png" / "log.txt").read_text()


def test_an_image_without_outlines_is_background(tmp_path: Path) -> None:
    dataset = FOLDER.discover(coco(tmp_path, [{"segmentation": [SQUARE]}], ("a.png", "b.png")))
    assert [int(read_labels(FOLDER, case, dataset).sum()) for case in dataset.cases] == [12, 0]


@pytest.mark.parametrize(
    ("kind", "points", "pixels"),
    [
        ("polygon", [[2, 1], [6, 1], [6, 4], [2, 4]], 12),
        ("rectangle", [[6, 4], [2, 1]], 12),
        ("circle", [[5, 4], [5, 6.1]], 12),  # of the centres within 2.1: (±.5, ±.5), (±1.5, ±.5), (±.5, ±1.5)
    ],
)
def test_labelme_shapes(kind: str, points: list[list[float]], pixels: int, tmp_path: Path) -> None:
    found = ids(labelme(tmp_path, [{"label": "polyp", "points": points, "shape_type": kind}]))
    assert int(found.sum()) == pixels + (4 if kind == "circle" and 1.5**2 * 2 < 2.1**2 else 0)


def test_a_labelme_mask_lies_at_its_corner(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.full((3, 4), 255, np.uint8)).save(stream, format="PNG")
    shape = {"label": "x", "points": [[2, 1], [5, 3]], "shape_type": "mask"}
    shape["mask"] = base64.b64encode(stream.getvalue()).decode()
    np.testing.assert_array_equal(ids(labelme(tmp_path, [shape])), square())


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    root = coco(tmp_path, [{"segmentation": [SQUARE]}])
    save_image(root / "images" / "a.png", (16, 20))
    with pytest.raises(CaseUNetError, match=r"drawn on a with 8×10 pixels .* has 16×20"):
        ids(root)


def test_images_of_coco_that_are_absent_are_named(tmp_path: Path) -> None:
    root = coco(tmp_path, [{"segmentation": [SQUARE]}], ("a.png", "b.png"))
    (root / "images" / "b.png").unlink()
    findings = [f.text for f in FOLDER.discover(root).findings if f.kind == "missing-file"]
    assert findings == ["names 1 image that are not there, b.png among them"]


@pytest.mark.parametrize(("number", "shown"), [("0", "'0'"), (77, "77"), (None, "None")])
def test_annotations_of_no_image_are_refused(number: Any, shown: str, tmp_path: Path) -> None:
    root = coco(tmp_path, [{"segmentation": [SQUARE]}, {"segmentation": [SQUARE], "image_id": number}])
    with pytest.raises(CaseUNetError, match=rf"annotation 1 has the image_id {shown}.* such as 0\. Mend image_id"):
        FOLDER.discover(root)


def test_images_of_coco_with_one_id_are_refused(tmp_path: Path) -> None:
    path = coco(tmp_path, [{"segmentation": [SQUARE]}], ("a.png", "b.png")) / "annotations" / "instances.json"
    path.write_text(path.read_text().replace('"id": 1, "file_name"', '"id": 0, "file_name"'))
    with pytest.raises(CaseUNetError, match=r"a\.png and b\.png have the same id, 0"):
        FOLDER.discover(tmp_path)


def test_boxes_of_pascal_voc_are_named(tmp_path: Path) -> None:
    save_image(tmp_path / "images" / "a.png")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "a.xml").write_text("<annotation/>")
    with pytest.raises(CaseUNetError, match=r"Found 1 XML in annotations/, 1 PNG in images/\. \(XML .* are not read"):
        find_layout(tmp_path)


@given(st.integers(1, 6), st.integers(1, 40), st.data())
def test_run_lengths_are_undone(height: int, width: int, data: st.DataObject) -> None:
    cells = st.lists(st.booleans(), min_size=height * width, max_size=height * width)
    inside = np.array(data.draw(cells)).reshape(height, width)
    flat = inside.T.ravel()
    edges = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
    runs = ([0] if flat[0] else []) + np.diff(edges).tolist()
    for counts in (runs, pack_runs(inside)):
        np.testing.assert_array_equal(decode_runs({"size": [height, width], "counts": counts}), inside)


@given(st.lists(st.tuples(st.floats(0, 12), st.floats(0, 9)), min_size=3, max_size=3))
def test_triangles_hold_the_centres_inside(corners: list[tuple[float, float]]) -> None:
    """By the signs of three cross products."""
    a, b, c = np.array(corners)
    y, x = np.mgrid[:9, :12] + 0.5
    sides = [(q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]) for p, q in ((a, b), (b, c), (c, a))]
    found = fill(np.array(corners), (9, 12))
    near = np.min(np.abs(sides), axis=0) < 1e-6
    expected = np.all([s > 0 for s in sides], axis=0) | np.all([s < 0 for s in sides], axis=0)
    assert (found == expected)[~near].all()


def boxes(path: Path, widths: dict[str, int], name: str = "polyp") -> None:
    """A COCO file with one box of 3 rows and so many columns for each image."""
    images = [{"id": n, "file_name": file, "height": 8, "width": 10} for n, file in enumerate(widths)]
    rings = [[2.0, 1.0, 2.0 + w, 1.0, 2.0 + w, 4.0, 2.0, 4.0] for w in widths.values()]
    annotations = [{"id": n, "image_id": n, "category_id": 1, "segmentation": [ring]} for n, ring in enumerate(rings)]
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": name}]}
    path.write_text(json.dumps(content))


def areas(root: Path) -> dict[str, int]:
    dataset = FOLDER.discover(root)
    return {case.id: int((read_labels(FOLDER, case, dataset) > 0).sum()) for case in dataset.labelled}


@pytest.mark.parametrize(
    ("first", "second", "folders"),
    [
        ("annotations/instances_train.json", "annotations/instances_val.json", ("train", "val")),
        ("train/_annotations.coco.json", "valid/_annotations.coco.json", ("train", "valid")),
        ("patA/annotations/a.json", "patB/annotations/a.json", ("patA", "patB")),
    ],
)
def test_each_coco_file_is_of_its_folder(first: str, second: str, folders: tuple[str, str], tmp_path: Path) -> None:
    for folder in folders:
        save_image(tmp_path / folder / "0.png")
        save_image(tmp_path / folder / "1.png")
    boxes(tmp_path / first, {"0.png": 1, "1.png": 2})
    boxes(tmp_path / second, {"0.png": 3, "1.png": 4})
    a, b = folders
    assert areas(tmp_path) == {f"{a}/0": 3, f"{a}/1": 6, f"{b}/0": 9, f"{b}/1": 12}


def test_a_folder_that_coco_lacks_has_no_outlines(tmp_path: Path) -> None:
    for folder in ("seq1", "seq2", "seq3"):
        save_image(tmp_path / folder / "0.png")
    boxes(tmp_path / "a.json", {"seq1/0.png": 1, "seq2/0.png": 2})
    assert areas(tmp_path) == {"seq1/0": 3, "seq2/0": 6}
    shutil.rmtree(tmp_path / "seq1")
    shutil.rmtree(tmp_path / "seq3")
    (tmp_path / "seq2").rename(tmp_path / "seq4")
    assert not find_outlines(tmp_path, [tmp_path / "a.json"], [Item((tmp_path / "seq4/0.png",), "seq4", "0")])[0]


def test_a_bare_name_of_two_images_is_asked(tmp_path: Path) -> None:
    for folder in ("seq1", "seq2"):
        save_image(tmp_path / folder / "0.png")
    boxes(tmp_path / "a.json", {"0.png": 1})
    with pytest.raises(CaseUNetError, match="names 0.png, which may be seq1/0.png and seq2/0.png"):
        FOLDER.discover(tmp_path)


def test_coco_files_of_other_classes_are_merged(tmp_path: Path) -> None:
    save_image(tmp_path / "images" / "0.png")
    boxes(tmp_path / "polyps.json", {"0.png": 4})
    boxes(tmp_path / "tools.json", {"0.png": 1}, "tool")
    assert np.bincount(ids(tmp_path).ravel()).tolist() == [68, 9, 3]
    boxes(tmp_path / "tools.json", {"0.png": 1})
    dataset = FOLDER.discover(tmp_path)
    with pytest.raises(SeveralMasksError, match="has outlines of polyp in 0.png, as has"):
        read_labels(FOLDER, dataset.cases[0], dataset)


def test_names_that_are_no_class_of_their_own(tmp_path: Path) -> None:
    def ring(label: str, left: int, right: int) -> dict[str, Any]:
        return {"label": label, "points": [[left, 0], [right, 0], [right, 8], [left, 8]], "shape_type": "polygon"}

    labelme(tmp_path, [ring("polyp", 0, 2), ring("Polyp ", 2, 3), ring("background", 4, 5), ring("Ignore", 6, 10)])
    counts = np.bincount(ids(tmp_path).ravel(), minlength=256)
    assert counts[[0, 1, 255]].tolist() == [24, 24, 32]


def yolo(root: Path, line: str, beside: str = "") -> Path:
    save_image(root / "images" / "a.png")
    (root / "labels").mkdir()
    (root / "labels" / "a.txt").write_text(line)
    (root / "data.yaml").write_text(f"{beside}names: [polyp]\n")
    return root


def test_yolo_outlines_may_reach_a_little_outside(tmp_path: Path) -> None:
    assert int(ids(yolo(tmp_path, "0 -0.1 0.5 1.1 0.5 1.1 1.1 -0.1 1.1\n")).sum()) == 40


@pytest.mark.parametrize("far", ["-0.5", "1.5", "320", "nan"])
def test_yolo_coordinates_far_outside_are_refused(far: str, tmp_path: Path) -> None:
    root = yolo(tmp_path, f"0 0.1 0.1 {far} 0.1 0.5 0.5\n")
    with pytest.raises(CaseUNetError, match=rf"a\.txt: line 1 .* has the coordinate {far}; expected shares"):
        ids(root)


def test_yolo_poses_are_refused(tmp_path: Path) -> None:
    root = yolo(tmp_path, "0 0.5 0.5 0.4 0.4 0.3 0.3 2 0.6 0.6 2\n", "kpt_shape: [2, 3]\n")
    with pytest.raises(CaseUNetError, match=r'data\.yaml: has "kpt_shape" \[2, 3\], so its labels are boxes'):
        FOLDER.discover(root)


CORNERS = [[20, 12.5], [60, 12.5], [60, 50], [20, 50]]
"""Of the square, in hundredths of an image of 10 × 8 pixels."""


def region(kind: str, to: str = "image", name: str = "r", **value: Any) -> dict[str, Any]:
    size = {"original_width": 10, "original_height": 8}
    return {"id": name, "type": kind, "from_name": "tag", "to_name": to, "value": value, **size}


def label_studio(root: Path, results: list[dict[str, Any]], **data: Any) -> Path:
    save_image(root / "images" / "a.png")
    task = {"id": 5, "data": data or {"image": "/data/upload/1/0123abcd-a.png"}, "annotations": [{"result": results}]}
    (root / "export.json").write_text(json.dumps([task]))
    return root


@pytest.mark.parametrize(
    ("data", "to", "message"),
    [
        ({"image1": "/data/a.png", "image2": "/data/b.png"}, "image2", r"shows 2 images \(image1, image2\)"),
        ({"pages": ["/data/a.png", "/data/b.png"]}, "image", r"shows 2 images \(pages\)"),
        ({"image": "/data/a.png"}, "image2", r"has regions of 2 images \(to_name image, image2\)"),
    ],
)
def test_label_studio_tasks_of_several_images_are_refused(
    data: dict[str, Any], to: str, message: str, tmp_path: Path
) -> None:
    drawn = [region("polygonlabels", tag, points=CORNERS, polygonlabels=["polyp"]) for tag in ("image", to)]
    with pytest.raises(CaseUNetError, match=rf"export\.json: task 5 {message}; expected .* Make a task of each image"):
        FOLDER.discover(label_studio(tmp_path, drawn, **data))


def test_label_studio_finds_the_image_among_the_data(tmp_path: Path) -> None:
    drawn = region("polygonlabels", points=CORNERS, polygonlabels=["polyp"])
    root = label_studio(tmp_path, [drawn], patient="p1", photo="/data/upload/1/0123abcd-a.png", age=50)
    np.testing.assert_array_equal(ids(root), square())


def test_label_studio_labels_beside_plain_regions(tmp_path: Path) -> None:
    """As the tags Labels, Polygon, Brush and Rectangle write them."""
    runs = {"format": "rle", "rle": encode_brush(np.ones((8, 10), bool))}
    box = {"x": 0, "y": 0, "width": 10, "height": 10}
    drawn = [region("polygon", name="a", points=CORNERS), region("labels", name="a", points=CORNERS, labels=["polyp"])]
    drawn += [region("brush", name="b", **runs), region("labels", name="b", **runs, labels=["organ"])]
    drawn += [region("rectangle", name="c", **box), region("labels", name="c", **box, labels=["tool"])]
    root = label_studio(tmp_path, drawn)
    dataset = FOLDER.discover(root)
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == ("background", "organ", "polyp")
    np.testing.assert_array_equal(ids(root), square() + 1)


@pytest.mark.parametrize("kind", ["polygon", "brush"])
@pytest.mark.parametrize(
    ("beside", "shown"),
    [
        ([], "nothing"),
        ([region("choices", choices=["polyp"])], "choices"),
        ([region("labels", labels=["x"])], "labels"),
    ],
)
def test_label_studio_regions_without_labels_are_refused(
    kind: str, beside: list[dict[str, Any]], shown: str, tmp_path: Path
) -> None:
    drawn = [region("polygonlabels", name="a", points=CORNERS, polygonlabels=["organ"]), region(kind, points=CORNERS)]
    with pytest.raises(
        CaseUNetError, match=rf"region 2 of task 5, r, is a {kind} without a label: beside it is {shown};"
    ):
        FOLDER.discover(label_studio(tmp_path, drawn + beside))
