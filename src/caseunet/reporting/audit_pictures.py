"""Pictures of an audit: of what is wrong, and of cases as they are."""

from functools import partial

from caseunet.config import PrepareConfig
from caseunet.datasets import Finding, Layout, SourceDataset
from caseunet.datasets.examination import Examination
from caseunet.datasets.meanings import alone
from caseunet.datasets.pictures import draw_case
from caseunet.progress import Display
from caseunet.reporting.audit_page import Shown
from caseunet.workers import run_all

PICTURES_OF_A_KIND = 4
EXAMPLES = 6


def draw_findings(found: Examination, config: PrepareConfig, display: Display) -> tuple[list[Shown], list[Shown]]:
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
