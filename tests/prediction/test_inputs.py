"""Which files belong to one image, where each channel has a file of its own."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from caseunet.prediction.inputs import Channels, Input, find_inputs
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
        (["x_0000.nii", "x_0001.nii"], Channels(2, ("t1", "t2")), {"x": [0, 1]}),
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
    assert bad.error.endswith("y_0001.nii: channel 0000 of y is missing; each image has 0000, 0001.")


def test_one_channel_is_one_file(tmp_path: Path) -> None:
    fill(tmp_path, "x_0000.nii", "x_0001.nii")
    assert [item.id for item in find_inputs([tmp_path])] == ["x_0000", "x_0001"]


def test_masks_beside_scans_are_no_inputs(tmp_path: Path) -> None:
    fill(tmp_path, *(f"P{n}/P{n}-{kind}{c}.nii" for n in (1, 2) for kind, c in (("t", 1), ("t", 2), ("seg", 0))))
    items = find_inputs([tmp_path], channels=Channels(2, ("t1", "t2")))
    assert {item.id: read(item) for item in items} == {"P1": [1, 2], "P2": [1, 2]}
