"""Segments images with an exported network. Needs Python 3.10, numpy, and what runs the network, alone.

The exported graph takes prepared slices and gives logits. What lies around it is done here: slices are cut, resized and
put beside their neighbours, and the classes brought back to the image. A copy of this file, ``segment.py``, lies beside
each exported model::

    python segment.py IMAGE.npy LABELS.npy --spacing 5 0.8 0.8

or, from Python, ``segment(pixels, *load_model(FOLDER), spacing=(5, 0.8, 0.8))``. Volumes are cut
in the "plane" of the preprocessing in model.json. Slices, rows and columns run to the patient's Superior, Posterior and
Left ("axial"), to Posterior, Inferior and Left ("coronal"), or to Left, Inferior and Posterior ("sagittal"). "acquired"
is the plane in which each volume was acquired. Values are in the training data's units, for CT Hounsfield units.
"""

import argparse
import importlib
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

Network = Callable[[np.ndarray], np.ndarray]
"""float32 (B, slices · channels, h, w) → logits (B, classes, h, w)."""

Box = tuple[int, int, int, int]
"""(top, left, bottom, right) in rows and columns; bottom and right are not in it."""

BODY = -500
"""HU above which there is no air; lung is below, but surrounded by what is above."""
AIR = -900
"""HU above which something may be lung, not air."""
MAX_LOST = 1 / 3
"""Share of what is cut off that may be above :data:`AIR`: a patient's couch is a fifth of it, and a scan that shows a
lung alone has no body to cut to."""
STRIDE = 4
"""Every which row and column is looked at for the body."""
LIMB = 6
"""Rows and columns of a square that is kept wherever it lies if all of it is above :data:`BODY`. A thin limb has such
squares. A couch's shell, of up to 5 in a real scan, tubes, leads and noise have none."""
MARGIN = 12
"""Rows and columns of air that are kept around the body, so that skin has a context and nothing thin is lost."""
MIN_BOX = 0.5
"""Height and width of a body's box as shares of the smallest in training: below, it is no body but a part of one."""
PIXELS_AT_ONCE = 2**18
"""Of the slices that go through the network together, where their number is not given."""
MAX_WHOLE = 2**22
"""Pixels of a slice at the network's size up to which it is seen whole: networks take up to about 400 bytes for each in
float32, so that is under 2 GB. All but few CT, MR and endoscopic images are smaller."""
WINDOW, OVERLAP, EDGE = 1024, 256, 64
"""Height and width of the windows in which larger ones are seen, more where training's patches were larger; rows and
columns that neighbours share at least; those along their sides that count for nothing, since the network sees no
further."""

Span = tuple[slice, np.ndarray]
"""Rows, or columns, of windows, and a weight for each, float32."""


def segment(
    pixels: np.ndarray,
    network: Network,
    description: Mapping[str, Any],
    spacing: Sequence[float] | None = None,
    at_once: int | None = None,
) -> np.ndarray:
    """Class ids of an image, uint8, in its shape without channels.

    Args:
        pixels: (S, C, H, W); or (H, W) or (S, H, W) for models of one channel, (H, W, C) or (S, H, W, C) of several.
        network: the exported graph.
        description: model.json, with what export.json says of the graph as "export".
        spacing: millimetres between slices, rows and columns; None is taken to be the training data's.
        at_once: how many slices go through the network together; None for about a quarter of a million pixels.

    Raises:
        ValueError: no numbers, another shape, values that are not finite, or not three positive numbers as spacing; or
            the network is another one, or gives logits that are not finite.
    """
    p, graph = description["preprocessing"], description["export"]
    if spacing is not None and (len(spacing) != 3 or not all(0 < s < np.inf for s in spacing)):
        raise ValueError(f"spacing must be three positive numbers, not {spacing}.")
    pixels, shape = as_slices(np.asarray(pixels), p["channels"])
    for s, image in enumerate(pixels):
        if not np.isfinite(image).all():
            raise ValueError(f"slice {s}: holds values that are not finite.")
    (top, left, bottom, right), size = place(pixels, spacing, p)
    prepared = resize_image(pixels[..., top:bottom, left:right], size)
    statistics = case_statistics(prepared) if p["per_case_zscore"] else None
    at_once = at_once or max(1, PIXELS_AT_ONCE // (size[0] * size[1]))
    labels = np.zeros((len(pixels), *pixels.shape[-2:]), np.uint8)  # what is cut off is background
    for start in range(0, len(pixels), at_once):
        indices = np.arange(start, min(start + at_once, len(pixels)))

        def look(rows: slice, columns: slice) -> np.ndarray:
            x = gather_slices(prepared[..., rows, columns], indices, p["context_slices"]).astype(np.float32)  # noqa: B023
            x = x if statistics is None else standardize(x, statistics, p["intensity_window"])
            whole, (above, before) = pad(x, p["min_size"], graph)
            logits = np.asarray(network(whole))[..., above : above + x.shape[2], before : before + x.shape[3]]
            if logits.ndim != 4 or (len(logits), *logits.shape[2:]) != (len(x), *x.shape[2:]):
                raise ValueError(f"the network's logits have the shape {logits.shape} where pixels have {x.shape}.")
            finite = np.isfinite(logits).all(axis=(1, 2, 3))
            if not finite.all():
                index = indices[finite.argmin()]  # noqa: B023
                raise ValueError(f"slice {index}: the network's logits are not finite; its weights are damaged.")
            return logits

        seen_whole = size[0] * size[1] <= MAX_WHOLE
        logits = look(slice(size[0]), slice(size[1])) if seen_whole else blend_windows(look, size, p["min_size"])
        for index, maps in zip(indices, logits, strict=True):
            labels[index, top:bottom, left:right] = labels_from_logits(maps, (bottom - top, right - left))
    return labels.reshape(shape)


def blend_windows(
    look: Callable[[slice, slice], np.ndarray], size: tuple[int, int], least: Sequence[int]
) -> np.ndarray:
    """Logits (B, classes, h, w), in a temporary file, of slices that the network sees in windows.

    Args:
        look: rows and columns of a window → its logits.
        size: height and width of the slices.
        least: that training saw.
    """
    lines, line = (place_windows(length, enough) for length, enough in zip(size, least, strict=True))
    blended = np.zeros(0)
    for rows, down in lines:
        for columns, across in line:
            logits = look(rows, columns)
            if not blended.size:
                with tempfile.TemporaryFile() as file:
                    blended = np.memmap(file, np.float32, "w+", shape=(*logits.shape[:2], *size))
            blended[..., rows, columns] += logits * (down[:, None] * across)
    return blended


def place_windows(length: int, least: int) -> list[Span]:
    """Windows that cover so many rows, or columns, evenly spread.

    Their weights rise and fall linearly where they overlap, and are 1 in sum at each place.
    """
    window = min(length, max(WINDOW, -(-least // 32) * 32))
    count = -(-(length - OVERLAP) // (window - OVERLAP)) if length > window else 1
    starts = [(length - window) * n // max(1, count - 1) for n in range(count)]
    rising = np.clip((np.arange(window) + 0.5 - EDGE) / (OVERLAP - 2 * EDGE), 0, 1)
    spans, total = [], np.zeros(length)
    for start in starts:
        weights = rising.copy() if start > 0 else np.ones(window)
        if start + window < length:
            weights = np.minimum(weights, rising[::-1])
        total[start : start + window] += weights
        spans.append((slice(start, start + window), weights))
    return [(places, (weights / total[places]).astype(np.float32)) for places, weights in spans]


def as_slices(image: np.ndarray, channels: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """An array in one of the shapes of :func:`segment` as (S, C, H, W), and the shape that its labels get."""
    if image.dtype.kind in "iuf" and image.size:
        if image.ndim == 4 and image.shape[1] == channels:
            return image, (len(image), *image.shape[2:])
        if channels == 1 and image.ndim in (2, 3):
            return image.reshape(-1, 1, *image.shape[-2:]), image.shape
        if channels > 1 and image.ndim in (3, 4) and image.shape[-1] == channels:
            return np.moveaxis(image.reshape(-1, *image.shape[-3:]), -1, 1), image.shape[:-1]
    others = "(H, W), (S, H, W)" if channels == 1 else f"(H, W, {channels}), (S, H, W, {channels})"
    found = f"{image.dtype} of shape {image.shape}"
    raise ValueError(f"the image is {found}; this model expects numbers of shape {others} or (S, {channels}, H, W).")


def place(
    pixels: np.ndarray, spacing: Sequence[float] | None, preprocessing: Mapping[str, Any]
) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """What is kept of (S, C, H, W), (top, left, bottom, right), and the height and width that it gets."""
    p = preprocessing
    box = (body_box(pixels, spacing, p) if p["crop_to_body"] else None) or (0, 0, *pixels.shape[-2:])
    if p["size"] is not None:
        return box, (p["size"][0], p["size"][1])
    rows = columns = p["scale"] or 1.0
    if p["spacing"] is not None and spacing is not None:
        rows, columns = spacing[1] / p["spacing"][0], spacing[2] / p["spacing"][1]
    return box, (max(1, round((box[2] - box[0]) * rows)), max(1, round((box[3] - box[1]) * columns)))


def body_box(pixels: np.ndarray, spacing: Sequence[float] | None, preprocessing: Mapping[str, Any]) -> Box | None:
    """The box of the body in a CT (S, C, H, W) in HU, with a margin; None where there is none like those in training,
    or where more than air would be cut off."""
    box, least = find_body_box(pixels), preprocessing.get("least_box")
    if box is None or spacing is None or least is None:
        return box
    height, width = (box[2] - box[0]) * spacing[1], (box[3] - box[1]) * spacing[2]
    return None if height < MIN_BOX * least[0] or width < MIN_BOX * least[1] else box


def find_body_box(pixels: np.ndarray) -> Box | None:
    """The box around the body in a CT (S, C, H, W) in HU, with a margin.

    None where no body is found, and where more than air would be cut off.
    """
    H, W = pixels.shape[-2:]
    looked_at = pixels[:, 0, ::STRIDE, ::STRIDE]
    body = _dilate(~_dilate(~(looked_at > BODY))).any(axis=0)  # opened: noise and a couch's shell are thin
    rows, columns = (np.flatnonzero(np.any(body, axis=axis)) * STRIDE for axis in (1, 0))
    if not len(rows):
        return None
    top, left = max(0, int(rows[0]) - MARGIN), max(0, int(columns[0]) - MARGIN)
    bottom, right = min(H, int(rows[-1]) + 1 + MARGIN), min(W, int(columns[-1]) + 1 + MARGIN)
    if (top, left, bottom, right) != (0, 0, H, W):
        rows, columns = (np.flatnonzero(_find_limbs(pixels[:, 0]).any(axis=axis)) for axis in (1, 0))
        if len(rows):
            top, left = max(0, min(top, rows[0] - MARGIN)), max(0, min(left, columns[0] - MARGIN))
            bottom, right = max(bottom, rows[-1] + LIMB + MARGIN), max(right, columns[-1] + LIMB + MARGIN)
            top, left, bottom, right = int(top), int(left), min(H, int(bottom)), min(W, int(right))
    outside = np.ones(looked_at.shape[-2:], bool)
    outside[-(-top // STRIDE) : -(-bottom // STRIDE), -(-left // STRIDE) : -(-right // STRIDE)] = False
    if outside.any() and np.mean(looked_at[:, outside] > AIR) > MAX_LOST:
        return None
    return top, left, bottom, right


def _find_limbs(slices: np.ndarray) -> np.ndarray:
    """The upper left corners (H, W), bool, of the squares of :data:`LIMB` that any slice (S, H, W) is full of."""
    _, H, W = slices.shape
    corners = np.zeros((H, W), bool)
    for image in slices:
        above = np.pad(image > BODY, (0, LIMB - 1))
        rows = np.logical_and.reduce([above[n : n + H] for n in range(LIMB)])
        corners |= np.logical_and.reduce([rows[:, n : n + W] for n in range(LIMB)])
    return corners


def _dilate(found: np.ndarray) -> np.ndarray:
    """(S, H', W'), bool, with the eight neighbours of each pixel."""
    padded = np.pad(found, ((0, 0), (1, 1), (1, 1)))
    rows = padded[:, :-2] | padded[:, 1:-1] | padded[:, 2:]
    return rows[..., :-2] | rows[..., 1:-1] | rows[..., 2:]


def resize_image(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Slices (S, C, H, W) at ``size``: bilinear, anti-aliased when shrinking, rounded back to their own type."""
    if pixels.shape[-2:] == size:
        return pixels
    resized = np.empty((*pixels.shape[:2], *size), pixels.dtype)
    for n, image in enumerate(pixels):
        values = interpolate(image.astype(np.float32), size, antialias=True)
        resized[n] = np.rint(values) if pixels.dtype.kind in "iu" else values
    return resized


def labels_from_logits(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Class ids at ``size``, uint8, of one slice's logits (classes, h, w), interpolated before the maximum."""
    labels, highest = np.zeros(size, np.uint8), interpolate(logits[0], size)
    for c in range(1, len(logits)):  # one at a time: all at the image's size would be large
        values = interpolate(logits[c], size)
        labels[values > highest] = c
        highest = np.maximum(highest, values)
    return labels


def interpolate(values: np.ndarray, size: tuple[int, int], antialias: bool = False) -> np.ndarray:
    """Values (…, H, W) at ``size``, bilinear between centres of pixels; with ``antialias`` averaged when shrinking."""
    for axis, wanted in ((-1, size[1]), (-2, size[0])):
        if values.shape[axis] != wanted:
            positions, weights = _weights(values.shape[axis], wanted, antialias)
            weights = weights if axis == -1 else weights[..., None]
            values = np.asarray(sum(np.take(values, p, axis) * w for p, w in zip(positions, weights, strict=True)))
    return values


@lru_cache(maxsize=64)
def _weights(length: int, wanted: int, antialias: bool) -> tuple[np.ndarray, np.ndarray]:
    """Which of ``length`` pixels make each of ``wanted``, and with what weights, float32, both (pixels, wanted)."""
    scale = np.float32(length / wanted)
    reach = max(scale, np.float32(1)) if antialias else np.float32(1)
    centres = (scale * (np.arange(wanted) + 0.5)).astype(np.float32)
    first = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    stop = np.minimum((centres + reach + 0.5).astype(np.int64), length)
    positions = first + np.arange(int((stop - first).max()))[:, None]
    weights = np.maximum(1 - np.abs(positions - centres + 0.5) / reach, 0) * (positions < length)
    return np.minimum(positions, length - 1), (weights / weights.sum(axis=0)).astype(np.float32)


def gather_slices(pixels: np.ndarray, indices: np.ndarray, neighbours: int) -> np.ndarray:
    """Slices with their neighbours, lowest first, as channels (B, (2·neighbours + 1)·C, h, w); edges are repeated."""
    window = np.clip(indices[:, None] + np.arange(-neighbours, neighbours + 1), 0, len(pixels) - 1)
    return pixels[window].reshape(len(indices), -1, *pixels.shape[2:])


def pad(x: np.ndarray, least: Sequence[int], graph: Mapping[str, Any]) -> tuple[np.ndarray, tuple[int, int]]:
    """Slices (B, C, h, w) with their edges repeated as in training, and as the graph needs; and where they begin.

    Args:
        least: height and width that training saw; slices lie in the middle of these.
        graph: "multiple" and "smallest" of its height and width.
    """
    before, after = [], []
    for length, enough in zip(x.shape[-2:], least, strict=True):
        missing = max(0, enough - length)
        whole = max(length + missing, graph["smallest"])
        before.append(missing // 2)
        after.append(-(-whole // graph["multiple"]) * graph["multiple"] - length - missing // 2)
    widths = [(0, 0), (0, 0), *zip(before, after, strict=True)]
    return np.pad(x, widths, mode="edge"), (before[0], before[1])


def case_statistics(pixels: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of each channel of (S, C, h, w), (2, C), float32."""
    mean = sum(image.mean(axis=(1, 2), dtype=np.float64) for image in pixels) / len(pixels)
    squares = sum(np.square(image - mean[:, None, None]).sum(axis=(1, 2)) for image in pixels)
    return np.stack([mean, np.sqrt(squares / (len(pixels) * pixels[0, 0].size))]).astype(np.float32)


def standardize(x: np.ndarray, statistics: np.ndarray, clip: Sequence[float] | None) -> np.ndarray:
    """Gathered pixels (B, slices · C, h, w), float32, clipped, then less the mean and over the standard deviation."""
    if clip is not None:
        x = np.clip(x, clip[0], clip[1])
    mean, deviation = np.tile(statistics, x.shape[1] // statistics.shape[1])[:, :, None, None]
    return (x - mean) / np.maximum(deviation, np.float32(1e-8))  # all pixels of a case may be equal


def read_array(path: str | Path) -> np.ndarray:
    """The array of a .npy file.

    Raises:
        ValueError: it is no such file.
    """
    with open(path, "rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise ValueError(f"{path}: is no .npy file; expected an array that numpy.save wrote")
    array: np.ndarray = np.load(path)
    return array


def load_model(folder: str | Path) -> tuple[Network, dict[str, Any]]:
    """The network that was exported to a folder, on what is installed to run it, and what is said of it.

    Raises:
        OSError: no such files.
        ImportError: nothing is installed that runs it.
    """
    folder, needed = Path(folder), []
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    description["export"] = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    for name, package, network in (("model.onnx", "onnxruntime", _onnx), ("model.xml", "openvino", _openvino)):
        if (folder / name).exists():
            try:
                precision = description["export"]["precision"]
                return network(importlib.import_module(package), str(folder / name), precision), description
            except ModuleNotFoundError:
                needed.append(f"{name} needs {package}: pip install {package}")
    if needed:
        raise ImportError("; or ".join(needed))
    raise FileNotFoundError(f"{folder}: neither model.onnx nor model.xml is there.")


def _onnx(onnxruntime: Any, path: str, precision: str) -> Network:
    known = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in known]
    session = onnxruntime.InferenceSession(path, providers=providers)
    return lambda pixels: session.run(["logits"], {"pixels": pixels})[0]


def _openvino(openvino: Any, path: str, precision: str) -> Network:
    # some processors compute in 16 bits unless told otherwise; what of int8 is not quantized may
    hint = "bf16" if precision in ("bf16", "int8") else "f32"
    compiled = in_own_thread(openvino.Core().compile_model, path, "CPU", {"INFERENCE_PRECISION_HINT": hint})
    return lambda pixels: compiled({"pixels": pixels})["logits"]


def in_own_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """What it gives, from a thread that ends then: for OpenVINO to load its CPU plugin in.

    The plugin gives the thread that loads it a stack for signal handlers, and takes that away when it goes. Where it
    went in another thread, or before one loaded later, the thread was left with a stack that is no more, and the next
    signal, a Ctrl-C or the end of a child, ended the process (OpenVINO 2026.4).
    """
    with ThreadPoolExecutor(1) as alone:
        return alone.submit(function, *arguments).result()


def main(arguments: Sequence[str] | None = None) -> None:
    """Segment an array in a file with the model that lies beside this file."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("image", metavar="IMAGE.npy")
    parser.add_argument("labels", metavar="LABELS.npy", help="class ids; written")
    parser.add_argument("--spacing", nargs=3, type=float, metavar=("SLICES", "ROWS", "COLUMNS"), help="millimetres")
    given = parser.parse_args(arguments)
    try:
        np.save(given.labels, segment(read_array(given.image), *load_model(Path(__file__).parent), given.spacing))
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"{Path(__file__).name}: {error}")


if __name__ == "__main__":
    main()
