"""The structures: their colours, and the classes that make them up."""

from caseunet.evaluation.summary import EvaluationSummary
from caseunet.reporting.style import PALETTE, hex_color


def structure_colors(summary: EvaluationSummary) -> dict[str, str]:
    """Of each structure that of its first class, as #rrggbb; structures of one colour get others."""
    colors: dict[str, str] = {}
    for n, (name, members) in enumerate(summary.structures.items()):
        color = hex_color(summary.label_map.labels[members[0]].color)
        colors[name] = PALETTE[n % len(PALETTE)] if color in colors.values() else color
    return colors


def made_of(summary: EvaluationSummary) -> dict[str | None, str]:
    """ "(liver or tumour)" of structures that are named otherwise than their class; "" of the others."""
    names = {name: " or ".join(summary.label_map.names[i] for i in ids) for name, ids in summary.structures.items()}
    return {None: ""} | {name: "" if classes == name else f"({classes})" for name, classes in names.items()}
