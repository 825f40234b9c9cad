"""All networks in one run: parameters, multiply-adds, time and memory of prediction and of a training step.

python benchmarks/networks.py OUT.json [--device cuda] [--size 512] [--batch 1] [--bf16] [--compiled] [--only NAME ...]
    [--models FILE ...]

Besides the registered networks (default arguments, 3 channels, 3 classes) there are CASe-UNet as recipe "default" has
it, its lighter version, and both of the author's in the plain form, in which concatenations and up-sampled maps are
built; those also in contiguous memory format, since each form may take its better one. A training step is forward,
hybrid loss, backward and a step of Adamax. Every figure is from a process of its own: the median time of three calls
after one, and the highest memory above what the process held before, weights included. Ratios are to the network
"nnunet". On Linux the allocator keeps much of what was freed; with MALLOC_MMAP_THRESHOLD_=65536 in the environment it
gives that back at once, and the memory shown is what is really needed (times are not to be read from such a run).

Predicted for CASe-UNet with 1×1 fusion at 512×512 on two CPU cores, in float32: 1.37 times fewer multiply-adds (110.6
to 80.7), and 1.6 times the speed of prediction, since less is copied too; half the memory of a training step. What came
out is in networks.json and explained in docs/research/speed.md.
"""

import argparse
import json
import platform
import sys
from functools import partial
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.models.plain import PlainCaseUNet

from caseunet.config import load_config
from caseunet.errors import CaseUNetError
from caseunet.files import write_json
from caseunet.models import create_model, list_models, plan_arguments
from caseunet.studies.costs import Workload, count, measure

BASE = "nnunet"


def plain(fusion_kernel_size: int) -> nn.Module:
    return PlainCaseUNet(create_model("case_unet", 3, 3, fusion_kernel_size=fusion_kernel_size))  # type: ignore[arg-type]


def forms(size: tuple[int, int]) -> dict[str, tuple]:
    """Name of the row → how to build the network (planned for the size), and whether in channels-last memory format."""
    rows: dict[str, tuple] = {}
    for fusion in (3, 1):
        for label, build in (
            ("", partial(create_model, "case_unet", 3, 3, fusion_kernel_size=fusion)),
            (", plain", partial(plain, fusion)),
        ):
            for layout in ("", ", contiguous"):
                rows[f"case_unet {fusion}×{fusion}{label}{layout}"] = (build, not layout)
    default = load_config().model
    planned = plan_arguments(default.name, default.kwargs, size)
    rows["case_unet default"] = (partial(create_model, default.name, 3, 3, **planned), True)
    for name in list_models():
        if name != "case_unet":
            rows[name] = (partial(create_model, name, 3, 3, **plan_arguments(name, {}, size)), True)
    return rows


def of_files(paths: list[Path], size: tuple[int, int]) -> dict[str, tuple]:
    """As :func:`forms`, of the networks in configuration files."""
    rows = {}
    for path in paths:
        model = load_config(path).model
        planned = plan_arguments(model.name, model.kwargs, size)
        rows[path.stem] = (partial(create_model, model.name, 3, 3, **planned), True)
    return rows


def machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    model = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return f"{model[0] if model else platform.machine()}, {torch.get_num_threads()} threads"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--models", nargs="*", type=Path, help="configuration files, instead of all networks")
    options = parser.parse_args()
    size = (options.size, options.size)
    about = {
        "machine": machine(options.device),
        "torch": torch.__version__,
        "size": size,
        "batch": options.batch,
        "arithmetic": "bf16" if options.bf16 else "float32",
        "compiled": options.compiled,
    }
    print(json.dumps(about))
    print(f"{'network':32} {'million':>8} {'GMAC':>7}  prediction ms, MiB   training ms, MiB")
    rows: dict[str, dict] = {}
    for label, (build, channels_last) in (of_files(options.models, size) if options.models else forms(size)).items():
        if options.only and not label.startswith(tuple(options.only)):
            continue
        parameters, gmac = count(build, size)
        row = {"parameters": parameters, "gmac": round(gmac, 2)}
        for kind, training in (("prediction", False), ("training", True)):
            try:
                workload = Workload(
                    batch=options.batch,
                    device=options.device,
                    training=training,
                    bf16=options.bf16,
                    channels_last=channels_last,
                    compiled=options.compiled,
                )
                cost = measure(build, size, workload)
                row[kind] = {key: round(value, 2) for key, value in vars(cost).items()}
            except CaseUNetError as error:
                row[kind] = {"failed": str(error)}
        rows[label] = row
        print(
            f"{label:32} {parameters / 1e6:8.1f} {gmac:7.1f}  {_cell(row['prediction'])}   {_cell(row['training'])}",
            flush=True,
        )
        for other in rows.values():
            _add_ratios(other, rows.get(BASE))
        write_json(options.out, about | {"networks": rows})


def _cell(cost: dict) -> str:
    return f"{cost['milliseconds']:8.0f} {cost['peak_mib']:8.0f}" if "failed" not in cost else "failed"


def _add_ratios(row: dict, base: dict | None) -> None:
    for kind in ("prediction", "training"):
        if base and "failed" not in row[kind] and "failed" not in base[kind]:
            row[kind]["time_to_nnunet"] = round(row[kind]["milliseconds"] / base[kind]["milliseconds"], 2)
            row[kind]["memory_to_nnunet"] = round(row[kind]["peak_mib"] / base[kind]["peak_mib"], 2)


if __name__ == "__main__":
    main()
