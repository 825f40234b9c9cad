"""A batch is a pure function of (seed, step)."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from caseunet.config import AugmentConfig, DataConfig
from caseunet.data.intensities import Intensities
from caseunet.data.loader import Batch, batches, plan_workers
from caseunet.data.normalization import plan_preprocessing
from caseunet.data.sampling import Sample, SliceSampler
from caseunet.data.store import DatasetInfo, Prepared
from caseunet.datasets.lits import CODING
from caseunet.errors import CaseUNetError
from caseunet.types import Grid


def sampler(**changes: object) -> SliceSampler:
    """Two cases of six slices; class 1 in slice 4 of a only, class 2 in slices 0–2 of b."""
    pixels = {"a": np.zeros((6, 3), int), "b": np.zeros((6, 3), int)}
    for counts in pixels.values():
        counts[:, 0] = 100
    pixels["a"][4, 1] = 5
    pixels["b"][:3, 2] = 7
    arguments: dict[str, object] = {
        "ranges": {"a": ((0, 2), (3, 6)), "b": ((0, 6),)},
        "class_pixels": pixels,
        "batch_size": 6,
        "oversample_foreground": 1 / 3,
        "sampling": "slices",
    }
    return SliceSampler(**(arguments | changes))


def drawn(steps: int, **changes: object) -> list[Sample]:
    return [sample for step in range(steps) for sample in sampler(**changes).draw(0, step)]


def share(samples: list[Sample], **having: object) -> float:
    return float(np.mean([all(getattr(sample, name) == value for name, value in having.items()) for sample in samples]))


def test_same_seed_and_step_give_the_same_samples() -> None:
    assert sampler().draw(3, 17) == sampler().draw(3, 17)
    assert sampler().draw(3, 17) != sampler().draw(3, 18)
    assert sampler().draw(3, 17) != sampler().draw(4, 17)


def test_only_the_given_slices_are_drawn() -> None:
    found = {(s.case, s.slice) for s in drawn(200)}
    assert found == {("a", n) for n in (0, 1, 3, 4, 5)} | {("b", n) for n in range(6)}


def test_a_third_holds_a_rare_class_each_as_often() -> None:
    rare = [s for step in range(300) for s in sampler().draw(0, step)[:2]]
    assert {(s.case, s.slice, s.focus) for s in rare} == {("a", 4, 1), ("b", 0, 2), ("b", 1, 2), ("b", 2, 2)}
    assert 0.43 < share(rare, focus=1) < 0.57
    assert share([s for step in range(50) for s in sampler().draw(0, step)[2:]], focus=None) == 1


def test_a_third_of_batches_of_one_holds_one() -> None:
    found = [s for step in range(600) for s in sampler(batch_size=1).draw(0, step)]
    assert 0.28 < 1 - share(found, focus=None) < 0.39


def test_balance_says_what_is_equally_likely() -> None:
    """Of case a five slices may be drawn, of b six; one slice holds class 1, three class 2, eleven the background."""
    by_slice, by_case, by_class = (
        drawn(400, oversample_foreground=0, sampling=b) for b in ("slices", "cases", "classes")
    )
    assert share(by_slice, case="a") == pytest.approx(5 / 11, abs=0.03)
    assert share(by_case, case="a") == pytest.approx(1 / 2, abs=0.03)
    assert share(by_case, case="a", slice=4) == pytest.approx(1 / 10, abs=0.02)
    assert share(by_class, case="a", slice=4) == pytest.approx(1 / 3 + 1 / 33, abs=0.03)
    assert share(by_class, focus=2) == pytest.approx(1 / 3, abs=0.03)


def test_rare_classes_of_balanced_cases() -> None:
    """Class 1 in one slice of a and in five of b: with "cases" a is drawn as often as b."""
    pixels = {"a": np.zeros((6, 2), int), "b": np.zeros((6, 2), int)}
    pixels["a"][4, 1] = pixels["b"][:5, 1] = 3
    found = drawn(200, class_pixels=pixels, oversample_foreground=1, sampling="cases")
    assert share(found, case="a", slice=4) == pytest.approx(1 / 2, abs=0.04)


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    patch=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    at=st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)),
    chance=st.tuples(*[st.floats(0, 1, exclude_max=True)] * 3),
)
def test_a_cut_lies_inside_and_holds_the_focus(
    size: tuple[int, int], patch: tuple[int, int], at: tuple[float, float], chance: tuple[float, float, float]
) -> None:
    labels = np.zeros(size, np.uint8)
    pixel = int(at[0] * size[0]), int(at[1] * size[1])
    labels[pixel] = 2
    corner = Sample("a", 0, 2, chance).corner(labels, patch)
    for start, length, side, place in zip(corner, size, patch, pixel, strict=True):
        if length >= side:
            assert 0 <= start <= length - side
        else:
            assert start == -((side - length) // 2), "a slice smaller than the patch is centred"
        assert start <= place < start + side


def test_a_cut_without_focus_lies_anywhere() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros((50, 60), np.uint8)
    corners = [Sample("a", 0, None, tuple(rng.random(3))).corner(labels, (40, 64)) for _ in range(300)]
    assert {corner[0] for corner in corners} == set(range(11))
    assert {corner[1] for corner in corners} == {-2}


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(CaseUNetError, match="holds no labelled slices"):
        sampler(ranges={"a": ()})


PLAIN = AugmentConfig(strength="none")
SIZED = DataConfig(batch_size=2, patch_size=(64, 64), workers=0)


def one_by_one(prepared: Prepared, config: DataConfig, number: int, seed: int = 0, start: int = 0) -> list[Batch]:
    loader = batches(prepared, config, PLAIN, seed=seed, start=start)
    return [next(loader) for _ in range(number)]


def test_batches_are_the_same_with_and_without_workers(lits_prepared: Prepared) -> None:
    found = []
    for workers in (0, 2):
        config = DataConfig(batch_size=2, patch_size=(64, 64), context_slices=1, workers=workers)
        loader = batches(lits_prepared, config, AugmentConfig(strength="strong"), seed=5, start=3)
        found.append([next(loader) for _ in range(3)])
    for alone, worked in zip(*found, strict=True):
        assert torch.equal(alone.pixels, worked.pixels)
        assert torch.equal(alone.target, worked.target)
        assert (alone.samples, alone.augmentations) == (worked.samples, worked.augmentations)
    assert found[0][0].pixels.shape == (2, 3, 64, 64)
    assert (found[0][0].pixels.dtype, found[0][0].target.dtype) == (torch.int16, torch.uint8)


def test_starting_later_continues_the_same_stream(lits_prepared: Prepared) -> None:
    third = one_by_one(lits_prepared, SIZED, 3)[2]
    assert torch.equal(third.pixels, one_by_one(lits_prepared, SIZED, 1, start=2)[0].pixels)


def test_image_and_mask_are_cut_together_around_a_rare_class(lits_prepared: Prepared) -> None:
    """In the made-up CT the tumour is darker than the liver around it, wherever the cut is; and each cut holds one."""
    config = DataConfig(batch_size=16, patch_size=(32, 32), oversample_foreground=1.0, workers=0)
    batch = one_by_one(lits_prepared, config, 1)[0]
    assert batch.pixels[:, 0][batch.target == 1].float().mean() == pytest.approx(105, abs=12)
    assert batch.pixels[:, 0][batch.target == 2].float().mean() == pytest.approx(45, abs=12)
    assert all(sample.focus in target.unique() for sample, target in zip(batch.samples, batch.target, strict=True))


def damaged(prepared: Prepared, folder: Path) -> Prepared:
    """A copy in which the pixels of every case are damaged."""
    copy = shutil.copytree(prepared.folder, folder / "damaged")
    for shard in (copy / "images.zarr").glob("*/c/0/0/0/0"):
        data = bytearray(shard.read_bytes())
        data[: len(data) // 2] = b"x" * (len(data) // 2)
        shard.write_bytes(data)
    return Prepared(copy)


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_data_are_told_with_their_case(workers: int, lits_prepared: Prepared, tmp_path: Path) -> None:
    config = DataConfig(batch_size=2, patch_size=(64, 64), workers=workers)
    with pytest.raises(
        CaseUNetError, match=r"^Loading of step 0, case volume-\d, slice \d: .*damaged.*volume-\d"
    ) as told:
        one_by_one(damaged(lits_prepared, tmp_path), config, 1)
    assert "Traceback" not in str(told.value)


class FaultyPrepared(Prepared):
    def label_slice(self, case: str, position: int) -> np.ndarray:
        raise ZeroDivisionError("a defect")


class DyingPrepared(Prepared):
    def label_slice(self, case: str, position: int) -> np.ndarray:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@pytest.mark.parametrize("workers", [0, 1])
def test_defect_shows_its_own_traceback_and_case(workers: int, lits_prepared: Prepared) -> None:
    faulty = FaultyPrepared(lits_prepared.folder)
    with pytest.raises(RuntimeError, match=r"(?s)case volume-\d, slice \d: Traceback.*in label_slice.*a defect"):
        one_by_one(faulty, DataConfig(batch_size=2, patch_size=(64, 64), workers=workers), 1)


def test_a_loading_process_that_dies_is_told(lits_prepared: Prepared) -> None:
    with pytest.raises(CaseUNetError, match=r"A process that loads batches died.*lower data.workers \(now 1\)"):
        one_by_one(DyingPrepared(lits_prepared.folder), DataConfig(batch_size=2, patch_size=(64, 64), workers=1), 1)


def test_too_little_shared_memory_is_told(lits_prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches ahead for each of two processes, of 2 × 64 × 64 pixels of 2 + 1 bytes: 98 kB."""
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("caseunet.data.loader.SHARED_MEMORY", lits_prepared.folder)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=98_303))
    with pytest.raises(CaseUNetError, match=r"need 0 MB of shared memory.*more shared memory"):
        batches(lits_prepared, DataConfig(batch_size=2, patch_size=(64, 64), workers=2), PLAIN, seed=0, start=0)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=98_304))
    batches(lits_prepared, DataConfig(batch_size=2, patch_size=(64, 64), workers=2), PLAIN, seed=0, start=0)


@pytest.mark.parametrize(
    ("device", "processors", "ranks", "free", "workers"),
    [
        ("cpu", 16, 1, 10**9, 0),
        ("cuda", 16, 1, 10**9, 8),
        ("cuda", 16, 4, 10**9, 3),
        ("cuda", 1, 1, 10**9, 0),
        ("cuda", 16, 1, 10**5, 0),
    ],
)
def test_loading_processes_are_planned(
    device: str,
    processors: int,
    ranks: int,
    free: int,
    workers: int,
    lits_prepared: Prepared,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a GPU as many as there are processors left and memory for; none where the training process would wait."""
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("caseunet.data.loader.SHARED_MEMORY", lits_prepared.folder)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=free))
    monkeypatch.setattr("caseunet.data.loader.usable_processors", lambda: processors)
    assert plan_workers(lits_prepared, SIZED, torch.device(device), ranks) == workers


def test_all_tensors_of_a_batch_are_pinned(lits_prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU copies from; here there is none, so what would pin them adds one."""
    batch = one_by_one(lits_prepared, SIZED, 1)[0]
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    pinned = batch.pin_memory()
    for name in ("pixels", "target", "case_statistics", "merged"):
        assert torch.equal(getattr(pinned, name), getattr(batch, name) + 1)
    assert (pinned.samples, pinned.augmentations) == (batch.samples, batch.augmentations)


def info_of(modality: str, dtype: str, channels: int) -> DatasetInfo:
    """A description with mean 10, 20, …, standard deviation 2, 4, … and a middle range of −50 … 150."""
    counted = range(1, channels + 1)
    return DatasetInfo(
        source_format="x",
        modality=modality,
        group_name="patient",
        licence="",
        label_map=CODING.label_map,
        channels=channels,
        dtype=dtype,
        grid=Grid(size=(64, 96)),
        intensities=Intensities(
            mean=tuple(10.0 * c for c in counted),
            std=tuple(2.0 * c for c in counted),
            low=(-50.0,) * channels,
            high=(150.0,) * channels,
        ),
        class_pixels=(1, 1, 1),
        content_hash="",
        code_version="",
    )


@pytest.mark.parametrize(
    ("info", "config", "expected"),
    [
        (("ct", "int16", 1), {}, ((-200, 250), (-200,), (450,), 1)),
        (("ct", "int16", 1), {"intensity_window": (-100, 100)}, ((-100, 100), (-100,), (200,), 1)),
        (("ct", "int16", 1), {"normalization": "zscore"}, ((-50, 150), (10,), (2,), 1)),
        (("mr", "int16", 1), {"normalization": "zscore"}, (None, (0,), (1,), 1)),
        (("mr", "int16", 1), {"repeat_to_rgb": True}, ((-50, 150), (-50,), (200,), 3)),
        (("rgb", "uint8", 3), {"repeat_to_rgb": True}, (None, (0, 0, 0), (255, 255, 255), 1)),
        (("rgb", "uint8", 3), {"normalization": "zscore"}, (None, (10, 20, 30), (2, 4, 6), 1)),
    ],
)
def test_planned_preprocessing(
    info: tuple[str, str, int], config: dict[str, object], expected: tuple[object, ...]
) -> None:
    described = info_of(*info)
    planned = plan_preprocessing(described, described.intensities, DataConfig.model_validate(config), (64, 96))
    assert planned.size == (64, 96)
    per_case = info[0] == "mr" and config.get("normalization") == "zscore"
    assert planned.per_case_zscore == (per_case,) * info[2]
    assert set(planned.intensity_window) == {expected[0]}
    assert (planned.mean, planned.std, planned.channel_repeat) == expected[1:]
