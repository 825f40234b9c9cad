"""Thresholds and what they give: by hand, and what must always hold."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caseunet.bundle import OperatingPoint
from caseunet.data.transforms import pick_classes
from caseunet.types import IGNORE, Label, LabelMap
from caseunet.validation.operating_points import SENSITIVITIES, ProbabilityHistograms, find_operating_points

NAMES = ("none", "liver", "tumour")
LIVER_AND_TUMOUR = LabelMap(
    labels=tuple(Label(id=i, name=name, color=(i, 0, 0)) for i, name in enumerate(NAMES)),
    structures={"liver": (1, 2), "tumour": (2,)},
)
TUMOUR = LabelMap(
    labels=(LIVER_AND_TUMOUR.labels[0], Label(id=1, name="tumour", color=(9, 0, 0))), structures={"tumour": (1,)}
)
INSIDE, OUTSIDE = (0.9, 0.6, 0.3, 0.05), (0.8, 0.2, 0.1, 0.01, 0.01, 1e-9)


def maps_of(*probabilities: float) -> torch.Tensor:
    """Logits (1, 2, 1, W) of background and tumour."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([torch.zeros_like(p), p.logit()])[None, :, None].float()


def histograms(
    inside: tuple[float, ...], outside: tuple[float, ...], case: str = "a", group: str | None = None
) -> ProbabilityHistograms:
    reference = np.array([[[1] * len(inside) + [0] * len(outside)]], np.uint8)
    counted = ProbabilityHistograms(case, group or case)
    counted.add(maps_of(*inside, *outside), reference, TUMOUR, ["tumour"])
    return counted


def points_of(*cases: ProbabilityHistograms) -> tuple[OperatingPoint, ...]:
    return find_operating_points(cases, TUMOUR)["tumour"]


def test_operating_points_by_hand() -> None:
    """
    from   of 4 inside   of 6 outside      sensitivity  precision  specificity
    .6     .9 .6         .8                1/2          2/3        5/6
    .3     .9 .6 .3      .8                3/4          3/4        5/6
    .05    all           .8 .2 .1          1            4/7        3/6
    """
    points = points_of(histograms(INSIDE, OUTSIDE))
    rates = [(point.sensitivity, point.precision, point.specificity) for point in points]
    assert rates == [pytest.approx(row) for row in ((1 / 2, 2 / 3, 5 / 6), (3 / 4, 3 / 4, 5 / 6), (1, 4 / 7, 3 / 6))]
    for point, probability in zip(points, (0.6, 0.3, 0.05), strict=True):
        below = math.log(probability / (1 - probability)) - math.log(point.threshold / (1 - point.threshold))
        assert 0 <= below < 24 / 128
        assert (point.cases, point.interval) == (1, None)


def test_rates_are_means_over_cases() -> None:
    """One case of two pixels weighs as much as one of four; one without the structure has no sensitivity, one in which
    nothing is found no precision."""
    cases = histograms(INSIDE, OUTSIDE), histograms((0.45, 0.01), (0.01,), "b"), histograms((), (0.9, 0.01), "c")
    point = next(point for point in points_of(*cases) if 0.3 < point.threshold < 0.5)
    assert point.sensitivity == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert point.precision == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert point.specificity == pytest.approx((5 / 6 + 1 + 1 / 2) / 3)
    assert point.cases == 2
    high = points_of(histograms((0.9,), (0.01,)), histograms((0.1,), (0.01,), "b"))[0]
    assert (high.sensitivity, high.precision) == (0.5, 1)


def test_the_interval_is_over_groups() -> None:
    cases = [histograms((0.9,) * n + (0.001,) * (8 - n), (0.1,), f"case {n}", f"patient {n // 2}") for n in range(1, 9)]
    assert points_of(*cases)[0].interval is not None
    assert points_of(*cases[:6])[0].interval is None  # four patients
    point = points_of(*cases)[0]
    assert point.interval is not None
    assert point.interval[0] < point.sensitivity < point.interval[1]


def test_parts_and_background_are_added_up() -> None:
    whole, upper, lower = (
        histograms(INSIDE, OUTSIDE),
        histograms(INSIDE[:2], OUTSIDE[:3]),
        histograms((0.3, 0.05), OUTSIDE[3:]),
    )
    assert points_of(whole) == points_of(upper, lower)
    whole.add_background(6)
    assert [point.specificity for point in points_of(whole)] == pytest.approx([11 / 12, 11 / 12, 9 / 12])


def test_ignored_pixels_and_unknown_structures() -> None:
    reference = np.array([[[1, 1, IGNORE, 0]]], np.uint8)
    counted = ProbabilityHistograms("a", "a")
    counted.add(maps_of(0.9, 0.2, 0.99, 0.01), reference, TUMOUR, ["tumour"])
    assert counted.counts["tumour"].sum(1).tolist() == [1, 2]
    untold = ProbabilityHistograms("b", "b")
    untold.add(maps_of(0.9), reference[..., :1], TUMOUR, [])
    assert points_of(counted, untold) == points_of(counted)
    assert find_operating_points([histograms((), OUTSIDE)], TUMOUR) == {}


def test_what_cannot_be_reached_is_left_out() -> None:
    """One of four pixels is surely background."""
    points = points_of(histograms((0.9, 0.6, 0.3, 1e-9), OUTSIDE))
    assert max(point.sensitivity for point in points) == 0.75


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_masks_are_as_sensitive_as_asked(seed: int, cases: int) -> None:
    """On the very cases, of each structure alone; and they grow with the sensitivity."""
    random = np.random.default_rng(seed)
    seen = []
    for n in range(cases):
        ids = random.integers(0, 3, (2, 5, 7)).astype(np.uint8)
        maps = torch.from_numpy(random.normal(0, 3, (2, 3, 5, 7)).astype(np.float32))
        counted = ProbabilityHistograms(str(n), str(n))
        counted.add(maps, ids, LIVER_AND_TUMOUR, ["liver", "tumour"])
        seen.append((ids, maps, counted))
    for name, points in find_operating_points([one[2] for one in seen], LIVER_AND_TUMOUR).items():
        members = LIVER_AND_TUMOUR.structures[name]
        assert len({point.threshold for point in points}) == len(points)
        before = [np.zeros(one[0].shape, bool) for one in seen]
        for point in points:
            found = [np.isin(pick_classes(maps, [(members, point.threshold)]), members) for _, maps, _ in seen]
            inside = [np.isin(ids, members) for ids, _, _ in seen]
            values = [mask[true].mean() for mask, true in zip(found, inside, strict=True) if true.any()]
            assert point.sensitivity == pytest.approx(np.mean(values))
            assert all((old <= new).all() for old, new in zip(before, found, strict=True))
            before = found
        reached = points[-1].sensitivity
        assert all(any(point.sensitivity >= asked for point in points) for asked in SENSITIVITIES if asked <= reached)
