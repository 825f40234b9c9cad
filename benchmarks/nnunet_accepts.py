"""Whether nnU-Net v2 accepts what `caseunet convert --to nnunet` writes: one command, one verdict.

    python benchmarks/nnunet_accepts.py /tmp/nnunet/bin/python

The argument is the Python of an environment with nnunetv2 (measured: 2.8.1), which need not hold this package. Made-up
data sets are written: volumes with regions and pixels that nobody judged, and colour pictures. Each is converted, and
nnU-Net checks, plans and preprocesses it in 2-D. What it prints is shown if it refuses.

Ends with 0 if all are accepted, 1 if one is refused, 77 if the environment is missing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np

import caseunet
from caseunet.datasets import generate

SKIPPED = 77
"""Exit status of a check that could not be made, as automake and meson have it."""


def write_regions(folder: Path) -> None:
    """LiTS, whose liver holds the tumour, with slices that nobody judged."""
    generate.write_lits(folder, patients=4, shape=(12, 40, 48))
    for path in sorted(folder.glob("segmentation-*.nii"))[:2]:
        mask = nibabel.load(path)
        ids = np.asarray(mask.dataobj).astype(np.uint8)
        ids[:4, :4] = 3
        path.unlink()
        nibabel.save(nibabel.Nifti1Image(ids, mask.affine), path)
    for n, path in enumerate(sorted(folder.glob("volume-*.nii"))):
        path.rename(folder / f"scan{n}.nii")
    for n, path in enumerate(sorted(folder.glob("segmentation-*.nii"))):
        path.rename(folder / f"scan{n}_mask.nii")
    regions = {"liver": [1, 2], "tumour": [2]}
    content = {"labels": {"background": 0, "parenchyma": 1, "tumour": 2, "ignore": 3}, "regions": regions}
    (folder / "labels.json").write_text(json.dumps(content))


def write_pictures(folder: Path) -> None:
    """Colour pictures of three classes."""
    generate.write_folder(folder, groups=4, frames=2, shape=(48, 64))


def check(python: Path, work: Path, number: int) -> tuple[bool, str]:
    """Whether nnU-Net takes a converted data set, and what it says."""
    folders = {f"nnUNet_{kind}": str(work / kind) for kind in ("raw", "preprocessed", "results")}
    program = python.parent / "nnUNetv2_plan_and_preprocess"
    command = [str(program), "-d", str(number), "--verify_dataset_integrity", "-c", "2d", "-np", "1", "-npfp", "1"]
    done = subprocess.run(command, env=os.environ | folders, capture_output=True, text=True, check=False)
    written = list((work / "preprocessed").glob(f"Dataset{number:03d}_*/nnUNetPlans_2d/*"))
    return done.returncode == 0 and bool(written), done.stdout + done.stderr


def find_version(python: Path) -> str:
    """The version of nnunetv2 in an environment; "" where it has none."""
    if not python.is_file():
        return ""
    ask = "from importlib.metadata import version; print(version('nnunetv2'))"
    return subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=False).stdout.strip()


def main() -> int:
    """Write, convert, ask nnU-Net, and say what it said."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", type=Path, help="Python of an environment with nnunetv2")
    python = parser.parse_args().python.absolute()
    version = find_version(python)
    if not version:
        print(f"skipped: {python} has no nnunetv2. Make one: python -m venv ENV; ENV/bin/pip install nnunetv2==2.8.1")
        return SKIPPED
    refused = 0
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for number, (title, write) in enumerate((("regions", write_regions), ("pictures", write_pictures)), start=901):
            write(work / title)
            options = caseunet.ConvertOptions(dataset_id=number, dataset_name=title)
            caseunet.convert(work / title, to="nnunet", out=work / f"converted_{title}", options=options)
            (work / "raw").mkdir(exist_ok=True)
            converted = work / f"converted_{title}" / f"Dataset{number}_{title}"
            described = json.loads((converted / "dataset.json").read_text())
            converted.rename(work / "raw" / converted.name)
            accepted, said = check(python, work, number)
            refused += not accepted
            labels = ", ".join(described["labels"])
            print(f"nnunetv2 {version} {'accepts' if accepted else 'REFUSES'} {title} ({labels})")
            print("" if accepted else said, end="")
    return int(refused > 0)


if __name__ == "__main__":
    sys.exit(main())
