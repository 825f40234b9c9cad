"""What this machine has, and what will be in the way."""

import importlib.util
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import psutil
import torch

from caseunet.commands.demo import PACKAGE
from caseunet.io import dicom_file

GIB = 1024**3


@dataclass(frozen=True)
class Check:
    """One line: "ok", "note" (works, but slower or smaller) or "problem" (will not work)."""

    level: Literal["ok", "note", "problem"]
    subject: str
    text: str


def check_machine(folder: Path = Path(".")) -> list[Check]:
    """Look at versions, processor, memory, disk, GPU and the demo's data; changes nothing."""
    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(folder)
    findings = [
        Check("ok", "caseunet", f"{version('caseunet')}, Python {platform.python_version()}, {platform.platform()}"),
        Check("ok", "torch", f"{torch.__version__}, {torch.get_num_threads()} threads"),
        Check(
            "ok",
            "processor",
            f"{psutil.cpu_count(logical=False) or '?'} cores, {torch.backends.cpu.get_cpu_capability()}",
        ),
        Check(
            "ok" if memory.available > 4 * GIB else "note",
            "memory",
            f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
            + ("" if memory.available > 4 * GIB else "; use narrower networks or smaller batches"),
        ),
        Check(
            "ok" if disk.free > 5 * GIB else "note",
            "disk",
            f"{disk.free / GIB:.1f} GiB free in {folder.resolve()}"
            + ("" if disk.free > 5 * GIB else "; prepared volumes may need more"),
        ),
        _gpu(),
        _backends(),
        _decoders(),
    ]
    if importlib.util.find_spec(PACKAGE):
        findings.append(Check("ok", "demo data", "LiTS volume 117 is installed"))
    else:
        findings.append(Check("note", "demo data", "not installed; the demo can use made-up patients instead"))
    return findings


def _decoders() -> Check:
    """Which compressed DICOM can be read."""
    from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

    names = {
        "JPEG": JPEGBaseline8Bit,
        "JPEG lossless": JPEGLosslessSV1,
        "JPEG-LS": JPEGLSLossless,
        "JPEG 2000": JPEG2000Lossless,
        "HTJ2K": dicom_file.HTJ2K[0],
        "RLE": RLELossless,
    }
    known = [name for name, syntax in names.items() if dicom_file.can_decode(syntax)]
    text = ", ".join(known) + " can be read"
    missing = [name for name in names if name not in known]
    if missing:
        text += f"; for {' and '.join(missing)}: {dicom_file.advice(names[missing[0]])}"
    return Check("note" if "JPEG lossless" in missing else "ok", "compressed DICOM", text)


def _backends() -> Check:
    """What can compute a network beside PyTorch."""
    known = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}
    found = [f"{name} {version(package)}" for package, name in known.items() if importlib.util.find_spec(package)]
    if importlib.util.find_spec("openvino"):
        openvino = importlib.import_module("openvino")  # loaded here alone: it takes a second
        said = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        quick = [name for name in ("BF16", "INT8") if name in said]
        found[0] += f" (with {' and '.join(quick)} here)" if quick else " (float32 here)"
    if not found:
        return Check("note", "backends", "torch alone; pip install 'caseunet[openvino]' for OpenVINO")
    return Check("ok", "backends", ", ".join(["torch", *found]))


def _gpu() -> Check:
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        precision = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        return Check("ok", "GPU", f"{properties.name}, {properties.total_memory / GIB:.1f} GiB, {precision}")
    if torch.backends.mps.is_available():
        return Check("note", "GPU", "Apple (mps); not tested, choose it as the device")
    return Check("note", "GPU", "none that torch can use; everything runs on the CPU")
