"""COCO: images/ and one JSON file of annotations for all, or for each part of a split."""

from pathlib import Path
from typing import Any

import numpy as np

from caseunet.datasets.exchange.source import IGNORE_NAME, ExchangeFrame, ExchangeSource
from caseunet.datasets.shapes import Thing, find_things, pack_runs
from caseunet.files import write_json
from caseunet.types import IGNORE


def convert_to_coco(source: ExchangeSource, folder: Path) -> None:
    """Write images and annotations, a thing each: its run lengths, or its outline with holes cut open.

    Raises:
        CaseUNetError: there are no images, or a case cannot be read.
    """
    source.tell_losses("coco")
    source.require_images("coco")
    files: dict[str, dict[str, list[Any]]] = {}
    for frame in source.frames():
        content = files.setdefault(frame.part, {"images": [], "annotations": []})
        path = frame.write_picture(folder / "images" / frame.part)
        height, width = frame.labels.shape
        number = len(content["images"]) + 1
        content["images"].append({"id": number, "file_name": path.name, "height": height, "width": width})
        content["annotations"] += [
            {"id": len(content["annotations"]) + n, "image_id": number}
            | _annotate(thing, frame, source.options.shapes == "polygons")
            for n, thing in enumerate(find_things(frame.labels), start=1)
        ]
    categories = [{"id": label.id, "name": label.name} for label in source.label_map.labels[1:]]
    if source.ignored:
        categories.append({"id": IGNORE, "name": IGNORE_NAME})
    for part, content in files.items():
        name = f"instances_{part}.json" if part else "instances_default.json"
        (folder / "annotations").mkdir(exist_ok=True)
        write_json(folder / "annotations" / name, {**content, "categories": categories})


def _annotate(thing: Thing, frame: ExchangeFrame, as_polygon: bool) -> dict[str, Any]:
    if as_polygon:
        segmentation: Any = [np.asarray(thing.polygon(), float).ravel().tolist()]
    else:
        segmentation = {"size": list(frame.labels.shape), "counts": pack_runs(thing.whole(frame.labels.shape))}
    return {
        "category_id": thing.class_id,
        "segmentation": segmentation,
        "area": int(thing.inside.sum()),
        "bbox": list(thing.box),
        "iscrowd": 0,
    }
