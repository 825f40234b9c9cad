"""Slices of many pixels are stored in tiles, of which a patch decodes those that it needs."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from caseunet.commands.prepare import prepare
from caseunet.config import AugmentConfig, DataConfig, PrepareConfig
from caseunet.data import store
from caseunet.data.loader import batches
from caseunet.data.store import Prepared

SHAPE = (150, 200)


def write_pictures(raw: Path) -> None:
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (raw / part).mkdir(parents=True)
    for n in range(4):
        mask = np.zeros(SHAPE, np.uint8)
        mask[20 + n : 60, 90:170] = 255
        Image.fromarray(mask).save(raw / "masks" / f"{n}.png")
        Image.fromarray(rng.integers(0, 256, (*SHAPE, 3)).astype(np.uint8)).save(raw / "images" / f"{n}.png")


@pytest.fixture
def whole_and_tiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Prepared, Prepared]:
    write_pictures(tmp_path / "raw")
    config = PrepareConfig(workers=0, folds=2)
    whole = prepare(tmp_path / "raw", out=tmp_path / "whole", config=config)
    monkeypatch.setattr(store, "MAX_CHUNK", 10_000)
    monkeypatch.setattr(store, "TILE", 64)
    return whole, prepare(tmp_path / "raw", out=tmp_path / "tiled", config=config)


def test_tiles_hold_the_same_pixels(whole_and_tiled: tuple[Prepared, Prepared]) -> None:
    whole, tiled = whole_and_tiled
    [array] = tiled._groups["images"].array_keys()
    stored = tiled._groups["images"][array]
    assert (stored.chunks, stored.shards) == ((1, 3, 64, 64), (4, 3, 192, 256))
    for case in whole.cases.index:
        np.testing.assert_array_equal(tiled.image(case), whole.image(case))
        np.testing.assert_array_equal(tiled.labels(case), whole.labels(case))
        part = tiled.image_part(case, 0, slice(50, 90), slice(60, 130))
        np.testing.assert_array_equal(part, whole.image(case)[0, :, 50:90, 60:130])


@pytest.mark.parametrize("patch_size", [(32, 64), (160, 64), (192, 224)])
def test_batches_are_those_of_whole_slices(
    patch_size: tuple[int, int], whole_and_tiled: tuple[Prepared, Prepared]
) -> None:
    """Patches inside, higher than the slices, and larger than these."""
    config = DataConfig(batch_size=4, patch_size=patch_size, workers=0)
    drawn = [islice(batches(data, config, AugmentConfig(), 3, 0), 4) for data in whole_and_tiled]
    for one, other in zip(*drawn, strict=True):
        assert torch.equal(one.pixels, other.pixels)
        assert torch.equal(one.target, other.target)
