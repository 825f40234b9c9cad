"""A made-up CT of 512 × 512 × 1500 voxels within 2 GB: memory, and seconds for each slice beside those of a short one.

    python benchmarks/long_ct.py BUNDLE SCAN benchmarks/tiles.json [--slices 100 1500] [--max-ram 2GB]

The slices of a scan are repeated up and down, each with noise of its own, and written as .nii.gz. `caseunet predict`
segments each length in a process of its own. Its highest memory is read as `top` shows it, with the mapped pages of
files that the system may take back at any time, and ten times a second without these. Seconds are the processor's, less
those of a run on a single slice, which are the start.

Predicted before the first run: 1500 slices stay below 2 GB, mapped pages among them, and a slice takes 1.05 times the
seconds of one of 100.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

SIDE = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("scan", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--slices", type=int, nargs=2, default=(100, 1500))
    parser.add_argument("--max-ram", default="2GB")
    given = parser.parse_args()
    found: dict[str, Any] = {"max_ram": given.max_ram, "cases": {}}
    start = 0.0
    for slices in (1, *given.slices):
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "ct.nii.gz"
            write_scan(path, given.scan, slices)
            case = predict(given.bundle, path, Path(scratch) / "out", given.max_ram)
        start = start or case["processor seconds"]
        case["seconds a slice"] = round((case["processor seconds"] - start) / max(1, slices - 1), 4)
        found["cases"][slices] = case
        print(f"| {slices} | " + " | ".join(f"{value:,}" for value in case.values()) + " |", flush=True)
    short, long = (found["cases"][slices]["seconds a slice"] for slices in given.slices)
    found["times the short one"] = round(long / short, 3)
    print(found["times the short one"])
    earlier = json.loads(given.out.read_text()) if given.out.exists() else {}
    given.out.write_text(json.dumps(earlier | {"long CT": found}, indent=1) + "\n")


def write_scan(path: Path, scan: Path, slices: int) -> None:
    """The middle of a scan, up and down again and again; one slice is held at a time."""
    source = nib.load(scan)
    assert isinstance(source, nib.Nifti1Image)
    pixels = np.asarray(source.dataobj)
    there_and_back = [*range(pixels.shape[2]), *range(pixels.shape[2] - 2, 0, -1)]
    rng = np.random.default_rng(0)
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((SIDE, SIDE, slices))
    header.set_zooms(source.header.get_zooms()[:3])
    header.set_sform(source.affine, 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with nib.openers.ImageOpener(str(path), "wb", compresslevel=1) as stream:
        stream.write(header.binaryblock + bytes(4))
        for number in range(slices):
            plane = pixels[:, :, there_and_back[number % len(there_and_back)]]
            noise = rng.integers(-8, 9, (SIDE, SIDE))
            stream.write((plane + noise).clip(-1024, 3071).astype("<i2").tobytes(order="F"))


def predict(bundle: Path, path: Path, out: Path, max_ram: str) -> dict[str, float]:
    """What one prediction takes."""
    command = [sys.executable, "-m", "caseunet", "predict", str(bundle), str(path), "--out", str(out)]
    process = subprocess.Popen([*command, "--measurements", "--max-ram", max_ram])
    began, anonymous = time.monotonic(), 0
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        anonymous = max(anonymous, read_memory(process.pid, "RssAnon"))
        time.sleep(0.1)
    if status:
        raise SystemExit(f"caseunet predict ended with {status}.")
    return {
        "highest memory GB": round(usage.ru_maxrss * 1024 / 1e9, 3),
        "of it no pages of files GB": round(anonymous / 1e9, 3),
        "seconds": round(time.monotonic() - began, 1),
        "processor seconds": round(usage.ru_utime + usage.ru_stime, 1),
    }


def read_memory(process: int, what: str) -> int:
    """Bytes of one line of what Linux tells of a process's memory; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(what)), 0)


if __name__ == "__main__":
    main()
