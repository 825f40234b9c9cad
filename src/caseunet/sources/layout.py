"""The small interface that every raw layout fills."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caseunet.types import Picture, SourceCase, SourceDataset


@dataclass(frozen=True)
class Layout:
    """One raw layout.

    Attributes:
        name: for --format.
        looks_like: the layout in one line, for people.
        matches: whether a folder has this layout; looks at names only.
        discover: lists the cases of a folder. Raises UserError for what names alone show: unpaired files, none at all.
        check: reads no more than the headers of one case. Raises UserError if image and label do not fit.
        read_image: the pixels of one case.
        read_labels: the class ids of one case, (S, H, W); the case has a label.
    """

    name: str
    looks_like: str
    matches: Callable[[Path], bool]
    discover: Callable[[Path], SourceDataset]
    check: Callable[[SourceCase], None]
    read_image: Callable[[SourceCase], Picture]
    read_labels: Callable[[SourceCase, SourceDataset], np.ndarray]
