r"""Training as users run it, loading and augmentation included: slices per second and memory in each arithmetic.

    python benchmarks/training.py benchmarks/training.json              # on a GPU: full width, 512×512, batch 8
    python benchmarks/training.py benchmarks/training_cpu.json --size 256 --batch 2 --steps 6 --settings 32 bf16
    python benchmarks/training.py benchmarks/training_processes.json --size 256 --batch 2 --steps 6 \
        --settings 32 "two processes"

Made-up CT volumes of 512×512; CASe-UNet as the default recipe has it, of full width. Each setting is a whole ``train``
in a process of its own; the median speed of its steps counts, without the first third. Memory is the GPU's highest, or
the process's; that of several processes is not told. Ratios are to float32.

Predicted before the first run: on a CPU without bfloat16 units bf16 at half the speed of float32, compiled 1.2 times;
two processes of one thread each 0.9 times one of two. On a GPU (not run yet) bf16 twice, compiled 1.3 times on top.
What came on two cores: bf16 at 0.08 of the speed of float32, two processes 0.91 times.
"""

import argparse
import json
import platform
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import torch

from caseunet.commands.prepare import prepare
from caseunet.commands.train import train
from caseunet.config import load_config
from caseunet.datasets.generate import write_lits
from caseunet.prediction.resources import highest_memory

SETTINGS = {
    "32": {"precision": "32-true"},
    "bf16": {"precision": "bf16-mixed"},
    "fp16": {"precision": "16-mixed"},
    "compiled": {"precision": "32-true", "compile": True},
    "bf16 compiled": {"precision": "bf16-mixed", "compile": True},
    "two processes": {"precision": "32-true", "devices": 2},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=["32", "bf16", "bf16 compiled"])
    given = parser.parse_args()
    is_gpu = torch.cuda.is_available()
    result: dict[str, object] = {
        "machine": {
            "device": torch.cuda.get_device_name() if is_gpu else platform.processor() or platform.machine(),
            "cores": psutil.cpu_count(logical=False),
            "torch": torch.__version__,
        },
        "size": given.size,
        "batch": given.batch,
    }
    rows: list[dict[str, Any]] = []
    result["settings"] = rows
    with tempfile.TemporaryDirectory() as folder:
        plain = load_config(overrides={"prepare.spacing": None, "prepare.crop_to_body": False})
        write_lits(Path(folder) / "raw", patients=5, shape=(12, 512, 512))
        prepare(Path(folder) / "raw", out=Path(folder) / "prepared", config=plain.prepare)
        for name in given.settings:
            row: dict[str, Any] = {"setting": name}
            with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
                row |= pool.submit(measure, Path(folder), name, given).result()
            first = rows[0] if rows else row
            row["speed_ratio"] = round(row["slices_per_second"] / first["slices_per_second"], 3)
            if row["peak_gib"] is not None:
                row["memory_ratio"] = round(row["peak_gib"] / first["peak_gib"], 3)
            rows.append(row)
            print(row, flush=True)
            given.out.write_text(json.dumps(result, indent=1) + "\n")


def measure(folder: Path, name: str, given: argparse.Namespace) -> dict[str, float | None]:
    """Slices per second and GiB of one training."""
    settings = {f"training.{key}": value for key, value in SETTINGS[name].items()}
    config = load_config(
        overrides={
            "data.batch_size": given.batch,
            "data.patch_size": [given.size, given.size],
            "data.workers": given.workers,
            "training.steps": given.steps,
            "training.num_validations": 1,
            "training.log_every": 1,
        }
        | settings
    )
    run = folder / name.replace(" ", "_")
    train(folder / "prepared", out=run, config=config)
    speed = pd.read_csv(run / "metrics.csv")["images_per_second"].dropna()
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else highest_memory()
    gib = round(peak / 2**30, 3) if config.training.devices == 1 else None
    return {"slices_per_second": round(float(speed[len(speed) // 3 :].median()), 3), "peak_gib": gib}


if __name__ == "__main__":
    main()
