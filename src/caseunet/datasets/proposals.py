"""What a repair plan proposes: each repair tried on its case, and written beside what it would do."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from caseunet.datasets.coding import decode, translate
from caseunet.datasets.layout import Layout, SourceCase, SourceDataset
from caseunet.datasets.reading import read_labels, read_repaired_image, require_coding
from caseunet.datasets.repair import HEADER, CaseRepair, RepairPlan, code_text
from caseunet.errors import CaseUNetError, InvalidInputError
from caseunet.files import write_text
from caseunet.io.geometry import resample_nearest
from caseunet.types import IGNORE, Geometry, ImageVolume, Mask

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


def write_plan(path: Path, plan: RepairPlan, proposals: Sequence[Proposal], cautions: Sequence[str], raw: Path) -> None:
    """Write a plan with what each repair would do beside it; those that nobody chose are commented out.

    Args:
        path: the file.
        plan: all but what is proposed for cases.
        proposals: for cases.
        cautions: what else was not proposed, and why.
        raw: the data set's folder.
    """
    content = plan.model_dump(mode="json", exclude_defaults=True, exclude={"cases"})
    labels = content.pop("labels", ())
    parts = [HEADER.format(raw=" ".join(str(raw).split()), name=path.name), "format_version: 1\n"]
    parts += [f"{key}: {_inline(value)}\n" for key, value in content.items()]
    parts += ["labels:\n"] if labels else []
    parts += [f"- {_inline({**label, 'code': code_text(label['code'], plan.colored)})}\n" for label in labels]
    parts += [f"# {caution}\n" for caution in cautions]
    chosen = [proposal for proposal in proposals if proposal.choice is not None]
    parts.append("cases:\n" if chosen else "cases: {}\n" if not proposals else "cases:  # choose below\n")
    for proposal in proposals:
        parts += _write_proposal(proposal, plan.colored)
    write_text(path, "".join(parts))


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
