"""What label maps tell of their classes."""

import pytest

from caseunet.types import Label, LabelMap


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
