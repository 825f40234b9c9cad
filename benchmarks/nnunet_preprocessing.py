"""nnU-Net v2's 2-D preprocessing of the same cases, to set beside `benchmarks/prepare.py`.

    python benchmarks/nnunet_preprocessing.py FOLDER out.json

Needs an environment with nnunetv2 (measured: 2.8.1), not this package. FOLDER holds images/ and labels/ with volumes of
the same names, .nii or .nii.gz; they are laid out as nnU-Net wants them, and only its own functions are timed. They
start their processes anew, about 2 s a stage, which is among the time: give a dozen cases or more. Measured: twelve
copies of one CT of 512×512×78, .nii.gz.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    images = sorted((given.folder / "images").iterdir())
    ending = "".join(images[0].suffixes)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for kind in ("raw", "preprocessed", "results"):
            os.environ[f"nnUNet_{kind}"] = str(Path(name) / kind)
            (Path(name) / kind).mkdir()
        data = Path(name) / "raw" / "Dataset901_X"
        (data / "imagesTr").mkdir(parents=True)
        (data / "labelsTr").mkdir()
        for image in images:
            case = image.name.removesuffix(ending)
            shutil.copy(image, data / "imagesTr" / f"{case}_0000{ending}")
            shutil.copy(given.folder / "labels" / image.name, data / "labelsTr" / image.name)
        description = {
            "channel_names": {"0": "CT"},
            "labels": {"background": 0, "liver": 1, "tumour": 2},
            "numTraining": len(images),
            "file_ending": ending,
        }
        (data / "dataset.json").write_text(json.dumps(description))
        from nnunetv2.experiment_planning.plan_and_preprocess_api import (
            extract_fingerprints,
            plan_experiments,
            preprocess,
        )

        for processes in (1, 2):
            times = []
            for _ in range(2):
                began = time.monotonic()
                extract_fingerprints([901], num_processes=processes, check_dataset_integrity=False, clean=True)
                fingerprint = time.monotonic() - began
                plan_experiments([901])
                began = time.monotonic()
                preprocess([901], configurations=["2d"], num_processes=[processes])
                times.append((time.monotonic() - began, fingerprint))
            seconds, fingerprint = min(times)
            stored = list((Path(name) / "preprocessed" / "Dataset901_X" / "nnUNetPlans_2d").rglob("*"))
            rows.append(
                {
                    "cases": len(images),
                    "processes": processes,
                    "preprocess_seconds_per_case": round(seconds / len(images), 3),
                    "fingerprint_seconds_per_case": round(fingerprint / len(images), 3),
                    "disk_mb_per_case": round(
                        sum(f.stat().st_size for f in stored if f.is_file()) / len(images) / 1e6, 2
                    ),
                }
            )
            print(rows[-1], flush=True)
    given.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
