"""All that is measured on a GPU, in one run of less than eight minutes: training steps, frames, a CT, memory.

    python benchmarks/gpu.py benchmarks/gpu.json                  # rows that have no time left say so
    python benchmarks/gpu.py out.json --device cpu --minutes 2 --small    # a check of the script

Steps: recipe `default`'s network and nnU-Net's (where MONAI is installed) at 64², 256² and 512², loss and optimizer
included, without loading; in float32 and bfloat16, as PyTorch runs them, compiled, and compiled with CUDA graphs
(`torch.compile(mode="reduce-overhead")`). The median of the steps counts, after those in which kernels are chosen and
compiled, which are told by themselves. Batches: the largest of 256² that fits. Frames: 1280×1024 uint8 from the host
and their classes back, one after another, with the 95th percentile. CT: 512×512×96 from the array to the mask, as
`predict` does.

Predicted, and not measured yet on one machine (H200): 8 × 256² takes 55 ms as PyTorch runs it in bfloat16, 20 ms
compiled, 10 ms with graphs; float32 twice as long; nnU-Net's network a third less than ours, each in its own way.
"""

import argparse
import itertools
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from untrained import CT, save_untrained

from caseunet.config import load_config
from caseunet.losses import create_loss
from caseunet.losses.deep_supervision import deeply_supervised
from caseunet.models import create_model, optimize_for, plan_arguments
from caseunet.options import PredictionSettings
from caseunet.prediction.predictor import SlicePredictor
from caseunet.training.devices import fastest_layout
from caseunet.training.trial import largest_that

CLASSES = 3
WARM = 5
STEPS = [("case_unet", 16, 64), ("case_unet", 8, 256), ("case_unet", 4, 512), ("nnunet", 16, 64), ("nnunet", 8, 256)]
"""Network, batch, height and width."""
SMALL = [("case_unet", 2, 64)]
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}
WAYS: dict[str, dict[str, Any] | None] = {
    "eager": None,
    "compiled": {"dynamic": False},
    "graphs": {"mode": "reduce-overhead"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=7.5, help="after which nothing new is begun")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true", help="small images, to check the script")
    given = parser.parse_args()
    until = time.monotonic() + 60 * given.minutes
    rows: list[dict[str, Any]] = []
    for what, measure in rows_of(given.device, given.small):
        row: dict[str, Any] = {"what": what}
        if time.monotonic() > until:
            row["failed"] = "no time was left"
        else:
            try:
                row |= measure()
            except Exception as error:  # a compiler's own, or no MONAI: the other rows are measured
                row["failed"] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        rows.append(row)
        print(json.dumps(row), flush=True)
        content = {
            "device": torch.cuda.get_device_name() if given.device == "cuda" else platform.machine(),
            "torch": torch.__version__,
            "rows": rows,
        }
        given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if any("failed" not in row for row in rows) else 1)


def rows_of(device: str, small: bool) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """What is measured, in the order of its worth."""
    steps = SMALL if small else STEPS
    for (way, options), (network, batch, side) in itertools.product(WAYS.items(), steps):
        if way == "graphs" and device == "cpu":
            continue
        for precision, dtype in reversed(PRECISIONS.items()):
            if dtype is not None and device == "cpu":  # without units for it hundreds of times slower
                continue
            name = f"step of {network}, {batch} × {side}², {precision}, {way}"
            yield name, partial(time_steps, network, batch, side, dtype, options, device)
        if (network, batch, side) == steps[0] and way == "eager":
            yield "frames of 1280×1024", partial(time_frames, (64, 96) if small else (1024, 1280), device)
    if device == "cuda":
        yield "largest batch of 256²", lambda: {"slices": largest_that(lambda n: fits(n, device), 256)}
    for precision in ("fp32", "bf16") if device == "cuda" else ("fp32",):
        yield f"CT, {precision}", partial(time_scan, (4, 64, 64) if small else (96, 512, 512), precision, device)


def time_steps(
    network: str, batch: int, side: int, dtype: torch.dtype | None, options: dict[str, Any] | None, device: str
) -> dict[str, Any]:
    """Of training steps: the median, and what came before they were steady."""
    step = training_step(network, batch, side, dtype, options, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    first = timed(step, WARM, device)
    seconds = timed(step, 30 if device == "cuda" else 3, device)
    peak = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None
    return {"median_ms": 1e3 * float(np.median(seconds)), "first_seconds": sum(first), "peak_mib": peak}


def training_step(
    network: str, batch: int, side: int, dtype: torch.dtype | None, options: dict[str, Any] | None, device: str
) -> Callable[[], object]:
    """Forward, loss, backward and update on one made-up batch."""
    recipe = load_config()
    kwargs = recipe.model.kwargs if network == recipe.model.name else {"patch_size": "auto"}
    torch.manual_seed(0)
    layout = fastest_layout(torch.device(device))
    model = create_model(network, 1, CLASSES, **plan_arguments(network, kwargs, (side, side)))
    model = optimize_for(model, device).to(device, memory_format=layout).train()  # type: ignore[call-overload]
    optimizer = torch.optim.Adamax(model.parameters(), 1e-3)
    loss = create_loss(recipe.loss.name, None, **recipe.loss.kwargs).to(device)
    image = torch.randn(batch, 1, side, side, device=device).contiguous(memory_format=layout)
    target = torch.randint(0, CLASSES, (batch, side, side), device=device)
    forward = model if options is None else torch.compile(model, **options)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, dtype or torch.bfloat16, enabled=dtype is not None):
            outputs = forward(image)
        deeply_supervised(loss, outputs, target).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def timed(step: Callable[[], object], count: int, device: str) -> list[float]:
    """Seconds of each, to its end on the device."""
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return seconds


def fits(batch: int, device: str) -> bool:
    """Whether a step of so many slices of 256² fits into the GPU's memory."""
    try:
        timed(training_step("case_unet", batch, 256, torch.bfloat16, None, device), 1, device)
    except torch.OutOfMemoryError:
        return False
    finally:
        torch.cuda.empty_cache()
    return True


def time_frames(size: tuple[int, int], device: str) -> dict[str, Any]:
    """Of colour frames, one after another: median and 95th percentile."""
    recipe = load_config()
    torch.manual_seed(0)
    kwargs = plan_arguments(recipe.model.name, recipe.model.kwargs, size)
    network = optimize_for(create_model(recipe.model.name, 3, 8, **kwargs).eval(), device).to(device)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    network = network.to(dtype)
    frame = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)

    @torch.inference_mode()
    def segment() -> None:
        network(frame.to(device).to(dtype).div_(255)).argmax(1).to(torch.uint8).cpu()

    timed(segment, WARM, device)
    seconds = timed(segment, 100 if device == "cuda" else 2, device)
    return {"median_ms": 1e3 * float(np.median(seconds)), "p95_ms": 1e3 * float(np.quantile(seconds, 0.95))}


def time_scan(shape: tuple[int, int, int], precision: Literal["fp32", "bf16"], device: str) -> dict[str, Any]:
    """Of a made-up CT: the second of two runs."""
    pixels = np.random.default_rng(0).integers(-1000, 1000, (shape[0], 1, *shape[1:])).astype(np.int16)
    with tempfile.TemporaryDirectory() as folder:
        bundle = save_untrained(Path(folder) / "bundle", load_config().model, CT)
        predictor = SlicePredictor(bundle, device, settings=PredictionSettings(precision=precision))
        seconds = timed(lambda: predictor.predict_slices(pixels, (1.0, 0.8, 0.8)), 2, device)
    return {"seconds": seconds[1], "first_seconds": seconds[0]}


if __name__ == "__main__":
    main()
