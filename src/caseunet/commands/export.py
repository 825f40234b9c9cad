"""BUNDLE → a folder that runs without this package, or a zip, or a bundle of MONAI's."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from caseunet.bundle import Bundle, load_bundle, write_zip
from caseunet.errors import CaseUNetError
from caseunet.export import segment
from caseunet.export.formats import ExportableModel, check_precision, write
from caseunet.export.monai import write_monai
from caseunet.export.parity import CALIBRATION_SLICES, SLICES, parity, samples
from caseunet.export.single_file import bundle_source
from caseunet.export.text import readme
from caseunet.files import Location, check_output_folder, location, output_folder, write_json, write_text
from caseunet.options import is_overwrite
from caseunet.prediction.exports import DESCRIPTION, FILES, ExportInfo, Parity, runner
from caseunet.progress import Display
from caseunet.types import Preprocessing

KIND = "an export"
MIN_DICE = 0.999
"""Of the masks of a float32 export with PyTorch's, below which something is wrong."""


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
    display, overwrite = display or Display(), is_overwrite(mode)
    out = Path(out or ("bundle.zip" if format == "zip" else f"export-{format}"))
    data = None if data is None else location(data)
    loaded = load_bundle(bundle)
    if format in ("zip", "monai"):
        _write_whole(loaded, Path(bundle), format=format, out=out, overwrite=overwrite)
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
        equality = parity(whole, runner(format, precision, folder), checked, loaded.info.label_map.names, display)
        info = _describe(loaded, whole, format, precision, equality, calibration.origin if calibration else None)
        _check_parity(info)
        write_json(folder / "model.json", loaded.info.model_dump(mode="json"))
        write_json(folder / DESCRIPTION, info.model_dump(mode="json"))
        if format != "torch-export":
            write_text(folder / "segment.py", bundle_source(segment))
        write_text(folder / "README.md", readme(info, loaded.info))
    return info


def _write_whole(bundle: Bundle, source: Path, *, format: str, out: Path, overwrite: bool) -> None:
    """Write the bundle itself: as one file, or as a bundle of MONAI's."""
    if format == "monai":
        with output_folder(out, KIND, [source], overwrite) as folder:
            write_monai(bundle, folder)
        return
    if out.exists() and not overwrite:
        raise CaseUNetError(f"{out}: is there already.", options=("out", "mode"))
    write_zip(bundle, out)


def _describe(
    bundle: Bundle, whole: ExportableModel, format: str, precision: str, equality: Parity, calibrated_on: str | None
) -> ExportInfo:
    return ExportInfo(
        format=format,
        precision=precision,
        file=FILES[format],
        input=f'"pixels", float32 (B, {whole.in_channels}, H, W), ' + _describe_units(bundle.info.preprocessing),
        output=f'"logits", float32 (B, {len(bundle.info.label_map)}, H, W); their softmax is calibrated',
        multiple=whole.multiple,
        smallest=whole.smallest,
        bundle_hash=bundle.info.weights_hash,
        calibrated_on=calibrated_on,
        parity=equality,
        libraries={
            name: version(name)
            for name in ("torch", *({"onnx": ("onnx", "onnxruntime"), "openvino": ("openvino",)}.get(format, ())))
        },
        processor=platform.processor() or platform.machine(),
    )


def _describe_units(preprocessing: Preprocessing) -> str:
    """In what units the graph takes pixels."""
    by_case = preprocessing.per_case_zscore
    if all(by_case) or not any(by_case):
        return "standardised" if all(by_case) else "in stored units"
    standardised = ", ".join(f"channel {c}" for c, own in enumerate(by_case) if own)
    return f"{standardised} standardised (counted from 0), others in stored units"


def _check_parity(info: ExportInfo) -> None:
    """Raises CaseUNetError where the masks of a float32 export are not PyTorch's."""
    worst = min((d for d in info.parity.dice.values() if d is not None), default=1.0)
    if info.precision == "fp32" and worst < MIN_DICE:
        raise CaseUNetError(
            f"The export's masks have a Dice of {worst:.4f} with PyTorch's on {info.parity.on}; expected at least "
            f"{MIN_DICE}. It is of no use; {info.file} is kept for whoever looks for the reason."
        )
