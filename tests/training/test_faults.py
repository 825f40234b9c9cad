"""A step that is not finite is written down, undone, and named with the sample that is to blame."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import zarr

from caseunet.bundle import load_bundle
from caseunet.commands.prepare import prepare
from caseunet.commands.train import train
from caseunet.config import Config
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError
from caseunet.training import trainer
from caseunet.training.checkpoint import Checkpoints
from caseunet.training.faults import StepResult
from caseunet.training.trainer import Trainer
from caseunet.training.trial import StepCost
from tests.training.test_trainer import changed


class Seen:
    """A display that remembers."""

    def __init__(self) -> None:
        from caseunet.progress import Display

        self.lines: list[str] = []
        self.display = Display()
        self.display.say = lambda text, style="": self.lines.append(text)  # type: ignore[method-assign]


@pytest.fixture
def planted(tmp_path: Path, tiny_config: Config) -> Prepared:
    """Four scans in floating point; one slice of one that training sees then gets a NaN, as a bad disk would do it."""
    rng = np.random.default_rng(0)
    for n in range(4):
        for folder, values in (
            ("images", rng.normal(size=(40, 40, 4)).astype(np.float32)),
            ("masks", rng.integers(0, 2, (40, 40, 4)).astype(np.uint8)),
        ):
            (tmp_path / "raw" / folder).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "raw" / folder / f"scan{n}.nii.gz")
    prepared = prepare(tmp_path / "raw", out=tmp_path / "prepared", config=tiny_config.prepare)
    case = next(iter(prepared.fold(0).train))
    images = zarr.open_group(str(prepared.folder / "images.zarr"), mode="r+")[prepared.cases.at[case, "array"]]
    images[int(prepared.cases.at[case, "first"]) + 2, 0, 5, 5] = np.nan
    return Prepared(prepared.folder)


def test_a_planted_nan_is_named(planted: Prepared, tiny_config: Config, tmp_path: Path) -> None:
    seen = Seen()
    config = changed(tiny_config, training={"steps": 60, "max_nonfinite_steps": 3}, augment={"strength": "none"})
    case = next(iter(planted.fold(0).train))
    blamed = rf"case {case}, slice 2: its pixels are not all finite"
    with pytest.raises(
        CaseUNetError, match=rf"3 steps gave no finite loss .*{blamed}.*faults.jsonl.*Mend or leave out"
    ):
        train(planted.folder, out=tmp_path / "run", config=config, display=seen.display)
    faults = [json.loads(line) for line in (tmp_path / "run" / "faults.jsonl").read_text().splitlines()]
    assert len(faults) == 3
    for fault in faults:
        assert (fault["precision"], fault["outcome"], fault["loss"]) == ("float32", "left out", "nan")
        assert {"case", "slice", "cause", "augmentation"} <= set(fault["samples"][0])
        assert [(s["case"], s["slice"]) for s in fault["samples"] if s["cause"]] == [(case, 2)] * sum(
            s["case"] == case and s["slice"] == 2 for s in fault["samples"]
        )
    assert any("no finite loss, left out" in line and case in line for line in seen.lines)


def test_the_step_is_undone(
    planted: Prepared, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, running statistics and what the optimiser remembers are those of before, to the bit."""
    states = []
    step = Trainer.step

    def spy(self, batch):  # type: ignore[no-untyped-def]
        state = self.state
        before = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
        moments = [v.clone() for s in state.optimizer.state.values() for v in s.values()]
        result = step(self, batch)
        after = [v for s in state.optimizer.state.values() for v in s.values()]
        same = all(torch.equal(before[name], tensor) for name, tensor in state.model.state_dict().items())
        states.append((result is None, same and all(map(torch.equal, moments, after))))
        return result

    monkeypatch.setattr(Trainer, "step", spy)
    model = {"name": "unet", "kwargs": {"widths": [4, 6]}}
    config = changed(tiny_config, training={"steps": 30, "max_nonfinite_steps": 100}, model=model)
    train(planted.folder, out=tmp_path / "run", config=config)
    assert {failed for failed, _ in states} == {True, False}
    assert all(failed == same for failed, same in states)
    weights = load_bundle(tmp_path / "run" / "bundle").weights
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_half_precision_falls_back_for_a_while(
    lits_prepared: Prepared, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that fails in bfloat16 alone is repeated in float32, as are the next ones."""
    used = []
    forward_backward = Trainer.forward_backward

    def spy(self, batch, dtype):  # type: ignore[no-untyped-def]
        used.append(dtype)
        result = forward_backward(self, batch, dtype)
        if dtype is not None and self.state.step == 1:
            return StepResult(result.values | {"loss": float("nan")}, result.norm, dtype)
        return result

    monkeypatch.setattr(Trainer, "forward_backward", spy)
    monkeypatch.setattr(trainer, "check_step", lambda *arguments: StepCost(1.0, 1))
    monkeypatch.setattr(trainer, "FALLBACK_STEPS", 3)
    config = changed(tiny_config, training={"steps": 6, "precision": "bf16-mixed"})
    train(lits_prepared.folder, out=tmp_path / "run", config=config)
    half = torch.bfloat16
    assert used == [half, half, None, None, None, half, half]
    fault = json.loads((tmp_path / "run" / "faults.jsonl").read_text())
    assert (fault["step"], fault["precision"], fault["outcome"]) == (1, "bfloat16", "repeated in float32")


def test_fp16_finds_scale_and_that_is_no_fault(
    lits_prepared: Prepared, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss so steep that its gradient overflows at the scale that fp16 begins with: halved until it does not."""
    scales = []
    step = Trainer.step

    def spy(self, batch):  # type: ignore[no-untyped-def]
        result = step(self, batch)
        scales.append((self.state.scaler.get_scale(), result is None))
        return result

    monkeypatch.setattr(Trainer, "step", spy)
    config = changed(
        tiny_config,
        training={"steps": 30, "precision": "16-mixed"},
        loss={"kwargs": {"cross_entropy": 1e4}},
    )
    train(lits_prepared.folder, out=tmp_path / "run", config=config)
    assert not (tmp_path / "run" / "faults.jsonl").exists()
    skipped = [left_out for _, left_out in scales]
    assert skipped[0]
    assert not skipped[-1]
    halvings = np.log2([2.0**16, *(scale for scale, _ in scales)])
    np.testing.assert_array_equal(-np.diff(halvings), np.array(skipped, float))
    saved = Checkpoints(tmp_path / "run" / "checkpoints").load("step", 30)
    assert saved["scaler"]["scale"] == scales[-1][0]


def test_resuming_forgets_faults_that_are_to_come(tmp_path: Path) -> None:
    from caseunet.training.faults import forget_after

    (tmp_path / "faults.jsonl").write_text('{"step": 1}\n{"step": 5}\n{"step": 9, "sam')
    forget_after(tmp_path, 5)
    assert (tmp_path / "faults.jsonl").read_text() == '{"step": 1}\n'
