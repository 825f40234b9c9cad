"""The paired comparison of models."""

from itertools import groupby

from markupsafe import Markup

from caseunet.evaluation.summary import EvaluationSummary
from caseunet.reporting.page.notes import link_measure
from caseunet.reporting.page.numbers import digits_of, format_interval, format_number, format_probability
from caseunet.reporting.page.tables import Row, Table, columns_of


def comparison_table(summary: EvaluationSummary) -> Table | None:
    """A group of rows for every two models; None where there is one model alone."""
    if not summary.comparison:
        return None
    measures = {number.metric: number.measure for number in summary.numbers} | summary.columns
    groups = []
    for (first, second), members in groupby(summary.comparison, lambda row: (row.first, row.second)):
        winners = {"first better": first, "second better": second}
        rows: list[Row] = []
        for row in members:
            measure = measures[row.metric]
            means = row.mean_first, row.mean_second, row.difference
            digits = digits_of(means, measure.unit)
            better = Markup("<strong>{} better</strong>").format(winners.get(row.verdict))
            cells = [row.structure, link_measure(summary, measure), *(format_number(mean, digits) for mean in means)]
            cells += [format_interval(row.interval, digits), format_probability(row.p), format_probability(row.p_holm)]
            cells += [better if row.verdict in winners else row.verdict, f"{row.groups:,}"]
            rows.append([*cells, f"{row.only_first:,}", f"{row.only_second:,}"])
        groups.append((f"first: {first} · second: {second}", rows))
    names = ["structure", "measure", "mean of first", "mean of second", "difference", "95 % interval", "p", "Holm p"]
    columns = columns_of(*names, "verdict", "pairs", "only first", "only second", text=("measure", "verdict"))
    return Table("Paired differences between models.", columns, groups, "close")
