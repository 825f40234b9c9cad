"""The threshold that is taken for a sensitivity, and what is said of it."""

import pytest

from caseunet.bundle import BundleInfo, OperatingPoint, PostprocessingRule, Quality
from caseunet.errors import InvalidOptionError
from caseunet.prediction.operating_points import (
    choose_operating_points,
    describe_operating_point,
    list_doubts,
    select_rules,
)
from tests.validation.test_operating_points import LIVER_AND_TUMOUR


def point(threshold: float, sensitivity: float, cases: int = 20) -> OperatingPoint:
    return OperatingPoint(
        threshold=threshold, sensitivity=sensitivity, interval=(0.8, 0.97), precision=0.5, specificity=0.99, cases=cases
    )


POINTS = (point(0.6, 0.71), point(0.3, 0.82), point(0.1, 0.9), point(0.02, 0.9876))


def info(points: dict[str, tuple[OperatingPoint, ...]] | None) -> BundleInfo:
    """What a bundle says, as far as it is asked here; None for one that learnt nothing."""
    rules = [PostprocessingRule(structure=name, do="largest", gain=0.1) for name in ("liver", "tumour")]
    quality = Quality.model_construct(operating_points=points or {}, postprocessing=tuple(rules))
    return BundleInfo.model_construct(label_map=LIVER_AND_TUMOUR, quality=None if points is None else quality)


@pytest.mark.parametrize(("asked", "threshold"), [(0.5, 0.6), (0.82, 0.3), (0.83, 0.1), (0.9, 0.1), (0.98, 0.02)])
def test_the_highest_threshold_that_reaches_it(asked: float, threshold: float) -> None:
    for points in (POINTS, POINTS[::-1]):
        assert choose_operating_points(info({"tumour": points}), {"tumour": asked})["tumour"].threshold == threshold


@pytest.mark.parametrize(
    ("points", "asked", "told"),
    [
        ({"tumour": POINTS}, {"tumor": 0.5}, 'There is no structure "tumor". Did you mean "tumour"?'),
        ({"tumour": POINTS}, {"x": 0.5}, 'There is no structure "x". Known: liver, tumour'),
        (
            {"tumour": POINTS},
            {"tumour": 0.99},
            "sensitivity of 0.99 on the validation cases. .* up to a sensitivity of 0.987",
        ),
        ({"tumour": POINTS}, {"liver": 0.5}, "no threshold of liver, because no validation case has it"),
        (None, {"liver": 0.5}, "holds no thresholds.* training.quality true"),
        ({}, {"liver": 0.5}, "holds no thresholds"),
    ],
)
def test_what_cannot_be_asked_is_told(
    points: dict[str, tuple[OperatingPoint, ...]] | None, asked: dict[str, float], told: str
) -> None:
    with pytest.raises(InvalidOptionError, match=told) as raised:
        choose_operating_points(info(points), asked)
    assert raised.value.options == ("sensitivity",)


def test_a_threshold_is_described_in_a_line() -> None:
    assert describe_operating_point("tumour", POINTS[1]) == (
        "tumour: pixels with a probability of 0.3 or more. In validation (20 cases) sensitivity 0.820 (95 % interval "
        "0.800–0.970), precision 0.500, specificity 0.9900"
    )
    bare = POINTS[1].model_copy(update={"interval": None, "precision": None, "specificity": None, "cases": 1})
    assert describe_operating_point("tumour", bare).endswith("In validation (1 case) sensitivity 0.820 (no interval)")


def test_few_cases_are_doubted() -> None:
    assert list_doubts({"tumour": point(0.1, 0.9, 10)}) == []
    assert list_doubts({"tumour": point(0.1, 0.9, 9)}) == [
        "the threshold of tumour was chosen on 9 validation cases, so its sensitivity on new images may be far "
        "from that"
    ]


def test_rules_that_would_change_the_mask_are_left_out() -> None:
    """The liver holds the tumour: to drop a piece of it would drop the tumours in it."""
    known = info({"tumour": POINTS, "liver": POINTS})
    assert [rule.structure for rule in select_rules(known, {})] == ["liver", "tumour"]
    assert select_rules(known, {"tumour": POINTS[0]}) == ()
    kidney = LIVER_AND_TUMOUR.model_copy(update={"structures": {"liver": (1,), "tumour": (2,)}})
    apart = known.model_copy(update={"label_map": kidney})
    assert [rule.structure for rule in select_rules(apart, {"tumour": POINTS[0]})] == ["liver"]
    assert select_rules(info(None), {}) == ()
