"""Weights of the author's Keras network → BUNDLE."""

import math
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from caseunet.bundle import Architecture, Bundle, Score, TrainingData, load_bundle, save_bundle
from caseunet.data.normalization import CT_WINDOW
from caseunet.datasets.coding import coding_of
from caseunet.errors import CaseUNetError
from caseunet.files import check_output_folder, content_hash, output_folder
from caseunet.io.keras import open_arrays
from caseunet.models.paper_network import describe_version, identify_network
from caseunet.options import ImportOptions, is_overwrite
from caseunet.progress import Display, count_text
from caseunet.types import LabelMap, Preprocessing

KIND = "an imported bundle"
MAX_CLASSES = 255
PAPER_SIZE = (512, 512)
"""Height and width at which the paper's networks see their images, as in recipe "paper"."""
EIGHT_BITS = (0.0, 255.0)


def import_weights(
    file: str | Path,
    *,
    out: str | Path = "bundle",
    options: ImportOptions = ImportOptions(),
    mode: Literal["new", "overwrite"] = "new",
    display: Display | None = None,
) -> Bundle:
    """Write a bundle from a file of the author's network, of either fusion size and any widths. The file is read as
    arrays; none of its code runs.

    Args:
        file: .h5, .weights.h5 or .keras of Keras 2 or 3, or .npz of {"layer/slot": array}.
        out: the bundle's folder.
        options: what the file does not tell. MR, which has no unit, needs a window.
        mode: "overwrite" replaces an earlier bundle at ``out``.
        display: shows progress.

    Raises:
        CaseUNetError: the file cannot be read or is not the author's network (all that does not fit is told), or
            modality, labels or window do not fit it.
    """
    file, out, display, overwrite = Path(file), Path(out), display or Display(), is_overwrite(mode)
    check_output_folder(out, KIND, [file], overwrite)
    with open_arrays(file) as stored:
        try:
            network = identify_network(stored)
        except CaseUNetError as error:
            raise error.with_message(f"{file}: {error}") from error
    architecture = Architecture(
        name="case_unet",
        in_channels=network.in_channels,
        num_classes=network.num_classes,
        kwargs=network.arguments,
    )
    label_map = _label_map(options.labels, architecture.num_classes)
    preprocessing = _preprocessing(options, architecture.in_channels)
    caution = "Imported from Keras: on what these weights were trained, and how well they segment, is not known here."
    if network.is_by_order:
        caution += (
            " The file holds none of the author's layer names, so layers were taken in the order of his network; of "
            "layers of the same shape that are in another order, nothing would tell."
        )
        display.caution(caution)
    with output_folder(out, KIND, [file], overwrite) as folder:
        save_bundle(
            folder,
            network.weights,
            architecture=architecture,
            preprocessing=preprocessing,
            label_map=label_map,
            training_data=TrainingData(
                source_format="unknown: weights of the author's Keras network",
                content_hash=_hash_file(file),
                cases=0,
                fold=None,
                split_by="unknown",
                caution=caution,
                licence="unknown",
                image_hashes=(),
            ),
            validation=Score(
                protocol="none: imported weights were not validated",
                step=None,
                selected="last",
                mean=None,
                structures=dict.fromkeys(label_map.structures),
            ),
            code_version=version("caseunet"),
        )
    return load_bundle(out)


def describe_network(bundle: Bundle) -> str:
    """An imported network in words."""
    architecture = bundle.info.architecture
    parameters = sum(tensor.numel() for tensor in bundle.weights.values())
    return (
        f"{describe_version(architecture.kwargs)}; {parameters:,} parameters, {architecture.in_channels} input channels"
    )


def _label_map(labels: tuple[str, ...], classes: int) -> LabelMap:
    """Names for the classes; each one behind the background is a structure of its own.

    Raises:
        CaseUNetError: they are not as many as the network's, or occur twice.
    """
    if classes > MAX_CLASSES:
        raise CaseUNetError(f"The network has {classes:,} classes; expected at most {MAX_CLASSES}.")
    names = labels or tuple(f"class {n}" for n in range(1, classes))
    if len(names) != classes - 1:
        raise CaseUNetError(
            f"The labels give {count_text(len(names), 'name')}: {', '.join(names)}. The network has {classes} classes: "
            f"expected {classes - 1}, without the background."
        )
    try:
        return coding_of(dict(enumerate(["background", *names]))).label_map
    except ValueError as error:
        raise CaseUNetError(f"The labels {','.join(names)}: {error}.", options=("labels",)) from error


def _preprocessing(options: ImportOptions, in_channels: int) -> Preprocessing:
    """As recipe "paper": one channel is repeated on three, and the window becomes 0 … 1.

    Raises:
        CaseUNetError: the network cannot take such images, or it is not known which of their intensities matter.
    """
    modality, window, size = options.modality, options.window, options.size
    channels = 3 if modality == "rgb" else 1
    if in_channels not in (channels, 3):
        raise CaseUNetError(
            f"The network takes {in_channels} input channels; images of modality {modality} give {channels}"
            f"{', repeated on 3 if need be' if channels == 1 else ''}.",
            options=("modality",),
        )
    known = {"ct": CT_WINDOW, "rgb": EIGHT_BITS, "gray": EIGHT_BITS}
    if window is None and modality not in known:
        raise CaseUNetError(
            "MR has no unit. Give the intensities that became 0 and 1 in training.", options=("window",)
        )
    low, high = window or known[modality]
    if not 0 < high - low < math.inf:
        raise CaseUNetError(f"The window {low:g} {high:g}: expected a low and a higher intensity.", options=("window",))
    try:
        return Preprocessing(
            size=size,
            modality=modality,
            channels=channels,
            channel_repeat=in_channels // channels,
            intensity_window=(None if window is None and modality != "ct" else (low, high),) * channels,
            mean=(low,) * channels,
            std=(high - low,) * channels,
            min_size=size,
        )
    except ValueError as error:
        raise CaseUNetError(
            f"The size {size[0]} {size[1]}: expected height and width from 32 to 8192.", options=("size",)
        ) from error


def _hash_file(file: Path) -> str:
    return content_hash(*sorted(path for path in file.rglob("*") if path.is_file()) if file.is_dir() else [file])
