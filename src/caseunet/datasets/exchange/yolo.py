"""YOLO segmentation: images/, labels/ with a line for each thing, and data.yaml."""

from pathlib import Path

import numpy as np
import yaml

from caseunet.datasets.exchange.source import PARTS, ExchangeSource, without_ignore
from caseunet.datasets.shapes import Thing, find_things
from caseunet.files import write_text

DIGITS = 7
"""Behind the point, of corners as shares of width and height: far below a pixel."""


def convert_to_yolo(source: ExchangeSource, folder: Path) -> None:
    """Write images and outlines, holes cut open; YOLO numbers classes from 0, without the background.

    Raises:
        CaseUNetError: there are no images, or a case cannot be read.
    """
    source.tell_losses("yolo")
    source.require_images("yolo")
    parts: dict[str, None] = {}
    for frame in source.frames():
        part = frame.part or "train"
        parts[part] = None
        frame.write_picture(folder / "images" / part)
        lines = [_line(thing, frame.labels.shape) for thing in find_things(without_ignore(frame.labels))]
        write_text(folder / "labels" / part / f"{frame.name}.txt", "".join(lines))
    source.tell_ignored("yolo")
    content: dict[str, object] = {"path": "."}
    content.update({part: f"images/{part}" for part in PARTS if part in parts})
    if "val" not in parts:
        content["val"] = "images/train"
        source.display.caution("there is no split, and data.yaml names the training images for validation too")
    content["names"] = {label.id - 1: label.name for label in source.label_map.labels[1:]}
    write_text(folder / "data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _line(thing: Thing, shape: tuple[int, ...]) -> str:
    corners = thing.polygon() / np.array([shape[1], shape[0]])
    numbers = " ".join(f"{number:.{DIGITS}f}" for number in corners.ravel())
    return f"{thing.class_id - 1} {numbers}\n"
