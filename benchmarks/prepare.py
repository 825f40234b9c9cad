"""What `prepare` costs: seconds, disk and memory per case, and whether kills leave a trace.

    python benchmarks/prepare.py benchmarks/prepare.json --real FOLDER --kills 30

Four made-up CT volumes of 512×512×96 and, if given, four copies of a real volume are prepared from nothing, audit
included, with one and two processes. With ``--kills`` a data set is prepared again and again, each run killed at a
random moment, until it is whole; then its files are compared with those of an unbroken run, byte by byte.

Predicted before the first run: 1.2 s per case of 512×512×96 with one process (nnU-Net's 2-D preprocessing took 1.7 s in
a trial), a third of nnU-Net's disk space (it stores floats), and a peak of 2.2 times one case.
"""

import argparse
import hashlib
import json
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil

from caseunet.commands.prepare import prepare
from caseunet.config import load_config
from caseunet.data.store import Prepared
from caseunet.datasets.examination import examine
from caseunet.datasets.generate import write_endovis2018, write_lits
from caseunet.progress import Display

COPIES = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--real", type=Path, help="images/ and labels/ with one NIfTI volume each, .nii.gz")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    result: dict[str, object] = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": psutil.cpu_count(logical=False),
            "memory_gib": round(psutil.virtual_memory().total / 2**30),
            "python": platform.python_version(),
        }
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_lits(folder / "tiny", patients=4, shape=(8, 64, 64))
        write_lits(folder / "made-up", patients=COPIES, shape=(96, 512, 512))
        sources = [folder / "made-up"]
        if given.real:
            sources.append(folder / "real")
            for kind in ("images", "labels"):
                (folder / "real" / kind).mkdir(parents=True)
                (volume,) = (given.real / kind).glob("*.nii.gz")
                image = nib.load(volume)
                for n in range(COPIES):  # a corner differs, or the audit would refuse them as copies
                    array = np.asarray(image.dataobj).copy()
                    array[0, 0, :n] = array[0, 0, :n] + (n if kind == "images" else 0)
                    array[0, 0, n] = 1
                    nib.save(nib.Nifti1Image(array, image.affine), folder / "real" / kind / f"case{n}.nii.gz")
        result["cost"] = [row for raw in sources for row in measure(raw, folder, given.repeats)]
        save(given.out, result)
        if given.kills:
            result["kills"] = kill(folder, given.kills)
            save(given.out, result)


def save(out: Path, result: dict[str, object]) -> None:
    out.write_text(json.dumps(result, indent=1) + "\n")


def measure(raw: Path, folder: Path, repeats: int) -> list[dict[str, object]]:
    """The best of ``repeats`` for one and two processes, which run already; the file cache is warm."""
    rows: list[dict[str, object]] = []
    for workers in (1, 2):
        config = load_config(overrides={"prepare.workers": workers}).prepare
        times, audits, peaks = [], [], []
        for _ in range(repeats):
            prepare(
                folder / "tiny", out=folder / "tiny-prepared", config=config, mode="overwrite"
            )  # starts the processes
            before = {child.pid: child.memory_info().rss for child in psutil.Process().children(recursive=True)}
            shutil.rmtree(folder / "prepared", ignore_errors=True)
            watch = Watch()
            began = time.monotonic()
            prepared = prepare(raw, out=folder / "prepared", config=config)
            times.append(time.monotonic() - began)
            peaks.append(watch.stop(before))
            began = time.monotonic()
            examine(raw, config, Display())
            audits.append(time.monotonic() - began)
        case = prepared.cases.index[0]
        source = prepared.cases.at[case, "source_shape"]
        disk = sum(path.stat().st_size for path in (folder / "prepared").rglob("*") if path.is_file())
        one_case = int(source[0]) * int(source[1]) * int(source[2]) * 3  # 2 bytes of image, 1 of mask
        rows.append(
            {
                "raw": raw.name,
                "source_shape": [int(n) for n in source],
                "prepared_shape": list(prepared.image(case).shape),
                "workers": workers,
                "seconds_per_case": round(min(times) / COPIES, 3),
                "of_which_audit": round(min(audits) / COPIES, 3),
                "disk_mb_per_case": round(disk / COPIES / 1e6, 2),
                "peak_over_one_case": round(min(peaks) / one_case, 2),
            }
        )
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    return rows


class Watch:
    """The largest growth of any child process, looked at every few milliseconds."""

    def __init__(self) -> None:
        self._peaks: dict[int, int] = {}
        self._go_on = True
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while self._go_on:
            for child in psutil.Process().children(recursive=True):
                try:
                    self._peaks[child.pid] = max(self._peaks.get(child.pid, 0), child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
            time.sleep(0.005)

    def stop(self, before: dict[int, int]) -> int:
        self._go_on = False
        self._thread.join()
        return max(peak - before.get(pid, peak) for pid, peak in self._peaks.items())


def kill(folder: Path, kills: int) -> dict[str, object]:
    """Prepare volumes and frames until ``kills`` runs were killed, and compare what came out."""
    write_lits(folder / "volumes", patients=24, shape=(24, 128, 128))
    write_endovis2018(folder / "frames", sequences=6, frames=40, shape=(256, 320))
    rng = random.Random(0)
    done = differing = reads = 0
    while done < kills:
        for raw in (folder / "volumes", folder / "frames"):
            whole, broken = folder / f"{raw.name}-whole", folder / f"{raw.name}-broken"
            command = [sys.executable, "-c", "from caseunet.cli import main; main()", "prepare", str(raw), "--out"]
            if not whole.exists():
                began = time.monotonic()
                subprocess.run([*command, str(whole)], check=True, capture_output=True)
                seconds = time.monotonic() - began
            shutil.rmtree(broken, ignore_errors=True)
            while True:
                process = subprocess.Popen(
                    [*command, str(broken)],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
                try:
                    process.wait(timeout=rng.uniform(0.3, 1.0) * seconds if done < kills else None)
                    break
                except subprocess.TimeoutExpired:
                    kill_all(process.pid)
                    done += 1
                    reads += readable(broken)
            differing += contents(whole) != contents(broken)
            print(f"{raw.name}: {done} kills so far, {differing} results differ", flush=True)
    return {"kills": done, "results_that_differ": differing, "readable_while_unfinished": reads}


def kill_all(pid: int) -> None:
    """SIGKILL to a process and all that it started."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in family:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=10)


def readable(folder: Path) -> int:
    """1 if a killed run left something that passes for prepared but cannot be read whole."""
    try:
        prepared = Prepared(folder)
    except Exception:
        return 0
    try:
        for case in prepared.cases.index:
            prepared.image(case), prepared.labels(case)
    except Exception:
        return 1
    return 0


def contents(folder: Path) -> dict[str, str]:
    """{file: hash}."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


if __name__ == "__main__":
    main()
