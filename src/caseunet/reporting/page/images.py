"""Pictures as data URIs, so that the page needs no other file."""

import base64
from io import BytesIO

from matplotlib.figure import Figure
from PIL import Image

from caseunet.reporting.style import to_svg


def embed(media_type: str, content: bytes) -> str:
    """The data URI of a file's content."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def embed_svg(figure: Figure) -> str:
    """A figure as the data URI of vectors."""
    return embed("image/svg+xml", to_svg(figure))


def embed_picture(png: bytes) -> str:
    """A picture as WebP, which is far smaller."""
    buffer = BytesIO()
    with Image.open(BytesIO(png)) as image:
        image.convert("RGB").save(buffer, "webp", quality=80)
    return embed("image/webp", buffer.getvalue())
