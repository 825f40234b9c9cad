"""The quality gate: expected Dice, usual ranges, flags, worked out by hand."""

import math

import numpy as np
import pytest
import torch

from caseunet.bundle import Bundle, Quality, UsualRange, ValidatedCase
from caseunet.quality.confidence import ConfidenceMeter, StructureConfidence
from caseunet.quality.judgement import CaseQuality, MaskLevel, judge_case, list_limits
from caseunet.quality.out_of_distribution import image_features, mask_features, outside, usual_ranges
from caseunet.types import Label, LabelMap, Preprocessing

MAP = LabelMap(
    labels=tuple(Label(id=n, name=name, color=(n, 0, 0)) for n, name in enumerate(("none", "liver", "tumour"))),
    structures={"liver": (1, 2), "tumour": (2,)},
)


def test_expected_dice_share_and_centre() -> None:
    """Two slices of 1 × 2 pixels; the liver has .9 of one pixel and .4 of another that it does not win."""
    probabilities = torch.tensor([[[[0.1, 0.6]], [[0.9, 0.3]], [[0.0, 0.1]]]])  # (1, 3, 1, 2)
    meter = ConfidenceMeter(MAP, slices=2)
    meter.add(probabilities, first=1)
    found = meter.result()
    assert found["liver"].expected_dice == pytest.approx(2 * 0.9 / (0.9 + 0.4 + 1))
    assert found["liver"].share == pytest.approx(1 / 4)  # the slice that was not added counts too
    assert found["liver"].centre == pytest.approx((1.5 / 2, 0.5, 0.25))
    assert found["tumour"] == StructureConfidence(expected_dice=None, share=0.0, centre=None)


def test_a_sure_network_expects_a_dice_of_one() -> None:
    probabilities = torch.nn.functional.one_hot(torch.tensor([[[0, 1], [2, 1]]]), 3).permute(0, 3, 1, 2).float()
    meter = ConfidenceMeter(MAP, slices=1)
    meter.add(probabilities, 0)
    assert meter.result()["tumour"].expected_dice == pytest.approx(1)
    assert meter.result()["liver"].share == pytest.approx(3 / 4)


def features_of(pixels: np.ndarray, spacing: tuple[float, float, float] | None = (3.0, 1.0, 1.0)) -> dict[str, float]:
    p = Preprocessing(modality="mr", channels=1, mean=(10.0,), std=(5.0,))
    return image_features(pixels, p, np.zeros((2, 1), np.float32), spacing)


def test_features_are_those_of_network_s_input() -> None:
    pixels = np.zeros((2, 1, 2, 4))
    pixels[..., 2:] = 20  # (20 − 10) / 5 = 2, and −2 on the left
    found = features_of(pixels)
    assert found["size:rows"] == pytest.approx(math.log(2))
    assert found["spacing:slices"] == pytest.approx(math.log(3))
    assert (found["percentile:10"], found["percentile:90"], found["contrast"]) == pytest.approx((-2, 2, 2))
    assert found["balance:columns"] == pytest.approx(-2)  # −4 in contrasts of 2
    assert (found["balance:rows"], found["balance:slices"]) == (0, 0)
    assert features_of(pixels[..., ::-1])["balance:columns"] == pytest.approx(2)
    assert "spacing:rows" not in features_of(pixels, None)
    assert "steps" not in features_of(pixels[:1])


def test_noise_raises_its_feature() -> None:
    rng = np.random.default_rng(0)
    smooth = np.linspace(0, 20, 64 * 64).reshape(1, 1, 64, 64)
    noisy = smooth + rng.normal(0, 5, smooth.shape)
    assert features_of(noisy)["noise"] > features_of(smooth)["noise"] + 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1)])
def test_a_line_of_pixels_has_features(size: tuple[int, int]) -> None:
    assert np.isfinite(list(features_of(np.ones((1, 1, *size))).values())).all()


def test_usual_ranges_need_eight_cases() -> None:
    cases = [{"size:rows": float(n)} for n in range(8)]
    assert usual_ranges(cases[:7]) == ()
    (usual,) = usual_ranges(cases)
    assert (usual.low, usual.high) == (0, 7)
    assert usual.spread == pytest.approx(math.sqrt(5.25))
    assert usual_ranges([*cases, *({"other": 1.0} for _ in range(9))])[0].name == "other"  # most have it
    assert outside({"size:rows": 7.0}, (usual,)) == []
    far = outside({"size:rows": 7 + 2 * usual.spread, "unknown": 3.0}, (usual,))
    assert [unusual.times for unusual in far] == pytest.approx([2])
    assert far[0].text == "there are 1.07e+05 rows; in training 1 to 1.1e+03"


def test_what_was_found_has_a_size_and_a_place() -> None:
    found = {"liver": StructureConfidence(0.9, 0.25, (0.5, 0.25, 0.75)), "tumour": StructureConfidence(None, 0.0, None)}
    assert mask_features(found) == {
        "absent:liver": 0.0,
        "absent:tumour": 1.0,
        "share:liver": pytest.approx(math.log(0.25)),
        "place:liver among slices": 0.5,
        "place:liver among rows": 0.25,
        "place:liver among columns": 0.75,
    }


def test_a_structure_that_every_training_case_had_is_missed() -> None:
    liver, none = StructureConfidence(0.9, 0.25, (0.5, 0.25, 0.75)), StructureConfidence(None, 0.0, None)
    training = [mask_features({"liver": liver, "tumour": liver if n % 2 else none}) for n in range(10)]
    usual = usual_ranges(training)
    (missed,) = outside(mask_features({"liver": none, "tumour": none}), usual)
    assert missed.text == "nothing was found of liver, which every training case had"
    assert missed.times > 10


def quality(threshold: float = 2.0) -> Quality:
    return Quality(
        protocol="",
        temperature=1.0,
        calibration_error=(0.1, 0.05),
        usual=(UsualRange(name="contrast", low=1.0, high=2.0, spread=0.5),),
        threshold=threshold,
        lines={"liver": (0.1, 0.8), "tumour": (-2.0, 1.0)},
        error={},
        postprocessing=(),
        validated=(),
    )


def test_a_case_is_judged_by_its_line_and_its_farthest_feature() -> None:
    found = {"liver": StructureConfidence(0.5, 0.1, None), "tumour": StructureConfidence(None, 0.0, None)}
    usual = judge_case(quality(), {"contrast": 2.9}, found)
    assert usual.predicted_dice == {"liver": pytest.approx(0.5), "tumour": None}
    assert (usual.unusual, usual.flagged, usual.reasons) == (pytest.approx(1.8), False, ())
    strange = judge_case(quality(), {"contrast": 3.5}, found)
    assert (strange.unusual, strange.flagged) == (pytest.approx(3), True)
    assert strange.reasons == ("the standard deviation of the network's input is 3.5; in training 1 to 2",)


def case_of(
    dice: float | None, unusual: float | None = 0.0, flagged: bool = False, mask: MaskLevel = "good"
) -> CaseQuality:
    return CaseQuality(predicted_dice={"liver": dice}, unusual=unusual, flagged=flagged, reasons=(), mask=mask)


def test_cases_to_look_at_first_come_first() -> None:
    ordered = [
        case_of(0.2, 3.0, flagged=True, mask="poor"),
        case_of(0.95, 4.0, flagged=True),
        case_of(0.3, mask="poor"),
        case_of(0.65, mask="fair"),
        case_of(None, mask="unknown"),
        case_of(0.9, 1.9),
    ]
    assert sorted(ordered, key=lambda one: one.urgency, reverse=True) == ordered
    assert [one.is_first for one in ordered] == [True, True, True, False, False, False]
    assert [one.is_reassuring for one in ordered] == [False, False, False, False, False, True]
    assert not case_of(0.9, unusual=None).is_reassuring  # nothing is known of its image


def validated(*dice: float | None, error: float | None = 0.03) -> Quality:
    cases = tuple(
        ValidatedCase(case=str(n), expected={"liver": value}, dice={"liver": value}, unusual=0.0)
        for n, value in enumerate(dice)
    )
    update = {"validated": cases, "lines": {"liver": (0.0, 1.0)}, "error": {"liver": error}}
    return quality().model_copy(update=update)


@pytest.mark.parametrize(
    ("dice", "error", "predicted", "level", "says"),
    [
        ((0.9, 0.92, 0.94, 0.95, 0.96), 0.03, 0.93, "good", ""),
        ((0.9, 0.92, 0.94, 0.95, 0.96), 0.03, 0.28, "poor", "predicted Dice of liver is 0.28"),
        ((0.9, 0.92, 0.94, 0.95, 0.96), 0.03, 0.84, "poor", "below that of every validation case (the worst 0.90)"),
        ((0.5, 0.92, 0.94, 0.95, 0.96), 0.03, 0.86, "fair", "three of four validation cases had more than 0.92"),
        ((0.6, 0.65, 0.7, 0.75, 0.8), 0.03, 0.68, "fair", "predicted Dice of liver is 0.68"),
        ((0.9, 0.95), 0.03, 0.93, "unknown", "too few cases to trust its predicted Dice (2)"),
        ((None,) * 6, None, 0.93, "unknown", "no validation case tells"),
        ((0.1, 0.2, 0.3, 0.9, 0.9), 0.03, 0.9, "fair", "the median Dice of liver was 0.30"),
        ((0.5, 0.9, 0.9, 0.9, 0.9), 0.2, 0.9, "fair", "the predicted Dice was off by 0.20"),
        ((0.3, 0.3, 0.3, 0.3, 0.3), 0.03, 0.3, "poor", "predicted Dice of liver is 0.30"),  # usual for the model
        ((0.9,) * 2, 0.03, None, "poor", "nothing was found of liver, which every validation case had"),
        ((0.9,) * 4 + (None,), 0.03, None, "unknown", ""),
    ],
)
def test_a_mask_is_judged_by_validation(
    dice: tuple[float | None, ...], error: float | None, predicted: float | None, level: str, says: str
) -> None:
    judged = judge_case(validated(*dice, error=error), {}, {"liver": StructureConfidence(predicted, 0.1, None)})
    assert judged.mask == level
    assert (says in " ".join(judged.mask_reasons)) if says else judged.mask_reasons == ()
    assert judged.is_first == (level == "poor")
    assert judged.is_reassuring == (level == "good")
    assert judged.image == "usual"


def test_the_worst_structure_counts() -> None:
    both = validated(*(0.9,) * 5)
    found = {"liver": StructureConfidence(0.9, 0.1, None), "tumour": StructureConfidence(0.2, 0.1, None)}
    judged = judge_case(both.model_copy(update={"lines": {}}), {}, found)
    assert (judged.mask, judged.mask_reasons) == ("poor", ("the predicted Dice of tumour is 0.20",))


def test_alarms_flag_an_image_without_quality() -> None:
    judged = judge_case(None, {}, {}, ["it is none"])
    assert (judged.flagged, judged.image, judged.mask) == (True, "unusual", "unknown")
    assert judged.reasons == ("it is none",)


def test_limits_of_the_gate_are_said(lits_bundle: Bundle) -> None:
    info = lits_bundle.info.model_copy(update={"quality": None})
    assert list_limits(info)[0].startswith("The model says nothing of its masks")
    structures = list(info.label_map.structures)
    known = [ValidatedCase(case=str(n), expected={}, dice=dict.fromkeys(structures, 0.9), unusual=0) for n in range(5)]
    good = quality().model_copy(update={"validated": tuple(known)})
    many = info.training_data.model_copy(update={"cases": 8})
    assert list_limits(info.model_copy(update={"quality": good, "training_data": many})) == ()
    few = list_limits(info.model_copy(update={"quality": good.model_copy(update={"usual": ()})}))
    assert few == ("There were too few training cases to tell which images are unlike them.",)
    poor = tuple(case.model_copy(update={"dice": dict.fromkeys(structures, 0.2)}) for case in known)
    bad = good.model_copy(update={"validated": poor})
    said = list_limits(info.model_copy(update={"quality": bad, "training_data": many}))
    assert said[0] == f"In validation the median Dice of {structures[0]} was 0.20: expect poor masks."
    few = list_limits(info.model_copy(update={"quality": quality(), "training_data": many}))
    assert few[0] == f"No validation case had {structures[0]}: its predicted Dice says little."


def test_older_judgements_load() -> None:
    """Those of predictions that were written before masks had a level."""
    old = {"predicted_dice": {"liver": 0.9}, "unusual": 0.0, "flagged": False, "reasons": []}
    assert not CaseQuality.model_validate(old).is_reassuring
