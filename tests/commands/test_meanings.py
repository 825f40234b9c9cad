"""What masks and images mean, from the folder to prepared labels and to scores."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from caseunet.commands.audit import audit
from caseunet.commands.evaluate import evaluate
from caseunet.commands.prepare import prepare
from caseunet.config import Config
from caseunet.errors import CaseUNetError
from caseunet.io.raster import WHITE_AS_0
from tests.io.test_raster import write_tiff

SEEN = np.zeros((40, 48), np.uint8)
SEEN[4:14, 6:30] = 1
SEEN[20:30, 10:20] = 2
COLORS = ((0, 0, 0), (255, 0, 0), (0, 255, 0))
GREYS = ((0, 0, 0), (255, 255, 255))


def write(path: Path, seen: np.ndarray, colors: tuple[tuple[int, ...], ...], order: tuple[int, ...]) -> None:
    """What is seen, with class ``order[i]`` as index i of the palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.argsort(order)[seen].astype(np.uint8)).convert("L")
    image.putpalette([level for place in order for level in colors[place]])
    image.save(path)


def write_images(folder: Path, number: int) -> None:
    (folder / "images").mkdir(parents=True)
    for k in range(number):
        pixels = np.random.default_rng(k).integers(0, 255, (*SEEN.shape, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"images/a{k}.png")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Three images whose masks are alike to the eye, with three orders of the palette."""
    write_images(tmp_path / "raw", 3)
    for k, order in enumerate([(0, 1, 2), (2, 0, 1), (1, 2, 0)]):
        write(tmp_path / f"raw/masks/a{k}.png", SEEN, COLORS, order)
    return tmp_path / "raw"


def test_palettes_in_any_order_are_one_mask(raw: Path, tmp_path: Path, tiny_config: Config) -> None:
    prepared = prepare(raw, out=tmp_path / "prepared", config=tiny_config.prepare)
    assert prepared.info.label_map.colors == ((0, 0, 0), (0, 255, 0), (255, 0, 0))
    expected = np.array([0, 2, 1], np.uint8)[SEEN]  # black, then by colour: green, red
    for case in ("a0", "a1", "a2"):
        np.testing.assert_array_equal(prepared.labels(case)[0], expected)


def test_ids_named_beside_palettes_are_asked_about(raw: Path, tmp_path: Path, tiny_config: Config) -> None:
    classes = [{"name": name, "classid": i} for i, name in enumerate(("background", "liver", "cyst"))]
    (raw / "labels.json").write_text(json.dumps(classes))
    with pytest.raises(CaseUNetError, match="palettes show the value 0 as #000000 and as #00ff00"):
        prepare(raw, out=tmp_path / "prepared", config=tiny_config.prepare)
    with pytest.raises(CaseUNetError, match="palettes show the value 0 as #000000 and as #00ff00"):
        evaluate(raw / "masks", raw, out=tmp_path / "report")


@pytest.mark.parametrize("inverted", [False, True])
def test_black_is_the_background(inverted: bool, tmp_path: Path, tiny_config: Config) -> None:
    """All palettes alike, with white before black: what is seen counts."""
    write_images(tmp_path / "raw", 2)
    for k in range(2):
        write(tmp_path / f"raw/masks/a{k}.png", SEEN.clip(0, 1), GREYS, (1, 0) if inverted else (0, 1))
    found = audit(tmp_path / "raw", out=tmp_path / "audit", config=tiny_config.prepare)
    assert found.at_level("error") == ()
    prepared = prepare(tmp_path / "raw", out=tmp_path / "prepared", config=tiny_config.prepare)
    assert prepared.info.label_map.names == ("background", "foreground")
    assert prepared.info.class_pixels[1] == 2 * np.count_nonzero(SEEN)


@pytest.mark.parametrize(("inverted", "level"), [(0, ""), (1, "error"), (2, "warning")])
def test_white_as_0_is_told(inverted: int, level: str, tmp_path: Path, tiny_config: Config) -> None:
    """Equal bytes mean the opposite where only some files store white as 0; also scores tell of it."""
    write_images(tmp_path / "raw", 2)
    (tmp_path / "raw/masks").mkdir()
    seen = SEEN.clip(0, 1) * 255
    for k in range(2):
        write_tiff(tmp_path / f"raw/masks/a{k}.tif", seen, photometric=int(k >= inverted), bits=8)
    found = audit(tmp_path / "raw", out=tmp_path / "audit", config=tiny_config.prepare)
    errors = [finding.text for finding in found.at_level("error")]
    remarks = [finding.case for finding in found.at_level("warning") if finding.text == WHITE_AS_0]
    start = "1 of 2 masks store white as 0 (MinIsWhite)"
    assert [text[: len(start)] for text in errors] == ([start] if level == "error" else [])
    assert remarks == ["a0", "a1"][:inverted]
    scored = evaluate(tmp_path / "raw/masks", tmp_path / "raw/masks", out=tmp_path / "report")
    told = [remark.text for model in scored.summary.models for remark in model.remarks]
    assert sum(WHITE_AS_0 in text for text in told) == inverted


@pytest.mark.parametrize("references", ["grey", "palette"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_predictions_may_have_another_palette(order: tuple[int, int], references: str, tmp_path: Path) -> None:
    seen = SEEN.clip(0, 1)
    write_images(tmp_path / "raw", 2)
    for k in range(2):
        if references == "palette":
            write(tmp_path / f"raw/masks/a{k}.png", seen, COLORS, (0, 1))
        else:
            (tmp_path / "raw/masks").mkdir(exist_ok=True)
            Image.fromarray(seen * 255).save(tmp_path / f"raw/masks/a{k}.png")
        write(tmp_path / f"predictions/a{k}.png", seen, COLORS if references == "palette" else GREYS, order)
    scored = evaluate(tmp_path / "predictions", tmp_path / "raw", out=tmp_path / "report")
    assert set(scored.cases["dice"].dropna()) == {1.0}


@pytest.mark.parametrize("classes", [1, 2])
def test_colours_against_ids_are_asked_about(classes: int, tmp_path: Path) -> None:
    """Red is 1 and green 2 here, which nothing tells; in the order of colours green comes first."""
    references, predictions, seen = tmp_path / "references", tmp_path / "predictions", SEEN.clip(0, classes)
    for folder, pixels in ((references, np.array(COLORS, np.uint8)[seen]), (predictions, seen)):
        folder.mkdir()
        Image.fromarray(pixels).save(folder / "a0.png")
        Image.fromarray(0 * pixels).save(folder / "a1.png")
    if classes == 2:
        with pytest.raises(CaseUNetError, match=r"the references show colours: #00ff00, #ff0000. Say .*labels.json"):
            evaluate(predictions, references, out=tmp_path / "report")
        names = ("none", "red", "green")
        named = [{"name": names[n], "classid": n, "color": color} for n, color in enumerate(COLORS)]
        (references / "labels.json").write_text(json.dumps(named))
    scored = evaluate(predictions, references, out=tmp_path / "report")
    assert set(scored.cases["dice"].dropna()) == {1.0}


def test_grey_images_of_two_depths_are_an_error(tmp_path: Path, tiny_config: Config) -> None:
    """The same scene in 16 bits, once 257 times as large, which is read as it was, once on a scale of its own."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / "raw" / folder).mkdir(parents=True)
    for k, factor in enumerate((1, 257, 100)):
        pixels = rng.integers(1, 255, SEEN.shape).astype(np.uint8 if factor == 1 else np.uint16) * factor
        Image.fromarray(pixels).save(tmp_path / f"raw/images/a{k}.png")
        Image.fromarray(SEEN).save(tmp_path / f"raw/masks/a{k}.png")
    found = audit(tmp_path / "raw", out=tmp_path / "audit", config=tiny_config.prepare)
    assert [(f.kind, f.case) for f in found.at_level("error")] == [("depth", "a2")]
    assert [(f.kind, f.case) for f in found.at_level("warning") if f.kind == "remark"] == [("remark", "a1")]


def test_segments_are_one_class_by_name(tmp_path: Path, tiny_config: Config) -> None:
    """Two people numbered the same segments differently."""
    labels = np.zeros((3, 40, 40), np.uint8)
    labels[1, 4:20, 4:20], labels[1, 25:30, 25:35] = 1, 2
    for folder in ("raw/images", "raw/masks", "predictions"):
        (tmp_path / folder).mkdir(parents=True)
    for k, names in enumerate((("Liver", "Cyst"), ("cyst", "liver"))):
        volume = SimpleITK.GetImageFromArray(np.random.default_rng(k).integers(0, 900, labels.shape).astype(np.int16))
        SimpleITK.WriteImage(volume, tmp_path / f"raw/images/p{k}.nrrd")
        own = SimpleITK.GetImageFromArray(labels if k == 0 else np.array([0, 2, 1], np.uint8)[labels])
        for i, name in enumerate(names):
            own.SetMetaData(f"Segment{i}_Name", name)
            own.SetMetaData(f"Segment{i}_LabelValue", str(i + 1))
        SimpleITK.WriteImage(own, tmp_path / f"raw/masks/p{k}.nrrd")
        SimpleITK.WriteImage(own, tmp_path / f"predictions/p{1 - k}.nrrd")  # the same voxels, numbered otherwise
    prepared = prepare(tmp_path / "raw", out=tmp_path / "prepared", config=tiny_config.prepare)
    assert prepared.info.label_map.names == ("background", "Liver", "Cyst")
    for case in ("p0", "p1"):
        np.testing.assert_array_equal(prepared.labels(case), labels)
    scored = evaluate(tmp_path / "predictions", tmp_path / "raw", out=tmp_path / "report")
    assert set(scored.cases["dice"].dropna()) == {1.0}
