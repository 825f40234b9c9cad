"""Networks of regions: logits of regions in training, of classes elsewhere."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from caseunet.errors import CaseUNetError
from caseunet.models import create_model
from caseunet.models.regions import RegionNetwork

NESTED = [[1, 2, 3], [2, 3], [3]]
"""As BraTS has them: whole tumour, core, enhancing."""


class Same(torch.nn.Identity):
    """A network whose logits are its images."""

    multiple = smallest = 1


def class_logits(z: Sequence[float], regions: list[list[int]], num_classes: int, written: Sequence[int] = ()) -> list:
    network = RegionNetwork(Same(), regions, num_classes, written=written).eval()
    return network(torch.tensor(z)[None, :, None, None])[0, :, 0, 0].tolist()


def test_logits_of_classes_are_sums_over_regions() -> None:
    assert class_logits([1.5, -2.0, 0.25], NESTED, 4) == pytest.approx([0, 1.5, -0.5, -0.25])


def test_one_region_is_a_sigmoid() -> None:
    logits = torch.tensor(class_logits([0.7], [[1]], 2))
    assert logits.softmax(0)[1] == pytest.approx(torch.tensor(0.7).sigmoid())


@given(st.lists(st.floats(-20, 20).filter(lambda value: abs(value) > 1e-3), min_size=3, max_size=3))
def test_consistent_regions_are_written_over(z: list[float]) -> None:
    """Where regions that are nested are nested in the prediction too, the class is that of the last one that is on."""
    signs = [value > 0 for value in z]
    if signs != sorted(signs, reverse=True):
        return
    assert int(torch.tensor(class_logits(z, NESTED, 4)).argmax()) == sum(signs)


def test_overlap_may_be_a_class_of_its_own() -> None:
    left_and_right = [[1, 3], [2, 3]]
    for z, expected in (([4, 3], 3), ([4, -3], 1), ([-4, 3], 2), ([-4, -3], 0)):
        assert int(torch.tensor(class_logits(z, left_and_right, 4)).argmax()) == expected


def test_unwritten_classes_are_never_predicted() -> None:
    """1 and 2 are in the same region: 2 is what is written."""
    logits = class_logits([5.0], [[1, 2]], 3, written=[2])
    assert int(torch.tensor(logits).argmax()) == 2
    assert logits[1] == pytest.approx(-25)
    with pytest.raises(CaseUNetError, match="cannot be told apart"):
        create_model("unet", 1, 3, regions=[[1, 2]])


@pytest.mark.parametrize("regions", [[[0, 1]], [[]], [[3]]])
def test_a_region_of_no_class_is_refused(regions: list[list[int]]) -> None:
    with pytest.raises(CaseUNetError, match="a region must hold class ids from 1 to 2"):
        create_model("unet", 1, 3, regions=regions)


@pytest.mark.parametrize("name", ["case_unet", "unet", "nnunet"])
def test_outputs_in_training_and_evaluation(name: str) -> None:
    network = create_model(name, 1, 4, regions=NESTED)
    x = torch.zeros(2, 1, 64, 64)
    maps = network.train()(x)
    maps = maps if isinstance(maps, torch.Tensor) else maps[0]
    assert maps.shape == (2, 3, 64, 64)
    assert network.eval()(x).shape == (2, 4, 64, 64)
