"""Each layout's own names of files come back from each format."""

import re
from pathlib import Path

import numpy as np
import pytest

from caseunet.commands.convert import convert
from caseunet.datasets import SOURCES
from tests.contracts.test_layouts import WRITERS
from tests.datasets.exchange.sources import assert_equal, read_all

PICTURES = ("endovis2018", "endovis2018-types", "endovis2017", "glas", "chase", "busi", "dsb2018", "folder")
VOLUMES = sorted(set(WRITERS) - set(PICTURES) - {"brats"})  # its regions have names of their own in these formats


def read_frames(root: Path) -> dict[str, dict[str, np.ndarray]]:
    """By the names without the part of a split before them, and the first class under one name."""
    found = {}
    for name, classes in read_all(root).items():
        plain = re.sub("^((train|val|test)_)+", "", name)
        found[plain] = {"background" if n.startswith("background") else n: where for n, where in classes.items()}
    return found


@pytest.mark.parametrize("layout", PICTURES)
def test_pictures_of_a_layout_come_back(layout: str, tmp_path: Path) -> None:
    WRITERS[layout](tmp_path / "RAW")
    before = read_frames(tmp_path / "RAW")
    for to in ("png", "coco", "labelme", "yolo", "voc", "cvat", "label-studio"):
        convert(tmp_path / "RAW", to=to, out=tmp_path / to)
        assert_equal(before, read_frames(tmp_path / to))


@pytest.mark.parametrize("layout", VOLUMES)
def test_volumes_of_a_layout_come_back(layout: str, tmp_path: Path) -> None:
    WRITERS[layout](tmp_path / "RAW")
    before = read_frames(tmp_path / "RAW")
    for to in ("nifti", "seg.nrrd"):
        convert(tmp_path / "RAW", to=to, out=tmp_path / to)
        assert_equal(before, read_frames(tmp_path / to))
    convert(tmp_path / "RAW", to="coco", out=tmp_path / "coco")
    assert len(read_frames(tmp_path / "coco")) == sum(len(next(iter(v.values()))) for v in before.values())


def test_frames_without_masks_keep_their_layout(tmp_path: Path) -> None:
    WRITERS["endovis2018-types"](tmp_path / "RAW")
    for mask in (tmp_path / "RAW").rglob("annotations/*"):
        mask.unlink()
    assert SOURCES.get("endovis2018-types").matches(tmp_path / "RAW")
