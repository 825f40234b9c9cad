"""Which files belong to one image, where each channel has a file of its own."""

from contextlib import ExitStack
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from caseunet.datasets.generate import write_nnunet
from caseunet.io.images import read_image_file
from caseunet.prediction.channels import Channels
from caseunet.prediction.inputs import Input, find_inputs
from caseunet.prediction.python_images import read_python_image
from caseunet.prediction.store import FailedCase
from caseunet.progress import Notices
from caseunet.types import Preprocessing

PREPROCESSING = Preprocessing(modality="mr", channels=2, mean=(0.0, 0.0), std=(1.0, 1.0))


def fill(root: Path, *names: str) -> None:
    """Volumes whose values are the last digit of their names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        value = int(name.rpartition(".nii")[0][-1])
        nib.save(nib.Nifti1Image(np.full((3, 4, 5), value, np.int16), np.eye(4) * 2), root / name)


def read(item: Input) -> list[int]:
    """The value of each channel, as prediction gets it."""
    picture = item.read(PREPROCESSING, lambda path, how: pytest.fail(f"{path} alone"))
    return [int(value) for value in picture.pixels[0, :, 0, 0]]


@pytest.mark.parametrize(
    ("names", "channels", "found"),
    [
        (["new1_0000.nii", "new1_0001.nii"], Channels(2), {"new1": [0, 1]}),
        (["a/p_0001.nii.gz", "a/p_0000.nii.gz"], Channels(2), {"a/p": [0, 1]}),
        (["P-1/P-1-t1.nii", "P-1/P-1-t2.nii"], Channels(2, ("t2", "t1")), {"P-1": [2, 1]}),
        (["P1/t1.nii", "P1/t2.nii", "P2/T1.nii", "P2/T2.nii"], Channels(2, ("t1", "t2")), {"P1": [1, 2], "P2": [1, 2]}),
        (["x_0000.nii", "x_0001.nii"], Channels(2, ("0000", "0001")), {"x": [0, 1]}),
    ],
)
def test_channels_are_joined(names: list[str], channels: Channels, found: dict[str, list[int]], tmp_path: Path) -> None:
    fill(tmp_path, *names)
    assert {item.id: read(item) for item in find_inputs([tmp_path], channels=channels)} == found


def test_files_that_are_named_are_joined(tmp_path: Path) -> None:
    fill(tmp_path, "x_0000.nii", "x_0001.nii", "y_0001.nii")
    items = find_inputs([tmp_path / "x_0001.nii", tmp_path / "x_0000.nii"], channels=Channels(2))
    assert [(item.id, read(item)) for item in items] == [("x", [0, 1])]


def test_image_that_lacks_a_channel_has_an_error(tmp_path: Path) -> None:
    fill(tmp_path, "x_0000.nii", "x_0001.nii", "y_0001.nii")
    good, bad = find_inputs([tmp_path], channels=Channels(2))
    assert (good.id, good.error) == ("x", "")
    assert "y_0001.nii: channel 0000 of y is missing; each image has 0000, 0001. A model that" in bad.error


def test_one_channel_is_one_file(tmp_path: Path) -> None:
    fill(tmp_path, "x_0000.nii", "x_0001.nii")
    assert [item.id for item in find_inputs([tmp_path])] == ["x_0000", "x_0001"]


def test_channels_for_a_model_of_one_are_told(tmp_path: Path) -> None:
    fill(tmp_path, "x_0000.nii", "x_0001.nii", "y_0000.nii")
    (said,) = search(tmp_path)[2]
    assert said.startswith("x_0000 and x_0001 are called like channels of one image. This model takes images of one")
    (tmp_path / "x_0001.nii").unlink()
    assert search(tmp_path)[2] == ()


def test_masks_beside_scans_are_no_inputs(tmp_path: Path) -> None:
    fill(tmp_path, *(f"P{n}/P{n}-{kind}{c}.nii" for n in (1, 2) for kind, c in (("t", 1), ("t", 2), ("seg", 0))))
    items = find_inputs([tmp_path], channels=Channels(2, ("t1", "t2")))
    assert {item.id: read(item) for item in items} == {"P1": [1, 2], "P2": [1, 2]}


NAMED = Channels(2, ("t1", "t2"))


def search(root: Path, channels: Channels | None = None) -> tuple[dict[str, Input], dict[str, str], tuple[str, ...]]:
    """{id: input}, {id: why it is none} and what is said."""
    left: list[FailedCase] = []
    said = Notices()
    found = find_inputs([root], display=said, channels=channels, left_out=left)
    return {item.id: item for item in found}, {case.id: case.error for case in left}, said.warnings


@pytest.mark.parametrize(
    ("names", "channels", "ids"),
    [
        (
            ["p1.nii", "p1_mask0.nii", "p2.nii", "new/p3.nii", "new/p4.nii"],
            None,
            ["new/p3", "new/p4", "p1", "p2"],
        ),
        (
            [*(f"{case}/{case}-t{n}.nii" for case in ("dup", "ok") for n in (1, 2)), "dup/dup-seg0.nii"],
            NAMED,
            ["dup", "ok"],
        ),
        (["images/a1.nii", "masks/a1.nii", "more/b2.nii"], None, ["a1", "more/b2"]),
    ],
)
def test_images_far_from_masks_are_found(
    names: list[str], channels: Channels | None, ids: list[str], tmp_path: Path
) -> None:
    fill(tmp_path, *names)
    for path in tmp_path.rglob("*[kg]0.nii"):
        path.rename(path.with_name(path.name.replace("0.nii", ".nii")))
    found, left, said = search(tmp_path, channels)
    assert sorted(found) == ids
    assert all(len(item.files) == (2 if channels else 1) and not item.error for item in found.values())
    assert (left, said) == ({}, ())


def test_what_is_left_out_beside_masks_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "images/a1.nii", "masks/a1.nii", "masks/b2.nii")
    for name in ("old.webp", "preview.png", "all.zip"):
        (tmp_path / name).touch()
    left: list[FailedCase] = []
    said = Notices()
    with ExitStack() as unpacked:
        found = find_inputs([tmp_path], display=said, unpacked=unpacked, left_out=left)
    assert [item.id for item in found] == ["a1"]
    why = {case.id: case.error.partition(": ")[2] for case in left}
    assert why == {
        "old": "of a kind that is not read",
        "masks/b2": "a mask without its image; an image of the name b2 was expected",
        "preview": "pictures beside volumes",
        "all": "archives beside images and masks. Give them by themselves",
    }
    assert len(said.warnings) == 4


def test_a_file_beside_the_channels_is_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "P1/P1-t1.nii", "P1/P1-t2.nii", "P1/P1-t1-bias3.nii", "four4.nii")
    found, left, said = search(tmp_path, NAMED)
    assert sorted(found) == ["P1", "four4"]
    assert list(left) == ["P1-t1-bias3"]
    assert "P1-t1-bias3.nii: none of the channels of the image" in said[0]


def test_what_is_outside_a_known_layout_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "volume-0.nii", "segmentation-0.nii", "new/x1.nii")
    found, left, _ = search(tmp_path)
    assert list(found) == ["volume-0"]
    assert left["new/x1"].endswith("x1.nii: no part of the data set, whose layout is lits")


@pytest.mark.parametrize("others", [[], ["P/P-t1.nii", "P/P-t2.nii"]])
def test_numbers_do_not_stand_for_named_channels(others: list[str], tmp_path: Path) -> None:
    fill(tmp_path, "x_0000.nii", "x_0001.nii", *others)
    found, _, _ = search(tmp_path, NAMED)
    assert sorted(found) == [*(["P"] if others else []), "x"]
    assert "its 2 channels are numbered" in found["x"].error
    assert "expects t1, t2. Name each file by its channel, such as x-t1.nii and x-t2.nii" in found["x"].error


def test_numbers_of_nnunet_do_not_either(tmp_path: Path) -> None:
    write_nnunet(tmp_path / "raw", cases=2, channels=2)
    found, _, _ = search(tmp_path / "raw", NAMED)
    assert found
    assert all("its 2 channels are numbered" in item.error for item in found.values())
    assert not any(item.error for item in search(tmp_path / "raw", Channels(2))[0].values())


def test_the_order_of_nameless_channels_is_told(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(120, dtype=np.int16).reshape(3, 4, 5, 2), np.eye(4))
    nib.save(image, tmp_path / "x.nii")
    told = ("its 2 channels are taken in the order t1, t2",)
    (item,) = find_inputs([tmp_path], channels=NAMED)
    assert item.read(PREPROCESSING, lambda path, how: read_image_file(path, False)).geometry.remarks[-1:] == told
    (item,) = find_inputs([tmp_path], channels=Channels(2))
    assert item.read(PREPROCESSING, lambda path, how: read_image_file(path, False)).geometry.remarks[-1:] != told
    for given in (tmp_path / "x.nii", image):
        remarks = read_python_image(given, PREPROCESSING, channels=NAMED).picture.geometry.remarks
        assert [remark for remark in remarks if "order" in remark] == list(told)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("x.mhd", ".mha"), ("x.nhdr", ".nrrd"), ("x.hdr", ".nii.gz"), ("x.jfif", ".png"), ("x.jpe", ".png")],
)
def test_images_of_two_files_and_jpeg_are_inputs(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "x.hdr":
        nib.save(nib.Nifti1Pair(np.zeros((3, 4, 5), np.int16), np.eye(4)), path)
    elif suffix == ".png":
        Image.new("L", (5, 4)).save(path, "JPEG")
    else:
        SimpleITK.WriteImage(SimpleITK.Image([3, 4, 5], SimpleITK.sitkInt16), str(path), False)
    (item,), left, _ = find_inputs([tmp_path]), *search(tmp_path)[1:]
    assert (item.id, item.suffix, item.error, left) == ("x", suffix, "", {})
    before = item.hash()
    data = next((file for file in tmp_path.iterdir() if file != path), path)
    data.write_bytes(data.read_bytes()[:-1] + b"\1")
    assert item.hash() != before


def test_kinds_that_are_not_read_are_named(tmp_path: Path) -> None:
    fill(tmp_path, "a1.nii")
    kinds = [".npy", ".npz", ".mat", ".raw", ".img", ".mgz", ".h5", ".webm", ".img.gz"]
    for kind in kinds:
        (tmp_path / f"x{kind}").touch()
    found, _, said = search(tmp_path)
    assert list(found) == ["a1"]
    left: list[FailedCase] = []
    find_inputs([tmp_path], left_out=left)
    assert sorted(Path(case.image).name for case in left) == sorted(f"x{kind}" for kind in kinds)
    assert said[0].endswith("and 6 more: of a kind that is not read")
