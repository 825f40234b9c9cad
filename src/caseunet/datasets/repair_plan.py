"""What can be done about an audit's findings: every repair tried on its case before it is proposed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from caseunet.config import PrepareConfig
from caseunet.datasets import Finding, Layout, SourceCase, SourceDataset
from caseunet.datasets.coding import classes_of
from caseunet.datasets.proposals import FileProposal, Proposal, RepairTrial, combine, compare_rivals, try_repair
from caseunet.datasets.repair import EVERY_CASE, CaseRepair, PlannedLabel, RepairPlan, read_plan
from caseunet.datasets.rivals import RivalGroup
from caseunet.progress import Display, count_text
from caseunet.workers import LostWorkerError, run_all

HEADER_MAY_BE_RIGHT = (
    "The mask's own file places it elsewhere in the image, and may be right. Compare the mean intensities and look at "
    "the picture. Take away the # if the image's place is right, else export the mask on the image's grid"
)
LABELLED_NAN = (
    "What was drawn lies on pixels that have no number, and would be learnt with this one. Take away the # if that is "
    "right, else leave the case out with drop: true"
)
MASKS_OF_COPIES_DIFFER = (
    "The same image has two masks, and either may be right. Look at both, and take away the # of the one to leave out"
)
ONE_OF_FILES = (
    "Only one of these files can be meant, and any may be right. Look at them, and take away the # of those to leave "
    "out, of all but one"
)
FILES_FIRST = (
    "Choose one of its files under ignore, and audit again with this plan. Or take away the # of one line here"
)
LOSES_LABELS = "Leaving such a file out may lose a case, or what was drawn in it. Take away the # if that is right"
MAY_BE_OF_CASE = (
    "These masks have no image, and there are images without a mask, {case} among them. Take away the # of those that "
    "belong to none of them; else rename the files"
)
MAX_DROPPED = 0.5
"""Share of the labelled cases that a plan may leave out unasked."""

IGNORED_COLOR = (128, 128, 128)


@dataclass(frozen=True)
class ProposedPlan:
    """A plan to be read by a person.

    Attributes:
        plan: all but the cases.
        proposals: for cases, in the data set's order.
        files: that may be left out.
        cautions: what was not proposed, and why.
    """

    plan: RepairPlan
    proposals: tuple[Proposal, ...]
    files: tuple[FileProposal, ...]
    cautions: tuple[str, ...]

    @property
    def open_choices(self) -> tuple[str, ...]:
        """The cases, or kinds of files, for which a person must choose."""
        cases = [proposal.case for proposal in self.proposals if proposal.choice is None]
        return tuple(dict.fromkeys([*cases, *(proposal.about for proposal in self.files if proposal.caution)]))


def propose_plan(
    layout: Layout, dataset: SourceDataset, findings: Sequence[Finding], config: PrepareConfig, display: Display
) -> ProposedPlan:
    """Try every repair of the findings, and propose those that do no harm.

    Where several repairs are possible, or the only one would lose what a person drew, none is chosen.

    Args:
        layout: that reads the data set.
        dataset: as audited, with the repairs of the plan that is followed already.
        findings: of the audit.
        config: names that plan.
        display: what a person sees.
    """
    before = read_plan(config.repair_plan) if config.repair_plan is not None else RepairPlan(layout=dataset.format)
    every = before.cases.get(EVERY_CASE)
    groups = compare_rivals(layout, dataset, findings, config.workers)
    equal = {group.files for group in groups if group.equal}
    findings = [finding for finding in findings if finding.rivals not in equal or finding.kind == "twice"]
    unsettled = {group.case: group.kind for group in groups if group.case is not None and not group.equal}
    ways: dict[str, list[CaseRepair]] = {}
    repaired = (finding.case for finding in findings if finding.repairs)
    for case in dict.fromkeys((*before.cases, *repaired, *unsettled)):
        if case is not None:
            followed = [[repair] for repair in (before.cases.get(case, every),) if repair is not None]
            ways[case] = combine([*followed, *(f.repairs for f in findings if f.case == case and f.repairs)])
            leaves_out = any(way.drop for way in ways[case])
            if case in unsettled and not leaves_out:
                mends = [way for way in ways[case] if way != CaseRepair()]
                ways[case] = [*mends, CaseRepair(drop=True, why=unsettled[case])]
    tried = _try_all(layout, dataset, ways, config, display)
    hopeless = {
        case: [CaseRepair(drop=True, why=ways[case][0].why)]
        for case, trials in tried.items()
        if not any(way.drop or trial is None or not trial.error for way, trial in zip(ways[case], trials, strict=True))
    }
    dropped = _try_all(layout, dataset, hopeless, config, display) if hopeless else {}
    proposals = [
        _propose(case, *((hopeless[case], dropped[case]) if case in hopeless else (ways[case], trials)))
        for case, trials in tried.items()
    ]
    unlike = {finding.case for finding in findings if finding.kind == "unlike-copy"}
    proposals = [replace(p, caution=MASKS_OF_COPIES_DIFFER) if p.case in unlike else p for p in proposals]
    proposals = [replace(p, caution=FILES_FIRST) if p.case in unsettled else p for p in proposals]
    proposals = _keep_most(proposals, len(dataset.labelled))
    files, cautions = _files_to_ignore(dataset, findings)
    plan = before.model_copy(
        update={
            "cases": {},
            "labels": _labels(dataset, findings) or before.labels,
            "colored": before.colored if dataset.coding is None else dataset.coding.colored,
        }
    )
    files = [*files, *map(_choose_rival, groups)]
    return ProposedPlan(plan, tuple(_for_all(proposals, dataset)), tuple(files), tuple(cautions))


def _try_all(
    layout: Layout, dataset: SourceDataset, ways: dict[str, list[CaseRepair]], config: PrepareConfig, display: Display
) -> dict[str, list[RepairTrial | None]]:
    """{case: the trial of each way}; None where there is nothing to try: no such case, no classes."""
    by_id = {case.id: case for case in dataset.cases}
    trials: dict[str, list[RepairTrial | None]] = {case: [None] * len(repairs) for case, repairs in ways.items()}
    known = [] if dataset.coding is None else [case for case in ways if case in by_id]
    jobs = [(by_id[case], replace(dataset, cases=(by_id[case],), findings=(), repairs=_of(dataset, case)), repair)
            for case in known for repair in ways[case]]  # fmt: skip
    places = [(case, n) for case in known for n in range(len(ways[case]))]
    with display.stage("trying repairs", len(jobs), "repair") as stage:
        for index, result in run_all(partial(_try_one, layout), jobs, config.workers):
            case, n = places[index]
            trials[case][n] = RepairTrial({}, {}, error=str(result)) if isinstance(result, LostWorkerError) else result
            stage.advance(1, case)
    return trials


def _of(dataset: SourceDataset, case: str) -> dict[str, CaseRepair]:
    return {case: dataset.repairs[case]} if case in dataset.repairs else {}


def _try_one(layout: Layout, job: tuple[SourceCase, SourceDataset, CaseRepair]) -> RepairTrial:
    case, dataset, repair = job
    return try_repair(layout, case, dataset, repair)


def _propose(case: str, ways: Sequence[CaseRepair], trials: Sequence[RepairTrial | None]) -> Proposal:
    """Ways that cannot be done are left out."""
    options = [
        (way, trial) for way, trial in zip(ways, trials, strict=True) if way.drop or trial is None or not trial.error
    ]
    (way, trial) = options[0]
    if len(options) == 1 and not way.drop and trial is not None and trial.loses_all:
        return Proposal(case, tuple(options), "The repair would lose all that was drawn. Export the mask again")
    if len(options) == 1 and trial is not None and trial.replaced is not None and trial.replaced[1]:
        return Proposal(case, tuple(options), LABELLED_NAN)
    if len(options) == 1 and way.affine != "own" and trial is not None and trial.was_inside:
        return Proposal(case, tuple(options), HEADER_MAY_BE_RIGHT)
    return Proposal(case, tuple(options))


def _keep_most(proposals: Sequence[Proposal], labelled: int) -> list[Proposal]:
    """The proposals, with none chosen that leaves cases out where this would leave few."""
    dropped = [proposal for proposal in proposals if proposal.choice is not None and proposal.choice.drop]
    if len(dropped) <= MAX_DROPPED * max(labelled, len(dropped)):
        return list(proposals)
    caution = (
        f"Leaving out {count_text(len(dropped), 'case')} like this one would leave {max(0, labelled - len(dropped))}"
    )
    return [replace(proposal, caution=caution) if proposal in dropped else proposal for proposal in proposals]


def _files_to_ignore(dataset: SourceDataset, findings: Sequence[Finding]) -> tuple[list[FileProposal], list[str]]:
    """Files that may be left out, and cautions where leaving them out would leave no masks.

    Unasked only masks that are of no case are left out.
    """
    alone = [finding for finding in findings if finding.ignore and finding.file is not None and not finding.rivals]
    harmless = [finding for finding in alone if finding.harmless]
    kinds: dict[str, list[Finding]] = {}
    for finding in alone:
        if not finding.harmless:
            kinds.setdefault(finding.kind, []).append(finding)
    files = [FileProposal(kind, _options(own), LOSES_LABELS) for kind, own in kinds.items()]
    if not harmless:
        return files, []
    if len(harmless) > len(dataset.labelled):
        caution = (
            f"{len(harmless)} masks, {harmless[0].file} among them, have no image: so the files are paired wrongly, "
            "and ignoring them would leave out most masks. Say which files are images and masks."
        )
        return files, [caution]
    without = next((case.id for case in dataset.cases if not case.label and not case.test), None)
    caution = "" if without is None else MAY_BE_OF_CASE.format(case=without)
    return [FileProposal(harmless[0].kind, _options(harmless), caution), *files], []


def _options(findings: Sequence[Finding]) -> tuple[tuple[str, str, str], ...]:
    return tuple((f.file, f.kind, "" if f.harmless else f.text) for f in findings if f.file is not None)


def _choose_rival(group: RivalGroup) -> FileProposal:
    """All but one where they are equal, else none."""
    if not group.equal:
        facts = group.facts or ("",) * len(group.files)
        options = tuple((file, group.kind, fact) for file, fact in zip(group.files, facts, strict=True))
        return FileProposal(group.case or group.kind, options, ONE_OF_FILES)
    why = f"{group.kind}, equal to {group.kept} in every pixel"
    return FileProposal(group.case or group.kind, tuple((file, why, "") for file in group.files if file != group.kept))


def _labels(dataset: SourceDataset, findings: Sequence[Finding]) -> tuple[PlannedLabel, ...] | None:
    """The classes where no file names them, to be named in the plan."""
    coding = dataset.coding
    if coding is None or not any(finding.kind == "found-classes" for finding in findings):
        return None
    classes = classes_of(coding)
    names, colors = coding.label_map.names, coding.label_map.colors
    named = [PlannedLabel(name=names[i], color=colors[i], code=code) for code, i in classes.items()]
    ignored = [PlannedLabel(name="ignore", color=IGNORED_COLOR, code=c) for c in coding.codes if c not in classes]
    return (*named, *ignored)


def _for_all(proposals: Sequence[Proposal], dataset: SourceDataset) -> Sequence[Proposal]:
    """One proposal for all cases where all have the same."""
    repairs = [proposal.choice for proposal in proposals]
    first = repairs[0] if repairs else None
    whole = {proposal.case for proposal in proposals} == {case.id for case in dataset.cases}
    if len(proposals) < 2 or not whole or first is None or any(repair != first for repair in repairs):
        return proposals
    trials = [trial for proposal in proposals for _, trial in proposal.options if trial is not None]
    return [Proposal(EVERY_CASE, ((first, _sum(trials)),))]


def _sum(trials: Sequence[RepairTrial]) -> RepairTrial | None:
    """Of all cases together; means are weighted by their voxels."""
    if not trials:
        return None
    voxels, means = {}, {}
    for name in trials[0].voxels:
        sums = [[trial.voxels[name][place] for trial in trials] for place in (0, 1)]
        voxels[name] = sum(sums[0]), sum(sums[1])
        pair: list[float | None] = []
        for place in (0, 1):
            weighted = [(trial.means[name][place] or 0.0) * trial.voxels[name][place] for trial in trials]
            pair.append(sum(weighted) / voxels[name][place] if voxels[name][place] else None)
        means[name] = pair[0], pair[1]
    return RepairTrial(voxels, means, sum(trial.moved for trial in trials), drops=all(trial.drops for trial in trials))
