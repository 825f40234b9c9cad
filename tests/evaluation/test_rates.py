"""Sensitivity, precision and specificity of pixels, which every protocol gives."""

import numpy as np
import pandas as pd
import pytest

from caseunet.evaluation.protocols import PROTOCOLS
from caseunet.evaluation.protocols.measures import RATES
from caseunet.evaluation.summary import Number
from caseunet.types import IGNORE
from tests.evaluation.test_protocols import LITS, Counted, count, drawn, pair

NAMES = {"volumes": "tumour", "slices": "tumour", "endovis-2018": "tumour", "paper": "tumour"}
ALL = [*NAMES, "lits-official", "lits-corrected"]


def rates(found: Counted, structure: str) -> list[tuple[float | None, int, int]]:
    """Of sensitivity, precision, specificity: mean, units that it is made of, units without a value."""
    numbers: list[Number] = [found.number(metric, structure) for metric in RATES]
    return [(None if n.value is None else round(n.value, 9), n.n, n.undefined) for n in numbers]


@pytest.mark.parametrize("protocol", ALL)
def test_rates_by_hand(protocol: str) -> None:
    """Cases of one slice, six pixels each; tumour is 2, and every reference has a liver beside it.

    case  reference  prediction   sensitivity  precision  specificity
    a     122...     1222..       2/2          2/3        3/4
    b     1222..     12....       1/3          1          1
    """
    pairs = [pair(drawn("122..."), drawn("1222.."), "a"), pair(drawn("1222.."), drawn("12...."), "b")]
    found = count(pairs, protocol, LITS)
    tumour = NAMES.get(protocol, "lesion")
    assert rates(found, tumour) == [
        (pytest.approx((1 + 1 / 3) / 2), 2, 0),
        (pytest.approx((2 / 3 + 1) / 2), 2, 0),
        (pytest.approx((3 / 4 + 1) / 2), 2, 0),
    ]
    assert [found.cell(metric, tumour, "b") for metric in RATES] == pytest.approx([1 / 3, 1, 1])
    assert list(RATES) == [column for column in found.protocol.columns if column in RATES]
    assert not set(RATES) & set(found.protocol.chief)  # the screen stays narrow


@pytest.mark.parametrize("protocol", [*NAMES, "lits-corrected"])
def test_rates_of_empty_masks(protocol: str) -> None:
    """
    case  reference  prediction   sensitivity  precision  specificity
    a     1.....     12....       none         0          5/6
    b     12....     1.....       0            none       1
    c     1.....     1.....       none         none       1
    d     222222     112222       4/6          1          none
    """
    drawings = {"a": ("1.....", "12...."), "b": ("12....", "1....."), "c": ("1.....",) * 2, "d": ("222222", "112222")}
    found = count([pair(*map(drawn, masks), case) for case, masks in drawings.items()], protocol, LITS)
    assert rates(found, NAMES.get(protocol, "lesion")) == [
        (pytest.approx((0 + 4 / 6) / 2), 2, 2),
        (pytest.approx((0 + 1) / 2), 2, 2),
        (pytest.approx((5 / 6 + 1 + 1) / 3), 3, 1),
    ]


def test_what_nobody_judged_is_in_no_rate() -> None:
    """Of five pixels three are judged: one of the tumour, which is found, and two others, of which one is."""
    reference = np.array([[[2, 0, 0, IGNORE, IGNORE]]], np.uint8)
    found = count([pair(reference, np.array([[[2, 2, 0, 2, 0]]], np.uint8))], "volumes", LITS)
    assert [found.cell(metric, "tumour") for metric in RATES] == [1, 0.5, 0.5]


def test_rates_fit_the_counts_of_a_row() -> None:
    """So that a table of earlier versions, which has no rates, holds all that they are made of."""
    rng = np.random.default_rng(0)
    masks = [rng.integers(0, 3, (2, 3, 4, 5)).astype(np.uint8) for _ in range(4)]
    for protocol in PROTOCOLS:
        rows = count([pair(*both, f"{n}") for n, both in enumerate(masks)], protocol, LITS).rows
        rows = rows[rows["structure"] != "background"]
        both, inside = rows["both_pixels"], rows["reference_pixels"]
        expected = pd.DataFrame(
            {
                "sensitivity": both / inside,
                "precision": both / rows["prediction_pixels"],
                "specificity": 1 - (rows["prediction_pixels"] - both) / (rows["judged_pixels"] - inside),
            }
        )
        pd.testing.assert_frame_equal(rows[list(RATES)], expected)
