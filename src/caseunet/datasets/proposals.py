"""What a repair plan proposes: each repair tried on its case, and written beside what it would do."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from caseunet.datasets.coding import decode, translate
from caseunet.datasets.layout import Finding, Layout, SourceCase, SourceDataset
from caseunet.datasets.reading import read_labels, read_repaired_image, require_coding
from caseunet.datasets.repair import HEADER, CaseRepair, RepairPlan, code_text
from caseunet.datasets.rivals import RivalGroup, find_rivals
from caseunet.errors import CaseUNetError, InvalidInputError
from caseunet.files import write_text
from caseunet.io.geometry import resample_nearest
from caseunet.types import IGNORE, Geometry, ImageVolume, Mask
from caseunet.workers import LostWorkerError, run_all

CHOOSE = "Several repairs are possible. Look at the pictures, then take away the # of one line"


@dataclass(frozen=True)
class RepairTrial:
    """What a repair does to one case.

    Attributes:
        voxels: {class: (how many without, how many with it)}, of the foreground.
        means: {class: (mean of the image under it without, with it)}; None where the class is not there.
        moved: voxels whose class the repair changes. Of a case that is left out, all that are known to have one.
        drops: whether the case is left out.
        replaced: (voxels that were NaN, how many of them in the foreground); None where none is replaced.
        error: why it cannot be done; "" where it can.
    """

    voxels: Mapping[str, tuple[int, int]]
    means: Mapping[str, tuple[float | None, float | None]]
    moved: int = 0
    drops: bool = False
    replaced: tuple[int, int] | None = None
    error: str = ""

    @property
    def loses_all(self) -> bool:
        """Whether no foreground is left of some."""
        before, after = (sum(counts[place] for counts in self.voxels.values()) for place in (0, 1))
        return before > 0 and after == 0

    @property
    def was_inside(self) -> bool:
        """Whether the foreground lies in the image, but for a tenth, without the repair too."""
        before, after = (sum(counts[place] for counts in self.voxels.values()) for place in (0, 1))
        return self.moved > 0 and before >= 0.9 * after

    def lines(self) -> Iterator[str]:
        """In words."""
        if self.error:
            yield f"{'what is lost cannot be counted' if self.drops else 'cannot be done'}: {self.error}"
            return
        for name, (before, after) in self.voxels.items():
            if before or after:
                first, second = (_number(mean) for mean in self.means[name])
                yield f"{name}: {before:,} voxels become {after:,}, mean intensity {first} becomes {second}"
        if not self.drops:
            yield f"{self.moved:,} voxels change their class"
        elif self.moved:  # none can be counted in a mask that cannot be read, or is smoothed
            yield f"{self.moved:,} voxels of the labels are lost"
        if self.replaced is not None:
            yield f"{self.replaced[0]:,} voxels of the image are NaN, {self.replaced[1]:,} of them in the foreground"


@dataclass(frozen=True)
class Proposal:
    """The repairs that are possible for a case, each with what it would do.

    Attributes:
        case: its id, or "*".
        options: repairs and their trials; a trial is None where nothing could be tried.
        caution: why none is chosen although there is one; "" where it is.
    """

    case: str
    options: tuple[tuple[CaseRepair, RepairTrial | None], ...]
    caution: str = ""

    @property
    def choice(self) -> CaseRepair | None:
        """The one repair that is possible, unless it would do harm."""
        return self.options[0][0] if len(self.options) == 1 and not self.caution else None


@dataclass(frozen=True)
class FileProposal:
    """Files that a plan may leave out.

    Attributes:
        about: the case, or what is wrong with them.
        options: (file, why, what is known of it); each may be left out.
        caution: why none is left out unasked; "" where all are.
    """

    about: str
    options: tuple[tuple[str, str, str], ...]
    caution: str = ""


def try_repair(layout: Layout, case: SourceCase, dataset: SourceDataset, repair: CaseRepair) -> RepairTrial:
    """Do a repair in memory, and compare the case with what it is without.

    Args:
        layout: that reads it.
        case: of the data set.
        dataset: whose coding is known, with the repairs that are followed already.
        repair: is added to them.
    """
    try:
        whole = dataset.repairs.get(case.id, CaseRepair()).also(repair)
        planned = replace(dataset, repairs={case.id: whole})
        picture = read_repaired_image(layout, case, planned)
        before = _ids_without(layout, case, dataset, picture.geometry, picture.pixels.shape)
        after = np.zeros_like(before) if whole.drop else read_labels(layout, case, planned, picture.geometry)
        if after.shape != before.shape:
            raise InvalidInputError(f"the mask's shape is {after.shape}, its image's {before.shape}")
        had_none = None if whole.nan is None else _mark_replaced(layout, case, dataset, picture, whole.nan)
        trial = replace(_compare(picture, before, after, dataset, had_none), drops=whole.drop)
        if had_none is None:
            return trial
        return replace(trial, replaced=(int(had_none.sum()), int(np.count_nonzero(had_none & (after > 0)))))
    except CaseUNetError as error:
        return RepairTrial({}, {}, drops=repair.drop, error=str(error))


def combine(findings: Iterable[Sequence[CaseRepair]]) -> list[CaseRepair]:
    """Every way to repair all that was found in a case: one alternative of each finding.

    A way that leaves the case out does nothing else.
    """
    ways = [CaseRepair()]
    for alternatives in findings:
        ways = [way.also(alternative) for way in ways for alternative in alternatives]
    ways = [CaseRepair(drop=True, why=way.why) if way.drop else way for way in ways]
    return [way for place, way in enumerate(ways) if way not in ways[:place]]


def _ids_without(
    layout: Layout, case: SourceCase, dataset: SourceDataset, image: Geometry, shape: tuple[int, ...]
) -> np.ndarray:
    """Class ids as the files say without the repair: where the mask's header places it, background for values that are
    no class, and nothing where they cannot be read without it or are no whole numbers."""
    nothing = np.zeros((shape[0], *shape[2:]), np.uint8)
    if not case.label:
        return nothing
    try:
        mask: Mask = layout.read_mask(case, dataset, image)
    except CaseUNetError:
        return nothing
    if mask.fractional:
        return nothing
    coding = require_coding(dataset)
    ids, _ = decode(
        translate(mask, coding).apply(mask.label_values), coding, dataset.repairs.get(case.id, CaseRepair()).map
    )
    ids = np.where(ids == IGNORE, np.uint8(0), ids)
    if mask.geometry.affine is not None and image.affine is not None and not mask.assumed_aligned:
        return resample_nearest(ids, mask.geometry, image)
    return ids if ids.shape == nothing.shape else nothing


def _compare(
    picture: ImageVolume, before: np.ndarray, after: np.ndarray, dataset: SourceDataset, had_none: np.ndarray | None
) -> RepairTrial:
    """Class ids without the repair and with it; ``had_none`` marks the pixels whose number is the repair's."""
    voxels, means = {}, {}
    values = picture.pixels[:, 0]
    for label in require_coding(dataset).label_map.labels[1:]:
        masks = before == label.id, after == label.id
        voxels[label.name] = int(np.count_nonzero(masks[0])), int(np.count_nonzero(masks[1]))
        seen = masks[0] if had_none is None else masks[0] & ~had_none
        means[label.name] = _mean(values[seen]), _mean(values[masks[1]])
    return RepairTrial(voxels, means, int(np.count_nonzero(before != after)))


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean(dtype=np.float64)) if values.size else None


def _mark_replaced(
    layout: Layout, case: SourceCase, dataset: SourceDataset, picture: ImageVolume, nan: float
) -> np.ndarray:
    """The voxels of an image that are NaN, (S, H, W): those that follow the replacement."""
    other = layout.read_image(case, dataset.modality == "rgb", nan + 1)
    return np.asarray(np.any(picture.pixels != other.pixels, axis=1))


def _number(mean: float | None) -> str:
    return "none" if mean is None else f"{mean:.4g}"


def compare_rivals(
    layout: Layout, dataset: SourceDataset, findings: Sequence[Finding], workers: int | None
) -> list[RivalGroup]:
    """The groups of rivals, each file of them read as the one that is meant."""
    by_file = {dataset.relative(path): case for case in dataset.cases for path in (*case.image, *case.label)}
    known = {case.id: case for case in dataset.cases}
    groups = find_rivals(findings)
    found: list[tuple[int, SourceCase]] = []
    for place, group in enumerate(groups):
        own = next((by_file[file] for file in group.files if file in by_file), known.get(group.case or ""))
        if own is not None:
            found.append((place, own))
    jobs = [(groups[place], case, replace(dataset, cases=(case,), findings=())) for place, case in found]
    for index, result in run_all(partial(_compare_group, layout), jobs, workers):
        place, case = found[index]
        groups[place] = replace(groups[place], case=case.id)
        if not isinstance(result, LostWorkerError):
            groups[place] = result
    return groups


def _compare_group(layout: Layout, job: tuple[RivalGroup, SourceCase, SourceDataset]) -> RivalGroup:
    group, case, dataset = job
    paths = tuple(dataset.root / file for file in group.files)
    of_image = any(path in case.image for path in paths)
    describe = _describe_image if of_image else _describe_mask
    held: list[np.ndarray | None] = []
    facts = []
    for path in paths:
        own = case.image if of_image else case.label
        only = tuple(dict.fromkeys(path if other in paths else other for other in own)) or (path,)
        alone = replace(case, image=only) if of_image else replace(case, label=only)
        try:
            pixels, text = describe(layout, alone, dataset)
        except CaseUNetError as error:
            pixels, text = None, f"cannot be used: {error}"
        held.append(pixels)
        facts.append(text)
    first = held[0]
    equal = first is not None and all(other is not None and np.array_equal(first, other) for other in held[1:])
    return replace(group, case=case.id, facts=tuple(facts), equal=equal)


def _describe_image(layout: Layout, case: SourceCase, dataset: SourceDataset) -> tuple[np.ndarray | None, str]:
    """The pixels, and their size and mean intensity under each class."""
    picture = read_repaired_image(layout, case, dataset)
    values = picture.pixels[:, 0]
    text = f"{'×'.join(map(str, values.shape[values.shape[0] == 1 :]))} pixels, mean intensity {values.mean():.4g}"
    if dataset.coding is None or not case.label:
        return picture.pixels, text
    try:
        ids = read_labels(layout, case, dataset, picture.geometry)
    except CaseUNetError:
        return picture.pixels, f"{text}; its mask does not fit it"
    if ids.shape != values.shape:
        return picture.pixels, f"{text}; its mask does not fit it"
    under = [
        f"under {label.name} {values[ids == label.id].mean():.4g}"
        for label in dataset.coding.label_map.labels[1:]
        if np.any(ids == label.id)
    ]
    return picture.pixels, ", ".join([text, *under])


def _describe_mask(layout: Layout, case: SourceCase, dataset: SourceDataset) -> tuple[np.ndarray | None, str]:
    """The labels, and how many voxels of each class there are."""
    if dataset.coding is None:
        return None, ""
    ids = read_labels(layout, case, dataset)
    counts = [(label.name, np.count_nonzero(ids == label.id)) for label in dataset.coding.label_map.labels[1:]]
    return ids, ", ".join(f"{name}: {count:,} voxels" for name, count in counts if count) or "no labelled voxels"


def write_plan(
    path: Path,
    plan: RepairPlan,
    proposals: Sequence[Proposal],
    cautions: Sequence[str],
    raw: Path,
    files: Sequence[FileProposal] = (),
) -> None:
    """Write a plan with what each repair would do beside it; those that nobody chose are commented out.

    Args:
        path: the file.
        plan: all but what is proposed for cases and files.
        proposals: for cases.
        cautions: what else was not proposed, and why.
        raw: the data set's folder.
        files: that may be left out.
    """
    content = plan.model_dump(mode="json", exclude_defaults=True, exclude={"cases", "ignore"})
    labels = content.pop("labels", ())
    parts = [HEADER.format(raw=" ".join(str(raw).split()), name=path.name), "format_version: 1\n"]
    parts += [f"{key}: {_inline(value)}\n" for key, value in content.items()]
    parts += _write_files(plan, files)
    parts += ["labels:\n"] if labels else []
    parts += [f"- {_inline({**label, 'code': code_text(label['code'], plan.colored)})}\n" for label in labels]
    parts += [f"# {caution}\n" for caution in cautions]
    chosen = [proposal for proposal in proposals if proposal.choice is not None]
    parts.append("cases:\n" if chosen else "cases: {}\n" if not proposals else "cases:  # choose below\n")
    for proposal in proposals:
        parts += _write_proposal(proposal, plan.colored)
    write_text(path, "".join(parts))


def _write_files(plan: RepairPlan, files: Sequence[FileProposal]) -> Iterator[str]:
    """The files that are left out, and below them those that a person must choose from."""
    chosen = [proposal for proposal in files if not proposal.caution]
    if plan.ignore or files:
        yield "ignore:\n" if plan.ignore or chosen else "ignore:  # choose below\n"
    yield from (f"  {_inline({file: why})[1:-1]}\n" for file, why in plan.ignore.items())
    for proposal in (*chosen, *(proposal for proposal in files if proposal.caution)):
        if proposal.caution:
            yield f"  # {proposal.about}: {proposal.caution}.\n"
        for file, why, known in proposal.options:
            if known:
                yield f"  # {' '.join(known.split())}\n"
            yield f"  {'# ' if proposal.caution else ''}{_inline({file: why})[1:-1]}\n"


def _write_proposal(proposal: Proposal, colored: bool) -> Iterator[str]:
    if proposal.choice is None:
        yield f"  # {proposal.case}: {proposal.caution or CHOOSE}.\n"
    for repair, trial in proposal.options:
        for line in () if trial is None else trial.lines():
            yield f"  # {' '.join(line.split())}\n"
        mark = "" if proposal.choice is not None else "# "
        yield f"  {mark}{_inline(proposal.case)}: {_inline(_plain(repair, colored))}\n"


def _plain(repair: CaseRepair, colored: bool) -> dict[str, object]:
    """A repair as a plan has it."""
    content = repair.model_dump(mode="json", exclude_defaults=True)
    if "map" in content:
        content["map"] = {
            code_text(int(code), colored): "ignore" if to == IGNORE else to for code, to in content["map"].items()
        }
    return content


def _inline(value: object) -> str:
    """A value in one line of YAML."""
    return yaml.safe_dump([value], sort_keys=False, allow_unicode=True, width=10_000, default_flow_style=True)[1:-2]
