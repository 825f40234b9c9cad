"""Pascal VOC: JPEGImages, SegmentationClass and ImageSets."""

from pathlib import Path

from PIL import Image

from caseunet.datasets.exchange.mask_files import index_colors, write_label_names
from caseunet.datasets.exchange.source import IGNORE_COLOR, IGNORE_NAME, ExchangeFrame, ExchangeSource
from caseunet.files import write_text
from caseunet.io import raster_file
from caseunet.progress import count_text

QUALITY = 95
"""Of JPEG, which VOC's programs expect."""


def convert_to_voc(source: ExchangeSource, folder: Path) -> None:
    """Write images as JPEG, masks with a palette (255: nobody judged), lists of names, and the names of classes.

    Raises:
        CaseUNetError: there are no images, or a case cannot be read.
    """
    source.tell_losses("voc")
    source.require_images("voc")
    colors = index_colors(source.label_map)
    lists: dict[str, list[str]] = {"trainval": []}
    squeezed = 0
    for frame in source.frames():
        squeezed += _write_jpeg(frame, folder / "JPEGImages")
        raster_file.write_ids(folder / "SegmentationClass" / f"{frame.name}.png", frame.labels, colors)
        part = frame.part or "train"
        for name in (part, *(("trainval",) if part != "test" else ())):
            lists.setdefault(name, []).append(frame.name)
    if squeezed:
        source.display.caution(
            f"{count_text(squeezed, 'image')} became JPEG, which changes their pixels a little; masks stay exact"
        )
    if "val" not in lists:
        source.display.caution("there is no split, and ImageSets names all images for training")
    for name, names in lists.items():
        write_text(folder / "ImageSets" / "Segmentation" / f"{name}.txt", "".join(f"{own}\n" for own in names))
    known = [(label.name, label.color) for label in source.label_map.labels]
    known += [(IGNORE_NAME, IGNORE_COLOR)] if source.ignored else []
    lines = [f"{name}:{','.join(map(str, color))}::" for name, color in known]
    write_text(folder / "labelmap.txt", "\n".join(["# label:color_rgb:parts:actions", *lines, ""]))
    write_label_names(source, folder)


def _write_jpeg(frame: ExchangeFrame, folder: Path) -> bool:
    """Write the image; gives whether it had to be squeezed."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{frame.name}.jpg"
    if frame.suffix in (".jpg", ".jpeg"):
        frame.write_picture(folder).rename(target)
        return False
    if frame.picture is not None:
        Image.fromarray(frame.picture()).save(target, quality=QUALITY, subsampling=0)
    return True
