"""Numbers of files: what is kept, what is rounded, what is replaced."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from caseunet.errors import BadValuesError
from caseunet.io import images, values


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
        images.read_picture(path, rgb=False)
    pixels = images.read_picture(path, rgb=False, nan=-5).pixels
    assert pixels.dtype == np.int16
    np.testing.assert_array_equal(pixels[:, 0], np.nan_to_num(array, nan=-5).transpose(2, 1, 0))


def test_infinity_is_not_replaced() -> None:
    with pytest.raises(BadValuesError, match="1 of 3 pixels"):
        values.as_integers(np.array([1, np.nan, np.inf], np.float32), Path("v"), nan=0)
