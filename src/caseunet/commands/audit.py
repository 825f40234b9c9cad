"""RAW → AUDIT: everything read once, and told what is wrong with it."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from caseunet.config import PrepareConfig
from caseunet.datasets import Finding, Layout, SourceCase, SourceDataset, open_source
from caseunet.datasets.case_statistics import CaseFacts, measure_case
from caseunet.datasets.checks import check_dataset, class_pixels, settle_coding
from caseunet.datasets.layout import Level
from caseunet.datasets.meanings import alone
from caseunet.datasets.pictures import draw_case
from caseunet.datasets.planes import CutLayout, choose_plane
from caseunet.datasets.proposals import write_plan
from caseunet.datasets.reading import check_repairs
from caseunet.datasets.repair import CaseRepair, read_plan
from caseunet.datasets.repair_plan import ProposedPlan, propose_plan
from caseunet.datasets.splits import GIVEN, SplitCase, describe_parts, make_split
from caseunet.errors import CaseUNetError
from caseunet.files import check_output_folder, output_folder, write_json, write_text
from caseunet.progress import Display, Notices, count_text
from caseunet.reporting.audit_page import Shown, audit_page
from caseunet.types import BY_BLOCKS, PlaneRule, Split
from caseunet.workers import LostWorkerError, run_all

KIND = "an audit"

PICTURES_OF_A_KIND = 4
EXAMPLES = 6


@dataclass(frozen=True)
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

    @property
    def warnings(self) -> tuple[str, ...]:
        """The findings that are more than notes, each with the case or file that it is about."""
        told = ((finding.case or finding.file, finding.text) for finding in self.findings if finding.level != "note")
        return tuple(f"{about}: {text}" if about else text for about, text in told)

    def at_level(self, level: str) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level == level)


def audit(
    raw: str | Path,
    *,
    out: str | Path = "audit",
    config: PrepareConfig = PrepareConfig(),
    repair: str | Path | None = None,
    mode: Literal["new", "overwrite"] = "new",
    display: Display | None = None,
) -> Examination:
    """Read a raw data set and write audit.json and audit.html; the originals are not touched.

    Args:
        raw: a folder in a known layout.
        out: the folder to write.
        config: layout, groups, plan, split and workers.
        repair: where to write a repair plan, if one is wanted; an existing file is replaced only in mode
            "overwrite".
        mode: "overwrite" replaces an earlier audit at ``out``.
        display: shows progress.

    Raises:
        CaseUNetError: the layout is not known, or nothing can be written.
    """
    raw, out, repair = Path(raw), Path(out), None if repair is None else Path(repair)
    notices, overwrite = Notices(display), mode == "overwrite"
    inputs = [raw, *([config.repair_plan] if config.repair_plan is not None else [])]
    check_output_folder(out, KIND, inputs, overwrite)
    if repair is not None and repair.resolve().is_relative_to(out.resolve()):
        raise CaseUNetError(
            f"{repair}: lies in {out}, which later audits replace. Choose a place elsewhere.", options=("repair",)
        )
    if repair is not None and repair.is_dir():
        raise CaseUNetError(f"{repair}: is a folder; expected the name of a file for the plan, such as plan.yaml.")
    if repair is not None and repair.resolve().is_relative_to(raw.resolve()):
        raise CaseUNetError(
            f"{repair}: lies in {raw}, whose files stay as they are. Choose a place elsewhere.", options=("repair",)
        )
    if repair is not None and repair.exists() and overwrite:
        read_plan(repair)  # only a plan is replaced by a plan
    if repair is not None and repair.exists() and not overwrite:
        raise CaseUNetError(f"{repair}: is there already.", options=("repair", "mode"))
    found = examine(raw, config, notices)
    for text in found.warnings:
        notices.caution(text, shown=False)
    if repair is not None:
        found = replace(found, proposed=propose_plan(found.layout, found.dataset, found.findings, config, notices))
    pictures, examples = _pictures(found, config, notices)
    with output_folder(out, KIND, inputs, overwrite) as folder:
        write_json(folder / "audit.json", _content(found, raw))
        page = audit_page(found.dataset, found.facts, found.findings, pictures, examples, found.seconds, found.proposed)
        write_text(folder / "audit.html", page)
        notices.write_log(folder)
    if repair is not None and found.proposed is not None:
        write_plan(repair, found.proposed.plan, found.proposed.proposals, found.proposed.cautions, raw)
    return found


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
    facts: list[CaseFacts] = [CaseFacts(case.id, case.group) for case in dataset.cases]
    with display.stage("auditing", len(dataset.cases), "case") as stage:
        parts = [alone(dataset, (case,)) for case in dataset.cases]
        for index, result in run_all(partial(_measure_one, layout), parts, config.workers):
            case = dataset.cases[index]
            facts[index] = result if isinstance(result, CaseFacts) else _lost(result, case, dataset)
            stage.advance(1, case.id)
    dataset = settle_coding(dataset, facts)
    if dataset.coding is not None:
        check_repairs(dataset, str(config.repair_plan))
    cases = split_cases(dataset, facts)
    split: Split | None = None
    if cases:
        try:
            split = make_split(config, cases, dataset.group_name, layout.name)
        except CaseUNetError as error:
            level: Level = (
                "warning" if config.split in ("auto", "group") else "error"
            )  # one patient is no fault of the data
            told = Finding(level=level, kind="split", text=str(error))
            dataset = replace(dataset, findings=(*dataset.findings, told))
    if split is not None and split.by != BY_BLOCKS:
        placed = {case for fold in split.folds for case in (*fold.train, *fold.val)}
        forgotten = [case for case in cases if case not in placed and cases[case].part != "test"]
        if forgotten:
            text = f"{count_text(len(forgotten), 'case')} in no part of it, {forgotten[0]} among them"
            told = Finding(level="warning", kind="split", text=text, advice="They are prepared, but never used.")
            dataset = replace(dataset, findings=(*dataset.findings, told))
    dataset = replace(dataset, findings=(*dataset.findings, *describe_parts(cases, split, dataset.group_name)))
    named = config.split not in ("auto", "group", "slice-blocks") or (
        split is not None and split.by == GIVEN
    )  # only such a split is known to stay as it is
    findings = check_dataset(dataset, facts, split if named else None)
    return Examination(layout, dataset, tuple(facts), findings, split, plane, time.monotonic() - began)


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


def _pictures(found: Examination, config: PrepareConfig, display: Display) -> tuple[list[Shown], list[Shown]]:
    """Pictures of what is wrong, a few of each kind, and of some cases as they are."""
    by_id = {case.id: case for case in found.dataset.cases}
    jobs: list[tuple[SourceDataset, Finding | None]] = []
    titles: list[str] = []
    seen: dict[tuple[str, str], int] = {}
    for finding in found.findings:
        if finding.case is None and finding.file is None:
            continue
        key = (finding.level, finding.kind)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= PICTURES_OF_A_KIND:
            cases = tuple(by_id[case] for case in (finding.case, finding.other) if case in by_id)
            jobs.append((alone(found.dataset, cases), finding))
            titles.append(finding.case or finding.file or "")
    labelled = found.dataset.labelled or found.dataset.cases
    stride = max(1, -(-len(labelled) // EXAMPLES))
    jobs += [(alone(found.dataset, (case,)), None) for case in labelled[::stride]]
    titles += [case.id for case in labelled[::stride]]
    drawn: list[bytes] = [b""] * len(jobs)
    with display.stage("drawing", len(jobs), "picture") as stage:
        for index, result in run_all(partial(_draw_one, found.layout), jobs, config.workers):
            drawn[index] = result if isinstance(result, bytes) else b""
            stage.advance(1)
    shown = [Shown(t, png, finding) for t, (_, finding), png in zip(titles, jobs, drawn, strict=True) if png]
    return [s for s in shown if s.finding is not None], [s for s in shown if s.finding is None]


def _draw_one(layout: Layout, job: tuple[SourceDataset, Finding | None]) -> bytes:
    dataset, finding = job
    return draw_case(layout, dataset, finding)


def _content(found: Examination, raw: Path) -> dict[str, Any]:
    """Content of audit.json."""
    dataset = found.dataset
    coding = dataset.coding
    cases = []
    for case, facts in zip(dataset.cases, found.facts, strict=True):
        row: dict[str, Any] = {
            "id": case.id,
            "group": case.group,
            "image": [dataset.relative(path) for path in case.image],
            "mask": [dataset.relative(path) for path in case.label],
        }
        if facts.image is not None:
            names = ("min", "p0.5", "median", "p99.5", "max")
            row |= {
                "shape": facts.image.shape,
                "type": facts.image.stored,
                "spacing_mm": facts.image.spacing,
                "orientation": facts.image.orientation,
                "plane": facts.image.plane,
                "intensity": dict(zip(names, facts.image.range, strict=True)),
                "pixels_hash": facts.image.content,
            }
        if facts.mask is not None and coding is not None:
            pixels = class_pixels(facts.mask, coding, dataset.repairs.get(case.id))
            row["class_pixels"] = {coding.label_map.names[i]: number for i, number in pixels.items()}
        cases.append(row)
    return {
        "format_version": 1,
        "raw": str(raw),
        "layout": dataset.format,
        "modality": dataset.modality,
        "plane": found.plane,
        "classes": [] if coding is None else [label.model_dump(mode="json") for label in coding.label_map.labels],
        "counts": {level: len(found.at_level(level)) for level in ("error", "warning", "note")},
        "findings": [finding.model_dump(mode="json", exclude_none=True) for finding in found.findings],
        "cases": cases,
        "seconds": round(found.seconds, 2),
        "code_version": version("caseunet"),
    }
