"""A step for trial before the first one: whether it fits into memory, how long it takes, how large a batch may be."""

import math
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from lightning_fabric import Fabric
from torch import nn

from caseunet.config import Config, TrainingConfig
from caseunet.data.loader import Batch
from caseunet.errors import CaseUNetError
from caseunet.training.checkpoint import KEPT
from caseunet.training.state import State

GIB = 2**30
USABLE = 0.9
"""Share of the memory that training may fill."""
MAX_BATCH = 256
"""Samples on one device that are tried at most."""
PLANNED_BATCH = 8
"""Where no batch size is configured: at most."""
CPU_PIXELS = 2 * 256**2
"""Of a step on a CPU, where no batch size is configured: of large patches two make it up. In the same minutes more
small steps teach more than few large ones."""
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class StepCost:
    """What a step costs: seconds; bytes at its highest beyond what was held before."""

    seconds: float
    bytes: int


TryStep = Callable[[Batch, int | None, int | None], StepCost]
"""(batch, parts, held) → what a forward and backward pass costs; parts and held as in :func:`check_step`."""


def measure_step(step: Callable[[], object], device: torch.device, held: int | None = None) -> StepCost:
    """Measure a forward and backward pass.

    Args:
        step: to be measured.
        device: on which it computes.
        held: bytes of memory that the process had before; None for what it has now.

    Raises:
        torch.OutOfMemoryError: on a GPU.
    """
    is_gpu = device.type == "cuda"
    if is_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    watch = _HighestMemory(held)
    began = time.monotonic()
    with watch:
        step()
        if is_gpu:
            torch.cuda.synchronize()
    seconds = time.monotonic() - began
    return StepCost(seconds, torch.cuda.max_memory_allocated() - before if is_gpu else watch.bytes)


def check_step(try_step: TryStep, batch: Batch, config: TrainingConfig, fabric: Fabric, kept: int) -> StepCost:
    """Try a step at full size.

    On a CPU a single sample goes first: what does not fit ends the process there, so it must be known before.

    Args:
        try_step: measures one.
        batch: this device's share.
        config: of training.
        fabric: that it is on.
        kept: bytes that only a real step takes.

    Raises:
        CaseUNetError: memory is too small; says by how much.
    """
    samples = len(batch) // config.micro_batches
    advice = "Lower data.batch_size or data.patch_size, raise training.micro_batches, or take a narrower network."
    held = psutil.Process().memory_info().rss
    if fabric.device.type == "cpu":
        one = try_step(batch.part(0, len(batch)), 1, None)
        needed = one.bytes * samples + kept
        ranks_here = max(1, fabric.world_size // config.nodes)
        if needed > (free := USABLE * free_memory() / ranks_here):
            raise CaseUNetError(
                f"A step needs about {needed / GIB:.1f} GiB of memory ({samples} samples of "
                f"{one.bytes / GIB:.2f} GiB), and {free / GIB:.1f} GiB are free. {advice}"
            )
    try:
        return try_step(batch, None, held)
    except torch.OutOfMemoryError as error:
        raise CaseUNetError(
            f"{samples} samples do not fit into the GPU's memory: {str(error).splitlines()[0]} {advice}"
        ) from error


def resolve_batch_size(config: Config, fabric: Fabric, fits: Callable[[int], bool]) -> int:
    """The batch size as a number that spreads evenly over devices and their parts.

    Args:
        config: whose batch size may be "auto" or None, and whose patch size is planned.
        fabric: that training is on.
        fits: as for :func:`find_batch_size`.

    Raises:
        CaseUNetError: it does not, or is to be found with several devices.
    """
    size, parts = config.data.batch_size, config.training.micro_batches
    divisor = fabric.world_size * parts
    if size is None or (size == "auto" and fabric.device.type == "cpu"):
        return plan_batch_size(fabric.device, config.data.patch_size, divisor)
    if size == "auto":
        if fabric.world_size > 1:
            raise CaseUNetError(
                "data.batch_size = auto: is found on one device. Begin with training.devices 1, and give as many times "
                "what it says as there are devices."
            )
        size = find_batch_size(divisor, fits)
    if size % divisor:
        raise CaseUNetError(
            f"data.batch_size = {size}: does not spread evenly over {fabric.world_size} devices × {parts} parts "
            f"(training.micro_batches). Take a multiple of {divisor}."
        )
    return size


def plan_batch_size(device: torch.device, patch_size: Sequence[int] | None, divisor: int = 1) -> int:
    """The batch size where none is configured: a multiple of ``divisor``.

    Args:
        device: to train on.
        patch_size: height and width.

    Example:
        >>> plan_batch_size(torch.device("cpu"), (256, 256)), plan_batch_size(torch.device("cpu"), (56, 40))
        (2, 8)
    """
    size = PLANNED_BATCH
    if device.type == "cpu" and patch_size is not None:
        size = min(size, max(2, CPU_PIXELS // math.prod(patch_size)))
    return max(1, size // divisor) * divisor


def find_batch_size(divisor: int, fits: Callable[[int], bool]) -> int:
    """The batch size that ``data.batch_size: auto`` stands for on a GPU: a multiple of ``divisor``.

    Args:
        fits: whether so many samples fit at once on one device.

    Raises:
        CaseUNetError: not even one does.
    """
    each = largest_that(fits, MAX_BATCH)
    if each == 0:
        raise CaseUNetError(
            "Not even one sample fits into the GPU's memory. Lower data.patch_size, take a narrower network, or "
            'set training.precision to "bf16-mixed".'
        )
    return each * divisor


def largest_that(fits: Callable[[int], bool], limit: int) -> int:
    """The largest number up to ``limit`` that fits, 0 if none does; found by doubling, then halving."""
    low, high = 0, 1
    while high <= limit and fits(high):
        low, high = high, 2 * high
    high = min(high, limit + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def fits_gpu(trial: Callable[[], StepCost], kept: int) -> bool:
    """Whether a step leaves some of the GPU's memory, beside ``kept`` bytes that only a real step takes."""
    try:
        needed = trial().bytes + torch.cuda.memory_allocated() + kept
    except torch.OutOfMemoryError:
        return False
    finally:
        torch.cuda.empty_cache()
    return bool(needed < USABLE * torch.cuda.get_device_properties().total_memory)


def check_disk(state: State, run: Path) -> None:
    """Make sure that the checkpoints fit beside ``run``.

    Raises:
        CaseUNetError: they do not; says by how much.
    """
    weights = sum(t.numel() * t.element_size() for t in state.model.state_dict().values())
    each = weights * (4 if state.average else 3)  # two numbers for each weight in the optimiser
    needed = (KEPT + 1) * (each + weights) + weights  # one more of each while they are replaced; the bundle
    free = shutil.disk_usage(run).free
    if free < needed:
        raise CaseUNetError(
            f"{run}: checkpoints of this network need {needed / GIB:.2f} GiB, and {free / GIB:.2f} GiB of the disk are "
            "free. Make room, or choose another folder.",
            options=("out",),
        )


def free_memory() -> int:
    """Bytes that are free, in a container of what it may have (control groups, version 2)."""
    free = int(psutil.virtual_memory().available)
    limit = CGROUP / "memory.max"
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        kinds = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        used = int((CGROUP / "memory.current").read_text()) - int(kinds["file"])  # copies of files are given up
        free = min(free, int(text) - used)
    return free


def optimizer_bytes(model: nn.Module) -> int:
    """Two numbers for each weight, and its gradient."""
    return 3 * sum(p.numel() * p.element_size() for p in model.parameters())


class _HighestMemory:
    """Looks at this process's memory a hundred times a second."""

    bytes = 0

    def __init__(self, held: int | None) -> None:
        self._process, self._ended = psutil.Process(), threading.Event()
        self._held = self._process.memory_info().rss if held is None else held

    def __enter__(self) -> None:
        def watch() -> None:
            while not self._ended.wait(0.01):
                self.bytes = max(self.bytes, self._process.memory_info().rss - self._held)

        self._thread = threading.Thread(target=watch, daemon=True)
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
