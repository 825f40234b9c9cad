"""Splits: nothing is in two places, nothing is lost."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from caseunet.errors import UserError
from caseunet.sources.splits import by_group, by_slice_blocks
from caseunet.types import Ranges


def slices(ranges: Ranges) -> set[int]:
    return {s for start, stop in ranges for s in range(start, stop)}


@given(st.lists(st.integers(0, 6), min_size=2, max_size=30), st.integers(2, 6), st.integers(0, 3))
def test_groups_stay_whole_and_every_case_is_held_out_once(groups: list[int], folds: int, seed: int) -> None:
    cases = {f"c{n}": (f"g{group}", 3) for n, group in enumerate(groups)}
    if len(set(groups)) < 2:
        with pytest.raises(UserError, match="belong to one patient.*slice-blocks"):
            by_group(cases, folds, seed, "patient")
        return
    split = by_group(cases, folds, seed, "patient")
    assert len(split.folds) == min(folds, len(set(groups)))
    held_out = [case for fold in split.folds for case in fold.val]
    assert sorted(held_out) == sorted(cases)
    for fold in split.folds:
        assert set(fold.train) | set(fold.val) == set(cases)
        assert not {cases[c][0] for c in fold.train} & {cases[c][0] for c in fold.val}
        assert fold.val
        assert fold.train


def test_splits_follow_from_the_seed() -> None:
    cases = {f"c{n}": (f"g{n}", 1) for n in range(10)}
    assert by_group(cases, 5, 1, "patient") == by_group(cases, 5, 1, "patient")
    assert by_group(cases, 5, 1, "patient") != by_group(cases, 5, 2, "patient")


def test_blocks_by_hand() -> None:
    """30 slices, blocks of 3, every fourth held out, gap 1; fold 1 holds out 3–5, 15–17 and 27–29."""
    fold = by_slice_blocks({"a": ("a", 30)}, block=3, every=4, gap=1).folds[1]
    assert fold.val["a"] == ((3, 6), (15, 18), (27, 30))
    assert fold.train["a"] == ((0, 2), (7, 14), (19, 26))


@given(st.integers(1, 8), st.integers(2, 5), st.integers(0, 3), st.integers(40, 120))
def test_blocks_keep_their_distance(block: int, every: int, gap: int, depth: int) -> None:
    assume(depth >= every * block + 2 * gap)  # each fold then has a whole block
    assume((every - 1) * block > 2 * gap)  # and slices beyond its gaps
    split = by_slice_blocks({"a": ("a", depth)}, block, every, gap)
    assert split.caution
    for fold in split.folds:
        train, val = slices(fold.train["a"]), slices(fold.val["a"])
        assert max(val) < depth
        assert min(abs(t - v) for t in train for v in val) > gap
    assert set().union(*(slices(fold.val["a"]) for fold in split.folds)) == set(range(depth))


def test_blocks_that_leave_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="the largest case has 5\\."):
        by_slice_blocks({"a": ("a", 5)}, block=8, every=4, gap=2)
