"""What ``caseunet predict`` writes lies where its image lies, pixel on pixel.

The networks of these tests follow brightness, so that every mask is known beforehand. Images and masks are written and
read by nibabel, SimpleITK, highdicom and Pillow themselves.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from caseunet import Predictor
from caseunet.bundle import Architecture, save_bundle
from caseunet.commands.predict import predict
from caseunet.datasets.generate.series import series
from caseunet.io.geometry import PLANES
from caseunet.models import create_model
from caseunet.options import PredictionOutputs, PredictOptions
from caseunet.types import Label, LabelMap, PlaneRule, Preprocessing
from tests.io.test_nifti import AXES, volume_in
from tests.support.bundles import NO_DATA, NO_SCORE

VOLUMES = (".nii.gz", ".nrrd", ".mha")

CT = Preprocessing(modality="ct", channels=1, mean=(0.0,), std=(1.0,))
GREY = Preprocessing(modality="gray", channels=1, mean=(100.0,), std=(1.0,))
GREY_16 = GREY.model_copy(update={"mean": (40_000.0,), "value_range": (0.0, 65_535.0)})
RGB = Preprocessing(modality="rgb", channels=3, mean=(100.0,) * 3, std=(1.0,) * 3)

LEAK = 0.1
"""Slope of the activations for what is negative."""

CLASSES = (("background", (0, 0, 0)), ("liver", (220, 40, 30)), ("tumour", (240, 220, 0)))


def brightness_bundle(folder: Path, preprocessing: Preprocessing, thresholds: Sequence[float] = (0.0,)) -> Path:
    """Write a bundle whose network counts the thresholds that a pixel's brightness is above, and give its folder.

    Args:
        folder: to write.
        preprocessing: the brightness is of the first channel (red) of the own slice, after it.
        thresholds: at most two, rising.
    """
    classes, widths = len(thresholds) + 1, [2, 2]
    network = create_model("unet", preprocessing.in_channels, classes, widths=widths)
    weights = {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
    own = preprocessing.context_slices * preprocessing.channels
    weights["down.0.0.conv.weight"][:, own, 1, 1] = torch.tensor([1.0, -1.0])  # the brightness and its opposite
    for name in ("down.0.1", "up.0.0", "up.0.1"):
        weights[f"{name}.conv.weight"][:, :2, 1, 1] = torch.eye(2)
    kept = 1 + LEAK**4  # of the difference of the two behind four activations
    for number in range(1, classes):  # a class is ahead of the one before by the distance from its threshold
        weights["head.weight"][number, :, 0, 0] = torch.tensor([number, -number]) / kept
        weights["head.bias"][number] = -sum(thresholds[:number])
    labels = [Label(id=number, name=name, color=color) for number, (name, color) in enumerate(CLASSES[:classes])]
    save_bundle(
        folder,
        weights,
        architecture=Architecture(
            name="unet",
            in_channels=preprocessing.in_channels,
            num_classes=classes,
            kwargs={"widths": widths},
        ),
        preprocessing=preprocessing,
        label_map=LabelMap(labels=tuple(labels), structures={label.name: (label.id,) for label in labels[1:]}),
        training_data=NO_DATA,
        validation=NO_SCORE,
        code_version="0",
    )
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Images so small are done before a second thread has begun."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Preprocessing], Predictor]:
    """A predictor that follows brightness, made once for each preprocessing."""
    made: dict[str, Predictor] = {}

    def give(preprocessing: Preprocessing) -> Predictor:
        key = preprocessing.model_dump_json()
        if key not in made:
            made[key] = Predictor(brightness_bundle(tmp_path_factory.mktemp("bundle"), preprocessing), "cpu")
        return made[key]

    return give


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Names for files that no one has yet, for tests that run many times."""
    folder, numbers = tmp_path_factory.mktemp("scratch"), count()
    return lambda suffix: folder / f"{next(numbers)}{suffix}"


def noise(shape: tuple[int, ...], dtype: str = "int16", seed: int = 0) -> np.ndarray:
    """About a third each negative, zero and positive; without a sign zero or positive."""
    signs = np.random.default_rng(seed).integers(0 if dtype.startswith("uint") else -1, 2, shape)
    return (signs * 100).astype(dtype)


def save(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    """Write an array (i, j, k) at its place, RAS, by the library that the suffix stands for."""
    if path.name.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(array, affine, dtype=array.dtype), path)
        return path
    image = SimpleITK.GetImageFromArray(array.transpose(2, 1, 0))
    place = np.diag([-1, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(place[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((place[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(place[:3, 3].tolist())
    SimpleITK.WriteImage(image, str(path))
    return path


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The array (i, j, k) of a file, scaled where it is to be, and its place, RAS."""
    if path.name.lower().endswith((".nii", ".nii.gz")):
        nifti = nib.load(path)
        return nifti.get_fdata(), nifti.affine
    return read_by_itk(path)


def read_by_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = SimpleITK.ReadImage(str(path))
    place = np.eye(4)
    place[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    place[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), np.diag([-1, -1, 1, 1]) @ place


def assert_lies_on(mask: Path, image: Path, reader: Callable[[Path], tuple[np.ndarray, np.ndarray]] = read) -> None:
    """The mask has the image's shape and place, and is 1 where the image is above 0."""
    (found, place), (brightness, expected) = reader(mask), reader(image)
    assert found.shape == brightness.shape
    np.testing.assert_allclose(place, expected, atol=1e-4, rtol=0)
    np.testing.assert_array_equal(found, brightness > 0)


@pytest.fixture(scope="module", params=PLANES)
def turned(
    request: pytest.FixtureRequest,
    make: Callable[[Preprocessing], Predictor],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """One volume in all orientations and kinds of file, ``images/``, and what one call, for each plane that a model can
    cut, made of them, ``masks/``."""
    folder = tmp_path_factory.mktemp("turned")
    for suffix in VOLUMES:
        (folder / "images" / suffix[1:]).mkdir(parents=True)
        for code in AXES:
            image = volume_in(code, noise((5, 4, 3)))
            save(folder / "images" / suffix[1:] / f"{code}{suffix}", np.asarray(image.dataobj), image.affine)
    model = make(CT.model_copy(update={"plane": request.param}))
    predict(model.folder, [folder / "images"], out=folder / "masks", options=PredictOptions(device="cpu"))
    return folder


@pytest.mark.parametrize("suffix", VOLUMES)
@pytest.mark.parametrize("code", AXES)
def test_every_orientation_in_every_kind_of_volume(code: str, suffix: str, turned: Path) -> None:
    image, mask = (turned / part / suffix[1:] / f"{code}{suffix}" for part in ("images", "masks"))
    assert_lies_on(mask, image)
    assert_lies_on(mask, image, read_by_itk)
    if suffix == ".nii.gz":
        assert "".join(nib.aff2axcodes(nib.load(mask).affine)) == code
        assert nib.load(mask).get_data_dtype() == np.uint8


@given(
    angles=st.tuples(*[st.floats(-np.pi, np.pi)] * 3),
    spacing=st.tuples(*[st.floats(0.05, 10)] * 3),
    origin=st.tuples(*[st.floats(-1000, 1000)] * 3),
    mirrored=st.booleans(),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    suffix=st.sampled_from((".nii", *VOLUMES)),
    plane=st.sampled_from((*PLANES, "acquired")),
    seed=st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_oblique_and_anisotropic_volumes(
    angles: tuple[float, float, float],
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float],
    mirrored: bool,
    shape: tuple[int, int, int],
    suffix: str,
    plane: PlaneRule,
    seed: int,
    make: Callable[[Preprocessing], Predictor],
    scratch: Callable[[str], Path],
) -> None:
    directions = nib.eulerangles.euler2mat(*angles) @ np.diag([-1 if mirrored else 1, 1, 1])
    affine = nib.affines.from_matvec(directions * spacing, origin)
    image, mask = save(scratch(suffix), noise(shape, seed=seed), affine), scratch(suffix)
    make(CT.model_copy(update={"plane": plane})).predict(image).save(mask)
    assert_lies_on(mask, image)
    assert_lies_on(mask, image, read_by_itk)


def test_axes_halfway_between_two_sides(make: Callable[[Preprocessing], Predictor], tmp_path: Path) -> None:
    """At 45° nothing tells which axis of the file is rather which of the patient's."""
    for number, angles in enumerate([(np.pi / 4, 0, 0), (0, np.pi / 4, 0), (0, 0, np.pi / 4), (np.pi / 4,) * 3]):
        affine = nib.affines.from_matvec(nib.eulerangles.euler2mat(*angles), (0, 0, 0))
        image = save(tmp_path / f"v{number}.nii", noise((3, 4, 5)), affine)
        make(CT).predict(image).save(tmp_path / f"m{number}.nii")
        assert_lies_on(tmp_path / f"m{number}.nii", image)


PLACES = {
    "scanner": nib.affines.from_matvec(np.diag([-0.7, -0.8, 2.5]), (10, 20, 30)),
    "oblique": nib.affines.from_matvec(nib.eulerangles.euler2mat(0.2, -0.1, 0.3) * (0.7, 0.8, 2.5), (-40, 5, 60)),
    "sheared": nib.affines.from_matvec([[-0.7, 0.3, 0], [0, -0.8, 0.1], [0, 0, 2.5]], (10, 20, 30)),
}


@pytest.mark.parametrize(
    ("sform", "qform"),
    [
        ("scanner", "scanner"),
        ("scanner", None),
        (None, "oblique"),
        (None, None),
        ("scanner", "oblique"),
        ("sheared", "scanner"),
    ],
)
def test_both_places_of_a_nifti_header_are_kept(
    sform: str | None, qform: str | None, make: Callable[[Preprocessing], Predictor], tmp_path: Path
) -> None:
    """nibabel goes by the sform where it can, others by the qform: the mask lies on its image for both."""
    image = nib.Nifti1Image(noise((3, 4, 5)), PLACES["scanner"])
    image.set_sform(PLACES[sform] if sform else None, code=2 if sform else 0)
    image.set_qform(PLACES[qform] if qform else None, code=1 if qform else 0)
    image.header.set_zooms((0.7, 0.8, 2.5))
    nib.save(image, tmp_path / "v.nii.gz")
    make(CT).predict(tmp_path / "v.nii.gz").save(tmp_path / "m.nii.gz")
    assert_lies_on(tmp_path / "m.nii.gz", tmp_path / "v.nii.gz")
    assert_lies_on(tmp_path / "m.nii.gz", tmp_path / "v.nii.gz", read_by_itk)
    source, mask = (nib.load(tmp_path / name) for name in ("v.nii.gz", "m.nii.gz"))
    for place in ("get_sform", "get_qform"):
        (expected, code), (found, kept) = (getattr(file.header, place)(coded=True) for file in (source, mask))
        assert kept == code
        if code:
            np.testing.assert_array_equal(found, expected)


def test_units_are_kept_even_if_nobody_knows_them(make: Callable[[Preprocessing], Predictor], tmp_path: Path) -> None:
    for units in (0, 2, 10, 123):  # none, mm, mm and seconds, no code at all
        content = bytearray(save(tmp_path / "v.nii", noise((3, 4, 5)), PLACES["scanner"]).read_bytes())
        content[123] = units
        (tmp_path / "v.nii").write_bytes(content)
        make(CT).predict(tmp_path / "v.nii").save(tmp_path / "m.nii")
        assert (tmp_path / "m.nii").read_bytes()[123] == units
        assert_lies_on(tmp_path / "m.nii", tmp_path / "v.nii")


def test_a_row_too_long_for_nifti_1_stays_nifti_2(make: Callable[[Preprocessing], Predictor], tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(noise((33_000, 2, 1)), PLACES["oblique"]), tmp_path / "v.nii")
    make(CT).predict(tmp_path / "v.nii").save(tmp_path / "m.nii")
    assert_lies_on(tmp_path / "m.nii", tmp_path / "v.nii")
    assert isinstance(nib.load(tmp_path / "m.nii"), nib.Nifti2Image)


@pytest.mark.parametrize("suffix", VOLUMES)
@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
)
def test_every_type_of_number(
    dtype: str, suffix: str, make: Callable[[Preprocessing], Predictor], tmp_path: Path
) -> None:
    image = save(tmp_path / f"v{suffix}", noise((3, 4, 5), dtype), PLACES["oblique"])
    make(CT).predict(image).save(tmp_path / f"m{suffix}")
    assert_lies_on(tmp_path / f"m{suffix}", image)


@pytest.mark.parametrize("scaling", [(2, -51), (-1, 3), (0.5, -3.25), (0, 7)])
def test_the_scaled_values_count(
    scaling: tuple[float, float], make: Callable[[Preprocessing], Predictor], tmp_path: Path
) -> None:
    """A slope of 0 stands for no scaling. The mask has none of its own."""
    array = np.random.default_rng(0).integers(0, 52, (3, 4, 5), "int16")
    content = bytearray(save(tmp_path / "v.nii", array, PLACES["scanner"]).read_bytes())
    content[112:120] = struct.pack("<2f", *scaling)  # scl_slope and scl_inter; nibabel would choose its own
    (tmp_path / "v.nii").write_bytes(content)
    make(CT).predict(tmp_path / "v.nii").save(tmp_path / "m.nii")
    assert_lies_on(tmp_path / "m.nii", tmp_path / "v.nii")
    expected = scaling[0] * array + scaling[1] > 0 if scaling[0] else array > 0
    np.testing.assert_array_equal(nib.load(tmp_path / "m.nii").dataobj.get_unscaled(), expected)


def big_endian(path: Path, array: np.ndarray) -> Path:
    """Write an array (i, j, k) of int16 with the most significant byte first."""
    if path.suffix == ".nii":
        header = nib.Nifti1Header(endianness=">")
        header.set_data_dtype(">i2")
        nib.save(nib.Nifti1Image(array.astype(">i2"), PLACES["scanner"], header), path)
        return path
    sizes, pixels = " ".join(str(n) for n in array.shape), array.astype(">i2").tobytes(order="F")
    nrrd = (
        f"NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: {sizes}\n"
        "space directions: (0.7,0,0) (0,0.8,0) (0,0,2.5)\nendian: big\nencoding: raw\nspace origin: (-10,-20,30)\n\n"
    )
    meta = (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = True\nDimSize = {sizes}\n"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = -10 -20 30\nElementSpacing = 0.7 0.8 2.5\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    path.write_bytes((nrrd if path.suffix == ".nrrd" else meta).encode() + pixels)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_the_other_byte_order(suffix: str, make: Callable[[Preprocessing], Predictor], tmp_path: Path) -> None:
    array = noise((3, 4, 5))
    image = big_endian(tmp_path / f"v{suffix}", array)
    make(CT).predict(image).save(tmp_path / f"m{suffix}")
    assert_lies_on(tmp_path / f"m{suffix}", image)
    np.testing.assert_array_equal(read(tmp_path / f"m{suffix}")[0], array > 0)
    np.testing.assert_allclose(read(tmp_path / f"m{suffix}")[1], PLACES["scanner"], atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 4, 5, 1), (3, 4, 5, 1, 1), (5, 4, 1), (1, 4, 5), (4, 1, 1), (1, 1, 1)])
def test_axes_of_one_are_kept(
    shape: tuple[int, ...], make: Callable[[Preprocessing], Predictor], tmp_path: Path
) -> None:
    nib.save(nib.Nifti1Image(noise(shape, seed=1), PLACES["oblique"]), tmp_path / "v.nii.gz")
    make(CT).predict(tmp_path / "v.nii.gz").save(tmp_path / "m.nii.gz")
    assert nib.load(tmp_path / "m.nii.gz").shape == shape
    assert_lies_on(tmp_path / "m.nii.gz", tmp_path / "v.nii.gz")


def test_channels_of_a_volume_share_one_mask(make: Callable[[Preprocessing], Predictor], tmp_path: Path) -> None:
    """A fourth axis of two channels is no axis of the mask; the network follows the first."""
    two = Preprocessing(modality="mr", channels=2, mean=(0.0, 0.0), std=(1.0, 1.0))
    array = noise((3, 4, 5, 2))
    nib.save(nib.Nifti1Image(array, PLACES["oblique"]), tmp_path / "v.nii.gz")
    make(two).predict(tmp_path / "v.nii.gz").save(tmp_path / "m.nii.gz")
    mask = nib.load(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(mask.get_fdata(), array[..., 0] > 0)
    np.testing.assert_allclose(mask.affine, PLACES["oblique"], atol=1e-5)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("code", ["LPS", "RAS", "SPL", "AIR"])
def test_slices_seen_with_their_neighbours_keep_their_place(
    code: str, plane: PlaneRule, make: Callable[[Preprocessing], Predictor], tmp_path: Path
) -> None:
    image = volume_in(code, noise((5, 4, 6)))
    nib.save(image, tmp_path / "v.nii.gz")
    make(CT.model_copy(update={"context_slices": 1, "plane": plane})).predict(tmp_path / "v.nii.gz").save(
        tmp_path / "m.nii.gz"
    )
    assert_lies_on(tmp_path / "m.nii.gz", tmp_path / "v.nii.gz")


@pytest.mark.parametrize("suffix", VOLUMES)
@pytest.mark.parametrize("code", ["LPS", "RAI", "SPL", "AIR"])
@pytest.mark.parametrize(
    "grid", [{"size": (64, 96)}, {"size": (48, 40)}, {"spacing": (0.5, 0.45)}, {"spacing": (1.1, 0.9)}, {"scale": 0.8}]
)
def test_resampled_slices_return_to_source_grid(
    grid: dict[str, object], code: str, suffix: str, make: Callable[[Preprocessing], Predictor], tmp_path: Path
) -> None:
    """A bright ellipsoid, off the middle: its edge may differ by a pixel, its centre by a twentieth of one."""
    left, posterior, superior = np.meshgrid(np.arange(60), np.arange(72), np.arange(4), indexing="ij")
    radii = ((left - 20) / 14) ** 2 + ((posterior - 45) / 20) ** 2 + ((superior - 2) / 3) ** 2
    turned = volume_in(code, (1000 * (1 - radii)).astype(np.int16))
    image = save(tmp_path / f"v{suffix}", np.asarray(turned.dataobj), turned.affine)
    make(CT.model_copy(update=grid)).predict(image).save(tmp_path / f"m{suffix}")
    (found, place), (brightness, expected) = read(tmp_path / f"m{suffix}"), read(image)
    assert found.shape == brightness.shape
    np.testing.assert_allclose(place, expected, atol=1e-4, rtol=0)
    assert np.mean(found == (brightness > 0)) > 0.995
    centres = [np.argwhere(array > 0).mean(axis=0) for array in (found, brightness)]
    np.testing.assert_allclose(*centres, atol=0.05)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("code", ["LPS", "PIL"])
def test_body_cut_out_of_air_returns_to_its_place(
    code: str, plane: PlaneRule, make: Callable[[Preprocessing], Predictor], tmp_path: Path
) -> None:
    array = np.full((100, 110, 90), -1000, np.int16)
    array[30:60, 45:85, 35:75] = noise((30, 40, 40))
    nib.save(volume_in(code, array), tmp_path / "v.nii.gz")
    make(CT.model_copy(update={"crop_to_body": True, "plane": plane})).predict(tmp_path / "v.nii.gz").save(
        tmp_path / "m.nii.gz"
    )
    assert_lies_on(tmp_path / "m.nii.gz", tmp_path / "v.nii.gz")


STEPS = {"L": (-1, 0, 0), "R": (1, 0, 0), "P": (0, -1, 0), "A": (0, 1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
"""Where a step to each side leads, RAS."""


def laid(array: np.ndarray, affine: np.ndarray, place: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array on another grid: each voxel that is not 0 at the nearest one, which must be at its very place."""
    there = np.linalg.inv(place) @ affine
    indices = np.argwhere(array)
    exact = indices @ there[:3, :3].T + there[:3, 3]
    nearest = np.rint(exact).astype(int)
    np.testing.assert_allclose(exact, nearest, atol=1e-3)
    result = np.zeros(shape, array.dtype)
    result[tuple(nearest.T)] = array[tuple(indices.T)]
    return result


@pytest.mark.parametrize(
    ("axes", "degrees"),
    [
        ("LPS", 0),  # axial: columns run left, rows to posterior
        ("LPI", 0),  # from head to feet
        ("RAS", 0),
        ("PIR", 0),  # sagittal
        ("AIL", 0),
        ("LIP", 0),  # coronal
        ("LIA", 0),
        ("LPS", 25),
        ("AIL", 40),
    ],
)
@pytest.mark.parametrize("plane", PLANES)
def test_dicom_series_lie_where_their_nifti_lies(
    plane: PlaneRule, axes: str, degrees: float, make: Callable[[Preprocessing], Predictor], tmp_path: Path
) -> None:
    """The masks of a series, NIfTI and segmentation object, mark the same places as that of the volume as NIfTI."""
    directions = np.array([STEPS[side] for side in axes], float).T
    turn = nib.eulerangles.euler2mat(*np.radians((degrees, degrees / 2, -degrees / 3)))
    affine = nib.affines.from_matvec(turn @ directions * (0.7, 0.8, 2.5), (20, 10, -400))
    hounsfield = noise((7, 6, 5))
    (tmp_path / "scan").mkdir()
    names = np.random.default_rng(0).permutation(5)
    for dataset, name in zip(series(hounsfield, affine, patient="P1", entropy="test"), names, strict=True):
        dataset.InstanceNumber = int(name)  # neither names nor numbers tell the order
        dataset.save_as(tmp_path / "scan" / f"{name}.dcm", enforce_file_format=True)
    save(tmp_path / "volume.nii.gz", hounsfield, affine)
    outputs = PredictionOutputs(dicom_seg=True)
    inputs = [tmp_path / "scan", tmp_path / "volume.nii.gz"]
    model = make(CT.model_copy(update={"plane": plane}))
    done = predict(
        model.folder, inputs, out=tmp_path / "out", options=PredictOptions(device="cpu", **outputs.model_dump())
    )
    of_series, of_volume = done.cases
    assert (of_series.file, of_volume.file) == ("scan.nii.gz", "volume.nii.gz")
    expected, place = read(tmp_path / "out" / of_volume.file)
    np.testing.assert_array_equal(expected, hounsfield > 0)
    mask, affine_of_mask = read(tmp_path / "out" / of_series.file)
    assert sorted(mask.shape) == sorted(hounsfield.shape)
    np.testing.assert_array_equal(laid(mask, affine_of_mask, place, expected.shape), expected)

    segmentation = highdicom.seg.segread(tmp_path / "out" / of_series.others["dicom_seg"])
    volume = segmentation.get_volume(combine_segments=True)
    affine_of_volume = np.diag([-1, -1, 1, 1]) @ volume.affine
    np.testing.assert_array_equal(laid(volume.array, affine_of_volume, place, expected.shape), expected)


def test_probabilities_of_dicom_are_fractional(make: Callable[[Preprocessing], Predictor], tmp_path: Path) -> None:
    """Beside the NIfTI of probabilities, an object for each class of the same numbers."""
    (tmp_path / "scan").mkdir()
    for number, dataset in enumerate(series(noise((7, 6, 5)), PLACES["scanner"], patient="P1", entropy="test")):
        dataset.save_as(tmp_path / "scan" / f"{number}.dcm", enforce_file_format=True)
    options = PredictOptions(device="cpu", dicom_seg=True, probabilities=True)
    (case,) = predict(make(CT).folder, [tmp_path / "scan"], out=tmp_path / "out", options=options).cases
    written = {what: tmp_path / "out" / file for what, file in case.others.items() if what.startswith("probability")}
    assert len(written) == 2
    plain = next(path for path in written.values() if path.name.endswith(".nii.gz"))
    fractional = next(path for path in written.values() if path.name.endswith(".seg.dcm"))
    assert fractional.name == plain.name.replace(".nii.gz", ".seg.dcm")
    found = np.squeeze(highdicom.seg.segread(fractional).get_volume(rescale_fractional=True).array)
    expected = np.asarray(nib.load(plain).dataobj)
    np.testing.assert_allclose(np.sort(found.ravel()), np.sort(expected.ravel()), atol=1 / 255)


def test_masks_of_dicom_have_the_grid_that_others_give_the_series(
    make: Callable[[Preprocessing], Predictor], tmp_path: Path
) -> None:
    """SimpleITK, and converters to NIfTI, lay a series as columns, rows, slices: one mask fits what they make of it."""
    (tmp_path / "scan").mkdir()
    for number, dataset in enumerate(series(noise((7, 6, 5)), PLACES["scanner"], patient="P1", entropy="test")):
        dataset.save_as(tmp_path / "scan" / f"{number}.dcm", enforce_file_format=True)
    done = predict(make(CT).folder, [tmp_path / "scan"], out=tmp_path / "out", options=PredictOptions(device="cpu"))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "scan")))
    SimpleITK.WriteImage(reader.Execute(), str(tmp_path / "series.nrrd"))
    assert_lies_on(tmp_path / "out" / done.cases[0].file, tmp_path / "series.nrrd")


def color(shape: tuple[int, int] = (20, 30)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *[("RGB", suffix) for suffix in (".png", ".tif", ".bmp", ".jpg")],
        *[("RGBA", suffix) for suffix in (".png", ".tif")],
        *[("P", suffix) for suffix in (".png", ".bmp")],
        *[("L", suffix) for suffix in (".png", ".tif", ".bmp", ".jpg")],
        *[("LA", ".png"), ("CMYK", ".tif")],
    ],
)
def test_images_for_a_colour_model(
    mode: str, suffix: str, make: Callable[[Preprocessing], Predictor], tmp_path: Path
) -> None:
    """The mask is of the size of the image and 1 where Pillow finds its red above 100; it has the classes' colours."""
    source = Image.fromarray(color()).convert(mode)
    if mode == "RGBA":
        source.putalpha(Image.fromarray(color()[..., 2]))  # what is transparent has a colour still
    source.save(tmp_path / f"i{suffix}")
    make(RGB).predict(tmp_path / f"i{suffix}").save(tmp_path / "m.png")
    expected = np.asarray(Image.open(tmp_path / f"i{suffix}").convert("RGB"))[..., 0] > 100
    mask = Image.open(tmp_path / "m.png")
    np.testing.assert_array_equal(np.asarray(mask), expected)
    assert 0 < np.count_nonzero(expected) < expected.size
    colors = np.array([value for _, value in CLASSES])
    np.testing.assert_array_equal(np.asarray(mask.convert("RGB")), colors[expected.astype(int)])


def write_tiff_big_endian(path: Path, array: np.ndarray) -> None:
    """Write uint16 (H, W) as an uncompressed TIFF with the most significant byte first."""
    height, width = array.shape
    pixels = array.astype(">u2").tobytes()
    short = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 277: 1, 278: height}
    tags = {tag: (3, value << 16) for tag, value in short.items()} | {273: (4, 8), 279: (4, len(pixels))}
    entries = b"".join(struct.pack(">HHII", tag, tags[tag][0], 1, tags[tag][1]) for tag in sorted(tags))
    directory = struct.pack(">H", len(tags)) + entries + struct.pack(">I", 0)
    path.write_bytes(b"MM\0*" + struct.pack(">I", 8 + len(pixels)) + pixels + directory)


@pytest.mark.parametrize(
    ("dtype", "suffix"),
    [
        *[("uint8", suffix) for suffix in (".png", ".tif", ".bmp")],
        *[("uint16", suffix) for suffix in (".png", ".tif", ".tiff")],
        ("int32", ".tif"),
        ("float32", ".tif"),
    ],
)
def test_images_for_a_grey_model(
    dtype: str, suffix: str, make: Callable[[Preprocessing], Predictor], tmp_path: Path
) -> None:
    array = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(dtype)
    if dtype != "uint8":
        array = array * array.dtype.type(200)  # 0 … 51,000
    Image.fromarray(array).save(tmp_path / f"i{suffix}")
    model = GREY if dtype == "uint8" else GREY_16
    make(model).predict(tmp_path / f"i{suffix}").save(tmp_path / "m.png")
    expected = array > model.mean[0]
    assert 0 < np.count_nonzero(expected) < expected.size
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "m.png")), expected)


def test_the_other_byte_order_of_tiff(make: Callable[[Preprocessing], Predictor], tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 65_536, (20, 30), dtype=np.uint16)
    write_tiff_big_endian(tmp_path / "i.tif", array)
    make(GREY_16).predict(tmp_path / "i.tif").save(tmp_path / "m.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "m.png")), array > 40_000)


@pytest.mark.parametrize("grid", [{"size": (64, 64)}, {"scale": 0.5}])
def test_a_resized_image_returns_to_its_size(
    grid: dict[str, object], make: Callable[[Preprocessing], Predictor], tmp_path: Path
) -> None:
    array = np.zeros((90, 120, 3), np.uint8)
    array[20:50, 70:110, 0] = 200
    Image.fromarray(array).save(tmp_path / "i.png")
    make(RGB.model_copy(update=grid)).predict(tmp_path / "i.png").save(tmp_path / "m.png")
    found = np.asarray(Image.open(tmp_path / "m.png"))
    assert found.shape == (90, 120)
    assert np.mean(found == (array[..., 0] > 100)) > 0.99
    np.testing.assert_allclose(np.argwhere(found).mean(axis=0), (34.5, 89.5), atol=0.2)


def test_masks_are_of_the_kind_of_their_images(make: Callable[[Preprocessing], Predictor], tmp_path: Path) -> None:
    """Images whose kind loses pixels get PNG, DICOM gets NIfTI; capitals in names make no difference."""
    volumes = {"a.nii": "a.nii", "b.nii.gz": "b.nii.gz", "C.NII.GZ": "C.nii.gz", "d.nrrd": "d.nrrd", "e.mha": "e.mha"}
    (tmp_path / "volumes").mkdir()
    for name in volumes:
        path = save(tmp_path / "volumes" / name.lower(), noise((3, 4, 5)), PLACES["scanner"])
        path.rename(path.with_name(name))
    (tmp_path / "scan").mkdir()
    for number, dataset in enumerate(series(noise((7, 6, 2)), PLACES["scanner"], patient="P1", entropy="test")):
        dataset.save_as(tmp_path / "scan" / f"IM{number}", enforce_file_format=True)
    inputs = [tmp_path / "volumes", tmp_path / "scan"]
    done = predict(make(CT).folder, inputs, out=tmp_path / "of volumes", options=PredictOptions(device="cpu"))
    assert {Path(case.image).name: case.file for case in done.cases} == volumes | {"IM0": "scan.nii.gz"}

    pictures = {"a.png": "a.png", "b.tif": "b.tif", "c.TIFF": "c.tiff", "d.bmp": "d.bmp", "e.jpg": "e.png"}
    pictures |= {"f.jpeg": "f.png", "g.PNG": "g.png"}
    (tmp_path / "pictures").mkdir()
    for name in pictures:
        Image.fromarray(color()).save(tmp_path / "pictures" / name)
    done = predict(
        make(RGB).folder, [tmp_path / "pictures"], out=tmp_path / "of pictures", options=PredictOptions(device="cpu")
    )
    assert {Path(case.image).name: case.file for case in done.cases} == pictures
    for source, file in pictures.items():
        found = np.asarray(Image.open(tmp_path / "of pictures" / file))
        expected = np.asarray(Image.open(tmp_path / "pictures" / source).convert("RGB"))[..., 0] > 100
        np.testing.assert_array_equal(found, expected)
    written = {path.name for path in (tmp_path / "of pictures").iterdir()}
    assert written == {*pictures.values(), "predictions.json", "log.txt", ".caseunet"}
