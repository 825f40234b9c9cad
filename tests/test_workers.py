"""Parallel work: results as in one process, and a worker that dies or hangs costs its own item only."""

import os
import signal
import time
from pathlib import Path

import pytest

from caseunet.workers import LostWorkerError, run_all


def square(number: int) -> int:
    return number * number


def treacherous(number: int) -> int:
    """Dies at 3, hangs at 5."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 5:
        time.sleep(600)
    return number


def failing(number: int) -> int:
    raise ValueError(f"item {number}")


@pytest.mark.parametrize("workers", [0, 1, 2, None])
def test_every_item_gives_its_result(workers: int | None) -> None:
    assert dict(run_all(square, range(20), workers)) == {n: n * n for n in range(20)}


def test_nothing_to_do() -> None:
    assert list(run_all(square, [], None)) == []


@pytest.mark.slow  # waits for the one that hangs
def test_a_worker_that_dies_or_hangs_costs_its_own_item_only() -> None:
    results = dict(run_all(treacherous, range(8), workers=2, patience=4))
    assert {n for n, result in results.items() if isinstance(result, LostWorkerError)} == {3, 5}
    assert all(results[n] == n for n in range(8) if n not in (3, 5))


def here(_: int) -> str:
    return os.getcwd()


def test_processes_work_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though those of an earlier call, begun in another folder, are used again."""
    assert set(dict(run_all(here, range(4), 2)).values()) == {os.getcwd()}
    monkeypatch.chdir(tmp_path)
    assert set(dict(run_all(here, range(4), 2)).values()) == {str(tmp_path)}


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_worker_raises_is_raised_here(workers: int) -> None:
    with pytest.raises(ValueError, match=r"item \d"):
        list(run_all(failing, range(3), workers))
    assert dict(run_all(square, range(3), workers)) == {0: 0, 1: 1, 2: 4}, "and work goes on after it"
