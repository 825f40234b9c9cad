"""Which classes of two sides are the same, and which files belong to one case."""

from pathlib import Path

import numpy as np
import pytest

from caseunet.datasets.coding import coding_of
from caseunet.errors import CaseUNetError
from caseunet.evaluation.matching import match_names
from caseunet.evaluation.shared_classes import name_by_predictions, share_classes
from caseunet.types import LabelMap


def classes(*names: str, **structures: tuple[int, ...]) -> LabelMap:
    return coding_of(dict(enumerate(("background", *names))), structures=structures or None).label_map


def test_equal_classes_stay_as_they_are() -> None:
    own = classes("liver", "tumour", liver=(1, 2), tumour=(2,))
    shared = share_classes(own, {"m": own, "other": None}, "r")
    assert shared.label_map is own
    assert np.array_equal(shared.predictions["m"], np.arange(256))


def test_names_are_spelt_in_many_ways() -> None:
    shared = share_classes(classes("left kidney", "Spleen"), {"m": classes("SPLEEN", "Left_Kidney")}, "r")
    assert shared.predictions["m"][[0, 1, 2, 3]].tolist() == [0, 2, 1, 0]
    assert shared.label_map.structures == {"left kidney": (1,), "Spleen": (2,)}


def test_two_spellings_on_one_side_are_an_error() -> None:
    with pytest.raises(CaseUNetError, match='"Spleen" and "SPLEEN" are two structures of m'):
        share_classes(classes("spleen"), {"m": classes("Spleen", "liver", "SPLEEN")}, "r")


def test_a_union_counts_on_both_sides() -> None:
    """LiTS' liver is made of liver and tumour; a tool that has just these two classes means the same by them."""
    reference = classes("liver", "tumour", liver=(1, 2), tumour=(2,))
    shared = share_classes(reference, {"m": classes("spleen", "tumour", "liver")}, "r")
    assert shared.label_map.names == ("background", "liver", "tumour")
    assert shared.label_map.structures == {"liver": (1, 2), "tumour": (2,)}
    assert shared.predictions["m"][:4].tolist() == [0, 0, 2, 1]
    assert shared.only_prediction == {"m": ("spleen",)}
    whole = share_classes(reference, {"m": classes("liver")}, "r")
    assert whole.reference[:3].tolist() == [0, 1, 1], "the whole liver against the whole liver"
    assert whole.only_reference == ("tumour",)


def test_what_several_models_share() -> None:
    shared = share_classes(classes("a", "b", "c"), {"m": classes("c", "a"), "n": classes("b", "c")}, "r")
    assert list(shared.label_map.structures) == ["c"]
    assert shared.only_reference == ("a", "b")
    assert shared.only_prediction == {"m": ("a",), "n": ("b",)}


def test_one_class_without_a_name_is_the_other() -> None:
    shared = share_classes(classes("vessel"), {"m": classes("foreground")}, "r")
    assert (list(shared.label_map.structures), shared.predictions["m"][1]) == (["vessel"], 1)
    assert 'The one class of m, "foreground", was taken for the one of the references, "vessel".' in shared.notes
    with pytest.raises(CaseUNetError, match="r: its structures are vessel; m has lumen. None is shared by name"):
        share_classes(classes("vessel"), {"m": classes("lumen")}, "r")


def test_values_get_the_predictions_names() -> None:
    """References of 0 and 2 alone, which show no name."""
    found = coding_of({0: "background", 2: "foreground"})
    named = coding_of({0: "background", 1: "liver", 2: "tumour"})
    coding, remark = name_by_predictions(found, {"m": named})
    assert (coding, "(2 tumour)" in remark) == (named, True)
    by_value, remark = name_by_predictions(found, {"m": coding_of({0: "background", 1: "class 1", 2: "class 2"})})
    assert (by_value.label_map.names, remark) == (("background", "class 2"), "")
    assert name_by_predictions(coding_of({0: "background", 255: "foreground"}), {"m": named})[1] == ""


CASES = {"a/1": {"a/1", "1"}, "b/1": {"b/1", "1"}, "case_7": {"case_7"}, "segmentation-3": {"segmentation-3"}}


@pytest.mark.parametrize(
    ("path", "case"),
    [
        ("case_7", "case_7"),
        ("Case_7_pred", "case_7"),
        ("pred_case_7_seg", "case_7"),
        ("case_7_0000", "case_7"),
        ("case_7/case_7_trans", "case_7"),
        ("volume-3", "segmentation-3"),
        ("a/1", "a/1"),
        ("b/1_mask", "b/1"),
        ("case_70", None),
        ("c/1", None),
    ],
)
def test_names_lead_to_cases(path: str, case: str | None) -> None:
    found, left = match_names({Path(path): (path, path.rpartition("/")[2])}, CASES)
    assert (list(found), len(left)) == (([case], 0) if case else ([], 1))


def test_a_name_for_two_cases_is_an_error() -> None:
    with pytest.raises(CaseUNetError, match="1: could belong to a/1 or to b/1"):
        match_names({Path("1"): ("1",)}, CASES)
    with pytest.raises(CaseUNetError, match="both are named as predictions of case_7. Keep one"):
        match_names({Path(name): (name,) for name in ("case_7", "case_7_pred")}, CASES)
    structures = {Path(f"{name}/case_7.nii.gz"): (f"{name}/case_7", "case_7") for name in ("liver", "tumour")}
    with pytest.raises(CaseUNetError, match=r"for each case: case_7/liver.nii.gz and case_7/tumour.nii.gz"):
        match_names(structures, CASES)


def test_structures_within_others_and_apart() -> None:
    """Tumours that all lie in the liver make it up on the other side; where some do not, it is said."""
    exclusive = classes("liver", "tumour")
    within = classes("liver", "liver + tumour", liver=(1, 2), tumour=(2,))
    shared = share_classes(exclusive, {"m": within}, "r")
    assert shared.reference[:3].tolist() == shared.predictions["m"][:3].tolist() == [0, 1, 2]
    assert shared.label_map.structures == {"liver": (1, 2), "tumour": (2,)}
    assert "was taken together with tumour" in shared.notes[0]
    apart = classes("liver", "tumour", "liver + tumour", liver=(1, 3), tumour=(2, 3))
    (note,) = share_classes(exclusive, {"m": apart}, "r").notes
    assert '"liver" and "tumour" share voxels in m, and cannot in the references' in note
