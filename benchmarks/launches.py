"""What a training step takes on a GPU when CASe-UNet launches many small kernels, as on a CPU, or few larger ones.

    python benchmarks/launches.py benchmarks/launches.json

On a CPU nothing is concatenated, up-sampled or multiplied by zero (blocks/implicit_concat.py). On a GPU every operation
costs a launch. There the three branches are one convolution, the three fusions another, and concatenations are built.
Both give the same numbers. A step is forward in bfloat16, hybrid loss, backward, clipping and Adamax; median of five.

Predicted: 2 to 2.5 times as fast at 64×64, where little but launches counts. It came out 1.4 times there: branches
whose channels are no multiple of 8 miss the tensor cores. At 256×256, for which nothing was
predicted and zeros of 7×7 kernels are multiplied, it is 1.5 to 1.9 times.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from caseunet.losses import create_loss
from caseunet.losses.deep_supervision import deeply_supervised
from caseunet.models import create_model, optimize_for
from caseunet.models.blocks import implicit_concat

NARROW = {
    "fusion_kernel_size": 1,
    "attention": "spatial",
    "attention_residual": True,
    "norm": "instance",
    "widths": [20, 40, 80, 160, 320],
}
CASES: list[tuple[str, str, dict[str, Any], int, int]] = [
    ("nnU-Net's network", "nnunet", {"patch_size": [64, 64]}, 64, 16),
    ("CASe-UNet, widths 20–160", "case_unet", NARROW | {"patch_size": [64, 64]}, 64, 16),
    ("nnU-Net's network", "nnunet", {"patch_size": [256, 256]}, 256, 8),
    ("CASe-UNet, widths 20–320", "case_unet", NARROW, 256, 8),
    ("the author's, fusion 1×1", "case_unet", {"fusion_kernel_size": 1}, 256, 8),
    ("the author's, fusion 3×3", "case_unet", {}, 256, 8),
]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    rows = []
    print(f"{'network':26} {'images':>12} {'many':>9} {'few':>9} {'ratio':>6}")
    for label, name, arguments, size, batch in CASES:
        few = step_milliseconds(name, arguments, size, batch, frozenset({"cuda"}))
        many = step_milliseconds(name, arguments, size, batch, frozenset()) if name == "case_unet" else None
        rows.append({"network": label, "size": size, "batch": batch, "many_ms": many, "few_ms": few})
        before, ratio = ("–", "–") if many is None else (f"{many:.1f}", f"{many / few:.2f}")
        print(f"{label:26} {f'{batch} × {size}²':>12} {before:>9} {few:9.1f} {ratio:>6}", flush=True)
    content = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": rows}
    options.out.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def step_milliseconds(name: str, arguments: dict[str, Any], size: int, batch: int, few_on: frozenset[str]) -> float:
    implicit_concat.FEW_LAUNCHES_ON = few_on
    torch.manual_seed(0)
    model = (
        optimize_for(create_model(name, 1, 2, **arguments), "cuda").cuda().to(memory_format=torch.channels_last).train()
    )
    optimizer, loss = torch.optim.Adamax(model.parameters()), create_loss("hybrid").cuda()
    image = torch.randn(batch, 1, size, size, device="cuda").contiguous(memory_format=torch.channels_last)
    target = torch.randint(0, 2, (batch, size, size), device="cuda")

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            outputs = model(image)
        deeply_supervised(loss, outputs, target).backward()
        torch.nn.utils.clip_grad_norm_(list(model.parameters()), 1.0)
        optimizer.step()

    seconds = []
    for _ in range(7):  # the first two warm up
        torch.cuda.synchronize()
        began = time.perf_counter()
        step()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds[2:])


if __name__ == "__main__":
    main()
