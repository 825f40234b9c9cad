"""Numbers of files: what is kept, what is rounded, what is replaced."""

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from caseunet.errors import BadValuesError
from caseunet.io import images, itk, nifti, values


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_nan_becomes_what_it_is_told(suffix: str, tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    array[0, 1, 2] = np.nan
    path = tmp_path / f"v{suffix}"
    if suffix == ".nii.gz":
        nib.save(nib.Nifti1Image(array, np.diag([-1, -1, 1, 1])), path)
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array.transpose(2, 1, 0)), path)
    with pytest.raises(BadValuesError, match="holds 1 of 24 pixels that are NaN"):
        images.read_image_file(path, rgb=False)
    pixels = images.read_image_file(path, rgb=False, nan=-5).pixels
    assert pixels.dtype == np.int16
    np.testing.assert_array_equal(pixels[:, 0], np.nan_to_num(array, nan=-5).transpose(2, 1, 0))


def test_infinity_is_not_replaced() -> None:
    with pytest.raises(BadValuesError, match="1 of 3 pixels"):
        values.as_integers(np.array([1, np.nan, np.inf], np.float32), Path("v"), nan=0)


@pytest.mark.parametrize(
    ("given", "codes", "fractional", "told"),
    [
        ([0, 1.000015, 2], [0, 1, 2], 0, True),
        ([0, 0.9999, 1], [0, 1, 1], 0, True),
        ([0, 1, 2], [0, 1, 2], 0, False),
        ([0, 0.5, 1], [0, 0, 1], 1, False),
        ([0, 0.98, 1], [0, 1, 1], 1, False),
    ],
)
def test_nearly_whole_is_whole(given: list[float], codes: list[int], fractional: int, told: bool) -> None:
    for dtype in (np.float32, np.float64):
        whole, off, rounding, remarks = values.whole_numbers(np.array(given, dtype), Path("m"))
        assert (whole.tolist(), off, bool(remarks)) == (codes, fractional, told)
        assert rounding == pytest.approx(np.abs(np.array(given) - codes).max(), abs=1e-6)


@pytest.mark.parametrize("highest", [1, 2, 117, 255])
@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_labels_that_nibabel_scaled(dtype: type, highest: int, tmp_path: Path) -> None:
    """A float array saved with an image's integer header gets a slope of nibabel's choice."""
    labels = (np.arange(60).reshape(3, 4, 5) % (highest + 1)).astype(np.float64)
    labels[0, 0, 0] = highest
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    nib.save(nib.Nifti1Image(labels, np.diag([-1, -1, 1, 1]), header), tmp_path / "m.nii.gz")
    mask = nifti.read_nifti_mask(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(mask.label_values, labels.transpose(2, 1, 0))
    assert mask.fractional == 0
    assert len(mask.geometry.remarks) == 1


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_nearly_whole_labels_in_itk(suffix: str, tmp_path: Path) -> None:
    labels = np.array([[[0, 0.9999], [2.00002, 1]]], np.float32)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), tmp_path / f"m{suffix}")
    mask = itk.read_itk_mask(tmp_path / f"m{suffix}")
    assert (mask.label_values.tolist(), mask.fractional) == ([[[0, 1], [2, 1]]], 0)
    assert mask.geometry.remarks == ("labels up to 0.0001 from whole numbers were rounded",)


def test_a_lone_channel_is_no_axis_for_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume (x, y, z, 1) is looked at in parts of its slices, not as one."""
    sizes, parts = list[int](), values._parts

    def listed(array: np.ndarray, axis: int) -> Iterator[np.ndarray]:
        for part in parts(array, axis):
            sizes.append(part.size)
            yield part

    monkeypatch.setattr(values, "PIECE", 10)
    monkeypatch.setattr(values, "_parts", listed)
    values.rescale(np.zeros((5, 4, 3), np.int16).T[..., None], 0.5, 0, Path("v"))
    assert max(sizes) == 12
