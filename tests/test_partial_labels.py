"""What is left of classes where only some structures are labelled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseunet.types import Label, LabelMap, is_told_apart

NESTED = LabelMap(
    labels=tuple(
        Label(id=i, name=name, color=(i, 0, 0)) for i, name in enumerate(("background", "liver", "tumour", "spleen"))
    ),
    structures={"liver": (1, 2), "tumour": (2,), "spleen": (3,)},
)


@pytest.mark.parametrize(
    ("labelled", "merged", "known"),
    [
        (["liver"], (0, 1, 1, 0), ("liver",)),
        (["tumour"], (0, 0, 2, 0), ("tumour",)),
        (["spleen"], (0, 0, 0, 3), ("spleen",)),
        (["Liver", "TUMOUR"], (0, 1, 2, 0), ("liver", "tumour")),
        (["liver", "spleen"], (0, 1, 1, 3), ("liver", "spleen")),
        (["liver", "tumour", "spleen"], (0, 1, 2, 3), ("liver", "tumour", "spleen")),
        (["nothing here"], (0, 0, 0, 0), ()),
    ],
)
def test_what_cannot_be_told_is_merged(labelled: list[str], merged: tuple[int, ...], known: tuple[str, ...]) -> None:
    assert NESTED.merged_ids(labelled) == merged
    assert NESTED.known_structures(merged) == known


@given(st.sets(st.sampled_from(["liver", "tumour", "spleen"])))
def test_what_is_labelled_is_known(labelled: set[str]) -> None:
    merged = NESTED.merged_ids(labelled)
    assert labelled <= set(NESTED.known_structures(merged))
    assert all(merged[i] == i for i in merged), "each group is called by one of its own"


def test_a_structure_mixed_with_another_is_unknown() -> None:
    assert not is_told_apart([2], (0, 1, 1))
    assert is_told_apart([1, 2], (0, 1, 1))
