"""Which devices train, and the processes that drive them."""

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any

import torch
import torch.distributed
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import ClusterEnvironment, SLURMEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn

from caseunet.config import TrainingConfig
from caseunet.errors import CaseUNetError, Interrupted
from caseunet.losses.dice import SoftDice
from caseunet.training.stopping import stop_on_signals
from caseunet.workers import usable_processors

PATIENCE = 20.0
"""Seconds that the other processes get to end by themselves when one has died."""
SILENCE = timedelta(minutes=30)
"""After which a process that waits for another gives up."""
RAISED = 1
"""Exit status of a process that told what went wrong."""
STOPPED = 75
"""Exit status of a process that saved and stopped because it was asked to (EX_TEMPFAIL: try again later)."""


class OwnRanks(ClusterEnvironment):  # type: ignore[misc]
    """Tells Fabric about the processes that :func:`launch` started on this machine."""

    def __init__(self, rank: int, ranks: int, port: int) -> None:
        super().__init__()
        self._rank, self._ranks, self._port = rank, ranks, port

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        return self._port

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._ranks

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self._rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self._rank

    def node_rank(self) -> int:
        return 0


def ranks_from_outside() -> tuple[int, int]:
    """Which process of this run this is and of how many, if torchrun or SLURM started them; (0, 1) where nobody did."""
    for environment in (TorchElasticEnvironment, SLURMEnvironment):
        if environment.detect():
            return int(environment().global_rank()), int(environment().world_size())
    return 0, 1


def recommended_recipe(device: str | None = None) -> str:
    """The recipe for trainings that name none: "small" on a CPU, where it learns more in the same minutes, else
    "default".

    Args:
        device: as ``training.device``; None for "auto".
    """
    is_cpu = device == "cpu" or (device in (None, "auto") and not torch.cuda.is_available())
    return "small" if is_cpu else "default"


def create_fabric(config: TrainingConfig, own: OwnRanks | None = None) -> Fabric:
    """Lightning Fabric on the configured devices, its processes connected.

    Fabric's precision is not used: where a step fails in half precision, it is repeated in float32.

    Args:
        own: the place of this process among those that :func:`launch` started.

    Raises:
        CaseUNetError: a device is not there, or the numbers of devices do not fit together.
    """
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    ranks = own.world_size() if own else ranks_from_outside()[1]
    if ranks > 1:
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it greets from every process
        for remark in (
            "Grad strides do not match",
            "FSDP2-wrapped module",
        ):  # harmless: copies; nothing changes in place
            warnings.filterwarnings("ignore", message=remark)
    if ranks % config.nodes:
        raise CaseUNetError(f"training.nodes = {config.nodes}: {ranks} processes do not spread evenly over them.")
    strategy: Any = "auto"
    if config.strategy == "fsdp" and ranks == 1:
        raise CaseUNetError('training.strategy = "fsdp" spreads a network over devices: set training.devices above 1.')
    if config.strategy == "fsdp":
        strategy = ModelParallelStrategy(_shard, ranks, 1, timeout=SILENCE)
    elif ranks > 1:
        strategy = DDPStrategy(timeout=SILENCE)
    try:
        fabric = Fabric(
            accelerator=device,
            devices=ranks // config.nodes,
            num_nodes=config.nodes,
            strategy=strategy,
            plugins=[own] if own else [],
        )
        fabric.launch()
    except (RuntimeError, ValueError) as error:
        raise CaseUNetError(f'training.device = "{device}" cannot be used here: {error}') from error
    return fabric


def _shard(model: nn.Module, mesh: Any) -> nn.Module:
    """Weights, their gradients and what the optimiser keeps of them lie in parts on the devices; the weights alone are
    brought together for a step. Parts of the network are not split on their own: some use weights of their children
    without calling them."""
    from torch.distributed.fsdp import fully_shard

    fully_shard(model, mesh=mesh["data_parallel"])
    return model


def autocast_type(config: TrainingConfig, device: torch.device) -> torch.dtype | None:
    """In which the network computes where float32 is not needed; None for float32 all through."""
    if config.precision == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else None
    return {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}[config.precision]


def fastest_layout(device: torch.device) -> torch.memory_format:
    """The order of a map's numbers in which training steps are fastest (benchmarks/layouts.py).

    On a GPU channels come last. On a CPU they come first: with channels last the backward pass of torch's group norm
    takes up to twenty times as long.
    """
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def gather_values(fabric: Fabric, values: list[float]) -> Tensor:
    """(processes, values), float64: what each process has, on all of them."""
    own = torch.tensor(values, dtype=torch.float64)
    if fabric.world_size == 1:
        return own[None]
    return torch.stack([torch.as_tensor(row) for row in gather_objects(fabric, own)])


def gather_objects(fabric: Fabric, value: Any) -> list[Any]:
    """What each process has, on all of them."""
    if fabric.world_size == 1:
        return [value]
    values: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(values, value)
    return values


def sum_over_ranks(fabric: Fabric, loss: nn.Module) -> None:
    """Make Dice count the pixels of the whole batch where its parts are on several devices.

    Gradients are averaged over devices afterwards, so each one's own must count as often as there are devices; with
    that they are the gradients of the whole batch.
    """
    ranks = fabric.world_size
    if ranks == 1:
        return

    def total(own: Tensor) -> Tensor:
        everywhere = own.detach().clone()
        torch.distributed.all_reduce(everywhere)
        return everywhere + ranks * (own - own.detach())

    for module in loss.modules():
        if isinstance(module, SoftDice):
            module.total = total


def launch(ranks: int, work: Callable[..., None], *arguments: Any) -> None:
    """Run ``work(own, *arguments)`` in processes of its own, one for each device of this machine, to their end.

    A process that dies takes the others with it: they get some seconds to end by themselves and are killed then. A
    signal to this process is passed on once; the second one ends all at once.

    Args:
        work: at the top of a module; its first argument is the process's :class:`OwnRanks`.
        arguments: picklable.

    Raises:
        CaseUNetError: what a process raised, or how it ended.
        RuntimeError: a defect, with its traceback.
        Interrupted: a signal ended the work, which can be gone on with.
    """
    context = multiprocessing.get_context("spawn")
    failures = context.SimpleQueue()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [
        context.Process(target=_run_rank, args=(OwnRanks(rank, ranks, port), failures, work, arguments), daemon=False)
        for rank in range(ranks)
    ]
    with stop_on_signals() as stop:
        try:
            for process in processes:
                process.start()
            died = _watch(processes, lambda: stop.signal)
        finally:
            for process in processes:
                if process.is_alive():
                    process.kill()
                process.join()
    raised = []
    while not failures.empty():
        raised.append(failures.get())
    if died is not None and not stop.signal:
        raise CaseUNetError(
            f"Process {died[0]} of {ranks} died ({died[1]}), most often for want of memory; the others were ended. "
            "Lower data.batch_size or training.devices, then resume the run.",
            options=("mode",),
        )
    if raised:
        _, rank, is_defect, text = min(raised)  # the first: the others lost their partner
        if is_defect:
            raise RuntimeError(f"Process {rank} of {ranks} failed:\n{text}")
        raise CaseUNetError(text)
    if any(process.exitcode == STOPPED for process in processes):
        raise Interrupted("Stopped; everything is saved.", stop.signal or signal.SIGTERM)


def _watch(processes: list[SpawnProcess], stop: Callable[[], int]) -> tuple[int, str] | None:
    """Wait until all have ended; see to it that they do once one has failed or a signal came.

    Returns:
        The one that died without a word, if it was the first to fail, and of what.
    """
    passed_on = False
    last = float("inf")
    died = None
    while alive := [process for process in processes if process.is_alive()]:
        wait([process.sentinel for process in alive], timeout=0.2)
        if stop() and not passed_on:
            passed_on = True
            for process in alive:
                if process.pid and process.is_alive():
                    os.kill(process.pid, signal.SIGTERM)
        failed = {n: p.exitcode for n, p in enumerate(processes) if p.exitcode not in (None, 0, STOPPED)}
        if failed and last == float("inf"):
            last = time.monotonic() + PATIENCE
            speechless = {n: code for n, code in failed.items() if code is not None and code != RAISED}
            for n, code in speechless.items():
                died = n, signal.Signals(-code).name if code < 0 else f"exit status {code}"
        if time.monotonic() > last:
            break
    return died


def _run_rank(own: OwnRanks, failures: Any, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the process that watches passes it on
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(max(1, usable_processors() // own.world_size()))
    try:
        work(own, *arguments)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    except Interrupted:
        os._exit(STOPPED)  # at once: others may still be in a collective
    except BaseException as error:
        is_defect = not isinstance(error, CaseUNetError)
        text = traceback.format_exc() if is_defect else str(error)
        failures.put((time.time(), own.global_rank(), is_defect, text))
        os._exit(RAISED)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
