"""Whole runs of ``caseunet predict``: mixed folders, resumed and killed runs, all outputs, real data.

The networks of these tests follow brightness, so that every mask is known beforehand.
"""

import csv
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
import torch
from PIL import Image

from caseunet.commands.predict import predict
from caseunet.datasets.generate.series import series
from caseunet.io import video
from caseunet.prediction import run as pipeline
from caseunet.prediction.case import predict_case
from caseunet.prediction.store import JOURNAL
from caseunet.progress import LOG
from tests.prediction.test_round_trips import CLASSES, CT, GREY, PLACES, RGB, brightness_bundle, laid, read, save

Run = Callable[..., tuple[int, str, str]]

HU = CT.model_copy(update={"std": (100.0,)})
"""The network sees HU / 100."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Images so small are done before a second thread has begun."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Liver is above 0 HU, tumour above 100."""
    return brightness_bundle(tmp_path_factory.mktemp("ct"), HU, (0.0, 1.0))


@pytest.fixture(scope="module")
def rgb_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Liver is where red is above 100."""
    return brightness_bundle(tmp_path_factory.mktemp("rgb"), RGB)


def scan(seed: int, shape: tuple[int, int, int] = (40, 36, 3)) -> np.ndarray:
    """HU (i, j, k): rectangles of liver with some tumour, and noise that stays 20 HU away from both thresholds."""
    rng = np.random.default_rng(seed)
    hounsfield = np.full(shape, -90)
    first, second = rng.integers(3, 12, 2)
    hounsfield[first : first + 20, second : second + 16] = 50
    hounsfield[first + 4 : first + 10, second + 5 : second + 11, 1:] = 150
    return (hounsfield + rng.integers(-30, 31, shape)).astype(np.int16)


def classes(hounsfield: np.ndarray) -> np.ndarray:
    return (hounsfield > 0).astype(np.uint8) + (hounsfield > 100)


def write_series(folder: Path, hounsfield: np.ndarray, affine: np.ndarray) -> None:
    folder.mkdir(parents=True)
    slices = series(hounsfield, affine, patient="P1", entropy="test")
    for name, dataset in zip("cabdefgh", slices, strict=False):
        dataset.save_as(folder / f"{name}.dcm", enforce_file_format=True)


def write_zip(path: Path, folder: Path) -> None:
    with ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    shutil.rmtree(folder)


MIXED = {
    "a": "a.nii.gz",
    "b": "b.nrrd",
    "c": "c.mha",
    "pair/x": "pair/x.nii.gz",
    "pair/y": "pair/y.nii.gz",
    "scan": "scan.nii.gz",
}
"""{case: its mask}."""


@pytest.fixture
def mixed(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A folder of every kind of file, one of them damaged, and the classes of the six that are not."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    scans = {case: scan(seed) for seed, case in enumerate(MIXED)}
    for case in ("a", "b", "c"):
        save(folder / MIXED[case], scans[case], PLACES["oblique"])
    (folder / "pair").mkdir()
    for case in ("pair/x", "pair/y"):
        save(folder / MIXED[case], scans[case], PLACES["scanner"])
    write_zip(folder / "pair.zip", folder / "pair")
    write_series(folder / "scan" / "series", scans["scan"], PLACES["scanner"])
    write_zip(folder / "scan.zip", folder / "scan")
    content = save(folder / "damaged.nii.gz", scans["a"], PLACES["scanner"]).read_bytes()
    (folder / "damaged.nii.gz").write_bytes(content[: len(content) // 2])
    return folder, {case: classes(scans[case]) for case in scans}


def assert_is(mask: Path, expected: np.ndarray, affine: np.ndarray) -> None:
    found, place = read(mask)
    np.testing.assert_array_equal(laid(found, place, affine, expected.shape), expected)


def files_of(folder: Path) -> dict[str, bytes]:
    """All but the log, which tells the time."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != LOG)
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def described(folder: Path) -> dict[str, Any]:
    """predictions.json without what differs from run to run."""
    content = json.loads((folder / "predictions.json").read_text())
    for case in content["cases"]:
        del case["seconds"]
    return content


def times_of(folder: Path) -> dict[str, int]:
    return {case: (folder / file).stat().st_mtime_ns for case, file in MIXED.items()}


def test_a_mixed_folder_with_a_damaged_file(
    cli: Run, bundle: Path, mixed: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    folder, expected = mixed
    status, out, err = cli("predict", bundle, folder, "--out", tmp_path / "out")
    assert status == 2
    assert "1 of 7 images could not be segmented" in err
    assert f"{folder / 'damaged.nii.gz'}: its voxels cannot be read" in out
    assert out.count("damaged.nii.gz") == 1
    for case in expected:
        place = PLACES["oblique" if case in ("a", "b", "c") else "scanner"]
        assert_is(tmp_path / "out" / MIXED[case], expected[case], place)
    content = described(tmp_path / "out")
    assert {case["id"]: case["file"] for case in content["cases"]} == MIXED
    assert [(case["id"], case["image"]) for case in content["failed"]] == [("damaged", str(folder / "damaged.nii.gz"))]
    assert set(files_of(tmp_path / "out")) == {*MIXED.values(), "predictions.json", ".caseunet"}


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of caseunet, which images called b meet."""

    def predict_or_fail(work: Any, item: Any, advance: Any) -> Any:
        return {}["missing"] if item.id.startswith("b") else predict_case(work, item, advance)

    monkeypatch.setattr(pipeline, "predict_case", predict_or_fail)


def test_a_defect_stops_its_own_image_alone(
    cli: Run, bundle: Path, mixed: tuple[Path, dict[str, np.ndarray]], tmp_path: Path, defect: None
) -> None:
    folder, _ = mixed
    status, out, err = cli("predict", bundle, folder, "--out", tmp_path / "out")
    assert status == 3
    assert "b.nrrd: a defect of caseunet: KeyError: 'missing'" in out
    assert "This is a defect of caseunet. Run again with --debug" in err
    assert "Traceback" not in out + err
    content = described(tmp_path / "out")
    assert {case["id"] for case in content["cases"]} == {*MIXED} - {"b"}
    traces = {case["id"]: case["traceback"] for case in content["failed"]}
    assert traces["damaged"] is None
    assert traces["b"].startswith("Traceback (most recent call last)")
    with pytest.raises(RuntimeError, match=r"b.nrrd: a defect .* KeyError") as raised:
        cli("predict", bundle, folder, "--out", tmp_path / "out", "--resume", "--debug")
    assert "in predict_or_fail" in raised.value.__notes__[0]


def test_a_defect_of_all_images_is_raised(
    bundle: Path, mixed: tuple[Path, dict[str, np.ndarray]], tmp_path: Path, defect: None
) -> None:
    for name in ("b1.nii.gz", "b2.nii.gz"):
        shutil.copy(mixed[0] / "a.nii.gz", tmp_path / name)
    with pytest.raises(KeyError, match="missing"):
        predict(bundle, [tmp_path / "b1.nii.gz"], out=tmp_path / "out")
    with pytest.raises(RuntimeError, match="b1.nii.gz: a defect .* KeyError: 'missing', and 1 more"):
        predict(bundle, [tmp_path / "b1.nii.gz", tmp_path / "b2.nii.gz"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_done_is_not_done_again(
    cli: Run, bundle: Path, mixed: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    folder, _ = mixed
    out = tmp_path / "out"
    assert cli("predict", bundle, folder, "--out", out)[0] == 2
    first, before = times_of(out), files_of(out)
    assert cli("predict", bundle, folder, "--out", out)[0] == 2, "nothing is replaced unasked"
    status, said, _ = cli("predict", bundle, folder, "--out", out, "--resume")
    assert status == 2, "the damaged one is tried again"
    assert "6 images had been segmented before" in said
    assert times_of(out) == first

    (out / MIXED["b"]).unlink()
    save(folder / "c.mha", scan(9), PLACES["oblique"])
    shutil.copy(folder / "a.nii.gz", folder / "damaged.nii.gz")  # mended
    status, said, err = cli("predict", bundle, folder, "--out", out, "--resume")
    assert (status, err) == (0, "")
    assert "4 images had been segmented before" in said
    assert {case for case, time in times_of(out).items() if time != first[case]} == {"b", "c"}
    assert (out / MIXED["b"]).read_bytes() == before[MIXED["b"]]
    assert_is(out / MIXED["c"], classes(scan(9)), PLACES["oblique"])
    assert (out / "damaged.nii.gz").read_bytes() == before[MIXED["a"]]
    content = described(out)
    assert {case["id"] for case in content["cases"]} == {*MIXED, "damaged"}
    assert not content["failed"]


def test_a_folder_is_resumed_with_the_same_settings_alone(
    cli: Run, bundle: Path, mixed: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    cli("predict", bundle, mixed[0], "--out", out)
    before = files_of(out)
    status, _, err = cli("predict", bundle, mixed[0], "--out", out, "--resume", "--tta-flip")
    assert status == 2
    assert "other settings: precision fp32, tta_flip False" in err
    assert "then, precision fp32, tta_flip True" in err
    status, _, err = cli("predict", bundle, mixed[0], "--out", out, "--resume", "--overwrite")
    assert status == 2
    assert "choose one" in err
    assert files_of(out) == before


def test_no_mask_is_left_of_an_image_that_can_no_longer_be_read(
    cli: Run, bundle: Path, mixed: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    cli("predict", bundle, mixed[0], "--out", tmp_path / "out")
    (mixed[0] / "a.nii.gz").write_bytes(b"damaged")
    cli("predict", bundle, mixed[0], "--out", tmp_path / "out", "--resume")
    assert [case["id"] for case in described(tmp_path / "out")["failed"]] == ["a", "damaged"]
    assert not (tmp_path / "out" / "a.nii.gz").exists()


KILLED = """
import json, os, signal, sys
from pathlib import Path
import torch
from caseunet.cli import main
from caseunet.commands import predict
from caseunet.prediction.store import Journal

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def in_the_third_mask():
    rename = os.replace
    os.replace = lambda old, new: die() if Path(new).name == "c.mha" else rename(old, new)

def before_its_line_of_the_journal():
    add = Journal.add
    Journal.add = lambda self, case: die() if case.id == "c" else add(self, case)

def in_its_line_of_the_journal():
    add = Journal.add
    def begun(self, case):
        if case.id == "c":
            with self._path.open("a") as stream:
                stream.write('{"id": "c", "ima')
            die()
        add(self, case)
    Journal.add = begun

def before_the_description():
    Journal.close = lambda self, info: die()

torch.set_num_threads(1)
points, options = json.loads(sys.argv[1]), sys.argv[2:]
for point in points:  # forked, for torch takes seconds to load
    child = os.fork()
    if child == 0:
        globals()[point]()
        main([*options, "--out", point])
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, point
"""

POINTS = [
    "in_the_third_mask",
    "before_its_line_of_the_journal",
    "in_its_line_of_the_journal",
    "before_the_description",
]
OPTIONS = ("--overlay", "--measurements", "--probabilities", "--device", "cpu")


@pytest.fixture(scope="module")
def killed(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scans, ``scans/``, and what is left of a run on them that was killed, in a folder for each point."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "scans").mkdir()
    for seed, name in enumerate(("a.nii.gz", "b.nrrd", "c.mha", "d.nii.gz")):
        save(folder / "scans" / name, scan(seed, (40, 36, 2)), PLACES["oblique"])
    arguments = [json.dumps(POINTS), "predict", str(bundle), "scans", *OPTIONS]
    subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=folder, check=True, timeout=120)
    return folder


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_ends_as_an_unbroken_one(
    point: str, cli: Run, bundle: Path, killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(killed)
    out = shutil.copytree(killed / point, tmp_path / "out")
    whole = {mask for mask in ("a.nii.gz", "b.nrrd", "c.mha", "d.nii.gz") if (out / mask).exists()}
    assert {"a.nii.gz", "b.nrrd"} <= whole
    for seed, mask in enumerate(("a.nii.gz", "b.nrrd", "c.mha", "d.nii.gz")):
        if mask in whole:
            assert_is(out / mask, classes(scan(seed, (40, 36, 2))), PLACES["oblique"])
    assert not (out / "predictions.json").exists()
    status, _, err = cli("evaluate", out, "scans", "--out", tmp_path / "report")
    assert status == 2
    assert "is not finished" in err
    status, said, err = cli("predict", bundle, "scans", *OPTIONS, "--out", out, "--resume")
    assert (status, err) == (0, "")
    assert f"{4 if point == 'before_the_description' else 2} images had been segmented before" in said

    assert cli("predict", bundle, "scans", *OPTIONS, "--out", tmp_path / "unbroken")[0] == 0
    left, expected = files_of(out), files_of(tmp_path / "unbroken")
    assert {name for name in left if not name.startswith(".partial-")} == set(expected)
    assert described(out) == described(tmp_path / "unbroken")
    for name in set(expected) - {"predictions.json"}:
        assert left[name] == expected[name], name


def test_nothing_half_written_is_left_when_a_killed_run_was_resumed(
    cli: Run, bundle: Path, killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(killed)
    out = shutil.copytree(killed / "in_the_third_mask", tmp_path / "out")
    assert cli("predict", bundle, "scans", *OPTIONS, "--out", out, "--resume")[0] == 0
    assert not list(out.glob(".partial-*"))


class Stopped(BaseException):
    """As of a person who presses the keys for it."""


def stop_after(monkeypatch: pytest.MonkeyPatch, cases: int) -> None:
    """The next run is stopped when it begins with the case after so many."""
    left = [cases]

    def one(*arguments: Any) -> Any:
        if left[0] == 0:
            monkeypatch.setattr(pipeline, "predict_case", whole)
            raise Stopped
        left[0] -= 1
        return whole(*arguments)

    whole = pipeline.predict_case
    monkeypatch.setattr(pipeline, "predict_case", one)


@pytest.fixture
def four(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed, name in enumerate(("a.nii.gz", "b.nii.gz", "c.nii.gz", "d.nii.gz")):
        save(folder / name, scan(seed, (40, 36, 2)), PLACES["oblique"])
    return folder


def test_a_run_can_be_stopped_again_and_again(
    cli: Run, bundle: Path, four: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for done in range(3):
        stop_after(monkeypatch, 1)
        with pytest.raises(Stopped):
            cli("predict", bundle, four, "--out", tmp_path / "out", *(("--resume",) if done else ()))
        assert len(list((tmp_path / "out").glob("*.nii.gz"))) == done + 1
    status, said, _ = cli("predict", bundle, four, "--out", tmp_path / "out", "--resume")
    assert status == 0
    assert "3 images had been segmented before" in said
    assert not (tmp_path / "out" / JOURNAL).exists()


def test_a_journal_cut_in_a_line_can_be_gone_on_with_twice(
    cli: Run, bundle: Path, four: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(monkeypatch, 2)
    with pytest.raises(Stopped):
        cli("predict", bundle, four, "--out", tmp_path / "out")
    journal = tmp_path / "out" / JOURNAL
    journal.write_text(journal.read_text()[:-20])
    stop_after(monkeypatch, 2)
    with pytest.raises(Stopped):
        cli("predict", bundle, four, "--out", tmp_path / "out", "--resume")
    status, said, err = cli("predict", bundle, four, "--out", tmp_path / "out", "--resume")
    assert (status, err) == (0, "")
    assert "3 images had been segmented before" in said


def test_a_finished_run_that_is_resumed_and_stopped_forgets_nothing(
    cli: Run, bundle: Path, four: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("predict", bundle, four, "--out", tmp_path / "out")
    for name in ("a.nii.gz", "b.nii.gz"):
        (tmp_path / "out" / name).unlink()
    stop_after(monkeypatch, 1)
    with pytest.raises(Stopped):
        cli("predict", bundle, four, "--out", tmp_path / "out", "--resume")
    status, said, _ = cli("predict", bundle, four, "--out", tmp_path / "out", "--resume")
    assert status == 0
    assert "3 images had been segmented before" in said


def test_dicom_beside_other_files_hides_none_of_them(cli: Run, bundle: Path, four: Path, tmp_path: Path) -> None:
    write_series(four / "series", scan(8), PLACES["scanner"])
    assert cli("predict", bundle, four, "--out", tmp_path / "out")[0] == 0
    assert {case["id"] for case in described(tmp_path / "out")["cases"]} == {"a", "b", "c", "d", "series"}


def test_a_series_that_segmentations_cannot_refer_to(cli: Run, bundle: Path, tmp_path: Path) -> None:
    """Its mask is written all the same, and the remark names the element that is missing."""
    write_series(tmp_path / "scan", scan(0), PLACES["scanner"])
    for path in (tmp_path / "scan").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID = ""
        dataset.save_as(path)
    status, said, _ = cli("predict", bundle, tmp_path / "scan", "--out", tmp_path / "out", "--dicom-seg")
    assert status == 0
    (case,) = described(tmp_path / "out")["cases"]
    assert (case["file"], case["others"]) == ("scan.nii.gz", {})
    assert "its mask is written, but it cannot be written as a DICOM segmentation" in case["remarks"][0]
    assert "it has no StudyInstanceUID" in " ".join(said.split())


def test_a_dry_run_names_each_case_and_writes_nothing(
    cli: Run, bundle: Path, mixed: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    """Damage behind a header cannot be seen from it, that of a header can."""
    (mixed[0] / "text.nii").write_text("no image")
    before = files_of(tmp_path)
    options = ("--overlay", "--measurements", "--probabilities", "--dry-run")
    status, said, err = cli("predict", bundle, mixed[0], "--out", tmp_path / "out", *options)
    assert status == 2
    assert "could not be segmented" in err
    assert f"{mixed[0] / 'text.nii'}: cannot be read as NIfTI" in said
    assert "nothing was written" in said
    rows = {row.split()[0]: tuple(row.split()[1:3]) for row in said.splitlines() if row}
    assert {case: rows[case] for case in MIXED} == dict.fromkeys(MIXED, ("3", "36×40"))
    assert files_of(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_too_little_memory_is_said_before_anything_is_written(
    cli: Run, bundle: Path, four: Path, tmp_path: Path
) -> None:
    before = files_of(tmp_path)
    status, _, err = cli("predict", bundle, four, "--out", tmp_path / "out", "--max-ram", "50MB")
    assert status == 2
    assert "The network and the libraries alone hold" in err
    assert "48 MiB are allowed" in err
    assert err.lower().count("error") == 1
    status, _, err = cli("predict", bundle, four, "--out", tmp_path / "out", "--max-ram", "50MB", "--dry-run")
    assert status == 2
    assert files_of(tmp_path) == before
    assert not (tmp_path / "out").exists()
    assert cli("predict", bundle, four, "--out", tmp_path / "out", "--max-ram", "64GB")[0] == 0


def test_measurements_count_voxels_of_their_size(cli: Run, bundle: Path, four: Path, tmp_path: Path) -> None:
    """A voxel has 0.7 · 0.8 · 2.5 = 1.4 mm³."""
    assert cli("predict", bundle, four, "--out", tmp_path / "out", "--measurements")[0] == 0
    with (tmp_path / "out" / "measurements.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["case"], row["structure"]) for row in rows] == [
        (case, structure) for case in "abcd" for structure in ("liver", "tumour")
    ]
    for row in rows:
        expected = classes(scan("abcd".index(row["case"]), (40, 36, 2)))
        voxels = np.count_nonzero(expected == (1 if row["structure"] == "liver" else 2))
        assert int(row["voxels"]) == voxels
        assert float(row["volume_ml"]) == pytest.approx(voxels * 1.4e-3, rel=1e-4)
    assert [row["voxels"] for row in json.loads((tmp_path / "out" / "measurements.json").read_text())] == [
        int(row["voxels"]) for row in rows
    ]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_skewed_axes_are_measured_and_told(cli: Run, bundle: Path, tmp_path: Path, suffix: str) -> None:
    """A voxel has |det| = 0.7 · 0.8 · 2.5 mm³; the product of its edges is 1.496. The mask lies as the scan."""
    hounsfield, place = scan(0), PLACES["sheared"]
    save(tmp_path / f"a{suffix}", hounsfield, place)
    status, said, _ = cli("predict", bundle, tmp_path / f"a{suffix}", "--out", tmp_path / "out", "--measurements")
    assert status == 0
    assert "its axes are not orthogonal (110.6, 90 and 92.1 degrees between them)" in " ".join(said.split())
    assert_is(tmp_path / "out" / f"a{suffix}", classes(hounsfield), place)
    voxels = [np.count_nonzero(classes(hounsfield) == n) for n in (1, 2)]
    (case,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["cases"]
    assert [row["volume_ml"] for row in case["measurements"]] == pytest.approx([n * 1.4e-3 for n in voxels], rel=1e-4)


def test_a_2d_nifti_is_measured_without_volumes(cli: Run, bundle: Path, tmp_path: Path) -> None:
    """Its header tells no thickness: lengths and shares of the image count, and no volume is made up."""
    hounsfield = scan(0)[:, :, 2]
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(hounsfield.T))
    image.SetSpacing((0.7, 0.8))
    SimpleITK.WriteImage(image, str(tmp_path / "a.nii.gz"))
    status, said, _ = cli("predict", bundle, tmp_path / "a.nii.gz", "--out", tmp_path / "out", "--measurements")
    assert (status, "its volumes in millilitres are not known" in " ".join(said.split())) == (0, True)
    (case,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["cases"]
    liver = case["measurements"][0]
    assert (liver["volume_ml"], liver["largest_component_ml"]) == (None, None)
    assert liver["area_share"] == pytest.approx(liver["voxels"] / hounsfield.size)
    assert liver["longest_diameter_mm"] > 0


def test_skewed_axes_are_scored_and_told(cli: Run, tmp_path: Path) -> None:
    """Liver in one voxel, predicted 1 voxel on along the first and the second axis: √(0.4² + 0.8²) mm, where edges
    at right angles would make √(0.7² + 0.73)."""
    for folder, at in (("data/images", None), ("data/masks", (4, 5, 1)), ("theirs", (5, 6, 1))):
        (tmp_path / folder).mkdir(parents=True)
        array = scan(0) if at is None else np.zeros((40, 36, 3), np.uint8)
        if at is not None:
            array[at] = 1
        save(tmp_path / folder / "a.nii.gz", array, PLACES["sheared"])
    status, _, err = cli("evaluate", tmp_path / "theirs", tmp_path / "data", "--out", tmp_path / "report")
    assert (status, err) == (0, "")
    assert "not orthogonal" in (tmp_path / "report" / "summary.json").read_text()
    with (tmp_path / "report" / "cases.csv").open() as stream:
        row = next(csv.DictReader(stream))
    assert float(row["hd95"]) == pytest.approx(math.sqrt(0.8), rel=1e-4)
    assert float(row["reference_ml"]) == pytest.approx(1.4e-3, rel=1e-4)
    cli("audit", tmp_path / "data", "--out", tmp_path / "audit")
    assert "not orthogonal" in (tmp_path / "audit" / "audit.json").read_text()


def test_probabilities_tell_the_mask(cli: Run, bundle: Path, four: Path, tmp_path: Path) -> None:
    """The largest of them and of what they leave to the background is the mask's class; on its very grid."""
    assert cli("predict", bundle, four, "--out", tmp_path / "out", "--probabilities")[0] == 0
    for case in described(tmp_path / "out")["cases"]:
        mask = nib.load(tmp_path / "out" / case["file"])
        files = [nib.load(tmp_path / "out" / case["others"][f"probability of {name}"]) for name, _ in CLASSES[1:]]
        for file in files:
            np.testing.assert_allclose(file.affine, mask.affine, atol=1e-6)
        found = np.stack([file.get_fdata() for file in files])
        assert found.min() >= 0
        assert found.max() <= 1
        whole = np.concatenate([1 - found.sum(axis=0, keepdims=True), found])
        assert whole[0].min() > -1e-4
        np.testing.assert_array_equal(whole.argmax(axis=0), np.asarray(mask.dataobj))
        hounsfield = scan("abcd".index(case["id"]), (40, 36, 2)) / 100
        logits = np.stack([0 * hounsfield, hounsfield, 2 * hounsfield - 1])
        expected = np.exp(logits) / np.exp(logits).sum(axis=0)
        np.testing.assert_allclose(found, expected[1:], atol=2e-5)


def test_overlays_and_a_page_of_them(
    cli: Run, bundle: Path, mixed: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    status, said, _ = cli("predict", bundle, mixed[0], "--out", tmp_path / "out", "--overlay")
    assert status == 2
    assert f"look    {tmp_path / 'out' / 'preview.html'}" in said
    page = (tmp_path / "out" / "preview.html").read_text()
    for case in described(tmp_path / "out")["cases"]:
        overlay = case["others"]["overlay"]
        assert Image.open(tmp_path / "out" / overlay).mode == "RGB"
        assert f'"{overlay}"' in page
        assert f">{case['id']}<" in page
    assert "damaged" in page


def write_film(path: Path, frames: int = 5) -> None:
    """A bright square that walks to the right, 12 frames a second."""
    path.parent.mkdir(exist_ok=True)
    with video.write_video(path, Fraction(12), 48, 64) as film:
        for number in range(frames):
            frame = np.full((48, 64, 3), 40, np.uint8)
            frame[12:36, 8 * number : 8 * number + 16] = 180
            film.write(frame)


def test_a_video_becomes_a_mask_for_each_frame(cli: Run, rgb_bundle: Path, tmp_path: Path) -> None:
    write_film(tmp_path / "film.mp4")
    status, _, err = cli("predict", rgb_bundle, tmp_path / "film.mp4", "--out", tmp_path / "out", "--overlay")
    assert (status, err) == (0, "")
    frames = list(video.read_frames(tmp_path / "film.mp4"))
    masks = sorted((tmp_path / "out" / "film").iterdir())
    assert [mask.name for mask in masks] == [f"frame_{number:06d}.png" for number in range(5)]
    for frame, mask in zip(frames, masks, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(mask)), frame[..., 0] > 100)
    overlay = list(video.read_frames(tmp_path / "out" / "film-overlay.mp4"))
    assert [frame.shape for frame in overlay] == [frame.shape for frame in frames]
    assert video.read_facts(tmp_path / "out" / "film-overlay.mp4").rate == 12
    with (tmp_path / "out" / "timeline.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert (row["case"], row["structure"], row["start_frame"], row["end_frame"]) == ("film", "liver", "0", "5")
    assert float(row["end_seconds"]) == pytest.approx(5 / 12, rel=1e-4)
    assert float(row["mean_area_share"]) == pytest.approx(24 * 16 / (48 * 64), rel=0.05)
    page = (tmp_path / "out" / "preview.html").read_text()
    assert '"film-overlay.mp4"' in page
    arguments = ("predict", rgb_bundle, tmp_path / "film.mp4", "--out", tmp_path / "out", "--overlay", "--resume")
    assert "1 image had been segmented before" in cli(*arguments)[1]


def test_a_changed_video_is_done_again(cli: Run, rgb_bundle: Path, tmp_path: Path) -> None:
    for frames in (5, 7):
        write_film(tmp_path / "film.mp4", frames)
        assert cli("predict", rgb_bundle, tmp_path / "film.mp4", "--out", tmp_path / "out", "--resume")[0] == 0
        assert len(list((tmp_path / "out" / "film").glob("frame_*.png"))) == frames


def test_a_video_beside_a_folder_of_its_name(cli: Run, rgb_bundle: Path, tmp_path: Path) -> None:
    """Either both are segmented, or it is said before anything is written that they cannot be."""
    write_film(tmp_path / "films" / "film.mp4")
    (tmp_path / "films" / "film").mkdir()
    Image.fromarray(np.full((48, 64, 3), 180, np.uint8)).save(tmp_path / "films" / "film" / "still.png")
    status, _, err = cli("predict", rgb_bundle, tmp_path / "films", "--out", tmp_path / "out")
    if status == 0:
        assert (tmp_path / "out" / "film" / "still.png").exists()
    else:
        assert "Errno" not in err
        assert not (tmp_path / "out").exists()


def test_no_picture_is_written_over_another_mask(cli: Run, rgb_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.png", "a-overlay.png"):
        Image.fromarray(np.full((48, 64, 3), 180, np.uint8)).save(tmp_path / "images" / name)
    status, _, err = cli("predict", rgb_bundle, tmp_path / "images", "--out", tmp_path / "out", "--overlay")
    if status == 0:
        assert all(
            Image.open(tmp_path / "out" / case["file"]).mode == "P" for case in described(tmp_path / "out")["cases"]
        )
    else:
        assert "a-overlay" in err


def test_a_cut_video_leaves_nothing(cli: Run, rgb_bundle: Path, tmp_path: Path) -> None:
    write_film(tmp_path / "films" / "whole.mp4")
    content = (tmp_path / "films" / "whole.mp4").read_bytes()
    (tmp_path / "films" / "cut.mp4").write_bytes(content[: len(content) - 300])
    status, said, _ = cli("predict", rgb_bundle, tmp_path / "films", "--out", tmp_path / "out")
    assert status == 2
    assert "cut.mp4" in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("whole", "whole-overlay.mp4", "predictions.json", "timeline.csv", "timeline.json", "log.txt", ".caseunet")
    }


@pytest.mark.parametrize(
    ("options", "recorded"),
    [
        (("--tta-flip",), {"tta_flip": True}),
        (("--tta-scales", "0.75,1"), {"tta_scales": [0.75, 1.0]}),
        (("--tta-flip", "--tta-scales", "0.75,1"), {"tta_flip": True, "tta_scales": [0.75, 1.0]}),
        (("--precision", "bf16"), {"precision": "bf16"}),
        (("--no-postprocess",), {"postprocess": False}),
    ],
)
def test_other_ways_to_look_give_the_same_mask(
    options: tuple[str, ...], recorded: dict[str, Any], cli: Run, bundle: Path, tmp_path: Path
) -> None:
    """What mirrored images show is mirrored back, and what scaled ones show scaled; edges of scaled ones are softer."""
    smooth = np.fromfunction(lambda i, j, k: 220 - 0.35 * ((i - 30) ** 2 + (j - 40) ** 2) - 10 * k, (64, 72, 3))
    save(tmp_path / "v.nii.gz", smooth.astype(np.int16), PLACES["oblique"])
    assert cli("predict", bundle, tmp_path / "v.nii.gz", "--out", tmp_path / "plain")[0] == 0
    status, _, err = cli("predict", bundle, tmp_path / "v.nii.gz", "--out", tmp_path / "out", *options)
    assert (status, err) == (0, "")
    plain, other = (read(tmp_path / folder / "v.nii.gz")[0] for folder in ("plain", "out"))
    np.testing.assert_array_equal(plain, classes(smooth.astype(np.int16)))
    assert set(np.unique(plain)) == {0, 1, 2}
    exact = options in (("--tta-flip",), ("--no-postprocess",))
    assert np.mean(plain == other) > (0.999999 if exact else 0.99)
    default = {
        "precision": "fp32",
        "tta_flip": False,
        "tta_scales": [1.0],
        "postprocess": True,
        "check_image": True,
        "sensitivity": {},
    }
    assert described(tmp_path / "plain")["settings"] == default
    assert described(tmp_path / "out")["settings"] == default | recorded


def test_scales_that_are_none_are_told(cli: Run, bundle: Path, tmp_path: Path) -> None:
    save(tmp_path / "v.nii.gz", scan(0), PLACES["oblique"])
    for scales in ("0.75 1", "9", "large", ""):
        status, _, err = cli(
            "predict", bundle, tmp_path / "v.nii.gz", "--out", tmp_path / "out", "--tta-scales", scales
        )
        assert status == 2
        assert f'--tta-scales "{scales}": expected factors from 0.25 to 4, such as 0.75,1,1.25.' in err


def test_a_real_ct_cut_to_a_few_slices(
    cli: Run, bundle: Path, real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    source = nib.load(real_data("chaos_ct_liver/images/volume_CT_SET_3.nii.gz")).slicer[..., 40:43]
    nib.save(source, tmp_path / "ct.nii.gz")
    options = ("--overlay", "--measurements")
    status, _, err = cli("predict", bundle, tmp_path / "ct.nii.gz", "--out", tmp_path / "out", *options)
    assert (status, err) == (0, "")
    mask = nib.load(tmp_path / "out" / "ct.nii.gz")
    np.testing.assert_array_equal(mask.affine, source.affine)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), classes(source.get_fdata()))
    assert set(files_of(tmp_path / "out")) == {
        *("ct.nii.gz", "ct-overlay.png", "preview.html", "predictions.json"),
        *("measurements.csv", "measurements.json", ".caseunet"),
    }


def test_a_real_series_as_segmentation_object(
    cli: Run, bundle: Path, real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    """Three slices of a CT; SimpleITK reads the series, nibabel and highdicom what came out."""
    folder = real_data("dcmqi_ct3slice/images_dcm")
    status, _, err = cli("predict", bundle, folder, "--out", tmp_path / "out", "--dicom-seg")
    assert (status, err) == (0, "")
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    SimpleITK.WriteImage(reader.Execute(), str(tmp_path / "series.nrrd"))
    hounsfield, place = read(tmp_path / "series.nrrd")
    assert hounsfield.shape == (512, 512, 3)
    assert_is(tmp_path / "out" / "images_dcm.nii.gz", classes(hounsfield), place)
    segmentation = highdicom.seg.segread(tmp_path / "out" / "images_dcm.seg.dcm")
    volume = segmentation.get_volume(combine_segments=True)
    found = laid(volume.array, np.diag([-1, -1, 1, 1]) @ volume.affine, place, hounsfield.shape)
    np.testing.assert_array_equal(found, classes(hounsfield))
    sources = {pydicom.dcmread(path).SOPInstanceUID for path in folder.iterdir()}
    referenced = segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {item.ReferencedSOPInstanceUID for item in referenced} == sources


@pytest.mark.parametrize(("folder", "number"), [("curvas_36/images", 3), ("kvasir_seg_400/images", 4)])
def test_real_pictures_through_a_colour_model(
    folder: str, number: int, cli: Run, rgb_bundle: Path, real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    sources = sorted(real_data(folder).iterdir())[:number]
    options = ("--overlay", "--probabilities")
    status, _, err = cli("predict", rgb_bundle, *sources, "--out", tmp_path / "out", *options)
    assert (status, err) == (0, "")
    cases = {case["id"]: case for case in described(tmp_path / "out")["cases"]}
    for source in sources:
        case = cases.pop(source.stem)
        expected = np.asarray(Image.open(source).convert("RGB"))[..., 0] > 100
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / case["file"])), expected)
        shares = np.asarray(Image.open(tmp_path / "out" / case["others"]["probability of liver"]))
        np.testing.assert_array_equal(shares / 65_535 > 0.6, expected)  # 0.5 at the threshold itself
        assert Image.open(tmp_path / "out" / case["others"]["overlay"]).mode == "RGB"
    assert not cases


def test_real_grey_pictures_through_a_grey_model(cli: Run, real_data: Callable[[str], Path], tmp_path: Path) -> None:
    source = real_data("curvas_36/images/10001_458.png")
    grey = brightness_bundle(tmp_path / "grey", GREY)
    assert cli("predict", grey, source, "--out", tmp_path / "out")[0] == 0
    found = np.asarray(Image.open(tmp_path / "out" / source.name))
    np.testing.assert_array_equal(found, np.asarray(Image.open(source)) > 100)


def test_real_mr_volumes(cli: Run, real_data: Callable[[str], Path], tmp_path: Path) -> None:
    """Normalised by each one's own mean and spread: above the mean is liver here."""
    mr = CT.model_copy(update={"modality": "mr", "per_case_zscore": (True,)})
    sources = sorted(real_data("hippocampus/imagesTr").glob("hippocampus_*.nii.gz"))[:3]
    status, _, err = cli("predict", brightness_bundle(tmp_path / "mr", mr), *sources, "--out", tmp_path / "out")
    assert (status, err) == (0, "")
    for path in sources:
        source, mask = nib.load(path), nib.load(tmp_path / "out" / path.name)
        values = source.get_fdata()
        assert mask.shape == source.shape
        np.testing.assert_array_equal(mask.affine, source.affine)
        assert mask.header.get_xyzt_units() == source.header.get_xyzt_units()
        np.testing.assert_array_equal(np.asarray(mask.dataobj), values > values.mean())


def test_ctrl_c_keeps_what_is_done(
    cli: Run, bundle: Path, four: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from caseunet.prediction import run as verb

    real, calls = verb.predict_case, []

    def stopped(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(verb, "predict_case", stopped)
    status, out, _ = cli("predict", bundle, four, "--out", tmp_path / "out")
    assert status == 130
    assert "what is done is kept. Go on with the same command and --resume" in out
    status, _, err = cli("evaluate", tmp_path / "out", four, "--out", tmp_path / "report")
    assert "is not finished. Predict the same to it again" in err
    status, out, _ = cli("predict", bundle, four, "--out", tmp_path / "out", "--resume")
    assert (status, len(calls)) == (0, 5)
    assert "2 images had been segmented before" in out
