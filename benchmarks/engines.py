"""What computes CASe-UNet fastest on this CPU: PyTorch, OpenVINO, ONNX Runtime, in float32, bfloat16 and eight bits.

    python benchmarks/engines.py benchmarks/engines.json
    python benchmarks/engines.py out.json --bundle run/bundle --data prepared --size 512 512

Without a bundle it is the author's lighter network (fusion 1×1, 3 channels, 3 classes) with fresh weights, whose masks
mean nothing: only times are told. With one, its own network, and the Dice between the masks of each engine and
PyTorch's in float32 on slices of ``--data``.

The bound is what the arithmetic alone would take: multiply-adds as this package does them (80.9·10⁹ at 512×512; written
plainly it would be 110.6·10⁹) over the rate of a float32 matrix product of this machine, the higher of PyTorch's and
OpenVINO's (MKL, which PyTorch calls, leaves half of what an AMD processor can), measured before and after, by the same
threads. Every engine gets the same threads and the same image; of several calls the fastest counts, for
whatever else the machine does only adds to them.

Predicted before it was run: OpenVINO float32 within 1.25 of the bound, since its convolutions are matrix products of
large matrices; bfloat16 twice as fast, as the processor's instruction does two for one; eight bits three to four times.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from untrained import AUTHORS, save_untrained

from caseunet.bundle import Bundle, load_bundle
from caseunet.export.formats import ExportableModel, write
from caseunet.export.parity import CALIBRATION_SLICES, SLICES, samples
from caseunet.files import location
from caseunet.prediction.backends import run_openvino
from caseunet.prediction.exports import runner

KINDS = (
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("onnx", "fp32"),
    ("onnx", "int8"),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--size", type=int, nargs=2, default=(512, 512))
    parser.add_argument("--calls", type=int, default=7)
    parser.add_argument("--only", nargs="*", default=None, help="such as openvino-int8")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bundle = load_bundle(options.bundle) if options.bundle else save_untrained(Path(scratch) / "bundle", AUTHORS)
        whole = ExportableModel(bundle).eval()
        x = torch.randn(1, whole.in_channels, *options.size) * 100
        before, gmac = matrix_rate(), multiply_adds(whole, x)
        rows: list[dict[str, Any]] = []
        for name, seconds, dice in measured(whole, bundle, x, options, Path(scratch)):
            rows.append({"engine": name, "seconds": seconds, "mask_dice": dice})
            print(f"{name:24} {seconds:7.3f} s  {dice or ''}", flush=True)
        rates = {name: max(rate, before[name]) for name, rate in matrix_rate().items()}
    rate = max(rates.values())
    bound = gmac / rate
    content = {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "network": bundle.info.architecture.model_dump(),
        "size": list(options.size),
        "gmac": gmac,
        "matrix_gmac_per_second_of": rates,
        "matrix_gmac_per_second": rate,
        "bound_seconds": bound,
        "rows": rows,
    }
    options.out.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    show(content)


def show(content: dict[str, Any]) -> None:
    own = {row["engine"]: row["seconds"] for row in content["rows"]}
    first, bound = own.get("openvino 32", next(iter(own.values()))), content["bound_seconds"]
    print(f"\n{content['gmac']:.1f} GMAC at {content['matrix_gmac_per_second']:.1f} GMAC/s: {bound:.3f} s")
    print("| engine | seconds | of the bound | times OpenVINO's float32 | Dice between masks |\n|---|--:|--:|--:|--:|")
    for row in content["rows"]:
        seconds, dice = row["seconds"], row["mask_dice"] or {}
        told = ", ".join(f"{name} {value:.4f}" for name, value in dice.items()) or "–"
        print(f"| {row['engine']} | {seconds:.3f} | {seconds / bound:.2f} | {first / seconds:.2f} | {told} |")


def measured(
    whole: ExportableModel, bundle: Bundle, x: torch.Tensor, options: argparse.Namespace, scratch: Path
) -> Iterator[tuple[str, float, dict[str, float] | None]]:
    """(engine, seconds of a slice, Dice between its masks and PyTorch's of each class)."""
    data = location(options.data) if options.data else None
    checked = samples(bundle, whole, data, SLICES, of_training=False).pixels if data else []
    calibration = samples(bundle, whole, data, CALIBRATION_SLICES if data else 4, of_training=True).pixels
    names = bundle.info.label_map.names
    with torch.inference_mode():
        channels_last = x.contiguous(memory_format=torch.channels_last)
        expected = [whole(torch.from_numpy(s[None])).argmax(1).numpy() for s in checked]
        yield "torch 32", fastest(lambda: whole(channels_last), options.calls), None
        half = whole.in_half(torch.bfloat16)
        yield "torch bf16", fastest(lambda: half(channels_last), options.calls), None
    for format, precision in KINDS:
        if options.only is not None and f"{format}-{precision}" not in options.only:
            continue
        folder = scratch / f"{format}-{precision}"
        folder.mkdir()
        write(whole, format, precision, folder, [s[None] for s in calibration])
        run, pixels = runner(format, precision, folder), x.numpy()
        seconds = fastest(lambda: run(pixels), options.calls)  # noqa: B023
        found = [run(s[None]).argmax(1) for s in checked]
        yield f"{format} {precision}", seconds, dice_of(expected, found, names) if checked else None


def dice_of(expected: list[np.ndarray], found: list[np.ndarray], names: tuple[str, ...]) -> dict[str, float]:
    scores = {}
    for c, name in enumerate(names[1:], 1):
        both = sum(int(((a == c) & (b == c)).sum()) for a, b in zip(expected, found, strict=True))
        either = sum(int((a == c).sum() + (b == c).sum()) for a, b in zip(expected, found, strict=True))
        if either:
            scores[name] = 2 * both / either
    return scores


def fastest(call: Callable[[], Any], calls: int) -> float:
    call()
    took = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return min(took)


def matrix_rate(n: int = 2048) -> dict[str, float]:
    """10⁹ multiply-adds a second of a float32 product of n × n matrices, by each library that is here."""
    a, b = torch.randn(n, n), torch.randn(n, n)
    calls: dict[str, Callable[[], Any]] = {"torch": lambda: a @ b}
    if find_spec("openvino"):
        import openvino
        from openvino import opset13

        left = opset13.parameter([n, n], np.float32)
        product = openvino.Model([opset13.matmul(left, opset13.constant(b.numpy()), False, False)], [left])
        run, x = run_openvino(product, "fp32"), a.numpy()
        calls["openvino"] = lambda: run(x)
    return {name: n**3 / fastest(call, 12) / 1e9 for name, call in calls.items()}


def multiply_adds(whole: ExportableModel, x: torch.Tensor) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        whole(x)
    return float(counter.get_total_flops()) / 2e9


if __name__ == "__main__":
    main()
