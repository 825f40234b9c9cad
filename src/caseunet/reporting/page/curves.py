"""The curves of a training run."""

from pathlib import Path

import pandas as pd

from caseunet.errors import InvalidInputError
from caseunet.evaluation.summary import EvaluationSummary
from caseunet.reporting.figures import hex_color, to_png, training_curves
from caseunet.reporting.page.images import embed


def curves_of(metrics_csv: Path, summary: EvaluationSummary) -> str:
    """The training curves, with the structures that training knew; those of a protocol may be others.

    Raises:
        CaseUNetError: the file is no log of a training run.
    """
    try:
        columns = set(pd.read_csv(metrics_csv, nrows=0).columns)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{metrics_csv}: cannot be read as the log of a training run: {error}.") from error
    missing = [name for name in ("step", "loss", "cross_entropy", "ssim", "dice", "val_dice") if name not in columns]
    if missing:
        raise InvalidInputError(f'{metrics_csv}: is no log of a training run: the column "{missing[0]}" is missing.')
    known = {
        name: hex_color(summary.label_map.labels[members[0]].color)
        for name, members in summary.label_map.structures.items()
        if f"val_dice_{name}" in columns
    }
    return embed("image/png", to_png(training_curves(metrics_csv, list(known), list(known.values())), 144))
