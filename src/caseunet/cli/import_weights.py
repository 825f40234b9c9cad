"""``caseunet import-weights``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from caseunet.cli.parameters import Flat, Out, Overwrite, replace_or_new
from caseunet.cli.terminal import console, say, say_next
from caseunet.options import ImportOptions
from caseunet.progress import TerminalDisplay


def import_weights_verb(
    file: Annotated[Path, Parameter(help="Keras' weights or model (.h5, .weights.h5, .keras), or .npz.")],
    *,
    out: Out = Path("bundle"),
    options: Annotated[ImportOptions, Flat] = ImportOptions(),
    overwrite: Overwrite = False,
) -> None:
    from caseunet.commands.import_weights import describe_network, import_weights

    mode, display = replace_or_new(overwrite), TerminalDisplay(console)
    bundle = import_weights(file, out=out, options=options, mode=mode, display=display)
    say(f"{describe_network(bundle)}; classes {', '.join(bundle.info.label_map.names)}")
    say_next("predict", out, "IMAGES", "--out", "predictions")
