"""What loading and augmentation cost beside a training step.

    python benchmarks/loading.py benchmarks/loading.json

Made-up CT volumes of 512×512 are prepared uncropped. Slices per second are measured for 0, 1 and 2 loading processes
with nothing kept in memory and with decoded slices kept; then a training step of the default recipe's network, and
normalisation with augmentation of the same batch (mean of many draws).

Predicted before the first run: 250 slices/s from disk in the training process; augmentation under 2 % of a step.
"""

import argparse
import json
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch
from lightning_fabric import Fabric

from caseunet.commands.prepare import prepare
from caseunet.config import AugmentConfig, DataConfig, load_config
from caseunet.data import loader
from caseunet.data.augmentation import draw_transforms, resolve
from caseunet.data.loader import plan_preprocessing
from caseunet.data.store import Prepared
from caseunet.datasets.generate import write_lits
from caseunet.losses import create_loss
from caseunet.models import create_model, optimize_for
from caseunet.training.batch import prepare_batch

BATCH = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--steps", type=int, default=3)
    given = parser.parse_args()
    config = load_config(
        overrides={
            "prepare.spacing": None,
            "prepare.crop_to_body": False,
            "data.batch_size": BATCH,
            "data.patch_size": (512, 512),
            "data.workers": 0,
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        write_lits(Path(folder) / "raw", patients=5, shape=(48, 512, 512))
        prepared = prepare(Path(folder) / "raw", out=Path(folder) / "prepared", config=config.prepare)
        result: dict[str, object] = {
            "machine": {
                "processor": platform.processor() or platform.machine(),
                "cores": psutil.cpu_count(logical=False),
                "torch_threads": torch.get_num_threads(),
            },
        }
        result["step"] = costs = step(prepared, config.data, given.steps)
        rows: list[dict[str, object]] = []
        result["loading"] = rows
        for kept in (0, loader.CACHE_BYTES):
            for workers in (0, 1, 2):
                rows.append(speed(prepared, config.data, workers, kept, given.batches, costs["step_seconds"]))
                given.out.write_text(json.dumps(result, indent=1) + "\n")


def speed(
    prepared: Prepared, config: DataConfig, workers: int, kept: int, batches: int, step_seconds: float
) -> dict[str, object]:
    """Slices per second once all processes have started, and the time of a batch as a share of a step's."""
    loader.CACHE_BYTES = kept
    config = config.model_copy(update={"workers": workers})
    stream = loader.batches(prepared, config, AugmentConfig(), seed=0, start=0)
    for _ in range(batches if kept else 4):
        next(stream)
    began = time.monotonic()
    for _ in range(batches):
        next(stream)
    seconds = (time.monotonic() - began) / batches
    row: dict[str, object] = {
        "workers": workers,
        "kept_in_memory": bool(kept),
        "slices_per_second": round(config.batch_size / seconds, 1),
        "share_of_step": round(seconds / step_seconds, 5),
    }
    print(row, flush=True)
    return row


def step(prepared: Prepared, config: DataConfig, steps: int) -> dict[str, float]:
    """Seconds of a training step, and of all that happens to its batch before the network."""
    recipe = load_config()
    info = prepared.info
    fabric = Fabric(accelerator="cpu", devices=1)
    preprocessing = plan_preprocessing(info, info.intensities, config, (512, 512))
    model = create_model("case_unet", preprocessing.in_channels, len(info.label_map), **recipe.model.kwargs)
    optimize_for(model, "cpu")
    model = model.to(memory_format=torch.channels_last).train()
    loss = create_loss(recipe.loss.name, None, **recipe.loss.kwargs)
    batch = next(loader.batches(prepared, config, AugmentConfig(strength="none"), seed=0, start=0))
    times = []
    for _ in range(steps):
        began = time.monotonic()
        image, target, _ = prepare_batch(fabric, batch, preprocessing)
        loss(model(image), target).backward()
        times.append(time.monotonic() - began)
    costs = {"step_seconds": min(times)}
    for strength in ("none", "light", "default", "strong"):
        rng = np.random.default_rng(0)
        limits = resolve(AugmentConfig.model_validate({"strength": strength}))
        seconds = []
        for _ in range(40):
            drawn = tuple(draw_transforms(limits, rng, rgb=False) for _ in batch.samples)
            changed = replace(batch, augmentations=drawn)
            began = time.monotonic()
            prepare_batch(fabric, changed, preprocessing)
            seconds.append(time.monotonic() - began)
        costs[f"{strength}_seconds"] = float(np.mean(seconds))
        costs[f"{strength}_share"] = costs[f"{strength}_seconds"] / costs["step_seconds"]
    costs = {name: round(value, 4) for name, value in costs.items()}
    print(costs)
    return costs


if __name__ == "__main__":
    main()
