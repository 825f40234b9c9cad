"""`prepare` that is killed, fails in a case, or writes behind a URL."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest
from loky import get_reusable_executor
from upath import UPath

from caseunet.commands.prepare import prepare
from caseunet.commands.train import train
from caseunet.config import Config, PrepareConfig
from caseunet.data.store import Prepared
from caseunet.data.writing import PreparedWriter, Workplace, remove
from caseunet.datasets.generate import write_lits
from caseunet.errors import CaseUNetError
from caseunet.files import Location, location
from caseunet.preparation import arrays


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Four made-up patients."""
    write_lits(tmp_path / "raw", patients=4, shape=(6, 48, 40))
    return tmp_path / "raw"


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each case in an array of its own."""
    monkeypatch.setattr(arrays, "ARRAY_BYTES", 1)


ALONE = PrepareConfig(folds=2, workers=0)


def contents(folder: Location) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "log.txt"]  # it tells the time
    names = [path.as_posix().removeprefix(folder.as_posix()) for path in files]
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in zip(names, files, strict=True)}


def arrays_written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the arrays that are written from now on."""
    written: list[str] = []
    add = Workplace.add

    def spy(self: Workplace, array: str, *rest: object) -> None:
        add(self, array, *rest)
        written.append(array)

    monkeypatch.setattr(Workplace, "add", spy)
    return written


@pytest.mark.usefixtures("apart")
def test_a_failing_case_is_logged_and_the_others_are_kept(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(raw, out=tmp_path / "whole", config=ALONE)
    measure = arrays.measure_intensities
    with monkeypatch.context() as faulty:
        calls: list[int] = []

        def fail_once(*arguments: np.ndarray) -> object:
            calls.append(1)
            if len(calls) == 2:
                raise ZeroDivisionError("a defect")
            return measure(*arguments)

        faulty.setattr(arrays, "measure_intensities", fail_once)
        with pytest.raises(
            CaseUNetError, match=r"(?s)1 case failed, volume-1 among them: .*volume-1.nii: ZeroDiv.*3 cases are"
        ):
            prepare(raw, out=tmp_path / "p", config=ALONE)
    log = (tmp_path / "p.unfinished" / "errors.log").read_text()
    assert "Traceback" in log
    assert "in fail_once" in log
    with pytest.raises(CaseUNetError, match=r"p: is not finished. Prepare the same data to it again"):
        Prepared(tmp_path / "p")
    written = arrays_written(monkeypatch)
    prepare(raw, out=tmp_path / "p", config=ALONE)
    assert written == ["volume-1"]
    assert contents(tmp_path / "p") == contents(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "raw", "whole"]


@pytest.mark.usefixtures("apart")
def test_changed_sources_and_settings_are_prepared_again(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(PreparedWriter, "finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(raw, out=tmp_path / "p", config=ALONE)
        image = nib.load(raw / "volume-2.nii")
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + 1, image.affine), raw / "volume-2.nii")
        written = arrays_written(broken)
        with pytest.raises(KeyboardInterrupt):
            prepare(raw, out=tmp_path / "p", config=ALONE)
        assert written == ["volume-2"]
        (raw / "volume-0.nii").unlink()
        (raw / "segmentation-0.nii").unlink()
    written.clear()
    prepared = prepare(raw, out=tmp_path / "p", config=ALONE.model_copy(update={"size": (64, 64)}))
    assert prepared.image("volume-2").shape == (6, 1, 64, 64)
    assert sorted(p.name for p in (tmp_path / "p" / "labels.zarr").iterdir() if p.is_dir()) == [
        f"volume-{n}" for n in (1, 2, 3)
    ], "what no case needs any more is gone"


def test_kills_leave_no_trace(tmp_path: Path) -> None:
    """Killed with all its processes at three moments, then left alone: every byte is that of an unbroken run."""
    write_lits(tmp_path / "raw", patients=12, shape=(16, 160, 160))
    command = [sys.executable, "-c", "from caseunet.cli import main; main()", "prepare", str(tmp_path / "raw"), "--out"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    rng = np.random.default_rng(0)
    for _ in range(3):
        process = subprocess.Popen(
            [*command, str(tmp_path / "p")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        lists = tmp_path / "p.unfinished" / "done"
        began = time.monotonic()
        while process.poll() is None and not lists.is_dir() and time.monotonic() - began < 60:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 2))
        if process.poll() is None:
            family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
            for member in family:
                os.kill(member.pid, signal.SIGKILL)
        process.wait()
        if (tmp_path / "p").exists():
            break
    if not (tmp_path / "p").exists():
        subprocess.run([*command, str(tmp_path / "p")], check=True, capture_output=True)
    whole = contents(tmp_path / "whole")
    assert len(whole) > 10
    assert contents(tmp_path / "p") == whole


@pytest.fixture
def bucket() -> Iterator[str]:
    """An S3 bucket on this machine, and what clients must know to reach it."""
    moto_server = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    known = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    with pytest.MonkeyPatch.context() as environment:
        for name, value in known.items():
            environment.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="caseunet-test")
        forget_servers()
        yield "s3://caseunet-test"
    forget_servers()
    server.stop()


def forget_servers() -> None:
    """Clients and worker processes of an earlier test know its server, not this one's."""
    pytest.importorskip("s3fs").S3FileSystem.clear_instance_cache()
    get_reusable_executor().shutdown(wait=True)


def check_url(raw: Path, url: str, config: Config, folder: Path) -> None:
    """What is written behind a URL equals what is written here, can be replaced, and can be trained on."""
    local = prepare(raw, out=folder / "local", config=config.prepare)
    out = location(url)
    prepared = prepare(raw, out=out, config=config.prepare)
    assert contents(out) == contents(folder / "local")
    np.testing.assert_array_equal(prepared.image_slice("volume-3", 2), local.image_slice("volume-3", 2))
    with pytest.raises(CaseUNetError, match=r"://.*: holds an earlier result. .*overwrite"):
        prepare(raw, out=out, config=config.prepare)
    prepare(raw, out=out, config=config.prepare, mode="overwrite")
    assert contents(out) == contents(folder / "local")
    assert not out.with_name(f"{out.name}.unfinished").exists()
    bundle = train(out, out=folder / "run", config=config)
    assert bundle.info.training_data.content_hash == local.info.content_hash
    remove(out)
    with pytest.raises(CaseUNetError, match="is no prepared data set"):
        Prepared(out)


def test_prepared_in_memory(raw: Path, tiny_config: Config, tmp_path: Path) -> None:
    check_url(raw, "memory://folder/prepared", tiny_config, tmp_path)


def test_prepared_in_a_bucket(raw: Path, tiny_config: Config, tmp_path: Path, bucket: str) -> None:
    check_url(raw, f"{bucket}/some/prepared", tiny_config, tmp_path)


def test_bucket_is_written_from_the_command_line(
    raw: Path, tmp_path: Path, bucket: str, cli: Callable[..., tuple[int, str, str]]
) -> None:
    status, output, error = cli("prepare", raw, "--out", f"{bucket}/p", "--prepare.folds", "2")
    assert (status, error) == (0, "")
    assert f"caseunet train {bucket}/p --out run" in output
    assert cli("preview", f"{bucket}/p", "--out", tmp_path / "p.png")[0] == 0


def test_other_processes_do_not_see_this_one_s_memory(raw: Path, tiny_config: Config, tmp_path: Path) -> None:
    url = UPath("memory://folder/elsewhere")
    prepare(raw, out=url, config=tiny_config.prepare)
    data = tiny_config.data.model_copy(update={"workers": 1})
    with pytest.raises(CaseUNetError, match="other processes do not see it. Set data.workers to 0"):
        train(url, out=tmp_path / "run", config=tiny_config.model_copy(update={"data": data}))


def test_a_server_that_does_not_answer_is_told(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(CaseUNetError, match=r"^s3://caseunet-test/p: cannot be reached: "):
        Prepared(location(f"{bucket}/p"))


def test_unknown_urls_are_refused(raw: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    status, _, error = cli("prepare", raw, "--out", "nonsense://a/b")
    assert status == 2
    assert "nonsense://a/b" in error
    status, _, error = cli("prepare", "s3://bucket/raw", "--out", raw.parent / "p")
    assert status == 2
    assert "Raw data are read from this machine alone" in error


def test_what_stands_where_work_would_be_done_is_kept(raw: Path, tmp_path: Path) -> None:
    """A training that failed leaves RUN.unfinished; prepare with --out RUN must not take it for its own."""
    (tmp_path / "p.unfinished" / "checkpoints").mkdir(parents=True)
    (tmp_path / "p.unfinished" / "checkpoints" / "best.ckpt").write_text("weights")
    with pytest.raises(CaseUNetError, match=r"p.unfinished: holds files that caseunet did not write"):
        prepare(raw, out=tmp_path / "p", config=ALONE)
    assert (tmp_path / "p.unfinished" / "checkpoints" / "best.ckpt").read_text() == "weights"
    assert not list(tmp_path.glob(".p*"))


def test_all_failing_cases_of_an_array_are_told(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = arrays.measure_intensities

    def fail_twice(image: np.ndarray, labels: np.ndarray) -> object:
        calls.append(1)
        if len(calls) in (2, 3):
            raise ValueError(f"defect {len(calls)}")
        return measure(image, labels)

    calls: list[int] = []
    monkeypatch.setattr(arrays, "measure_intensities", fail_twice)
    with pytest.raises(CaseUNetError, match="2 cases failed, volume-1 among them"):
        prepare(raw, out=tmp_path / "p", config=ALONE)
    log = (tmp_path / "p.unfinished" / "errors.log").read_text()
    assert log.count("Traceback") == 2
    assert "volume-2.nii: ValueError: defect 3" in log


def test_a_full_disk_is_told_before(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(CaseUNetError, match=r"p: needs .* MB on disk; 0 MB are free. Choose a folder on another disk"):
        prepare(raw, out=tmp_path / "p", config=ALONE)
    assert not list(tmp_path.glob("p*"))
