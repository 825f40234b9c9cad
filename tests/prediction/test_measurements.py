"""Measurements: numbers derived by hand, and the longest diameter against every pair of corners."""

import itertools
import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from caseunet import CaseUNetError
from caseunet.prediction.measurements import (
    MAX_COMPONENTS,
    StructureMeasurement,
    Timeline,
    measure_volume,
    timeline,
    to_rows,
)
from caseunet.types import Label, LabelMap

CUBES = (1.0, 1.0, 1.0)


def label_map(**structures: tuple[int, ...]) -> LabelMap:
    labels = tuple(Label(id=i, name=f"class {i}", color=(i, i, i)) for i in range(4))
    return LabelMap(labels=labels, structures=structures)


ORGAN = label_map(organ=(1,))


def measure_one(labels: np.ndarray, spacing: tuple[float, float, float] | None) -> StructureMeasurement:
    (measurement,) = measure_volume(labels.astype(np.uint8), spacing, ORGAN)
    return measurement


def ball(shape: tuple[int, int, int], center: tuple[int, int, int], squared_radius: int) -> np.ndarray:
    grid = np.indices(shape) - np.reshape(center, (3, 1, 1, 1))
    return (grid**2).sum(axis=0) <= squared_radius


def test_without_thickness_there_is_no_volume() -> None:
    labels = np.zeros((1, 10, 12), np.uint8)
    labels[0, 4:7, 1:9] = 1  # 3 × 4 mm
    (found,) = measure_volume(labels, (1.0, 1.0, 0.5), ORGAN, has_thickness=False)
    assert (found.volume_ml, found.largest_component_ml, found.largest[0].volume_ml) == (None, None, None)
    assert found.longest_diameter_mm == pytest.approx(5)
    assert found.area_share == pytest.approx(24 / 120)


def test_a_box_with_unequal_spacing() -> None:
    labels = np.zeros((6, 10, 12))
    labels[2:4, 4:7, 1:9] = 1  # 2 × 3 × 8 voxels of 5 × 1 × 0.5 mm: 120 mm³; in a slice 3 × 4 mm
    found = measure_one(labels, (5.0, 1.0, 0.5))
    assert (found.structure, found.voxels, found.components) == ("organ", 48, 1)
    assert found.volume_ml == pytest.approx(0.12)
    assert found.largest_component_ml == pytest.approx(0.12)
    assert found.longest_diameter_mm == pytest.approx(5)
    assert (found.longest_diameter_px, found.area_share, found.burden, found.burden_of) == (None, None, None, None)
    (component,) = found.largest
    assert (component.voxels, component.diameter_slice, component.longest_diameter_px) == (48, 2, None)
    assert component.volume_ml == pytest.approx(0.12)
    assert component.longest_diameter_mm == pytest.approx(5)
    assert component.centroid == pytest.approx((2.5, 5.0, 4.5))


def test_two_balls() -> None:
    shape = (9, 20, 30)
    found = measure_one(ball(shape, (4, 5, 22), 4) | ball(shape, (4, 10, 8), 9), CUBES)
    assert found.components == 2
    assert found.voxels == 123 + 33  # whole points within 3 and within 2 of a whole point
    assert found.longest_diameter_mm == pytest.approx(math.sqrt(50))
    assert found.largest_component_ml == pytest.approx(0.123)
    large, small = found.largest
    assert (large.voxels, large.centroid) == (123, pytest.approx((4, 10, 8)))
    assert large.longest_diameter_mm == pytest.approx(math.sqrt(50))  # 1 × 7 and 5 × 5 pixels
    assert large.diameter_slice == 3  # 5 × 5 pixels; the middle slice is no longer
    assert (small.voxels, small.centroid) == (33, pytest.approx((4, 5, 22)))
    assert small.longest_diameter_mm == pytest.approx(math.sqrt(26))  # 1 × 5 pixels
    assert small.diameter_slice == 4


@pytest.mark.parametrize(
    ("other", "components"),
    [((1, 1, 1), 1), ((0, 1, 1), 1), ((1, 0, 1), 1), ((0, 0, 1), 1), ((0, 0, 2), 2), ((2, 1, 1), 2)],
)
def test_neighbours_share_a_corner_at_least(other: tuple[int, int, int], components: int) -> None:
    labels = np.zeros((3, 3, 3))
    labels[0, 0, 0] = labels[other] = 1
    assert measure_one(labels, CUBES).components == components


def test_an_l_is_measured_from_end_to_end() -> None:
    labels = np.zeros((1, 8, 16))
    labels[0, 1:6, 2] = labels[0, 5, 2:14] = 1  # arms of 5 and 12 pixels
    assert measure_one(labels, CUBES).longest_diameter_mm == pytest.approx(13)
    assert measure_one(labels, None).longest_diameter_px == pytest.approx(13)


def test_a_plate_across_slices_is_short_in_each() -> None:
    labels = np.zeros((10, 4, 14))
    labels[:, 2, 1:3] = 1
    found = measure_one(labels, (5.0, 1.0, 1.0))
    assert found.longest_diameter_mm == pytest.approx(math.sqrt(5))
    assert found.largest[0].diameter_slice == 0

    stairs = np.zeros((10, 4, 14))
    stairs[np.arange(10), 1, np.arange(10)] = 1
    stairs[7, 1, 8] = 1
    found = measure_one(stairs, (5.0, 1.0, 1.0))
    assert found.components == 1
    assert found.longest_diameter_mm == pytest.approx(math.sqrt(5))
    assert found.largest[0].diameter_slice == 7


def test_parts_of_one_component_in_a_slice_are_measured_as_one() -> None:
    labels = np.zeros((2, 1, 5))
    labels[0, 0, [0, 4]] = labels[1, 0, 1:4] = 1
    (component,) = measure_one(labels, CUBES).largest
    assert component.longest_diameter_mm == pytest.approx(math.sqrt(26))
    assert component.diameter_slice == 0


def test_burden_is_of_smallest_structure_around() -> None:
    labels = np.zeros((2, 5, 10), np.uint8)
    labels[0] = 1  # 50
    labels[1, :3] = 2  # 30
    labels[1, 3:] = 3  # 20
    nested = label_map(body=(1, 2, 3), lesion=(3,), organ=(3, 2), again=(2, 3), rest=(1,))
    found = {m.structure: m for m in measure_volume(labels, (1.0, 2.0, 5.0), nested)}
    assert list(found) == ["body", "lesion", "organ", "again", "rest"]
    assert {name: (m.burden, m.burden_of) for name, m in found.items()} == {
        "body": (None, None),
        "lesion": (pytest.approx(0.4), "organ"),
        "organ": (pytest.approx(0.5), "body"),
        "again": (pytest.approx(0.5), "body"),
        "rest": (pytest.approx(0.5), "body"),
    }
    assert found["organ"].volume_ml == pytest.approx(0.5)


def test_what_is_not_there_is_zero_or_none() -> None:
    liver, tumor = measure_volume(np.zeros((3, 4, 5), np.uint8), CUBES, label_map(liver=(1, 2), tumor=(2,)))
    assert tumor == StructureMeasurement("tumor", 0, 0.0, None, 0, None, None, None, None, "liver", ())
    assert liver == StructureMeasurement("liver", 0, 0.0, None, 0, None, None, None, None, None, ())
    (image,) = measure_volume(np.zeros((1, 4, 5), np.uint8), None, ORGAN)
    assert image == StructureMeasurement("organ", 0, None, 0.0, 0, None, None, None, None, None, ())

    labels = np.ones((1, 2, 2), np.uint8)
    _, tumor = measure_volume(labels, CUBES, label_map(liver=(1, 2), tumor=(2,)))
    assert (tumor.burden, tumor.burden_of) == (0.0, "liver")


def test_an_image_without_spacing_is_measured_in_pixels() -> None:
    labels = np.zeros((1, 4, 5))
    labels[0, 1, 2:4] = labels[0, 2, 4] = 1
    found = measure_one(labels, None)
    assert (found.voxels, found.components, found.area_share) == (3, 1, pytest.approx(0.15))
    assert (found.volume_ml, found.largest_component_ml, found.longest_diameter_mm) == (None, None, None)
    assert found.longest_diameter_px == pytest.approx(math.sqrt(13))  # 2 rows, 3 columns
    (component,) = found.largest
    assert (component.volume_ml, component.longest_diameter_mm) == (None, None)
    assert component.longest_diameter_px == found.longest_diameter_px
    assert component.centroid == pytest.approx((0, 4 / 3, 3))


def test_of_many_components_largest_are_listed() -> None:
    labels = np.zeros((1, 22, 22))
    labels[0, ::2, ::2] = 1  # 121 single pixels
    labels[0, 21, 20] = 1
    found = measure_one(labels, None)
    assert (found.components, found.voxels, len(found.largest)) == (121, 122, MAX_COMPONENTS)
    assert [component.voxels for component in found.largest] == [2] + [1] * (MAX_COMPONENTS - 1)
    assert found.largest[0].centroid == pytest.approx((0, 20.5, 20))


def corners(pixels: np.ndarray, rows: float, columns: float) -> np.ndarray:
    """The four corners (4 N, 2) of pixels (N, 2)."""
    return np.concatenate([pixels + offset for offset in itertools.product((0, 1), repeat=2)]) * (rows, columns)


def longest_of_all_pairs(points: np.ndarray) -> float:
    return float(np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=-1)).max())


def flood(mask: np.ndarray) -> list[np.ndarray]:
    """The voxels (N, 3) of every component, found one by one."""
    left = {tuple(voxel) for voxel in np.argwhere(mask).tolist()}
    found = []
    while left:
        group, front = [], [left.pop()]
        while front:
            voxel = front.pop()
            group.append(voxel)
            near = {tuple(np.add(voxel, step).tolist()) for step in itertools.product((-1, 0, 1), repeat=3)} & left
            left -= near
            front.extend(near)
        found.append(np.array(group))
    return found


@settings(max_examples=150, deadline=None)
@given(
    mask=hnp.arrays(
        bool,
        st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
        elements=st.integers(0, 3).map(lambda n: n == 0),
    ),
    rows=st.sampled_from((0.25, 1.0, 3.0)),
    columns=st.sampled_from((0.5, 1.0, 2.0)),
)
def test_components_agree_with_every_pair_of_corners(mask: np.ndarray, rows: float, columns: float) -> None:
    found = measure_one(mask, (2.0, rows, columns))
    expected = {}
    for voxels in flood(mask):
        longest = 0.0
        for s in np.unique(voxels[:, 0]):
            points = corners(voxels[voxels[:, 0] == s, 1:], rows, columns)
            length = longest_of_all_pairs(points)
            sides = points.max(axis=0) - points.min(axis=0)
            assert sides.max() <= length * (1 + 1e-12)
            assert length <= math.hypot(*sides) * (1 + 1e-12)
            longest = max(longest, length)
        expected[tuple(voxels.mean(axis=0).round(6).tolist()), len(voxels)] = longest
    listed = {(tuple(np.round(c.centroid, 6).tolist()), c.voxels): c.longest_diameter_mm for c in found.largest}
    assert found.components == len(flood(mask))
    assert found.voxels == mask.sum()
    assert listed == pytest.approx(expected)
    assert found.longest_diameter_mm == (pytest.approx(max(expected.values())) if expected else None)
    sizes = [c.voxels for c in found.largest]
    assert sizes == sorted(sizes, reverse=True)


SLANTS = {
    "60 degrees": ((0.0, 1.0, 0.0), (0.0, 0.5, math.sqrt(0.75))),
    "150 degrees": ((0.0, 3.0, 0.0), (0.0, -math.sqrt(0.75), 0.5)),
    "in space": ((0.2, -0.5, 0.1), (0.5, 1.0, 0.5)),
}
"""From a row and from a column to the next."""


@settings(max_examples=60, deadline=None)
@given(
    mask=hnp.arrays(
        bool,
        st.tuples(st.integers(1, 2), st.integers(1, 8), st.integers(1, 8)),
        elements=st.integers(0, 3).map(lambda n: n == 0),
    ),
    slant=st.sampled_from(list(SLANTS)),
)
def test_slanting_diameters_by_every_pair(mask: np.ndarray, slant: str) -> None:
    down, across = np.array(SLANTS[slant])
    found = measure_one(mask, np.array([(3.0, 0.1, 0.2), down, across]))
    expected = {}
    for voxels in flood(mask):
        by_slice = [corners(voxels[voxels[:, 0] == s, 1:], 1, 1) @ [down, across] for s in np.unique(voxels[:, 0])]
        longest = max(math.sqrt(((p[:, None] - p) ** 2).sum(-1).max()) for p in by_slice)
        expected[tuple(voxels.mean(axis=0).round(6).tolist()), len(voxels)] = longest
    listed = {(tuple(np.round(c.centroid, 6).tolist()), c.voxels): c.longest_diameter_mm for c in found.largest}
    assert listed == pytest.approx(expected)


def test_a_slanting_voxel() -> None:
    """Rows and columns of 2 mm at 60 degrees: 2 · 2 · sin 60° · 5 = 17.32 mm³, and its diagonals are 2 and √12 mm."""
    labels = np.zeros((3, 4, 4))
    labels[1, 2, 2] = 1
    found = measure_one(labels, np.array([(0, 0, 5.0), (2, 0, 0), (1, math.sqrt(3), 0)]))
    assert found.volume_ml == found.largest_component_ml == pytest.approx(0.01 * math.sqrt(3))
    assert found.longest_diameter_mm == pytest.approx(math.sqrt(12))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), density=st.sampled_from((0.02, 0.3, 0.6, 1.0)), rows=st.sampled_from((0.3, 1.0)))
def test_diameter_of_a_large_slice(seed: int, density: float, rows: float) -> None:
    """Shapes with many rows, where most are struck out before pairs are compared."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((40, 50))
    a, b = rng.uniform(3, 20, 2)
    turn = rng.uniform(0, math.pi)
    u, v = (y - 20) * math.cos(turn) + (x - 25) * math.sin(turn), (x - 25) * math.cos(turn) - (y - 20) * math.sin(turn)
    mask = ((u / a) ** 2 + (v / b) ** 2 < 1) & (rng.random((40, 50)) < density)
    whole = np.stack([mask, np.ones_like(mask)])  # the slice above joins everything
    component = measure_one(whole, (1.0, rows, 1.0)).largest[0]
    assert component.longest_diameter_mm == pytest.approx(math.hypot(40 * rows, 50))
    assert component.diameter_slice == 1
    for voxels in flood(mask[None]):
        alone = np.zeros((1, 40, 50))
        alone[tuple(voxels.T)] = 1
        expected = longest_of_all_pairs(corners(voxels[:, 1:], rows, 1.0))
        assert measure_one(alone, (1.0, rows, 1.0)).longest_diameter_mm == pytest.approx(expected)


def test_order_in_memory_makes_no_difference() -> None:
    labels = (np.random.default_rng(0).random((5, 6, 7)) < 0.3).astype(np.uint8)
    assert measure_one(np.asfortranarray(labels), (3.0, 1.0, 2.0)) == measure_one(labels, (3.0, 1.0, 2.0))


def test_memory_is_a_few_times_the_label_map() -> None:
    labels = np.ones((16, 256, 256), np.uint8)
    labels[4:8] = 2
    measure_volume(labels[:1], CUBES, label_map(liver=(1, 2), tumor=(2,)))  # imports
    tracemalloc.start()
    try:
        measure_volume(labels, CUBES, label_map(liver=(1, 2), tumor=(2,)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * labels.nbytes


def test_rows_are_flat() -> None:
    labels = np.zeros((2, 4, 5), np.uint8)
    labels[0, 0, :2] = 1
    labels[1, 0, 1] = 2
    both = label_map(liver=(1, 2), tumor=(2,))
    assert to_rows("case 7", measure_volume(labels, (10.0, 10.0, 10.0), both)) == [
        {
            "case": "case 7",
            "structure": "liver",
            "voxels": 3,
            "volume_ml": pytest.approx(3),
            "area_share": None,
            "components": 1,
            "longest_diameter_mm": pytest.approx(math.sqrt(500)),
            "longest_diameter_px": None,
            "largest_component_ml": pytest.approx(3),
            "burden": None,
            "burden_of": None,
        },
        {
            "case": "case 7",
            "structure": "tumor",
            "voxels": 1,
            "volume_ml": pytest.approx(1),
            "area_share": None,
            "components": 1,
            "longest_diameter_mm": pytest.approx(math.sqrt(200)),
            "longest_diameter_px": None,
            "largest_component_ml": pytest.approx(1),
            "burden": pytest.approx(1 / 3),
            "burden_of": "liver",
        },
    ]


@pytest.mark.parametrize(
    ("labels", "spacing", "message"),
    [
        (np.zeros((4, 5), np.uint8), CUBES, r"shape \(4, 5\) and type uint8: expected class ids of shape \(slices"),
        (np.zeros((0, 4, 5), np.uint8), CUBES, r"shape \(0, 4, 5\)"),
        (np.zeros((1, 4, 5)), CUBES, "type float64: expected class ids"),
        (np.full((1, 4, 5), 4, np.uint8), CUBES, "hold the id 4; the label map has ids 0 to 3"),
        (np.full((1, 4, 5), -1), CUBES, "hold the id -1"),
        (np.zeros((1, 4, 5), np.uint8), (1.0, 0.0, 1.0), "expected three lengths above 0"),
        (np.zeros((1, 4, 5), np.uint8), (1.0, math.nan, 1.0), "expected three lengths above 0"),
        (np.zeros((1, 4, 5), np.uint8), (1.0, 1.0), "expected three lengths above 0"),
    ],
)
def test_bad_volumes_are_named(labels: np.ndarray, spacing: tuple[float, float, float], message: str) -> None:
    with pytest.raises(CaseUNetError, match=message):
        measure_volume(labels, spacing, ORGAN)


def frames(counts: list[int], label: int = 1) -> list[np.ndarray]:
    """Frames of 5 × 10 pixels, each with so many of the label."""
    return [np.where(np.arange(50) < count, label, 0).astype(np.uint8).reshape(5, 10) for count in counts]


def test_intervals_bridge_short_gaps() -> None:
    seen = Timeline(ORGAN, Fraction(25), least_pixels=10, longest_gap=2)
    for frame in frames([0, 10, 20, 5, 0, 25, 9, 30, 0, 0, 0, 50, 0, 0]):
        seen.add(frame)
    assert seen.rows() == [
        {
            "structure": "organ",
            "start_frame": 1,
            "end_frame": 8,  # frames 3, 4 and 6 are bridged, with the few pixels that they have
            "start_seconds": 0.04,
            "end_seconds": 0.32,
            "mean_area_share": pytest.approx((10 + 20 + 5 + 0 + 25 + 9 + 30) / 7 / 50),
        },
        {
            "structure": "organ",
            "start_frame": 11,  # three frames without are too many
            "end_frame": 12,
            "start_seconds": 0.44,
            "end_seconds": 0.48,
            "mean_area_share": pytest.approx(1.0),
        },
    ]


def test_a_timeline_has_every_structure_apart() -> None:
    whole = label_map(tool=(1, 2), tip=(2,), never=(3,))
    big = [np.full((8, 8), label, np.uint8) for label in (0, 1, 2, 2, 1)]
    rows = timeline(big, whole, Fraction(30000, 1001))
    assert [(r["structure"], r["start_frame"], r["end_frame"]) for r in rows] == [("tool", 1, 5), ("tip", 2, 4)]
    assert [r["mean_area_share"] for r in rows] == [1, 1]
    assert rows[0]["start_seconds"] == pytest.approx(1001 / 30000)
    assert rows[1]["end_seconds"] == pytest.approx(4 * 1001 / 30000)
    without = timeline(big, whole, None)
    assert [(r["start_seconds"], r["end_seconds"]) for r in without] == [(None, None)] * 2
    assert timeline([], whole, None) == []


def test_defaults_of_a_timeline() -> None:
    """Seen from 64 pixels on; five frames are bridged, six are not."""
    full, less = np.ones((8, 8), np.uint8), np.ones((8, 8), np.uint8)
    less[0, 0] = 0
    rows = timeline([less, full] + [less] * 5 + [full] + [less] * 6 + [full], ORGAN, None)
    assert [(r["start_frame"], r["end_frame"]) for r in rows] == [(1, 8), (14, 15)]


def test_bad_timelines_are_named() -> None:
    with pytest.raises(CaseUNetError, match="rate is 0 frames a second"):
        Timeline(ORGAN, Fraction(0))
    with pytest.raises(CaseUNetError, match="from 0 pixels on"):
        Timeline(ORGAN, None, least_pixels=0)
    with pytest.raises(CaseUNetError, match="gaps of -1 frames"):
        Timeline(ORGAN, None, longest_gap=-1)
    with pytest.raises(CaseUNetError, match=r"expected class ids of shape \(rows, columns\)"):
        Timeline(ORGAN, None).add(np.zeros((1, 4, 5), np.uint8))
    with pytest.raises(CaseUNetError, match="hold the id 9"):
        Timeline(ORGAN, None).add(np.full((4, 5), 9, np.uint8))
