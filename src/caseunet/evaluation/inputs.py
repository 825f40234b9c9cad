"""What is scored: references and predictions, the classes that they share, and the cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from caseunet.config import PrepareConfig
from caseunet.errors import CaseUNetError
from caseunet.evaluation.evaluator import Pair, Scored
from caseunet.evaluation.ground_truth import (
    GroundTruth,
    cut_references,
    name_references,
    open_ground_truth,
    pairs_of,
    with_grids,
)
from caseunet.evaluation.lesion_names import find_lesions
from caseunet.evaluation.prediction_sets import PredictionSet, open_prediction_set
from caseunet.evaluation.rows import MISSING, UNUSABLE
from caseunet.evaluation.shared_classes import SharedClasses, share_classes
from caseunet.progress import count_text
from caseunet.types import Ranges, Split, name_key


@dataclass(frozen=True)
class EvaluationInputs:
    """GroundTruth and predictions, with the classes that they share.

    Attributes:
        root: of the references, as it was given.
        truth: the references.
        prediction_sets: the predictions of each model.
        shared: the classes.
        config: how the references are read.
        labels: the labels.json that says what their values mean.
        remark: how the references were named, or "".
    """

    root: Path
    truth: GroundTruth
    prediction_sets: Sequence[PredictionSet]
    shared: SharedClasses
    config: PrepareConfig
    labels: Path | None
    remark: str

    @property
    def predicted_fold(self) -> int:
        """The fold that was predicted, else 0."""
        folds = (c.info.fold for c in self.prediction_sets if c.info is not None and c.info.fold is not None)
        return next(folds, 0)

    def pairs(self, cases: Sequence[str], ranges: Mapping[str, Ranges] | None) -> list[Pair]:
        """Cases, and each model's predictions of them."""
        return [pair for c in self.prediction_sets for pair in pairs_of(self.truth, c, cases, ranges, self.shared)]


@dataclass(frozen=True)
class Scope:
    """Which cases are scored, the same for every model, in the references' order, and how distances are measured.

    Attributes:
        split: of which ``fold`` is scored; None where cases are scored whole.
        ranges: {case: the slices to score}; None for all.
        in_mm: whether distances are in mm: where the first image has a spacing.
        read_with: options that the data of the split were prepared with.
    """

    cases: Sequence[str]
    split: Split | None
    fold: int
    ranges: Mapping[str, Ranges] | None
    in_mm: bool
    read_with: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What is scored, in words."""
        if self.ranges is None:
            return f"{count_text(len(self.cases), 'case')}, whole"
        slices = sum(stop - start for parts in self.ranges.values() for start, stop in parts)
        cases = count_text(len(self.ranges), "case")
        return f"validation part of fold {self.fold}: {count_text(slices, 'slice')} of {cases}"


def open_inputs(
    root: Path,
    folders: Mapping[str, Path],
    *,
    config: PrepareConfig,
    labels: Path | None,
    origin: Path,
) -> EvaluationInputs:
    """Open references and predictions, and match their classes.

    Args:
        root: of the references.
        folders: {model: its predictions}.
        config: how the references are read.
        labels: a labels.json that says what their values mean.
        origin: of the references, as it was given: ``root`` may be its unpacked content.

    Raises:
        CaseUNetError: something cannot be opened, or no class is shared.
    """
    truth = open_ground_truth(root, config, labels)
    prediction_sets = [
        open_prediction_set(folder, name, truth.dataset, labels, config.workers) for name, folder in folders.items()
    ]
    truth, remark = name_references(truth, prediction_sets)
    truth = cut_references(with_grids(truth, prediction_sets), prediction_sets, config)
    codings = {c.name: None if c.coding is None else c.coding.label_map for c in prediction_sets}
    shared = share_classes(truth.label_map, codings, str(origin))
    return EvaluationInputs(origin, truth, prediction_sets, shared, config, labels, remark)


def select_cases(
    inputs: EvaluationInputs, *, split: Split | None, fold: int, ranges: dict[str, Ranges] | None
) -> Scope:
    """The cases of the fold; without one those that were to be predicted, or else all with a mask.

    Raises:
        CaseUNetError: a case of the fold has no mask, or there is nothing to score.
    """
    truth, labelled = inputs.truth, inputs.truth.labelled
    if ranges is not None:
        unknown = sorted(set(ranges) - set(labelled) - truth.dataset.dropped)
        if unknown:
            raise CaseUNetError(f"{truth.dataset.root}: there is no mask for the case {unknown[0]} of the fold.")
        cases = [case for case in labelled if case in ranges]
    else:
        asked = [prediction_set.asked for prediction_set in inputs.prediction_sets if prediction_set.asked is not None]
        cases = [case for case in labelled if not asked or any(case in asked_of for asked_of in asked)]
    if not cases:
        raise CaseUNetError(f"{truth.dataset.root}: there is nothing to score.")
    in_mm = truth.layout.read_geometry(labelled[cases[0]]).spacing is not None
    return Scope(cases, split, fold, ranges, in_mm)


def select_lesions(inputs: EvaluationInputs, told: Sequence[str] | None) -> tuple[str, ...]:
    """The scored structures that are lesions: as told, as labels.json says, or by their names.

    Raises:
        CaseUNetError: one that was told is not scored.
    """
    structures = inputs.shared.label_map.structures
    if told is None and inputs.truth.lesions is not None:
        wanted = {name_key(name) for name in inputs.truth.lesions}
        told = [name for name in structures if name_key(name) in wanted]
    return find_lesions(structures, told)


def check_usable(prediction_sets: Sequence[PredictionSet], scored: Sequence[Scored]) -> None:
    """Raises CaseUNetError if nothing of a model could be used: zeros everywhere would only hide the cause."""
    for prediction_set in prediction_sets:
        own = [item for item in scored if item.pair.model == prediction_set.name]
        unusable = [item for item in own if item.status == UNUSABLE]
        if all(item.status in (MISSING, UNUSABLE) for item in own):
            first = unusable[0] if unusable else own[0]
            predicted = None if prediction_set.info is None else prediction_set.info.fold
            fold = f" It holds the predictions of fold {predicted}." if not unusable and predicted is not None else ""
            raise CaseUNetError(
                f"{prediction_set.folder}: none of the {count_text(len(own), 'case')} can be scored. The first, "
                f"{first.pair.case}: {first.text}{fold}"
            )
