"""Prediction: the same from every door, and back in the source's geometry."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch

from caseunet import CaseUNetError, Predictor
from caseunet.bundle import Bundle
from caseunet.commands.evaluate import evaluate
from caseunet.commands.predict import predict
from caseunet.data import transforms
from caseunet.data.store import Prepared
from caseunet.imaging.body import find_body_box
from caseunet.io import images, nifti, raster
from caseunet.io.images import read_file_geometry, read_mask_file
from caseunet.models import create_model
from caseunet.options import PredictOptions
from caseunet.prediction import predictor as slice_predictor
from caseunet.prediction.inputs import find_inputs


@pytest.fixture(scope="module")
def predictor(lits_bundle: Bundle) -> Predictor:
    """Its head's last layer is made to follow the picture's brightness, so that masks have shape without training."""
    made = Predictor(lits_bundle.folder)
    torch.manual_seed(0)
    for parameter in made._networks[0][0].head.parameters():
        torch.nn.init.normal_(parameter)
    return made


def assert_equal_but_for_ties(first: np.ndarray, second: np.ndarray) -> None:
    """Other batch sizes round otherwise, which decides where two classes tie; a misplaced slice differs far more."""
    assert first.shape == second.shape
    assert np.mean(first != second) < 1e-3


def test_file_and_array_give_the_same(predictor: Predictor, lits_raw: Path) -> None:
    path = lits_raw / "volume-0.nii"
    from_file = predictor.predict(path)
    volume = nifti.read_nifti(path).pixels[:, 0]
    assert len(np.unique(from_file.labels)) > 1
    np.testing.assert_array_equal(from_file.canonical, predictor.predict(volume, axes="NHW").labels)
    np.testing.assert_array_equal(np.asarray(from_file), from_file.labels)
    assert_equal_but_for_ties(predictor.predict(volume[4]).labels, from_file.canonical[4])


def test_groups_of_slices_make_no_difference(
    predictor: Predictor, lits_raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = predictor.predict(lits_raw / "volume-0.nii").labels
    monkeypatch.setattr(transforms, "PIXELS_AT_ONCE", 48 * 40 * 3)
    assert_equal_but_for_ties(predictor.predict(lits_raw / "volume-0.nii").labels, whole)


@pytest.mark.parametrize("code", ["RAS", "LPS", "SAR", "PIL", "ILA"])
def test_orientation_of_file_makes_no_difference(
    code: str, predictor: Predictor, lits_raw: Path, tmp_path: Path
) -> None:
    source = nib.load(lits_raw / "volume-0.nii")
    here, there = nib.orientations.io_orientation(source.affine), nib.orientations.axcodes2ornt(code)
    turned = source.as_reoriented(nib.orientations.ornt_transform(here, there))
    nib.save(turned, tmp_path / "v.nii.gz")
    predictor.predict(tmp_path / "v.nii.gz").save(str(tmp_path / "mask.nii.gz"))
    mask, volume = nib.load(tmp_path / "mask.nii.gz"), nib.load(tmp_path / "v.nii.gz")
    assert mask.shape == volume.shape
    np.testing.assert_array_equal(mask.affine, volume.affine)
    assert mask.header.get_xyzt_units() == volume.header.get_xyzt_units()

    predictor.predict(lits_raw / "volume-0.nii").save(tmp_path / "reference.nii")
    back = nib.load(tmp_path / "mask.nii.gz").as_reoriented(nib.orientations.ornt_transform(there, here))
    np.testing.assert_array_equal(np.asarray(back.dataobj), np.asarray(nib.load(tmp_path / "reference.nii").dataobj))


def test_bad_inputs_are_named(predictor: Predictor, lits_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(CaseUNetError, match="none.nii: no such file"):
        predictor.predict(tmp_path / "none.nii")
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(CaseUNetError, match="notes.txt: cannot be read; expected a file that ends in .nii"):
        predictor.predict(tmp_path / "notes.txt")
    (tmp_path / "1.dcm.gz").write_bytes(b"")
    with pytest.raises(CaseUNetError, match=r"1.dcm.gz: is compressed by gzip. .*: unpack it first"):
        predictor.predict(tmp_path / "1.dcm.gz")
    raster.write_image(tmp_path / "rgb.png", np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(CaseUNetError, match="rgb.png: an image file holds no Hounsfield units"):
        predictor.predict(tmp_path / "rgb.png")
    with pytest.raises(CaseUNetError, match=r"\(2, 3, 4, 5\): expected \(H, W\)\. More axes do not tell which way"):
        predictor.predict(np.zeros((2, 3, 4, 5)))
    with pytest.raises(CaseUNetError, match='no backend "tensorflow"'):
        Predictor(lits_bundle, backend="tensorflow")
    with pytest.raises(CaseUNetError, match='device "quantum" cannot be used'):
        Predictor(lits_bundle, device="quantum")


def test_slices_smaller_than_the_network_needs_are_segmented(predictor: Predictor) -> None:
    assert predictor.predict(np.zeros((20, 40))).labels.shape == (20, 40)


def test_air_around_a_body_is_background_and_the_rest_as_if_cut_out(lits_bundle: Bundle, lits_raw: Path) -> None:
    """With crop_to_body the body's box is segmented as if it were the whole image, and put back where it was."""
    with_crop = lits_bundle.info.preprocessing.model_copy(update={"crop_to_body": True})
    cropping = Predictor(replace(lits_bundle, info=lits_bundle.info.model_copy(update={"preprocessing": with_crop})))
    pixels = np.full((2, 1, 160, 150), -1000, np.int16)
    pixels[:, :, 60:120, 50:100] = np.random.default_rng(0).integers(0, 200, (2, 1, 60, 50))
    box = find_body_box(pixels)
    assert box is not None
    top, left, bottom, right = box
    assert (top, left) != (0, 0)
    labels = cropping.predict_slices(pixels)
    inside = np.zeros_like(labels)
    inside[:, top:bottom, left:right] = Predictor(lits_bundle).predict_slices(pixels[..., top:bottom, left:right])
    np.testing.assert_array_equal(labels, inside)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_arrays_hold_numbers(predictor: Predictor, value: float) -> None:
    pixels = np.zeros((3, 40, 40), np.float32)
    pixels[2, 5, 5] = value
    with pytest.raises(CaseUNetError, match="the array: holds 1 of 4,800 pixels that are NaN or infinite"):
        predictor.predict(pixels, axes="NHW")
    with pytest.raises(CaseUNetError, match="slice 2: holds values that are no finite numbers"):
        predictor.predict_slices(pixels[:, None])


def test_logits_that_are_no_numbers_give_no_mask(
    lits_bundle: Bundle, lits_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One slice, the brightest, overflows; the image and the slice are named, and the other image goes on."""
    brightest = int(images.read_image_file(lits_raw / "volume-0.nii", False).pixels.max((1, 2, 3)).argmax())

    def overflowing(self: Predictor, gathered: torch.Tensor, *others: object) -> torch.Tensor:
        logits = torch.zeros(len(gathered), 3, *gathered.shape[-2:])
        logits[gathered.amax((1, 2, 3)) == highest, 1, 3, 3] = float("inf")
        return logits

    highest = images.read_image_file(lits_raw / "volume-0.nii", False).pixels.max()
    monkeypatch.setattr(slice_predictor.SlicePredictor, "_logits", overflowing)
    pixels = images.read_image_file(lits_raw / "volume-1.nii", False).pixels
    assert pixels.max() != highest
    files = [lits_raw / f"volume-{n}.nii" for n in range(2)]
    result = predict(lits_bundle.folder, files, out=tmp_path / "masks")
    assert [case.id for case in result.cases] == ["volume-1"]
    (failed,) = result.failed
    assert failed.error.startswith(f"{files[0]}: slice {brightest}: the network's logits are no finite numbers")
    assert not (tmp_path / "masks" / "volume-0.nii").exists()


def test_some_slices_are_those_of_the_whole(lits_bundle: Bundle) -> None:
    """With neighbours and statistics of the whole case, though only some slices are wanted."""
    p = lits_bundle.info.preprocessing
    preprocessing = p.model_copy(
        update={
            "context_slices": 1,
            "per_case_zscore": (True,),
            "intensity_window": (None,),
            "mean": (0.0,),
            "std": (1.0,),
        }
    )
    architecture = lits_bundle.info.architecture.model_copy(update={"in_channels": 3})
    model = create_model(architecture.name, 3, architecture.num_classes, **architecture.kwargs)
    info = lits_bundle.info.model_copy(update={"preprocessing": preprocessing, "architecture": architecture})
    predictor = Predictor(replace(lits_bundle, info=info, weights=model.state_dict()))
    pixels = np.random.default_rng(0).integers(-200, 900, (7, 1, 48, 40)).astype(np.int16)
    pixels[5:] += 2000  # what is not wanted tells too
    whole, wanted = predictor.label(predictor.cut(pixels)), [0, 3, 4]
    some = predictor.label(predictor.cut(pixels), wanted)
    np.testing.assert_array_equal(some[wanted], whole[wanted])
    assert len(np.unique(some[wanted])) > 1
    assert not some[[1, 2, 5, 6]].any()


def test_a_spacing_changes_what_an_array_is(lits_bundle: Bundle) -> None:
    """Pixels twice as large as the training data's are looked at in twice the size, and return at their own."""
    at_spacing = lits_bundle.info.preprocessing.model_copy(update={"spacing": (0.8, 0.8), "window": None})
    predictor = Predictor(replace(lits_bundle, info=lits_bundle.info.model_copy(update={"preprocessing": at_spacing})))
    seen = []
    predictor._networks[0][0].register_forward_hook(
        lambda module, given, result: seen.append(tuple(given[0].shape[-2:]))
    )
    assert predictor.predict(np.zeros((40, 48)), spacing=(1.6, 1.6)).labels.shape == (40, 48)
    assert predictor.predict(np.zeros((40, 48))).labels.shape == (40, 48)
    assert seen == [(80, 96), (48, 48)]  # training's patches were 48×40


def test_slicer_gets_the_names_of_segments(predictor: Predictor, lits_raw: Path, tmp_path: Path) -> None:
    result = predictor.predict(lits_raw / "volume-0.nii")
    result.save(tmp_path / "m.nii")
    result.save(tmp_path / "m.seg.nrrd")
    place = read_file_geometry(lits_raw / "volume-0.nii")
    found, wanted = (read_mask_file(tmp_path / name, place) for name in ("m.seg.nrrd", "m.nii"))
    assert found.names == {1: "liver", 2: "tumour"}
    assert wanted.label_values.any()
    np.testing.assert_array_equal(found.label_values, wanted.label_values)
    with pytest.raises(CaseUNetError, match="no position in a patient"):
        predictor.predict(np.zeros((2, 40, 40)), axes="NHW").save(tmp_path / "n.seg.nrrd")


def test_saving_checks_the_kind_of_file(predictor: Predictor, tmp_path: Path) -> None:
    result = predictor.predict(np.zeros((2, 40, 40)), axes="NHW")
    with pytest.raises(CaseUNetError, match="cannot be saved as a volume"):
        result.save(tmp_path / "m.nii")
    with pytest.raises(CaseUNetError, match=r"expected .nii, .nii.gz, .nrrd, .mha for a volume"):
        result.save(tmp_path / "m.png")


def test_what_a_folder_gives(lits_raw: Path, endovis_raw: Path, tmp_path: Path) -> None:
    assert [item.id for item in find_inputs([lits_raw])] == [f"volume-{n}" for n in range(4)]
    assert [item.id for item in find_inputs([endovis_raw])][:2] == ["seq_1/frame000", "seq_1/frame001"]
    for name in ("a/x.png", "a/y.JPG", "b/x.png", "readme.txt", ".hidden.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [item.id for item in find_inputs([tmp_path])] == ["a/x", "a/y", "b/x"]
    with pytest.raises(CaseUNetError, match='would both be written as "x"'):
        find_inputs([tmp_path / "a" / "x.png", tmp_path / "b" / "x.png"])
    with pytest.raises(CaseUNetError, match="no such file or folder"):
        find_inputs([tmp_path / "none"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CaseUNetError, match="holds no image"):
        find_inputs([tmp_path / "empty"])


def test_a_real_full_size_scan(lits_bundle: Bundle, real_data: Callable[[str], Path], tmp_path: Path) -> None:
    """Slices of CHAOS CT set 3, 512×512: the mask has their shape, affine and orientation."""
    source_path = tmp_path / "ct.nii.gz"
    nib.save(nib.load(real_data("chaos_ct_liver/images/volume_CT_SET_3.nii.gz")).slicer[:, :, :16], source_path)
    done = predict(lits_bundle.folder, [source_path], out=tmp_path / "out")
    source, mask = nib.load(source_path), nib.load(tmp_path / "out" / done.cases[0].file)
    assert mask.shape == source.shape
    np.testing.assert_allclose(mask.affine, source.affine, atol=1e-6)
    assert nib.aff2axcodes(mask.affine) == nib.aff2axcodes(source.affine)


def test_one_bad_image_does_not_stop_the_others(lits_bundle: Bundle, lits_raw: Path, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    for n in (0, 2):
        shutil.copy(lits_raw / f"volume-{n}.nii", tmp_path / "scans" / f"scan{n}.nii")
    (tmp_path / "scans" / "scan1.nii").write_bytes(b"damaged")
    done = predict(lits_bundle.folder, [tmp_path / "scans"], out=tmp_path / "out")
    assert [case.id for case in done.cases] == ["scan0", "scan2"]
    assert [case.id for case in done.failed] == ["scan1"]
    assert "scan1.nii: cannot be read as NIfTI" in done.failed[0].error


def test_training_images_are_recognised(
    lits_bundle: Bundle, lits_prepared: Prepared, lits_raw: Path, tmp_path: Path
) -> None:
    done = predict(lits_bundle.folder, [lits_raw], out=tmp_path / "out")
    assert {case.id for case in done.cases if case.in_training} == set(lits_prepared.fold(0).train)
    assert {case.training_case for case in done.cases if case.in_training} == set(lits_prepared.fold(0).train)


@pytest.mark.parametrize("how", ["gz", "nrrd", "float", "turned", "slice cut", "cropped"])
def test_a_saved_again_image_is_recognised(
    how: str, lits_bundle: Bundle, lits_prepared: Prepared, lits_raw: Path, tmp_path: Path
) -> None:
    trained, other = (next(iter(sorted(part))) for part in (lits_prepared.fold(0).train, lits_prepared.fold(0).val))
    (tmp_path / "in").mkdir()
    for name, case in (("a", trained), ("b", other)):
        image = nib.load(lits_raw / f"{case}.nii")
        path = tmp_path / "in" / f"{name}.nii.gz"
        if how == "nrrd":
            path = path.with_name(f"{name}.nrrd")
            SimpleITK.WriteImage(SimpleITK.ReadImage(str(lits_raw / f"{case}.nii")), str(path))
            continue
        if how == "float":
            image = nib.Nifti1Image(image.get_fdata(), image.affine)
        elif how == "turned":
            image = image.as_reoriented(np.array([[1, -1], [2, 1], [0, 1]]))
        elif how == "slice cut":
            image = nib.as_closest_canonical(image).slicer[:, :, 1:]
        elif how == "cropped":
            image = image.slicer[1:, :-2, 2:]
        nib.save(image, path)
    first, second = predict(lits_bundle.folder, [tmp_path / "in"], out=tmp_path / "out").cases
    assert first.training_case == trained
    assert first.in_training == (how not in ("slice cut", "cropped"))
    assert bool(first.looks_like) != first.in_training
    assert (second.in_training, second.training_case, second.seen) == (False, None, "")


def test_scores_of_known_images_are_cautioned(
    lits_bundle: Bundle, lits_prepared: Prepared, lits_raw: Path, tmp_path: Path
) -> None:
    """A training scan without its lowest slice, scored as if it were new."""
    trained = min(lits_prepared.fold(0).train)
    number = trained.removeprefix("volume-")
    (tmp_path / "raw").mkdir()
    for kind in ("volume", "segmentation"):
        image = nib.as_closest_canonical(nib.load(lits_raw / f"{kind}-{number}.nii"))
        nib.save(image.slicer[:, :, 1:], tmp_path / "raw" / f"{kind}-9.nii")
    predict(lits_bundle.folder, tmp_path / "raw", out=tmp_path / "out")
    caution = evaluate(tmp_path / "out", tmp_path / "raw", out=tmp_path / "report").summary.models[0].caution
    assert f"1 scored case may be known from training: volume-9 looks like training case {trained}" in caution


def test_masks_and_other_kinds_are_told(
    lits_bundle: Bundle, lits_raw: Path, tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    """A folder as people have it: a scan, its mask and an MR of the same patient, through a CT model."""
    (tmp_path / "in").mkdir()
    shutil.copy(lits_raw / "volume-0.nii", tmp_path / "in" / "scan.nii")
    shutil.copy(lits_raw / "segmentation-0.nii", tmp_path / "in" / "truth.nii")
    source = nib.load(lits_raw / "volume-0.nii")
    mr = np.clip(source.get_fdata() + 1000, 0, None) * 0.4
    nib.save(nib.Nifti1Image(mr.astype(np.uint16), source.affine), tmp_path / "in" / "mr.nii")
    (tmp_path / "in" / "slide.czi").touch()
    status, out, error = cli("predict", lits_bundle.folder, tmp_path / "in", "--out", tmp_path / "out")
    assert status == 2
    assert "1 of 2 images could not be segmented" in error
    assert "truth.nii: looks like a mask" in out
    assert "mr.nii: its values run from 0 to" in out
    assert sorted(path.name for path in (tmp_path / "out").glob("*.nii")) == ["scan.nii"]
    told = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [case["id"] for case in told["left_out"]] == ["slide", "truth"]
    with pytest.raises(CaseUNetError, match="truth.nii: looks like a mask"):
        predict(lits_bundle.folder, tmp_path / "in" / "truth.nii", out=tmp_path / "one")
    predictor = Predictor(lits_bundle)
    with pytest.raises(CaseUNetError, match="mr.nii: its values run from 0"):
        predictor.predict(tmp_path / "in" / "mr.nii")
    with pytest.raises(CaseUNetError, match="the array: its values run from 0"):
        predictor.predict(mr, axes="".join(nib.aff2axcodes(source.affine)), spacing=source.header.get_zooms())
    done = predict(
        lits_bundle.folder, tmp_path / "in" / "mr.nii", out=tmp_path / "one", options=PredictOptions(check_image=False)
    )
    quality = done.cases[0].quality
    assert quality is not None
    assert quality.is_first
    assert "none below -200 HU" in quality.reasons[0]


def test_earlier_masks_are_no_inputs(lits_bundle: Bundle, lits_raw: Path, tmp_path: Path) -> None:
    shutil.copy(lits_raw / "volume-0.nii", tmp_path / "scan.nii")
    predict(lits_bundle.folder, [tmp_path], out=tmp_path / "masks")
    again = predict(lits_bundle.folder, [tmp_path], out=tmp_path / "masks", mode="overwrite")
    assert [case.id for case in again.cases] == ["scan"]
    with pytest.raises(CaseUNetError, match="which is read"):
        predict(lits_bundle.folder, [tmp_path / "masks" / "scan.nii"], out=tmp_path / "masks", mode="overwrite")
    assert (tmp_path / "masks" / "scan.nii").exists()


def test_a_resized_prediction_lies_where_the_source_does(lits_bundle: Bundle, tmp_path: Path) -> None:
    """With a preprocessing size the network sees 64×64 and the mask returns at the source's size, in place."""
    bundle = shutil.copytree(lits_bundle.folder, tmp_path / "bundle")
    content = json.loads((bundle / "model.json").read_text())
    content["preprocessing"] |= {"size": [64, 64], "window": None}
    (bundle / "model.json").write_text(json.dumps(content))
    made = Predictor(bundle)
    sizes = []

    def brightness(x: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(x.shape[-2:]))
        return torch.stack([-x[:, 0], x[:, 0], torch.full_like(x[:, 0], -9e9)], 1)

    made._networks[0] = (brightness, made._networks[0][1])
    volume = np.full((2, 96, 128), -1000, np.int16)
    volume[:, 24:48, 64:96] = 1000
    labels = made.predict(volume, axes="NHW").labels
    assert sizes == [(64, 64)]
    assert labels.shape == volume.shape
    assert np.mean(labels != (volume > 0)) < 0.02


def test_frames_without_labels_json_can_be_predicted(endovis_raw: Path, tmp_path: Path) -> None:
    raw = shutil.copytree(endovis_raw, tmp_path / "raw")
    (raw / "labels.json").unlink()
    assert len(find_inputs([raw])) == 9
