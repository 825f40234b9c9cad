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
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.imaging.body import Box, find_body_box, is_whole_body
from caseunet.imaging.resampling import compute_size, resample_slices, upsample_argmax
from caseunet.imaging.slices import case_statistics, gather_slices, pad, standardize
from caseunet.imaging.threads import in_own_thread
from caseunet.imaging.windows import Span, place_windows

Network = Callable[[np.ndarray], np.ndarray]
"""float32 (B, slices · channels, h, w) → logits (B, classes, h, w)."""
PIXELS_AT_ONCE = 2**18
"""Of the slices that go through the network together, where their number is not given."""


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
    prepared = resample_slices(pixels[..., top:bottom, left:right], size)
    statistics = case_statistics(prepared) if any(p["per_case_zscore"]) else None
    spans = place_windows(size, p.get("window"), p["min_size"])
    height, width = (len(one[-1][1]) for one in spans) if spans else size
    at_once = at_once or max(1, PIXELS_AT_ONCE // (height * width))
    labels = np.zeros((len(pixels), *pixels.shape[-2:]), np.uint8)  # what is cut off is background
    for start in range(0, len(pixels), at_once):
        indices = np.arange(start, min(start + at_once, len(pixels)))

        def run_window(rows: slice, columns: slice) -> np.ndarray:
            x = gather_slices(prepared[..., rows, columns], indices, p["context_slices"]).astype(np.float32)  # noqa: B023
            x = x if statistics is None else standardize(x, statistics, p)
            padded, (above, before) = pad(x, p["min_size"], graph)
            logits = np.asarray(network(padded))[..., above : above + x.shape[2], before : before + x.shape[3]]
            if logits.ndim != 4 or (len(logits), *logits.shape[2:]) != (len(x), *x.shape[2:]):
                raise ValueError(f"the network's logits have the shape {logits.shape} where pixels have {x.shape}.")
            finite = np.isfinite(logits).all(axis=(1, 2, 3))
            if not finite.all():
                index = indices[finite.argmin()]  # noqa: B023
                raise ValueError(f"slice {index}: the network's logits are not finite; its weights are damaged.")
            return logits

        logits = blend_windows(run_window, size, spans) if spans else run_window(slice(size[0]), slice(size[1]))
        for index, maps in zip(indices, logits, strict=True):
            labels[index, top:bottom, left:right] = upsample_argmax(maps, (bottom - top, right - left))
    return labels.reshape(shape)


def blend_windows(
    run_window: Callable[[slice, slice], np.ndarray], size: tuple[int, int], spans: tuple[list[Span], list[Span]]
) -> np.ndarray:
    """Logits (B, classes, h, w), in a temporary file, of slices that the network sees in windows.

    Args:
        run_window: rows and columns of a window → its logits.
        size: height and width of the slices.
        spans: of rows and columns.
    """
    lines, line = spans
    blended = np.zeros(0)
    for rows, down in lines:
        for columns, across in line:
            logits = run_window(rows, columns)
            if not blended.size:
                with tempfile.TemporaryFile() as file:
                    blended = np.memmap(file, np.float32, "w+", shape=(*logits.shape[:2], *size))
            blended[..., rows, columns] += logits * (down[:, None] * across)
    return blended


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
) -> tuple[Box, tuple[int, int]]:
    """What is kept of (S, C, H, W), (top, left, bottom, right), and the height and width that it gets."""
    p, box = preprocessing, None
    if p["crop_to_body"]:
        found = find_body_box(pixels)
        box = found if found is not None and is_whole_body(found, spacing, p.get("least_box")) else None
    box = box or (0, 0, *pixels.shape[-2:])
    height, width = box[2] - box[0], box[3] - box[1]
    return box, compute_size(height, width, spacing, size=p["size"], target=p["spacing"], scale=p["scale"])


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Segment an array in a file with the model that lies beside this file."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("image", metavar="IMAGE.npy")
    parser.add_argument("labels", metavar="LABELS.npy", help="class ids; written")
    parser.add_argument("--spacing", nargs=3, type=float, metavar=("SLICES", "ROWS", "COLUMNS"), help="millimetres")
    given = parser.parse_args(arguments)
    try:
        image = read_array(given.image)
        network, description = load_model(Path(__file__).parent)
        if given.spacing is None and (trained := description["preprocessing"]["spacing"]):
            print(
                f"No --spacing is given. Pixels are taken to be {trained[0]:.3g} × {trained[1]:.3g} mm large, as in "
                "training; of others the labels may be wrong.",
                file=sys.stderr,
            )
        np.save(given.labels, segment(image, network, description, given.spacing))
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"{Path(__file__).name}: {error}")


if __name__ == "__main__":
    main()
