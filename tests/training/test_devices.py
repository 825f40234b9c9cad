"""Several processes learn what one does; where one dies, all end, with a word."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch

from caseunet.commands.train import train
from caseunet.config import Config, TrainingConfig
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError
from caseunet.losses.dice import SoftDice, soft_dice_loss
from caseunet.training.devices import OwnRanks, create_fabric, launch, sum_over_ranks
from tests.training.test_loop import changed

CALL = [sys.executable, "-c", "from caseunet.cli import main; main()"]


def fails_in_one(own: OwnRanks, how: str) -> None:
    """A process that dies while the other waits for it."""
    fabric = create_fabric(TrainingConfig(steps=1, device="cpu"), own)
    if own.global_rank() == 1:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise (CaseUNetError if how == "error" else ZeroDivisionError)(f"told by rank 1: {how}")
    fabric.barrier()


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("killed", CaseUNetError, r"Process 1 of 2 died \(SIGKILL\)"),
        ("error", CaseUNetError, r"^told by rank 1: error$"),
        ("defect", RuntimeError, r"(?s)Process 1 of 2 failed:.*in fails_in_one.*ZeroDivisionError: told by rank 1"),
    ],
)
def test_one_that_dies_ends_all(how: str, error: type[Exception], message: str) -> None:
    began = time.monotonic()
    with pytest.raises(error, match=message):
        launch(2, fails_in_one, how)
    assert time.monotonic() - began < 60
    assert not [p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]


def dice_of_a_part(own: OwnRanks, folder: Path) -> None:
    """Dice and its gradient of every second sample, as training sums them up."""
    fabric = create_fabric(TrainingConfig(steps=1, device="cpu"), own)
    logits, target = (tensor[own.global_rank() :: 2] for tensor in torch.load(folder / "whole.pt", weights_only=True))
    logits.requires_grad_()
    loss = SoftDice(classes="present")
    sum_over_ranks(fabric, loss)
    value = loss(logits, target)
    value.backward()
    torch.save([value.detach(), logits.grad], folder / f"{own.global_rank()}.pt")


def test_dice_counts_the_pixels_of_all_devices(tmp_path: Path) -> None:
    """One class is in one half of the batch alone; gradients are those of the whole, twice, as they are averaged."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 8, 8, generator=generator)
    target = torch.randint(0, 2, (4, 8, 8), generator=generator)
    target[1, :3] = 2
    torch.save([logits, target], tmp_path / "whole.pt")
    launch(2, dice_of_a_part, tmp_path)
    logits.requires_grad_()
    expected = soft_dice_loss(logits, target, classes="present")
    expected.backward()
    for rank in range(2):
        value, gradient = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(value, expected.detach())
        torch.testing.assert_close(gradient / 2, logits.grad[rank::2])


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_does(
    strategy: str, lits_prepared: Prepared, tiny_config: Config, tmp_path: Path
) -> None:
    """The same losses and scores at every step; dropout, which each process draws for itself, is off. Then one process
    goes on with what two began."""
    model = {"kwargs": {"widths": [4, 6, 8], "norm": "none", "dropout": 0.0}}
    config = changed(
        tiny_config,
        model=model,
        data={"batch_size": 4, "patch_size": (48, 40)},
        optimizer={"lr": 0.001, "warmup_ratio": 0.0},
        training={"steps": 4, "log_every": 1, "ema_decay": 0.5},
    )
    train(lits_prepared.folder, tmp_path / "one", config)
    two = changed(config, training={"devices": 2, "strategy": strategy})
    train(lits_prepared.folder, tmp_path / "two", two)
    one_by_one = [pd.read_csv(tmp_path / run / "metrics.csv") for run in ("one", "two")]
    clock = ["seconds", "images_per_second"]
    pd.testing.assert_frame_equal(*(metrics.drop(columns=clock) for metrics in one_by_one), rtol=2e-4, atol=2e-5)
    train(None, tmp_path / "two", changed(config, training={"steps": 6, "devices": 1}), extend=True)
    assert pd.read_csv(tmp_path / "two" / "metrics.csv")["step"].max() == 6


def test_a_batch_must_spread_evenly(lits_prepared: Prepared, tiny_config: Config, tmp_path: Path) -> None:
    config = changed(tiny_config, data={"batch_size": 6}, training={"micro_batches": 4})
    with pytest.raises(CaseUNetError, match=r"data.batch_size = 6: does not spread evenly over 1 devices × 4 parts"):
        train(lits_prepared.folder, tmp_path / "run", config)


def test_torchrun_starts_it_too(lits_prepared: Prepared, tmp_path: Path) -> None:
    """Its processes find each other; the first one writes and speaks."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [
        "--steps",
        "2",
        "--batch",
        "2",
        "--model.kwargs",
        "{widths: [4, 6, 8]}",
        "--training.num_validations",
        "1",
    ]
    done = subprocess.run(
        [*torchrun, "-m", "caseunet", "train", str(lits_prepared.folder), "--out", str(tmp_path / "run"), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("validation Dice of the best weights (step 2)") == 1
    assert (tmp_path / "run" / "bundle" / "model.json").is_file()
