"""How wide structures are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseunet.datasets import widths
from caseunet.datasets.widths import measure_widths


def test_lines_and_discs_have_their_width() -> None:
    mask = np.zeros((2, 100, 120), np.uint8)
    mask[0, 10:13, 5:95] = 1  # in the other slice there is more of it
    mask[1, 20:27, 5:95] = 1
    mask[0, 30, 5:95] = 2
    mask[0, 50:55, :] = 3  # from side to side
    rows, columns = np.mgrid[:100, :120]
    mask[0][(rows - 78) ** 2 + (columns - 60) ** 2 <= 20**2] = 4
    found = measure_widths(mask, [1, 2, 3, 4, 5])
    assert found[4] == pytest.approx(39, abs=3)
    assert {value: width for value, width in found.items() if value != 4} == {1: 7.5, 2: 1.5, 3: 5.5}


@given(width=st.integers(1, 30), across=st.booleans())
def test_width_is_known_within_a_pixel(width: int, across: bool) -> None:
    mask = np.zeros((1, 120, 90), np.int64)
    mask[0, 40 : 40 + width, 5:80] = 200
    found = measure_widths(mask.transpose(0, 2, 1) if across else mask, [200])
    assert found[200] == pytest.approx(width, abs=0.5)


def test_of_a_large_structure_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widths, "LOOKED_AT", 40)
    mask = np.zeros((1, 300, 300), np.uint8)
    mask[0, :, 10::20] = 1
    mask[0, :, 11::20] = 1
    mask[0, :, 12::20] = 1
    assert measure_widths(mask, [1]) == {1: 3.5}
