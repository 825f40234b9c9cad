"""nnU-Net's raw format as it is written; nnU-Net 2.8.1 itself accepts what is tested here."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caseunet.commands.convert import convert
from caseunet.datasets.exchange.nnunet_raw import name_labels, order_regions
from caseunet.datasets.generate import write_dicom, write_lits, write_msd, write_nnunet
from caseunet.errors import CaseUNetError
from caseunet.io import images
from caseunet.options import ConvertOptions
from caseunet.types import Label, LabelMap
from tests.datasets.exchange.sources import assert_equal, read_all, write_frames


def description(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "dataset.json").read_text())
    return found


def test_volumes_come_through(tmp_path: Path) -> None:
    write_lits(tmp_path / "RAW", patients=3, shape=(6, 20, 16))
    options = ConvertOptions(dataset_id=42, dataset_name="Liver CT")
    done = convert(tmp_path / "RAW", to="nnunet", out=tmp_path / "out", options=options)
    assert len(done.cases) == 3
    assert [text.partition(". ")[0] for text in done.warnings] == [
        "there is no split, so no splits_final.json is written"
    ]
    folder = tmp_path / "out" / "Dataset042_LiverCT"
    assert description(folder)["labels"] == {"background": 0, "liver": 1, "tumour": 2}
    assert description(folder)["channel_names"] == {"0": "CT"}
    assert_equal(read_all(tmp_path / "RAW"), read_all(tmp_path / "out"))
    first = next((tmp_path / "RAW").rglob("volume-0.nii"))
    copy = folder / "imagesTr" / "volume-0_0000.nii.gz"
    np.testing.assert_array_equal(*(images.read_image_file(path, False).pixels for path in (first, copy)))


def test_channels_of_one_file_get_a_file_each(tmp_path: Path) -> None:
    write_msd(tmp_path / "RAW", channels=2, shape=(6, 20, 16))
    convert(tmp_path / "RAW", to="nnunet", out=tmp_path / "out")
    assert_equal(read_all(tmp_path / "RAW"), read_all(tmp_path / "out"))
    folder = next((tmp_path / "out").glob("Dataset*"))
    source = sorted((tmp_path / "RAW").rglob("imagesTr/*.nii.gz"))[0]
    whole = images.read_image_file(source, False)
    for channel in range(2):
        path = folder / "imagesTr" / source.name.replace(".nii.gz", f"_{channel:04d}.nii.gz")
        copy = images.read_image_file(path, False)
        np.testing.assert_array_equal(copy.pixels[:, 0], whole.pixels[:, channel])
        np.testing.assert_allclose(copy.geometry.affine, whole.geometry.affine)
    assert len(list((folder / "imagesTs").iterdir())) == 2 * len(list((tmp_path / "RAW").rglob("imagesTs/*.nii.gz")))


def test_series_become_nifti(tmp_path: Path) -> None:
    write_dicom(tmp_path / "RAW")
    convert(tmp_path / "RAW", to="nnunet", out=tmp_path / "out")
    assert_equal(read_all(tmp_path / "RAW"), read_all(tmp_path / "out"))


def test_frames_with_ignored_pixels(tmp_path: Path) -> None:
    write_frames(tmp_path / "RAW", ignore=True)
    convert(tmp_path / "RAW", to="nnunet", out=tmp_path / "out")
    folder = next((tmp_path / "out").glob("Dataset*"))
    assert description(folder)["labels"] == {"background": 0, "polyp": 1, "tool": 2, "long name": 3, "ignore": 4}
    assert Image.open(folder / "labelsTr" / "case1.png").mode == "L", "nnU-Net reads a palette as colours"
    assert_equal(read_all(tmp_path / "RAW"), read_all(tmp_path / "out"))


def test_regions_keep_their_order(tmp_path: Path) -> None:
    write_nnunet(tmp_path / "RAW", cases=2, shape=(6, 20, 16))
    path = tmp_path / "RAW" / "Dataset901_MadeUp" / "dataset.json"
    regions = {"labels": {"background": 0, "whole": [1, 2], "tumour": [2]}, "regions_class_order": [1, 2]}
    path.write_text(json.dumps(json.loads(path.read_text()) | regions))
    convert(tmp_path / "RAW", to="nnunet", out=tmp_path / "out")
    found = description(next((tmp_path / "out").glob("Dataset*")))
    assert {key: found[key] for key in regions} == regions


def label_map(structures: dict[str, tuple[int, ...]]) -> LabelMap:
    labels = tuple(Label(id=i, name=f"c{i}", color=(i, 0, 0)) for i in range(4))
    return LabelMap(labels=labels, structures=structures).with_regions()


def test_inner_regions_are_painted_last() -> None:
    made = label_map({"inner": (3,), "whole": (1, 2, 3), "core": (2, 3)})
    assert list(name_labels(made)) == ["background", "whole", "core", "inner"]
    assert order_regions(made) == [1, 2, 3]


@pytest.mark.parametrize(
    ("structures", "told"),
    [
        ({"whole": (1, 2, 3), "a": (1,), "b": (2, 3)}, 'The region "whole" consists of smaller ones alone'),
        ({"whole": (1, 2)}, 'The class "c3" is in no region'),
    ],
)
def test_regions_nnunet_cannot_tell(structures: dict[str, tuple[int, ...]], told: str) -> None:
    with pytest.raises(CaseUNetError, match=told):
        order_regions(label_map(structures))


def test_a_split_is_written(tmp_path: Path) -> None:
    write_frames(tmp_path / "RAW", parts=True)
    done = convert(tmp_path / "RAW", to="nnunet", out=tmp_path / "out")
    assert done.warnings == ()
    folder = next((tmp_path / "out").glob("Dataset*"))
    folds = json.loads((folder / "splits_final.json").read_text())
    assert folds == [{"train": ["case2", "first_case"], "val": ["case1", "case3"]}]
    assert len(list((folder / "labelsTr").iterdir())) == 4
    given = tmp_path / "split.csv"
    given.write_text("case,fold\ncase1,0\ncase2,1\ncase3,1\n")
    write_frames(tmp_path / "FLAT")
    convert(tmp_path / "FLAT", to="nnunet", out=tmp_path / "flat", options=ConvertOptions(split=given))
    folds = json.loads(next((tmp_path / "flat").glob("Dataset*/splits_final.json")).read_text())
    assert folds[0] == {"train": ["case2", "case3"], "val": ["case1"]}
