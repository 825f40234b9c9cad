"""Frames a second, one after another as from a camera: PyTorch as it is, compiled, with CUDA graphs, TensorRT.

    python benchmarks/frames.py benchmarks/frames.json --size 1024 1280 --device cuda
    python benchmarks/frames.py out.json --size 128 160 --frames 8 --device cpu      # a check of the script

The network is the author's lighter one (fusion 1×1, 3 channels, 8 classes) with fresh weights: only times are told. A
frame is uint8 in the host's memory; it is copied to the device, scaled, segmented, and its classes (uint8) are copied
back, before the next one begins. Latency is from one to the other; the first frames, in which kernels are chosen and
compiled, do not count. CUDA graphs are `torch.compile(mode="reduce-overhead")`. TensorRT is tried where torch_tensorrt
is installed. What a way cannot do is told in its row.

Predicted, and not measured yet: on an H100 bfloat16 takes half of float32's time, compiling a quarter off that, graphs
little more, since kernels at this size are long.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from caseunet.models import create_model, optimize_for

WARM = 5
Step = Callable[[Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 1280), metavar=("H", "W"))
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    frames = np.random.default_rng(0).integers(0, 256, (8, 1, 3, *given.size), dtype=np.uint8)
    rows = []
    for name, make in ways(given.device):
        torch.manual_seed(0)
        network = optimize_for(create_model("case_unet", 3, 8, fusion_kernel_size=1).eval(), given.device).to(
            given.device
        )
        rows.append({"way": name} | tried(make, network, frames, given.frames, given.device))
        print(json.dumps(rows[-1]), flush=True)
    content = {
        "device": torch.cuda.get_device_name() if given.device == "cuda" else platform.processor() or "CPU",
        "torch": torch.__version__,
        "size": list(given.size),
        "frames": given.frames,
        "rows": rows,
    }
    given.out.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print("\n| way | frames/s | median ms | p95 ms |\n|---|--:|--:|--:|")
    for row in rows:
        told = row.get("failed") or f"{row['per_second']:.1f} | {row['median_ms']:.1f} | {row['p95_ms']:.1f}"
        print(f"| {row['way']} | {told} |")


def ways(device: str) -> Iterator[tuple[str, Callable[[nn.Module], Step]]]:
    """(name, what makes a network ready)."""
    yield "float32", lambda network: network
    yield "bfloat16", half
    yield "bfloat16, compiled", lambda network: torch.compile(half(network), dynamic=False)
    if device == "cuda":
        yield "bfloat16, CUDA graphs", lambda network: torch.compile(half(network), mode="reduce-overhead")
        if find_spec("torch_tensorrt"):
            yield "bfloat16, TensorRT", lambda network: torch.compile(half(network), backend="torch_tensorrt")


def half(network: nn.Module) -> Any:
    return network.to(torch.bfloat16, memory_format=torch.channels_last)


def tried(make: Callable[[nn.Module], Step], network: nn.Module, frames: np.ndarray, number: int, device: str) -> Any:
    """Frames a second and latencies, or why there are none."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    try:
        with torch.inference_mode():
            step = make(network)
            dtype = next(network.parameters()).dtype
            took = []
            for n in range(WARM + number):
                began = time.perf_counter()
                x = torch.from_numpy(frames[n % len(frames)]).to(device, dtype).div_(255)
                step(x.contiguous(memory_format=torch.channels_last)).argmax(1).to(torch.uint8).cpu()
                took.append(time.perf_counter() - began)
    except Exception as error:  # a compiler's own
        return {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
    seconds = np.array(took[WARM:])
    return {
        "per_second": float(1 / seconds.mean()),
        "median_ms": float(np.median(seconds) * 1e3),
        "p95_ms": float(np.quantile(seconds, 0.95) * 1e3),
        "peak_mib": torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None,
    }


if __name__ == "__main__":
    main()
