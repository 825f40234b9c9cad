"""What a bundle scores on its validation cases: masks as ``predict`` writes them, counted as ``evaluate`` counts."""

import math
import time
from collections.abc import Sequence

import numpy as np

from caseunet.bundle import Bundle, PostprocessingRule, Quality, Score
from caseunet.data.store import Prepared
from caseunet.metrics.overlap import confusion_matrix, counts_of
from caseunet.prediction.postprocessing import apply_postprocessing
from caseunet.prediction.predictor import SlicePredictor
from caseunet.progress import Display
from caseunet.types import Fold, LabelMap, Modality, Ranges
from caseunet.validation.calibration import (
    fit_lines,
    judge_validated,
    learn_quality,
    read_input,
    segment_case,
    source_reference,
)
from caseunet.validation.operating_points import find_operating_points

PROTOCOL = (
    "Dice of the masks that predict writes, in the geometry of the source files, {masks}, per {unit} and structure, no "
    "value where reference and prediction are empty; mean over {unit}s, then over structures. It is what caseunet "
    "evaluate gives for {scope} with the protocol {protocol}"
)
OF_FOLD = "the validation slices of the fold"
OUT_OF_FOLD = "all cases, each segmented by the network that was not trained on it (predict out of fold)"


class Scorer:
    """Counts pixels of one mask after another, a unit being a case of CT and MR and otherwise a slice.

    Args:
        label_map: the classes.
        modality: of the images.
    """

    def __init__(self, label_map: LabelMap, modality: Modality) -> None:
        self._label_map, self.by_case = label_map, modality in ("ct", "mr")
        self._units: dict[tuple[str, int], np.ndarray] = {}
        self._known: dict[str, tuple[str, ...]] = {}

    def add(self, case: str, reference: np.ndarray, predicted: np.ndarray, known: tuple[str, ...]) -> None:
        """Some slices of a case, (S, H, W), uint8, whose reference tells the structures ``known``."""
        self._known[case] = known
        for true, found in zip(reference, predicted, strict=True):
            unit = (case, 0 if self.by_case else len(self._units))
            counted = confusion_matrix(true, found, len(self._label_map))
            self._units[unit] = self._units.get(unit, 0) + counted

    def score(self, before: Score, scope: str, is_cleaned: bool) -> Score:
        """A score in the place of another, whose other entries it keeps."""
        dice, not_found = {}, []
        for name, members in self._label_map.structures.items():
            units = [confusion for (case, _), confusion in self._units.items() if name in self._known[case]]
            counts = [counts_of(confusion, members) for confusion in units]
            dice[name] = _mean([one.dice for one in counts])
            if any(one.reference for one in counts) and not any(one.both for one in counts):
                not_found.append(name)
        protocol = PROTOCOL.format(
            masks="cleaned as it does by default" if is_cleaned else "not cleaned",
            unit="case" if self.by_case else "slice",
            protocol="volumes" if self.by_case else "slices",
            scope=scope,
        )
        mean = _mean([value for value in dice.values() if value is not None])
        return before.model_copy(
            update={"protocol": protocol, "mean": mean, "structures": dice, "not_found": tuple(not_found)}
        )


def validate_bundle(
    bundle: Bundle,
    prepared: Prepared,
    fold: Fold,
    device: str,
    display: Display,
    *,
    with_quality: bool,
    seconds: float | None = None,
) -> tuple[Score, Quality | None]:
    """Score a single network on its fold's validation cases, and perhaps learn from them.

    Args:
        bundle: of the network.
        prepared: that it was trained on.
        fold: of it.
        device: as for :class:`SlicePredictor`.
        display: what a person sees.
        with_quality: whether to learn what its masks are worth; then masks are cleaned.
        seconds: that it may take, of many cases some being left out; None for all.
    """
    until = math.inf if seconds is None else time.monotonic() + seconds
    predictor = SlicePredictor(bundle, device)
    quality, seen = learn_quality(predictor, prepared, fold, display, seconds) if with_quality else (None, [])
    scorer = Scorer(bundle.info.label_map, bundle.info.preprocessing.modality)
    for one in seen:
        scorer.add(one.case, one.reference, one.predicted, one.known)
    scored = {one.case for one in seen}
    rest = {case: fold.val[case] for case in fold.val if case not in scored}
    if rest and (not scored or time.monotonic() < until):
        with display.stage("validating", len(rest), "case") as stage:
            for case, ranges in rest.items():
                rules = quality.postprocessing if quality else ()
                scorer.add(case, *_masks(predictor, prepared, case, ranges, rules), prepared.known_structures(case))
                scored.add(case)
                stage.advance(1, case)
                if time.monotonic() > until:
                    break
    scope = OF_FOLD
    if len(scored) < len(fold.val):
        scope = f"{len(scored)} of the {len(fold.val)} validation cases of the fold, for which the budget left time"
        display.caution(f"its score is of {scope}")
    return scorer.score(bundle.info.validation, scope, quality is not None), quality


def validate_ensemble(
    bundle: Bundle, prepared: Prepared, device: str, display: Display
) -> tuple[Score, Quality | None]:
    """Score an ensemble, each of whose networks segments the validation cases of its own fold.

    Returns:
        The score; and the bundle's quality, its predicted Dice fitted to these masks.
    """
    predictor, quality, label_map = SlicePredictor(bundle, device), bundle.info.quality, bundle.info.label_map
    scorer = Scorer(label_map, bundle.info.preprocessing.modality)
    validated, histograms = [], []
    with display.stage("validating", len(prepared.cases), "case") as stage:
        for n, member in enumerate(bundle.info.members):
            assert member.training_data.fold is not None
            for case, ranges in prepared.fold(member.training_data.fold).val.items():
                if quality is None:
                    scorer.add(
                        case, *_masks(predictor, prepared, case, ranges, (), [n]), prepared.known_structures(case)
                    )
                else:
                    for one in segment_case(predictor, prepared, case, ranges, [quality.temperature], [n]):
                        apply_postprocessing(one.predicted, quality.postprocessing, label_map, one.spacing)
                        scorer.add(case, one.reference, one.predicted, one.known)
                        validated.append(judge_validated(one, 0, quality.usual, label_map))
                        histograms += [one.histograms] if one.histograms else []
                stage.advance(1, case)
    if quality is not None:
        lines, error = fit_lines(validated)
        quality = quality.model_copy(
            update={
                "validated": tuple(validated),
                "lines": lines,
                "error": error,
                "operating_points": find_operating_points(histograms, label_map),
            }
        )
    return scorer.score(bundle.info.validation, OUT_OF_FOLD, quality is not None), quality


def _masks(
    predictor: SlicePredictor,
    prepared: Prepared,
    case: str,
    ranges: Ranges,
    postprocessing: Sequence[PostprocessingRule],
    networks: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Reference and prediction of some slices of a case, (S, H, W), uint8."""
    wanted = [s for start, stop in ranges for s in range(start, stop)]
    predicted = predictor.label(read_input(prepared, case, prepared.image(case)), wanted, networks)
    spacing = prepared.spacing(case)
    apply_postprocessing(predicted, postprocessing, predictor.info.label_map, spacing)
    return source_reference(prepared, case)[wanted], predicted[wanted]


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else None
