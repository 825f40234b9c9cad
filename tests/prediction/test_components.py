"""Components numbered block by block are those of the whole."""

import cc3d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from caseunet.imaging.boxes import find_box
from caseunet.io import scratch
from caseunet.prediction.components import crop_structure, number_components


@given(arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=9), elements=st.integers(0, 3).map(lambda n: n == 0)))
def test_blocks_give_the_numbers_of_the_whole(mask: np.ndarray) -> None:
    expected, count = cc3d.connected_components(mask.view(np.uint8), connectivity=26, return_N=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scratch, "BLOCK", 4 * mask[0].size)
        numbers, found = number_components(mask)
    assert found == count
    np.testing.assert_array_equal(numbers, expected)


@given(arrays(np.uint8, (4, 5, 6), elements=st.sampled_from([0, 0, 0, 0, 1, 2, 3])))
def test_a_structure_is_cropped_to_its_box(labels: np.ndarray) -> None:
    whole = np.isin(labels, (1, 3))
    cropped, box = crop_structure(labels, (1, 3))
    expected = find_box(whole)
    assert cropped.size == 0 if expected is None else box == expected
    np.testing.assert_array_equal(cropped, whole[box])


def test_blocks_may_hold_many_components(monkeypatch: pytest.MonkeyPatch) -> None:
    """More in all than the numbers of one block have room for."""
    mask = np.zeros((8, 400, 400), bool)
    mask[::2, ::2, ::2] = True
    monkeypatch.setattr(scratch, "BLOCK", 4 * 2 * mask[0].size)
    numbers, count = number_components(mask)
    assert count == 4 * 200 * 200
    np.testing.assert_array_equal(numbers[mask], np.arange(1, count + 1))
