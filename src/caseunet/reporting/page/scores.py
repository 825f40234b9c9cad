"""The scores: the chief numbers of each structure and model, and all numbers."""

from itertools import groupby

from markupsafe import Markup

from caseunet.evaluation.summary import EvaluationSummary, Number
from caseunet.reporting.page.notes import link_measure, structure_name
from caseunet.reporting.page.numbers import digits_of, format_interval, format_number
from caseunet.reporting.page.tables import Column, Table, columns_of, name_columns

Digits = dict[tuple[str, str | None], int]


def count_digits(summary: EvaluationSummary) -> Digits:
    """Decimals of each (metric, structure): alike for all models, so that they can be compared at a glance."""
    values: dict[tuple[str, str | None], list[float | None]] = {}
    units = {}
    for number in summary.numbers:
        key = number.metric, number.structure
        values.setdefault(key, []).extend([number.value, *(number.interval or ()), number.median])
        units[key] = number.measure.unit
    return {key: digits_of(found, units[key]) for key, found in values.items()}


def chief_table(summary: EvaluationSummary) -> Table | None:
    """What a reader looks for first, with 95 % intervals; None where no such number has a value."""
    several = len(summary.models) > 1
    known = {
        (n.structure, n.model, n.metric): n
        for n in summary.numbers
        if n.metric in summary.chief and n.value is not None
    }
    measures = {metric: n.measure for metric in summary.chief for n in known.values() if n.metric == metric}
    if not measures:
        return None
    digits = count_digits(summary)
    rows = []
    for structure in (None, *summary.structures):
        for model in summary.models:
            own = {metric: known.get((structure, model.name, metric)) for metric in measures}
            if any(own.values()):
                name = [structure_name(summary, structure), *([model.name] if several else [])]
                rows.append([*name, *(_format_chief(number, digits) for number in own.values())])
    columns = columns_of(*name_columns(summary), text=("model",))
    columns += [Column(link_measure(summary, measure)) for measure in measures.values()]
    caption = "The chief numbers, with their 95 % intervals below."
    return Table(caption, columns, [("", rows)], "chief")


def _format_chief(number: Number | None, digits: Digits) -> Markup | str:
    if number is None:
        return ""
    decimals = digits[number.metric, number.structure]
    interval = "" if number.interval is None else format_interval(number.interval, decimals)
    return Markup("<strong>{}</strong><small>{}</small>").format(format_number(number.value, decimals), interval)


def numbers_table(summary: EvaluationSummary) -> Table:
    """All numbers in their order, those of one structure and model together."""
    digits = count_digits(summary)
    groups = []
    for (model, structure), numbers in groupby(summary.numbers, lambda number: (number.model, number.structure)):
        rows = []
        for n in numbers:
            decimals = digits[n.metric, structure]
            values = [format_number(n.value, decimals), n.measure.unit, format_interval(n.interval, decimals)]
            values += [format_number(n.sd, decimals), format_number(n.median, decimals)]
            name = link_measure(summary, n.measure, unit=False)
            rows.append([name, *values, f"{n.n:,}", f"{n.undefined:,}", n.averaging])
        heading = structure_name(summary, structure, parts=False)
        groups.append((heading + f" · {model}" if len(summary.models) > 1 else heading, rows))
    names = ("measure", "value", "unit", "95 % interval", "sd", "median", "n", "undefined")
    columns = [*columns_of(*names, text=("unit",)), Column("averaging", "text wrap")]
    caption = (
        "The small figures lead to how each number was counted. n counts what it is made of, “undefined” what has no "
        "value and was left out."
    )
    return Table(caption, columns, groups)
