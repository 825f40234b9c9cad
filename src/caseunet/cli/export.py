"""``caseunet export``."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from caseunet.cli.parameters import BundleFolder, Overwrite, replace_or_new
from caseunet.cli.terminal import console, say, say_next
from caseunet.progress import TerminalDisplay


def export_verb(
    bundle: BundleFolder,
    *,
    format: Annotated[
        Literal["onnx", "openvino", "torch-export", "zip", "monai"],
        Parameter(help="For which runtime; zip: the bundle as one file; monai: as a MONAI bundle."),
    ],
    out: Annotated[
        Path | None, Parameter(help="Folder to write, or with zip the file. Default: export-FORMAT or bundle.zip.")
    ] = None,
    precision: Annotated[
        Literal["fp32", "bf16", "fp16", "int8"], Parameter(help="Of the arithmetic; int8 needs --data.")
    ] = "fp32",
    data: Annotated[
        str | None, Parameter(help="Prepared data set: the export is compared with PyTorch on its slices.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    from caseunet.commands.export import export

    out = out or Path("bundle.zip" if format == "zip" else f"export-{format}")
    mode, display = replace_or_new(overwrite), TerminalDisplay(console)
    written = export(bundle, format=format, out=out, precision=precision, data=data, mode=mode, display=display)
    if written is None:
        say(f"{out}: the bundle, whole")
        say_next("predict", out, "IMAGES", "--out", "masks")
        return
    p = written.parity
    say(f"{out / written.file}: {written.input} → {written.output}")
    say(f"compared with PyTorch on {p.slices} {p.on}" if data else f"compared with PyTorch on {p.on}")
    dice = ", ".join(f"{name} {value:.4f}" for name, value in p.dice.items() if value is not None) or "nothing found"
    say(f"logits differ by {p.largest:.2g} at most, {p.mean:.2g} in the mean; {p.equal:.4%} of pixels equal")
    say(f"Dice between the masks: {dice}")
