"""EndoVis 2018, robotic scene segmentation: frames of surgery with colour-coded masks.

Layout: ``seq_N/left_frames/frameNNN.png`` with ``seq_N/labels/frameNNN.png``, and a ``labels.json`` that names each
colour, either as a list or as {"classes": [...]}, with RGB or RGBA. Neighbouring frames are near copies, so the group
is the sequence. Allan et al., "2018 Robotic Scene Segmentation Challenge", arXiv:2001.11190.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from caseunet.errors import UserError
from caseunet.files import read_json
from caseunet.io import raster
from caseunet.sources.layout import Layout, files_below
from caseunet.types import Label, LabelMap, Picture, SourceCase, SourceDataset

LICENCE = "EndoVis 2018: terms of the challenge's organisers (registration; research use)"


def matches(root: Path) -> bool:
    return bool(_sequences(root))


def cases(root: Path) -> tuple[SourceCase, ...]:
    """List the frames; ``id`` is "seq_N/frameNNN", the group is the sequence.

    Raises:
        UserError: no sequences, or a mask without its frame.
    """
    sequences = _sequences(root)
    if not sequences:
        raise UserError(f"{root}: no folder with left_frames/ was found in it or below.")
    found = []
    for sequence in sequences:
        name = sequence.relative_to(root).as_posix() if sequence != root else sequence.resolve().name
        frames, masks = _by_stem(sequence / "left_frames"), _by_stem(sequence / "labels")
        for stem in masks:
            if stem not in frames:
                raise UserError(
                    f"{masks[stem]}: a mask without its image; {sequence / 'left_frames' / stem}.png was expected. "
                    "Add the image or move the mask away."
                )
        found += [
            SourceCase(id=f"{name}/{stem}", image=path, label=masks.get(stem), group=name)
            for stem, path in frames.items()
        ]
    return tuple(found)


def discover(root: Path) -> SourceDataset:
    """The frames, and the classes that labels.json names.

    Raises:
        UserError: see :func:`cases` and :func:`read_label_map`.
    """
    return SourceDataset(
        format="endovis2018",
        root=root,
        cases=cases(root),
        label_map=read_label_map(_find_labels_json(root, _sequences(root))),
        modality="rgb",
        group_name="sequence",
        licence=LICENCE,
    )


def read_label_map(path: Path) -> LabelMap:
    """The classes of a ``labels.json``, in either of its two forms.

    Raises:
        UserError: it is none, or its ids are not 0, 1, 2 …
    """
    content: Any = read_json(path, "labels.json with name, color and classid of each class")
    entries: Any = content.get("classes") if isinstance(content, dict) else content
    try:
        labels = tuple(
            Label(id=entry["classid"], name=entry["name"], color=tuple(entry["color"][:3]))
            for entry in sorted(entries, key=lambda entry: entry["classid"])
        )
        return LabelMap(labels=labels, structures={label.name: (label.id,) for label in labels[1:]})
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise UserError(f"{path}: {key} {problem['msg'].removeprefix('Value error, ')}.".replace(": :", ":")) from error
    except (TypeError, KeyError) as error:
        raise UserError(f"{path}: expected a list of classes, each with name, color and classid.") from error


def check(case: SourceCase) -> str:
    shape = raster.read_shape(case.image)
    if case.label is not None and (found := raster.read_shape(case.label)) != shape:
        raise UserError(f"{case.label}: the mask's shape {found} is not that of its image {case.image}, {shape}.")
    return ""


def read_image(case: SourceCase) -> Picture:
    return raster.read_image(case.image, channels=3)


def read_labels(case: SourceCase, dataset: SourceDataset) -> np.ndarray:
    if case.label is None:
        raise ValueError(f"{case.id} has no label")
    codes = _code(raster.read_colors(case.label))
    ids = np.full(codes.shape, 255, np.uint8)
    for label in dataset.label_map.labels:
        ids[codes == _code(np.array(label.color))] = label.id
    unknown = codes[ids == 255]
    if unknown.size:
        values, counts = np.unique(unknown, return_counts=True)
        worst = int(values[counts.argmax()])
        color = (worst >> 16, worst >> 8 & 255, worst & 255)
        raise UserError(
            f"{case.label}: {unknown.size} pixels have colours that labels.json does not name, most often {color}. "
            "Masks must be lossless and not smoothed."
        )
    return ids[None]


def _code(colors: np.ndarray) -> np.ndarray:
    """(…, 3) RGB → one number per colour."""
    red, green, blue = np.moveaxis(colors.astype(np.int64), -1, 0)
    return np.asarray(red << 16 | green << 8 | blue)


def _sequences(root: Path) -> list[Path]:
    """Folders that hold left_frames/ with images, in natural order (seq_2 before seq_10)."""
    found = {path.parent.parent for path in files_below(root) if path.parent.name == "left_frames"}
    return sorted((path for path in found if path.is_relative_to(root)), key=_natural)


def _natural(path: Path) -> list[str | int]:
    """Sort key: text and numbers in turn."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.as_posix())]


def _by_stem(folder: Path) -> dict[str, Path]:
    """{name without suffix: image}, in order.

    Raises:
        UserError: two images share a name.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_file() and raster.is_raster(path) and not path.name.startswith("."):
            if path.stem in found:
                raise UserError(f"{path}: {found[path.stem].name} has the same name. Keep one of them.")
            found[path.stem] = path
    return found


def _find_labels_json(root: Path, sequences: list[Path]) -> Path:
    """labels.json at the root, or beside or above a sequence."""
    places = [root, *(folder for sequence in sequences for folder in (sequence, sequence.parent))]
    for folder in places:
        if (folder / "labels.json").is_file():
            return folder / "labels.json"
    raise UserError(f"{root}: labels.json is missing; it names the colours of the masks. Put it beside the sequences.")


ENDOVIS2018 = Layout(
    name="endovis2018",
    looks_like="seq_N/left_frames/*.png, seq_N/labels/*.png and labels.json",
    matches=matches,
    cases=cases,
    discover=discover,
    check=check,
    read_image=read_image,
    read_labels=read_labels,
)
