"""Images and masks as files."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from caseunet.errors import BadValuesError, CaseUNetError
from caseunet.io import images, raster, raster_file


def test_colour_images_are_read_as_three_channels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    raster.write_image(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(raster.read_raster(tmp_path / "a.png", 3).pixels, pixels.transpose(2, 0, 1)[None])
    Image.fromarray(pixels).convert("RGBA").save(tmp_path / "b.png")
    np.testing.assert_array_equal(raster.read_raster(tmp_path / "b.png", 3).pixels, pixels.transpose(2, 0, 1)[None])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_images_keep_their_depth(dtype: type, tmp_path: Path) -> None:
    pixels = (np.arange(35).reshape(5, 7) * (7 if dtype == np.uint8 else 1800)).astype(dtype)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(raster.read_raster(tmp_path / "a.png", 1).pixels[0, 0], pixels)


@pytest.mark.parametrize(("mode", "channels"), [("I;16", 3), ("F", 3), ("1", 1)])
def test_what_would_lose_its_values_is_refused(mode: str, channels: int, tmp_path: Path) -> None:
    Image.new(mode, (8, 6)).save(tmp_path / "a.tif")
    with pytest.raises(CaseUNetError, match=f"a.tif: found an image of Pillow's mode {mode}"):
        raster.read_raster(tmp_path / "a.tif", channels)


def test_several_pages_are_refused(tmp_path: Path) -> None:
    page = Image.new("RGB", (8, 6))
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    with pytest.raises(CaseUNetError, match="a.tif: holds 2 pages"):
        raster.read_raster(tmp_path / "a.tif", 3)


def test_masks_show_colours_and_hold_ids(tmp_path: Path) -> None:
    ids = np.array([[0, 1], [2, 1]])
    raster_file.write_ids(tmp_path / "m.png", ids, [(0, 0, 0), (255, 0, 0), (0, 0, 255)])
    np.testing.assert_array_equal(raster.read_raster_mask(tmp_path / "m.png").label_values[0], ids)
    assert np.asarray(Image.open(tmp_path / "m.png").convert("RGB"))[1, 0].tolist() == [0, 0, 255]


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(CaseUNetError, match="text.png: cannot be read as an image"):
        raster.read_raster(tmp_path / "text.png", 3)
    raster.write_image(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:2000])
    with pytest.raises(CaseUNetError, match="cut.png: its pixels cannot be read"):
        raster.read_raster(tmp_path / "cut.png", 3)
    raster.write_image(tmp_path / "rgb.png", np.full((4, 4, 3), (9, 70, 20), np.uint8))
    with pytest.raises(
        CaseUNetError, match="rgb.png: an image in colour .* differ by up to 61.; expected a grey image"
    ):
        raster.read_raster(tmp_path / "rgb.png", 1)


def test_colours_and_grey_saved_as_colour(tmp_path: Path) -> None:
    pixels = np.zeros((4, 5, 3), np.uint8)
    pixels[1, 2] = 7
    raster.write_image(tmp_path / "grey.png", pixels)
    mask = raster.read_raster_mask(tmp_path / "grey.png")
    assert (mask.colored, mask.label_values[0, 1, 2], mask.label_values.sum()) == (False, 7, 7)
    pixels[0, 1] = (1, 2, 3)
    raster.write_image(tmp_path / "colour.png", pixels)
    mask = raster.read_raster_mask(tmp_path / "colour.png")
    assert mask.colored
    assert mask.label_values[0, 0, 1] == 0x010203
    assert mask.label_values[0, 1, 2] == 0x070707
    with pytest.raises(CaseUNetError, match="colour.png: expected class ids .* in colour"):
        raster.read_raster_mask(tmp_path / "colour.png", colored=False)


def test_a_flipped_bit_in_a_png_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    raster.write_image(path, np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(CaseUNetError, match="a.png: its pixels cannot be read"):
        raster.read_raster(path, 3)


def test_nan_is_replaced_only_where_told(tmp_path: Path) -> None:
    pixels = np.array([[1.5, np.nan], [2, 3]], np.float32)
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(BadValuesError, match="a.tif: holds 1 of 4 pixels that are NaN"):
        images.read_image_file(tmp_path / "a.tif", rgb=False)
    assert images.read_image_file(tmp_path / "a.tif", rgb=False, nan=-7).pixels.ravel().tolist() == [1.5, -7, 2, 3]


GREY = np.random.default_rng(3).integers(0, 256, (6, 7)).astype(np.uint8)
RAMP = [value for level in range(256) for value in (level,) * 3]


def in_mode(mode: str) -> Image.Image:
    """The same grey picture, stored otherwise."""
    if mode != "P":
        return Image.fromarray(GREY).convert(mode)
    image = Image.fromarray(255 - GREY).convert("P")
    image.putpalette(RAMP[::-1])  # index 0 is white
    return image


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "CMYK"])
def test_grey_is_grey_however_stored(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    in_mode(mode).save(path)
    picture = raster.read_raster(path, 1)
    np.testing.assert_array_equal(picture.pixels[0, 0], GREY)
    assert picture.pixels.shape == (1, 1, 6, 7)
    assert bool(picture.geometry.remarks) == (mode == "CMYK")
    np.testing.assert_array_equal(raster.read_raster(path, 3).pixels[0], np.stack([GREY] * 3))


def test_nearly_grey_is_told(tmp_path: Path) -> None:
    pixels = np.stack([GREY // 2 + 8, GREY // 2, GREY // 2 + 3], axis=-1)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = raster.read_raster(tmp_path / "a.png", 1)
    expected = (pixels @ [0.299, 0.587, 0.114]).round()
    assert np.abs(picture.pixels[0, 0] - expected).max() <= 1
    assert picture.geometry.remarks == ("its colours differ by up to 8; read as grey",)


def test_hidden_pixels_are_told(tmp_path: Path) -> None:
    pixels = np.full((4, 5, 4), 200, np.uint8)
    pixels[..., 3] = 255
    pixels[1, 1, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert "transparency" in raster.read_raster(tmp_path / "a.png", 3).geometry.remarks[0]


def test_a_camera_s_second_picture_is_left_out(tmp_path: Path) -> None:
    first = Image.fromarray(np.full((16, 24, 3), 90, np.uint8))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[first.resize((12, 8))])
    picture = raster.read_raster(tmp_path / "a.jpg", 3)
    assert picture.pixels.shape == (1, 3, 16, 24)
    assert picture.geometry.remarks == ("its file holds 2 pictures; the first is used",)


@pytest.mark.parametrize("first", ["image", "thumbnail"])
def test_a_thumbnail_s_page_is_left_out(first: str, tmp_path: Path) -> None:
    whole, small = Image.new("L", (20, 12), 7), Image.new("L", (10, 6), 9)
    small.encoderinfo, whole.encoderinfo = {"tiffinfo": {254: 1}}, {"tiffinfo": {254: 0}}
    pages = [whole, small] if first == "image" else [small, whole]
    info = {254: 1} if first == "thumbnail" else {}
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], tiffinfo=info)
    picture = raster.read_raster(tmp_path / "a.tif", 1)
    assert picture.pixels.shape == (1, 1, 12, 20)
    assert picture.pixels.max() == 7
    assert raster.read_shape(tmp_path / "a.tif") == (12, 20)
    assert "2 pictures" in picture.geometry.remarks[0]


def test_frames_of_an_animation_are_refused(tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), level) for level in (1, 2)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(CaseUNetError, match="a.png: holds 2 pages"):
        raster.read_raster(tmp_path / "a.png", 1)


def test_a_palette_is_kept_with_the_indices(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 2], [2, 5]], np.uint8)).convert("P")
    image.putpalette([255, 255, 255, 9, 9, 9, 1, 2, 3, *[0] * 9])
    image.save(tmp_path / "m.png")
    mask = raster.read_raster_mask(tmp_path / "m.png")
    assert mask.label_values[0].tolist() == [[0, 2], [2, 5]]
    assert dict(mask.palette) == {0: 0xFFFFFF, 2: 0x010203, 5: 0}
    assert raster.read_raster_mask(tmp_path / "m.png", colored=True).label_values[0].tolist() == [
        [0xFFFFFF, 0x010203],
        [0x010203, 0],
    ]


def test_transparent_is_background(tmp_path: Path) -> None:
    pixels = np.zeros((3, 4, 4), np.uint8)
    pixels[..., :3] = 255  # what editors leave below
    pixels[1, 1:3] = (200, 10, 20, 255)
    Image.fromarray(pixels).save(tmp_path / "m.png")
    codes = raster.read_raster_mask(tmp_path / "m.png").label_values[0]
    assert codes[1, 1] == 0xC80A14
    assert np.count_nonzero(codes) == 2
    pixels[0, 0] = (0, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "m.png")
    with pytest.raises(CaseUNetError, match="transparent pixels and black ones"):
        raster.read_raster_mask(tmp_path / "m.png")


def test_a_veil_of_one_strength_is_drawn(tmp_path: Path) -> None:
    """Annotations are often exported at half strength."""
    pixels = np.zeros((3, 4, 2), np.uint8)
    pixels[1, 1:3] = (255, 128)
    Image.fromarray(pixels, mode=None).save(tmp_path / "m.png")
    assert np.unique(raster.read_raster_mask(tmp_path / "m.png").label_values).tolist() == [0, 255]


def write_tiff(path: Path, pixels: np.ndarray, photometric: int, bits: int) -> None:
    """An uncompressed one-strip TIFF, written out by hand: Pillow writes no MinIsWhite of several bits."""
    import struct

    height, width = pixels.shape
    data = np.packbits(pixels, axis=1).tobytes() if bits == 1 else pixels.astype(f"<u{bits // 8}").tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height, 279: len(data)}
    directory = struct.pack("<H", len(tags))
    directory += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory + bytes(4))


@pytest.mark.parametrize("photometric", [0, 1])
def test_bilevel_masks_are_as_seen(photometric: int, tmp_path: Path) -> None:
    seen = np.zeros((5, 16), np.uint8)
    seen[1:4, 3:9] = 1
    write_tiff(tmp_path / "m.tif", seen if photometric else 1 - seen, photometric, bits=1)
    mask = raster.read_raster_mask(tmp_path / "m.tif")
    np.testing.assert_array_equal(mask.label_values[0], seen)
    assert dict(mask.palette) == {0: 0, 1: 0xFFFFFF}


@pytest.mark.parametrize("bits", [8, 16])
def test_white_as_0_is_turned_in_images(bits: int, tmp_path: Path) -> None:
    stored = np.arange(12).reshape(3, 4) * (20 if bits == 8 else 5000)
    write_tiff(tmp_path / "a.tif", stored, photometric=0, bits=bits)
    np.testing.assert_array_equal(raster.read_raster(tmp_path / "a.tif", 1).pixels[0, 0], 2**bits - 1 - stored)


def test_floats_with_white_as_0_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 7), np.float32), photometric="miniswhite")
    with pytest.raises(CaseUNetError, match=r"a.tif: is stored with white as 0 .*\(float32\) do not tell .* is black"):
        raster.read_raster(tmp_path / "a.tif", 1)


@pytest.mark.parametrize(("photometric", "expected"), [(0, 0), (1, 255)])
def test_turned_masks_are_remarked(photometric: int, expected: int, tmp_path: Path) -> None:
    write_tiff(tmp_path / "m.tif", np.array([[0, 255], [0, 255]]), photometric, bits=8)
    mask = raster.read_raster_mask(tmp_path / "m.tif")
    assert mask.label_values[0].tolist() == [[255 - expected, expected]] * 2
    assert mask.geometry.remarks == (() if photometric else (raster.WHITE_AS_0,))


def test_wide_masks_with_white_as_0_are_refused(tmp_path: Path) -> None:
    """Nothing turns values of 16 bits."""
    write_tiff(tmp_path / "m.tif", np.array([[0, 255], [0, 255]]), photometric=0, bits=16)
    with pytest.raises(CaseUNetError, match="m.tif: is stored with white as 0"):
        raster.read_raster_mask(tmp_path / "m.tif")


def test_ids_with_white_as_0_are_refused(tmp_path: Path) -> None:
    write_tiff(tmp_path / "m.tif", np.array([[0, 1], [0, 1]]), photometric=0, bits=8)
    with pytest.raises(CaseUNetError, match="m.tif: is stored with white as 0"):
        raster.read_raster_mask(tmp_path / "m.tif")


def test_sixteen_bits_in_each_colour_are_refused(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(range(12)) for _ in range(2))  # two pixels of three 16-bit colours
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    for channels in (1, 3):
        with pytest.raises(CaseUNetError, match="a.png: has 16 bits in each colour"):
            raster.read_raster(tmp_path / "a.png", channels)


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 3), ("L", 1), ("I;16", 1), ("P", 3), ("F", 1)])
def test_large_images_are_read_in_bands(
    mode: str, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow refuses images twice as large as its limit; ours is another, and Pillow's stays what it was."""
    values = np.random.default_rng(0).integers(0, 250, (23, 17, 3))
    kinds = {"RGB": np.uint8, "L": np.uint8, "P": np.uint8, "I;16": np.uint16, "F": np.float32}
    stored = values.astype(kinds[mode]) if mode == "RGB" else values[..., 0].astype(kinds[mode])
    image = Image.fromarray(stored).convert("P") if mode == "P" else Image.fromarray(stored)
    image.save(tmp_path / "a.tif")
    expected = raster.read_raster(tmp_path / "a.tif", channels).pixels
    if mode != "P":
        whole = stored.transpose(2, 0, 1) if mode == "RGB" else np.repeat(stored[None], channels, 0)
        np.testing.assert_array_equal(expected[0], whole)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(raster, "AT_ONCE", 5 * 17)
    found = raster.read_raster(tmp_path / "a.tif", channels).pixels
    assert (found.shape, found.dtype) == ((1, channels, 23, 17), expected.dtype)
    np.testing.assert_array_equal(found, expected)
    assert found.flags.c_contiguous
    assert found.flags.writeable
    assert Image.MAX_IMAGE_PIXELS == 100


def test_there_is_a_largest_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    monkeypatch.setattr(raster_file, "MAX_PIXELS", 599)
    with pytest.raises(
        CaseUNetError, match=r"a.png: cannot be read as an image: it has 20×30 pixels; at most 0 million"
    ):
        raster.read_raster(tmp_path / "a.png", 3)
    monkeypatch.undo()
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 30 * 20 * 7 - 1}))
    with pytest.raises(CaseUNetError, match=r"a.png: its pixels need .* GiB of memory"):
        raster.read_raster(tmp_path / "a.png", 3)


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
@pytest.mark.parametrize("suffix", ["tif", "png", "jpg"])
def test_turned_files_are_refused(tmp_path: Path, suffix: str, orientation: int) -> None:
    """Images and masks: Pillow turns a TIFF as it reads it, SimpleITK and tifffile do not."""
    path, exif = tmp_path / f"a.{suffix}", Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(path, exif=exif)
    tag = "Orientation tag" if suffix == "tif" else "EXIF orientation"
    for read in (lambda: raster.read_raster(path, 3), lambda: raster.read_raster_mask(path)):
        with pytest.raises(CaseUNetError, match=rf"a\.{suffix}: its {tag} is {orientation}: .* Save both upright"):
            read()


@pytest.mark.parametrize("orientation", [0, 1, None])
def test_an_upright_tiff_is_read_as_stored(tmp_path: Path, orientation: int | None) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(pixels).save(tmp_path / "a.tif", tiffinfo={} if orientation is None else {274: orientation})
    np.testing.assert_array_equal(raster.read_raster(tmp_path / "a.tif", 1).pixels[0, 0], pixels)
    np.testing.assert_array_equal(raster.read_raster_mask(tmp_path / "a.tif").label_values[0], pixels)


def test_a_tiff_turned_by_xmp_is_refused(tmp_path: Path) -> None:
    Image.new("L", (4, 3)).save(tmp_path / "a.tif", tiffinfo={700: b'<x tiff:Orientation="3"/>'})
    with pytest.raises(CaseUNetError, match="Orientation tag is 3"):
        raster.read_raster(tmp_path / "a.tif", 1)
