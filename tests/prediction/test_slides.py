"""Images that are never held whole: their masks are those of the same images held.

tifffile and zarr write the images and read the masks, Pillow reads the masks again.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cc3d
import numcodecs
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from caseunet import CaseUNetError
from caseunet.bundle import PostprocessingRule, Quality, add_validation, load_bundle
from caseunet.commands.predict import predict
from caseunet.imaging.windows import is_blank
from caseunet.io import raster, slide_tiff, slides
from caseunet.io.slide import Slide
from caseunet.io.slides import is_slide
from caseunet.options import PredictOptions
from caseunet.prediction.slides import _count_starts
from tests.prediction.test_round_trips import GREY, GREY_16, RGB, brightness_bundle
from tests.support.slides import write_ndpi, write_ome_zarr, write_svs

SHAPE = (900, 1_130)
WINDOW = {"min_size": (256, 320), "window": (256, 320)}


@pytest.fixture(autouse=True)
def streamed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The images that were segmented in parts; small ones are, too."""
    paths: list[Path] = []

    def open_and_tell(path: Path) -> Slide:
        paths.append(path)
        return slides.open_slide(path)

    monkeypatch.setattr(slides, "MIN_PIXELS", 900_000)
    monkeypatch.setattr(slide_tiff, "MAX_SEGMENT", 1_000_000)
    monkeypatch.setattr("caseunet.prediction.slides.open_slide", open_and_tell)
    return paths


def stained(channels: int) -> np.ndarray:
    """Glass with two blocks of tissue, (H, W, 3) or (H, W)."""
    rng = np.random.default_rng(0)
    image = np.full((*SHAPE, 3), 60, np.uint8) + rng.integers(0, 9, (*SHAPE, 3)).astype(np.uint8)
    image[40:300, 500:1000] = rng.integers(0, 255, (260, 500, 3))
    image[600:, 900:] = rng.integers(0, 255, (300, 230, 3))
    return image if channels == 3 else image[..., 0].copy()


FORMS: dict[str, dict[str, Any]] = {
    "strips": {"rowsperstrip": 16},
    "tiles": {"tile": (256, 256), "compression": "zlib", "predictor": True},
    "lzw, BigTIFF": {"tile": (128, 256), "compression": "lzw", "bigtiff": True},
    "jpeg": {"tile": (256, 256), "compression": "jpeg"},
    "planes": {"tile": (256, 256), "planarconfig": "separate"},
    "ome": {"tile": (256, 256), "ome": True},
}


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("form", FORMS)
def test_masks_are_those_of_images_held(form: str, channels: int, tmp_path: Path, streamed: list[Path]) -> None:
    options = FORMS[form] | {"photometric": "rgb" if channels == 3 else "minisblack"}
    if channels == 1:
        options.pop("planarconfig", None)
    writer = {name: options.pop(name) for name in ("bigtiff", "ome") if name in options}
    image, path = stained(channels), tmp_path / "slide.tif"
    planes = image.transpose(2, 0, 1) if "planarconfig" in options else image
    with tifffile.TiffWriter(path, **writer) as file:
        file.write(planes, **options)
    assert is_slide(path)
    bundle = brightness_bundle(tmp_path / "bundle", (RGB if channels == 3 else GREY).model_copy(update=WINDOW))
    predict(bundle, [path], out=tmp_path / "out")
    assert streamed == [path]
    stored = tifffile.imread(path)
    red = stored[0] if "planarconfig" in options else stored[..., 0] if channels == 3 else stored
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "slide.tif"), red > 100)
    np.testing.assert_array_equal(raster.read_raster_mask(tmp_path / "out" / "slide.tif").label_values[0], red > 100)


def test_smaller_sizes_and_resolution_are_kept(tmp_path: Path) -> None:
    path, image = tmp_path / "slide.tif", stained(3)
    with tifffile.TiffWriter(path) as file:
        form: dict[str, Any] = {"tile": (256, 256), "photometric": "rgb", "resolutionunit": "CENTIMETER"}
        file.write(image, subifds=2, resolution=(40_000, 20_000), **form)
        for level in (2, 4):
            small = np.ascontiguousarray(image[::level, ::level])
            file.write(small, subfiletype=1, resolution=(40_000 / level, 20_000 / level), **form)
    bundle = brightness_bundle(tmp_path / "bundle", RGB.model_copy(update=WINDOW))
    result = predict(bundle, [path], out=tmp_path / "out", options=PredictOptions(overlay=True, measurements=True))
    with tifffile.TiffFile(tmp_path / "out" / "slide.tif") as mask:
        levels = mask.series[0].levels
        assert [level.shape for level in levels] == [SHAPE, (450, 565), (225, 283)]
        assert [page.tile for page in mask.pages] == [(512, 512)] * 3
        tags = mask.pages[0].tags
        assert [tags[name].value for name in ("XResolution", "YResolution")] == [(40_000, 1), (20_000, 1)]
        assert tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
        np.testing.assert_array_equal(levels[1].asarray(), image[::2, ::2, 0] > 100)
    with Image.open(tmp_path / "out" / "slide.tif") as mask:
        assert mask.mode == "P"
        assert mask.getpalette("RGB")[3:6] == [220, 40, 30]
    [row] = result.cases[0].measurements
    assert row["voxels"] == np.count_nonzero(image[..., 0] > 100)
    assert row["area_share"] == pytest.approx(row["voxels"] / image[..., 0].size)
    with Image.open(tmp_path / "out" / "slide-overlay.png") as sheet:
        assert min(sheet.size) > 100


def test_glass_is_not_looked_at_and_told(tmp_path: Path) -> None:
    """Of 5 × 5 windows the tissue reaches 2 × 4 and 2 × 1."""
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, stained(3), tile=(256, 256), photometric="rgb")
    bundle = brightness_bundle(tmp_path / "bundle", RGB.model_copy(update=WINDOW))
    remarks = predict(bundle, [path], out=tmp_path / "out").cases[0].remarks
    assert "15 windows of even brightness were taken for background unseen" in remarks


def test_grey_of_little_contrast_is_no_glass() -> None:
    even = np.full((1, 9, 9), 50, np.uint8)
    assert is_blank(even)
    assert is_blank(even.repeat(3, axis=0))
    even[0, 4, 4] = 60
    assert not is_blank(even)
    assert is_blank(even.repeat(3, axis=0)), "scanners and JPEG do so to glass"
    even[0, 4, 4] = 75
    assert not is_blank(even.repeat(3, axis=0))


def test_a_damaged_tile_is_named(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, stained(3), tile=(256, 256), photometric="rgb", compression="zlib")
    with tifffile.TiffFile(path) as file:
        offset, size = file.pages[0].dataoffsets[7], file.pages[0].databytecounts[7]
    content = bytearray(path.read_bytes())
    content[offset : offset + size] = b"\xff" * size
    path.write_bytes(content)
    bundle = brightness_bundle(tmp_path / "bundle", RGB.model_copy(update=WINDOW))
    with pytest.raises(CaseUNetError, match=r"slide.tif: rows \d+ to \d+ cannot be read; the file is damaged"):
        predict(bundle, [path], out=tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.tif")) if (tmp_path / "out").exists() else True


def test_what_cannot_be_streamed_is_read_whole(tmp_path: Path) -> None:
    one_strip, deep, pages, turned = (tmp_path / f"{name}.tif" for name in ("strip", "deep", "pages", "turned"))
    tifffile.imwrite(one_strip, stained(3), rowsperstrip=SHAPE[0], photometric="rgb")
    tifffile.imwrite(deep, stained(1).astype(np.uint16), tile=(256, 256))
    tifffile.imwrite(pages, np.stack([stained(1)] * 2), tile=(256, 256), photometric="minisblack")
    tifffile.imwrite(turned, stained(3), tile=(256, 256), photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    (tmp_path / "none.tif").write_bytes(b"no image")
    assert not any(
        is_slide(path) for path in (one_strip, deep, pages, turned, tmp_path / "none.tif", tmp_path / "a.png")
    )


@pytest.mark.parametrize(
    "change", [{"scale": 0.5}, {"size": (256, 256)}, {"per_case_zscore": (True,) * 3, "modality": "rgb"}], ids=str
)
def test_models_that_need_the_whole_get_it(change: dict[str, Any], tmp_path: Path, streamed: list[Path]) -> None:
    """They resample, or normalize by statistics of all pixels."""
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, stained(3), tile=(256, 256), photometric="rgb")
    bundle = brightness_bundle(tmp_path / "bundle", RGB.model_copy(update=WINDOW | change))
    predict(bundle, [path], out=tmp_path / "out")
    assert not streamed


def _rule(do: Literal["largest", "fill"]) -> PostprocessingRule:
    return PostprocessingRule(structure="liver", do=do, gain=0.1)


def test_slides_are_mended_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streamed: list[Path]) -> None:
    """As the same image held: by rules of the bundle, component by component."""
    path, image = tmp_path / "slide.tif", np.full((*SHAPE, 3), 60, np.uint8)
    image[40:300, 500:1000] = image[600:, 900:] = 200
    image[100:120, 600:700] = 60
    tifffile.imwrite(path, image, tile=(256, 256), photometric="rgb")
    bundle = brightness_bundle(tmp_path / "bundle", RGB.model_copy(update=WINDOW))
    made, rules = load_bundle(bundle), [_rule("largest"), _rule("fill")]
    quality = Quality(
        protocol="",
        temperature=1.0,
        calibration_error=(0.0, 0.0),
        usual=(),
        threshold=1.0,
        lines={},
        error={},
        postprocessing=tuple(rules),
        validated=(),
    )
    add_validation(made, made.info.validation, quality)
    options = PredictOptions(measurements=True)
    whole = predict(bundle, [path], out=tmp_path / "whole", options=options).cases[0]
    assert streamed == [path]
    monkeypatch.setattr(slides, "MIN_PIXELS", 2**30)
    held = predict(bundle, [path], out=tmp_path / "held", options=options).cases[0]
    assert streamed == [path]
    assert whole.measurements == held.measurements
    assert whole.measurements[0]["components"] == 1
    mask = tifffile.imread(tmp_path / "whole" / "slide.tif")
    np.testing.assert_array_equal(mask, tifffile.imread(tmp_path / "held" / "slide.tif"))
    assert mask[40:300, 500:1000].all()
    assert np.count_nonzero(mask) == 260 * 500


def test_without_memory_components_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, stained(3), tile=(256, 256), photometric="rgb")
    monkeypatch.setattr("caseunet.prediction.slides.BYTES_OF_ONE", 2**40)
    bundle = brightness_bundle(tmp_path / "bundle", RGB.model_copy(update=WINDOW))
    case = predict(bundle, [path], out=tmp_path / "out", options=PredictOptions(measurements=True)).cases[0]
    assert any("too large for the memory, so its mask is not post-processed" in remark for remark in case.remarks)
    assert case.measurements[0]["voxels"] == np.count_nonzero(stained(3)[..., 0] > 100)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 2)))
@settings(max_examples=50, deadline=None)
def test_starts_are_no_fewer_than_components(labels: np.ndarray) -> None:
    for members in ([1], [2], [1, 2]):
        _, count = cc3d.connected_components(np.isin(labels, members).astype(np.uint8)[None], return_N=True)
        assert _count_starts(labels) >= count


def test_scanners_slides_give_pyramids(tmp_path: Path, streamed: list[Path]) -> None:
    (tmp_path / "images").mkdir()
    write_svs(tmp_path / "images" / "a.svs", stained(3), 33005)
    red = write_ndpi(tmp_path / "images" / "b.ndpi", stained(3)[:896, :1120], 35)[..., 0]
    bundle = brightness_bundle(tmp_path / "bundle", RGB.model_copy(update=WINDOW))
    result = predict(bundle, [tmp_path / "images"], out=tmp_path / "out")
    assert [case.file for case in result.cases] == ["a.tif", "b.tif"]
    assert len(streamed) == 2
    with tifffile.TiffFile(tmp_path / "out" / "a.tif") as mask:
        assert [page.shape for page in mask.pages] == [SHAPE, (225, 283)]
        assert mask.pages[0].tags["XResolution"].value == (20_000, 1)
        np.testing.assert_array_equal(mask.pages[0].asarray(), stained(3)[..., 0] > 100)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "b.tif"), red > 100)


def test_slides_read_whole_give_pyramids_too(tmp_path: Path, streamed: list[Path]) -> None:
    write_svs(tmp_path / "a.svs", stained(3), 33005)
    bundle = brightness_bundle(tmp_path / "bundle", RGB.model_copy(update={"scale": 0.5}))
    predict(bundle, [tmp_path / "a.svs"], out=tmp_path / "out")
    assert not streamed
    with tifffile.TiffFile(tmp_path / "out" / "a.tif") as mask:
        assert [page.shape for page in mask.pages] == [SHAPE, (225, 283)]


@pytest.mark.parametrize("channels", [3, 1])
def test_large_pngs_are_segmented_in_parts(channels: int, tmp_path: Path, streamed: list[Path]) -> None:
    pytest.importorskip("pyvips")
    image, path = stained(channels), tmp_path / "slide.png"
    Image.fromarray(image).save(path)
    bundle = brightness_bundle(tmp_path / "bundle", (RGB if channels == 3 else GREY).model_copy(update=WINDOW))
    predict(bundle, [path], out=tmp_path / "out")
    assert streamed == [path]
    with Image.open(tmp_path / "out" / "slide.png") as mask:
        assert mask.mode == "P"
        assert mask.getpalette("RGB")[3:6] == [220, 40, 30]
        np.testing.assert_array_equal(mask, (image[..., 0] if channels == 3 else image) > 100)


@pytest.mark.parametrize(
    ("axes", "version", "channels"), [("cyx", "0.4", 3), ("tczyx", "0.5", 3), ("yx", "0.5", 1), ("tczyx", "0.4", 1)]
)
def test_ome_zarr_goes_in_and_out(axes: str, version: str, channels: int, tmp_path: Path, streamed: list[Path]) -> None:
    image = stained(channels)
    order = image.transpose(2, 0, 1) if channels == 3 else image[None] if "c" in axes else image
    path = tmp_path / "images" / "slide.zarr"
    write_ome_zarr(path, order[None, :, None] if axes == "tczyx" else order, axes, version)
    bundle = brightness_bundle(tmp_path / "bundle", (RGB if channels == 3 else GREY).model_copy(update=WINDOW))
    result = predict(bundle, [path.parent], out=tmp_path / "out", options=PredictOptions(overlay=True))
    assert streamed == [path]
    assert result.cases[0].file == "slide.ome.zarr"
    expected = (image[..., 0] if channels == 3 else image) > 100
    group = zarr.open_group(tmp_path / "out" / "slide.ome.zarr", mode="r")
    ome: Any = group.attrs.asdict() if version == "0.4" else group.attrs["ome"]
    kept = axes.replace("c", "")
    assert "".join(axis["name"] for axis in ome["multiscales"][0]["axes"]) == kept
    for level, dataset in enumerate(ome["multiscales"][0]["datasets"]):
        scale, translation = dataset["coordinateTransformations"]
        assert scale["scale"] == [0.5 * 2**level if axis in "yx" else 1.0 for axis in kept]
        assert translation["translation"] == [2.0 if axis in "yx" else 0.0 for axis in kept]
        stored = np.asarray(group[dataset["path"]])
        np.testing.assert_array_equal(stored.reshape(stored.shape[-2:]), expected[:: 2**level, :: 2**level])
    assert ome["image-label"]["colors"][1] == {"label-value": 1, "rgba": [220, 40, 30, 255]}
    mask = raster.read_raster_mask(tmp_path / "out" / "slide.ome.zarr")
    np.testing.assert_array_equal(mask.label_values[0], expected)


def name_channels(path: Path, names: Sequence[str], colors: Sequence[str]) -> None:
    """Tell them as viewers want them."""
    told = {"channels": [{"label": name, "color": color} for name, color in zip(names, colors, strict=True)]}
    attributes = zarr.open_group(path, mode="a").attrs
    if "ome" in attributes:
        ome: Any = attributes["ome"]
        attributes["ome"] = ome | {"omero": told}
    else:
        attributes["omero"] = told


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("names", "colors", "stored", "remark"),
    [
        (("Blue", "Green", "Red"), ("FFFFFF",) * 3, "bgr", "its channels are stored as blue, green, red; put in order"),
        (("0", "1", "2"), ("0000FF", "00ff00", "FF0000"), "bgr", "its channels are stored as blue, green, red"),
        (("g", "r", "b"), ("", "", ""), "grb", "its channels are stored as green, red, blue"),
        (("R", "G", "B"), ("0000FF", "00FF00", "FF0000"), "rgb", None),
        (("Channel 0", "Channel 1", "Channel 2"), ("FFFFFF",) * 3, "rgb", None),
        (("DAPI", "GFP", "Cy5"), ("0000FF", "00FF00", "FF0000"), "rgb", "its channels are called DAPI, GFP, Cy5; they"),
        (("Red", "Green", "DAPI"), ("FFFFFF",) * 3, "rgb", "its channels are called Red, Green, DAPI"),
    ],
)
def test_omero_tells_the_order_of_colours(
    names: Sequence[str], colors: Sequence[str], stored: str, remark: str | None, version: str, tmp_path: Path
) -> None:
    path, image = tmp_path / "a.zarr", stained(3)[:60, 480:560]
    planes = np.stack([image[..., "rgb".index(color)] for color in stored])
    write_ome_zarr(path, planes, "cyx", version, levels=1)
    name_channels(path, names, colors)
    found = raster.read_raster(path, 3)
    np.testing.assert_array_equal(found.pixels[0].transpose(1, 2, 0), image)
    with slides.open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(slice(30, 50), slice(9)).transpose(1, 2, 0), image[30:50, :9])
        assert slide.remarks == found.geometry.remarks
    assert [one.startswith(remark or "?") for one in slide.remarks] == [True] * (remark is not None)


def test_a_streamed_slide_has_its_red_as_named(tmp_path: Path, streamed: list[Path]) -> None:
    path, image = tmp_path / "a.zarr", stained(3)
    image[:40, :40] = (255, 0, 0)
    write_ome_zarr(path, image.transpose(2, 0, 1)[::-1], "cyx", levels=1)
    name_channels(path, ("Blue", "Green", "Red"), ("FFFFFF",) * 3)
    bundle = brightness_bundle(tmp_path / "bundle", RGB.model_copy(update=WINDOW))
    case = predict(bundle, [path], out=tmp_path / "out").cases[0]
    assert streamed == [path]
    assert "its channels are stored as blue, green, red; put in order" in case.remarks
    mask = raster.read_raster_mask(tmp_path / "out" / "a.ome.zarr")
    np.testing.assert_array_equal(mask.label_values[0], image[..., 0] > 100)


def test_other_ome_zarr_is_refused(tmp_path: Path) -> None:
    bundle = brightness_bundle(tmp_path / "bundle", GREY)
    write_ome_zarr(tmp_path / "volume.zarr", np.zeros((1, 1, 12, 64, 64), np.uint8), "tczyx")
    write_ome_zarr(tmp_path / "stains.zarr", np.zeros((4, 64, 64), np.uint8), "cyx")
    write_ome_zarr(tmp_path / "last.zarr", np.zeros((64, 64, 3), np.uint8), "yxc")
    write_ome_zarr(tmp_path / "turned.zarr", np.zeros((64, 64), np.uint8), "xy")
    write_ome_zarr(tmp_path / "bits.zarr", np.zeros((64, 64), bool), "yx")
    write_ome_zarr(tmp_path / "lost.zarr", np.zeros((64, 64), np.uint8), "yx")
    shutil.rmtree(tmp_path / "lost.zarr" / "1")
    write_ome_zarr(tmp_path / "outer.zarr" / "0", np.zeros((64, 64), np.uint8), "yx")
    zarr.open_group(tmp_path / "outer.zarr", mode="a", zarr_format=2)
    (tmp_path / "empty.zarr").mkdir()
    for name, why in (
        ("last", r"cannot be read .* its axes are y, x, c; expected some of t, c, z, y, x, in this order"),
        ("turned", r"cannot be read .* its axes are x, y; expected"),
        ("bits", r"its pixels are of type bool; expected numbers"),
        ("lost", r'lacks its level "1"; the folder is damaged'),
        ("outer", r"cannot be read .* it holds none; give the image in it, such as .*outer.zarr/0"),
        ("volume", r"holds several planes \(z = 12\).* Save a volume as NIfTI"),
        ("stains", r"holds 4 channels; expected one \(grey\) or three"),
        ("empty", r"cannot be read as an OME-Zarr image"),
    ):
        with pytest.raises(CaseUNetError, match=f"{name}.zarr: {why}"):
            predict(bundle, [tmp_path / f"{name}.zarr"], out=tmp_path / "out")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_truncated_chunk_is_named(version: str, tmp_path: Path, streamed: list[Path]) -> None:
    """Blosc unpacks it to whatever memory holds."""
    image = np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8)
    blosc = numcodecs.Blosc() if version == "0.4" else zarr.codecs.BloscCodec()
    write_ome_zarr(tmp_path / "a.zarr", image, "yx", version, compressors=blosc)
    bundle = brightness_bundle(tmp_path / "bundle", GREY)
    predict(bundle, [tmp_path / "a.zarr"], out=tmp_path / "whole")
    chunk = tmp_path / "a.zarr" / "0" / ("1/0" if version == "0.4" else "c/1/0")
    size = chunk.stat().st_size
    os.truncate(chunk, size - 7)
    with pytest.raises(CaseUNetError, match=rf"1/0: holds {size - 7:,} bytes, not the {size:,} that it states"):
        predict(bundle, [tmp_path / "a.zarr"], out=tmp_path / "out")


def test_deep_ome_zarr_is_read_whole(tmp_path: Path, streamed: list[Path]) -> None:
    image = stained(1).astype(np.uint16) * 300
    write_ome_zarr(tmp_path / "a.zarr", image, "yx")
    bundle = brightness_bundle(tmp_path / "bundle", GREY_16.model_copy(update=WINDOW))
    predict(bundle, [tmp_path / "a.zarr"], out=tmp_path / "out")
    assert not streamed
    mask = raster.read_raster_mask(tmp_path / "out" / "a.ome.zarr")
    np.testing.assert_array_equal(mask.label_values[0], image > 40_000)
