"""Pictures as data URIs, so that the page needs no other file."""

import base64
from dataclasses import dataclass
from io import BytesIO

from matplotlib.figure import Figure
from PIL import Image

from caseunet.reporting.style import to_svg

MAX_PICTURE = 250_000
"""Bytes of a picture; larger ones are stored with loss."""


@dataclass(frozen=True)
class Plot:
    """A drawn plot: a data URI, what is seen, and what stands below it."""

    source: str
    alt: str
    notes: tuple[str, ...] = ()


def picture(png: bytes) -> str:
    """A data URI. Large pictures are stored as WebP, and made smaller until they are small enough."""
    if len(png) <= MAX_PICTURE:
        return embed("image/png", png)
    with Image.open(BytesIO(png)) as opened:
        image = opened.convert("RGB")
    while True:
        buffer = BytesIO()
        image.save(buffer, "webp", quality=88, method=4)
        width, height = image.size
        if buffer.tell() <= MAX_PICTURE or width < 800:
            return embed("image/webp", buffer.getvalue())
        image = image.resize((round(0.8 * width), max(1, round(0.8 * height))), Image.Resampling.LANCZOS)


def embed(media_type: str, content: bytes) -> str:
    """The data URI of a file's content."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def embed_svg(figure: Figure) -> str:
    """A figure as the data URI of vectors."""
    return embed("image/svg+xml", to_svg(figure))
