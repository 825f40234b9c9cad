"""Splits: nothing is in two places, nothing is lost."""

import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from caseunet.config import PrepareConfig
from caseunet.datasets.splits import (
    GIVEN,
    SplitCase,
    by_group,
    by_slice_blocks,
    describe_parts,
    find_published_split,
    from_file,
    make_split,
)
from caseunet.errors import CaseUNetError
from caseunet.types import Ranges


def slices(ranges: Ranges) -> set[int]:
    return {s for start, stop in ranges for s in range(start, stop)}


@given(st.lists(st.integers(0, 6), min_size=2, max_size=30), st.integers(2, 6), st.integers(0, 3))
def test_groups_stay_whole_and_every_case_is_held_out_once(groups: list[int], folds: int, seed: int) -> None:
    cases = {f"c{n}": SplitCase(f"g{group}", 3) for n, group in enumerate(groups)}
    if len(set(groups)) < 2:
        with pytest.raises(CaseUNetError, match="all of one patient.*a pattern, prepare.group, if .*slice-blocks"):
            by_group(cases, folds, seed, "patient")
        return
    split = by_group(cases, folds, seed, "patient")
    assert len(split.folds) == min(folds, len(set(groups)))
    held_out = [case for fold in split.folds for case in fold.val]
    assert sorted(held_out) == sorted(cases)
    for fold in split.folds:
        assert set(fold.train) | set(fold.val) == set(cases)
        assert not {cases[c].group for c in fold.train} & {cases[c].group for c in fold.val}
        assert fold.val
        assert fold.train


def test_splits_follow_from_the_seed() -> None:
    cases = {f"c{n}": SplitCase(f"g{n}", 1) for n in range(10)}
    assert by_group(cases, 5, 1, "patient") == by_group(cases, 5, 1, "patient")
    assert by_group(cases, 5, 1, "patient") != by_group(cases, 5, 2, "patient")


def test_blocks_by_hand() -> None:
    """30 slices, blocks of 3, every fourth held out, gap 1; fold 1 holds out 3–5, 15–17 and 27–29."""
    fold = by_slice_blocks({"a": SplitCase("a", 30)}, block=3, every=4, gap=1).folds[1]
    assert fold.val["a"] == ((3, 6), (15, 18), (27, 30))
    assert fold.train["a"] == ((0, 2), (7, 14), (19, 26))


@given(st.integers(1, 8), st.integers(2, 5), st.integers(0, 3), st.integers(40, 120))
def test_blocks_keep_their_distance(block: int, every: int, gap: int, depth: int) -> None:
    assume(depth >= every * block + 2 * gap)  # each fold then has a whole block
    assume((every - 1) * block > 2 * gap)  # and slices beyond its gaps
    split = by_slice_blocks({"a": SplitCase("a", depth)}, block, every, gap)
    assert split.caution
    for fold in split.folds:
        train, val = slices(fold.train["a"]), slices(fold.val["a"])
        assert max(val) < depth
        assert min(abs(t - v) for t in train for v in val) > gap
    assert set().union(*(slices(fold.val["a"]) for fold in split.folds)) == set(range(depth))


def test_blocks_that_leave_nothing_are_refused() -> None:
    with pytest.raises(CaseUNetError, match="the largest case has 1. One slice cannot be split"):
        by_slice_blocks({"a": SplitCase("a", 1)}, block=8, every=4, gap=2)


@pytest.mark.parametrize("slices", [2, 3, 5, 9])
def test_the_blocks_that_are_advised_do(slices: int) -> None:
    with pytest.raises(CaseUNetError) as told:
        by_slice_blocks({"a": SplitCase("a", slices)}, block=8, every=4, gap=2)
    advised = re.search(r"block_size: (\d+), prepare.split_gap: (\d+), prepare.test_every: (\d+)\.", str(told.value))
    assert advised is not None
    block, gap, every = map(int, advised.groups())
    split = by_slice_blocks({"a": SplitCase("a", slices)}, block=block, every=every, gap=gap)
    assert all(fold.train and fold.val for fold in split.folds)


@given(
    st.lists(st.frozensets(st.integers(1, 4), max_size=3), min_size=5, max_size=30),
    st.integers(2, 5),
    st.integers(0, 3),
)
def test_classes_are_spread(shown: list[frozenset[int]], folds: int, seed: int) -> None:
    """With one case in a group, the folds' sizes differ little and the rarest class is spread evenly."""
    cases = {f"c{n}": SplitCase(f"g{n}", 2, classes) for n, classes in enumerate(shown)}
    split = by_group(cases, folds, seed, "patient")
    assert all(fold.val and fold.train for fold in split.folds)
    rarest = min(range(1, 5), key=lambda c: sum(c in s for s in shown) or 99)
    counts = [sum(rarest in cases[case].classes for case in fold.val) for fold in split.folds]
    assert max(counts) - min(counts) <= 1 + (len(shown) <= 2 * folds)


def test_a_rare_class_is_in_every_fold() -> None:
    """3 of 12 patients have class 2; by chance three folds rarely get one each."""
    for seed in range(5):
        cases = {f"c{n}": SplitCase(f"g{n}", 1, frozenset({1, 2} if n < 3 else {1})) for n in range(12)}
        split = by_group(cases, 3, seed, "patient")
        assert [sum(2 in cases[case].classes for case in fold.val) for fold in split.folds] == [1, 1, 1]
        assert [len(fold.val) for fold in split.folds] == [4, 4, 4]


def test_published_splits() -> None:
    lits = {f"volume-{n}": SplitCase(f"volume-{n}", 1) for n in range(131)}
    fold = find_published_split("lits", lits, "patient", "lits").folds[0]
    assert list(fold.val) == [f"volume-{n}" for n in range(28)]
    assert list(fold.train) == [f"volume-{n}" for n in range(28, 131)]
    frames = {f"seq_{s}/frame{f:03d}": SplitCase(f"seq_{s}", 1) for s in range(1, 17) for f in range(2)}
    frames["test/seq_2/frame000"] = SplitCase("test/seq_2", 1)
    fold = find_published_split("isinet", frames, "sequence", "endovis2018-types").folds[0]
    assert {case.split("/")[0] for case in fold.val} == {"seq_2", "seq_5", "seq_9", "seq_15"}
    assert len(fold.train) == 24
    with pytest.raises(CaseUNetError, match='The split "isinet" is for '):
        find_published_split("isinet", lits, "patient", "lits")
    with pytest.raises(CaseUNetError, match=r'the split "lits": no case is there for validation'):
        find_published_split("lits", {"volume-40": SplitCase("volume-40", 1)}, "patient", "lits")


CASES = {f"c{n}": SplitCase(f"p{n // 2}", 5) for n in range(6)}
"""Three patients of two cases."""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("splits_final.json", '[{"train": ["c0", "c1", "c2", "c3"], "val": ["c4", "c5"]}]'),
        ("split.csv", "case,part\nc0,train\nc1,train\nc2,train\nc3,Training\nc4,val\nc5,validation\n"),
    ],
)
def test_splits_from_files(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    split = from_file(tmp_path / name, CASES, "patient")
    assert split.by == "patient"
    assert split.folds[0].train == dict.fromkeys(("c0", "c1", "c2", "c3"), ((0, 5),))
    assert list(split.folds[0].val) == ["c4", "c5"]


def test_folds_from_a_csv(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("case,fold\n" + "".join(f"c{n},{n // 2}\n" for n in range(6)))
    folds = from_file(tmp_path / "f.csv", CASES, "patient").folds
    assert [list(fold.val) for fold in folds] == [["c0", "c1"], ["c2", "c3"], ["c4", "c5"]]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '[{"train": ["c0", "c2"], "val": ["c1"]}]', "fold 0: the patient p0 is in training .c0. and in val"),
        ("a.json", '[{"train": ["c0"], "val": ["c9"]}]', 'there is no labelled case "c9". Known: c0'),
        ("a.json", '[{"train": ["c0"], "val": []}]', "no case is there for validation"),
        ("a.json", "[]", "expected a list of folds"),
        ("a.json", "{}", "expected a list of folds"),
        ("a.json", '[{"train": "c0", "val": "c2"}]', 'no labelled case "c"'),
        ("a.json", "no json", "cannot be read"),
        ("a.csv", "name,part\nc0,train\n", "expected the columns case and fold"),
        ("a.csv", "", "expected the columns case and fold"),
        ("a.csv", "case,part\nc0,left\n", 'case c0: the part is train, val or test, not "left"'),
        ("a.csv", "case,part\nc0,train\nc0,val\n", 'names the case "c0" twice'),
        ("a.csv", "case,fold\nc0,one\n", "folds are numbered 0, 1, 2"),
        ("a.csv", "case,fold\nc0,1\nc2,2\n", "folds are numbered 0, 1, 2 …, found 1, 2"),
        ("a.csv", "case,fold\nc0\n", "folds are numbered 0, 1, 2"),
    ],
)
def test_split_files_that_cannot_be_used_are_named(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CaseUNetError, match=f"{name}: .*{message}"):
        from_file(tmp_path / name, CASES, "patient")
    with pytest.raises(CaseUNetError, match="no such file"):
        from_file(tmp_path / f"none{name}", CASES, "patient")


def split_cases(parts: str, groups: str = "") -> dict[str, SplitCase]:
    """A case for each letter: (t)rain, (v)al, t(e)st, a digit for a fold, "-" for no part."""
    names = {"t": "train", "v": "val", "e": "test", "-": ""}
    own = groups or "".join(chr(97 + n) for n in range(len(parts)))
    return {
        f"c{n}": SplitCase(group, 1, part=names.get(part, f"fold {part}"))
        for n, (part, group) in enumerate(zip(parts, own, strict=True))
    }


@pytest.mark.parametrize(
    ("parts", "folds"),
    [
        ("ttve", [("c0 c1", "c2")]),
        ("t-ve", [("c0", "c2")]),
        ("0101", [("c1 c3", "c0 c2"), ("c0 c2", "c1 c3")]),
    ],
)
def test_a_given_split_is_kept(parts: str, folds: list[tuple[str, str]]) -> None:
    split = make_split(PrepareConfig(), split_cases(parts), "patient", "folder")
    assert split.by == GIVEN
    assert [(" ".join(fold.train), " ".join(fold.val)) for fold in split.folds] == folds


@pytest.mark.parametrize(
    ("how", "parts"), [("auto", "tttte"), ("group", "ttvve"), ("auto", "----e"), ("auto", "vvvve")]
)
def test_folds_are_never_of_the_test_set(how: str, parts: str) -> None:
    split = make_split(PrepareConfig(split=how, folds=2), split_cases(parts), "patient", "folder")
    assert split.by == "patient"
    for fold in split.folds:
        assert set(fold.train) | set(fold.val) == {"c0", "c1", "c2", "c3"}


def test_nothing_but_a_test_set_is_trained_on_and_said() -> None:
    cases = split_cases("eee")
    split = make_split(PrepareConfig(folds=3), cases, "patient", "folder")
    assert len(split.folds) == 3
    (told,) = describe_parts(cases, split, "patient")
    assert "nothing but the test set, it is trained on" in told.text


def test_a_given_split_that_parts_a_patient_is_refused() -> None:
    with pytest.raises(CaseUNetError, match=r"own split: the patient a is in training .*prepare.split: group"):
        make_split(PrepareConfig(), split_cases("tv", "aa"), "patient", "folder")


def test_patient_of_test_set_in_training_is_told() -> None:
    cases = split_cases("tve", "aba")
    told = describe_parts(cases, make_split(PrepareConfig(), cases, "patient", "folder"), "patient")
    assert [finding.level for finding in told] == ["warning", "note"]
    assert told[0].text == "1 patient of the test set are in training too, a among them"
    assert "train 1, val 1, test 1; it is kept; the test set is prepared, but in no part" in told[1].text
