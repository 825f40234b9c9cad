"""Lesions: how many were found, by size too, and which were missed or false."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd
from markupsafe import Markup

from caseunet.evaluation.rows import SCORED, rows_of
from caseunet.evaluation.summary import EvaluationSummary
from caseunet.reporting.page.numbers import format_column, format_number
from caseunet.reporting.page.tables import Table, columns_of

MAX_LESIONS = 50
"""Missed and false ones that the page lists."""

DIAMETERS = (5.0, 10.0, 20.0, 40.0)
"""Millimetres that part small lesions from large ones: of a ball of the lesion's volume."""


@dataclass(frozen=True)
class LesionTotals:
    """Lesions of one structure, of all cases together; what has no denominator is NaN.

    Sensitivity is detected / reference, precision (predicted − false) / predicted, and
    F1 2 detected / (2 detected + false + missed).
    """

    model: str
    structure: str
    reference: int
    detected: int
    predicted: int
    false: int

    @property
    def num_missed(self) -> int:
        return self.reference - self.detected

    @property
    def sensitivity(self) -> float:
        return self.detected / self.reference if self.reference else math.nan

    @property
    def precision(self) -> float:
        return (self.predicted - self.false) / self.predicted if self.predicted else math.nan

    @property
    def f1(self) -> float:
        below = 2 * self.detected + self.false + self.num_missed
        return 2 * self.detected / below if below else math.nan


def lesion_totals(scored: pd.DataFrame) -> list[LesionTotals]:
    """Of the models and structures of cases.csv that say something: with several lesions in a case, or one that was
    missed or false."""
    columns = ["lesions_reference", "lesions_detected", "lesions_predicted", "lesions_false"]
    if not set(columns) <= set(scored.columns):
        return []
    scored = scored.dropna(subset=columns)  # of structures that are no lesions
    telling = {
        structure
        for structure, rows in scored.groupby("structure", sort=False)
        if rows[["lesions_reference", "lesions_predicted"]].max().max() > 1
        or (rows["lesions_reference"] > rows["lesions_detected"]).any()
        or (rows["lesions_false"] > 0).any()
    }
    return [
        LesionTotals(str(model), str(structure), *(int(rows[column].sum()) for column in columns))
        for (model, structure), rows in scored.groupby(["model", "structure"], sort=False)
        if structure in telling
    ]


@dataclass(frozen=True)
class SizeBin:
    """Lesions of the reference of one size, by the volume in mL and by the diameter in mm of a ball of that volume."""

    volume: str
    diameter: str
    reference: int
    detected: int

    @property
    def sensitivity(self) -> float:
        return self.detected / self.reference


def lesion_sizes(lesions: pd.DataFrame, summary: EvaluationSummary) -> list[tuple[str, str, list[SizeBin]]]:
    """(model, structure, sizes that occur); nothing where volumes are unknown or all are of one size."""
    edges = (0.0, *(math.pi / 6 * d**3 / 1000 for d in DIAMETERS), math.inf)
    diameters = (0.0, *DIAMETERS, math.inf)
    found = []
    reference = lesions[(lesions["mask"] == "reference") & lesions["ml"].notna()]
    for structure in summary.structures:
        for model in summary.models:
            rows = rows_of(reference, model.name, structure)
            bins = []
            for n, (low, high) in enumerate(pairwise(edges)):
                inside = rows[(rows["ml"] >= low) & (rows["ml"] < high)]
                if len(inside):
                    volume, diameter = _span(low, high), _span(diameters[n], diameters[n + 1])
                    bins.append(SizeBin(volume, diameter, len(inside), int((inside["outcome"] == "detected").sum())))
            if len(bins) > 1:
                found.append((model.name, structure, bins))
    return found


def _span(low: float, high: float) -> str:
    """ "under 5", "5 to 10", "from 40"."""
    if low == 0:
        return f"under {high:.2g}"
    return f"from {low:.2g}" if math.isinf(high) else f"{low:.2g} to {high:.2g}"


def totals_table(totals: Sequence[LesionTotals], several: bool) -> Table:
    counts = ("reference", "detected", "missed", "predicted", "false")
    names = ["structure", *(["model"] if several else []), *counts, "sensitivity", "precision", "F1"]
    rows = [
        [t.structure, *([t.model] if several else [])]
        + [f"{n:,}" for n in (t.reference, t.detected, t.num_missed, t.predicted, t.false)]
        + [format_number(value, 3) for value in (t.sensitivity, t.precision, t.f1)]
        for t in totals
    ]
    return Table("Lesions of all cases together.", columns_of(*names, text=("model",)), [("", rows)], "short")


def sizes_table(sizes: Sequence[tuple[str, str, list[SizeBin]]], several: bool) -> Table:
    names = ["structure", *(["model"] if several else []), "diameter (mm)", "volume (mL)", "reference", "detected"]
    meter = Markup('{0:.3f}<span class="meter" aria-hidden="true"><i style="width: {0:.1%}"></i></span>')
    groups = []
    for model, structure, bins in sizes:
        named = [structure, *([model] if several else [])]
        rows = [
            (*named, b.diameter, b.volume, f"{b.reference:,}", f"{b.detected:,}", meter.format(b.sensitivity))
            for b in bins
        ]
        groups.append(("", rows))
    caption = "Lesions of the reference by their volume, and by the diameter of a ball of that volume."
    return Table(caption, columns_of(*names, "sensitivity", text=("model", "sensitivity")), groups, "short")


def worst_lesions(lesions: pd.DataFrame, scored: pd.DataFrame, summary: EvaluationSummary) -> Table | None:
    """Missed and false ones, the largest first; those of cases without a usable prediction are marked."""
    wrong = find_wrong(lesions)
    if not len(wrong):
        return None
    size = "voxels" if wrong["ml"].isna().any() else "ml"
    rows = wrong.sort_values(size, ascending=False, kind="stable").head(MAX_LESIONS)
    columns = {"case": rows["case"].astype(str).tolist()}
    if len(summary.models) > 1:
        columns["model"] = rows["model"].tolist()
    if rows["slice"].notna().any():
        columns["slice "] = [format_number(number, 0) for number in rows["slice"]]
    columns |= {"structure": rows["structure"].tolist(), "outcome": rows["outcome"].tolist()}
    if size == "ml":
        columns["mL"] = format_column(rows["ml"], "mL")
    columns["voxels"] = [f"{number:,}" for number in rows["voxels"]]
    for name in ("slice", "row", "column"):
        columns[name] = [format_number(float(at), 0) for at in rows[f"at_{name}"]]
    unusable = scored[scored["status"] != SCORED]
    without = set(zip(unusable["model"], unusable["case"], strict=True))
    return Table(
        caption="Lesions that were missed, or predicted where there is none.",
        columns=columns_of(*columns, text=("model", "structure", "outcome")),
        groups=[("", list(zip(*columns.values(), strict=True)))],
        classes="sortable cases",
        marked={n for n, pair in enumerate(zip(rows["model"], rows["case"], strict=True)) if pair in without},
    )


def find_wrong(lesions: pd.DataFrame) -> pd.DataFrame:
    """The lesions that were missed or false."""
    return lesions[lesions["outcome"].isin(["missed", "false"])]
