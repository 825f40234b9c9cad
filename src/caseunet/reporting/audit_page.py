"""The audit as a self-contained HTML page: what is wrong, with pictures; and what the data are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from caseunet.config import PrepareConfig
from caseunet.datasets import Finding, Layout, SourceDataset
from caseunet.datasets.case_statistics import CaseFacts
from caseunet.datasets.checks import class_pixels
from caseunet.datasets.examination import Examination
from caseunet.datasets.layout import LEVELS
from caseunet.datasets.meanings import alone
from caseunet.datasets.pictures import draw_case
from caseunet.progress import Display, count_text
from caseunet.reporting.page.images import embed
from caseunet.reporting.page.notes import KEY
from caseunet.reporting.page.tables import Table, columns_of
from caseunet.reporting.page.templates import open_templates
from caseunet.reporting.style import hex_color
from caseunet.workers import run_all

MAX_ROWS = 100
"""Findings of a kind that the page lists; audit.json has all."""

PICTURES_OF_A_KIND, EXAMPLES = 4, 6

TITLES = {
    "affine-differs": "Masks that lie elsewhere than their images",
    "affine-lost": "Masks that have lost their position",
    "apart": "Image and mask in different parts",
    "copy": "Copies across groups",
    "unlike-copy": "Copies across groups whose masks differ",
    "depth": "Images of more bits than others",
    "found-channels": "Channels found in the names",
    "found-classes": "Classes found in the masks",
    "fractional": "Interpolated labels",
    "groups-share-number": "Groups that may be the same patient",
    "mask-255": "255 where 1 is meant",
    "unjudged": "Pixels that nobody judged",
    "not-finite": "NaN or infinity",
    "raters": "Agreement of several raters",
    "raters-disagree": "Raters who disagree",
    "no-hu": "CT without Hounsfield units",
    "small": "Images smaller than the networks need",
    "twice": "Files that are there twice",
    "unreadable": "Unreadable files",
    "unlike-masks": "Masks whose values mean something else",
}
"""Of kinds of findings whose own words do not say it."""


@dataclass(frozen=True)
class Shown:
    """A picture with what stands below it."""

    title: str
    png: bytes
    finding: Finding | None

    @property
    def source(self) -> str:
        return embed("image/png", self.png)


def audit_page(found: Examination, pictures: Sequence[Shown]) -> str:
    """The page as text, with the pictures of :func:`draw_findings`."""
    kinds = []
    for key, group in groupby(found.findings, key=lambda finding: (finding.level, finding.kind)):
        own = [s for s in pictures if s.finding and (s.finding.level, s.finding.kind) == key]
        kinds.append((key[0], title_of(key[1]), list(group), own))
    template = open_templates().get_template("audit.html.j2")
    return template.render(
        title=f"Audit of {found.dataset.root.name}",
        dataset=found.dataset,
        levels=[(level, len(found.at_level(level))) for level in LEVELS],
        kinds=kinds,
        examples=[s for s in pictures if s.finding is None],
        facts=_summary(found.dataset, found.facts, found.seconds),
        classes=_classes_table(found.dataset, found.facts),
        proposed=found.proposed,
        most_rows=MAX_ROWS,
    )


def title_of(kind: str) -> str:
    return TITLES.get(kind, kind.replace("-", " ").capitalize())


def _summary(dataset: SourceDataset, facts: Sequence[CaseFacts], seconds: float) -> list[tuple[str, str]]:
    """(name, value) of what the data are."""
    images = [case.image for case in facts if case.image is not None]
    groups = len({case.group for case in facts})
    rows = [
        ("layout", dataset.format),
        (
            "cases",
            f"{len(dataset.cases):,}, {len(dataset.labelled):,} with masks, "
            f"of {count_text(groups, dataset.group_name)}",
        ),
        ("modality", {"ct": "CT", "mr": "MR", "rgb": "colour images", "gray": "grey images"}[dataset.modality]),
    ]
    if images:
        rows += [
            ("slices × rows × columns", _range([(i.shape[0], *i.shape[2:]) for i in images], "×", "d")),
            ("number type", ", ".join(sorted({i.stored for i in images}))),
            ("intensities", f"{min(i.range[0] for i in images):g} to {max(i.range[-1] for i in images):g}"),
        ]
    spaced = [i.spacing for i in images if i.spacing is not None]
    if spaced:
        rows.append(("voxels in mm (slices, rows, columns)", _range(spaced, "×", ".3g")))
        rows.append(("axes of the files", ", ".join(sorted({i.orientation for i in images if i.orientation}))))
    if dataset.licence:
        rows.append(("licence", dataset.licence))
    rows.append(("read in", f"{seconds:.1f} s"))
    return rows


def _range(values: Sequence[Sequence[float]], between: str, form: str) -> str:
    """ "10×48×40 to 12×64×64": lowest and highest along each axis."""
    low, high = (tuple(choose(axis) for axis in zip(*values, strict=True)) for choose in (min, max))
    texts = [between.join(format(value, form) for value in limit) for limit in (low, high)]
    return texts[0] if texts[0] == texts[1] else " to ".join(texts)


def _classes_table(dataset: SourceDataset, facts: Sequence[CaseFacts]) -> Table | None:
    """Of each class its share of all pixels, the cases that have it, and its share of those."""
    masks = [(case.id, case.mask) for case in facts if case.mask is not None]
    if dataset.coding is None or not masks:
        return None
    counts = [class_pixels(mask, dataset.coding, dataset.repairs.get(case)) for case, mask in masks]
    totals = [sum(of_case.values()) or 1 for of_case in counts]
    rows = []
    for label in dataset.coding.label_map.labels:
        pixels = [of_case[label.id] for of_case in counts]
        shares = [100 * own / total for own, total in zip(pixels, totals, strict=True) if own]
        cells = [f"{100 * sum(pixels) / sum(totals):.3g} %", f"{len(shares):,}"]
        cells.append(f"{min(shares):.3g} to {max(shares):.3g} %" if shares else "–")
        rows.append([KEY.format(hex_color(label.color), label.name), *cells])
    columns = columns_of("class", "of all pixels", "cases that have it", "share in those")
    return Table("Share of the masks' pixels.", columns, [("", rows)], "short")


def draw_findings(found: Examination, config: PrepareConfig, display: Display) -> list[Shown]:
    """Pictures of what is wrong, a few of each kind, and of some cases as they are."""
    by_id = {case.id: case for case in found.dataset.cases}
    jobs: list[tuple[str, SourceDataset, Finding | None]] = []
    seen: Counter[tuple[str, str]] = Counter()
    for finding in found.findings:
        if title := finding.case or finding.file:
            seen[finding.level, finding.kind] += 1
            if seen[finding.level, finding.kind] <= PICTURES_OF_A_KIND:
                cases = tuple(by_id[case] for case in (finding.case, finding.other) if case in by_id)
                jobs.append((title, alone(found.dataset, cases), finding))
    labelled = found.dataset.labelled or found.dataset.cases
    stride = max(1, -(-len(labelled) // EXAMPLES))
    jobs += [(case.id, alone(found.dataset, (case,)), None) for case in labelled[::stride]]
    drawn: list[Shown | None] = [None] * len(jobs)
    with display.stage("drawing", len(jobs), "picture") as stage:
        for index, png in run_all(partial(_draw_one, found.layout), [job[1:] for job in jobs], config.workers):
            if isinstance(png, bytes) and png:
                drawn[index] = Shown(jobs[index][0], png, jobs[index][2])
            stage.advance(1)
    return [shown for shown in drawn if shown is not None]


def _draw_one(layout: Layout, job: tuple[SourceDataset, Finding | None]) -> bytes:
    return draw_case(layout, *job)
