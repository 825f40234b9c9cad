"""Each kind of slide gives the pixels that another library reads of it, in whatever parts."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from caseunet import CaseUNetError
from caseunet.errors import MissingExtraError
from caseunet.io import images, raster, slide_tiff, slide_vips, slides
from caseunet.io.slides import is_slide, open_slide, read_slide
from tests.support.slides import write_ndpi, write_svs

COLORS = [(0, 0, 0), (220, 40, 30)]


def photograph(height: int = 424, width: int = 576) -> np.ndarray:
    """Smooth and rough colours, (H, W, 3)."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows % 256, columns % 256, (rows + columns) // 4 % 256], -1).astype(np.uint8)
    image[100:200, 150:400] = np.random.default_rng(0).integers(0, 256, (100, 250, 3))
    return image


def svs(path: Path) -> np.ndarray:
    write_svs(path, photograph())
    return tifffile.imread(path)


def svs_of_jpeg_2000(path: Path) -> np.ndarray:
    write_svs(path, photograph(), 33005)
    return photograph()


def ndpi(path: Path) -> np.ndarray:
    return write_ndpi(path, photograph(), 36)


@pytest.mark.parametrize(("name", "write"), [("a.svs", svs), ("b.svs", svs_of_jpeg_2000), ("c.ndpi", ndpi)])
def test_scanners_slides_are_read(name: str, write: Callable[[Path], np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / name
    expected = write(path).transpose(2, 0, 1)
    assert is_slide(path)
    with open_slide(path) as slide:
        assert slide.shape == (1, *expected.shape)
        np.testing.assert_array_equal(slide.read(slice(70, 300), slice(33, 500)), expected[:, 70:300, 33:500])
        np.testing.assert_array_equal(slide.read(slice(0, 424), slice(0, 9)), expected[:, :, :9])
        sampled, step = slide.overview()
        np.testing.assert_array_equal(sampled[0], expected[:, ::step, ::step])
        across, _, unit = slide.resolution
        assert ((across[0] / across[1]) if isinstance(across, tuple) else across, unit) == (
            40_000 if name == "c.ndpi" else 20_000,
            tifffile.RESUNIT.CENTIMETER,
        )
    np.testing.assert_array_equal(raster.read_raster(path, 3).pixels[0], expected)
    assert images.read_file_geometry(path).shape == (424, 576)
    assert raster.is_colored(path)


def test_aperio_colours_are_turned_to_rgb(tmp_path: Path) -> None:
    """Compression 33003 holds luminance and chrominance."""
    stored = np.asarray(Image.fromarray(photograph()).convert("YCbCr"))
    write_svs(tmp_path / "a.svs", stored, 33003, "ycbcr")
    expected = np.asarray(Image.fromarray(stored, "YCbCr").convert("RGB")).astype(int)
    assert np.abs(read_slide(tmp_path / "a.svs").pixels[0].transpose(1, 2, 0) - expected).max() <= 1


def test_what_is_beside_a_slide_is_left_out(tmp_path: Path) -> None:
    write_svs(tmp_path / "a.svs", photograph())
    with open_slide(tmp_path / "a.svs") as slide:
        assert slide.levels == ((424, 576), (106, 144))
        slides.write_slide_mask(tmp_path / "a.tif", photograph()[..., 0] // 128, COLORS, (), slide)
    with tifffile.TiffFile(tmp_path / "a.tif") as mask:
        assert [page.shape for page in mask.pages] == [(424, 576), (106, 144)]
        assert [page.tags["XResolution"].value for page in mask.pages] == [(20_000, 1), (5_000, 1)]
        np.testing.assert_array_equal(mask.pages[1].asarray(), photograph()[::4, ::4, 0] // 128)
    mask = raster.read_raster_mask(tmp_path / "a.tif")
    np.testing.assert_array_equal(mask.label_values[0], photograph()[..., 0] // 128)
    assert not mask.geometry.remarks


def test_damaged_and_foreign_slides_are_refused(tmp_path: Path) -> None:
    for name in ("a.svs", "b.ndpi"):
        (tmp_path / name).write_bytes(b"no image")
        with pytest.raises(CaseUNetError, match=f"{name}: cannot be read as TIFF"):
            read_slide(tmp_path / name)
    tifffile.imwrite(tmp_path / "c.svs", np.zeros((64, 64), np.uint16), tile=(16, 16))
    with pytest.raises(CaseUNetError, match=r"c.svs: holds 1 samples of uint16 a pixel; expected grey or RGB"):
        read_slide(tmp_path / "c.svs")
    tifffile.imwrite(tmp_path / "d.svs", np.zeros((2, 64, 64), np.uint8), tile=(16, 16), photometric="minisblack")
    with pytest.raises(CaseUNetError, match=r"d.svs: holds several images, such as focal planes"):
        read_slide(tmp_path / "d.svs")


def test_mirax_names_what_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openslide", None)
    (tmp_path / "a.mrxs").write_bytes(b"")
    with pytest.raises(MissingExtraError, match=r"a.mrxs: .* pip install openslide-python openslide-bin"):
        read_slide(tmp_path / "a.mrxs")


def test_openslide_reads_what_tifffile_cannot(tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    write_svs(tmp_path / "a.svs", photograph())
    expected = read_slide(tmp_path / "a.svs").pixels
    (tmp_path / "a.svs").rename(tmp_path / "a.svslide")  # its own kind of files nobody here can write
    with open_slide(tmp_path / "a.svslide") as slide:
        assert slide.levels == ((424, 576), (106, 144))
        assert slide.resolution[0] == pytest.approx(20_000)
        np.testing.assert_array_equal(slide.read_whole(), expected[0])


@pytest.mark.parametrize("name", ["a.png", "b.jpg", "c.png"])
def test_vips_and_pillow_give_the_same_pixels(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JPEG too, since both use libjpeg-turbo; elsewhere decoders may differ by a grey value or two."""
    pytest.importorskip("pyvips")
    monkeypatch.setattr(slides, "MIN_PIXELS", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    image = Image.fromarray(photograph())
    (image.convert("L") if name == "c.png" else image).save(tmp_path / name)
    expected = raster.read_raster(tmp_path / name, 1 if name == "c.png" else 3).pixels
    assert is_slide(tmp_path / name)
    with open_slide(tmp_path / name) as slide:
        assert len(list((tmp_path / "scratch").iterdir())) == 1
        np.testing.assert_array_equal(slide.read_whole(), expected[0])
    assert not list((tmp_path / "scratch").iterdir())


def test_scratch_files_go_upon_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyvips")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    Image.fromarray(photograph()).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60_000])
    with pytest.raises(CaseUNetError, match=r"b.png: its pixels cannot be read; the file is damaged"):
        open_slide(tmp_path / "b.png")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(CaseUNetError, match=r"a.png: is laid out in a scratch file of .* free. Name another folder"):
        open_slide(tmp_path / "a.png")
    assert not list((tmp_path / "scratch").iterdir())


def test_other_pngs_and_jpegs_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slides, "MIN_PIXELS", 1000)
    monkeypatch.setattr(slide_vips, "find_spec", lambda name: True)
    image = Image.fromarray(photograph())
    image.convert("RGBA").save(tmp_path / "transparent.png")
    image.convert("CMYK").save(tmp_path / "print.jpg")
    Image.fromarray(photograph()[..., 0].astype(np.uint16)).save(tmp_path / "deep.png")
    exif = Image.Exif()
    exif[274] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    (tmp_path / "none.png").write_bytes(b"no image")
    assert not any(is_slide(path) for path in tmp_path.iterdir())
    image.save(tmp_path / "plain.png")
    assert is_slide(tmp_path / "plain.png")
    monkeypatch.setattr(slide_vips, "find_spec", lambda name: None)
    assert not is_slide(tmp_path / "plain.png")


def test_without_pyvips_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(photograph()).save(tmp_path / "a.png")
    monkeypatch.setattr(slides, "find_spec", lambda name: None)
    assert slides.advise_parts(tmp_path / "a.png") == ""
    monkeypatch.setattr(slides, "MIN_PIXELS", 1000)
    assert "pip install 'caseunet[slides]'" in slides.advise_parts(tmp_path / "a.png")
    monkeypatch.setattr(slides, "find_spec", lambda name: True)
    assert slides.advise_parts(tmp_path / "a.png") == ""
    assert slides.advise_parts(tmp_path / "a.nii.gz") == ""


@pytest.mark.parametrize("end", ["in the last tile", "after it"])
def test_a_truncated_slide_is_refused(end: str, tmp_path: Path) -> None:
    """Decoders of JPEG make do with what is there, and pages that are lost are pages that never were."""
    write_svs(tmp_path / "a.svs", photograph())
    with tifffile.TiffFile(tmp_path / "a.svs") as file:
        page = file.pages[0]
        offset, size = page.dataoffsets[-1], page.databytecounts[-1]
    path = tmp_path / "b.svs"
    path.write_bytes((tmp_path / "a.svs").read_bytes()[: offset + (size // 2 if end == "in the last tile" else size)])
    with pytest.raises(CaseUNetError, match="truncated"):
        read_slide(path)


def test_a_tile_that_ends_early_is_told(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", photograph(), tile=(128, 128), compression="jpeg")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        offset, size = file.pages[0].dataoffsets[-1], file.pages[0].databytecounts[-1]
    os.truncate(tmp_path / "a.tif", offset + size // 2)
    with pytest.raises(CaseUNetError, match=r"rows 384 to 424 cannot be read; the file ends before them: it is trunc"):
        read_slide(tmp_path / "a.tif")


def test_png_turned_at_its_end_is_no_slide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slide_vips, "find_spec", lambda name: True)
    Image.fromarray(photograph()).save(tmp_path / "a.png")
    assert slide_vips.streams_by_vips(tmp_path / "a.png", 1000)
    content = (tmp_path / "a.png").read_bytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    data = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = len(data).to_bytes(4, "big") + b"eXIf" + data + zlib.crc32(b"eXIf" + data).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content[:-12] + chunk + content[-12:])  # before the chunk IEND
    assert not slide_vips.streams_by_vips(tmp_path / "a.png", 1000)
    with pytest.raises(CaseUNetError, match="EXIF orientation is 6"):
        raster.read_raster(tmp_path / "a.png", 3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"ome": True, "metadata": {"PhysicalSizeX": 500, "PhysicalSizeXUnit": "nm"}}, 20_000),
        ({"ome": True, "metadata": {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}}, 20_000),
        ({"imagej": True, "resolution": (2, 2), "metadata": {"unit": "um"}}, 20_000),
        ({"imagej": True, "resolution": (2, 2), "metadata": {"unit": "pixel"}}, None),
    ],
)
def test_units_of_other_programs(options: dict[str, object], expected: float | None, tmp_path: Path) -> None:
    """Half a micrometre is 20,000 pixels a centimetre."""
    metadata = options.get("metadata")
    assert isinstance(metadata, dict)
    twice = metadata | {name.replace("X", "Y", 1): value for name, value in metadata.items() if "SizeX" in name}
    tifffile.imwrite(
        tmp_path / "a.tif", photograph(), tile=(128, 128), photometric="rgb", **options | {"metadata": twice}
    )
    with slide_tiff.TiffSlide(tmp_path / "a.tif") as slide:
        assert slide.resolution[0] == (None if expected is None else pytest.approx(expected))
        assert slide.resolution[2] == (None if expected is None else tifffile.RESUNIT.CENTIMETER)
