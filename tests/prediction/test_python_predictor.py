"""What Python gives to a predictor, and that the command's masks come back in the same axes."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
from PIL import Image

from caseunet import CaseUNetError, Predictor
from caseunet.bundle import PostprocessingRule, Quality, add_validation, load_bundle
from caseunet.commands.predict import predict
from caseunet.datasets.generate import write_dicom
from caseunet.options import PredictionSettings, PredictOptions
from caseunet.prediction.python_images import UNPLACED, read_python_image
from caseunet.types import Preprocessing
from tests.prediction.test_round_trips import CT, GREY, RGB, brightness_bundle, save

SPACING = (0.8, 1.5, 4.0)
"""Along the axes of the arrays below."""


def bundle(folder: Path, preprocessing: Preprocessing) -> Path:
    """One that follows brightness, and keeps the largest component alone."""
    made = load_bundle(brightness_bundle(folder, preprocessing))
    quality = Quality(
        protocol="",
        temperature=1.0,
        calibration_error=(0.0, 0.0),
        usual=(),
        threshold=1.0,
        lines={},
        error={},
        postprocessing=(PostprocessingRule(structure="liver", do="largest", gain=0.1),),
        validated=(),
    )
    add_validation(made, made.info.validation, quality)
    return folder


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor(bundle(tmp_path_factory.mktemp("ct"), CT), "cpu")


def volume() -> np.ndarray:
    """(i, j, k), −500 with a large bright box and a small one; neither axis looks like another."""
    array = np.full((40, 36, 8), -500, np.int16)
    array[5:20, 4:12, 1:5] = 300
    array[30:33, 30:33, 6:7] = 300
    return array


def expected() -> np.ndarray:
    """Where the larger box is."""
    mask = np.zeros(volume().shape, np.uint8)
    mask[5:20, 4:12, 1:5] = 1
    return mask


def placed(codes: str) -> tuple[np.ndarray, np.ndarray]:
    """An affine whose axes run as the codes say, with the spacing above."""
    affine = np.zeros((4, 4))
    for axis, (world, sign) in enumerate(nib.orientations.axcodes2ornt(tuple(codes))):
        affine[int(world), axis] = sign * SPACING[axis]
    affine[:, 3] = (10, -20, 30, 1)
    return volume(), affine


def of_command(predictor: Predictor, path: Path, out: Path) -> Path:
    done = predict(predictor.folder, [path], out=out, mode="overwrite", options=PredictOptions(device="cpu"))
    return out / done.cases[0].file


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SPL", "PIR", "ASL", "IRP"])
def test_nifti_in_any_axes(codes: str, ct: Predictor, tmp_path: Path) -> None:
    array, affine = placed(codes)
    path = save(tmp_path / "v.nii.gz", array, affine)
    given: dict[str, Any] = {
        "path": path,
        "text": str(path),
        "loaded": nib.load(path),
        "in memory": nib.Nifti1Image(array.astype(np.float64), affine),
        "another kind": nib.MGHImage(array.astype(np.float32), affine.astype(np.float32)),
    }
    for kind, image in given.items():
        np.testing.assert_array_equal(ct.predict(image).labels, expected(), kind)
    bare = ct.predict(array, axes=codes.lower(), spacing=SPACING)
    np.testing.assert_array_equal(bare.labels, expected())
    command = nib.load(of_command(ct, path, tmp_path / "out"))
    np.testing.assert_array_equal(np.asarray(command.dataobj), expected())
    back = ct.predict(nib.load(path)).to_nibabel()
    np.testing.assert_array_equal(np.asarray(back.dataobj), expected())
    np.testing.assert_allclose(back.affine, affine)


def test_files_of_channels_are_joined(tmp_path: Path) -> None:
    """A folder with a file for each channel is one image, as for the command."""
    preprocessing = Preprocessing(modality="mr", channels=2, mean=(0.0, 0.0), std=(1.0, 1.0))
    predictor = Predictor(bundle(tmp_path / "b", preprocessing), "cpu")
    array, affine = placed("LPS")
    (tmp_path / "in").mkdir()
    save(tmp_path / "in/p_0000.nii.gz", array - array.min(), affine)
    save(tmp_path / "in/p_0001.nii.gz", array * 0, affine)
    expected = np.ones_like(array) * (array > array.min())
    joined = predictor.predict(tmp_path / "in", postprocess=False)
    np.testing.assert_array_equal(joined.labels, expected)
    with pytest.raises(CaseUNetError, match="p_0001.nii.gz: channel 0000 of p is missing"):
        predictor.predict(tmp_path / "in/p_0001.nii.gz")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_sitk_objects_and_files(suffix: str, ct: Predictor, tmp_path: Path) -> None:
    path = save(tmp_path / f"v{suffix}", *placed("PSR"))
    image = SimpleITK.ReadImage(str(path))
    found = ct.predict(image)
    np.testing.assert_array_equal(found.labels, expected().transpose(2, 1, 0))
    assert found.labels.shape == SimpleITK.GetArrayFromImage(image).shape
    np.testing.assert_array_equal(ct.predict(path).labels, expected())
    command = SimpleITK.ReadImage(str(of_command(ct, path, tmp_path / "out")))
    back = found.to_sitk()
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(command), SimpleITK.GetArrayFromImage(back))
    for place in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(back, place)(), getattr(image, place)(), atol=1e-6)


def test_a_slope_changes_no_voxel(tmp_path: Path) -> None:
    """Saving what nibabel has scaled would choose another slope, and round."""
    array, affine = placed("LPS")
    array += np.random.default_rng(0).integers(-400, 400, array.shape, np.int16)
    image = nib.Nifti1Image(array, affine)
    image.header.set_slope_inter(0.0007, 0.2)
    nib.save(image, tmp_path / "v.nii")
    from_object = read_python_image(nib.load(tmp_path / "v.nii"), CT).picture.pixels
    np.testing.assert_array_equal(from_object, read_python_image(tmp_path / "v.nii", CT).picture.pixels)
    assert from_object.dtype == np.float32


def test_dicom_folder_and_zip(ct: Predictor, tmp_path: Path) -> None:
    write_dicom(tmp_path / "raw", patients=2)
    (tmp_path / "raw/patient_0/segmentation.dcm").unlink()
    one = tmp_path / "raw/patient_0"
    found = ct.predict(one)
    command = nib.load(of_command(ct, one, tmp_path / "out"))
    assert found.labels.any()
    np.testing.assert_array_equal(found.labels, np.asarray(command.dataobj))
    np.testing.assert_allclose(found.to_nibabel().affine, command.affine)
    archive = shutil.make_archive(str(tmp_path / "one"), "zip", one)
    np.testing.assert_array_equal(ct.predict(archive).labels, found.labels)
    with pytest.raises(CaseUNetError, match="raw: holds 2 images, patient_0 and patient_1 among them"):
        ct.predict(tmp_path / "raw")


@pytest.mark.parametrize("preprocessing", [RGB, GREY], ids=["rgb", "gray"])
def test_pictures_as_files_and_objects(preprocessing: Preprocessing, tmp_path: Path) -> None:
    predictor = Predictor(bundle(tmp_path / "b", preprocessing), "cpu")
    array = np.full((40, 50), 20, np.uint8)
    array[4:20, 5:30] = 200
    array[30:33, 40:43] = 200
    mask = np.zeros((40, 50), np.uint8)
    mask[4:20, 5:30] = 1
    if preprocessing.channels == 3:
        array = np.stack([array, 255 - array, array // 2], axis=-1)
    Image.fromarray(array).save(tmp_path / "i.png")
    given = [tmp_path / "i.png", Image.open(tmp_path / "i.png"), Image.fromarray(array), array, torch.from_numpy(array)]
    given += [array.astype(np.float32), SimpleITK.GetImageFromArray(array, isVector=array.ndim == 3)]
    for found in predictor.predict(given):
        np.testing.assert_array_equal(found.labels, mask)
    first = np.moveaxis(array, -1, 0) if array.ndim == 3 else array[None]
    np.testing.assert_array_equal(predictor.predict(torch.from_numpy(first.copy()), axes="CHW").labels, mask)
    stack = np.stack([array, array[::-1]])
    letters = "NHWC"[: stack.ndim]
    np.testing.assert_array_equal(predictor.predict(stack, axes=letters).labels, np.stack([mask, mask[::-1]]))
    turned = stack.swapaxes(0, 2)
    found = predictor.predict(turned, axes="WHNC"[: stack.ndim], spacing=(1, 2, 3))
    np.testing.assert_array_equal(found.labels, np.stack([mask, mask[::-1]]).swapaxes(0, 2))
    command = np.asarray(Image.open(of_command(predictor, tmp_path / "i.png", tmp_path / "out")))
    np.testing.assert_array_equal(command, mask)


def test_a_picture_is_as_it_lies_in_memory(tmp_path: Path) -> None:
    """Pillow does not turn what a camera's tag says, and neither does the mask of its object."""
    predictor = Predictor(bundle(tmp_path / "b", RGB), "cpu")
    array = np.zeros((40, 50, 3), np.uint8)
    array[:20, :30] = 200
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(array).save(tmp_path / "i.png", exif=exif)
    image = Image.open(tmp_path / "i.png")
    np.testing.assert_array_equal(predictor.predict(image).labels, array[..., 0] // 200)


@pytest.mark.parametrize(("mode", "channels"), [("RGBX", 3), ("RGBa", 3), ("PA", 3), ("La", 1), ("I;16B", 1)])
def test_pictures_in_modes_that_png_has_not(mode: str, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    values[..., 2] = 255 * (values[..., 2] > 99)
    if mode == "I;16B":
        picture, expected = Image.frombytes(mode, (50, 40), values[..., 0].astype(">u2").tobytes()), values[..., 0]
    elif mode == "La":
        picture, expected = Image.fromarray(values[..., 0]).convert("LA").convert(mode), values[..., 0]
    elif mode == "PA":
        palette = Image.fromarray(values).quantize(200)
        picture, expected = palette.convert(mode), np.asarray(palette.convert("RGB"))
    else:
        picture, expected = Image.fromarray(values).convert("RGBA").convert(mode), values
    found = read_python_image(picture, RGB if channels == 3 else GREY).picture.pixels
    np.testing.assert_array_equal(found[0].transpose(1, 2, 0).squeeze(), expected)


@pytest.mark.parametrize("dtype", ["float16", "bool", "int64", "uint8", ">i2"])
def test_types_that_files_have_not(dtype: str, ct: Predictor) -> None:
    array = (volume() > 0).astype(dtype) if dtype in ("bool", "uint8") else volume().astype(dtype)
    np.testing.assert_array_equal(ct.predict(array, axes="LPS", spacing=SPACING).labels, expected())


@pytest.mark.parametrize("dtype", [">u2", ">i4", ">f4", ">f8"])
def test_a_slice_of_either_byte_order(dtype: str, ct: Predictor) -> None:
    image = np.where(volume()[:, :, 4] > 0, 200, 0).astype(dtype)
    found = ct.predict(image, axes="HW").labels
    np.testing.assert_array_equal(found, ct.predict(image.astype(dtype.replace(">", "<")), axes="HW").labels)


def test_tensors_of_any_kind(ct: Predictor) -> None:
    tensor = torch.from_numpy(volume()).to(torch.bfloat16).requires_grad_()
    np.testing.assert_array_equal(ct.predict(tensor, axes="LPS", spacing=SPACING).labels, expected())


def test_tensors_without_plain_numbers_are_refused(ct: Predictor) -> None:
    tensor = torch.from_numpy(volume()).float()
    for given in (tensor.to_sparse(), torch.quantize_per_tensor(tensor, 1.0, 0, torch.qint32)):
        with pytest.raises(CaseUNetError, match=r"Give tensor.to_dense\(\) or tensor.dequantize\(\)"):
            ct.predict(given, axes="LPS", spacing=SPACING)


@pytest.mark.parametrize("how", ["argument", "settings"])
def test_postprocessing_can_be_left_out(how: str, ct: Predictor) -> None:
    array, affine = placed("LPS")
    image = nib.Nifti1Image(array, affine)
    if how == "argument":
        found = ct.predict(image, postprocess=False)
    else:
        found = Predictor(ct.folder, "cpu", settings=PredictionSettings(postprocess=False)).predict(image)
    np.testing.assert_array_equal(found.labels, array > 0)


@pytest.mark.parametrize(
    ("shape", "axes", "spacing", "says"),
    [
        ((40, 36, 8), None, None, "More axes do not tell which way they run"),
        ((40, 36, 8), "RAS", None, 'A volume of axes "RAS" needs its spacing too'),
        ((40, 36, 8), "RAL", SPACING, "expected a letter for each axis"),
        ((40, 36, 8), "XYZ", SPACING, "expected a letter for each axis"),
        ((40, 36, 8), "RA", None, "expected a letter for each axis"),
        ((40, 36, 8), "HWC", None, "does not fit axes"),
        ((40, 36), "NHW", None, "does not fit axes"),
        ((40, 36), "HW", SPACING, "expected 2 lengths in mm"),
        ((40, 36, 8), "RAS", (1, 1), "expected 3 lengths in mm"),
        ((40, 36, 8), "RAS", 1.0, "expected 3 lengths in mm"),
        ((40, 36, 8), "RAS", (1, None, 3), "expected 3 lengths in mm"),
        ((40, 36, 8), "RAS", (float("nan"), 1, 3), "finite and above 0"),
        ((40, 36, 8), "RAS", (1, float("inf"), 3), "finite and above 0"),
        ((40, 36, 8), "RAS", (0, 1, 3), "finite and above 0"),
        ((40, 36, 8), "RAS", (1, -1, 3), "finite and above 0"),
        ((8, 40, 36), "NHW", (3, -1, 1), "finite and above 0"),
    ],
)
def test_a_bare_volume_needs_its_axes(
    shape: tuple[int, ...], axes: str | None, spacing: Any, says: str, ct: Predictor
) -> None:
    with pytest.raises(CaseUNetError, match=says):
        ct.predict(np.zeros(shape, np.int16), axes=axes, spacing=spacing)


def test_axes_may_be_a_sequence_of_letters(ct: Predictor) -> None:
    array, affine = placed("LPS")
    by_text = ct.predict(array, axes="LPS", spacing=SPACING).labels
    assert by_text.any()
    np.testing.assert_array_equal(ct.predict(array, axes=nib.aff2axcodes(affine), spacing=SPACING).labels, by_text)
    with pytest.raises(CaseUNetError, match="expected a letter for each axis"):
        ct.predict(array, axes=("L", "P", None), spacing=SPACING)  # type: ignore[arg-type]


def test_analyze_states_no_position(ct: Predictor, tmp_path: Path) -> None:
    """What nibabel makes of a file without a position is told; a place that a .mat file states is not doubted."""
    array, affine = placed("LPS")
    nib.save(nib.AnalyzeImage(array, affine), tmp_path / "plain.hdr")
    nib.save(nib.Spm99AnalyzeImage(array, affine), tmp_path / "spm.hdr")  # with its .mat
    nib.save(nib.Nifti1Pair(array, affine), tmp_path / "nifti.hdr")
    said = {name: ct.predict(nib.load(tmp_path / f"{name}.hdr")).warnings for name in ("plain", "spm", "nifti")}
    assert said == {"plain": (f"the nibabel image: {UNPLACED}",), "spm": (), "nifti": ()}


@pytest.mark.parametrize("scale", [1.0, 0.001, 1000.0])
@pytest.mark.parametrize("given", ["file", "volume", "slices"])
def test_sizes_of_no_scan_are_told(given: str, scale: float, ct: Predictor, tmp_path: Path) -> None:
    """Metres and micrometres taken for millimetres, in a header or as an argument."""
    array, affine = placed("LPS")
    lengths = [scale * length for length in SPACING]
    text = " × ".join(f"{length:g}" for length in lengths)
    if given == "file":
        affine[:3, :3] *= scale
        found = ct.predict(save(tmp_path / "v.nii.gz", array, affine))
    else:
        found = ct.predict(array, axes="LPS" if given == "volume" else "NHW", spacing=lengths)
    told = f"its voxels are {text} mm large, as in no scan of a patient; if their unit is wrong, so is every volume"
    assert [text.partition(": ")[2] for text in found.warnings] == ([] if scale == 1 else [told])


def test_what_is_no_image_is_told(ct: Predictor) -> None:
    with pytest.raises(CaseUNetError, match=r"found builtins.dict"):
        ct.predict({"image": 1})
    with pytest.raises(CaseUNetError, match="are of arrays and tensors alone"):
        ct.predict(nib.Nifti1Image(*placed("LPS")), axes="LPS")
    array, affine = placed("LPS")
    holed = array.astype(np.float32)
    holed[0, 0, 0] = np.nan
    with pytest.raises(CaseUNetError, match="the nibabel image: holds 1 of 11,520 pixels that are NaN"):
        ct.predict(nib.Nifti1Image(holed, affine))
    with pytest.raises(CaseUNetError, match="the array: holds 1 of 11,520 pixels that are NaN"):
        ct.predict(holed, axes="LPS", spacing=SPACING)
    with pytest.raises(CaseUNetError, match="the Pillow image: an image file holds no Hounsfield units"):
        ct.predict(Image.new("L", (40, 40)))
    with pytest.raises(CaseUNetError, match="the Pillow image: of mode HSV, .* Give it as RGB"):
        ct.predict(Image.new("HSV", (40, 40)))
    with pytest.raises(CaseUNetError, match=r"the array: a masked one, .* Give array.filled\(value\)"):
        ct.predict(np.ma.masked_less(array, 0), axes="LPS", spacing=SPACING)
    with pytest.raises(CaseUNetError, match="take .labels"):
        ct.predict(np.zeros((40, 40), np.int16)).to_nibabel()


def test_remarks_are_logged(ct: Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_dicom(tmp_path / "raw", patients=1)
    (tmp_path / "raw/patient_0/notes.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        found = ct.predict(tmp_path / "raw")
    assert "beside DICOM series" in caplog.text
    assert found.warnings == tuple(record.getMessage() for record in caplog.records)


def test_segmentation_shows_itself_in_one_line(ct: Predictor) -> None:
    """15 · 8 · 4 voxels of 0.8 · 1.5 · 4 mm are 2.304 mL; without a spacing pixels are counted."""
    array, _ = placed("LPS")
    found = ct.predict(array, axes="LPS", spacing=SPACING)
    assert repr(found) == "<Segmentation 40 × 36 × 8: liver 2.3 mL, 0 warnings>"
    assert (
        repr(ct.predict(np.ascontiguousarray(array[..., 2]))) == "<Segmentation 40 × 36: liver 120 pixels, 0 warnings>"
    )


def test_segmentation_has_image_and_chances(ct: Predictor) -> None:
    array, affine = placed("SPL")
    for found in (
        ct.predict(array, axes="SPL", spacing=SPACING, probabilities=True),
        ct.predict(nib.Nifti1Image(array, affine), probabilities=True, postprocess=False),
    ):
        np.testing.assert_array_equal(found.image, array)
        assert found.probabilities is not None
        chance = found.probabilities["liver"]
        assert (chance.shape, chance.dtype, list(found.probabilities)) == (array.shape, np.float32, ["liver"])
        np.testing.assert_array_equal(chance > 0.5, array > 0)
    assert ct.predict(array, axes="SPL", spacing=SPACING).probabilities is None


def test_segmentation_plots_its_fullest_slice(ct: Predictor) -> None:
    """Slices 1 to 4 of the array are as full as each other, so the first of them is drawn, with its class's name."""
    array, _ = placed("LPS")
    found = ct.predict(array, axes="LPS", spacing=SPACING)
    figure = found.plot()
    assert figure.axes[0].get_title() == f"slice {int((found.canonical > 0).sum((1, 2)).argmax())} of 8"
    assert figure.axes[0].images[0].get_array().shape == (36, 40, 3)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["liver"]
    with pytest.raises(ValueError, match="There is no slice 8: the image has 0 to 7"):
        found.plot(8)


def test_a_real_scan_by_all_ways(ct: Predictor, real_data: Callable[[str], Path], tmp_path: Path) -> None:
    """A hippocampus MRI through a threshold: path, nibabel, SimpleITK and array give the command's mask."""
    predictor = Predictor(bundle(tmp_path / "b", CT.model_copy(update={"modality": "mr", "mean": (60.0,)})), "cpu")
    path = sorted(real_data("hippocampus/imagesTr").glob("hippocampus*.nii.gz"))[0]
    mask = np.asarray(nib.load(of_command(predictor, path, tmp_path / "out")).dataobj)
    assert mask.any()
    image = nib.load(path)
    codes, zooms = "".join(nib.aff2axcodes(image.affine)), image.header.get_zooms()
    np.testing.assert_array_equal(predictor.predict(path).labels, mask)
    np.testing.assert_array_equal(predictor.predict(image).labels, mask)
    np.testing.assert_array_equal(predictor.predict(image.get_fdata(), axes=codes, spacing=zooms).labels, mask)
    by_itk = predictor.predict(SimpleITK.ReadImage(str(path)))
    np.testing.assert_array_equal(by_itk.labels, mask.transpose(2, 1, 0))
