"""The audit as a self-contained HTML page: what is wrong, with pictures; and what the data are."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from caseunet.datasets import Finding, SourceDataset
from caseunet.datasets.case_statistics import CaseFacts
from caseunet.datasets.checks import class_pixels
from caseunet.datasets.layout import LEVELS
from caseunet.datasets.repair_plan import ProposedPlan
from caseunet.progress import count_text
from caseunet.reporting.page.images import embed
from caseunet.reporting.page.templates import open_templates

MAX_ROWS = 100
"""Findings of a kind that the page lists; audit.json has all."""

MAX_CASES = 400
"""Cases whose balance of classes is drawn."""

TITLES = {
    "affine-differs": "Masks that lie elsewhere than their images",
    "remark": "Files that were read with a remark",
    "affine-lost": "Masks that have lost their position",
    "absent-class": "Classes that no mask has",
    "apart": "Image and mask in different parts",
    "channels": "Images with other channels, or without one",
    "constant-slices": "Slices without content",
    "class-files": "A file for each class",
    "class-missing": "Classes of which cases have no file",
    "no-class": "Names that are no class",
    "copy": "Copies across groups",
    "unlike-copy": "Copies across groups whose masks differ",
    "copy-in-group": "Copies within a group",
    "count": "Number of cases",
    "depth": "Images of more bits than others",
    "empty-image": "Images without content",
    "empty-mask": "Masks without foreground",
    "exclusive-values": "Masks that share no value with the others",
    "extra-mask": "Masks without an image",
    "float-labels": "Labels stored as floating point",
    "found-channels": "Channels found in the names",
    "found-classes": "Classes found in the masks",
    "fractional": "Interpolated labels",
    "groups": "Groups found in the names",
    "groups-share-number": "Groups that may be the same patient",
    "intensity": "Unusual intensities",
    "left-out": "Files left out",
    "left-right": "Left and right",
    "lossy-ids": "Ids saved with loss",
    "mask-255": "255 where 1 is meant",
    "mended-masks": "Mended masks",
    "ignored-class": "Pixels that are ignored and may be a class",
    "several-channels": "Files of several channels",
    "unjudged": "Pixels that nobody judged",
    "missing-file": "Missing files",
    "missing-mask": "Missing masks",
    "modality": "Modality",
    "near-copy": "Near copies across groups",
    "no-hu": "CT without Hounsfield units",
    "not-finite": "NaN or infinity",
    "numbered-objects": "Objects that are numbered",
    "orientation": "Orientation of the files",
    "palettes": "Palettes that contradict each other",
    "outlines": "Outlines instead of masks",
    "own-split": "The data set's own split",
    "rare-class": "Classes of a single group",
    "raters": "Agreement of several raters",
    "raters-disagree": "Raters who disagree",
    "repaired": "Repaired as planned",
    "several-masks": "Several masks of one image",
    "shape-differs": "Masks of another shape than their images",
    "small": "Images smaller than the networks need",
    "smoothed": "Masks that were smoothed or saved with loss",
    "spacing": "Unusual voxel sizes",
    "split": "The split",
    "test-set": "Test set",
    "twice": "Files that are there twice",
    "unknown-label": "Values that are no class",
    "unlike-masks": "Masks whose values mean something else",
    "unreadable": "Unreadable files",
}


@dataclass(frozen=True)
class Shown:
    """A picture with what stands below it."""

    title: str
    png: bytes
    finding: Finding | None

    @property
    def source(self) -> str:
        return embed("image/png", self.png)


def audit_page(
    dataset: SourceDataset,
    facts: Sequence[CaseFacts],
    findings: Sequence[Finding],
    pictures: Sequence[Shown],
    examples: Sequence[Shown],
    seconds: float,
    proposed: ProposedPlan | None = None,
) -> str:
    """The page as text.

    Args:
        dataset: with its classes known, if they are.
        facts: of each case.
        findings: sorted by level and kind.
        pictures: of findings.
        examples: of cases as they are.
        seconds: that reading took.
        proposed: the repair plan that was asked for.
    """
    environment = open_templates()
    kinds = []
    for (level, kind), group in groupby(findings, key=lambda finding: (finding.level, finding.kind)):
        members = list(group)
        kinds.append(
            {
                "level": level,
                "title": title_of(kind),
                "findings": members[:MAX_ROWS],
                "number": len(members),
                "advice": {finding.advice for finding in members if finding.advice},
                "pictures": [s for s in pictures if s.finding and (s.finding.level, s.finding.kind) == (level, kind)],
            }
        )
    return environment.get_template("audit.html.j2").render(
        title=f"Audit of {dataset.root.name}",
        dataset=dataset,
        levels=[(level, sum(f.level == level for f in findings)) for level in LEVELS],
        kinds=kinds,
        examples=examples,
        facts=_summary(dataset, facts, seconds),
        balance=_balance(dataset, facts),
        hidden=max(0, len(facts) - MAX_CASES),
        proposed=proposed,
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


def _balance(dataset: SourceDataset, facts: Sequence[CaseFacts]) -> list[dict[str, Any]]:
    """For each class its colour, its share of all pixels, the cases that have it, and its share in each case."""
    masks = [(case.id, case.mask) for case in facts if case.mask is not None]
    if dataset.coding is None or not masks:
        return []
    counts = [class_pixels(mask, dataset.coding, dataset.repairs.get(case)) for case, mask in masks]
    total = sum(sum(of_case.values()) for of_case in counts) or 1
    rows = []
    for label in dataset.coding.label_map.labels:
        shares = [of_case[label.id] / (sum(of_case.values()) or 1) for of_case in counts]
        highest = max(shares) or 1
        rows.append(
            {
                "name": label.name,
                "color": "#{:02x}{:02x}{:02x}".format(*label.color),
                "share": sum(of_case[label.id] for of_case in counts) / total,
                "cases": sum(share > 0 for share in shares),
                "highest": highest,
                "bars": [
                    (case, share, round(40 * share / highest, 2))
                    for (case, _), share in list(zip(masks, shares, strict=True))[:MAX_CASES]
                ],
            }
        )
    return rows
