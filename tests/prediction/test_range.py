"""Grey images on another scale than those that a model was trained on."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caseunet.errors import CaseUNetError
from caseunet.prediction.predictor import match_range, read_model_input
from caseunet.types import Geometry, ImageVolume, Preprocessing

GREY = Preprocessing(modality="gray", channels=1, mean=(100.0,), std=(50.0,), value_range=(0, 251))
DEEP = GREY.model_copy(update={"value_range": (12.0, 60000.0), "intensity_window": ((100.0, 50000.0),)})
EARLIER = GREY.model_copy(update={"value_range": None})

LEVELS = np.arange(48, dtype=np.uint16).reshape(6, 8) * 5


def picture(pixels: np.ndarray) -> ImageVolume:
    return ImageVolume(pixels[None, None], Geometry(shape=pixels.shape))


@pytest.mark.parametrize("preprocessing", [GREY, EARLIER], ids=["told", "earlier"])
@pytest.mark.parametrize(
    ("pixels", "fits"),
    [
        (LEVELS.astype(np.uint8), True),
        (LEVELS, True),
        (LEVELS.astype(np.float32) + 0.5, True),
        (np.zeros((6, 8), np.uint8), True),
        (LEVELS * 2, False),
        (LEVELS.astype(np.int16) - 100, False),
        ((LEVELS / 255).astype(np.float32), False),
    ],
)
def test_eight_bits_are_expected(pixels: np.ndarray, fits: bool, preprocessing: Preprocessing) -> None:
    if fits:
        assert match_range(Path("a"), picture(pixels), preprocessing).geometry.remarks == ()
        return
    with pytest.raises(CaseUNetError, match="a: its values run from .* trained on 8-bit images, 0 to 255"):
        match_range(Path("a"), picture(pixels), preprocessing)


def test_eight_bits_in_a_deeper_model_are_told() -> None:
    remarks = match_range(Path("a"), picture(LEVELS.astype(np.uint8)), DEEP).geometry.remarks
    assert remarks == ("it has 8-bit values; this model was trained on values up to 60000, so its masks may be wrong",)
    assert match_range(Path("a"), picture(LEVELS * 200), DEEP).geometry.remarks == ()


def test_widened_values_fit(tmp_path: Path) -> None:
    Image.fromarray(LEVELS * 257).save(tmp_path / "a.png")
    read = match_range(tmp_path / "a.png", read_model_input(tmp_path / "a.png", GREY), GREY)
    np.testing.assert_array_equal(read.pixels[0, 0], LEVELS)
    assert read.pixels.dtype == np.uint8
    assert read.geometry.remarks == ("its 16-bit values are 257 times 8-bit ones; read as those",)
