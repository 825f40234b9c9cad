"""README.md of an export: how to run it where this package is not."""

from caseunet.bundle import BundleInfo
from caseunet.bundle.card import describe_plane
from caseunet.prediction.exports import ExportInfo

RUNS = {
    "onnx": (
        "onnxruntime",
        'session = onnxruntime.InferenceSession("model.onnx")\nlogits = session.run(["logits"], {"pixels": pixels})[0]',
    ),
    "openvino": (
        "openvino",
        'model = openvino.Core().compile_model("model.xml", "CPU")\nlogits = model({"pixels": pixels})["logits"]',
    ),
    "torch-export": (
        "torch",
        'model = torch.export.load("model.pt2").module()\nlogits = model(torch.from_numpy(pixels))',
    ),
}


def readme(export: ExportInfo, info: BundleInfo) -> str:
    """Markdown."""
    package, code = RUNS[export.format]
    dice = ", ".join(f"{name} {value:.4f}" for name, value in export.parity.dice.items() if value is not None)
    lines = [
        f"# {info.architecture.name} as {export.format}, {export.precision}",
        "",
        f"- input: {export.input}; H and W multiples of {export.multiple}, at least {export.smallest}",
        *([] if info.preprocessing.modality == "rgb" else [f"- plane: {describe_plane(info.preprocessing.plane)}"]),
        f"- output: {export.output}",
        f"- classes: {', '.join(f'{label.id} {label.name}' for label in info.label_map.labels)}",
        f"- compared with PyTorch on {export.parity.slices} {export.parity.on}: logits differ by "
        f"{export.parity.largest:.2g} at most, {export.parity.mean:.2g} in the mean; {export.parity.equal:.4%} of the "
        f"pixels have the same class; Dice between the masks: {dice or 'no class but the background was found'}",
    ]
    if export.calibrated_on:
        lines.append(f"- calibrated on {export.calibrated_on}")
    if export.format != "torch-export":
        lines += [
            "",
            "In the place of the bundle's network, with all that `predict` writes:",
            "",
            "```sh\ncaseunet predict BUNDLE IMAGES --exported THIS_FOLDER --out masks\n```",
            "",
            "Whole images without that package, with all that is done beside the graph (`segment.py`, numpy alone):",
            "",
            f"```sh\npip install numpy {package}\npython segment.py IMAGE.npy LABELS.npy --spacing 5 0.8 0.8\n```",
        ]
    lines += ["", "The graph alone:", "", f"```python\nimport {package}\n\n{code}\n```", ""]
    return "\n".join(lines)
