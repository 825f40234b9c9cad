"""The same work on many items in parallel processes; one that dies or hangs costs its own item, not the others'."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from caseunet.errors import CaseUNetError

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE = 900.0
"""Seconds without any result after which what is under way is given up."""


class LostWorkerError(CaseUNetError):
    """The process that worked on an item died or did not end."""


def usable_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int | None = None,
    patience: float = PATIENCE,
) -> Iterator[tuple[int, Result | LostWorkerError]]:
    """Give (index of the item, result) as results come, in any order.

    Args:
        function: picklable; what it raises is raised here.
        items: picklable.
        workers: processes; 0 works in this one, None takes one for each processor.
        patience: seconds without any result after which what is under way is given up; not watched with 0 workers.
    """
    workers = min(usable_processors() if workers is None else workers, len(items))
    if workers == 0:
        for index, item in enumerate(items):
            yield index, function(item)
        return
    waiting = list(range(len(items)))[::-1]
    while waiting:  # each round ends because all is done, or because a worker was lost
        suspects: list[int] = []
        for index, result in _round(function, items, waiting, workers, patience, suspects):
            yield index, result
        for index in suspects:  # one at a time shows which of them is to blame
            alone: list[int] = []
            yield from _round(function, items, [index], 1, patience, alone)
            if alone:
                yield (
                    index,
                    LostWorkerError(
                        f"the process that read it died (for want of memory, or in a library) or took {patience:g} s"
                    ),
                )


def _keep_large_workers() -> None:
    """Make loky not take a scan of hundreds of megabytes for a leak, for which it would start a process anew."""
    from loky import process_executor

    process_executor._USE_PSUTIL = False


def _in_folder(folder: Path, function: Callable[[Item], Result], item: Item) -> Result:
    """The work of a process that may have begun when the current folder was another one."""
    os.chdir(folder)
    return function(item)


def _round(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    waiting: list[int],
    workers: int,
    patience: float,
    suspects: list[int],
) -> Iterator[tuple[int, Result]]:
    """Work on ``waiting``, taking from its end, until it is empty or a worker is lost; then what was under way is put
    into ``suspects``."""
    from loky import get_reusable_executor

    alone = {"OMP_NUM_THREADS": "1", "BLOSC_NTHREADS": "1"}  # there are as many processes as processors
    executor = get_reusable_executor(max_workers=workers, timeout=30, initializer=_keep_large_workers, env=alone)
    under_way: dict[Future[Any], int] = {}
    here = Path.cwd()
    finished = False
    try:
        while waiting or under_way:
            while waiting and len(under_way) < 2 * workers:
                index = waiting[-1]
                try:
                    under_way[executor.submit(_in_folder, here, function, items[index])] = index
                except BrokenProcessPool:  # a worker died since the last look
                    suspects += under_way.values()
                    return
                waiting.pop()
            done, _ = wait(under_way, timeout=patience, return_when=FIRST_COMPLETED)
            broken = not done or any(isinstance(future.exception(), BrokenProcessPool) for future in done)
            for future in done:
                if not isinstance(future.exception(), BrokenProcessPool):
                    yield under_way.pop(future), future.result()
            if broken:
                suspects += under_way.values()
                return
        finished = True
    finally:
        if not finished:
            executor.shutdown(wait=True, kill_workers=True)
