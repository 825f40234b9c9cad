"""The true masks that predictions are scored against, out of a raw data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from caseunet.config import PrepareConfig
from caseunet.errors import UserError
from caseunet.evaluation.evaluator import Pair, Reference
from caseunet.io import images
from caseunet.io.geometry import in_plane
from caseunet.pipelines.audit import alone, with_coding
from caseunet.pipelines.candidates import Candidate, reader
from caseunet.sources import Layout, SourceCase, SourceDataset, open_source
from caseunet.sources.planes import choose_plane, cut_layout
from caseunet.sources.reading import check_repairs, known_coding, read_labels
from caseunet.types import Geometry, LabelMap, PlaneRule, Ranges


@dataclass(frozen=True)
class References:
    """The raw data set that holds the true masks; ``plane`` is that in which volumes are cut, as the layout does."""

    layout: Layout
    dataset: SourceDataset
    plane: PlaneRule = "axial"

    @property
    def label_map(self) -> LabelMap:
        return known_coding(self.dataset).label_map

    @property
    def labelled(self) -> dict[str, SourceCase]:
        return {case.id: case for case in self.dataset.labelled}


def open_references(root: Path, config: PrepareConfig) -> References:
    """The raw data set, with the meaning of its masks; :func:`cut_references` says in which plane it is cut.

    Raises:
        UserError: it cannot be opened, or has no masks.
    """
    layout, dataset = open_source(root, config)
    if not dataset.labelled:
        raise UserError(f"{root}: holds no masks to score against.")
    dataset = with_coding(layout, dataset, config.workers)
    check_repairs(dataset, str(config.plan))
    return References(layout, dataset)


def cut_references(truth: References, candidates: Sequence[Candidate], config: PrepareConfig) -> References:
    """The references in the configured plane; with "auto" in that of the predictions, or as most were acquired.

    Args:
        truth: as opened.
        candidates: the predictions; those of other tools tell no plane.
        config: tells the plane, or "auto".
    """
    told = (candidate.info.plane for candidate in candidates if candidate.info is not None)
    plane = next(told, None) if config.plane == "auto" else config.plane
    if plane is None:
        plane = choose_plane("auto", truth.layout, truth.dataset, config.workers)[0]
    return References(cut_layout(truth.layout, plane), truth.dataset, plane)


def pairs_of(
    truth: References, candidate: Candidate, scope: Sequence[str], ranges: Mapping[str, Ranges] | None
) -> list[Pair]:
    """Cases and a model's predictions of them, as they are scored."""
    cases = truth.labelled
    return [
        Pair(
            model=candidate.name,
            case=case,
            group=cases[case].group,
            read_reference=partial(read_reference, truth.layout, cases[case], alone(truth.dataset, (cases[case],))),
            read_prediction=reader(candidate, case, truth.dataset),
            missing=candidate.why_missing(case),
            ranges=None if ranges is None else ranges.get(case),
        )
        for case in scope
    ]


def read_reference(layout: Layout, case: SourceCase, dataset: SourceDataset) -> Reference:
    """The true masks of a case.

    Raises:
        UserError: they cannot be read.
    """
    image = layout.read_geometry(case)
    ids = read_labels(layout, case, dataset, image)
    file = case.label[0]
    own: Geometry = in_plane(images.read_geometry(file), image.plane) if images.is_volume(file) else image
    return Reference(ids, image, own)
