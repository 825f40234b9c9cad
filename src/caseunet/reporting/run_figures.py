"""Figures of a run while it trains."""

import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from caseunet.data.store import Prepared
from caseunet.files import replace_when_whole
from caseunet.reporting.figures import Panel, display_range, draw_panels, training_curves
from caseunet.reporting.style import hex_color, to_png
from caseunet.training.fold_scores import ShownSlice
from caseunet.types import IGNORE, Preprocessing


class RunFigures:
    """figures/ of a run, curves.png and validation.png: drawn anew after a validation, in a twentieth of the time at
    most, and after the last."""

    def __init__(self, run: Path, prepared: Prepared, preprocessing: Preprocessing) -> None:
        self._run, self._prepared, self._preprocessing = run, prepared, preprocessing
        self._not_before = time.monotonic() + 20.0

    def __call__(self, shown: Sequence[ShownSlice], is_last: bool) -> np.ndarray | None:
        """Draw, if it is time; gives the slices as they were drawn."""
        began = time.monotonic()
        if began < self._not_before and not is_last:
            return None
        label_map = self._prepared.info.label_map
        colors = [hex_color(label_map.labels[members[0]].color) for members in label_map.structures.values()]
        self._write("curves", training_curves(self._run / "metrics.csv", list(label_map.structures), colors))
        pixels = self._write("validation", self._slices(shown)) if shown else None
        self._not_before = time.monotonic() + 20 * (time.monotonic() - began)
        return pixels

    def _slices(self, shown: Sequence[ShownSlice]) -> Figure:
        """Above with the reference's outlines, below with the prediction's."""
        rgb = self._preprocessing.modality == "rgb"
        window = self._preprocessing.display_window
        images = [display_range(s.pixels if rgb else s.pixels[:1], window) for s in shown]
        panels = [Panel(image, s.reference, f"{s.case} · {s.slice}") for image, s in zip(images, shown, strict=True)]
        panels += [
            Panel(image, s.prediction, unjudged=s.reference == IGNORE) for image, s in zip(images, shown, strict=True)
        ]
        title = "validation: of each case the slice with most foreground"
        labels, width = self._prepared.info.label_map.labels, max(6.0, 2.4 * len(shown))
        return draw_panels(panels, len(shown), labels, title=title, headings=("reference", "prediction"), width=width)

    def _write(self, name: str, figure: Figure) -> np.ndarray:
        png = to_png(figure)
        with replace_when_whole(self._run / "figures" / f"{name}.png") as picture:
            picture.write_bytes(png)
        return np.asarray(Image.open(BytesIO(png)).convert("RGB"))
