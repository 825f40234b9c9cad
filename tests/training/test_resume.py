"""A run that is stopped at any moment and gone on with is the run that was never stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from caseunet.bundle import load_bundle
from caseunet.commands.train import train
from caseunet.config import Config
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError, Interrupted
from caseunet.training import trainer
from caseunet.training.checkpoint import Checkpoints
from caseunet.training.optim import learning_rate
from caseunet.training.trainer import Trainer
from tests.training.test_trainer import changed

CALL = [sys.executable, "-c", "from caseunet.cli import main; main()"]
CLOCK = ["seconds", "images_per_second"]


@pytest.fixture
def config(tiny_config: Config) -> Config:
    """Five steps, with a checkpoint after each, an average and AdamW, whose state differs from Adamax's."""
    training = {"steps": 5, "num_validations": 2, "ema_decay": 0.9, "checkpoint_minutes": 1e-9, "log_every": 3}
    return changed(tiny_config, training=training, optimizer={"name": "adamw"})


def same_runs(one: Path, other: Path) -> bool:
    """Whether weights, every number of metrics.csv but the clock's, and the last checkpoint are the same."""
    weights = [load_bundle(run / "bundle").weights for run in (one, other)]
    metrics = [pd.read_csv(run / "metrics.csv").drop(columns=CLOCK) for run in (one, other)]
    pd.testing.assert_frame_equal(*metrics)
    states = [Checkpoints(run / "checkpoints").load("step", 5) for run in (one, other)]
    tensors = [[t for t in torch.utils._pytree.tree_leaves(s) if isinstance(t, torch.Tensor)] for s in states]
    assert len(tensors[0]) == len(tensors[1]) > 100
    assert all(torch.equal(a, b) for a, b in zip(*tensors, strict=True))
    return all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("last", [1, 3])
def test_stopped_after_any_step(
    last: int, lits_prepared: Prepared, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 3 is the one before a validation, which the resumed run still owes."""
    train(lits_prepared.folder, out=tmp_path / "whole", config=config)
    step = Trainer.step

    def signalled(self, batch):  # type: ignore[no-untyped-def]
        if self.state.step + 1 == last:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch)

    with monkeypatch.context() as sending:
        sending.setattr(Trainer, "step", signalled)
        with pytest.raises(Interrupted, match=f"Stopped after step {last}; everything is saved") as stopped:
            train(lits_prepared.folder, out=tmp_path / "broken", config=config)
    assert stopped.value.signal == signal.SIGTERM
    assert not (tmp_path / "broken" / "bundle").exists()
    train(None, out=tmp_path / "broken", mode="resume")
    assert same_runs(tmp_path / "whole", tmp_path / "broken")


def test_killed_while_it_trains_and_while_it_saves(
    lits_prepared: Prepared, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, as far as the folder can tell: exceptions that nothing catches, at three places."""
    train(lits_prepared.folder, out=tmp_path / "whole", config=config)

    class Killed(BaseException):
        pass

    def kill(*arguments: object, **named: object) -> None:
        raise Killed

    places = (Trainer, "step", 2), (trainer, "select_weights", 0), (trainer, "capture", 1)
    for owner, name, when in (*places, (trainer, "select_checkpoint", 0)):
        real, calls = getattr(owner, name), []

        def sometimes(*arguments, real=real, calls=calls, when=when, **named):  # type: ignore[no-untyped-def]
            calls.append(1)
            return kill() if len(calls) > when else real(*arguments, **named)

        with monkeypatch.context() as killing:
            killing.setattr(owner, name, sometimes)
            with pytest.raises(Killed):
                train(lits_prepared.folder, out=tmp_path / "broken", config=config, mode="resume")
    train(lits_prepared.folder, out=tmp_path / "broken", config=config, mode="resume")
    assert same_runs(tmp_path / "whole", tmp_path / "broken")


def test_killed_by_the_system(lits_prepared: Prepared, config: Config, tmp_path: Path) -> None:
    """What a batch script repeats is always the same command."""
    train(lits_prepared.folder, out=tmp_path / "whole", config=config)
    (tmp_path / "c.yaml").write_text((tmp_path / "whole" / "config.yaml").read_text())
    command = [*CALL, "train", str(lits_prepared.folder), "--out", str(tmp_path / "broken"), "--resume"]
    command += ["--config", str(tmp_path / "c.yaml")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < 60:
        if len(list(tmp_path.glob("broken/checkpoints/step-*.ckpt"))) == 2:
            break
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (tmp_path / "broken" / "bundle").exists()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert same_runs(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)])
def test_signals_save_and_say_so(
    number: signal.Signals,
    status: int,
    lits_prepared: Prepared,
    tiny_config: Config,
    tmp_path: Path,
    cli: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = Trainer.step

    def signalled(*arguments: object) -> object:
        os.kill(os.getpid(), number)
        return step(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "step", signalled)
    widths = ("--model.kwargs", "{widths: [4, 6, 8]}", "--batch", "2")
    code, out, _ = cli("train", lits_prepared.folder, "--out", tmp_path / "run", "--steps", "9", *widths)
    assert code == status
    assert "Stopped after step 1; everything is saved." in out
    assert f"caseunet train --resume --out {tmp_path / 'run'}" in out
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps("step") == [1]


def test_a_signal_in_validation_leaves_it_owed(
    lits_prepared: Prepared, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(lits_prepared.folder, out=tmp_path / "whole", config=config)
    validate = trainer.validate

    def signalled(*arguments, **named):  # type: ignore[no-untyped-def]
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(*arguments, **named)

    with monkeypatch.context() as sending:
        sending.setattr(trainer, "validate", signalled)
        with pytest.raises(Interrupted):
            train(lits_prepared.folder, out=tmp_path / "broken", config=config)
    assert "val" not in "".join((tmp_path / "broken" / "metrics.csv").read_text().splitlines()[1:])
    train(None, out=tmp_path / "broken", mode="resume")
    assert same_runs(tmp_path / "whole", tmp_path / "broken")


def test_a_damaged_checkpoint_is_passed_over(
    lits_prepared: Prepared, config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(lits_prepared.folder, out=tmp_path / "whole", config=config)
    train(lits_prepared.folder, out=tmp_path / "broken", config=config)
    checkpoints = Checkpoints(tmp_path / "broken" / "checkpoints")
    newest = checkpoints.files("step")[0]
    newest.write_bytes(newest.read_bytes()[:1000])
    train(None, out=tmp_path / "broken", mode="resume")
    assert same_runs(tmp_path / "whole", tmp_path / "broken")
    for path in checkpoints.files("step"):
        path.write_bytes(b"")
    with pytest.raises(CaseUNetError, match=r"step-0000000\d.ckpt: is damaged.*No other checkpoint can be read"):
        train(None, out=tmp_path / "broken", mode="resume")


def test_a_finished_run_stays_and_can_be_extended(lits_prepared: Prepared, config: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(lits_prepared.folder, out=run, config=config)
    before = (run / "metrics.csv").read_text()
    train(None, out=run, mode="resume")
    assert (run / "metrics.csv").read_text() == before
    longer = changed(config, training={"steps": 8, "num_validations": 4})
    with pytest.raises(CaseUNetError, match=r"training.steps was 5 .* and is 8 now.*extend the run"):
        train(None, out=run, config=longer, mode="resume")
    train(None, out=run, config=longer, mode="extend")
    metrics = pd.read_csv(run / "metrics.csv")
    assert (run / "metrics.csv").read_text().startswith(before)
    assert metrics.dropna(subset=["val_dice"])["step"].tolist() == [3, 5, 6, 8]
    later = metrics[metrics["step"] > 5].dropna(subset=["lr"])
    assert later["lr"].iloc[0] == pytest.approx(learning_rate(config.optimizer, 5 / 8), rel=1e-4)


def test_what_must_not_change_is_refused(
    lits_prepared: Prepared, lits_raw: Path, config: Config, tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    run = tmp_path / "run"
    train(lits_prepared.folder, out=run, config=config)
    with pytest.raises(
        CaseUNetError, match=r"optimizer.lr was 0.006 .* and is 0.1 now: a resumed run goes on as it began"
    ):
        train(None, out=run, config=changed(config, optimizer={"lr": 0.1}), mode="resume")
    train(
        None, out=run, config=changed(config, training={"log_every": 1, "device": "cpu"}), mode="resume"
    )  # changes nothing learnt
    status, _, error = cli("train", "--resume", "--out", run, "--seed", "3")
    assert (status, "seed was 0" in error) == (2, True)
    status, _, error = cli("train", "--resume", "--overwrite", "--out", run)
    assert (status, "choose one" in error) == (2, True)
    status, _, error = cli("train", "--resume", "--out", tmp_path / "nowhere")
    assert (status, "there is no training run to go on with" in error) == (2, True)

    from caseunet.commands.prepare import prepare

    prepare(lits_raw, out=tmp_path / "other", config=config.prepare.model_copy(update={"seed": 1, "size": (64, 64)}))
    with pytest.raises(CaseUNetError, match=r"other: is not what the run began with: its (folds|sizes)"):
        train(tmp_path / "other", out=run, config=config, mode="resume")


def test_two_processes_do_not_train_in_one_folder(lits_prepared: Prepared, config: Config, tmp_path: Path) -> None:
    from filelock import FileLock

    train(lits_prepared.folder, out=tmp_path / "run", config=config)
    with FileLock(tmp_path / "run" / ".lock"), pytest.raises(CaseUNetError, match="run: another process trains in it"):
        train(None, out=tmp_path / "run", mode="resume")


def test_an_interrupted_replacement_goes_on(
    lits_prepared: Prepared, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier run waits until the new one is whole, however often that is interrupted."""
    train(lits_prepared.folder, out=tmp_path / "run", config=config)
    kept = load_bundle(tmp_path / "run" / "bundle").info.weights_hash
    step = Trainer.step

    def signalled(*arguments: object) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return step(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as sending:
        sending.setattr(Trainer, "step", signalled)
        with pytest.raises(Interrupted):
            train(
                lits_prepared.folder,
                out=tmp_path / "run",
                config=changed(config, optimizer={"lr": 0.001}),
                mode="overwrite",
            )
    waiting = tmp_path / ".caseunet-before-run"
    assert load_bundle(waiting / "bundle").info.weights_hash == kept
    train(None, out=tmp_path / "run", mode="resume")
    assert load_bundle(tmp_path / "run" / "bundle").info.weights_hash != kept
    assert not waiting.exists()


def test_a_run_that_learnt_nothing_is_no_result(
    lits_prepared: Prepared, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended in its trial step: the next one may be configured otherwise, and needs no --overwrite."""
    with monkeypatch.context() as small:
        small.setattr("caseunet.training.trial.free_memory", lambda: 1000)
        with pytest.raises(CaseUNetError, match="A step needs about"):
            train(lits_prepared.folder, out=tmp_path / "run", config=config)
    train(lits_prepared.folder, out=tmp_path / "run", config=changed(config, training={"steps": 1}))
    with pytest.raises(CaseUNetError, match="holds an earlier result"):
        train(lits_prepared.folder, out=tmp_path / "run", config=config)


def test_where_a_run_started_from_may_be_gone(lits_prepared: Prepared, config: Config, tmp_path: Path) -> None:
    first = train(lits_prepared.folder, out=tmp_path / "first", config=config)
    start = {"training": {"pretrained": first.folder}, "model": {"name": "unet", "kwargs": {}}}
    train(lits_prepared.folder, out=tmp_path / "run", config=changed(config, **start))
    (tmp_path / "first").rename(tmp_path / "elsewhere")
    again = train(lits_prepared.folder, out=tmp_path / "run", config=changed(config, **start), mode="resume")
    assert again.info.architecture.name == "case_unet"


def test_a_longer_budget_validates_on_more(
    lits_prepared: Prepared, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen(step: int) -> list[str]:
        return Checkpoints(run / "checkpoints").load("step", step)["validation_cases"]

    run, cases = tmp_path / "run", set(lits_prepared.fold(0).val)
    assert len(cases) > 1
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "seconds_to_validate", lambda training: 0.0)
        short = changed(config, training={"minutes": 30})
        train(lits_prepared.folder, out=run, config=short)
        assert len(seen(5)) == 1
    train(None, out=run, config=changed(short, training={"steps": 7}), mode="extend")
    assert set(seen(7)) == cases
