"""BUNDLE → a folder that runs without this package, or a zip, or a bundle of MONAI's."""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from caseunet.bundle import Bundle, load_bundle, write_zip
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError
from caseunet.export import segment
from caseunet.export.formats import ExportableModel, check_precision, write
from caseunet.export.monai import write_monai
from caseunet.export.single_file import bundle_source
from caseunet.export.text import readme
from caseunet.files import Location, check_output_folder, location, output_folder, write_json, write_text
from caseunet.imaging.slices import gather_slices, pad, standardize
from caseunet.prediction.exports import DESCRIPTION, FILES, ExportInfo, Parity, runner
from caseunet.progress import Display, count_text
from caseunet.types import Ranges

KIND = "an export"
SLICES = 16
"""On which an export is compared with PyTorch, evenly spread over the cases."""

CALIBRATION_SLICES = 64
"""By which ranges of activations are found for int8."""

MIN_DICE = 0.999
"""Of the masks of a float32 export with PyTorch's, below which something is wrong."""


@dataclass(frozen=True)
class Samples:
    """Slices (C, H, W), float32, as the graph takes them, and where they are from."""

    pixels: list[np.ndarray]
    origin: str


def export(
    bundle: str | Path,
    *,
    format: str,
    out: str | Path | None = None,
    precision: str = "fp32",
    data: str | Location | None = None,
    mode: Literal["new", "overwrite"] = "new",
    display: Display | None = None,
) -> ExportInfo | None:
    """Export a bundle.

    Args:
        bundle: its folder or zip.
        format: "onnx", "openvino", "torch-export"; or "zip", the bundle as one file, or "monai", as a MONAI bundle.
        out: folder to write, export-FORMAT by default; for "zip" the file, bundle.zip.
        precision: "fp32", "bf16", "fp16", "int8", see ``export.formats.PRECISIONS``.
        data: PREPARED on whose slices the export is compared with PyTorch, and its int8 calibrated; noise if None.
        mode: "overwrite" replaces an earlier export at ``out``.
        display: shows progress.

    Returns:
        What was written; None for "zip" and "monai", which are the bundle itself.

    Raises:
        CaseUNetError: the bundle or the data cannot be read or do not fit each other, the format does not know the
            precision or the network, int8 is asked for without data, or a float32 export is not what PyTorch is.
    """
    display, overwrite = display or Display(), mode == "overwrite"
    out = Path(out or ("bundle.zip" if format == "zip" else f"export-{format}"))
    data = None if data is None else location(data)
    loaded = load_bundle(bundle)
    if format == "zip":
        if out.exists() and not overwrite:
            raise CaseUNetError(f"{out}: is there already.", options=("out", "mode"))
        write_zip(loaded, out)
        return None
    if format == "monai":
        with output_folder(out, KIND, [Path(bundle)], overwrite) as folder:
            write_monai(loaded, folder)
        return None
    check_precision(format, precision)
    inputs: list[Location] = [Path(bundle), *([data] if data is not None else [])]
    check_output_folder(out, KIND, inputs, overwrite)
    if precision == "int8" and data is None:
        raise CaseUNetError(
            "int8 needs real slices of a prepared data set to find the ranges of activations.", options=("data",)
        )
    whole = ExportableModel(loaded).eval()
    checked = samples(loaded, whole, data, SLICES, of_training=False)
    calibration = samples(loaded, whole, data, CALIBRATION_SLICES, of_training=True) if precision == "int8" else None
    with output_folder(out, KIND, inputs, overwrite) as folder:
        with display.stage(f"writing {FILES[format]}", 1) as stage:
            write(whole, format, precision, folder, [x[None] for x in calibration.pixels] if calibration else ())
            stage.advance(1)
        info = ExportInfo(
            format=format,
            precision=precision,
            file=FILES[format],
            input=f'"pixels", float32 (B, {whole.in_channels}, H, W), '
            + ("standardised" if loaded.info.preprocessing.per_case_zscore else "in stored units"),
            output=f'"logits", float32 (B, {len(loaded.info.label_map)}, H, W); their softmax is calibrated',
            multiple=whole.multiple,
            smallest=whole.smallest,
            bundle_hash=loaded.info.weights_hash,
            calibrated_on=calibration.origin if calibration else None,
            parity=parity(whole, runner(format, precision, folder), checked, loaded.info.label_map.names, display),
            libraries={
                name: version(name)
                for name in ("torch", *({"onnx": ("onnx", "onnxruntime"), "openvino": ("openvino",)}.get(format, ())))
            },
            processor=platform.processor() or platform.machine(),
        )
        worst = min((d for d in info.parity.dice.values() if d is not None), default=1.0)
        if precision == "fp32" and worst < MIN_DICE:
            raise CaseUNetError(
                f"The export's masks have a Dice of {worst:.4f} with PyTorch's on {info.parity.on}; expected at least "
                f"{MIN_DICE}. It is of no use; {FILES[format]} is kept for whoever looks for the reason."
            )
        write_json(folder / "model.json", loaded.info.model_dump(mode="json"))
        write_json(folder / DESCRIPTION, info.model_dump(mode="json"))
        if format != "torch-export":
            write_text(folder / "segment.py", bundle_source(segment))
        write_text(folder / "README.md", readme(info, loaded.info))
    return info


def samples(bundle: Bundle, whole: ExportableModel, data: Location | None, number: int, of_training: bool) -> Samples:
    """Slices of the fold that the bundle was trained on, or of the one held out; noise if there are no data.

    Each is as the graph takes it. Three quarters hold a structure, the others none if there are such; both are evenly
    spread over all slices of all cases, so that they are neither the easiest nor the most alike.

    Raises:
        CaseUNetError: the data are not of the bundle's modality and channels.
    """
    p = bundle.info.preprocessing
    if data is None:
        rng = np.random.default_rng(0)
        low, high = p.intensity_window or (0.0, 255.0)
        size = (max(p.min_size[0], whole.smallest), max(p.min_size[1], whole.smallest))
        noise = rng.uniform(low, high, (number, whole.in_channels, *size)).astype(np.float32)
        return Samples([pad_slice(x, whole, p.min_size) for x in noise], "noise, for no data were given")
    prepared = Prepared(data)
    if (prepared.info.modality, prepared.info.channels) != (p.modality, p.channels):
        raise CaseUNetError(
            f"{data}: holds {prepared.info.modality} images of {prepared.info.channels} channels; the bundle is for "
            f"{p.modality} of {p.channels}."
        )
    fold = prepared.fold(bundle.info.training_data.fold or 0, p.context_slices)
    chosen = select_evenly(prepared, fold.train if of_training else fold.val, number)
    pixels: list[np.ndarray] = []
    for case, slices in chosen.items():
        x = gather_slices(prepared.image(case), slices, p.context_slices).astype(np.float32)
        if p.per_case_zscore:
            x = standardize(x, prepared.case_statistics(case), p.intensity_window)
        pixels += [pad_slice(one, whole, p.min_size) for one in x]
    part = "training" if of_training else "validation"
    return Samples(pixels, f"slices of {count_text(len(chosen), f'{part} case')} of {Path(str(data)).name}")


def select_evenly(prepared: Prepared, cases: dict[str, Ranges], number: int) -> dict[str, list[int]]:
    """So many slices at most of a part of a fold, as :func:`samples` chooses them, of each case in their order."""
    with_structure: list[tuple[str, int]] = []
    without: list[tuple[str, int]] = []
    for case, ranges in cases.items():
        foreground = prepared.slice_class_pixels(case)[:, 1:].sum(1)
        for position in (s for start, stop in ranges for s in range(start, stop)):
            (with_structure if foreground[position] else without).append((case, position))
    empty = min(len(without), max(number // 4, number - len(with_structure)))
    chosen: dict[str, list[int]] = {}
    for found, wanted in ((with_structure, number - empty), (without, empty)):
        for n in np.unique(np.linspace(0, len(found) - 1, min(wanted, len(found))).round().astype(int)):
            case, position = found[n]
            chosen.setdefault(case, []).append(position)
    return {case: sorted(slices) for case, slices in sorted(chosen.items())}


def pad_slice(x: np.ndarray, whole: ExportableModel, least: tuple[int, int]) -> np.ndarray:
    """A slice (C, H, W) with its edges repeated until the graph takes it."""
    return pad(x[None], least, {"multiple": whole.multiple, "smallest": whole.smallest})[0][0]


def parity(whole: ExportableModel, run: Any, checked: Samples, names: tuple[str, ...], display: Display) -> Parity:
    """Compare an export with PyTorch, slice by slice: they may differ in size."""
    largest, total, count, equal, pixels = 0.0, 0.0, 0, 0, 0
    both, either = np.zeros(len(names)), np.zeros(len(names))
    with display.stage("comparing with PyTorch", len(checked.pixels), "slice") as stage, torch.no_grad():
        for x in checked.pixels:
            expected, found = whole(torch.from_numpy(x[None])).numpy(), run(x[None])
            if found.shape != expected.shape or not np.isfinite(found).all():
                raise CaseUNetError(
                    f"The export gives {found.shape} with values that are not finite, or not {expected.shape}."
                )
            difference = np.abs(found - expected)
            largest, total, count = (
                max(largest, float(difference.max())),
                total + float(difference.sum()),
                count + difference.size,
            )
            a, b = expected.argmax(1), found.argmax(1)
            equal, pixels = equal + int((a == b).sum()), pixels + a.size
            for c in range(len(names)):
                both[c] += ((a == c) & (b == c)).sum()
                either[c] += (a == c).sum() + (b == c).sum()
            stage.advance(1)
    dice = {name: float(2 * both[c] / either[c]) if either[c] else None for c, name in enumerate(names) if c > 0}
    return Parity(
        on=checked.origin,
        slices=len(checked.pixels),
        largest=largest,
        mean=total / count,
        dice=dice,
        equal=equal / pixels,
    )
