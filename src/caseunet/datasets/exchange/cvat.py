"""CVAT for images 1.1: images/ and annotations.xml."""

from pathlib import Path
from xml.etree import ElementTree

from caseunet.datasets.exchange.source import IGNORE_COLOR, IGNORE_NAME, ExchangeSource
from caseunet.datasets.shapes import Thing, find_things, run_lengths
from caseunet.files import write_text


def convert_to_cvat(source: ExchangeSource, folder: Path) -> None:
    """Write images and a mask of each thing, or its outline with holes cut open.

    Raises:
        CaseUNetError: there are no images, or a case cannot be read.
    """
    source.tell_losses("cvat")
    source.require_images("cvat")
    as_polygon = source.options.shapes == "polygons"
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    meta = ElementTree.SubElement(root, "meta")
    for number, frame in enumerate(source.frames()):
        path = frame.write_picture(folder / "images" / frame.part)
        height, width = frame.labels.shape
        told = {"id": str(number), "name": path.relative_to(folder / "images").as_posix()}
        told |= {"subset": frame.part.capitalize()} if frame.part else {}
        image = ElementTree.SubElement(root, "image", told | {"width": str(width), "height": str(height)})
        names = source.name_values(frame.labels)
        for thing in find_things(frame.labels):
            _add_shape(image, names[thing.class_id], thing, as_polygon)
    _describe_labels(source, meta)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    write_text(folder / "annotations.xml", f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n')


def _add_shape(image: ElementTree.Element, label: str, thing: Thing, as_polygon: bool) -> None:
    common = {"label": label, "source": "file", "occluded": "0", "z_order": "0"}
    if as_polygon:
        points = ";".join(f"{x:.1f},{y:.1f}" for x, y in thing.polygon().tolist())
        ElementTree.SubElement(image, "polygon", common | {"points": points})
        return
    left, top, width, height = map(str, thing.box)
    runs = ", ".join(map(str, run_lengths(thing.inside.ravel())))
    box = {"left": left, "top": top, "width": width, "height": height}
    ElementTree.SubElement(image, "mask", common | {"rle": runs} | box)


def _describe_labels(source: ExchangeSource, meta: ElementTree.Element) -> None:
    task = ElementTree.SubElement(meta, "task")
    ElementTree.SubElement(task, "name").text = source.name
    labels = ElementTree.SubElement(task, "labels")
    known = [(label.name, label.color) for label in source.label_map.labels[1:]]
    known += [(IGNORE_NAME, IGNORE_COLOR)] if source.ignored else []
    for name, color in known:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "color").text = f"#{bytes(color).hex()}"
        ElementTree.SubElement(label, "attributes")
