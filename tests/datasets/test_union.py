"""Several raw data sets as one: names, classes, what is labelled, and what cannot be joined."""

import json
from pathlib import Path

import numpy as np
import pytest

from caseunet.config import PrepareConfig
from caseunet.datasets import SourceDataset, open_source
from caseunet.datasets.generate import write_lits
from caseunet.datasets.reading import read_labels, require_coding
from caseunet.errors import CaseUNetError
from caseunet.types import IGNORE
from tests.support.public_layouts import draw_volume, save_volume, scan, write_union, write_union_file

READ = PrepareConfig(workers=0)


@pytest.fixture
def union(tmp_path: Path) -> Path:
    write_union(tmp_path / "union", cases=2)
    return tmp_path / "union"


def opened(root: Path) -> SourceDataset:
    layout, dataset = open_source(root, READ)
    assert layout.name == dataset.format == "union"
    return dataset


def ids_of(dataset: SourceDataset, name: str) -> np.ndarray:
    layout, _ = open_source(dataset.root, READ)
    return read_labels(layout, next(case for case in dataset.cases if case.id == name), dataset)


def test_classes_are_joined_by_name(union: Path) -> None:
    dataset = opened(union)
    assert [case.id for case in dataset.cases] == ["abdomen/c0", "abdomen/c1", "mine/p0", "mine/p1"]
    assert [case.labelled for case in dataset.cases] == [(), (), ("liver",), ("liver",)]
    assert [case.group for case in dataset.cases] == [case.id for case in dataset.cases]
    label_map = require_coding(dataset).label_map
    assert label_map.names == ("background", "liver", "spleen")
    assert label_map.structures == {"liver": (1,), "spleen": (2,)}
    for value in (1, 2):
        drawn = np.count_nonzero(draw_volume(0, (1, 2)) == value)
        assert np.count_nonzero(ids_of(dataset, "abdomen/c0") == value) == drawn
    assert set(np.unique(ids_of(dataset, "mine/p0"))) == {0, 1}
    assert np.count_nonzero(ids_of(dataset, "mine/p0")) == np.count_nonzero(draw_volume(2, (255,)))


def test_a_data_set_may_lie_elsewhere(tmp_path: Path) -> None:
    write_union(tmp_path / "data")
    (tmp_path / "joined").mkdir()
    write_union_file(
        tmp_path / "joined",
        mine={"path": "../data/mine", "classes": {"255": "liver"}},
        other={"path": str(tmp_path / "data" / "abdomen")},
    )
    assert len(opened(tmp_path / "joined").cases) == 6


def test_a_tumour_inside_is_known_by_structures(union: Path) -> None:
    """LiTS counts a tumour as liver; where only livers are labelled, what is a liver may hold one."""
    write_lits(union / "lits", patients=2, shape=(6, 24, 20))
    write_union_file(union, lits={}, mine={"classes": {"foreground": "liver"}})
    dataset = opened(union)
    label_map = require_coding(dataset).label_map
    assert label_map.structures == {"liver": (1, 2), "tumour": (2,)}
    assert {case.labelled for case in dataset.cases} == {(), ("liver",)}
    assert label_map.merged_ids(("liver",)) == (0, 1, 1)


def test_classes_may_be_united_dropped_or_ignored(union: Path) -> None:
    classes = {"liver": None, "spleen": "organ"}
    write_union_file(union, abdomen={"classes": classes}, mine={"classes": {"foreground": "Organ"}})
    dataset = opened(union)
    assert require_coding(dataset).label_map.names == ("background", "organ")
    assert set(np.unique(ids_of(dataset, "abdomen/c0"))) == {0, 1}
    assert not any(case.labelled for case in dataset.cases)
    write_union_file(union, abdomen={"classes": {"liver": "ignore"}}, mine={"classes": {"foreground": "spleen"}})
    assert set(np.unique(ids_of(opened(union), "abdomen/c0"))) == {0, 1, IGNORE}


def test_what_is_labelled_may_be_said(union: Path) -> None:
    write_union_file(union, abdomen={"labelled": "spleen"}, mine={"classes": {"foreground": "liver"}})
    assert [case.labelled for case in opened(union).cases] == [("spleen",), ("spleen",), ("liver",), ("liver",)]


def test_a_members_partial_labels_are_kept(union: Path) -> None:
    (union / "abdomen" / "labelled.csv").write_text("case,labelled\nc1,spleen\n")
    dataset = opened(union)
    assert [case.labelled for case in dataset.cases] == [(), ("spleen",), ("liver",), ("liver",)]


def test_the_unions_own_table_counts_first(union: Path) -> None:
    (union / "labelled.csv").write_text("case,labelled\nabdomen/*,liver\n")
    assert [case.labelled for case in opened(union).cases][:2] == [("liver",), ("liver",)]


def test_a_members_plan_is_followed(union: Path) -> None:
    mask = draw_volume(2, (255, 3))
    save_volume(union / "mine/masks/p0.nii.gz", mask)
    plan = "layout: folder\nlabels:\n- {name: background, code: 0, color: [0, 0, 0]}\n"
    plan += "- {name: liver, code: 255, color: [9, 9, 9]}\ncases:\n  p0: {map: {3: 1}}\n  p1: {drop: true}\n"
    (union / "plan.yaml").write_text(plan)
    write_union_file(union, abdomen={}, mine={"repair_plan": "plan.yaml"})
    dataset = opened(union)
    assert [case.id for case in dataset.cases] == ["abdomen/c0", "abdomen/c1", "mine/p0"]
    assert np.count_nonzero(ids_of(dataset, "mine/p0") == 1) == np.count_nonzero(mask)


def test_findings_are_told_of_the_union(union: Path) -> None:
    save_volume(union / "mine/masks/p7.nii.gz", draw_volume(2, (255,)))
    told = {finding.kind: finding for finding in opened(union).findings}
    assert told["extra-mask"].file == "mine/masks/p7.nii.gz"
    text = "abdomen: 2 cases, layout nnunet. mine: 2 cases, layout folder, only liver labelled in it"
    assert told["union"].text == text


def test_other_modalities_are_refused(union: Path) -> None:
    for n in range(2):
        save_volume(union / f"mine/images/p{n}.nii.gz", scan(draw_volume(n), seed=n, air=0))
    with pytest.raises(CaseUNetError, match="abdomen and mine cannot be joined: .* one are ct, of the other mr"):
        opened(union)


def test_other_channels_are_refused(union: Path) -> None:
    for n in range(2):
        image = union / f"mine/images/p{n}.nii.gz"
        for channel in ("t1", "t2"):
            save_volume(union / f"mine/images/p{n}_{channel}.nii.gz", scan(draw_volume(n), seed=n))
        image.unlink()
    with pytest.raises(CaseUNetError, match="their channels are CT and t1, t2"):
        opened(union)


def test_patterns_belong_into_an_entry(union: Path) -> None:
    with pytest.raises(CaseUNetError, match=r"are of one data set. Write them into the entry of .*datasets.json"):
        open_source(union, PrepareConfig(masks=("masks",)))
    save_volume(union / "mine/labels/p0.nii.gz", draw_volume(0))
    with pytest.raises(CaseUNetError, match="mine: .* masks in more than one place.* stand in its entry"):
        opened(union)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], 'expected {"datasets": '),
        ({"datasets": []}, 'expected {"datasets": '),
        ({"datasets": [{"path": "mine"}]}, "entry 1: name: Field required"),
        ({"datasets": [{"path": "mine", "name": "a/b"}]}, 'entry 1: name: "a/b" begins the names of cases'),
        ({"datasets": [{"path": "mine", "name": "a", "mask": "x"}]}, 'mask: Did you mean "masks"'),
        ({"datasets": [{"path": "mine", "name": "a"}] * 2}, 'the name "a" is there twice'),
        ({"datasets": [{"path": "nowhere", "name": "a"}]}, "a: .*nowhere: no such folder"),
        ({"datasets": [{"path": ".", "name": "a"}]}, "a is a union itself"),
        ({"datasets": [{"path": "mine", "name": "a", "classes": {"spleen": "x"}}]}, '"spleen", which is no class'),
        ({"datasets": [{"path": "mine", "name": "a", "labelled": ["x"]}]}, 'labelled has "x", no structure'),
    ],
)
def test_a_wrong_list_is_refused(union: Path, content: object, message: str) -> None:
    (union / "datasets.json").write_text(json.dumps(content))
    with pytest.raises(CaseUNetError, match=message):
        open_source(union, READ.model_copy(update={"layout": "union"}))


@pytest.mark.parametrize("elsewhere", [False, True])
def test_masks_that_a_plan_ignores_name_no_class(elsewhere: bool, tmp_path: Path) -> None:
    """Of a data set of the union as of one alone, also where it lies elsewhere and its files have absolute names."""
    base = tmp_path / "data" if elsewhere else tmp_path / "joined"
    for n in range(2):
        save_volume(base / "mine" / f"p{n}" / "ct.nii.gz", scan(draw_volume(n, (1, 2)), n))
        for name in ("seg_new", "seg_old"):
            save_volume(base / "mine" / f"p{n}" / f"{name}.nii.gz", draw_volume(n, (1, 2)))
    (tmp_path / "joined").mkdir(exist_ok=True)
    write_union_file(tmp_path / "joined", mine={"path": str(base / "mine") if elsewhere else "mine"})
    files = [f"mine/p{n}/seg_old.nii.gz" for n in range(2)]
    plan = tmp_path / "plan.yaml"
    ignored = {str(base / file) if elsewhere else file: "" for file in files}
    plan.write_text(json.dumps({"layout": "union", "ignore": ignored}))
    layout, dataset = open_source(tmp_path / "joined", PrepareConfig(workers=0, repair_plan=plan))
    assert require_coding(dataset).label_map.names == ("background", "class 1", "class 2")
    assert [path.name for case in dataset.cases for path in case.label] == ["seg_new.nii.gz"] * 2
    assert set(np.unique(read_labels(layout, dataset.cases[0], dataset))) == {0, 1, 2}
