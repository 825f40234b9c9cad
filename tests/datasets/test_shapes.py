"""Outlines along the edges of pixels give back the pixels, holes and corners too."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from caseunet.datasets.shapes import decode_runs, fill, find_things, pack_runs, trace_rings

PIXELS = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2))


@given(PIXELS)
def test_things_come_back_from_their_outlines(labels: np.ndarray) -> None:
    found = np.zeros_like(labels)
    for thing in find_things(labels):
        inside = fill(thing.polygon().astype(float), labels.shape)
        np.testing.assert_array_equal(inside, thing.whole(labels.shape))
        found[inside] = thing.class_id
    np.testing.assert_array_equal(found, labels)


@given(PIXELS)
def test_a_thing_has_one_outer_outline(labels: np.ndarray) -> None:
    for thing in find_things(labels):
        areas = [_area(ring) for ring in thing.rings()]
        assert areas[0] > 0
        assert all(area < 0 for area in areas[1:])
        assert sum(areas) == thing.inside.sum()


def _area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


@given(PIXELS)
def test_packed_runs_are_those_of_pycocotools(labels: np.ndarray) -> None:
    mask = pytest.importorskip("pycocotools.mask")
    inside = labels > 0
    packed = mask.encode(np.asfortranarray(inside.astype(np.uint8)))
    assert packed["counts"].decode() == pack_runs(inside)
    np.testing.assert_array_equal(decode_runs({"size": inside.shape, "counts": pack_runs(inside)}), inside)
    for thing in find_things(labels):
        polygon = [thing.polygon().ravel().astype(float).tolist()]
        if len(polygon[0]) >= 6:
            drawn = mask.decode(mask.merge(mask.frPyObjects(polygon, *labels.shape)))
            np.testing.assert_array_equal(drawn.astype(bool), thing.whole(labels.shape))


def test_a_net_of_many_holes_is_cut_open_soon() -> None:
    """As vessels are: one thing with hundreds of holes and a long outline; it once took 40 s."""
    field = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(584, 565)), 5)
    net = (np.abs(field) < 0.35 * field.std()).astype(np.uint8)
    began = time.process_time()
    outlines = [thing.polygon() for thing in find_things(net)]
    assert time.process_time() - began < 10
    assert max(map(len, outlines)) > 10_000


def test_a_diagonal_has_one_outline() -> None:
    assert len(trace_rings(np.eye(3, dtype=bool))) == 1
