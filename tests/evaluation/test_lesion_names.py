"""Which structures are lesions."""

import pytest

from caseunet.evaluation.lesion_names import is_lesion

LESIONS = (
    "tumour",
    "Liver_Tumor",
    "kidney-cyst",
    "lung nodules",
    "MetastasesBrain",
    "polyp",
    "haemorrhage",
    "hemorrhage",
)
LESIONS += (
    "plaque",
    "ischaemic stroke",
    "infarct",
    "kidney stones",
    "hyperintensities",
    "breast mass",
    "masses",
    "WMH",
)
ORGANS = (
    "liver",
    "cystic duct",
    "spleen",
    "foreground",
    "class 1",
    "pancreas",
    "muscle",
    "needle",
    "cerebral aqueduct",
)


@pytest.mark.parametrize("name", LESIONS)
def test_a_lesion_is_known_by_its_name(name: str) -> None:
    assert is_lesion(name)


@pytest.mark.parametrize("name", ORGANS)
def test_an_organ_is_no_lesion(name: str) -> None:
    assert not is_lesion(name)
