"""Every case of a raw data set read once, and what is wrong with them."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from caseunet.config import PrepareConfig
from caseunet.datasets import Finding, Layout, SourceCase, SourceDataset, open_source
from caseunet.datasets.case_statistics import CaseFacts, measure_case
from caseunet.datasets.checks import check_dataset, class_pixels
from caseunet.datasets.coding import declare_regions
from caseunet.datasets.found_classes import settle_coding
from caseunet.datasets.layout import Level
from caseunet.datasets.meanings import alone
from caseunet.datasets.partial import settle_labelled
from caseunet.datasets.planes import CutLayout, choose_plane
from caseunet.datasets.reading import check_repairs, require_coding
from caseunet.datasets.repair import CaseRepair
from caseunet.datasets.repair_plan import ProposedPlan
from caseunet.datasets.splits import GIVEN, SplitCase, describe_parts, make_split
from caseunet.errors import CaseUNetError
from caseunet.progress import Display, count_text
from caseunet.types import BY_BLOCKS, PlaneRule, Split
from caseunet.workers import LostWorkerError, run_all


@dataclass(frozen=True, repr=False)
class Examination:
    """What was found in a raw data set.

    Attributes:
        layout: that it has.
        dataset: what it holds; the meaning of its masks is known unless there are none.
        facts: of each case, in the cases' order.
        findings: errors first.
        split: as configured; None if it cannot be made, which is a finding.
        plane: in which volumes are cut, as the layout does.
        seconds: that reading it took.
        proposed: the repair plan, where one was asked for.
    """

    layout: Layout
    dataset: SourceDataset
    facts: tuple[CaseFacts, ...]
    findings: tuple[Finding, ...]
    split: Split | None
    plane: PlaneRule
    seconds: float
    proposed: ProposedPlan | None = None

    def __repr__(self) -> str:
        """One line; what was found is in ``findings``."""
        levels = [count_text(len(self.at_level(level)), level) for level in ("error", "warning", "note")]
        return f"<Examination of {count_text(len(self.facts), 'case')}: {', '.join(levels)}>"

    @property
    def warnings(self) -> tuple[str, ...]:
        """The findings that are more than notes, each with the case or file that it is about."""
        told = ((finding.case or finding.file, finding.text) for finding in self.findings if finding.level != "note")
        return tuple(f"{about}: {text}" if about else text for about, text in told)

    def at_level(self, level: str) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level == level)


def examine(raw: Path, config: PrepareConfig, display: Display) -> Examination:
    """Read every case of a raw data set in parallel, and judge it.

    Raises:
        CaseUNetError: the layout is not known, its descriptions or the plan cannot be used, or there are no cases.
    """
    began = time.monotonic()
    layout, dataset = open_source(raw, config)
    groups = len({case.group for case in dataset.cases})
    display.say(
        f"  {raw}: layout {layout.name}, {count_text(len(dataset.cases), 'case')} "
        f"({len(dataset.labelled):,} with masks) of {count_text(groups, dataset.group_name)}"
    )
    plane, told_of_plane = choose_plane(config.plane, layout, dataset, config.workers)
    layout = CutLayout(layout, plane)
    dataset = replace(dataset, findings=(*dataset.findings, *told_of_plane))
    facts = _measure_all(layout, dataset, config, display)
    dataset = settle_coding(dataset, facts)
    if dataset.coding is not None:
        if config.regions:
            regions = {name: list(members) for name, members in config.regions.items()}
            dataset = replace(dataset, coding=declare_regions(dataset.coding, regions, "prepare.regions"))
        check_repairs(dataset, str(config.repair_plan))
        dataset = settle_labelled(dataset, require_coding(dataset).label_map, raw)
    cases = split_cases(dataset, facts)
    split, told_of_split = _try_split(dataset, cases, layout, config)
    told = (*told_of_split, *describe_parts(cases, split, dataset.group_name))
    dataset = replace(dataset, findings=(*dataset.findings, *told))
    named = config.split not in ("auto", "group", "slice-blocks") or (
        split is not None and split.by == GIVEN
    )  # only such a split is known to stay as it is
    findings = check_dataset(dataset, facts, split if named else None)
    return Examination(layout, dataset, tuple(facts), findings, split, plane, time.monotonic() - began)


def _measure_all(layout: Layout, dataset: SourceDataset, config: PrepareConfig, display: Display) -> list[CaseFacts]:
    """The facts of each case; of one whose process dies that it did."""
    facts: list[CaseFacts] = [CaseFacts(case.id, case.group) for case in dataset.cases]
    with display.stage("auditing", len(dataset.cases), "case") as stage:
        parts = [alone(dataset, (case,)) for case in dataset.cases]
        for index, result in run_all(partial(_measure_one, layout), parts, config.workers):
            case = dataset.cases[index]
            facts[index] = result if isinstance(result, CaseFacts) else _lost(result, case, dataset)
            stage.advance(1, case.id)
    return facts


def _try_split(
    dataset: SourceDataset, cases: dict[str, SplitCase], layout: Layout, config: PrepareConfig
) -> tuple[Split | None, list[Finding]]:
    """The split as configured, or None, and what is wrong with it."""
    if not cases:
        return None, []
    try:
        split = make_split(config, cases, dataset.group_name, layout.name)
    except CaseUNetError as error:
        one_patient_is_no_fault = config.split in ("auto", "group")
        level: Level = "warning" if one_patient_is_no_fault else "error"
        return None, [Finding(level=level, kind="split", text=str(error))]
    if split.by == BY_BLOCKS:
        return split, []
    placed = {case for fold in split.folds for case in (*fold.train, *fold.val)}
    forgotten = [case for case in cases if case not in placed and cases[case].part != "test"]
    if not forgotten:
        return split, []
    text = f"{count_text(len(forgotten), 'case')} in no part of it, {forgotten[0]} among them"
    advice = "They are prepared, but never used."
    return split, [Finding(level="warning", kind="split", text=text, advice=advice)]


def split_cases(dataset: SourceDataset, facts: Sequence[CaseFacts]) -> dict[str, SplitCase]:
    """What a split must know of the cases that can be prepared."""
    labelled = {case.id: case for case in dataset.labelled}
    cases = {}
    for case in facts:
        if case.id in labelled and case.image is not None:
            classes: Iterable[int] = ()
            if case.mask is not None and dataset.coding is not None:
                pixels = class_pixels(case.mask, dataset.coding, dataset.repairs.get(case.id))
                classes = (i for i, number in pixels.items() if i and number)
            cases[case.id] = SplitCase(case.group, case.image.shape[0], frozenset(classes), labelled[case.id].part)
    return cases


def _measure_one(layout: Layout, dataset: SourceDataset) -> CaseFacts:
    return measure_case(layout, dataset.cases[0], dataset)


def _lost(error: LostWorkerError, case: SourceCase, dataset: SourceDataset) -> CaseFacts:
    finding = Finding(
        level="error",
        kind="unreadable",
        text=str(error),
        advice="Leave the case out, or try with more memory and prepare.workers: 1.",
        case=case.id,
        file=dataset.relative(case.image[0]),
        repairs=(CaseRepair(drop=True, why="the process that read it died"),),
    )
    return CaseFacts(case.id, case.group, findings=(finding,))
