"""Label Studio: images/, tasks.json with a brush mask of each class, and the labelling interface that they fit."""

from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from caseunet.datasets.brush import encode_brush
from caseunet.datasets.exchange.source import IGNORE_COLOR, IGNORE_NAME, ExchangeSource
from caseunet.files import write_json, write_text

PREFIX = "/data/local-files/?d="
"""How Label Studio names the files of its local storage."""


def convert_to_label_studio(source: ExchangeSource, folder: Path) -> None:
    """Write images, tasks with an annotation each, and config.xml.

    Raises:
        CaseUNetError: there are no images, or a case cannot be read.
    """
    source.tell_losses("label-studio")
    source.require_images("label-studio")
    if source.options.shapes == "polygons":
        source.display.caution("label-studio gets masks, since its polygons have no holes")
    tasks = []
    for number, frame in enumerate(source.frames(), start=1):
        path = frame.write_picture(folder / "images" / frame.part)
        names = source.name_values(frame.labels)
        result = [
            _brush(f"{frame.name}-{value}", names[value], frame.labels == value)
            for value in np.unique(frame.labels[frame.labels > 0]).tolist()
        ]
        data = {"image": PREFIX + path.relative_to(folder).as_posix()}
        tasks.append({"id": number, "data": data, "annotations": [{"result": result}]})
    write_json(folder / "tasks.json", tasks)
    write_text(folder / "config.xml", _interface(source))


def _brush(name: str, label: str, inside: np.ndarray) -> dict[str, Any]:
    return {
        "id": name,
        "type": "brushlabels",
        "from_name": "tag",
        "to_name": "image",
        "original_width": inside.shape[1],
        "original_height": inside.shape[0],
        "image_rotation": 0,
        "value": {"format": "rle", "rle": encode_brush(inside), "brushlabels": [label]},
    }


def _interface(source: ExchangeSource) -> str:
    known = [(label.name, label.color) for label in source.label_map.labels[1:]]
    known += [(IGNORE_NAME, IGNORE_COLOR)] if source.ignored else []
    lines = [f'    <Label value={quoteattr(name)} background="#{bytes(color).hex()}"/>' for name, color in known]
    head = ["<View>", '  <Image name="image" value="$image" zoom="true"/>', '  <BrushLabels name="tag" toName="image">']
    return "\n".join([*head, *lines, "  </BrushLabels>", "</View>", ""])
