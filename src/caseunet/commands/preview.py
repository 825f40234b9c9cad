"""PREPARED → a picture of what a network sees of it."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from caseunet.config import Config, load_config
from caseunet.data.augmentation import Augmentation, augment, keep_sides
from caseunet.data.loader import Batch, BatchDataset, LoadFailure
from caseunet.data.normalization import plan_preprocessing
from caseunet.data.sampling import Sample
from caseunet.data.store import Prepared
from caseunet.data.transforms import normalize
from caseunet.errors import CaseUNetError
from caseunet.files import Location, location, replace_when_whole
from caseunet.options import is_overwrite
from caseunet.reporting.figures import Panel, display_range, draw_panels
from caseunet.reporting.style import to_png
from caseunet.training.patches import plan_patch_size
from caseunet.types import Preprocessing, Ranges

FRAMES_IN_A_ROW = 3


def preview(
    prepared: str | Location,
    *,
    out: str | Path = "prepared.png",
    config: Config | None = None,
    cases: int = 6,
    slices: int = 3,
    mode: Literal["new", "overwrite"] = "new",
) -> int:
    """Draw a contact sheet: slices of training cases with outlines, as they are loaded and as they are augmented.

    The pixels take the very way that they take in training: the same cut, window, normalisation and draws.

    Args:
        prepared: written by :func:`caseunet.prepare`.
        out: PNG to write.
        config: its ``data``, ``augment`` and ``seed`` are used; the default recipe's if None.
        cases: how many, evenly spread over the fold's training cases.
        slices: of each case, evenly spread over those that hold a foreground class.
        mode: "overwrite" replaces an earlier file.

    Returns:
        How many slices are shown.

    Raises:
        CaseUNetError: the folder is no prepared data set, or the file is there.
    """
    config, out = config or load_config(), Path(out)
    if cases < 1 or slices < 1:
        raise CaseUNetError("There must be at least 1 case and 1 slice.", options=("cases", "slices"))
    if out.suffix.lower() != ".png":
        raise CaseUNetError(f"{out}: expected a name that ends in .png.")
    overwrite = is_overwrite(mode)
    if out.exists() and not (overwrite and out.is_file()):
        raise CaseUNetError(f"{out}: is there already.", options=("out", "mode"))
    data = Prepared(location(prepared), config.data.channels)
    train = data.fold(config.data.fold, config.data.context_slices).train
    samples = _choose(data, train, cases, slices)
    patch_size = plan_patch_size(data, config.data, [config.model], train)
    preprocessing = plan_preprocessing(data.info, data.intensities(train), config.data, patch_size)
    changes = keep_sides(config.augment, data.info.label_map, data.info.grid)
    dataset = BatchDataset(
        data, lambda seed, step: samples, config.data.context_slices, patch_size, changes, config.seed, 0
    )
    batch = dataset[0]
    if isinstance(batch, LoadFailure):
        raise CaseUNetError(batch.text)
    frames = all(int(data.cases.at[sample.case, "slices"]) == 1 for sample in samples)
    columns = min(len(samples), FRAMES_IN_A_ROW if frames else slices)
    height, width = patch_size
    plane = "" if frames or preprocessing.plane == "axial" else f"{preprocessing.plane} slices · "
    title = (
        f"{data.info.source_format} · {data.info.modality} · {plane}patches of {height}×{width} · "
        f"augmentation {config.augment.strength} · left as loaded, right as augmented"
    )
    figure = draw_panels(
        _panels(batch, preprocessing),
        2 * columns,
        data.info.label_map.labels,
        title=title,
        width=min(20.0, max(9.0, 4.8 * columns)),
    )
    with replace_when_whole(out) as temporary:
        temporary.write_bytes(to_png(figure, dpi=130))
    return len(samples)


def _choose(prepared: Prepared, train: dict[str, Ranges], cases: int, slices: int) -> list[Sample]:
    """Slices of cases, both evenly spread; each with a class to look at."""
    samples = []
    names = list(train)
    for n in _select_middles(len(names), cases):
        case = names[n]
        counts = prepared.slice_class_pixels(case)
        mine = np.array([s for start, stop in train[case] for s in range(start, stop)])
        holding = mine[counts[mine, 1:].any(axis=1)]
        shown = holding if len(holding) else mine
        for k in _select_middles(len(shown), slices):
            s = int(shown[k])
            present = np.flatnonzero(counts[s, 1:]) + 1
            focus = int(present[counts[s, present].argmin()]) if len(present) else None
            samples.append(Sample(case, s, focus, (0.5, 0.5, 0.5)))
    return samples


def _select_middles(available: int, wanted: int) -> list[int]:
    """Up to ``wanted`` of the numbers below ``available``, the middles of as many equal parts."""
    n = min(available, wanted)
    return [int((k + 0.5) * available / n) for k in range(n)]


def _panels(batch: Batch, preprocessing: Preprocessing) -> list[Panel]:
    """Each slice as loaded, and then as augmented."""
    loaded = normalize(batch.pixels, preprocessing, batch.case_statistics)
    rgb = preprocessing.modality == "rgb"
    changed, targets = augment(loaded, batch.target, batch.augmentations, rgb, preprocessing.channels)
    panels = []
    for n, sample in enumerate(batch.samples):
        caption, change = f"{sample.case} · {sample.slice}", _in_words(batch.augmentations[n])
        panels.append(Panel(_visible(loaded[n], preprocessing), batch.target[n].numpy(), caption))
        panels.append(Panel(_visible(changed[n], preprocessing), targets[n].numpy(), change))
    return panels


def _visible(image: torch.Tensor, preprocessing: Preprocessing) -> np.ndarray:
    """The middle slice of a normalised image (slices · C, H, W) in 0 to 1: (H, W, 3) of RGB, else the first channel."""
    p = preprocessing
    middle = image.reshape(2 * p.context_slices + 1, p.channels, *image.shape[1:])[p.context_slices]
    if p.per_case_zscore[0]:
        return display_range(middle[:1].numpy(), (-2, 3))  # standard deviations about the mean
    divide, subtract = (torch.tensor(values)[:, None, None] for values in (p.std, p.mean))
    stored = (middle * divide + subtract).numpy()
    return display_range(stored if p.modality == "rgb" else stored[:1], p.display_window or (0, 255))


def _in_words(drawn: Augmentation) -> str:
    """What was done to a slice, shortly."""
    done = {
        "flipped ↕": drawn.vertical_flip,
        "flipped ↔": drawn.horizontal_flip,
        f"{drawn.angle:+.0f}°": drawn.angle,
        f"×{drawn.scale:.2f}": drawn.scale != 1,
        f"shear {drawn.shear:+.0f}°": drawn.shear,
        "elastic": drawn.elastic,
        f"resolution /{drawn.low_resolution:.1f}": drawn.low_resolution != 1,
        f"blur {drawn.blur:.1f}": drawn.blur,
        f"gamma {drawn.gamma:.2f}": drawn.gamma != 1,
        f"contrast {drawn.contrast:.2f}": drawn.contrast != 1,
        f"brightness {drawn.brightness:+.2f}": drawn.brightness,
        f"hue {drawn.hue:+.0f}°": drawn.hue,
        f"saturation {drawn.saturation:.2f}": drawn.saturation != 1,
        f"noise {drawn.noise:.2f}": drawn.noise,
        "channel " + ", ".join(map(str, drawn.dropped_channels)) + " left out": drawn.dropped_channels,
    }
    return ", ".join(text for text, is_done in done.items() if is_done) or "unchanged"
