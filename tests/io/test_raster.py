"""Images and masks as files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caseunet.errors import BadValuesError, UserError
from caseunet.io import images, raster


def test_colour_images_are_read_as_three_channels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    raster.write_image(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(raster.read_image(tmp_path / "a.png", 3).pixels, pixels.transpose(2, 0, 1)[None])
    Image.fromarray(pixels).convert("RGBA").save(tmp_path / "b.png")
    np.testing.assert_array_equal(raster.read_image(tmp_path / "b.png", 3).pixels, pixels.transpose(2, 0, 1)[None])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_images_keep_their_depth(dtype: type, tmp_path: Path) -> None:
    pixels = (np.arange(35).reshape(5, 7) * (7 if dtype == np.uint8 else 1800)).astype(dtype)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(raster.read_image(tmp_path / "a.png", 1).pixels[0, 0], pixels)


@pytest.mark.parametrize(("mode", "channels"), [("I;16", 3), ("F", 3), ("LA", 1), ("CMYK", 1)])
def test_what_would_lose_its_values_is_refused(mode: str, channels: int, tmp_path: Path) -> None:
    Image.new(mode, (8, 6)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=f"a.tif: found an image of Pillow's mode {mode}"):
        raster.read_image(tmp_path / "a.tif", channels)


def test_several_pages_are_refused(tmp_path: Path) -> None:
    page = Image.new("RGB", (8, 6))
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    with pytest.raises(UserError, match="a.tif: holds 2 pages"):
        raster.read_image(tmp_path / "a.tif", 3)


def test_masks_show_colours_and_hold_ids(tmp_path: Path) -> None:
    ids = np.array([[0, 1], [2, 1]])
    raster.write_ids(tmp_path / "m.png", ids, [(0, 0, 0), (255, 0, 0), (0, 0, 255)])
    np.testing.assert_array_equal(raster.read_mask(tmp_path / "m.png").codes[0], ids)
    assert np.asarray(Image.open(tmp_path / "m.png").convert("RGB"))[1, 0].tolist() == [0, 0, 255]


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(UserError, match="text.png: cannot be read as an image"):
        raster.read_image(tmp_path / "text.png", 3)
    raster.write_image(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:2000])
    with pytest.raises(UserError, match="cut.png: its pixels cannot be read"):
        raster.read_image(tmp_path / "cut.png", 3)
    raster.write_image(tmp_path / "rgb.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UserError, match="rgb.png: found an image of Pillow's mode RGB; expected a grey image"):
        raster.read_image(tmp_path / "rgb.png", 1)


def test_colours_and_grey_saved_as_colour(tmp_path: Path) -> None:
    pixels = np.zeros((4, 5, 3), np.uint8)
    pixels[1, 2] = 7
    raster.write_image(tmp_path / "grey.png", pixels)
    mask = raster.read_mask(tmp_path / "grey.png")
    assert (mask.colored, mask.codes[0, 1, 2], mask.codes.sum()) == (False, 7, 7)
    pixels[0, 1] = (1, 2, 3)
    raster.write_image(tmp_path / "colour.png", pixels)
    mask = raster.read_mask(tmp_path / "colour.png")
    assert mask.colored
    assert mask.codes[0, 0, 1] == 0x010203
    assert mask.codes[0, 1, 2] == 0x070707
    with pytest.raises(UserError, match="colour.png: expected class ids .* in colour"):
        raster.read_mask(tmp_path / "colour.png", colored=False)


def test_a_flipped_bit_in_a_png_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    raster.write_image(path, np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(UserError, match="a.png: its pixels cannot be read"):
        raster.read_image(path, 3)


def test_nan_is_replaced_only_where_told(tmp_path: Path) -> None:
    pixels = np.array([[1.5, np.nan], [2, 3]], np.float32)
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(BadValuesError, match="a.tif: holds 1 of 4 pixels that are NaN"):
        images.read_picture(tmp_path / "a.tif", rgb=False)
    assert images.read_picture(tmp_path / "a.tif", rgb=False, nan=-7).pixels.ravel().tolist() == [1.5, -7, 2, 3]
