"""Geometry: what is read in canonical order is written back where it came from."""

import gzip
import struct
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from caseunet.errors import BadValuesError, CaseUNetError
from caseunet.io import geometry, images, nifti
from caseunet.types import Geometry

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
    picture = nifti.read_nifti(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(picture.pixels[:, 0], array.transpose(2, 1, 0))
    assert picture.geometry.spacing == pytest.approx((2.5, 0.8, 0.7))
    assert picture.pixels.dtype == np.int16

    labels = (array.transpose(2, 1, 0) % 3).astype(np.uint8)
    nifti.write_nifti_labels(tmp_path / "m.nii.gz", labels, picture.geometry, like=tmp_path / "v.nii.gz")
    source, mask = nib.load(tmp_path / "v.nii.gz"), nib.load(tmp_path / "m.nii.gz")
    assert mask.shape == source.shape
    np.testing.assert_allclose(mask.affine, source.affine, atol=1e-6)
    assert nib.aff2axcodes(mask.affine) == tuple(code)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(source.dataobj) % 3)
    np.testing.assert_array_equal(nifti.read_nifti_mask(tmp_path / "m.nii.gz").label_values, labels)


@given(st.integers(0, 47), st.tuples(*[st.integers(1, 6)] * 3))
def test_source_and_canonical_are_inverse(orientation: int, shape: tuple[int, int, int]) -> None:
    image = volume_in(AXES[orientation], np.zeros(shape, np.int16))
    array = np.arange(np.prod(shape)).reshape(image.shape)
    own = Geometry(shape=image.shape, affine=image.affine)
    np.testing.assert_array_equal(geometry.to_source(geometry.to_canonical(array, own), own), array)


def test_an_oblique_affine_is_kept(tmp_path: Path) -> None:
    turn = nib.eulerangles.euler2mat(0.2, -0.1, 0.15)
    affine = nib.affines.from_matvec(turn @ np.diag([-0.7, -0.8, 2.5]), [1, 2, 3])
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), affine), tmp_path / "v.nii")
    geometry = nifti.read_nifti(tmp_path / "v.nii").geometry
    assert geometry.spacing == pytest.approx((2.5, 0.8, 0.7), rel=1e-5)
    nifti.write_nifti_labels(tmp_path / "m.nii", np.zeros((6, 5, 4), np.uint8), geometry)
    np.testing.assert_allclose(nib.load(tmp_path / "m.nii").affine, nib.load(tmp_path / "v.nii").affine, atol=1e-6)


def test_scaled_values_are_applied_and_stay_integers(tmp_path: Path) -> None:
    """Stored 0 … 59 with slope 2 and intercept −1024 are HU −1024 … −906."""
    path = save(tmp_path / "v.nii", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    data = bytearray(path.read_bytes())
    data[112:120] = struct.pack("<2f", 2, -1024)  # scl_slope and scl_inter; nibabel would choose its own
    path.write_bytes(data)
    pixels = nifti.read_nifti(path).pixels
    np.testing.assert_array_equal(pixels[:, 0], 2 * np.arange(60).reshape(3, 4, 5).transpose(2, 1, 0) - 1024)
    assert pixels.dtype == np.int16


@pytest.mark.parametrize(("kind", "at"), [(nib.Nifti1Image, 112), (nib.Nifti2Image, 176)])
@pytest.mark.parametrize("slope", [0.0, 1.0, np.nan, np.inf, -np.inf])
def test_infinite_slopes_are_told(slope: float, kind: Any, at: int, tmp_path: Path) -> None:
    """0 is the standard's word for values that are not scaled, NaN nibabel's."""
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    nib.save(kind(array, np.diag([-1.0, -1, 1, 1])), tmp_path / "v.nii")
    data = bytearray((tmp_path / "v.nii").read_bytes())
    struct.pack_into("<2f" if at == 112 else "<2d", data, at, slope, 0)
    (tmp_path / "v.nii").write_bytes(data)
    picture = nifti.read_nifti(tmp_path / "v.nii")
    np.testing.assert_array_equal(picture.pixels[:, 0], array.transpose(2, 1, 0))
    told = "its header states an infinite slope (scl_slope); its values are read as they are stored"
    assert picture.geometry.remarks == ((told,) if np.isinf(slope) else ())


def test_the_other_byte_order_is_turned(tmp_path: Path) -> None:
    array = np.arange(60, dtype=">i2").reshape(3, 4, 5)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.save(nib.Nifti1Image(array, np.diag([-1, -1, 1, 1]), header), tmp_path / "v.nii")
    pixels = nifti.read_nifti(tmp_path / "v.nii").pixels
    assert pixels.dtype.isnative
    np.testing.assert_array_equal(pixels[:, 0], array.transpose(2, 1, 0))


def test_a_fourth_axis_of_one_is_dropped(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5, 1), np.int16), np.eye(4)), tmp_path / "v.nii")
    assert nifti.read_nifti(tmp_path / "v.nii").pixels.shape == (5, 1, 4, 3)


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(array, np.diag([-1, -1, 1, 1]) if affine is None else affine), path)
    return path


def test_what_is_no_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseUNetError, match="none.nii: no such file"):
        nifti.read_nifti(tmp_path / "none.nii")
    (tmp_path / "text.nii").write_text("not an image")
    with pytest.raises(CaseUNetError, match="text.nii: cannot be read as NIfTI"):
        nifti.read_nifti(tmp_path / "text.nii")
    with pytest.raises(
        CaseUNetError, match=r"five.nii: expected a 3-D volume.* found vectors.* shape \(3, 4, 5, 2, 2\)"
    ):
        nifti.read_nifti(save(tmp_path / "five.nii", np.zeros((3, 4, 5, 2, 2), np.int16)))
    with pytest.raises(CaseUNetError, match=r"four.nii: expected one volume of labels, found shape \(3, 4, 5, 2\)"):
        nifti.read_nifti_mask(save(tmp_path / "four.nii", np.zeros((3, 4, 5, 2), np.int16)))
    with pytest.raises(BadValuesError, match="nan.nii: holds 1 of 8 pixels that are NaN"):
        nifti.read_nifti(save(tmp_path / "nan.nii", np.where(np.arange(8).reshape(2, 2, 2) == 3, np.nan, 0.0)))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_truncated_file_is_refused(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = save(tmp_path / f"v{suffix}", rng.integers(-1000, 1000, (20, 20, 20)).astype(np.int16))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CaseUNetError, match=f"v{suffix}: .*(truncated|cannot be read)"):
        nifti.read_nifti(path)


def test_a_flipped_bit_in_a_compressed_file_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "v.nii.gz", np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20)).astype(np.int16))
    data = bytearray(path.read_bytes())
    data[-8] ^= 1  # of the checksum
    path.write_bytes(data)
    with pytest.raises(CaseUNetError, match="v.nii.gz: its voxels cannot be read"):
        nifti.read_nifti(path)


def test_the_fourth_axis_holds_channels(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(-9, 9, (3, 4, 5, 2)).astype(np.int16)
    picture = nifti.read_nifti(save(tmp_path / "four.nii.gz", array))
    assert picture.pixels.shape == (5, 2, 4, 3)
    np.testing.assert_array_equal(picture.pixels[:, 1], array[..., 1].transpose(2, 1, 0))
    one = nifti.read_nifti(save(tmp_path / "one.nii.gz", array[..., :1]))
    np.testing.assert_array_equal(one.pixels, picture.pixels[:, :1])


@pytest.mark.parametrize(("size", "suffix"), [((2000, 2000, 2000), ".nii"), ((32000, 32000, 32000), ".nii.gz")])
def test_a_small_file_that_declares_a_huge_volume_is_refused(
    size: tuple[int, int, int], suffix: str, tmp_path: Path
) -> None:
    header = nib.Nifti1Image(np.zeros((1, 1, 1), np.int16), np.eye(4)).header
    header.set_data_shape(size)
    content = bytes(header.binaryblock) + bytes(4)
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    with pytest.raises(
        CaseUNetError, match=f"bomb{suffix}: its header declares .* truncated, or its header is damaged"
    ):
        nifti.read_nifti(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_header_that_declares_less_than_there_is_is_refused(suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"v{suffix}", np.zeros((20, 20, 20), np.int16))
    read, write = (gzip.decompress, gzip.compress) if suffix.endswith("gz") else (bytes, bytes)
    content = bytearray(read(path.read_bytes()))
    struct.pack_into("<h", content, 42, 10)  # dim[1]
    path.write_bytes(write(bytes(content)))
    with pytest.raises(CaseUNetError, match=f"v{suffix}: its header declares 8,352 bytes, but it holds more"):
        nifti.read_nifti(path)


def test_mask_is_read_in_place_or_in_given_one(tmp_path: Path) -> None:
    """A unit affine, as in LiTS case 53, says nothing: the mask lies as its image, which is LPS."""
    array = np.zeros((3, 4, 5), np.uint8)
    array[0, 1, 2] = 1
    own = nifti.read_nifti_geometry(save(tmp_path / "v.nii", array.astype(np.int16), np.diag([-0.8, -0.8, 2.5, 1])))
    lost = save(tmp_path / "lost.nii", array, np.eye(4))
    turned = save(tmp_path / "turned.nii", array[::-1].copy(), np.diag([0.8, -0.8, 2.5, 1]))
    assert np.argwhere(images.read_mask_file(lost, own).label_values).tolist() == [[2, 1, 0]]
    assert np.argwhere(images.read_mask_file(turned, own).label_values).tolist() == [[2, 1, 0]]
    assert images.read_mask_file(lost, own).assumed_aligned
    assert not images.read_mask_file(lost, own, same_axes=False).assumed_aligned
    with pytest.raises(CaseUNetError, match=r"small.nii: the mask's shape \(3, 4, 4\) is not its image's \(3, 4, 5\)"):
        nifti.read_nifti_mask(save(tmp_path / "small.nii", np.zeros((3, 4, 4), np.uint8)), own)


def test_values_that_are_no_whole_numbers_are_counted(tmp_path: Path) -> None:
    array = np.zeros((3, 4, 5), np.float32)
    array[0, 0, :3] = (0.5, 1.5, 2)
    mask = nifti.read_nifti_mask(save(tmp_path / "half.nii", array))
    assert (mask.fractional, mask.stored) == (2, "float32")
    array[0, 0, 0] = np.nan
    with pytest.raises(BadValuesError, match="nan.nii: holds values that are NaN"):
        nifti.read_nifti_mask(save(tmp_path / "nan.nii", array))


def test_distances_between_grids() -> None:
    """Voxels of 0.5 × 1 × 2 mm; a shift by 1 mm along the first axis is two of its voxels."""
    here = Geometry((4, 5, 6), np.diag([0.5, 1, 2, 1.0]))
    shifted = np.diag([0.5, 1, 2, 1.0])
    shifted[0, 3] = 1
    assert geometry.distance_in_voxels(here, Geometry((4, 5, 6), shifted)) == pytest.approx(2)
    flipped = np.diag([-0.5, 1, 2, 1.0])
    flipped[0, 3] = 1.5  # the same voxels, the first axis the other way
    assert geometry.distance_in_voxels(here, Geometry((4, 5, 6), flipped)) == pytest.approx(0)
    assert geometry.distance_in_voxels(here, Geometry((4, 5, 7), here.affine)) == float("inf")
    assert geometry.distance_in_mm(here, Geometry((4, 5, 6), shifted)) == pytest.approx(1)
    larger = np.diag([0.5, 1, 2.2, 1.0])  # the far corner is 5 · 0.2 mm away
    assert geometry.distance_in_voxels(here, Geometry((4, 5, 6), larger)) == pytest.approx(2)


def save_placed(path: Path, sform: np.ndarray | None, qform: np.ndarray | None, units: str = "mm") -> Path:
    """A volume whose header holds these places, a code of 1 for each that is given."""
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), PLACED)
    image.set_sform(sform, code=int(sform is not None))
    image.set_qform(qform, code=int(qform is not None))
    image.header.set_xyzt_units(units, "sec")
    nib.save(image, path)
    return path


PLACED = np.array([[-0.7, 0, 0, 10], [0, -0.8, 0, 20], [0, 0, 2.5, -30], [0, 0, 0, 1]])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("places", ["sform", "qform", "both"])
@pytest.mark.parametrize("units", ["meter", "mm", "micron", "unknown"])
def test_units_are_those_that_itk_reads(units: str, places: str, suffix: str, tmp_path: Path) -> None:
    path = save_placed(
        tmp_path / f"v{suffix}", PLACED if places != "qform" else None, PLACED if places != "sform" else None, units
    )
    itk_s = SimpleITK.ReadImage(path)
    picture = nifti.read_nifti(path)
    assert picture.geometry.spacing is not None
    assert picture.geometry.affine is not None
    assert picture.geometry.spacing[::-1] == pytest.approx(itk_s.GetSpacing(), rel=1e-5)
    assert picture.geometry.affine[:3, 3] == pytest.approx(np.array([-1, -1, 1]) * itk_s.GetOrigin(), rel=1e-5)

    labels = np.zeros((5, 4, 3), np.uint8)
    mask = nifti.read_nifti_mask(path)
    assert mask.geometry.spacing == picture.geometry.spacing
    nifti.write_nifti_labels(tmp_path / f"m{suffix}", labels, picture.geometry, like=path)
    source, written = (nib.load(p).header for p in (path, tmp_path / f"m{suffix}"))
    for field in nifti.PLACE:
        np.testing.assert_array_equal(source[field], written[field])
    assert SimpleITK.ReadImage(tmp_path / f"m{suffix}").GetSpacing() == itk_s.GetSpacing()


def moved(**by: float) -> np.ndarray:
    place = PLACED.copy()
    place[0, 3] += by.get("x", 0)
    place[0] *= by.get("mirror", 1)
    return place


@pytest.mark.parametrize(
    ("sform", "qform", "remark"),
    [
        (PLACED, PLACED, ""),
        (PLACED, None, ""),
        (None, PLACED, ""),
        (PLACED, moved(x=0.05), ""),
        (PLACED, moved(x=1.4), "its sform and its qform lie 1.4 mm apart; the sform is used"),
        (PLACED, moved(mirror=-1), "its sform says that its axes run LPS, its qform RPS; the sform is used"),
        (None, None, "its header states no position (qform and sform code 0), so left and right are not known"),
    ],
)
def test_two_places_are_compared(
    sform: np.ndarray | None, qform: np.ndarray | None, remark: str, tmp_path: Path
) -> None:
    path = save_placed(tmp_path / "v.nii", sform, qform)
    geometry = nifti.read_nifti(path).geometry
    np.testing.assert_allclose(geometry.affine, nib.load(path).affine)
    assert geometry.remarks == ((remark,) if remark else ())
    assert nifti.read_nifti_mask(path).geometry.remarks == geometry.remarks


@pytest.mark.parametrize("size", [0.0, -1.0])
def test_voxels_of_no_size_are_told(size: float, tmp_path: Path) -> None:
    path = save_placed(tmp_path / "v.nii", None, PLACED)
    data = bytearray(path.read_bytes())
    data[80:84] = struct.pack("<f", size)
    path.write_bytes(data)
    told = (
        f"its header states voxels of {size:g} × 0.8 × 2.5 mm (pixdim); those of its affine are used, 1 × 0.8 × 2.5 mm"
    )
    assert nifti.read_nifti_geometry(path).remarks == (told,)


def test_sizes_beside_the_affine_s_are_told(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), PLACED)
    image.header["pixdim"][1:4] = 1
    nib.save(image, tmp_path / "v.nii")
    geometry = nifti.read_nifti_geometry(tmp_path / "v.nii")
    assert geometry.spacing == pytest.approx((2.5, 0.8, 0.7))
    assert "1 × 1 × 1 mm (pixdim); those of its affine are used, 0.7 × 0.8 × 2.5 mm" in geometry.remarks[0]


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]), "holds colours .RGB."),
        (np.dtype(np.complex64), "expected real numbers, found voxels of type complex64"),
    ],
)
def test_voxels_of_several_numbers_are_refused(dtype: np.dtype, message: str, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), dtype), PLACED), tmp_path / "v.nii")
    for read in (nifti.read_nifti, nifti.read_nifti_mask):
        with pytest.raises(CaseUNetError, match=f"v.nii: {message}"):
            read(tmp_path / "v.nii")


@pytest.mark.parametrize(
    ("step", "number", "is_time"), [(2.5, 3, True), (1.0, 3, False), (0.0, 2, False), (1.0, 40, True)]
)
def test_a_series_in_time_is_no_channels(step: float, number: int, is_time: bool, tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((3, 4, 5, number), np.int16), PLACED)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = step
    nib.save(image, tmp_path / "v.nii")
    if is_time:
        with pytest.raises(
            CaseUNetError, match=f"v.nii: holds {number} volumes in its fourth axis, as a series in time"
        ):
            nifti.read_nifti(tmp_path / "v.nii")
    else:
        assert nifti.read_nifti(tmp_path / "v.nii").pixels.shape == (5, number, 4, 3)


def test_a_pair_is_read_as_one_file_is(tmp_path: Path) -> None:
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    for kind, name in ((nib.Nifti1Pair, "v.hdr"), (nib.Nifti1Image, "v.nii"), (nib.Nifti2Pair, "w.hdr")):
        nib.save(kind(voxels, PLACED), tmp_path / name)
    expected = images.read_image_file(tmp_path / "v.nii", rgb=False)
    for name in ("v.hdr", "w.hdr"):
        read = images.read_image_file(tmp_path / name, rgb=False)
        np.testing.assert_array_equal(read.pixels, expected.pixels)
        np.testing.assert_allclose(read.geometry.affine, expected.geometry.affine)
    before = images.hash_images(tmp_path / "v.hdr")
    data = bytearray((tmp_path / "v.img").read_bytes())
    data[-1] ^= 1
    (tmp_path / "v.img").write_bytes(data)
    assert images.hash_images(tmp_path / "v.hdr") != before
    (tmp_path / "v.img").write_bytes(data[:-2])
    with pytest.raises(CaseUNetError, match="v.img: its header declares 120 bytes of pixels, but the file has 118"):
        nifti.read_nifti(tmp_path / "v.hdr")


def test_a_pair_may_be_large(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(np.zeros((64, 64, 9), np.int16), PLACED), tmp_path / "v.hdr")
    assert nifti.read_nifti(tmp_path / "v.hdr").pixels.size == 64 * 64 * 9


def test_half_of_a_pair_is_named(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(np.zeros((3, 4, 5), np.int16), PLACED), tmp_path / "v.img")
    with pytest.raises(CaseUNetError, match=r"v.img: holds pixels alone. Give the header .* ends in .hdr"):
        images.read_image_file(tmp_path / "v.img", rgb=False)
    (tmp_path / "v.img").unlink()
    with pytest.raises(CaseUNetError, match=r"v.hdr: its voxels lie in v.img, which is not beside it"):
        images.read_image_file(tmp_path / "v.hdr", rgb=False)


def test_analyze_is_refused(tmp_path: Path) -> None:
    nib.save(nib.AnalyzeImage(np.zeros((3, 4, 5), np.int16), PLACED), tmp_path / "v.hdr")
    with pytest.raises(CaseUNetError, match=r"v.hdr: an ANALYZE file, which does not tell left from right"):
        nifti.read_nifti_geometry(tmp_path / "v.hdr")


def test_analyze_called_nifti_is_refused(tmp_path: Path) -> None:
    path = save_placed(tmp_path / "v.nii", PLACED, PLACED)
    data = bytearray(path.read_bytes())
    data[344:348] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(CaseUNetError, match=r"v.nii: cannot be read as NIfTI"):
        nifti.read_nifti(path)


def test_gzip_that_is_called_nii_is_told(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    (tmp_path / "a.nii.gz").rename(tmp_path / "a.nii")
    with pytest.raises(CaseUNetError, match=r"a.nii: .* it is compressed by gzip. Rename it to a.nii.gz"):
        nifti.read_nifti(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("axes", "pixdim", "sform", "qform", "known"),
    [
        (2, 0, 0, 0, False),
        (2, 0, 0, 1, False),
        (2, 1, 0, 1, False),  # as writers of 2-D images put
        (2, 5, 0, 1, True),
        (2, 0, 1, 0, True),  # its sform says 5
        (3, 0, 0, 0, False),
        (3, 0, 0, 1, False),
        (3, 1, 0, 0, True),
        (3, 0, 1, 0, True),
    ],
)
def test_a_thickness_nobody_told_is_unknown(
    axes: int, pixdim: int, sform: int, qform: int, known: bool, tmp_path: Path
) -> None:
    """nibabel makes it 1 mm."""
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 1)[:axes], np.uint8), np.diag([-1.5, -1.5, 5, 1])), path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 88, pixdim)
    struct.pack_into("<hh", content, 252, qform, sform)
    path.write_bytes(content)
    found = nifti.read_nifti_geometry(path)
    assert (found.has_thickness, nifti.NO_THICKNESS in found.remarks) == (known, not known)
    assert geometry.reslice(found, "coronal").has_thickness == known


def test_itk_tells_no_thickness_of_2d_images(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(np.zeros((4, 5), np.uint8))
    image.SetSpacing((1.5, 1.5))
    SimpleITK.WriteImage(image, str(tmp_path / "a.nii.gz"))
    assert not nifti.read_nifti_geometry(tmp_path / "a.nii.gz").has_thickness
