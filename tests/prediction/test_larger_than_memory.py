"""Volumes that lie on disk while they are segmented: all that is written of them is what is written of them held."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil
import pytest
import SimpleITK

from caseunet import CaseUNetError
from caseunet.commands.predict import dry_run, predict
from caseunet.datasets.generate.series import series
from caseunet.io import scratch, values
from caseunet.options import PredictOptions
from caseunet.prediction.resources import Budget
from caseunet.types import Preprocessing
from tests.io.test_nifti import volume_in
from tests.prediction.test_round_trips import CT, GREY, brightness_bundle, save

METAIMAGE = b"""ObjectType = Image
NDims = 3
DimSize = 256 256 300
ElementSpacing = 1 1 2
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""

ALL = {"measurements": True, "overlay": True, "probabilities": True}

KINDS: dict[str, Preprocessing] = {
    "plain": CT,
    "sagittal": CT.model_copy(update={"plane": "sagittal"}),
    "coronal": CT.model_copy(update={"plane": "coronal", "crop_to_body": True}),
    "cropped": CT.model_copy(update={"crop_to_body": True}),
    "resampled": CT.model_copy(update={"spacing": (1.1, 0.9)}),
    "between neighbours": CT.model_copy(update={"context_slices": 2}),
    "by case": CT.model_copy(update={"per_case_zscore": (True,)}),
}


def scan(dtype: str = "int16") -> np.ndarray:
    """Air around a body that is bright and dark, (Left, Posterior, Superior)."""
    rng = np.random.default_rng(0)
    hounsfield = np.full((52, 44, 9), -1000)
    hounsfield[14:40, 15:30] = rng.integers(-1, 2, (26, 15, 9)) * 150
    return (np.abs(hounsfield) // 6 if dtype == "uint8" else hounsfield).astype(dtype)


def write_scaled(path: Path) -> None:
    """Stored numbers, of which the header's slope and intercept make others that are not whole."""
    image = nib.Nifti1Image(scan(), np.diag([-0.8, 0.7, 2, 1]))
    image.header.set_slope_inter(0.25, -10)
    nib.save(nib.Nifti1Image(scan(), image.affine, image.header), path)


def write_big_endian(path: Path) -> None:
    image = volume_in("RSA", scan())
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header.as_byteswapped(">")), path)


def write_dicom(path: Path) -> None:
    path.mkdir()
    for number, dataset in enumerate(series(scan(), np.diag([-0.8, -0.7, 2, 1.0]), patient="P1", entropy="test")):
        dataset.save_as(path / f"{number}.dcm", enforce_file_format=True)


def write_nrrd(path: Path, dtype: str = "int16", compressed: bool = False) -> None:
    plain = save(path, scan(dtype), np.diag([0.8, -0.7, 2.0, 1]))
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(plain)), str(path), compressed)


FORMS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "LPS": ("v.nii", lambda path: nib.save(volume_in("LPS", scan()), path)),
    "RAS": ("v.nii.gz", lambda path: nib.save(volume_in("RAS", scan()), path)),
    "PIR": ("v.nii.gz", lambda path: nib.save(volume_in("PIR", scan()), path)),
    "fractions": ("v.nii.gz", lambda path: nib.save(volume_in("LAS", scan("float32") + 0.25), path)),
    "scaled": ("v.nii.gz", write_scaled),
    "big endian": ("v.nii", write_big_endian),
    "NRRD": ("v.nrrd", write_nrrd),
    "NRRD, gzip": ("v.nrrd", lambda path: write_nrrd(path, "float32", compressed=True)),
    "DICOM": ("scan", write_dicom),
}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return {
        kind: brightness_bundle(folder / kind.replace(" ", "-"), preprocessing)
        for kind, preprocessing in (KINDS | {"grey": GREY}).items()
    }


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """From its call on, every array of a case is a file, and blocks are less than a slice; gives the files' sizes."""
    allocate, sizes = scratch._Scratch.allocate, list[int]()

    def count(self: Any, size: int) -> Any:
        sizes.append(size)
        return allocate(self, size)

    def begin() -> list[int]:
        monkeypatch.setattr(scratch._Scratch, "allocate", count)
        monkeypatch.setattr(Budget, "admit", lambda *_: 1)
        monkeypatch.setattr(scratch, "MIN_BYTES", 1)
        monkeypatch.setattr(scratch, "BLOCK", 7_000)
        monkeypatch.setattr(scratch, "READ_BLOCK", 1_001)
        monkeypatch.setattr(values, "PIECE", 5_000)
        return sizes

    return begin


def written_by(bundle: Path, image: Path, out: Path, **options: Any) -> dict[str, Any]:
    """All files of a prediction, and what is said of its case."""
    predict(bundle, [image], out=out, options=PredictOptions(device="cpu", **(ALL | options)))
    found: dict[str, Any] = {path.name: path.read_bytes() for path in out.iterdir() if not path.name.endswith("html")}
    del found["log.txt"]  # times
    (case,) = json.loads(found.pop("predictions.json"))["cases"]
    return found | {"case": case | {"seconds": 0}}


def assert_alike(bundle: Path, image: Path, folder: Path, on_disk: Callable[[], list[int]]) -> None:
    held = written_by(bundle, image, folder / "held")
    sizes = on_disk()
    assert written_by(bundle, image, folder / "on disk") == held
    assert max(sizes) >= scan().size
    assert len(held) > 5
    assert [path for path in folder.rglob("*") if path.name.startswith((".partial", "tmp"))] == []


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_files(
    form: str, bundles: dict[str, Path], tmp_path: Path, on_disk: Callable[[], list[int]]
) -> None:
    name, write = FORMS[form]
    write(tmp_path / name)
    assert_alike(bundles["plain"], tmp_path / name, tmp_path, on_disk)


@pytest.mark.parametrize("kind", KINDS)
def test_every_preprocessing_gives_the_same(
    kind: str, bundles: dict[str, Path], tmp_path: Path, on_disk: Callable[[], list[int]]
) -> None:
    nib.save(volume_in("RAS", scan()), tmp_path / "v.nii.gz")
    assert_alike(bundles[kind], tmp_path / "v.nii.gz", tmp_path, on_disk)


@pytest.mark.parametrize("name", ["v.nii.gz", "v.nrrd"])
def test_bytes_give_the_same(
    name: str, bundles: dict[str, Path], tmp_path: Path, on_disk: Callable[[], list[int]]
) -> None:
    save(tmp_path / name, scan("uint8"), np.diag([0.8, -0.7, 2.0, 1]))
    assert_alike(bundles["grey"], tmp_path / name, tmp_path, on_disk)


@pytest.mark.parametrize("several", [False, True])
def test_channels_give_the_same(several: bool, tmp_path: Path, on_disk: Callable[[], list[int]]) -> None:
    """Of one file, and of files of their own."""
    two = Preprocessing(modality="mr", channels=2, mean=(0.0, 0.0), std=(1.0, 1.0))
    bundle = brightness_bundle(tmp_path / "bundle", two)
    channels, affine = (scan("float32") + 1500, scan("float32") * 0.3), np.diag([0.8, -0.7, 2.0, 1])
    (tmp_path / "images").mkdir()
    if several:
        for number, channel in enumerate(channels):
            save(tmp_path / "images" / f"v_{number:04d}.nii.gz", channel, affine)
    else:
        save(tmp_path / "images" / "v.nii.gz", np.stack(channels, axis=-1), affine)
    assert_alike(bundle, tmp_path / "images", tmp_path, on_disk)


def test_other_forms_say_what_to_do(bundles: dict[str, Path], tmp_path: Path, on_disk: Callable[[], list[int]]) -> None:
    save(tmp_path / "v.mha", scan(), np.diag([0.8, -0.7, 2.0, 1]))
    on_disk()
    with pytest.raises(CaseUNetError, match=r"v.mha: .* only read as a whole. Save it as NIfTI, or as"):
        predict(bundles["plain"], [tmp_path / "v.mha"], out=tmp_path / "out")


def write_long(path: Path, slices: int) -> Path:
    """Air around a body, (256, 256, slices), int16."""
    pixels = np.full((256, 256, slices), -1000, np.int16)
    pixels[40:200, 60:220] = np.random.default_rng(0).integers(-100, 200, (160, 160, slices))
    nib.save(nib.Nifti1Image(pixels, np.diag([1, -1, 3, 1])), path)
    return path


def test_costs_from_the_disk_are_told(bundles: dict[str, Path], tmp_path: Path) -> None:
    """What is too large goes to the disk where its kind allows, and is refused where it does not fit; by headers."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((256, 256, 8000))
    header.set_sform(np.diag([-1, -1, 2, 1]), 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    for name, text in (("v.nii", header.binaryblock), ("w.mha", METAIMAGE)):
        (tmp_path / name).write_bytes(text)
        os.truncate(tmp_path / name, 2**30)
    bundle, options = bundles["plain"], PredictOptions(device="cpu", measurements=True)
    (held, _), _ = dry_run(bundle, [tmp_path], options=options)
    assert held.disk == 0
    (cost, other), unfit = dry_run(bundle, [tmp_path], options=options.model_copy(update={"max_ram": held.memory // 2}))
    assert cost.disk >= 256 * 256 * 8000 * 8
    assert cost.memory <= held.memory // 2
    assert (other.disk, unfit) == (0, [])
    least = options.model_copy(update={"max_ram": psutil.Process().memory_info().rss + 2**25})
    _, (first, second) = dry_run(bundle, [tmp_path], options=least)
    assert "are allowed, even from the disk. Allow more" in first.error
    assert "are allowed. Only NIfTI, NRRD and DICOM volumes" in second.error


def test_a_promise_from_the_disk_is_kept(bundles: dict[str, Path], tmp_path: Path) -> None:
    """Of a process of its own, with the pages of files that the system may take back."""
    path = write_long(tmp_path / "v.nii.gz", 900)
    program = (
        "from pathlib import Path\n"
        "from caseunet.commands.predict import dry_run, predict\n"
        "from caseunet.options import PredictOptions\n"
        "from caseunet.prediction.resources import highest_memory\n"
        f"bundle, image = Path({str(bundles['cropped'])!r}), Path({str(path)!r})\n"
        f"out = Path({str(tmp_path / 'out')!r})\n"
        "options = PredictOptions(device='cpu', measurements=True, overlay=True)\n"
        "(held,), _ = dry_run(bundle, [image], options=options)\n"
        "options = options.model_copy(update={'max_ram': held.memory * 9 // 10})\n"
        "(cost,), _ = dry_run(bundle, [image], options=options)\n"
        "assert cost.disk\n"
        "Path('/proc/self/clear_refs').write_text('5')\n"
        "predict(bundle, [image], out=out, options=options)\n"
        "print(held.memory, cost.memory, highest_memory())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    held, promised, taken = map(int, done.stdout.split()[-3:])
    assert taken <= promised < held
    assert promised < 2 * taken
