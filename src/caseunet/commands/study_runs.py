"""The trainings of a study: one after another or side by side, each predicted and scored where it is done."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path

import psutil
import torch

from caseunet.commands.evaluate import evaluate
from caseunet.commands.predict import predict
from caseunet.commands.train import train
from caseunet.config import PrepareConfig
from caseunet.errors import CaseUNetError, Interrupted
from caseunet.files import Location
from caseunet.options import EvaluateOptions, PredictOptions
from caseunet.progress import Display
from caseunet.studies.design import StudyRun
from caseunet.training.stopping import stop_on_signals


def run_cells(cells: Sequence[StudyRun], run: Callable[..., None], jobs: int, display: Display) -> None:
    """Run what is not done yet.

    Raises:
        CaseUNetError: a cell cannot be run, or its process died. What was begun is ended first, the rest not begun.
        Interrupted: a signal came; the trainings under way have saved.
    """
    todo = [(number, cell) for number, cell in enumerate(cells, 1) if not cell.is_done]
    if jobs == 1:
        for number, cell in todo:
            display.say(f"\n{number} of {len(cells)}: {cell.told}", "bold")
            run(cell, display=display)
        return
    threads = max(1, (psutil.cpu_count(logical=False) or 1) // jobs)
    earlier = set(active_children())
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_prepare_process, initargs=(threads,))
    with (
        pool,
        stop_on_signals() as stop,
        display.stage("training, predicting and scoring", max(len(todo), 1), "model") as stage,
    ):
        waiting = [cell for _, cell in todo][::-1]
        under_way: dict[Future[None], StudyRun] = {}
        try:
            while (waiting or under_way) and not stop.signal:
                # No more than there are processes: the pool would begin what it holds even after a signal.
                while waiting and len(under_way) < jobs:
                    cell = waiting.pop()
                    under_way[pool.submit(_run_here, run, cell)] = cell
                for future in wait(under_way, timeout=1, return_when=FIRST_COMPLETED).done:
                    cell = under_way.pop(future)
                    if future.exception() is not None and under_way:
                        display.say(f"  {cell.told} failed; what is under way is ended first", "yellow")
                    future.result()
                    stage.advance(1, cell.told)
        except BrokenProcessPool as error:
            raise CaseUNetError(
                f"A process that trained died, most likely for want of memory. Train fewer at a time than {jobs}, and "
                "go on.",
                options=("jobs", "mode"),
            ) from error
        finally:
            if stop.signal:
                for process in set(active_children()) - earlier:
                    process.terminate()
            wait(under_way)
        if stop.signal:
            raise Interrupted("Stopped; the trainings under way are saved.", stop.signal)


def _prepare_process(threads: int) -> None:
    """Let this process use so many threads, for several that take all hinder each other; leave a terminal's Ctrl-C to
    the process that began it, which passes it on once; and do not outlive that one."""
    torch.set_num_threads(threads)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End when the parent was killed, for nobody waits for the result; a training saves first."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _run_here(run: Callable[..., None], cell: StudyRun) -> None:
    try:
        run(cell, display=Display())
    finally:
        parent = parent_process()
        if parent is None or not parent.is_alive():
            os._exit(1)  # the pool would wait for more to do


def run_cell(
    cell: StudyRun,
    prepared: Location,
    splits: Path,
    source: tuple[Path, PrepareConfig],
    protocol: str | None,
    display: Display,
) -> None:
    """Train, predict and score one cell; what is there already is gone on with."""
    raw, reading = source
    run, masks = None, cell.given or cell.folder / "predictions"
    if cell.variant is not None:
        config = cell.variant.config
        data = config.data.model_copy(update={"fold": cell.fold})
        # What quality would teach, how to clean masks above all, it would learn from the very cases that are scored.
        training = config.training.model_copy(update={"quality": False})
        config = config.model_copy(update={"seed": cell.seed, "data": data, "training": training})
        run = cell.folder / "run"
        if not (run / "bundle" / "model.json").is_file():
            train(prepared, out=run, config=config, mode="resume" if run.exists() else "new", display=display)
        asked = PredictOptions(split=splits, fold=cell.fold)
        predict(run / "bundle", raw, out=masks, mode="resume", options=asked, display=display)
    options = EvaluateOptions(protocol=protocol, split=splits, fold=cell.fold, run=run, title=cell.told)
    evaluate(masks, raw, out=cell.folder / "report", mode="overwrite", options=options, config=reading, display=display)
