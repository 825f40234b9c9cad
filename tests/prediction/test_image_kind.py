"""Images of another kind than the training data are recognised by their values."""

from pathlib import Path

import numpy as np
import pytest

from caseunet.bundle import TrainingData
from caseunet.errors import CaseUNetError
from caseunet.io import scratch
from caseunet.prediction import image_kind
from caseunet.prediction.image_kind import MaskGivenError, check_kind, check_no_mask, measure_values
from caseunet.types import Modality, Preprocessing
from tests.support.bundles import NO_DATA


def draw(modality: str, seed: int = 0) -> np.ndarray:
    """(S, C, H, W) with the values of one kind."""
    rng = np.random.default_rng(seed)
    if modality == "ct":
        return np.where(rng.random((4, 1, 40, 40)) < 0.4, -1000, rng.normal(50, 60, (4, 1, 40, 40))).astype(np.int16)
    if modality == "mr":
        return np.where(rng.random((4, 1, 40, 40)) < 0.4, 0, rng.gamma(4, 60, (4, 1, 40, 40))).astype(np.int16)
    channels = 3 if modality == "rgb" else 1
    return rng.integers(10, 256, (1, channels, 40, 40)).astype(np.uint8)


def model(modality: Modality, per_case: bool = False) -> Preprocessing:
    channels = 3 if modality == "rgb" else 1
    zeros, ones = (0.0,) * channels, (1.0,) * channels
    return Preprocessing(modality=modality, channels=channels, per_case_zscore=per_case, mean=zeros, std=ones)


def trained(modality: str) -> TrainingData:
    stored = tuple(measure_values(draw(modality, seed)) for seed in range(5))
    return NO_DATA.model_copy(update={"cases": 5, "stored": stored})


def unknown() -> TrainingData:
    return trained("ct").model_copy(update={"stored": ()})


def test_values_are_those_of_the_image() -> None:
    found = measure_values(np.arange(101).reshape(1, 1, 1, 101))
    assert tuple(found.model_dump().values()) == (0, 1, 50, 99, 100)


def test_an_empty_image_is_an_error() -> None:
    with pytest.raises(CaseUNetError, match="is empty: its shape is"):
        measure_values(np.zeros((1, 1, 0, 5)))


@pytest.mark.parametrize("modality", ["ct", "mr", "rgb", "gray"])
def test_the_same_kind_passes(modality: Modality) -> None:
    for data in (trained(modality), unknown()):
        assert check_kind(draw(modality, 9), model(modality), data) == []


REFUSED: list[tuple[str, np.ndarray, Modality, str]] = [
    ("MR through CT", draw("mr", 9), "ct", "does not hold Hounsfield units"),
    ("CT with an offset", draw("ct", 9) + 1024, "ct", "does not hold Hounsfield units"),
    ("8-bit CT", np.clip((draw("ct", 9) + 160) / 400 * 255, 0, 255).astype(np.uint8), "ct", "Hounsfield units"),
    ("CT through MR", draw("ct", 9), "mr", "as those of CT do and of MR do not"),
    ("16 bits through 8", draw("rgb", 9).astype(np.uint16) * 257, "rgb", "in training they ran from 1"),
]
DOUBTED: list[tuple[str, np.ndarray, Modality, str]] = [
    ("windowed CT", np.clip(draw("ct", 9), -160, 240), "ct", "with none below -200 HU"),
    ("MR with negatives", (draw("mr", 9) - 300).astype(np.int16), "ct", "with no air, and every training image has"),
    ("0 to 1 through 8 bits", draw("rgb", 9) / np.float32(255), "rgb", "differ by 0."),
    ("some far brighter", np.where(draw("mr", 9) > 300, 9000, draw("mr", 9)), "mr", "most of its values run from"),
    ("nothing on it", np.full((1, 3, 40, 40), 128, np.uint8), "rgb", "all of its pixels are 128"),
]


@pytest.mark.parametrize(("name", "pixels", "modality", "says"), REFUSED, ids=[case[0] for case in REFUSED])
def test_another_kind_is_refused(name: str, pixels: np.ndarray, modality: Modality, says: str) -> None:
    with pytest.raises(CaseUNetError, match=says):
        check_kind(pixels, model(modality), trained(modality))
    doubts = check_kind(pixels, model(modality), trained(modality), strict=False)
    assert len(doubts) >= 1


@pytest.mark.parametrize(("name", "pixels", "modality", "says"), DOUBTED, ids=[case[0] for case in DOUBTED])
def test_a_doubtful_kind_is_said(name: str, pixels: np.ndarray, modality: Modality, says: str) -> None:
    doubts = check_kind(pixels, model(modality), trained(modality))
    assert any(says in doubt for doubt in doubts), doubts


def test_bundles_of_before_doubt_and_do_not_refuse() -> None:
    assert "none below -200 HU" in check_kind(draw("mr"), model("ct"), unknown())[0]
    assert "as those of CT do" in check_kind(draw("ct"), model("mr"), unknown())[0]


def test_training_without_air_needs_none() -> None:
    """A model of pieces inside a body, or of windowed scans, expects such."""
    pieces = trained("ct").model_copy(update={"stored": (measure_values(np.clip(draw("ct"), -100, 300)),)})
    assert check_kind(np.clip(draw("ct", 9), -90, 280), model("ct"), pieces) == []
    assert check_kind(np.clip(draw("ct", 9), -300, 280), model("ct"), pieces) == []


def test_model_that_standardises_takes_any_scale() -> None:
    assert check_kind(draw("mr", 9).astype(np.int32) * 100, model("mr", per_case=True), trained("mr")) == []


def ids(n: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, n, (3, channels, 20, 20)).astype(np.uint8)


@pytest.mark.parametrize(
    ("path", "pixels", "is_mask"),
    [
        ("scans/p1.nii", ids(3), True),
        ("scans/p1_seg.nii", ids(2) * 255, True),
        ("labels/p1.nii.gz", ids(4) * 50, True),
        ("scans/p1-mask.png", ids(2, 3) * 200, True),
        ("scans/p1.nii", ids(2) * 255, False),  # neither ids nor called a mask
        ("labels/p1.nii", draw("mr"), False),  # called one, but a scan
        ("masked/p1.nii", ids(2) * 255, False),
        ("scans/p1_seg.nii", np.zeros((1, 1, 9, 9)), False),
        ("scans/p1_seg.nii", ids(3) + np.float32(0.5), False),
        ("scans/p1_seg.nii", draw("ct"), False),
    ],
)
def test_masks_are_told_from_images(path: str, pixels: np.ndarray, is_mask: bool) -> None:
    if is_mask:
        with pytest.raises(MaskGivenError, match="looks like a mask: it holds"):
            check_no_mask(pixels, Path(path), trained("mr"))
    else:
        check_no_mask(pixels, Path(path), trained("mr"))


def test_few_values_may_be_what_training_had() -> None:
    """Made-up images of three values are images where training had such."""
    few = trained("mr").model_copy(update={"stored": (measure_values(ids(3)),)})
    check_no_mask(ids(3), Path("scans/p1.nii"), few)


def test_samples_of_blocks_are_every_nth_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.arange(7 * 3 * 11).reshape(7, 1, 3, 11)
    for sample, block in ((9, 500), (9, 10**6), (1000, 500), (50, 1)):
        monkeypatch.setattr(image_kind, "SAMPLE", sample)
        monkeypatch.setattr(scratch, "BLOCK", block)
        found = image_kind._sample_pixels(pixels)
        np.testing.assert_array_equal(found, pixels.reshape(-1)[:: -(-pixels.size // sample)])
