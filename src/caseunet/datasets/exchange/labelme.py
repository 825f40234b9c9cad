"""LabelMe: a JSON file beside each image."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from caseunet.datasets.exchange.source import ExchangeSource
from caseunet.datasets.shapes import Thing, find_things
from caseunet.files import write_json

VERSION = "5.5.0"
"""Of LabelMe, whose form the files have; masks are read from 5.2 on."""


def convert_to_labelme(source: ExchangeSource, folder: Path) -> None:
    """Write images with their JSON files: a mask of each thing, or its outline with holes cut open.

    Raises:
        CaseUNetError: there are no images, or a case cannot be read.
    """
    source.tell_losses("labelme")
    source.require_images("labelme")
    draw = _draw_polygon if source.options.shapes == "polygons" else _draw_mask
    for frame in source.frames():
        path = frame.write_picture(folder / frame.part)
        names = source.name_values(frame.labels)
        shapes = [
            {"label": names[thing.class_id], "group_id": None, "description": "", "flags": {}, **draw(thing)}
            for thing in find_things(frame.labels)
        ]
        content = {
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": path.name,
            "imageData": None,
            "imageHeight": frame.labels.shape[0],
            "imageWidth": frame.labels.shape[1],
        }
        write_json(path.with_suffix(".json"), content)


def _draw_polygon(thing: Thing) -> dict[str, Any]:
    return {"shape_type": "polygon", "points": thing.polygon().astype(float).tolist()}


def _draw_mask(thing: Thing) -> dict[str, Any]:
    """The box's first and last pixel, and what is set in between."""
    left, top, width, height = thing.box
    stream = io.BytesIO()
    Image.fromarray(thing.inside.astype(np.uint8) * 255).save(stream, format="PNG")
    return {
        "shape_type": "mask",
        "points": [[left, top], [left + width - 1, top + height - 1]],
        "mask": base64.b64encode(stream.getvalue()).decode(),
    }
