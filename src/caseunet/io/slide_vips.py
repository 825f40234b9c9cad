"""Large PNG and JPEG images, which can only be decoded from their first row on: by libvips, once, to a scratch file.

Needs pyvips: ``pip install 'caseunet[slides]'``. Without it such images are read whole.
"""

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from caseunet.errors import CaseUNetError, InvalidInputError
from caseunet.io import raster_file
from caseunet.io.limits import check_file_size
from caseunet.io.slide import Slide

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif")

MAX_SIDE = 2**16

MODES = ("L", "RGB", "P")
"""Of Pillow, whose 8-bit values libvips gives alike. The others are read whole."""

UPRIGHT = (0, 1)

PNG_SIGNATURE = 8
"""Bytes before the first chunk of PNG."""


def streams_by_vips(path: Path, pixels: int) -> bool:
    """Whether an image of at least so many pixels is one that libvips decodes row by row here."""
    if path.suffix.lower() not in SUFFIXES or find_spec("pyvips") is None:
        return False
    try:
        with raster_file.open_image(path, MAX_SIDE**2) as image:
            fits = image.width * image.height >= pixels and max(image.size) <= MAX_SIDE
            plain = image.mode in MODES and not image.has_transparency_data and raster_file.count_bits(image) <= 8
            return fits and plain and image.format in ("PNG", "JPEG") and _is_upright(path, image)
    except CaseUNetError:  # another reader says what is wrong with the file
        return False


def _is_upright(path: Path, image: Image.Image) -> bool:
    """Whether the first row is the top; False where EXIF stands after the pixels of PNG, for Pillow decodes all to read
    it."""
    if image.format == "PNG" and "exif" not in image.info:
        return not _has_exif(path)
    return image.getexif().get(raster_file.EXIF_ORIENTATION, 1) in UPRIGHT


def _has_exif(path: Path) -> bool:
    """Whether a PNG file has a chunk of EXIF anywhere."""
    with path.open("rb") as file:
        file.seek(PNG_SIGNATURE)
        while len(head := file.read(8)) == 8:
            if head[4:] == b"eXIf":
                return True
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)  # and the checksum
    return False


class VipsSlide(Slide):
    """A PNG or JPEG image, 8 bits, grey or RGB.

    It lies in the folder of temporary files until it is closed. Its rows are read from there as they are asked for, and
    not mapped to memory, where they would count as held.

    Raises:
        CaseUNetError: it is damaged, or the disk lacks room.
    """

    def __init__(self, path: Path) -> None:
        import pyvips

        pyvips.cache_set_max(0)
        handle, name = tempfile.mkstemp(prefix="caseunet-", suffix=".raw")
        os.close(handle)
        self._scratch = Path(name)
        try:
            image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="error")
            shape = (image.bands, image.height, image.width)
            if image.format != "uchar" or image.bands not in (1, 3):
                raise InvalidInputError(
                    f"{path}: holds {image.bands} samples of {image.format} a pixel; expected 8 bits."
                )
            check_file_size(path, int(np.prod(shape)), compressed=True)
            _check_free_disk(path, self._scratch.parent, int(np.prod(shape)))
            image.rawsave(name)
        except BaseException as error:
            self.close()
            if not isinstance(error, pyvips.Error):
                raise
            text = " ".join(str(error).split())
            raise InvalidInputError(f"{path}: its pixels cannot be read; the file is damaged: {text}") from error
        super().__init__(path, shape, 1)

    def close(self) -> None:
        self._scratch.unlink(missing_ok=True)

    def _read_rows(self, start: int, stop: int) -> np.ndarray:
        _, channels, _, width = self.shape
        row = width * channels
        pixels = np.fromfile(self._scratch, np.uint8, (stop - start) * row, offset=start * row)
        return pixels.reshape(stop - start, width, channels).transpose(2, 0, 1)


def _check_free_disk(path: Path, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CaseUNetError(
            f"{path}: is laid out in a scratch file of {needed / 2**30:.1f} GiB; {folder} has {free / 2**30:.1f} GiB "
            "free. Name another folder by the environment variable TMPDIR."
        )
