"""NRRD and MetaImage: the same voxels at the same place as the NIfTI file that SimpleITK writes of them."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from caseunet.errors import BadValuesError, CaseUNetError
from caseunet.io import images, itk, nifti
from caseunet.types import Geometry

DIRECTIONS = {
    "LPS": np.eye(3),
    "RAS": np.diag([-1.0, -1.0, 1.0]),
    "PIR": np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]]),  # columns: where x, y and z of the file run, in LPS
    "oblique": np.array([[1.0, 0, 0], [0, 0.96, -0.28], [0, 0.28, 0.96]]),
}


def image_of(array: np.ndarray, direction: np.ndarray = DIRECTIONS["LPS"], vector: bool = False) -> SimpleITK.Image:
    """An image of an array (z, y, x[, components]) with 0.7 × 0.8 × 2.5 mm voxels."""
    image = SimpleITK.GetImageFromArray(array, isVector=vector)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-100.0, -80.0, 50.0))
    image.SetDirection(direction.ravel().tolist())
    return image


def save(path: Path, array: np.ndarray, **arguments: object) -> Path:
    SimpleITK.WriteImage(image_of(array, **arguments), str(path), path.suffix == ".nrrd")
    return path


def counted(dtype: type = np.int16) -> np.ndarray:
    """All voxels differ, (z, y, x) = (5, 4, 3)."""
    return np.arange(60, dtype=dtype).reshape(5, 4, 3)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".NRRD", ".mhd", ".nhdr"])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_volumes_lie_where_nifti_says(name: str, suffix: str, tmp_path: Path) -> None:
    """nibabel reads what SimpleITK wrote as NIfTI, RAS there and LPS here."""
    image = image_of(counted(), DIRECTIONS[name])
    path = tmp_path / f"v{suffix.lower()}"
    SimpleITK.WriteImage(image, str(path))
    path = path.rename(tmp_path / f"v{suffix}")
    SimpleITK.WriteImage(image, str(tmp_path / "v.nii"))
    read, expected = itk.read_itk(path), nifti.read_nifti(tmp_path / "v.nii")
    assert read.pixels.dtype == np.int16
    np.testing.assert_array_equal(read.pixels, expected.pixels)
    assert read.geometry.shape == expected.geometry.shape == (3, 4, 5)
    np.testing.assert_allclose(read.geometry.affine, expected.geometry.affine, atol=1e-4)
    assert read.geometry.spacing == pytest.approx(expected.geometry.spacing, rel=1e-5)
    geometry = itk.read_itk_geometry(path)
    assert (geometry.shape, geometry.spacing) == (read.geometry.shape, read.geometry.spacing)


def test_a_volume_in_lps_is_canonical_as_it_is(tmp_path: Path) -> None:
    picture = itk.read_itk(save(tmp_path / "v.nrrd", counted()))
    np.testing.assert_array_equal(picture.pixels, counted()[:, None])
    assert picture.geometry.spacing == pytest.approx((2.5, 0.8, 0.7))
    assert picture.geometry.affine is not None
    np.testing.assert_allclose(picture.geometry.affine @ (0, 0, 0, 1), (100, 80, 50, 1))  # RAS: x and y change sign


def test_a_header_in_ras_is_understood(tmp_path: Path) -> None:
    """3D Slicer writes LPS, others RAS; here x runs to the patient's Left, written as −1 in RAS."""
    path = tmp_path / "v.nrrd"
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: right-anterior-superior\nsizes: 3 4 5\n"
        "space directions: (-0.7,0,0) (0,-0.8,0) (0,0,2.5)\nkinds: domain domain domain\nendian: little\n"
        "encoding: raw\nspace origin: (100,80,50)\n\n"
    )
    path.write_bytes(header.encode() + counted().astype("<i2").tobytes())
    picture = itk.read_itk(path)
    assert picture.geometry.affine is not None
    np.testing.assert_allclose(
        picture.geometry.affine, [[-0.7, 0, 0, 100], [0, -0.8, 0, 80], [0, 0, 2.5, 50], [0, 0, 0, 1]]
    )
    np.testing.assert_array_equal(picture.pixels[:, 0], counted())


def test_components_are_channels(tmp_path: Path) -> None:
    array = np.stack([counted(), counted() + 100], axis=3)
    picture = itk.read_itk(save(tmp_path / "v.nrrd", array, vector=True))
    np.testing.assert_array_equal(picture.pixels, array.transpose(0, 3, 1, 2))


def test_whole_numbers_in_floating_point_become_integers(tmp_path: Path) -> None:
    assert itk.read_itk(save(tmp_path / "v.mha", counted(np.float32))).pixels.dtype == np.int16
    assert itk.read_itk(save(tmp_path / "w.mha", counted(np.float64) + 0.5)).pixels.dtype == np.float32


def test_masks_count_what_is_no_whole_number(tmp_path: Path) -> None:
    mask = itk.read_itk_mask(save(tmp_path / "m.nrrd", counted(np.uint8)))
    assert (mask.fractional, mask.stored) == (0, "uint8")
    np.testing.assert_array_equal(mask.label_values, counted())
    array = counted(np.float32)
    array[0, 0, :2] = 0.25
    mask = itk.read_itk_mask(save(tmp_path / "f.nrrd", array))
    assert (mask.fractional, mask.stored) == (2, "float32")
    assert mask.label_values[0, 0].tolist() == [0, 0, 2]


def test_a_mask_can_be_read_in_its_image_s_place(tmp_path: Path) -> None:
    """The image runs to the patient's Left, the mask's file says Right; ``place`` is believed."""
    image = itk.read_itk_geometry(save(tmp_path / "v.nrrd", counted()))
    path = save(tmp_path / "m.nrrd", counted(np.uint8), direction=DIRECTIONS["RAS"])
    np.testing.assert_array_equal(itk.read_itk_mask(path).label_values, counted()[:, ::-1, ::-1])
    np.testing.assert_array_equal(itk.read_itk_mask(path, image).label_values, counted())
    with pytest.raises(CaseUNetError, match=r"m.nrrd: the mask's shape \(3, 4, 5\) is not its image's \(3, 4, 6\)"):
        itk.read_itk_mask(path, Geometry(shape=(3, 4, 6), affine=image.affine))


def test_what_is_no_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseUNetError, match="none.nrrd: no such file"):
        itk.read_itk(tmp_path / "none.nrrd")
    for suffix in (".nrrd", ".mha"):
        (tmp_path / f"text{suffix}").write_text("not an image")
        with pytest.raises(CaseUNetError, match=f"text{suffix}: cannot be read as NRRD or MetaImage"):
            itk.read_itk(tmp_path / f"text{suffix}")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((4, 5), np.uint8)), str(tmp_path / "flat.nrrd"))
    with pytest.raises(CaseUNetError, match=r"flat.nrrd: expected a 3-D volume, found shape \(5, 4\)"):
        itk.read_itk(tmp_path / "flat.nrrd")
    with pytest.raises(CaseUNetError, match="two.nrrd: expected one volume of labels, found 2 components"):
        itk.read_itk_mask(save(tmp_path / "two.nrrd", np.zeros((5, 4, 3, 2), np.uint8), vector=True))
    with pytest.raises(CaseUNetError, match="complex.nrrd: (expected numbers|cannot be read)"):
        itk.read_itk(
            save(tmp_path / "complex.mha", np.zeros((5, 4, 3), np.complex64)).rename(tmp_path / "complex.nrrd")
        )


def test_numbers_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    array = counted(np.float32)
    array[0, 0, 0] = np.nan
    path = save(tmp_path / "v.nrrd", array)
    with pytest.raises(BadValuesError, match="v.nrrd: holds 1 of 60 pixels that are NaN or infinite"):
        itk.read_itk(path)
    with pytest.raises(BadValuesError, match="v.nrrd: holds values that are NaN"):
        itk.read_itk_mask(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_truncated_file_is_refused(suffix: str, tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20)).astype(np.int16)
    path = save(tmp_path / f"v{suffix}", array)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CaseUNetError, match=f"v{suffix}: .*(truncated|damaged)"):
        itk.read_itk(path)


def test_pixels_in_a_missing_file_are_missed(tmp_path: Path) -> None:
    path = save(tmp_path / "v.mhd", counted())
    path.with_suffix(".raw").unlink()
    with pytest.raises(CaseUNetError, match=r"v.mhd: "):
        itk.read_itk(path)


def test_a_header_that_claims_too_much_is_not_believed(tmp_path: Path) -> None:
    """A terabyte in a file of 200 bytes: refused before memory is taken."""
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 8192 8192 8192\n"
        "space directions: (1,0,0) (0,1,0) (0,0,1)\nendian: little\nencoding: gzip\nspace origin: (0,0,0)\n\n"
    )
    (tmp_path / "v.nrrd").write_text(header)
    with pytest.raises(CaseUNetError, match=r"v.nrrd: its header declares 1,099,511,627,776 bytes of pixels"):
        itk.read_itk(tmp_path / "v.nrrd")


def test_what_is_no_metaimage_is_not_printed(tmp_path: Path) -> None:
    (tmp_path / "a.mha").write_bytes(b"\x1f\x8b" + bytes(range(128, 256)) * 40 + b" = 1\n")
    with pytest.raises(CaseUNetError) as caught:
        itk.read_itk(tmp_path / "a.mha")
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < len(str(tmp_path)) + 150


@pytest.mark.parametrize("units", ["mm", "um"])
def test_units_of_nrrd_are_told(units: str, tmp_path: Path) -> None:
    path = tmp_path / "v.nrrd"
    path.write_bytes(
        b"NRRD0004\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: 3 4 5\n"
        b"space directions: (1,0,0) (0,1,0) (0,0,2)\nencoding: raw\nspace origin: (0,0,0)\n"
        b'space units: "U" "U" "U"\n\n'.replace(b"U", units.encode())
        + bytes(60)
    )
    geometry = itk.read_itk_geometry(path)
    assert geometry.spacing == (2, 1, 1)
    expected = () if units == "mm" else ("its header states lengths in um; read as mm, as ITK does",)
    assert geometry.remarks == itk.read_itk(path).geometry.remarks == expected


UNKNOWN = "so left and right are not known"
SIZES = "NRRD0004\ntype: short\ndimension: 3\nsizes: 3 4 5\nencoding: raw\nendian: little\n"
AXES = "space directions: (1,0,0) (0,1,0) (0,0,2)\n"
FIELDS = "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 3 4 5\nElementType = MET_SHORT\n"


@pytest.mark.parametrize(
    ("name", "header", "known"),
    [
        ("a.nrrd", SIZES + "space: LPS\n" + AXES, True),
        ("a.nrrd", SIZES + "space: left-anterior-superior\n" + AXES, True),
        ("a.nrrd", SIZES + "space dimension: 3\n" + AXES, False),
        ("a.nrrd", SIZES + "space: 3D-right-handed\n" + AXES, False),
        ("a.nrrd", SIZES + "spacings: 1 1 2\n", False),
        ("a.mha", FIELDS + "TransformMatrix = 1 0 0 0 1 0 0 0 1\n", True),
        ("a.mha", FIELDS + "ElementSpacing = 1 1 2\n", False),
        ("a.mha", FIELDS + "AnatomicalOrientation = RPI\n", False),
    ],
)
def test_unknown_sides_are_told(name: str, header: str, known: bool, tmp_path: Path) -> None:
    end = "\n" if name.endswith(".nrrd") else "ElementDataFile = LOCAL\n"
    (tmp_path / name).write_bytes((header + end).encode() + counted().astype("<i2").tobytes())
    picture = itk.read_itk(tmp_path / name)
    assert any(UNKNOWN in remark for remark in picture.geometry.remarks) is not known
    assert picture.geometry.remarks == itk.read_itk_geometry(tmp_path / name).remarks


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("suffix", "whole"), [(".mhd", ".mha"), (".nhdr", ".nrrd")])
def test_detached_pixels_are_read_and_hashed(suffix: str, whole: str, compressed: bool, tmp_path: Path) -> None:
    for ending in (suffix, whole):
        SimpleITK.WriteImage(image_of(counted()), str(tmp_path / f"v{ending}"), compressed)
    path = tmp_path / f"v{suffix}"
    (data,) = (file for file in tmp_path.iterdir() if file.suffix not in (suffix, whole))
    assert images.find_pixel_file(path) == data
    assert not images.is_image(data)
    assert not images.is_unread(data)
    read, expected = (images.read_image_file(tmp_path / f"v{ending}", rgb=False) for ending in (suffix, whole))
    np.testing.assert_array_equal(read.pixels, expected.pixels)
    before, content = images.hash_images(path), bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    assert images.hash_images(path) != before
    data.write_bytes(content[:-9])
    with pytest.raises(CaseUNetError, match=f"v{suffix}: "):
        itk.read_itk(path)
    data.unlink()
    with pytest.raises(CaseUNetError, match=f"v{suffix}: its pixels lie in {data.name}, which is not beside it"):
        itk.read_itk_geometry(path)


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_detached_pixels_may_be_many(suffix: str, tmp_path: Path) -> None:
    """More than a file of the header's size could hold, compressed."""
    path = tmp_path / f"v{suffix}"
    SimpleITK.WriteImage(SimpleITK.Image([256, 256, 80], SimpleITK.sitkUInt8), str(path), False)
    assert itk.read_itk(path).pixels.size == 256 * 256 * 80


@pytest.mark.parametrize("name", ["/dev/zero", "../v.raw", "LIST", "v%03d.raw 1 5 1", "", "a\\b.raw"])
@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_pixels_elsewhere_are_refused(suffix: str, name: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"v{suffix}", counted())
    key = "ElementDataFile = " if suffix == ".mhd" else "data file: "
    lines = path.read_text().splitlines()
    path.write_text("\n".join(key + name if line.startswith(key) else line for line in lines) + "\n")
    with pytest.raises(CaseUNetError, match="expected one file in the same folder. Save it as"):
        itk.read_itk(path)


def test_masks_are_not_written_in_two_files(tmp_path: Path) -> None:
    geometry = itk.read_itk_geometry(save(tmp_path / "v.mhd", counted()))
    with pytest.raises(CaseUNetError, match="m.mhd: expected .nii, .nii.gz, .nrrd, .mha for a volume"):
        images.write_mask_file(tmp_path / "m.mhd", np.zeros((5, 4, 3), np.uint8), geometry, ())
