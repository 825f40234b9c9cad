"""REPORT: cases.csv, lesions.csv, summary.json and a self-contained report.html."""

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby, pairwise
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from PIL import Image

from caseunet.errors import UserError
from caseunet.evaluation.figures import hex_color, to_png, training_curves
from caseunet.evaluation.plots import (
    PALETTE,
    Agreement,
    Sample,
    agreement,
    bland_altman,
    darkened,
    distributions,
    to_image,
)
from caseunet.evaluation.summary import EvaluationSummary, Measure, Number
from caseunet.files import write_json, write_text, written_whole
from caseunet.progress import counted

BACKGROUND = "background"
"""Structure of the rows that hold pixel counts alone."""
SCORED = "scored"
"""Status of the rows that had a usable prediction."""

MOST_ROWS = 2000
"""Of cases.csv that the page shows."""
MOST_LESIONS = 50
"""Missed and false ones that the page lists."""
MOST_PLOTS = 12
"""Plots of the agreement of volumes; their numbers are given for all."""
MOST_PICTURE = 250_000
"""Bytes of a picture; larger ones are stored with loss."""

DIAMETERS = (5.0, 10.0, 20.0, 40.0)
"""Millimetres that part small lesions from large ones: of a ball of the lesion's volume."""


@dataclass(frozen=True)
class ShownCase:
    """A case to look at.

    Attributes:
        rank: which it is among all: "worst", "2nd worst", "median", "best".
        caption: what is seen.
        png: the picture: the image, the reference, and a panel for each model.
    """

    rank: str
    caption: str
    png: bytes


def write_report(
    folder: Path,
    title: str,
    cases: pd.DataFrame,
    lesions: pd.DataFrame | None,
    summary: EvaluationSummary,
    shown: Sequence[ShownCase],
    metrics_csv: Path | None = None,
) -> Path:
    """Write summary.json, cases.csv, lesions.csv (if there are lesions) and report.html; returns the path of the last.

    Args:
        folder: of the four files.
        title: of the page.
        cases: a row for each model, case (and slice) and structure, and one for the background.
        lesions: a row for each connected component.
        summary: what the columns mean, and the numbers that were made of them.
        shown: pictures of cases.
        metrics_csv: of the training run.

    Raises:
        UserError: ``metrics_csv`` is no log of a training run.
    """
    write_json(folder / "summary.json", summary.model_dump(mode="json"))
    _write_table(folder / "cases.csv", cases)
    if lesions is not None:
        _write_table(folder / "lesions.csv", lesions)
    write_text(folder / "report.html", _page(title, cases, lesions, summary, shown, metrics_csv))
    return folder / "report.html"


def _write_table(path: Path, table: pd.DataFrame) -> None:
    """Numbers are written with all their digits, so that every score can be computed again, bit for bit."""
    with written_whole(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def _page(
    title: str,
    cases: pd.DataFrame,
    lesions: pd.DataFrame | None,
    summary: EvaluationSummary,
    shown: Sequence[ShownCase],
    metrics_csv: Path | None,
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("caseunet", "evaluation/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["counted"] = counted
    environment.globals["shown"] = shown_number
    environment.globals["interval"] = shown_interval
    environment.globals["probability"] = shown_probability
    environment.globals["percent"] = shown_percent
    environment.globals["digits_of"] = digits_of
    notes, decimals = _notes(summary), _decimals(summary)
    scored = cases[cases["structure"] != BACKGROUND].reset_index(drop=True)
    colors = structure_colors(summary)
    plotted = {name: darkened(color) for name, color in colors.items()}
    table = _case_table(scored, summary)
    cards = chief_cards(summary)
    with_value = {number.structure for number in summary.numbers if number.value is not None}
    return environment.get_template("report.html.j2").render(
        title=title,
        summary=summary,
        several=len(summary.models) > 1,
        colors=colors,
        notes=list(notes.values()),
        digits=lambda number: decimals[number.metric, number.structure],
        note_of=lambda measure: notes[_key(measure)].number,
        cards=cards,
        blocks=chief_blocks(cards),
        shared_caution=_shared_caution(summary),
        without=[name for name in summary.structures if name not in with_value] if cards else [],
        made_of=_made_of(summary),
        groups=_groups(summary),
        pairs=[
            (*names, list(rows))
            for names, rows in groupby(summary.comparison, lambda difference: (difference.first, difference.second))
        ],
        labels={number.metric: number.measure for number in summary.numbers} | summary.columns,
        distributions=_distributions(scored, summary, plotted),
        volumes=_volumes(scored, summary, plotted),
        pictures=[(case.rank, case.caption, _picture(case.png)) for case in shown],
        confusions=_confusions(cases, summary),
        lesions=[] if lesions is None else lesion_totals(scored),
        sizes=[] if lesions is None or lesions.empty else lesion_sizes(lesions, summary),
        worst_lesions=None if lesions is None or lesions.empty else _worst_lesions(lesions, scored, summary),
        curves=None if metrics_csv is None else _curves(metrics_csv, summary),
        table=table,
        selects=_selects(table, summary),
        by_slice=bool(scored["slice"].notna().any()),
        facts=_facts(summary),
    )


# --- how numbers are written


def digits_of(values: Iterable[float | None], unit: str = "") -> int:
    """Decimals with which some values are written alike: none of whole numbers, three of shares, few of large ones."""
    if unit in ("mm", "px"):
        return 2
    known = np.array([abs(value) for value in values if value is not None and math.isfinite(value)], float)
    if not known.any() or (not unit and known.max() < 10 and (known.max() <= 1 or np.any(known != np.round(known)))):
        return 2 if unit else 3
    if np.all(known == np.round(known)):
        return 0
    usual = float(np.percentile(known[known > 0], 25))
    return 3 if usual < 0.1 else 2 if usual < 10 else 1 if usual < 1000 else 0


def shown_number(value: float | None, digits: int | None = None, unit: str = "") -> str:
    """A number with a true minus sign and commas; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:,.{digits_of([value], unit) if digits is None else digits}f}"
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", "−")


def shown_interval(interval: tuple[float, float] | None, digits: int | None = None, unit: str = "") -> str:
    """Both ends about an en dash, which keeps its distance from a minus sign."""
    if interval is None:
        return "–"
    digits = digits_of(interval, unit) if digits is None else digits
    return (" – " if min(interval) < 0 else "–").join(shown_number(end, digits) for end in interval)


def shown_probability(p: float | None) -> str:
    """As papers print it: ".034", "<.001"."""
    if p is None or math.isnan(p):
        return "–"
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def shown_percent(share: float) -> str:
    """A share in per cent; what is not all or nothing never looks so."""
    if share == 0:
        return "0"
    if share < 0.0005:
        return "<0.1 %"
    return ">99.9 %" if 0.9995 <= share < 1 else f"{100 * share:.1f} %"


def _decimals(summary: EvaluationSummary) -> dict[tuple[str, str | None], int]:
    """Of each (metric, structure): alike for all models, so that they can be compared at a glance."""
    values: dict[tuple[str, str | None], list[float | None]] = {}
    units = {}
    for number in summary.numbers:
        key = number.metric, number.structure
        values.setdefault(key, []).extend([number.value, *(number.interval or ()), number.median])
        units[key] = number.measure.unit
    return {key: digits_of(found, units[key]) for key, found in values.items()}


# --- what the numbers mean


@dataclass(frozen=True)
class Note:
    """What stands below "How it was counted" about a measure, with the ways in which it was averaged."""

    number: int
    measure: Measure
    averaging: tuple[str, ...]


def _key(measure: Measure) -> tuple[str, ...]:
    return measure.label, measure.definition, measure.empty, measure.unit


def _notes(summary: EvaluationSummary) -> dict[tuple[str, ...], Note]:
    """One for each measure of the numbers, then of the columns."""
    measures: dict[tuple[str, ...], Measure] = {}
    ways: dict[tuple[str, ...], dict[str, None]] = {}
    for number in summary.numbers:
        measures.setdefault(_key(number.measure), number.measure)
        ways.setdefault(_key(number.measure), {})[number.averaging] = None
    for measure in summary.columns.values():
        measures.setdefault(_key(measure), measure)
    return {key: Note(n, measure, tuple(ways.get(key, ()))) for n, (key, measure) in enumerate(measures.items(), 1)}


def structure_colors(summary: EvaluationSummary) -> dict[str, str]:
    """Of each structure that of its first class, as #rrggbb; structures of one colour get others."""
    colors: dict[str, str] = {}
    for n, (name, members) in enumerate(summary.structures.items()):
        color = hex_color(summary.label_map.labels[members[0]].color)
        colors[name] = PALETTE[n % len(PALETTE)] if color in colors.values() else color
    return colors


def _shared_caution(summary: EvaluationSummary) -> str:
    """What is to be said of every model; "" where they differ, or where there is one alone."""
    cautions = {model.caution for model in summary.models}
    return cautions.pop() if len(summary.models) > 1 and len(cautions) == 1 else ""


def _made_of(summary: EvaluationSummary) -> dict[str | None, str]:
    """ "(liver or tumour)" of structures that are named otherwise than their class; "" of the others."""
    names = {name: " or ".join(summary.label_map.names[i] for i in ids) for name, ids in summary.structures.items()}
    return {None: ""} | {name: "" if classes == name else f"({classes})" for name, classes in names.items()}


@dataclass(frozen=True)
class Card:
    """What a reader looks for first, of one structure or over all: the chief numbers, of each one entry per model."""

    structure: str | None
    rows: tuple[tuple[Number, ...], ...]


def chief_cards(summary: EvaluationSummary) -> list[Card]:
    """A card for each structure, with the chief numbers that have a value; none where there is no such number.

    Over all structures there is one card too, or where a protocol counts in ways of its own one for each.
    """
    cards = []
    for structure in (None, *summary.structures):
        rows = []
        for metric in summary.chief:
            found = {n.model: n for n in summary.numbers if (n.metric, n.structure) == (metric, structure)}
            if any(number.value is not None for number in found.values()):
                rows.append(tuple(found[model.name] for model in summary.models if model.name in found))
        if structure is None and rows and rows[0][0].metric not in summary.columns:
            cards += [Card(None, (row,)) for row in rows]
        elif rows:
            cards.append(Card(structure, tuple(rows)))
    return cards


@dataclass(frozen=True)
class Block:
    """Rows of a table of the chief numbers: of one structure or over all, or one of each structure (``each``)."""

    structure: str | None
    each: bool
    rows: tuple[tuple[Number, ...], ...]


def chief_blocks(cards: Sequence[Card]) -> list[Block]:
    """The cards' numbers; cards over all structures share a block, and so do structures with one number each."""
    blocks: list[Block] = []
    alone = len(cards) > 1 and all(len(card.rows) == 1 for card in cards if card.structure is not None)
    for card in cards:
        block = Block(card.structure, alone and card.structure is not None, card.rows)
        if blocks and ((block.each and blocks[-1].each) or block.structure is None):
            block = Block(block.structure, block.each, (*blocks.pop().rows, *block.rows))
        blocks.append(block)
    return blocks


@dataclass(frozen=True)
class Group:
    """Numbers of one model that stand together: of one structure, or one of each structure (``each``)."""

    model: str
    structure: str | None
    each: bool
    numbers: tuple[Number, ...]


def _groups(summary: EvaluationSummary) -> list[Group]:
    """The numbers in their order; structures with a single number each share a group."""
    groups: list[Group] = []
    for (model, structure), numbers in groupby(summary.numbers, lambda number: (number.model, number.structure)):
        group = Group(model, structure, False, tuple(numbers))
        if structure is not None and len(group.numbers) == 1 and len(summary.structures) > 1:
            before = groups[-1] if groups and groups[-1].each and groups[-1].model == model else None
            earlier = groups.pop().numbers if before else ()
            group = Group(model, None, True, (*earlier, *group.numbers))
        groups.append(group)
    return groups


# --- plots


@dataclass(frozen=True)
class Plot:
    """A drawn plot: a data URI, what is seen, and what stands below it."""

    source: str
    alt: str
    notes: tuple[str, ...] = ()


def _embedded(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def _distributions(scored: pd.DataFrame, summary: EvaluationSummary, colors: dict[str, str]) -> list[Plot]:
    """Of the measure by which cases are ranked, and of the first one that is a length."""
    lengths = [name for name, measure in summary.columns.items() if measure.unit in ("mm", "px")]
    plots = []
    for column in dict.fromkeys([summary.ranked, *lengths]):
        samples = _samples(scored, summary, colors, column) if column in scored else []
        if not samples:
            continue
        measure = summary.columns[column]
        label = f"{measure.label} ({measure.unit})" if measure.unit else measure.label
        points = sum(len(sample.values) for sample in samples)
        values = scored[column].dropna()
        share = not measure.unit and bool(values.between(0, 1).all())
        plots.append(
            Plot(
                source=_embedded(*to_image(distributions(samples, label, share), points)),
                alt=f"Box plots of {label}. " + " ".join(_described(sample, measure.unit) for sample in samples),
                notes=tuple(_outliers(sample, measure.unit) for sample in samples if sample.outliers()),
            )
        )
        if len(plots) == 2:
            break
    return plots


def _samples(scored: pd.DataFrame, summary: EvaluationSummary, colors: dict[str, str], column: str) -> list[Sample]:
    several = len(summary.models) > 1
    samples = []
    for structure, color in colors.items():
        for n, model in enumerate(summary.models):
            rows = _rows_of(scored, model.name, structure)
            rows = rows[np.isfinite(rows[column].to_numpy(float))]
            if len(rows):
                samples.append(
                    Sample(
                        structure=structure,
                        model=model.name if several else "",
                        color=PALETTE[n % len(PALETTE)] if several else color,
                        values=rows[column].to_numpy(float),
                        cases=_names(rows),
                        empty=(rows["status"] != SCORED).to_numpy(),
                    )
                )
    return samples


def _rows_of(table: pd.DataFrame, model: str, structure: str) -> pd.DataFrame:
    return table[(table["model"] == model) & (table["structure"] == structure)]


def _names(rows: pd.DataFrame) -> list[str]:
    """ "case", or "case, slice 3" where slices are scored."""
    return [
        str(case) if pd.isna(number) else f"{case}, slice {int(number)}"
        for case, number in zip(rows["case"], rows["slice"], strict=True)
    ]


def _described(sample: Sample, unit: str) -> str:
    digits = digits_of(sample.values, unit)
    first, median, third = np.percentile(sample.values, [25, 50, 75])
    return (
        f"{sample.title}: median {shown_number(median, digits)}, quartiles {shown_interval((first, third), digits)}, "
        f"{counted(len(sample.values), 'value')}."
    )


def _outliers(sample: Sample, unit: str) -> str:
    """All by name where they are few, else how many there are and the two farthest."""
    found = sample.outliers()
    digits = digits_of([value for _, value in found], unit)
    named = [f"{name} ({shown_number(value, digits)})" for name, value in found]
    if len(found) <= 5:
        return f"{sample.title}: {', '.join(named)}"
    return f"{sample.title}: {len(found):,}, of them {named[0]} and {named[1]}"


@dataclass(frozen=True)
class Volumes:
    """How the volumes of a structure agree, for one model.

    Attributes:
        model, structure: whose volumes.
        usable: of the cases with a usable prediction; None with fewer than three.
        all: with the other cases too, as empty masks; None where there are no others.
        absent: cases that have the structure in neither mask, and are left out.
        plot: of the first; None beyond the first plots.
    """

    model: str
    structure: str
    usable: Agreement | None
    all: Agreement | None
    absent: int
    plot: Plot | None


def _volumes(scored: pd.DataFrame, summary: EvaluationSummary, colors: dict[str, str]) -> list[Volumes]:
    if not {"reference_ml", "prediction_ml"} <= set(scored.columns):
        return []
    found: list[Volumes] = []
    several = len(summary.models) > 1
    for structure, color in colors.items():
        for n, model in enumerate(summary.models):
            rows = _rows_of(scored, model.name, structure).dropna(subset=["reference_ml", "prediction_ml"])
            there = rows[(rows["reference_ml"] > 0) | (rows["prediction_ml"] > 0)]
            predicted = there[there["status"] == SCORED]
            of_all, of_predicted = (_agreement(table) for table in (there, predicted))
            if of_all is None:
                continue
            plot = None
            if of_predicted is not None and len(found) < MOST_PLOTS:
                title = f"{structure}, {model.name}" if several else structure
                plot = _agreement_plot(predicted, of_predicted, PALETTE[n % len(PALETTE)] if several else color, title)
            others = of_all if len(there) > len(predicted) else None
            found.append(Volumes(model.name, structure, of_predicted, others, len(rows) - len(there), plot))
    return found


def _agreement(rows: pd.DataFrame) -> Agreement | None:
    return agreement(rows["reference_ml"].to_numpy(float), rows["prediction_ml"].to_numpy(float))


def _agreement_plot(rows: pd.DataFrame, limits: Agreement, color: str, title: str) -> Plot:
    reference, prediction = rows["reference_ml"].to_numpy(float), rows["prediction_ml"].to_numpy(float)
    image = to_image(bland_altman(reference, prediction, limits, color, title), limits.n)
    digits = digits_of((limits.bias, limits.low, limits.high), "mL")
    return Plot(
        source=_embedded(*image),
        alt=f"Bland–Altman plot of the volume of {title}: bias {shown_number(limits.bias, digits)} mL, limits of "
        f"agreement {shown_interval((limits.low, limits.high), digits)} mL, {counted(limits.n, 'case')}.",
    )


def _curves(metrics_csv: Path, summary: EvaluationSummary) -> str:
    """The training curves, with the structures that training knew; those of a protocol may be others.

    Raises:
        UserError: the file is no log of a training run.
    """
    try:
        columns = set(pd.read_csv(metrics_csv, nrows=0).columns)
    except (OSError, ValueError) as error:
        raise UserError(f"{metrics_csv}: cannot be read as the log of a training run: {error}.") from error
    missing = [name for name in ("step", "loss", "cross_entropy", "ssim", "dice", "val_dice") if name not in columns]
    if missing:
        raise UserError(f'{metrics_csv}: is no log of a training run: the column "{missing[0]}" is missing.')
    known = {
        name: hex_color(summary.label_map.labels[members[0]].color)
        for name, members in summary.label_map.structures.items()
        if f"val_dice_{name}" in columns
    }
    return _embedded("image/png", to_png(training_curves(metrics_csv, list(known), list(known.values())), 144))


def _picture(png: bytes) -> str:
    """A data URI. Large pictures are stored as WebP, and made smaller until they are small enough."""
    if len(png) <= MOST_PICTURE:
        return _embedded("image/png", png)
    with Image.open(BytesIO(png)) as opened:
        image = opened.convert("RGB")
    while True:
        buffer = BytesIO()
        image.save(buffer, "webp", quality=88, method=4)
        width, height = image.size
        if buffer.tell() <= MOST_PICTURE or width < 800:
            return _embedded("image/webp", buffer.getvalue())
        image = image.resize((round(0.8 * width), max(1, round(0.8 * height))), Image.Resampling.LANCZOS)


# --- confusion of classes


@dataclass(frozen=True)
class Confusion:
    """Pixels of one model by what they are and what they were taken for.

    Attributes:
        model: its name.
        classes: that can be predicted; the columns.
        rows: of each structure and the background: name, pixels, and for each class (pixels, share, whether right).
    """

    model: str
    classes: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[tuple[int, float, bool], ...]], ...]


def _confusions(cases: pd.DataFrame, summary: EvaluationSummary) -> list[Confusion]:
    classes = summary.label_map.names
    columns = [f"predicted_as_{name}" for name in classes]
    if not set(columns) <= set(cases.columns):
        return []
    members = {BACKGROUND: (0,), **summary.structures}
    found = []
    for model in summary.models:
        rows = []
        for name, ids in members.items():
            table = _rows_of(cases, model.name, name)
            pixels = [int(table[column].sum()) for column in columns]
            total = sum(pixels)
            if total:
                cells = tuple((count, count / total, n in ids) for n, count in enumerate(pixels))
                rows.append((name, total, cells))
        if rows:
            found.append(Confusion(model.name, classes, tuple(rows)))
    return found


# --- lesions


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
    def missed(self) -> int:
        return self.reference - self.detected

    @property
    def sensitivity(self) -> float:
        return self.detected / self.reference if self.reference else math.nan

    @property
    def precision(self) -> float:
        return (self.predicted - self.false) / self.predicted if self.predicted else math.nan

    @property
    def f1(self) -> float:
        below = 2 * self.detected + self.false + self.missed
        return 2 * self.detected / below if below else math.nan


def lesion_totals(scored: pd.DataFrame) -> list[LesionTotals]:
    """Of the models and structures of cases.csv that say something: with several lesions in a case, or one that was
    missed or false."""
    columns = ["lesions_reference", "lesions_detected", "lesions_predicted", "lesions_false"]
    if not set(columns) <= set(scored.columns):
        return []
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
            rows = _rows_of(reference, model.name, structure)
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


@dataclass(frozen=True)
class Table:
    """A table of texts: (heading, its note or None, whether its cells are numbers), then the rows.

    ``total`` counts the rows that there are; only the first ones may be shown. ``marked`` are rows that stand out.
    """

    columns: tuple[tuple[str, int | None, bool], ...]
    rows: tuple[tuple[str, ...], ...]
    total: int
    marked: tuple[bool, ...] = ()
    absent: tuple[str, ...] = ()


def _worst_lesions(lesions: pd.DataFrame, scored: pd.DataFrame, summary: EvaluationSummary) -> Table | None:
    """Missed and false ones, the largest first; those of cases without a usable prediction are marked."""
    wrong = lesions[lesions["outcome"].isin(["missed", "false"])]
    if not len(wrong):
        return None
    size = "voxels" if wrong["ml"].isna().any() else "ml"
    rows = wrong.sort_values(size, ascending=False, kind="stable").head(MOST_LESIONS)
    columns: list[tuple[str, bool, list[str]]] = [("case", False, [str(case) for case in rows["case"]])]
    if len(summary.models) > 1:
        columns.append(("model", False, [str(name) for name in rows["model"]]))
    if rows["slice"].notna().any():
        columns.append(("slice", True, [shown_number(number, 0) for number in rows["slice"]]))
    columns += [
        ("structure", False, [str(name) for name in rows["structure"]]),
        ("outcome", False, [str(outcome) for outcome in rows["outcome"]]),
    ]
    if size == "ml":
        columns.append(("mL", True, _written(rows["ml"], "mL")))
    columns.append(("voxels", True, [f"{number:,}" for number in rows["voxels"]]))
    for name in ("at_slice", "at_row", "at_column"):
        columns.append((name.removeprefix("at_"), True, [shown_number(float(at), 0) for at in rows[name]]))
    texts = tuple(zip(*(cells for _, _, cells in columns), strict=True))
    unusable = scored[scored["status"] != SCORED]
    without = set(zip(unusable["model"], unusable["case"], strict=True))
    return Table(
        columns=tuple((name, None, number) for name, number, _ in columns),
        rows=texts,
        total=len(wrong),
        marked=tuple(pair in without for pair in zip(rows["model"], rows["case"], strict=True)),
    )


# --- the table of cases


def _case_table(scored: pd.DataFrame, summary: EvaluationSummary) -> Table:
    """All rows as they stand, or the lowest ones first if they are too many; columns without any value are left out."""
    rows = scored if len(scored) <= MOST_ROWS else _lowest_first(scored, summary).head(MOST_ROWS)
    columns: list[tuple[str, int | None, bool, list[str]]]
    columns = [("case", None, False, [str(case) for case in rows["case"]])]
    if len(summary.models) > 1:
        columns.append(("model", None, False, [str(name) for name in rows["model"]]))
    if rows["slice"].notna().any():
        columns.append(("slice", None, True, [shown_number(number, 0) for number in rows["slice"]]))
    if (scored["group"].astype(str) != scored["case"].astype(str)).any():
        columns.append(("group", None, False, [str(group) for group in rows["group"]]))
    columns.append(("structure", None, False, [str(name) for name in rows["structure"]]))
    columns.append(("status", None, False, [str(status) for status in rows["status"]]))
    notes = _notes(summary)
    absent = []
    for name, measure in summary.columns.items():
        if name not in scored or scored[name].isna().all():
            absent.append(measure.label)
            continue
        heading = f"{measure.label} ({measure.unit})" if measure.unit else measure.label
        columns.append((heading, notes[_key(measure)].number, True, _written(rows[name], measure.unit)))
    if "reference_ml" not in scored or scored["reference_ml"].isna().all():
        for name, heading in (("reference_pixels", "reference pixels"), ("prediction_pixels", "predicted pixels")):
            columns.append((heading, None, True, [shown_number(float(number), 0) for number in rows[name]]))
    return Table(
        columns=tuple(column[:3] for column in columns),
        rows=tuple(zip(*(column[3] for column in columns), strict=True)),
        total=len(scored),
        marked=tuple(status != SCORED for status in rows["status"]),
        absent=tuple(absent),
    )


def _selects(table: Table, summary: EvaluationSummary) -> list[tuple[int, str, list[str]]]:
    """(column, heading, choices) by which the rows can be filtered."""
    orders = {
        "model": [model.name for model in summary.models],
        "structure": list(summary.structures),
        "status": [SCORED, "missing", "unusable"],
    }
    found = []
    for n, (heading, _, _) in enumerate(table.columns):
        there = {row[n] for row in table.rows} if heading in orders else set()
        if len(there) > 1:
            found.append((n, heading, [choice for choice in orders[heading] if choice in there]))
    return found


def _lowest_first(scored: pd.DataFrame, summary: EvaluationSummary) -> pd.DataFrame:
    """From the worst to the best; rows without a value come last."""
    if summary.ranked not in scored:
        return scored
    values = scored[summary.ranked].astype(float)
    better = summary.columns[summary.ranked].better
    badness = {"higher": -values, "lower": values, "nearer to 0": values.abs()}[better]
    return scored.loc[badness.sort_values(ascending=False, kind="stable", na_position="last").index]


def _written(values: pd.Series, unit: str) -> list[str]:
    digits = digits_of(values, unit)
    return [shown_number(float(value), digits) for value in values]


# --- where all comes from


def _facts(summary: EvaluationSummary) -> list[tuple[str, str]]:
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
