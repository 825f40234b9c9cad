r"""`caseunet predict` beside nnU-Net's 2d prediction of the same CT on a CPU: seconds and memory of the whole commands.

    python benchmarks/prediction.py OUT.json --nnunet ENV/bin [--volume ct.nii.gz] [--repeats 3] \
        --caseunet-args "" --caseunet-args "--backend openvino --precision bf16" [--network author] [--int8 PREPARED]

ENV is an environment of its own with nnU-Net v2 (measured: 2.8.1), into which nothing is patched. It needs the same
torch, and neither timm nor torchvision: `pip install --no-deps nnunetv2 dynamic-network-architectures batchgenerators
batchgeneratorsv2 acvl-utils blosc2`, and what these import. The volume is cut to `--slices`, or repeated; without one a
made-up patient of 512×512 is drawn. Each `--caseunet-args` is one variant. Linux only.

nnU-Net: `nnUNetv2_predict -c 2d -f 0 --disable_tta -device cpu`, one fold, all else as it comes. Its own planner plans
the 2d network from the volume (for 512×512: PlainConvUNet of 8 stages, up to 512 features, patches of 512×512); the
weights are random, and lie with the optimiser's momentum in checkpoint_final.pth, as after a training. CASe-UNet: the
default recipe's network, or with `--network author` the author's lighter one (fusion 1×1) at its full width; random
weights, three neighbouring slices as channels, air cropped. `--int8` adds one exported in 8 bits for OpenVINO, whose
ranges of activations are found on CT volumes of PREPARED (`make demo` leaves some in demo/prepared). Neither side
resamples, since the volume has the spacing that was trained for. nnU-Net crops no air of a CT; how much that matters
depends on the share of air, which is printed. Both get as many threads as the machine has cores (OMP_NUM_THREADS,
MKL_NUM_THREADS, nnUNet_def_n_proc), since nnU-Net takes all.

Seconds run from the start of the command to its end: start, reading, network and writing. CPU seconds are those of all
its processes, and suffer less from what else the machine does. Both are medians of the repeats, in which the commands
take turns. Memory comes from a run before them, which also warms the file cache, since looking takes time: the process
and all its descendants, ten times a second. `peak_mib` is the most that they held together: their anonymous and shared
memory, each page once (PSS), and of mapped files (libraries, weights) what the largest of them has, as all map the
same. `uss_mib` is the most that their USS added up to, which leaves out what two processes share, and so all that
nnU-Net's forked manager shares with its parent. `largest_mib` is the largest VmHWM of a single process, as ru_maxrss
would tell. The sum of RSS is not told: it would count what a process shares with what it forks twice.

Predicted before the first run: CASe-UNet in bf16 at most half the seconds and half the peak memory of nnU-Net.
"""

import argparse
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

import nibabel as nib
import numpy as np
import psutil
import torch
from untrained import AUTHORS, LABELS, save_untrained

from caseunet.commands.export import export
from caseunet.config import load_config
from caseunet.data.grid import BODY, body_box
from caseunet.datasets.generate.drawings import draw_patient, orient
from caseunet.files import write_json
from caseunet.io.nifti import read_nifti

DATASET = "Dataset901_Prediction"
BASE = "nnU-Net 2d"
MIB = 2**20
COSTS = ("seconds", "cpu_seconds", "peak_mib", "uss_mib", "largest_mib")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16")

RANDOM_NNUNET = """
import json, sys
from pathlib import Path
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

folder = Path(sys.argv[1])
plans, dataset = (json.loads((folder / name).read_text()) for name in ("plans.json", "dataset.json"))
manager = PlansManager(plans)
torch.manual_seed(0)
network = nnUNetTrainer.build_network_architecture(manager, manager.get_configuration("2d"), 1, 3, True)
optimizer = torch.optim.SGD(network.parameters(), 1e-2, momentum=0.99, nesterov=True, weight_decay=3e-5)
for parameter in network.parameters():
    parameter.grad = torch.zeros_like(parameter)
optimizer.step()
checkpoint = {
    "network_weights": network.state_dict(),
    "optimizer_state": optimizer.state_dict(),
    "grad_scaler_state": None,
    "logging": {},
    "_best_ema": None,
    "current_epoch": 1000,
    "init_args": {"plans": plans, "configuration": "2d", "fold": 0, "dataset_json": dataset},
    "trainer_name": "nnUNetTrainer",
    "inference_allowed_mirroring_axes": (0, 1),
}
(folder / "fold_0").mkdir()
torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
print(sum(parameter.numel() for parameter in network.parameters()))
"""
"""Run by nnU-Net's Python on a folder with plans and dataset; the last line is the number of parameters."""

VERSIONS = """
import json, torch
from importlib.metadata import version
print(json.dumps({"version": version("nnunetv2"), "torch": torch.__version__}))
"""


@dataclass(frozen=True)
class Memory:
    """What the processes of a command held at most; the module's docstring says what each is."""

    peak_mib: float
    uss_mib: float
    largest_mib: float
    processes: int
    """That ran at once, at most."""


@dataclass(frozen=True)
class Time:
    """What a run of a command took."""

    seconds: float
    cpu_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--nnunet", type=Path, required=True, help="bin folder of the environment with nnU-Net")
    parser.add_argument("--volume", type=Path, help="a CT, .nii or .nii.gz")
    parser.add_argument("--slices", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--network", choices=("default", "author"), default="default")
    parser.add_argument(
        "--int8", type=Path, metavar="PREPARED", help="also an export in 8 bits, calibrated on these CT"
    )
    parser.add_argument("--caseunet-args", action="append", help="further arguments of a variant, in one string")
    given = parser.parse_args()
    threads = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "nnUNet_def_n_proc": str(threads),
            "nnUNet_raw": str(folder / "raw"),
            "nnUNet_preprocessed": str(folder / "preprocessed"),
            "nnUNet_results": str(folder / "results"),
        }
        pixels, spacing = scan(given.volume, given.slices)
        save(folder / "input" / "ct_0000.nii.gz", pixels, spacing)
        result: dict[str, object] = {
            "machine": machine(threads),
            "scan": about_scan(given.volume, pixels, spacing),
            "nnunet": random_nnunet(given.nnunet, folder, pixels, spacing, environment),
            "caseunet": random_bundle(folder / "bundle", given.network),
        }
        print(json.dumps(result))

        commands = {BASE: nnunet_command(given.nnunet, folder)}
        for variant in given.caseunet_args or [""]:
            commands[f"caseunet {variant}".strip()] = caseunet_command(folder, variant)
        if given.int8:
            export(folder / "bundle", out=folder / "int8", format="openvino", precision="int8", data=given.int8)
            commands["caseunet, export in int8"] = caseunet_command(folder, f"--exported {folder / 'int8'}")
        result["commands"] = {
            label: shlex.join([Path(command[0]).name, *command[1:]]).replace(name, "FOLDER")
            for label, command in commands.items()
        }
        memory: dict[str, Memory] = {}
        classes: dict[str, list[float]] = {}
        for label, command in commands.items():
            memory[label] = watched(command, folder / "log.txt", environment)
            classes[label] = shares(folder, command)
            print(label, memory[label], "classes", classes[label], flush=True)
        times: dict[str, list[Time]] = {label: [] for label in commands}
        for _ in range(given.repeats):
            for label, command in commands.items():
                times[label].append(timed(command, folder / "log.txt", environment))
                print(label, times[label][-1], flush=True)
            result["rows"] = rows = table(memory, times, classes)
            write_json(given.out, result)
    show(rows)


def scan(volume: Path | None, slices: int) -> tuple[np.ndarray, tuple[float, float, float]]:
    """HU (S, H, W), int16, in canonical order, and millimetres between slices, rows and columns."""
    if volume is None:
        return draw_patient(0, 0, (slices, 512, 512)).hounsfield, (2.0, 0.75, 0.75)
    picture = read_nifti(volume)
    pixels = picture.pixels[np.arange(slices) % len(picture.pixels), 0]
    return pixels.astype(np.int16), picture.geometry.spacing or (2.0, 0.75, 0.75)


def save(path: Path, array: np.ndarray, spacing: tuple[float, float, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(orient([array], spacing, "LPS"), path)


def about_scan(volume: Path | None, pixels: np.ndarray, spacing: tuple[float, float, float]) -> dict[str, object]:
    top, left, bottom, right = body_box(pixels[:, None])
    return {
        "volume": volume.name if volume else "made up",
        "shape": pixels.shape,
        "spacing_mm": [round(float(length), 4) for length in spacing],
        "share_of_air": round(float(np.mean(pixels <= BODY)), 3),
        "body_box": [bottom - top, right - left],
        "share_cut_off_by_crop_air": round(1 - (bottom - top) * (right - left) / pixels[0].size, 3),
    }


def machine(threads: int) -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    facts = {
        key: next((line.split(":")[1].strip() for line in lines if line.startswith(key)), "")
        for key in ("model name", "flags")
    }
    return {
        "processor": facts["model name"] or platform.machine(),
        "cores": psutil.cpu_count(logical=False),
        "threads": threads,
        "flags": {flag: flag in facts["flags"].split() for flag in FLAGS},
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
    }


def random_bundle(folder: Path, network: str) -> dict[str, object]:
    """Write an untrained bundle of the default recipe's network, or the author's; returns what it is."""
    bundle = save_untrained(folder, load_config().model if network == "default" else AUTHORS)
    return {
        "version": bundle.info.code_version,
        "torch": torch.__version__,
        "parameters": sum(tensor.numel() for tensor in bundle.weights.values()),
        "architecture": {"name": bundle.info.architecture.name, **bundle.info.architecture.kwargs},
    }


def random_nnunet(
    programs: Path,
    folder: Path,
    pixels: np.ndarray,
    spacing: tuple[float, float, float],
    environment: dict[str, str],
) -> dict[str, object]:
    """Plan nnU-Net's networks for two copies of the volume and store an untrained 2d one; returns what it is.

    The boxes that stand for liver and tumour decide nothing but the intensities by which it normalises.
    """
    raw = folder / "raw" / DATASET
    S, H, W = pixels.shape
    labels = np.zeros(pixels.shape, np.uint8)
    labels[S // 3 : 2 * S // 3, H // 3 : 2 * H // 3, W // 3 : 2 * W // 3] = 1
    labels[S // 2, H // 2 : H // 2 + 20, W // 2 : W // 2 + 20] = 2
    for n in range(2):
        save(raw / "imagesTr" / f"case{n}_0000.nii.gz", pixels, spacing)
        save(raw / "labelsTr" / f"case{n}.nii.gz", labels, spacing)
    description = {
        "channel_names": {"0": "CT"},
        "labels": {name: i for i, name in enumerate(LABELS)},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    write_json(raw / "dataset.json", description)
    for command in (
        ["nnUNetv2_extract_fingerprint", "-d", "901", "-np", "1"],
        ["nnUNetv2_plan_experiment", "-d", "901"],
    ):
        output([str(programs / command[0]), *command[1:]], environment)
    plans = json.loads((folder / "preprocessed" / DATASET / "nnUNetPlans.json").read_text())
    model = folder / "results" / DATASET / "nnUNetTrainer__nnUNetPlans__2d"
    write_json(model / "plans.json", plans)
    write_json(model / "dataset.json", description)
    python = str(programs / "python")
    parameters = int(output([python, "-c", RANDOM_NNUNET, str(model)], environment).split()[-1])
    configuration = plans["configurations"]["2d"]
    architecture = configuration["architecture"]
    return json.loads(output([python, "-c", VERSIONS], environment)) | {
        "parameters": parameters,
        "patch_size": configuration["patch_size"],
        "network": architecture["network_class_name"].split(".")[-1],
        "features_per_stage": architecture["arch_kwargs"]["features_per_stage"],
    }


def output(command: list[str], environment: dict[str, str]) -> str:
    """What a command prints; ends the benchmark with its last words if it fails."""
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    if done.returncode:
        fail(command, done.stdout + done.stderr)
    return done.stdout


def fail(command: list[str], words: str) -> NoReturn:
    sys.exit(f"{shlex.join(command)} failed:\n{words[-2000:]}")


def nnunet_command(programs: Path, folder: Path) -> list[str]:
    paths = ["-i", str(folder / "input"), "-o", str(folder / "nnunet")]
    how = shlex.split("-d 901 -c 2d -f 0 --disable_tta -device cpu")
    return [str(programs / "nnUNetv2_predict"), *paths, *how]


def caseunet_command(folder: Path, variant: str) -> list[str]:
    start = [sys.executable, "-c", "from caseunet.cli import main; main()", "predict"]
    paths = [str(folder / "bundle"), str(folder / "input" / "ct_0000.nii.gz"), "--out", str(folder / "caseunet")]
    return [*start, *paths, "--device", "cpu", "--overwrite", *shlex.split(variant)]


def timed(command: list[str], log: Path, environment: dict[str, str]) -> Time:
    """Run a command; ends the benchmark with its last words if it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    with log.open("w") as words:
        done = subprocess.run(command, env=environment, stdout=words, stderr=subprocess.STDOUT)
    seconds = time.monotonic() - began
    if done.returncode:
        fail(command, log.read_text())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Time(round(seconds, 2), round(cpu_seconds, 2))


def watched(command: list[str], log: Path, environment: dict[str, str]) -> Memory:
    """Run a command and look at the memory of its processes; ends the benchmark with its last words if it fails."""
    peak = uss = largest = 0.0
    most = 0
    with log.open("w") as words:
        process = subprocess.Popen(command, env=environment, stdout=words, stderr=subprocess.STDOUT)
        while process.poll() is None:
            held = [memory for pid in family(process.pid) if (memory := memory_of(pid))]
            peak = max(
                peak, sum(m["Pss_Anon"] + m["Pss_Shmem"] for m in held) + max((m["RssFile"] for m in held), default=0)
            )
            uss = max(uss, sum(m["Private_Clean"] + m["Private_Dirty"] for m in held))
            largest = max([largest, *(m["VmHWM"] for m in held)])
            most = max(most, len(held))
            time.sleep(0.1)
    if process.returncode:
        fail(command, log.read_text())
    return Memory(round(peak, 1), round(uss, 1), round(largest, 1), most)


def family(pid: int) -> list[int]:
    """A process and its descendants; none if it has ended."""
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def memory_of(pid: int) -> dict[str, float]:
    """MiB by the names in a process's status and smaps_rollup; none if it ends meanwhile."""
    try:
        text = "".join(Path(f"/proc/{pid}/{name}").read_text() for name in ("status", "smaps_rollup"))
    except OSError:
        return {}
    entries = [line.split() for line in text.splitlines() if line.endswith("kB")]
    memory = {words[0].rstrip(":"): int(words[1]) * 1024 / MIB for words in entries}
    return memory if {"VmHWM", "Pss_Anon"} <= set(memory) else {}


def shares(folder: Path, command: list[str]) -> list[float]:
    """Share of each class in a command's result, whose shape and place are compared with the volume's."""
    (path,) = next(folder / side for side in ("nnunet", "caseunet") if str(folder / side) in command).glob("*.nii.gz")
    mask, image = nib.load(path), nib.load(folder / "input" / "ct_0000.nii.gz")
    if mask.shape != image.shape or not np.allclose(mask.affine, image.affine, atol=1e-3):
        sys.exit(f"{path}: does not lie where its image does.")
    counts = np.bincount(np.asarray(mask.dataobj).astype(np.uint8).ravel(), minlength=len(LABELS))
    return [round(float(count / counts.sum()), 3) for count in counts]


def table(
    memory: dict[str, Memory], times: dict[str, list[Time]], classes: dict[str, list[float]]
) -> dict[str, dict[str, Any]]:
    """Of each command its memory, its median times, the ratios of both to nnU-Net's, and every run."""
    rows: dict[str, dict[str, Any]] = {}
    for label, held in memory.items():
        medians = {name: median(getattr(run, name) for run in times[label]) for name in ("seconds", "cpu_seconds")}
        row = medians | asdict(held)
        base = rows.get(BASE, row)
        rows[label] = row | {
            "ratios_to_nnunet": {name: round(row[name] / base[name], 3) for name in COSTS},
            "runs": [asdict(run) for run in times[label]],
            "class_shares": classes[label],
        }
    return rows


def show(rows: dict[str, dict[str, Any]]) -> None:
    print(f"{'':32} {'processes':>9} " + " ".join(f"{name:>20}" for name in COSTS))
    for label, row in rows.items():
        cells = (f"{row[name]:.1f} ({row['ratios_to_nnunet'][name]:.2f}×)" for name in COSTS)
        print(f"{label:32} {row['processes']:9} " + " ".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
