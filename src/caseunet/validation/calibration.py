"""What a network's validation teaches about its masks: how sure to be of them, what is unusual, how to mend them."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from caseunet.bundle import PostprocessingRule, Quality, UsualRange, ValidatedCase
from caseunet.data.store import Prepared
from caseunet.imaging.boxes import space_evenly, spread_order
from caseunet.imaging.slices import Stack
from caseunet.metrics.overlap import Counts
from caseunet.prediction.postprocessing import apply_postprocessing
from caseunet.prediction.predictor import NetworkInput, SliceBatch, SlicePredictor
from caseunet.progress import Display
from caseunet.quality.confidence import ConfidenceMeter, StructureConfidence
from caseunet.quality.out_of_distribution import image_features, mask_features, outside, usual_ranges
from caseunet.types import BY_BLOCKS, IGNORE, Fold, LabelMap, Preprocessing, Ranges
from caseunet.validation.operating_points import ProbabilityHistograms, find_operating_points

PROTOCOL = (
    "of the fold's validation cases, which the network did not train on, in the geometry of their source files and "
    "segmented as predict does; temperature, predicted Dice and post-processing are fitted to these very cases, Dice "
    "is of post-processed masks. For post-processing, a structure in neither mask counts as Dice 1"
)
TEMPERATURES = tuple(float(2 ** (n / 4)) for n in range(-6, 13))
"""0.35 to 8: those that are tried."""

MAX_CASES = 200
"""Training and validation cases that are looked at, evenly spread."""

MAX_SLICES = 64
"""Of a training case whose reference is looked at, evenly spread."""

MAX_SAMPLED = 50_000
"""Pixels of a case to which the temperature is fitted."""

IN_QUESTION = 0.01
"""Probability of anything but background from which on a pixel counts for the calibration error: of the others all
networks are sure."""

SIZES = {"ml": (0.005, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0), "share": (1e-5, 1e-4, 1e-3, 1e-2)}
"""At which small components are tried to be dropped."""

FOR_TRAINING_CASES, FOR_VALIDATION_CASES = 0.25, 0.5
"""Shares of a limited time; the rest is for learning to mend masks."""

MIN_CASES = 5
"""Validation cases with a structure from which on a way to mend it is learned."""

MIN_GAIN = 0.001
"""Mean Dice that a way to mend must add."""

PRIOR = 2.0
"""Cases by whose weight the line of the predicted Dice is held at the expected one: few cases say little."""


@dataclass(frozen=True)
class SegmentedCase:
    """A validation case, or a part of one, segmented as prediction does.

    Attributes:
        case: its id.
        title: with the slices of the part.
        reference, predicted: (S, H, W), uint8, of the source's slices; of the reference :data:`IGNORE` where nobody
            judged.
        spacing: of these pixels, millimetres.
        nll: mean negative log likelihood of the sampled pixels at each temperature.
        certainty, right: of sampled pixels in question, (T, n) and (n,).
        found: how sure the network is, at each temperature.
        features: of the image.
        known: structures that the reference tells.
        histograms: of the probabilities; None where nobody asks.
    """

    case: str
    title: str
    reference: np.ndarray
    predicted: np.ndarray
    spacing: tuple[float, float, float] | None
    nll: np.ndarray
    certainty: np.ndarray
    right: np.ndarray
    found: list[dict[str, StructureConfidence]]
    features: dict[str, float]
    known: tuple[str, ...]
    histograms: ProbabilityHistograms | None = None


def read_input(prepared: Prepared, case: str, image: np.ndarray) -> NetworkInput:
    """A case of PREPARED, whose image (S, C, h, w) was read from there, as the network sees it."""
    return NetworkInput(image, prepared.placement(case), prepared.source_size(case), prepared.case_statistics(case))


def source_reference(prepared: Prepared, case: str) -> np.ndarray:
    """Labels of a case of PREPARED in its source's slices, (S, H, W), uint8."""
    inside = prepared.references(case)
    top, left, bottom, right = prepared.placement(case).box
    labels = np.zeros((len(inside), *prepared.source_size(case)), np.uint8)
    labels[:, top:bottom, left:right] = inside
    return labels


def learn_quality(
    predictor: SlicePredictor, prepared: Prepared, fold: Fold, display: Display, seconds: float | None = None
) -> tuple[Quality, list[SegmentedCase]]:
    """Segment the fold's validation cases as prediction would, and learn from what came out.

    Args:
        predictor: of a single network.
        prepared: that it was trained on.
        fold: of it.
        display: what a person sees.
        seconds: that it may take; None for all cases.

    Returns:
        What was learned, and the cases, with cleaned masks; of a large fold, or in a short time, some.
    """
    label_map, preprocessing = predictor.info.label_map, predictor.info.preprocessing
    train, val = _select_cases(fold.train), _select_cases(fold.val)
    with display.stage("learning what its masks are worth", len(train) + len(val), "case") as stage:
        usual = []
        for case, ranges in _while_time(train, seconds and seconds * FOR_TRAINING_CASES):
            usual += list(_training_features(prepared, case, ranges, preprocessing, label_map))
            stage.advance(1, case)
        ranges_of = usual_ranges(usual)
        seen: list[SegmentedCase] = []
        for case, ranges in _while_time(val, seconds and seconds * FOR_VALIDATION_CASES):
            seen += segment_case(predictor, prepared, case, ranges)
            stage.advance(1, case)
    at = int(np.argmin(np.mean([one.nll for one in seen], axis=0)))
    unchanged = TEMPERATURES.index(1.0)
    errors = _calibration_error(seen, unchanged), _calibration_error(seen, at)
    whole_cases = prepared.split.by != BY_BLOCKS
    rules, seen = _learn_postprocessing(seen, label_map) if whole_cases else ([], seen)
    validated = tuple(judge_validated(one, at, ranges_of, label_map) for one in seen)
    lines, error = fit_lines(validated)
    quality = Quality(
        protocol=PROTOCOL,
        temperature=TEMPERATURES[at],
        calibration_error=errors,
        usual=ranges_of,
        threshold=max(1.0, float(np.percentile([one.unusual for one in validated], 95))),
        lines=lines,
        error=error,
        postprocessing=tuple(rules),
        validated=validated,
        operating_points=find_operating_points([one.histograms for one in seen if one.histograms], label_map),
    )
    return quality, seen


def merge_qualities(of_folds: Sequence[Quality]) -> Quality:
    """Of an ensemble, from that of its networks, each on the cases that it did not see.

    Operating points are left to :func:`caseunet.validation.scores.validate_ensemble`, which sees the cases again.
    """
    first = of_folds[0]
    validated = tuple(case for quality in of_folds for case in quality.validated)
    rules: dict[tuple[str, str], list[PostprocessingRule]] = {}
    for quality in of_folds:
        for rule in quality.postprocessing:
            rules.setdefault((rule.structure, rule.do), []).append(rule)
    usual = []
    for one in first.usual:
        same = [u for quality in of_folds for u in quality.usual if u.name == one.name]
        spread = float(np.mean([u.spread for u in same]))
        low, high = min(u.low for u in same), max(u.high for u in same)
        usual.append(UsualRange(name=one.name, low=low, high=high, spread=spread))
    lines, error = fit_lines(validated)
    before, after = np.mean([quality.calibration_error for quality in of_folds], axis=0).tolist()
    return Quality(
        protocol=f"each network of the ensemble by itself: {first.protocol}",
        temperature=float(np.exp(np.mean([np.log(quality.temperature) for quality in of_folds]))),
        calibration_error=(before, after),
        usual=tuple(usual),
        threshold=max(quality.threshold for quality in of_folds),
        lines=lines,
        error=error,
        postprocessing=tuple(
            found[0].model_copy(
                update={
                    "least": float(np.median([rule.least for rule in found])),
                    "gain": float(np.mean([rule.gain for rule in found])),
                }
            )
            for found in rules.values()
            if len(found) > len(of_folds) / 2
        ),
        validated=validated,
    )


def fit_lines(
    validated: Sequence[ValidatedCase],
) -> tuple[dict[str, tuple[float, float]], dict[str, float | None]]:
    """``lines`` and ``error`` of :class:`Quality`.

    The line is that of least squares, with :data:`PRIOR` cases' worth of holding it at a = 0, b = 1.
    """
    lines: dict[str, tuple[float, float]] = {}
    errors: dict[str, float | None] = {}
    for structure in validated[0].dice if validated else ():
        pairs = [(case.expected[structure], case.dice[structure]) for case in validated]
        known = np.array([pair for pair in pairs if None not in pair], float).reshape(-1, 2)
        lines[structure] = _line(known)
        left_out = [np.delete(known, n, axis=0) for n in range(len(known))]
        misses = [abs(np.clip(a + b * x, 0, 1) - y) for (x, y), (a, b) in zip(known, map(_line, left_out), strict=True)]
        errors[structure] = float(np.mean(misses)) if misses else None
    return lines, errors


def _line(pairs: np.ndarray) -> tuple[float, float]:
    x, y = pairs[:, 0], pairs[:, 1]
    design = np.stack([np.ones_like(x), x], axis=1)
    gram = design.T @ design + PRIOR * np.diag([1.0, 0.05])  # a slope is worth less: x spans a small range
    a, b = np.linalg.solve(gram, design.T @ y + PRIOR * np.array([0.0, 0.05]))
    return float(a), max(float(b), 0.0)


def _select_cases(cases: dict[str, Ranges]) -> dict[str, Ranges]:
    names = sorted(cases)
    chosen = space_evenly(len(names), MAX_CASES)
    return {names[n]: cases[names[n]] for n in chosen}


def _while_time(cases: dict[str, Ranges], seconds: float | None) -> Iterator[tuple[str, Ranges]]:
    """All cases; or as many, spread over all, as there are seconds for, at least one."""
    names = list(cases)
    if seconds is None:
        yield from cases.items()
        return
    began = time.monotonic()
    for n in spread_order(len(names)):
        yield names[n], cases[names[n]]
        if time.monotonic() - began > seconds:
            return


def _training_features(
    prepared: Prepared, case: str, ranges: Ranges, preprocessing: Preprocessing, label_map: LabelMap
) -> Iterator[dict[str, float]]:
    """Of each part of a training case, with its reference taken for what was found; of some of its slices, since all of
    a large data set would be hours of reading."""
    for start, stop in ranges:
        is_small = stop - start <= MAX_SLICES  # then reading all of it at once is faster
        slices: Stack = prepared.image(case)[start:stop] if is_small else _Stored(prepared, case, start, stop)
        labels = prepared.labels(case) if is_small else None
        positions = start + space_evenly(stop - start, MAX_SLICES)
        meter = ConfidenceMeter(label_map, len(positions))
        for n, s in enumerate(positions):
            ids = torch.from_numpy(prepared.label_slice(case, int(s)) if labels is None else labels[s]).long()
            ids[ids == IGNORE] = 0
            meter.add(torch.nn.functional.one_hot(ids, len(label_map)).permute(2, 0, 1)[None].float(), n)
        features = image_features(slices, preprocessing, prepared.case_statistics(case), prepared.spacing(case))
        known = prepared.known_structures(case)
        yield features | mask_features({name: found for name, found in meter.result().items() if name in known})


class _Stored:
    """Slices (C, h, w) of a part of a case, read when they are asked for."""

    def __init__(self, prepared: Prepared, case: str, start: int, stop: int) -> None:
        self._prepared, self._case, self._positions = prepared, case, range(start, stop)

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._prepared.image_slice(self._case, self._positions[index])


def segment_case(
    predictor: SlicePredictor,
    prepared: Prepared,
    case: str,
    ranges: Ranges,
    temperatures: Sequence[float] = TEMPERATURES,
    networks: Sequence[int] | None = None,
) -> Iterator[SegmentedCase]:
    """Each part of a validation case, not cleaned.

    Args:
        temperatures: at which it is asked how sure the network is.
        networks: of an ensemble those that segment it.
    """
    label_map, preprocessing = predictor.info.label_map, predictor.info.preprocessing
    draw = np.random.default_rng(0)
    image = prepared.image(case)
    whole = read_input(prepared, case, image)
    reference, spacing = source_reference(prepared, case), prepared.spacing(case)
    undecided = _undecided_ids(prepared.merged_ids(case))
    known, group_of_case = prepared.known_structures(case), str(prepared.cases.at[case, "group"])
    for start, stop in ranges:
        ids_in_box = whole.placement.cut(reference[start:stop])
        meters = [ConfidenceMeter(label_map, stop - start) for _ in temperatures]
        sampled: list[tuple[np.ndarray, np.ndarray]] = []  # logits (n, C), ids (n,)
        share = min(1.0, MAX_SAMPLED / ids_in_box.size)
        histograms = ProbabilityHistograms(case, group_of_case)

        def on_batch(group: SliceBatch) -> None:
            first = group.slices.start - start  # noqa: B023  (called at once)
            for meter, temperature in zip(meters, temperatures, strict=True):  # noqa: B023
                meter.add((group.logits / temperature).softmax(1), first, group.first, group.height)
            row = group.box[0] - whole.placement.box[0]
            for maps in group.upsample_logits():
                ids = ids_in_box[first : first + len(maps), row : row + maps.shape[2]]  # noqa: B023
                row += maps.shape[2]
                histograms.add(maps, ids, label_map, known)  # noqa: B023
                chosen = (draw.random(ids.shape) < share) & ~np.isin(ids, undecided)  # noqa: B023
                logits = maps.permute(0, 2, 3, 1).cpu().numpy()[chosen]
                sampled.append((logits.astype(np.float64), ids[chosen]))  # noqa: B023

        predicted = predictor.label(whole, range(start, stop), networks, on_batch)[start:stop]
        histograms.add_background(reference[start:stop].size - ids_in_box.size)
        logits, ids = (np.concatenate(parts) for parts in zip(*sampled, strict=True))
        yield SegmentedCase(
            case=case,
            title=case if len(ranges) == 1 else f"{case} {start}–{stop - 1}",
            reference=reference[start:stop],
            predicted=predicted,
            spacing=spacing,
            **_likelihoods(logits, ids),
            found=[meter.result() for meter in meters],
            features=image_features(image[start:stop], preprocessing, whole.statistics, spacing),
            known=known,
            histograms=histograms,
        )


def _undecided_ids(merged: tuple[int, ...] | None) -> list[int]:
    """Ids of a reference that stand for no class or for several, of which nobody knows which is right."""
    return [IGNORE, *(i for i in set(merged or ()) if (merged or ()).count(i) > 1)]


def _likelihoods(logits: np.ndarray, ids: np.ndarray) -> dict[str, np.ndarray]:
    """``nll``, ``certainty`` and ``right`` of :class:`SegmentedCase`."""
    losses, certainties = [], []
    for temperature in TEMPERATURES:
        scaled = logits / temperature
        scaled = scaled - scaled.max(1, keepdims=True)
        logarithms = scaled - np.log(np.exp(scaled).sum(1, keepdims=True))
        losses.append(float(-logarithms[np.arange(len(ids)), ids].mean()) if len(ids) else 0.0)
        certainties.append(np.exp(logarithms.max(1)))
        if temperature == 1:
            in_question = 1 - np.exp(logarithms[:, 0]) > IN_QUESTION
    return {
        "nll": np.array(losses),
        "certainty": np.stack(certainties)[:, in_question],
        "right": (logits.argmax(1) == ids)[in_question],
    }


def _calibration_error(seen: Sequence[SegmentedCase], temperature: int, bins: int = 15) -> float:
    """Expected calibration error: |mean certainty − share of right| in equal bins of certainty, weighted by pixels."""
    certainty = np.concatenate([one.certainty[temperature] for one in seen])
    right = np.concatenate([one.right for one in seen])
    if not len(right):
        return 0.0
    number = np.minimum((certainty * bins).astype(int), bins - 1)
    gaps = [abs(certainty[number == n].sum() - right[number == n].sum()) for n in range(bins)]
    return float(sum(gaps) / len(right))


def judge_validated(one: SegmentedCase, at: int, usual: Sequence[UsualRange], label_map: LabelMap) -> ValidatedCase:
    """What was expected of a case at one of its temperatures, and how good its masks are."""
    found = one.found[at]
    far = outside(one.features | mask_features(found), usual)
    return ValidatedCase(
        case=one.title,
        expected={name: structure.expected_dice for name, structure in found.items()},
        dice={
            name: _dice(one.reference, one.predicted, members) if name in one.known else None
            for name, members in label_map.structures.items()
        },
        unusual=far[0].times if far else 0.0,
    )


def _learn_postprocessing(
    seen: Sequence[SegmentedCase], label_map: LabelMap
) -> tuple[list[PostprocessingRule], list[SegmentedCase]]:
    """For each structure, those that hold others first: the best way to drop components, then filling, if they gain.

    Returns:
        The rules, and the cases with masks that these have mended.
    """
    rules: list[PostprocessingRule] = []
    masks = [one.predicted for one in seen]
    units = {"share" if one.spacing is None else "ml" for one in seen}
    sizes = SIZES[units.pop()] if len(units) == 1 else ()  # of images with and without a spacing none is right
    order = sorted(label_map.structures, key=lambda name: -len(label_map.structures[name]))
    for structure in order:
        members = label_map.structures[structure]
        has_it = [bool(np.isin(mask, members).any()) for mask in masks]  # of the others nothing changes
        dropping = [PostprocessingRule(structure=structure, do="largest", gain=0)]
        dropping += [PostprocessingRule(structure=structure, do="small", least=least, gain=0) for least in sizes]
        for candidates in (dropping, [PostprocessingRule(structure=structure, do="fill", gain=0)]):
            best, best_masks = None, masks
            for rule in candidates:
                tried = [
                    apply_postprocessing(mask.copy(), [rule], label_map, one.spacing) if has else mask
                    for mask, one, has in zip(masks, seen, has_it, strict=True)
                ]
                gain = _gain(seen, masks, tried, structure=structure, members=members)
                if gain > max(MIN_GAIN, best.gain if best else 0.0):
                    best, best_masks = rule.model_copy(update={"gain": gain}), tried
            if best is not None:
                masks = best_masks
                rules.append(best)
    return rules, [replace(one, predicted=mask) for one, mask in zip(seen, masks, strict=True)]


def _gain(
    seen: Sequence[SegmentedCase],
    before: Sequence[np.ndarray],
    after: Sequence[np.ndarray],
    *,
    structure: str,
    members: Sequence[int],
) -> float:
    """Mean Dice of a structure that was added in the cases that tell it, 0 where it is not beyond its standard error or
    where there are few cases."""
    gains = []
    for one, old, new in zip(seen, before, after, strict=True):
        first = _dice(one.reference, old, members) if structure in one.known else None
        second = first if new is old else _dice(one.reference, new, members)
        if first is not None:  # in neither: nothing to mend
            gains.append((1.0 if second is None else second) - first)
    if len(gains) < MIN_CASES:
        return 0.0
    mean, error = float(np.mean(gains)), float(np.std(gains, ddof=1) / np.sqrt(len(gains)))
    return mean if mean > error else 0.0


def _dice(reference: np.ndarray, predicted: np.ndarray, members: Sequence[int]) -> float | None:
    there, found = np.isin(reference, members), np.isin(predicted, members) & (reference != IGNORE)
    counts = Counts(int(there.sum()), int(found.sum()), int((there & found).sum()))
    return None if np.isnan(counts.dice) else counts.dice
