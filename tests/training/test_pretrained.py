"""What is said where a training starts from the weights of another."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from caseunet.bundle import Architecture, Bundle
from caseunet.commands.train import train
from caseunet.config import Config, load_config
from caseunet.data.store import Prepared
from caseunet.datasets.lits import CODING
from caseunet.models import create_model
from caseunet.training.pretrained import describe_changes, start_from_bundle
from caseunet.types import Preprocessing

CT = Preprocessing(modality="ct", channels=1, mean=(0.0,), std=(1.0,), intensity_window=(-100.0, 250.0))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, ""),
        ({"intensity_window": ((-50.0, 200.0),), "spacing": (0.8, 0.8), "mean": (3.0,)}, ""),
        ({"plane": "sagittal"}, "plane sagittal for axial"),
        ({"modality": "mr", "per_case_zscore": (True,)}, "modality mr for ct, z-scores of each case True for False"),
        ({"context_slices": 1}, "data.context_slices 1 for 0"),  # three inputs, as of one channel that is repeated
    ],
)
def test_other_images_are_told(changes: dict[str, Any], text: str) -> None:
    before = CT.model_copy(update={"channel_repeat": 3}) if "context_slices" in changes else CT
    assert describe_changes(before, CT.model_copy(update=changes)) == text


def started(
    old: int, new: int, old_names: tuple[str, ...] = (), new_names: tuple[str, ...] = ()
) -> tuple[Any, Any, str]:
    """A network of some channels, one of others that starts from it, and what is said."""
    before, after = (create_model("unet", channels, 3).eval() for channels in (old, new))
    architecture = Architecture(name="unet", in_channels=old, num_classes=3, kwargs={})
    info = SimpleNamespace(
        architecture=architecture,
        label_map=CODING.label_map,
        members=(),
        training_data=SimpleNamespace(channel_names=old_names),
    )
    bundle = SimpleNamespace(info=info, weights=before.state_dict(), folder="old")
    wanted = architecture.model_copy(update={"in_channels": new})
    told = start_from_bundle(
        after,
        wanted,
        label_map=CODING.label_map,
        channel_names=new_names,
        bundle=bundle,  # type: ignore[arg-type]
    )
    return before, after, told


@pytest.mark.parametrize(("old", "new"), [(1, 3), (3, 1), (4, 2)])
def test_equal_channels_give_what_they_gave(old: int, new: int) -> None:
    before, after, told = started(old, new)
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected, found = before(x.expand(-1, old, -1, -1)), after(x.expand(-1, new, -1, -1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert f"kernels for {old} channels become such for {new}: each is the average" in told


def test_channels_of_the_same_name_keep_their_kernels() -> None:
    before, after, told = started(3, 2, ("flair", "t1", "t2"), ("t2", "flair"))
    x = torch.rand(1, 2, 64, 64)
    shown = torch.cat([x[:, 1:], torch.zeros(1, 1, 64, 64), x[:, :1]], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(after(x), before(shown), rtol=1e-4, atol=1e-4)
    assert "those of t2, flair are copied" in told


@pytest.mark.parametrize(("new_names", "order"), [(("t2", "t1"), [1, 0]), (("T1", "T2"), [0, 1])])
def test_channels_in_another_order_are_moved(new_names: tuple[str, str], order: list[int]) -> None:
    before, after, told = started(2, 2, ("t1", "t2"), new_names)
    x = torch.rand(1, 2, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(after(x), before(x[:, order]), rtol=1e-4, atol=1e-4)
    assert ("are copied" in told) == (order == [1, 0])


def test_old_weights_are_scored_first(
    lits_bundle: Bundle, lits_prepared: Prepared, tiny_config: Config, tmp_path: Path
) -> None:
    """Step 0 stands in metrics.csv; where nothing after it is better, the old weights are what is kept."""
    training = tiny_config.training.model_copy(update={"pretrained": lits_bundle.folder, "steps": 2})
    optimizer = tiny_config.optimizer.model_copy(update={"lr": 1e-30})
    config = tiny_config.model_copy(update={"training": training, "optimizer": optimizer})
    bundle = train(lits_prepared.folder, out=tmp_path / "run", config=config)
    with (tmp_path / "run" / "metrics.csv").open(newline="") as stream:
        first = next(csv.DictReader(stream))
    assert first["step"] == "0"
    assert float(first["val_dice_liver"]) == pytest.approx(lits_bundle.info.validation.structures["liver"], abs=0.02)
    assert bundle.info.validation.step == 0


def test_a_tenth_of_the_learning_rate_is_taken() -> None:
    fresh = load_config().optimizer.lr
    started_ = {"training.pretrained": "run/bundle"}
    assert load_config(overrides=started_).optimizer.lr == pytest.approx(fresh / 10)
    assert load_config(overrides=started_ | {"optimizer.lr": 0.5}).optimizer.lr == 0.5
