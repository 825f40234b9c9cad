"""The verb: what it refuses, what it tells, and predictions as its source."""

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from caseunet.bundle import Bundle
from caseunet.commands.convert import convert
from caseunet.commands.predict import predict
from caseunet.config import PrepareConfig
from caseunet.datasets.generate import write_dicom
from caseunet.errors import CaseUNetError
from caseunet.io.dicom import read_series
from caseunet.io.geometry import distance_in_voxels
from caseunet.io.images import read_file_geometry, read_image_file, read_mask_file
from caseunet.options import ConvertOptions
from tests.datasets.exchange.sources import read_all, write_frames

Run = Callable[..., tuple[int, str, str]]


def test_the_verb_tells_what_it_wrote(cli: Run, tmp_path: Path) -> None:
    write_frames(tmp_path / "RAW")
    status, out, _ = cli("convert", tmp_path / "RAW", "--to", "yolo", "--out", tmp_path / "out")
    assert status == 0
    assert "there is no split" in out
    assert "4 cases as yolo" in out
    assert "there is no split" in (tmp_path / "out" / "log.txt").read_text()
    status, _, err = cli("convert", tmp_path / "RAW", "--to", "coco", "--out", tmp_path / "out")
    assert status == 2
    assert "--overwrite" in err
    status, out, _ = cli("convert", tmp_path / "RAW", "--to", "coco", "--out", tmp_path / "out", "--overwrite")
    assert status == 0
    assert not (tmp_path / "out" / "data.yaml").exists()


@pytest.mark.parametrize(
    ("to", "options", "told"),
    [
        ("cocoo", {}, 'Did you mean "coco"?'),
        ("coco", {"split": "none.csv"}, "none.csv: no such file"),
        ("coco", {"split": "split.csv", "fold": 2}, "The split has folds 0 to 1, not 2"),
    ],
)
def test_what_cannot_be_is_refused(
    to: str, options: dict[str, object], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_frames(Path("RAW"))
    Path("split.csv").write_text("case,fold\ncase1,0\ncase2,1\n")
    with pytest.raises(CaseUNetError, match=told):
        convert("RAW", to=to, out="out", options=ConvertOptions.model_validate(options))
    assert not Path("out").exists()


def test_a_window_must_rise() -> None:
    with pytest.raises(ValueError, match="window must rise, not run from 3 to 1"):
        ConvertOptions(window=(3, 1))


def test_regions_of_the_configuration_are_written(tmp_path: Path) -> None:
    write_frames(tmp_path / "RAW")
    config = PrepareConfig(regions={"thing": ("polyp", "tool", "long name"), "tool": ("tool",), "rest": ("long name",)})
    done = convert(tmp_path / "RAW", to="coco", out=tmp_path / "out", config=config)
    assert done.warnings == ("the regions thing, tool, rest are written as the classes that they consist of",)
    convert(tmp_path / "RAW", to="nnunet", out=tmp_path / "nnunet", config=config)
    assert '"thing"' in next((tmp_path / "nnunet").glob("*/dataset.json")).read_text()


@pytest.fixture(scope="module")
def predicted(lits_bundle: Bundle, lits_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("convert") / "predictions"
    predict(lits_bundle.folder, lits_raw, out=folder)
    return folder


@pytest.mark.parametrize("to", ["nnunet", "nifti", "seg.nrrd", "png", "coco"])
def test_predictions_are_converted(to: str, predicted: Path, tmp_path: Path) -> None:
    done = convert(predicted, to=to, out=tmp_path / "out")
    assert len(done.cases) == 4
    found = read_all(tmp_path / "out")
    for mask in predicted.glob("*.nii*"):
        labels = read_mask_file(mask, read_file_geometry(mask)).label_values
        assert labels.any()
        own = [found[name] for name in sorted(found) if name.startswith(mask.name.partition(".")[0])]
        for number, name in ((1, "liver"), (2, "tumour")):
            drawn = [case.get(name, np.zeros(next(iter(case.values())).shape, bool)) for case in own]
            np.testing.assert_array_equal(np.concatenate(drawn), labels == number)


def test_masks_alone_have_no_images_to_go_with(cli: Run, predicted: Path, tmp_path: Path) -> None:
    shutil.copytree(predicted, tmp_path / "moved")
    text = (tmp_path / "moved" / "predictions.json").read_text()
    (tmp_path / "moved" / "predictions.json").write_text(text.replace('"image": "', '"image": "/gone'))
    with pytest.raises(CaseUNetError, match="has no image that can be read, and coco needs it"):
        convert(tmp_path / "moved", to="coco", out=tmp_path / "out")
    done = convert(tmp_path / "moved", to="seg.nrrd", out=tmp_path / "out")
    assert len(done.cases) == 4
    assert not (tmp_path / "out" / "images").exists()
    assert "4 cases without an image (/gone" in done.warnings[0]
    assert "is not there): only the mask is written" in (tmp_path / "out" / "log.txt").read_text()
    status, out, _ = cli("convert", tmp_path / "moved", "--to", "nifti", "--out", tmp_path / "nifti")
    assert status == 0
    assert "only the mask is written" in out
    assert "caseunet prepare" not in out


@pytest.fixture(scope="module")
def of_series(lits_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of DICOM series, an axial and a coronal one."""
    folder = tmp_path_factory.mktemp("series")
    write_dicom(folder / "raw", patients=2)
    for path in folder.rglob("segmentation.dcm"):
        path.unlink()
    predict(lits_bundle.folder, folder / "raw", out=folder / "predictions")
    return folder


@pytest.mark.parametrize("to", ["nnunet", "nifti", "seg.nrrd", "png", "coco"])
def test_predictions_of_series_have_images(to: str, of_series: Path, tmp_path: Path) -> None:
    done = convert(of_series / "predictions", to=to, out=tmp_path / "out")
    assert not any("without an image" in text for text in done.warnings)
    found = read_all(tmp_path / "out")
    for mask in (of_series / "predictions").glob("*.nii.gz"):
        labels = read_mask_file(mask, read_file_geometry(mask)).label_values
        own = [found[name] for name in sorted(found) if name.startswith(mask.name.partition(".")[0])]
        if to in ("png", "coco"):
            assert own
            continue
        (case,) = own
        np.testing.assert_array_equal(case["liver"], labels == 1)
    if to == "nifti":
        for path in (tmp_path / "out" / "images").iterdir():
            series = sorted((of_series / "raw" / path.name.partition(".")[0]).glob("*.dcm"))
            wanted = read_series(series, "")
            found_image = read_image_file(path, rgb=False)
            np.testing.assert_array_equal(found_image.pixels, wanted.pixels)
            assert distance_in_voxels(found_image.geometry, wanted.geometry) < 0.01


@pytest.mark.parametrize("to", ["dicom-seg", "rtstruct"])
def test_predictions_become_no_hand_drawn_dicom(to: str, of_series: Path, tmp_path: Path) -> None:
    with pytest.raises(CaseUNetError, match=f"is a prediction, and {to} written here would name no model"):
        convert(of_series / "predictions", to=to, out=tmp_path / "out")


def test_pictures_are_cut_in_the_plane_of_volumes(tmp_path: Path) -> None:
    """Three sagittal scans of 5 slices 4 mm apart, and one of a single slice."""
    for n, slices in enumerate((5, 5, 1)):
        mask = np.zeros((slices, 30, 24), np.uint8)
        mask[:, 8:20, 6:15] = 1
        for part, array in (("images", 100 * mask.astype(np.int16) + n), ("masks", mask)):
            (tmp_path / "raw" / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([-4.0, -1, 1, 1])), tmp_path / "raw" / part / f"s{n}.nii.gz")
    convert(tmp_path / "raw", to="png", out=tmp_path / "png")
    sizes = [Image.open(path).size for path in sorted((tmp_path / "png" / "masks").glob("*.png"))]
    assert sizes == [(30, 24)] * 11
    convert(tmp_path / "raw", to="png", out=tmp_path / "axial", config=PrepareConfig(plane="axial"))
    assert len(list((tmp_path / "axial" / "masks").glob("*.png"))) == 24 + 24 + 1  # one slice stays that slice
