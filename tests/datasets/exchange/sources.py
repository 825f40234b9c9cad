"""Data sets to convert, and the comparison of what comes back."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from caseunet.config import PrepareConfig
from caseunet.datasets import open_source
from caseunet.datasets.exchange.source import name_cases
from caseunet.datasets.meanings import with_coding
from caseunet.datasets.reading import read_labels, require_coding
from caseunet.types import IGNORE

NAMES = ("background", "polyp", "tool", "long name")


def write_frames(root: Path, ignore: bool = False, parts: bool = False, grey: bool = False) -> Path:
    """Four frames of blobs with holes, diagonal contacts and the border; with ``ignore`` some pixels are 255."""
    rng = np.random.default_rng(0)
    for n in range(4):
        folder = root / (("train", "val")[n % 2] if parts else "")
        ids = np.zeros((30, 41), np.uint8)
        ids[3:20, 5:25] = 1
        ids[6:10, 8:12] = 0  # a hole
        ids[12:18, 10:20] = 2  # a thing of another class in it
        ids[14:16, 13:16] = 1  # a thing in the hole of the other
        ids[20:24, 25:30] = 1  # touches at a corner
        ids[25:, 35:] = 3
        ids[0, 0] = 3
        ids[rng.random(ids.shape) < 0.05] = 2
        if ignore:
            ids[:, 30:34] = IGNORE
        picture = rng.integers(0, 255, ids.shape if grey else (*ids.shape, 3)).astype(np.uint8)
        name = f"case{n}.png" if n else "first case.png"
        for kind, array in (("images", picture), ("masks", ids)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / kind / name)
    named = {name: number for number, name in enumerate(NAMES)} | ({"ignore": IGNORE} if ignore else {})
    (root / "labels.json").write_text(json.dumps(named))
    return root


def read_all(root: Path, config: PrepareConfig = PrepareConfig()) -> dict[str, dict[str, np.ndarray]]:
    """{name of a case: {class, or "ignore": where it is}} of the labelled cases, classes without a pixel left out."""
    layout, dataset = open_source(root, config)
    assert [finding.text for finding in dataset.findings if finding.level == "error"] == []
    dataset = with_coding(layout, dataset, 0)
    names = dict(enumerate(require_coding(dataset).label_map.names)) | {IGNORE: "ignore"}
    files = name_cases([case.id for case in dataset.cases])
    found = {}
    for case in dataset.labelled:
        labels = read_labels(layout, case, dataset)
        found[files[case.id]] = {names[i]: labels == i for i in np.unique(labels).tolist()}
    return found


def assert_equal(before: dict[str, dict[str, np.ndarray]], after: dict[str, dict[str, np.ndarray]]) -> None:
    """The same cases with the same classes at the same pixels."""
    assert sorted(before) == sorted(after)
    for case, classes in before.items():
        assert sorted(classes) == sorted(after[case]), case
        for name, where in classes.items():
            np.testing.assert_array_equal(after[case][name], where, err_msg=f"{case}: {name}")
