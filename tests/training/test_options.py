"""What else a training can be told: averages, parts of a batch, where to start, when to stop, where to log."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

from caseunet.bundle import Bundle
from caseunet.commands.prepare import prepare
from caseunet.commands.train import train
from caseunet.config import Config
from caseunet.data.loader import batches
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError
from caseunet.progress import Display
from caseunet.training import trainer, trial
from caseunet.training.averaging import WeightAverage
from caseunet.training.budget import in_words
from caseunet.training.trainer import Trainer
from tests.training.test_trainer import changed


def test_an_average_follows_the_weights() -> None:
    """After one update the decay is min(0.9, 2/11), after two 3/12: by hand."""
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    average = WeightAverage(model, 0.9)
    model.weight.data.fill_(3.0)
    average.update()
    first = 1 + (3 - 1) * (1 - 2 / 11)
    assert average.averages[0].item() == pytest.approx(first)
    model.weight.data.fill_(0.0)
    average.update()
    second = first * 3 / 12
    assert average.averages[0].item() == pytest.approx(second)
    with average.in_place():
        assert model.weight.item() == pytest.approx(second)
    assert model.weight.item() == 0.0
    for _ in range(200):
        average.update()
    model.weight.data.fill_(1.0)
    held = average.averages[0].item()
    average.update()
    assert average.averages[0].item() == pytest.approx(0.9 * held + 0.1)


def test_the_average_is_what_the_bundle_holds(lits_prepared: Prepared, tiny_config: Config, tmp_path: Path) -> None:
    averaged = train(
        lits_prepared.folder,
        out=tmp_path / "a",
        config=changed(tiny_config, training={"ema_decay": 0.99, "checkpoint": "last"}),
    )
    plain = train(
        lits_prepared.folder, out=tmp_path / "p", config=changed(tiny_config, training={"checkpoint": "last"})
    )
    assert not torch.equal(averaged.weights["head.2.bias"], plain.weights["head.2.bias"])
    logged = [pd.read_csv(tmp_path / run / "metrics.csv")["loss"] for run in "ap"]
    pd.testing.assert_series_equal(*logged)  # what is trained does not know of it


def test_quality_can_be_left_out_and_learnt_later(lits_prepared: Prepared, tiny_config: Config, tmp_path: Path) -> None:
    without = train(
        lits_prepared.folder, out=tmp_path / "run", config=changed(tiny_config, training={"quality": False})
    )
    assert without.info.quality is None
    later = train(lits_prepared.folder, out=tmp_path / "run", config=changed(tiny_config, training={}), mode="resume")
    assert later.info.quality is not None
    for name, weight in without.weights.items():
        torch.testing.assert_close(later.weights[name], weight, rtol=0, atol=0)


def test_batch_in_parts_gives_gradient_of_whole(lits_prepared: Prepared, tiny_config: Config, tmp_path: Path) -> None:
    """With a loss that is a mean over samples; Dice sums over each part."""
    common = {
        "data": {"batch_size": 4},
        "loss": {"name": "cross_entropy", "kwargs": {}},
        "model": {"kwargs": {"widths": [4, 6, 8], "norm": "none", "dropout": 0.0}},
    }
    for run, parts in (("whole", 1), ("parts", 4)):
        training = {"micro_batches": parts, "log_every": 1}
        train(lits_prepared.folder, out=tmp_path / run, config=changed(tiny_config, training=training, **common))
    one, other = (pd.read_csv(tmp_path / run / "metrics.csv")[["loss", "gradient_norm"]] for run in ("whole", "parts"))
    pd.testing.assert_frame_equal(one, other, rtol=1e-3)


def test_parts_of_a_batch_are_the_batch(lits_prepared: Prepared, tiny_config: Config) -> None:
    config = changed(tiny_config, data={"batch_size": 5, "patch_size": (64, 64), "workers": 0})
    whole = next(batches(lits_prepared, config.data, config.augment, 0, 3))
    for n in range(2):
        part = next(batches(lits_prepared, config.data, config.augment, 0, 3, (n, 2)))
        again = whole.part(n, 2)
        assert (part.samples, part.augmentations) == (again.samples, again.augmentations)
        assert len(part) == (3, 2)[n]
        assert torch.equal(part.pixels, again.pixels)
        assert torch.equal(part.target, again.target)


def test_training_stops_early(lits_prepared: Prepared, tiny_config: Config, tmp_path: Path) -> None:
    """With no learning nothing becomes better: two validations after the first are enough."""
    config = changed(
        tiny_config,
        optimizer={"lr": 1e-30, "warmup_ratio": 0.0},
        training={"steps": 20, "num_validations": 10, "patience": 2},
    )
    train(lits_prepared.folder, out=tmp_path / "run", config=config)
    assert pd.read_csv(tmp_path / "run" / "metrics.csv")["step"].max() == 6


def test_the_best_is_the_best_by_what_is_named(lits_prepared: Prepared, tiny_config: Config, tmp_path: Path) -> None:
    config = changed(tiny_config, training={"steps": 8, "num_validations": 8, "monitor": "iou/liver"})
    bundle = train(lits_prepared.folder, out=tmp_path / "run", config=config)
    metrics = pd.read_csv(tmp_path / "run" / "metrics.csv").dropna(subset=["val_iou_liver"])
    assert bundle.info.validation.step == metrics.loc[metrics["val_iou_liver"].idxmax(), "step"]
    assert bundle.info.validation.selected_by == "iou/liver"
    iou, dice = metrics["val_iou_liver"], metrics["val_dice_liver"]
    np.testing.assert_allclose(dice, 2 * iou / (1 + iou), atol=1e-4)  # one case: so they are one number
    with pytest.raises(CaseUNetError, match=r'monitor: there is no structure "spleen". Known: liver, tumour'):
        train(
            lits_prepared.folder, out=tmp_path / "x", config=changed(tiny_config, training={"monitor": "dice/spleen"})
        )


def _are_kept(weights: torch.Tensor, before: torch.Tensor) -> bool:
    """But for a weight of exactly 0, which even the smallest step moves."""
    return weights.shape == before.shape and torch.allclose(weights, before, rtol=0, atol=1e-20)


def test_fine_tuning_keeps_all_but_the_head(
    lits_bundle: Bundle, lits_prepared: Prepared, lits_raw: Path, tiny_config: Config, tmp_path: Path
) -> None:
    """Same classes: every tensor; other classes: a new head. The network is the bundle's, whatever is configured."""
    still = {
        "optimizer": {"lr": 1e-30},
        "training": {"steps": 1, "pretrained": lits_bundle.folder, "checkpoint": "last"},
    }
    config = changed(tiny_config, model={"name": "unet", "kwargs": {}}, **still)
    same = train(lits_prepared.folder, out=tmp_path / "same", config=config)
    assert all(_are_kept(same.weights[name], tensor) for name, tensor in lits_bundle.weights.items())

    two = tmp_path / "raw"
    (two / "images").mkdir(parents=True)
    (two / "masks").mkdir()
    import nibabel as nib

    for n in range(4):
        (two / "images" / f"scan{n}.nii").write_bytes((lits_raw / f"volume-{n}.nii").read_bytes())
        mask = nib.load(lits_raw / f"segmentation-{n}.nii")
        joined = nib.Nifti1Image((np.asarray(mask.dataobj) > 0).astype(np.uint8), mask.affine)
        nib.save(joined, two / "masks" / f"scan{n}.nii")
    prepare(two, out=tmp_path / "prepared", config=tiny_config.prepare.model_copy(update={"modality": "ct"}))
    other = train(tmp_path / "prepared", out=tmp_path / "other", config=config)
    kept = [name for name, tensor in lits_bundle.weights.items() if _are_kept(tensor, other.weights[name])]
    assert set(lits_bundle.weights) - set(kept) == {"head.2.weight", "head.2.bias"}
    wider = train(lits_prepared.folder, out=tmp_path / "x", config=changed(config, data={"context_slices": 1}))
    assert wider.info.architecture.in_channels == 3


def test_the_largest_that_fits_is_found() -> None:
    for limit in (0, 1, 2, 3, 7, 8, 100, 255, 256, 1000):
        assert trial.largest_that(lambda n, limit=limit: n <= limit, 256) == min(limit, 256)
    assert trial.find_batch_size(2, lambda n: n <= 5) == 10
    with pytest.raises(CaseUNetError, match="Not even one sample fits"):
        trial.find_batch_size(1, lambda n: False)


@pytest.mark.parametrize(
    ("device", "side", "devices", "size"),
    [
        ("cpu", 64, 1, 8),
        ("cpu", 128, 1, 8),
        ("cpu", 181, 1, 4),
        ("cpu", 256, 1, 2),
        ("cpu", 512, 1, 2),
        ("cpu", 512, 3, 3),
        ("cpu", 64, 3, 6),
        ("cuda", 512, 1, 8),
        ("cuda", 64, 3, 6),
    ],
)
def test_batches_are_smaller_on_a_cpu(device: str, side: int, devices: int, size: int) -> None:
    assert trial.plan_batch_size(torch.device(device), (side, side), devices) == size


@pytest.mark.parametrize("batch", ["auto", "null"])
def test_an_automatic_batch_size_is_written_down(
    batch: str, lits_prepared: Prepared, tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    arguments = ("--model.kwargs", "{widths: [4, 6, 8]}", "--steps", "1", "--data.batch_size", batch)
    status, out, error = cli("train", lits_prepared.folder, "--out", tmp_path / "run", *arguments)
    assert (status, error) == (0, "")
    assert "data.batch_size is 8 here" in out
    assert "batch_size: 8" in (tmp_path / "run" / "config.yaml").read_text()
    assert cli("train", lits_prepared.folder, "--out", tmp_path / "run", *arguments, "--resume")[0] == 0


@pytest.mark.parametrize(
    ("what", "message"), [("memory", "A step needs about .* GiB are free"), ("disk", "checkpoints")]
)
def test_too_little_room_is_said_before_the_first_step(
    what: str,
    message: str,
    lits_prepared: Prepared,
    tiny_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trial, "free_memory", lambda: 1000 if what == "memory" else 10**12)
    if what == "disk":
        monkeypatch.setattr(trial.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    monkeypatch.setattr(Trainer, "step", lambda *arguments: pytest.fail("a step was taken"))
    with pytest.raises(CaseUNetError, match=message):
        train(lits_prepared.folder, out=tmp_path / "run", config=tiny_config)


def test_a_trial_step_leaves_no_trace(lits_prepared: Prepared, tiny_config: Config, tmp_path: Path) -> None:
    """Not even in the running statistics of batch norm: with and without it the weights are the same."""
    config = changed(tiny_config, model={"name": "deeplabv3plus", "kwargs": {}}, training={"steps": 1})
    with_trial = train(lits_prepared.folder, out=tmp_path / "with", config=config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "check_step", lambda *arguments: trial.StepCost(1.0, 1))
        without = train(lits_prepared.folder, out=tmp_path / "without", config=config)
    assert all(torch.equal(with_trial.weights[name], tensor) for name, tensor in without.weights.items())


def test_free_memory_minds_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("4000\n")
    (tmp_path / "memory.stat").write_text("anon 1000\nfile 3000\n")
    monkeypatch.setattr(trial, "CGROUP", tmp_path)
    assert trial.free_memory() == 4000
    (tmp_path / "memory.max").write_text("max\n")
    assert trial.free_memory() > 10**8


def test_durations_in_words() -> None:
    seconds = (0.42, 30, 600, 7300, 200_000)
    assert [in_words(s) for s in seconds] == ["0.4 s", "30 s", "10 min", "2 h 2 min", "2 d 7 h"]


def events_of(folder: Path) -> list[Any]:
    """Of a TensorBoard log: records of length, its checksum, an event, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    data, events = next(folder.iterdir()).read_bytes(), []
    while data:
        length = int.from_bytes(data[:8], "little")
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return events


def test_tensorboard_has_numbers_and_a_picture(lits_bundle: Bundle) -> None:
    run = lits_bundle.folder.parent
    values = [(event.step, value) for event in events_of(run / "tensorboard") for value in event.summary.value]
    scalars = {(step, value.tag): value.simple_value for step, value in values if not value.HasField("image")}
    metrics = pd.read_csv(run / "metrics.csv").dropna(subset=["val_dice_liver"]).set_index("step")
    assert scalars[4, "validation/dice_liver"] == pytest.approx(metrics.at[4, "val_dice_liver"], abs=1e-4)
    assert {"training/loss", "training/lr", "training/gradient_norm"} <= {tag for _, tag in scalars}
    assert any(value.HasField("image") and value.image.width > 400 for _, value in values)


def test_class_that_training_does_not_see_is_said(
    lits_prepared: Prepared, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(Display, "say", lambda self, text, style="": lines.append(text))
    counts = Prepared.slice_class_pixels

    def without_tumour(self: Prepared, case: str) -> np.ndarray:
        pixels = counts(self, case).copy()
        pixels[:, 2] = 0
        return pixels

    monkeypatch.setattr(Prepared, "slice_class_pixels", without_tumour)
    train(lits_prepared.folder, out=tmp_path / "run", config=changed(tiny_config, training={"steps": 1}))
    assert "  in no training case of this fold, so not to be learnt: tumour" in lines


class Client:
    """What MLflow's client is asked for."""

    calls: ClassVar[list[tuple[str, Any]]] = []

    def __init__(self) -> None:
        self.create_run = lambda *_, **__: SimpleNamespace(info=SimpleNamespace(run_id="r1"))
        self.get_experiment_by_name = lambda name: None
        self.create_experiment = lambda name: "e1"

    def __getattr__(self, name: str) -> Any:
        def note(*arguments: Any, **named: Any) -> None:
            if name == "log_image":
                raise ConnectionError("the server is gone")
            Client.calls.append((name, arguments))

        return note


def test_other_loggers_get_the_same_numbers_and_may_fail(
    lits_prepared: Prepared, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's server goes away at the first picture; training goes on, to the same end."""
    lines: list[str] = []
    monkeypatch.setattr(Display, "say", lambda self, text, style="": lines.append(text))
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "mlflow.tracking", SimpleNamespace(MlflowClient=Client))
    logged: list[tuple[int, dict[str, Any]]] = []
    run = SimpleNamespace(
        log=lambda values, step: logged.append((step, values)), finish=lambda: logged.append((-1, {}))
    )
    wandb = SimpleNamespace(
        init=lambda **named: run,
        Image=lambda pixels: pixels.shape,
        Settings=lambda **named: None,
    )
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    train(
        lits_prepared.folder,
        out=tmp_path / "run",
        config=changed(tiny_config, training={"loggers": ["mlflow", "wandb"]}),
    )
    metrics = pd.read_csv(tmp_path / "run" / "metrics.csv")
    first = {name: value for name, value in Client.calls if name == "log_metric"}["log_metric"]
    assert first[0] == "r1"
    assert ("log_param", ("r1", "seed", "0")) in Client.calls
    losses = [values["loss"] for _, values in logged if "loss" in values]
    np.testing.assert_allclose(losses, metrics["loss"].dropna(), rtol=1e-4)
    assert any("validation" in values for _, values in logged)
    assert logged[-1] == (-1, {})
    assert [line for line in lines if "mlflow: the server is gone; it gets no more of this run" in line]


def test_loggers_that_are_not_installed_are_named(
    lits_prepared: Prepared, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    for name in ("wandb", "mlflow"):
        with pytest.raises(CaseUNetError) as error:
            train(lits_prepared.folder, out=tmp_path / name, config=changed(tiny_config, training={"loggers": [name]}))
        assert f"caseunet[{name}]" in str(error.value)


def test_the_environment_tells_what_made_the_run(lits_bundle: Bundle) -> None:
    environment = json.loads((lits_bundle.folder.parent / "environment.json").read_text())
    assert {"caseunet", "code_hash", "libraries", "device", "command", "data_hash", "prepared"} <= set(environment)
    assert lits_bundle.info.training_data.content_hash == environment["data_hash"]


def test_left_is_not_learnt_as_right(lits_prepared: Prepared, tiny_config: Config, tmp_path: Path) -> None:
    """Where classes have sides nothing is mirrored left to right; a run goes on with what it began with."""
    raw = Path(str(lits_prepared.info.source.folder)) if lits_prepared.info.source else Path()
    plan = tmp_path / "plan.yaml"
    names = ("background", "left lobe", "right lobe")
    labels = [{"name": name, "color": [40 * n, 0, 0], "code": n} for n, name in enumerate(names)]
    plan.write_text(json.dumps({"layout": "lits", "labels": labels}))
    prepared = prepare(raw, out=tmp_path / "p", config=tiny_config.prepare.model_copy(update={"repair_plan": plan}))
    display = _Told()
    config = changed(tiny_config, training={"quality": False, "steps": 2})
    bundle = train(prepared.folder, out=tmp_path / "run", config=config, display=display)
    assert bundle.info.recipe is not None
    assert bundle.info.recipe.augment["horizontal_flip"] is False
    assert any("not mirrored left to right, for left lobe, right lobe have sides" in line for line in display.lines)
    longer = changed(config, training={"quality": False, "steps": 4})
    train(prepared.folder, out=tmp_path / "run", config=longer, mode="extend")


class _Told(Display):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str, style: str = "") -> None:
        self.lines.append(text)
