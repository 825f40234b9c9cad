"""What the numbers mean, what is to be said of them all, and where they come from."""

from dataclasses import dataclass

from caseunet.evaluation.summary import EvaluationSummary, Measure


@dataclass(frozen=True)
class Note:
    """What stands below "How it was counted" about a measure, with the ways in which it was averaged."""

    number: int
    measure: Measure
    averaging: tuple[str, ...]


def notes_of(summary: EvaluationSummary) -> dict[tuple[str, ...], Note]:
    """One for each measure of the numbers, then of the columns."""
    measures: dict[tuple[str, ...], Measure] = {}
    ways: dict[tuple[str, ...], dict[str, None]] = {}
    for number in summary.numbers:
        measures.setdefault(key_of(number.measure), number.measure)
        ways.setdefault(key_of(number.measure), {})[number.averaging] = None
    for measure in summary.columns.values():
        measures.setdefault(key_of(measure), measure)
    return {key: Note(n, measure, tuple(ways.get(key, ()))) for n, (key, measure) in enumerate(measures.items(), 1)}


def key_of(measure: Measure) -> tuple[str, ...]:
    """By which measures are told apart: what a note says of them."""
    return measure.label, measure.definition, measure.empty, measure.unit


def find_shared_caution(summary: EvaluationSummary) -> str:
    """What is to be said of every model; "" where they differ, or where there is one alone."""
    cautions = {model.caution for model in summary.models}
    return cautions.pop() if len(summary.models) > 1 and len(cautions) == 1 else ""


def facts_of(summary: EvaluationSummary) -> list[tuple[str, str]]:
    """The facts, and what else the summary says of its sources, each once."""
    rows = list(summary.facts)
    said = {name for name, _ in rows}
    several = len(summary.models) > 1
    more = [("references", summary.source.references), ("layout", summary.source.layout)]
    if summary.source.plan:
        more.append(("repair plan", summary.source.plan))
    if summary.source.group:
        more.append(("grouped by", summary.source.group))
    for model in summary.models:
        of = f" of {model.name}" if several else ""
        more += [(f"predictions{of}", model.folder), (f"bundle{of}", model.bundle)]
    more.append(("caseunet", summary.code_version))
    return rows + [(name, value) for name, value in more if value and name not in said]
