"""What label maps tell of their classes."""

from typing import Any

import pytest

from caseunet.types import Label, LabelMap, Preprocessing


def label_map(*names: str) -> LabelMap:
    labels = tuple(Label(id=n, name=name, color=(n, 0, 0)) for n, name in enumerate(("background", *names)))
    return LabelMap(labels=labels, structures={name: (n,) for n, name in enumerate(names, start=1)})


@pytest.mark.parametrize(
    ("names", "sided"),
    [
        (("Kidney_Lt", "Kidney_Rt", "Bolt"), ("Kidney_Lt", "Kidney_Rt")),
        (("left kidney", "right kidney", "liver"), ("left kidney", "right kidney")),
        (("kidney_left",), ("kidney_left",)),
        (("KidneyRight", "bladder"), ("KidneyRight",)),
        (("Left-Hippocampus",), ("Left-Hippocampus",)),
        (("lung_l", "lung_r", "trachea"), ("lung_l", "lung_r")),
        (("L lung", "R lung"), ("L lung", "R lung")),
        (("lung_L",), ()),  # alone it may be anything
        (("bright", "cleft", "leftover"), ()),
        (("l", "r"), ("l", "r")),
        (("LH", "rh"), ("LH", "rh")),
        (("OD", "OS"), ("OD", "OS")),
        (("OS",), ()),
        (("ctx-lh-insula", "ctx-rh-insula"), ("ctx-lh-insula", "ctx-rh-insula")),
        (("kidney_l_cyst", "kidney_r_cyst"), ("kidney_l_cyst", "kidney_r_cyst")),
        (("Kidney-L1", "Kidney-R1", "L5"), ("Kidney-L1", "Kidney-R1")),
        (("leftlung", "rightlung"), ("leftlung", "rightlung")),
        (("kidneyleft", "kidneyright", "cleft"), ("kidneyleft", "kidneyright")),
        (("vertebrae_L1", "vertebrae_T1"), ()),
        (("печень", "опухоль"), ()),
        (("肝", "脾"), ()),
        (("почка_l", "почка_r", "печень"), ("почка_l", "почка_r")),
        (("почка_l", "печень_r"), ()),
        (("lésion", "résion"), ()),
    ],
)
def test_names_with_sides(names: tuple[str, ...], sided: tuple[str, ...]) -> None:
    assert label_map(*names).sided_names == sided


@pytest.mark.parametrize(
    ("written", "windows", "per_case"),
    [
        ({}, (None, None), (False, False)),
        ({"intensity_window": [0, 9], "per_case_zscore": True}, ((0, 9), (0, 9)), (True, True)),
        ({"clip": [0.5, 9], "per_case": True}, ((0.5, 9), (0.5, 9)), (True, True)),
        ({"intensity_window": None, "per_case_zscore": False}, (None, None), (False, False)),
        ({"intensity_window": [[0, 9], None], "per_case_zscore": [False, True]}, ((0, 9), None), (False, True)),
    ],
)
def test_one_rule_of_earlier_bundles_is_of_all(written: dict[str, Any], windows: Any, per_case: Any) -> None:
    plain = {"modality": "mr", "channels": 2, "mean": [0, 0], "std": [1, 1]}
    p = Preprocessing.model_validate(plain | written)
    assert (p.intensity_window, p.per_case_zscore) == (windows, per_case)
    assert Preprocessing.model_validate_json(p.model_dump_json()) == p


@pytest.mark.parametrize("wrong", [{"per_case_zscore": (True,)}, {"intensity_window": (None,) * 3}])
def test_rules_are_one_for_each_channel(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="need 2 values, one per channel"):
        Preprocessing(modality="mr", channels=2, mean=(0.0, 0.0), std=(1.0, 1.0), **wrong)
