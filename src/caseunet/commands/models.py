"""What the networks are and what they cost, in numbers."""

import inspect
import re
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import psutil
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from caseunet.errors import CaseUNetError
from caseunet.losses import create_loss
from caseunet.losses.deep_supervision import deeply_supervised
from caseunet.models import MODELS, create_model, model_class, optimize_for
from caseunet.prediction.resources import highest_memory
from caseunet.progress import Display

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
class ModelRow:
    """One network with its default arguments.

    Attributes:
        parameters: how many numbers it trains.
        gmac: 10⁹ multiply-adds of one forward of one image, counted by torch's FlopCounterMode.
        cost: measured here, if asked for.
    """

    name: str
    summary: str
    parameters: int
    gmac: float
    cost: Cost | None


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


def describe_models(
    names: Sequence[str] = (),
    *,
    size: tuple[int, int] = (512, 512),
    measure_on: str | None = None,
    training: bool = False,
    display: Display | None = None,
) -> list[ModelRow]:
    """The named networks, or all, for 3 channels and 3 classes.

    Args:
        size: height and width of the image.
        measure_on: "cpu" or "cuda" to run each network there too.
        training: measure a training step instead of the forward alone.

    Raises:
        CaseUNetError: no such network, or one that cannot be built or run here.
    """
    rows = []
    chosen = list(names or MODELS)
    with (display or Display()).stage("networks", len(chosen), "network") as stage:
        for name in chosen:
            build = partial(create_model, name, 3, 3)
            parameters, gmac = count(build, size)
            cost = measure(build, size, Workload(device=measure_on, training=training)) if measure_on else None
            rows.append(ModelRow(name, summary(name), parameters, gmac, cost))
            stage.advance(1, name)
    return rows


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


@dataclass(frozen=True)
class ModelArgument:
    """One argument of a network: its default, and what it does."""

    name: str
    default: str
    text: str


def describe_arguments(name: str) -> list[ModelArgument]:
    """The arguments of a network that ``model.arguments`` can set.

    Raises:
        CaseUNetError: no such network.
    """
    network = model_class(name)
    section = (inspect.getdoc(network) or "").partition("Args:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^ {4}([\w, ]+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    texts = {one: " ".join(text.split()) for names, text in entries for one in names.split(", ")}
    return [
        ModelArgument(parameter.name, repr(parameter.default), texts.get(parameter.name, ""))
        for parameter in inspect.signature(network).parameters.values()
        if parameter.default is not inspect.Parameter.empty
    ]


def summary(name: str) -> str:
    """First line of the module's docstring, or of the class's where a module holds several networks."""
    network = model_class(name)
    module = inspect.getmodule(network)
    several = sum(inspect.getmodule(MODELS.get(other)) is module for other in MODELS) > 1
    return (inspect.getdoc(network if several else module) or "").splitlines()[0].rstrip(".")
