"""RAW → PREPARED."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Literal

from caseunet.config import PrepareConfig, load_config
from caseunet.data.store import DESCRIPTION, KIND, Prepared
from caseunet.data.writing import PreparedWriter, Workplace
from caseunet.datasets import Finding, SourceDataset
from caseunet.datasets.examination import Examination, examine
from caseunet.errors import CaseUNetError
from caseunet.files import Location, check_output_folder, location, write_text
from caseunet.options import is_overwrite
from caseunet.preparation.arrays import CaseFailure, plan_arrays, prepare_arrays
from caseunet.preparation.description import describe_prepared, split_rows, warn_of_labels
from caseunet.preparation.planning import check_space, plan_data_grid, settle_crop
from caseunet.progress import Display, Notices, count_text

MAX_NOTES, MAX_KINDS, MAX_NAMES = 5, 10, 6


def prepare(
    raw: str | Path,
    *,
    out: str | Location,
    config: PrepareConfig | None = None,
    mode: Literal["new", "overwrite"] = "new",
    display: Display | None = None,
) -> Prepared:
    """Read a raw data set and write it as PREPARED.

    The data are audited first, and errors refuse them. Cases without a mask are left out, and named. Until all is done
    ``out`` is as it was before: cases go to OUT.unfinished, from where a run that was killed, or in which a case
    failed, goes on when it is started again.

    Args:
        raw: a folder in a known layout.
        out: the folder to write, on this machine or behind an fsspec URL.
        config: layout, groups, repair plan, grid, split; the default recipe's if None.
        mode: "overwrite" replaces an earlier PREPARED at ``out``.
        display: shows progress.

    Raises:
        CaseUNetError: the layout is not known, the audit finds errors, or cases fail; the others are kept then.
    """
    raw, out = Path(raw), location(out)
    config, notices, overwrite = config or load_config().prepare, Notices(display), is_overwrite(mode)
    check_output_folder(out, KIND, [raw, *([config.repair_plan] if config.repair_plan is not None else [])], overwrite)
    found = examine(raw, config, notices)
    notes = _accept(found, notices)
    dataset = found.dataset
    images = {facts.id: facts.image for facts in found.facts if facts.image is not None}
    planned, of_resolution = plan_data_grid(dataset, found.facts, config)
    grid, why_whole = settle_crop(planned.model_copy(update={"plane": found.plane}), dataset, found.facts)
    if of_resolution:
        notices.say(f"  {of_resolution}")
    if why_whole:
        notices.caution(why_whole)
    notes = (*notes, *filter(None, (of_resolution, why_whole)))
    check_space(dataset, images, grid, out, notices)

    with PreparedWriter(out, overwrite) as writer:
        jobs = plan_arrays(dataset, images, grid, writer.workplace)
        rows, failures = prepare_arrays(found.layout, jobs, _workers(out, config), notices)
        if failures:
            raise _failure_error(failures, len(rows), writer.workplace)
        info = describe_prepared(found, rows, images=images, grid=grid, notes=notes, raw=raw, config=config)
        warn_of_labels(info, rows, notices)
        if isinstance(data := writer.workplace.data, Path):
            notices.write_log(data)
        writer.finish(info, rows, split_rows(rows, dataset, config))
    prepared = Prepared(out)
    prepared.warnings = notices.warnings
    return prepared


def _accept(found: Examination, display: Display) -> tuple[str, ...]:
    """What a person should know of the raw data, in words; some of it is shown.

    Raises:
        CaseUNetError: there are errors, or there is nothing to prepare.
    """
    fatal = [
        finding
        for finding in found.findings
        if finding.level == "error" or (finding.kind == "split" and found.split is None)
    ]
    if len(fatal) == 1:
        raise CaseUNetError(_in_words(fatal[0], found.dataset), options=fatal[0].options)
    if fatal:
        options = dict.fromkeys(option for finding in fatal for option in (*finding.options, "prepare.repair_plan"))
        raise CaseUNetError(
            f"{len(fatal)} errors in {found.dataset.root}; nothing was written.\n"
            f"{_list_by_kind(fatal, found.dataset)}\n"
            f"See all: caseunet audit {found.dataset.root}   To deal with them, let audit write a repair plan (its "
            "option repair), read it, and prepare with it.",
            options=("repair", *options),
        )
    notes = [_in_words(finding, found.dataset) for finding in found.findings]
    for note, finding in zip(notes, found.findings, strict=True):
        if finding.level != "note":
            display.caution(note, shown=False)
    for note in notes[:MAX_NOTES]:
        display.say(f"  {shorten(note, 200)}", "yellow")
    if len(notes) > MAX_NOTES:
        display.say(f"  and {len(notes) - MAX_NOTES} more remarks, all in {DESCRIPTION}", "yellow")
    return tuple(notes)


def _list_by_kind(errors: Sequence[Finding], dataset: SourceDataset) -> str:
    """The first error of each kind, with how many more there are."""
    kinds: dict[str, list[Finding]] = {}
    for error in errors:
        kinds.setdefault(error.kind, []).append(error)
    lines = []
    for first, *others in list(kinds.values())[:MAX_KINDS]:
        lines.append(f"  {shorten(_in_words(first, dataset), 300)}")
        if others:
            names = [other.file or other.case or "" for other in others]
            more = " …" if len(names) > MAX_NAMES else ""
            lines.append(f"    and {len(others)} more of this kind: {', '.join(names[:MAX_NAMES])}{more}")
    return "\n".join(lines)


def _in_words(finding: Finding, dataset: SourceDataset) -> str:
    place = dataset.root / finding.file if finding.file else finding.case or dataset.root
    return f"{place}: {finding.text.rstrip('.')}. {finding.advice}".strip()


def _workers(out: Location, config: PrepareConfig) -> int | None:
    """Processes that write; a file system in memory is of one process alone."""
    in_memory = not isinstance(out, Path) and out.protocol == "memory"
    return 0 if in_memory else config.workers


def _failure_error(failures: Sequence[CaseFailure], done: int, workplace: Workplace) -> CaseUNetError:
    """Write down what failed, and say it."""
    write_text(workplace.log, "\n".join(f"{failure.case}: {failure.text}\n{failure.trace}" for failure in failures))
    return CaseUNetError(
        f"{count_text(len(failures), 'case')} failed, {failures[0].case} among them: {failures[0].text}\n"
        f"The tracebacks are in {workplace.log}. {count_text(done, 'case')} are done and kept: mend the cause and give "
        "the same command again, which goes on from there; or leave a case out with a plan (cases: {ID: {drop: true}})."
    )
