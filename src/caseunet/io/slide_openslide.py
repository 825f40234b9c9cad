"""Slides that tifffile does not read, such as MIRAX, where OpenSlide is installed: ``pip install openslide-python
openslide-bin``."""

from pathlib import Path
from typing import Any

import numpy as np

from caseunet.errors import InvalidInputError, MissingExtraError
from caseunet.io.slide import CENTIMETER, MICROMETERS, Slide

SUFFIXES = (".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide")

WHITE = "ffffff"
"""Of places that the scanner left out."""


class OpenSlideSlide(Slide):
    """The finest level of a slide, RGB.

    Raises:
        CaseUNetError: OpenSlide is not installed, or cannot read the file.
    """

    def __init__(self, path: Path) -> None:
        try:
            import openslide
        except ImportError as error:
            raise MissingExtraError(
                f"{path}: slides of this kind are read by OpenSlide: pip install openslide-python openslide-bin."
            ) from error
        try:
            self._slide: Any = openslide.OpenSlide(path)
        except Exception as error:  # it raises its own kinds, and some of ctypes
            raise InvalidInputError(f"{path}: OpenSlide cannot read it: {error}") from error
        width, height = self._slide.dimensions
        told = self._slide.properties
        sizes = [told.get(f"openslide.mpp-{axis}") for axis in "xy"]
        if all(sizes):
            self.resolution = (MICROMETERS / float(sizes[0]), MICROMETERS / float(sizes[1]), CENTIMETER)
        self._background = f"#{told.get('openslide.background-color', WHITE)}"
        super().__init__(path, (3, height, width), int(told.get("openslide.level[0].tile-height", 256)))
        self.levels = tuple((h, w) for w, h in self._slide.level_dimensions)

    def close(self) -> None:
        self._slide.close()

    def _read_rows(self, start: int, stop: int) -> np.ndarray:
        from PIL import Image

        read = self._slide.read_region((0, start), 0, (self.shape[3], stop - start))
        shown = Image.new("RGB", read.size, self._background)
        shown.paste(read, mask=read.getchannel("A"))
        return np.asarray(shown).transpose(2, 0, 1)
