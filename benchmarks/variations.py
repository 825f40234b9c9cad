"""Which variation of CASe-UNet learns most in a given number of steps: the search behind the default recipe.

    python benchmarks/variations.py PREPARED benchmarks/variations.json --steps 400 --batch 16 --seeds 2 --workers 16

Every variation is trained alike: cross entropy + SSIM + Dice, Adamax 6e-3 unless the name says otherwise, default
augmentation, the same batches; then the fold's validation cases are scored at their prepared size. Scores are kept as
they come: a search that is cut short has compared something. Several trainings share a GPU (with NVIDIA's MPS running
they hinder each other less); on a CPU give one worker for each core or two.

Widths were chosen so that a training step takes about as long as one of nnU-Net's network at its full width, on a
CPU. A trial with one seed had led to expect that CASe-UNet learns faster than a U-Net, and little else. On an H200
(variations.json: hippocampus; variations_liver.json: liver slices, batch 8, 300 steps, one seed), where the search
ended before the second seed of some, every form came out ahead of nnU-Net's network with Adamax, and most differ from
each other by less than two seeds do. Deep supervision did not help; nor did more and larger heads, or AdamW.
"""

import argparse
import json
import multiprocessing
import os
import platform
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from caseunet.commands import train as pipeline
from caseunet.config import load_config
from caseunet.data.loader import plan_patch_size
from caseunet.data.store import Prepared

COMMON = {"fusion_kernel_size": 1, "attention": "spatial", "norm": "instance", "attention_residual": True}


def case(width: int, **switches: Any) -> dict[str, Any]:
    """CASe-UNet whose stages have width, 2·width, 4·width … channels."""
    arguments = COMMON | {"widths": [width * 2**i for i in range(5)], "patch_size": "auto"} | switches
    return {"model.name": "case_unet", "model.kwargs": arguments}


AFTER, BEFORE = case(24), case(16, full_resolution=True)
NNUNET = {"model.name": "nnunet", "model.kwargs": {"patch_size": "auto"}}
VARIATIONS: dict[str, dict[str, Any]] = {
    "skips before the pool": BEFORE,
    "skips after the pool": AFTER,
    "nnU-Net's network": NNUNET,
    "nnU-Net's network, AdamW 1e-3": NNUNET | {"optimizer.name": "adamw", "optimizer.lr": 0.001},
    "nnU-Net's network, Adamax 2e-3": NNUNET | {"optimizer.lr": 0.002},
    "after the pool, deep supervision": case(24, deep_supervision=True),
    "before the pool, deep supervision": case(16, full_resolution=True, deep_supervision=True),
    "after the pool, activation first": case(24, activation_first=True),
    "after the pool, 4 heads of 16": case(24, heads=4, key_size=16),
    "after the pool, Glorot": case(24, initialization="glorot"),
    "after the pool, Adamax 0.012": AFTER | {"optimizer.lr": 0.012},
    "after the pool, Adamax 0.003": AFTER | {"optimizer.lr": 0.003},
    "after the pool, no attention": case(24, attention="none"),
    "after the pool, widths 32 48 96 160": case(24, widths=[32, 48, 96, 160]),
    "before the pool, Adamax 0.012": BEFORE | {"optimizer.lr": 0.012},
    "after the pool, AdamW 1e-3": AFTER | {"optimizer.name": "adamw", "optimizer.lr": 0.001},
    "half width, after the pool": case(12),
    "half width, before the pool": case(8, full_resolution=True),
    "half width, before the pool, 3×3 fusion": case(8, full_resolution=True, fusion_kernel_size=3),
    "half width, after the pool, batch norm": case(12, norm="batch"),
    "half width, before the pool, batch norm": case(8, full_resolution=True, norm="batch"),
    "half width, kernels 1 3 5": case(16, kernel_sizes=[1, 3, 5]),
    "half width, kernels 3 3 5": case(16, kernel_sizes=[3, 3, 5]),
    "half width, depth-wise 5 and 7": case(16, large_kernels="depthwise"),
    "half width, deep supervision": case(12, deep_supervision=True),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("prepared", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="*", default=list(VARIATIONS), choices=list(VARIATIONS))
    options = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in options.only}
    for name, dice in scores(options):
        found[name].append(dice)
        print(f"{dice:.4f}  {name}", flush=True)
        write(options, found)
    print(f"\n{'variation':36} {'mean Dice':>9}  of each seed")
    for name, values in sorted(found.items(), key=lambda item: -mean(item[1])):
        print(f"{name:36} {mean(values):9.4f}  {', '.join(f'{value:.4f}' for value in values)}")


def scores(options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """(variation, mean validation Dice), as they come; all variations with the first seed are begun first."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool,
    ):
        begun = {
            pool.submit(score, options, name, seed, Path(scratch) / f"{number}-{seed}"): name
            for seed in range(options.seeds)
            for number, name in enumerate(options.only)
        }
        for future in as_completed(begun):
            yield begun[future], future.result()


def score(options: argparse.Namespace, name: str, seed: int, run: Path) -> float:
    torch.set_num_threads(1)
    budget = {
        "training.steps": options.steps,
        "training.num_validations": 1,
        "training.quality": False,
        "loss.kwargs.ssim": 1.0,  # as the default recipe had it when its network was chosen
        "data.batch_size": options.batch,
    }
    config = load_config(overrides=VARIATIONS[name] | budget | {"seed": seed})
    return pipeline.train(options.prepared, run, config).info.validation.mean


def write(options: argparse.Namespace, found: dict[str, list[float]]) -> None:
    prepared = Prepared(options.prepared)
    config = load_config()
    content = {
        "data": f"{len(prepared.cases)} cases, fold 0",
        "patch": plan_patch_size(prepared, config.data, prepared.fold(0).train),
        "steps": options.steps,
        "batch": options.batch,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "CPU",
        "torch": torch.__version__,
        "dice": {name: values for name, values in found.items() if values},
    }
    options.out.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
