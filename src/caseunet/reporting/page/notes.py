"""What the numbers mean, what is to be said of them all, and where they come from."""

from typing import NamedTuple

from markupsafe import Markup

from caseunet.evaluation.summary import EvaluationSummary, Measure
from caseunet.reporting.style import hex_color

KEY = Markup('<i class="key" style="background: {}"></i>{}')
"""A name with its colour."""


class Note(NamedTuple):
    """What stands below "How it was counted" about a measure, with the ways in which it was averaged."""

    number: int
    measure: Measure
    averaging: tuple[str, ...]


def notes_of(summary: EvaluationSummary) -> dict[tuple[str, ...], Note]:
    """One for each measure of the numbers, then of the columns."""
    measures: dict[tuple[str, ...], Measure] = {}
    ways: dict[tuple[str, ...], dict[str, None]] = {}
    for number in summary.numbers:
        measures.setdefault(_key(number.measure), number.measure)
        ways.setdefault(_key(number.measure), {})[number.averaging] = None
    for measure in summary.columns.values():
        measures.setdefault(_key(measure), measure)
    return {key: Note(n, measure, tuple(ways.get(key, ()))) for n, (key, measure) in enumerate(measures.items(), 1)}


def _key(measure: Measure) -> tuple[str, ...]:
    """By which measures are told apart: what a note says of them."""
    return measure.label, measure.definition, measure.empty, measure.unit


def heading_of(measure: Measure) -> str:
    return f"{measure.label} ({measure.unit})" if measure.unit else measure.label


def link_measure(summary: EvaluationSummary, measure: Measure, unit: bool = True) -> Markup:
    """The name of a measure, with a small number that leads to how it was counted."""
    link = Markup('{1}<sup><a href="#count-{0}" aria-label="how it was counted, note {0}">{0}</a></sup>')
    return link.format(notes_of(summary)[_key(measure)].number, heading_of(measure) if unit else measure.label)


def structure_name(summary: EvaluationSummary, structure: str | None, parts: bool = True) -> Markup:
    """A structure with its colour, that of its first class, and the classes that make it up where they are others."""
    if structure is None:
        return Markup("all structures")
    ids = summary.structures[structure]
    classes = " or ".join(summary.label_map.names[i] for i in ids)
    key = KEY.format(hex_color(summary.label_map.labels[ids[0]].color), structure)
    return key + Markup(" <small>({})</small>").format(classes) if parts and classes != structure else key


def find_shared_caution(summary: EvaluationSummary) -> str:
    """What is to be said of every model; "" where they differ, or where there is one alone."""
    cautions = {model.caution for model in summary.models}
    return cautions.pop() if len(summary.models) > 1 and len(cautions) == 1 else ""


def facts_of(summary: EvaluationSummary) -> list[tuple[str, str]]:
    """The facts, and what else the summary says of its sources, each once."""
    source = summary.source
    more = [("references", source.references), ("layout", source.layout)]
    more += [("repair plan", source.plan or ""), ("grouped by", source.group or "")]
    for model in summary.models:
        of = f" of {model.name}" if len(summary.models) > 1 else ""
        more += [(f"predictions{of}", model.folder), (f"bundle{of}", model.bundle)]
    more.append(("caseunet", summary.code_version))
    facts = dict(summary.facts)
    return [*summary.facts, *((name, value) for name, value in more if value and name not in facts)]
