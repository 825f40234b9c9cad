"""What validation teaches: temperature, predicted Dice, post-processing, and what an ensemble makes of its folds'."""

import numpy as np
import pytest

from caseunet.bundle import Bundle, Quality, ValidatedCase, load_bundle
from caseunet.config import DataConfig
from caseunet.data.normalization import plan_preprocessing
from caseunet.data.store import Prepared
from caseunet.prediction.predictor import SlicePredictor
from caseunet.progress import Display
from caseunet.validation import calibration
from caseunet.validation.calibration import TEMPERATURES, SegmentedCase, fit_lines, learn_quality, merge_qualities


def case(expected: float | None, dice: float | None) -> ValidatedCase:
    return ValidatedCase(case="c", expected={"liver": expected}, dice={"liver": dice}, unusual=0.0)


def test_with_few_cases_the_expected_dice_is_taken_and_with_many_the_line() -> None:
    lines, error = fit_lines([case(0.9, 0.5)])
    a, b = lines["liver"]
    assert 0.5 < a + b * 0.9 < 0.9
    assert error["liver"] == pytest.approx(0.4)  # predicted from no other case: 0.9
    many = [case(x, 0.2 + 0.5 * x) for x in np.linspace(0, 1, 200)]
    a, b = fit_lines(many)[0]["liver"]
    assert (a, b) == (pytest.approx(0.2, abs=0.02), pytest.approx(0.5, abs=0.02))
    assert fit_lines([case(None, 0.5), case(0.5, None)]) == ({"liver": (0.0, 1.0)}, {"liver": None})


def test_a_falling_line_is_made_level() -> None:
    assert fit_lines([case(x, 1 - x) for x in np.linspace(0, 1, 200)])[0]["liver"][1] == 0


def test_the_temperature_of_overconfident_logits_is_found() -> None:
    """Logits that are three times those the labels were drawn from."""
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, (100_000, 2))
    p = np.exp(honest[:, 1]) / np.exp(honest).sum(1)
    ids = (rng.random(len(p)) < p).astype(int)
    found = calibration._likelihoods(3 * honest, ids)
    best = TEMPERATURES[int(np.argmin(found["nll"]))]
    assert best in (2**1.5, 2**1.75)  # the neighbours of 3
    seen = [type("Seen", (), {"certainty": found["certainty"], "right": found["right"]})]
    before, after = (calibration._calibration_error(seen, TEMPERATURES.index(t)) for t in (1.0, best))  # type: ignore[arg-type]
    assert before > 0.1
    assert after < 0.03


def learned(bundle: Bundle) -> Quality:
    assert bundle.info.quality is not None
    return bundle.info.quality


def test_training_ends_with_it(lits_bundle: Bundle, lits_prepared: Prepared) -> None:
    quality = learned(load_bundle(lits_bundle.folder))
    fold = lits_prepared.fold(0)
    assert {one.case for one in quality.validated} == set(fold.val)
    assert quality.usual == ()  # two training cases say nothing about others
    assert quality.temperature in TEMPERATURES
    assert all(0 <= value <= 1 for one in quality.validated for value in one.expected.values() if value is not None)
    assert learn_quality(SlicePredictor(lits_bundle), lits_prepared, fold, Display())[0] == quality


def test_an_ensemble_pools_its_folds(lits_bundle: Bundle) -> None:
    one = learned(lits_bundle)
    other = one.model_copy(update={"temperature": one.temperature * 4, "threshold": 9.0})
    merged = merge_qualities([one, other])
    assert merged.temperature == pytest.approx(2 * one.temperature)
    assert merged.threshold == 9
    assert merged.validated == one.validated + other.validated


def test_ways_to_mend_are_learned_only_where_they_gain() -> None:
    """Six cases: a square, and in four of them a lone pixel beside it that the reference lacks."""
    from caseunet.types import Label, LabelMap

    label_map = LabelMap(
        labels=(Label(id=0, name="none", color=(0, 0, 0)), Label(id=1, name="liver", color=(9, 0, 0))),
        structures={"liver": (1,)},
    )
    reference = np.zeros((3, 8, 8), np.uint8)
    reference[:, 2:5, 2:5] = 1

    def seen(extra: bool, spacing: tuple[float, float, float] | None = (10.0, 10.0, 10.0)) -> SegmentedCase:
        predicted = reference.copy()
        predicted[1, 7, 7] = extra
        nothing = np.zeros(0)
        return SegmentedCase("c", "c", reference, predicted, spacing, nothing, nothing, nothing, [], {}, ("liver",))

    (rule,), mended = calibration._learn_postprocessing([seen(n < 4) for n in range(6)], label_map)
    assert all(np.array_equal(one.predicted, reference) for one in mended)
    assert (rule.structure, rule.do) == ("liver", "largest")
    assert rule.gain == pytest.approx(4 / 6 * (1 - 2 * 27 / 55))
    assert calibration._learn_postprocessing([seen(False)] * 6, label_map)[0] == []
    assert calibration._learn_postprocessing([seen(True)] * 4, label_map)[0] == []  # too few cases


def test_of_a_long_case_some_slices_tell(lits_prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read slice by slice it gives what it gives when it is read at once, and of fewer slices about that."""
    preprocessing = plan_preprocessing(
        lits_prepared.info, lits_prepared.info.intensities, DataConfig(normalization="zscore"), (64, 64)
    )
    case, slices = "volume-0", ((0, int(lits_prepared.cases.at["volume-0", "slices"])),)

    def found() -> dict[str, float]:
        (features,) = calibration._training_features(
            lits_prepared, case, slices, preprocessing, lits_prepared.info.label_map
        )
        return features

    whole = found()
    monkeypatch.setattr(calibration, "MAX_SLICES", slices[0][1] - 1)
    some = found()
    assert some.keys() == whole.keys()
    assert {name: value for name, value in some.items() if not name.startswith(("share", "place"))} == pytest.approx(
        {name: value for name, value in whole.items() if not name.startswith(("share", "place"))}
    )
    for name, value in some.items():
        assert value == pytest.approx(whole[name], abs=0.3), name
