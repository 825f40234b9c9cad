"""The paired comparison of models."""

from collections.abc import Callable
from itertools import groupby

from markupsafe import Markup

from caseunet.evaluation.summary import EvaluationSummary, Measure
from caseunet.reporting.page.numbers import digits_of, format_interval, format_number, format_probability
from caseunet.reporting.page.tables import Row, Table, columns_of


def comparison_table(summary: EvaluationSummary, heading: Callable[[Measure], Markup]) -> Table | None:
    """A group of rows for every two models; None where there is one model alone.

    Args:
        heading: name of a measure, with a link to how it was counted.
    """
    if not summary.comparison:
        return None
    measures = {number.metric: number.measure for number in summary.numbers} | summary.columns
    unpaired = any(row.only_first or row.only_second for row in summary.comparison)
    names = ["structure", "measure", "mean of first", "mean of second", "difference", "95 % interval", "p", "Holm p"]
    names += ["verdict", "pairs", *(["only first", "only second"] if unpaired else [])]
    groups = []
    for (first, second), members in groupby(summary.comparison, lambda row: (row.first, row.second)):
        winners = {"first better": first, "second better": second}
        rows: list[Row] = []
        for row in members:
            measure = measures[row.metric]
            means = row.mean_first, row.mean_second, row.difference
            digits = digits_of(means, measure.unit)
            better = Markup("<strong>{} better</strong>").format(winners.get(row.verdict))
            cells = [row.structure, heading(measure), *(format_number(mean, digits) for mean in means)]
            cells += [format_interval(row.interval, digits), format_probability(row.p), format_probability(row.p_holm)]
            cells += [better if row.verdict in winners else row.verdict, f"{row.groups:,}"]
            rows.append([*cells, *([f"{row.only_first:,}", f"{row.only_second:,}"] if unpaired else [])])
        groups.append((f"first: {first} · second: {second}", rows))
    columns = columns_of(*names, text=("measure", "verdict"))
    return Table("Paired differences between models.", columns, groups, "close")
