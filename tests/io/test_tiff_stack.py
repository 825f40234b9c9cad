"""TIFF files of several pages: slices, channels and colours told apart; what cannot be told is refused."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import AppendingTiffWriter

from caseunet.errors import CaseUNetError
from caseunet.io import images, raster
from caseunet.io.tiff_stack import has_pages
from caseunet.types import Geometry

RNG = np.random.default_rng(0)
PAGES = RNG.integers(0, 200, (6, 5, 7)).astype(np.uint8)
OME = '<OME><Pixels DimensionOrder="{order}" SizeC="{c}" SizeT="{t}" SizeX="7" SizeY="5" SizeZ="{z}"/></OME>'


def save(path: Path, pages: np.ndarray, description: str = "") -> Path:
    first, *others = [Image.fromarray(page) for page in pages]
    tags = {270: description} if description else {}
    first.save(path, save_all=True, append_images=others, tiffinfo=tags)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pages_are_slices(tmp_path: Path, dtype: type) -> None:
    path = save(tmp_path / "a.tif", PAGES.astype(dtype) + (0 if dtype is np.uint8 else 300))
    read = images.read_image_file(path, rgb=False)
    assert read.pixels.shape == (6, 1, 5, 7)
    np.testing.assert_array_equal(read.pixels[:, 0], PAGES.astype(float) + (0 if dtype is np.uint8 else 300))
    assert images.read_file_geometry(path).shape == read.geometry.shape == (6, 5, 7)
    assert read.geometry.affine is None
    assert read.geometry.remarks == ()


def test_colours_are_of_a_page(tmp_path: Path) -> None:
    colors = np.stack([PAGES[:3], PAGES[3:], PAGES[:3]], axis=-1)
    path = save(tmp_path / "a.tif", colors, "ImageJ=1.54f\nimages=3\nslices=3\nmode=color\n")
    np.testing.assert_array_equal(images.read_image_file(path, rgb=True).pixels, colors.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("description", "by_channel"),
    [
        ("ImageJ=1.54f\nimages=6\nchannels=2\nslices=3\nhyperstack=true\nmode=composite\n", False),
        ("ImageJ=1.54f\nimages=6\nchannels=2\nframes=3\nhyperstack=true\n", False),
        (OME.format(order="XYCZT", c=2, z=3, t=1), False),
        (OME.format(order="XYZCT", c=2, z=3, t=1), True),
        (OME.format(order="XYTCZ", c=2, z=3, t=1), False),
    ],
)
def test_pages_may_be_channels(tmp_path: Path, description: str, by_channel: bool) -> None:
    path = save(tmp_path / "a.tif", PAGES, description)
    read = images.read_image_file(path, rgb=False)
    wanted = PAGES.reshape(2, 3, 5, 7).swapaxes(0, 1) if by_channel else PAGES.reshape(3, 2, 5, 7)
    np.testing.assert_array_equal(read.pixels, wanted)
    assert read.geometry.shape == images.read_file_geometry(path).shape == (3, 5, 7)
    in_time = ("it says that its pages are 3 times; they are read as slices",) if "frames" in description else ()
    assert read.geometry.remarks == ("its pages are 3 slices of 2 channels, as it says itself", *in_time)
    with pytest.raises(CaseUNetError, match="2 channels are pages of their own and no colours"):
        images.read_image_file(path, rgb=True)


def test_channels_of_one_slice_are_an_image(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", PAGES[:2], "ImageJ=1.54f\nimages=2\nchannels=2\nmode=composite\n")
    read = images.read_image_file(path, rgb=False)
    assert (read.pixels.shape, read.geometry.shape) == ((1, 2, 5, 7), (5, 7))


def test_a_mask_has_a_page_for_each_slice(tmp_path: Path) -> None:
    image = images.read_file_geometry(save(tmp_path / "a.tif", PAGES))
    ids = (PAGES % 3).astype(np.uint8)
    mask = images.read_mask_file(save(tmp_path / "m.tif", ids), image)
    np.testing.assert_array_equal(mask.label_values, ids)
    assert not mask.colored
    colors = np.zeros((*ids.shape, 3), np.uint8)
    colors[3:][ids[3:] == 1] = (255, 0, 0)  # the first pages are black, and no ids for that
    mask = images.read_mask_file(save(tmp_path / "c.tif", colors), image)
    assert mask.colored
    np.testing.assert_array_equal(mask.label_values == 0xFF0000, np.where(np.arange(6)[:, None, None] < 3, 0, ids == 1))


def test_written_ids_come_back(tmp_path: Path) -> None:
    ids = (PAGES % 3).astype(np.uint8)
    geometry = Geometry(ids.shape)
    images.write_mask_file(tmp_path / "m.tif", ids, geometry, [(0, 0, 0), (255, 0, 0), (0, 0, 255)])
    with Image.open(tmp_path / "m.tif") as written:
        assert (written.n_frames, written.mode) == (6, "P")
        assert written.tag_v2[270].startswith("ImageJ=")
    mask = images.read_mask_file(tmp_path / "m.tif", geometry)
    np.testing.assert_array_equal(mask.label_values, ids)
    assert mask.palette == {0: 0, 1: 0xFF0000, 2: 0x0000FF}


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("ImageJ=1.54f\nimages=6\nslices=3\nframes=2\n", "holds 3 slices at 2 times; expected one volume"),
        (OME.format(order="XYZCT", c=1, z=2, t=3), "holds 2 slices at 3 times"),
        ("ImageJ=1.54f\nimages=900\nslices=900\n", "ImageJ put 900 images behind 6 page"),
    ],
)
def test_other_axes_are_refused(tmp_path: Path, description: str, message: str) -> None:
    path = save(tmp_path / "a.tif", PAGES, description)
    with pytest.raises(CaseUNetError, match=message):
        images.read_image_file(path, rgb=False)
    with pytest.raises(CaseUNetError, match=message):
        images.read_file_geometry(path)


def test_a_series_in_time_is_told(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PAGES, imagej=True, metadata={"axes": "TYX"})
    read = images.read_image_file(tmp_path / "a.tif", rgb=False)
    np.testing.assert_array_equal(read.pixels[:, 0], PAGES)
    assert read.geometry.remarks == ("it says that its pages are 6 times; they are read as slices",)


def test_pages_hidden_behind_one_are_told(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", PAGES[:1], "ImageJ=1.54f\nimages=900\nslices=900\n")
    with pytest.raises(CaseUNetError, match="ImageJ put 900 images behind 1 page"):
        images.read_image_file(path, rgb=False)


def test_pages_of_other_sizes_are_refused(tmp_path: Path) -> None:
    pages = [Image.new("L", size) for size in ((7, 5), (7, 5), (4, 5))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    for read in (images.read_file_geometry, lambda path: images.read_image_file(path, rgb=False)):
        with pytest.raises(CaseUNetError, match="page 1 has 5×7 pixels, page 3 5×4"):
            read(tmp_path / "a.tif")


def test_a_description_that_lies_is_passed_over(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", PAGES, "ImageJ=1.54f\nimages=6\nchannels=4\nslices=9\n")
    assert images.read_image_file(path, rgb=False).pixels.shape == (6, 1, 5, 7)


def test_one_page_stays_an_image(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", PAGES[:1])
    assert not has_pages(path)
    assert images.read_file_geometry(path).shape == raster.read_shape(path) == (5, 7)


@pytest.mark.parametrize("turned", [0, 1])
def test_a_turned_page_is_refused(tmp_path: Path, turned: int) -> None:
    with AppendingTiffWriter(tmp_path / "a.tif", new=True) as writer:
        for number, page in enumerate(PAGES[:2]):
            Image.fromarray(page).save(writer, format="TIFF", tiffinfo={274: 3} if number == turned else {})
            writer.newFrame()
    for read in (
        lambda: images.read_image_file(tmp_path / "a.tif", rgb=False),
        lambda: images.read_mask_file(tmp_path / "a.tif", Geometry((2, 5, 7))),
    ):
        with pytest.raises(CaseUNetError, match="a.tif: its Orientation tag is 3"):
            read()
