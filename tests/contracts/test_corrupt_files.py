"""Corrupted files of every kind: a named error or a correct result, never a crash, a hang, or a change in silence.

Kinds whose pixels carry a checksum (gzip, PNG, compressed NRRD and MetaImage) must notice every change of them. The
others cannot: there a changed byte is a changed pixel, and no more pixels may differ than bytes do.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image

from caseunet.datasets import generate
from caseunet.errors import CaseUNetError
from caseunet.io import dicom, images
from caseunet.types import Geometry
from caseunet.workers import LostWorkerError, run_all

SHAPE = (20, 16, 12)
EACH = 3
"""Corruptions of each sort of each kind; their number is asserted below."""


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: its file's name.
        checked: whether its pixels carry a checksum.
        header: bytes at its beginning that are no pixels.
        exact: whether a changed byte changes no more than a pixel; not so where pixels are coded together.
    """

    name: str
    checked: bool
    header: int
    exact: bool = True


KINDS = (
    Kind("image.nii", checked=False, header=352),
    Kind("image.nii.gz", checked=True, header=0),
    Kind("mask.nii.gz", checked=True, header=0),
    Kind("image.nrrd", checked=True, header=330),
    Kind("plain.nrrd", checked=False, header=330),
    Kind("image.mha", checked=True, header=340),
    Kind("plain.mha", checked=False, header=340),
    Kind("image.png", checked=True, header=0),
    Kind("mask.png", checked=True, header=0),
    Kind("image.jpg", checked=False, header=620, exact=False),
    Kind("image.tif", checked=False, header=8),
    Kind("image.bmp", checked=False, header=54),
    Kind("slice.dcm", checked=False, header=1400),
    Kind("seg.dcm", checked=False, header=3000, exact=False),
)


def write_all(folder: Path) -> None:
    """One clean file of each kind."""
    rng = np.random.default_rng(0)
    volume = rng.integers(-1000, 1000, SHAPE).astype(np.int16)
    picture = rng.integers(0, 256, (48, 40, 3)).astype(np.uint8)
    for name in ("image.nii", "image.nii.gz"):
        nib.save(nib.Nifti1Image(volume, np.diag([-0.8, -0.8, 2.5, 1])), folder / name)
    nib.save(nib.Nifti1Image((volume % 3).astype(np.uint8), np.diag([-0.8, -0.8, 2.5, 1])), folder / "mask.nii.gz")
    itk = SimpleITK.GetImageFromArray(volume.transpose(2, 1, 0))
    for suffix in ("nrrd", "mha"):
        SimpleITK.WriteImage(itk, folder / f"image.{suffix}", useCompression=True)
        SimpleITK.WriteImage(itk, folder / f"plain.{suffix}", useCompression=False)
    for suffix in ("png", "jpg", "tif", "bmp"):
        Image.fromarray(picture).save(folder / f"image.{suffix}")
    Image.fromarray(picture[..., 0] % 3).save(folder / "mask.png")
    generate.write_dicom(folder / "dicom", patients=1, shape=(4, 40, 40))
    headers = [dicom.read_header(path) for path in sorted((folder / "dicom").rglob("*.dcm"))]
    seg = next(header for header in headers if header.modality == "SEG")
    series = [header for header in headers if header.modality == "CT"]
    (folder / "slice.dcm").write_bytes(series[0].path.read_bytes())
    (folder / "seg.dcm").write_bytes(seg.path.read_bytes())


def read(folder: Path, path: Path) -> tuple[str, np.ndarray | str, Geometry | None]:
    """("read", pixels, geometry), or ("refused", message, None). Any other exception is a crash and goes through."""
    try:
        if path.name.startswith("seg"):
            series = [p for p in sorted((folder / "dicom").rglob("*.dcm")) if dicom.read_header(p).modality == "CT"]
            geometry = dicom.read_series_geometry(series)
            names = dicom.read_header(path).segments.values()
            mask = dicom.read_dicom_segmentation(
                [path], {n: i for i, n in enumerate(dict.fromkeys(names), 1)}, geometry
            )
            return "read", mask.label_values, geometry
        if path.suffix == ".dcm":
            picture = dicom.read_series([path])
        elif path.name.startswith("mask"):
            codes = images.read_mask_file(path, Geometry(shape=()), colored=False)
            return "read", codes.label_values, codes.geometry
        else:
            picture = images.read_image_file(path, rgb=not images.is_volume(path))
        return "read", picture.pixels, picture.geometry
    except CaseUNetError as error:
        return "refused", str(error), None


def corruptions(content: bytes, kind: Kind, draw: random.Random) -> dict[str, bytes]:
    """{what was done: the corrupted content}."""

    def flipped(number: int, start: int, stop: int) -> bytes:
        changed = bytearray(content)
        for _ in range(number):
            changed[draw.randrange(start, stop)] ^= 1 << draw.randrange(8)
        return bytes(changed)

    size, body = len(content), min(kind.header, len(content) - 20)
    at = draw.randrange(body, size - 16)
    made = {}
    for n in range(EACH):
        made[f"truncated {n}"] = content[: draw.randrange(1, size)]
        made[f"one bit of the pixels {n}"] = flipped(1, body, size)
        made[f"a bit anywhere {n}"] = flipped(1, 0, size)
        made[f"twenty bits {n}"] = flipped(20, body, size)
    made["sixteen zeros"] = content[:at] + bytes(16) + content[at + 16 :]
    made["empty"] = b""
    made["text"] = b"this is no image\n" * 40
    made["the first half twice"] = content[: size // 2] * 2
    return made


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Kind, str, Path, object]]:
    """Every corruption, read in worker processes so that one that died or hung would show."""
    folder = tmp_path_factory.mktemp("corrupt")
    write_all(folder)
    draw = random.Random(0)
    jobs: list[tuple[Kind, str, Path]] = []
    for kind in KINDS:
        made = corruptions((folder / kind.name).read_bytes(), kind, draw)
        for number, (what, content) in enumerate(made.items()):
            path = folder / f"{kind.name.split('.')[0]}-{kind.name.split('.', 1)[1].replace('.', '')}-{number}"
            path = path.with_name(path.name + kind.name[kind.name.index(".") :])
            path.write_bytes(content)
            jobs.append((kind, what, path))
    found: list[object] = [None] * len(jobs)
    for index, result in run_all(partial(read, folder), [path for _, _, path in jobs], workers=2, patience=60):
        found[index] = result
    return [(*job, result) for job, result in zip(jobs, found, strict=True)]


def test_there_are_200(outcomes: list[tuple[Kind, str, Path, object]]) -> None:
    assert len(outcomes) >= 200


def test_no_worker_died_or_hung(outcomes: list[tuple[Kind, str, Path, object]]) -> None:
    assert [(what, path.name) for _, what, path, result in outcomes if isinstance(result, LostWorkerError)] == []


def test_every_refusal_names_the_file(outcomes: list[tuple[Kind, str, Path, object]]) -> None:
    refused = [
        (path, result[1]) for _, _, path, result in outcomes if isinstance(result, tuple) and result[0] == "refused"
    ]
    assert len(refused) > 60
    for path, message in refused:
        assert str(message).startswith(f"{path}: ")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_is_read_is_right(kind: Kind, outcomes: list[tuple[Kind, str, Path, object]]) -> None:
    folder = outcomes[0][2].parent
    state, clean, geometry = read(folder, folder / kind.name)
    assert state == "read"
    assert isinstance(clean, np.ndarray)
    assert geometry is not None
    original = (folder / kind.name).read_bytes()
    for other, what, path, result in outcomes:
        if other != kind or not isinstance(result, tuple) or result[0] != "read":
            continue
        content = path.read_bytes()
        assert what not in ("empty", "text"), path.name
        assert len(content) == len(original), f"{path.name}: {what} was read"
        positions = [n for n, (a, b) in enumerate(zip(content, original, strict=True)) if a != b]
        if any(position < kind.header for position in positions):
            continue  # a header that says something else is as good as one that means it
        pixels = result[1]
        assert pixels.shape == clean.shape, (path.name, what)
        differing = int(np.count_nonzero(pixels != clean))
        if kind.checked:
            assert differing == 0, f"{path.name}: {what} went unnoticed"
        elif kind.exact:
            assert differing <= len(positions), (path.name, what)
        if geometry.affine is not None:
            np.testing.assert_allclose(result[2].affine, geometry.affine)


LYING_HEADERS: dict[str, Callable[[Path], None]] = {}


def lying(function: Callable[[Path], None]) -> Callable[[Path], None]:
    LYING_HEADERS[function.__name__] = function
    return function


def _nifti(path: Path, **fields: object) -> Path:
    image = nib.Nifti1Image(np.zeros((8, 8, 8), np.int16), np.diag([-1, -1, 1, 1]))
    nib.save(image, path)
    header = image.header.copy()
    for key, value in fields.items():
        header[key] = value
    path.write_bytes(bytes(header.binaryblock) + path.read_bytes()[348:])
    return path


@lying
def more_voxels(folder: Path) -> None:
    _nifti(folder / "a.nii", dim=[3, 8, 8, 9, 1, 1, 1, 1])


@lying
def fewer_voxels(folder: Path) -> None:
    _nifti(folder / "a.nii", dim=[3, 8, 8, 4, 1, 1, 1, 1])


@lying
def no_axis(folder: Path) -> None:
    _nifti(folder / "a.nii", dim=[3, 8, 0, 8, 1, 1, 1, 1])


@lying
def negative_axis(folder: Path) -> None:
    _nifti(folder / "a.nii", dim=[3, 8, -8, 8, 1, 1, 1, 1])


@lying
def wide_voxels(folder: Path) -> None:
    _nifti(folder / "a.nii", datatype=64, bitpix=64)


@lying
def unknown_type(folder: Path) -> None:
    _nifti(folder / "a.nii", datatype=77)


@lying
def complex_type(folder: Path) -> None:
    _nifti(folder / "a.nii", datatype=32, bitpix=64)


@lying
def far_offset(folder: Path) -> None:
    _nifti(folder / "a.nii", vox_offset=1e9)


@lying
def offset_that_is_no_number(folder: Path) -> None:
    _nifti(folder / "a.nii", vox_offset=np.nan)


@lying
def affine_that_is_no_number(folder: Path) -> None:
    _nifti(folder / "a.nii", srow_x=[np.nan] * 4)


@lying
def flat_affine(folder: Path) -> None:
    _nifti(folder / "a.nii", srow_x=[0, 0, 0, 0])


@lying
def overflowing_slope(folder: Path) -> None:
    _nifti(folder / "a.nii", scl_slope=3e38, scl_inter=3e38)


@lying
def mha_of_another_size(folder: Path) -> None:
    SimpleITK.WriteImage(SimpleITK.Image(8, 8, 8, SimpleITK.sitkInt16), folder / "a.mha")
    (folder / "a.mha").write_bytes((folder / "a.mha").read_bytes().replace(b"DimSize = 8 8 8", b"DimSize = 8 8 80"))


@lying
def huge_mha(folder: Path) -> None:
    SimpleITK.WriteImage(SimpleITK.Image(8, 8, 8, SimpleITK.sitkInt16), folder / "a.mha")
    content = (folder / "a.mha").read_bytes()
    (folder / "a.mha").write_bytes(content.replace(b"DimSize = 8 8 8", b"DimSize = 40000 40000 40000"))


@lying
def nrrd_whose_pixels_lie_elsewhere(folder: Path) -> None:
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 8 8 8\nencoding: raw\nendian: little\ndata file: ../other.raw\n"
    )
    (folder / "a.nrrd").write_text(header)


@lying
def png_of_another_size(folder: Path) -> None:
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    content = bytearray((folder / "a.png").read_bytes())
    content[16:20] = (2**20).to_bytes(4, "big")
    (folder / "a.png").write_bytes(content)


@lying
def png_bomb(folder: Path) -> None:
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    content = bytearray((folder / "a.png").read_bytes())
    content[16:24] = (10**5).to_bytes(4, "big") * 2
    (folder / "a.png").write_bytes(content)


@lying
def jpeg_named_png_cut_short(folder: Path) -> None:
    Image.effect_noise((64, 64), 90).convert("RGB").save(folder / "a.jpg")
    (folder / "a.png").write_bytes((folder / "a.jpg").read_bytes()[:-400])
    (folder / "a.jpg").unlink()


@lying
def dicom_of_another_size(folder: Path) -> None:
    generate.write_dicom(folder / "d", patients=1, shape=(4, 40, 40))
    path = next(p for p in sorted((folder / "d").rglob("*.dcm")) if dicom.read_header(p).modality == "CT")
    dataset = pydicom.dcmread(path)
    dataset.Rows = 4000
    dataset.save_as(folder / "a.dcm")


@lying
def dicom_without_pixels(folder: Path) -> None:
    generate.write_dicom(folder / "d", patients=1, shape=(4, 40, 40))
    path = next(p for p in sorted((folder / "d").rglob("*.dcm")) if dicom.read_header(p).modality == "CT")
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(folder / "a.dcm")


@pytest.mark.parametrize("name", LYING_HEADERS)
def test_headers_that_lie_are_refused(name: str, tmp_path: Path) -> None:
    LYING_HEADERS[name](tmp_path)
    (path,) = tmp_path.glob("a.*")
    state, message, _ = read(tmp_path, path)
    assert state == "refused"
    assert str(message).startswith(f"{path}: ")
