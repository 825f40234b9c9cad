"""Kill a training at random moments, go on with it, and compare it with one that was left alone, bit by bit.

    python benchmarks/resume.py benchmarks/resume.json

A small CASe-UNet on made-up patients, with a checkpoint every second and a moving average of the weights. The kills
(SIGKILL) come up to 5 seconds after the run's folder is opened, so some hit the trial step, most a step, some a
checkpoint or a validation. Compared are the bundle's weights, the last checkpoint, and metrics.csv without its clock.

Predicted: every number the same.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
from torch.utils._pytree import tree_leaves

from caseunet.bundle import load_bundle
from caseunet.commands.prepare import prepare
from caseunet.config import load_config
from caseunet.datasets.generate import write_lits
from caseunet.training.checkpoint import Checkpoints


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_lits(folder / "raw", patients=5, shape=(24, 96, 96))
        prepare(folder / "raw", folder / "prepared", load_config().prepare)
        command = [sys.executable, "-m", "caseunet", "train", str(folder / "prepared"), "--steps", str(given.steps)]
        command += ["--model.kwargs", "{widths: [8, 16, 32], norm: instance}", "--training.ema_decay", "0.99"]
        command += ["--training.checkpoint_minutes", "0.017", "--training.num_validations", "10"]
        whole, broken = folder / "whole", folder / "broken"
        subprocess.run([*command, "--out", str(whole)], check=True, stdout=subprocess.DEVNULL)
        kills: list[dict[str, object]] = []
        while len(kills) < given.kills:
            after = draw.uniform(0, 5)
            opened = broken / "environment.json"
            before = opened.stat().st_mtime_ns if opened.exists() else 0
            process = subprocess.Popen([*command, "--out", str(broken), "--resume"], stdout=subprocess.DEVNULL)
            while process.poll() is None and (opened.stat().st_mtime_ns if opened.exists() else 0) == before:
                time.sleep(0.01)
            time.sleep(after)
            if process.poll() is not None:
                raise SystemExit(f"it ended after {len(kills)} kills: take more --steps")
            process.send_signal(signal.SIGKILL)
            process.wait()
            files = sorted(path.name for path in broken.glob("checkpoints/*"))
            kills.append({"seconds": round(after, 2), "files": files})
            print(kills[-1], flush=True)
        subprocess.run([*command, "--out", str(broken), "--resume"], check=True, stdout=subprocess.DEVNULL)
        result = {"kills": kills, "steps": given.steps, **compared(whole, broken, given.steps)}
    print({key: value for key, value in result.items() if key != "kills"})
    given.out.write_text(json.dumps(result, indent=1) + "\n")


def compared(whole: Path, broken: Path, steps: int) -> dict[str, object]:
    """What is the same in two runs."""
    weights = [load_bundle(run / "bundle").weights for run in (whole, broken)]
    states = [tree_leaves(Checkpoints(run / "checkpoints").load("step", steps)) for run in (whole, broken)]
    tensors = [[leaf for leaf in leaves if isinstance(leaf, torch.Tensor)] for leaves in states]
    metrics = [pd.read_csv(run / "metrics.csv") for run in (whole, broken)]
    clock = ["seconds", "images_per_second"]
    return {
        "weights_same": all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0]),
        "checkpoint_tensors": len(tensors[0]),
        "checkpoint_same": all(torch.equal(a, b) for a, b in zip(*tensors, strict=True)),
        "metrics_rows": len(metrics[0]),
        "metrics_same": metrics[0].drop(columns=clock).equals(metrics[1].drop(columns=clock)),
    }


if __name__ == "__main__":
    main()
