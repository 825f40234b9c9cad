"""The small interface that every raw layout fills."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caseunet.types import Picture, SourceCase, SourceDataset


def files_below(root: Path) -> list[Path]:
    """All files at any depth, links followed, without hidden ones and the shadows that macOS puts into archives."""
    found, seen = [], set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        subfolders[:] = [] if real in seen else [n for n in subfolders if not n.startswith((".", "__MACOSX"))]
        if real not in seen:
            found += [Path(folder) / name for name in names if not name.startswith(".")]
        seen.add(real)
    return sorted(found)


@dataclass(frozen=True)
class Layout:
    """One raw layout.

    Attributes:
        name: for --format.
        looks_like: the layout in one line, for people.
        matches: whether a folder has this layout; looks at names only.
        cases: lists the cases of a folder, with or without masks. Raises UserError for what names alone show: unpaired
            files, none at all.
        discover: the cases and what their labels mean.
        check: reads no more than the headers of one case. Raises UserError if image and label do not fit; returns a
            remark for people, or "".
        read_image: the pixels of one case.
        read_labels: the class ids of one case, (S, H, W); the case has a label.
    """

    name: str
    looks_like: str
    matches: Callable[[Path], bool]
    cases: Callable[[Path], tuple[SourceCase, ...]]
    discover: Callable[[Path], SourceDataset]
    check: Callable[[SourceCase], str]
    read_image: Callable[[SourceCase], Picture]
    read_labels: Callable[[SourceCase, SourceDataset], np.ndarray]
