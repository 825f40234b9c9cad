"""Geometry: what is read in canonical order is written back where it came from."""

import struct
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseunet.errors import UserError
from caseunet.io import nifti

AXES = [
    "".join(letters[s] for letters, s in zip(order, signs, strict=True))
    for order in permutations(("LR", "PA", "IS"))
    for signs in product((0, 1), repeat=3)
]


def volume_in(code: str, array: np.ndarray) -> nib.Nifti1Image:
    """A volume given in (Left, Posterior, Superior) order with 0.7 × 0.8 × 2.5 mm voxels, stored in ``code``."""
    affine = np.diag([-0.7, -0.8, 2.5, 1])
    affine[:3, 3] = (100, 80, -50)
    image = nib.Nifti1Image(array, affine)
    here, there = (nib.orientations.axcodes2ornt(c) for c in ("LPS", code))
    return image.as_reoriented(nib.orientations.ornt_transform(here, there))


def test_there_are_48_orientations() -> None:
    assert len(set(AXES)) == 48


@pytest.mark.parametrize("code", AXES)
def test_every_orientation_is_read_alike_and_returned_to(code: str, tmp_path: Path) -> None:
    array = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)  # Left, Posterior, Superior
    nib.save(volume_in(code, array), tmp_path / "v.nii.gz")
    picture = nifti.read_volume(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(picture.pixels[:, 0], array.transpose(2, 1, 0))
    assert picture.geometry.spacing == pytest.approx((2.5, 0.8, 0.7))
    assert picture.pixels.dtype == np.int16

    labels = (array.transpose(2, 1, 0) % 3).astype(np.uint8)
    nifti.write_labels(tmp_path / "m.nii.gz", labels, picture.geometry, like=tmp_path / "v.nii.gz")
    source, mask = nib.load(tmp_path / "v.nii.gz"), nib.load(tmp_path / "m.nii.gz")
    assert mask.shape == source.shape
    np.testing.assert_allclose(mask.affine, source.affine, atol=1e-6)
    assert nib.aff2axcodes(mask.affine) == tuple(code)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(source.dataobj) % 3)
    np.testing.assert_array_equal(nifti.read_labels(tmp_path / "m.nii.gz", picture.geometry), labels)


@given(st.integers(0, 47), st.tuples(*[st.integers(1, 6)] * 3))
def test_source_and_canonical_are_inverse(orientation: int, shape: tuple[int, int, int]) -> None:
    image = volume_in(AXES[orientation], np.zeros(shape, np.int16))
    array = np.arange(np.prod(shape)).reshape(image.shape)
    geometry = nifti.Geometry(shape=image.shape, affine=image.affine)
    np.testing.assert_array_equal(nifti.to_source(nifti.to_canonical(array, geometry), geometry), array)


def test_an_oblique_affine_is_kept(tmp_path: Path) -> None:
    turn = nib.eulerangles.euler2mat(0.2, -0.1, 0.15)
    affine = nib.affines.from_matvec(turn @ np.diag([-0.7, -0.8, 2.5]), [1, 2, 3])
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), affine), tmp_path / "v.nii")
    geometry = nifti.read_volume(tmp_path / "v.nii").geometry
    assert geometry.spacing == pytest.approx((2.5, 0.8, 0.7), rel=1e-5)
    nifti.write_labels(tmp_path / "m.nii", np.zeros((6, 5, 4), np.uint8), geometry)
    np.testing.assert_allclose(nib.load(tmp_path / "m.nii").affine, nib.load(tmp_path / "v.nii").affine, atol=1e-6)


def test_scaled_values_are_applied_and_stay_integers(tmp_path: Path) -> None:
    """Stored 0 … 59 with slope 2 and intercept −1024 are HU −1024 … −906."""
    path = save(tmp_path / "v.nii", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    data = bytearray(path.read_bytes())
    data[112:120] = struct.pack("<2f", 2, -1024)  # scl_slope and scl_inter; nibabel would choose its own
    path.write_bytes(data)
    pixels = nifti.read_volume(path).pixels
    np.testing.assert_array_equal(pixels[:, 0], 2 * np.arange(60).reshape(3, 4, 5).transpose(2, 1, 0) - 1024)
    assert pixels.dtype == np.int16


def test_the_other_byte_order_is_turned(tmp_path: Path) -> None:
    array = np.arange(60, dtype=">i2").reshape(3, 4, 5)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.save(nib.Nifti1Image(array, np.diag([-1, -1, 1, 1]), header), tmp_path / "v.nii")
    pixels = nifti.read_volume(tmp_path / "v.nii").pixels
    assert pixels.dtype.isnative
    np.testing.assert_array_equal(pixels[:, 0], array.transpose(2, 1, 0))


def test_a_fourth_axis_of_one_is_dropped(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5, 1), np.int16), np.eye(4)), tmp_path / "v.nii")
    assert nifti.read_volume(tmp_path / "v.nii").pixels.shape == (5, 1, 4, 3)


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(array, np.diag([-1, -1, 1, 1]) if affine is None else affine), path)
    return path


def test_what_is_no_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none.nii: no such file"):
        nifti.read_volume(tmp_path / "none.nii")
    (tmp_path / "text.nii").write_text("not an image")
    with pytest.raises(UserError, match="text.nii: cannot be read as NIfTI"):
        nifti.read_volume(tmp_path / "text.nii")
    with pytest.raises(UserError, match=r"four.nii: expected one 3-D volume, found shape \(3, 4, 5, 2\)"):
        nifti.read_volume(save(tmp_path / "four.nii", np.zeros((3, 4, 5, 2), np.int16)))
    with pytest.raises(UserError, match="nan.nii: holds 1 voxels that are NaN"):
        nifti.read_volume(save(tmp_path / "nan.nii", np.where(np.arange(8).reshape(2, 2, 2) == 3, np.nan, 0.0)))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_truncated_file_is_refused(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = save(tmp_path / f"v{suffix}", rng.integers(-1000, 1000, (20, 20, 20)).astype(np.int16))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=f"v{suffix}: .*(truncated|cannot be read)"):
        nifti.read_volume(path)


def test_a_flipped_bit_in_a_compressed_file_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "v.nii.gz", np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20)).astype(np.int16))
    data = bytearray(path.read_bytes())
    data[-8] ^= 1  # of the checksum
    path.write_bytes(data)
    with pytest.raises(UserError, match="v.nii.gz: its voxels cannot be read"):
        nifti.read_volume(path)


def test_masks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    geometry = nifti.read_geometry(save(tmp_path / "v.nii", np.zeros((3, 4, 5), np.int16)))
    with pytest.raises(UserError, match=r"small.nii: the mask's shape \(3, 4, 4\) is not its image's \(3, 4, 5\)"):
        nifti.read_labels(save(tmp_path / "small.nii", np.zeros((3, 4, 4), np.uint8)), geometry)
    with pytest.raises(UserError, match=r"half.nii: holds values such as 0.5"):
        nifti.read_labels(save(tmp_path / "half.nii", np.full((3, 4, 5), 0.5)), geometry)
    with pytest.raises(UserError, match="turned.nii: the mask's axes run RPS and its image's LPS"):
        nifti.read_labels(
            save(tmp_path / "turned.nii", np.zeros((3, 4, 5), np.uint8), np.diag([2, -1, 1, 1])), geometry
        )


def test_a_mask_with_a_unit_affine_lies_as_its_image(tmp_path: Path) -> None:
    """As LiTS case 53: the image is LPS, the mask's header says nothing."""
    array = np.zeros((3, 4, 5), np.uint8)
    array[0, 1, 2] = 1
    geometry = nifti.read_geometry(save(tmp_path / "v.nii", array.astype(np.int16), np.diag([-0.8, -0.8, 2.5, 1])))
    labels = nifti.read_labels(save(tmp_path / "m.nii", array, np.eye(4)), geometry)
    assert np.argwhere(labels).tolist() == [[2, 1, 0]]
