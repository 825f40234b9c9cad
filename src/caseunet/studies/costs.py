"""What a network costs: parameters, multiply-adds, time and memory."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import psutil
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from caseunet.data.normalization import plan_preprocessing
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError
from caseunet.files import read_json, write_json
from caseunet.losses import create_loss
from caseunet.losses.deep_supervision import deeply_supervised
from caseunet.models import create_model, optimize_for, plan_arguments
from caseunet.prediction.resources import highest_memory
from caseunet.progress import Display
from caseunet.studies.design import Design

ROUNDS = 3
MIB = 2**20


@dataclass(frozen=True)
class Cost:
    """What one call took on this machine.

    Attributes:
        milliseconds: median time of a call, for the whole batch.
        images_per_second: batch size over that time.
        peak_mib: highest memory while it ran, weights included, above what the process held before: of the process on
            a CPU, of torch's allocator on a GPU.
    """

    milliseconds: float
    images_per_second: float
    peak_mib: float


@dataclass(frozen=True)
class Workload:
    """What is measured of a network.

    Attributes:
        training: forward, hybrid loss, backward and a step of Adamax instead of the forward alone.
        bf16: under autocast to bfloat16.
        compiled: through ``torch.compile``.
    """

    batch: int = 1
    channels: int = 3
    classes: int = 3
    device: str = "cpu"
    training: bool = False
    bf16: bool = False
    channels_last: bool = True
    compiled: bool = False


def count(build: Callable[[], nn.Module], size: tuple[int, int], channels: int = 3) -> tuple[int, float]:
    """Parameters, and 10⁹ multiply-adds of one image; without memory for maps."""
    with torch.device("meta"):
        model = optimize_for(build(), "cpu").eval()
        image = torch.zeros(1, channels, *size)
    with FlopCounterMode(display=False) as counter:
        model(image)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() / 2e9


def measure(
    build: Callable[[], nn.Module],
    size: tuple[int, int],
    workload: Workload = Workload(),
) -> Cost:
    """Time and memory of a network's forward, or of a training step, in a process of its own.

    Args:
        build: makes the network; a function at the top of a module, or a partial of one.
        size: height and width of an image.
        workload: what is measured.

    Raises:
        CaseUNetError: the device is not there, or the process ended, most likely for want of memory.
    """
    if workload.device == "cuda" and not torch.cuda.is_available():
        raise CaseUNetError("There is no CUDA device here to measure on; caseunet doctor says what there is.")
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        job = pool.submit(_measure_here, build, size, workload)
        try:
            return job.result()
        except (BrokenProcessPool, torch.OutOfMemoryError) as error:
            raise CaseUNetError(
                f"Measuring ended at once, most likely for want of memory: a batch of {workload.batch} at "
                f"{size[0]}×{size[1]} on {workload.device}. Take a smaller size.",
                options=("size",),
            ) from error


def _measure_here(build: Callable[[], nn.Module], size: tuple[int, int], workload: Workload) -> Cost:
    device, training = workload.device, workload.training
    shape = (workload.batch, workload.channels, *size)
    torch.manual_seed(0)
    layout = torch.channels_last if workload.channels_last else torch.contiguous_format
    image = torch.randn(shape).contiguous(memory_format=layout).to(device)
    target = torch.randint(0, workload.classes, (shape[0], *shape[2:]), device=device)
    torch.optim.Adamax([torch.nn.Parameter(torch.zeros(1))])  # the first one imports a lot of torch, which is not ours
    before = 0 if device == "cuda" else psutil.Process().memory_info().rss
    model = optimize_for(build(), device).to(device=device, memory_format=layout).train(training)  # type: ignore[call-overload]
    loss = create_loss("hybrid").to(device)
    optimizer = torch.optim.Adamax(model.parameters())
    network = torch.compile(model) if workload.compiled else model

    def call() -> None:
        with torch.set_grad_enabled(training), torch.autocast(device, torch.bfloat16, enabled=workload.bf16):
            outputs = network(image)
        if training:
            optimizer.zero_grad()
            deeply_supervised(loss, outputs, target).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    seconds: list[float] = []
    for _ in range(ROUNDS + 1):  # the first warms up
        _wait_for(device)
        began = time.perf_counter()
        call()
        _wait_for(device)
        seconds.append(time.perf_counter() - began)
    median = statistics.median(seconds[1:])
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else highest_memory() - before
    return Cost(1000 * median, shape[0] / median, peak / MIB)


def _wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure_variants(
    folder: Path, prepared: Prepared, design: Design, size: tuple[int, int], display: Display
) -> dict[str, dict[str, float]]:
    """Parameters, multiply-adds, time and memory of each, in one go on this machine; kept in costs.json.

    A network that cannot be built is told here, before any training.
    """
    path = folder / "costs.json"
    if path.is_file():
        return dict(read_json(path, "a study's costs"))
    costs = {}
    cases = prepared.fold(design.folds[0]).train
    classes = len(prepared.info.label_map)
    builds = {}
    for v in design.variants:
        data = Prepared(prepared.folder, v.config.data.channels)
        preprocessing = plan_preprocessing(data.info, data.intensities(cases), v.config.data, size)
        channels = preprocessing.in_channels
        arguments = plan_arguments(v.config.model.name, v.config.model.kwargs, size)
        build = partial(create_model, v.config.model.name, channels, classes, **arguments)
        builds[v.name] = build, channels, count(build, size, channels)
    with display.stage("measuring the networks", len(builds), "network") as stage:
        for name, (build, channels, (parameters, gmac)) in builds.items():
            cost = measure(build, size, Workload(channels=channels, classes=classes))
            costs[name] = {
                "parameters": parameters,
                "gmac": gmac,
                "milliseconds": cost.milliseconds,
                "peak_mib": cost.peak_mib,
            }
            stage.advance(1, name)
    write_json(path, costs)
    return costs
