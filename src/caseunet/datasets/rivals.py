"""Files of which only one can be meant: two images of one name, two masks of one image. A person chooses."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from caseunet.datasets.layout import Finding, SourceDataset, left_out
from caseunet.io.raster import JPEG


@dataclass(frozen=True)
class RivalGroup:
    """Files of which one is to stay.

    Attributes:
        kind: of the finding.
        files: relative to the raw folder.
        case: that they are of; None where none has them.
        facts: what each holds, in words; () where nothing was read.
        equal: whether all hold the same pixels, or labels.
    """

    kind: str
    files: tuple[str, ...]
    case: str | None = None
    facts: tuple[str, ...] = ()
    equal: bool = False

    @property
    def kept(self) -> str:
        """The one that stays where all are equal: the first that was saved without loss."""
        return next((file for file in self.files if not file.lower().endswith(JPEG)), self.files[0])


def find_rivals(findings: Sequence[Finding]) -> list[RivalGroup]:
    """The groups of files that findings tell; all that claim one name are one group."""
    groups: dict[tuple[str, ...], dict[str, None]] = {}
    kinds: dict[tuple[str, ...], Finding] = {}
    for finding in findings:
        if finding.rivals:
            key = (finding.kind, *(finding.rivals[:1] if finding.kind == "twice" else finding.rivals))
            groups.setdefault(key, {}).update(dict.fromkeys(finding.rivals))
            kinds.setdefault(key, finding)
    return [RivalGroup(kinds[key].kind, tuple(files), kinds[key].case) for key, files in groups.items()]


def leave_out(
    dataset: SourceDataset, ignored: Collection[str], *, united: Collection[str], dropped: Collection[str]
) -> SourceDataset:
    """The data set without some files: what stays of their rivals takes their places.

    Args:
        dataset: as discovered.
        ignored: relative to the raw folder.
        united: cases whose masks a plan unites, so that none needs to be left out.
        dropped: cases that a plan leaves out.
    """
    stays: dict[str, str] = {}
    settled: set[str] = set()
    for group in find_rivals(dataset.findings):
        left = [file for file in group.files if file not in ignored]
        if len(left) < 2:
            settled |= set(group.files)
            stays |= dict.fromkeys(group.files, left[0]) if left else {}
    cases, lost = [], []
    for case in dataset.cases:
        image, label = (
            dict.fromkeys(
                path if name not in ignored else dataset.root / stays[name]
                for path in paths
                if (name := dataset.relative(path)) not in ignored or name in stays
            )
            for paths in (case.image, case.label)
        )
        if len(image) == len(case.image) and case.id not in dropped:
            cases.append(replace(case, image=tuple(image), label=tuple(label)))
        elif case.id not in dropped:
            lost += [mask for mask in case.label if dataset.relative(mask) not in ignored]
    done: set[str] = set()
    for case in dataset.cases:
        files = (*case.image, *case.label) if case.id in dropped else case.label if case.id in united else ()
        done |= set(map(dataset.relative, files))

    def is_left(finding: Finding) -> bool:
        rivals = set(finding.rivals)
        if finding.case in dropped or (rivals and (rivals <= settled or rivals & done)):
            return False
        return finding.file not in ignored or (bool(rivals) and finding.kind != "twice")

    told = left_out(lost, dataset.root, "masks whose image the plan leaves out, and so left out too", "warning")
    return replace(dataset, cases=tuple(cases), findings=(*filter(is_left, dataset.findings), *told))
