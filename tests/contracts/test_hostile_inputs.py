"""Hostile inputs: whatever ``predict`` is given, it segments or refuses in words, and a refusal leaves nothing."""

import contextlib
import logging
import os
import re
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from caseunet.bundle import Architecture, save_bundle
from caseunet.commands.predict import predict
from caseunet.errors import CaseUNetError
from caseunet.models import create_model
from caseunet.prediction.store import read_predictions
from caseunet.types import Label, LabelMap, Preprocessing
from caseunet.workers import LostWorkerError, run_all
from tests import hostile
from tests.hostile import Hostile, Model
from tests.support.bundles import NO_DATA, NO_SCORE

MOST_MEMORY = 400 * 2**20
"""Bytes by which a process may grow; they hold libraries too, which load when they are first called."""

MOST_SECONDS = 10.0
"""For one input, on a machine that does other things too."""

LONGEST = 700
"""Characters of a message."""

UNSEEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
"""Warnings that Python does not show."""

PREPROCESSING = {
    "ct": Preprocessing(
        modality="ct",
        channels=1,
        crop_to_body=True,
        spacing=(0.8, 0.8),
        intensity_window=(-100, 300),
        mean=(0,),
        std=(100,),
    ),
    "rgb": Preprocessing(modality="rgb", channels=3, mean=(0,) * 3, std=(255,) * 3),
}


class Job(NamedTuple):
    """What an input is, the bundle that is asked, the path that is given, and a folder for what is written."""

    what: str
    bundle: Path
    given: Path
    place: Path


class Outcome(NamedTuple):
    """What came of a job.

    Attributes:
        error: the message of the CaseUNetError; None where there was none.
        crash: another exception; "" where there was none.
        left: files in the output folder, beside it or in the folder of temporary files.
        touched: whether the input's folder was changed.
        printed: what Python and libraries wrote to standard output and error, and warnings.
        memory: bytes by which the process grew at most; None where the system does not tell.
    """

    error: str | None
    crash: str
    left: list[str]
    touched: bool
    printed: str
    memory: int | None
    seconds: float


def attempt(job: Job) -> Outcome:
    """Predict, in a worker process."""
    temporary, printed = job.place / "temporary", job.place.with_name(f"{job.place.name}.printed")
    shutil.rmtree(job.place, ignore_errors=True)  # of a worker that was lost
    temporary.mkdir(parents=True)
    tempfile.tempdir = str(temporary)
    logging.disable(logging.WARNING)  # whoever calls from Python sees cautions, which is meant
    before, error, crash = _listing(job.given.parent), None, ""
    with _written_to(printed), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        held, began = _forget_highest_memory(), time.monotonic()
        try:
            predict(job.bundle, [job.given], out=job.place / "out")
        except CaseUNetError as caught:
            error = str(caught)
        except BaseException as caught:  # a crash, which is what is looked for
            crash = f"{type(caught).__name__}: {caught}"
        seconds = time.monotonic() - began
        memory = None if held is None else _memory("VmHWM") - held
    return Outcome(
        error=error,
        crash=crash,
        left=[path.relative_to(job.place).as_posix() for path in job.place.rglob("*") if path != temporary],
        touched=_listing(job.given.parent) != before,
        printed=printed.read_text(errors="replace")
        + "".join(str(warning.message) for warning in warned if not issubclass(warning.category, UNSEEN)),
        memory=memory,
        seconds=seconds,
    )


def _listing(folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of everything below."""
    return sorted((path.as_posix(), path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*"))


@contextlib.contextmanager
def _written_to(path: Path) -> Iterator[None]:
    """Send what is printed to a file, by libraries in C too."""
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    with path.open("wb") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    try:
        yield
    finally:
        for descriptor, saved in zip((1, 2), kept, strict=True):
            os.dup2(saved, descriptor)
            os.close(saved)


def _forget_highest_memory() -> int | None:
    """Bytes that the process holds now, and from which on its highest is counted; None where that cannot be (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _memory("VmRSS")


def _memory(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def save_random(folder: Path, model: Model) -> Path:
    """A bundle of a tiny network that nobody trained; as with trained ones, CT is looked at in a spacing of its own."""
    torch.manual_seed(0)
    preprocessing = PREPROCESSING[model]
    labels = (Label(id=0, name="background", color=(0, 0, 0)), Label(id=1, name="liver", color=(255, 0, 0)))
    architecture = Architecture(
        name="unet", in_channels=preprocessing.in_channels, num_classes=2, kwargs={"widths": [2, 4]}
    )
    network = create_model(architecture.name, architecture.in_channels, 2, **architecture.kwargs)
    save_bundle(
        folder,
        network.state_dict(),
        architecture=architecture,
        preprocessing=preprocessing,
        label_map=LabelMap(labels=labels, structures={"liver": (1,)}),
        training_data=NO_DATA,
        validation=NO_SCORE,
        code_version="0",
    )
    return folder


def write(item: Hostile, folder: Path) -> Path:
    """The path to give; the files lie in ``folder``."""
    for name, content in item.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / item.given


def attempt_all(jobs: Sequence[Job]) -> list[Outcome | LostWorkerError]:
    outcomes: dict[int, Outcome | LostWorkerError] = {}
    for index, outcome in run_all(attempt, jobs, workers=2, patience=60):
        outcomes[index] = outcome
    return [outcomes[index] for index in range(len(jobs))]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[Model, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return {"ct": save_random(folder / "ct", "ct"), "rgb": save_random(folder / "rgb", "rgb")}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[Hostile]:
    return list(hostile.all_hostile(tmp_path_factory.mktemp("scratch")))


@pytest.fixture(scope="module")
def attempts(
    everything: list[Hostile], bundles: dict[Model, Path], tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[Job, Outcome | LostWorkerError]]:
    """Every hostile input, given alone."""
    folder = tmp_path_factory.mktemp("hostile")
    jobs = [
        Job(item.what, bundles[item.model], write(item, folder / f"{n}"), folder / f"work-{n}")
        for n, item in enumerate(everything)
    ]
    (folder / "special").mkdir()
    for n, (what, model, path) in enumerate(hostile.make_special(folder / "special")):
        jobs.append(Job(what, bundles[model], path, folder / f"work-special-{n}"))
    return list(zip(jobs, attempt_all(jobs), strict=True))


@pytest.fixture(scope="module")
def refused(attempts: list[tuple[Job, Outcome | LostWorkerError]]) -> list[tuple[Job, Outcome]]:
    """Those whose process lived; a test of its own finds the others."""
    return [(job, outcome) for job, outcome in attempts if isinstance(outcome, Outcome)]


def test_there_are_600_and_no_two_are_one(attempts: list[tuple[Job, Outcome | LostWorkerError]]) -> None:
    assert len({job.what for job, _ in attempts}) == len(attempts) >= 600


def test_what_they_are_made_of_can_be_segmented(bundles: dict[Model, Path], tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    for n, item in enumerate(hostile.all_good(tmp_path / "scratch")):
        done = predict(bundles[item.model], [write(item, tmp_path / f"{n}")], out=tmp_path / f"out-{n}")
        assert (len(done.cases), done.failed) == (1, ()), item.what


def test_no_process_died_or_hung(attempts: list[tuple[Job, Outcome | LostWorkerError]]) -> None:
    assert [job.what for job, outcome in attempts if isinstance(outcome, LostWorkerError)] == []


def test_each_is_refused_and_nothing_crashes(refused: list[tuple[Job, Outcome]]) -> None:
    assert [(job.what, outcome.crash) for job, outcome in refused if outcome.crash] == []
    assert [job.what for job, outcome in refused if outcome.error is None] == []


def test_each_message_names_the_file_in_a_line(refused: list[tuple[Job, Outcome]]) -> None:
    for job, outcome in refused:
        given, message = str(job.given), outcome.error or ""
        plain = given if given.isprintable() else ascii(given)[1:-1]
        assert plain in message, (job.what, message)
        assert message.isprintable(), (job.what, message)
        rest = message.replace(plain, "")
        assert len(rest) <= LONGEST, (job.what, message)
        assert len(re.findall(r"[.!?] [A-Z]", rest)) <= 2, (job.what, message)
        assert str(job.place) not in message, (job.what, message)  # where archives are unpacked


def test_a_refusal_leaves_nothing_and_changes_nothing(refused: list[tuple[Job, Outcome]]) -> None:
    assert [(job.what, outcome.left) for job, outcome in refused if outcome.left] == []
    assert [job.what for job, outcome in refused if outcome.touched] == []


def test_nothing_else_is_printed(refused: list[tuple[Job, Outcome]]) -> None:
    assert [(job.what, outcome.printed) for job, outcome in refused if outcome.printed] == []


def test_little_memory_and_time_is_taken(refused: list[tuple[Job, Outcome]]) -> None:
    assert [(job.what, outcome.memory) for job, outcome in refused if (outcome.memory or 0) > MOST_MEMORY] == []
    assert [(job.what, outcome.seconds) for job, outcome in refused if outcome.seconds > MOST_SECONDS] == []


def test_among_hostile_files_the_good_ones_are_segmented(
    everything: list[Hostile],
    bundles: dict[Model, Path],
    lits_raw: Path,
    cli: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
) -> None:
    """A folder with good and hostile files, and one of DICOM series, of which one lacks a slice and a file is none."""
    mixed, slices, out = tmp_path / "mixed", tmp_path / "slices", tmp_path / "out"
    bad: list[Path] = []
    for n, item in enumerate(everything):
        if item.model == "ct" and item.given in item.files and not item.given.endswith((".dcm", "IM0001")):
            bad.append(write(item, mixed / f"{n}"))
    (mixed / "special").mkdir()
    assert list(hostile.make_special(mixed / "special"))
    bad += [path for path in (mixed / "special").rglob("*.*") if not path.is_dir()]
    (mixed / "good").mkdir()
    shutil.copy(lits_raw / "volume-0.nii", mixed / "good" / "first.nii")
    (mixed / "good" / "second.mha").write_bytes(hostile.mha())
    for name, left_out in (("whole", None), ("parted", 2)):
        for n, dataset in enumerate(hostile.slices_of(entropy=name)):
            if n != left_out:
                (slices / name).mkdir(parents=True, exist_ok=True)
                (slices / name / f"{n}.dcm").write_bytes(hostile.written(dataset))
    (slices / "text.dcm").write_text("no slice")
    assert len(bad) > 200

    status, _, err = cli("predict", bundles["ct"], mixed, slices, "--out", out)
    assert status == 2
    assert "could not be segmented" in err
    done = read_predictions(out)
    assert {case.id: case.file for case in done.cases} == {
        "good/first": "good/first.nii",
        "good/second": "good/second.mha",
        "whole": "whole.nii.gz",
    }
    told = {case.image for case in done.failed}
    written_down = {str(path) if str(path).isprintable() else ascii(str(path))[1:-1] for path in bad}
    assert written_down <= told
    rest = {Path(image) for image in told - written_down}
    assert {slices / "text.dcm"} < rest
    assert {path.parent for path in rest - {slices / "text.dcm"}} == {slices / "parted"}
    masks = [
        path for path in out.rglob("*") if path.is_file() and path.name.endswith((".nii", ".nii.gz", ".mha", ".png"))
    ]
    assert {path.relative_to(out).as_posix() for path in masks} == {case.file for case in done.cases}
