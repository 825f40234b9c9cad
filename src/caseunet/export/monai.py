"""A bundle as a MONAI bundle, by MONAI's specification (docs.monai.io, "MONAI Bundle Specification").

configs/metadata.json    what goes in and comes out
configs/inference.json   the network, and a run that segments a folder of images
models/model.pt          the weights as PyTorch pickles them, which that specification demands; tensors alone
docs/README.md           the model card

Beside these lies what makes it a bundle of this package, which reads no file of MONAI's.
"""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from caseunet.bundle import FILES, Bundle, BundleInfo
from caseunet.bundle.card import describe_plane
from caseunet.errors import InvalidInputError
from caseunet.files import write_json
from caseunet.prediction.predictor import SlicePredictor

MODALITIES = {
    "ct": ("CT", "hounsfield"),
    "mr": ("MR", "magnitude"),
    "rgb": ("n/a", "magnitude"),
    "gray": ("n/a", "magnitude"),
}


def write_monai(bundle: Bundle, folder: Path) -> None:
    """Write one into an empty folder.

    Raises:
        CaseUNetError: the bundle is an ensemble, of which a MONAI bundle holds one network, or a zip.
    """
    info = bundle.info
    if info.members:
        raise InvalidInputError(
            f"{bundle.folder}: is an ensemble of {len(info.members)} networks; a MONAI bundle holds one. Export "
            "the bundle of one fold."
        )
    if not bundle.folder.is_dir():
        raise InvalidInputError(f"{bundle.folder}: is a zip; unpack it first.")
    [(model, _)] = SlicePredictor(bundle, device="cpu").models
    for name in ("configs", "models", "docs"):
        (folder / name).mkdir()
    torch.save({name: tensor.contiguous() for name, tensor in bundle.weights.items()}, folder / "models" / "model.pt")
    write_json(folder / "configs" / "metadata.json", metadata(info, int(model.multiple)))
    write_json(folder / "configs" / "inference.json", inference(info))
    for name in FILES:
        if (bundle.folder / name).is_file():
            shutil.copyfile(bundle.folder / name, folder / name)
    shutil.copyfile(folder / "README.md", folder / "docs" / "README.md")


def metadata(info: BundleInfo, multiple: int) -> dict[str, Any]:
    """Content of metadata.json; sizes are those that the network takes without padding them itself."""
    p = info.preprocessing
    modality, form = MODALITIES[p.modality]
    shape = [f"{multiple}*n", f"{multiple}*p"]
    names = ", ".join(info.label_map.names[1:])
    plane = "" if p.modality == "rgb" else f"; {describe_plane(p.plane)}"
    tensor = {"type": "image", "modality": modality, "spatial_shape": shape, "dtype": "float32", "is_patch_data": False}
    mean = info.validation.mean
    return {
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by caseunet {version('caseunet')}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "optional_packages_version": {"caseunet": version("caseunet")},
        "task": f"Segmentation of {names} in 2-D",
        "description": f"{info.architecture.name} of caseunet for {modality} slices{plane}; see docs/README.md",
        "authors": "not stated",
        "copyright": "not stated",
        "data_source": f"{info.training_data.source_format}, content hash {info.training_data.content_hash}",
        "data_type": info.training_data.source_format,
        "intended_use": "Research; no medical device",
        "eval_metrics": {} if mean is None else {"mean_dice": mean},
        "references": [],
        "network_data_format": {
            "inputs": {
                "image": {
                    **tensor,
                    "format": form,
                    "num_channels": p.in_channels,
                    "value_range": [],
                    "channel_def": {str(c): "slice, normalised" for c in range(p.in_channels)},
                }
            },
            "outputs": {
                "pred": {
                    **tensor,
                    "format": "labels",
                    "num_channels": len(info.label_map),
                    "value_range": [],
                    "channel_def": {str(label.id): label.name for label in info.label_map.labels},
                }
            },
        },
    }


def inference(info: BundleInfo) -> dict[str, Any]:
    """Content of inference.json, which ``monai.bundle run`` takes as its config_file."""
    a = info.architecture
    return {
        "imports": ["$import caseunet", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "caseunet.create_model",
            "name": a.name,
            "in_channels": a.in_channels,
            "num_classes": a.num_classes,
            **a.kwargs,
        },
        "network": "$@network_def.to(@device)",
        "inferer": {"_target_": "SimpleInferer"},
        "checkpoint": "$@bundle_root + '/models/model.pt'",
        "load": "$@network.load_state_dict(torch.load(@checkpoint, weights_only=True))",
        "run": ["$caseunet.predict(@bundle_root, @dataset_dir, out=@output_dir)"],
    }
