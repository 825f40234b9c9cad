"""Files that are cut, damaged, lie about themselves or are something else: each must be refused in words.

Everything follows from seeds. An entry is (what it is, the model that is asked, {file: content}, what is given): the
model of CT volumes is asked about volumes, the one of colour frames about pictures and videos, so that only the damage
is in the way.
"""

import bz2
import copy
import dataclasses
import gzip
import io
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import nibabel as nib
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    BasicTextSRStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    RTDoseStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
)

from caseunet.datasets.generate.series import segmentation, series
from tests.io import test_video as videos
from tests.io.test_archive import DEFLATED, Part, deflated, huge, zip_of

Model = Literal["ct", "rgb"]
Tree = dict[str, bytes]

SHAPE = (20, 16, 6)
"""Columns, rows and slices of the volume that all others are made of."""

AFFINE = np.array([[-0.7, 0, 0, 20], [0, -0.8, 0, 10], [0, 0, 2.5, -400], [0, 0, 0, 1]])

VOLUMES = ("nii", "nii.gz", "nrrd", "mha", "dcm")
PICTURES = ("png", "jpg", "tif", "bmp")
FILMS = ("mp4", "avi", "mov", "mkv")

GIBIBYTE = 2**30


class Hostile(NamedTuple):
    """An input that must be refused.

    Attributes:
        what: it is, in words that no other has.
        model: that is asked.
        files: {path: content}.
        given: the path of them that is given; "" for the folder.
    """

    what: str
    model: Model
    files: Tree
    given: str


def all_hostile(scratch: Path) -> Iterator[Hostile]:
    """Every input that can be written as plain files.

    Args:
        scratch: an empty folder in which videos are encoded.
    """
    clean = clean_files(scratch)
    for makers in (cut_short, no_such_kind, of_another_kind):
        yield from makers(clean)
    for source in (niftis, compressed_niftis, nrrds, metaimages, dicoms, dicom_series, zips, pngs, other_pictures):
        yield from source()
    yield from films(clean)
    yield from for_the_other_model(clean)
    yield from with_odd_names(clean)


def all_good(scratch: Path) -> Iterator[Hostile]:
    """What the hostile ones are made of: files that must be segmented, so that only the damage is in the way."""
    clean = clean_files(scratch)
    for suffix, content in clean.items():
        yield _one(f"good {suffix}", model_of(suffix), f"scan.{suffix}", content)
    height, width, _ = picture().shape
    rows = b"".join(b"\0" + row.tobytes() for row in picture())
    raw, flat = hounsfield().tobytes(order="F"), picture().tobytes()
    contents = {
        "nii": nifti(sform_code=0, qform_code=1),
        "nrrd": nrrd(raw, encoding="raw"),
        "mha": mha(raw, CompressedData="False"),
        "png": png(width, height, rows),
        "tif": tiff(width, height, flat),
        "bmp": _bmp(clean["bmp"], width, height),
        "dcm": changed(written(slices_of(1)[0]), {SPACING: b"0.7\\0.8"}),
    }
    for suffix, content in contents.items():
        yield _one(f"made {suffix}", model_of(suffix), f"scan.{suffix}", content)
    content = written(slices_of(1)[0])
    body = content[content.index(b"\x08\0\x08\0CS") :]
    yield _one("deflated dcm", "ct", "slice.dcm", _deflated(deflated(body)))
    yield Hostile("good slices", "ct", slice_files(slices_of()), "series")


def slice_files(datasets: Sequence[Dataset]) -> Tree:
    return {f"series/{n}.dcm": written(dataset) for n, dataset in enumerate(datasets)}


def _one(what: str, model: Model, name: str, content: bytes) -> Hostile:
    return Hostile(what, model, {name: content}, name)


# What is good


def hounsfield() -> np.ndarray:
    """(columns, rows, slices), int16."""
    return np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)


def picture() -> np.ndarray:
    """(H, W, 3), uint8."""
    return np.random.default_rng(1).integers(0, 256, (48, 40, 3)).astype(np.uint8)


def clean_files(scratch: Path) -> Tree:
    """{suffix: content} of files that can be segmented; the zip holds a volume."""
    clean = {"nii": nifti(), "nii.gz": gzip.compress(nifti(), mtime=0)}
    clean |= {"nrrd": nrrd(), "mha": mha(), "dcm": written(slices_of(1)[0])}
    clean |= {suffix: saved(Image.fromarray(picture()), kind) for suffix, kind in _PILLOW.items()}
    frames = videos.noisy(12)
    for suffix, codec in (("mp4", "libx264"), ("avi", "mpeg4"), ("mov", "libx264"), ("mkv", "libx264")):
        clean[suffix] = videos.save(scratch / f"v.{suffix}", frames, codec).read_bytes()
    clean["zip"] = zip_of(Part("scan.nii", clean["nii"], DEFLATED))
    return clean


_PILLOW = {"png": "PNG", "jpg": "JPEG", "tif": "TIFF", "bmp": "BMP"}


def model_of(suffix: str) -> Model:
    return "rgb" if suffix in (*PICTURES, *FILMS) else "ct"


# Cut, empty, something else


def cut_short(clean: Tree) -> Iterator[Hostile]:
    """Cut in the header, early, in the middle, late, and just before the end.

    What a kind has at its end that is no picture (an index, a marker) may be missing: there the last cut is earlier.
    """
    ends = {"png": 0.99, "jpg": 0.97, "tif": 0.98, "mp4": 0.99, "avi": 0.9, "mov": 0.99, "mkv": 0.7}
    for suffix, content in clean.items():
        size = len(content)
        last = int(size * ends[suffix]) if suffix in ends else size - 1
        for length in (3, 40, size // 10, size // 3, size * 2 // 3, last):
            yield _one(f"{suffix} cut to {length} bytes", model_of(suffix), f"scan.{suffix}", content[:length])


def no_such_kind(clean: Tree) -> Iterator[Hostile]:
    """What is no image at all under each suffix."""
    rng = np.random.default_rng(2)
    contents = {
        "nothing": b"",
        "a byte": b"\n",
        "text": b"patient;finding\n12;none\n" * 40,
        "a web page": b"<!DOCTYPE html><html><head><title>404</title></head><body>Not found</body></html>\n",
        "zeros": bytes(5000),
        "noise": rng.bytes(20_000),
    }
    for suffix, good in clean.items():
        for what, content in contents.items():
            yield _one(f"{suffix} of {what}", model_of(suffix), f"scan.{suffix}", content)
        noise = good[:12] + rng.bytes(4000)
        yield _one(f"{suffix} of a good beginning and noise", model_of(suffix), f"scan.{suffix}", noise)


def of_another_kind(clean: Tree) -> Iterator[Hostile]:
    """Good files of one kind under the suffix of another; pictures under each other's suffix are read, and videos."""
    others = {
        "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9999" height="9999"><rect width="9"/></svg>',
        "ps": _postscript(),
        "gif": saved(Image.fromarray(picture()[..., 0]), "GIF"),
        "webp": saved(Image.fromarray(picture()), "WEBP"),
        "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "npy": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }" + b" " * 60 + b"\n",
        "exe": b"MZ" + bytes(58) + struct.pack("<L", 64) + b"PE\0\0" + bytes(400),
    }
    wrong = {
        "nii": ("nii.gz", "nrrd", "dcm", "png", "zip"),
        "nii.gz": ("nii", "mha", "png", "zip"),
        "nrrd": ("nii", "mha", "dcm", "png", "tif", "zip"),
        "mha": ("nii", "nii.gz", "nrrd", "dcm", "bmp", "zip"),
        "dcm": ("nii", "nrrd", "png", "mp4", "zip"),
        "zip": ("nii", "nii.gz", "dcm", "png", "mkv", "pdf", "exe"),
        "png": ("nii", "dcm", "zip", "mp4", "pdf", "svg", "ps", "gif", "webp", "npy"),
        "jpg": ("nii.gz", "dcm", "avi", "ps", "webp", "playlist"),
        "tif": ("nrrd", "dcm", "mkv", "ps", "gif"),
        "bmp": ("mha", "zip", "ps", "exe"),
        "mp4": ("nii", "png", "zip", "playlist", "concat", "gif"),
        "avi": ("dcm", "jpg", "playlist", "concat"),
        "mov": ("tif", "playlist"),
        "mkv": ("nii.gz", "concat"),
    }
    contents = clean | others
    for suffix, kinds in wrong.items():
        for kind in kinds:
            yield _one(f"{suffix} that is {kind}", model_of(suffix), f"scan.{suffix}", contents[kind])


def _postscript() -> bytes:
    """A page that a program behind the image library would run."""
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 48\n%%EndComments\nshowpage\n%%EOF\n"


# NIfTI


def nifti(array: np.ndarray | None = None, tail: bytes = b"", **fields: Any) -> bytes:
    """A volume whose header's fields are then set to other values."""
    image = nib.Nifti1Image(hounsfield() if array is None else array, AFFINE)
    content = image.to_bytes()
    header = image.header.copy()
    header["vox_offset"], header["magic"] = 352, b"n+1"
    for key, value in fields.items():
        header[key] = value
    return bytes(header.binaryblock) + content[348:] + tail


def niftis() -> Iterator[Hostile]:
    x, y, z = SHAPE
    voxels = hounsfield()
    ones = (1, 1, 1, 1)
    fields: dict[str, dict[str, Any]] = {
        "more slices": {"dim": [3, x, y, z + 1, *ones]},
        "fewer slices": {"dim": [3, x, y, z - 1, *ones]},
        "no slices": {"dim": [3, x, y, 0, *ones]},
        "no rows": {"dim": [3, x, 0, z, *ones]},
        "no columns": {"dim": [3, 0, y, z, *ones]},
        "negative slices": {"dim": [3, x, y, -z, *ones]},
        "negative columns": {"dim": [3, -x, y, z, *ones]},
        "the most voxels": {"dim": [3, 32767, 32767, 32767, *ones]},
        "the most voxels of seven axes": {"dim": [7, *[32767] * 7]},
        "no axes": {"dim": [0, x, y, z, *ones]},
        "one axis": {"dim": [1, x * y * z, 1, 1, *ones]},
        "five axes": {"dim": [5, x, y, 3, 1, 2, 1, 1]},
        "seven axes": {"dim": [7, x, y, 1, 1, 1, 2, 3]},
        "eight axes": {"dim": [8, x, y, z, *ones]},
        "negative axes": {"dim": [-3, x, y, z, *ones]},
        "300 axes": {"dim": [300, x, y, z, *ones]},
        "voxels of eight bytes": {"datatype": 64, "bitpix": 64},
        "voxels of one byte": {"datatype": 2, "bitpix": 8},
        "voxels of no type": {"datatype": 0},
        "voxels of an unknown type": {"datatype": 77},
        "voxels of one bit": {"datatype": 1, "bitpix": 1},
        "an offset beyond the end": {"vox_offset": 1e9},
        "an offset that is no number": {"vox_offset": np.nan},
        "an offset without end": {"vox_offset": np.inf},
        "a negative offset": {"vox_offset": -1000},
        "an affine that is no number": {"srow_x": [np.nan] * 4},
        "an affine without end": {"srow_z": [0, 0, np.inf, 0]},
        "an origin that is no number": {"srow_y": [0, -0.8, 0, np.nan]},
        "a flat affine": {"srow_x": [0, 0, 0, 0]},
        "an affine of nothing": {"srow_x": [0] * 4, "srow_y": [0] * 4, "srow_z": [0] * 4},
        "two axes in one direction": {"srow_y": [-0.7, 0, 0, 0]},
        "voxels of a kilometre": {"srow_x": [-1e6, 0, 0, 0], "srow_y": [0, -1e6, 0, 0]},
        "voxels of ten metres": {"srow_x": [-1e4, 0, 0, 0], "srow_y": [0, -1e4, 0, 0]},
        "voxels of ten centimetres": {"srow_x": [-100, 0, 0, 0], "srow_y": [0, -100, 0, 0]},
        "voxels larger than the universe": {"srow_z": [0, 0, 1e37, 0]},
        "voxels smaller than an atom": {"srow_x": [-1e-9, 0, 0, 0]},
        "a turn that is none": {"sform_code": 0, "qform_code": 1, "quatern_b": np.nan},
        "a turn by too much": {"sform_code": 0, "qform_code": 1, "quatern_b": 3, "quatern_c": 3},
        "a spacing that is no number": {"sform_code": 0, "qform_code": 1, "pixdim": [1, 1, np.nan, 1, 1, 1, 1, 1]},
        "a slope that overflows": {"scl_slope": 3e38, "scl_inter": 0},
        "an intercept without end": {"scl_slope": 1, "scl_inter": np.inf},
        "another magic": {"magic": b"abc"},
        "another size of the header": {"sizeof_hdr": 1348},
    }
    for what, values in fields.items():
        yield _one(f"NIfTI with {what}", "ct", "scan.nii", nifti(**values))
    bad = voxels.astype(np.float32)
    bad[3, 3, 3] = np.nan
    arrays = {
        "complex voxels": voxels.astype(np.complex64),
        "wide complex voxels": voxels.astype(np.complex128),
        "colours": _structured(3),
        "colours and transparency": _structured(4),
        "nothing but NaN": np.full(SHAPE, np.nan, np.float32),
        "one NaN": bad,
        "an infinite voxel": np.where(voxels == voxels.max(), np.inf, voxels).astype(np.float32),
        "infinite voxels": np.full(SHAPE, -np.inf, np.float64),
        "voxels beyond single precision": np.full(SHAPE, 1e300),
        "three volumes": np.stack([voxels] * 3, axis=3),
        "two volumes in a fifth axis": np.stack([voxels] * 2, axis=3)[:, :, :, None],
    }
    for what, array in arrays.items():
        yield _one(f"NIfTI of {what}", "ct", "scan.nii", nifti(array))
    yield _one("NIfTI with more at its end", "ct", "scan.nii", nifti(tail=bytes(1000)))
    second = nib.Nifti2Image(voxels, AFFINE).to_bytes()
    for what, shape in {"huge": [3, 2**40, 2**20, 4, *ones], "negative": [3, -x, y, z, *ones]}.items():
        lying = second[:16] + struct.pack("<8q", *shape) + second[80:]
        yield _one(f"NIfTI-2 of {what} axes", "ct", "scan.nii", lying)
    far = second[:168] + struct.pack("<q", 2**62) + second[176:]
    yield _one("NIfTI-2 with an offset beyond the end", "ct", "scan.nii", far)
    yield _one(
        "NIfTI with an endless extension", "ct", "scan.nii", nifti(vox_offset=400)[:348] + _extension(2**31 - 16)
    )


def _structured(channels: int) -> np.ndarray:
    """Voxels of so many bytes, which NIfTI calls colours."""
    return np.zeros(SHAPE, [(name, "u1") for name in "RGBA"[:channels]])


def _extension(size: int) -> bytes:
    """What follows the header: there is an extension, of so many bytes."""
    return b"\1\0\0\0" + struct.pack("<ll", size, 4) + bytes(5000)


def compressed_niftis() -> Iterator[Hostile]:
    good, x, y, z = nifti(), *SHAPE
    packed = gzip.compress(good, mtime=0)
    ones = (1, 1, 1, 1)
    gibibyte = zeros(GIBIBYTE)
    contents = {
        "a bomb behind a small volume": gzipped(good, GIBIBYTE),
        "a bomb before the voxels": gzipped(nifti(vox_offset=float(GIBIBYTE)), GIBIBYTE),
        "a bomb in an extension": gzipped(nifti(vox_offset=float(GIBIBYTE))[:348] + _extension(GIBIBYTE), GIBIBYTE),
        "a bomb of text": gibibyte,
        "the most voxels": gzip.compress(nifti(dim=[3, 32767, 32767, 32767, *ones]), mtime=0),
        "64 GiB": gzip.compress(nifti(dim=[3, 4096, 4096, 2048, *ones]), mtime=0),
        "one slice too few": gzip.compress(nifti(dim=[3, x, y, z + 1, *ones]), mtime=0),
        "one slice too many": gzip.compress(nifti(dim=[3, x, y, z - 1, *ones]), mtime=0),
        "a wrong checksum": packed[:-8] + bytes(4) + packed[-4:],
        "a wrong length": packed[:-4] + b"\1\0\0\0",
        "no checksum": packed[:-8],
        "a changed byte": packed[:200] + bytes([packed[200] ^ 255]) + packed[201:],
        "itself once more": gzip.compress(packed, mtime=0),
        "noise at the end": packed + np.random.default_rng(3).bytes(100),
        "a second volume behind": packed + packed,
        "text": gzip.compress(b"no image\n" * 100, mtime=0),
        "nothing": gzip.compress(b"", mtime=0),
        "another method": packed[:2] + b"\7" + packed[3:],
    }
    for what, content in contents.items():
        yield _one(f"compressed NIfTI: {what}", "ct", "scan.nii.gz", content)


def zeros(count: int, before: bytes = b"") -> bytes:
    """A gzip stream of some bytes and then zeros, quickly made: after a full flush each block is packed alike."""
    return gzipped(before, count)


def gzipped(before: bytes, count: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = bytes(2**20)
    first = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    repeated = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + first + repeated * (count // len(block)) + packer.flush() + bytes(8)


# NRRD and MetaImage


def nrrd(data: bytes | None = None, **fields: str | None) -> bytes:
    """A header of text and the voxels; fields that are None are left out, others may be new."""
    values = {
        "type": "short",
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": "20 16 6",
        "space_directions": "(0.7,0,0) (0,0.8,0) (0,0,2.5)",
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "gzip",
        "space_origin": "(-20,-10,-400)",
    } | fields
    lines = [f"{key.replace('_', ' ')}: {value}" for key, value in values.items() if value is not None]
    content = gzip.compress(hounsfield().tobytes(order="F"), mtime=0) if data is None else data
    return ("\n".join(["NRRD0004", *lines]) + "\n\n").encode() + content


def nrrds() -> Iterator[Hostile]:
    raw = hounsfield().tobytes(order="F")
    packed = gzip.compress(raw, mtime=0)
    floats = hounsfield().astype(np.float32)
    floats[2, 2, 2] = np.nan
    fields: dict[str, dict[str, str | None]] = {
        "more slices": {"sizes": "20 16 7"},
        "fewer slices": {"sizes": "20 16 5"},
        "no slices": {"sizes": "20 16 0"},
        "negative slices": {"sizes": "20 16 -6"},
        "huge sizes": {"sizes": "40000 40000 40000"},
        "overflowing sizes": {"sizes": "4294967296 4294967296 4294967296"},
        "sizes that are no numbers": {"sizes": "a b c"},
        "two sizes": {"sizes": "20 16"},
        "no sizes": {"sizes": None},
        "two axes": {"dimension": "2", "sizes": "20 96", "space_directions": None, "kinds": None, "space": None},
        "five axes": {"dimension": "5", "sizes": "20 16 2 1 3", "space_directions": None, "kinds": None, "space": None},
        "17 axes": {"dimension": "17"},
        "no dimension": {"dimension": None},
        "blocks": {"type": "block", "block_size": "2"},
        "an unknown type": {"type": "quaternion"},
        "wider voxels": {"type": "double"},
        "narrower voxels": {"type": "uchar"},
        "an unknown encoding": {"encoding": "zstd"},
        "bzip2": {"encoding": "bzip2"},
        "directions that are no numbers": {"space_directions": "(nan,0,0) (0,0.8,0) (0,0,2.5)"},
        "directions without end": {"space_directions": "(inf,0,0) (0,0.8,0) (0,0,2.5)"},
        "a direction of length 0": {"space_directions": "(0,0,0) (0,0.8,0) (0,0,2.5)"},
        "two equal directions": {"space_directions": "(0.7,0,0) (0.7,0,0) (0,0,2.5)"},
        "voxels of ten metres": {"space_directions": "(10000,0,0) (0,10000,0) (0,0,2.5)"},
        "an origin that is no number": {"space_origin": "(nan,0,0)"},
        "a spacing of 0": {"space": None, "space_directions": None, "space_origin": None, "spacings": "0 0 0"},
        "its voxels in another file": {"data_file": "other.raw"},
        "its voxels in a device": {"data_file": "/dev/zero", "encoding": "raw"},
        "its voxels in a list of files": {"data_file": "LIST"},
        "far more to skip": {"byte_skip": "1000000000000"},
        "lines to skip": {"line_skip": "1000000000"},
        "vectors": {
            "dimension": "4", "sizes": "3 20 16 2", "kinds": "vector domain domain domain",
            "space_directions": "none (0.7,0,0) (0,0.8,0) (0,0,2.5)",
        },
        "complex voxels": {
            "type": "float", "dimension": "4", "sizes": "2 20 16 1", "kinds": "complex domain domain domain",
            "space_directions": "none (0.7,0,0) (0,0.8,0) (0,0,2.5)",
        },
    }  # fmt: skip
    for what, values in fields.items():
        yield _one(f"NRRD with {what}", "ct", "scan.nrrd", nrrd(**values))
    contents = {
        "raw voxels that are cut": nrrd(raw[:-1], encoding="raw"),
        "raw voxels that are none": nrrd(b"", encoding="raw"),
        "huge raw voxels": nrrd(raw, encoding="raw", sizes="40000 40000 40000"),
        "text that is no numbers": nrrd(b"one two three", encoding="text"),
        "a bomb": nrrd(gzipped(raw, GIBIBYTE)),
        "a wrong checksum": nrrd(packed[:-8] + bytes(8)),
        "a changed byte": nrrd(packed[:99] + bytes([packed[99] ^ 255]) + packed[100:]),
        "one NaN": nrrd(gzip.compress(floats.tobytes(order="F")), type="float"),
        "nothing but infinity": nrrd(np.full(SHAPE, np.inf, "<f8").tobytes(), type="double", encoding="raw"),
        "another version": b"NRRD9999" + nrrd()[8:],
        "a header alone": nrrd(b""),
        "a header without an end": nrrd()[:60] + b"\n" + b"# no\n" * 20_000,
        "a line without an end": b"NRRD0004\ncontent: " + b"x" * 2_000_000,
    }
    for what, content in contents.items():
        yield _one(f"NRRD: {what}", "ct", "scan.nrrd", content)


def mha(data: bytes | None = None, **fields: str | None) -> bytes:
    values = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "-20 -10 -400",
        "ElementSpacing": "0.7 0.8 2.5",
        "DimSize": "20 16 6",
        "ElementType": "MET_SHORT",
        "ElementDataFile": "LOCAL",
    }
    content = zlib.compress(hounsfield().tobytes(order="F")) if data is None else data
    values = {"CompressedDataSize": str(len(content))} | values | fields
    values["ElementDataFile"] = values.pop("ElementDataFile")  # comes last
    lines = [f"{key} = {value}\n" for key, value in values.items() if value is not None]
    return "".join(lines).encode() + content


def metaimages() -> Iterator[Hostile]:
    raw = hounsfield().tobytes(order="F")
    fields: dict[str, dict[str, str | None]] = {
        "more slices": {"DimSize": "20 16 7"},
        "fewer slices": {"DimSize": "20 16 5"},
        "no slices": {"DimSize": "20 16 0"},
        "negative slices": {"DimSize": "20 16 -6"},
        "huge sizes": {"DimSize": "40000 40000 40000"},
        "overflowing sizes": {"DimSize": "2147483647 2147483647 2147483647"},
        "two sizes": {"DimSize": "20 16"},
        "no sizes": {"DimSize": None},
        "two axes": {"NDims": "2", "DimSize": "20 96", "ElementSpacing": "1 1", "TransformMatrix": "1 0 0 1"},
        "five axes": {"NDims": "5", "DimSize": "20 16 2 1 3"},
        "no axes": {"NDims": "0"},
        "negative axes": {"NDims": "-3"},
        "9,999 axes": {"NDims": "9999"},
        "an unknown type": {"ElementType": "MET_QUATERNION"},
        "no type": {"ElementType": None},
        "wider voxels": {"ElementType": "MET_DOUBLE"},
        "narrower voxels": {"ElementType": "MET_UCHAR"},
        "a spacing of 0": {"ElementSpacing": "0 0 0"},
        "a spacing that is no number": {"ElementSpacing": "nan 0.8 2.5"},
        "a spacing without end": {"ElementSpacing": "inf 0.8 2.5"},
        "a spacing of ten metres": {"ElementSpacing": "10000 10000 2.5"},
        "a matrix of zeros": {"TransformMatrix": "0 0 0 0 0 0 0 0 0"},
        "a matrix that is no number": {"TransformMatrix": "nan 0 0 0 1 0 0 0 1"},
        "an origin that is no number": {"Offset": "nan 0 0"},
        "its voxels in another file": {"ElementDataFile": "other.raw"},
        "its voxels in a device": {"ElementDataFile": "/dev/zero", "CompressedData": "False"},
        "its voxels in a list": {"ElementDataFile": "LIST"},
        "its voxels in numbered files": {"ElementDataFile": "slice%03d.raw 1 6 1"},
        "no compressed size": {"CompressedDataSize": None},
        "a small compressed size": {"CompressedDataSize": "9"},
        "a compressed size of many digits": {"CompressedDataSize": "9" * 5000},
        "a huge compressed size": {"CompressedDataSize": "99999999999999"},
        "a negative compressed size": {"CompressedDataSize": "-1"},
        "three channels": {"ElementNumberOfChannels": "3", "DimSize": "20 16 2"},
        "no channels": {"ElementNumberOfChannels": "0"},
        "2,000,000,000 channels": {"ElementNumberOfChannels": "2000000000"},
    }
    for what, values in fields.items():
        yield _one(f"MetaImage with {what}", "ct", "scan.mha", mha(**values))
    plain = {"CompressedData": "False"}
    packed = zlib.compress(raw)
    contents = {
        "raw voxels that are cut": mha(raw[:-1], **plain),
        "no voxels": mha(b"", **plain),
        "a header of 10 GB": mha(raw, HeaderSize="10000000000", **plain),
        "one axis and then three": mha(raw, **plain).replace(b"NDims = 3", b"NDims = 9999\nNDims = 3"),
        "three axes and then others": mha(raw, **plain).replace(b"NDims = 3", b"NDims = 3\nNDims : 9999 = 1"),
        "a million lines": b"a = 1\n" * 1_000_000,
        "voxels that are not compressed": mha(raw),
        "a wrong checksum": mha(packed[:-4] + bytes(4)),
        "a bomb": mha(gzipped(raw, GIBIBYTE)),
        "nothing but NaN": mha(np.full(SHAPE, np.nan, "<f4").tobytes(), ElementType="MET_FLOAT", **plain),
        "an infinite voxel": mha(np.full(SHAPE, np.inf, "<f8").tobytes(), ElementType="MET_DOUBLE", **plain),
        "a header alone": mha(b""),
        "a line without an end": b"ObjectType = " + b"x" * 2_000_000,
    }
    for what, content in contents.items():
        yield _one(f"MetaImage: {what}", "ct", "scan.mha", content)


# DICOM


def slices_of(count: int = 5, affine: np.ndarray = AFFINE, entropy: str = "hostile") -> list[Dataset]:
    return series(hounsfield()[..., :count], affine, patient="P1", entropy=entropy)


def written(dataset: Dataset, syntax: str | None = None) -> bytes:
    """As a file; ``syntax`` is what it then says of the coding of its pixels, whatever that is."""
    dataset = copy.deepcopy(dataset)
    dataset.preamble = bytes(128)
    if "PixelData" in dataset and dataset.PixelData.startswith(b"\xfe\xff\0\xe0"):
        dataset["PixelData"].is_undefined_length = True  # as coded pixels are
    stream = io.BytesIO()
    dcmwrite(stream, dataset, implicit_vr=False, little_endian=True, force_encoding=True)
    content = stream.getvalue()
    return content if syntax is None else changed(content, {SYNTAX: syntax.encode()})


def changed(content: bytes, values: dict[int, bytes | None]) -> bytes:
    """A DICOM file with other bytes for some short elements, by tag; those that are None are left out."""
    for tag, value in values.items():
        at = content.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF), 132)
        (length,) = struct.unpack_from("<H", content, at + 6)
        element = b""
        if value is not None:
            value += b" " * (len(value) % 2)
            element = content[at : at + 6] + struct.pack("<H", len(value)) + value
        content = content[:at] + element + content[at + 8 + length :]
    return content


SYNTAX, POSITION, ORIENTATION, SPACING, THICKNESS = 0x00020010, 0x00200032, 0x00200037, 0x00280030, 0x00180050
ROWS, COLUMNS, SAMPLES, PHOTOMETRIC = 0x00280010, 0x00280011, 0x00280002, 0x00280004
ALLOCATED, STORED_BITS, HIGH_BIT, REPRESENTATION = 0x00280100, 0x00280101, 0x00280102, 0x00280103
INTERCEPT, SLOPE, MODALITY, IMAGE_TYPE = 0x00281052, 0x00281053, 0x00080060, 0x00080008
CLASS = 0x00080016


def dicoms() -> Iterator[Hostile]:
    good = slices_of(1)[0]
    content = written(good)
    values: dict[str, dict[int, bytes | None]] = {
        "60,000 rows": {ROWS: struct.pack("<H", 60_000)},
        "60,000 rows and columns": {ROWS: struct.pack("<H", 60_000), COLUMNS: struct.pack("<H", 60_000)},
        "no rows": {ROWS: bytes(2)},
        "no columns": {COLUMNS: bytes(2)},
        "rows that are missing": {ROWS: None},
        "rows that are empty": {ROWS: b""},
        "columns that are missing": {COLUMNS: None},
        "64 bits": {ALLOCATED: b"\x40\0"},
        "7 bits": {ALLOCATED: b"\7\0"},
        "no bits": {ALLOCATED: bytes(2)},
        "bits that are missing": {ALLOCATED: None},
        "more bits than there is room for": {STORED_BITS: b"\x20\0", HIGH_BIT: b"\x1f\0"},
        "no representation": {REPRESENTATION: None},
        "three samples": {SAMPLES: b"\3\0"},
        "no samples": {SAMPLES: bytes(2)},
        "no photometric interpretation": {PHOTOMETRIC: None},
        "an unknown photometric interpretation": {PHOTOMETRIC: b"ULTRAVIOLET"},
        "a palette that is missing": {PHOTOMETRIC: b"PALETTE COLOR"},
        "no spacing": {SPACING: None},
        "an empty spacing": {SPACING: b""},
        "a spacing of 0": {SPACING: b"0\\0"},
        "a negative spacing": {SPACING: b"-0.8\\0.7"},
        "a spacing that is no number": {SPACING: b"nan\\nan"},
        "a spacing without end": {SPACING: b"inf\\inf"},
        "a spacing of letters": {SPACING: b"wide\\wider"},
        "one spacing": {SPACING: b"0.8"},
        "a spacing of ten metres": {SPACING: b"10000\\10000"},
        "a thickness that is no number": {THICKNESS: b"nan"},
        "a thickness of letters": {THICKNESS: b"thick"},
        "a negative thickness": {THICKNESS: b"-2.5"},
        "no orientation": {ORIENTATION: None},
        "an orientation of zeros": {ORIENTATION: b"0\\0\\0\\0\\0\\0"},
        "an orientation that is no number": {ORIENTATION: b"nan\\0\\0\\0\\1\\0"},
        "rows along columns": {ORIENTATION: b"1\\0\\0\\1\\0\\0"},
        "rows not square to columns": {ORIENTATION: b"1\\0\\0\\0.6\\0.8\\0"},
        "half an orientation": {ORIENTATION: b"1\\0\\0"},
        "no position": {POSITION: None},
        "a position that is no number": {POSITION: b"nan\\0\\0"},
        "a position without end": {POSITION: b"inf\\0\\0"},
        "half a position": {POSITION: b"1\\2"},
        "a slope that is no number": {SLOPE: b"nan"},
        "a slope without end": {SLOPE: b"inf"},
        "a slope of letters": {SLOPE: b"steep"},
        "an intercept that overflows": {INTERCEPT: b"1e300"},
        "a slope without an intercept": {INTERCEPT: None},
        "the modality of a PET": {MODALITY: b"PT", CLASS: b"1.2.840.10008.5.1.4.1.1.128"},
        "the modality of an MR": {MODALITY: b"MR", CLASS: b"1.2.840.10008.5.1.4.1.1.4"},
        "a scout view": {IMAGE_TYPE: b"ORIGINAL\\PRIMARY\\LOCALIZER"},
    }
    for what, elements in values.items():
        yield _one(f"DICOM with {what}", "ct", "slice.dcm", changed(content, elements))
    body = content[content.index(b"\x08\0\x08\0CS") :]
    noise = encapsulate([np.random.default_rng(4).bytes(600)])
    nothing = encapsulate([struct.pack("<16L", 1, 64, *[0] * 14)])
    large = changed(written(_with(good, PixelData=nothing), RLELossless), {ROWS: b"\x60\xea", COLUMNS: b"\x60\xea"})
    contents = {
        "an unknown coding": written(good, "1.2.3.4.5"),
        "a coding that is no number": written(good, "JPEG"),
        "big endian that is little": written(good, ExplicitVRBigEndian),
        "deflate that does not say where it begins": written(good, DeflatedExplicitVRLittleEndian),
        "deflate that is none": _deflated(body),
        "deflate that is cut": _deflated(deflated(body)[:-200]),
        "a bomb": _deflated(gzipped(body, GIBIBYTE)[10:-8]),
        "noise as JPEG": written(_with(good, PixelData=noise), JPEGBaseline8Bit),
        "noise as JPEG 2000": written(_with(good, PixelData=noise), JPEG2000Lossless),
        "noise as JPEG-LS": written(_with(good, PixelData=noise), JPEGLSLossless),
        "noise as run lengths": written(_with(good, PixelData=noise), RLELossless),
        "no run lengths": written(_with(good, PixelData=nothing), RLELossless),
        "60,000 × 60,000 of no run lengths": large,
        "pixels that are not wrapped": written(good, RLELossless),
        "no pixels": written(_without(good, "PixelData")),
        "pixels that are cut": written(_with(good, PixelData=good.PixelData[:-10])),
        "many frames": written(_with(good, NumberOfFrames=100_000)),
        "two frames without positions": written(_with(good, NumberOfFrames=2, PixelData=good.PixelData * 2)),
        "a deep nest": content + _nested(3000),
        "an element of 4 GB": content[: content.index(b"\xe0\x7f\x10\0")] + b"\xe0\x7f\x10\0OW\0\0\xf0\xff\xff\xff1234",
        "colours": written(_colored(good)),
        "a segmentation": written(segmentation(slices_of(), np.ones((*SHAPE[:2], 5), np.uint8), ["liver"])),
    }
    for what, classes, modality in (
        ("contours", RTStructureSetStorage, "RTSTRUCT"),
        ("a report", BasicTextSRStorage, "SR"),
        ("a document", EncapsulatedPDFStorage, "DOC"),
    ):
        contents[what] = written(_other(good, classes, modality))
    for what, classes, modality in (
        ("a dose", RTDoseStorage, "RTDOSE"),
        ("a photograph of a screen", SecondaryCaptureImageStorage, "OT"),
        ("an ultrasound", "1.2.840.10008.5.1.4.1.1.6.1", "US"),
    ):
        contents[what] = written(_with(good, SOPClassUID=classes, Modality=modality))
    for what, bytes_of in contents.items():
        yield _one(f"DICOM of {what}", "ct", "slice.dcm", bytes_of)
    yield _one("DICOM without a suffix, cut", "ct", "IM0001", content[:700])


def _with(dataset: Dataset, **values: Any) -> Dataset:
    dataset = copy.deepcopy(dataset)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _without(dataset: Dataset, *keywords: str) -> Dataset:
    dataset = copy.deepcopy(dataset)
    for keyword in keywords:
        delattr(dataset, keyword)
    return dataset


def _colored(dataset: Dataset) -> Dataset:
    columns, rows, _ = SHAPE
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PlanarConfiguration": 0}
    return _with(
        dataset, SamplesPerPixel=3, PhotometricInterpretation="RGB", PixelData=bytes(3 * columns * rows), **eight
    )


def _other(dataset: Dataset, classes: str, modality: str) -> Dataset:
    """An object of the same patient that is no picture."""
    other = _with(dataset, SOPClassUID=classes, Modality=modality)
    return _without(other, "PixelData", "Rows", "Columns", "BitsAllocated", "ImagePositionPatient", "PixelSpacing")


def _nested(depth: int) -> bytes:
    """So many sequences, one in the other, none of which ends."""
    sequence = b"\x40\0\x75\xa3SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\xff\xff\xff\xff"
    return sequence * depth


def _deflated(packed: bytes) -> bytes:
    """A file that says that all but its first part is deflated."""
    syntax = _element(0x00020010, b"UI", DeflatedExplicitVRLittleEndian.encode())
    return bytes(128) + b"DICM" + _element(0x00020000, b"UL", struct.pack("<L", len(syntax))) + syntax + packed


def _element(tag: int, kind: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, kind, len(value)) + value


def dicom_series() -> Iterator[Hostile]:
    """Folders of slices."""
    stack = slices_of()
    coronal = series(
        hounsfield()[..., :2], AFFINE[:, [0, 2, 1, 3]], patient="P1", entropy="hostile"
    )  # of the same identifiers
    scouts = [_with(s, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]) for s in stack]
    good = [written(s) for s in stack]
    folders: dict[str, list[bytes]] = {
        "in two directions": [*good[:3], *(written(s) for s in coronal)],
        "without one in the middle": [*good[:2], *good[3:]],
        "with two in one place": [*good, written(_with(stack[2], PixelData=stack[3].PixelData))],
        "of two sizes": [*good[:4], written(_resized(stack[4]))],
        "of two spacings": [*good[:4], changed(good[4], {SPACING: b"0.5\\0.5"})],
        "in a tilted gantry": [_shifted(content, n) for n, content in enumerate(good)],
        "without the pixels of one": [*good[:4], written(_without(stack[4], "PixelData"))],
        "with one that is cut": [*good[:4], good[4][:-100]],
        "with one that lies about its size": [*good[:4], changed(good[4], {ROWS: b"\x60\xea", COLUMNS: b"\x60\xea"})],
        "with one in an unknown coding": [*good[:4], written(stack[4], "1.2.3.4.5")],
        "all in an unknown coding": [written(s, "1.2.3.4.5") for s in stack],
        "without positions": [changed(content, {POSITION: None}) for content in good],
        "without the position of one": [*good[:4], changed(good[4], {POSITION: None})],
        "with a position that is no number": [*good[:4], changed(good[4], {POSITION: b"nan\\0\\0"})],
        "without orientations": [changed(content, {ORIENTATION: None}) for content in good],
        "without the orientation of one": [*good[:4], changed(good[4], {ORIENTATION: None})],
        "without a spacing": [changed(content, {SPACING: None}) for content in good],
        "all in one place": [changed(content, {POSITION: b"1\\2\\3"}) for content in good],
        "with pixels of ten metres": [changed(content, {SPACING: b"10000\\10000"}) for content in good],
        "of scout views": [written(s) for s in scouts],
        "of contours": [written(_other(stack[0], RTStructureSetStorage, "RTSTRUCT"))],
        "of reports": [written(_other(s, BasicTextSRStorage, "SR")) for s in stack],
        "of a segmentation": [written(segmentation(stack, np.ones((*SHAPE[:2], 5), np.uint8), ["liver"]))],
        "of photographs": [written(_with(s, SOPClassUID=SecondaryCaptureImageStorage, Modality="OT")) for s in stack],
        "of a PET": [changed(content, {MODALITY: b"PT"}) for content in good],
        "of an MR": [changed(content, {MODALITY: b"MR"}) for content in good],
        "that are cut": [content[:600] for content in good],
        "that are text": [b"no slice\n" * 100] * 3,
        "that are empty": [b""] * 3,
        "with one in the middle that is text": [*good[:2], b"no slice\n" * 100, *good[3:]],
    }
    for what, contents in folders.items():
        tree = {f"series/{n}.dcm": content for n, content in enumerate(contents)}
        yield Hostile(f"slices {what}", "ct", tree, "series")
    yield Hostile("a folder of text", "ct", {"folder/readme.txt": b"nothing here"}, "folder")
    yield Hostile("a folder of hidden files", "ct", {"folder/.scan.nii": nifti()}, "folder")
    yield Hostile("a folder of the shadows of macOS", "ct", {"folder/__MACOSX/scan.nii": nifti()}, "folder")
    yield Hostile("a disc's table of contents", "ct", {"disc/DICOMDIR": good[0]}, "disc")


def _resized(dataset: Dataset) -> Dataset:
    return _with(dataset, Rows=8, Columns=40)


def _shifted(content: bytes, n: int) -> bytes:
    return changed(content, {POSITION: f"20\\{-10 + n}\\{-400 + 2.5 * n}".encode()})


# Zips


def zips() -> Iterator[Hostile]:
    volume = nifti()
    scan = Part("scan.nii", volume, DEFLATED)
    good = zip_of(scan)
    link, pipe = stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o644
    entries: dict[str, list[Part]] = {
        "no entries": [],
        "a folder": [Part("folder/", b"")],
        "text": [Part("readme.txt", b"nothing here")],
        "hidden files": [Part(".scan.nii", volume)],
        "shadows of macOS": [Part("__MACOSX/scan.nii", volume)],
        "a zip": [Part("inner.zip", good)],
        "zips within zips": [Part("inner.zip", zip_of(Part("inner.zip", good)))],
        "a way out": [Part("../scan.nii", volume)],
        "a way out behind a folder": [scan, Part("a/../../scan.nii", volume)],
        "a way to the root": [Part("/tmp/scan.nii", volume)],
        "a way to another machine": [Part("//server/share/scan.nii", volume)],
        "a drive": [Part("C:/scan.nii", volume)],
        "a way out of Windows": [Part("..\\scan.nii", volume)],
        "a zero in a name": [Part("scan.nii\0.txt", volume)],
        "a line break in a name": [Part("a\nb.nii", volume)],
        "a bell in a name": [Part("a\x07.nii", volume)],
        "no name": [Part("", volume)],
        "a point as a name": [Part(".", volume)],
        "a name of 300 letters": [Part("x" * 300 + ".nii", volume)],
        "folders in folders without end": [Part("a/" * 2000 + "scan.nii", volume)],
        "a link": [Part("scan.nii", b"/etc/passwd", mode=link)],
        "a link to a folder": [Part("a", b"/tmp", mode=link), Part("a/scan.nii", volume)],
        "a pipe": [Part("scan.nii", b"", mode=pipe)],
        "a device": [Part("scan.nii", b"", mode=stat.S_IFCHR | 0o666)],
        "a secret": [Part("scan.nii", volume, flags=0x1)],
        "a secret of another kind": [Part("scan.nii", volume, flags=0x41)],
        "an unknown compression": [Part("scan.nii", volume, method=99)],
        "bzip2": [Part("scan.nii", bz2.compress(volume), method=12)],
        "a name twice": [scan, scan],
        "a file that is a folder": [scan, Part("scan.nii/a.nii", volume)],
        "a wrong checksum": [Part("scan.nii", volume, crc=1)],
        "a wrong checksum, deflated": [Part("scan.nii", volume, DEFLATED, crc=1)],
        "less than it says": [Part("scan.nii", volume, DEFLATED, size=len(volume) + 1)],
        "more than it says": [Part("scan.nii", volume, DEFLATED, size=len(volume) - 1)],
        "noise for deflate": [Part("scan.nii", volume, DEFLATED, packed=b"\xff" * 50)],
        "a stream that is cut": [Part("scan.nii", volume, DEFLATED, packed=deflated(volume)[:-20])],
        "an entry elsewhere": [Part("scan.nii", volume, offset=7)],
        "an entry far away": [Part("scan.nii", volume, offset=2**31)],
        "two entries of the same bytes": [scan, Part("b.nii", volume, DEFLATED, offset=0)],
        "a bomb": [huge("scan.nii", 1024)],
        "a bomb that says little": [dataclasses.replace(huge("scan.nii", 1024), size=2**20)],
        "a bomb in pieces": [huge(f"{n}.nii", 100) for n in range(4)],
        "an empty volume": [Part("scan.nii", b"")],
        "a volume that is cut": [Part("scan.nii", volume[:2000])],
        "a volume of noise": [Part("scan.nii.gz", np.random.default_rng(5).bytes(3000))],
        "a volume that lies": [Part("scan.nii", nifti(dim=[3, 20, 16, 99, 1, 1, 1, 1]))],
        "two volumes that are cut": [Part("a.nii", volume[:2000]), Part("b.nii", volume[:100])],
        "a bomb in a bomb": [Part("scan.nii.gz", gzipped(volume, GIBIBYTE), DEFLATED)],
        "pictures": [Part("a.png", saved(Image.fromarray(picture()), "PNG"))],
        "slices without one": [Part(f"{n}.dcm", written(slices_of()[n])) for n in (0, 1, 3, 4)],
        "slices that are cut": [Part(f"{n}.dcm", written(s)[:600]) for n, s in enumerate(slices_of())],
        "contours": [Part("a.dcm", written(_other(slices_of(1)[0], RTStructureSetStorage, "RTSTRUCT")))],
    }
    for what, parts in entries.items():
        yield _one(f"zip that holds {what}", "ct", "scans.zip", zip_of(*parts))
    table = good.index(b"PK\1\2")
    contents = {
        "a table that is cut": good[: table + 20] + good[-22:],
        "a table that is elsewhere": good[:-6] + b"\xff\xff\xff\0" + good[-2:],
        "a table of 4 GB": good[:-10] + b"\xff\xff\xff\xff" + good[-6:],
        "no table": good[:table],
        "its beginning overwritten": b"XX" + good[2:],
        "100,001 entries": _many_entries(100_001),
    }
    for what, content in contents.items():
        yield _one(f"zip with {what}", "ct", "scans.zip", content)
    damaged = zip_of(Part("frame.png", saved(Image.fromarray(picture()), "PNG")[:900]))
    yield _one("zip of a picture that is cut", "rgb", "frames.zip", damaged)
    yield _one("zip of a video that is cut", "rgb", "frames.zip", zip_of(Part("v.mp4", b"\0\0\0\x18ftypmp42")))


def _many_entries(count: int) -> bytes:
    """So many entries of no bytes, all told as being the first."""
    local = b"PK\3\4" + struct.pack("<5H3L2H", 20, 0, 0, 0, 33, 0, 0, 0, 1, 0) + b"a"
    entry = b"PK\1\2" + struct.pack("<6H3L5H2L", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, count * len(entry), len(local), 0)
    return local + entry * count + end


# Pictures


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(
    width: int, height: int, pixels: bytes, depth: int = 8, color: int = 2, interlace: int = 0, more: bytes = b""
) -> bytes:
    """A PNG of this header and these bytes before they are compressed, with right checksums."""
    header = struct.pack(">LLBBBBB", width, height, depth, color, 0, 0, interlace)
    chunks = [_chunk(b"IHDR", header), more, _chunk(b"IDAT", zlib.compress(pixels)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))


def pngs() -> Iterator[Hostile]:
    rows = b"".join(b"\0" + row.tobytes() for row in picture())
    height, width, _ = picture().shape
    good = png(width, height, rows)
    frames = [Image.fromarray(picture()), Image.fromarray(255 - picture())]
    zeros_of = zlib.compress(bytes(2**26), 9)
    contents = {
        "100,000 × 100,000 pixels": png(100_000, 100_000, rows),
        "10,000 × 10,000 pixels": png(10_000, 10_000, rows),
        "2,147,483,647 columns": png(2**31 - 1, 1, rows),
        "4,294,967,295 columns": png(2**32 - 1, 1, rows),
        "no columns": png(0, height, rows),
        "no rows": png(width, 0, rows),
        "a deep colour": png(width, height, np.zeros((height, 1 + 6 * width), np.uint8).tobytes(), 16, 2),
        "a deep colour and transparency": png(width, height, bytes(height * (1 + 8 * width)), 16, 6),
        "a deep grey": png(width, height, bytes(height * (1 + 2 * width)), 16, 0),
        "an impossible depth": png(width, height, rows, 3, 2),
        "an impossible colour": png(width, height, rows, 8, 1),
        "an impossible interlace": png(width, height, rows, 8, 2, 9),
        "no pixels": good[: good.index(b"IDAT") - 4] + _chunk(b"IEND", b""),
        "no end": good[:-12],
        "a wrong checksum of the pixels": _bit_of(good, good.index(b"IDAT") + 60),
        "a wrong checksum of the header": _bit_of(good, 18),
        "a chunk without end": good[:33] + struct.pack(">L", 2**31 - 1) + b"tEXt" + good[33:],
        "a bomb of text": png(width, height, rows, 8, 2, 0, _chunk(b"zTXt", b"Comment\0\0" + zeros_of)),
        "a bomb in its colour profile": png(width, height, rows, 8, 2, 0, _chunk(b"iCCP", b"sRGB\0\0" + zeros_of)),
        "an unknown filter": png(width, height, b"\x63" + rows[1:]),
        "several frames": saved(frames[0], "PNG", save_all=True, append_images=frames[1:]),
    }
    for what, content in contents.items():
        yield _one(f"PNG with {what}", "rgb", "frame.png", content)


def _bit_of(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def other_pictures() -> Iterator[Hostile]:
    image = Image.fromarray(picture())
    height, width, _ = picture().shape
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[274] = orientation
        yield _one(f"JPEG turned by EXIF, {orientation}", "rgb", "frame.jpg", saved(image, "JPEG", exif=exif))
    jpeg = saved(image, "JPEG")
    size = jpeg.index(b"\xff\xc0") + 5
    scan = jpeg.index(b"\xff\xda")
    jpegs = {
        "60,000 × 60,000 pixels": jpeg[:size] + struct.pack(">HH", 60_000, 60_000) + jpeg[size + 4 :],
        "10,000 × 10,000 pixels": jpeg[:size] + struct.pack(">HH", 10_000, 10_000) + jpeg[size + 4 :],
        "no columns": jpeg[:size] + struct.pack(">HH", height, 0) + jpeg[size + 4 :],
        "12 bits": jpeg[: size - 1] + b"\x0c" + jpeg[size:],
        "two components": jpeg[: size + 4] + b"\2" + jpeg[size + 5 :],
        "no scan": jpeg[:scan] + b"\xff\xd9",
        "no tables": jpeg[:2] + jpeg[jpeg.index(b"\xff\xc0") :],
    }
    for what, content in jpegs.items():
        yield _one(f"JPEG with {what}", "rgb", "frame.jpg", content)
    deep = np.zeros((height, width, 3), "<u2")
    sizes = saved(Image.fromarray(picture()), "TIFF", save_all=True, append_images=[image.resize((9, 9))])
    tiffs = {
        "pages of two sizes": sizes,
        "100,000 × 100,000 pixels": tiff(100_000, 100_000, bytes(100)),
        "10,000 × 10,000 pixels": tiff(10_000, 10_000, bytes(100)),
        "10,000 × 10,000 pixels, deflated": tiff(10_000, 10_000, zlib.compress(bytes(100)), compression=8),
        "10,000 × 10,000 pixels, as LZW": tiff(10_000, 10_000, b"\x80\0\x40", compression=5),
        "no rows": tiff(width, 0, bytes(100)),
        "pixels beyond its end": tiff(width, height, picture().tobytes(), offset=10**9),
        "an unknown compression": tiff(width, height, picture().tobytes(), compression=65_000),
        "noise as JPEG": tiff(width, height, np.random.default_rng(6).bytes(500), compression=7),
        "noise as a fax": tiff(width, height, np.random.default_rng(6).bytes(500), compression=4, bits=1, samples=1),
        "deep colours": tiff(width, height, deep.tobytes(), bits=16),
        "colours of 32 bits": tiff(width, height, bytes(12 * height * width), bits=32),
        "two samples of an unknown meaning": tiff(width, height, bytes(2 * height * width), samples=2),
        "a thousand samples": tiff(width, height, bytes(1000 * height * width), samples=1000),
        "no directory": b"II*\0\x08\0\0\0\0\0",
        "a directory beyond its end": b"II*\0\xff\xff\xff\x0f" + bytes(100),
        "a directory that comes again and again": _loop(sizes),
        "floating-point grey": saved(Image.fromarray(np.full((height, width), np.nan, np.float32)), "TIFF"),
    }
    for what, content in tiffs.items():
        yield _one(f"TIFF with {what}", "rgb", "frame.tif", content)
    bmp = saved(image, "BMP")
    bmps = {
        "60,000 × 60,000 pixels": _bmp(bmp, width=60_000, height=60_000),
        "10,000 × 10,000 pixels": _bmp(bmp, width=10_000, height=10_000),
        "10,000 × 10,000 pixels, as run lengths": _bmp(bmp, width=10_000, height=10_000, bits=8, compression=1),
        "no rows": _bmp(bmp, width=width, height=0),
        "negative columns": _bmp(bmp, width=-width, height=height),
        "the most negative rows": _bmp(bmp, width=width, height=-(2**31)),
        "7 bits": _bmp(bmp, width=width, height=height, bits=7),
        "an unknown compression": _bmp(bmp, width=width, height=height, compression=99),
        "pixels beyond its end": bmp[:10] + struct.pack("<L", 10**9) + bmp[14:],
        "a header of 9,999 bytes": bmp[:14] + struct.pack("<L", 9999) + bmp[18:],
    }
    for what, content in bmps.items():
        yield _one(f"BMP with {what}", "rgb", "frame.bmp", content)


def tiff(
    width: int, height: int, pixels: bytes, bits: int = 8, samples: int = 3, compression: int = 1, offset: int = 8
) -> bytes:
    """A little-endian TIFF of one strip."""
    color = 2 if samples == 3 else 1
    depth = (258, 3, 1, bits)
    tail = b""
    at = 8 + len(pixels)
    if samples in (2, 3):
        tail = struct.pack(f"<{samples}H", *[bits] * samples)
        depth = (258, 3, samples, at if samples == 3 else bits | bits << 16)
    entries = [
        *((256, 4, 1, width), (257, 4, 1, height), depth, (259, 3, 1, compression), (262, 3, 1, color)),
        *((273, 4, 1, offset), (277, 3, 1, samples), (278, 4, 1, height), (279, 4, 1, len(pixels))),
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHLL", *entry) for entry in entries) + bytes(4)
    return b"II*\0" + struct.pack("<L", at + len(tail)) + pixels + tail + directory


def _loop(content: bytes) -> bytes:
    """A TIFF whose second directory says that the first one follows."""
    (first,) = struct.unpack_from("<L", content, 4)
    (count,) = struct.unpack_from("<H", content, first)
    (second,) = struct.unpack_from("<L", content, first + 2 + 12 * count)
    (count,) = struct.unpack_from("<H", content, second)
    at = second + 2 + 12 * count
    return content[:at] + struct.pack("<L", first) + content[at + 4 :]


def _bmp(good: bytes, width: int, height: int, bits: int = 24, compression: int = 0) -> bytes:
    return good[:18] + struct.pack("<llHHL", width, height, 1, bits, compression) + good[34:]


# Videos


def films(clean: Tree) -> Iterator[Hostile]:
    mp4, avi = clean["mp4"], clean["avi"]
    moov, mdat = mp4.index(b"moov") - 4, mp4.index(b"mdat") - 4
    entry = mp4.index(b"avc1", mp4.index(b"stsd")) + 28  # width and height
    strf = avi.index(b"strf") + 8
    mp4s = {
        "60,000 × 60,000 pixels": _hollow(mp4[:entry] + struct.pack(">HH", 60_000, 60_000) + mp4[entry + 4 :]),
        "no table of frames": mp4[:moov],
        "a table alone": mp4[:mdat] + mp4[moov:],
        "zeros for frames": _hollow(mp4),
        "noise for frames": mp4[: mdat + 8] + np.random.default_rng(7).bytes(moov - mdat - 8) + mp4[moov:],
        "4,000,000,000 frames": _counted(mp4, b"stsz", 8),
        "4,000,000,000 times": _counted(mp4, b"stts", 4),
        "an unknown codec": mp4.replace(b"avc1", b"zzzz"),
        "a box of no bytes": mp4[:moov] + b"\0\0\0\x02" + mp4[moov + 4 :],
        "its first half twice": mp4[: len(mp4) // 2] * 2,
    }
    for what, content in mp4s.items():
        yield _one(f"mp4 with {what}", "rgb", "film.mp4", content)
    avis = {
        "60,000 × 60,000 raw pixels": _raw_avi(avi, strf, 60_000),
        "an unknown codec": avi.replace(b"FMP4", b"ZZZZ"),
        "no frames": avi[: avi.index(b"movi") + 4],
        "zeros for frames": avi[: avi.index(b"movi") + 4] + bytes(5000),
    }
    for what, content in avis.items():
        yield _one(f"avi with {what}", "rgb", "film.avi", content)
    for suffix in ("mov", "mkv"):
        content = clean[suffix]
        middle = len(content) // 2
        noise = content[:200] + np.random.default_rng(8).bytes(len(content) - 200)
        yield _one(f"{suffix} with noise from its header on", "rgb", f"film.{suffix}", noise)
        yield _one(f"{suffix} with a hole", "rgb", f"film.{suffix}", content[: middle - 9000] + content[middle:])


def _hollow(mp4: bytes) -> bytes:
    """An mp4 whose frames are zeros."""
    moov, mdat = mp4.index(b"moov") - 4, mp4.index(b"mdat") - 4
    return mp4[: mdat + 8] + bytes(moov - mdat - 8) + mp4[moov:]


def _counted(content: bytes, box: bytes, at: int) -> bytes:
    """An mp4 whose box says that it has 4,000,000,000 entries."""
    place = content.index(box) + 4 + at
    return content[:place] + struct.pack(">L", 4_000_000_000) + content[place + 4 :]


def _raw_avi(avi: bytes, strf: int, size: int) -> bytes:
    """An AVI whose header says that its frames are pixels as they are, so many rows and columns of them."""
    return avi[: strf + 4] + struct.pack("<llHHL", size, size, 1, 24, 0) + avi[strf + 20 :]


# Good, but for another model, or under names that nothing can be written to


def for_the_other_model(clean: Tree) -> Iterator[Hostile]:
    for suffix, content in clean.items():
        other: Model = "ct" if model_of(suffix) == "rgb" else "rgb"
        yield _one(f"{suffix} for the other model", other, f"scan.{suffix}", content)
    yield Hostile("slices for the other model", "rgb", slice_files(slices_of()), "series")
    frames = {f"frames/{n}.png": clean["png"] for n in range(3)}
    yield Hostile("pictures for the other model", "ct", frames, "frames")


def with_odd_names(clean: Tree) -> Iterator[Hostile]:
    """Good files; what is named after them could not be written, or could not be told."""
    for what, name in {
        "a line break": "a\nb",
        "a return": "a\rb",
        "an escape": "a\x1b[31mb",
        "a separator of lines": "a\u2028b",
        "bytes that are no text": "a\udcffb",
        "250 letters": "x" * 245,
    }.items():
        yield _one(f"a name with {what}", "ct", f"{name}.nii.gz", clean["nii.gz"])
        yield _one(f"a picture whose name has {what}", "rgb", f"{name}.png", clean["png"])
    for name in (".mp4", "..mp4", "...mp4", "predictions.json.mp4", "unfinished.jsonl.mp4"):
        if name != ".mp4":
            yield _one(f"a film called {name}", "rgb", name, clean["mp4"])
    both = {"films/clip.mp4": clean["mp4"], "films/clip/frame.png": clean["png"]}
    yield Hostile("a film called like a folder of pictures", "rgb", both, "films")
    yield Hostile("two volumes of one name", "ct", {"a/x.nii": clean["nii"], "a/x.nii.gz": clean["nii.gz"]}, "a")


# What is no plain file


def make_special(folder: Path) -> Iterator[tuple[str, Model, Path]]:
    """(what, model, path) of links, pipes, devices and folders, which are made in ``folder``."""
    made = {
        "a pipe called as a volume": "pipe/scan.nii",
        "a pipe called as a zip": "zipped/scans.zip",
        "a pipe called as a slice": "dicom/slice.dcm",
        "a pipe without a suffix": "bare/IM0001",
        "a pipe called as a picture": "png/frame.png",
        "a pipe called as a film": "film/film.mp4",
    }
    for what, name in made.items():
        path = folder / name
        path.parent.mkdir(parents=True)
        os.mkfifo(path)
        model: Model = "rgb" if name.startswith(("png", "film")) else "ct"
        yield what, model, path
        yield f"a folder of {what}", model, path.parent
    links = {
        "a link in a circle": ("circle/scan.nii", "scan.nii"),
        "a link to nothing": ("nothing/scan.nii", "none.nii"),
        "a link to a device": ("device/scan.nii", "/dev/zero"),
        "a link to another device": ("other/scan.nii.gz", "/dev/null"),
    }
    for what, (name, target) in links.items():
        path = folder / name
        path.parent.mkdir(parents=True)
        path.symlink_to(target)
        yield what, "ct", path
        yield f"a folder of {what}", "ct", path.parent
    for name in ("volume.nii.gz", "slice.dcm", "scans.zip", "film.mp4", "frame.png"):
        (folder / "empty" / name).mkdir(parents=True)
        yield f"a folder called {name}", "rgb" if name[0] == "f" else "ct", folder / "empty" / name
    around = folder / "around"
    around.mkdir()
    (around / "again").symlink_to(".")
    yield "a folder in a circle", "ct", around
    yield "what is not there", "ct", folder / "none.nii"
    yield "a name that is too long", "ct", folder / ("x" * 300 + ".nii")
    yield "a name with a zero", "ct", folder / "a\0.nii"
    yield "a file as a folder", "ct", folder / "file.nii" / "scan.nii"
    (folder / "file.nii").write_bytes(b"")
