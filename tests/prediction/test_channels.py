"""Which channels a model takes of an image, and what stands for one that is missing."""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from caseunet.data.transforms import normalize
from caseunet.datasets.generate import write_nnunet
from caseunet.errors import CaseUNetError
from caseunet.imaging.slices import case_statistics
from caseunet.prediction.channels import Channels, fill_channels, join_arrays
from caseunet.prediction.inputs import Input, find_inputs
from caseunet.prediction.python_images import read_python_image
from caseunet.types import Geometry, ImageVolume, Preprocessing
from tests.support.public_layouts import write_brats

NAMES = ("t1c", "t1n", "t2f", "t2w")
TWO = Channels(2, ("t2f", "t1c"), NAMES)
ROBUST = TWO._replace(fill=(0.0, -7.0))
NUMBERED = Channels(2, ("PET", "CT"), ("CT", "T1", "PET"), by_number=True)
MR = Preprocessing(modality="mr", channels=2, mean=(0.0, 0.0), std=(1.0, 1.0))


def fill(root: Path, *names: str) -> None:
    """Volumes whose values are their places among the names."""
    for value, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.full((3, 4, 5), value, np.int16), np.eye(4) * 2), root / name)


def values(item: Input) -> list[float]:
    """Of each channel, as the model gets it."""
    picture = item.read(MR, lambda path, how: pytest.fail(f"{path} alone"))
    return [float(value) for value in picture.pixels[0, :, 0, 0]]


def image(*channels: float) -> ImageVolume:
    return ImageVolume(np.array(channels, np.int16)[None, :, None, None], Geometry(shape=(1, 1)))


@pytest.mark.parametrize("folder", ["", "p/"])
def test_some_channels_are_taken_by_name(folder: str, tmp_path: Path) -> None:
    fill(tmp_path, *(f"{folder}p-{name}.nii" for name in NAMES))
    (item,) = find_inputs([tmp_path], channels=TWO)
    assert (item.id, values(item)) == ("p", [2, 0])
    assert [path.name for path in item.all_files] == [f"p-{name}.nii" for name in NAMES]


def test_one_channel_of_several_is_taken(tmp_path: Path) -> None:
    fill(tmp_path, *(f"p-{name}.nii" for name in NAMES))
    (item,) = find_inputs([tmp_path], channels=Channels(1, ("t1n",), NAMES))
    assert (item.id, values(item)) == ("p", [1])


def test_numbers_tell_described_channels(tmp_path: Path) -> None:
    fill(tmp_path, "p_0000.nii", "p_0001.nii", "p_0002.nii")
    (item,) = find_inputs([tmp_path], channels=NUMBERED)
    assert values(item) == [2, 0]


def test_nnunet_folder_gives_chosen_channels(tmp_path: Path) -> None:
    write_nnunet(tmp_path, channels=4)
    whole = {item.id: values(item) for item in find_inputs([tmp_path], channels=Channels(4))}
    names = ("MR1", "MR2", "MR3", "MR4")
    chosen = find_inputs([tmp_path], channels=Channels(2, ("MR4", "MR2"), names, by_number=True))
    assert {item.id: values(item) for item in chosen} == {name: [v[3], v[1]] for name, v in whole.items()}


@pytest.mark.parametrize("missing", [("t1c",), ("t1c", "t2w")])
def test_missing_channel_gets_its_value(missing: Sequence[str], tmp_path: Path) -> None:
    fill(tmp_path, *(f"p-{name}.nii" for name in NAMES if name not in missing))
    (item,) = find_inputs([tmp_path], channels=ROBUST)
    assert (item.error, values(item)) == ("", [1, -7])
    assert item.read(MR, lambda path, how: pytest.fail(str(path))).missing == ("t1c",)


def test_channel_that_is_not_seen_may_lack(tmp_path: Path) -> None:
    fill(tmp_path, "p-t1c.nii", "p-t2f.nii")
    (item,) = find_inputs([tmp_path], channels=TWO)
    assert (item.error, values(item)) == ("", [1, 0])


def test_missing_channel_is_refused_by_name(tmp_path: Path) -> None:
    fill(tmp_path, "p-t1c.nii", "p-t1n.nii")
    (item,) = find_inputs([tmp_path], channels=TWO)
    assert "channel t2f of p is missing; each image has t2f, t1c. A model that was trained with" in item.error
    assert "augment.channel_dropout" in item.error


def test_no_seen_channel_is_an_error(tmp_path: Path) -> None:
    fill(tmp_path, "p-t1n.nii", "p-t2w.nii")
    (item,) = find_inputs([tmp_path], channels=ROBUST)
    assert "channel t2f, t1c of p is missing" in item.error


@pytest.mark.parametrize("everywhere", [True, False])
def test_raw_brats_may_lack_a_channel(everywhere: bool, tmp_path: Path) -> None:
    """In all cases, so that the layout does not know of it, or in one, which it gives as an error."""
    write_brats(tmp_path)
    for path in sorted(tmp_path.rglob("*-t1c.nii.gz"))[: None if everywhere else 1]:
        path.unlink()
    found = find_inputs([tmp_path], channels=ROBUST)
    assert [item.error for item in found] == [""] * 4
    assert sorted(item.id for item in found) == sorted(path.name for path in tmp_path.iterdir())
    assert sum(values(item)[1] == -7 for item in found) == (4 if everywhere else 1)


def test_raw_nnunet_may_lack_a_channel(tmp_path: Path) -> None:
    write_nnunet(tmp_path, cases=2, tests=0, channels=2)
    next(tmp_path.rglob("*_0001.nii.gz")).unlink()
    robust = Channels(2, ("MR1", "MR2"), ("MR1", "MR2"), by_number=True, fill=(0.0, -7.0))
    found = {item.id: item for item in find_inputs([tmp_path], channels=robust)}
    assert sorted(values(item)[1] == -7 for item in found.values()) == [False, True]
    refused = find_inputs([tmp_path], channels=robust._replace(fill=()))
    assert any("channel 0001 (MR2) of" in item.error and "is missing" in item.error for item in refused)


def test_file_of_all_channels_is_cut() -> None:
    picture = NUMBERED.fit(image(10, 20, 30), ())
    assert picture.pixels.ravel().tolist() == [30, 10]
    assert picture.geometry.remarks == ("its 3 channels are taken to be CT, T1, PET; the model sees PET, CT",)


def test_file_of_unnamed_channels_is_refused() -> None:
    with pytest.raises(CaseUNetError, match=r"holds 4 channels, and nothing .* which they are. The model takes t2f"):
        TWO.fit(image(1, 2, 3, 4), ())


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [("int16", -200.0, "int16"), ("uint16", -200.0, "int32"), ("uint8", 103.6, "uint8"), ("float32", 0.25, "float32")],
)
def test_type_has_room_for_what_is_missing(dtype: str, value: float, expected: str) -> None:
    filled = fill_channels(np.ones((2, 1, 3, 4), dtype), [1], (value, 9.0))
    assert (filled.shape, filled.dtype) == ((2, 2, 3, 4), np.dtype(expected))
    assert filled[0, :, 0, 0].tolist() == [value if dtype == "float32" else round(value), 1]


def test_missing_becomes_0_after_normalization() -> None:
    """z-scores of a scan take any constant, others their mean, a window its lower end."""
    p = Preprocessing(
        modality="mr",
        channels=4,
        intensity_window=((100.0, 900.0), None, None, (-200.0, 250.0)),
        per_case_zscore=(True, True, False, False),
        mean=(0.0, 0.0, 70.5, -200.0),
        std=(1.0, 1.0, 20.0, 450.0),
    )
    assert p.missing_values == (100.0, 0.0, 70.5, -200.0)
    pixels = np.broadcast_to(np.array(p.missing_values, np.float32)[:, None, None], (4, 5, 6))
    statistics = torch.from_numpy(case_statistics(pixels[None]))[None]
    assert not normalize(torch.tensor(pixels)[None], p, statistics).any()


def test_arrays_by_name_are_joined() -> None:
    a, b = np.full((3, 4), 1), np.full((3, 4), 2)
    joined, missing = join_arrays({"T1C": a, "t2f": b}, TWO)
    assert (joined[0, 0].tolist(), missing) == ([2, 1], ())
    joined, missing = join_arrays({"t2f": b}, ROBUST)
    assert (joined.shape, joined[0, 0].tolist(), missing) == ((3, 4, 2), [2, -7], ("t1c",))
    picture = read_python_image({"t2f": b}, MR, "HW", channels=ROBUST).picture
    assert (picture.pixels[0, :, 0, 0].tolist(), picture.missing) == ([2, -7], ("t1c",))


def test_numbers_as_keys_tell_channels() -> None:
    a, b = np.full((3, 4), 1), np.full((3, 4), 2)
    described = Channels(2, ("T2", "T1"), ("T1", "T2"), by_number=True)
    for channels, expected in ((described, [2, 1]), (Channels(2), [1, 2])):
        assert join_arrays({0: a, 1: b}, channels)[0][0, 0].tolist() == expected
        picture = read_python_image({1: b, 0: a}, MR, "HW", channels=channels).picture
        assert picture.pixels[0, :, 0, 0].tolist() == expected
    with pytest.raises(CaseUNetError, match="there is no channel 2. The model takes T2, T1"):
        join_arrays({0: a, 2: b}, described)
    with pytest.raises(CaseUNetError, match="one is given twice, of 0, T1"):
        join_arrays({0: a, "T1": b}, described)
    with pytest.raises(CaseUNetError, match="0 is no name, .* It takes t2f, t1c"):
        join_arrays({0: a, 1: b}, TWO)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"t2f": (3, 4)}, "t1c is missing; the model takes t2f, t1c. A model"),
        ({"t2f": (3, 4), "t1": (3, 4)}, "there is no channel t1. The model takes t2f, t1c"),
        ({"t2f": (3, 4), "t1c": (3, 5)}, r"of shapes \(3, 4\), \(3, 5\), not of one"),
    ],
)
def test_wrong_arrays_by_name_are_told(given: dict[str, tuple[int, int]], told: str) -> None:
    with pytest.raises(CaseUNetError, match=told):
        join_arrays({name: np.zeros(shape) for name, shape in given.items()}, TWO)
