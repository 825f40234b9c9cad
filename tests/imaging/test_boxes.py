"""Boxes and evenly spread indices, against a plain search."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from caseunet.imaging.boxes import find_box, space_evenly


@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5)))
def test_find_box_is_smallest(mask: np.ndarray) -> None:
    box = find_box(mask)
    found = np.argwhere(mask)
    if not len(found):
        assert box is None
    else:
        assert box == tuple(
            slice(low, high + 1) for low, high in zip(found.min(0).tolist(), found.max(0).tolist(), strict=True)
        )


@pytest.mark.parametrize(("length", "count", "expected"), [(9, 3, [0, 4, 8]), (2, 5, [0, 1]), (1, 1, [0]), (0, 4, [])])
def test_spread_indices_values(length: int, count: int, expected: list[int]) -> None:
    assert space_evenly(length, count).tolist() == expected


@given(st.integers(1, 200), st.integers(2, 50))
def test_spread_indices_keep_both_ends(length: int, count: int) -> None:
    indices = space_evenly(length, count)
    assert indices[0] == 0
    assert indices[-1] == length - 1
    assert len(indices) == min(length, count)
    steps = np.diff(indices)
    assert not len(steps) or steps.max() - steps.min() <= 1
