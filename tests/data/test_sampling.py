"""A batch is a pure function of (seed, step)."""

import numpy as np
import pytest
import torch

from caseunet.config import Config, DataConfig
from caseunet.data.loader import batches, plan_preprocessing
from caseunet.data.sampling import SliceSampler
from caseunet.data.store import DatasetInfo, Intensities, Prepared
from caseunet.errors import UserError
from caseunet.sources.lits import CODING


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
        "heights_widths": {"a": (50, 60), "b": (50, 60)},
        "patch_size": (40, 64),
        "batch_size": 6,
        "rare_share": 1 / 3,
        "flip_rows": True,
        "flip_columns": False,
    }
    return SliceSampler(**(arguments | changes))


def test_the_same_seed_and_step_give_the_same_samples() -> None:
    assert sampler().draw(3, 17) == sampler().draw(3, 17)
    assert sampler().draw(3, 17) != sampler().draw(3, 18)
    assert sampler().draw(3, 17) != sampler().draw(4, 17)


def test_only_the_given_slices_are_drawn_and_crops_lie_inside() -> None:
    drawn = [s for step in range(200) for s in sampler().draw(0, step)]
    assert {(s.case, s.slice) for s in drawn} == {("a", n) for n in (0, 1, 3, 4, 5)} | {("b", n) for n in range(6)}
    assert {s.corner[0] for s in drawn} == set(range(11))
    assert {s.corner[1] for s in drawn} == {-2}, "a slice narrower than the patch is centred"
    assert {s.flip_columns for s in drawn} == {False}
    assert 0.4 < np.mean([s.flip_rows for s in drawn]) < 0.6


def test_a_third_holds_a_rare_class_each_as_often() -> None:
    drawn = [s for step in range(300) for s in sampler().draw(0, step)[:2]]
    first = np.mean([(s.case, s.slice) == ("a", 4) for s in drawn])
    assert {(s.case, s.slice) for s in drawn} == {("a", 4), ("b", 0), ("b", 1), ("b", 2)}
    assert 0.43 < first < 0.57


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(UserError, match="holds no slices"):
        sampler(ranges={"a": ()})


def test_batches_are_the_same_with_and_without_workers(lits_prepared: Prepared) -> None:
    found = []
    for workers in (0, 1):
        config = DataConfig(batch_size=2, neighbours=1, workers=workers)
        loader = batches(lits_prepared, config, plan_preprocessing(lits_prepared.info, config), seed=5, start=3)
        found.append([next(loader) for _ in range(2)])
    for alone, worked in zip(*found, strict=True):
        assert torch.equal(alone.image, worked.image)
        assert torch.equal(alone.target, worked.target)
    assert found[0][0].image.shape == (2, 3, 48, 40)
    assert found[0][0].target.dtype == torch.int64


def test_starting_later_continues_the_same_stream(lits_prepared: Prepared, tiny_config: Config) -> None:
    preprocessing = plan_preprocessing(lits_prepared.info, tiny_config.data)
    early = batches(lits_prepared, tiny_config.data, preprocessing, seed=0, start=0)
    late = batches(lits_prepared, tiny_config.data, preprocessing, seed=0, start=2)
    third = [next(early) for _ in range(3)][2]
    assert torch.equal(third.image, next(late).image)


def test_image_and_mask_are_cut_and_flipped_together(lits_prepared: Prepared) -> None:
    """In the made-up CT the tumour is darker than the liver around it, wherever the cut and the flips put it."""
    config = DataConfig(batch_size=16, patch_size=(32, 32), rare_share=1.0, clip=(-1000, 1000))
    batch = next(batches(lits_prepared, config, plan_preprocessing(lits_prepared.info, config), seed=0, start=0))
    hounsfield = batch.image[:, 0] * 2000 - 1000
    assert hounsfield[batch.target == 1].mean() == pytest.approx(105, abs=12)
    assert hounsfield[batch.target == 2].mean() == pytest.approx(45, abs=12)


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
        size=None,
        intensities=Intensities(
            mean=tuple(10.0 * c for c in counted),
            std=tuple(2.0 * c for c in counted),
            low=(-50.0,) * channels,
            high=(150.0,) * channels,
        ),
        class_pixels=(1, 1, 1),
        fingerprint="",
        code_version="",
    )


@pytest.mark.parametrize(
    ("info", "config", "expected"),
    [
        (("ct", "int16", 1), {}, ((-200, 250), (-200,), (450,), 1)),
        (("ct", "int16", 1), {"clip": (-100, 100)}, ((-100, 100), (-100,), (200,), 1)),
        (("ct", "int16", 1), {"normalize": "zscore"}, ((-50, 150), (10,), (2,), 1)),
        (("mr", "int16", 1), {"three_channels": True}, ((-50, 150), (-50,), (200,), 3)),
        (("rgb", "uint8", 3), {"three_channels": True}, (None, (0, 0, 0), (255, 255, 255), 1)),
        (("rgb", "uint8", 3), {"normalize": "zscore"}, (None, (10, 20, 30), (2, 4, 6), 1)),
    ],
)
def test_planned_preprocessing(
    info: tuple[str, str, int], config: dict[str, object], expected: tuple[object, ...]
) -> None:
    planned = plan_preprocessing(info_of(*info), DataConfig.model_validate(config))
    assert (planned.clip, planned.subtract, planned.divide, planned.repeat) == expected
